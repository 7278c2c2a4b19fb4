//! Personal connector configurations: the main object.
//!
//! Everything here begins at `visible`: people see their own, admins and owners all of the organization, an API key its
//! own. What is not visible is not there.

use chrono::{DateTime, Utc};
use diesel::dsl::{And, AsExprOf, Eq, Filter as Filtered, LeftJoinQuerySource, Or};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Timestamptz};
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;
use serde_json::Value;

use super::credential::CredentialInfo;
use super::filter::{
    Filter, Predicate, TextOp, TimeOp, always, and, jsonb_typeof, lower, or, starts_with, strpos, text, time,
};
use super::page::{Cursor, Key, Page, PageRequest, keyset};
use super::schema::{configurations, credentials};
use super::scope::{OrgTable, OrgTx};
use crate::auth::caller::Actor;
use crate::error::Result;
use crate::id::{ApiKeyId, ConfigurationId, ConnectorId, OrganizationId, UserId};
use crate::vault::Kind;

/// Result of the latest connection test.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub enum HealthStatus {
    /// Connection is working.
    Healthy,
    /// Connection failed or credentials invalid.
    Unhealthy,
    /// Not yet tested.
    Unknown,
}

impl HealthStatus {
    /// The name, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Healthy, Self::Unhealthy, Self::Unknown].into_iter().find(|status| status.as_str() == name)
    }
}

/// Who a configuration belongs to.
pub type Owner = Actor;

/// A configuration, without its credential.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = configurations, check_for_backend(Pg))]
pub struct Configuration {
    /// `pconf_...`
    pub id: ConfigurationId,
    /// Of which organization.
    pub organization_id: OrganizationId,
    /// The person who owns it; exactly one of the two owners is set.
    pub owner_user_id: Option<UserId>,
    /// The API key that owns it.
    pub owner_api_key_id: Option<ApiKeyId>,
    /// `pcon_...`
    pub connector_id: String,
    /// For people; unique for one owner and connector.
    pub name: String,
    /// What the connector needs to know.
    pub configuration: Value,
    /// Whether it is in use.
    pub enabled: bool,
    /// As of the latest check.
    pub health_status: HealthStatus,
    /// The latest check that succeeded.
    pub last_sync_at: Option<DateTime<Utc>>,
    /// Why it is unhealthy.
    pub last_error: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What people need to find it again.
    pub metadata: Option<Value>,
    /// Grows by one with each change.
    pub version: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When a person or key last changed it.
    pub updated_at: DateTime<Utc>,
}

/// A configuration, and what may be told of its credential.
pub type WithCredential = (Configuration, Option<CredentialInfo>);

impl Configuration {
    /// Where it stands in a list of that order.
    pub fn cursor(&self, field: OrderField) -> Cursor {
        let key = match field {
            OrderField::CreatedAt => Key::Time(self.created_at),
            OrderField::UpdatedAt => Key::Time(self.updated_at),
            OrderField::Name => Key::Text(self.name.clone()),
            OrderField::LastSyncAt => Key::Time(self.last_sync_at.unwrap_or(NEVER)),
            OrderField::HealthStatus => Key::Text(self.health_status.as_str().to_owned()),
        };
        Cursor { key, id: self.id.uuid() }
    }
}

/// Stands for "never synced" in the order: before every other moment.
const NEVER: DateTime<Utc> = DateTime::from_timestamp(-62_135_596_800, 0).expect("year 1 is a date");

/// What a list is ordered by. Ties are broken by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderField {
    /// When it was made.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
    /// By code points.
    Name,
    /// Never synced comes first in ascending order.
    LastSyncAt,
    /// healthy, unhealthy, unknown.
    HealthStatus,
}

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

type On = And<
    Eq<credentials::organization_id, configurations::organization_id>,
    Eq<credentials::configuration_id, configurations::id>,
