//! Connectors that an organization has defined for itself, and what depends on them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::audit_log::Change;
use super::schema::{configurations, connectors, credentials};
use super::scope::{OrgTable, OrgTx};
use crate::error::Result;
use crate::id::{ConfigurationId, ConnectorId, OrganizationId, UserId};
use crate::vault::Kind;

/// A connector of an organization's own.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = connectors, check_for_backend(diesel::pg::Pg))]
pub struct Connector {
    /// `pcon_...`
    pub id: ConnectorId,
    /// Of which organization.
    pub organization_id: OrganizationId,
    /// For people; unique in the organization.
    pub name: String,
    /// What it is good for.
    pub description: Option<String>,
    /// Where it is filed.
    pub category: String,
    /// Its picture.
    pub icon_url: Option<String>,
    /// Where to read more.
    pub documentation_url: Option<String>,
    /// The one server that all its configurations use.
    pub server_url: String,
    /// As `connector::custom` writes them.
    pub auth_methods: Value,
    /// JSON Schema of its configurations.
    pub configuration_schema: Value,
    /// A configuration that passes the schema.
    pub example_configuration: Option<Value>,
    /// Whether new configurations may be made.
    pub enabled: bool,
    /// Why it will go away.
    pub deprecation_reason: Option<String>,
    /// Who defined it.
    pub created_by_user_id: Option<UserId>,
    /// Grows by one with each change.
    pub version: i32,
    /// When it was defined.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A connector to be defined.
#[derive(Debug)]
pub struct NewConnector<'a> {
    /// For people.
    pub name: &'a str,
    /// What it is good for.
    pub description: Option<&'a str>,
    /// Where it is filed.
    pub category: &'a str,
    /// Its picture.
    pub icon_url: Option<&'a str>,
    /// Where to read more.
    pub documentation_url: Option<&'a str>,
    /// The one server that all its configurations use.
    pub server_url: &'a str,
    /// As `connector::custom` writes them.
    pub auth_methods: &'a Value,
    /// JSON Schema of its configurations.
    pub configuration_schema: &'a Value,
    /// A configuration that passes the schema.
    pub example_configuration: Option<&'a Value>,
    /// Who defines it, if a person does.
    pub created_by: Option<UserId>,
}

/// What an update changes. Absent: unchanged; `Some(None)`: cleared.
#[derive(Debug, Default, PartialEq)]
pub struct ConnectorChanges {
    /// A new name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<Option<String>>,
    /// Another category.
    pub category: Option<String>,
    /// Another picture.
    pub icon_url: Option<Option<String>>,
    /// Another place to read more.
    pub documentation_url: Option<Option<String>>,
    /// Another address of the server.
    pub server_url: Option<String>,
    /// Other auth methods, all of them.
    pub auth_methods: Option<Value>,
    /// Another schema.
    pub configuration_schema: Option<Value>,
    /// Another example.
    pub example_configuration: Option<Option<Value>>,
    /// Whether new configurations may be made.
    pub enabled: Option<bool>,
    /// Why it will go away.
    pub deprecation_reason: Option<Option<String>>,
}

#[derive(AsChangeset)]
#[diesel(table_name = connectors)]
struct Columns {
    name: Option<String>,
    description: Option<Option<String>>,
    category: Option<String>,
    icon_url: Option<Option<String>>,
    documentation_url: Option<Option<String>>,
    server_url: Option<String>,
    auth_methods: Option<Value>,
    configuration_schema: Option<Value>,
    example_configuration: Option<Option<Value>>,
    enabled: Option<bool>,
    deprecation_reason: Option<Option<String>>,
}

/// All of the organization's own, by name.
pub async fn list(tx: &OrgTx) -> Result<Vec<Connector>> {
    Ok(connectors::table::of(tx).select(Connector::as_select()).order(connectors::name).load(&mut tx.conn()).await?)
}

