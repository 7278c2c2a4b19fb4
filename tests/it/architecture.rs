//! Who may name what. Reads the sources; a failure names the file and the rule.

use std::fs;
use std::path::{Path, PathBuf};

/// One dependency, one home: the crate, and where it may be named.
const HOMES: [(&str, &[&str]); 18] = [
    ("diesel", &["db/", "id.rs", "error.rs", "auth/policy.rs", "vault/envelope.rs"]),
    ("diesel_async", &["db/"]),
    ("diesel_migrations", &["db/migration.rs"]),
    ("tokio_postgres", &["db/connect.rs"]),
    ("async_graphql", &["graphql/", "http/graphql.rs", "dev/demo.rs"]),
    ("axum", &["http/"]),
    ("tower_http", &["http/"]),
    ("hyper", &["http/mod.rs"]),
    ("hyper_util", &["http/mod.rs"]),
    ("rust_embed", &["http/graphiql.rs"]),
    ("jsonwebtoken", &["auth/jwt.rs", "auth/key.rs"]),
    ("aws_lc_rs", &["auth/key.rs", "db/connect.rs"]),
    ("reqwest", &["auth/jwks.rs"]),
    ("aes_kw", &["vault/"]),
    ("aes_gcm", &["vault/"]),
    ("hkdf", &["vault/"]),
    ("sha2", &["vault/"]),
    ("jsonschema", &["connector/"]),
];

/// Arrows point one way: a module, and what it must not use.
const FORBIDDEN: [(&str, &[&str]); 10] = [
    ("id.rs", &["auth", "db", "vault", "connector", "graphql", "http", "app", "config", "dev"]),
    ("clock.rs", &["auth", "db", "vault", "connector", "graphql", "http", "app", "config", "dev"]),
    ("limit.rs", &["auth", "db", "vault", "connector", "graphql", "http", "app", "config", "dev"]),
    ("vault/", &["auth", "db", "connector", "graphql", "http", "app", "config", "dev"]),
    ("auth/policy.rs", &["db", "vault", "connector", "graphql", "http", "app", "config", "dev"]),
    ("auth/caller.rs", &["db", "vault", "connector", "graphql", "http", "app", "config", "dev"]),
    ("auth/", &["connector", "graphql", "http", "app", "config", "dev"]),
    ("db/", &["connector", "graphql", "http", "app", "config", "dev"]),
    ("connector/", &["graphql", "http", "app", "config", "dev"]),
    ("graphql/", &["http", "config", "dev"]),
];

/// Who may ask questions across organizations.
const SYSTEM: [&str; 7] = ["db/", "auth/mod.rs", "auth/person.rs", "http/health.rs", "main.rs", "command/", "dev/"];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text)
        })
        .collect()
}

/// The code, without comments and without unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let is_start = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        is_start && code[at + word.len()..].starts_with("::")
    })
}

fn within(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place)))
}

#[test]
fn one_dependency_has_one_home() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        for (dependency, homes) in HOMES {
            if names(&code(&text), dependency) && !within(&file, homes) {
                broken.push(format!("src/{file} names {dependency}, whose home is {homes:?}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn arrows_point_one_way() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let code = code(&text);
        for (from, forbidden) in FORBIDDEN {
            for to in forbidden.iter().filter(|_| within(&file, &[from])) {
                if names(&code, &format!("crate::{to}")) || code.contains(&format!("use crate::{{{to}")) {
                    broken.push(format!("src/{file} uses crate::{to}"));
                }
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn few_may_ask_across_organizations() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let code = code(&text);
        let asks = ["system_read", "system_write", "SystemTx"].iter().any(|word| code.contains(word));
        if asks && !within(&file, &SYSTEM) {
            broken.push(format!("src/{file}"));
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// `Failure` is the only way from an error to a client: it has no `Display`.
#[test]
fn resolvers_do_not_fail_with_text() {
    for (file, text) in sources() {
        let code = code(&text);
        let allowed = ["graphql/context.rs", "http/graphql.rs"].contains(&file.as_str());
        assert!(allowed || !code.contains("async_graphql::Error"), "src/{file} names async_graphql::Error");
        assert!(!code.contains("async_graphql::Result"), "src/{file} names async_graphql::Result");
    }
}

/// Session-wide settings would outlive a transaction on its pooled connection. The pool's own, made once, stand in
/// `db/connect.rs`.
#[test]
fn scope_is_set_for_a_transaction_only() {
    for (file, text) in sources() {
        if file == "db/connect.rs" {
            continue;
        }
        let code = code(&text);
        for (at, _) in code.match_indices("SET ").chain(code.match_indices("set_config")) {
            let rest = &code[at..];
            let harmless = rest.starts_with("SET LOCAL ");
            let line = rest.lines().next().unwrap_or_default();
            assert!(harmless, "src/{file}: {line}");
        }
    }
}
