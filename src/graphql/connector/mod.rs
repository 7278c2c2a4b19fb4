//! The catalogue of connectors: those of the program, and the organization's own. Mutations are in [`mutation`].

pub mod filter;
pub mod mutation;

use std::sync::Arc;

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, ID, Object};
use chrono::{DateTime as Moment, Utc};

use self::filter::PersonalConnectorFilter;
use super::comparator::AuthMethodType;
use super::configuration::filter::{ConfigurationFilterInput, PersonalConnectorConfigurationOrder};
use super::configuration::{self, PersonalConnectorConfigurationConnection};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::Relations;
use super::scalar::{DateTime, JsonObject, Url};
use crate::auth::policy::Action;
use crate::connector::{self as domain, AuthMethod, AuthMethodGuide, Connector, catalog, custom};
use crate::db;
use crate::db::configuration::Condition;
use crate::db::page::{Cursor, Key, Page, PageRequest};
use crate::id::ConnectorId;
use crate::vault::Kind;

impl From<AuthMethod> for AuthMethodType {
    fn from(method: AuthMethod) -> Self {
        match method {
            AuthMethod::Credential(Kind::ApiKey) => Self::ApiKey,
            AuthMethod::Credential(Kind::OAuth2) => Self::OAuth2,
            AuthMethod::Credential(Kind::Bearer) => Self::Bearer,
            AuthMethod::Credential(Kind::Basic) => Self::Basic,
            AuthMethod::None => Self::None,
        }
    }
}

impl From<AuthMethodType> for AuthMethod {
    fn from(method: AuthMethodType) -> Self {
        match method {
            AuthMethodType::ApiKey => Self::Credential(Kind::ApiKey),
            AuthMethodType::OAuth2 => Self::Credential(Kind::OAuth2),
            AuthMethodType::Bearer => Self::Credential(Kind::Bearer),
            AuthMethodType::Basic => Self::Credential(Kind::Basic),
            AuthMethodType::None => Self::None,
        }
    }
}

/// Who runs what is connected.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "lowercase", remote = "domain::ConnectorType")]
pub enum ConnectorType {
    /// Externally hosted by the provider itself, e.g. GitHub.
    Official,
    /// Reached by an adapter that ships with this service, e.g. ClickUp, Jira, Teams.
    Builtin,
    /// An MCP server of somebody's own.
    Custom,
}

/// Whether a connector is to be used.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "lowercase")]
pub enum ConnectorStatus {
    /// Yes.
    Active,
    /// Use another one; says which in deprecationReason.
    Deprecated,
    /// Temporarily unavailable: configurations are kept, checks are deferred.
    Maintenance,
}

impl ConnectorStatus {
    fn of(connector: &Connector) -> Self {
        match connector.deprecation_reason() {
            None => Self::Active,
            Some(_) => Self::Deprecated,
        }
    }
}

/// How a connector is spoken to.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "snake_case", remote = "domain::Transport")]
pub enum ConnectorTransport {
    /// Built-in adapter to the service's own API.
    Native,
    /// Model Context Protocol over streamable HTTP.
    McpHttp,
}

/// One way to authenticate, with what a person must know to use it.
pub struct ConnectorAuthMethod {
    connector: Arc<Connector>,
    index: usize,
}

impl ConnectorAuthMethod {
    fn guide(&self) -> &AuthMethodGuide {
        &self.connector.auth_methods[self.index]
    }
}

/// One way to authenticate, with what a person must know to use it.
#[Object]
impl ConnectorAuthMethod {
    /// Which way.
    #[graphql(name = "type")]
    async fn method(&self) -> AuthMethodType {
        self.guide().method.into()
    }

    /// What the provider calls it.
    async fn label(&self) -> &str {
        &self.guide().label
    }

    /// Markdown: where to find the key, which scopes to grant.
    async fn instructions(&self) -> Option<&str> {
        self.guide().instructions.as_deref()
    }

    /// JSON Schema of the credential object, for forms. Secret properties have `writeOnly: true`.
    async fn credentials_schema(&self) -> JsonObject {
        self.guide().method.credentials_schema().into()
    }
}

