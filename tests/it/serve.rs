//! `patchbay serve`, and the commands around it: nothing is generated, everything that is missing is said.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use patchbay::auth::jwt::{Claims, sign};
use patchbay::clock::Clock;
use secrecy::SecretString;
use serde_json::json;

use crate::harness::process::{Service, gql, patchbay, run};
use crate::harness::{AUDIENCE, Database, ISSUER, JWT_SECRET, ROOT_KEY, TestApp, fresh_database, subject};

/// `DATABASE_URL` of a test's database.
pub fn url(database: &Database, user: &str) -> String {
    let described = database.owner.describe();
    let host = described.rsplit_once(" at ").unwrap().1;
    format!("host='{host}' user={user} dbname={}", database.name)
}

fn serve(database: &Database) -> Command {
    let mut command = patchbay(&["serve", "--port", "0"]);
    command.env("DATABASE_URL", url(database, "patchbay_service"));
    command
        .env("PATCHBAY_ROOT_KEY", ROOT_KEY)
        .env("PATCHBAY_JWT_ISSUER", ISSUER)
        .env("PATCHBAY_JWT_SECRET", JWT_SECRET);
    command
}

/// The address that a service in production says in its log.
pub fn address(log: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains("\"ready\""))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(format!("http://{}/graphql", line["address"].as_str()?))
}

#[test]
fn all_that_is_missing_is_listed_at_once() {
    let said = run(&mut patchbay(&["serve"]));
    assert_eq!(said.code, Some(2));
    assert!(said.out.is_empty());
    for name in [
        "DATABASE_URL (or DATABASE_URL_FILE)",
        "PATCHBAY_ROOT_KEY (or",
        "PATCHBAY_JWT_ISSUER",
        "PATCHBAY_JWT_SECRET (or",
    ] {
        assert!(said.err.contains(&format!("- {name}")), "{name}: {}", said.err);
    }
}

