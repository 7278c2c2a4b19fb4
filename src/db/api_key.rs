//! API keys. The secret is never here: only its hash, and the public part that finds the row.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;

use super::filter::{Filter, Predicate, TextOp, TimeOp, lower, starts_with, strpos, text, time};
use super::page::{Cursor, Key, Page, PageRequest, keyset};
use super::schema::{api_keys, members};
use super::scope::{OrgTable, OrgTx, SystemTx};
use crate::auth::policy::{Role, Scope};
use crate::error::Result;
use crate::id::{ApiKeyId, OrganizationId, UserId};

/// An API key.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = api_keys, check_for_backend(diesel::pg::Pg))]
pub struct ApiKey {
    /// `key_...`
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// The public part of the secret.
    pub key_id: String,
    /// What it may do.
    pub scopes: Vec<Option<Scope>>,
    /// Who made it. It may do no more than that person.
    pub created_by_user_id: UserId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When somebody ended it.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Grows by one with each change.
    pub version: i32,
}

impl ApiKey {
    /// Where it stands in the list.
    pub fn cursor(&self) -> Cursor {
        Cursor { key: Key::Time(self.created_at), id: self.id.uuid() }
    }
}

/// A key to be made.
#[derive(Debug)]
pub struct NewApiKey<'a> {
    /// `key_...`
    pub id: ApiKeyId,
    /// For people.
    pub name: &'a str,
    /// The public part of the secret.
    pub key_id: &'a str,
    /// HMAC-SHA-256 of the secret.
    pub hash: &'a [u8; 32],
    /// The root key that the pepper derives from.
    pub pepper_id: &'a str,
    /// What it may do.
    pub scopes: &'a [Scope],
    /// Who makes it.
    pub created_by: UserId,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Adds a key.
pub async fn create(tx: &OrgTx, new: &NewApiKey<'_>) -> Result<ApiKey> {
    tx.about(new.id);
    Ok(diesel::insert_into(api_keys::table)
        .values((
            api_keys::id.eq(new.id),
            api_keys::name.eq(new.name),
            api_keys::key_id.eq(new.key_id),
            api_keys::hash.eq(&new.hash[..]),
            api_keys::pepper_id.eq(new.pepper_id),
            api_keys::scopes.eq(new.scopes),
            api_keys::created_by_user_id.eq(new.created_by),
            api_keys::expires_at.eq(new.expires_at),
        ))
        .returning(ApiKey::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// Ends a key. One that has ended stays as it is; `None` when there is no such key.
pub async fn revoke(tx: &OrgTx, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let revoked =
        diesel::update(api_keys::table::of(tx).filter(api_keys::id.eq(id)).filter(api_keys::revoked_at.is_null()))
            .set((api_keys::revoked_at.eq(diesel::dsl::now), api_keys::version.eq(api_keys::version + 1)))
            .returning(ApiKey::as_returning())
            .get_result(&mut tx.conn())
            .await
            .optional()?;
    if revoked.is_some() {
        tx.about(id);
        return Ok(revoked);
    }
    Ok(find_many(tx, &[id]).await?.pop())
}

/// Those of `ids` that are keys of the transaction's organization.
pub async fn find_many(tx: &OrgTx, ids: &[ApiKeyId]) -> Result<Vec<ApiKey>> {
    Ok(api_keys::table::of(tx)
        .filter(api_keys::id.eq_any(ids.to_vec()))
        .select(ApiKey::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// What a list of keys may be narrowed by.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Neither revoked nor expired at that moment.
    ActiveAt(DateTime<Utc>),
    /// Its name.
    Name(TextOp),
    /// When it ends by itself; a key without an end does not match.
    ExpiresAt(TimeOp),
    /// Ends by itself.
    Expires,
}

fn predicate(condition: &Condition) -> Predicate<api_keys::table> {
    match condition {
        Condition::ActiveAt(now) => Box::new(
            api_keys::revoked_at.is_null().and(
                api_keys::expires_at
                    .is_null()
                    .or(api_keys::expires_at.is_not_null().and(api_keys::expires_at.assume_not_null().gt(*now))),
            ),
        ),
        Condition::Name(op) => text!(api_keys::name, op),
        Condition::Expires => Box::new(api_keys::expires_at.is_not_null()),
        Condition::ExpiresAt(op) => {
            let holds: Predicate<api_keys::table> = time!(api_keys::expires_at.assume_not_null(), op);
            Box::new(api_keys::expires_at.is_not_null().and(holds))
        }
    }
}

/// A page of the keys that `filter` lets through, newest first.
pub async fn list(tx: &OrgTx, filter: &Filter<Condition>, page: &PageRequest) -> Result<Page<ApiKey>> {
    let query = api_keys::table::of(tx).filter(filter.to_sql(&predicate)).select(ApiKey::as_select()).into_boxed();
    let rows = keyset!(query, page, true, api_keys::created_at, api_keys::id, time).load(&mut tx.conn());
    if !page.count {
        return Ok(page.page(rows.await?, None));
    }
    let total = api_keys::table::of(tx).filter(filter.to_sql(&predicate)).count().get_result(&mut tx.conn());
    let (rows, total) = try_join(rows, total).await?;
    Ok(page.page(rows, Some(total)))
}

/// A key as authentication needs it.
#[derive(Debug, Queryable)]
pub struct StoredKey {
    /// In which organization.
    pub organization_id: OrganizationId,
    /// Which key.
    pub id: ApiKeyId,
    /// HMAC-SHA-256 of the secret.
    pub hash: Vec<u8>,
    /// The root key that the pepper derives from.
    pub pepper_id: String,
    /// What it may do.
    pub scopes: Vec<Option<Scope>>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When somebody ended it.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The current role of the person who made it. A key whose creator has left is not found.
    pub creator_role: Role,
}

/// The keys with that public part: one, or none.
pub async fn find_for_authentication(tx: &SystemTx, key_id: &str) -> Result<Vec<StoredKey>> {
    Ok(api_keys::table
        .inner_join(
            members::table.on(members::organization_id
                .eq(api_keys::organization_id)
                .and(members::user_id.eq(api_keys::created_by_user_id))),
        )
        .filter(api_keys::key_id.eq(key_id))
        .select((
            api_keys::organization_id,
            api_keys::id,
            api_keys::hash,
            api_keys::pepper_id,
            api_keys::scopes,
            api_keys::expires_at,
            api_keys::revoked_at,
            members::role,
        ))
        .load(&mut tx.conn())
        .await?)
}
