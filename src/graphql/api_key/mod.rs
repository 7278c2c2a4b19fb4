//! API keys: the type and its queries. Mutations are in [`mutation`].

pub mod mutation;

use async_graphql::{Context, Enum, ID, InputObject, Object};

use super::comparator::{BooleanComparator, NullableDateTimeComparator, StringComparator};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::loader;
use super::organization::User;
use super::scalar::DateTime;
use crate::auth::api_key::display_prefix;
use crate::auth::policy::{Action, Scope};
use crate::db;
use crate::db::api_key::Condition;
use crate::db::filter::Filter;
use crate::id::ApiKeyId;

/// What an API key may do.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "snake_case", remote = "Scope")]
pub enum ApiKeyScope {
    /// Read configurations.
    ConfigurationsRead,
    /// Create, change and delete configurations.
    ConfigurationsWrite,
    /// Test connections.
    ConfigurationsTest,
    /// Set and remove credentials. There is no scope that reads them.
    CredentialsWrite,
    /// Read the catalog.
    ConnectorsRead,
    /// Define custom connectors.
    ConnectorsWrite,
    /// Read who belongs to the organization.
    MembersRead,
    /// Read API keys, never their secrets.
    ApiKeysRead,
    /// Read the audit log.
    AuditRead,
    /// Read which encryption keys are in use, never the keys.
    EncryptionRead,
}

/// A key for scripts. The secret is shown once, when the key is created or rotated.
#[derive(Clone)]
pub struct ApiKey(db::api_key::ApiKey);

impl From<db::api_key::ApiKey> for ApiKey {
    fn from(row: db::api_key::ApiKey) -> Self {
        Self(row)
    }
}

/// A key for scripts. The secret is shown once, when the key is created or rotated.
#[Object]
impl ApiKey {
    /// `key_…`
    pub(in crate::graphql) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Always `api_key`.
    async fn object(&self) -> &str {
        "api_key"
    }

    /// For people.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// First characters of the secret, enough to tell keys apart, e.g. `pbk_3f9aK2`.
    async fn prefix(&self) -> String {
        display_prefix(&self.0.key_id)
    }

    /// What it may do, as far as the current role of the person who made it allows.
    async fn scopes(&self) -> Vec<ApiKeyScope> {
        self.0.scopes.iter().flatten().map(|scope| ApiKeyScope::from(*scope)).collect()
    }

    /// Networks (CIDR) that it may be used from; empty: from everywhere.
    async fn allowed_networks(&self) -> Vec<&str> {
        self.0.allowed_networks.iter().flatten().map(String::as_str).collect()
    }

    /// When it was last used, to the minute; null when it never was.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(DateTime)
    }

    /// While set and in the future, the secret before the last rotation still works.
    async fn previous_secret_valid_until(&self) -> Option<DateTime> {
        self.0.previous_valid_until.map(DateTime)
    }

    /// Who made it.
    async fn created_by_user_id(&self) -> Option<ID> {
        Some(self.0.created_by_user_id.into())
    }

    /// The person who made it. Null for a caller who may not read members.
    async fn created_by(&self, ctx: &Context<'_>) -> Nullable<Option<User>> {
        Some(loader::user(ctx, self.0.created_by_user_id).await)
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it ends by itself.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(DateTime)
    }

    /// When somebody ended it.
    async fn revoked_at(&self) -> Option<DateTime> {
        self.0.revoked_at.map(DateTime)
    }

    /// Whether it works now: neither revoked nor expired.
    async fn active(&self, ctx: &Context<'_>) -> bool {
        self.0.revoked_at.is_none() && self.0.expires_at.is_none_or(|end| end > ctx.app().clock.now())
    }

    /// Grows by one with each change.
    async fn version(&self) -> i32 {
        self.0.version
    }
}

connection!(ApiKeyConnection, ApiKeyEdge, ApiKey);

/// Filter for API keys. Fields are combined with AND.
#[derive(InputObject, Clone, Debug, Default)]
pub struct ApiKeyFilter {
    /// Whether it works now.
    active: Option<BooleanComparator>,
    /// Its name.
    name: Option<StringComparator>,
    /// When it was last used.
    last_used_at: Option<NullableDateTimeComparator>,
    /// When it ends by itself.
    expires_at: Option<NullableDateTimeComparator>,
}

/// A page of the organization's keys.
pub async fn list(
    ctx: &Context<'_>,
    filter: Option<ApiKeyFilter>,
    arguments: &PageArguments,
) -> Result<ApiKeyConnection> {
    let (app, caller) = (ctx.app(), ctx.caller());
    let scope = CursorScope::new(ctx, "apiKeys", &filter);
    let page = scope.page(arguments)?;
    let ApiKeyFilter { active, name, last_used_at, expires_at } = filter.unwrap_or_default();
    let now = app.clock.now();
    let mut conditions = Vec::new();
    conditions.extend(active.iter().flat_map(|active| active.conditions(|| Condition::ActiveAt(now))));
    conditions.extend(name.iter().flat_map(|name| name.conditions(Condition::Name)));
    conditions.extend(expires_at.iter().flat_map(|end| end.conditions(Condition::Expires, Condition::ExpiresAt)));
    conditions.extend(last_used_at.iter().flat_map(|at| at.conditions(Condition::Used, Condition::LastUsedAt)));
    let filter = Filter::All(conditions);
    let page = app.db.read(caller, Action::ApiKeyRead, async |tx| db::api_key::list(tx, &filter, &page).await).await?;
    Ok(ApiKeyConnection::new(page, &scope, db::api_key::ApiKey::cursor, Into::into))
}

/// Queries of API keys.
#[derive(Default)]
pub struct ApiKeyQuery;

#[Object]
impl ApiKeyQuery {
    /// One API key; null if it does not exist. [role admin, scope api_keys_read]
    async fn api_key(&self, ctx: &Context<'_>, #[graphql(desc = "`key_…`")] id: ID) -> Nullable<Option<ApiKey>> {
        let id = id.parse::<ApiKeyId>();
        let read = ctx.app().db.read(ctx.caller(), Action::ApiKeyRead, async |tx| match id {
            Ok(id) => Ok(db::api_key::find_many(tx, &[id]).await?.pop()),
            Err(_) => Ok(None),
        });
        Some(read.await.map(|row| row.map(ApiKey::from)).map_err(Into::into))
    }
}
