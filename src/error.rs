//! What can go wrong, as far as anyone needs to tell the cases apart.
//!
//! No HTTP and no GraphQL in here: `graphql::context` turns an [`Error`] into an answer, once, and shows nothing of
//! [`Error::Internal`] but the request id. A [`Rejection`] is the caller's to mend and is data: mutations answer it in
//! `userErrors`, queries as `BAD_USER_INPUT`.

use serde::{Deserialize, Serialize};

use crate::auth::policy::Action;
use crate::id::OrganizationId;

/// The result of anything that a request may ask for.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Who is calling could not be established. The reason is for the log only.
    #[error("unauthenticated: {0}")]
    Unauthenticated(&'static str),
    /// The person belongs to these organizations, and the request does not say which one is meant.
    #[error("the request names none of several organizations")]
    OrganizationNeeded(Vec<OrganizationId>),
    /// The caller is known and may not do this.
    #[error("not allowed: {0}")]
    Forbidden(Action),
    /// The input is at fault; never empty.
    #[error("rejected: {0:?}")]
    Rejected(Vec<Rejection>),
    /// No connection in time, or the database is going down: the same request may work in a moment.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Ours. Told to nobody but the log.
    #[error("internal: {0:#}")]
    Internal(anyhow::Error),
}

/// One thing about the input that the caller can correct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Stable, machine-readable.
    pub code: Code,
    /// A sentence for people. Never contains a credential.
    pub message: String,
    /// Path of the argument at fault; empty when no single argument is.
    pub field: Vec<String>,
    /// What more there is to say, for clients that branch on it.
    pub detail: Detail,
}

/// Stable codes of rejections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// A required value is missing or blank.
    Required,
    /// A value has the wrong form, length or range.
    Invalid,
    /// `configuration` does not match the connector's schema.
    ConfigurationSchemaMismatch,
    /// `metadata` breaks a limit.
    MetadataInvalid,
    /// The connector does not support this auth method.
    AuthMethodUnsupported,
    /// No such object, or not visible: the same answer.
    NotFound,
    /// The name is taken: by another configuration of the same owner and connector, or by another connector.
    NameTaken,
    /// The object has changed since it was read.
    VersionConflict,
    /// The same idempotency key was used with other arguments.
    IdempotencyKeyReused,
    /// The first request with this idempotency key is still running.
    IdempotencyInProgress,
    /// A limit of the organization or of the request is reached.
    LimitExceeded,
    /// The object is in a state that does not allow this.
    InvalidState,
    /// Visible, but not the caller's to do this with.
    PermissionDenied,
    /// The last owner of an organization cannot go.
    LastOwner,
    /// The object is still in use.
    InUse,
}

/// The part of a rejection that differs from code to code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// Nothing more to say.
    None,
    /// Where a configuration breaks its connector's schema.
    Schema {
        /// JSON Pointer into `configuration`.
        instance_path: String,
        /// JSON Pointer into the schema.
        schema_path: String,
        /// The JSON Schema keyword that failed.
        keyword: String,
    },
    /// The versions that differ.
    Version {
        /// What the caller gave.
        expected: i32,
        /// What the object has.
        current: i32,
    },
    /// A limit, and what would have been.
    Limit {
        /// The most there may be.
        limit: i32,
        /// How many there are, or would be.
        current: i32,
    },
    /// The object that has the name already.
    NameTaken {
        /// Its id.
        existing_id: String,
    },
}

impl Rejection {
    /// A rejection with nothing more to say than code, message and field.
    pub fn new(code: Code, field: &[&str], message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: field.iter().map(ToString::to_string).collect(),
            detail: Detail::None,
        }
    }

    /// `object` is not there, or not the caller's to see.
    pub fn not_found(field: &[&str], object: &str) -> Self {
        Self::new(Code::NotFound, field, format!("There is no such {object}."))
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(vec![rejection])
    }
}

impl Error {
    /// An [`Error::Internal`] from anything that says what happened.
    pub fn internal(what: impl Into<anyhow::Error>) -> Self {
        Self::Internal(what.into())
    }

    /// The violated constraint's name, when that is what failed.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Internal(error) => match error.downcast_ref::<diesel::result::Error>() {
                Some(diesel::result::Error::DatabaseError(_, information)) => information.constraint_name(),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::DatabaseErrorKind as Kind;
        match &error {
            diesel::result::Error::DatabaseError(
                Kind::ClosedConnection | Kind::SerializationFailure | Kind::UnableToSendCommand,
                information,
            ) => Self::Unavailable(information.message().to_owned()),
            // Statement timeouts and a server that is going down have no kind of their own.
            diesel::result::Error::DatabaseError(Kind::Unknown, information)
                if [
                    "canceling statement due to statement timeout",
                    "canceling statement due to lock timeout",
                    "deadlock detected",
                    "terminating connection due to administrator command",
                    "the database system is",
                ]
                .iter()
                .any(|text| information.message().starts_with(text)) =>
            {
                Self::Unavailable(information.message().to_owned())
            }
            _ => Self::Internal(error.into()),
        }
    }
}
