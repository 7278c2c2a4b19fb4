//! Connectors that an organization defines for itself.

use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, TestApp, github};

const FIELDS: &str = "id object type connectorId status transport name description category connectorVersion iconUrl
    documentationUrl serverUrl createdByUserId organizationId enabled deprecationReason version createdAt updatedAt
    authMethods { type label instructions credentialsSchema } configurationSchema exampleConfiguration";
const ERRORS: &str = "userErrors { code message field ... on NameTakenError { existingId }
    ... on LimitExceededError { limit current } ... on VersionConflictError { currentVersion } }";

/// A connector that most tests can use.
pub fn crm(name: &str) -> Value {
    json!({
        "name": name,
        "serverUrl": "https://mcp.example.com/crm",
        "authMethods": [{"type": "bearer"}, {"type": "api_key", "label": "CRM key", "instructions": "Ask Mia."}],
        "configurationSchema": {
            "type": "object", "required": ["region"],
            "properties": {"region": {"type": "string", "pattern": "^[a-z]{2}$"}, "size": {"type": "integer"}},
        },
    })
}

pub async fn try_define(client: &Client, input: Value) -> Answer {
    let document = format!(
        "mutation($input: PersonalConnectorCreateInput!) {{
           personalConnectorCreate(input: $input) {{ personalConnector {{ {FIELDS} }} {ERRORS} }} }}"
    );
    client.gql(&document, json!({"input": input})).await
}

pub async fn define(client: &Client, input: Value) -> Value {
    let answer = try_define(client, input).await;
    assert_eq!(answer.user_errors(), Vec::<String>::new(), "{}", answer.text);
    answer.data("/personalConnectorCreate/personalConnector").clone()
}

pub async fn change(client: &Client, id: &Value, input: Value, version: Option<i32>) -> Answer {
    let document = format!(
        "mutation($id: ID!, $input: PersonalConnectorUpdateInput!, $version: Int) {{
           personalConnectorUpdate(id: $id, input: $input, expectedVersion: $version) {{
             personalConnector {{ {FIELDS} }} {ERRORS} }} }}"
    );
    client.gql(&document, json!({"id": id, "input": input, "version": version})).await
}

pub async fn delete(client: &Client, id: &Value, version: Option<i32>) -> Answer {
    let document = format!(
        "mutation($id: ID!, $version: Int) {{
           personalConnectorDelete(id: $id, expectedVersion: $version) {{ deletedId {ERRORS} }} }}"
    );
    client.gql(&document, json!({"id": id, "version": version})).await
}

pub fn configuration(connector: &Value, name: &str) -> Value {
    json!({"personalConnectorId": connector, "name": name, "configuration": {"region": "eu"}})
}

