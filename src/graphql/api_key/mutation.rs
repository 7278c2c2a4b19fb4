//! Mutations of API keys.

use std::net::IpAddr;

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object};
use chrono::{Days, TimeDelta, Utc};
use ipnet::{IpNet, Ipv4Net};
use secrecy::ExposeSecret;

use super::{ApiKey, ApiKeyScope};
use crate::app::App;
use crate::auth::api_key::PlainKey;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::{Action, Scope};
use crate::connector::configuration::check_name;
use crate::db::api_key::{ApiKeyChanges, NewApiKey, NewSecret};
use crate::db::idempotency_key::{self, Once};
use crate::db::{self, OrgTx};
use crate::error::{Code, Detail, Error, Rejection, Result};
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::idempotency::once;
use crate::graphql::scalar::DateTime;
use crate::graphql::user_error::{answer, payload};
use crate::id::ApiKeyId;

/// How long a key lives when nothing is said.
pub const DEFAULT_DAYS: u64 = 90;
const MAX_DAYS: u64 = 365;
const MAX_NETWORKS: usize = 20;
/// The longest time for which two secrets of a key work, in seconds.
const MAX_OVERLAP: i32 = 7 * 24 * 60 * 60;

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
        // An IPv4 address in IPv6's clothes is compared as what it is.
        let network = network.map(|network| match network {
            IpNet::V6(six) if six.prefix_len() >= 96 => six
                .addr()
                .to_ipv4_mapped()
                .and_then(|address| Ipv4Net::new(address, six.prefix_len() - 96).ok())
                .map_or(network, IpNet::V4),
            network => network,
        });
        if let Ok(network) = network {
            canonical.push(network.trunc().to_string());
        } else {
            let message = "A network is an address or a prefix such as 192.0.2.0/24 or 2001:db8::/32.";
            let path = ["input", "allowedNetworks", &index.to_string()];
            rejections.push(Rejection::new(Code::Invalid, &path, message));
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

fn reject(rejections: Vec<Rejection>) -> Result<()> {
    if rejections.is_empty() { Ok(()) } else { Err(Error::Rejected(rejections)) }
}

fn not_found() -> Error {
    Rejection::not_found(&["id"], "API key").into()
}

async fn may_never_expire(tx: &OrgTx) -> Result<bool> {
    Ok(db::organization::find(tx).await?.is_some_and(|organization| organization.api_keys_may_never_expire))
}

async fn create(
    app: &App,
    caller: &Caller,
    input: ApiKeyCreateInput,
    once: Option<Once>,
) -> Result<ApiKeyCreatePayload> {
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

fn check_version(expected: Option<i32>, row: &db::api_key::ApiKey) -> Result<()> {
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

fn check_not_ended(row: &db::api_key::ApiKey, now: chrono::DateTime<Utc>) -> Result<()> {
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
) -> Result<ApiKeyUpdatePayload> {
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
            let expires_at = if let Some(end) = end {
                Some(check_end(end, may_never_expire(tx).await?, app.clock.now(), &mut rejections))
            } else {
                None
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
            check_not_ended(&row, app.clock.now())?;
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
) -> Result<ApiKeyRotatePayload> {
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
            // Who is shown a key's secret acts as the key: nobody else than who made it, and itself.
            if matches!(caller.actor(), Actor::User(user) if user != row.created_by_user_id) {
                let message = "Only the person who made a key rotates it; revoke it, and create another one.";
                return Err(Rejection::new(Code::PermissionDenied, &["id"], message).into());
            }
            // A secret that leaked, and is on its way out, must not throw out the good one.
            if !caller.has_current_secret() {
                let message = "This secret was rotated already; use the new one.";
                return Err(Rejection::new(Code::PermissionDenied, &["id"], message).into());
            }
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

    /// Gives a new secret; the old one works for `overlapSeconds` more. The one before that ends at once. [role admin and
    /// who made the key, or the key itself]
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
