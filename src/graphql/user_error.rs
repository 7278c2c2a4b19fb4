//! Expected failures of mutations, as data.

use async_graphql::{Enum, ID, Interface, SimpleObject};

use super::context::Nullable;
use crate::error::{Detail, Error, Rejection};

/// Stable codes of user errors.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(name = "UserErrorCode", remote = "crate::error::Code")]
pub enum UserErrorCode {
    /// A required value is missing or blank.
    Required,
    /// A value has the wrong form, length or range.
    Invalid,
    /// `configuration` does not match the connector's configurationSchema.
    ConfigurationSchemaMismatch,
    /// `metadata` breaks a limit: 50 keys, keys of 1 to 40 characters of [A-Za-z0-9_.-], values as MetadataValue.
    MetadataInvalid,
    /// The connector does not support this auth method, or the credentials do not fit it.
    AuthMethodUnsupported,
    /// No such object in this organization, or not visible to the caller.
    NotFound,
    /// The name is taken: by another configuration of the same owner and connector, or by another connector.
    NameTaken,
    /// `expectedVersion` is not the current version. Read again, merge, retry.
    VersionConflict,
    /// The same idempotency key was used with different arguments.
    IdempotencyKeyReused,
    /// The first request with this idempotency key is still running. Retry after a moment.
    IdempotencyInProgress,
    /// A limit of the organization or of the request is reached.
    LimitExceeded,
    /// The object is in a state that does not allow this.
    InvalidState,
    /// The object is visible, but the caller may not do this with it: only its owner, or an admin, may.
    PermissionDenied,
    /// The last owner of an organization cannot be removed or demoted.
    LastOwner,
    /// The object is still in use.
    InUse,
}

/// An expected failure of a mutation: something the caller can correct. Unexpected failures, missing authentication and
/// missing permission are in the top-level `errors` list with `extensions.code`. Select `code message field` on any
/// mutation; use inline fragments only where the extra detail helps.
#[derive(Interface, Debug)]
#[graphql(
    field(name = "code", ty = "&UserErrorCode", desc = "Stable, machine-readable."),
    field(name = "message", ty = "&String", desc = "A sentence for people. May change at any time."),
    field(
        name = "field",
        ty = "&Option<Vec<String>>",
        desc = "Path of the argument at fault, e.g. [\"input\", \"configuration\", \"repository\"]. Null when no single argument is."
    )
)]
pub enum UserError {
    /// Nothing more to say.
    Input(InputError),
    /// Where a configuration breaks its schema.
    Schema(ConfigurationSchemaError),
    /// The versions that differ.
    Version(VersionConflictError),
    /// Who has the name.
    Name(NameTakenError),
    /// How much there may be.
    Limit(LimitExceededError),
}

/// An error with nothing more to say than code, message and field.
#[derive(SimpleObject, Debug)]
pub struct InputError {
    /// Stable, machine-readable.
    code: UserErrorCode,
    /// A sentence for people. May change at any time.
    message: String,
    /// Path of the argument at fault. Null when no single argument is.
    field: Option<Vec<String>>,
}

/// One violation of a connector's configurationSchema.
#[derive(SimpleObject, Debug)]
pub struct ConfigurationSchemaError {
    /// Always CONFIGURATION_SCHEMA_MISMATCH.
    code: UserErrorCode,
    /// A sentence for people. May change at any time.
    message: String,
    /// Path of the argument at fault.
    field: Option<Vec<String>>,
    /// JSON Pointer into `configuration`, e.g. "/paths/0".
    instance_path: String,
    /// JSON Pointer into the schema, e.g. "/properties/paths/items/type".
    schema_path: String,
    /// The JSON Schema keyword that failed, e.g. "type".
    keyword: String,
}

/// The object has changed since it was read.
#[derive(SimpleObject, Debug)]
pub struct VersionConflictError {
    /// Always VERSION_CONFLICT.
    code: UserErrorCode,
    /// A sentence for people. May change at any time.
    message: String,
    /// Path of the argument at fault.
    field: Option<Vec<String>>,
    /// What was given.
    expected_version: i32,
    /// What the object has.
    current_version: i32,
}

