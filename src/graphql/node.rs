//! Any object by id: the prefix of an id says what it is.

use std::collections::HashMap;

use async_graphql::{Context, ID, Interface, Object};

use super::api_key::ApiKey;
use super::audit_log::AuditLogEntry;
use super::configuration::PersonalConnectorConfiguration;
use super::configuration::grant::ConfigurationGrant;
use super::connector::PersonalConnector;
use super::context::{Nullable, RequestContext as _, Result};
use super::member::OrganizationMember;
use super::organization::{Organization, User};
use crate::app::App;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::Action;
use crate::connector::{catalog, custom};
use crate::db;
use crate::error::{Code, Rejection};
use crate::id::{ApiKeyId, AuditEntryId, ConfigurationId, ConnectorId, GrantId, MemberId, OrganizationId, UserId};

const MAX_NODES: usize = 100;

/// An object with a globally unique id. Ids are prefixed strings (pconf_…, pcon_…, org_…, user_…, mem_…, key_…,
/// grant_…, aud_…): the prefix names the type, so `node(id:)` needs no further encoding. Treat the rest as opaque.
#[derive(Interface, Clone)]
#[graphql(field(name = "id", ty = "ID", desc = "The prefix names the type; treat the rest as opaque."))]
pub enum Node {
    /// `pconf_…`
    Configuration(PersonalConnectorConfiguration),
    /// `pcon_…`
    Connector(PersonalConnector),
    /// `org_…`
    Organization(Organization),
    /// `mem_…`
    Member(OrganizationMember),
    /// `user_…`
    User(User),
    /// `key_…`
    ApiKey(ApiKey),
    /// `grant_…`
    Grant(ConfigurationGrant),
    /// `aud_…`
    AuditLogEntry(AuditLogEntry),
}

/// Queries by id.
#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Any object by id; null if it does not exist or is not visible.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of any kind; the prefix names the type.")] id: ID,
    ) -> Nullable<Option<Node>> {
        Some(load(ctx, &[id]).await.map(|mut nodes| nodes.pop().flatten()))
    }

    /// Many objects by id, in the order of `ids`; at most 100. Null where one does not exist or is not visible.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of any kind, at most 100.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Node>>> {
        if ids.len() > MAX_NODES {
            return Err(Rejection::new(Code::Invalid, &["ids"], format!("At most {MAX_NODES} ids.")).into());
        }
        load(ctx, &ids).await
    }
}

async fn load(ctx: &Context<'_>, ids: &[ID]) -> Result<Vec<Option<Node>>> {
    let found = find_many(ctx.app(), ctx.caller(), ids).await?;
    Ok(ids.iter().map(|id| found.get(id.as_str()).cloned()).collect())
}

/// Those of `ids` that the caller may see. One statement for each kind that is asked for, whatever the number of ids.
pub async fn find_many(app: &App, caller: &Caller, ids: &[ID]) -> Result<HashMap<String, Node>> {
    let mut found: HashMap<String, Node> = HashMap::new();
    found.extend(configurations(app, caller, ids).await?);
    found.extend(members(app, caller, ids).await?);
    found.extend(users(app, caller, ids).await?);
    found.extend(api_keys(app, caller, ids).await?);
    if parsed::<OrganizationId>(ids).contains(&caller.organization()) {
        let own = app.db.read(caller, Action::OrganizationRead, async |tx| db::organization::find(tx).await).await?;
        found.extend(own.map(|row| (row.id.to_string(), Organization::from(row).into())));
    }
    found.extend(grants(app, caller, ids).await?);
    found.extend(audit_log_entries(app, caller, ids).await?);
    found.extend(connectors(app, caller, ids).await?);
    Ok(found)
}

