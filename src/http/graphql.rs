//! GraphQL over HTTP: negotiation, parameters, statuses.
//!
//! Our own, because the stock handler runs mutations over GET and from forms, ignores the body limit, and answers 200 to
//! what did not run. A request must say `Content-Type: application/json`, which no form and no simple cross-site request
//! can. Statuses are those of the `graphql-http` audits: `application/graphql-response+json` gets 400 for what did not run,
//! `application/json` (for older clients) 200.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_graphql::parser::types::OperationType;
use async_graphql::{Name, ServerError, Value, Variables};
use axum::body::Bytes;
use axum::extract::{Extension, FromRequest as _, Request, State};
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use mime::Mime;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::authenticate::{self, authenticate};
use super::rate_limit::{self, Cost};
use super::{IDEMPOTENCY_KEY, Outcome, RequestId, Shared};
use crate::auth::caller::Caller;
use crate::error::Error;
use crate::graphql::idempotency::IdempotencyHeader;
use crate::graphql::{context, document, finish, loader, was_executed};
use crate::limit::{Charge, Exhausted};

/// What the client wants to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Media {
    /// `application/graphql-response+json`
    GraphQl,
    /// `application/json`
    Json,
}

impl Media {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphQl => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }

    /// What the `Accept` header likes best. JSON where it does not say; nothing where it excludes both.
    fn negotiate(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        let mut said = false;
        for range in headers.get_all(ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or_default().split(',')) {
            if range.trim().is_empty() {
                continue;
            }
            said = true;
            let Ok(range) = range.trim().parse::<Mime>() else { continue };
            let quality = range.get_param("q").map_or(Some(1.0), |q| q.as_str().parse::<f32>().ok()).unwrap_or(0.0);
            let charset = range.get_param(mime::CHARSET).is_none_or(|charset| charset == mime::UTF_8);
            let media = match range.essence_str() {
                "application/graphql-response+json" => Self::GraphQl,
                "application/json" | "application/*" | "*/*" => Self::Json,
                _ => continue,
            };
            if quality > 0.0 && charset && best.is_none_or(|(so_far, _)| quality > so_far) {
                best = Some((quality, media));
            }
        }
        if said { best.map(|(_, media)| media) } else { Some(Self::Json) }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "<[ServerError]>::is_empty")]
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<BodyExtensions<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyExtensions<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
}

/// One request, as far as it has come.
struct Exchange {
    media: Media,
    request_id: String,
    outcome: Outcome,
    /// Since it is known what it costs.
    charge: Option<Charge>,
}

impl Exchange {
    fn respond(mut self, status: StatusCode, data: Option<&Value>, errors: &[ServerError]) -> Response {
        if self.outcome.code.is_empty() {
            let code =
                errors.first().map(|error| error.extensions.as_ref().and_then(|extensions| extensions.get("code")));
            self.outcome.code = match code {
                None => "OK".to_owned(),
                Some(Some(Value::String(code))) => code.clone(),
                Some(_) => "INTERNAL_SERVER_ERROR".to_owned(),
            };
        }
        let extensions = Some(BodyExtensions { request_id: &self.request_id, cost: self.charge.map(Cost::from) });
        let body = serde_json::to_vec(&Body { data, errors, extensions }).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.media.content_type());
        headers.insert(VARY, HeaderValue::from_static("accept"));
        if let Some(level) = self.charge.and_then(|charge| charge.level) {
            rate_limit::set_headers(headers, level);
        }
        response.extensions_mut().insert(self.outcome);
        response
    }

    /// An answer to a request that is refused as a request, whatever it asks.
    fn refuse(self, status: StatusCode, code: &str, message: impl Into<String>, argument: Option<&str>) -> Response {
        self.respond(status, None, &[error(code, message, argument)])
    }

    /// An answer to a request that came too soon.
    fn throttle(self, message: impl Into<String>, retry_after: u64) -> Response {
        let mut response = self.refuse(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message, None);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after));
        response
    }

    /// Takes the cost from the caller's budget, or gives the answer to a request that is over it.
    fn charge(mut self, shared: &Shared, caller: &Caller, cost: u32) -> Result<Self, Box<Response>> {
        match rate_limit::charge(shared, caller, cost) {
            Ok(charge) => {
                self.charge = Some(charge);
                Ok(self)
            }
            Err(Exhausted { level, retry_after }) => {
                self.charge = Some(Charge { cost, level: Some(level) });
                let message = format!(
                    "The budget is used up: this costs {cost} and {} points are left. Try again in {retry_after} seconds.",
                    level.remaining
                );
                Err(Box::new(self.throttle(message, retry_after)))
            }
        }
    }

    /// An answer to a document that does not run.
    fn refuse_document(self, errors: &[ServerError]) -> Response {
        let status = match self.media {
            Media::GraphQl => StatusCode::BAD_REQUEST,
            Media::Json => StatusCode::OK,
        };
        self.respond(status, None, errors)
    }
}