/// A service that can be connected: GitHub, ClickUp, Jira, Teams, or an organization's own MCP server.
#[derive(Clone)]
pub struct PersonalConnector(pub Arc<Connector>);

/// When the built-in definitions were last changed.
fn definition_date() -> Moment<Utc> {
    Moment::from_timestamp(1_763_856_000, 0).unwrap_or_default()
}

/// A service that can be connected: GitHub, ClickUp, Jira, Teams, or an organization's own MCP server.
#[Object]
impl PersonalConnector {
    /// `pcon_…`; built-in connectors have readable ids such as `pcon_github`.
    pub(in crate::graphql) async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// Always `personal_connector`.
    async fn object(&self) -> &str {
        "personal_connector"
    }

    /// Who runs it.
    #[graphql(name = "type")]
    async fn connector_type(&self) -> ConnectorType {
        self.0.connector_type.into()
    }

    /// Identifier of the connector type: `github`, `clickup`, `jira`, `teams`, `custom_mcp`; for one that the organization
    /// has defined, its id.
    async fn connector_id(&self) -> &str {
        &self.0.connector_id
    }

    /// Whether it is to be used.
    async fn status(&self) -> ConnectorStatus {
        ConnectorStatus::of(&self.0)
    }

    /// How it is spoken to.
    async fn transport(&self) -> ConnectorTransport {
        self.0.transport.into()
    }

    /// For people.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is good for.
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// productivity, development, communication, design, custom, or a word of the organization's own.
    async fn category(&self) -> Option<&str> {
        Some(&self.0.category)
    }

    /// Semantic version of a built-in definition, e.g. "1.0.0".
    async fn connector_version(&self) -> Option<&str> {
        self.0.version
    }

    /// User who defined a custom connector; null for built-in ones, and where an API key did it.
    async fn created_by_user_id(&self) -> Option<ID> {
        self.0.definition.as_ref()?.created_by.map(ID::from)
    }

    /// Its picture.
    async fn icon_url(&self) -> Option<Url> {
        self.0.icon_url.as_deref().map(|url| Url(url.to_owned()))
    }

    /// The provider's own documentation.
    async fn documentation_url(&self) -> Option<Url> {
        self.0.documentation_url.as_deref().map(|url| Url(url.to_owned()))
    }

    /// Auth methods that it accepts, the recommended one first.
    async fn auth_methods(&self) -> Vec<ConnectorAuthMethod> {
        (0..self.0.auth_methods.len())
            .map(|index| ConnectorAuthMethod { connector: Arc::clone(&self.0), index })
            .collect()
    }

    /// JSON Schema (2020-12) that `configuration` must follow. Good for building forms.
    async fn configuration_schema(&self) -> JsonObject {
        self.0.configuration_schema.clone().into()
    }

    /// A configuration that passes the schema.
    async fn example_configuration(&self) -> Option<JsonObject> {
        self.0.example_configuration.clone().map(JsonObject::from)
    }

    /// Organization that defined it; null for built-in ones.
    async fn organization_id(&self) -> Option<ID> {
        self.0.definition.as_ref().map(|definition| definition.organization.into())
    }

    /// Whether new configurations may be created.
    async fn enabled(&self) -> bool {
        self.0.is_enabled()
    }

    /// MCP server that every configuration of this connector uses; null for built-in ones, also where
    /// `configuration.endpoint` says it (`pcon_custom_mcp`).
    async fn server_url(&self) -> Option<Url> {
        self.0.server_url.as_deref().map(|url| Url(url.to_owned()))
    }

    /// Set when the connector will go away; says what to use instead.
    async fn deprecation_reason(&self) -> Option<&str> {
        self.0.deprecation_reason()
    }

    /// Grows by one with each change of the definition.
    async fn version(&self) -> i32 {
        self.0.definition.as_ref().map_or(1, |definition| definition.version)
    }