fn parsed<T: std::str::FromStr>(ids: &[ID]) -> Vec<T> {
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

type Found = Vec<(String, Node)>;

async fn configurations(app: &App, caller: &Caller, ids: &[ID]) -> Result<Found> {
    let ids: Vec<ConfigurationId> = parsed(ids);
    if ids.is_empty() || !caller.may(Action::ConfigurationRead) {
        return Ok(Vec::new());
    }
    let rows =
        app.db.read(caller, Action::ConfigurationRead, async |tx| db::configuration::find_many(tx, &ids).await).await?;
    Ok(rows.into_iter().map(|row| (row.0.id.to_string(), PersonalConnectorConfiguration::from(row).into())).collect())
}

async fn connectors(app: &App, caller: &Caller, ids: &[ID]) -> Result<Found> {
    if !caller.may(Action::ConnectorRead) {
        return Ok(Vec::new());
    }
    let mut found: Vec<_> = ids.iter().filter_map(|id| catalog::find(id)).collect();
    let ids: Vec<ConnectorId> = parsed(ids);
    if !ids.is_empty() {
        let rows =
            app.db.read(caller, Action::ConnectorRead, async |tx| db::connector::find_many(tx, &ids).await).await?;
        found.extend(rows.into_iter().map(custom::from_row).collect::<crate::error::Result<Vec<_>>>()?);
    }
    Ok(found.into_iter().map(|connector| (connector.id.to_string(), PersonalConnector(connector).into())).collect())
}

async fn members(app: &App, caller: &Caller, ids: &[ID]) -> Result<Found> {
    let ids: Vec<MemberId> = parsed(ids);
    if ids.is_empty() || !caller.may(Action::MemberRead) {
        return Ok(Vec::new());
    }
    let rows = app.db.read(caller, Action::MemberRead, async |tx| db::member::find_many(tx, &ids).await).await?;
    Ok(rows.into_iter().map(|row| (row.id.to_string(), OrganizationMember::from(row).into())).collect())
}

/// Members may see each other; everybody may see themselves.
async fn users(app: &App, caller: &Caller, ids: &[ID]) -> Result<Found> {
    let mut ids: Vec<UserId> = parsed(ids);
    if !caller.may(Action::MemberRead) {
        ids.retain(|id| caller.actor() == Actor::User(*id));
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = app.db.read(caller, Action::ViewerRead, async |tx| db::user::find_many(tx, &ids).await).await?;
    Ok(rows.into_iter().map(|row| (row.id.to_string(), User::from(row).into())).collect())
}

/// Who may read keys sees all; a key may see itself.
async fn api_keys(app: &App, caller: &Caller, ids: &[ID]) -> Result<Found> {
    let mut ids: Vec<ApiKeyId> = parsed(ids);
    if !caller.may(Action::ApiKeyRead) {
        ids.retain(|id| caller.actor() == Actor::ApiKey(*id));
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = app.db.read(caller, Action::ViewerRead, async |tx| db::api_key::find_many(tx, &ids).await).await?;
    Ok(rows.into_iter().map(|row| (row.id.to_string(), ApiKey::from(row).into())).collect())
}

async fn grants(app: &App, caller: &Caller, ids: &[ID]) -> Result<Found> {
    let ids: Vec<GrantId> = parsed(ids);
    if ids.is_empty() || !caller.may(Action::ConfigurationRead) {
        return Ok(Vec::new());
    }
    let rows = app.db.read(caller, Action::ConfigurationRead, async |tx| db::grant::find_many(tx, &ids).await).await?;
    Ok(rows.into_iter().map(|row| (row.id.to_string(), ConfigurationGrant::from(row).into())).collect())
}

async fn audit_log_entries(app: &App, caller: &Caller, ids: &[ID]) -> Result<Found> {
    let ids: Vec<AuditEntryId> = parsed(ids);
    if ids.is_empty() || !caller.may(Action::AuditRead) {
        return Ok(Vec::new());
    }
    let rows = app.db.read(caller, Action::AuditRead, async |tx| db::audit_log::find_many(tx, &ids).await).await?;
    Ok(rows.into_iter().map(|row| (row.id.to_string(), AuditLogEntry::from(row).into())).collect())
}