#[tokio::test]
async fn a_connector_is_defined_found_changed_and_deleted() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let admin = acme.person(Role::Admin).await;
    let viewer = admin.gql("{ viewer { user { id } organization { id } } }", json!({})).await;
    let mut input = crm("CRM");
    input["description"] = json!("Customers");
    input["iconUrl"] = json!("https://example.com/icon.png");
    input["documentationUrl"] = json!("https://example.com/docs");
    input["exampleConfiguration"] = json!({"region": "eu"});
    let made = define(&admin, input.clone()).await;
    let id = made["id"].clone();
    assert!(id.as_str().unwrap().starts_with("pcon_") && id.as_str().unwrap().len() == 31, "{id}");
    for (field, expected) in [
        ("object", json!("personal_connector")),
        ("type", json!("custom")),
        ("connectorId", id.clone()),
        ("status", json!("active")),
        ("transport", json!("mcp_http")),
        ("name", json!("CRM")),
        ("description", json!("Customers")),
        ("category", json!("custom")),
        ("connectorVersion", json!(null)),
        ("iconUrl", input["iconUrl"].clone()),
        ("documentationUrl", input["documentationUrl"].clone()),
        ("serverUrl", input["serverUrl"].clone()),
        ("createdByUserId", viewer.data("/viewer/user/id").clone()),
        ("organizationId", viewer.data("/viewer/organization/id").clone()),
        ("enabled", json!(true)),
        ("deprecationReason", json!(null)),
        ("version", json!(1)),
        ("configurationSchema", input["configurationSchema"].clone()),
        ("exampleConfiguration", input["exampleConfiguration"].clone()),
    ] {
        assert_eq!(made[field], expected, "{field}");
    }
    let methods = made["authMethods"].as_array().unwrap();
    assert_eq!(methods.iter().map(|method| &method["label"]).collect::<Vec<_>>(), ["Bearer token", "CRM key"]);
    assert_eq!((&methods[0]["instructions"], &methods[1]["instructions"]), (&json!(null), &json!("Ask Mia.")));
    assert_eq!(methods[1]["credentialsSchema"]["properties"]["apiKey"]["writeOnly"], true);

    // Everywhere that a connector can be read, it is the same.
    let document = format!(
        "query($id: ID!) {{ personalConnector(id: $id) {{ {FIELDS} }} node(id: $id) {{ ... on PersonalConnector {{ {FIELDS} }} }}
           nodes(ids: [$id, \"pcon_github\", $id]) {{ id }} }}"
    );
    let found = admin.gql(&document, json!({"id": id})).await;
    assert_eq!(found.data("/personalConnector"), &made);
    assert_eq!(found.data("/node"), &made);
    assert_eq!(found.data("/nodes"), &json!([{"id": id}, {"id": "pcon_github"}, {"id": id}]));

    let changed = change(
        &admin,
        &id,
        json!({"name": "CRM 2", "description": null, "iconUrl": null, "category": "sales", "enabled": false,
            "deprecationReason": "Use the new one.", "exampleConfiguration": null}),
        Some(1),
    )
    .await;
    let now = changed.data("/personalConnectorUpdate/personalConnector");
    for (field, expected) in [
        ("name", json!("CRM 2")),
        ("description", json!(null)),
        ("iconUrl", json!(null)),
        ("documentationUrl", input["documentationUrl"].clone()),
        ("category", json!("sales")),
        ("enabled", json!(false)),
        ("status", json!("deprecated")),
        ("deprecationReason", json!("Use the new one.")),
        ("exampleConfiguration", json!(null)),
        ("version", json!(2)),
        ("createdAt", made["createdAt"].clone()),
    ] {
        assert_eq!(now[field], expected, "{field}");
    }
    let stale = change(&admin, &id, json!({"enabled": true}), Some(1)).await;
    assert_eq!(stale.user_errors(), ["VERSION_CONFLICT at expectedVersion"]);
    assert_eq!(stale.data("/personalConnectorUpdate/userErrors/0/currentVersion"), 2);
    let back = change(&admin, &id, json!({"category": null, "deprecationReason": null}), None).await;
    let back = back.data("/personalConnectorUpdate/personalConnector");
    assert_eq!((&back["category"], &back["status"]), (&json!("custom"), &json!("active")));

    assert_eq!(delete(&admin, &id, Some(2)).await.user_errors(), ["VERSION_CONFLICT at expectedVersion"]);
    assert_eq!(delete(&admin, &id, Some(3)).await.data("/personalConnectorDelete/deletedId"), &id);
    assert_eq!(delete(&admin, &id, None).await.user_errors(), ["NOT_FOUND at id"]);
    // The audit log says what changed, oldest last.
    let log = "{ organization { auditLog { nodes { action targetId changes { field before after } } } } }";
    let log = admin.gql(log, json!({})).await;
    let entries: Vec<_> = log
        .data("/organization/auditLog/nodes")
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["targetId"] == id)
        .map(|entry| {
            let fields = entry["changes"].as_array().unwrap().iter().map(|change| change["field"].as_str().unwrap());
            format!("{}: {}", entry["action"].as_str().unwrap(), fields.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        entries,
        [
            "personal_connector.deleted: ",
            "personal_connector.updated: category deprecationReason",
            "personal_connector.updated: name description category iconUrl exampleConfiguration enabled deprecationReason",
            "personal_connector.created: name serverUrl authMethods configurationSchema",
        ]
    );
    assert_eq!(admin.gql(&document, json!({"id": id})).await.data("/personalConnector"), &json!(null));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_kept() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let id = define(&owner, crm("CRM")).await["id"].clone();
    let schema = |schema: Value| json!({"configurationSchema": schema});
    for (bad, expected) in [
        (json!({"name": " "}), "REQUIRED at input.name"),
        (json!({"name": "x".repeat(121)}), "INVALID at input.name"),
        (json!({"name": "CRM"}), "NAME_TAKEN at input.name"),
        (json!({"description": "x".repeat(2001)}), "INVALID at input.description"),
        (json!({"category": ""}), "INVALID at input.category"),
        (json!({"category": "x".repeat(41)}), "INVALID at input.category"),
        (json!({"iconUrl": "https://user:secret@example.com/x.png"}), "INVALID at input.iconUrl"),
        (
            json!({"documentationUrl": format!("https://example.com/{}", "x".repeat(2048))}),
            "INVALID at input.documentationUrl",
        ),
        (json!({"serverUrl": "http://mcp.example.com"}), "INVALID at input.serverUrl"),
        (json!({"serverUrl": "https://user:secret@mcp.example.com"}), "INVALID at input.serverUrl"),
        (json!({"serverUrl": "https://mcp.example.com/#secret"}), "INVALID at input.serverUrl"),
        (json!({"authMethods": []}), "REQUIRED at input.authMethods"),
        (json!({"authMethods": [{"type": "bearer"}, {"type": "bearer"}]}), "INVALID at input.authMethods.1.type"),
        (json!({"authMethods": [{"type": "none", "label": "\n"}]}), "INVALID at input.authMethods.0.label"),
        (
            json!({"authMethods": [{"type": "none", "instructions": "x".repeat(4001)}]}),
            "INVALID at input.authMethods.0.instructions",
        ),
        (schema(json!({})), "INVALID at input.configurationSchema"),
        (schema(json!({"type": "array"})), "INVALID at input.configurationSchema"),
        (schema(json!({"type": "object", "properties": "secret"})), "INVALID at input.configurationSchema"),
        (
            schema(json!({"type": "object", "$ref": "https://example.com/secret.json"})),
            "INVALID at input.configurationSchema",
        ),
        (schema(json!({"type": "object", "$ref": "file:///etc/secret"})), "INVALID at input.configurationSchema"),
        (schema(json!({"type": "object", "properties": {"a": {"$ref": "#"}}})), "INVALID at input.configurationSchema"),
        (
            schema(json!({"type": "object", "properties": {"a": {"pattern": "(?<=secret)x"}}})),
            "INVALID at input.configurationSchema",
        ),
        // What a validator would go over again on each level.
        (
            schema(json!({"type": "object", "properties": {"a": {"unevaluatedProperties": false}}})),
            "INVALID at input.configurationSchema",
        ),
        (
            schema(json!({"type": "object", "allOf": [{"properties": {"a": {"unevaluatedItems": {}}}}]})),
            "INVALID at input.configurationSchema",
        ),
        (schema(json!({"type": "object", "description": "x".repeat(70_000)})), "INVALID at input.configurationSchema"),
        (json!({"exampleConfiguration": {"region": "secret"}}), "INVALID at input.exampleConfiguration"),
    ] {
        let mut input = crm("Another");
        input.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let answer = try_define(&owner, input).await;
        assert_eq!(answer.user_errors(), [expected], "{bad:.200}");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        if !bad["name"].is_null() && bad["name"] == "CRM" {
            assert_eq!(answer.data("/personalConnectorCreate/userErrors/0/existingId"), &id);
            continue;
        }
        let answer = change(&owner, &id, bad.clone(), None).await;
        assert_eq!(answer.user_errors(), [expected], "{bad:.200}");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
    for (bad, expected) in [
        (json!({}), "REQUIRED at input"),
        (json!({"name": null}), "REQUIRED at input.name"),
        (json!({"serverUrl": null}), "REQUIRED at input.serverUrl"),
        (json!({"authMethods": null}), "REQUIRED at input.authMethods"),
        (json!({"configurationSchema": null}), "REQUIRED at input.configurationSchema"),
        (json!({"enabled": null}), "REQUIRED at input.enabled"),
        (json!({"deprecationReason": ""}), "INVALID at input.deprecationReason"),
        (json!({"deprecationReason": "x".repeat(501)}), "INVALID at input.deprecationReason"),
    ] {
        assert_eq!(change(&owner, &id, bad.clone(), None).await.user_errors(), [expected], "{bad:.200}");
    }
    // An address that is none does not even fit the argument, and is not repeated.
    let answer = try_define(&owner, json!({"name": "x", "authMethods": [], "serverUrl": "secret"})).await;
    assert_eq!(answer.code(), "BAD_USER_INPUT");
    assert!(!answer.text.contains("secret"), "{}", answer.text);
    // Those of the program are not the organization's to change.
    assert_eq!(
        change(&owner, &json!("pcon_github"), json!({"enabled": false}), None).await.user_errors(),
        ["PERMISSION_DENIED at id"]
    );
    assert_eq!(delete(&owner, &json!("pcon_github"), None).await.user_errors(), ["PERMISSION_DENIED at id"]);
    assert_eq!(delete(&owner, &json!("pcon_nothing"), None).await.user_errors(), ["NOT_FOUND at id"]);
    // The new name of another one.
    let other = define(&owner, crm("Other")).await["id"].clone();
    let taken = change(&owner, &other, json!({"name": "CRM"}), None).await;
    assert_eq!(taken.user_errors(), ["NAME_TAKEN at input.name"]);
    assert_eq!(taken.data("/personalConnectorUpdate/userErrors/0/existingId"), &id);
    // A new schema that the stored example does not pass.
    let mut input = crm("With example");
    input["exampleConfiguration"] = json!({"region": "eu"});
    let id = define(&owner, input).await["id"].clone();
    let narrow = json!({"type": "object", "properties": {"region": {"const": "us"}}});
    assert_eq!(
        change(&owner, &id, json!({"configurationSchema": narrow}), None).await.user_errors(),
        ["INVALID at input.exampleConfiguration"]
    );
    let both = json!({"configurationSchema": narrow, "exampleConfiguration": {"region": "us"}});
    assert_eq!(change(&owner, &id, both, None).await.user_errors(), Vec::<String>::new());
}

#[tokio::test]
async fn the_catalogue_holds_both_kinds() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    for name in ["b", "a", "C"] {
        let mut input = crm(name);
        input["category"] = json!(format!("of {name}"));
        define(&owner, input).await;
    }
    let id = define(&owner, crm("old")).await["id"].clone();
    change(&owner, &id, json!({"deprecationReason": "gone soon", "enabled": false}), None).await;
    let document = "query($filter: PersonalConnectorFilter, $first: Int, $after: String, $last: Int, $before: String) {
        personalConnectors(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
          totalCount nodes { name } pageInfo { endCursor startCursor hasNextPage hasPreviousPage } } }";
    let names = |answer: &Answer| {
        let nodes = answer.data("/personalConnectors/nodes").as_array().unwrap().clone();
        nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = names(&owner.gql(document, json!({})).await);
    let expected = ["GitHub", "ClickUp", "Jira", "Microsoft Teams", "Custom MCP server", "C", "a", "b", "old"];
    assert_eq!(all, expected);
    let mut seen = Vec::new();
    let mut after = json!(null);
    loop {
        let page = owner.gql(document, json!({"first": 4, "after": after})).await;
        seen.extend(names(&page));
        after = page.data("/personalConnectors/pageInfo/endCursor").clone();
        if page.data("/personalConnectors/pageInfo/hasNextPage") == false {
            break;
        }
        if seen.len() == 8 {
            // The one that the next page begins behind is gone.
            let b = owner.gql("{ personalConnectors(filter: {name: {eq: \"b\"}}) { nodes { id } } }", json!({})).await;
            delete(&owner, b.data("/personalConnectors/nodes/0/id"), None).await;
        }
    }
    assert_eq!(seen, expected);
    let last = owner.gql(document, json!({"last": 2})).await;
    assert_eq!(names(&last), ["a", "old"]);
    let before = json!({"last": 2, "before": last.data("/personalConnectors/pageInfo/startCursor")});
    assert_eq!(names(&owner.gql(document, before).await), ["Custom MCP server", "C"]);
    for (filter, expected) in [
        (json!({"type": "custom"}), vec!["Custom MCP server", "C", "a", "old"]),
        (json!({"status": "deprecated"}), vec!["old"]),
        (json!({"enabled": {"eq": false}}), vec!["old"]),
        (json!({"enabled": {"neq": false}, "type": "custom"}), vec!["Custom MCP server", "C", "a"]),
        (json!({"category": {"startsWith": "of "}}), vec!["C", "a"]),
        (json!({"id": {"in": [id, "pcon_jira"]}}), vec!["Jira", "old"]),
        (json!({"authMethod": {"eq": "api_key"}, "name": {"in": ["a", "GitHub"]}}), vec!["GitHub", "a"]),
        (json!({"search": "OLD"}), vec!["old"]),
    ] {
        assert_eq!(names(&owner.gql(document, json!({"filter": filter})).await), expected, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_defines_a_hundred_and_no_more() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    for n in 0..98 {
        define(&acme.owner, crm(&format!("c{n}"))).await;
    }
    let (c98, c99, c100) = (crm("c98"), crm("c99"), crm("c100"));
    let answers =
        tokio::join!(try_define(&acme.owner, c98), try_define(&acme.owner, c99), try_define(&acme.owner, c100));
    let mut errors = [answers.0.user_errors(), answers.1.user_errors(), answers.2.user_errors()].concat();
    assert_eq!(errors.pop().as_deref(), Some("LIMIT_EXCEEDED at "));
    assert_eq!(errors, Vec::<String>::new());
    let refused = try_define(&acme.owner, crm("c101")).await;
    let error = refused.data("/personalConnectorCreate/userErrors/0");
    assert_eq!((&error["limit"], &error["current"]), (&json!(100), &json!(100)));
    // Another organization has its own hundred.
    define(&app.organization("Globex").await.owner, crm("c0")).await;
}

#[tokio::test]
async fn admins_and_keys_with_the_scope_define_others_do_not() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let key = acme.api_key(&[Scope::ConnectorsWrite, Scope::ConfigurationsWrite]).await;
    let made = try_define(&key, crm("By key")).await;
    assert_eq!(made.user_errors(), Vec::<String>::new());
    // It may write and not read: it is not shown what it wrote.
    assert_eq!(made.data("/personalConnectorCreate/personalConnector"), &json!(null));
    let list = "{ personalConnectors(filter: {name: {eq: \"By key\"}}) { nodes { id createdByUserId } } }";
    let found = acme.owner.gql(list, json!({})).await;
    assert_eq!(found.data("/personalConnectors/nodes/0/createdByUserId"), &json!(null));
    let id = found.data("/personalConnectors/nodes/0/id").clone();
    // The name that is taken is said, the id that has it is not.
    let taken = try_define(&key, crm("By key")).await;
    assert_eq!(taken.user_errors(), ["NAME_TAKEN at input.name"]);
    assert!(!taken.text.contains(id.as_str().unwrap()), "{}", taken.text);
    // Who may write configurations may use it, also without reading the catalogue.
    assert_eq!(key.try_create(configuration(&id, "mine")).await.user_errors(), Vec::<String>::new());
    assert_eq!(key.try_create(github("mine")).await.user_errors(), Vec::<String>::new());
    for client in [acme.person(Role::Member).await, acme.api_key(&[Scope::ConnectorsRead]).await] {
        assert_eq!(try_define(&client, crm("No")).await.code(), "FORBIDDEN");
        assert_eq!(change(&client, &id, json!({"enabled": false}), None).await.code(), "FORBIDDEN");
        assert_eq!(delete(&client, &id, None).await.code(), "FORBIDDEN");
    }
}
