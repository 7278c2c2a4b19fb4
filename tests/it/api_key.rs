//! API keys: made by people, shown once, ended at once.

use chrono::TimeDelta;
use patchbay::auth::policy::Scope;
use serde_json::{Value, json};

use crate::harness::{TestApp, github};

const CREATE: &str = "mutation($input: ApiKeyCreateInput!) { apiKeyCreate(input: $input) {
    apiKey { id object name prefix scopes createdByUserId createdBy { name } createdAt expiresAt revokedAt active version }
    secret userErrors { code message field } } }";

#[tokio::test]
async fn a_key_is_made_shown_once_used_and_revoked() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let scopes = ["configurations_write", "configurations_read", "configurations_read"];
    let made = acme.owner.gql(CREATE, json!({"input": {"name": "CI", "scopes": scopes}})).await;
    let key = made.data("/apiKeyCreate/apiKey");
    let secret = made.data("/apiKeyCreate/secret").as_str().unwrap();
    assert_eq!(key["object"], "api_key");
    assert_eq!(key["scopes"], json!(["configurations_read", "configurations_write"]));
    assert_eq!(key["prefix"], json!(&secret[..10]));
    assert_eq!((&key["active"], &key["version"], &key["revokedAt"]), (&json!(true), &json!(1), &Value::Null));
    let expiry: chrono::DateTime<chrono::Utc> = key["expiresAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(expiry, app.clock.now() + TimeDelta::days(90));

    let script = app.anonymous().with("x-api-key", secret);
    let own = script.create(github("by a script")).await;
    assert_eq!((&own["apiKeyId"], &own["userId"]), (&key["id"], &Value::Null));
    let viewer = script.gql("{ viewer { role scopes user { id } apiKey { id name active } } }", json!({})).await;
    assert_eq!(
        viewer.data("/viewer"),
        &json!({"role": null, "scopes": ["configurations_read", "configurations_write"], "user": null,
                "apiKey": {"id": key["id"], "name": "CI", "active": true}})
    );

    // Nothing gives the secret again.
    let again = acme.owner.gql("query($id: ID!) { apiKey(id: $id) { id prefix } node(id: $id) { id } organization { apiKeys { nodes { id name } } } }", json!({"id": key["id"]})).await;
    assert!(!again.text.contains(&secret[16..]), "{}", again.text);

    let revoke =
        "mutation($id: ID!) { apiKeyRevoke(id: $id) { apiKey { active revokedAt version } userErrors { code } } }";
    let ended = acme.owner.gql(revoke, json!({"id": key["id"]})).await;
    assert_eq!(ended.data("/apiKeyRevoke/apiKey/active"), false);
    assert_eq!(script.gql("{ viewer { role } }", json!({})).await.status, 401);
    let twice = acme.owner.gql(revoke, json!({"id": key["id"]})).await;
    assert_eq!(twice.body["data"], ended.body["data"], "revoking again does nothing");
}

#[tokio::test]
async fn what_cannot_be_made_says_why() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let at = |days: i64| json!((app.clock.now() + TimeDelta::days(days)).to_rfc3339());
    for (input, errors) in [
        (json!({"name": " ", "scopes": ["members_read"]}), vec!["REQUIRED at input.name"]),
        (json!({"name": "x".repeat(121), "scopes": ["members_read"]}), vec!["INVALID at input.name"]),
        (json!({"name": "x", "scopes": []}), vec!["REQUIRED at input.scopes"]),
        (json!({"name": "x", "scopes": ["members_read"], "expiresAt": at(-1)}), vec!["INVALID at input.expiresAt"]),
        (json!({"name": "x", "scopes": ["members_read"], "expiresAt": at(366)}), vec!["INVALID at input.expiresAt"]),
        (json!({"name": "x", "scopes": ["members_read"], "expiresAt": null}), vec!["REQUIRED at input.expiresAt"]),
    ] {
        let answer = acme.owner.gql(CREATE, json!({"input": input})).await;
        assert_eq!(answer.user_errors(), errors, "{input}");
        assert_eq!(answer.data("/apiKeyCreate/secret"), &Value::Null);
    }
    let longest =
        acme.owner.gql(CREATE, json!({"input": {"name": "x", "scopes": ["members_read"], "expiresAt": at(365)}})).await;
    assert_eq!(longest.user_errors(), Vec::<String>::new());
    // A key makes no keys, whatever its scopes.
    let script = acme.api_key(&Scope::ALL).await;
    let answer = script.gql(CREATE, json!({"input": {"name": "x", "scopes": ["members_read"]}})).await;
    assert_eq!(answer.code(), "FORBIDDEN");
}

#[tokio::test]
async fn keys_are_listed_newest_first_and_filtered() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mut ids = Vec::new();
    for (name, days) in [("alpha", 1), ("beta", 10), ("gamma", 100)] {
        let end = (app.clock.now() + TimeDelta::days(days)).to_rfc3339();
        let made = acme
            .owner
            .gql(CREATE, json!({"input": {"name": name, "scopes": ["members_read"], "expiresAt": end}}))
            .await;
        ids.push(made.data("/apiKeyCreate/apiKey/id").clone());
    }
    acme.owner.gql("mutation($id: ID!) { apiKeyRevoke(id: $id) { userErrors { code } } }", json!({"id": ids[1]})).await;
    app.clock.advance(TimeDelta::minutes(1));
    let list = async |filter: Value| {
        let document =
            "query($filter: ApiKeyFilter) { organization { apiKeys(filter: $filter) { totalCount nodes { name } } } }";
        let answer = acme.owner.gql(document, json!({"filter": filter})).await;
        let nodes = answer.data("/organization/apiKeys/nodes").as_array().unwrap();
        assert_eq!(answer.data("/organization/apiKeys/totalCount"), &json!(nodes.len()));
        nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(json!(null)).await, ["gamma", "beta", "alpha"]);
    assert_eq!(list(json!({"active": {"eq": true}})).await, ["gamma", "alpha"]);
    assert_eq!(list(json!({"active": {"neq": true}})).await, ["beta"]);
    assert_eq!(list(json!({"name": {"startsWith": "g"}})).await, ["gamma"]);
    let soon = (app.clock.now() + TimeDelta::days(11)).to_rfc3339();
    assert_eq!(list(json!({"expiresAt": {"lt": soon}})).await, ["beta", "alpha"]);
    assert_eq!(list(json!({"expiresAt": {"null": true}})).await, Vec::<String>::new());
}
