//! A new configuration.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, OneofObject};
use serde_json::Value;

use super::PersonalConnectorConfiguration;
use super::credentials::CredentialsInput;
use super::mutation::{check_configuration, explain_name, reject, replay};
use crate::app::App;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::Action;
use crate::connector::configuration as rules;
use crate::connector::credentials::Credentials;
use crate::connector::{Connector, custom};
use crate::db::audit_log::{Change, REDACTED};
use crate::db::configuration::{NewConfiguration, Owner};
use crate::db::idempotency_key::{self, Once};
use crate::db::{self, OrgTx};
use crate::error::{Code, Rejection, Result};
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::idempotency::once;
use crate::graphql::scalar::JsonObject;
use crate::graphql::user_error::{answer, payload};

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

payload!(
    /// What creating a configuration gave.
    PersonalConnectorConfigurationCreatePayload {
        /// The new one; null when there are userErrors.
        personal_connector_configuration: PersonalConnectorConfiguration
    }
);
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
        let message = "Only a person with role admin makes one for another owner.";
        return Err(Rejection::new(Code::PermissionDenied, &["input", "owner"], message).into());
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
            if let Some(row) = replay(tx, once.as_ref(), &["idempotencyKey"]).await? {
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
        // The owner has gone while the request was under way.
        Err(error)
            if matches!(
                error.constraint(),
                Some("configurations_owner_user_id_fkey" | "configurations_owner_api_key_id_fkey")
            ) =>
        {
            Err(Rejection::not_found(&["input", "owner"], "owner").into())
        }
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

/// Creation.
#[derive(Default)]
pub struct CreateMutation;

#[Object]
impl CreateMutation {
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
}
