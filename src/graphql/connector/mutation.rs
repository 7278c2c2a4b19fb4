//! Mutations of an organization's own connectors.
//!
//! What an update or a deletion must not break is looked at while the connector is this transaction's alone: whoever
//! writes a configuration of it holds the row too, and waits or has committed.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object};
use serde_json::Value;

use super::PersonalConnector;
use crate::app::App;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::Action;
use crate::connector::configuration::{check_description, check_name};
use crate::connector::{AuthMethod, AuthMethodGuide, catalog, custom, schema};
use crate::db::connector::{Connector, ConnectorChanges, NewConnector};
use crate::db::{self, OrgTx};
use crate::error::{Code, Detail, Error, Rejection, Result};
use crate::graphql::comparator::AuthMethodType;
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::scalar::{JsonObject, Url};
use crate::graphql::user_error::{answer, payload};
use crate::id::{ConfigurationId, ConnectorId};

/// One way to authenticate. Each type stands once.
#[derive(InputObject)]
pub struct ConnectorAuthMethodInput {
    /// Which way.
    #[graphql(name = "type")]
    method: AuthMethodType,
    /// What people know it as, 1 to 120 characters; by default the name of the type.
    label: Option<String>,
    /// Markdown, at most 4000 characters: where to find the key, which scopes to grant.
    instructions: Option<String>,
}

/// What to define.
#[derive(InputObject)]
pub struct PersonalConnectorCreateInput {
    /// 1 to 120 characters, unique in the organization.
    name: String,
    /// At most 2000 characters.
    description: Option<String>,
    /// Where it is filed, at most 40 characters; `custom` by default.
    category: Option<String>,
    /// Its picture.
    icon_url: Option<Url>,
    /// Where to read more.
    documentation_url: Option<Url>,
    /// Address of the MCP server: https, or http on this machine. No user name, no password, no fragment.
    server_url: Url,
    /// At least one, the recommended one first.
    auth_methods: Vec<ConnectorAuthMethodInput>,
    /// JSON Schema 2020-12 of an object, at most 64 KiB; by default an object that accepts any property. A `$ref` leads into
    /// the schema itself; patterns go without look-around and back-references.
    configuration_schema: Option<JsonObject>,
    /// A configuration that passes the schema.
    example_configuration: Option<JsonObject>,
}

/// Only given fields change. An explicit null clears description, category, the two links, the example and the reason;
/// other fields cannot be null.
#[derive(InputObject)]
pub struct PersonalConnectorUpdateInput {
    /// 1 to 120 characters, unique in the organization.
    name: MaybeUndefined<String>,
    /// At most 2000 characters.
    description: MaybeUndefined<String>,
    /// Where it is filed, at most 40 characters.
    category: MaybeUndefined<String>,
    /// Its picture.
    icon_url: MaybeUndefined<Url>,
    /// Where to read more.
    documentation_url: MaybeUndefined<Url>,
    /// Address of the MCP server. Another origin is refused with IN_USE while configurations hold credentials: they are bound
    /// to the origin that they were given for.
    server_url: MaybeUndefined<Url>,
    /// Replaces all. One that stored credentials use cannot go.
    auth_methods: MaybeUndefined<Vec<ConnectorAuthMethodInput>>,
    /// Replaces the whole schema. One that existing configurations break is refused with IN_USE.
    configuration_schema: MaybeUndefined<JsonObject>,
    /// A configuration that passes the schema.
    example_configuration: MaybeUndefined<JsonObject>,
    /// Whether new configurations may be created. Those that are there go on.
    enabled: MaybeUndefined<bool>,
    /// Set to announce that it will go away; null takes that back. At most 500 characters.
    deprecation_reason: MaybeUndefined<String>,
}

payload!(
    /// What defining a connector gave.
    PersonalConnectorCreatePayload {
        /// The new one; null when there are userErrors, and for a key that may not read.
        personal_connector: PersonalConnector
    }
);
payload!(
    /// What changing a connector gave.
    PersonalConnectorUpdatePayload {
        /// As it is now; null when there are userErrors, and for a key that may not read.
        personal_connector: PersonalConnector
    }
);
payload!(
    /// What deleting a connector gave.
    PersonalConnectorDeletePayload {
        /// The id that is gone; null when there are userErrors.
        deleted_id: ID
    }
);

fn reject(rejections: Vec<Rejection>) -> Result<()> {
    if rejections.is_empty() { Ok(()) } else { Err(Error::Rejected(rejections)) }
}

fn not_found() -> Error {
    Rejection::not_found(&["id"], "personal connector").into()
}

fn guides(methods: Vec<ConnectorAuthMethodInput>) -> Vec<AuthMethodGuide> {
    methods
        .into_iter()
        .map(|ConnectorAuthMethodInput { method, label, instructions }| {
            let method = AuthMethod::from(method);
            let label = label.map_or_else(|| method.label().into(), Into::into);
            AuthMethodGuide { method, label, instructions: instructions.map(Into::into) }
        })
        .collect()
}

