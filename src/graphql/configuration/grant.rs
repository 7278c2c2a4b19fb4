//! Access to configurations, given by their owners.

use async_graphql::{Context, Enum, ID, Object, OneofObject};

use super::create::require_owner;
use super::mutation::{PersonalConnectorConfigurationUpdatePayload, lock, read_back, updated};
use crate::auth::caller::Actor;
use crate::auth::policy::Action;
use crate::db;
use crate::db::configuration::Access;
use crate::db::grant::{Grant, Grantee, Permission};
use crate::error::{Code, Detail, Rejection, Result};
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::scalar::DateTime;
use crate::graphql::user_error::{answer, payload};
use crate::id::GrantId;

/// The most grants of one configuration.
const MAX_GRANTS: i32 = 200;

/// What a grant allows.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "lowercase", remote = "Permission")]
pub enum GrantPermission {
    /// See it and its tools, test it, call its tools.
    Use,
    /// All of `use`, and change its settings (never the credential's value, nor where it is sent).
    Manage,
}

/// Access given to a user, to an API key, or to every member of the organization.
#[derive(Clone)]
pub struct ConfigurationGrant(Grant);

impl From<Grant> for ConfigurationGrant {
    fn from(row: Grant) -> Self {
        Self(row)
    }
}

/// Access given to a user, to an API key, or to every member of the organization.
#[Object]
impl ConfigurationGrant {
    /// `grant_…`
    pub(in crate::graphql) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// What it allows.
    async fn permission(&self) -> GrantPermission {
        self.0.permission.into()
    }

    /// Given to this person. Null with apiKeyId null: every member of the organization.
    async fn user_id(&self) -> Option<ID> {
        self.0.user_id.map(ID::from)
    }

    /// Given to this API key.
    async fn api_key_id(&self) -> Option<ID> {
        self.0.api_key_id.map(ID::from)
    }

    /// Who gave it; null when an API key did, of what it owns.
    async fn granted_by_user_id(&self) -> Option<ID> {
        self.0.granted_by_user_id.map(ID::from)
    }

    /// When it was given.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Who is given access: give exactly one field.
#[derive(OneofObject)]
pub enum GranteeInput {
    /// A member of the organization.
    UserId(ID),
    /// An API key of the organization.
    ApiKeyId(ID),
    /// true: every member of the organization. API keys need a grant of their own.
    Organization(bool),
}

impl GranteeInput {
    fn parse(self) -> Result<Grantee> {
        let missing = |name: &str, object: &str| Rejection::not_found(&["to", name], object);
        match self {
            Self::UserId(id) => Ok(Grantee::Actor(Actor::User(id.parse().map_err(|_| missing("userId", "member"))?))),
            Self::ApiKeyId(id) => {
                Ok(Grantee::Actor(Actor::ApiKey(id.parse().map_err(|_| missing("apiKeyId", "API key"))?)))
            }
            Self::Organization(true) => Ok(Grantee::Organization),
            Self::Organization(false) => {
                let message = "organization is true, or another field is given.";
                Err(Rejection::new(Code::Invalid, &["to", "organization"], message).into())
            }
        }
    }
}

/// The grantee has gone while the request was under way.
fn gone() -> Rejection {
    Rejection::not_found(&["to"], "grantee")
}

payload!(
    /// What giving access gave.
    PersonalConnectorConfigurationGrantPayload {
        /// The grant; null when there are userErrors.
        grant: ConfigurationGrant
    }
);

/// Mutations of grants.
#[derive(Default)]
pub struct GrantMutation;

#[Object]
impl GrantMutation {
    /// Gives access; a grantee that has a grant gets its permission changed. Only the owner may, an admin neither. [owner,
    /// role member, scope configurations_write]
    async fn personal_connector_configuration_grant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
        #[graphql(desc = "Who is given access.")] to: GranteeInput,
        #[graphql(desc = "To do what.")] permission: GrantPermission,
    ) -> Nullable<PersonalConnectorConfigurationGrantPayload> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let given = app.db.write(caller, Action::GrantCreate, &id, async |tx| {
            let (row, _) = lock(tx, &id, None, Access::may_grant).await?;
            let grantee = to.parse()?;
            if let Grantee::Actor(actor) = grantee {
                if actor == row.owner() {
                    return Err(Rejection::new(Code::Invalid, &["to"], "The owner may do all already.").into());
                }
                require_owner(tx, actor, &["to"]).await?;
            }
            let grant = db::grant::put(tx, row.id, grantee, permission.into()).await;
            let grant = grant.map_err(|error| match error.constraint() {
                Some("grants_user_id_fkey" | "grants_api_key_id_fkey") => gone().into(),
                _ => error,
            })?;
            let grant = grant.ok_or_else(gone)?;
            let count = i32::try_from(db::grant::count(tx, row.id).await?).unwrap_or(i32::MAX);
            if count > MAX_GRANTS {
                let message = format!("A configuration has at most {MAX_GRANTS} grants; give it to the organization.");
                let detail = Detail::Limit { limit: MAX_GRANTS, current: count };
                return Err(Rejection { detail, ..Rejection::new(Code::LimitExceeded, &["to"], message) }.into());
            }
            Ok(PersonalConnectorConfigurationGrantPayload { grant: Some(grant.into()), user_errors: Vec::new() })
        });
        answer(given.await)
    }

    /// Takes access back, at once. [owner, or role admin, scope configurations_write]
    async fn personal_connector_configuration_revoke_grant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
        #[graphql(desc = "`grant_…`")] grant_id: ID,
    ) -> Nullable<PersonalConnectorConfigurationUpdatePayload> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let taken = app.db.write(caller, Action::GrantRevoke, &id, async |tx| {
            let (row, _) = lock(tx, &id, None, Access::may_control).await?;
            let missing = || Rejection::not_found(&["grantId"], "grant");
            let grant = grant_id.parse::<GrantId>().map_err(|_| missing())?;
            if !db::grant::delete(tx, row.id, grant).await? {
                return Err(missing().into());
            }
            Ok(updated(caller, read_back(tx, row.id).await?))
        });
        answer(taken.await)
    }
}