fn error(code: &str, message: impl Into<String>, argument: Option<&str>) -> ServerError {
    let mut error = ServerError::new(message, None);
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("code", code);
    if let Some(argument) = argument {
        extensions.set("argument", argument);
    }
    error
}

/// An answer in GraphQL's shape from outside this handler.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let errors = [error(code, message, None)];
    let body = serde_json::to_vec(&Body { data: None, errors: &errors, extensions: None }).unwrap_or_default();
    let mut response = (status, [(CONTENT_TYPE, Media::Json.content_type())], body).into_response();
    response.extensions_mut().insert(Outcome { code: code.to_owned(), ..Outcome::default() });
    response
}

/// `PUT` and the like.
pub(super) async fn other_method() -> Response {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Use POST, or GET for queries.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    response
}

/// What a request says, before any of it is understood.
#[derive(Deserialize)]
struct RawParameters<'a> {
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow, rename = "operationName")]
    operation_name: Option<&'a RawValue>,
    #[serde(borrow)]
    variables: Option<&'a RawValue>,
    #[serde(borrow)]
    extensions: Option<&'a RawValue>,
}

/// What a request says.
struct Parameters {
    query: String,
    operation_name: Option<String>,
    variables: Variables,
}

/// Why the parameters cannot be read.
struct Malformed {
    message: String,
    argument: Option<String>,
}

fn malformed(parameter: &str, message: impl Into<String>) -> Malformed {
    Malformed { message: message.into(), argument: Some(parameter.to_owned()) }
}

impl Parameters {
    fn parse(raw: &RawParameters<'_>) -> Result<Self, Malformed> {
        let text = |name: &'static str, value: Option<&RawValue>| {
            value
                .map(|value| serde_json::from_str::<Option<String>>(value.get()))
                .transpose()
                .map(Option::flatten)
                .map_err(|_| malformed(name, format!("The parameter {name} is not text.")))
        };
        let query = text("query", raw.query)?.unwrap_or_default();
        if query.is_empty() {
            return Err(malformed("query", "The parameter query is missing."));
        }
        let operation_name = text("operationName", raw.operation_name)?.filter(|name| !name.is_empty());
        if let Some(extensions) = raw.extensions {
            serde_json::from_str::<Option<serde_json::Map<String, serde_json::Value>>>(extensions.get())
                .map_err(|_| malformed("extensions", "The parameter extensions is not an object."))?;
        }
        let variables: Option<BTreeMap<String, &RawValue>> = raw
            .variables
            .map(|variables| serde_json::from_str::<Option<_>>(variables.get()))
            .transpose()
            .map_err(|_| malformed("variables", "The parameter variables is not an object."))?
            .flatten();
        let mut values = Variables::default();
        for (name, value) in variables.unwrap_or_default() {
            // One by one, so that half a surrogate pair or an endless nesting is named.
            let value: serde_json::Value = serde_json::from_str(value.get()).map_err(|error| {
                let what = match error.classify() {
                    serde_json::error::Category::Syntax => {
                        "cannot be read: broken text, a number out of range, or too deep"
                    }
                    _ => "cannot be read",
                };
                malformed(&name, format!("The variable {what}."))
            })?;
            let value = Value::from_json(value).map_err(|_| malformed(&name, "The variable cannot be read."))?;
            values.insert(Name::new(name), value);
        }
        Ok(Self { query, operation_name, variables: values })
    }

    /// From the query part of an address. What is JSON in a body is JSON text here.
    fn from_address(query: &str) -> Result<Self, Malformed> {
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if given.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(malformed(&name, "The parameter stands twice."));
            }
        }
        let quoted = |name: &str| given.get(name).map(serde_json::value::to_raw_value).transpose().ok().flatten();
        let json = |name: &str| match given.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => RawValue::from_string(text.clone())
                .map(Some)
                .map_err(|_| malformed(name, format!("The parameter {name} is not JSON."))),
        };
        let (query, operation_name) = (quoted("query"), quoted("operationName"));
        let (variables, extensions) = (json("variables")?, json("extensions")?);
        Self::parse(&RawParameters {
            query: query.as_deref(),
            operation_name: operation_name.as_deref(),
            variables: variables.as_deref(),
            extensions: extensions.as_deref(),
        })
    }
}

