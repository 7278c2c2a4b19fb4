//! What is true of the schema and of the tables, whatever they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{ServiceDocument, TypeDefinition, TypeKind, TypeSystemDefinition};
use diesel_async::RunQueryDsl as _;

use crate::harness::fresh_database;

/// Compares a checked-in file with what the program gives. With `UPDATE_SCHEMA=1` it is written instead.
fn assert_file(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting of the service")]
    if std::env::var("UPDATE_SCHEMA").is_ok() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the program gives; look at the difference, and write it with UPDATE_SCHEMA=1 cargo test",
        path.display()
    );
}

pub fn document() -> ServiceDocument {
    parse_schema(patchbay::graphql::print()).unwrap()
}

pub fn types(document: &ServiceDocument) -> impl Iterator<Item = &TypeDefinition> {
    document.definitions.iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(&definition.node),
        _ => None,
    })
}

#[test]
fn schema_graphql_is_what_the_code_gives() {
    assert_file("schema.graphql", &format!("{}\n", patchbay::graphql::print().trim_end()));
}

#[test]
fn everything_in_the_schema_is_described() {
    let document = document();
    let mut missing = Vec::new();
    for definition in types(&document) {
        let name = definition.name.node.as_str();
        let mut check = |what: String, described: bool| {
            if !described {
                missing.push(what);
            }
        };
        if !matches!(name, "Query" | "Mutation") {
            check(name.to_owned(), definition.description.is_some());
        }
        match &definition.kind {
            TypeKind::Object(object) => {
                for field in &object.fields {
                    check(format!("{name}.{}", field.node.name.node), field.node.description.is_some());
                    for argument in &field.node.arguments {
                        let what = format!("{name}.{}({})", field.node.name.node, argument.node.name.node);
                        check(what, argument.node.description.is_some());
                    }
                }
            }
            TypeKind::Interface(interface) => {
                for field in &interface.fields {
                    check(format!("{name}.{}", field.node.name.node), field.node.description.is_some());
                }
            }
            TypeKind::Enum(kind) => {
                for value in &kind.values {
                    check(format!("{name}.{}", value.node.value.node), value.node.description.is_some());
                }
            }
            TypeKind::InputObject(input) => {
                for field in &input.fields {
                    check(format!("{name}.{}", field.node.name.node), field.node.description.is_some());
                }
            }
            TypeKind::Scalar | TypeKind::Union(_) => {}
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// Reaching a secret by any field would need such a field. The one exception is shown once, to whoever made it.
#[test]
fn no_output_is_named_like_a_secret() {
    let document = document();
    let mut found = Vec::new();
    for definition in types(&document) {
        let TypeKind::Object(object) = &definition.kind else { continue };
        // Mutations are named for what they do; what they answer is in their payloads.
        if definition.name.node == "Mutation" {
            continue;
        }
        for field in &object.fields {
            let name = field.node.name.node.to_lowercase();
            // An id or an object that has to do with a key is no key.
            let harmless = [
                "apikeyid",
                "apikey",
                "apikeys",
                "apikeysmayneverexpire",
                "credentialcount",
                "previoussecretvaliduntil",
            ]
            .contains(&name.as_str());
            if ["secret", "token", "password", "apikey", "privatekey", "credential"]
                .iter()
                .any(|word| name.contains(word))
                && !harmless
            {
                found.push(format!("{}.{}: {}", definition.name.node, field.node.name.node, field.node.ty.node));
            }
        }
    }
    found.sort();
    assert_eq!(
        found,
        [
            "ApiKeyCreatePayload.secret: String",
            "ApiKeyRotatePayload.secret: String",
            "ConnectorAuthMethod.credentialsSchema: JSONObject!",
            "PersonalConnectorConfiguration.credentialsInfo: CredentialsInfo",
        ]
    );
}

/// The organization comes with the credential. Nothing that a caller writes may choose it.
#[test]
fn no_argument_names_an_organization() {
    let document = document();
    for definition in types(&document) {
        let (TypeKind::Object(_) | TypeKind::InputObject(_)) = &definition.kind else { continue };
        let arguments: Vec<String> = match &definition.kind {
            TypeKind::Object(object) => object
                .fields
                .iter()
                .flat_map(|field| field.node.arguments.iter().map(|argument| argument.node.name.node.to_string()))
                .collect(),
            TypeKind::InputObject(input) => input.fields.iter().map(|field| field.node.name.node.to_string()).collect(),
            _ => unreachable!(),
        };
        for argument in arguments {
            let name = argument.to_lowercase();
            // `organization: true` of a grantee is the caller's own, whole.
            let own = definition.name.node == "GranteeInput";
            assert!(
                own || !name.contains("organization") && !name.contains("tenant"),
                "{}: {argument}",
                definition.name.node
            );
        }
    }
}

/// A field that runs its own resolver is nullable, so that its failure leaves its siblings; so is every mutation.
#[test]
fn mutations_are_nullable_and_payloads_say_why() {
    let document = document();
    let by_name: BTreeMap<_, _> =
        types(&document).map(|definition| (definition.name.node.as_str(), definition)).collect();
    let TypeKind::Object(mutation) = &by_name["Mutation"].kind else { panic!() };
    for field in &mutation.fields {
        assert!(field.node.ty.node.nullable, "{}", field.node.name.node);
        let payload = field.node.ty.node.to_string();
        let TypeKind::Object(payload) = &by_name[payload.as_str()].kind else { panic!() };
        let errors = payload.fields.iter().find(|field| field.node.name.node == "userErrors").unwrap();
        assert_eq!(errors.node.ty.node.to_string(), "[UserError!]!");
        // How a bulk mutation went is said even when it did nothing.
        let always = ["userErrors", "failures", "dryRun"];
        for other in payload.fields.iter().filter(|field| !always.contains(&field.node.name.node.as_str())) {
            assert!(other.node.ty.node.nullable, "{}.{}", field.node.name.node, other.node.name.node);
        }
    }
}

#[derive(diesel::QueryableByName)]
struct Column {
    #[diesel(sql_type = diesel::sql_types::Text)]
    table_name: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    column_name: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    type_name: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    nullable: bool,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    in_key: bool,
}

#[derive(diesel::QueryableByName)]
struct Reference {
    #[diesel(sql_type = diesel::sql_types::Text)]
    child: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    parent: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    column_name: String,
}

/// `src/db/schema.rs`, as `diesel print-schema` writes it.
async fn print_schema(connection: &mut diesel_async::AsyncPgConnection) -> String {
    let columns: Vec<Column> = diesel::sql_query(
        "SELECT c.relname::text AS table_name, a.attname::text AS column_name, t.typname::text AS type_name,
                NOT a.attnotnull AS nullable, coalesce(a.attnum = ANY (i.indkey), false) AS in_key
         FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         JOIN pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> '__diesel_schema_migrations'
         ORDER BY c.relname, a.attnum",
    )
    .load(connection)
    .await
    .unwrap();
    let references: Vec<Reference> = diesel::sql_query(
        "SELECT c.conrelid::regclass::text AS child, c.confrelid::regclass::text AS parent, a.attname::text AS column_name
         FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         WHERE c.contype = 'f' AND cardinality(c.conkey) = 1 ORDER BY 1, 2",
    )
    .load(connection)
    .await
    .unwrap();

    let mut tables: BTreeMap<&str, Vec<&Column>> = BTreeMap::new();
    for column in &columns {
        tables.entry(&column.table_name).or_default().push(column);
    }
    let mut text = String::from("// @generated automatically by Diesel CLI.\n\n");
    for (table, columns) in &tables {
        let key: Vec<_> =
            columns.iter().filter(|column| column.in_key).map(|column| column.column_name.as_str()).collect();
        let _ = write!(text, "diesel::table! {{\n    {table} ({}) {{\n", key.join(", "));
        for column in columns {
            let scalar = |name: &str| match name {
                "uuid" => "Uuid",
                "text" => "Text",
                "bytea" => "Bytea",
                "bool" => "Bool",
                "int4" => "Int4",
                "int8" => "Int8",
                "jsonb" => "Jsonb",
                "timestamptz" => "Timestamptz",
                other => panic!("no diesel type for {other}"),
            };
            let mut name = match column.type_name.strip_prefix('_') {
                Some(element) => format!("Array<Nullable<{}>>", scalar(element)),
                None => scalar(&column.type_name).to_owned(),
            };
            if column.nullable {
                name = format!("Nullable<{name}>");
            }
            let _ = writeln!(text, "        {} -> {name},", column.column_name);
        }
        text += "    }\n}\n\n";
    }
    for Reference { child, parent, column_name } in &references {
        let _ = writeln!(text, "diesel::joinable!({child} -> {parent} ({column_name}));");
    }
    text += "\ndiesel::allow_tables_to_appear_in_same_query!(\n";
    for table in tables.keys() {
        let _ = writeln!(text, "    {table},");
    }
    text + ");\n"
}

#[tokio::test]
async fn schema_rs_is_what_the_migrations_give() {
    let database = fresh_database().await;
    let printed = print_schema(&mut database.owner.connect().await.unwrap()).await;
    assert_file("src/db/schema.rs", &printed);
}
