//! The issuers of tokens, from `[[issuers]]` of the settings file, or `PATCHBAY_ISSUERS` as the same in JSON.
//!
//! Read by hand and not by `serde`: all that is wrong is said at once, with the entry that it stands in, and no value is
//! repeated that may be a secret in the wrong place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};
use url::Url;

use super::read_secret;
use crate::auth::issuer::{Issuer, Keys, Organizations, RoleClaim, TokenType};
use crate::auth::jwks::{KeySet, Location, discovery_address, is_safe};
use crate::auth::key::{Algorithm, Key, MAX_ID, from_jwk_text};
use crate::auth::policy::Role;

/// What an entry may say.
const SETTINGS: [&str; 14] = [
    "issuer",
    "audience",
    "secret_file",
    "secrets",
    "keys",
    "jwks_url",
    "discovery",
    "rsa_algorithm",
    "token_type",
    "organization_claim",
    "role_claim",
    "default_role",
    "roles",
    "email_claim",
];

/// One table of the settings, with its place for messages.
struct Entry<'a> {
    table: &'a Table,
    place: String,
    problems: &'a mut Vec<String>,
}

impl Entry<'_> {
    fn problem(&mut self, what: impl AsRef<str>) {
        self.problems.push(format!("{}: {}", self.place, what.as_ref()));
    }

    /// Reports settings that there are not.
    fn only(&mut self, known: &[&str]) {
        let unknown: Vec<_> = self.table.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            self.problem(format!("there is no setting {key}"));
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.table.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.problem(format!("{name} is not a text"));
                None
            }
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.table.get(name) {
            None => false,
            Some(Value::Boolean(value)) => *value,
            Some(_) => {
                self.problem(format!("{name} is not true or false"));
                false
            }
        }
    }

    fn address(&mut self, name: &str) -> Option<Url> {
        let address = self.text(name)?.parse::<Url>().ok().filter(is_safe);
        if address.is_none() {
            self.problem(format!("{name} is not an https address"));
        }
        address
    }

    fn algorithm(&mut self, name: &str, allowed: impl Fn(Algorithm) -> bool, form: &str) -> Option<Algorithm> {
        let algorithm = Algorithm::parse(&self.text(name)?).filter(|algorithm| allowed(*algorithm));
        if algorithm.is_none() {
            self.problem(format!("{name} is not {form}"));
        }
        algorithm
    }

    fn role(&mut self, name: &str) -> Option<Role> {
        let role = Role::parse(&self.text(name)?);
        if role.is_none() {
            self.problem(format!("{name} is not owner, admin, member or viewer"));
        }
        role
    }

    /// The tables of a list, each with its place.
    fn each<T>(&mut self, name: &str, mut read: impl FnMut(&mut Entry<'_>) -> Option<T>) -> Vec<T> {
        match self.table.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) if !items.is_empty() && items.iter().all(Value::is_table) => items
                .iter()
                .filter_map(Value::as_table)
                .enumerate()
                .filter_map(|(at, table)| {
                    let place = format!("{}, {name}[{at}]", self.place);
                    read(&mut Entry { table, place, problems: self.problems })
                })
                .collect(),
            Some(Value::Array(items)) if items.is_empty() => {
                self.problem(format!("{name} is empty"));
                Vec::new()
            }
            Some(_) => {
                self.problem(format!("{name} is not a list of tables"));
                Vec::new()
            }
        }
    }
}

/// Every issuer of `list`. What is wrong goes to `problems`.
pub(super) fn read(list: &Value, problems: &mut Vec<String>) -> Vec<Issuer> {
    let Some(tables) = list.as_array().and_then(|items| items.iter().map(Value::as_table).collect::<Option<Vec<_>>>())
    else {
        problems.push("issuers is not a list of tables: [[issuers]]".to_owned());
        return Vec::new();
    };
    let mut issuers: Vec<Issuer> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let name = table.get("issuer").and_then(Value::as_str).filter(|name| !name.contains(char::is_control));
        let place = name.map_or_else(|| format!("issuers[{at}]"), |name| format!("issuers[{at}] ({name})"));
        let issuer = issuer(&mut Entry { table, place, problems });
        issuers.extend(issuer);
    }
    issuers
}

