//! `patchbay dev`: from nothing to a service that answers, and back.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::process::{Service, dev_env, gql, is_running, patchbay, run, signal};
use crate::harness::{TestApp, fresh_database};
use crate::serve::url;
use crate::tenancy::lines;

const LIST: &str = "{ viewer { role } personalConnectorConfigurations(orderBy: {field: NAME}) { nodes { name personalConnectorId healthStatus lastError metadata apiKeyId } } }";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Process id of the private Postgres; 0 while there is none.
fn postmaster(data_dir: &Path) -> u32 {
    let location = std::fs::read_to_string(data_dir.join("postgres.location"));
    let folder = location.map_or_else(|_| data_dir.join("postgres"), |text| text.trim().into());
    let pid = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
    pid.lines().next().and_then(|line| line.parse().ok()).unwrap_or(0)
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory that the account of the private Postgres can reach: `tempfile` makes it for us alone.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_makes_everything_and_the_next_one_finds_it() {
    let home = directory();
    let data_dir = home.path().join("data");
    let mut service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    let env = dev_env(&data_dir);
    let names: Vec<_> = env.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "PATCHBAY_API_KEY",
            "PATCHBAY_API_KEY_2",
            "PATCHBAY_GRAPHIQL",
            "PATCHBAY_ORGANIZATION_ID",
            "PATCHBAY_ORGANIZATION_ID_2",
            "PATCHBAY_TOKEN",
            "PATCHBAY_TOKEN_2",
            "PATCHBAY_URL"
        ]
    );
    for secret in ["root.key", "jwt.key", "dev.env"] {
        let mode = std::fs::metadata(data_dir.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let printed = service.log();
    for name in ["PATCHBAY_TOKEN", "PATCHBAY_API_KEY", "PATCHBAY_GRAPHIQL", "PATCHBAY_URL", "PATCHBAY_ORGANIZATION_ID"]
    {
        assert!(printed.contains(&env[name]), "{name} is printed: {printed}");
    }

    // The examples of the reference page, in the first organization and not in the second.
    let token = bearer(&env["PATCHBAY_TOKEN"]);
    let first = gql(&service.url, ("authorization", &token), LIST, json!({})).await;
    assert_eq!(first["data"]["viewer"]["role"], "owner");
    let nodes = first["data"]["personalConnectorConfigurations"]["nodes"].as_array().unwrap();
    let of = |connector: &str| nodes.iter().find(|node| node["personalConnectorId"] == connector).unwrap();
    assert_eq!(nodes.len(), 5);
    assert_eq!(of("pcon_github")["metadata"], json!({"environment": "production"}));
    assert_eq!(of("pcon_clickup")["healthStatus"], "healthy");
    assert_eq!(of("pcon_jira")["healthStatus"], "unhealthy");
    assert_eq!(of("pcon_jira")["lastError"], "Authentication failed: Invalid API token");
    assert_eq!(of("pcon_teams")["name"], "Platform Channel");
    let second = gql(&service.url, ("authorization", &bearer(&env["PATCHBAY_TOKEN_2"])), LIST, json!({})).await;
    assert_eq!(second["data"]["personalConnectorConfigurations"]["nodes"], json!([]));
    // A script finds something of its own, by metadata.
    let found = gql(
        &service.url,
        ("x-api-key", &env["PATCHBAY_API_KEY"]),
        "{ personalConnectorConfigurations(filter: {metadata: {contains: {environment: \"production\"}}}) { nodes { name } } }",
        json!({}),
    )
    .await;
    assert_eq!(
        found["data"]["personalConnectorConfigurations"]["nodes"],
        json!([{"name": of("pcon_custom_mcp")["name"]}])
    );

    // One line for a request, with what operators need and nothing of what was asked.
    let log = service.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("path=\"/graphql\"")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    for part in ["operation=", "caller=\"user_", "code=\"OK\"", "statements=", "milliseconds=", "id=req_"] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert!(!log.contains("personalConnectorConfigurations") && !log.contains("environment"), "{log}");

    // A second service on the same directory, and another on the same port.
    let other = run(&mut patchbay(&["--port", "0", "--data-dir", data_dir.to_str().unwrap()]));
    assert_eq!(other.code, Some(1));
    assert!(other.err.contains(&format!("another Patchbay (process {})", service.child.id())), "{}", other.err);
    let port = service.url.rsplit(':').next().unwrap().split('/').next().unwrap();
    let busy_dir = home.path().join("busy");
    let busy = run(&mut patchbay(&["dev", "--port", port, "--data-dir", busy_dir.to_str().unwrap()]));
    assert_eq!(busy.code, Some(1));
    assert!(busy.err.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", busy.err);

    // Tokens of every kind, from the same directory, while the service runs.
    let mint = |arguments: &[&str]| {
        let said = run(patchbay(&["token", "--data-dir", data_dir.to_str().unwrap()]).args(arguments));
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.out.trim().to_owned()
    };
    let role = async |token: &str| {
        gql(&service.url, ("authorization", &bearer(token)), "{ viewer { role organization { id } } }", json!({})).await
    };
    assert_eq!(role(&mint(&[])).await["data"]["viewer"]["role"], "owner");
    for name in ["admin", "member", "viewer"] {
        let minted = mint(&[
            "--user",
            "new@example.com",
            "--organization",
            &env["PATCHBAY_ORGANIZATION_ID_2"],
            "--role",
            name,
            "--expires-in",
            "5m",
        ]);
        let answer = role(&minted).await;
        assert_eq!(
            answer["data"]["viewer"],
            json!({"role": name, "organization": {"id": env["PATCHBAY_ORGANIZATION_ID_2"]}})
        );
    }
    let document = "{ organization { auditLog(first: 3) { nodes { action } } } }";
    let log = gql(&service.url, ("authorization", &bearer(&env["PATCHBAY_TOKEN_2"])), document, json!({})).await;
    assert_eq!(
        log["data"]["organization"]["auditLog"]["nodes"],
        json!([{"action": "member.role_changed"}, {"action": "member.role_changed"}, {"action": "member.added"}])
    );
    assert_eq!(role(&mint(&["--expires-in", "-1m"])).await["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    for arguments in
        [["--organization", "nowhere"], ["--expires-in", "25h"], ["--expires-in", "soon"], ["--role", "king"]]
    {
        let said = run(patchbay(&["token", "--data-dir", data_dir.to_str().unwrap()]).args(arguments));
        assert!(said.code != Some(0) && said.out.is_empty(), "{arguments:?}");
    }

    // Told to end, it ends, and its Postgres with it.
    let postgres = postmaster(&data_dir);
    service.signal("TERM");
    assert_eq!(service.wait(), Some(0), "{}", service.log());
    assert!(!is_running(postgres));

    // The next start finds everything again, keeps the keys, and renews a token that has expired.
    let minted = mint(&["--expires-in", "-1h"]);
    let text = std::fs::read_to_string(data_dir.join("dev.env")).unwrap();
    std::fs::write(data_dir.join("dev.env"), text.replace(&env["PATCHBAY_TOKEN"], &minted)).unwrap();
    let service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    let again = dev_env(&data_dir);
    for kept in [
        "PATCHBAY_API_KEY",
        "PATCHBAY_API_KEY_2",
        "PATCHBAY_ORGANIZATION_ID",
        "PATCHBAY_ORGANIZATION_ID_2",
        "PATCHBAY_TOKEN_2",
    ] {
        assert_eq!(again[kept], env[kept], "{kept}");
    }
    assert_ne!(again["PATCHBAY_TOKEN"], minted);
    let after = gql(&service.url, ("authorization", &bearer(&again["PATCHBAY_TOKEN"])), LIST, json!({})).await;
    assert_eq!(after["data"], first["data"]);
}

/// The key of a demo, and the address of a real database in the environment, make nobody a member.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_a_development_database_only() {
    let database = fresh_database().await;
    let acme = TestApp::on(&database, TestApp::api()).organization("Acme").await.id.to_string();
    let home = directory();
    let key = home.path().join("jwt.key");
    std::fs::write(&key, "k".repeat(44)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = run(patchbay(&["token", "--organization", &acme, "--data-dir"])
        .arg(home.path())
        .env("DATABASE_URL", url(&database, "patchbay_service")));
    assert!(said.code == Some(1) && said.out.is_empty(), "{}", said.err);
    assert!(said.err.contains("is not of a development service"), "{}", said.err);
    let made = lines(&database, "SELECT subject AS line FROM identities WHERE issuer = 'patchbay-dev'").await;
    assert_eq!(made, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_recovers_when_it_or_its_postgres_is_killed() {
    let home = directory();
    let data_dir = home.path().join("data");
    let mut service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    let env = dev_env(&data_dir);
    let key = env["PATCHBAY_API_KEY"].clone();
    let url = service.url.clone();
    let create = async |url: &str, name: &str| {
        let answer = gql(
            url,
            ("x-api-key", &key),
            "mutation($input: PersonalConnectorConfigurationCreateInput!) { personalConnectorConfigurationCreate(input: $input) { personalConnectorConfiguration { id } userErrors { code } } }",
            json!({"input": crate::harness::github(name)}),
        )
        .await;
        answer["data"]["personalConnectorConfigurationCreate"]["personalConnectorConfiguration"]["id"].is_string()
    };
    assert!(create(&url, "before").await);

    // The server is killed: the service starts it again by itself, and nothing that was committed is lost.
    let postgres = postmaster(&data_dir);
    signal(postgres, "KILL");
    eventually("Postgres is started again", || {
        ![0, postgres].contains(&postmaster(&data_dir)) && service.log().contains("has recovered")
    });
    let began = Instant::now();
    let mut n = 0;
    while !create(&url, &format!("after {n}")).await {
        n += 1;
        assert!(began.elapsed() < Duration::from_secs(20), "{}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The service is killed: its server goes too, and the next start is as any other.
    let postgres = postmaster(&data_dir);
    service.signal("KILL");
    service.wait();
    let service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    assert!(!is_running(postgres));
    let names = gql(&service.url, ("x-api-key", &key), LIST, json!({})).await;
    let names: Vec<_> = names["data"]["personalConnectorConfigurations"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["name"].clone())
        .collect();
    assert!(names.contains(&json!("before")) && names.contains(&json!(format!("after {n}"))), "{names:?}");

    // Data of another major version, for which there are no binaries.
    drop(service);
    let location = std::fs::read_to_string(data_dir.join("postgres.location"));
    let folder = location.map_or_else(|_| data_dir.join("postgres"), |text| text.trim().into());
    eventually("Postgres is gone", || !folder.join("data/postmaster.pid").exists());
    std::fs::write(folder.join("data/PG_VERSION"), "11\n").unwrap();
    let said = run(&mut patchbay(&["--port", "0", "--data-dir", data_dir.to_str().unwrap()]));
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("were made by PostgreSQL 11, and there are no binaries of that version here"),
        "{}",
        said.err
    );
}

/// A request that runs when the service is told to end is answered.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_finished_before_it_ends() {
    let home = directory();
    let data_dir = home.path().join("data");
    let mut service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    let key = dev_env(&data_dir)["PATCHBAY_API_KEY"].clone();
    // A lock holds the request up for as long as this connection has it.
    let cluster = patchbay::dev::postgres::Cluster::running(&data_dir).unwrap();
    let mut holder = cluster.connect().await.unwrap();
    {
        use diesel_async::SimpleAsyncConnection as _;
        holder.batch_execute("BEGIN; LOCK TABLE configurations").await.unwrap();
    }
    let url = service.url.clone();
    let waiting = tokio::spawn(async move { gql(&url, ("x-api-key", &key), LIST, json!({})).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    service.signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(service.child.try_wait().unwrap().is_none(), "it waits: {}", service.log());
    assert!(reqwest::get(&service.url).await.is_err(), "it accepts nobody");
    drop(holder);
    let answer: Value = waiting.await.unwrap();
    assert!(answer["data"]["personalConnectorConfigurations"]["nodes"].is_array(), "{answer}");
    assert_eq!(service.wait(), Some(0), "{}", service.log());
}

/// As root from below a home that others cannot enter, and from a path that is too long for a socket.
#[tokio::test(flavor = "multi_thread")]
async fn it_starts_in_awkward_places() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let data_dir = home.path().join("x".repeat(120)).join("it's a \"data\" directory");
    let service = Service::dev(&data_dir).unwrap_or_else(|said| panic!("{said}"));
    let key = dev_env(&data_dir)["PATCHBAY_API_KEY"].clone();
    let answer = gql(&service.url, ("x-api-key", &key), "{ viewer { organization { name } } }", json!({})).await;
    assert_eq!(answer["data"]["viewer"]["organization"]["name"], "Acme");
    let minted = run(&mut patchbay(&["token", "--data-dir", data_dir.to_str().unwrap()]));
    assert_eq!(minted.code, Some(0), "{}", minted.err);
    drop(service);
    // Outside the directory lies only what had to.
    for pointer in ["postgres.location", "postgres/sockets.location"] {
        if let Ok(location) = std::fs::read_to_string(data_dir.join(pointer)) {
            let place = Path::new(location.trim());
            eventually("Postgres is gone", || {
                !place.join("data/postmaster.pid").exists() && !place.join(".s.PGSQL.5432").exists()
            });
            std::fs::remove_dir_all(place).unwrap();
        }
    }
}

/// As somebody who is not root.
#[tokio::test(flavor = "multi_thread")]
async fn it_starts_as_an_ordinary_user() {
    let home = directory();
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(home.path()).unwrap());
    if owner != 0 {
        eprintln!("SKIPPED: the tests run as an ordinary user already");
        return;
    }
    // initdb wants a user who has a name.
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let nobody = accounts.lines().find(|line| line.starts_with("nobody:")).unwrap();
    let fields: Vec<_> = nobody.split(':').collect();
    let (uid, gid): (u32, u32) = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
    let theirs = home.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(uid), Some(gid)).unwrap();
    let binary = theirs.join("patchbay");
    std::fs::copy(env!("CARGO_BIN_EXE_patchbay"), &binary).unwrap();
    let data_dir = theirs.join("data");
    let mut command = std::process::Command::new(&binary);
    command.args(["--port", "0", "--data-dir", data_dir.to_str().unwrap()]).current_dir(&theirs).uid(uid).gid(gid);
    command.env_remove("DATABASE_URL").env("HOME", &theirs);
    let service = Service::start(command, &home.path().join("log"), || dev_env(&data_dir).remove("PATCHBAY_URL"))
        .unwrap_or_else(|said| panic!("{said}"));
    let key = dev_env(&data_dir)["PATCHBAY_API_KEY"].clone();
    let answer = gql(&service.url, ("x-api-key", &key), "{ viewer { organization { name } } }", json!({})).await;
    assert_eq!(answer["data"]["viewer"]["organization"]["name"], "Acme");
    let inside = std::fs::metadata(data_dir.join("postgres/data")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&inside), uid);
}
