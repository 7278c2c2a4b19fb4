//! Mutations of configurations and of their credentials.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, OneofObject};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::PersonalConnectorConfiguration;
use crate::app::App;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::Action;
use crate::connector::configuration as rules;
use crate::connector::credentials::Credentials;
use crate::connector::{Connector, custom};
use crate::db::audit_log::{Change, REDACTED};
use crate::db::configuration::{Access, Configuration, ConfigurationChanges, NewConfiguration, Owner, WithCredential};
use crate::db::idempotency_key::{self, Once};
use crate::db::{self, OrgTx};
use crate::error::{Code, Detail, Error, Rejection, Result};
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::idempotency::once;
use crate::graphql::scalar::{DateTime, JsonObject};
use crate::graphql::user_error::{answer, payload};
use crate::id::ConfigurationId;

/// Credentials for one auth method: give exactly one field. They are sealed at once and never returned or logged.
#[derive(OneofObject)]
pub enum CredentialsInput {
    /// Type `api_key`.
    ApiKey(ApiKeyCredentialsInput),
    /// Type `oauth2`.
    #[graphql(name = "oauth2")]
    OAuth2(OAuth2CredentialsInput),
    /// Type `bearer`.
    Bearer(BearerCredentialsInput),
    /// Type `basic`.
    Basic(BasicCredentialsInput),
}

/// Type `api_key`.
#[derive(InputObject)]
pub struct ApiKeyCredentialsInput {
    /// The key.
    #[graphql(secret)]
    api_key: SecretString,
}

/// Type `oauth2`, for tokens obtained elsewhere.
#[derive(InputObject)]
#[graphql(name = "OAuth2CredentialsInput")]
pub struct OAuth2CredentialsInput {
    /// For requests.
    #[graphql(secret)]
    access_token: SecretString,
    /// To get the next access token.
    #[graphql(secret)]
    refresh_token: Option<SecretString>,
    /// When the access token ends.
    expires_at: Option<DateTime>,
    /// What was granted.
    scopes: Option<Vec<String>>,
}

/// Type `bearer`.
#[derive(InputObject)]
pub struct BearerCredentialsInput {
    /// The token.
    #[graphql(secret)]
    token: SecretString,
}

/// Type `basic`.
#[derive(InputObject)]
pub struct BasicCredentialsInput {
    /// Often an e-mail address.
    username: String,
    /// Or a token in its place.
    #[graphql(secret)]
    password: SecretString,
}

impl From<CredentialsInput> for Credentials {
    fn from(input: CredentialsInput) -> Self {
        match input {
            CredentialsInput::ApiKey(ApiKeyCredentialsInput { api_key }) => Self::ApiKey { api_key },
            CredentialsInput::OAuth2(OAuth2CredentialsInput { access_token, refresh_token, expires_at, scopes }) => {
                let expires_at = expires_at.map(|time| time.0);
                Self::OAuth2 { access_token, refresh_token, expires_at, scopes: scopes.unwrap_or_default() }
            }
            CredentialsInput::Bearer(BearerCredentialsInput { token }) => Self::Bearer { token },
            CredentialsInput::Basic(BasicCredentialsInput { username, password }) => Self::Basic { username, password },
        }
    }
}

/// Owner of a configuration: give exactly one field.
#[derive(OneofObject)]
pub enum ConfigurationOwnerInput {
    /// A member of the organization.
    UserId(ID),
    /// An API key of the organization.
    ApiKeyId(ID),
}

/// What to create.
#[derive(InputObject)]
pub struct PersonalConnectorConfigurationCreateInput {
    /// `pcon_…`
    personal_connector_id: ID,
    /// 1 to 120 characters, unique for one owner and connector.
    name: String,
    /// Follows the connector's configurationSchema.
    configuration: JsonObject,
    /// Sealed at once.
    credentials: Option<CredentialsInput>,
    /// At most 2000 characters.
    description: Option<String>,
    /// At most 50 keys.
    metadata: Option<JsonObject>,
    /// Whether it is active.
    #[graphql(default = true)]
    enabled: bool,
    /// Defaults to the caller. Another owner needs role admin.
    owner: Option<ConfigurationOwnerInput>,
}

