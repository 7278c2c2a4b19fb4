//! Who is calling, for which organization, and what they may do.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::policy::{Action, KeyRule, Role, Scope};
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, OrganizationId, UserId};

/// Where a request came from, for the audit log.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// The request, as in the log and in the answer.
    pub request_id: String,
    /// The client's address, as far as trusted proxies tell.
    pub address: Option<IpAddr>,
    /// What the client calls itself; at most 256 characters.
    pub user_agent: Option<String>,
}

impl Provenance {
    /// A request of which only the id is known.
    pub fn of(request_id: &str) -> Self {
        Self { request_id: request_id.to_owned(), ..Self::default() }
    }
}

/// A person or an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A person, by token.
    User(UserId),
    /// A script, by key.
    ApiKey(ApiKeyId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::ApiKey(id) => id.fmt(f),
        }
    }
}

/// Verified evidence of who is calling. Its fields are private and only `auth` makes one, so to hold a `Caller` is to
/// have been authenticated; nothing reaches the database without.
#[derive(Clone, Debug)]
pub struct Caller {
    organization: OrganizationId,
    actor: Actor,
    role: Role,
    scopes: Vec<Scope>,
    reach: Option<Vec<OrganizationId>>,
    issuer: String,
    has_current_secret: bool,
    provenance: Arc<Provenance>,
}

impl Caller {
    /// `reach` are the organizations that the token is good for; `None` when it is good for every membership.
    pub(super) fn user(
        organization: OrganizationId,
        user: UserId,
        role: Role,
        reach: Option<Vec<OrganizationId>>,
        issuer: &str,
        provenance: &Arc<Provenance>,
    ) -> Self {
        let (issuer, provenance) = (issuer.to_owned(), provenance.clone());
        Self {
            organization,
            actor: Actor::User(user),
            role,
            scopes: Vec::new(),
            reach,
            issuer,
            has_current_secret: true,
            provenance,
        }
    }

    /// `role` is the current role of the person who made the key: a key never outranks its creator.
    pub(super) fn api_key(
        organization: OrganizationId,
        key: ApiKeyId,
        role: Role,
        scopes: Vec<Scope>,
        has_current_secret: bool,
        provenance: &Arc<Provenance>,
    ) -> Self {
        let (reach, provenance) = (Some(vec![organization]), provenance.clone());
        Self {
            organization,
            actor: Actor::ApiKey(key),
            role,
            scopes,
            reach,
            issuer: String::new(),
            has_current_secret,
            provenance,
        }
    }

    /// The organization that the request is for. It comes with the credential, never from an argument.
    pub fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// Who is calling.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// The person's role; for an API key, its creator's.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The key's scopes; empty for people, whose role decides.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Whether the caller may choose `organization` with `X-Organization-Id`, as a member of it.
    pub fn may_switch_to(&self, organization: OrganizationId) -> bool {
        self.reach.as_ref().is_none_or(|reach| reach.contains(&organization))
    }

    /// Who issued the person's token; empty for API keys.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether it is the key's latest secret that was shown, and not the one before the last rotation.
    pub fn has_current_secret(&self) -> bool {
        self.has_current_secret
    }

    /// Where the request came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Whether the caller sees every configuration of the organization and not only its own.
    pub fn sees_all(&self) -> bool {
        matches!(self.actor, Actor::User(_)) && self.role >= Role::Admin
    }

    /// Whether the policy allows `action`.
    pub fn may(&self, action: Action) -> bool {
        let (role, key) = action.rule();
        (self.role >= role || (key == KeyRule::Itself && matches!(self.actor, Actor::ApiKey(_))))
            && match (self.actor, key) {
                // Which key it is that may do something to itself is the action's to check.
                (Actor::User(_), _) | (_, KeyRule::Always | KeyRule::Itself) => true,
                (Actor::ApiKey(_), KeyRule::With(scope)) => self.scopes.contains(&scope),
                (Actor::ApiKey(_), KeyRule::Never) => false,
            }
    }

    /// # Errors
    /// [`Error::Forbidden`] when the policy does not allow `action`.
    pub fn require(&self, action: Action) -> Result<()> {
        if self.may(action) { Ok(()) } else { Err(Error::Forbidden(action)) }
    }
}
