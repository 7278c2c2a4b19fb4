//! The catalogue, and configurations against its schemas.

use serde_json::{Value, json};

use crate::harness::TestApp;

#[tokio::test]
async fn the_catalogue_has_what_a_form_needs() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let document = "query($filter: PersonalConnectorFilter) { personalConnectors(filter: $filter) { totalCount nodes {
        id object type connectorId status transport name description category connectorVersion documentationUrl enabled version
        organizationId createdAt updatedAt authMethods { type label instructions credentialsSchema } configurationSchema
        exampleConfiguration } } }";
    let answer = owner.gql(document, json!({})).await;
    let nodes = answer.data("/personalConnectors/nodes").as_array().unwrap();
    let ids: Vec<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["pcon_github", "pcon_clickup", "pcon_jira", "pcon_teams", "pcon_custom_mcp"]);
    for node in nodes {
        assert_eq!(node["object"], "personal_connector");
        for method in node["authMethods"].as_array().unwrap() {
            assert!(!method["instructions"].as_str().unwrap().is_empty(), "{node}");
            for (name, property) in method["credentialsSchema"]["properties"].as_object().unwrap() {
                let secret = !["username", "expiresAt", "scopes"].contains(&name.as_str());
                assert_eq!(property["writeOnly"] == json!(true), secret, "{name}");
            }
        }
        let valid = owner
            .gql(
                "query($id: ID!, $c: JSONObject!) { validateConfiguration(personalConnectorId: $id, configuration: $c) { valid } }",
                json!({"id": node["id"], "c": node["exampleConfiguration"]}),
            )
            .await;
        assert_eq!(valid.data("/validateConfiguration/valid"), true);
    }
    for (filter, expected) in [
        (json!({"type": "official"}), 1),
        (json!({"type": "builtin", "category": {"eq": "productivity"}}), 2),
        (json!({"authMethod": {"eq": "none"}}), 1),
        (json!({"authMethod": {"neq": "oauth2"}}), 0),
        (json!({"id": {"in": ["pcon_jira", "pcon_teams", "x"]}}), 2),
        (json!({"name": {"containsIgnoreCase": "hub"}}), 1),
        (json!({"search": "mcp server"}), 1),
        (json!({"enabled": {"eq": false}}), 0),
        (json!({"status": "deprecated"}), 0),
    ] {
        let answer = owner.gql(document, json!({"filter": filter})).await;
        assert_eq!(answer.data("/personalConnectors/totalCount"), &json!(expected), "{filter}");
    }
}

#[tokio::test]
async fn the_catalogue_is_paged_both_ways() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let document = "query($first: Int, $after: String, $last: Int, $before: String) {
        personalConnectors(first: $first, after: $after, last: $last, before: $before) {
          nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";
    let page = async |variables: Value| owner.gql(document, variables).await.data("/personalConnectors").clone();
    let ids = |page: &Value| {
        page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = page(json!({"first": 2})).await;
    assert_eq!(ids(&first), ["pcon_github", "pcon_clickup"]);
    assert_eq!(
        (&first["pageInfo"]["hasNextPage"], &first["pageInfo"]["hasPreviousPage"]),
        (&json!(true), &json!(false))
    );
    let second = page(json!({"first": 2, "after": first["pageInfo"]["endCursor"]})).await;
    assert_eq!(ids(&second), ["pcon_jira", "pcon_teams"]);
    let last = page(json!({"last": 2})).await;
    assert_eq!(ids(&last), ["pcon_teams", "pcon_custom_mcp"]);
    let before = page(json!({"last": 5, "before": last["pageInfo"]["startCursor"]})).await;
    assert_eq!(ids(&before), ["pcon_github", "pcon_clickup", "pcon_jira"]);
}

#[tokio::test]
async fn a_mismatch_is_named_by_pointer_and_saves_nothing() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    for (connector, configuration, expected) in [
        ("pcon_github", json!({}), json!([["", "required", ["input", "configuration"]]])),
        (
            "pcon_github",
            json!({"repository": "acme"}),
            json!([["/repository", "pattern", ["input", "configuration", "repository"]]]),
        ),
        (
            "pcon_github",
            json!({"repository": "acme/backend", "paths": ["ok", 5]}),
            json!([["/paths/1", "type", ["input", "configuration", "paths", "1"]]]),
        ),
        (
            "pcon_clickup",
            json!({"workspaceId": "1", "defaultPriority": 9}),
            json!([["/defaultPriority", "maximum", ["input", "configuration", "defaultPriority"]]]),
        ),
        (
            "pcon_jira",
            json!({"projectKey": "lower"}),
            json!([["/projectKey", "pattern", ["input", "configuration", "projectKey"]]]),
        ),
        (
            "pcon_teams",
            json!({"teamId": "a b", "channelId": ""}),
            json!([
                ["/channelId", "minLength", ["input", "configuration", "channelId"]],
                ["/channelId", "pattern", ["input", "configuration", "channelId"]],
                ["/teamId", "pattern", ["input", "configuration", "teamId"]],
            ]),
        ),
        (
            "pcon_custom_mcp",
            json!({"endpoint": "ftp://example.com"}),
            json!([["/endpoint", "pattern", ["input", "configuration", "endpoint"]]]),
        ),
        (
            "pcon_custom_mcp",
            json!({"endpoint": "https://user:password@example.com"}),
            json!([["/endpoint", "format", ["input", "configuration", "endpoint"]]]),
        ),
        (
            "pcon_custom_mcp",
            json!({"endpoint": "https://example.com", "customSettings": []}),
            json!([["/customSettings", "type", ["input", "configuration", "customSettings"]]]),
        ),
    ] {
        let answer = owner
            .try_create(json!({"personalConnectorId": connector, "name": "x", "configuration": configuration}))
            .await;
        let errors = answer.data("/personalConnectorConfigurationCreate/userErrors").as_array().unwrap();
        let mut found: Vec<_> = errors
            .iter()
            .map(|error| {
                assert_eq!(error["code"], "CONFIGURATION_SCHEMA_MISMATCH");
                json!([error["instancePath"], error["keyword"], error["field"]])
            })
            .collect();
        found.sort_by_key(ToString::to_string);
        assert_eq!(json!(found), expected, "{configuration}");
        let validated = owner
            .gql(
                "query($id: ID!, $c: JSONObject!) { validateConfiguration(personalConnectorId: $id, configuration: $c) { valid errors { instancePath keyword message } } }",
                json!({"id": connector, "c": configuration}),
            )
            .await;
        assert_eq!(validated.data("/validateConfiguration/valid"), false);
        assert_eq!(validated.data("/validateConfiguration/errors").as_array().unwrap().len(), found.len());
    }
    assert_eq!(owner.names(json!(null)).await, Vec::<String>::new());
}