/// Reports issuers that are there twice.
pub(super) fn check_unique(issuers: &[Issuer], problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for Issuer { issuer, .. } in issuers {
        if !seen.insert(issuer) {
            problems.push(format!("the issuer {issuer} is configured twice"));
        }
    }
}

fn issuer(entry: &mut Entry<'_>) -> Option<Issuer> {
    entry.only(&SETTINGS);
    let issuer = entry.text("issuer");
    if issuer.is_none() && !entry.table.contains_key("issuer") {
        entry.problem("issuer is missing: `iss` of its tokens");
    }
    let audience = entry.text("audience").unwrap_or_else(|| "patchbay".to_owned());
    let token_type = match entry.text("token_type").as_deref() {
        None | Some("any") => TokenType::Any,
        Some("JWT") => TokenType::Jwt,
        Some("at+jwt") => TokenType::AccessToken,
        Some(_) => {
            entry.problem("token_type is not any, JWT or at+jwt");
            TokenType::Any
        }
    };
    let organizations = organizations(entry);
    let email_claim = match entry.table.get("email_claim") {
        None => Some("email".to_owned()),
        // Addresses of this issuer prove nothing.
        Some(Value::String(name)) => Some(name.clone()).filter(|name| !name.is_empty()),
        Some(_) => {
            entry.problem("email_claim is not a text");
            None
        }
    };
    let keys = keys(entry, issuer.as_deref())?;
    Some(Issuer { issuer: issuer?, audience, keys, token_type, organizations, email_claim })
}

fn organizations(entry: &mut Entry<'_>) -> Organizations {
    let claim = entry.text("organization_claim");
    let role_claim = entry.text("role_claim");
    let default_role = entry.role("default_role");
    let roles = roles(entry);
    let Some(claim) = claim else {
        for name in ["role_claim", "default_role", "roles"] {
            if entry.table.contains_key(name) {
                entry.problem(format!("{name} needs organization_claim: without it the members table says the role"));
            }
        }
        return Organizations::Members;
    };
    if role_claim.is_none() && roles.is_some() {
        entry.problem("roles needs role_claim");
    }
    // Without a table their words are ours.
    let own = || Role::ALL.into_iter().map(|role| (role.as_str().to_owned(), role)).collect();
    let role = role_claim.map(|claim| RoleClaim { claim, roles: roles.unwrap_or_else(own) });
    Organizations::Claim { claim, role, default_role: default_role.unwrap_or(Role::Member) }
}

/// Their word, our role.
fn roles(entry: &mut Entry<'_>) -> Option<BTreeMap<String, Role>> {
    let Some(table) = entry.table.get("roles")?.as_table() else {
        entry.problem("roles is not a table: their word = our role");
        return None;
    };
    let mut roles = BTreeMap::new();
    for (word, role) in table {
        match role.as_str().and_then(Role::parse) {
            Some(role) => {
                roles.insert(word.clone(), role);
            }
            None => entry.problem(format!("the role of {word:?} in roles is not owner, admin, member or viewer")),
        }
    }
    Some(roles)
}

