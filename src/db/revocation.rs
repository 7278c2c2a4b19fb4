//! Tokens that do not hold any more. Authentication asks in the same round trip as for the memberships, so what is written
//! here holds at once, on every instance.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::schema::{revoked_tokens, users};
use super::scope::{OrgTx, SystemTx};
use crate::error::Result;
use crate::id::UserId;

/// Whose tokens of that id were ended one by one. [`everybody`] when the operator did it.
pub async fn find(tx: &SystemTx, issuer: &str, token_id: Option<&str>) -> Result<Vec<UserId>> {
    let Some(token_id) = token_id else { return Ok(Vec::new()) };
    Ok(revoked_tokens::table
        .filter(revoked_tokens::issuer.eq(issuer))
        .filter(revoked_tokens::token_id.eq(token_id))
        .select(revoked_tokens::user_id)
        .load(&mut tx.conn())
        .await?)
}

/// The person of zeros, who stands for everybody.
pub fn everybody() -> UserId {
    UserId::from(Uuid::nil())
}

/// Ends one token of `user`, a member of the transaction's organization.
pub async fn revoke_own_token(
    tx: &OrgTx,
    user: UserId,
    issuer: &str,
    token_id: &str,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    diesel::insert_into(revoked_tokens::table)
        .values((
            revoked_tokens::issuer.eq(issuer),
            revoked_tokens::token_id.eq(token_id),
            revoked_tokens::user_id.eq(user),
            revoked_tokens::expires_at.eq(expires_at),
        ))
        .on_conflict_do_nothing()
        .execute(&mut tx.conn())
        .await?;
    tx.about(user);
    Ok(())
}

/// Ends every token of `user`, a member of the transaction's organization, that was issued before `before`.
pub async fn revoke_own_tokens(tx: &OrgTx, user: UserId, before: DateTime<Utc>) -> Result<()> {
    diesel::update(users::table.filter(users::id.eq(user)).filter(is_earlier(before)))
        .set(users::tokens_valid_from.eq(before))
        .execute(&mut tx.conn())
        .await?;
    tx.about(user);
    Ok(())
}

/// Ends one token, whoever's it is.
pub async fn revoke_token(tx: &SystemTx, issuer: &str, token_id: &str, expires_at: DateTime<Utc>) -> Result<()> {
    diesel::insert_into(revoked_tokens::table)
        .values((
            revoked_tokens::issuer.eq(issuer),
            revoked_tokens::token_id.eq(token_id),
            revoked_tokens::user_id.eq(everybody()),
            revoked_tokens::expires_at.eq(expires_at),
        ))
        .on_conflict_do_nothing()
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Ends every token of `user` that was issued before `before`.
pub async fn revoke_tokens(tx: &SystemTx, user: UserId, before: DateTime<Utc>) -> Result<()> {
    diesel::update(users::table.filter(users::id.eq(user)).filter(is_earlier(before)))
        .set(users::tokens_valid_from.eq(before))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Forgets tokens that have expired by themselves.
pub async fn delete_expired(tx: &SystemTx, now: DateTime<Utc>) -> Result<usize> {
    Ok(diesel::delete(revoked_tokens::table.filter(revoked_tokens::expires_at.lt(now))).execute(&mut tx.conn()).await?)
}

/// A revocation is never taken back.
fn is_earlier(before: DateTime<Utc>) -> super::filter::Predicate<users::table> {
    Box::new(
        users::tokens_valid_from
            .is_null()
            .or(users::tokens_valid_from.is_not_null().and(users::tokens_valid_from.assume_not_null().lt(before))),
    )
}
