//! Configurations made, changed, given to others, deleted. What is changed was locked before
//! ([`find_for_update`](super::find_for_update)), and so is visible.

use chrono::{DateTime, Utc};
use diesel::dsl::{Eq, Filter as Filtered};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::{Configuration, HealthStatus, Owner};
use crate::auth::caller::Actor;
use crate::db::audit_log::Change;
use crate::db::schema::{configurations, credentials, grants};
use crate::db::scope::{OrgTable, OrgTx};
use crate::error::Result;
use crate::id::{ApiKeyId, ConfigurationId, ConnectorId, UserId};

/// A configuration to be made.
#[derive(Debug)]
pub struct NewConfiguration<'a> {
    /// Whose.
    pub owner: Owner,
    /// `pcon_...`
    pub connector_id: &'a str,
    /// For people.
    pub name: &'a str,
    /// What the connector needs to know.
    pub configuration: &'a Value,
    /// Whether it is in use.
    pub enabled: bool,
    /// What it is for.
    pub description: Option<&'a str>,
    /// What people need to find it again.
    pub metadata: Option<&'a Value>,
}

/// What an update changes. Absent: unchanged; `Some(None)`: cleared.
#[derive(Debug, Default, PartialEq)]
pub struct ConfigurationChanges {
    /// A new name.
    pub name: Option<String>,
    /// Other settings, whole.
    pub configuration: Option<Value>,
    /// Another description.
    pub description: Option<Option<String>>,
    /// Other metadata, whole.
    pub metadata: Option<Option<Value>>,
    /// Whether it is in use.
    pub enabled: Option<bool>,
}

