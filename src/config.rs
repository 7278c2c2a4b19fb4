//! Settings of `patchbay serve`: from the environment, and from an optional TOML file.
//!
//! Each setting has one name: `PATCHBAY_JWT_ISSUER` in the environment is `jwt_issuer` in the file; the environment wins.
//! A secret may stand in a file of its own, which `..._FILE` names. All that is missing or wrong is reported at once.

mod issuers;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::issuer::Issuer;
use crate::auth::key::{Algorithm, Key};
use crate::db;
use crate::graphql::document;
use crate::vault::RootKey;

/// What the operator allows at the API.
#[derive(Clone, Debug)]
pub struct Api {
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// Whether GraphiQL is served.
    pub graphiql: bool,
    /// Origins of web pages that may call from a browser, as browsers spell them.
    pub allowed_origins: Vec<String>,
    /// Proxies whose word on who the client is is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The largest request body.
    pub max_request_bytes: usize,
    /// Points in the budget of each caller; 0 for no limit.
    pub rate_limit: u32,
    /// Points that come back each second.
    pub rate_restore: u32,
    /// How often an address may fail to authenticate in a burst; 0 for no limit.
    pub failure_limit: u32,
    /// What GraphiQL is given to begin with. In `patchbay dev` only.
    pub demo_token: Option<SecretString>,
}

impl Default for Api {
    /// As in production, where nothing else is configured.
    fn default() -> Self {
        Self {
            introspection: false,
            graphiql: false,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            max_request_bytes: 1024 * 1024,
            rate_limit: 100_000,
            rate_restore: 5000,
            failure_limit: 300,
            demo_token: None,
        }
    }
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is written, as `tracing` spells it: `info`, `patchbay=debug`.
    pub filter: String,
    /// One JSON object a line, instead of text.
    pub json: bool,
}

/// Everything that `patchbay serve` needs.
pub struct Config {
    /// Where the data are.
    pub database: db::Settings,
    /// The most connections to the database.
    pub connections: usize,
    /// What wraps the organizations' keys.
    pub root_key: RootKey,
    /// Whose tokens are believed: at least one.
    pub issuers: Vec<Issuer>,
    /// Where to listen.
    pub address: SocketAddr,
    /// What is allowed at the API.
    pub api: Api,
    /// How the log is written.
    pub log: Log,
}

/// Every setting: its name in the environment, what a file may say of it, and what it is.
pub const SETTINGS: &[(&str, Kind, &str)] = &[
    ("DATABASE_URL", Kind::Secret, "postgres:// URL of the database. TLS with sslmode=require"),
    ("PATCHBAY_ROOT_KEY", Kind::Secret, "32 random bytes, base64 or hexadecimal: `patchbay key generate`"),
    ("PATCHBAY_JWT_ISSUER", Kind::Plain, "`iss` of the tokens that are believed"),
    ("PATCHBAY_JWT_AUDIENCE", Kind::Plain, "`aud` that they must name; patchbay by default"),
    ("PATCHBAY_JWT_SECRET", Kind::Secret, "HS256 secret of the issuer, at least 32 bytes"),
    ("PATCHBAY_ISSUERS", Kind::Plain, "issuers with keys of other kinds, as JSON; better in the file, as [[issuers]]"),
    ("PATCHBAY_LISTEN", Kind::Plain, "address to listen on; 127.0.0.1 by default"),
    ("PATCHBAY_PORT", Kind::Plain, "port to listen on; 8080 by default"),
    ("PATCHBAY_DATABASE_CONNECTIONS", Kind::Plain, "the most connections to the database; 10 by default"),
    ("PATCHBAY_GRAPHIQL", Kind::Plain, "true serves GraphiQL at /graphiql; false by default"),
    ("PATCHBAY_INTROSPECTION", Kind::Plain, "true lets clients ask for the schema; false by default"),
    (
        "PATCHBAY_ALLOWED_ORIGINS",
        Kind::Plain,
        "origins of web pages that may call, separated by commas; none by default",
    ),
    (
        "PATCHBAY_RATE_LIMIT",
        Kind::Plain,
        "points of cost that a caller may use in a burst, in each instance; 100000 by default, 0 for no limit",
    ),
    ("PATCHBAY_RATE_RESTORE", Kind::Plain, "points that come back each second; 5000 by default"),
    (
        "PATCHBAY_FAILURE_LIMIT",
        Kind::Plain,
        "how often an address may fail to authenticate in a burst, one more each second; 300 by default, 0 for no limit",
    ),
    (
        "PATCHBAY_TRUSTED_PROXIES",
        Kind::Plain,
        "networks (CIDR) of proxies whose X-Forwarded-For is believed, separated by commas; none by default",
    ),
    ("PATCHBAY_LOG", Kind::Plain, "what is logged; info by default"),
    ("PATCHBAY_LOG_FORMAT", Kind::Plain, "json or text; json by default"),
];

