//! Credentials of configurations: replaced and removed, never read.

use async_graphql::{Context, ID, InputObject, Object, OneofObject};
use secrecy::SecretString;

use super::PersonalConnectorConfiguration;
use super::mutation::{
    PersonalConnectorConfigurationUpdatePayload, connector_of, lock, read_back, readable, reject, replay, updated,
};
use crate::auth::caller::Caller;
use crate::auth::policy::Action;
use crate::connector::credentials::Credentials;
use crate::db;
use crate::db::configuration::{Access, WithCredential};
use crate::db::idempotency_key;
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::idempotency::once;
use crate::graphql::scalar::DateTime;
use crate::graphql::user_error::{answer, payload};

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

payload!(
    /// What rotating credentials gave.
    PersonalConnectorConfigurationRotateCredentialsPayload {
        /// As it is now; null when there are userErrors, and for a key that may not read.
        personal_connector_configuration: PersonalConnectorConfiguration
    }
);

fn rotated(caller: &Caller, row: WithCredential) -> PersonalConnectorConfigurationRotateCredentialsPayload {
    PersonalConnectorConfigurationRotateCredentialsPayload {
        personal_connector_configuration: readable(caller, row),
        user_errors: Vec::new(),
    }
}

/// Mutations of credentials.
#[derive(Default)]
pub struct CredentialMutation;

#[Object]
impl CredentialMutation {
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
            if let Some(row) = replay(tx, once.as_ref(), &["id"]).await? {
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
