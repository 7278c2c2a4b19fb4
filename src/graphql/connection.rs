//! Relay connections: what every list looks like.
//!
//! A cursor is a row's place in its list and a signature (HMAC-SHA-256, half of it) over that place, the list, its order,
//! its filter and the organization. Used anywhere else, or edited, it is refused: it would give a wrong page.

use async_graphql::{Context, SimpleObject};
use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq as _;

use super::context::RequestContext as _;
use crate::db::page::{Cursor, Page, PageRequest};
use crate::error::{Code, Rejection, Result};
use crate::vault::Purpose;

/// The largest page.
pub const MAX_PAGE: usize = 100;
/// The page of those who do not say.
pub const DEFAULT_PAGE: usize = 25;
const SIGNATURE: usize = 16;

/// Relay page information. Cursors are opaque, signed by order and filter, and never expire.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// Whether the list goes on behind this page.
    has_next_page: bool,
    /// Whether the list begins before this page.
    has_previous_page: bool,
    /// Cursor of the first item; null when there is none.
    start_cursor: Option<String>,
    /// Cursor of the last item; null when there is none.
    end_cursor: Option<String>,
}

/// Where a page begins and how long it is, as arguments.
#[derive(Default)]
pub struct PageArguments {
    /// So many from the beginning, or behind `after`.
    pub first: Option<i32>,
    /// Behind this cursor.
    pub after: Option<String>,
    /// So many from the end, or before `before`.
    pub last: Option<i32>,
    /// Before this cursor.
    pub before: Option<String>,
}

/// What a cursor is good for: one list, in one order, under one filter, of one organization.
pub struct CursorScope<'a> {
    context: &'a Context<'a>,
    list: String,
}

impl<'a> CursorScope<'a> {
    /// `list` says which list in which order; `filter` is what narrows it.
    pub fn new(context: &'a Context<'a>, list: &str, filter: &impl std::fmt::Debug) -> Self {
        Self { context, list: format!("{list} {filter:?}") }
    }

    fn signature(&self, place: &[u8]) -> [u8; SIGNATURE] {
        let organization = self.context.caller().organization();
        let mac = self
            .context
            .app()
            .vault
            .mac(Purpose::Cursor, &[organization.uuid().as_bytes(), self.list.as_bytes(), place]);
        let mut signature = [0; SIGNATURE];
        signature.copy_from_slice(&mac[..SIGNATURE]);
        signature
    }

    /// The cursor as clients have it.
    pub fn encode(&self, cursor: &Cursor) -> String {
        let mut bytes = cursor.to_bytes();
        let signature = self.signature(&bytes);
        bytes.extend_from_slice(&signature);
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn decode(&self, text: Option<&str>, argument: &str) -> Result<Option<Cursor>> {
        let Some(text) = text else { return Ok(None) };
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .ok()
            .as_deref()
            .and_then(<[u8]>::split_last_chunk::<SIGNATURE>)
            .filter(|(place, given)| bool::from(self.signature(place).ct_eq(&given[..])))
            .and_then(|(place, _)| Cursor::from_bytes(place))
            .map(Some)
            .ok_or_else(|| {
                let message = "The cursor is not of this list, order and filter. Take one from pageInfo or edges.";
                Rejection::new(Code::Invalid, &[argument], message).into()
            })
    }

    /// The page that is asked for.
    ///
    /// # Errors
    /// [`crate::error::Error::Rejected`], naming the argument.
    pub fn page(&self, arguments: &PageArguments) -> Result<PageRequest> {
        let size = |size: Option<i32>, argument: &str| -> Result<usize> {
            let Some(size) = size else { return Ok(DEFAULT_PAGE) };
            usize::try_from(size).ok().filter(|size| (1..=MAX_PAGE).contains(size)).ok_or_else(|| {
                Rejection::new(Code::Invalid, &[argument], format!("{argument} is from 1 to {MAX_PAGE}.")).into()
            })
        };
        if arguments.first.is_some() && arguments.last.is_some() {
            return Err(Rejection::new(Code::Invalid, &["last"], "Give first or last, not both.").into());
        }
        let backward = arguments.last.is_some();
        Ok(PageRequest {
            limit: if backward { size(arguments.last, "last")? } else { size(arguments.first, "first")? },
            backward,
            after: self.decode(arguments.after.as_deref(), "after")?,
            before: self.decode(arguments.before.as_deref(), "before")?,
            count: self.context.selects("totalCount"),
        })
    }
}

/// What all connections are made from: nodes with their cursors, and where the page stands.
pub fn parts<R, N>(
    page: Page<R>,
    scope: &CursorScope<'_>,
    cursor: impl Fn(&R) -> Cursor,
    node: impl Fn(R) -> N,
) -> (Vec<(N, String)>, PageInfo, Option<i64>) {
    let items: Vec<_> = page
        .rows
        .into_iter()
        .map(|row| {
            let cursor = scope.encode(&cursor(&row));
            (node(row), cursor)
        })
        .collect();
    let page_info = PageInfo {
        has_next_page: page.has_next,
        has_previous_page: page.has_previous,
        start_cursor: items.first().map(|(_, cursor)| cursor.clone()),
        end_cursor: items.last().map(|(_, cursor)| cursor.clone()),
    };
    (items, page_info, page.total)
}

/// A connection type and its edge type.
macro_rules! connection {
    ($connection:ident, $edge:ident, $node:ident) => {
        #[doc = concat!("A page of a list of ", stringify!($node), ".")]
        pub struct $connection {
            edges: Vec<$edge>,
            page_info: crate::graphql::connection::PageInfo,
            total_count: Option<i64>,
        }

        #[doc = concat!("One ", stringify!($node), " of a list, and where it stands.")]
        #[derive(async_graphql::SimpleObject)]
        pub struct $edge {
            /// The item.
            node: $node,
            /// Where it stands: an argument for `after` or `before`.
            cursor: String,
        }

        #[doc = concat!("A page of a list of ", stringify!($node), ".")]
        #[async_graphql::Object]
        impl $connection {
            /// The items, each with its cursor.
            async fn edges(&self) -> &[$edge] {
                &self.edges
            }

            /// The nodes of the edges, for when cursors of single items are not needed.
            async fn nodes(&self) -> Vec<&$node> {
                self.edges.iter().map(|edge| &edge.node).collect()
            }

            /// Where the page stands.
            async fn page_info(&self) -> &crate::graphql::connection::PageInfo {
                &self.page_info
            }

            /// Number of items that match the filter, on all pages. Counted only when selected. [cost 5]
            async fn total_count(&self) -> crate::graphql::context::Result<i64> {
                Ok(self.total_count.ok_or_else(|| {
                    crate::error::Error::internal(anyhow::anyhow!("totalCount is selected and was not counted"))
                })?)
            }
        }

        impl $connection {
            /// From a page of rows.
            pub(super) fn new<R>(
                page: crate::db::page::Page<R>,
                scope: &crate::graphql::connection::CursorScope<'_>,
                cursor: impl Fn(&R) -> crate::db::page::Cursor,
                node: impl Fn(R) -> $node,
            ) -> Self {
                let (items, page_info, total_count) = crate::graphql::connection::parts(page, scope, cursor, node);
                let edges = items.into_iter().map(|(node, cursor)| $edge { node, cursor }).collect();
                Self { edges, page_info, total_count }
            }
        }
    };
}
pub(super) use connection;
