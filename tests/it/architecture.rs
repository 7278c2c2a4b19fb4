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

/// The tables of `organization_tables!` in `db/scope.rs`.
fn organization_tables(sources: &[(String, String)]) -> Vec<String> {
    let (_, scope) = sources.iter().find(|(file, _)| file == "db/scope.rs").unwrap();
    let (_, list) = scope.split_once("\norganization_tables!(").unwrap();
    let (list, _) = list.split_once(");").unwrap();
    let tables: Vec<_> =
        list.split(',').filter_map(|line| Some(line.trim().split_once(" by ")?.0.to_owned())).collect();
    assert!(tables.len() >= 10, "{tables:?}");
    tables
}

/// The code on one line, without the spaces that mean nothing, and the same with nothing in its literals: what counts
/// brackets must not count those in texts.
fn squeezed(code: &str) -> (String, String) {
    let (mut text, mut blank) = (String::new(), String::new());
    let mut rest = code.chars().peekable();
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                text.push(c);
                blank.push(c);
                while let Some(c) = rest.next() {
                    if c == '\\' {
                        rest.next();
                    } else if c == '"' {
                        break;
                    } else {
                        text.push(if c.is_ascii() { c } else { '?' });
                        blank.push(' ');
                    }
                }
                text.push('"');
                blank.push('"');
            }
            // A character, and not a lifetime.
            '\'' if {
                let mut ahead = rest.clone();
                ahead.next() == Some('\\') || ahead.next() == Some('\'')
            } =>
            {
                text.push_str("' '");
                blank.push_str("' '");
                rest.next_if_eq(&'\\');
                rest.next();
                while rest.next().is_some_and(|c| c != '\'') {}
            }
            c if c.is_whitespace() => {
                while rest.next_if(|c| c.is_whitespace()).is_some() {}
                let separates = text.chars().next_back().is_some_and(word) && rest.peek().copied().is_some_and(word);
                if separates {
                    text.push(' ');
                    blank.push(' ');
                }
            }
            c => {
                // Byte for byte the same length: places in one are places in the other.
                let c = if c.is_ascii() { c } else { '?' };
                text.push(c);
                blank.push(c);
            }
        }
    }
    (text, blank)
}

/// Where the bracket that opens at `open` is closed.
fn closing(blank: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in blank[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at;
        }
    }
    panic!("a bracket is open: {}", &blank[open..blank.len().min(open + 80)]);
}

