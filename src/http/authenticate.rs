//! From headers to a caller.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderName};

use super::{RequestId, Shared, X_API_KEY, X_ORGANIZATION_ID};
use crate::auth::Evidence;
use crate::auth::caller::Caller;
use crate::error::{Error, Result};

/// Who is calling.
///
/// # Errors
/// [`Error::Unauthenticated`] when that cannot be established, [`Error::Unavailable`] when the database does not answer.
pub(super) async fn authenticate(shared: &Shared, headers: &HeaderMap, RequestId(id): &RequestId) -> Result<Caller> {
    let evidence = Evidence {
        authorization: only(headers, &AUTHORIZATION)?,
        api_key: only(headers, &X_API_KEY)?,
        organization: only(headers, &X_ORGANIZATION_ID)?,
    };
    shared.app.authenticator.authenticate(evidence, id).await
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
