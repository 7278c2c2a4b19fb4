//! Relations, loaded in batches. A loader is made for one request and holds its caller, so that a batch cannot mix
//! organizations.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::runtime::TokioTimer;
use futures_util::task::{FutureObj, Spawn, SpawnError};
use tracing::Instrument as _;

use super::api_key::ApiKey;
use super::context::{Failure, RequestContext as _};
use super::node::{self, Node};
use super::organization::User;
use crate::app::App;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::Action;
use crate::connector::{Connector, custom};
use crate::db;
use crate::db::grant::{Grant, Permission};
use crate::id::{ApiKeyId, ConfigurationId, ConnectorId, OrganizationId, UserId};

/// Loads what objects refer to.
pub struct Relations {
    app: Arc<App>,
    caller: Caller,
}

/// The loader of one request.
pub type Relation = DataLoader<Relations>;

/// A loader for this request.
pub fn relations(app: Arc<App>, caller: Caller) -> Relation {
    // No delay: what one level of a selection asks for arrives together anyhow.
    DataLoader::new(Relations { app, caller }, SameRequest, TokioTimer::default()).delay(std::time::Duration::ZERO)
}

/// Spawns a batch and keeps counting its statements for the request that asked.
struct SameRequest;

impl Spawn for SameRequest {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        tokio::spawn(db::count_statements(db::statement_counter(), future.in_current_span()));
        Ok(())
    }
}

impl Loader<UserId> for Relations {
    type Value = db::user::User;
    type Error = Failure;

    async fn load(&self, ids: &[UserId]) -> Result<HashMap<UserId, Self::Value>, Failure> {
        let ids = ids.to_vec();
        let rows = self
            .app
            .db
            .read(&self.caller, Action::ViewerRead, async move |tx| db::user::find_many(tx, &ids).await)
            .await?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<ApiKeyId> for Relations {
    type Value = db::api_key::ApiKey;
    type Error = Failure;

    async fn load(&self, ids: &[ApiKeyId]) -> Result<HashMap<ApiKeyId, Self::Value>, Failure> {
        let ids = ids.to_vec();
        let rows = self
            .app
            .db
            .read(&self.caller, Action::ViewerRead, async move |tx| db::api_key::find_many(tx, &ids).await)
            .await?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<ConnectorId> for Relations {
    type Value = Arc<Connector>;
    type Error = Failure;

    async fn load(&self, ids: &[ConnectorId]) -> Result<HashMap<ConnectorId, Self::Value>, Failure> {
        let ids = ids.to_vec();
        let rows = self
            .app
            .db
            .read(&self.caller, Action::ConnectorRead, async move |tx| db::connector::find_many(tx, &ids).await)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| Ok((row.id, custom::from_row(row)?)))
            .collect::<crate::error::Result<HashMap<_, _>>>()?)
    }
}

impl Loader<OrganizationId> for Relations {
    type Value = db::organization::Organization;
    type Error = Failure;

    async fn load(&self, ids: &[OrganizationId]) -> Result<HashMap<OrganizationId, Self::Value>, Failure> {
        let read =
            self.app.db.read(&self.caller, Action::OrganizationRead, async |tx| db::organization::find(tx).await);
        Ok(read.await?.into_iter().filter(|own| ids.contains(&own.id)).map(|own| (own.id, own)).collect())
    }
}

/// What was granted to the caller of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantedToViewer(pub ConfigurationId);

impl Loader<GrantedToViewer> for Relations {
    type Value = Permission;
    type Error = Failure;

    async fn load(&self, of: &[GrantedToViewer]) -> Result<HashMap<GrantedToViewer, Permission>, Failure> {
        let ids: Vec<_> = of.iter().map(|key| key.0).collect();
        let read = self.app.db.read(&self.caller, Action::ConfigurationRead, async move |tx| {
            db::grant::permissions_of_viewer(tx, &ids).await
        });
        Ok(read.await?.into_iter().map(|(id, permission)| (GrantedToViewer(id), permission)).collect())
    }
}

/// The grants of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantsOf(pub ConfigurationId);

impl Loader<GrantsOf> for Relations {
    type Value = Vec<Grant>;
    type Error = Failure;

    async fn load(&self, of: &[GrantsOf]) -> Result<HashMap<GrantsOf, Vec<Grant>>, Failure> {
        let ids: Vec<_> = of.iter().map(|key| key.0).collect();
        let read = self
            .app
            .db
            .read(&self.caller, Action::ConfigurationRead, async move |tx| db::grant::list_of(tx, &ids).await);
        let mut grants: HashMap<_, Vec<_>> = HashMap::new();
        for grant in read.await? {
            grants.entry(GrantsOf(grant.configuration_id)).or_default().push(grant);
        }
        Ok(grants)
    }
}

/// Any object by id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AnyId(pub String);

impl Loader<AnyId> for Relations {
    type Value = Node;
    type Error = Failure;

    async fn load(&self, ids: &[AnyId]) -> Result<HashMap<AnyId, Node>, Failure> {
        let ids: Vec<_> = ids.iter().map(|id| id.0.clone().into()).collect();
        let found = node::find_many(&self.app, &self.caller, &ids).await?;
        Ok(found.into_iter().map(|(id, node)| (AnyId(id), node)).collect())
    }
}

/// The person, for a caller who may read members; everybody may see themselves.
pub async fn user(ctx: &Context<'_>, id: UserId) -> Result<Option<User>, Failure> {
    let caller = ctx.caller();
    if !caller.may(Action::MemberRead) && caller.actor() != Actor::User(id) {
        return Ok(None);
    }
    Ok(ctx.data_unchecked::<Relation>().load_one(id).await?.map(User::from))
}

/// The API key, for a caller who may read keys; a key may see itself.
pub async fn api_key(ctx: &Context<'_>, id: ApiKeyId) -> Result<Option<ApiKey>, Failure> {
    let caller = ctx.caller();
    if !caller.may(Action::ApiKeyRead) && caller.actor() != Actor::ApiKey(id) {
        return Ok(None);
    }
    Ok(ctx.data_unchecked::<Relation>().load_one(id).await?.map(ApiKey::from))
}
