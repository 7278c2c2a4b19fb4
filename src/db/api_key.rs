//! API keys. The secret is never here: only its hash, and the public part that finds the row.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::audit_log::{Change, REDACTED};
use super::filter::{Filter, Predicate, TextOp, TimeOp, lower, starts_with, strpos, text, time};
use super::page::{Cursor, Key, Page, PageRequest, keyset};
use super::schema::{api_keys, members};
use super::scope::{OrgTable, OrgTx, SystemTx};
use crate::auth::policy::{Role, Scope};
use crate::error::Result;
use crate::id::{ApiKeyId, OrganizationId, UserId};

/// An API key.
#[derive(Debug, Clone, Queryable, Selectable, Serialize, Deserialize)]
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
    /// Until when the secret before the last rotation works.
    pub previous_valid_until: Option<DateTime<Utc>>,
    /// Networks that it may be used from; none: from everywhere.
    pub allowed_networks: Vec<Option<String>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
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
    /// Networks that it may be used from.
    pub allowed_networks: &'a [String],
}

/// What an update changes. Absent: unchanged; `Some(None)`: cleared.
#[derive(Debug, Default, PartialEq, AsChangeset)]
#[diesel(table_name = api_keys)]
pub struct ApiKeyChanges {
    /// A new name.
    pub name: Option<String>,
    /// Other scopes, whole.
    pub scopes: Option<Vec<Scope>>,
    /// Another end.
    pub expires_at: Option<Option<DateTime<Utc>>>,
    /// Other networks, whole.
    pub allowed_networks: Option<Vec<String>>,
}

/// A key's new secret.
pub struct NewSecret<'a> {
    /// HMAC-SHA-256 of it.
    pub hash: &'a [u8; 32],
    /// The root key that the pepper derives from.
    pub pepper_id: &'a str,
    /// Until when the one it replaces works; at once not at all when nothing is said.
    pub previous_valid_until: Option<DateTime<Utc>>,
}

/// Adds a key.
pub async fn create(tx: &OrgTx, new: &NewApiKey<'_>) -> Result<ApiKey> {
    tx.changed(
        new.id,
        vec![
            Change::new("name", (), new.name),
            Change::new("scopes", (), scope_names(new.scopes)),
            Change::new("expiresAt", (), new.expires_at.map(|end| end.to_rfc3339())),
            Change::new("allowedNetworks", (), new.allowed_networks),
            Change::new("secret", (), REDACTED),
        ],
    );
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
            api_keys::allowed_networks.eq(new.allowed_networks),
        ))
        .returning(ApiKey::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

fn scope_names(scopes: &[Scope]) -> Vec<&'static str> {
    scopes.iter().map(|scope| scope.as_str()).collect()
}

