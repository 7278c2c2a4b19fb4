//! Personal connector configurations: the main object.
//!
//! Everything here begins at what is visible: people see their own and what was granted to them, admins and owners all of
//! the organization, an API key its own and what was granted to it. What is not visible is not there. What one may do
//! with what one sees is [`Access`].

use chrono::{DateTime, Utc};
use diesel::dsl::{And, Eq, Filter as Filtered, LeftJoinQuerySource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Timestamptz};
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::audit_log::Change;
use super::credential::CredentialInfo;
use super::filter::{
    Filter, Predicate, TextOp, TimeOp, always, and, jsonb_typeof, lower, or, starts_with, strpos, text, time,
};
use super::grant::{self, Permission};
use super::page::{Cursor, Key, Page, PageRequest, keyset};
use super::schema::{configurations, credentials, grants};
use super::scope::{OrgTable, OrgTx};
use crate::auth::caller::{Actor, Caller};
use crate::error::Result;
use crate::id::{ApiKeyId, ConfigurationId, ConnectorId, OrganizationId, UserId};
use crate::vault::Kind;

/// Result of the latest connection test.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Clone, Queryable, Selectable, Serialize, Deserialize)]
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

fn on() -> On {
    credentials::organization_id
        .eq(configurations::organization_id)
        .and(credentials::configuration_id.eq(configurations::id))
}

/// One's own, on any source that has the table.
macro_rules! owned_by {
    ($owner:expr) => {
        match $owner {
            Actor::User(id) => and(
                Box::new(configurations::owner_user_id.is_not_null()),
                Box::new(configurations::owner_user_id.assume_not_null().eq(id)),
            ),
            Actor::ApiKey(id) => and(
                Box::new(configurations::owner_api_key_id.is_not_null()),
                Box::new(configurations::owner_api_key_id.assume_not_null().eq(id)),
            ),
        }
    };
}

/// The caller's own, on any source that has the table.
macro_rules! owned_by_viewer {
    ($tx:expr) => {
        super::configuration::owned_by!($tx.caller().actor())
    };
}
pub(super) use {owned_by, owned_by_viewer};

/// Granted to the caller, on any source that has the table.
macro_rules! granted_to_viewer {
    ($tx:expr) => {
        Box::new(
            configurations::id
                .eq_any(grants::table::of($tx).filter(grant::to_viewer!($tx)).select(grants::configuration_id)),
        )
    };
}

/// What the caller may see, on any source that has the table.
macro_rules! visible {
    ($tx:expr) => {
        if $tx.caller().sees_all() { always(true) } else { or(owned_by_viewer!($tx), granted_to_viewer!($tx)) }
    };
}

/// What the caller may do with a configuration that it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    is_owner: bool,
    is_admin: bool,
    granted: Option<Permission>,
}

impl Access {
    /// Change its settings.
    pub fn may_update(self) -> bool {
        self.may_control() || self.granted == Some(Permission::Manage)
    }

    /// Delete it, replace its credential, see what is known of that, change where it is sent.
    pub fn may_control(self) -> bool {
        self.is_owner || self.is_admin
    }

    /// Have its credential used: test it, see and call its tools. Not an admin's by itself.
    pub fn may_use(self) -> bool {
        self.is_owner || self.granted.is_some()
    }

    /// Give others access.
    pub fn may_grant(self) -> bool {
        self.is_owner
    }
}

impl Configuration {
    /// Who it belongs to.
    ///
    /// # Panics
    /// Never: a check of the table says that it has exactly one owner.
    pub fn owner(&self) -> Owner {
        let user = self.owner_user_id.map(Actor::User);
        user.or(self.owner_api_key_id.map(Actor::ApiKey)).expect("a configuration has an owner")
    }