fn keys(entry: &mut Entry<'_>, issuer: Option<&str>) -> Option<Keys> {
    let given = |name: &&str| entry.table.contains_key(*name);
    let sources: Vec<_> =
        ["secret_file", "secrets", "keys", "jwks_url", "discovery"].into_iter().filter(given).collect();
    // With discovery, the address of the key set is one that the issuer may name although it is not its own.
    if sources.len() != 1 && sources != ["jwks_url", "discovery"] {
        entry.problem("exactly one of secret_file, secrets, keys, jwks_url and discovery says what proves a token");
    }
    let rsa_algorithm = entry.algorithm("rsa_algorithm", is_rsa, "RS256 or PS256").unwrap_or(Algorithm::Rs256);
    let key_set = entry.address("jwks_url");
    if entry.flag("discovery") {
        let issuer = issuer?;
        if !discovery_address(issuer).is_some_and(|address| is_safe(&address)) {
            entry.problem("discovery needs an issuer that is an https address");
        }
        return Some(Keys::Published(KeySet::new(issuer, Location::Discovery { key_set }, rsa_algorithm)));
    }
    if let Some(address) = key_set {
        return Some(Keys::Published(KeySet::new(issuer?, Location::KeySet(address), rsa_algorithm)));
    }
    let mut keys: Vec<Key> = Vec::new();
    if entry.table.contains_key("secret_file") {
        keys.extend(secret(entry, "secret_file", Algorithm::Hs256, None));
    }
    keys.extend(entry.each("secrets", |entry| {
        entry.only(&["kid", "algorithm", "file"]);
        let id = kid(entry);
        let form = "HS256, HS384 or HS512";
        let algorithm = entry.algorithm("algorithm", |algorithm| algorithm.min_secret().is_some(), form);
        let algorithm = if entry.table.contains_key("algorithm") { algorithm? } else { Algorithm::Hs256 };
        secret(entry, "file", algorithm, id)
    }));
    keys.extend(entry.each("keys", public_key));
    let mut names = BTreeSet::new();
    if keys.iter().filter_map(Key::id).any(|id| !names.insert(id.to_owned())) {
        entry.problem("two keys have the same kid");
    }
    let alike = |key: &Key| keys.iter().filter(|other| other.algorithm() == key.algorithm()).count();
    if keys.iter().any(|key| key.id().is_none() && alike(key) > 1) {
        entry.problem("of several keys of one algorithm each needs a kid");
    }
    Some(Keys::Fixed(keys.into_iter().map(std::sync::Arc::new).collect()))
}

fn is_rsa(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256)
}

fn kid(entry: &mut Entry<'_>) -> Option<String> {
    let id = entry.text("kid")?;
    if id.len() > MAX_ID {
        entry.problem("kid is longer than 256 bytes");
    }
    Some(id)
}

fn secret(entry: &mut Entry<'_>, setting: &str, algorithm: Algorithm, id: Option<String>) -> Option<Key> {
    let Some(path) = entry.text(setting) else {
        if !entry.table.contains_key(setting) {
            entry.problem(format!("{setting} is missing: the file with the secret"));
        }
        return None;
    };
    match read_secret(Path::new(&path)) {
        Ok(secret) => {
            let key = Key::secret(algorithm, &secret, id);
            if key.is_none() {
                let least = algorithm.min_secret().unwrap_or_default();
                entry.problem(format!("{setting} has a secret of fewer than {least} bytes"));
            }
            key
        }
        Err(error) => {
            entry.problem(format!("{setting}: {path}: {error:#}"));
            None
        }
    }
}

fn public_key(entry: &mut Entry<'_>) -> Option<Key> {
    entry.only(&["kid", "algorithm", "pem", "pem_file", "jwk", "jwk_file"]);
    let id = kid(entry);
    let form = "RS256, PS256, ES256, ES384 or EdDSA";
    let algorithm = entry.algorithm("algorithm", |algorithm| algorithm.min_secret().is_none(), form);
    let sources: Vec<_> =
        ["pem", "pem_file", "jwk", "jwk_file"].into_iter().filter(|name| entry.table.contains_key(*name)).collect();
    let [source] = sources[..] else {
        entry.problem("exactly one of pem, pem_file, jwk and jwk_file gives the key");
        return None;
    };
    let value = entry.text(source)?;
    let text = if source.ends_with("_file") {
        match std::fs::read_to_string(&value) {
            Ok(text) => text,
            Err(error) => {
                entry.problem(format!("{source}: {value}: {error}"));
                return None;
            }
        }
    } else {
        value
    };
    let key = if source.starts_with("pem") {
        Key::from_pem(&text, algorithm, id)
    } else {
        from_jwk_text(&text, algorithm, id)
    };
    match key {
        Ok(key) => Some(key),
        Err(reason) => {
            entry.problem(format!("{source} {reason}"));
            None
        }
    }
}