>;
type Source = LeftJoinQuerySource<configurations::table, credentials::table, On>;
type OwnedBy = Or<
    Eq<configurations::owner_user_id, Option<UserId>>,
    Eq<configurations::owner_api_key_id, Option<ApiKeyId>>,
    Nullable<Bool>,
>;
type Visible = Filtered<
    <configurations::table as OrgTable>::Scoped,
    Or<OwnedBy, AsExprOf<Option<bool>, Nullable<Bool>>, Nullable<Bool>>,
>;

fn on() -> On {
    credentials::organization_id
        .eq(configurations::organization_id)
        .and(credentials::configuration_id.eq(configurations::id))
}

/// The configurations that the caller may see.
fn visible(tx: &OrgTx) -> Visible {
    let all = Some(tx.caller().sees_all()).into_sql::<Nullable<Bool>>();
    configurations::table::of(tx).filter(owned_by(tx.caller().actor()).or(all))
}

/// One of the two is compared with NULL, which is not true of any row.
fn owned_by(owner: Owner) -> OwnedBy {
    let (user, api_key) = match owner {
        Actor::User(id) => (Some(id), None),
        Actor::ApiKey(id) => (None, Some(id)),
    };
    configurations::owner_user_id.eq(user).or(configurations::owner_api_key_id.eq(api_key))
}

/// What a list of configurations may be narrowed by.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Its id is one of these.
    Id(Vec<ConfigurationId>),
    /// A person owns it.
    HasUser,
    /// One of these people owns it.
    User(Vec<UserId>),
    /// An API key owns it.
    HasApiKey,
    /// One of these keys owns it.
    ApiKey(Vec<ApiKeyId>),
    /// It configures one of these connectors.
    Connector(Vec<String>),
    /// Its name.
    Name(TextOp),
    /// Has a description.
    HasDescription,
    /// Its description.
    Description(TextOp),
    /// Is in use.
    Enabled,
    /// Its health is one of these.
    Health(Vec<HealthStatus>),
    /// Has a credential.
    HasCredential,
    /// Has a credential of one of these kinds.
    Credential(Vec<Kind>),
    /// Was synced.
    HasLastSyncAt,
    /// When it was last synced.
    LastSyncAt(TimeOp),
    /// Has an error.
    HasLastError,
    /// Its error.
    LastError(TextOp),
    /// When it was made.
    CreatedAt(TimeOp),
    /// When it was changed.
    UpdatedAt(TimeOp),
    /// Has metadata: at least one pair.
    HasMetadata,
    /// Its metadata hold all of these pairs.
    MetadataContains(Value),
    /// Its metadata have one of these keys.
    MetadataAnyKey(Vec<String>),
    /// Its metadata have all of these keys.
    MetadataAllKeys(Vec<String>),
    /// The text under a metadata key.
    MetadataText(String, TextOp),
    /// Its settings hold this.
    ConfigurationContains(Value),
    /// Its settings have this key.
    ConfigurationKey(String),
    /// Name or description hold this word, in any case.
    Holds(String),
}