/// The row as a client sees it, for callers who may read.
fn readable(caller: &Caller, row: Connector) -> Result<Option<PersonalConnector>> {
    if !caller.may(Action::ConnectorRead) {
        return Ok(None);
    }
    Ok(Some(PersonalConnector(custom::from_row(row)?)))
}

/// The row, this transaction's alone, if it has the version that the caller has seen.
async fn lock(tx: &OrgTx, id: &ID, expected_version: Option<i32>) -> Result<Connector> {
    if catalog::find(id).is_some() {
        let message = "Built-in connectors are part of the program: they cannot be changed or deleted.";
        return Err(Rejection::new(Code::PermissionDenied, &["id"], message).into());
    }
    let id: ConnectorId = id.parse().map_err(|_| not_found())?;
    let row = db::connector::find_for_update(tx, id).await?.ok_or_else(not_found)?;
    match expected_version {
        Some(expected) if expected != row.version => Err(Rejection {
            detail: Detail::Version { expected, current: row.version },
            ..Rejection::new(
                Code::VersionConflict,
                &["expectedVersion"],
                "The connector has changed since it was read. Read it again, merge, and try again.",
            )
        }
        .into()),
        _ => Ok(row),
    }
}

/// Turns the violation of the name's uniqueness into what the caller can use: which connector has the name.
async fn explain_name(app: &App, caller: &Caller, error: Error, name: &str) -> Error {
    if error.constraint() != Some("connectors_organization_id_name_key") {
        return error;
    }
    let existing =
        app.db.read(caller, Action::ConnectorRead, async |tx| db::connector::find_by_name(tx, name).await).await;
    let detail = match existing {
        Ok(Some(id)) => Detail::NameTaken { existing_id: id.to_string() },
        // Gone again, or the key may not read: the name alone is said.
        Ok(None) | Err(_) => Detail::None,
    };
    let message = "Another connector of the organization has this name.";
    Rejection { detail, ..Rejection::new(Code::NameTaken, &["input", "name"], message) }.into()
}

async fn create(
    app: &App,
    caller: &Caller,
    input: PersonalConnectorCreateInput,
) -> Result<PersonalConnectorCreatePayload> {
    let PersonalConnectorCreateInput {
        name,
        description,
        category,
        icon_url,
        documentation_url,
        server_url,
        auth_methods,
        configuration_schema,
        example_configuration,
    } = input;
    caller.require(Action::ConnectorCreate)?;
    let category = category.unwrap_or_else(|| custom::CATEGORY.to_owned());
    let guides = guides(auth_methods);
    let configuration_schema = configuration_schema.map_or_else(schema::anything, Value::from);
    let example_configuration = example_configuration.map(Value::from);
    let (icon_url, documentation_url) = (icon_url.map(|url| url.0), documentation_url.map(|url| url.0));

    let mut rejections = Vec::new();
    rejections.extend(check_name(&name, &["input", "name"]));
    rejections.extend(description.as_deref().and_then(|text| check_description(text, &["input", "description"])));
    rejections.extend(custom::check_category(&category, &["input", "category"]));
    rejections.extend(icon_url.as_deref().and_then(|url| custom::check_link(url, &["input", "iconUrl"])));
    rejections
        .extend(documentation_url.as_deref().and_then(|url| custom::check_link(url, &["input", "documentationUrl"])));
    rejections.extend(custom::check_server(&server_url.0, &["input", "serverUrl"]));
    rejections.extend(custom::check_auth_methods(&guides, &["input", "authMethods"]));
    rejections.extend(schema::check(&configuration_schema, &["input", "configurationSchema"]));
    reject(rejections)?;
    if let Some(example) = &example_configuration {
        reject(custom::check_example(example, &configuration_schema, &["input", "exampleConfiguration"]))?;
    }

    let auth_methods = custom::auth_methods_to_json(&guides)?;
    let new = NewConnector {
        name: &name,
        description: description.as_deref(),
        category: &category,
        icon_url: icon_url.as_deref(),
        documentation_url: documentation_url.as_deref(),
        server_url: &server_url.0,
        auth_methods: &auth_methods,
        configuration_schema: &configuration_schema,
        example_configuration: example_configuration.as_ref(),
        created_by: match caller.actor() {
            Actor::User(id) => Some(id),
            Actor::ApiKey(_) => None,
        },
    };
    let row = app
        .db
        .write(caller, Action::ConnectorCreate, "", async |tx| {
            let count = db::connector::count_and_hold(tx).await?;
            if count >= i64::from(custom::MAX_CONNECTORS) {
                let message = format!("An organization defines at most {} connectors.", custom::MAX_CONNECTORS);
                let current = i32::try_from(count).unwrap_or(i32::MAX);
                let detail = Detail::Limit { limit: custom::MAX_CONNECTORS, current };
                return Err(Rejection { detail, ..Rejection::new(Code::LimitExceeded, &[], message) }.into());
            }
            db::connector::create(tx, &new).await
        })
        .await;
    match row {
        Ok(row) => {
            Ok(PersonalConnectorCreatePayload { personal_connector: readable(caller, row)?, user_errors: Vec::new() })
        }
        Err(error) => Err(explain_name(app, caller, error, &name).await),
    }
}

