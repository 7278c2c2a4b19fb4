//! API keys.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object};
use std::net::IpAddr;

use chrono::{Days, TimeDelta, Utc};
use ipnet::IpNet;
use secrecy::ExposeSecret;

use super::comparator::{BooleanComparator, NullableDateTimeComparator, StringComparator};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::idempotency::once;
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
use crate::db::OrgTx;
use crate::db::api_key::{ApiKeyChanges, Condition, NewApiKey, NewSecret};
use crate::db::filter::Filter;
use crate::db::idempotency_key::{self, Once};
use crate::error::{Code, Detail, Error, Rejection};
use crate::id::ApiKeyId;

const DEFAULT_DAYS: u64 = 90;
const MAX_DAYS: u64 = 365;
const MAX_NETWORKS: usize = 20;
/// The longest time for which two secrets of a key work, in seconds.
const MAX_OVERLAP: i32 = 7 * 24 * 60 * 60;

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
    /// When it was last used.
    last_used_at: Option<NullableDateTimeComparator>,
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
    /// When it ends by itself: 90 days from now by default, at most 365. Null, for a key without an end, only where the
    /// organization allows it.
    expires_at: MaybeUndefined<DateTime>,
    /// Networks (CIDR) or addresses that it may be used from; from everywhere by default. At most 20.
    allowed_networks: Option<Vec<String>>,
}

/// Only given fields change.
#[derive(InputObject)]
pub struct ApiKeyUpdateInput {
    /// 1 to 120 characters.
    name: MaybeUndefined<String>,
    /// All that it may do: at least one.
    scopes: MaybeUndefined<Vec<ApiKeyScope>>,
    /// When it ends by itself: at most 365 days from now. Null, for no end, only where the organization allows it.
    expires_at: MaybeUndefined<DateTime>,
    /// All networks (CIDR) or addresses that it may be used from; empty: from everywhere. At most 20.
    allowed_networks: MaybeUndefined<Vec<String>>,
}