/// Whether a setting is a secret, which has a `_FILE` twin and does not stand in the settings file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not a secret.
    Plain,
    /// A secret.
    Secret,
}

type Environment = Box<dyn Fn(&str) -> Option<String>>;

/// Where settings come from.
pub struct Source {
    environment: Environment,
    file: toml::Table,
    problems: Vec<String>,
    /// How many of them are of a file that cannot be gone by.
    of_file: Option<usize>,
}

/// All that is missing or wrong.
#[derive(Debug)]
pub struct Problems(pub Vec<String>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the settings are not right:")?;
        for problem in &self.0 {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One variable of the process's environment. Empty counts as not set.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Variables of the process's environment that look like settings and are none.
pub fn unknown_variables() -> Vec<String> {
    let mut unknown: Vec<_> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    unknown.retain(|name| name.starts_with("PATCHBAY_") && !is_known(name));
    unknown.sort();
    unknown
}

fn is_known(variable: &str) -> bool {
    let of_setting = |(name, kind, _): &(&str, Kind, &str)| {
        variable == *name || (*kind == Kind::Secret && variable.strip_suffix("_FILE") == Some(name))
    };
    // Scripts that have read `dev.env` start services too.
    let of_dev = ["PATCHBAY_URL", "PATCHBAY_TOKEN", "PATCHBAY_API_KEY", "PATCHBAY_ORGANIZATION_ID"];
    let first = variable.strip_suffix("_2").unwrap_or(variable);
    variable == "PATCHBAY_CONFIG" || SETTINGS.iter().any(of_setting) || of_dev.contains(&first)
}

/// The key of a setting in the file.
fn file_key(name: &str) -> String {
    name.strip_prefix("PATCHBAY_").unwrap_or(name).to_lowercase()
}

impl Source {
    /// The process's environment, and the file that `PATCHBAY_CONFIG` or `file` names.
    pub fn process(file: Option<&Path>) -> Self {
        let file = file.map(Path::to_owned).or_else(|| environment("PATCHBAY_CONFIG").map(PathBuf::from));
        Self::new(environment, file.as_deref())
    }

    /// Any environment, and a file.
    pub fn new(environment: impl Fn(&str) -> Option<String> + 'static, file: Option<&Path>) -> Self {
        let mut source =
            Self { environment: Box::new(environment), file: toml::Table::new(), problems: Vec::new(), of_file: None };
        if let Some(path) = file
            && let Err(error) = source.read(path)
        {
            source.problems.push(format!("{}: {error:#}", path.display()));
            source.of_file = Some(1);
        }
        source
    }

    fn read(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path)?;
        // The parser's own words would repeat the line.
        let table: toml::Table = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            anyhow::anyhow!("is not TOML: line {line}")
        })?;
        let mut has_unknown = false;
        for key in table.keys() {
            let plain = SETTINGS.iter().find(|(name, _, _)| file_key(name) == *key);
            let twin = SETTINGS
                .iter()
                .find(|(name, kind, _)| *kind == Kind::Secret && format!("{}_file", file_key(name)) == *key);
            match (plain, twin) {
                (Some((_, Kind::Plain, _)), _) | (None, Some(_)) => {}
                (Some((_, Kind::Secret, _)), _) => {
                    self.problems.push(format!("{}: {key} is a secret; name a file with {key}_file", path.display()));
                }
                (None, None) => {
                    has_unknown = true;
                    self.problems.push(format!("{}: there is no setting {key}", path.display()));
                }
            }
        }
        // A setting under another name would be said to be missing, although it is there for all to see.
        self.of_file = has_unknown.then_some(self.problems.len());
        self.file = table;
        Ok(())
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.environment)(name).or_else(|| match self.file.get(&file_key(name))? {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Array(items) => {
                Some(items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(","))
            }
            toml::Value::Integer(number) => Some(number.to_string()),
            toml::Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        })
    }

    /// A secret, from itself or from the file that its twin names.
    fn secret(&mut self, name: &str) -> Option<SecretString> {
        let twin = format!("{name}_FILE");
        match ((self.environment)(name), self.get(&twin)) {
            (Some(_), Some(_)) => {
                self.problems.push(format!("{name} and {twin} are both set; set one"));
                None
            }
            (Some(value), None) => Some(SecretString::from(value)),
            (None, Some(path)) => match read_secret(Path::new(&path)) {
                Ok(value) => Some(value),
                Err(error) => {
                    self.problems.push(format!("{twin}: {path}: {error:#}"));
                    None
                }
            },
            (None, None) => {
                let what = SETTINGS.iter().find(|(setting, _, _)| *setting == name).map_or("", |(_, _, what)| what);
                self.problems.push(format!("{name} (or {twin}) is missing: {what}"));
                None
            }
        }
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: T, form: &str) -> T {
        match self.get(name).map(|text| text.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                self.problems.push(format!("{name} is not {form}"));
                default
            }
        }
    }

    /// How the log is written: needed before anything else, so that problems can be said.
    pub fn log(&mut self, json: bool) -> Log {
        let filter = self.get("PATCHBAY_LOG").unwrap_or_else(|| "info".to_owned());
        if tracing_subscriber::EnvFilter::try_new(&filter).is_err() {
            self.problems.push("PATCHBAY_LOG is not a filter such as info or patchbay=debug".to_owned());
        }
        let json = match self.get("PATCHBAY_LOG_FORMAT").as_deref() {
            None => json,
            Some("json") => true,
            Some("text") => false,
            Some(_) => {
                self.problems.push("PATCHBAY_LOG_FORMAT is not json or text".to_owned());
                json
            }
        };
        Log { filter, json }
    }

    /// What is allowed at the API.
    pub fn api(&mut self, default: Api) -> Api {
        let introspection = self.parsed("PATCHBAY_INTROSPECTION", default.introspection, "true or false");
        let graphiql = self.parsed("PATCHBAY_GRAPHIQL", default.graphiql, "true or false");
        let origins = self.get("PATCHBAY_ALLOWED_ORIGINS").unwrap_or_default();
        let mut allowed_origins = default.allowed_origins.clone();
        for origin in origins.split(',').map(str::trim).filter(|origin| !origin.is_empty()) {
            match url::Url::parse(origin) {
                Ok(url) if url.origin().ascii_serialization() == origin => allowed_origins.push(origin.to_owned()),
                _ => self.problems.push(format!(
                    "PATCHBAY_ALLOWED_ORIGINS: {origin} is not an origin such as https://app.example.com"
                )),
            }
        }
        let mut trusted_proxies = default.trusted_proxies.clone();
        let proxies = self.get("PATCHBAY_TRUSTED_PROXIES").unwrap_or_default();
        for proxy in proxies.split(',').map(str::trim).filter(|proxy| !proxy.is_empty()) {
            match proxy.parse::<IpNet>().or_else(|_| proxy.parse().map(|address: IpAddr| IpNet::from(address))) {
                Ok(network) => trusted_proxies.push(network),
                Err(_) => self.problems.push(format!(
                    "PATCHBAY_TRUSTED_PROXIES: {proxy} is not a network such as 10.0.0.0/8, nor an address"
                )),
            }
        }
        let rate_limit = self.points("PATCHBAY_RATE_LIMIT", default.rate_limit);
        let most = document::MAX_COMPLEXITY;
        if (1..most).contains(&usize::try_from(rate_limit).unwrap_or(usize::MAX)) {
            self.problems
                .push(format!("PATCHBAY_RATE_LIMIT is less than {most}, which one request may cost; 0 is no limit"));
        }
        let rate_restore = self.points("PATCHBAY_RATE_RESTORE", default.rate_restore);
        if rate_restore == 0 {
            self.problems.push("PATCHBAY_RATE_RESTORE is 0: nothing would ever come back".to_owned());
        }
        let failure_limit = self.points("PATCHBAY_FAILURE_LIMIT", default.failure_limit);
        Api {
            introspection,
            graphiql,
            allowed_origins,
            trusted_proxies,
            rate_limit,
            rate_restore,
            failure_limit,
            ..default
        }
    }

    /// A number that GraphQL can tell.
    fn points(&mut self, name: &str, default: u32) -> u32 {
        let points = self.parsed(name, default, "a whole number");
        if i32::try_from(points).is_err() {
            self.problems.push(format!("{name} is more than {}", i32::MAX));
        }
        points
    }

    /// Where to listen, unless the command line says.
    pub fn address(&mut self, listen: Option<IpAddr>, port: Option<u16>) -> SocketAddr {
        let configured_listen = self.parsed("PATCHBAY_LISTEN", IpAddr::V4(Ipv4Addr::LOCALHOST), "an IP address");
        let configured_port = self.parsed("PATCHBAY_PORT", 8080, "a port");
        SocketAddr::new(listen.unwrap_or(configured_listen), port.unwrap_or(configured_port))
    }

    /// The database that is configured, if one is.
    pub fn database(&mut self) -> Option<db::Settings> {
        let url = self.secret("DATABASE_URL")?;
        match db::Settings::parse(url.expose_secret()) {
            Ok(settings) => Some(settings),
            Err(error) => {
                self.problems.push(format!("DATABASE_URL {error}"));
                None
            }
        }
    }

    /// The root key.
    pub fn root_key(&mut self) -> Option<RootKey> {
        match RootKey::parse(self.secret("PATCHBAY_ROOT_KEY")?.expose_secret()) {
            Ok(key) => Some(key),
            Err(error) => {
                self.problems.push(format!("PATCHBAY_ROOT_KEY {error}"));
                None
            }
        }
    }

    /// The most connections to the database.
    pub fn connections(&mut self) -> usize {
        let connections = self.parsed("PATCHBAY_DATABASE_CONNECTIONS", 10, "a number");
        if !(1..=1000).contains(&connections) {
            self.problems.push("PATCHBAY_DATABASE_CONNECTIONS is not from 1 to 1000".to_owned());
        }
        connections
    }

    /// Whether `DATABASE_URL` is set in any way.
    pub fn has_database(&self) -> bool {
        self.get("DATABASE_URL_FILE").is_some() || (self.environment)("DATABASE_URL").is_some()
    }

    /// Whose tokens are believed: the one that `PATCHBAY_JWT_...` describes, and those of `[[issuers]]`. At least one.
    fn issuers(&mut self) -> Vec<Issuer> {
        let given = match (self.environment)("PATCHBAY_ISSUERS").map(|text| serde_json::from_str(&text)) {
            None => self.file.get("issuers").cloned(),
            Some(Ok(list)) => Some(list),
            Some(Err(_)) => {
                self.problems.push("PATCHBAY_ISSUERS is not JSON, or has a null".to_owned());
                Some(toml::Value::Array(Vec::new()))
            }
        };
        let mut issuers = given.iter().flat_map(|list| issuers::read(list, &mut self.problems)).collect::<Vec<_>>();
        let shorthand = ["PATCHBAY_JWT_ISSUER", "PATCHBAY_JWT_SECRET_FILE"].iter().any(|name| self.get(name).is_some())
            || (self.environment)("PATCHBAY_JWT_SECRET").is_some();
        if given.is_none() || shorthand {
            issuers.extend(self.shorthand_issuer());
        }
        issuers::check_unique(&issuers, &mut self.problems);
        if issuers.is_empty() && self.problems.is_empty() {
            self.problems.push("there is no issuer whose tokens are believed: [[issuers]]".to_owned());
        }
        issuers
    }

    fn shorthand_issuer(&mut self) -> Option<Issuer> {
        let issuer = self.get("PATCHBAY_JWT_ISSUER");
        if issuer.is_none() {
            let message =
                "PATCHBAY_JWT_ISSUER is missing: `iss` of the tokens that are believed (or [[issuers]] in the file)";
            self.problems.push(message.to_owned());
        }
        let audience = self.get("PATCHBAY_JWT_AUDIENCE").unwrap_or_else(|| "patchbay".to_owned());
        let secret = self.secret("PATCHBAY_JWT_SECRET")?;
        let key = Key::hs256(&secret, None);
        if key.is_none() {
            let least = Algorithm::Hs256.min_secret().unwrap_or_default();
            self.problems.push(format!("PATCHBAY_JWT_SECRET has fewer than {least} bytes"));
        }
        Some(Issuer::new(issuer?, audience, vec![key?]))
    }

    /// All problems so far, as an error.
    ///
    /// # Errors
    /// When there is any.
    pub fn finish(mut self) -> Result<(), Problems> {
        if let Some(of_file) = self.of_file {
            self.problems.truncate(of_file);
        }
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }

    /// Everything that `patchbay serve` needs.
    ///
    /// # Errors
    /// All problems at once.
    pub fn serve(mut self, listen: Option<IpAddr>, port: Option<u16>) -> Result<Config, Problems> {
        let log = self.log(true);
        let database = self.database();
        let root_key = self.root_key();
        let issuers = self.issuers();
        let connections = self.connections();
        let address = self.address(listen, port);
        let api = self.api(Api::default());
        self.finish()?;
        // One that is missing is a problem already.
        let (Some(database), Some(root_key)) = (database, root_key) else { return Err(Problems(Vec::new())) };
        Ok(Config { database, connections, root_key, issuers, address, api, log })
    }
}

/// Reads a secret from a file that others cannot read.
///
/// # Errors
/// When the file is not there, is empty, or is open to others.
pub fn read_secret(path: &Path) -> anyhow::Result<SecretString> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).context("cannot be read")?.permissions().mode();
        anyhow::ensure!(mode.trailing_zeros() >= 3, "everybody may read it (mode {:04o}); chmod 600", mode & 0o777);
    }
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).context("cannot be read")?);
    anyhow::ensure!(!text.trim().is_empty(), "is empty");
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}

/// The settings as `--help` shows them.
pub fn help() -> String {
    SETTINGS.iter().fold(String::from("Settings, from the environment:\n"), |mut text, (name, kind, what)| {
        let twin = if *kind == Kind::Secret { format!(", or {name}_FILE") } else { String::new() };
        let _ = writeln!(text, "  {name}{twin}\n      {what}");
        text
    }) + "\nIn the file that --config or PATCHBAY_CONFIG names: the same in TOML, without PATCHBAY_ and in lower case.\n"
}
