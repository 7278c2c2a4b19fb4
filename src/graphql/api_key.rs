//! API keys.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object};
use chrono::{Days, TimeDelta};
use secrecy::ExposeSecret;

use super::comparator::{BooleanComparator, NullableDateTimeComparator, StringComparator};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::Relations;
use super::organization::User;
use super::scalar::DateTime;
use super::user_error::{answer, payload};
use crate::app::App;
use crate::auth::api_key::{PlainKey, display_prefix};
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::{Action, Scope};
use crate::connector::configuration::check_name;
use crate::db;
use crate::db::api_key::{Condition, NewApiKey};
use crate::db::filter::Filter;
use crate::error::{Code, Error, Rejection};
use crate::id::ApiKeyId;

const DEFAULT_DAYS: u64 = 90;
const MAX_DAYS: u64 = 365;

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

/// A key for scripts. The secret is shown once, when the key is created.
#[derive(Clone)]
pub struct ApiKey(db::api_key::ApiKey);

impl From<db::api_key::ApiKey> for ApiKey {
    fn from(row: db::api_key::ApiKey) -> Self {
        Self(row)
    }
}

/// A key for scripts. The secret is shown once, when the key is created.
#[Object]
impl ApiKey {
    /// `key_…`
    pub(super) async fn id(&self) -> ID {
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

    /// Who made it.
    async fn created_by_user_id(&self) -> Option<ID> {
        Some(self.0.created_by_user_id.into())
    }

    /// The person who made it. Null for a caller who may not read members.
    async fn created_by(&self, ctx: &Context<'_>) -> Nullable<Option<User>> {
        let caller = ctx.caller();
        if !caller.may(Action::MemberRead) && caller.actor() != Actor::User(self.0.created_by_user_id) {
            return None;
        }
        let loader = ctx.data_unchecked::<DataLoader<Relations>>();
        Some(loader.load_one(self.0.created_by_user_id).await.map(|row| row.map(User::from)))
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
    /// When it ends by itself.
    expires_at: Option<NullableDateTimeComparator>,
}

/// What to create.
#[derive(InputObject)]
pub struct ApiKeyCreateInput {
    /// 1 to 120 characters.
    name: String,
    /// What it may do: at least one.
    scopes: Vec<ApiKeyScope>,
    /// When it ends by itself: 90 days from now by default, at most 365.
    expires_at: MaybeUndefined<DateTime>,
}

payload!(
    /// What creating an API key gave.
    ApiKeyCreatePayload {
        /// The new key; null when there are userErrors.
        api_key: ApiKey,
        /// The secret. Shown this once.
        secret: String
    }
);
payload!(
    /// What changing an API key gave.
    ApiKeyUpdatePayload {
        /// As it is now; null when there are userErrors.
        api_key: ApiKey
    }
);

/// A page of the organization's keys.
pub async fn list(
    ctx: &Context<'_>,
    filter: Option<ApiKeyFilter>,
    arguments: &PageArguments,
) -> Result<ApiKeyConnection> {
    let (app, caller) = (ctx.app(), ctx.caller());
    let scope = CursorScope::new(ctx, "apiKeys", &filter);
    let page = scope.page(arguments)?;
    let ApiKeyFilter { active, name, expires_at } = filter.unwrap_or_default();
    let now = app.clock.now();
    let mut conditions = Vec::new();
    conditions.extend(active.iter().flat_map(|active| active.conditions(|| Condition::ActiveAt(now))));
    conditions.extend(name.iter().flat_map(|name| name.conditions(Condition::Name)));
    conditions.extend(expires_at.iter().flat_map(|end| end.conditions(Condition::Expires, Condition::ExpiresAt)));
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

async fn create(app: &App, caller: &Caller, input: ApiKeyCreateInput) -> crate::error::Result<ApiKeyCreatePayload> {
    let ApiKeyCreateInput { name, scopes, expires_at } = input;
    caller.require(Action::ApiKeyCreate)?;
    let Actor::User(created_by) = caller.actor() else { return Err(Error::Forbidden(Action::ApiKeyCreate)) };
    let now = app.clock.now();
    let (default, latest) = (now + Days::new(DEFAULT_DAYS), now + Days::new(MAX_DAYS) + TimeDelta::minutes(1));
    let mut rejections: Vec<_> = check_name(&name, &["input", "name"]).into_iter().collect();
    if scopes.is_empty() {
        rejections.push(Rejection::new(Code::Required, &["input", "scopes"], "A key needs at least one scope."));
    }
    let expires_at = match expires_at {
        MaybeUndefined::Undefined => default,
        MaybeUndefined::Value(DateTime(end)) => end,
        MaybeUndefined::Null => {
            let message = "A key needs an end; leave expiresAt out for 90 days.";
            rejections.push(Rejection::new(Code::Required, &["input", "expiresAt"], message));
            default
        }
    };
    if expires_at <= now || expires_at > latest {
        let message = format!("expiresAt is in the future, and at most {MAX_DAYS} days away.");
        rejections.push(Rejection::new(Code::Invalid, &["input", "expiresAt"], message));
    }
    if !rejections.is_empty() {
        return Err(Error::Rejected(rejections));
    }
    let mut scopes: Vec<Scope> = scopes.into_iter().map(Scope::from).collect();
    scopes.sort_unstable();
    scopes.dedup();

    let key = PlainKey::generate();
    let hash = key.hash(&app.vault);
    let new = NewApiKey {
        id: ApiKeyId::generate(),
        name: &name,
        key_id: key.key_id(),
        hash: &hash,
        pepper_id: app.vault.root_key_id(),
        scopes: &scopes,
        created_by,
        expires_at: Some(expires_at),
    };
    let row = app.db.write(caller, Action::ApiKeyCreate, async |tx| db::api_key::create(tx, &new).await).await?;
    Ok(ApiKeyCreatePayload {
        api_key: Some(row.into()),
        secret: Some(key.into_secret().expose_secret().to_owned()),
        user_errors: Vec::new(),
    })
}

/// Mutations of API keys.
#[derive(Default)]
pub struct ApiKeyMutation;

#[Object]
impl ApiKeyMutation {
    /// Creates an API key. People only. [role admin]
    async fn api_key_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to create.")] input: ApiKeyCreateInput,
    ) -> Nullable<ApiKeyCreatePayload> {
        answer(create(ctx.app(), ctx.caller(), input).await)
    }

    /// Ends a key at once. Does nothing when already revoked. People only. [role admin]
    async fn api_key_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`key_…`")] id: ID,
    ) -> Nullable<ApiKeyUpdatePayload> {
        let revoked = ctx.app().db.write(ctx.caller(), Action::ApiKeyRevoke, async |tx| {
            let not_found = || Rejection::not_found(&["id"], "API key");
            let id = id.parse().map_err(|_| not_found())?;
            let row = db::api_key::revoke(tx, id).await?.ok_or_else(not_found)?;
            Ok(ApiKeyUpdatePayload { api_key: Some(row.into()), user_errors: Vec::new() })
        });
        answer(revoked.await)
    }
}
