//! Who is calling.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Object};

use super::api_key::{ApiKey, ApiKeyScope};
use super::configuration::filter::{ConfigurationFilterInput, PersonalConnectorConfigurationOrder};
use super::configuration::{self, PersonalConnectorConfigurationConnection};
use super::connection::PageArguments;
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::Relations;
use super::organization::{self, Organization, OrganizationRole, User};
use crate::auth::caller::Actor;

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