    /// What `caller` may do with it, when `granted` is what was granted to it.
    pub fn access(&self, caller: &Caller, granted: Option<Permission>) -> Access {
        Access { is_owner: self.owner() == caller.actor(), is_admin: caller.sees_all(), granted }
    }
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
    /// It was granted to the caller.
    Granted,
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

fn predicate(tx: &OrgTx, condition: &Condition) -> Predicate<Source> {
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
        Condition::Granted => granted_to_viewer!(tx),
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
    let query = configurations::table::of(tx)
        .left_join(credentials::table.on(on()))
        .filter(visible(tx))
        .filter(filter.to_sql(&|condition| predicate(tx, condition)))
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
    let total = configurations::table::of(tx)
        .left_join(credentials::table.on(on()))
        .filter(visible(tx))
        .filter(filter.to_sql(&|condition| predicate(tx, condition)))
        .count()
        .get_result(&mut tx.conn());
    let (rows, total) = try_join(rows, total).await?;
    Ok(page.page(rows, Some(total)))
}

/// Those of `ids` that are visible.
pub async fn find_many(tx: &OrgTx, ids: &[ConfigurationId]) -> Result<Vec<WithCredential>> {
    Ok(configurations::table::of(tx)
        .left_join(credentials::table.on(on()))
        .filter(visible(tx))
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
pub async fn find_for_update(tx: &OrgTx, id: ConfigurationId) -> Result<Option<(Configuration, Access)>> {
    Ok(find_many_for_update(tx, &[id]).await?.pop())
}

/// Those of `ids` that are visible, each with what the caller may do, locked against other writers until the transaction
/// ends. In the order of their ids, so that two who lock several do not wait for each other.
pub async fn find_many_for_update(tx: &OrgTx, ids: &[ConfigurationId]) -> Result<Vec<(Configuration, Access)>> {
    let seen: Predicate<configurations::table> = visible!(tx);
    let rows: Vec<Configuration> = configurations::table::of(tx)
        .filter(seen)
        .filter(configurations::id.eq_any(ids.to_vec()))
        .order(configurations::id.asc())
        .select(Configuration::as_select())
        .for_no_key_update()
        .load(&mut tx.conn())
        .await?;
    let granted = grant::permissions_of_viewer(tx, &rows.iter().map(|row| row.id).collect::<Vec<_>>()).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let access = row.access(tx.caller(), granted.get(&row.id).copied());
            (row, access)
        })
        .collect())
}

/// The ids of the first `limit` visible configurations that `filter` lets through.
pub async fn list_ids(tx: &OrgTx, filter: &Filter<Condition>, limit: i64) -> Result<Vec<ConfigurationId>> {
    Ok(configurations::table::of(tx)
        .left_join(credentials::table.on(on()))
        .filter(visible(tx))
        .filter(filter.to_sql(&|condition| predicate(tx, condition)))
        .order(configurations::id.asc())
        .limit(limit)
        .select(configurations::id)
        .load(&mut tx.conn())
        .await?)
}

fn visible(tx: &OrgTx) -> Predicate<Source> {
    visible!(tx)
}

/// The configuration that has this name already, if the caller may see it.
pub async fn find_by_name(tx: &OrgTx, owner: Owner, connector_id: &str, name: &str) -> Result<Option<ConfigurationId>> {
    let seen: Predicate<configurations::table> = visible!(tx);
    let owned: Predicate<configurations::table> = owned_by!(owner);
    Ok(configurations::table::of(tx)
        .filter(seen)
        .filter(owned)
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

/// Changes a configuration that the caller has locked ([`find_for_update`]), and moves its version on.
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
pub async fn transfer(tx: &OrgTx, from: UserId, to: Owner) -> Result<usize> {
    let (user, api_key) = owner_columns(to);
    let moved: Vec<ConfigurationId> =
        diesel::update(configurations::table::of(tx).filter(configurations::owner_user_id.eq(from)))
            .set((
                configurations::owner_user_id.eq(user),
                configurations::owner_api_key_id.eq(api_key),
                configurations::version.eq(configurations::version + 1),
                configurations::updated_at.eq(diesel::dsl::now),
            ))
            .returning(configurations::id)
            .get_results(&mut tx.conn())
            .await?;
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
