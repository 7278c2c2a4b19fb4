//! The command line.

mod command;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use command::audit::AuditCommand;
use patchbay::app::App;
use patchbay::auth::jwt::Verifier;
use patchbay::auth::policy::Role;
use patchbay::clock::Clock;
use patchbay::config::{self, Config, Log, Problems, Source};
use patchbay::db::migration::{self, Direction};
use patchbay::db::{self, Db};
use patchbay::vault::{RootKey, Vault};
use patchbay::{dev, graphql, http};
use secrecy::ExposeSecret as _;
use tracing_subscriber::EnvFilter;

/// Connect an account once; every frontend, script and assistant of the organization can use it.
///
/// Without a command this is `patchbay dev`: a complete service with a private Postgres, generated keys and demo data.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: DevArguments,
}

#[derive(Subcommand)]
enum Command {
    /// Run a complete service for development: private Postgres, keys, demo data, GraphiQL. The default
    ///
    /// The database is the one that DATABASE_URL names; else a private Postgres, from binaries on this machine (PG_BIN,
    /// PATH, the usual folders) or brought by npm. Everything it makes is in the data directory. It prints a token and an
    /// API key, and writes them to DATA_DIR/dev.env for scripts.
    Dev(DevArguments),
    /// Run the service in production
    ///
    /// Nothing is generated: database, root key and issuer must be configured. All that is missing is listed at once, and
    /// the exit status is 2. The database must have been migrated (`patchbay migrate`).
    #[command(after_help = config::help())]
    Serve(ServeArguments),
    /// Bring the database of DATABASE_URL to this version's tables
    ///
    /// Needs a login that owns the tables and may create roles; the service itself needs neither. Safe to run twice, and
    /// from several places at once.
    Migrate(MigrateArguments),
    /// Print the GraphQL schema
    ///
    /// In the schema definition language, as schema.graphql has it: for code generators, and to compare versions.
    Schema,
    /// Mint a token for the development service
    ///
    /// Prints the token and nothing else to standard output. The person and the membership are made if they are not there:
    /// in the database of DATABASE_URL, else in that of the data directory, and only where `patchbay dev` has run.
    Token(TokenArguments),
    /// Make, list, link and delete organizations
    ///
    /// In the database of DATABASE_URL, with PATCHBAY_ROOT_KEY where a key is needed; without DATABASE_URL in that of the
    /// development service.
    Organization(command::organization::OrganizationArguments),
    /// End tokens before their time
    ///
    /// Holds at once, on every instance of the service: each request asks.
    Revoke(command::revoke::RevokeArguments),
    /// Make and look at encryption keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Prove, export and prune the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Args)]
struct Address {
    /// Port to listen on; 0 takes any free one [default: PATCHBAY_PORT, or 8080]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Address to listen on [default: PATCHBAY_LISTEN, or 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
}

#[derive(Args)]
struct DevArguments {
    #[command(flatten)]
    address: Address,
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = ".patchbay")]
    data_dir: PathBuf,
}

#[derive(Args)]
struct ServeArguments {
    #[command(flatten)]
    address: Address,
    /// Settings file, in TOML [default: PATCHBAY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct MigrateArguments {
    /// Take every migration back instead. All data are lost
    #[arg(long)]
    down: bool,
    /// Settings file, in TOML [default: PATCHBAY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct TokenArguments {
    /// Id, e-mail address or name of a person [default: the owner]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Id or slug of an organization [default: the first one, acme]
    #[arg(long, value_name = "ORGANIZATION")]
    organization: Option<String>,
    /// Gives the person this role in it: owner, admin, member or viewer [default: the one there is, or member]
    #[arg(long, value_name = "ROLE", value_parser = parse_role)]
    role: Option<Role>,
    /// How long it works: 90s, 15m, 2h, 1d (at most)
    #[arg(long, value_name = "DURATION", default_value = "1h", allow_hyphen_values = true, value_parser = dev::token::parse_duration)]
    expires_in: chrono::TimeDelta,
    /// Data directory of the service
    #[arg(long, value_name = "DIR", default_value = ".patchbay")]
    data_dir: PathBuf,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a root key: 32 random bytes, base64
    ///
    /// It wraps every organization's key. Keep it in a secret store, and a copy apart from the database's backups: without
    /// it no credential can be opened again, by nobody.
    Generate {
        /// Write it to a new file that only you may read, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "not owner, admin, member or viewer".to_owned())
}

fn main() -> ExitCode {
    hide_panics();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::from(error)),
    };
    let result = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Dev(cli.dev)) {
            Command::Dev(arguments) => run_dev(arguments).await,
            Command::Serve(arguments) => run_serve(arguments).await,
            Command::Migrate(arguments) => run_migrate(arguments).await,
            Command::Schema => Ok(print(&graphql::print())?),
            Command::Token(arguments) => run_token(arguments).await,
            Command::Organization(arguments) => {
                start_log(&Log { filter: "warn".to_owned(), json: false });
                command::organization::run(arguments).await
            }
            Command::Revoke(arguments) => {
                start_log(&Log { filter: "warn".to_owned(), json: false });
                command::revoke::run(arguments).await
            }
            Command::Key(KeyCommand::Generate { out }) => run_key_generate(out),
            Command::Audit(command) => run_audit(command).await,
        }
    });
    // What is still running was given its time; nothing is waited for twice.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// The reason to standard error, in words. 2 for settings, 1 for the rest.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("patchbay: {error:#}");
    ExitCode::from(if error.is::<Problems>() { 2 } else { 1 })
}

