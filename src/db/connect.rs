//! Connections: settings, TLS, the pool.

use std::sync::Arc;

use anyhow::Context as _;
use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt as _;
use tokio_postgres::NoTls;
use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What every connection of the service is told once.
///
/// Custom plans because a cached generic plan of a filter on `metadata` reads the whole posting list of a common value.
/// The timeouts end what a lost client or a bad plan would keep running.
const SESSION: &str = "SET plan_cache_mode = force_custom_plan; SET statement_timeout = '10s'; \
                       SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '15s'";

/// Where a database is and who logs in. It has no `Debug`: it may hold a password.
#[derive(Clone)]
pub struct Settings(Config);

impl Settings {
    /// Reads a `postgres://` URL or a `key=value` string.
    ///
    /// # Errors
    /// When it is neither. The message does not repeat the text, which may hold a password.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let mut config: Config =
            url.parse().ok().context("is not a Postgres URL (postgres://user:password@host:port/database)")?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            anyhow::bail!("names no host");
        }
        if config.get_application_name().is_none() {
            config.application_name("patchbay");
        }
        Ok(Self(config))
    }

    /// A server that listens on a Unix socket in `directory`, with trust for whoever may enter it.
    pub fn socket(directory: &std::path::Path, user: &str, database: &str) -> Self {
        let mut config = Config::new();
        config.host_path(directory).user(user).dbname(database).application_name("patchbay");
        Self(config)
    }

    /// The same server and login, another database.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        let mut config = self.0.clone();
        config.dbname(name);
        Self(config)
    }

    /// The same server and database, another login.
    #[must_use]
    pub fn with_user(&self, name: &str) -> Self {
        let mut config = self.0.clone();
        config.user(name);
        Self(config)
    }

    /// The database's name.
    pub(super) fn database_name(&self) -> String {
        self.0.get_dbname().unwrap_or("postgres").to_owned()
    }

    /// Where it is, without user or password, for messages.
    pub fn describe(&self) -> String {
        let hosts: Vec<_> = self
            .0
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!("database {} at {}", self.0.get_dbname().unwrap_or("(the login's own)"), hosts.join(", "))
    }

    /// Whether what is sent can be read on the way: no TLS, and not the same machine.
    pub fn is_readable_on_the_way(&self) -> bool {
        self.0.get_ssl_mode() != SslMode::Require
            && self.0.get_hosts().iter().any(|host| match host {
                Host::Tcp(name) => !matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
                #[cfg(unix)]
                Host::Unix(_) => false,
            })
    }

    /// One connection, outside the pool.
    ///
    /// TLS only where `sslmode=require` asks for it, and then with the certificate checked against the system's roots.
    /// `prefer`, the default, would have to accept any certificate: no protection, and a surprise on Debian, whose
    /// servers have a self-signed one.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn connect(&self) -> Result<AsyncPgConnection, ConnectionError> {
        let bad = |error: &dyn std::error::Error| {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            ConnectionError::BadConnection(text)
        };
        let mut config = self.0.clone();
        if config.get_ssl_mode() == SslMode::Require {
            let (client, connection) = config.connect(tls()).await.map_err(|error| bad(&error))?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        } else {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect(NoTls).await.map_err(|error| bad(&error))?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
    }
}

fn tls() -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// A pool of at most `size` connections, none of them opened yet.
pub(super) fn pool(settings: &Settings, size: usize) -> Pool<AsyncPgConnection> {
    let settings = settings.clone();
    let mut config = ManagerConfig::default();
    // A connection that was cut says so itself; asking it each time would cost a round trip.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| {
        let settings = settings.clone();
        async move {
            let mut connection = settings.connect().await?;
            connection.batch_execute(SESSION).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::new_with_config("", config);
    Pool::builder(manager).max_size(size).build().expect("a pool without timeouts needs no runtime")
}
