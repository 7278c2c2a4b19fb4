//! Credentials, sealed. At most one for a configuration. Nothing here can open one.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::schema::{configurations, credentials};
use super::scope::{OrgTable, OrgTx};
use crate::error::{Error, Result};
use crate::id::ConfigurationId;
use crate::vault::Kind;

/// What may be told of a credential. There is no field for a value.
#[derive(Debug, Clone, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = credentials, check_for_backend(diesel::pg::Pg))]
pub struct CredentialInfo {
    /// Which kind.
    pub kind: Kind,
    /// Where it may be sent; empty where the origin is in the program.
    pub bound_origin: String,
    /// The organization key that seals it.
    pub organization_key_version: i32,
    /// When an access token ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it can be renewed without the person.
    pub refreshable: bool,
    /// OAuth 2 scopes that were granted.
    pub scopes: Vec<Option<String>>,
    /// When it was set or rotated.
    pub rotated_at: DateTime<Utc>,
}

/// A sealed credential, to be stored.
pub struct SealedCredential<'a> {
    /// Which kind.
    pub kind: Kind,
    /// The revision it is bound to.
    pub revision: u64,
    /// Where it may be sent.
    pub bound_origin: &'a str,
    /// The organization key that seals it.
    pub organization_key_version: u32,
    /// The envelope.
    pub sealed: &'a [u8],
    /// When an access token ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it can be renewed without the person.
    pub refreshable: bool,
    /// OAuth 2 scopes that were granted.
    pub scopes: &'a [String],
}

/// The next revision number of a configuration's credential. Never given twice, so an old envelope cannot be put back.
pub async fn next_revision(tx: &OrgTx, configuration: ConfigurationId) -> Result<u64> {
    let revision: i64 = diesel::update(configurations::table::of(tx).filter(configurations::id.eq(configuration)))
        .set(configurations::credential_revision.eq(configurations::credential_revision + 1))
        .returning(configurations::credential_revision)
        .get_result(&mut tx.conn())
        .await?;
    u64::try_from(revision).map_err(|error| Error::internal(anyhow::Error::from(error)))
}

/// What is known of a configuration's credential, if there is one.
pub async fn find(tx: &OrgTx, configuration: ConfigurationId) -> Result<Option<CredentialInfo>> {
    Ok(credentials::table::of(tx)
        .filter(credentials::configuration_id.eq(configuration))
        .select(CredentialInfo::as_select())
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// Stores a credential in place of the one there is. The caller's transaction has named the configuration.
pub async fn put(tx: &OrgTx, configuration: ConfigurationId, new: &SealedCredential<'_>) -> Result<()> {
    let too_large = |error: std::num::TryFromIntError| Error::internal(anyhow::Error::from(error));
    let values = (
        credentials::revision.eq(i64::try_from(new.revision).map_err(too_large)?),
        credentials::kind.eq(new.kind),
        credentials::bound_origin.eq(new.bound_origin),
        credentials::organization_key_version.eq(i32::try_from(new.organization_key_version).map_err(too_large)?),
        credentials::sealed.eq(new.sealed),
        credentials::expires_at.eq(new.expires_at),
        credentials::refreshable.eq(new.refreshable),
        credentials::scopes.eq(new.scopes),
        credentials::rotated_at.eq(diesel::dsl::now),
    );
    diesel::insert_into(credentials::table)
        .values((credentials::configuration_id.eq(configuration), values))
        .on_conflict((credentials::organization_id, credentials::configuration_id))
        .do_update()
        .set(values)
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Destroys a configuration's credential. Whether there was one.
pub async fn delete(tx: &OrgTx, configuration: ConfigurationId) -> Result<bool> {
    let deleted = diesel::delete(credentials::table::of(tx).filter(credentials::configuration_id.eq(configuration)))
        .execute(&mut tx.conn())
        .await?;
    Ok(deleted > 0)
}
