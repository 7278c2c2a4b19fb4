//! Relations, loaded in batches. A loader is made for one request and holds its caller, so that a batch cannot mix
//! organizations.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::runtime::TokioTimer;
use futures_util::task::{FutureObj, Spawn, SpawnError};
use tracing::Instrument as _;

use super::context::Failure;
use crate::app::App;
use crate::auth::caller::Caller;
use crate::auth::policy::Action;
use crate::connector::{Connector, custom};
use crate::db;
use crate::id::{ApiKeyId, ConnectorId, OrganizationId, UserId};

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
