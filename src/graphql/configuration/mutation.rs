//! Mutations of configurations and of their credentials.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object};
use serde_json::{Map, Value};

use super::PersonalConnectorConfiguration;
use crate::app::App;
use crate::auth::caller::Caller;
use crate::auth::policy::Action;
use crate::connector::configuration as rules;
use crate::connector::{Connector, custom};
use crate::db::configuration::{Access, Configuration, ConfigurationChanges, Owner, WithCredential};
use crate::db::idempotency_key::{self, Once};
use crate::db::{self, OrgTx};
use crate::error::{Code, Detail, Error, Rejection, Result};
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::scalar::JsonObject;
use crate::graphql::user_error::{answer, payload};
use crate::id::ConfigurationId;

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
/// Size and shape of `configuration`.
pub(super) fn check_configuration(connector: &Connector, configuration: &Value, field: &[&str]) -> Vec<Rejection> {
    match rules::check_size(configuration, field) {
        Some(rejection) => vec![rejection],
        None => connector.check(configuration, field),
    }
}

pub(super) fn reject(rejections: Vec<Rejection>) -> Result<()> {
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

/// What was answered the first time, unless the caller has lost sight of it since.
pub(super) async fn replay(tx: &OrgTx, once: Option<&Once>, field: &[&str]) -> Result<Option<WithCredential>> {
    let Some(row) = idempotency_key::replay::<WithCredential>(tx, once).await? else { return Ok(None) };
    if db::configuration::is_hidden(tx, row.0.id).await? {
        return Err(Rejection::not_found(field, "personal connector configuration").into());
    }
    Ok(Some(row))
}

pub(super) async fn read_back(tx: &OrgTx, id: ConfigurationId) -> Result<WithCredential> {
    db::configuration::find(tx, id).await?.ok_or_else(not_found)
}

/// The connector of a stored row, held as it is. One that has left the catalogue keeps its rows and takes no changes to them.
pub(super) async fn connector_of(tx: &OrgTx, row: &Configuration) -> Result<Arc<Connector>> {
    custom::find_and_hold(tx, &row.connector_id).await?.ok_or_else(|| {
        let message = format!("{} is not in the catalogue any more.", row.connector_id);
        Rejection::new(Code::InvalidState, &["id"], message).into()
    })
}

/// Turns the violation of a name's uniqueness into what the caller can use: who has the name.
pub(super) async fn explain_name(
    app: &App,
    caller: &Caller,
    error: Error,
    owner: Owner,
    connector_id: &str,
    name: &str,
) -> Error {
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

/// The row, for callers who may read: one who may only write learns nothing that it did not write itself.
pub(super) fn readable(caller: &Caller, row: WithCredential) -> Option<PersonalConnectorConfiguration> {
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
}
