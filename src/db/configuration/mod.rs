//! Personal connector configurations: the main object.
//!
//! Everything here begins at what is visible: people see their own and what was granted to them, admins and owners all of
//! the organization, an API key its own and what was granted to it. What is not visible is not there. What one may do
//! with what one sees is [`Access`].

mod access;
mod condition;
mod write;

use chrono::{DateTime, Utc};
use diesel::dsl::{And, Eq, LeftJoinQuerySource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Timestamptz};
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::access::Access;
pub(in crate::db) use self::access::{granted_to_viewer, owned_by, owned_by_viewer, visible};
pub use self::condition::Condition;
use self::condition::predicate;
pub use self::write::{
    ConfigurationChanges, NewConfiguration, create, delete, delete_of, record_health, touch_credential, transfer,
    update,
};
use crate::auth::caller::Actor;
use crate::db::credential::CredentialInfo;
use crate::db::filter::{Filter, Predicate};
use crate::db::grant::{self};
use crate::db::page::{Cursor, Key, Page, PageRequest, keyset};
use crate::db::schema::{configurations, credentials};
use crate::db::scope::{OrgTable, OrgTx};
use crate::error::Result;
use crate::id::{ApiKeyId, ConfigurationId, OrganizationId, UserId};

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

/// Whether there is such a configuration, and the caller may not see it.
pub async fn is_hidden(tx: &OrgTx, id: ConfigurationId) -> Result<bool> {
    let seen: Predicate<configurations::table> = visible!(tx);
    let hidden = configurations::table::of(tx).filter(configurations::id.eq(id)).filter(diesel::dsl::not(seen));
    Ok(diesel::select(diesel::dsl::exists(hidden)).get_result(&mut tx.conn()).await?)
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
