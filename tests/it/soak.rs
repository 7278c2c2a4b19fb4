//! What many do at once, what is cut off half-way, and what is killed under it. Each on a server of its own: thousands of
//! connections that come and go would keep the other tests from theirs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use patchbay::auth::policy::Role;
use patchbay::db::migration::{self, Direction};
use patchbay::dev::postgres::Cluster;
use serde_json::json;

use crate::harness::process::signal;
use crate::harness::{Client, Database, TestApp, github};
use crate::http::listen;
use crate::tenancy::lines;

/// Numbers without a pattern, the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A server for one test alone. It stops with it.
struct Private {
    database: Database,
    cluster: Cluster,
    home: tempfile::TempDir,
}

impl Private {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let cluster = Cluster::start(home.path(), &["synchronous_commit=off", "max_connections=200"]).unwrap();
        let owner = cluster.owner();
        migration::create_database(&owner).await.unwrap();
        migration::migrate(&owner, Direction::Up).await.unwrap();
        migration::create_service_login(&owner, "patchbay_service").await.unwrap();
        let database = Database { name: "patchbay".to_owned(), service: owner.with_user("patchbay_service"), owner };
        Self { database, cluster, home }
    }
}

/// No transaction is left open by the service, no lock is held.
async fn assert_at_rest(database: &Database) {
    let stuck = format!(
        "SELECT format('%s %s', state, query) AS line FROM pg_stat_activity
         WHERE datname = '{}' AND usename = 'patchbay_service' AND state <> 'idle'",
        database.name
    );
    let mut found = Vec::new();
    for _ in 0..400 {
        found = lines(database, &stuck).await;
        if found.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{found:?}");
}

/// Each write is there with its audit row, or neither is; and each chain holds.
async fn assert_whole(app: &TestApp, database: &Database) {
    let odd = lines(
        database,
        "SELECT format('%s without a row in the log', name) AS line FROM configurations c WHERE NOT EXISTS (
           SELECT FROM audit_log a WHERE a.organization_id = c.organization_id AND a.action = 'personal_connector_configuration.created'
             AND (a.changes::jsonb -> 2 ->> 'after') = c.name)
         UNION ALL
         SELECT format('%s entries for %s configurations', count(*), (SELECT count(*) FROM configurations)) FROM audit_log
         WHERE action = 'personal_connector_configuration.created' HAVING count(*) <> (SELECT count(*) FROM configurations)",
    )
    .await;
    assert_eq!(odd, Vec::<String>::new());
    let organizations = app.app.db.system_read(async |tx| patchbay::db::organization::list(tx).await).await.unwrap();
    for (organization, _) in organizations {
        let id = organization.id;
        let (head, rows) = app
            .app
            .db
            .system_read(async |tx| {
                let head =
                    patchbay::db::audit_log::head(tx, id).await?.unwrap_or_else(patchbay::db::audit_log::Head::empty);
                Ok((head, patchbay::db::audit_log::list_after(tx, id, 0, 100_000).await?))
            })
            .await
            .unwrap();
        let mut chain = patchbay::db::audit_log::Chain::begin(&head);
        for row in &rows {
            chain.follow(row);
        }
        assert_eq!(chain.end(&head), Vec::<String>::new());
    }
}

/// One request of a mixed load: names of one's own organization only, ever.
async fn one_request(client: &Client, name: &str, n: u64) -> Result<(), String> {
    let answer = match n % 4 {
        0 => client.try_create(github(&format!("{name} {n}"))).await,
        1 => client.gql("{ organization { name auditLog(first: 3) { nodes { targetId } } } }", json!({})).await,
        _ => {
            client
                .gql(
                    "{ organization { name } personalConnectorConfigurations(first: 20) { nodes { name } } }",
                    json!({}),
                )
                .await
        }
    };
    if let Some(found) = answer.body.pointer("/data/organization/name")
        && found != name
    {
        return Err(format!("{name} saw {found}"));
    }
    for node in answer
        .body
        .pointer("/data/personalConnectorConfigurations/nodes")
        .and_then(|nodes| nodes.as_array())
        .into_iter()
        .flatten()
    {
        if !node["name"].as_str().unwrap().starts_with(name) {
            return Err(format!("{name} saw {node}"));
        }
    }
    Ok(())
}