/// Only given fields change. An explicit null clears description or metadata; other fields cannot be null.
#[derive(InputObject)]
pub struct PersonalConnectorConfigurationUpdateInput {
    /// 1 to 120 characters, unique for one owner and connector.
    name: MaybeUndefined<String>,
    /// Replaces the whole object. To change parts use configurationPatch.
    configuration: MaybeUndefined<JsonObject>,
    /// JSON Merge Patch (RFC 7386) on configuration: null removes a key. Not together with configuration.
    configuration_patch: MaybeUndefined<JsonObject>,
    /// At most 2000 characters.
    description: MaybeUndefined<String>,
    /// Replaces all metadata; null removes all. To change parts use metadataPatch.
    metadata: MaybeUndefined<JsonObject>,
    /// JSON Merge Patch (RFC 7386) on metadata: null removes a key. Not together with metadata.
    metadata_patch: MaybeUndefined<JsonObject>,
    /// Whether it is active.
    enabled: MaybeUndefined<bool>,
}

payload!(
    /// What creating a configuration gave.
    PersonalConnectorConfigurationCreatePayload {
        /// The new one; null when there are userErrors.
        personal_connector_configuration: PersonalConnectorConfiguration
    }
);
payload!(
    /// What changing a configuration gave.
    PersonalConnectorConfigurationUpdatePayload {
        /// As it is now; null when there are userErrors, and for a key that may not read.
        personal_connector_configuration: PersonalConnectorConfiguration
    }
);
payload!(
    /// What deleting a configuration gave.
    PersonalConnectorConfigurationDeletePayload {
        /// The id that is gone; null when there are userErrors.
        deleted_id: ID
    }
);
payload!(
    /// What rotating credentials gave.
    PersonalConnectorConfigurationRotateCredentialsPayload {
        /// As it is now; null when there are userErrors, and for a key that may not read.
        personal_connector_configuration: PersonalConnectorConfiguration
    }
);

/// Size and shape of `configuration`.
pub(super) fn check_configuration(connector: &Connector, configuration: &Value, field: &[&str]) -> Vec<Rejection> {
    match rules::check_size(configuration, field) {
        Some(rejection) => vec![rejection],
        None => connector.check(configuration, field),
    }
}

fn reject(rejections: Vec<Rejection>) -> Result<()> {
    if rejections.is_empty() { Ok(()) } else { Err(Error::Rejected(rejections)) }
}

fn not_found() -> Error {
    Rejection::not_found(&["id"], "personal connector configuration").into()
}

/// The row, locked, if it is visible, the caller may do that with it, and it has the version that the caller has seen.
pub(super) async fn lock(
    tx: &OrgTx,
    id: &ID,
    expected_version: Option<i32>,
    may: fn(Access) -> bool,
) -> Result<(Configuration, Access)> {
    let id: ConfigurationId = id.parse().map_err(|_| not_found())?;
    let (row, access) = db::configuration::find_for_update(tx, id).await?.ok_or_else(not_found)?;
    if !may(access) {
        return Err(not_permitted(&["id"]).into());
    }
    match expected_version {
        Some(expected) if expected != row.version => Err(Rejection {
            detail: Detail::Version { expected, current: row.version },
            ..Rejection::new(
                Code::VersionConflict,
                &["expectedVersion"],
                "The configuration has changed since it was read. Read it again, merge, and try again.",
            )
        }
        .into()),
        _ => Ok((row, access)),
    }
}

pub(super) fn not_permitted(field: &[&str]) -> Rejection {
    let message = "This is for the owner of the configuration, or an admin; what was granted does not include it.";
    Rejection::new(Code::PermissionDenied, field, message)
}

pub(super) async fn read_back(tx: &OrgTx, id: ConfigurationId) -> Result<WithCredential> {
    db::configuration::find(tx, id).await?.ok_or_else(not_found)
}

/// The connector of a stored row, held as it is. One that has left the catalogue keeps its rows and takes no changes to them.
async fn connector_of(tx: &OrgTx, row: &Configuration) -> Result<Arc<Connector>> {
    custom::find_and_hold(tx, &row.connector_id).await?.ok_or_else(|| {
        let message = format!("{} is not in the catalogue any more.", row.connector_id);
        Rejection::new(Code::InvalidState, &["id"], message).into()
    })
}

/// The connector of a new configuration, held as it is.
async fn connector_for_new(tx: &OrgTx, id: &str) -> Result<Arc<Connector>> {
    let field = ["input", "personalConnectorId"];
    let connector = custom::find_and_hold(tx, id).await?;
    let connector = connector.ok_or_else(|| Rejection::not_found(&field, "personal connector"))?;
    if !connector.is_enabled() {
        let message = "The personal connector is disabled: it takes no new configurations.";
        return Err(Rejection::new(Code::InvalidState, &field, message).into());
    }
    Ok(connector)
}

