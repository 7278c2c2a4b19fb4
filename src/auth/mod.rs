//! Who is calling: from what came with a request to a [`Caller`]. The two ways in, side by side.
//!
//! Everything that fails here fails alike to the outside: one message, whatever the reason. The reason goes to the log.

pub mod api_key;
pub mod caller;
pub mod issuer;
mod json;
pub mod jwks;
pub mod jwt;
pub mod key;
mod person;
pub mod policy;

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use moka::sync::Cache;

use self::api_key::PlainKey;
use self::caller::{Actor, Caller, Provenance};
use self::jwt::Verifier;
use crate::clock::Clock;
use crate::db::api_key::{Secret, StoredKey};
use crate::db::organization::Organization;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, OrganizationId};
use crate::vault::Vault;

/// What a request brings along.
#[derive(Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `X-API-Key` header.
    pub api_key: Option<&'a str>,
    /// Where the request comes from, as far as trusted proxies tell.
    pub address: Option<IpAddr>,
    /// The `X-Organization-Id` header: which of the caller's own memberships is meant.
    pub organization: Option<&'a str>,
}

/// Finds out who is calling.
pub struct Authenticator {
    db: Db,
    vault: Arc<Vault>,
    verifier: Verifier,
    clock: Clock,
    /// The minute of use that this process has written down last of each key.
    noted: Cache<ApiKeyId, DateTime<Utc>>,
}

impl Authenticator {
    /// An authenticator that believes the verifier's issuers, and the API keys of the database.
    pub fn new(db: Db, vault: Arc<Vault>, verifier: Verifier, clock: Clock) -> Self {
        Self { db, vault, verifier, clock, noted: Cache::new(10_000) }
    }

    /// Who is calling.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when that cannot be established; what the database says when it cannot be asked.
    pub async fn authenticate(&self, evidence: Evidence<'_>, provenance: &Arc<Provenance>) -> Result<Caller> {
        let wanted = match evidence.organization.map(str::parse::<OrganizationId>) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(Error::Unauthenticated("X-Organization-Id is no organization id")),
        };
        match (evidence.authorization, evidence.api_key) {
            (None, None) => Err(Error::Unauthenticated("there is no credential")),
            (Some(_), Some(_)) => Err(Error::Unauthenticated("there are two credentials")),
            (None, Some(key)) => self.api_key(key, evidence.address, wanted, provenance).await,
            (Some(authorization), None) => {
                let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
                if !scheme.eq_ignore_ascii_case("Bearer") {
                    return Err(Error::Unauthenticated("the scheme is not Bearer"));
                }
                let token = token.trim();
                if PlainKey::is_meant_by(token) {
                    self.api_key(token, evidence.address, wanted, provenance).await
                } else {
                    self.token(token, wanted, provenance).await
                }
            }
        }
    }

    /// A person, by token.
    async fn token(&self, token: &str, wanted: Option<OrganizationId>, provenance: &Arc<Provenance>) -> Result<Caller> {
        let verified = self.verifier.verify(token, self.clock.now()).await?;
        person::find(&self.db, &verified, wanted, provenance).await
    }

    /// Asks the issuers that publish their keys for them, so that the first request need not wait.
    pub fn warm(&self) {
        self.verifier.warm(self.clock.now());
    }

    /// A script, by key.
    async fn api_key(
        &self,
        text: &str,
        address: Option<IpAddr>,
        wanted: Option<OrganizationId>,
        provenance: &Arc<Provenance>,
    ) -> Result<Caller> {
        let key = PlainKey::parse(text).ok_or(Error::Unauthenticated("the API key is malformed"))?;
        // Computed for unknown keys as well, so that time does not tell them from wrong ones.
        let hash = key.hash(&self.vault);
        let now = self.clock.now();
        let stored = self
            .db
            .system_read(async |tx| db::api_key::find_for_authentication(tx, key.key_id()).await)
            .await?
            .into_iter()
            .find_map(|stored| Some((stored.has(&hash, self.vault.root_key_id(), now)?, stored)))
            .ok_or(Error::Unauthenticated("the API key is unknown"))?;
        let (secret, stored) = stored;
        if stored.revoked_at.is_some() {
            return Err(Error::Unauthenticated("the API key is revoked"));
        }
        if stored.expires_at.is_some_and(|end: DateTime<Utc>| end <= now) {
            return Err(Error::Unauthenticated("the API key has expired"));
        }
        if wanted.is_some_and(|wanted| wanted != stored.organization_id) {
            return Err(Error::Unauthenticated("the API key is of another organization"));
        }
        if !stored.may_come_from(address) {
            return Err(Error::Unauthenticated("the API key is not for this network"));
        }
        self.note_use(&stored, now);
        let scopes = stored.scopes.into_iter().flatten().collect();
        let is_current = secret == Secret::Current;
        Ok(Caller::api_key(stored.organization_id, stored.id, stored.creator_role, scopes, is_current, provenance))
    }

    /// Has the minute of a key's use written down, once for each minute and not on the way of the request.
    fn note_use(&self, stored: &StoredKey, now: DateTime<Utc>) {
        let Ok(minute) = now.duration_trunc(TimeDelta::minutes(1)) else { return };
        let (organization, id) = (stored.organization_id, stored.id);
        if stored.last_used_at.is_some_and(|known| known >= minute) || self.noted.get(&id) == Some(minute) {
            return;
        }
        self.noted.insert(id, minute);
        let db = self.db.clone();
        tokio::spawn(async move {
            let noted = db.system_write(async |tx| db::api_key::touch(tx, organization, id, minute).await).await;
            if let Err(error) = noted {
                tracing::warn!(%error, key = %id, "the use of an API key could not be noted");
            }
        });
    }

    /// The organizations that the caller may switch to with `X-Organization-Id`: just the one, for an API key and for a
    /// token that is for one organization.
    ///
    /// # Errors
    /// What the database says.
    pub async fn organizations(&self, caller: &Caller) -> Result<Vec<Organization>> {
        match caller.actor() {
            Actor::User(user) => {
                let mut all = self.db.system_read(async |tx| db::organization::list_of_user(tx, user).await).await?;
                all.retain(|found| caller.may_switch_to(found.id));
                Ok(all)
            }
            Actor::ApiKey(_) => Ok(self
                .db
                .read(caller, policy::Action::OrganizationRead, async |tx| db::organization::find(tx).await)
                .await?
                .into_iter()
                .collect()),
        }
    }
}