payload!(
    /// What creating an API key gave.
    ApiKeyCreatePayload {
        /// The new key; null when there are userErrors.
        api_key: ApiKey,
        /// The secret. Shown this once: null where an idempotency key repeats.
        secret: String
    }
);
payload!(
    /// What rotating an API key gave.
    ApiKeyRotatePayload {
        /// As it is now; null when there are userErrors.
        api_key: ApiKey,
        /// The new secret. Shown this once: null where an idempotency key repeats.
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

fn check_scopes(scopes: Vec<ApiKeyScope>, rejections: &mut Vec<Rejection>) -> Vec<Scope> {
    if scopes.is_empty() {
        rejections.push(Rejection::new(Code::Required, &["input", "scopes"], "A key needs at least one scope."));
    }
    let mut scopes: Vec<Scope> = scopes.into_iter().map(Scope::from).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

/// Networks in their canonical spelling: `10.1.2.3/8` is `10.0.0.0/8`, a bare address a network of one.
fn check_networks(networks: &[String], rejections: &mut Vec<Rejection>) -> Vec<String> {
    if networks.len() > MAX_NETWORKS {
        let message = format!("A key has at most {MAX_NETWORKS} networks.");
        rejections.push(Rejection::new(Code::Invalid, &["input", "allowedNetworks"], message));
        return Vec::new();
    }
    let mut canonical = Vec::new();
    for (index, text) in networks.iter().enumerate() {
        let network = text.parse::<IpNet>().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
        match network {
            Ok(network) => canonical.push(network.trunc().to_string()),
            Err(_) => {
                let message = "A network is an address or a prefix such as 192.0.2.0/24 or 2001:db8::/32.";
                let path = ["input", "allowedNetworks", &index.to_string()];
                rejections.push(Rejection::new(Code::Invalid, &path, message));
            }
        }
    }
    canonical.sort();
    canonical.dedup();
    canonical
}

/// When a key ends: what is said, if it is neither past nor too far away; no end only where the organization allows it.
fn check_end(
    end: Option<DateTime>,
    may_never_expire: bool,
    now: chrono::DateTime<Utc>,
    rejections: &mut Vec<Rejection>,
) -> Option<chrono::DateTime<Utc>> {
    let field = &["input", "expiresAt"];
    match end {
        None if may_never_expire => {}
        None => {
            let message = "A key needs an end; leave expiresAt out for 90 days. Owners may allow keys without one.";
            rejections.push(Rejection::new(Code::Required, field, message));
        }
        Some(DateTime(end)) if end <= now || end > now + Days::new(MAX_DAYS) + TimeDelta::minutes(1) => {
            let message = format!("expiresAt is in the future, and at most {MAX_DAYS} days away.");
            rejections.push(Rejection::new(Code::Invalid, field, message));
        }
        Some(_) => {}
    }
    end.map(|DateTime(end)| end)
}

fn reject(rejections: Vec<Rejection>) -> crate::error::Result<()> {
    if rejections.is_empty() { Ok(()) } else { Err(Error::Rejected(rejections)) }
}

fn not_found() -> Error {
    Rejection::not_found(&["id"], "API key").into()
}

async fn may_never_expire(tx: &OrgTx) -> crate::error::Result<bool> {
    Ok(db::organization::find(tx).await?.is_some_and(|organization| organization.api_keys_may_never_expire))
}

async fn create(
    app: &App,
    caller: &Caller,
    input: ApiKeyCreateInput,
    once: Option<Once>,
) -> crate::error::Result<ApiKeyCreatePayload> {
    let ApiKeyCreateInput { name, scopes, expires_at, allowed_networks } = input;
    let made = app
        .db
        .write(caller, Action::ApiKeyCreate, "", async |tx| {
            let Actor::User(created_by) = caller.actor() else { return Err(Error::Forbidden(Action::ApiKeyCreate)) };
            if let Some(row) = idempotency_key::replay(tx, once.as_ref()).await? {
                return Ok((row, None));
            }
            let now = app.clock.now();
            let mut rejections: Vec<_> = check_name(&name, &["input", "name"]).into_iter().collect();
            let scopes = check_scopes(scopes, &mut rejections);
            let end = match expires_at {
                MaybeUndefined::Undefined => Some(DateTime(now + Days::new(DEFAULT_DAYS))),
                MaybeUndefined::Value(end) => Some(end),
                MaybeUndefined::Null => None,
            };
            let expires_at = check_end(end, may_never_expire(tx).await?, now, &mut rejections);
            let allowed_networks = check_networks(&allowed_networks.unwrap_or_default(), &mut rejections);
            reject(rejections)?;
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
                expires_at,
                allowed_networks: &allowed_networks,
            };
            let row = db::api_key::create(tx, &new).await?;
            idempotency_key::keep(tx, once.as_ref(), &row).await?;
            Ok((row, Some(key)))
        })
        .await;
    let (row, key) = made?;
    Ok(ApiKeyCreatePayload { api_key: Some(row.into()), secret: key.map(shown), user_errors: Vec::new() })
}

/// The one place where a secret leaves: to whoever made it.
fn shown(key: PlainKey) -> String {
    key.into_secret().expose_secret().to_owned()
}

fn check_version(expected: Option<i32>, row: &db::api_key::ApiKey) -> crate::error::Result<()> {
    match expected {
        Some(expected) if expected != row.version => Err(Rejection {
            detail: Detail::Version { expected, current: row.version },
            ..Rejection::new(
                Code::VersionConflict,
                &["expectedVersion"],
                "The API key has changed since it was read. Read it again, merge, and try again.",
            )
        }
        .into()),
        _ => Ok(()),
    }
}

fn check_not_ended(row: &db::api_key::ApiKey, now: chrono::DateTime<Utc>) -> crate::error::Result<()> {
    if row.revoked_at.is_some() {
        return Err(Rejection::new(Code::InvalidState, &["id"], "The API key is revoked.").into());
    }
    if row.expires_at.is_some_and(|end| end <= now) {
        return Err(Rejection::new(Code::InvalidState, &["id"], "The API key has expired; create another one.").into());
    }
    Ok(())
}

async fn update(
    app: &App,
    caller: &Caller,
    id: &ID,
    input: ApiKeyUpdateInput,
    expected_version: Option<i32>,
) -> crate::error::Result<ApiKeyUpdatePayload> {
    let ApiKeyUpdateInput { name, scopes, expires_at, allowed_networks } = input;
    let row = app
        .db
        .write(caller, Action::ApiKeyUpdate, id, async |tx| {
            let id = id.parse().map_err(|_| not_found())?;
            let row = db::api_key::find_for_update(tx, id).await?.ok_or_else(not_found)?;
            check_version(expected_version, &row)?;
            let mut rejections = Vec::new();
            for (is_null, name) in [
                (name.is_null(), "name"),
                (scopes.is_null(), "scopes"),
                (allowed_networks.is_null(), "allowedNetworks"),
            ] {
                if is_null {
                    let message = format!("{name} cannot be null; leave it out.");
                    rejections.push(Rejection::new(Code::Required, &["input", name], message));
                }
            }
            if let MaybeUndefined::Value(name) = &name {
                rejections.extend(check_name(name, &["input", "name"]));
            }
            let end = match expires_at {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(end) => Some(Some(end)),
            };
            let expires_at = match end {
                None => None,
                Some(end) => {
                    let may_never_expire = may_never_expire(tx).await?;
                    Some(check_end(end, may_never_expire, app.clock.now(), &mut rejections))
                }
            };
            let changes = ApiKeyChanges {
                name: name.take(),
                scopes: scopes.take().map(|scopes| check_scopes(scopes, &mut rejections)),
                expires_at,
                allowed_networks: allowed_networks.take().map(|all| check_networks(&all, &mut rejections)),
            };
            reject(rejections)?;
            if changes == ApiKeyChanges::default() {
                let message = "There is nothing to change: give at least one field.";
                return Err(Rejection::new(Code::Required, &["input"], message).into());
            }
            if row.revoked_at.is_some() {
                return Err(Rejection::new(Code::InvalidState, &["id"], "The API key is revoked.").into());
            }
            db::api_key::update(tx, &row, &changes).await
        })
        .await?;
    Ok(ApiKeyUpdatePayload { api_key: Some(row.into()), user_errors: Vec::new() })
}

async fn rotate(
    app: &App,
    caller: &Caller,
    id: &ID,
    overlap_seconds: i32,
    once: Option<Once>,
) -> crate::error::Result<ApiKeyRotatePayload> {
    let rotated = app
        .db
        .write(caller, Action::ApiKeyRotate, id, async |tx| {
            // Any other key is not there, for a key.
            let id = id.parse::<ApiKeyId>().map_err(|_| not_found())?;
            if matches!(caller.actor(), Actor::ApiKey(own) if own != id) {
                return Err(not_found());
            }
            if let Some(row) = idempotency_key::replay(tx, once.as_ref()).await? {
                return Ok((row, None));
            }
            if !(0..=MAX_OVERLAP).contains(&overlap_seconds) {
                let message = format!("overlapSeconds is from 0 to {MAX_OVERLAP}, which is seven days.");
                return Err(Rejection::new(Code::Invalid, &["overlapSeconds"], message).into());
            }
            let row = db::api_key::find_for_update(tx, id).await?.ok_or_else(not_found)?;
            let now = app.clock.now();
            check_not_ended(&row, now)?;
            let key = PlainKey::generate_for(&row.key_id);
            let overlap = TimeDelta::seconds(i64::from(overlap_seconds));
            let new = NewSecret {
                hash: &key.hash(&app.vault),
                pepper_id: app.vault.root_key_id(),
                previous_valid_until: (overlap_seconds > 0).then(|| now + overlap),
            };
            let row = db::api_key::rotate(tx, id, &new).await?;
            idempotency_key::keep(tx, once.as_ref(), &row).await?;
            Ok((row, Some(key)))
        })
        .await;
    let (row, key) = rotated?;
    Ok(ApiKeyRotatePayload { api_key: Some(row.into()), secret: key.map(shown), user_errors: Vec::new() })
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
        #[graphql(desc = "Sent twice, it is done once; a repeat gives the key without its secret. Kept for 24 hours.")]
        idempotency_key: Option<String>,
    ) -> Nullable<ApiKeyCreatePayload> {
        let made = async { create(ctx.app(), ctx.caller(), input, once(ctx, idempotency_key)?).await };
        answer(made.await)
    }

    /// Changes what is given and nothing else. People only. [role admin]
    async fn api_key_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`key_…`")] id: ID,
        #[graphql(desc = "What to change.")] input: ApiKeyUpdateInput,
        #[graphql(desc = "Refuse with VERSION_CONFLICT when the object has changed since it was read.")]
        expected_version: Option<i32>,
    ) -> Nullable<ApiKeyUpdatePayload> {
        answer(update(ctx.app(), ctx.caller(), &id, input, expected_version).await)
    }

    /// Gives a new secret; the old one works for `overlapSeconds` more. The one before that ends at once. [role admin, or
    /// the key itself]
    async fn api_key_rotate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`key_…`")] id: ID,
        #[graphql(desc = "0 to 604800, seven days.", default = 86400)] overlap_seconds: i32,
        #[graphql(desc = "Sent twice, it is done once; a repeat gives the key without its secret. Kept for 24 hours.")]
        idempotency_key: Option<String>,
    ) -> Nullable<ApiKeyRotatePayload> {
        let made = async { rotate(ctx.app(), ctx.caller(), &id, overlap_seconds, once(ctx, idempotency_key)?).await };
        answer(made.await)
    }

    /// Ends a key at once. Does nothing when already revoked. People only. [role admin]
    async fn api_key_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`key_…`")] id: ID,
    ) -> Nullable<ApiKeyUpdatePayload> {
        let revoked = ctx.app().db.write(ctx.caller(), Action::ApiKeyRevoke, &id, async |tx| {
            let id = id.parse().map_err(|_| not_found())?;
            let row = db::api_key::revoke(tx, id).await?.ok_or_else(not_found)?;
            Ok(ApiKeyUpdatePayload { api_key: Some(row.into()), user_errors: Vec::new() })
        });
        answer(revoked.await)
    }
}