/// Turns the violation of a name's uniqueness into what the caller can use: who has the name.
async fn explain_name(app: &App, caller: &Caller, error: Error, owner: Owner, connector_id: &str, name: &str) -> Error {
    if !matches!(error.constraint(), Some("configurations_user_name_key" | "configurations_api_key_name_key")) {
        return error;
    }
    let existing = app
        .db
        .read(caller, Action::ConfigurationRead, async |tx| {
            db::configuration::find_by_name(tx, owner, connector_id, name).await
        })
        .await;
    let detail = match existing {
        Ok(Some(id)) => Detail::NameTaken { existing_id: id.to_string() },
        // Gone again, or the key may not read: the name alone is said.
        Ok(None) | Err(_) => Detail::None,
    };
    let message = "Another configuration of the same owner and connector has this name.";
    Rejection { detail, ..Rejection::new(Code::NameTaken, &["input", "name"], message) }.into()
}

async fn create(
    app: &App,
    caller: &Caller,
    input: PersonalConnectorConfigurationCreateInput,
    once: Option<Once>,
) -> Result<PersonalConnectorConfigurationCreatePayload> {
    let PersonalConnectorConfigurationCreateInput {
        personal_connector_id,
        name,
        configuration,
        credentials,
        description,
        metadata,
        enabled,
        owner,
    } = input;
    caller.require(Action::ConfigurationCreate)?;
    let configuration = Value::from(configuration);
    let metadata = metadata.map(Value::from);
    let credentials = credentials.map(Credentials::from);
    let check = |connector: &Connector| {
        let mut rejections = Vec::new();
        rejections.extend(rules::check_name(&name, &["input", "name"]));
        rejections.extend(check_configuration(connector, &configuration, &["input", "configuration"]));
        rejections
            .extend(description.as_deref().and_then(|text| rules::check_description(text, &["input", "description"])));
        rejections.extend(metadata.as_ref().and_then(|pairs| rules::check_metadata(pairs, &["input", "metadata"])));
        if let Some(credentials) = &credentials {
            rejections.extend(credentials.check(connector, &["input", "credentials"]));
        }
        reject(rejections)
    };

    let owner = owner.map(|owner| owner.parse(&["input", "owner"])).transpose()?.unwrap_or(caller.actor());
    if owner != caller.actor() && !caller.sees_all() {
        return Err(Error::Forbidden(Action::ConfigurationCreate));
    }
    let new = NewConfiguration {
        owner,
        connector_id: &personal_connector_id,
        name: &name,
        configuration: &configuration,
        enabled,
        description: description.as_deref(),
        metadata: metadata.as_ref(),
    };
    let row = app
        .db
        .write(caller, Action::ConfigurationCreate, "", async |tx| {
            if credentials.is_some() {
                caller.require(Action::CredentialWrite)?;
            }
            if let Some(row) = idempotency_key::replay(tx, once.as_ref()).await? {
                return Ok(row);
            }
            let connector = connector_for_new(tx, &personal_connector_id).await?;
            check(&connector)?;
            require_owner(tx, owner, &["input", "owner"]).await?;
            let row = db::configuration::create(tx, &new).await?;
            let info = match &credentials {
                None => None,
                Some(credentials) => {
                    credentials.store(tx, &app.vault, &connector, &row).await?;
                    tx.changed(row.id, vec![Change::new("credentials", (), REDACTED)]);
                    db::credential::find(tx, row.id).await?
                }
            };
            let row = (row, info);
            idempotency_key::keep(tx, once.as_ref(), &row).await?;
            Ok(row)
        })
        .await;
    match row {
        Ok(row) => Ok(PersonalConnectorConfigurationCreatePayload {
            personal_connector_configuration: Some(row.into()),
            user_errors: Vec::new(),
        }),
        Err(error) => Err(explain_name(app, caller, error, owner, &personal_connector_id, &name).await),
    }
}

impl ConfigurationOwnerInput {
    /// Whom it names. `field` is where it stands.
    pub(in crate::graphql) fn parse(self, field: &[&str]) -> Result<Owner> {
        let missing = |name: &str, object: &str| Rejection::not_found(&[field, &[name]].concat(), object);
        Ok(match self {
            Self::UserId(id) => Actor::User(id.parse().map_err(|_| missing("userId", "member"))?),
            Self::ApiKeyId(id) => Actor::ApiKey(id.parse().map_err(|_| missing("apiKeyId", "API key"))?),
        })
    }
}

