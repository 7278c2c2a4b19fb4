//! Personal connector configurations: the type and its queries. Mutations are in [`mutation`].

pub mod bulk;
pub mod create;
pub mod credentials;
pub mod filter;
pub mod grant;
pub mod mutation;

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, ID, Object, SimpleObject, Union};

use self::filter::{ConfigurationFilterInput, OrderDirection, PersonalConnectorConfigurationOrder};
use self::grant::ConfigurationGrant;
use super::api_key::ApiKey;
use super::comparator::{AuthMethodType, HealthStatus};
use super::connection::{CursorScope, PageArguments, connection};
use super::connector::{self, PersonalConnector};
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::{self, GrantedToViewer, GrantsOf, Relations};
use super::organization::{Organization, User};
use super::scalar::{DateTime, JsonObject};
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::Action;
use crate::connector::AuthMethod;
use crate::db::configuration::{Condition, WithCredential};
use crate::db::credential::CredentialInfo;
use crate::db::filter::Filter;
use crate::db::{self};
use crate::error::Rejection;

/// A user-specific configuration of a personal connector: its settings, credentials and access. Credentials are encrypted
/// at rest and no field of this API ever returns them.
#[derive(Clone)]
pub struct PersonalConnectorConfiguration(WithCredential);

impl From<WithCredential> for PersonalConnectorConfiguration {
    fn from(row: WithCredential) -> Self {
        Self(row)
    }
}

/// What the caller may do with a configuration.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "snake_case")]
pub enum ConfigurationPermission {
    /// See it.
    View,
    /// Change its settings.
    Update,
    /// Delete it.
    Delete,
    /// Test the connection, see the tools and call them. Not an admin's without a grant.
    Test,
    /// Set and remove its credentials.
    ManageCredentials,
}

/// Owner of a configuration.
#[derive(Union)]
pub enum ConfigurationOwner {
    /// A person.
    User(User),
    /// An API key.
    ApiKey(ApiKey),
}

/// What is known of stored credentials. There is no field for any secret value.
#[derive(SimpleObject)]
pub struct CredentialsInfo {
    /// Which kind.
    #[graphql(name = "type")]
    method: AuthMethodType,
    /// When an OAuth2 access token ends.
    expires_at: Option<DateTime>,
    /// Whether the token can be renewed without the person.
    refreshable: bool,
    /// OAuth2 scopes that were granted.
    scopes: Vec<String>,
    /// When credentials were last set or rotated by a person.
    rotated_at: DateTime,
    /// Version of the encryption key they are sealed with.
    encryption_key_version: i32,
}

impl From<CredentialInfo> for CredentialsInfo {
    fn from(info: CredentialInfo) -> Self {
        Self {
            method: AuthMethod::Credential(info.kind).into(),
            expires_at: info.expires_at.map(DateTime),
            refreshable: info.refreshable,
            scopes: info.scopes.into_iter().flatten().collect(),
            rotated_at: DateTime(info.rotated_at),
            encryption_key_version: info.organization_key_version,
        }
    }
}

/// A user-specific configuration of a personal connector: its settings, credentials and access. Credentials are encrypted
/// at rest and no field of this API ever returns them.
#[Object]
impl PersonalConnectorConfiguration {
    /// Unique identifier: `pconf_` followed by alphanumeric characters.
    pub(in crate::graphql) async fn id(&self) -> ID {
        self.0.0.id.into()
    }

    /// Always `personal_connector.configuration`.
    async fn object(&self) -> &str {
        "personal_connector.configuration"
    }

    /// User who owns this configuration. Exactly one of userId and apiKeyId is set.
    async fn user_id(&self) -> Option<ID> {
        self.0.0.owner_user_id.map(ID::from)
    }

    /// API key that owns this configuration. Exactly one of userId and apiKeyId is set.
    async fn api_key_id(&self) -> Option<ID> {
        self.0.0.owner_api_key_id.map(ID::from)
    }

    /// Organization this configuration belongs to.
    async fn organization_id(&self) -> ID {
        self.0.0.organization_id.into()
    }

    /// Personal connector that this configures.
    async fn personal_connector_id(&self) -> ID {
        ID(self.0.0.connector_id.clone())
    }

    /// User-friendly name, 1 to 120 characters, e.g. "My GitHub Account". Unique for one owner and connector.
    async fn name(&self) -> &str {
        &self.0.0.name
    }

