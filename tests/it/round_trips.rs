//! How often the service waits for the database. Counted on the wire, between the two, and not timed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use patchbay::auth::jwt::sign;
use patchbay::auth::policy::{Role, Scope};
use patchbay::db::Settings;
use secrecy::SecretString;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::harness::{JWT_SECRET, TestApp, github, shared_database, subject};

/// Counts how often the service has said something after the server had answered: its turns.
#[derive(Default)]
struct Turns {
    turns: AtomicU32,
    server_spoke: AtomicBool,
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, heard: impl Fn()) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        heard();
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Stands between the service and the server of `real`, in `folder`.
fn wiretap(real: PathBuf, folder: &Path) -> Arc<Turns> {
    let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
    let turns = Arc::<Turns>::default();
    let shared = turns.clone();
    tokio::spawn(async move {
        while let Ok((service, _)) = listener.accept().await {
            let (from_service, to_service) = service.into_split();
            let (from_server, to_server) = UnixStream::connect(&real).await.unwrap().into_split();
            let (of_service, of_server) = (shared.clone(), shared.clone());
            tokio::spawn(copy(from_service, to_server, move || {
                if of_service.server_spoke.swap(false, Ordering::SeqCst) {
                    of_service.turns.fetch_add(1, Ordering::SeqCst);
                }
            }));
            tokio::spawn(copy(from_server, to_service, move || of_server.server_spoke.store(true, Ordering::SeqCst)));
        }
    });
    turns
}

/// A request is two reads: who is calling, and what is asked. In each, BEGIN, scope and statement travel together, and
/// COMMIT is sent without waiting.
#[tokio::test]
async fn a_scoped_read_takes_one_round_trip() {
    let database = shared_database();
    let described = database.owner.describe();
    let real = Path::new(described.rsplit_once(" at ").unwrap().1).join(".s.PGSQL.5432");
    let folder = tempfile::tempdir().unwrap();
    let turns = wiretap(real, folder.path());
    let login = Settings::socket(folder.path(), "patchbay_service", &database.name);
    let app = TestApp::with_login(&login, &database.owner, TestApp::api());
    let acme = app.organization("Acme").await;
    let key = acme.api_key(&Scope::ALL).await;
    let id = key.create(github("one")).await["id"].clone();
    // A token with an id asks for more at the first of the two reads, in the same turn.
    let mut claims = acme.claims(&subject(acme.user(Role::Owner).await));
    claims.jti = Some("one".to_owned());
    let token = sign(&claims, &SecretString::from(JWT_SECRET)).unwrap();
    let person = app.anonymous().with("authorization", &format!("Bearer {token}"));
    for (caller, document, variables) in [
        (
            &person,
            "query($id: ID!) { personalConnectorConfiguration(id: $id) { id name configuration credentialsInfo { type } } }",
            json!({"id": id}),
        ),
        (
            &key,
            "query($id: ID!) { personalConnectorConfiguration(id: $id) { id name configuration credentialsInfo { type } } }",
            json!({"id": id}),
        ),
        // The page and its count are two statements, in one turn.
        (
            &key,
            "{ personalConnectorConfigurations(filter: {metadata: {null: true}}) { totalCount nodes { id name } } }",
            json!({}),
        ),
    ] {
        // Each connection of the pool must have prepared the statements.
        for _ in 0..20 {
            caller.gql(document, variables.clone()).await;
        }
        let before = turns.turns.load(Ordering::SeqCst);
        for _ in 0..10 {
            let answer = caller.gql(document, variables.clone()).await;
            assert!(answer.body["errors"].is_null(), "{}", answer.text);
        }
        let turns = turns.turns.load(Ordering::SeqCst) - before;
        // Two for a request: COMMIT travels with what comes next. With BEGIN sent ahead and waited for it would be four.
        assert!((20..=25).contains(&turns), "{turns} turns for 10 requests");
    }
}
