//! Who may do what: the one table.
//!
//! A person's role decides; an API key needs the scope *and* a creator whose current role would allow it. Which
//! configurations an action reaches is not decided here but in `db::configuration`: one's own, what was granted, and the
//! organization's for people from admin up. `tests/it/policy.rs` prints the table and holds the API to it.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    Serialize,
    Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read configurations.
    ConfigurationsRead,
    /// Create, change and delete configurations.
    ConfigurationsWrite,
    /// Test connections.
    ConfigurationsTest,
    /// Set and remove credentials. There is no scope that reads them.
    CredentialsWrite,
    /// Read the catalogue.
    ConnectorsRead,
    /// Define custom connectors.
    ConnectorsWrite,
    /// Read who belongs to the organization.
    MembersRead,
    /// Read API keys, never their secrets.
    ApiKeysRead,
    /// Read the audit log.
    AuditRead,
    /// Read which encryption keys are in use, never the keys.
    EncryptionRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 10] = [
        Self::ConfigurationsRead,
        Self::ConfigurationsWrite,
        Self::ConfigurationsTest,
        Self::CredentialsWrite,
        Self::ConnectorsRead,
        Self::ConnectorsWrite,
        Self::MembersRead,
        Self::ApiKeysRead,
        Self::AuditRead,
        Self::EncryptionRead,
    ];

    /// The name, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigurationsRead => "configurations_read",
            Self::ConfigurationsWrite => "configurations_write",
            Self::ConfigurationsTest => "configurations_test",
            Self::CredentialsWrite => "credentials_write",
            Self::ConnectorsRead => "connectors_read",
            Self::ConnectorsWrite => "connectors_write",
            Self::MembersRead => "members_read",
            Self::ApiKeysRead => "api_keys_read",
            Self::AuditRead => "audit_read",
            Self::EncryptionRead => "encryption_read",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// What an action asks of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// Any key may.
    Always,
    /// A key with this scope may.
    With(Scope),
    /// A key may do it to itself, and to no other.
    Itself,
    /// For people only.
    Never,
}

use KeyRule::{Always, Itself, Never, With};
use Role::{Admin, Member, Owner, Viewer};
use Scope::{
    ApiKeysRead, AuditRead, ConfigurationsRead, ConfigurationsTest, ConfigurationsWrite, ConnectorsRead,
    ConnectorsWrite, CredentialsWrite, EncryptionRead, MembersRead,
};

/// The table: each action with its name in the audit log and in messages, what it is, the lowest role, and what it asks
/// of an API key.
macro_rules! actions {
    ($($action:ident $name:literal $what:literal $role:ident $key:expr;)*) => {
        /// What a transaction is for. Nothing reaches the database without one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $(#[doc = concat!($what, ".")] $action,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$action),*];

            /// The lowest role, and what it asks of an API key.
            pub fn rule(self) -> (Role, KeyRule) {
                match self {
                    $(Self::$action => ($role, $key),)*
                }
            }

            /// The name in the audit log and in messages.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)*
                }
            }

            /// What it is, for people who do not program.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$action => $what,)*
                }
            }
        }
    };
}

actions! {
    ViewerRead "viewer.read" "Learn who is calling" Viewer Always;
    ViewerTokensRevoke "viewer.revoke_tokens" "End one's own tokens" Viewer Never;
    OrganizationRead "organization.read" "Read the organization's name" Viewer Always;
    OrganizationUpdate "organization.update" "Rename the organization" Admin Never;
    OrganizationPolicyUpdate "organization.update_policy" "Loosen or tighten what keys may be" Owner Never;
    MemberRead "member.read" "Read who belongs to the organization (addresses: admins)" Member With(MembersRead);
    MemberAdd "member.add" "Add a person" Admin Never;
    MemberSetRole "member.set_role" "Change a person's role" Admin Never;
    MemberRemove "member.remove" "Remove a person" Admin Never;
    OwnerChange "member.change_owner" "Make, change or remove an owner" Owner Never;
    ConnectorRead "personal_connector.read" "Read the catalogue of connectors" Viewer With(ConnectorsRead);
    ConnectorCreate "personal_connector.create" "Define a custom connector" Admin With(ConnectorsWrite);
    ConnectorUpdate "personal_connector.update" "Change a custom connector" Admin With(ConnectorsWrite);
    ConnectorDelete "personal_connector.delete" "Delete a custom connector" Admin With(ConnectorsWrite);
    ConfigurationRead "personal_connector_configuration.read" "Read configurations: own and granted ones, all for admins" Viewer With(ConfigurationsRead);
    ConfigurationCreate "personal_connector_configuration.create" "Create a configuration" Member With(ConfigurationsWrite);
    ConfigurationUpdate "personal_connector_configuration.update" "Change a configuration: own, or granted with manage; any for admins" Member With(ConfigurationsWrite);
    ConfigurationDelete "personal_connector_configuration.delete" "Delete a configuration and its credentials: own; any for admins" Member With(ConfigurationsWrite);
    ConfigurationTest "personal_connector_configuration.test" "Use a configuration (test it, call its tools): own or granted" Member With(ConfigurationsTest);
    CredentialWrite "credential.write" "Set or remove credentials: own; any for admins" Member With(CredentialsWrite);
    GrantCreate "grant.create" "Give others access to a configuration: own" Member With(ConfigurationsWrite);
    GrantRevoke "grant.revoke" "Take access to a configuration back: own; any for admins" Member With(ConfigurationsWrite);
    ApiKeyRead "api_key.read" "Read API keys" Admin With(ApiKeysRead);
    ApiKeyCreate "api_key.create" "Create an API key" Admin Never;
    ApiKeyUpdate "api_key.update" "Change an API key" Admin Never;
    ApiKeyRotate "api_key.rotate" "Give an API key a new secret" Admin Itself;
    ApiKeyRevoke "api_key.revoke" "End an API key" Admin Never;
    AuditRead "audit_log.read" "Read the audit log" Admin With(AuditRead);
    EncryptionRead "encryption.read" "Read which encryption keys are in use" Admin With(EncryptionRead);
}

impl Action {
    /// The name in the audit log of what was done.
    pub fn event(self) -> String {
        let (noun, verb) = self.as_str().split_once('.').unwrap_or((self.as_str(), "done"));
        let done = match verb {
            "create" => "created",
            "update" => "updated",
            "update_policy" => "policy_updated",
            "delete" => "deleted",
            "test" => "tested",
            "write" => "written",
            "add" => "added",
            "set_role" => "role_changed",
            "remove" => "removed",
            "rotate" => "rotated",
            "revoke" => "revoked",
            "revoke_tokens" => "tokens_revoked",
            other => other,
        };
        format!("{noun}.{done}")
    }

    /// Whether attempts are recorded as well as what was done: those on credentials, keys, members and grants.
    pub fn is_guarded(self) -> bool {
        let (noun, verb) = self.as_str().split_once('.').unwrap_or_default();
        matches!(noun, "credential" | "api_key" | "member" | "grant") && verb != "read"
    }

    /// What a caller who may not would need, for the message.
    pub fn requirement(self) -> String {
        let (role, key) = self.rule();
        let role = role.as_str();
        match key {
            Always => format!("role {role}"),
            With(scope) => format!("role {role} and, for an API key, scope {}", scope.as_str()),
            Itself => format!("a person with role {role}, or the API key itself"),
            Never => format!("a person with role {role}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
