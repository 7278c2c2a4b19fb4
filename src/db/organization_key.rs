//! Organization keys, wrapped. What they seal is in `db::credential`.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::organization_keys;
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
