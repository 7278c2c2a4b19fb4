//! Who may do what: the one table.
//!
//! A person's role decides; an API key needs the scope *and* a creator whose role would allow it. Which rows an action
//! reaches is not decided here but in `db::configuration`: one's own, or the organization's for people from admin up.

use std::fmt;

/// What a person is in an organization. Each role may do all that the roles before it may.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub enum Role {
    /// Looks at the catalogue and at own configurations.
    Viewer,
    /// Own configurations.
    Member,
    /// Members, API keys, every configuration (never their secrets).
    Admin,
    /// All.
    Owner,
}

impl Role {
    /// Every role, lowest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];

    /// The name, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// What an API key may do.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub enum Scope {
    /// Read configurations.
    ConfigurationsRead,
    /// Create, change and delete configurations.
    ConfigurationsWrite,
    /// Set and remove credentials. There is no scope that reads them.
    CredentialsWrite,
    /// Read the catalogue.
    ConnectorsRead,
    /// Read who belongs to the organization.
    MembersRead,
    /// Read API keys, never their secrets.
    ApiKeysRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [
        Self::ConfigurationsRead,
        Self::ConfigurationsWrite,
        Self::CredentialsWrite,
        Self::ConnectorsRead,
        Self::MembersRead,
        Self::ApiKeysRead,
    ];

    /// The name, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigurationsRead => "configurations_read",
            Self::ConfigurationsWrite => "configurations_write",
            Self::CredentialsWrite => "credentials_write",
            Self::ConnectorsRead => "connectors_read",
            Self::MembersRead => "members_read",
            Self::ApiKeysRead => "api_keys_read",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// What a transaction is for. Nothing reaches the database without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Learn who is calling.
    ViewerRead,
    /// Read the organization's name.
    OrganizationRead,
    /// Read who belongs to the organization.
    MemberRead,
    /// Read the catalogue of connectors.
    ConnectorRead,
    /// Read configurations.
    ConfigurationRead,
    /// Create a configuration.
    ConfigurationCreate,
    /// Change a configuration.
    ConfigurationUpdate,
    /// Delete a configuration and destroy its credentials.
    ConfigurationDelete,
    /// Record what a connection test found.
    ConfigurationTest,
    /// Set or remove credentials.
    CredentialWrite,
    /// Read API keys.
    ApiKeyRead,
    /// Create an API key.
    ApiKeyCreate,
    /// End an API key.
    ApiKeyRevoke,
}

/// What an action asks of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// Any key may.
    Always,
    /// A key with this scope may.
    With(Scope),
    /// For people only.
    Never,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 13] = [
        Self::ViewerRead,
        Self::OrganizationRead,
        Self::MemberRead,
        Self::ConnectorRead,
        Self::ConfigurationRead,
        Self::ConfigurationCreate,
        Self::ConfigurationUpdate,
        Self::ConfigurationDelete,
        Self::ConfigurationTest,
        Self::CredentialWrite,
        Self::ApiKeyRead,
        Self::ApiKeyCreate,
        Self::ApiKeyRevoke,
    ];

    /// The lowest role, and what it asks of an API key. This is the policy.
    pub fn rule(self) -> (Role, KeyRule) {
        match self {
            Self::ViewerRead | Self::OrganizationRead => (Role::Viewer, KeyRule::Always),
            Self::MemberRead => (Role::Member, KeyRule::With(Scope::MembersRead)),
            Self::ConnectorRead => (Role::Viewer, KeyRule::With(Scope::ConnectorsRead)),
            Self::ConfigurationRead => (Role::Viewer, KeyRule::With(Scope::ConfigurationsRead)),
            Self::ConfigurationCreate | Self::ConfigurationUpdate | Self::ConfigurationDelete => {
                (Role::Member, KeyRule::With(Scope::ConfigurationsWrite))
            }
            Self::CredentialWrite => (Role::Member, KeyRule::With(Scope::CredentialsWrite)),
            Self::ConfigurationTest => (Role::Member, KeyRule::Never),
            Self::ApiKeyRead => (Role::Admin, KeyRule::With(Scope::ApiKeysRead)),
            Self::ApiKeyCreate | Self::ApiKeyRevoke => (Role::Admin, KeyRule::Never),
        }
    }

    /// The name in the audit log and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ViewerRead => "viewer.read",
            Self::OrganizationRead => "organization.read",
            Self::MemberRead => "member.read",
            Self::ConnectorRead => "personal_connector.read",
            Self::ConfigurationRead => "personal_connector_configuration.read",
            Self::ConfigurationCreate => "personal_connector_configuration.create",
            Self::ConfigurationUpdate => "personal_connector_configuration.update",
            Self::ConfigurationDelete => "personal_connector_configuration.delete",
            Self::ConfigurationTest => "personal_connector_configuration.test",
            Self::CredentialWrite => "credential.write",
            Self::ApiKeyRead => "api_key.read",
            Self::ApiKeyCreate => "api_key.create",
            Self::ApiKeyRevoke => "api_key.revoke",
        }
    }

    /// What a caller who may not would need, for the message.
    pub fn requirement(self) -> String {
        let (role, key) = self.rule();
        let role = role.as_str();
        match key {
            KeyRule::Always => format!("role {role}"),
            KeyRule::With(scope) => format!("role {role} and, for an API key, scope {}", scope.as_str()),
            KeyRule::Never => format!("a person with role {role}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