#[test]
fn all_that_is_wrong_is_listed_at_once_and_no_secret_with_it() {
    let home = tempfile::tempdir().unwrap();
    let open = home.path().join("open.key");
    std::fs::write(&open, ROOT_KEY).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = home.path().join("patchbay.toml");
    std::fs::write(&file, "jwt_secret = \"in-the-file-s3cret\"\nport = 99999\n").unwrap();
    let said = run(patchbay(&["serve", "--config", file.to_str().unwrap()])
        .env("DATABASE_URL", "mysql://user:pw-s3cret@host/db")
        .env("PATCHBAY_ROOT_KEY_FILE", &open)
        .env("PATCHBAY_JWT_ISSUER", "x")
        .env("PATCHBAY_JWT_SECRET", "short-s3cret")
        .env("PATCHBAY_GRAPHIQL", "maybe")
        .env("PATCHBAY_ALLOWED_ORIGINS", "https://a.example,https://b.example/path")
        .env("PATCHBAY_LOG_FORMAT", "xml")
        .env("PATCHBAY_DATABASE_CONNECTIONS", "0"));
    assert_eq!(said.code, Some(2));
    for part in [
        "jwt_secret is a secret; name a file with jwt_secret_file",
        "DATABASE_URL is not a Postgres URL",
        "everybody may read it (mode 0644)",
        "PATCHBAY_JWT_SECRET has fewer than 32 bytes",
        "PATCHBAY_GRAPHIQL is not true or false",
        "https://b.example/path is not an origin",
        "PATCHBAY_LOG_FORMAT is not json or text",
        "PATCHBAY_DATABASE_CONNECTIONS is not from 1 to 1000",
        "PATCHBAY_PORT is not a port",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(!said.err.contains("s3cret"), "{}", said.err);
    // A file that cannot be gone by is all that is said: what stands in it would be said to be missing.
    for (text, words) in [
        ("jwt_issuer = \"x\"\njwt_isuer = 1\nnothing = 1\n", &["no setting jwt_isuer", "no setting nothing"][..]),
        ("jwt_issuer = \"x\"\n= 1\n", &["is not TOML: line 2"]),
    ] {
        std::fs::write(&file, text).unwrap();
        for command in [&["serve"][..], &["migrate"], &["organization", "list"]] {
            let said = run(patchbay(command).args(["--config", file.to_str().unwrap()]));
            assert_eq!(said.code, Some(2), "{}", said.err);
            assert_eq!(said.err.matches("\n  - ").count(), words.len(), "{}", said.err);
            assert!(words.iter().all(|words| said.err.contains(words)), "{}", said.err);
        }
    }
    for weak in ["", "changeme", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        let said = run(patchbay(&["serve"]).env("PATCHBAY_ROOT_KEY", weak));
        assert!(said.code == Some(2) && said.err.contains("- PATCHBAY_ROOT_KEY"), "{weak}: {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_what_is_configured_and_nothing_more() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let user = acme.user(patchbay::auth::policy::Role::Owner).await;
    let home = tempfile::tempdir().unwrap();
    // Secrets from files, the rest from a settings file.
    let secret = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let settings = format!(
        "jwt_issuer = \"{ISSUER}\"\njwt_secret_file = \"{}\"\nroot_key_file = \"{}\"\ndatabase_url_file = \"{}\"\nport = 0\ndatabase_connections = 3\n",
        secret("jwt", JWT_SECRET),
        secret("root", ROOT_KEY),
        secret("url", &url(&database, "patchbay_service"))
    );
    let file = home.path().join("patchbay.toml");
    std::fs::write(&file, settings).unwrap();
    let log = home.path().join("log");
    let mut service =
        Service::start(patchbay(&["serve", "--config", file.to_str().unwrap()]), &log, || address(&log)).unwrap();

    let now = Clock::System.now();
    let claims = Claims::new(ISSUER, AUDIENCE, &subject(user), now, now + chrono::TimeDelta::hours(1));
    let token = format!("Bearer {}", sign(&claims, &SecretString::from(JWT_SECRET)).unwrap());
    let answer = gql(&service.url, ("authorization", &token), "query Who { viewer { role } }", json!({})).await;
    assert_eq!(answer["data"]["viewer"]["role"], "owner");
    let hidden = gql(&service.url, ("authorization", &token), "{ __schema { types { name } } }", json!({})).await;
    assert!(!hidden.to_string().contains("PersonalConnector"), "{hidden}");
    let base = service.url.trim_end_matches("/graphql").to_owned();
    for path in ["/graphiql", "/", "/graphiql/headers.json"] {
        assert_eq!(reqwest::get(format!("{base}{path}")).await.unwrap().status(), 404, "{path}");
    }
    assert_eq!(reqwest::get(format!("{base}/readyz")).await.unwrap().status(), 200);
    service.signal("TERM");
    assert_eq!(service.wait(), Some(0));
    // The log is JSON, a line for a request.
    let log = service.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["operation"] == "Who").unwrap();
    assert_eq!(
        (&line["code"], &line["caller"], &line["status"]),
        (&json!("OK"), &json!(user.to_string()), &json!(200))
    );
    assert!(line["statements"].as_u64() >= Some(1) && line["milliseconds"].is_number());
    // No demo data: nothing is there that was not put there.
    assert_eq!(app.organization("Acme").await.owner.names(json!(null)).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_ready_is_said_before_anybody_asks() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    app.organization("Acme").await;
    let other_key = run(&mut patchbay(&["key", "generate"])).out;
    let said = run(serve(&database).env("PATCHBAY_ROOT_KEY", other_key.trim()));
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("the database has organization keys under root key local:"), "{}", said.err);

    let said = run(serve(&database).env("DATABASE_URL", url(&database, "nobody_there")));
    assert!(said.code == Some(1) && said.err.contains("nobody_there"), "{}", said.err);

    // Without its tables.
    let down = run(patchbay(&["migrate", "--down"]).env("DATABASE_URL", url(&database, "patchbay")));
    assert_eq!(down.code, Some(0), "{}", down.err);
    let said = run(&mut serve(&database));
    assert!(said.code == Some(1) && said.err.contains("patchbay migrate"), "{}", said.err);
    app.sql("DROP TABLE __diesel_schema_migrations; REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    for mut command in [serve(&database), {
        let mut list = patchbay(&["organization", "list"]);
        list.env("DATABASE_URL", url(&database, "patchbay_service"));
        list
    }] {
        let said = run(&mut command);
        assert!(said.code == Some(1) && said.err.contains(": run `patchbay migrate`"), "{}", said.err);
    }
    let not_owner = run(patchbay(&["migrate"]).env("DATABASE_URL", url(&database, "patchbay_service")));
    assert!(not_owner.code == Some(1) && not_owner.err.contains("must own the tables"), "{}", not_owner.err);
    let up = run(patchbay(&["migrate"]).env("DATABASE_URL", url(&database, "patchbay")));
    assert_eq!(up.code, Some(0), "{}", up.err);
    let again = run(patchbay(&["migrate"]).env("DATABASE_URL", url(&database, "patchbay")));
    assert!(again.out.contains("0 migrations"), "{}", again.out);
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    Service::start(serve(&database), &log, || address(&log)).unwrap();
}

#[test]
fn keys_and_schema_are_printed_for_scripts() {
    let (first, second) = (run(&mut patchbay(&["key", "generate"])), run(&mut patchbay(&["key", "generate"])));
    assert_ne!(first.out, second.out);
    assert!(patchbay::vault::RootKey::parse(first.out.trim()).is_ok());
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("root.key");
    let written = run(&mut patchbay(&["key", "generate", "--out", path.to_str().unwrap()]));
    assert!(written.code == Some(0) && written.out.is_empty());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = run(&mut patchbay(&["key", "generate", "--out", path.to_str().unwrap()]));
    assert_eq!(again.code, Some(1), "a key is never written over another");
    assert!(patchbay::vault::RootKey::parse(&std::fs::read_to_string(&path).unwrap()).is_ok());

    let schema = run(&mut patchbay(&["schema"]));
    assert_eq!(schema.out.trim(), patchbay::graphql::print().trim());
    for command in ["dev", "serve", "migrate", "schema", "token", "key", "organization", "revoke"] {
        let help = run(&mut patchbay(&[command, "--help"]));
        assert!(help.code == Some(0) && help.out.len() > 100, "{command}: {}", help.out);
    }
}