fn predicate(condition: &Condition) -> Predicate<Source> {
    use configurations as c;
    let given = |has: Predicate<Source>, holds: Predicate<Source>| and(has, holds);
    match condition {
        Condition::Id(ids) => Box::new(c::id.eq_any(ids.clone())),
        Condition::HasUser => Box::new(c::owner_user_id.is_not_null()),
        Condition::User(ids) => given(
            Box::new(c::owner_user_id.is_not_null()),
            Box::new(c::owner_user_id.assume_not_null().eq_any(ids.clone())),
        ),
        Condition::HasApiKey => Box::new(c::owner_api_key_id.is_not_null()),
        Condition::ApiKey(ids) => given(
            Box::new(c::owner_api_key_id.is_not_null()),
            Box::new(c::owner_api_key_id.assume_not_null().eq_any(ids.clone())),
        ),
        Condition::Connector(ids) => Box::new(c::connector_id.eq_any(ids.clone())),
        Condition::Name(op) => text!(c::name, op),
        Condition::HasDescription => Box::new(c::description.is_not_null()),
        Condition::Description(op) => {
            given(Box::new(c::description.is_not_null()), text!(c::description.assume_not_null(), op))
        }
        Condition::Enabled => Box::new(c::enabled.eq(true)),
        Condition::Health(statuses) => Box::new(c::health_status.eq_any(statuses.clone())),
        Condition::HasCredential => Box::new(credentials::kind.nullable().is_not_null()),
        Condition::Credential(kinds) => given(
            Box::new(credentials::kind.nullable().is_not_null()),
            Box::new(credentials::kind.nullable().assume_not_null().eq_any(kinds.clone())),
        ),
        Condition::HasLastSyncAt => Box::new(c::last_sync_at.is_not_null()),
        Condition::LastSyncAt(op) => {
            given(Box::new(c::last_sync_at.is_not_null()), time!(c::last_sync_at.assume_not_null(), op))
        }
        Condition::HasLastError => Box::new(c::last_error.is_not_null()),
        Condition::LastError(op) => {
            given(Box::new(c::last_error.is_not_null()), text!(c::last_error.assume_not_null(), op))
        }
        Condition::CreatedAt(op) => time!(c::created_at, op),
        Condition::UpdatedAt(op) => time!(c::updated_at, op),
        Condition::HasMetadata => given(
            Box::new(c::metadata.is_not_null()),
            Box::new(c::metadata.assume_not_null().ne(Value::Object(serde_json::Map::new()))),
        ),
        Condition::MetadataContains(pairs) if pairs.as_object().is_some_and(serde_json::Map::is_empty) => always(true),
        Condition::MetadataContains(pairs) => {
            given(Box::new(c::metadata.is_not_null()), Box::new(c::metadata.assume_not_null().contains(pairs.clone())))
        }
        Condition::MetadataAnyKey(keys) => given(
            Box::new(c::metadata.is_not_null()),
            Box::new(c::metadata.assume_not_null().has_any_key(keys.clone())),
        ),
        Condition::MetadataAllKeys(keys) if keys.is_empty() => always(true),
        Condition::MetadataAllKeys(keys) => given(
            Box::new(c::metadata.is_not_null()),
            Box::new(c::metadata.assume_not_null().has_all_keys(keys.clone())),
        ),
        Condition::MetadataText(key, op) => {
            let value = || c::metadata.assume_not_null().retrieve_as_object(key.clone());
            let text = || c::metadata.assume_not_null().retrieve_as_text(key.clone());
            given(
                Box::new(c::metadata.is_not_null()),
                given(Box::new(jsonb_typeof(value()).is_not_distinct_from("string")), text!(text(), op)),
            )
        }
        Condition::ConfigurationContains(value) => Box::new(c::configuration.contains(value.clone())),
        Condition::ConfigurationKey(key) => Box::new(c::configuration.has_key(key.clone())),
        Condition::Holds(word) => or(
            Box::new(strpos(lower(c::name), lower(word.clone())).gt(0)),
            given(
                Box::new(c::description.is_not_null()),
                Box::new(strpos(lower(c::description.assume_not_null()), lower(word.clone())).gt(0)),
            ),
        ),
    }
}

diesel::define_sql_function! {
    /// `other` where there is no value.
    fn coalesce(value: Nullable<Timestamptz>, other: Timestamptz) -> Timestamptz;
}

