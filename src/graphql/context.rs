//! The bridge between resolvers and everything else: who is calling, what there is to call, and how an error becomes an
//! answer, once.

use std::sync::Arc;

use async_graphql::{Context, ErrorExtensions as _};

use crate::app::App;
use crate::auth::caller::Caller;
use crate::error::Error;

/// What a resolver fails with. It has no `Display`, on purpose: async-graphql turns everything that has one into an
/// answer by itself, text and all. So this is the only way from an error to a client.
#[derive(Debug, Clone)]
pub struct Failure(Arc<Error>);

/// What a resolver of a non-null field gives.
pub type Result<T> = std::result::Result<T, Failure>;

/// What a resolver of a nullable field gives. In this order: a failing field becomes null by itself and its siblings
/// stay, where `Result<Option<T>>` would take the parent along.
pub type Nullable<T> = Option<Result<T>>;

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Arc::new(error.into()))
    }
}

impl From<Failure> for async_graphql::Error {
    fn from(Failure(error): Failure) -> Self {
        let code = code(&error);
        let (message, argument) = match &*error {
            Error::Unauthenticated(_) => (UNAUTHENTICATED.to_owned(), None),
            Error::OrganizationNeeded(own) => {
                let own: Vec<_> = own.iter().map(ToString::to_string).collect();
                let message =
                    format!("Name the organization that is meant with X-Organization-Id: {}.", own.join(", "));
                (message, Some("X-Organization-Id".to_owned()))
            }
            Error::Forbidden(action) => (format!("Not allowed: {action} needs {}.", action.requirement()), None),
            Error::Rejected(rejections) => {
                let first = rejections.first();
                let argument = first.map(|rejection| rejection.field.join(".")).filter(|argument| !argument.is_empty());
                (first.map(|rejection| rejection.message.clone()).unwrap_or_default(), argument)
            }
            Error::Unavailable(reason) => {
                tracing::warn!(reason, "the database is not available");
                ("The service is not available. Try again in a moment.".to_owned(), None)
            }
            Error::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "internal error");
                (INTERNAL.to_owned(), None)
            }
        };
        Self::new(message).extend_with(|_, extensions| {
            extensions.set("code", code);
            if let Some(argument) = argument {
                extensions.set("argument", argument);
            }
        })
    }
}

/// Why nobody learns what is wrong with a credential: it would help whoever tries them.
pub const UNAUTHENTICATED: &str =
    "Authentication is needed: send one valid Authorization: Bearer token, or one valid API key as X-API-Key.";

/// All that is told of our own faults.
pub const INTERNAL: &str = "An internal error happened. Ask the operator, with the request id.";

/// The stable code of a top-level error.
pub fn code(error: &Error) -> &'static str {
    match error {
        Error::Unauthenticated(_) => "UNAUTHENTICATED",
        Error::OrganizationNeeded(_) => "ORGANIZATION_REQUIRED",
        Error::Forbidden(_) => "FORBIDDEN",
        Error::Rejected(_) => "BAD_USER_INPUT",
        Error::Unavailable(_) => "SERVICE_UNAVAILABLE",
        Error::Internal(_) => "INTERNAL_SERVER_ERROR",
    }
}

/// What resolvers ask their context for.
pub trait RequestContext {
    /// What the process holds.
    fn app(&self) -> &App;
    /// Who is calling.
    fn caller(&self) -> &Caller;
    /// Whether the field's selection holds `name`.
    fn selects(&self, name: &str) -> bool;
}

impl RequestContext for Context<'_> {
    fn app(&self) -> &App {
        self.data_unchecked::<Arc<App>>()
    }

    fn caller(&self) -> &Caller {
        self.data_unchecked::<Caller>()
    }

    fn selects(&self, name: &str) -> bool {
        self.look_ahead().field(name).exists()
    }
}