/// The owner must be in the organization. The composite key says so too; this says it in words.
pub(in crate::graphql) async fn require_owner(tx: &OrgTx, owner: Owner, field: &[&str]) -> Result<()> {
    if owner == tx.caller().actor() {
        return Ok(());
    }
    match owner {
        Actor::User(id) if !db::member::is_member(tx, id).await? => {
            Err(Rejection::not_found(&[field, &["userId"]].concat(), "member").into())
        }
        Actor::User(_) => Ok(()),
        Actor::ApiKey(id) => match db::api_key::find_many(tx, &[id]).await?.pop() {
            None => Err(Rejection::not_found(&[field, &["apiKeyId"]].concat(), "API key").into()),
            Some(key) if key.revoked_at.is_some() => {
                let message = "The API key is revoked.";
                Err(Rejection::new(Code::InvalidState, &[field, &["apiKeyId"]].concat(), message).into())
            }
            Some(_) => Ok(()),
        },
    }
}

/// What `input` changes of `row`.
fn changes(
    input: PersonalConnectorConfigurationUpdateInput,
    row: &Configuration,
    connector: &Connector,
) -> Result<ConfigurationChanges> {
    let PersonalConnectorConfigurationUpdateInput {
        name,
        configuration,
        configuration_patch,
        description,
        metadata,
        metadata_patch,
        enabled,
    } = input;
    let mut rejections = Vec::new();
    let mut refuse_null = |is_null: bool, name: &str| {
        if is_null {
            rejections.push(Rejection::new(
                Code::Required,
                &["input", name],
                format!("{name} cannot be null; leave it out."),
            ));
        }
    };
    refuse_null(name.is_null(), "name");
    refuse_null(configuration.is_null(), "configuration");
    refuse_null(configuration_patch.is_null(), "configurationPatch");
    refuse_null(metadata_patch.is_null(), "metadataPatch");
    refuse_null(enabled.is_null(), "enabled");
    for (both, whole, patch) in [
        (configuration.is_value() && configuration_patch.is_value(), "configuration", "configurationPatch"),
        (!metadata.is_undefined() && metadata_patch.is_value(), "metadata", "metadataPatch"),
    ] {
        if both {
            let message = format!("Give {whole} or {patch}, not both.");
            rejections.push(Rejection::new(Code::Invalid, &["input", patch], message));
        }
    }
    reject(rejections)?;

    let (configuration_field, configuration) = match (configuration.take(), configuration_patch.take()) {
        (Some(whole), _) => ("configuration", Some(Value::from(whole))),
        (None, Some(patch)) => ("configurationPatch", Some(patched(Some(&row.configuration), &patch))),
        (None, None) => ("configuration", None),
    };
    let (metadata_field, metadata) = match (metadata, metadata_patch.take()) {
        (MaybeUndefined::Value(whole), _) => ("metadata", Some(Some(Value::from(whole)))),
        (MaybeUndefined::Null, _) => ("metadata", Some(None)),
        (MaybeUndefined::Undefined, Some(patch)) => {
            ("metadataPatch", Some(Some(patched(row.metadata.as_ref(), &patch))))
        }
        (MaybeUndefined::Undefined, None) => ("metadata", None),
    };
    let description = match description {
        MaybeUndefined::Value(text) => Some(Some(text)),
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Undefined => None,
    };
    let changes =
        ConfigurationChanges { name: name.take(), configuration, description, metadata, enabled: enabled.take() };

    let mut rejections = Vec::new();
    rejections.extend(changes.name.as_deref().and_then(|name| rules::check_name(name, &["input", "name"])));
    if let Some(configuration) = &changes.configuration {
        rejections.extend(check_configuration(connector, configuration, &["input", configuration_field]));
    }
    if let Some(Some(text)) = &changes.description {
        rejections.extend(rules::check_description(text, &["input", "description"]));
    }
    if let Some(Some(pairs)) = &changes.metadata {
        rejections.extend(rules::check_metadata(pairs, &["input", metadata_field]));
    }
    reject(rejections)?;
    Ok(changes)
}

pub(super) fn patched(target: Option<&Value>, patch: &JsonObject) -> Value {
    let mut members = match target {
        Some(Value::Object(members)) => members.clone(),
        _ => Map::new(),
    };
    rules::merge_patch(&mut members, &patch.0);
    Value::Object(members)
}