/// How long it may take from who is calling to what is asked before the former is found out again.
const PROMPT: Duration = Duration::from_millis(500);

/// How a request came.
enum Way {
    /// With GET: queries only.
    Get,
    /// With POST.
    Post {
        /// The `Idempotency-Key` header.
        idempotency_key: Option<String>,
    },
}

/// The `Idempotency-Key` header. The draft has it as a quoted string; most clients send it bare.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => {
            let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
            Ok(Some(bare.to_owned()))
        }
        (Some(Err(_)), None) => Err("The Idempotency-Key header is not ASCII."),
        (Some(_), Some(_)) => Err("The Idempotency-Key header stands twice."),
    }
}

/// `POST /graphql`
pub(super) async fn post(
    State(shared): State<Shared>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    let began = Instant::now();
    // Nothing is read of a body whose sender is not known.
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let (mut exchange, mut caller) = match begin(&shared, &id, headers, &parts.extensions).await {
        Ok(begun) => begun,
        Err(response) => return *response,
    };
    let mut content_types = headers.get_all(CONTENT_TYPE).iter();
    let content_type = content_types.next().filter(|_| content_types.next().is_none());
    let content_type = content_type.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<Mime>().ok());
    let is_json = content_type.is_some_and(|mime| {
        mime.essence_str() == "application/json"
            && mime.get_param(mime::CHARSET).is_none_or(|charset| charset == mime::UTF_8)
    });
    if !is_json {
        let message = "Send Content-Type: application/json.";
        return exchange.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message, None);
    }
    let idempotency_key = match idempotency_key(headers) {
        Ok(key) => key,
        Err(message) => {
            return exchange.refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST", message, Some("Idempotency-Key"));
        }
    };
    let body = match Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("A request has at most {} bytes.", shared.app.api.max_request_bytes);
            return exchange.refuse(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message, None);
        }
        Err(_) => return exchange.refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST", "The body could not be read.", None),
    };
    // Who takes long over a body may have been shown the door meanwhile.
    if began.elapsed() > PROMPT {
        (exchange, caller) = match begin(&shared, &id, headers, &parts.extensions).await {
            Ok(begun) => begun,
            Err(response) => return *response,
        };
    }
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let message = "Batches are not supported; send one operation in one request.";
        return exchange.refuse(StatusCode::BAD_REQUEST, "BATCHING_DISABLED", message, None);
    }
    let parameters = match serde_json::from_slice::<RawParameters<'_>>(&body) {
        Ok(raw) => Parameters::parse(&raw),
        Err(error) => Err(Malformed {
            // Only where: the parser's own words repeat what it found.
            message: format!("The body is not a JSON object: line {}, column {}.", error.line(), error.column()),
            argument: None,
        }),
    };
    run(&shared, exchange, caller, parameters, Way::Post { idempotency_key }).await
}

/// `GET /graphql`
pub(super) async fn get(
    State(shared): State<Shared>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match begin(&shared, &id, request.headers(), request.extensions()).await {
        Ok((exchange, caller)) => {
            let parameters = Parameters::from_address(request.uri().query().unwrap_or_default());
            run(&shared, exchange, caller, parameters, Way::Get).await
        }
        Err(response) => *response,
    }
}

