//! Access to configurations, given by their owners: who besides the owner may do what.
//!
//! A grant to the organization is for every member, and so for people: an API key needs one of its own.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::audit_log::Change;
use super::configuration::owned_by_viewer;
use super::filter::{Predicate, always};
use super::schema::{configurations, grants};
use super::scope::{OrgTable, OrgTx};
use crate::auth::caller::Actor;
use crate::error::Result;
use crate::id::{ApiKeyId, ConfigurationId, GrantId, UserId};

/// What a grant allows. The later one includes the earlier.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub enum Permission {
    /// See it and its tools, test it, call its tools. Never the credential.
    Use,
    /// Change its settings too. Never the credential, nor where it is sent.
    Manage,
}

impl Permission {
    /// The name, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Use => "use",
            Self::Manage => "manage",
        }
    }

    /// The permission of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Use, Self::Manage].into_iter().find(|permission| permission.as_str() == name)
    }
}

/// Who is given access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// A person or an API key.
    Actor(Actor),
    /// Every member.
    Organization,
}

impl Grantee {
    fn columns(self) -> (Option<UserId>, Option<ApiKeyId>) {
        match self {
            Self::Actor(Actor::User(id)) => (Some(id), None),
            Self::Actor(Actor::ApiKey(id)) => (None, Some(id)),
            Self::Organization => (None, None),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Actor(actor) => actor.to_string(),
            Self::Organization => "organization".to_owned(),
        }
    }
}

