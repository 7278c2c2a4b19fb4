//! People, and who their tokens say they are.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::filter::{Predicate, lower};
use super::schema::{identities, users};
use super::scope::{OrgTx, SystemTx};
use crate::error::Result;
use crate::id::UserId;

/// Who has added a person that has not come yet.
pub(super) const BY_ORGANIZATION: &str = "organization";
pub(super) const BY_OPERATOR: &str = "operator";

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
    add_identity(tx, issuer, subject, id).await?;
    Ok(id)
}

/// `issuer` means `user` by `subject`.
pub async fn add_identity(tx: &SystemTx, issuer: &str, subject: &str, user: UserId) -> Result<()> {
    diesel::insert_into(identities::table)
        .values((identities::issuer.eq(issuer), identities::subject.eq(subject), identities::user_id.eq(user)))
        .execute(&mut tx.conn())
        .await?;
    diesel::update(users::table.filter(users::id.eq(user)).filter(users::pending.is_not_null()))
        .set(users::pending.eq(None::<String>))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Until the transaction ends, nobody else finds out whom `issuer` means by `subject` in order to add them.
pub async fn lock_identity(tx: &SystemTx, issuer: &str, subject: &str) -> Result<()> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind::<diesel::sql_types::Text, _>(format!("{issuer} {subject}"))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// The person whom `issuer` calls `subject`, added if need be.
pub async fn find_or_create(
    tx: &SystemTx,
    issuer: &str,
    subject: &str,
    name: Option<&str>,
    email: Option<&str>,
) -> Result<UserId> {
    lock_identity(tx, issuer, subject).await?;
    match find_by_identity(tx, issuer, subject).await? {
        Some(user) => Ok(user.id),
        None => create(tx, issuer, subject, name, email).await,
    }
}

/// The people with that e-mail address, in any case of letters, who have come. Anybody may have offered it a place.
pub async fn list_by_email(tx: &SystemTx, email: &str) -> Result<Vec<User>> {
    Ok(users::table
        .filter(has_email(email))
        .filter(users::pending.is_null())
        .order(users::id.asc())
        .select(User::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// Somebody whom the operator added by that address and who has never come, added if need be. Whom an organization added
/// is somebody else until then: what the operator offers does not come with what anybody offers.
pub async fn find_or_create_pending(tx: &SystemTx, email: &str) -> Result<UserId> {
    let pending = users::table
        .filter(has_email(email))
        .filter(users::pending.eq(BY_OPERATOR))
        .filter(diesel::dsl::not(diesel::dsl::exists(identities::table.filter(identities::user_id.eq(users::id)))))
        .order(users::id.asc())
        .select(users::id)
        .first(&mut tx.conn())
        .await
        .optional()?;
    if let Some(id) = pending {
        return Ok(id);
    }
    let id = UserId::generate();
    diesel::insert_into(users::table)
        .values((users::id.eq(id), users::email.eq(email), users::pending.eq(BY_OPERATOR)))
        .execute(&mut tx.conn())
        .await?;
    Ok(id)
}

/// As the index has it.
fn has_email(email: &str) -> Predicate<users::table> {
    Box::new(users::email.is_not_null().and(lower(users::email.assume_not_null()).eq(lower(email.to_owned()))))
}
