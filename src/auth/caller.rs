//! Who is calling, for which organization, and what they may do.

use super::policy::{Action, KeyRule, Role, Scope};
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, OrganizationId, UserId};

/// A person or an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A person, by token.
    User(UserId),
    /// A script, by key.
    ApiKey(ApiKeyId),
}

/// Verified evidence of who is calling. Its fields are private and only `auth` makes one, so to hold a `Caller` is to
/// have been authenticated; nothing reaches the database without.
#[derive(Clone, Debug)]
pub struct Caller {
    organization: OrganizationId,
    actor: Actor,
    role: Role,
    scopes: Vec<Scope>,
    may_switch: bool,
    request_id: String,
}

impl Caller {
    pub(super) fn user(
        organization: OrganizationId,
        user: UserId,
        role: Role,
        may_switch: bool,
        request_id: &str,
    ) -> Self {
        let request_id = request_id.to_owned();
        Self { organization, actor: Actor::User(user), role, scopes: Vec::new(), may_switch, request_id }
    }

    /// `role` is the current role of the person who made the key: a key never outranks its creator.
    pub(super) fn api_key(
        organization: OrganizationId,
        key: ApiKeyId,
        role: Role,
        scopes: Vec<Scope>,
        request_id: &str,
    ) -> Self {
        let request_id = request_id.to_owned();
        Self { organization, actor: Actor::ApiKey(key), role, scopes, may_switch: false, request_id }
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

    /// Whether the caller may choose among several organizations with `X-Organization-Id`.
    pub fn may_switch(&self) -> bool {
        self.may_switch
    }

    /// The request, as in the log and in the answer.
    pub fn request_id(&self) -> &str {
        &self.request_id
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
                // Itself: which key it is about is the action's to check.
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
