//! The catalogue of connectors.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime as Moment, Utc};
use uuid::Uuid;

use super::comparator::{AuthMethodType, AuthMethodTypeComparator, BooleanComparator, IdComparator, StringComparator};
use super::configuration::filter::{ConfigurationFilterInput, PersonalConnectorConfigurationOrder};
use super::configuration::{self, PersonalConnectorConfigurationConnection};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::scalar::{DateTime, JsonObject, Url};
use crate::auth::policy::Action;
use crate::connector::{self as domain, AuthMethod, Connector, catalog};
use crate::db::configuration::Condition;
use crate::db::filter::{Filter, TextOp};
use crate::db::page::{Cursor, Key, Page, PageRequest};
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
#[derive(SimpleObject)]
pub struct ConnectorAuthMethod {
    /// Which way.
    #[graphql(name = "type")]
    method: AuthMethodType,
    /// What the provider calls it.
    label: &'static str,
    /// Markdown: where to find the key, which scopes to grant.
    instructions: Option<&'static str>,
    /// JSON Schema of the credential object, for forms. Secret properties have `writeOnly: true`.
    credentials_schema: JsonObject,
}

/// A service that can be connected: GitHub, ClickUp, Jira, Teams, or somebody's own MCP server.
#[derive(Clone, Copy)]
pub struct PersonalConnector(pub &'static Connector);

/// When the built-in definitions were last changed.
fn definition_date() -> DateTime {
    DateTime(Moment::<Utc>::from_timestamp(1_763_856_000, 0).unwrap_or_default())
}

/// A service that can be connected: GitHub, ClickUp, Jira, Teams, or somebody's own MCP server.
#[Object]
impl PersonalConnector {
    /// `pcon_…`; built-in connectors have readable ids such as `pcon_github`.
    pub(super) async fn id(&self) -> ID {
        ID(self.0.id.to_owned())
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

    /// Identifier of the connector type: `github`, `clickup`, `jira`, `teams`, `custom_mcp`.
    async fn connector_id(&self) -> &str {
        self.0.connector_id
    }

    /// Whether it is to be used.
    async fn status(&self) -> ConnectorStatus {
        ConnectorStatus::Active
    }

    /// How it is spoken to.
    async fn transport(&self) -> ConnectorTransport {
        self.0.transport.into()
    }

    /// For people.
    async fn name(&self) -> &str {
        self.0.name
    }

    /// What it is good for.
    async fn description(&self) -> Option<&str> {
        Some(self.0.description)
    }

    /// productivity, development, communication, design or custom.
    async fn category(&self) -> Option<&str> {
        Some(self.0.category)
    }

    /// Semantic version of the definition, e.g. "1.0.0".
    async fn connector_version(&self) -> Option<&str> {
        Some(self.0.version)
    }

    /// The provider's own documentation.
    async fn documentation_url(&self) -> Option<Url> {
        self.0.documentation_url.map(|url| Url(url.to_owned()))
    }

    /// Auth methods that it accepts, the recommended one first.
    async fn auth_methods(&self) -> Vec<ConnectorAuthMethod> {
        self.0
            .auth_methods
            .iter()
            .map(|guide| ConnectorAuthMethod {
                method: guide.method.into(),
                label: guide.label,
                instructions: Some(guide.instructions),
                credentials_schema: guide.method.credentials_schema().into(),
            })
            .collect()
    }

    /// JSON Schema (2020-12) that `configuration` must follow. Good for building forms.
    async fn configuration_schema(&self) -> JsonObject {
        self.0.configuration_schema.clone().into()
    }

    /// A configuration that passes the schema.
    async fn example_configuration(&self) -> Option<JsonObject> {
        Some(self.0.example_configuration.clone().into())
    }

    /// Organization that defined it; null for built-in ones.
    async fn organization_id(&self) -> Option<ID> {
        None
    }

    /// Whether new configurations may be created.
    async fn enabled(&self) -> bool {
        true
    }

    /// Grows with each change of the definition.
    async fn version(&self) -> i32 {
        1
    }

    /// When it was defined.
    async fn created_at(&self) -> DateTime {
        definition_date()
    }

    /// When the definition last changed.
    async fn updated_at(&self) -> DateTime {
        definition_date()
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
        let also = Some(Condition::Connector(vec![self.0.id.to_owned()]));
        Some(configuration::list(ctx, "connector.configurations", also, filter, order_by, &arguments).await)
    }
}

connection!(PersonalConnectorConnection, PersonalConnectorEdge, PersonalConnector);

/// Filter for connectors. Fields are combined with AND.
#[derive(InputObject, Clone, Debug, Default)]
pub struct PersonalConnectorFilter {
    /// Its id.
    id: Option<IdComparator>,
    /// Who runs it.
    #[graphql(name = "type")]
    connector_type: Option<ConnectorType>,
    /// Whether it is to be used.
    status: Option<ConnectorStatus>,
    /// Its category.
    category: Option<StringComparator>,
    /// Its name.
    name: Option<StringComparator>,
    /// Accepts such an auth method.
    auth_method: Option<AuthMethodTypeComparator>,
    /// Whether new configurations may be created.
    enabled: Option<BooleanComparator>,
    /// Words to find in name and description. All must be found.
    search: Option<String>,
}

/// Whether conditions hold for a value at hand: the catalogue is in the program, not in the database.
fn holds<L>(filter: &Filter<L>, is: &dyn Fn(&L) -> bool) -> bool {
    match filter {
        Filter::All(parts) => parts.iter().all(|part| holds(part, is)),
        Filter::Any(parts) => parts.iter().any(|part| holds(part, is)),
        Filter::Not(part) => !holds(part, is),
        Filter::Is(condition) => is(condition),
    }
}

fn text_is(text: &str, op: &TextOp) -> bool {
    match op {
        TextOp::In(values) => values.iter().any(|value| value == text),
        TextOp::EqIgnoreCase(value) => text.to_lowercase() == value.to_lowercase(),
        TextOp::StartsWith(value) => text.starts_with(value),
        TextOp::Contains(value) => text.contains(value),
        TextOp::ContainsIgnoreCase(value) => text.to_lowercase().contains(&value.to_lowercase()),
    }
}

impl PersonalConnectorFilter {
    fn lets_through(&self, connector: &Connector) -> bool {
        let all = |conditions: Vec<Filter<TextOp>>, text: &str| {
            conditions.iter().all(|condition| holds(condition, &|op| text_is(text, op)))
        };
        let methods = |condition: &Filter<Vec<AuthMethodType>>| {
            holds(condition, &|methods| {
                connector.auth_methods.iter().any(|guide| methods.contains(&guide.method.into()))
            })
        };
        let words = format!("{} {}", connector.name, connector.description).to_lowercase();
        self.id.as_ref().is_none_or(|id| all(id.conditions(TextOp::In), connector.id))
            && self.connector_type.is_none_or(|wanted| wanted == connector.connector_type.into())
            && self.status.is_none_or(|wanted| wanted == ConnectorStatus::Active)
            && self.category.as_ref().is_none_or(|category| all(category.conditions(|op| op), connector.category))
            && self.name.as_ref().is_none_or(|name| all(name.conditions(|op| op), connector.name))
            && self.auth_method.as_ref().is_none_or(|method| method.conditions(Filter::Is).iter().all(methods))
            && self
                .enabled
                .as_ref()
                .is_none_or(|enabled| enabled.conditions(|| ()).iter().all(|condition| holds(condition, &|()| true)))
            && self
                .search
                .as_ref()
                .is_none_or(|search| search.split_whitespace().all(|word| words.contains(&word.to_lowercase())))
    }
}

fn place(connector: &Connector) -> Cursor {
    Cursor { key: Key::Text(connector.id.to_owned()), id: Uuid::nil() }
}

/// A page of a list that is at hand.
fn page(mut rows: Vec<&'static Connector>, request: &PageRequest) -> Page<&'static Connector> {
    let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let at = |cursor: &Cursor| rows.iter().position(|row| place(row) == *cursor);
    let end = request.before.as_ref().and_then(at).unwrap_or(rows.len());
    let start = request.after.as_ref().and_then(at).map_or(0, |at| at + 1).min(end);
    let range = if request.backward {
        end.saturating_sub(request.limit).max(start)..end
    } else {
        start..start.saturating_add(request.limit).min(end)
    };
    let (has_previous, has_next) = (range.start > 0, range.end < rows.len());
    rows = rows[range].to_vec();
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
        let allowed = ctx.caller().require(Action::ConnectorRead);
        Some(allowed.map(|()| catalog::find(&id).map(PersonalConnector)).map_err(Into::into))
    }

    /// The catalog of connectors.
    #[expect(clippy::unused_async, reason = "a resolver is asynchronous; this one has all at hand")]
    async fn personal_connectors(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all by default.")] filter: Option<PersonalConnectorFilter>,
        #[graphql(desc = "So many from the beginning, or behind `after`: 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "So many from the end, or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
    ) -> Result<PersonalConnectorConnection> {
        ctx.caller().require(Action::ConnectorRead)?;
        let scope = CursorScope::new(ctx, "connectors", &filter);
        let request = scope.page(&PageArguments { first, after, last, before })?;
        let filter = filter.unwrap_or_default();
        let rows = catalog::all().iter().filter(|connector| filter.lets_through(connector)).collect();
        Ok(PersonalConnectorConnection::new(page(rows, &request), &scope, |row| place(row), PersonalConnector))
    }
}