/// Who is calling, and what they want to read.
async fn begin(
    shared: &Shared,
    id: &RequestId,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<(Exchange, Caller), Box<Response>> {
    let media = Media::negotiate(headers);
    let mut exchange = Exchange {
        media: media.unwrap_or(Media::Json),
        request_id: id.0.clone(),
        outcome: Outcome::default(),
        charge: None,
    };
    let address = authenticate::address(shared, headers, extensions);
    let caller = match authenticate(shared, headers, address, id).await {
        Ok(caller) => caller,
        Err(Error::Unauthenticated(reason)) => {
            exchange.outcome.reason = reason;
            if let Err(Exhausted { retry_after, .. }) = rate_limit::count_failure(shared, address) {
                let message = "Too many requests from this address failed to authenticate. Try again in a moment.";
                return Err(Box::new(exchange.throttle(message, retry_after)));
            }
            let mut response =
                exchange.refuse(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", context::UNAUTHENTICATED, None);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"patchbay\""));
            return Err(Box::new(response));
        }
        Err(other) => {
            let status = match other {
                Error::OrganizationNeeded(_) => StatusCode::BAD_REQUEST,
                Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            let error: async_graphql::Error = context::Failure::from(other).into();
            let error = error.into_server_error(async_graphql::Pos::default());
            let error = ServerError { locations: Vec::new(), ..error };
            let mut response = exchange.respond(status, None, &[error]);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            return Err(Box::new(response));
        }
    };
    exchange.outcome.caller = caller.actor().to_string();
    if media.is_none() {
        let message = "This service answers application/graphql-response+json and application/json.";
        return Err(Box::new(exchange.refuse(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message, None)));
    }
    Ok((exchange, caller))
}

async fn run(
    shared: &Shared,
    mut exchange: Exchange,
    caller: Caller,
    parameters: Result<Parameters, Malformed>,
    way: Way,
) -> Response {
    let Parameters { query, operation_name, variables } = match parameters {
        Ok(parameters) => parameters,
        Err(Malformed { message, argument }) => {
            return exchange.refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST", message, argument.as_deref());
        }
    };
    if query.len() > document::MAX_BYTES {
        let message = format!("A document has at most {} bytes.", document::MAX_BYTES);
        return exchange.refuse_document(&[error("QUERY_TOO_COMPLEX", message, None)]);
    }
    let mut request = async_graphql::Request::new(query).variables(variables.clone());
    request.operation_name = operation_name;
    let wanted = request.operation_name.clone();
    let checked = match request.parsed_query() {
        Ok(parsed) => {
            if let Some((name, operation)) = document::operation(parsed, wanted.as_deref()) {
                exchange.outcome.operation = name.map(|name| name.chars().take(64).collect()).unwrap_or_default();
                if matches!(way, Way::Get) && operation.node.ty != OperationType::Query {
                    let message = "Only queries may be sent with GET; use POST.";
                    let mut response =
                        exchange.refuse(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message, None);
                    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                    return response;
                }
                if let Way::Post { idempotency_key: Some(_) } = way
                    && operation.node.ty == OperationType::Mutation
                    && operation.node.selection_set.node.items.len() != 1
                {
                    let message = "The Idempotency-Key header is for a request with one mutation; use the argument.";
                    return exchange.refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST", message, Some("Idempotency-Key"));
                }
            }
            document::check(parsed, &variables, wanted.as_deref())
                .map_err(|violation| error(violation.code, violation.message, violation.argument.as_deref()))
        }
        Err(unparsed) => {
            // The parser repeats the line, and whatever secret stands in it.
            let place = unparsed.locations.first().map(|place| format!(" at {}:{}", place.line, place.column));
            let message = format!("Syntax error{}.", place.unwrap_or_default());
            let mut refused = error("GRAPHQL_PARSE_FAILED", message, None);
            refused.locations = unparsed.locations;
            Err(refused)
        }
    };
    // To read a document takes time as well, also of one that does not run.
    let cost = checked.as_ref().map_or(rate_limit::REFUSED, |checked| checked.cost);
    let exchange = match exchange.charge(shared, &caller, cost) {
        Ok(exchange) => exchange,
        Err(response) => return *response,
    };
    let places = match checked {
        Ok(checked) => checked.places,
        Err(refused) => return exchange.refuse_document(&[refused]),
    };

    let relations = loader::relations(Arc::clone(&shared.app), caller.clone());
    let mut request = request.data(caller).data(relations).data(exchange.charge);
    if let Way::Post { idempotency_key: Some(key) } = way {
        request = request.data(IdempotencyHeader(key));
    }
    let mut response = shared.schema.execute(request).await;
    finish(&mut response, &places);
    if was_executed(&response) {
        exchange.respond(StatusCode::OK, Some(&response.data), &response.errors)
    } else {
        exchange.refuse_document(&response.errors)
    }
}
