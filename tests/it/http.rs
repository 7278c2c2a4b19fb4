//! GraphQL over HTTP: methods, media types, statuses, headers. And the audits of those who wrote the draft.

use std::process::Command;

use axum::http::Method;
use patchbay::config::Api;
use patchbay::http::Patience;
use serde_json::json;

use crate::harness::{TestApp, fresh_database, shared_database};

const QUERY: &str = r#"{"query": "{ viewer { role } }"}"#;

#[tokio::test]
async fn a_form_or_a_plain_text_cannot_carry_a_request() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
        "application/graphql",
        "json",
        "",
    ] {
        let answer = owner.with("content-type", content_type).send(Method::POST, "/graphql", QUERY).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (415, "UNSUPPORTED_MEDIA_TYPE"), "{content_type}");
    }
    assert_eq!(owner.send(Method::POST, "/graphql", QUERY).await.status, 415, "no content type");
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        assert_eq!(owner.with("content-type", content_type).send(Method::POST, "/graphql", QUERY).await.status, 200);
    }
}

#[tokio::test]
async fn the_answer_is_of_the_type_that_was_asked_for() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner.with("content-type", "application/json");
    let (json, response) = ("application/json; charset=utf-8", "application/graphql-response+json; charset=utf-8");
    for (accept, expected) in [
        ("", Some(json)),
        ("*/*", Some(json)),
        ("application/*", Some(json)),
        ("application/json", Some(json)),
        ("application/graphql-response+json", Some(response)),
        ("application/graphql-response+json, application/json;q=0.9", Some(response)),
        ("application/graphql-response+json;q=0.1, application/json", Some(json)),
        ("text/html, application/json;q=0.2", Some(json)),
        ("application/json;q=0", None),
        ("text/html", None),
        ("application/json; charset=latin1", None),
    ] {
        let client = if accept.is_empty() { owner.clone() } else { owner.with("accept", accept) };
        let answer = client.send(Method::POST, "/graphql", QUERY).await;
        assert_eq!(answer.status, if expected.is_some() { 200 } else { 406 }, "{accept}");
        assert_eq!(answer.headers["content-type"], expected.unwrap_or(json), "{accept}");
        if expected.is_some() {
            assert_eq!(answer.headers["vary"], "accept");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
    }
}

#[tokio::test]
async fn get_is_for_queries() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let get = async |query: &str| {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        owner.send(Method::GET, &format!("/graphql?query={query}"), "").await
    };
    assert_eq!(get("{ viewer { role } }").await.data("/viewer/role"), "owner");
    let mutation = get("mutation { apiKeyCreate(input: {name: \"x\", scopes: [members_read]}) { secret } }").await;
    assert_eq!((mutation.status.as_u16(), mutation.code()), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(mutation.headers["allow"], "POST");
    let keys = get("{ organization { apiKeys { totalCount } } }").await;
    assert_eq!(keys.data("/organization/apiKeys/totalCount"), 0);
    // Which of several operations is meant decides, wherever the mutation stands.
    let both: String = form_urlencoded::byte_serialize(
        b"query A { viewer { role } } mutation B { apiKeyRevoke(id: \"x\") { userErrors { code } } }",
    )
    .collect();
    let a = owner.send(Method::GET, &format!("/graphql?query={both}&operationName=A"), "").await;
    assert_eq!(a.data("/viewer/role"), "owner");
    let b = owner.send(Method::GET, &format!("/graphql?query={both}&operationName=B"), "").await;
    assert_eq!(b.status, 405);
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = owner.send(method, "/graphql", QUERY).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (405, "METHOD_NOT_ALLOWED"));
        assert_eq!(answer.headers["allow"], "GET, POST");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_read() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner.with("content-type", "application/json");
    let body = format!(
        "{{\"query\": \"{{ viewer {{ role }} }}\", \"variables\": {{\"x\": \"{}\"}}}}",
        "x".repeat(1024 * 1024)
    );
    let answer = owner.send(Method::POST, "/graphql", body).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (413, "PAYLOAD_TOO_LARGE"));
}

#[tokio::test]
async fn a_request_id_is_kept_when_it_is_one_and_made_when_not() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let answer = owner.with("x-request-id", "trace-1.2_3").gql("{ viewer { role } }", json!({})).await;
    assert_eq!(answer.headers["x-request-id"], "trace-1.2_3");
    assert_eq!(answer.body["extensions"]["requestId"], "trace-1.2_3");
    for bad in ["a b", "é", "<script>", &"x".repeat(65)] {
        let answer = owner.with("x-request-id", bad).gql("{ viewer { role } }", json!({})).await;
        assert!(answer.headers["x-request-id"].to_str().unwrap().starts_with("req_"), "{bad}");
    }
}

