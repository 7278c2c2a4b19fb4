//! `patchbay dev`: everything that production must be given, made on the spot and kept in one directory.
//!
//! ```text
//! .patchbay/
//!   lock          one service at a time
//!   root.key      wraps the organizations' keys (0600)
//!   jwt.key       signs the demo tokens (0600)
//!   dev.env       addresses, tokens and keys for scripts (0600)
//!   postgres/     the private cluster
//! ```

mod bundle;
mod demo;
mod env_file;
pub mod postgres;
pub mod token;

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use secrecy::{ExposeSecret as _, SecretString};

use self::postgres::Cluster;
use crate::app::App;
use crate::auth::issuer::Issuer;
use crate::auth::jwt::Verifier;
use crate::auth::key::Key;
use crate::clock::Clock;
use crate::config::{Api, Source, read_secret};
use crate::db::migration::{self, Direction};
use crate::db::{self, Db};
use crate::vault::{RootKey, Vault};

/// `iss` of the demo tokens.
const ISSUER: &str = "patchbay-dev";
/// `aud` of the demo tokens.
const AUDIENCE: &str = "patchbay";
/// The login of the service in the private cluster. It owns nothing.
const SERVICE: &str = "patchbay_service";

/// The directory with everything that a development service makes.
pub struct DataDir {
    path: PathBuf,
}

/// Held while a service uses a directory.
pub struct Lock(#[expect(dead_code, reason = "the lock is the open file")] fs::File);

impl DataDir {
    /// Opens the directory, or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
            // Others may pass through, not look around: the account that runs Postgres may be another one.
            fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
        }
        let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// When another service has it.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.file("lock");
        let mut file = fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another Patchbay (process {}) is using {}.\nStop it, or give this one a directory of its own: --data-dir DIR",
                holder.trim(),
                self.path.display()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Lock(file))
    }

    fn secret(&self, name: &str, make: impl FnOnce() -> SecretString) -> Result<SecretString> {
        let path = self.file(name);
        if !path.exists() {
            write_private(&path, make().expose_secret())?;
        }
        read_secret(&path).with_context(|| path.display().to_string())
    }

    /// The root key.
    fn root_key(&self) -> Result<RootKey> {
        let text = self.secret("root.key", || SecretString::from(RootKey::generate().to_text().as_str()))?;
        RootKey::parse(text.expose_secret()).with_context(|| format!("{} ", self.file("root.key").display()))
    }

    /// What signs the demo tokens.
    fn signing_secret(&self) -> Result<SecretString> {
        self.secret("jwt.key", || SecretString::from(RootKey::generate().to_text().as_str()))
    }
}

/// Writes a file that only we may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}

fn issuer(secret: &SecretString) -> Result<Issuer> {
    let key = Key::hs256(secret, None).context("jwt.key is too short; remove it and it is made anew")?;
    Ok(Issuer::new(ISSUER, AUDIENCE, vec![key]))
}

/// A development service, ready to serve.
pub struct Dev {
    /// What the process holds.
    pub app: App,
    /// Where to listen: bound already.
    pub listener: TcpListener,
    /// What to print.
    pub welcome: String,
    cluster: Option<Cluster>,
    _lock: Lock,
}

/// Makes or finds everything: directory, keys, database, tables, demo data.
///
/// # Errors
/// With what to do about it.
pub async fn prepare(data_dir: &Path, address: SocketAddr, mut source: Source) -> Result<Dev> {
    let data_dir = DataDir::open(data_dir)?;
    // Before anything else: a port that is taken must not leave half a start behind.
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}; choose another port: --port N (0 takes any free one)"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let lock = data_dir.lock()?;
    let root_key = data_dir.root_key()?;
    let signing_secret = data_dir.signing_secret()?;

    let database = if source.has_database() { source.database() } else { None };
    let connections = source.connections();
    let api = source.api(Api { introspection: true, graphiql: true, ..Api::default() });
    source.finish()?;
    let (cluster, owner) = if let Some(settings) = database {
        (None, settings)
    } else {
        let cluster = Cluster::start(&data_dir.path, &[])?;
        let owner = cluster.owner();
        (Some(cluster), owner)
    };
    let login = if cluster.is_some() {
        migration::create_database(&owner).await?;
        migration::migrate(&owner, Direction::Up).await?;
        migration::create_service_login(&owner, SERVICE).await?;
        owner.with_user(SERVICE)
    } else {
        migration::migrate(&owner, Direction::Up).await?;
        owner
    };

    let db = Db::new(&login, connections);
    let vault = Vault::new(root_key);
    check_root_key(&db, &vault, &data_dir).await?;
    let verifier = Verifier::new(vec![issuer(&signing_secret)?]);
    let mut app = App::new(db, vault, verifier, Clock::System, api);
    let (env, demo_token) = demo::ensure(&app, &data_dir, &signing_secret, address).await?;
    app.api.demo_token = Some(demo_token);
    let welcome = env.welcome(&data_dir, &app, cluster.is_some());
    Ok(Dev { app, listener, welcome, cluster, _lock: lock })
}

/// The database of a development service, for a command beside it.
pub struct Borrowed {
    /// How to reach it, as the owner of the tables.
    pub database: db::Settings,
    /// What wraps the organizations' keys.
    pub root_key: Option<RootKey>,
    cluster: Option<(Cluster, Lock)>,
}

impl Borrowed {
    /// Finds the database in `data_dir`; starts it when no service runs.
    ///
    /// # Errors
    /// When there is no development service in the directory, or its database does not start.
    pub fn take(data_dir: &Path) -> Result<Self> {
        if !data_dir.join("root.key").exists() {
            bail!(
                "there is no DATABASE_URL, and no development service in {}: run `patchbay dev` first",
                data_dir.display()
            );
        }
        let data_dir = DataDir::open(data_dir)?;
        let root_key = Some(data_dir.root_key()?);
        if let Some(database) = Cluster::running(&data_dir.path) {
            return Ok(Self { database, root_key, cluster: None });
        }
        let lock = data_dir.lock()?;
        let cluster = Cluster::start(&data_dir.path, &[])?;
        Ok(Self { database: cluster.owner(), root_key, cluster: Some((cluster, lock)) })
    }

    /// Stops what was started for it.
    pub fn give_back(self) {
        if let Some((cluster, _lock)) = self.cluster {
            cluster.stop();
        }
    }
}

async fn check_root_key(db: &Db, vault: &Vault, data_dir: &DataDir) -> Result<()> {
    let ours = vault.root_key_id();
    if let Some(theirs) = db.system_read(async |tx| db::organization_key::find_unknown_root_key(tx, ours).await).await?
    {
        bail!(
            "the database has organization keys under root key {theirs}, and {} holds {ours}.\n\
             Put the right root.key there, or use another database",
            data_dir.file("root.key").display()
        );
    }
    Ok(())
}

impl Dev {
    /// Takes the parts that serving needs, and leaves what must outlive it.
    pub fn into_parts(self) -> (App, TcpListener, Stop) {
        let Self { app, listener, cluster, _lock: lock, .. } = self;
        (app, listener, Stop { cluster, _lock: lock })
    }
}

/// What must outlive the service.
pub struct Stop {
    cluster: Option<Cluster>,
    _lock: Lock,
}

impl Stop {
    /// Stops the private cluster, if there is one, and gives the directory free.
    pub fn stop(self) {
        if let Some(cluster) = self.cluster {
            cluster.stop();
        }
    }
}