/// A credential goes to the place that it was given for and to no other: whoever may change the address must not be able
/// to have the secret sent there.
async fn check_destination(
    tx: &OrgTx,
    row: &Configuration,
    access: Access,
    connector: &Connector,
    changes: &ConfigurationChanges,
    field: &str,
) -> Result<()> {
    let Some(configuration) = &changes.configuration else { return Ok(()) };
    let origin = connector.origin(configuration);
    if origin == connector.origin(&row.configuration) {
        return Ok(());
    }
    let member = connector.address_member.unwrap_or_default();
    if !access.may_control() {
        return Err(not_permitted(&["input", field, member]).into());
    }
    match db::credential::find(tx, row.id).await? {
        Some(info) if info.bound_origin != origin => {
            let bound = if info.bound_origin.is_empty() { "no address" } else { &info.bound_origin };
            let message = format!(
                "The stored credentials are bound to {bound}. Remove them (personalConnectorConfigurationClearCredentials), \
                 change the address, then give credentials again."
            );
            Err(Rejection::new(Code::InvalidState, &["input", field, member], message).into())
        }
        _ => Ok(()),
    }
}

async fn update(
    app: &App,
    caller: &Caller,
    id: ID,
    input: PersonalConnectorConfigurationUpdateInput,
    expected_version: Option<i32>,
) -> Result<PersonalConnectorConfigurationUpdatePayload> {
    let mut attempt = None;
    let row = app
        .db
        .write(caller, Action::ConfigurationUpdate, &id, async |tx| {
            let (row, access) = lock(tx, &id, expected_version, Access::may_update).await?;
            let connector = connector_of(tx, &row).await?;
            let field = if input.configuration_patch.is_value() { "configurationPatch" } else { "configuration" };
            let changes = changes(input, &row, &connector)?;
            if changes == ConfigurationChanges::default() {
                let message = "There is nothing to change: give at least one field.";
                return Err(Rejection::new(Code::Required, &["input"], message).into());
            }
            check_destination(tx, &row, access, &connector, &changes, field).await?;
            if let Some(name) = &changes.name {
                attempt = Some((row.owner(), row.connector_id.clone(), name.clone()));
            }
            db::configuration::update(tx, &row, changes).await?;
            read_back(tx, row.id).await
        })
        .await;
    match (row, attempt) {
        (Ok(row), _) => Ok(updated(caller, row)),
        (Err(error), Some((owner, connector, name))) => {
            Err(explain_name(app, caller, error, owner, &connector, &name).await)
        }
        (Err(error), None) => Err(error),
    }
}

pub(super) fn updated(caller: &Caller, row: WithCredential) -> PersonalConnectorConfigurationUpdatePayload {
    PersonalConnectorConfigurationUpdatePayload {
        personal_connector_configuration: readable(caller, row),
        user_errors: Vec::new(),
    }
}

fn rotated(caller: &Caller, row: WithCredential) -> PersonalConnectorConfigurationRotateCredentialsPayload {
    PersonalConnectorConfigurationRotateCredentialsPayload {
        personal_connector_configuration: readable(caller, row),
        user_errors: Vec::new(),
    }
}

/// The row, for callers who may read: one who may only write learns nothing that it did not write itself.
fn readable(caller: &Caller, row: WithCredential) -> Option<PersonalConnectorConfiguration> {
    caller.may(Action::ConfigurationRead).then(|| row.into())
}

async fn set_enabled(
    app: &App,
    caller: &Caller,
    id: ID,
    enabled: bool,
) -> Result<PersonalConnectorConfigurationUpdatePayload> {
    app.db
        .write(caller, Action::ConfigurationUpdate, &id, async |tx| {
            let (row, _) = lock(tx, &id, None, Access::may_update).await?;
            if row.enabled != enabled {
                let changes = ConfigurationChanges { enabled: Some(enabled), ..ConfigurationChanges::default() };
                db::configuration::update(tx, &row, changes).await?;
            }
            read_back(tx, row.id).await
        })
        .await
        .map(|row| updated(caller, row))
}

/// Mutations of configurations.
#[derive(Default)]
pub struct ConfigurationMutation;

