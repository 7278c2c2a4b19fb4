//! What one request may ask for, and what is told when it asks for more.

use axum::http::Method;
use serde_json::json;

use crate::harness::{TestApp, github};

#[tokio::test]
async fn a_request_that_asks_too_much_is_refused_before_it_runs() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let fields = |count: usize| (0..count).map(|_| "viewer { role } ").collect::<String>();
    let aliases = |count: usize| "a: name ".repeat(count);
    for (document, code) in [
        (format!("{{ {} }}", fields(21)), "QUERY_TOO_COMPLEX"),
        (format!("{{ organization {{ {} }} }}", aliases(31)), "QUERY_TOO_COMPLEX"),
        (format!("{{ organization {{ {} }} }}", "name ".repeat(1001)), "QUERY_TOO_COMPLEX"),
        (format!("{{ organization {{ name {} }} }}", "@include(if: true) ".repeat(6)), "QUERY_TOO_COMPLEX"),
        (format!("{{ organization {{ name }} }} # {}", "x".repeat(64 * 1024)), "QUERY_TOO_COMPLEX"),
        (
            "{ viewer { personalConnectorConfigurations(first: 100) { nodes { personalConnector {
                 configurations(first: 100) { nodes { id name } } } } } } }"
                .to_owned(),
            "QUERY_TOO_COMPLEX",
        ),
        (
            "{ node(id: \"x\") { ...A } } fragment A on PersonalConnectorConfiguration { personalConnector { configurations { nodes {
               personalConnector { configurations { nodes { personalConnector { configurations { nodes { personalConnector {
               configurations { nodes { id } } } } } } } } } } } } }"
                .to_owned(),
            "QUERY_TOO_DEEP",
        ),
        (format!("mutation {{ {} }}", "apiKeyRevoke(id: \"x\") { userErrors { code } } ".repeat(11)), "QUERY_TOO_COMPLEX"),
    ] {
        let answer = owner.gql(&document, json!({})).await;
        assert_eq!(answer.code(), code, "{document:.80}: {}", answer.text);
        assert!(answer.body.get("data").is_none(), "{}", answer.text);
        let strict = owner.with("accept", "application/graphql-response+json").gql(&document, json!({})).await;
        assert_eq!(strict.status, 400, "{document:.80}");
    }
}

#[tokio::test]
async fn what_nests_without_end_is_refused_and_nothing_falls_over() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    for (open, close) in [("{ a ", "}"), ("{ a(x: [", "])}"), ("{ a(x: {y: ", "})}"), ("{ ... on Query ", "}")] {
        for depth in [50, 1000, 4000] {
            let document = format!("{}{}", open.repeat(depth), close.repeat(depth));
            let answer = owner.gql(&document, json!({})).await;
            assert!(
                ["GRAPHQL_PARSE_FAILED", "QUERY_TOO_DEEP", "QUERY_TOO_COMPLEX", "GRAPHQL_VALIDATION_FAILED"]
                    .contains(&answer.code()),
                "{open} {depth}: {}",
                answer.code()
            );
        }
    }
    let nested = format!(
        "{{\"query\": \"{{ viewer {{ role }} }}\", \"variables\": {{\"v\": {}{}}}}}",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    let answer = owner.with("content-type", "application/json").send(Method::POST, "/graphql", nested).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "BAD_REQUEST"), "{}", answer.text);
}

#[tokio::test]
async fn introspection_works_where_it_is_allowed_and_says_nothing_where_not() {
    // The standard query nests deeper than data may.
    let introspection =
        "query IntrospectionQuery { __schema { types { name fields { type { ofType { ofType { ofType { ofType {
        ofType { ofType { ofType { name } } } } } } } } } } } }";
    let app = TestApp::new();
    let answer = app.organization("Acme").await.owner.gql(introspection, json!({})).await;
    assert!(answer.data("/__schema/types").as_array().unwrap().len() > 50);

    let database = crate::harness::shared_database();
    let production = TestApp::on(&database, patchbay::config::Api::default());
    let owner = production.organization("Acme").await.owner;
    let answer = owner.gql("{ __schema { types { name } } }", json!({})).await;
    assert!(!answer.text.contains("PersonalConnector"), "{}", answer.text);
    // Nor do errors tell what introspection would.
    let answer = owner.gql("{ personalConnectorConfiguratio(id: \"x\") { id } }", json!({})).await;
    assert!(!answer.text.contains("Did you mean"), "{}", answer.text);
}

#[tokio::test]
async fn the_service_tells_its_limits() {
    let app = TestApp::new();
    let answer = app
        .organization("Acme")
        .await
        .owner
        .gql("{ service { version schemaHash limits { maxDepth maxComplexity maxPageSize maxAliases maxRequestBytes maxBulkItems } } }", json!({}))
        .await;
    assert_eq!(
        answer.data("/service/limits"),
        &json!({"maxDepth": 12, "maxComplexity": 10000, "maxPageSize": 100, "maxAliases": 30, "maxRequestBytes": 1_048_576, "maxBulkItems": 1000})
    );
    assert_eq!(answer.data("/service/schemaHash").as_str().unwrap().len(), 64);
}

/// A field that fails by our fault says so, with a request id and not one word more; its siblings stay.
#[tokio::test]
async fn an_internal_error_tells_nothing() {
    let database = crate::harness::fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let owner = app.organization("Acme").await.owner;
    let id = owner.create(github("one")).await["id"].clone();
    app.sql("ALTER TABLE users RENAME COLUMN name TO nickname").await;
    let answer = owner
        .with("x-request-id", "find-me")
        .gql(
            "query($id: ID!) { personalConnectorConfiguration(id: $id) { name owner { __typename } } }",
            json!({"id": id}),
        )
        .await;
    assert_eq!(answer.body["data"], json!({"personalConnectorConfiguration": {"name": "one", "owner": null}}));
    assert_eq!(answer.code(), "INTERNAL_SERVER_ERROR");
    assert_eq!(answer.body["errors"][0]["message"], patchbay::graphql::context::INTERNAL);
    assert_eq!(answer.body["extensions"]["requestId"], "find-me");
    assert_eq!(answer.headers["x-request-id"], "find-me");
}

#[tokio::test]
async fn a_database_that_is_gone_is_said_and_comes_back() {
    let database = crate::harness::fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let owner = app.organization("Acme").await.owner;
    let admin = crate::harness::server().with_database("postgres");
    let rename = async |from: &str, to: &str| {
        use diesel_async::SimpleAsyncConnection as _;
        let mut connection = admin.connect().await.unwrap();
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
        connection.batch_execute(&cut).await.unwrap();
        connection.batch_execute(&format!("ALTER DATABASE \"{from}\" RENAME TO \"{to}\"")).await.unwrap();
    };
    let away = format!("{}_away", database.name);
    rename(&database.name, &away).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let answer = owner.gql("{ viewer { role } }", json!({})).await;
        assert_eq!(answer.code(), "SERVICE_UNAVAILABLE", "{}", answer.text);
        assert_eq!(answer.headers["retry-after"], "1");
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [503; 5]);
    assert_eq!(app.anonymous().send(Method::GET, "/readyz", "").await.status, 503);
    assert_eq!(app.anonymous().send(Method::GET, "/livez", "").await.status, 200);
    rename(&away, &database.name).await;
    let answer = owner.gql("{ viewer { role } }", json!({})).await;
    assert_eq!(answer.data("/viewer/role"), "owner");
    assert_eq!(app.anonymous().send(Method::GET, "/readyz", "").await.status, 200);
}
