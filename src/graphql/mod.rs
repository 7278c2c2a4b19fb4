//! The API: one file for each noun, with its type, its queries and its mutations.
//!
//! A resolver is the use case: it checks its input, takes one transaction for one action, and turns rows into types.
//! There is no extension and no guard in the schema: extensions cost on every field, and a failing guard on a nullable
//! field takes the parent along. What must hold before a document runs is in [`document`], what must hold of errors in
//! [`finish`], and both are called by the one handler.

pub mod api_key;
pub mod audit_log;
pub mod comparator;
pub mod configuration;
pub mod connection;
pub mod connector;
pub mod context;
pub mod document;
pub mod idempotency;
pub mod loader;
pub mod member;
pub mod node;
pub mod organization;
pub mod rate_limit;
pub mod scalar;
pub mod service;
pub mod user_error;
pub mod viewer;

use std::sync::{Arc, OnceLock};

use async_graphql::{EmptySubscription, MergedObject, Response, SDLExportOptions, ServerError, Value};

use crate::app::App;

/// Everything that may be asked.
#[derive(MergedObject, Default)]
pub struct Query(
    viewer::ViewerQuery,
    organization::OrganizationQuery,
    node::NodeQuery,
    configuration::ConfigurationQuery,
    connector::ConnectorQuery,
    api_key::ApiKeyQuery,
    rate_limit::RateLimitQuery,
    service::ServiceQuery,
);

/// Everything that may be changed. Object first, then verb, so that mutations of one object stand together.
#[derive(MergedObject, Default)]
pub struct Mutation(
    viewer::ViewerMutation,
    configuration::mutation::ConfigurationMutation,
    configuration::grant::GrantMutation,
    configuration::bulk::BulkMutation,
    connector::mutation::ConnectorMutation,
    api_key::mutation::ApiKeyMutation,
    organization::OrganizationMutation,
    member::MemberMutation,
);

/// The most errors that one answer tells.
const MAX_ERRORS: usize = 20;

/// The schema, ready to run.
pub type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// SHA-256 of the printed schema, known once it is printed.
#[derive(Clone, Default)]
pub struct SchemaHash(Arc<OnceLock<String>>);

impl SchemaHash {
    fn get(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
}

/// The schema for `app`.
pub fn schema(app: Arc<App>) -> Schema {
    let hash = SchemaHash::default();
    let introspection = app.api.introspection;
    let mut builder = async_graphql::Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .register_output_type::<node::Node>()
        .register_output_type::<user_error::UserError>()
        // Suggestions tell what introspection would not.
        .disable_suggestions()
        .data(app)
        .data(hash.clone());
    if !introspection {
        builder = builder.disable_introspection();
    }
    let schema = builder.finish();
    let digest = crate::vault::digest(sdl(&schema).as_bytes());
    let _ = hash.0.set(data_encoding::HEXLOWER.encode(&digest));
    schema
}

/// The schema as text, as `schema.graphql` has it.
pub fn sdl(schema: &Schema) -> String {
    schema.sdl_with_options(
        SDLExportOptions::new()
            .sorted_fields()
            .sorted_enum_items()
            .sorted_arguments()
            .include_specified_by()
            .use_space_ident()
            .prefer_single_line_descriptions(),
    )
}

/// The schema as text, without anything to run it on.
pub fn print() -> String {
    let schema = async_graphql::Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .register_output_type::<node::Node>()
        .register_output_type::<user_error::UserError>()
        .finish();
    sdl(&schema)
}

/// Whether anything ran: only then is there a `data` to show. An error of execution has a path, one of validation has none.
pub fn was_executed(response: &Response) -> bool {
    response.data != Value::Null || response.errors.iter().any(|error| !error.path.is_empty())
}

/// Gives every error a code, and takes out of messages what they repeat of the caller's values: a value that is wrong in
/// one place may be a secret that was meant for another.
pub fn finish(response: &mut Response, places: &document::ArgumentPlaces) {
    let executed = was_executed(response);
    // A short document can be wrong in thousands of places.
    response.errors.truncate(MAX_ERRORS);
    for error in &mut response.errors {
        let has_code = error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some());
        if has_code {
            continue;
        }
        if !executed {
            let argument = quoted_argument(&error.message);
            let code = if argument.is_some() { "BAD_USER_INPUT" } else { "GRAPHQL_VALIDATION_FAILED" };
            redact(&mut error.message);
            set(error, code, argument);
        } else if is_about_input(&error.message) {
            redact(&mut error.message);
            let argument = error.locations.first().and_then(|place| places.get(place)).cloned();
            if let Some(name) = &argument {
                error.message = format!("Invalid value for argument \"{name}\": {}", error.message);
            }
            set(error, "BAD_USER_INPUT", argument);
        } else {
            tracing::error!(error = %error.message, "internal error");
            context::INTERNAL.clone_into(&mut error.message);
            set(error, "INTERNAL_SERVER_ERROR", None);
        }
    }
}

fn set(error: &mut ServerError, code: &str, argument: Option<String>) {
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("code", code);
    if let Some(argument) = argument {
        extensions.set("argument", argument);
    }
}

/// The path that async-graphql names when a value does not fit: `Invalid value for argument "input.name", ...`.
fn quoted_argument(message: &str) -> Option<String> {
    let rest = message.strip_prefix("Invalid value for argument \"")?;
    rest.split_once('"').map(|(path, _)| path.to_owned())
}

fn is_about_input(message: &str) -> bool {
    ["Expected input type", "Failed to parse", "Invalid value for", "Variable "]
        .iter()
        .any(|start| message.starts_with(start))
}

fn redact(message: &mut String) {
    for marker in [", found ", " does not contain the value ", "unknown field "] {
        if let Some(at) = message.find(marker) {
            let what = match marker {
                ", found " => ".",
                " does not contain the value " => " does not contain the value.",
                _ => "unknown field.",
            };
            message.truncate(at);
            message.push_str(what);
        }
    }
}