/// Adds a configuration.
pub async fn create(tx: &OrgTx, new: &NewConfiguration<'_>) -> Result<Configuration> {
    let NewConfiguration { owner, connector_id, name, configuration, enabled, description, metadata } = *new;
    let id = ConfigurationId::generate();
    let (user, api_key) = owner_columns(owner);
    tx.changed(
        id,
        vec![
            Change::new("owner", (), owner.to_string()),
            Change::new("personalConnectorId", (), connector_id),
            Change::new("name", (), name),
            Change::new("configuration", (), configuration.clone()),
            Change::new("description", (), description),
            Change::new("metadata", (), metadata.cloned()),
            Change::new("enabled", (), enabled),
        ],
    );
    Ok(diesel::insert_into(configurations::table)
        .values((
            configurations::id.eq(id),
            configurations::owner_user_id.eq(user),
            configurations::owner_api_key_id.eq(api_key),
            configurations::connector_id.eq(connector_id),
            configurations::custom_connector_id.eq(connector_id.parse::<ConnectorId>().ok()),
            configurations::name.eq(name),
            configurations::configuration.eq(configuration),
            configurations::enabled.eq(enabled),
            configurations::description.eq(description),
            configurations::metadata.eq(metadata),
        ))
        .returning(Configuration::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

#[derive(AsChangeset)]
#[diesel(table_name = configurations)]
struct Columns {
    name: Option<String>,
    configuration: Option<Value>,
    description: Option<Option<String>>,
    metadata: Option<Option<Value>>,
    enabled: Option<bool>,
}

/// Changes a configuration that the caller has locked ([`super::find_for_update`]), and moves its version on.
pub async fn update(tx: &OrgTx, row: &Configuration, changes: ConfigurationChanges) -> Result<()> {
    let ConfigurationChanges { name, configuration, description, metadata, enabled } = changes;
    let id = row.id;
    let mut recorded = Vec::new();
    if let Some(name) = name.as_ref().filter(|name| **name != row.name) {
        recorded.push(Change::new("name", row.name.clone(), name.clone()));
    }
    if let Some(configuration) = &configuration {
        recorded.extend(Change::members("configuration", Some(&row.configuration), Some(configuration)));
    }
    if let Some(description) = description.as_ref().filter(|description| **description != row.description) {
        recorded.push(Change::new("description", row.description.clone(), description.clone()));
    }
    if let Some(metadata) = &metadata {
        recorded.extend(Change::members("metadata", row.metadata.as_ref(), metadata.as_ref()));
    }
    if let Some(enabled) = enabled.filter(|enabled| *enabled != row.enabled) {
        recorded.push(Change::new("enabled", row.enabled, enabled));
    }
    tx.changed(id, recorded);
    diesel::update(by_id(tx, id))
        .set((
            Columns { name, configuration, description, metadata, enabled },
            configurations::version.eq(configurations::version + 1),
            configurations::updated_at.eq(diesel::dsl::now),
        ))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Records that the credential was replaced or removed: the version moves on and the health is unknown again.
pub async fn touch_credential(tx: &OrgTx, id: ConfigurationId) -> Result<()> {
    tx.changed(id, vec![Change::secret("credentials")]);
    diesel::update(by_id(tx, id))
        .set((
            configurations::health_status.eq(HealthStatus::Unknown),
            configurations::last_error.eq(None::<String>),
            configurations::version.eq(configurations::version + 1),
            configurations::updated_at.eq(diesel::dsl::now),
        ))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Records what a connection test found. Neither the version nor `updated_at` move: nobody changed anything.
pub async fn record_health(
    tx: &OrgTx,
    id: ConfigurationId,
    status: HealthStatus,
    last_sync_at: Option<DateTime<Utc>>,
    last_error: Option<&str>,
) -> Result<()> {
    tx.about(id);
    diesel::update(by_id(tx, id))
        .set((
            configurations::health_status.eq(status),
            configurations::last_error.eq(last_error),
            last_sync_at.map(|time| configurations::last_sync_at.eq(time)),
        ))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Gives the configurations of somebody who leaves to another owner. How many.
///
/// The credentials of those that `to` was granted go along. The others are destroyed: else an admin could have the use of
/// anybody's account by removing them.
pub async fn transfer(tx: &OrgTx, from: UserId, to: Owner) -> Result<usize> {
    let (user, api_key) = owner_columns(to);
    let moved: Vec<ConfigurationId> =
        diesel::update(configurations::table::of(tx).filter(configurations::owner_user_id.eq(from)))
            .set((
                configurations::owner_user_id.eq(user),
                configurations::owner_api_key_id.eq(api_key),
                configurations::health_status.eq(HealthStatus::Unknown),
                configurations::last_error.eq(None::<String>),
                configurations::version.eq(configurations::version + 1),
                configurations::updated_at.eq(diesel::dsl::now),
            ))
            .returning(configurations::id)
            .get_results(&mut tx.conn())
            .await?;
    let granted = grants::table::of(tx)
        .filter(crate::db::grant::to_actor!(to))
        .filter(grants::configuration_id.eq_any(moved.clone()))
        .select(grants::configuration_id);
    let credentials = credentials::table::of(tx)
        .filter(credentials::configuration_id.eq_any(moved.clone()))
        .filter(credentials::configuration_id.ne_all(granted));
    let destroyed: Vec<ConfigurationId> =
        diesel::delete(credentials).returning(credentials::configuration_id).get_results(&mut tx.conn()).await?;
    for id in &destroyed {
        tx.also("credential.destroyed", id, Vec::new());
    }
    // The heir owns them now, and needs no grant.
    let of_heir = grants::table::of(tx)
        .filter(grants::configuration_id.eq_any(moved.clone()))
        .filter(grants::user_id.eq(user).or(grants::api_key_id.eq(api_key)));
    diesel::delete(of_heir).execute(&mut tx.conn()).await?;
    for id in &moved {
        let change = Change::new("owner", from.to_string(), to.to_string());
        tx.also("personal_connector_configuration.transferred", id, vec![change]);
    }
    Ok(moved.len())
}

/// Deletes the configurations of somebody who leaves, with their credentials.
pub async fn delete_of(tx: &OrgTx, owner: UserId) -> Result<()> {
    let gone: Vec<ConfigurationId> =
        diesel::delete(configurations::table::of(tx).filter(configurations::owner_user_id.eq(owner)))
            .returning(configurations::id)
            .get_results(&mut tx.conn())
            .await?;
    for id in &gone {
        tx.also("personal_connector_configuration.deleted", id, Vec::new());
    }
    Ok(())
}

fn owner_columns(owner: Owner) -> (Option<UserId>, Option<ApiKeyId>) {
    match owner {
        Actor::User(id) => (Some(id), None),
        Actor::ApiKey(id) => (None, Some(id)),
    }
}

/// Deletes a configuration that the caller has locked, and its credential with it.
pub async fn delete(tx: &OrgTx, id: ConfigurationId) -> Result<()> {
    tx.about(id);
    diesel::delete(by_id(tx, id)).execute(&mut tx.conn()).await?;
    Ok(())
}

type ById = Filtered<<configurations::table as OrgTable>::Scoped, Eq<configurations::id, ConfigurationId>>;

/// One that the caller has locked, and so sees.
fn by_id(tx: &OrgTx, id: ConfigurationId) -> ById {
    configurations::table::of(tx).filter(configurations::id.eq(id))
}
