//! Whether a caller still is who it was found to be.
//!
//! Who is calling is found out before a request's body is read, and a write may wait for locks. So each write looks again
//! when it is done, before it is committed: a person who was removed or demoted meanwhile, a key that was revoked, change
//! nothing any more.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::{api_keys, members};
use super::scope::{OrgTable, OrgTx};
use crate::auth::caller::Actor;
use crate::auth::policy::{Action, Role};
use crate::error::{Error, Result};

/// # Errors
/// [`Error::Unauthenticated`] when the caller is gone, [`Error::Forbidden`] when its role is less than when the request came.
pub(super) async fn check(tx: &OrgTx, action: Action) -> Result<()> {
    let role: Option<Role> = match tx.caller().actor() {
        Actor::User(id) => members::table::of(tx)
            .filter(members::user_id.eq(id))
            .select(members::role)
            .first(&mut tx.conn())
            .await
            .optional()?,
        Actor::ApiKey(id) => api_keys::table::of(tx)
            .inner_join(
                members::table.on(members::organization_id
                    .eq(api_keys::organization_id)
                    .and(members::user_id.eq(api_keys::created_by_user_id))),
            )
            .filter(api_keys::id.eq(id))
            .filter(api_keys::revoked_at.is_null())
            .select(members::role)
            .first(&mut tx.conn())
            .await
            .optional()?,
    };
    match role {
        Some(role) if role >= tx.caller().role() => Ok(()),
        // What was found out with the earlier role does not hold, whatever the new one may.
        Some(_) => Err(Error::Forbidden(action)),
        None => Err(Error::Unauthenticated("the caller was removed or revoked while the request was under way")),
    }
}
