//! Organization keys, wrapped. What they seal is in `db::credential`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;

use super::schema::{credentials, organization_keys};
use super::scope::{OrgTable, OrgTx, SystemTx};
use crate::error::{Error, Result};
use crate::id::OrganizationId;
use crate::vault::WrappedKey;

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub enum KeyState {
    /// New credentials are sealed with it.
    Active,
    /// It still opens old ones.
    DecryptOnly,
}

impl KeyState {
    /// The name, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::DecryptOnly => "decrypt_only",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::DecryptOnly].into_iter().find(|state| state.as_str() == name)
    }
}

type Row = (OrganizationId, i32, String, Vec<u8>);

fn wrapped_key((organization, version, root_key_id, wrapped): Row) -> Result<WrappedKey> {
    let version = u32::try_from(version).map_err(|error| Error::internal(anyhow::Error::from(error)))?;
    Ok(WrappedKey { organization, version, root_key_id, wrapped })
}

/// The key that new credentials are sealed with.
pub async fn active(tx: &OrgTx) -> Result<WrappedKey> {
    let row: Row = organization_keys::table::of(tx)
        .filter(organization_keys::state.eq(KeyState::Active))
        .select((
            organization_keys::organization_id,
            organization_keys::version,
            organization_keys::root_key_id,
            organization_keys::wrapped,
        ))
        .first(&mut tx.conn())
        .await?;
    wrapped_key(row)
}

/// A key, and how much is sealed with it.
#[derive(Debug, Clone)]
pub struct KeyUse {
    /// Counts from 1 within the organization.
    pub version: i32,
    /// What it is used for.
    pub state: KeyState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// How many credentials it seals.
    pub credentials: i64,
}

/// The organization's keys, oldest first, and how much each seals.
pub async fn list_with_counts(tx: &OrgTx) -> Result<Vec<KeyUse>> {
    type Key = (i32, KeyState, DateTime<Utc>);
    let keys = organization_keys::table::of(tx)
        .order(organization_keys::version.asc())
        .select((organization_keys::version, organization_keys::state, organization_keys::created_at))
        .load(&mut tx.conn());
    let counts = credentials::table::of(tx)
        .group_by(credentials::organization_key_version)
        .select((credentials::organization_key_version, diesel::dsl::count_star()))
        .load(&mut tx.conn());
    let (keys, counts): (Vec<Key>, Vec<(i32, i64)>) = try_join(keys, counts).await?;
    Ok(keys
        .into_iter()
        .map(|(version, state, created_at)| {
            let credentials = counts.iter().find(|(of, _)| *of == version).map_or(0, |(_, count)| *count);
            KeyUse { version, state, created_at, credentials }
        })
        .collect())
}

/// Adds a key, as the active one.
pub async fn create(tx: &SystemTx, key: &WrappedKey) -> Result<()> {
    let version = i32::try_from(key.version).map_err(|error| Error::internal(anyhow::Error::from(error)))?;
    diesel::insert_into(organization_keys::table)
        .values((
            organization_keys::organization_id.eq(key.organization),
            organization_keys::version.eq(version),
            organization_keys::root_key_id.eq(&key.root_key_id),
            organization_keys::wrapped.eq(&key.wrapped),
            organization_keys::state.eq(KeyState::Active),
        ))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// A root key that wraps some organization key and is not `known`.
pub async fn find_unknown_root_key(tx: &SystemTx, known: &str) -> Result<Option<String>> {
    Ok(organization_keys::table
        .filter(organization_keys::root_key_id.ne(known))
        .select(organization_keys::root_key_id)
        .first(&mut tx.conn())
        .await
        .optional()?)
}