    /// When it was defined.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.definition.as_ref().map_or_else(definition_date, |definition| definition.created_at))
    }

    /// When the definition last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.definition.as_ref().map_or_else(definition_date, |definition| definition.updated_at))
    }

    /// Configurations of this connector that the caller may see.
    #[expect(clippy::too_many_arguments, reason = "the contract has so many")]
    async fn configurations(
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
        let also = Some(Condition::Connector(vec![self.0.id.to_string()]));
        Some(configuration::list(ctx, "connector.configurations", also, filter, order_by, &arguments).await)
    }
}

connection!(PersonalConnectorConnection, PersonalConnectorEdge, PersonalConnector);

/// The connector of that id, if the caller's organization has one.
///
/// # Errors
/// When the caller may not read the catalogue; what the database says.
pub async fn find(ctx: &Context<'_>, id: &str) -> Result<Option<Arc<Connector>>> {
    ctx.caller().require(Action::ConnectorRead)?;
    if let Some(connector) = catalog::find(id) {
        return Ok(Some(connector));
    }
    let Ok(id) = id.parse::<ConnectorId>() else { return Ok(None) };
    ctx.data_unchecked::<DataLoader<Relations>>().load_one(id).await
}

/// Built-in ones first, in the order of the catalogue, then the organization's own by name and id.
fn place(connector: &Connector) -> Cursor {
    match &connector.definition {
        None => {
            let index = catalog::all().iter().position(|known| known.id == connector.id).unwrap_or_default();
            Cursor { key: Key::Text(format!("0 {index:04}")), id: uuid::Uuid::nil() }
        }
        Some(definition) => Cursor { key: Key::Text(format!("1 {}", connector.name)), id: definition.id.uuid() },
    }
}

/// A page of a list that is at hand, in the order of its cursors. What a cursor names may be gone.
fn page(rows: Vec<(Cursor, Arc<Connector>)>, request: &PageRequest) -> Page<(Cursor, Arc<Connector>)> {
    let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let end = request.before.as_ref().map_or(rows.len(), |before| rows.partition_point(|(place, _)| place < before));
    let start = request.after.as_ref().map_or(0, |after| rows.partition_point(|(place, _)| place <= after)).min(end);
    let range = if request.backward {
        end.saturating_sub(request.limit).max(start)..end
    } else {
        start..start.saturating_add(request.limit).min(end)
    };
    let (has_previous, has_next) = (range.start > 0, range.end < rows.len());
    let rows = rows.into_iter().skip(range.start).take(range.len()).collect();
    Page { rows, has_next, has_previous, total: request.count.then_some(total) }
}

/// Queries of connectors.
#[derive(Default)]
pub struct ConnectorQuery;

#[Object]
impl ConnectorQuery {
    /// One connector of the catalog.
    async fn personal_connector(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pcon_…`")] id: ID,
    ) -> Nullable<Option<PersonalConnector>> {
        Some(find(ctx, &id).await.map(|connector| connector.map(PersonalConnector)))
    }

    /// The catalog: built-in connectors, then the organization's own by name.
    async fn personal_connectors(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all by default.")] filter: Option<PersonalConnectorFilter>,
        #[graphql(desc = "So many from the beginning, or behind `after`: 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "So many from the end, or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
    ) -> Result<PersonalConnectorConnection> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let scope = CursorScope::new(ctx, "connectors", &filter);
        let request = scope.page(&PageArguments { first, after, last, before })?;
        let filter = filter.unwrap_or_default();
        let own = app.db.read(caller, Action::ConnectorRead, async |tx| db::connector::list(tx).await).await?;
        let own = own.into_iter().map(custom::from_row).collect::<crate::error::Result<Vec<_>>>()?;
        let mut rows: Vec<_> = catalog::all()
            .iter()
            .cloned()
            .chain(own)
            .filter(|connector| filter.lets_through(connector))
            .map(|connector| (place(&connector), connector))
            .collect();
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let connection = PersonalConnectorConnection::new(
            page(rows, &request),
            &scope,
            |(place, _)| place.clone(),
            |(_, connector)| PersonalConnector(connector),
        );
        Ok(connection)
    }
}
