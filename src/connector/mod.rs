//! Connectors: the services that can be connected, and what a configuration of each must look like.
//!
//! The catalogue is part of the program ([`catalog`]); an organization defines more for itself ([`custom`]), with schemas
//! that are limited before they are run ([`schema`]). Nothing in here talks to the services yet.

pub mod catalog;
pub mod configuration;
pub mod credentials;
pub mod custom;
pub mod schema;

use std::borrow::Cow;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::error::{Code, Detail, Rejection};
use crate::id::{ConnectorId, OrganizationId, UserId};
use crate::vault::Kind;

/// Who runs what is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorType {
    /// Hosted by the provider itself.
    Official,
    /// Reached by an adapter that ships with this service.
    Builtin,
    /// Somebody's own MCP server.
    Custom,
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// An adapter to the service's own API.
    Native,
    /// Model Context Protocol over streamable HTTP.
    McpHttp,
}

/// How a connector authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// With a credential of this kind.
    Credential(Kind),
    /// Not at all.
    None,
}

impl AuthMethod {
    /// The name, as documented.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential(kind) => kind.as_str(),
            Self::None => "none",
        }
    }

    /// Every way.
    pub const ALL: [Self; 5] = [
        Self::Credential(Kind::ApiKey),
        Self::Credential(Kind::OAuth2),
        Self::Credential(Kind::Bearer),
        Self::Credential(Kind::Basic),
        Self::None,
    ];

    /// The way of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }

    /// What it is called where nobody says.
    pub fn label(self) -> &'static str {
        match self {
            Self::Credential(Kind::ApiKey) => "API key",
            Self::Credential(Kind::OAuth2) => "OAuth token",
            Self::Credential(Kind::Bearer) => "Bearer token",
            Self::Credential(Kind::Basic) => "User name and password",
            Self::None => "None",
        }
    }

    /// JSON Schema of the credential object, for forms. Secrets have `writeOnly`.
    pub fn credentials_schema(self) -> Value {
        let secret = |title: &str| json!({"type": "string", "title": title, "writeOnly": true, "minLength": 1});
        let (required, properties) = match self {
            Self::Credential(Kind::ApiKey) => (json!(["apiKey"]), json!({"apiKey": secret("API key")})),
            Self::Credential(Kind::OAuth2) => (
                json!(["accessToken"]),
                json!({
                    "accessToken": secret("Access token"),
                    "refreshToken": secret("Refresh token"),
                    "expiresAt": {"type": "string", "format": "date-time", "title": "When the access token ends"},
                    "scopes": {"type": "array", "items": {"type": "string"}, "title": "Scopes that were granted"},
                }),
            ),
            Self::Credential(Kind::Bearer) => (json!(["token"]), json!({"token": secret("Token")})),
            Self::Credential(Kind::Basic) => (
                json!(["username", "password"]),
                json!({"username": {"type": "string", "title": "User name", "minLength": 1}, "password": secret("Password or token")}),
            ),
            Self::None => (json!([]), json!({})),
        };
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": required,
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

/// One way to authenticate, with what a person must know to use it.
#[derive(Debug, Clone)]
pub struct AuthMethodGuide {
    /// Which way.
    pub method: AuthMethod,
    /// What the provider calls it.
    pub label: Cow<'static, str>,
    /// Markdown: where to find the key, which scopes to grant.
    pub instructions: Option<Cow<'static, str>>,
}

/// A schema, ready to run.
struct Compiled {
    validator: Validator,
    /// How much of it is run on each value; nothing for the schemas of the program.
    weight: schema::Weight,
}

/// Compiled when first used: most requests only show a schema. Nothing where it cannot be compiled.
type Checker = LazyLock<Option<Compiled>, Box<dyn FnOnce() -> Option<Compiled> + Send>>;

/// What only a connector that an organization has defined for itself has.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The id as the database has it.
    pub id: ConnectorId,
    /// Whose.
    pub organization: OrganizationId,
    /// Who defined it; nobody in particular where an API key did.
    pub created_by: Option<UserId>,
    /// Whether new configurations may be made.
    pub enabled: bool,
    /// Why it will go away, and what to use instead.
    pub deprecation_reason: Option<String>,
    /// Grows by one with each change.
    pub version: i32,
    /// When it was defined.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A service that can be connected.
pub struct Connector {
    /// `pcon_...`
    pub id: Cow<'static, str>,
    /// `github` and the like.
    pub connector_id: Cow<'static, str>,
    /// Who runs it.
    pub connector_type: ConnectorType,
    /// How it is spoken to.
    pub transport: Transport,
    /// For people.
    pub name: Cow<'static, str>,
    /// What it is good for.
    pub description: Option<Cow<'static, str>>,
    /// productivity, development, communication, design, custom, or a word of the organization's own.
    pub category: Cow<'static, str>,
    /// Semantic version of a definition of the program.
    pub version: Option<&'static str>,
    /// Its picture.
    pub icon_url: Option<Cow<'static, str>>,
    /// The provider's own documentation.
    pub documentation_url: Option<Cow<'static, str>>,
    /// The one server that all its configurations use.
    pub server_url: Option<Cow<'static, str>>,
    /// The recommended way first.
    pub auth_methods: Vec<AuthMethodGuide>,
    /// JSON Schema 2020-12 of `configuration`.
    pub configuration_schema: Value,
    /// A configuration that passes the schema.
    pub example_configuration: Option<Value>,
    /// The member of `configuration` that says where requests go, for connectors whose origin is not known without it.
    pub address_member: Option<&'static str>,
    /// Set for those that an organization has defined.
    pub definition: Option<Definition>,
    checker: Checker,
}

impl Connector {
    /// What is wrong with `configuration`; nothing, when it may be stored. Paths start at `field`.
    pub fn check(&self, configuration: &Value, field: &[&str]) -> Vec<Rejection> {
        let Some(Compiled { validator, weight }) = &*self.checker else {
            let message = "The connector's schema cannot be used any more. An admin has to mend it.";
            return vec![Rejection::new(Code::InvalidState, field, message)];
        };
        if let Some(rejection) = weight.check(configuration, field) {
            return vec![rejection];
        }
        let mut rejections: Vec<_> = validator
            .iter_errors(configuration)
            .take(20)
            .map(|error| {
                let instance_path = error.instance_path().as_str().to_owned();
                let mut path: Vec<String> = field.iter().map(ToString::to_string).collect();
                path.extend(instance_path.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")));
                let pointer = if instance_path.is_empty() { "configuration" } else { &instance_path };
                Rejection {
                    code: Code::ConfigurationSchemaMismatch,
                    // Masked: people paste secrets into the wrong field.
                    message: format!("{pointer}: {}", error.masked_with("the value")),
                    field: path,
                    detail: Detail::Schema {
                        schema_path: error.schema_path().as_str().to_owned(),
                        keyword: error.kind().keyword().to_owned(),
                        instance_path,
                    },
                }
            })
            .collect();
        if rejections.is_empty()
            && let Some(member) = self.address_member
            && let Some(address) = configuration.get(member)
            && origin(address).is_none()
        {
            rejections.push(Rejection {
                code: Code::ConfigurationSchemaMismatch,
                message: format!(
                    "/{member}: must be an absolute http or https URL without user name, password or fragment"
                ),
                field: field.iter().copied().chain([member]).map(str::to_owned).collect(),
                detail: Detail::Schema {
                    instance_path: format!("/{member}"),
                    schema_path: format!("/properties/{member}/format"),
                    keyword: "format".to_owned(),
                },
            });
        }
        rejections
    }

    /// Where a credential for this configuration may be sent: `scheme://host:port`. Empty where the origin is in the
    /// program, or not said yet.
    pub fn origin(&self, configuration: &Value) -> String {
        let of_server = self.server_url.as_deref().and_then(origin_of);
        let of_member = || self.address_member.and_then(|member| origin(configuration.get(member)?));
        of_server.or_else(of_member).unwrap_or_default()
    }

    /// Whether new configurations may be made.
    pub fn is_enabled(&self) -> bool {
        self.definition.as_ref().is_none_or(|definition| definition.enabled)
    }

    /// Why it will go away.
    pub fn deprecation_reason(&self) -> Option<&str> {
        self.definition.as_ref()?.deprecation_reason.as_deref()
    }

    /// Whether credentials of that kind are accepted.
    pub fn accepts(&self, kind: Kind) -> bool {
        self.auth_methods.iter().any(|guide| guide.method == AuthMethod::Credential(kind))
    }
}

fn origin(address: &Value) -> Option<String> {
    origin_of(address.as_str()?)
}

fn origin_of(address: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    let fits = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    fits.then(|| url.origin().ascii_serialization())
}