/// A grant.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = grants, check_for_backend(diesel::pg::Pg))]
pub struct Grant {
    /// `grant_...`
    pub id: GrantId,
    /// To which configuration.
    pub configuration_id: ConfigurationId,
    /// To this person.
    pub user_id: Option<UserId>,
    /// To this API key; with neither, to every member.
    pub api_key_id: Option<ApiKeyId>,
    /// What it allows.
    pub permission: Permission,
    /// Who gave it, if a person did.
    pub granted_by_user_id: Option<UserId>,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl Grant {
    fn grantee(&self) -> Grantee {
        match (self.user_id, self.api_key_id) {
            (Some(id), _) => Grantee::Actor(Actor::User(id)),
            (None, Some(id)) => Grantee::Actor(Actor::ApiKey(id)),
            (None, None) => Grantee::Organization,
        }
    }
}

/// The grants that let somebody do something. A comparison with NULL is not true of any row.
macro_rules! to_actor {
    ($actor:expr) => {{
        let (user, api_key) = match $actor {
            crate::auth::caller::Actor::User(id) => (Some(id), None),
            crate::auth::caller::Actor::ApiKey(id) => (None, Some(id)),
        };
        let people = user.is_some().into_sql::<diesel::sql_types::Bool>();
        let organization = crate::db::schema::grants::user_id
            .is_null()
            .and(crate::db::schema::grants::api_key_id.is_null())
            .and(people);
        crate::db::schema::grants::user_id
            .eq(user)
            .or(crate::db::schema::grants::api_key_id.eq(api_key))
            .or(organization)
    }};
}
pub(super) use to_actor;

/// What was granted to the caller of each of `ids`: the most of it.
pub async fn permissions_of_viewer(
    tx: &OrgTx,
    ids: &[ConfigurationId],
) -> Result<HashMap<ConfigurationId, Permission>> {
    let rows: Vec<(ConfigurationId, Permission)> = grants::table::of(tx)
        .filter(grants::configuration_id.eq_any(ids.to_vec()))
        .filter(to_actor!(tx.caller().actor()))
        .select((grants::configuration_id, grants::permission))
        .load(&mut tx.conn())
        .await?;
    let mut most = HashMap::new();
    for (id, permission) in rows {
        let known = most.entry(id).or_insert(permission);
        *known = permission.max(*known);
    }
    Ok(most)
}

/// The grants of those of `ids` whose grants the caller may see: as the owner, or as an admin. Oldest first.
pub async fn list_of(tx: &OrgTx, ids: &[ConfigurationId]) -> Result<Vec<Grant>> {
    Ok(grants::table::of(tx)
        .inner_join(configurations::table.on(on()))
        .filter(grants::configuration_id.eq_any(ids.to_vec()))
        .filter(shown(tx))
        .order((grants::created_at.asc(), grants::id.asc()))
        .select(Grant::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// Those of `ids` that the caller may see: as the owner of the configuration, or as an admin.
pub async fn find_many(tx: &OrgTx, ids: &[GrantId]) -> Result<Vec<Grant>> {
    Ok(grants::table::of(tx)
        .inner_join(configurations::table.on(on()))
        .filter(grants::id.eq_any(ids.to_vec()))
        .filter(shown(tx))
        .select(Grant::as_select())
        .load(&mut tx.conn())
        .await?)
}

type On = diesel::dsl::And<
    diesel::dsl::Eq<configurations::organization_id, grants::organization_id>,
    diesel::dsl::Eq<configurations::id, grants::configuration_id>,
>;

fn on() -> On {
    configurations::organization_id.eq(grants::organization_id).and(configurations::id.eq(grants::configuration_id))
}

fn shown(tx: &OrgTx) -> Predicate<diesel::dsl::InnerJoinQuerySource<grants::table, configurations::table, On>> {
    if tx.caller().sees_all() { always(true) } else { owned_by_viewer!(tx) }
}

/// Gives access, or changes what an earlier grant to the same grantee allows. `None` when the grantee goes meanwhile.
pub async fn put(
    tx: &OrgTx,
    configuration: ConfigurationId,
    grantee: Grantee,
    permission: Permission,
) -> Result<Option<Grant>> {
    let (user, api_key) = grantee.columns();
    let by = match tx.caller().actor() {
        Actor::User(id) => (grants::granted_by_user_id.eq(Some(id)), grants::granted_by_api_key_id.eq(None)),
        Actor::ApiKey(id) => (grants::granted_by_user_id.eq(None), grants::granted_by_api_key_id.eq(Some(id))),
    };
    let known: Option<Grant> = grants::table::of(tx)
        .filter(grants::configuration_id.eq(configuration))
        .filter(grants::user_id.is_not_distinct_from(user))
        .filter(grants::api_key_id.is_not_distinct_from(api_key))
        .select(Grant::as_select())
        .first(&mut tx.conn())
        .await
        .optional()?;
    let before = known.as_ref().map(|grant| grant.permission.as_str());
    tx.changed(configuration, vec![Change::new(format!("grants.{}", grantee.describe()), before, permission.as_str())]);
    let grant = match known {
        // It may be gone again, together with the grantee.
        Some(known) => diesel::update(grants::table::of(tx).filter(grants::id.eq(known.id)))
            .set(grants::permission.eq(permission))
            .returning(Grant::as_returning())
            .get_result(&mut tx.conn())
            .await
            .optional()?,
        None => diesel::insert_into(grants::table)
            .values((
                grants::id.eq(GrantId::generate()),
                grants::configuration_id.eq(configuration),
                grants::user_id.eq(user),
                grants::api_key_id.eq(api_key),
                grants::permission.eq(permission),
                by,
            ))
            .returning(Grant::as_returning())
            .get_result(&mut tx.conn())
            .await
            .map(Some)?,
    };
    Ok(grant)
}

/// How many grants a configuration has.
pub async fn count(tx: &OrgTx, configuration: ConfigurationId) -> Result<i64> {
    Ok(grants::table::of(tx)
        .filter(grants::configuration_id.eq(configuration))
        .count()
        .get_result(&mut tx.conn())
        .await?)
}

/// Takes access back. Whether there was such a grant.
pub async fn delete(tx: &OrgTx, configuration: ConfigurationId, id: GrantId) -> Result<bool> {
    let deleted: Option<Grant> = diesel::delete(
        grants::table::of(tx).filter(grants::configuration_id.eq(configuration)).filter(grants::id.eq(id)),
    )
    .returning(Grant::as_returning())
    .get_result(&mut tx.conn())
    .await
    .optional()?;
    if let Some(grant) = &deleted {
        let field = format!("grants.{}", grant.grantee().describe());
        tx.changed(configuration, vec![Change::new(field, grant.permission.as_str(), ())]);
    }
    Ok(deleted.is_some())
}
