//! Who is calling.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Object};
use chrono::TimeDelta;

use super::api_key::{ApiKey, ApiKeyScope};
use super::configuration::filter::{ConfigurationFilterInput, PersonalConnectorConfigurationOrder};
use super::configuration::{self, PersonalConnectorConfigurationConnection};
use super::connection::PageArguments;
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::Relations;
use super::organization::{self, Organization, OrganizationRole, User};
use super::scalar::DateTime;
use super::user_error::{answer, payload};
use crate::app::App;
use crate::auth::caller::{Actor, Caller};
use crate::auth::jwt::{MAX_LIFETIME, is_name};
use crate::auth::policy::Action;
use crate::db::revocation;
use crate::error::{Code, Error, Rejection};

/// Who is calling.
pub struct Viewer;

/// Who is calling.
#[Object]
impl Viewer {
    /// Set when a person calls.
    async fn user(&self, ctx: &Context<'_>) -> Nullable<Option<User>> {
        let loader = ctx.data_unchecked::<DataLoader<Relations>>();
        match ctx.caller().actor() {
            Actor::User(id) => Some(loader.load_one(id).await.map(|row| row.map(User::from))),
            Actor::ApiKey(_) => None,
        }
    }

    /// Set when an API key calls.
    async fn api_key(&self, ctx: &Context<'_>) -> Nullable<Option<ApiKey>> {
        let loader = ctx.data_unchecked::<DataLoader<Relations>>();
        match ctx.caller().actor() {
            Actor::ApiKey(id) => Some(loader.load_one(id).await.map(|row| row.map(ApiKey::from))),
            Actor::User(_) => None,
        }
    }

    /// The organization the request is for.
    async fn organization(&self, ctx: &Context<'_>) -> Result<Organization> {
        organization::own(ctx).await
    }

    /// Role in the organization; null for API keys.
    async fn role(&self, ctx: &Context<'_>) -> Option<OrganizationRole> {
        match ctx.caller().actor() {
            Actor::User(_) => Some(ctx.caller().role().into()),
            Actor::ApiKey(_) => None,
        }
    }

    /// Scopes of the API key; empty for people, whose role decides.
    async fn scopes(&self, ctx: &Context<'_>) -> Vec<ApiKeyScope> {
        ctx.caller().scopes().iter().map(|scope| ApiKeyScope::from(*scope)).collect()
    }

    /// Organizations that the person may switch to with the X-Organization-Id header.
    async fn organizations(&self, ctx: &Context<'_>) -> Result<Vec<Organization>> {
        let rows = ctx.app().authenticator.organizations(ctx.caller()).await?;
        Ok(rows.into_iter().map(Organization::from).collect())
    }

    /// The caller's own configurations.
    #[expect(clippy::too_many_arguments, reason = "the contract has so many")]
    async fn personal_connector_configurations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all by default.")] filter: Option<ConfigurationFilterInput>,
        #[graphql(
            desc = "In which order; newest first by default.",
            default_with = "PersonalConnectorConfigurationOrder::default()"
        )]
        order_by: PersonalConnectorConfigurationOrder,
        #[graphql(desc = "So many from the beginning, or behind `after`: 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "So many from the end, or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
    ) -> Nullable<PersonalConnectorConfigurationConnection> {
        let arguments = PageArguments { first, after, last, before };
        let own = Some(configuration::own(ctx.caller()));
        Some(configuration::list(ctx, "viewer.configurations", own, filter, order_by, &arguments).await)
    }
}

/// Queries of the caller.
#[derive(Default)]
pub struct ViewerQuery;

#[Object]
impl ViewerQuery {
    /// Who is calling: the first query to try.
    async fn viewer(&self) -> Viewer {
        Viewer
    }
}

payload!(
    /// What ending one's own tokens gave.
    ViewerTokensRevokePayload {
        /// Tokens that were issued before this are refused from now on. Null when only one token was ended.
        revoked_before: DateTime
    }
);

async fn revoke(
    app: &App,
    caller: &Caller,
    token_id: Option<String>,
) -> crate::error::Result<ViewerTokensRevokePayload> {
    let action = Action::ViewerTokensRevoke;
    caller.require(action)?;
    let Actor::User(user) = caller.actor() else { return Err(Error::Forbidden(action)) };
    let now = app.clock.now();
    let Some(token_id) = token_id else {
        app.db.write(caller, action, "", async |tx| revocation::revoke_own_tokens(tx, user, now).await).await?;
        return Ok(ViewerTokensRevokePayload { revoked_before: Some(DateTime(now)), user_errors: Vec::new() });
    };
    if !is_name(&token_id) {
        return Err(Rejection::new(Code::Invalid, &["tokenId"], "A token's id has 1 to 255 characters.").into());
    }
    // No token that holds now lives longer, and an hour for clocks that differ.
    let expires_at = now + TimeDelta::seconds(MAX_LIFETIME) + TimeDelta::hours(1);
    let revoke = async |tx: &_| revocation::revoke_own_token(tx, user, caller.issuer(), &token_id, expires_at).await;
    app.db.write(caller, action, "", revoke).await?;
    Ok(ViewerTokensRevokePayload { revoked_before: None, user_errors: Vec::new() })
}

/// Mutations of the caller.
#[derive(Default)]
pub struct ViewerMutation;

#[Object]
impl ViewerMutation {
    /// Ends the caller's own tokens, those of every organization, at once: all that were issued before now, the one that
    /// this request came with included; or only one. People only.
    async fn viewer_tokens_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `jti` of one token of the same issuer; all by default.")] token_id: Option<String>,
    ) -> Nullable<ViewerTokensRevokePayload> {
        answer(revoke(ctx.app(), ctx.caller(), token_id).await)
    }
}