/// The name is taken.
#[derive(SimpleObject, Debug)]
pub struct NameTakenError {
    /// Always NAME_TAKEN.
    code: UserErrorCode,
    /// A sentence for people. May change at any time.
    message: String,
    /// Path of the argument at fault.
    field: Option<Vec<String>>,
    /// The object that has the name.
    existing_id: ID,
}

/// There would be more than there may be.
#[derive(SimpleObject, Debug)]
pub struct LimitExceededError {
    /// Always LIMIT_EXCEEDED.
    code: UserErrorCode,
    /// A sentence for people. May change at any time.
    message: String,
    /// Path of the argument at fault.
    field: Option<Vec<String>>,
    /// The most there may be.
    limit: i32,
    /// How many there are, or would be.
    current: i32,
}

impl From<Rejection> for UserError {
    fn from(Rejection { code, message, field, detail }: Rejection) -> Self {
        let code = UserErrorCode::from(code);
        let field = (!field.is_empty()).then_some(field);
        match detail {
            Detail::None => Self::Input(InputError { code, message, field }),
            Detail::Schema { instance_path, schema_path, keyword } => {
                Self::Schema(ConfigurationSchemaError { code, message, field, instance_path, schema_path, keyword })
            }
            Detail::Version { expected, current } => Self::Version(VersionConflictError {
                code,
                message,
                field,
                expected_version: expected,
                current_version: current,
            }),
            Detail::Limit { limit, current } => {
                Self::Limit(LimitExceededError { code, message, field, limit, current })
            }
            Detail::NameTaken { existing_id } => {
                Self::Name(NameTakenError { code, message, field, existing_id: ID(existing_id) })
            }
        }
    }
}

impl ConfigurationSchemaError {
    /// Those of `rejections` that are violations of a schema, or of a limit, as one.
    pub fn from_rejection(rejection: Rejection) -> Self {
        match UserError::from(rejection) {
            UserError::Schema(error) => error,
            UserError::Input(InputError { code, message, field }) => {
                let (instance_path, schema_path, keyword) = <(String, String, String)>::default();
                Self { code, message, field, instance_path, schema_path, keyword }
            }
            UserError::Version(_) | UserError::Name(_) | UserError::Limit(_) => {
                unreachable!("a configuration alone has no version and no name")
            }
        }
    }
}

/// What a mutation answers: its payload; the caller's mistakes as `userErrors`; anything else as a top-level error.
pub fn answer<P: From<Vec<UserError>>>(result: crate::error::Result<P>) -> Nullable<P> {
    match result {
        Ok(payload) => Some(Ok(payload)),
        Err(Error::Rejected(rejections)) => {
            Some(Ok(P::from(rejections.into_iter().map(UserError::from).collect::<Vec<_>>())))
        }
        Err(error) => Some(Err(error.into())),
    }
}

/// A mutation's payload: the object, null when it failed, and why it failed.
macro_rules! payload {
    ($(#[$doc:meta])* $name:ident { $(#[$field_doc:meta])* $field:ident: $type:ty $(, $(#[$more_doc:meta])* $more:ident: $more_type:ty)* }) => {
        $(#[$doc])*
        #[derive(async_graphql::SimpleObject)]
        pub struct $name {
            $(#[$field_doc])*
            $field: Option<$type>,
            $($(#[$more_doc])* $more: Option<$more_type>,)*
            /// What the caller can correct. Empty when all went well.
            user_errors: Vec<crate::graphql::user_error::UserError>,
        }

        impl From<Vec<crate::graphql::user_error::UserError>> for $name {
            fn from(user_errors: Vec<crate::graphql::user_error::UserError>) -> Self {
                Self { $field: None, $($more: None,)* user_errors }
            }
        }
    };
}
pub(super) use payload;