/// Those of `ids` that are the organization's own.
pub async fn find_many(tx: &OrgTx, ids: &[ConnectorId]) -> Result<Vec<Connector>> {
    Ok(connectors::table::of(tx)
        .filter(connectors::id.eq_any(ids.to_vec()))
        .select(Connector::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// The connector that has this name already.
pub async fn find_by_name(tx: &OrgTx, name: &str) -> Result<Option<ConnectorId>> {
    Ok(connectors::table::of(tx)
        .filter(connectors::name.eq(name))
        .select(connectors::id)
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// One, that nobody can change or delete until the transaction ends. Any number of transactions may hold it so.
pub async fn find_for_share(tx: &OrgTx, id: ConnectorId) -> Result<Option<Connector>> {
    Ok(connectors::table::of(tx)
        .filter(connectors::id.eq(id))
        .select(Connector::as_select())
        .for_share()
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// One, that is this transaction's alone until it ends: nobody writes a configuration of it meanwhile.
pub async fn find_for_update(tx: &OrgTx, id: ConnectorId) -> Result<Option<Connector>> {
    Ok(connectors::table::of(tx)
        .filter(connectors::id.eq(id))
        .select(Connector::as_select())
        .for_update()
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// How many the organization has. Until the transaction ends nobody else gets an answer, so that two cannot both be the
/// last that fits.
pub async fn count_and_hold(tx: &OrgTx) -> Result<i64> {
    let (_, key) = tx.caller().organization().uuid().as_u64_pair();
    // Not for this table alone, but two organizations that wait for each other now and then do no harm.
    diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
        .bind::<BigInt, _>(key.cast_signed())
        .execute(&mut tx.conn())
        .await?;
    Ok(connectors::table::of(tx).count().get_result(&mut tx.conn()).await?)
}

/// Adds a connector.
pub async fn create(tx: &OrgTx, new: &NewConnector<'_>) -> Result<Connector> {
    let id = ConnectorId::generate();
    tx.changed(
        id,
        vec![
            Change::new("name", (), new.name),
            Change::new("serverUrl", (), new.server_url),
            Change::new("authMethods", (), new.auth_methods.clone()),
            Change::new("configurationSchema", (), new.configuration_schema.clone()),
        ],
    );
    Ok(diesel::insert_into(connectors::table)
        .values((
            connectors::id.eq(id),
            connectors::name.eq(new.name),
            connectors::description.eq(new.description),
            connectors::category.eq(new.category),
            connectors::icon_url.eq(new.icon_url),
            connectors::documentation_url.eq(new.documentation_url),
            connectors::server_url.eq(new.server_url),
            connectors::auth_methods.eq(new.auth_methods),
            connectors::configuration_schema.eq(new.configuration_schema),
            connectors::example_configuration.eq(new.example_configuration),
            connectors::created_by_user_id.eq(new.created_by),
        ))
        .returning(Connector::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// Changes a connector that the caller holds ([`find_for_update`]), and moves its version on.
pub async fn update(tx: &OrgTx, row: &Connector, changes: ConnectorChanges) -> Result<Connector> {
    let ConnectorChanges {
        name,
        description,
        category,
        icon_url,
        documentation_url,
        server_url,
        auth_methods,
        configuration_schema,
        example_configuration,
        enabled,
        deprecation_reason,
    } = changes;
    let mut recorded = Vec::new();
    let mut record = |field: &str, before: Value, after: Option<Value>| {
        recorded.extend(after.filter(|after| *after != before).map(|after| Change::new(field, before, after)));
    };
    let text = |text: &Option<String>| Value::from(text.clone());
    record("name", Value::from(row.name.clone()), name.clone().map(Value::from));
    record("description", text(&row.description), description.as_ref().map(text));
    record("category", Value::from(row.category.clone()), category.clone().map(Value::from));
    record("iconUrl", text(&row.icon_url), icon_url.as_ref().map(text));
    record("documentationUrl", text(&row.documentation_url), documentation_url.as_ref().map(text));
    record("serverUrl", Value::from(row.server_url.clone()), server_url.clone().map(Value::from));
    record("authMethods", row.auth_methods.clone(), auth_methods.clone());
    record("configurationSchema", row.configuration_schema.clone(), configuration_schema.clone());
    let example = |example: &Option<Value>| Value::from(example.clone());
    record("exampleConfiguration", example(&row.example_configuration), example_configuration.as_ref().map(example));
    record("enabled", Value::from(row.enabled), enabled.map(Value::from));
    record("deprecationReason", text(&row.deprecation_reason), deprecation_reason.as_ref().map(text));
    tx.changed(row.id, recorded);
    Ok(diesel::update(connectors::table::of(tx).filter(connectors::id.eq(row.id)))
        .set((
            Columns {
                name,
                description,
                category,
                icon_url,
                documentation_url,
                server_url,
                auth_methods,
                configuration_schema,
                example_configuration,
                enabled,
                deprecation_reason,
            },
            connectors::version.eq(connectors::version + 1),
            connectors::updated_at.eq(diesel::dsl::now),
        ))
        .returning(Connector::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// Deletes a connector that the caller holds and that no configuration uses.
pub async fn delete(tx: &OrgTx, id: ConnectorId) -> Result<()> {
    tx.about(id);
    diesel::delete(connectors::table::of(tx).filter(connectors::id.eq(id))).execute(&mut tx.conn()).await?;
    Ok(())
}

/// The organization's configurations of a connector, whosever they are, behind `after` by id.
pub async fn configurations(
    tx: &OrgTx,
    id: ConnectorId,
    after: Option<ConfigurationId>,
    limit: i64,
) -> Result<Vec<(ConfigurationId, Value)>> {
    let mut query = configurations::table::of(tx)
        .filter(configurations::custom_connector_id.eq(id.uuid()))
        .select((configurations::id, configurations::configuration))
        .order(configurations::id)
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(configurations::id.gt(after));
    }
    Ok(query.load(&mut tx.conn()).await?)
}

/// The ids of a connector's configurations.
pub async fn configuration_ids(tx: &OrgTx, id: ConnectorId) -> Result<Vec<ConfigurationId>> {
    Ok(configurations::table::of(tx)
        .filter(configurations::custom_connector_id.eq(id.uuid()))
        .select(configurations::id)
        .order(configurations::id)
        .load(&mut tx.conn())
        .await?)
}

/// A credential of one of a connector's configurations: whose, which kind, bound to which origin.
pub type Held = (ConfigurationId, Kind, String);

/// The credentials of a connector's configurations.
pub async fn credentials(tx: &OrgTx, id: ConnectorId) -> Result<Vec<Held>> {
    Ok(credentials::table::of(tx)
        .inner_join(
            configurations::table.on(configurations::organization_id
                .eq(credentials::organization_id)
                .and(configurations::id.eq(credentials::configuration_id))),
        )
        .filter(configurations::custom_connector_id.eq(id.uuid()))
        .select((credentials::configuration_id, credentials::kind, credentials::bound_origin))
        .order(credentials::configuration_id)
        .load(&mut tx.conn())
        .await?)
}