/// A page of the visible configurations that `filter` lets through.
pub async fn list(
    tx: &OrgTx,
    filter: &Filter<Condition>,
    order: OrderField,
    descending: bool,
    page: &PageRequest,
) -> Result<Page<WithCredential>> {
    use configurations as c;
    let query = visible(tx)
        .left_join(credentials::table.on(on()))
        .filter(filter.to_sql(&predicate))
        .select((Configuration::as_select(), Option::<CredentialInfo>::as_select()))
        .into_boxed();
    let query = match order {
        OrderField::CreatedAt => keyset!(query, page, descending, c::created_at, c::id, time),
        OrderField::UpdatedAt => keyset!(query, page, descending, c::updated_at, c::id, time),
        OrderField::Name => keyset!(query, page, descending, c::name, c::id, text),
        OrderField::LastSyncAt => keyset!(query, page, descending, coalesce(c::last_sync_at, NEVER), c::id, time),
        OrderField::HealthStatus => keyset!(query, page, descending, c::health_status, c::id, text),
    };
    let rows = query.load(&mut tx.conn());
    if !page.count {
        return Ok(page.page(rows.await?, None));
    }
    let total = visible(tx)
        .left_join(credentials::table.on(on()))
        .filter(filter.to_sql(&predicate))
        .count()
        .get_result(&mut tx.conn());
    let (rows, total) = try_join(rows, total).await?;
    Ok(page.page(rows, Some(total)))
}

/// Those of `ids` that are visible.
pub async fn find_many(tx: &OrgTx, ids: &[ConfigurationId]) -> Result<Vec<WithCredential>> {
    Ok(visible(tx)
        .left_join(credentials::table.on(on()))
        .filter(configurations::id.eq_any(ids.to_vec()))
        .select((Configuration::as_select(), Option::<CredentialInfo>::as_select()))
        .load(&mut tx.conn())
        .await?)
}

/// One, if it is visible.
pub async fn find(tx: &OrgTx, id: ConfigurationId) -> Result<Option<WithCredential>> {
    Ok(find_many(tx, &[id]).await?.pop())
}

/// One, if it is visible, locked against other writers until the transaction ends.
pub async fn find_for_update(tx: &OrgTx, id: ConfigurationId) -> Result<Option<Configuration>> {
    Ok(visible(tx)
        .filter(configurations::id.eq(id))
        .select(Configuration::as_select())
        .for_no_key_update()
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// The configuration that has this name already.
pub async fn find_by_name(tx: &OrgTx, owner: Owner, connector_id: &str, name: &str) -> Result<Option<ConfigurationId>> {
    Ok(configurations::table::of(tx)
        .filter(owned_by(owner))
        .filter(configurations::connector_id.eq(connector_id))
        .filter(configurations::name.eq(name))
        .select(configurations::id)
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// Adds a configuration.
pub async fn create(tx: &OrgTx, new: &NewConfiguration<'_>) -> Result<Configuration> {
    let NewConfiguration { owner, connector_id, name, configuration, enabled, description, metadata } = *new;
    let id = ConfigurationId::generate();
    let (user, api_key) = match owner {
        Actor::User(id) => (Some(id), None),
        Actor::ApiKey(id) => (None, Some(id)),
    };
    tx.about(id);
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

/// Changes a configuration that the caller has locked ([`find_for_update`]), and moves its version on.
pub async fn update(tx: &OrgTx, id: ConfigurationId, changes: ConfigurationChanges) -> Result<()> {
    let ConfigurationChanges { name, configuration, description, metadata, enabled } = changes;
    tx.about(id);
    diesel::update(visible_by_id(tx, id))
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
    tx.about(id);
    diesel::update(visible_by_id(tx, id))
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
    diesel::update(visible_by_id(tx, id))
        .set((
            configurations::health_status.eq(status),
            configurations::last_error.eq(last_error),
            last_sync_at.map(|time| configurations::last_sync_at.eq(time)),
        ))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// Deletes a configuration that the caller has locked, and its credential with it.
pub async fn delete(tx: &OrgTx, id: ConfigurationId) -> Result<()> {
    tx.about(id);
    diesel::delete(visible_by_id(tx, id)).execute(&mut tx.conn()).await?;
    Ok(())
}

fn visible_by_id(tx: &OrgTx, id: ConfigurationId) -> Filtered<Visible, Eq<configurations::id, ConfigurationId>> {
    visible(tx).filter(configurations::id.eq(id))
}
