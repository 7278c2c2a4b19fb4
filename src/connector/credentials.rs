//! Credentials on their way in: checked, sealed, stored.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Connector;
use crate::db::configuration::Configuration;
use crate::db::credential::{self, SealedCredential};
use crate::db::{OrgTx, organization_key};
use crate::error::{Code, Error, Rejection, Result};
use crate::vault::{Binding, Kind, Vault};

/// The longest secret, in bytes. Access tokens of large providers reach some 10 KiB.
const MAX_SECRET: usize = 16 * 1024;

/// The longest list of scopes, in bytes.
const MAX_SCOPES: usize = 8 * 1024;
/// The longest plaintext, in bytes: the table holds envelopes of up to 64 KiB.
const MAX_PLAINTEXT: usize = 60 * 1024;

/// Credentials as somebody gave them. They cannot be printed or serialized.
pub enum Credentials {
    /// A key of the provider.
    ApiKey {
        /// The key.
        api_key: SecretString,
    },
    /// Tokens that were obtained elsewhere.
    OAuth2 {
        /// For requests.
        access_token: SecretString,
        /// To get the next access token.
        refresh_token: Option<SecretString>,
        /// When the access token ends.
        expires_at: Option<DateTime<Utc>>,
        /// What was granted.
        scopes: Vec<String>,
    },
    /// A token for the `Authorization` header.
    Bearer {
        /// The token.
        token: SecretString,
    },
    /// HTTP basic authentication.
    Basic {
        /// Often an e-mail address.
        username: String,
        /// Or a token in its place.
        password: SecretString,
    },
}

/// The sealed plaintext: the credential object of the API reference.
#[derive(Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum Plaintext<'a> {
    #[serde(rename = "api_key")]
    ApiKey { api_key: &'a str },
    #[serde(rename = "oauth2")]
    OAuth2 {
        access_token: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        refresh_token: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
        scopes: &'a [String],
    },
    #[serde(rename = "bearer")]
    Bearer { token: &'a str },
    #[serde(rename = "basic")]
    Basic { username: &'a str, password: &'a str },
}

impl Credentials {
    /// Which kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::ApiKey { .. } => Kind::ApiKey,
            Self::OAuth2 { .. } => Kind::OAuth2,
            Self::Bearer { .. } => Kind::Bearer,
            Self::Basic { .. } => Kind::Basic,
        }
    }

    /// What is wrong with them, for that connector. Paths start at `field`; no message repeats a value.
    pub fn check(&self, connector: &Connector, field: &[&str]) -> Vec<Rejection> {
        if !connector.accepts(self.kind()) {
            let methods: Vec<_> = connector.auth_methods.iter().map(|guide| guide.method.as_str()).collect();
            let message = format!("{} takes {}; not {}.", connector.name, methods.join(", "), self.kind().as_str());
            return vec![Rejection::new(Code::AuthMethodUnsupported, field, message)];
        }
        let parts: Vec<(&[&str], &str)> = match self {
            Self::ApiKey { api_key } => vec![(&["apiKey", "apiKey"], api_key.expose_secret())],
            Self::OAuth2 { access_token, refresh_token, .. } => {
                let refresh =
                    refresh_token.as_ref().map(|token| (&["oauth2", "refreshToken"][..], token.expose_secret()));
                [(&["oauth2", "accessToken"][..], access_token.expose_secret())].into_iter().chain(refresh).collect()
            }
            Self::Bearer { token } => vec![(&["bearer", "token"], token.expose_secret())],
            Self::Basic { username, password } => {
                vec![(&["basic", "username"], username), (&["basic", "password"], password.expose_secret())]
            }
        };
        let mut rejections = Vec::new();
        for (name, value) in parts {
            let path = [field, name].concat();
            if value.trim().is_empty() {
                rejections.push(Rejection::new(Code::Required, &path, "A value is needed."));
            } else if value.len() > MAX_SECRET {
                let message = format!("A secret has at most {} KiB.", MAX_SECRET / 1024);
                rejections.push(Rejection::new(Code::Invalid, &path, message));
            } else if value.chars().any(char::is_control) {
                let message = "The value has a line break or another control character, which no header can carry.";
                rejections.push(Rejection::new(Code::Invalid, &path, message));
            }
        }
        if let Self::OAuth2 { scopes, .. } = self
            && (scopes.iter().any(String::is_empty) || scopes.iter().map(String::len).sum::<usize>() > MAX_SCOPES)
        {
            let path = [field, &["oauth2", "scopes"]].concat();
            rejections.push(Rejection::new(
                Code::Invalid,
                &path,
                "Scopes are not empty, and have at most 8 KiB together.",
            ));
        }
        rejections
    }

    fn to_plaintext(&self) -> Result<Zeroizing<Vec<u8>>> {
        let plaintext = match self {
            Self::ApiKey { api_key } => Plaintext::ApiKey { api_key: api_key.expose_secret() },
            Self::OAuth2 { access_token, refresh_token, expires_at, scopes } => Plaintext::OAuth2 {
                access_token: access_token.expose_secret(),
                refresh_token: refresh_token.as_ref().map(ExposeSecret::expose_secret),
                expires_at: *expires_at,
                scopes,
            },
            Self::Bearer { token } => Plaintext::Bearer { token: token.expose_secret() },
            Self::Basic { username, password } => Plaintext::Basic { username, password: password.expose_secret() },
        };
        // Large enough never to move, which would leave a copy behind. Quotes at most double a text that has no control
        // characters.
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 * MAX_SECRET + 2 * MAX_SCOPES + 1024));
        serde_json::to_writer(&mut *bytes, &plaintext).map_err(Error::internal)?;
        if bytes.len() > MAX_PLAINTEXT {
            let message = format!("Credentials have at most {} KiB together.", MAX_PLAINTEXT / 1024);
            return Err(Rejection::new(Code::Invalid, &["credentials"], message).into());
        }
        Ok(bytes)
    }

    /// Seals them for `configuration`, bound to where its settings send them, and stores them in place of what is there.
    ///
    /// # Errors
    /// What the database or the vault say.
    pub async fn store(
        &self,
        tx: &OrgTx,
        vault: &Vault,
        connector: &Connector,
        configuration: &Configuration,
    ) -> Result<()> {
        let revision = credential::next_revision(tx, configuration.id).await?;
        let key = organization_key::active(tx).await?;
        let origin = connector.origin(&configuration.configuration);
        let binding = Binding {
            organization: configuration.organization_id,
            configuration: configuration.id,
            revision,
            kind: self.kind(),
            origin: &origin,
        };
        let sealed = vault.seal(&key, &binding, &self.to_plaintext()?).map_err(Error::internal)?;
        let (expires_at, refreshable, scopes) = match self {
            Self::OAuth2 { expires_at, refresh_token, scopes, .. } => {
                (*expires_at, refresh_token.is_some(), &scopes[..])
            }
            _ => (None, false, &[][..]),
        };
        let new = SealedCredential {
            kind: self.kind(),
            revision,
            bound_origin: &origin,
            organization_key_version: key.version,
            sealed: &sealed,
            expires_at,
            refreshable,
            scopes,
        };
        credential::put(tx, configuration.id, &new).await
    }
}