/// A key of the transaction's organization, locked against other writers until the transaction ends.
pub async fn find_for_update(tx: &OrgTx, id: ApiKeyId) -> Result<Option<ApiKey>> {
    Ok(api_keys::table::of(tx)
        .filter(api_keys::id.eq(id))
        .select(ApiKey::as_select())
        .for_no_key_update()
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// Changes a key that the caller has locked, and moves its version on.
pub async fn update(tx: &OrgTx, row: &ApiKey, changes: &ApiKeyChanges) -> Result<ApiKey> {
    let mut recorded = Vec::new();
    if let Some(name) = &changes.name {
        recorded.push(Change::new("name", row.name.clone(), name.clone()));
    }
    if let Some(scopes) = &changes.scopes {
        let before: Vec<_> = row.scopes.iter().flatten().copied().collect();
        recorded.push(Change::new("scopes", scope_names(&before), scope_names(scopes)));
    }
    if let Some(end) = changes.expires_at {
        let text = |end: Option<DateTime<Utc>>| end.map(|end| end.to_rfc3339());
        recorded.push(Change::new("expiresAt", text(row.expires_at), text(end)));
    }
    if let Some(networks) = &changes.allowed_networks {
        let before: Vec<_> = row.allowed_networks.iter().flatten().cloned().collect();
        recorded.push(Change::new("allowedNetworks", before, networks.clone()));
    }
    tx.changed(row.id, recorded);
    Ok(diesel::update(api_keys::table::of(tx).filter(api_keys::id.eq(row.id)))
        .set((changes, api_keys::version.eq(api_keys::version + 1)))
        .returning(ApiKey::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// Gives a key that the caller has locked another secret.
pub async fn rotate(tx: &OrgTx, id: ApiKeyId, new: &NewSecret<'_>) -> Result<ApiKey> {
    tx.changed(id, vec![Change::secret("secret")]);
    let set = (
        api_keys::hash.eq(&new.hash[..]),
        api_keys::pepper_id.eq(new.pepper_id),
        api_keys::version.eq(api_keys::version + 1),
    );
    let key = api_keys::table::of(tx).filter(api_keys::id.eq(id));
    if let Some(end) = new.previous_valid_until {
        let previous = (
            api_keys::previous_hash.eq(api_keys::hash.nullable()),
            api_keys::previous_pepper_id.eq(api_keys::pepper_id.nullable()),
            api_keys::previous_valid_until.eq(end),
        );
        let update = diesel::update(key).set((set, previous)).returning(ApiKey::as_returning());
        return Ok(update.get_result(&mut tx.conn()).await?);
    }
    let previous = (
        api_keys::previous_hash.eq(None::<Vec<u8>>),
        api_keys::previous_pepper_id.eq(None::<String>),
        api_keys::previous_valid_until.eq(None::<DateTime<Utc>>),
    );
    let update = diesel::update(key).set((set, previous)).returning(ApiKey::as_returning());
    Ok(update.get_result(&mut tx.conn()).await?)
}

/// Ends every key that `user` made and that has not ended: the person leaves.
pub async fn revoke_of(tx: &OrgTx, user: UserId) -> Result<Vec<ApiKeyId>> {
    Ok(diesel::update(
        api_keys::table::of(tx).filter(api_keys::created_by_user_id.eq(user)).filter(api_keys::revoked_at.is_null()),
    )
    .set((api_keys::revoked_at.eq(diesel::dsl::now), api_keys::version.eq(api_keys::version + 1)))
    .returning(api_keys::id)
    .get_results(&mut tx.conn())
    .await?)
}

/// Gives every key without an end that one.
pub async fn end_endless(tx: &OrgTx, end: DateTime<Utc>) -> Result<Vec<ApiKeyId>> {
    let endless = api_keys::table::of(tx).filter(api_keys::expires_at.is_null()).filter(api_keys::revoked_at.is_null());
    Ok(diesel::update(endless)
        .set((api_keys::expires_at.eq(end), api_keys::version.eq(api_keys::version + 1)))
        .returning(api_keys::id)
        .get_results(&mut tx.conn())
        .await?)
}

/// Notes that a key was used. Never on the way of a request.
pub async fn touch(tx: &SystemTx, organization: OrganizationId, id: ApiKeyId, at: DateTime<Utc>) -> Result<()> {
    diesel::update(
        api_keys::table
            .filter(api_keys::organization_id.eq(organization))
            .filter(api_keys::id.eq(id))
            .filter(api_keys::last_used_at.is_null().or(api_keys::last_used_at.lt(at))),
    )
    .set(api_keys::last_used_at.eq(at))
    .execute(&mut tx.conn())
    .await?;
    Ok(())
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
    /// When it was last used; a key that never was does not match.
    LastUsedAt(TimeOp),
    /// Was used.
    Used,
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
        Condition::Used => Box::new(api_keys::last_used_at.is_not_null()),
        Condition::LastUsedAt(op) => {
            let holds: Predicate<api_keys::table> = time!(api_keys::last_used_at.assume_not_null(), op);
            Box::new(api_keys::last_used_at.is_not_null().and(holds))
        }
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
    /// The same of the secret before the last rotation.
    pub previous_hash: Option<Vec<u8>>,
    /// The root key of that one's pepper.
    pub previous_pepper_id: Option<String>,
    /// Until when that one works.
    pub previous_valid_until: Option<DateTime<Utc>>,
    /// What it may do.
    pub scopes: Vec<Option<Scope>>,
    /// Networks that it may be used from; none: from everywhere.
    pub allowed_networks: Vec<Option<String>>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When somebody ended it.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The current role of the person who made it. A key whose creator has left is not found.
    pub creator_role: Role,
}

/// Which of a key's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The one of the last rotation.
    Current,
    /// The one before it.
    Previous,
}

impl StoredKey {
    /// Whether `hash` is of its secret, or of the one before while that still works: which one.
    pub fn has(&self, hash: &[u8; 32], pepper_id: &str, now: DateTime<Utc>) -> Option<Secret> {
        let current = self.pepper_id == pepper_id && bool::from(self.hash.ct_eq(hash));
        let previous = self.previous_pepper_id.as_deref() == Some(pepper_id)
            && self.previous_valid_until.is_some_and(|end| end > now)
            && self.previous_hash.as_ref().is_some_and(|previous| bool::from(previous.ct_eq(hash)));
        if current { Some(Secret::Current) } else { previous.then_some(Secret::Previous) }
    }

    /// Whether it may be used from there. One that is held to networks may not be used from nowhere.
    pub fn may_come_from(&self, address: Option<IpAddr>) -> bool {
        self.allowed_networks.is_empty()
            || address.is_some_and(|address| {
                let address = address.to_canonical();
                self.allowed_networks
                    .iter()
                    .flatten()
                    .filter_map(|network| network.parse::<IpNet>().ok())
                    .any(|network| network.contains(&address))
            })
    }
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
            api_keys::previous_hash,
            api_keys::previous_pepper_id,
            api_keys::previous_valid_until,
            api_keys::scopes,
            api_keys::allowed_networks,
            api_keys::expires_at,
            api_keys::revoked_at,
            api_keys::last_used_at,
            members::role,
        ))
        .load(&mut tx.conn())
        .await?)
}