/// To standard output. A reader that has gone is no failure.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A panic's message may hold what the code was working on: only the place is written.
fn hide_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
        if !tracing::event_enabled!(tracing::Level::ERROR) {
            eprintln!("patchbay: panic at {place}");
        }
    }));
}

fn start_log(log: &Log) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // The driver's debug lines hold every value that is bound to a statement: whatever is configured, they stay out.
    let filter = "tokio_postgres=info".parse().into_iter().fold(filter, EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if log.json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}

async fn run_dev(arguments: DevArguments) -> Result<()> {
    let mut source = Source::process(None);
    start_log(&source.log(false));
    let address = source.address(arguments.address.listen, arguments.address.port);
    let stop = stop_signal()?;
    let prepared = dev::prepare(&arguments.data_dir, address, source).await?;
    let welcome = prepared.welcome.clone();
    let (app, listener, rest) = prepared.into_parts();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    print(&welcome)?;
    let served = serve(app, listener, stop).await;
    rest.stop();
    served
}

async fn run_serve(arguments: ServeArguments) -> Result<()> {
    let source = Source::process(arguments.config.as_deref());
    let Config { database, connections, root_key, issuers, address, api, log } =
        source.serve(arguments.address.listen, arguments.address.port)?;
    start_log(&log);
    let unknown = config::unknown_variables();
    if !unknown.is_empty() {
        tracing::warn!(variables = unknown.join(", "), "the environment has settings that there are not");
    }
    for issuer in &issuers {
        issuer.log();
    }
    if database.is_readable_on_the_way() {
        tracing::warn!(
            database = database.describe(),
            "the connection to the database is not encrypted; add sslmode=require"
        );
    }
    let stop = stop_signal()?;
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let db = Db::new(&database, connections);
    let vault = Vault::new(root_key);
    check_database(&db, &vault, &database).await?;
    let now = Clock::System.now();
    db.system_write(async |tx| db::revocation::delete_expired(tx, now).await).await?;
    let app = App::new(db, vault, Verifier::new(issuers), Clock::System, api);
    app.authenticator.warm();
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "ready");
    serve(app, listener, stop).await
}

/// What would fail at the first request is better said at the start.
async fn check_database(db: &Db, vault: &Vault, settings: &db::Settings) -> Result<()> {
    // Alone first: a plain connection says why it is refused, and whether there are tables at all.
    drop(settings.connect().await.with_context(|| format!("cannot connect to {}", settings.describe()))?);
    let root_key = vault.root_key_id();
    let (pending, unknown) = db
        .system_read(async |tx| {
            let pending = db::migration::pending(tx).await?;
            let unknown = if pending.is_empty() {
                db::organization_key::find_unknown_root_key(tx, root_key).await?
            } else {
                None
            };
            Ok((pending, unknown))
        })
        .await
        .with_context(|| {
            format!("{} is not ready: has `patchbay migrate` run, and is the login a member of patchbay_app and patchbay_system?", settings.describe())
        })?;
    anyhow::ensure!(
        pending.is_empty(),
        "{} lacks migrations {}: run `patchbay migrate`",
        settings.describe(),
        pending.join(", ")
    );
    if let Some(theirs) = unknown {
        anyhow::bail!(
            "the database has organization keys under root key {theirs}, and PATCHBAY_ROOT_KEY is {root_key}"
        );
    }
    Ok(())
}

async fn serve(
    app: App,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let app = Arc::new(app);
    let schema = graphql::schema(app.clone());
    http::serve(listener, http::router(app, schema), stop, http::Patience::default()).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Resolves when the process is asked to end. Listens from now on, so that no signal is lost while it starts.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections; what runs may finish");
    })
}

async fn run_migrate(arguments: MigrateArguments) -> Result<()> {
    let mut source = Source::process(arguments.config.as_deref());
    start_log(&Log { filter: "warn".to_owned(), json: false });
    let database = source.database();
    source.finish()?;
    let database = database.context("DATABASE_URL is missing")?;
    let direction = if arguments.down { Direction::Down } else { Direction::Up };
    let done = migration::migrate(&database, direction).await?;
    let what = if arguments.down { "taken back" } else { "run" };
    for version in &done {
        print(&format!("{what}: {version}"))?;
    }
    print(&format!("{}: {} {what}", database.describe(), command::counted(done.len(), "migration", "migrations")))?;
    Ok(())
}

async fn run_token(arguments: TokenArguments) -> Result<()> {
    start_log(&Log { filter: "warn".to_owned(), json: false });
    let wanted = dev::token::Wanted {
        user: arguments.user.as_deref(),
        organization: arguments.organization.as_deref(),
        role: arguments.role,
        expires_in: arguments.expires_in,
    };
    let token = dev::token::mint(&arguments.data_dir, &wanted, Source::process(None)).await?;
    print(token.expose_secret())?;
    Ok(())
}

async fn run_audit(command: AuditCommand) -> Result<()> {
    start_log(&Log { filter: "warn".to_owned(), json: false });
    command::audit::run(command).await
}

fn run_key_generate(out: Option<PathBuf>) -> Result<()> {
    let key = RootKey::generate();
    match out {
        None => print(&key.to_text())?,
        Some(path) => {
            use std::os::unix::fs::OpenOptionsExt as _;
            let mut file = std::fs::OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(file, "{}", key.to_text().as_str())?;
            file.sync_all()?;
            eprintln!("wrote root key {} to {}", key.id(), path.display());
        }
    }
    Ok(())
}
