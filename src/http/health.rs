//! Is it alive, is it ready.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::Shared;
use crate::db;

/// Whether the process answers at all. Asks nothing of anybody.
pub(super) async fn live() -> &'static str {
    "ok"
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    database: &'static str,
    migrations: &'static str,
    keys: &'static str,
}

/// Whether requests would be served: the database answers, has this version's tables, and was sealed with our key.
pub(super) async fn ready(State(shared): State<Shared>) -> Response {
    let root_key = shared.app.vault.root_key_id();
    let asked = shared
        .app
        .db
        .system_read(async |tx| {
            let pending = db::migration::pending(tx).await?;
            let unknown = db::organization_key::find_unknown_root_key(tx, root_key).await?;
            Ok((pending, unknown))
        })
        .await;
    let readiness = match asked {
        Ok((pending, unknown)) => Readiness {
            ready: pending.is_empty() && unknown.is_none(),
            database: "ok",
            migrations: if pending.is_empty() { "ok" } else { "pending" },
            keys: if unknown.is_none() { "ok" } else { "missing" },
        },
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Readiness { ready: false, database: "unavailable", migrations: "unknown", keys: "unknown" }
        }
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}
