//! What the service is and what it allows.

use async_graphql::{Context, Object, SimpleObject};

use super::configuration::bulk::MAX_BULK_ITEMS;
use super::connection::MAX_PAGE;
use super::document;
use super::{SchemaHash, context::RequestContext as _};

/// Version and limits of the service.
#[derive(SimpleObject)]
pub struct Service {
    /// Semantic version.
    version: &'static str,
    /// Commit the service was built from, if that was known.
    revision: Option<&'static str>,
    /// Hash of the printed schema; changes when the schema does.
    schema_hash: String,
    /// What one request may ask for.
    limits: ServiceLimits,
}

/// What one request may ask for.
#[derive(SimpleObject)]
pub struct ServiceLimits {
    /// How deep selections nest.
    max_depth: usize,
    /// What all selected fields may cost.
    max_complexity: usize,
    /// The largest page.
    max_page_size: usize,
    /// How many fields may have an alias.
    max_aliases: usize,
    /// The largest request body, in bytes.
    max_request_bytes: usize,
    /// How many objects one bulk mutation may change.
    max_bulk_items: i32,
}

/// Queries of the service.
#[derive(Default)]
pub struct ServiceQuery;

#[Object]
impl ServiceQuery {
    /// Version and limits of the service. Costs nothing.
    async fn service(&self, ctx: &Context<'_>) -> Service {
        Service {
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("PATCHBAY_REVISION"),
            schema_hash: ctx.data_opt::<SchemaHash>().map(|hash| hash.get().to_owned()).unwrap_or_default(),
            limits: ServiceLimits {
                max_depth: document::MAX_DEPTH,
                max_complexity: document::MAX_COMPLEXITY,
                max_page_size: MAX_PAGE,
                max_aliases: document::MAX_ALIASES,
                max_request_bytes: ctx.app().api.max_request_bytes,
                max_bulk_items: MAX_BULK_ITEMS,
            },
        }
    }
}