/// Drops `work` at a random moment: after some time, or at some point where it waits, of which there are more than there
/// are milliseconds. What it gave, if it was done before. One of ten is let run: whoever comes after those that were dropped
/// must see its own.
async fn cut_off<T>(random: &mut Random, work: impl Future<Output = T>) -> Option<T> {
    if random.below(10) == 0 {
        return Some(work.await);
    }
    let mut work = std::pin::pin!(work);
    if random.below(2) == 0 {
        return tokio::time::timeout(Duration::from_micros(random.below(6_000)), work).await.ok();
    }
    // Early ones are likelier: each that has a connection costs it.
    let most = 1 + random.below(24);
    let mut turns = random.below(most);
    std::future::poll_fn(|context| {
        if turns == 0 {
            return Poll::Ready(None);
        }
        turns -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// A request by a socket of its own, that is closed at a random moment. Whether that was before any of the answer came.
fn cut_off_socket(random: &mut Random, address: &str, authorization: &str, name: &str) -> bool {
    let body = if name.is_empty() {
        json!({"query": "{ organization { name } personalConnectorConfigurations(first: 20) { nodes { name } } }"})
    } else {
        json!({"query": "mutation($input: PersonalConnectorConfigurationCreateInput!) {
                 personalConnectorConfigurationCreate(input: $input) { userErrors { code } } }",
               "variables": {"input": github(name)}})
    }
    .to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    // Now and then in the middle of the request itself.
    let length =
        if random.below(8) == 0 { usize::try_from(random.below(request.len() as u64)).unwrap() } else { request.len() };
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(&request.as_bytes()[..length]).unwrap();
    std::thread::sleep(Duration::from_micros(random.below(40_000)));
    socket.set_nonblocking(true).unwrap();
    socket.read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// 10,000 requests of two organizations over one small pool that are dropped at a random moment, and 300 more whose
/// clients close their sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_cut_off_leave_nothing_behind() {
    let Private { database, cluster, home: _home } = Private::start().await;
    let app = TestApp::on(&database, TestApp::api());
    let (acme, globex) = (app.organization("Acme").await, app.organization("Globex").await);
    let (cut, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let workers: Vec<_> = (0..8_u64)
        .map(|worker| {
            let clients = [("Acme", acme.owner.clone()), ("Globex", globex.owner.clone())];
            let (cut, done) = (cut.clone(), done.clone());
            tokio::spawn(async move {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (worker + 1));
                let mut step = 0;
                while cut.load(Ordering::Relaxed) < 10_000 {
                    step += 1;
                    let (name, client) = &clients[usize::try_from(random.below(2)).unwrap()];
                    let request = one_request(client, name, worker * 100_000 + step);
                    match cut_off(&mut random, request).await {
                        Some(seen) => {
                            seen.unwrap();
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        None => drop(cut.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    assert!((500..5000).contains(&done), "{done} requests were not cut off");

    let address = listen(&app).await.trim_start_matches("http://").to_owned();
    let authorizations =
        [("Acme", acme.owner.header("authorization")), ("Globex", globex.owner.header("authorization"))]
            .map(|(name, authorization)| (name, authorization.to_owned()));
    let closed = Arc::new(AtomicU32::new(0));
    let closers: Vec<_> = (0..4_u64)
        .map(|worker| {
            let (address, authorizations, closed) = (address.clone(), authorizations.clone(), closed.clone());
            tokio::task::spawn_blocking(move || {
                let mut random = Random(0xbf58_476d_1ce4_e5b9 ^ (worker + 1));
                let mut step = 0;
                while closed.load(Ordering::Relaxed) < 300 {
                    step += 1;
                    let (name, authorization) = &authorizations[usize::try_from(random.below(2)).unwrap()];
                    let name =
                        if random.below(2) == 0 { String::new() } else { format!("{name} closed {worker} {step}") };
                    if cut_off_socket(&mut random, &address, authorization, &name) {
                        closed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for closer in closers {
        closer.await.unwrap();
    }

    assert_at_rest(&database).await;
    assert_whole(&app, &database).await;
    for _ in 0..20 {
        one_request(&acme.owner, "Acme", 2).await.unwrap();
        assert_eq!(globex.owner.gql("{ organization { name } }", json!({})).await.data("/organization/name"), "Globex");
    }
    cluster.stop();
}

/// Sends requests of both organizations, 1,000 or more, until `enough`.
async fn load(acme: &Client, globex: &Client, enough: &(impl Fn() -> bool + Clone + Send + Sync + 'static)) -> u64 {
    let workers: Vec<_> = (0..4_u64)
        .map(|worker| {
            let clients = [("Acme", acme.clone()), ("Globex", globex.clone())];
            let enough = enough.clone();
            tokio::spawn(async move {
                let mut random = Random(0xda94_2042_e4dd_58b5 ^ (worker + 1));
                let mut sent = 0;
                while sent < 250 || !enough() {
                    let (name, client) = &clients[usize::try_from(random.below(2)).unwrap()];
                    one_request(client, name, worker * 100_000 + sent).await.unwrap();
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    let mut sent = 0;
    for worker in workers {
        sent += worker.await.unwrap();
    }
    sent
}

/// The pool recovers by itself; nothing is stuck; a commit whose answer was lost has happened, whole, or has not.
async fn assert_recovered(app: &TestApp, database: &Database, acme: &Client, globex: &Client) {
    // A connection that was cut a moment ago is found out by the next one who uses it.
    for _ in 0..20 {
        if acme.gql("{ viewer { role } }", json!({})).await.code() != "SERVICE_UNAVAILABLE" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (name, client) in [("Acme", acme), ("Globex", globex)].into_iter().cycle().take(20) {
        assert_eq!(client.gql("{ organization { name } }", json!({})).await.data("/organization/name"), name);
    }
    assert_at_rest(database).await;
    assert_whole(app, database).await;
}

/// 1,000 requests while the connections are cut under them, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_with_the_connections_cut_under_them() {
    let Private { database, cluster, home: _home } = Private::start().await;
    let app = TestApp::on(&database, TestApp::api());
    let (acme, globex) = (app.organization("Acme").await.owner, app.organization("Globex").await.owner);
    let cuts = Arc::new(AtomicU32::new(0));
    let cutter = {
        let (cuts, name, owner) = (cuts.clone(), database.name.clone(), database.owner.clone());
        tokio::spawn(async move {
            let mut admin = owner.with_database("postgres").connect().await.unwrap();
            let cut = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND usename = 'patchbay_service'"
            );
            loop {
                admin.batch_execute(&cut).await.unwrap();
                cuts.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
        })
    };
    load(&acme, &globex, &move || cuts.load(Ordering::Relaxed) > 10).await;
    cutter.abort();
    assert!(cutter.await.is_err_and(|ended| ended.is_cancelled()));
    assert_recovered(&app, &database, &acme, &globex).await;
    cluster.stop();
}

/// More than 1,000 requests while the whole server is killed under them, three times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_with_the_server_killed_under_them() {
    let Private { database, cluster, home } = Private::start().await;
    let app = TestApp::on(&database, TestApp::api());
    let (acme, globex) = (app.organization("Acme").await.owner, app.organization("Globex").await.owner);
    let kills = Arc::new(AtomicU32::new(0));
    let killer = {
        let (kills, folder, owner) = (kills.clone(), home.path().to_owned(), database.owner.clone());
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let pid = std::fs::read_to_string(folder.join("postgres/data/postmaster.pid")).unwrap();
                signal(pid.lines().next().unwrap().parse().unwrap(), "KILL");
                // It is started again by whoever keeps it.
                tokio::time::sleep(Duration::from_millis(50)).await;
                while owner.connect().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                kills.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let sent = load(&acme, &globex, &move || kills.load(Ordering::Relaxed) == 3).await;
    assert!(sent >= 1000);
    killer.await.unwrap();
    assert_recovered(&app, &database, &acme, &globex).await;
    cluster.stop();
}

/// 50 writers on one configuration, each reading, adding and writing with `expectedVersion`: none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_writers_lose_no_update() {
    let Private { database, cluster, home: _home } = Private::start().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let mut input = github("counter");
    input["metadata"] = json!({"count": 0});
    let id = acme.owner.create(input).await["id"].clone();
    let admin = acme.person(Role::Admin).await;
    let writers: Vec<_> = (0..50)
        .map(|writer| {
            let (client, id) = (if writer % 2 == 0 { acme.owner.clone() } else { admin.clone() }, id.clone());
            tokio::spawn(async move {
                loop {
                    let row = client.find(&id).await;
                    let next = row["metadata"]["count"].as_i64().unwrap() + 1;
                    let change = json!({"metadata": {"count": next}});
                    let errors = client.update(&id, change, row["version"].as_i64()).await.user_errors();
                    if errors.is_empty() {
                        return;
                    }
                    assert_eq!(errors, ["VERSION_CONFLICT at expectedVersion"]);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let row = acme.owner.find(&id).await;
    assert_eq!((&row["metadata"]["count"], &row["version"]), (&json!(50), &json!(51)));
    assert_whole(&app, &database).await;
    cluster.stop();
}