/// Functions and macros: name, signature, body without and with the content of literals.
fn functions(text: &str, blank: &str) -> Vec<[String; 4]> {
    let mut found = Vec::new();
    for (at, keyword) in blank.match_indices("fn ").chain(blank.match_indices("macro_rules!")) {
        if blank[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let start = at + keyword.len();
        let length = blank[start..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap();
        let Some(end) = blank[start..].find(['{', ';']).map(|end| start + end) else { continue };
        // A declaration has no body.
        if !blank[end..].starts_with('{') {
            continue;
        }
        let (signature, body) = (start + length..end, end..closing(blank, end) + 1);
        found.push([
            text[start..start + length].to_owned(),
            text[signature].to_owned(),
            blank[body.clone()].to_owned(),
            text[body].to_owned(),
        ]);
    }
    found
}

/// What in a file of `db` names a table of organizations without saying of which.
fn unscoped(text: &str, tables: &[String]) -> Vec<String> {
    let (text, blank) = squeezed(&code(text));
    let functions = functions(&text, &blank);
    let mut broken = Vec::new();
    // A table by its bare name would be missed below; a module by another name is not.
    for (at, _) in blank.match_indices("use ") {
        let item = blank[at..].split(';').next().unwrap_or_default();
        let bare = ["::table", "::dsl", "{table", ",table", "::*"].iter().any(|end| item.contains(end));
        if bare && tables.iter().any(|table| names(item, table)) {
            broken.push(item.to_owned());
        }
    }
    let mut known: Vec<(String, &String)> = tables.iter().map(|table| (table.clone(), table)).collect();
    for table in tables {
        for (at, found) in blank.match_indices(&format!("{table} as ")) {
            let alias = blank[at + found.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            known.push((alias, table));
        }
    }
    for [name, signature, body, literal] in &functions {
        // Questions across organizations have a type of their own, and `few_may_ask_across_organizations`.
        if signature.contains("SystemTx") {
            continue;
        }
        for (word, table) in &known {
            for way in ["table", "dsl"] {
                let path = format!("{word}::{way}");
                for (at, _) in body.match_indices(&path) {
                    let (before, after) = (&body[..at], &body[at + path.len()..]);
                    // Another name that ends, or goes on, in the same way.
                    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                        || after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                    {
                        continue;
                    }
                    // The path to the module is no matter.
                    let before = before.trim_end_matches(|c: char| c.is_alphanumeric() || "_:".contains(c));
                    let joined = ["inner_join(", "left_join("].iter().any(|join| before.ends_with(join))
                        && after.strip_prefix(".on(").is_some_and(|_| {
                            let open = at + path.len() + ".on".len();
                            let on = &body[open + 1..closing(body, open)];
                            let named = functions
                                .iter()
                                .find(|function| on == format!("{}()", function[0]))
                                .map_or(on, |function| &function[2]);
                            named.contains(&format!("{word}::organization_id.eq("))
                                || named.contains(&format!(".eq({word}::organization_id)"))
                        });
                    let scoped = after.starts_with("::of(")
                        || (before.ends_with('<') && after.starts_with(" as ") && {
                            let (role, _) = after.split_once('>').unwrap_or_default();
                            role.ends_with("OrgTable") && after[role.len()..].starts_with(">::of(")
                        });
                    let inserted = before.ends_with("insert_into(") && after.starts_with(')');
                    // A type says nothing of rows: `Predicate<configurations::table>`.
                    let is_type = before.ends_with("Predicate<") && after.starts_with('>');
                    if way == "dsl" || !(scoped || inserted || joined || is_type) {
                        let around = &body[at.saturating_sub(30)..body.len().min(at + path.len() + 40)];
                        broken.push(format!("{name} names {table}: {around}"));
                    }
                }
            }
            // SQL in a text would go past all of that.
            let texts: Vec<_> = literal.split('"').skip(1).step_by(2).collect();
            for text in texts {
                let text = text.to_lowercase();
                let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
                let is_sql = ["select ", "insert ", "update ", "delete "].iter().any(|verb| text.contains(verb));
                if is_sql && words.any(|found| found == table.as_str()) {
                    broken.push(format!("{name} names {table}: {text}"));
                }
            }
        }
    }
    broken
}

/// Row-level security would hold back what such a query sees too much. It is the fourth lock, and must not be the third.
#[test]
fn every_query_begins_at_its_organization() {
    let sources = sources();
    let tables = organization_tables(&sources);
    let mut broken = Vec::new();
    let mut checked = 0;
    for (file, text) in sources.iter().filter(|(file, _)| file.starts_with("db/") && file != "db/schema.rs") {
        checked += text.matches("::table::of(tx)").count();
        broken.extend(unscoped(text, &tables).into_iter().map(|found| format!("src/{file}: {found}")));
    }
    assert_eq!(broken, Vec::<String>::new());
    assert!(checked > 40, "only {checked} queries were seen");
}

/// The rule above finds what it is for.
#[test]
fn a_query_that_begins_elsewhere_is_found() {
    let tables = ["grants".to_owned(), "configurations".to_owned()];
    let found = |body: &str| unscoped(&format!("async fn f(tx: &OrgTx) {{\n    {body}\n}}"), &tables).len();
    for good in [
        "grants::table::of(tx).filter(grants::id.eq(id))",
        "grants::table\n        ::of(tx)",
        "<crate::db::schema::grants::table as crate::db::scope::OrgTable>::of(tx)",
        "diesel::update(grants::table::of(tx))",
        "diesel::insert_into(grants::table).values(grants::id.eq(id))",
        "grants::table::of(tx).inner_join(configurations::table.on(configurations::organization_id.eq(grants::organization_id).and(x)))",
        "grants::table::of(tx).left_join(\n configurations::table.on(grants::organization_id\n .eq(configurations::organization_id)))",
        "let seen: Predicate<grants::table> = visible!(tx);",
        "my_grants::table.load()",
        "log(\"see grants::table\"); sql_query(\"SELECT pg_advisory_xact_lock($1)\")",
        "use grants as g;\n    g::table::of(tx)",
    ] {
        assert_eq!(found(good), 0, "{good}");
    }
    for bad in [
        "grants::table.filter(grants::id.eq(id))",
        "grants::table\n        .find(id)",
        "let all = super::schema::grants::table; all.load()",
        "diesel::update(grants::table.filter(grants::id.eq(id)))",
        "diesel::delete(grants::table)",
        "diesel::insert_into(grants::table.filter(x))",
        "exists(configurations::table.filter(configurations::id.eq(id)))",
        "grants::table::of(tx).inner_join(configurations::table)",
        "grants::table::of(tx).inner_join(configurations::table.on(configurations::id.eq(grants::configuration_id)))",
        "use grants as g;\n    g::table.load()",
        "use configurations::table;\n    table.load()",
        "configurations::dsl::configurations.load()",
        "sql_query(\"SELECT * FROM grants WHERE id = $1\")",
    ] {
        assert!(found(bad) > 0, "{bad}");
    }
    // What no transaction is handed to is no way around.
    assert!(!unscoped("fn all() -> grants::table { grants::table }", &tables).is_empty());
    assert!(!unscoped("use super::schema::grants::table as rows;", &tables).is_empty());
    assert!(!unscoped("macro_rules! all { () => { grants::table.filter(x) }; }", &tables).is_empty());
    assert!(unscoped("fn f(tx: &SystemTx) { grants::table.load() }", &tables).is_empty());
}