/// Null clears; absent leaves as it is.
fn cleared<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Value(value) => Some(Some(value)),
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Undefined => None,
    }
}

/// What an update asks for, checked as far as the input alone says, and the auth methods that would be left.
fn changes(
    input: PersonalConnectorUpdateInput,
    row: &Connector,
) -> Result<(ConnectorChanges, Option<Vec<AuthMethod>>)> {
    let mut rejections = Vec::new();
    for (is_null, name) in [
        (input.name.is_null(), "name"),
        (input.server_url.is_null(), "serverUrl"),
        (input.auth_methods.is_null(), "authMethods"),
        (input.configuration_schema.is_null(), "configurationSchema"),
        (input.enabled.is_null(), "enabled"),
    ] {
        if is_null {
            let message = format!("{name} cannot be null; leave it out.");
            rejections.push(Rejection::new(Code::Required, &["input", name], message));
        }
    }
    reject(rejections)?;

    let guides = input.auth_methods.take().map(guides);
    let changes = ConnectorChanges {
        name: input.name.take(),
        description: cleared(input.description),
        category: cleared(input.category).map(|category| category.unwrap_or_else(|| custom::CATEGORY.to_owned())),
        icon_url: cleared(input.icon_url).map(|url| url.map(|url| url.0)),
        documentation_url: cleared(input.documentation_url).map(|url| url.map(|url| url.0)),
        server_url: input.server_url.take().map(|url| url.0),
        auth_methods: guides.as_deref().map(custom::auth_methods_to_json).transpose()?,
        configuration_schema: input.configuration_schema.take().map(Value::from),
        example_configuration: cleared(input.example_configuration).map(|example| example.map(Value::from)),
        enabled: input.enabled.take(),
        deprecation_reason: cleared(input.deprecation_reason),
    };
    if changes == ConnectorChanges::default() {
        let message = "There is nothing to change: give at least one field.";
        return Err(Rejection::new(Code::Required, &["input"], message).into());
    }

    let mut rejections = Vec::new();
    let mut check_text = |text: Option<&str>, check: fn(&str, &[&str]) -> Option<Rejection>, name: &str| {
        rejections.extend(text.and_then(|text| check(text, &["input", name])));
    };
    let given = |change: &Option<Option<String>>| change.clone().flatten();
    check_text(changes.name.as_deref(), check_name, "name");
    check_text(given(&changes.description).as_deref(), check_description, "description");
    check_text(changes.category.as_deref(), custom::check_category, "category");
    check_text(given(&changes.icon_url).as_deref(), custom::check_link, "iconUrl");
    check_text(given(&changes.documentation_url).as_deref(), custom::check_link, "documentationUrl");
    check_text(changes.server_url.as_deref(), custom::check_server, "serverUrl");
    check_text(given(&changes.deprecation_reason).as_deref(), custom::check_reason, "deprecationReason");
    if let Some(guides) = &guides {
        rejections.extend(custom::check_auth_methods(guides, &["input", "authMethods"]));
    }
    if let Some(new_schema) = &changes.configuration_schema {
        rejections.extend(schema::check(new_schema, &["input", "configurationSchema"]));
    }
    reject(rejections)?;

    let new_schema = changes.configuration_schema.as_ref().unwrap_or(&row.configuration_schema);
    let example = match &changes.example_configuration {
        Some(example) => example.as_ref(),
        // The one that is there must go on passing.
        None => changes.configuration_schema.as_ref().and(row.example_configuration.as_ref()),
    };
    if let Some(example) = example {
        reject(custom::check_example(example, new_schema, &["input", "exampleConfiguration"]))?;
    }
    Ok((changes, guides.map(|guides| guides.iter().map(|guide| guide.method).collect())))
}

/// How many ids a message names.
const NAMED: usize = 5;

/// Says that configurations stand in the way: how many, and, to those who may see all, the first of them.
fn in_use(caller: &Caller, field: &[&str], ids: &[ConfigurationId], what: &str) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let count = ids.len();
    let configurations = if count == 1 { "configuration" } else { "configurations" };
    let first: Vec<_> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    let message = match (caller.sees_all(), count > NAMED) {
        (false, _) => format!("{count} {configurations} {what}."),
        (true, false) => format!("{count} {configurations} {what}: {}.", first.join(", ")),
        (true, true) => format!("{count} {configurations} {what}: {} and more.", first.join(", ")),
    };
    Err(Rejection::new(Code::InUse, field, message).into())
}

