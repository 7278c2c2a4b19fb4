//! GraphiQL, from the binary itself: no request leaves the host, and a policy that would stop one.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use rust_embed::RustEmbed;
use secrecy::ExposeSecret as _;
use tower_http::compression::CompressionLayer;

use super::Shared;

/// What `build.rs` made of `ui/`.
#[derive(RustEmbed)]
#[folder = "$PATCHBAY_UI_DIR"]
struct Pages;

/// Inline styles because the editor sets them by hundreds; everything else from this origin, and nothing else at all.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; \
                      img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; \
                      frame-ancestors 'none'; form-action 'none'";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/graphiql", get(index))
        .route("/graphiql/", get(index))
        .route("/graphiql/headers.json", get(headers))
        .route("/graphiql/{*path}", get(page))
        .layer(CompressionLayer::new().gzip(true))
}

async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

async fn page(Path(path): Path<String>, headers: HeaderMap) -> Response {
    serve(&path, &headers)
}

fn serve(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = Pages::get(path) else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("\"{}\"", HEXLOWER.encode(&file.metadata.sha256_hash()[..16]));
    let mut response = if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_owned().into_response()
    };
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(CONTENT_TYPE, file.metadata.mimetype());
    set(CONTENT_SECURITY_POLICY, POLICY);
    // Names under assets/ have a hash of their content in them.
    set(CACHE_CONTROL, if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" });
    set(ETAG, &tag);
    response
}

/// The demo token, for the page in the browser of the developer who runs `patchbay dev`, and for nobody else: the
/// connection comes from this machine, and was made for a name of this machine (a hostile page that has its own name
/// resolve to 127.0.0.1 sends that name). No other origin can read the answer. In production there is no such token.
async fn headers(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let local = peer.ip().to_canonical().is_loopback() && matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    match &shared.app.api.demo_token {
        Some(token) if local => {
            let value = serde_json::json!({"authorization": format!("Bearer {}", token.expose_secret())});
            axum::Json(value).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
