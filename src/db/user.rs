//! People, and who their tokens say they are.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::{identities, users};
use super::scope::{OrgTx, SystemTx};
use crate::error::Result;
use crate::id::UserId;

/// A person.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
pub struct User {
    /// `user_...`
    pub id: UserId,
    /// As the person wants to be called.
    pub name: Option<String>,
    /// Shown to the person and to admins.
    pub email: Option<String>,
    /// When we first heard of the person.
    pub created_at: DateTime<Utc>,
}

/// Those of `ids` who are members of the transaction's organization. People have no organization of their own, so the
/// scope is the policy on `users`: it looks for the membership.
pub async fn find_many(tx: &OrgTx, ids: &[UserId]) -> Result<Vec<User>> {
    Ok(users::table.filter(users::id.eq_any(ids.to_vec())).select(User::as_select()).load(&mut tx.conn()).await?)
}

/// Whom `issuer` means by `subject`.
pub async fn find_by_identity(tx: &SystemTx, issuer: &str, subject: &str) -> Result<Option<User>> {
    Ok(identities::table
        .inner_join(users::table)
        .filter(identities::issuer.eq(issuer))
        .filter(identities::subject.eq(subject))
        .select(User::as_select())
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// The person of that id.
pub async fn find(tx: &SystemTx, id: UserId) -> Result<Option<User>> {
    Ok(users::table.filter(users::id.eq(id)).select(User::as_select()).first(&mut tx.conn()).await.optional()?)
}

/// What `issuer` calls `user`.
pub async fn find_subject(tx: &SystemTx, issuer: &str, user: UserId) -> Result<Option<String>> {
    Ok(identities::table
        .filter(identities::issuer.eq(issuer))
        .filter(identities::user_id.eq(user))
        .order(identities::created_at.asc())
        .select(identities::subject)
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// Adds a person whom `issuer` calls `subject`.
pub async fn create(
    tx: &SystemTx,
    issuer: &str,
    subject: &str,
    name: Option<&str>,
    email: Option<&str>,
) -> Result<UserId> {
    let id = UserId::generate();
    diesel::insert_into(users::table)
        .values((users::id.eq(id), users::name.eq(name), users::email.eq(email)))
        .execute(&mut tx.conn())
        .await?;
    diesel::insert_into(identities::table)
        .values((identities::issuer.eq(issuer), identities::subject.eq(subject), identities::user_id.eq(id)))
        .execute(&mut tx.conn())
        .await?;
    Ok(id)
}
