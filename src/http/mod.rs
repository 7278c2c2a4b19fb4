//! HTTP: routes and layers on one screen, and one log line for each request.

mod authenticate;
mod client_address;
mod graphiql;
mod graphql;
mod health;
mod rate_limit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument as _;

use crate::app::App;
use crate::db;
use crate::graphql::Schema;

/// The longest a request may take, its body included.
const TIMEOUT: Duration = Duration::from_secs(30);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_ORGANIZATION_ID: HeaderName = HeaderName::from_static("x-organization-id");

/// What handlers share.
#[derive(Clone)]
struct Shared {
    app: Arc<App>,
    schema: Schema,
}

/// The service.
pub fn router(app: Arc<App>, schema: Schema) -> Router {
    let api = app.api.clone();
    let mut router = Router::new()
        .route(
            "/graphql",
            get(graphql::get)
                .post(graphql::post)
                .fallback(graphql::other_method)
                .layer(DefaultBodyLimit::max(api.max_request_bytes)),
        )
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready));
    if api.graphiql {
        router = router
            .route("/", get(async || (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/graphiql")])))
            .merge(graphiql::routes());
    }
    let mut router = router
        .fallback(async || {
            graphql::refusal(StatusCode::NOT_FOUND, "NOT_FOUND", "There is nothing here; the API is at /graphql.")
        })
        .layer(CatchPanicLayer::custom(|_| {
            graphql::refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_SERVER_ERROR",
                crate::graphql::context::INTERNAL,
            )
        }));
    if !api.allowed_origins.is_empty() {
        let origins = api.allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
        router = router.layer(
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(origins))
                .allow_methods([Method::GET, Method::POST])
                .allow_headers([
                    ACCEPT,
                    AUTHORIZATION,
                    CONTENT_TYPE,
                    IDEMPOTENCY_KEY,
                    X_API_KEY,
                    X_ORGANIZATION_ID,
                    X_REQUEST_ID,
                ])
                .expose_headers([X_REQUEST_ID, RETRY_AFTER, rate_limit::RATE_LIMIT, rate_limit::RATE_LIMIT_POLICY])
                .max_age(Duration::from_hours(1)),
        );
    }
    router.layer(middleware::from_fn(observe)).with_state(Shared { app, schema })
}

/// How long a connection may do nothing, and how long what runs may go on when the service stops.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A connection is closed when it has not sent a whole request head for so long, also between two requests.
    pub silence: Duration,
    /// What runs when the service is told to stop may finish within this.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(30), drain: Duration::from_secs(20) }
    }
}

/// Serves until `stop` resolves, then stops accepting and lets what runs finish.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    patience: Patience,
) -> std::io::Result<()> {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(patience.silence);
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // One client that has gone again, or no more descriptors for a moment: neither ends the service.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(peer))));
        let connection = connections.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that leaves in the middle is no news.
            let _ = connection.await;
        });
    }
    drop(listener);
    if tokio::time::timeout(patience.drain, connections.shutdown()).await.is_err() {
        tracing::warn!(seconds = patience.drain.as_secs(), "requests that were still running were cut off");
    }
    Ok(())
}

/// What a request was about, as far as its handler found out. Never a document, a variable or a header.
#[derive(Clone, Default, Debug)]
struct Outcome {
    operation: String,
    caller: String,
    code: String,
    /// For the operator: why somebody was not let in.
    reason: &'static str,
}

/// The request's id, for handlers.
#[derive(Clone)]
struct RequestId(String);

/// Writes the log line, also for a request that its client abandons.
struct Line {
    started: Instant,
    method: Method,
    path: &'static str,
    statements: Arc<AtomicU32>,
    outcome: Outcome,
    status: u16,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Outcome { operation, caller, code, reason } = &self.outcome;
        let code = if code.is_empty() { "CANCELLED" } else { code };
        let milliseconds = self.started.elapsed().as_secs_f64() * 1000.0;
        let statements = self.statements.load(Ordering::Relaxed);
        tracing::info!(
            method = %self.method, path = self.path, status = self.status, operation, caller, code, reason, statements,
            milliseconds, "request"
        );
    }
}

/// Request id, log line, timeout, and the headers that every answer has.
async fn observe(mut request: Request, next: Next) -> Response {
    let request_id = request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| {
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        })
        .map_or_else(|| format!("req_{}", crate::id::request_suffix()), str::to_owned);
    let span = tracing::info_span!("request", id = %request_id);
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let statements = db::statement_counter();
    let known = ["/graphql", "/livez", "/readyz", "/graphiql", "/"];
    let mut line = Line {
        started: Instant::now(),
        method: request.method().clone(),
        path: known.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other"),
        statements: statements.clone(),
        outcome: Outcome::default(),
        status: 499,
    };
    let work = db::count_statements(statements, tokio::time::timeout(TIMEOUT, next.run(request)));
    async {
        let mut response = work.await.unwrap_or_else(|_| {
            let message = format!("The request took longer than {} seconds.", TIMEOUT.as_secs());
            graphql::refusal(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", &message)
        });
        line.status = response.status().as_u16();
        line.outcome = response.extensions_mut().remove::<Outcome>().unwrap_or_default();
        if line.outcome.code.is_empty() {
            line.outcome.code = response.status().as_u16().to_string();
        }
        let headers = response.headers_mut();
        headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers
            .entry(CONTENT_SECURITY_POLICY)
            .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        drop(line);
        response
    }
    .instrument(span)
    .await
}