    /// Connector-specific settings. They follow `personalConnector.configurationSchema`.
    async fn configuration(&self) -> JsonObject {
        self.0.0.configuration.clone().into()
    }

    /// Whether this configuration is active. Defaults to true.
    async fn enabled(&self) -> bool {
        self.0.0.enabled
    }

    /// Health as of the latest check.
    async fn health_status(&self) -> HealthStatus {
        self.0.0.health_status.into()
    }

    /// When tools were last discovered or health was last checked with success.
    async fn last_sync_at(&self) -> Option<DateTime> {
        self.0.0.last_sync_at.map(DateTime)
    }

    /// Last error message if unhealthy. Never contains a credential.
    async fn last_error(&self) -> Option<&str> {
        self.0.0.last_error.as_deref()
    }

    /// What this configuration is for, at most 2000 characters.
    async fn description(&self) -> Option<&str> {
        self.0.0.description.as_deref()
    }

    /// Key-value pairs for tagging and filtering.
    async fn metadata(&self) -> Option<JsonObject> {
        self.0.0.metadata.clone().map(JsonObject::from)
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.0.created_at)
    }

    /// When it was last updated by a person or key. Health checks do not change it.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.0.updated_at)
    }

    /// Grows by one with each update. Pass it as `expectedVersion` to update safely.
    async fn version(&self) -> i32 {
        self.0.0.version
    }

    /// Auth method of the stored credentials; null when none are stored.
    async fn auth_method(&self) -> Option<AuthMethodType> {
        self.0.1.as_ref().map(|info| AuthMethod::Credential(info.kind).into())
    }

    /// What may be told of the stored credentials: kind, age, expiry. Never a value. Null for others. [owner, or role
    /// admin]
    async fn credentials_info(&self, ctx: &Context<'_>) -> Option<CredentialsInfo> {
        let shown = self.0.0.access(ctx.caller(), None).may_control();
        self.0.1.clone().filter(|_| shown).map(CredentialsInfo::from)
    }

    /// Access permissions: who besides the owner may do what. `use` lets the grantee test it, see its tools and call them
    /// through the stored credential, and never shows the credential. Admins see every configuration, and use none without
    /// a grant. Null for others. [owner, or role admin]
    async fn grants(&self, ctx: &Context<'_>) -> Nullable<Option<Vec<ConfigurationGrant>>> {
        if !self.0.0.access(ctx.caller(), None).may_control() {
            return None;
        }
        let loader = ctx.data_unchecked::<DataLoader<Relations>>();
        let rows = loader.load_one(GrantsOf(self.0.0.id)).await;
        Some(rows.map(|rows| Some(rows.unwrap_or_default().into_iter().map(ConfigurationGrant::from).collect())))
    }

    /// The owner: a user or an API key. Null for a caller who may not read members, or API keys.
    async fn owner(&self, ctx: &Context<'_>) -> Nullable<Option<ConfigurationOwner>> {
        Some(match self.0.0.owner() {
            Actor::User(id) => loader::user(ctx, id).await.map(|found| found.map(ConfigurationOwner::User)),
            Actor::ApiKey(id) => loader::api_key(ctx, id).await.map(|found| found.map(ConfigurationOwner::ApiKey)),
        })
    }

    /// The organization that it belongs to.
    async fn organization(&self, ctx: &Context<'_>) -> Nullable<Option<Organization>> {
        let loader = ctx.data_unchecked::<DataLoader<Relations>>();
        Some(loader.load_one(self.0.0.organization_id).await.map(|row| row.map(Organization::from)))
    }

    /// What it configures.
    async fn personal_connector(&self, ctx: &Context<'_>) -> Nullable<Option<PersonalConnector>> {
        Some(connector::find(ctx, &self.0.0.connector_id).await.map(|found| found.map(PersonalConnector)))
    }

    /// What the caller may do with this configuration, so that a frontend need not guess.
    async fn viewer_permissions(&self, ctx: &Context<'_>) -> Result<Vec<ConfigurationPermission>> {
        let caller = ctx.caller();
        let row = &self.0.0;
        let granted = if row.owner() == caller.actor() {
            None
        } else {
            ctx.data_unchecked::<DataLoader<Relations>>().load_one(GrantedToViewer(row.id)).await?
        };
        let access = row.access(caller, granted);
        Ok([
            (Action::ConfigurationRead, true, ConfigurationPermission::View),
            (Action::ConfigurationUpdate, access.may_update(), ConfigurationPermission::Update),
            (Action::ConfigurationDelete, access.may_control(), ConfigurationPermission::Delete),
            (Action::ConfigurationTest, access.may_use(), ConfigurationPermission::Test),
            (Action::CredentialWrite, access.may_control(), ConfigurationPermission::ManageCredentials),
        ]
        .into_iter()
        .filter(|(action, may, _)| *may && caller.may(*action))
        .map(|(_, _, permission)| permission)
        .collect())
    }
}