#[tokio::test]
async fn browsers_of_other_origins_are_let_in_only_when_listed() {
    let database = shared_database();
    let preflight = async |app: &TestApp, origin: &str| {
        let client = app.anonymous().with("origin", origin).with("access-control-request-method", "POST");
        client
            .with("access-control-request-headers", "authorization,content-type")
            .send(Method::OPTIONS, "/graphql", "")
            .await
    };
    let closed = TestApp::on(&database, TestApp::api());
    assert!(!preflight(&closed, "https://app.example.com").await.headers.contains_key("access-control-allow-origin"));
    let open =
        TestApp::on(&database, Api { allowed_origins: vec!["https://app.example.com".to_owned()], ..TestApp::api() });
    assert_eq!(
        preflight(&open, "https://app.example.com").await.headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    assert!(!preflight(&open, "https://evil.example.com").await.headers.contains_key("access-control-allow-origin"));
    // Tokens come in headers: no cookie is ever asked for.
    assert!(
        !preflight(&open, "https://app.example.com").await.headers.contains_key("access-control-allow-credentials")
    );
}

#[tokio::test]
async fn every_answer_has_its_guards_and_an_unknown_path_has_nothing() {
    let app = TestApp::new();
    for path in
        ["/livez", "/readyz", "/graphql", "/", "/graphiql", "/graphiql/headers.json", "/../etc/passwd", "/graphql/"]
    {
        let answer = app.anonymous().send(Method::GET, path, "").await;
        let expected = match path {
            "/livez" | "/readyz" => 200,
            "/graphql" => 401,
            _ => 404,
        };
        assert_eq!(answer.status, expected, "{path}");
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")]
        {
            assert_eq!(answer.headers[name], value, "{path}");
        }
        assert!(
            answer.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_service_without_its_tables_or_with_another_key_is_not_ready() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    app.organization("Acme").await;
    assert_eq!(app.anonymous().send(Method::GET, "/readyz", "").await.body["ready"], true);
    app.sql("UPDATE organization_keys SET root_key_id = 'local:another'").await;
    let answer = app.anonymous().send(Method::GET, "/readyz", "").await;
    assert_eq!((answer.status.as_u16(), &answer.body["keys"]), (503, &json!("missing")));
    app.sql("UPDATE organization_keys SET root_key_id = 'local:another'; DELETE FROM __diesel_schema_migrations WHERE version = (SELECT max(version) FROM __diesel_schema_migrations)").await;
    let answer = app.anonymous().send(Method::GET, "/readyz", "").await;
    assert_eq!((answer.status.as_u16(), &answer.body["migrations"]), (503, &json!("pending")));
}

/// Whether a program is here. Where it is not, its tests prove nothing and say so; in CI they fail.
pub fn is_here(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting of the service")]
        let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty());
        assert!(!ci, "there is no {program} on this machine");
        eprintln!("SKIPPED: there is no {program} on this machine");
    }
    found
}

/// Whether a program of Node's is here.
pub fn node_is_here() -> bool {
    is_here("npm", &["--version"])
}

/// The folder with the packages of `tests/node`, and `script` beside them.
pub fn node_packages(script: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
    // The packages are kept beside the build products; two tests do not install them at once.
    let packages = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    std::fs::create_dir_all(&packages).unwrap();
    let lock = std::fs::File::create(packages.join("lock")).unwrap();
    lock.lock().unwrap();
    let wanted = std::fs::read(folder.join("package-lock.json")).unwrap();
    if std::fs::read(packages.join("installed")).ok().as_ref() != Some(&wanted) {
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(folder.join(file), packages.join(file)).unwrap();
        }
        let installed = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--silent"])
            .current_dir(&packages)
            .output()
            .unwrap();
        assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
        std::fs::write(packages.join("installed"), wanted).unwrap();
    }
    std::fs::copy(folder.join(script), packages.join(script)).unwrap();
    drop(lock);
    packages
}

/// Runs a script of `tests/node`, with its packages, and gives what it printed.
pub fn run_node(script: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let packages = node_packages(script);
    let output = Command::new("node").arg(packages.join(script)).envs(environment.iter().copied()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// The service on a real port, for clients that are programs. It ends with the test.
pub async fn listen(app: &TestApp) -> String {
    listen_with(app, Patience::default()).await
}

async fn listen_with(app: &TestApp, patience: Patience) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = patchbay::http::serve(listener, app.router.clone(), std::future::pending(), patience);
    tokio::spawn(serving);
    format!("http://{address}")
}

/// A connection that says nothing, or never ends its head, is closed; one that calls now and then is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_keeps_silent_is_closed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let app = TestApp::new();
    let patience = Patience { silence: std::time::Duration::from_millis(300), ..Patience::default() };
    let url = listen_with(&app, patience).await;
    let address = url.trim_start_matches("http://");
    for head in ["", "GET /livez HTTP/1.1\r\nhost: x\r\n"] {
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(std::time::Duration::from_secs(20), connection.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{head:?}");
    }
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        connection.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 1024];
        let length = connection.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    }
}

/// 61 of 61: 13 MUST, 23 SHOULD, 25 MAY.
#[tokio::test(flavor = "multi_thread")]
async fn every_audit_of_graphql_http_passes() {
    if !node_is_here() {
        return;
    }
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let url = format!("{}/graphql", listen(&app).await);
    let authorization = owner.header("authorization").to_owned();
    let (passed, text) = tokio::task::spawn_blocking(move || {
        run_node("audit.mjs", &[("URL_UNDER_TEST", &url), ("AUTHORIZATION", &authorization)])
    })
    .await
    .unwrap();
    assert!(passed, "{text}");
    assert!(text.contains("61 of 61"), "{text}");
}