/// Whether a change would break what configurations rely on. The row is this transaction's alone.
async fn check_use(
    tx: &OrgTx,
    row: &Connector,
    changes: &ConnectorChanges,
    methods: Option<&[AuthMethod]>,
) -> Result<()> {
    let server = changes.server_url.as_deref().map(custom::origin);
    if server.is_some() || methods.is_some() {
        let held = db::connector::credentials(tx, row.id).await?;
        let mut elsewhere = Vec::new();
        let mut unsupported = Vec::new();
        for (id, kind, bound_origin) in held {
            if server.as_ref().is_some_and(|origin| *origin != bound_origin) {
                elsewhere.push(id);
            }
            if methods.is_some_and(|methods| !methods.contains(&AuthMethod::Credential(kind))) {
                unsupported.push(id);
            }
        }
        let what = "with credentials, which are bound to the origin of the server that they were given for";
        in_use(tx.caller(), &["input", "serverUrl"], &elsewhere, what)?;
        let what = "with credentials of an auth method that would go";
        in_use(tx.caller(), &["input", "authMethods"], &unsupported, what)?;
    }
    if let Some(breaks) = changes.configuration_schema.as_ref().and_then(custom::breaks) {
        let mut broken = Vec::new();
        let mut after = None;
        loop {
            // A few at a time: each may be as large as a schema.
            let some = db::connector::configurations(tx, row.id, after, 100).await?;
            let Some((last, _)) = some.last() else { break };
            after = Some(*last);
            broken.extend(some.iter().filter(|(_, configuration)| breaks(configuration)).map(|(id, _)| *id));
        }
        in_use(tx.caller(), &["input", "configurationSchema"], &broken, "that do not pass the new schema")?;
    }
    Ok(())
}

async fn update(
    app: &App,
    caller: &Caller,
    id: ID,
    input: PersonalConnectorUpdateInput,
    expected_version: Option<i32>,
) -> Result<PersonalConnectorUpdatePayload> {
    let name = input.name.value().cloned();
    let row = app
        .db
        .write(caller, Action::ConnectorUpdate, &id, async |tx| {
            let row = lock(tx, &id, expected_version).await?;
            let (changes, methods) = changes(input, &row)?;
            check_use(tx, &row, &changes, methods.as_deref()).await?;
            db::connector::update(tx, &row, changes).await
        })
        .await;
    match row {
        Ok(row) => {
            Ok(PersonalConnectorUpdatePayload { personal_connector: readable(caller, row)?, user_errors: Vec::new() })
        }
        Err(error) => Err(explain_name(app, caller, error, name.as_deref().unwrap_or_default()).await),
    }
}

/// Mutations of an organization's own connectors.
#[derive(Default)]
pub struct ConnectorMutation;

#[Object]
impl ConnectorMutation {
    /// Defines a custom connector; at most 100 in an organization. [role admin, scope connectors_write]
    async fn personal_connector_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to define.")] input: PersonalConnectorCreateInput,
    ) -> Nullable<PersonalConnectorCreatePayload> {
        answer(create(ctx.app(), ctx.caller(), input).await)
    }

    /// Changes what is given and nothing else. A schema that existing configurations break is refused with IN_USE. [role
    /// admin, scope connectors_write]
    async fn personal_connector_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pcon_…`")] id: ID,
        #[graphql(desc = "What to change.")] input: PersonalConnectorUpdateInput,
        #[graphql(desc = "Refuse with VERSION_CONFLICT when the object has changed since it was read.")]
        expected_version: Option<i32>,
    ) -> Nullable<PersonalConnectorUpdatePayload> {
        answer(update(ctx.app(), ctx.caller(), id, input, expected_version).await)
    }

    /// Refused with IN_USE while configurations exist. [role admin, scope connectors_write]
    async fn personal_connector_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pcon_…`")] id: ID,
        #[graphql(desc = "Refuse with VERSION_CONFLICT when the object has changed since it was read.")]
        expected_version: Option<i32>,
    ) -> Nullable<PersonalConnectorDeletePayload> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let deleted = app.db.write(caller, Action::ConnectorDelete, &id, async |tx| {
            let row = lock(tx, &id, expected_version).await?;
            let users = db::connector::configuration_ids(tx, row.id).await?;
            in_use(caller, &["id"], &users, "of this connector")?;
            db::connector::delete(tx, row.id).await?;
            Ok(PersonalConnectorDeletePayload { deleted_id: Some(row.id.into()), user_errors: Vec::new() })
        });
        answer(deleted.await)
    }
}
