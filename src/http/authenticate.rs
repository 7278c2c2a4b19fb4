//! From a request's head to a caller.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, HeaderName, USER_AGENT};
use axum::http::{Extensions, HeaderMap};

use super::client_address::client_address;
use super::{RequestId, Shared, X_API_KEY, X_ORGANIZATION_ID};
use crate::auth::Evidence;
use crate::auth::caller::{Caller, Provenance};
use crate::error::{Error, Result};

/// The longest name of a client that is kept.
const MAX_USER_AGENT: usize = 256;

/// Where a request comes from, as far as that is known.
pub(super) fn address(shared: &Shared, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    client_address(peer, headers, &shared.app.api.trusted_proxies)
}

/// Who is calling.
///
/// # Errors
/// [`Error::Unauthenticated`] when that cannot be established, [`Error::Unavailable`] when the database does not answer.
pub(super) async fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    address: Option<IpAddr>,
    RequestId(id): &RequestId,
) -> Result<Caller> {
    let user_agent = headers.get(USER_AGENT).and_then(|name| name.to_str().ok());
    let user_agent = user_agent.map(|name| name.chars().take(MAX_USER_AGENT).collect());
    let provenance = Arc::new(Provenance { request_id: id.clone(), address, user_agent });
    let evidence = Evidence {
        authorization: only(headers, &AUTHORIZATION)?,
        api_key: only(headers, &X_API_KEY)?,
        address,
        organization: only(headers, &X_ORGANIZATION_ID)?,
    };
    shared.app.authenticator.authenticate(evidence, &provenance).await
}

/// The header, if it is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Error::Unauthenticated("a header is not ASCII")),
        (Some(_), Some(_)) => Err(Error::Unauthenticated("a header stands twice")),
    }
}
