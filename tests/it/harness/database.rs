//! A private Postgres for the whole test run, with a template that has the tables, and databases cloned from it.
//!
//! Most tests share one database and make organizations of their own in it: row-level security keeps them apart, and they
//! test that it does. Tests of what is global get a clone for themselves.

use std::fs::File;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel_async::SimpleAsyncConnection as _;
use patchbay::db::Settings;
use patchbay::db::migration::{self, Direction};
use patchbay::dev::postgres::Cluster;

/// The login of the service. It owns nothing.
const SERVICE: &str = "patchbay_service";
const TEMPLATE: &str = "patchbay_template";

struct Server {
    owner: Settings,
    /// The server runs as long as this process: it is never stopped, and sees the process end.
    _cluster: Cluster,
    _lock: File,
}

/// Started by the first test that needs it.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("postgres");
    std::fs::create_dir_all(&directory).unwrap();
    let lock = File::create(directory.join("lock")).unwrap();
    // Another test run on the same directory: it will end.
    lock.lock().unwrap();
    // Nothing in here must survive a power cut.
    let cluster = Cluster::start(
        &directory,
        &["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200"],
    )
    .unwrap();
    let owner = cluster.owner();
    block_on({
        let owner = owner.clone();
        async move {
            let mut admin = owner.with_database("postgres").connect().await.unwrap();
            for leftover in leftovers(&mut admin).await {
                admin.batch_execute(&format!("DROP DATABASE \"{leftover}\" WITH (FORCE)")).await.unwrap();
            }
            let template = owner.with_database(TEMPLATE);
            migration::create_database(&template).await.unwrap();
            migration::migrate(&template, Direction::Up).await.unwrap();
            migration::create_service_login(&template, SERVICE).await.unwrap();
        }
    });
    Server { owner, _cluster: cluster, _lock: lock }
});

static SHARED: LazyLock<Database> = LazyLock::new(|| block_on(clone_template("shared")));

#[derive(diesel::QueryableByName)]
struct Name {
    #[diesel(sql_type = diesel::sql_types::Text)]
    datname: String,
}

/// Databases of earlier runs, which may be of other migrations.
async fn leftovers(admin: &mut diesel_async::AsyncPgConnection) -> Vec<String> {
    use diesel_async::RunQueryDsl as _;
    let names = diesel::sql_query(
        "SELECT datname::text FROM pg_database WHERE datname LIKE 'test\\_%' OR datname = 'patchbay_template'",
    );
    names.load::<Name>(admin).await.unwrap().into_iter().map(|row| row.datname).collect()
}

/// On a runtime of its own: each test has one too, and connections die with the runtime that opened them.
fn block_on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
    })
    .join()
    .unwrap()
}

/// A database with the tables, and the two logins to it.
#[derive(Clone)]
pub struct Database {
    pub name: String,
    /// Owns the tables; a superuser.
    pub owner: Settings,
    /// What the service uses.
    pub service: Settings,
}

async fn clone_template(name: &str) -> Database {
    let name = format!("test_{name}");
    let mut admin = SERVER.owner.with_database("postgres").connect().await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE \"{name}\" TEMPLATE {TEMPLATE}")).await.unwrap();
    let owner = SERVER.owner.with_database(&name);
    Database { service: owner.with_user(SERVICE), owner, name }
}

/// The server, as its superuser.
pub fn server() -> Settings {
    SERVER.owner.clone()
}

/// The database that tests share.
pub fn shared_database() -> Database {
    SHARED.clone()
}

/// A database for one test alone.
pub async fn fresh_database() -> Database {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    clone_template(&format!("own_{}", NEXT.fetch_add(1, Ordering::Relaxed))).await
}