connection!(
    PersonalConnectorConfigurationConnection,
    PersonalConnectorConfigurationEdge,
    PersonalConnectorConfiguration
);

/// Reads a page. `list` names whose configurations they are; `also` narrows them beside the filter.
pub async fn list(
    ctx: &Context<'_>,
    name: &str,
    also: Option<Condition>,
    filter: Option<ConfigurationFilterInput>,
    order: PersonalConnectorConfigurationOrder,
    arguments: &PageArguments,
) -> Result<PersonalConnectorConfigurationConnection> {
    let (app, caller) = (ctx.app(), ctx.caller());
    let scope = CursorScope::new(ctx, &format!("{name} {order:?}"), &(&also, &filter));
    let page = scope.page(arguments)?;
    let mut conditions = vec![filter.unwrap_or_default().conditions(caller)?];
    conditions.extend(also.map(Filter::Is));
    let filter = Filter::All(conditions);
    let field = order.field.into();
    let descending = order.direction == OrderDirection::Desc;
    let page = app
        .db
        .read(caller, Action::ConfigurationRead, async |tx| {
            db::configuration::list(tx, &filter, field, descending, &page).await
        })
        .await?;
    Ok(PersonalConnectorConfigurationConnection::new(page, &scope, |row| row.0.cursor(field), Into::into))
}

/// A condition that narrows a list to the caller's own.
pub fn own(caller: &Caller) -> Condition {
    match caller.actor() {
        Actor::User(id) => Condition::User(vec![id]),
        Actor::ApiKey(id) => Condition::ApiKey(vec![id]),
    }
}

/// Queries of configurations.
#[derive(Default)]
pub struct ConfigurationQuery;

#[Object]
impl ConfigurationQuery {
    /// One configuration; null if it does not exist or is not visible.
    async fn personal_connector_configuration(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
    ) -> Nullable<Option<PersonalConnectorConfiguration>> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let id = id.parse();
        let read = app.db.read(caller, Action::ConfigurationRead, async |tx| match id {
            Ok(id) => db::configuration::find(tx, id).await,
            Err(_) => Ok(None),
        });
        Some(read.await.map(|row| row.map(Into::into)).map_err(Into::into))
    }

    /// Configurations of the organization that the caller may see: own ones, those granted to it, or all for admins. `first`
    /// or `last` defaults to 25, at most 100; do not give both.
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
    ) -> Result<PersonalConnectorConfigurationConnection> {
        let arguments = PageArguments { first, after, last, before };
        list(ctx, "configurations", None, filter, order_by, &arguments).await
    }

    /// Checks a configuration against a connector's schema without saving anything.
    async fn validate_configuration(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pcon_…`")] personal_connector_id: ID,
        #[graphql(desc = "What would be saved.")] configuration: JsonObject,
    ) -> Nullable<ConfigurationValidation> {
        let validate = async || {
            let connector = connector::find(ctx, &personal_connector_id)
                .await?
                .ok_or_else(|| Rejection::not_found(&["personalConnectorId"], "personal connector"))?;
            let rejections = mutation::check_configuration(&connector, &configuration.into(), &["configuration"]);
            Ok(ConfigurationValidation {
                valid: rejections.is_empty(),
                errors: rejections
                    .into_iter()
                    .map(super::user_error::ConfigurationSchemaError::from_rejection)
                    .collect(),
            })
        };
        Some(validate().await)
    }
}

/// Whether a configuration follows its connector's schema.
#[derive(SimpleObject)]
pub struct ConfigurationValidation {
    /// Whether it does.
    valid: bool,
    /// Where it does not.
    errors: Vec<super::user_error::ConfigurationSchemaError>,
}
