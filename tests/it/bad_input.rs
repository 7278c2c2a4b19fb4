//! Bad input of every kind: a documented code that names the argument, never a 500, and the database as it was.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, github};

const CREATE: &str = "mutation($input: PersonalConnectorConfigurationCreateInput!) {
    personalConnectorConfigurationCreate(input: $input) { userErrors { code field } } }";
const UPDATE: &str = "mutation($id: ID!, $input: PersonalConnectorConfigurationUpdateInput!, $version: Int) {
    personalConnectorConfigurationUpdate(id: $id, input: $input, expectedVersion: $version) { userErrors { code field } } }";

/// `CODE at path`, wherever the answer says it.
fn said(answer: &Answer) -> String {
    assert!(answer.status.as_u16() < 500, "{}", answer.text);
    match answer.code() {
        "" => answer.user_errors().join(", "),
        code => format!("{code} at {}", answer.argument()),
    }
}

#[tokio::test]
async fn every_field_of_create_is_checked() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let long = |count: usize| "x".repeat(count);
    let deep = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }));
    let many: serde_json::Map<String, Value> = (0..51).map(|n| (format!("k{n}"), json!(n))).collect();
    for (field, value, expected) in [
        ("name", json!(""), "REQUIRED at input.name"),
        ("name", json!(" \t\n"), "REQUIRED at input.name"),
        ("name", json!(long(121)), "INVALID at input.name"),
        ("name", json!(null), "BAD_USER_INPUT at input.name"),
        ("name", json!(5), "BAD_USER_INPUT at input.name"),
        ("name", json!(["x"]), "BAD_USER_INPUT at input.name"),
        ("name", json!("a\u{0}b"), "BAD_USER_INPUT at input.name"),
        ("personalConnectorId", json!("pcon_nothing"), "NOT_FOUND at input.personalConnectorId"),
        ("personalConnectorId", json!(""), "NOT_FOUND at input.personalConnectorId"),
        ("personalConnectorId", json!({}), "BAD_USER_INPUT at input.personalConnectorId"),
        ("configuration", json!(null), "BAD_USER_INPUT at input.configuration"),
        ("configuration", json!([]), "BAD_USER_INPUT at input.configuration"),
        ("configuration", json!("{}"), "BAD_USER_INPUT at input.configuration"),
        ("configuration", json!({"repository": "a/b", "deep": deep}), "INVALID at input.configuration"),
        ("configuration", json!({"repository": "a/b", "long": long(70_000)}), "INVALID at input.configuration"),
        ("configuration", json!({"repository": "a/b", "nul": "\u{0}"}), "BAD_USER_INPUT at input.configuration.nul"),
        ("configuration", json!({"repository": "a/b", "nul\u{0}": 1}), "BAD_USER_INPUT at input.configuration"),
        ("description", json!(long(2001)), "INVALID at input.description"),
        ("description", json!(5), "BAD_USER_INPUT at input.description"),
        ("metadata", json!({"": 1}), "METADATA_INVALID at input.metadata"),
        ("metadata", json!({"a b": 1}), "METADATA_INVALID at input.metadata"),
        ("metadata", json!({"é": 1}), "METADATA_INVALID at input.metadata"),
        ("metadata", json!({long(41): 1}), "METADATA_INVALID at input.metadata"),
        ("metadata", json!({"k": null}), "METADATA_INVALID at input.metadata.k"),
        ("metadata", json!({"k": []}), "METADATA_INVALID at input.metadata.k"),
        ("metadata", json!({"k": {"a": 1}}), "METADATA_INVALID at input.metadata.k"),
        ("metadata", json!({"k": long(501)}), "METADATA_INVALID at input.metadata.k"),
        ("metadata", json!({"k": long(900_000)}), "METADATA_INVALID at input.metadata.k"),
        ("metadata", Value::Object(many), "METADATA_INVALID at input.metadata"),
        ("metadata", json!([1]), "BAD_USER_INPUT at input.metadata"),
        ("enabled", json!(null), "BAD_USER_INPUT at input.enabled"),
        ("enabled", json!("true"), "BAD_USER_INPUT at input.enabled"),
        ("owner", json!({}), "BAD_USER_INPUT at input.owner"),
        ("owner", json!({"userId": "user_x"}), "NOT_FOUND at input.owner.userId"),
        ("owner", json!({"userId": "user_00000000000000000000000000"}), "NOT_FOUND at input.owner.userId"),
        ("owner", json!({"apiKeyId": "key_00000000000000000000000000"}), "NOT_FOUND at input.owner.apiKeyId"),
        ("owner", json!({"userId": "x", "apiKeyId": "y"}), "BAD_USER_INPUT at input.owner"),
        ("unknown", json!(1), "BAD_USER_INPUT at input"),
        ("organizationId", json!("org_00000000000000000000000000"), "BAD_USER_INPUT at input"),
    ] {
        let mut input = github("x");
        input[field] = value;
        let answer = owner.gql(CREATE, json!({"input": input})).await;
        assert_eq!(said(&answer), expected, "{field}: {}", answer.text);
    }
    for missing in ["personalConnectorId", "name", "configuration"] {
        let mut input = github("x");
        input.as_object_mut().unwrap().remove(missing);
        assert_eq!(said(&owner.gql(CREATE, json!({"input": input})).await), "BAD_USER_INPUT at input", "{missing}");
    }
    // Several mistakes are told at once.
    let mut input = github("");
    input["configuration"] = json!({"repository": 5});
    input["metadata"] = json!({"": 1});
    let answer = owner.gql(CREATE, json!({"input": input})).await;
    assert_eq!(
        answer.user_errors(),
        [
            "REQUIRED at input.name",
            "CONFIGURATION_SCHEMA_MISMATCH at input.configuration.repository",
            "METADATA_INVALID at input.metadata"
        ]
    );
    assert_eq!(owner.names(json!(null)).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_largest_that_is_allowed_is_accepted() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let mut input = github(&"é".repeat(120));
    input["description"] = json!("🦀".repeat(2000));
    input["configuration"]["extra"] = json!("x".repeat(64_000));
    input["configuration"]["deep"] = (0..30).fold(json!(1), |inner, _| json!({ "a": inner }));
    input["metadata"] = (0..50)
        .map(|n| (format!("{n}{}", "k".repeat(if n < 10 { 39 } else { 38 })), json!("v".repeat(500))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let made = owner.create(input.clone()).await;
    for field in ["name", "description", "configuration", "metadata"] {
        assert_eq!(made[field], input[field]);
    }
    // Numbers come back as they went in.
    let numbers =
        json!({"repository": "a/b", "n": [0, -1, 1.5, 12_345_678_901_234_567_890_u64, i64::MIN, 1e-7, 1e300]});
    let made =
        owner.create(json!({"personalConnectorId": "pcon_github", "name": "numbers", "configuration": numbers})).await;
    assert_eq!(made["configuration"], numbers);
}

#[tokio::test]
async fn every_way_to_update_nothing_or_too_much_is_refused() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let made = owner.create(github("one")).await;
    for (input, version, expected) in [
        (json!({}), json!(null), "REQUIRED at input"),
        (json!({"name": null}), json!(null), "REQUIRED at input.name"),
        (json!({"enabled": null}), json!(null), "REQUIRED at input.enabled"),
        (json!({"configuration": null}), json!(null), "REQUIRED at input.configuration"),
        (json!({"configurationPatch": null}), json!(null), "REQUIRED at input.configurationPatch"),
        (json!({"metadataPatch": null}), json!(null), "REQUIRED at input.metadataPatch"),
        (
            json!({"configuration": {"repository": "a/b"}, "configurationPatch": {}}),
            json!(null),
            "INVALID at input.configurationPatch",
        ),
        (json!({"metadata": null, "metadataPatch": {}}), json!(null), "INVALID at input.metadataPatch"),
        (
            json!({"configurationPatch": {"repository": null}}),
            json!(null),
            "CONFIGURATION_SCHEMA_MISMATCH at input.configurationPatch",
        ),
        (json!({"metadataPatch": {"a b": 1}}), json!(null), "METADATA_INVALID at input.metadataPatch"),
        (json!({"metadataPatch": {"a": {"b": 1}}}), json!(null), "METADATA_INVALID at input.metadataPatch.a"),
        (json!({"name": "two"}), json!(0), "VERSION_CONFLICT at expectedVersion"),
        (json!({"name": "two"}), json!(-1), "VERSION_CONFLICT at expectedVersion"),
        (json!({"name": "two"}), json!(2_147_483_648_u64), "BAD_USER_INPUT at expectedVersion"),
        (json!({"name": "two"}), json!("1"), "BAD_USER_INPUT at expectedVersion"),
        (json!({"name": "two"}), json!(1.5), "BAD_USER_INPUT at expectedVersion"),
        (json!({"personalConnectorId": "pcon_jira"}), json!(null), "BAD_USER_INPUT at input"),
    ] {
        let answer = owner.gql(UPDATE, json!({"id": made["id"], "input": input, "version": version})).await;
        assert_eq!(said(&answer), expected, "{input}: {}", answer.text);
    }
    for id in [
        json!("pconf_00000000000000000000000000"),
        json!("pconf_x"),
        json!(""),
        json!("user_00000000000000000000000000"),
        json!("é".repeat(10_000)),
    ] {
        let answer = owner.gql(UPDATE, json!({"id": id, "input": {"name": "two"}})).await;
        assert_eq!(said(&answer), "NOT_FOUND at id");
    }
    for id in [json!(null), json!(1.5), json!({}), json!(["x"])] {
        let answer = owner.gql(UPDATE, json!({"id": id, "input": {"name": "two"}})).await;
        assert_eq!(said(&answer), "BAD_USER_INPUT at id", "{id}");
    }
    assert_eq!(owner.find(&made["id"]).await, made);
}

/// Half a surrogate pair, numbers without end, text that is no JSON: in variables, in a document, in an address.
#[tokio::test]
async fn what_no_json_and_no_text_can_hold_is_refused_by_name() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner.with("content-type", "application/json");
    let query = r#""query($id: ID!) { node(id: $id) { id } }""#;
    for (body, expected) in [
        (format!(r#"{{"query": {query}, "variables": {{"id": "\ud800"}}}}"#), "BAD_REQUEST at id"),
        (format!(r#"{{"query": {query}, "variables": {{"id": "\udc00\ud800"}}}}"#), "BAD_REQUEST at id"),
        (format!(r#"{{"query": {query}, "variables": {{"id": 1e999}}}}"#), "BAD_REQUEST at id"),
        (
            format!(r#"{{"query": {query}, "variables": {{"id": {}1{}}}}}"#, "[".repeat(200), "]".repeat(200)),
            "BAD_REQUEST at id",
        ),
        (format!(r#"{{"query": {query}, "variables": []}}"#), "BAD_REQUEST at variables"),
        (format!(r#"{{"query": {query}, "variables": "x"}}"#), "BAD_REQUEST at variables"),
        (format!(r#"{{"query": {query}, "operationName": 5}}"#), "BAD_REQUEST at operationName"),
        (format!(r#"{{"query": {query}, "extensions": 5}}"#), "BAD_REQUEST at extensions"),
        (r#"{"query": 5}"#.to_owned(), "BAD_REQUEST at query"),
        (r#"{"query": ""}"#.to_owned(), "BAD_REQUEST at query"),
        (r#"{"query": null}"#.to_owned(), "BAD_REQUEST at query"),
        (r"{}".to_owned(), "BAD_REQUEST at query"),
        (r#"{"query": "{a}", "query": "{b}"}"#.to_owned(), "BAD_REQUEST at "),
        (r#"{"query": "\ud800"}"#.to_owned(), "BAD_REQUEST at query"),
        (r#"{"query": "{ node(id: \"\\ud800\") { id } }"}"#.to_owned(), "GRAPHQL_PARSE_FAILED at "),
        (r#"{"query": "{ node(id: \"\\u0000\") { id } }"}"#.to_owned(), "BAD_USER_INPUT at id"),
        (r#"{"query": "{ node(id: 1e999) { id } }"}"#.to_owned(), "GRAPHQL_PARSE_FAILED at "),
        (r"[]".to_owned(), "BATCHING_DISABLED at "),
        (r"null".to_owned(), "BAD_REQUEST at "),
        (String::new(), "BAD_REQUEST at "),
        (r#"{"query": "{ viewer { role } }""#.to_owned(), "BAD_REQUEST at "),
        (r#"{"query": "{ viewer { role } }"} x"#.to_owned(), "BAD_REQUEST at "),
    ] {
        let answer = owner.send(Method::POST, "/graphql", body.clone()).await;
        assert_eq!(said(&answer), expected, "{body:.120}: {}", answer.text);
    }
    let raw: Vec<u8> = [&b"{\"query\": \"{ viewer { role } } # "[..], &[0xff, 0xfe], b"\"}"].concat();
    assert_eq!(said(&owner.send(Method::POST, "/graphql", raw).await), "BAD_REQUEST at ");
    for (address, expected) in [
        ("query=%7Bviewer%7Brole%7D%7D&variables=%7B%22x%22%3A%22%5Cud800%22%7D", "BAD_REQUEST at x"),
        ("query=%7Bviewer%7Brole%7D%7D&variables=x", "BAD_REQUEST at variables"),
        ("query=%7Bviewer%7Brole%7D%7D&query=x", "BAD_REQUEST at query"),
        ("query=", "BAD_REQUEST at query"),
        ("", "BAD_REQUEST at query"),
    ] {
        let answer = owner.send(Method::GET, &format!("/graphql?{address}"), "").await;
        assert_eq!(said(&answer), expected, "{address}: {}", answer.text);
    }
}

/// Every argument of text takes any text, and finds what equals it or nothing.
#[tokio::test]
async fn text_is_text_and_never_sql() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let nasty = [
        "' OR 1=1 --",
        "\"; DROP TABLE configurations; --",
        "$1",
        "%",
        "_",
        "\\",
        "\u{1F980}\u{200D}",
        "\u{2028}\u{200b}",
        "{\"a\": 1}",
        "pg_sleep(10)",
    ];
    for text in nasty {
        let mut input = github(text);
        input["description"] = json!(text);
        input["metadata"] = json!({"k": text});
        owner.create(input).await;
    }
    for text in nasty {
        for filter in [
            json!({"name": {"eq": text}}),
            json!({"name": {"contains": text}, "description": {"in": [text]}}),
            json!({"description": {"startsWith": text}, "name": {"eqIgnoreCase": text}}),
            json!({"metadata": {"contains": {"k": text}}}),
            json!({"metadata": {"entries": [{"key": "k", "startsWith": text, "contains": text, "eq": text}]}}),
        ] {
            assert!(owner.names(filter.clone()).await.contains(&text.to_owned()), "{filter}");
        }
        assert_eq!(owner.names(json!({"metadata": {"hasKey": text}})).await, Vec::<String>::new());
        assert_eq!(owner.names(json!({"configuration": {"hasKey": text}})).await, Vec::<String>::new());
        assert_eq!(owner.names(json!({"metadata": {"entries": [{"key": text}]}})).await, Vec::<String>::new());
    }
}