#[Object]
impl ConfigurationMutation {
    /// Creates a configuration. [role member, scope configurations_write; with credentials also credentials_write]
    async fn personal_connector_configuration_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to create.")] input: PersonalConnectorConfigurationCreateInput,
        #[graphql(desc = "Sent twice, it is done once; a repeat gives the first answer. Kept for 24 hours.")]
        idempotency_key: Option<String>,
    ) -> Nullable<PersonalConnectorConfigurationCreatePayload> {
        let made = async { create(ctx.app(), ctx.caller(), input, once(ctx, idempotency_key)?).await };
        answer(made.await)
    }

    /// Changes what is given and nothing else. [owner, or role admin, scope configurations_write]
    async fn personal_connector_configuration_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
        #[graphql(desc = "What to change.")] input: PersonalConnectorConfigurationUpdateInput,
        #[graphql(desc = "Refuse with VERSION_CONFLICT when the object has changed since it was read.")]
        expected_version: Option<i32>,
    ) -> Nullable<PersonalConnectorConfigurationUpdatePayload> {
        answer(update(ctx.app(), ctx.caller(), id, input, expected_version).await)
    }

    /// Deletes a configuration and destroys its credentials. Deleting one that is gone gives NOT_FOUND. [owner, or role
    /// admin, scope configurations_write]
    async fn personal_connector_configuration_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
        #[graphql(desc = "Refuse with VERSION_CONFLICT when the object has changed since it was read.")]
        expected_version: Option<i32>,
    ) -> Nullable<PersonalConnectorConfigurationDeletePayload> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let deleted = app.db.write(caller, Action::ConfigurationDelete, &id, async |tx| {
            let (row, _) = lock(tx, &id, expected_version, Access::may_control).await?;
            db::configuration::delete(tx, row.id).await?;
            Ok(PersonalConnectorConfigurationDeletePayload { deleted_id: Some(row.id.into()), user_errors: Vec::new() })
        });
        answer(deleted.await)
    }

    /// Does nothing when already enabled. [owner, or role admin, scope configurations_write]
    async fn personal_connector_configuration_enable(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
    ) -> Nullable<PersonalConnectorConfigurationUpdatePayload> {
        answer(set_enabled(ctx.app(), ctx.caller(), id, true).await)
    }

    /// Does nothing when already disabled. [owner, or role admin, scope configurations_write]
    async fn personal_connector_configuration_disable(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
    ) -> Nullable<PersonalConnectorConfigurationUpdatePayload> {
        answer(set_enabled(ctx.app(), ctx.caller(), id, false).await)
    }

    /// Replaces the credentials and sets healthStatus to unknown. [owner, or role admin, scope credentials_write]
    async fn personal_connector_configuration_rotate_credentials(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
        #[graphql(desc = "The new credentials.")] credentials: CredentialsInput,
        #[graphql(desc = "Sent twice, it is done once; a repeat gives the first answer. Kept for 24 hours.")]
        idempotency_key: Option<String>,
    ) -> Nullable<PersonalConnectorConfigurationRotateCredentialsPayload> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let credentials = Credentials::from(credentials);
        let once = match once(ctx, idempotency_key) {
            Ok(once) => once,
            Err(error) => return answer(Err(error)),
        };
        let rotated = app.db.write(caller, Action::CredentialWrite, &id, async |tx| {
            if let Some(row) = idempotency_key::replay(tx, once.as_ref()).await? {
                return Ok(rotated(caller, row));
            }
            let (row, _) = lock(tx, &id, None, Access::may_control).await?;
            let connector = connector_of(tx, &row).await?;
            reject(credentials.check(&connector, &["credentials"]))?;
            credentials.store(tx, &app.vault, &connector, &row).await?;
            db::configuration::touch_credential(tx, row.id).await?;
            let row = read_back(tx, row.id).await?;
            idempotency_key::keep(tx, once.as_ref(), &row).await?;
            Ok(rotated(caller, row))
        });
        answer(rotated.await)
    }

    /// Removes the credentials and sets healthStatus to unknown. Does nothing when there are none. [owner, or role admin,
    /// scope credentials_write]
    async fn personal_connector_configuration_clear_credentials(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`pconf_…`")] id: ID,
    ) -> Nullable<PersonalConnectorConfigurationUpdatePayload> {
        let (app, caller) = (ctx.app(), ctx.caller());
        let cleared = app.db.write(caller, Action::CredentialWrite, &id, async |tx| {
            let (row, _) = lock(tx, &id, None, Access::may_control).await?;
            if db::credential::delete(tx, row.id).await? {
                db::configuration::touch_credential(tx, row.id).await?;
            }
            Ok(updated(caller, read_back(tx, row.id).await?))
        });
        answer(cleared.await)
    }
}
