//! Who may do what, as a table that a person can read, and as the API does it.

use std::fmt::Write as _;

use patchbay::auth::jwt::sign;
use patchbay::auth::policy::{Action, KeyRule, Role, Scope};
use patchbay::db;
use secrecy::SecretString;
use serde_json::json;

use crate::harness::{JWT_SECRET, TestApp, github, subject};

#[test]
fn the_policy_reads_like_this() {
    let mut table =
        format!("{:<44}{:<8}{:<8}{:<8}{:<8}{}\n", "action", "viewer", "member", "admin", "owner", "API key");
    for action in Action::ALL.iter().copied() {
        let (lowest, key) = action.rule();
        let _ = write!(table, "{:<44}", action.as_str());
        for role in Role::ALL {
            let _ = write!(table, "{:<8}", if role >= lowest { "yes" } else { "-" });
        }
        let key = match key {
            KeyRule::Always => "any".to_owned(),
            KeyRule::With(scope) => format!("with {}", scope.as_str()),
            KeyRule::Itself => "itself only".to_owned(),
            KeyRule::Never => "never".to_owned(),
        };
        let _ = writeln!(table, "{key}");
    }
    insta::assert_snapshot!(table);
}

/// What each document answers when it is allowed, and which action it is.
const OPERATIONS: [(&str, &str); 13] = [
    ("viewer.read", "{ viewer { role scopes } }"),
    ("organization.read", "{ organization { name } }"),
    ("member.read", "{ organization { members { totalCount } } }"),
    ("personal_connector.read", "{ personalConnectors { totalCount } }"),
    (
        "personal_connector.create",
        "mutation { personalConnectorCreate(input: {name: \"\", serverUrl: \"https://example.com\", authMethods: []}) {
           userErrors { code } } }",
    ),
    (
        "personal_connector.update",
        "mutation($id: ID!) { personalConnectorUpdate(id: $id, input: {enabled: true}) { userErrors { code } } }",
    ),
    ("personal_connector.delete", "mutation($id: ID!) { personalConnectorDelete(id: $id) { userErrors { code } } }"),
    ("personal_connector_configuration.read", "{ personalConnectorConfigurations { totalCount } }"),
    (
        "personal_connector_configuration.create",
        "mutation($create: PersonalConnectorConfigurationCreateInput!) {
           personalConnectorConfigurationCreate(input: $create) { userErrors { code } } }",
    ),
    (
        "personal_connector_configuration.update",
        "mutation($id: ID!) { personalConnectorConfigurationEnable(id: $id) { userErrors { code } } }",
    ),
    (
        "personal_connector_configuration.delete",
        "mutation($id: ID!) { personalConnectorConfigurationDelete(id: $id) { userErrors { code } } }",
    ),
    (
        "credential.write",
        "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) { userErrors { code } } }",
    ),
    ("api_key.revoke", "mutation($id: ID!) { apiKeyRevoke(id: $id) { userErrors { code } } }"),
];

#[tokio::test]
async fn the_api_does_as_the_policy_says() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mut callers = Vec::new();
    for role in Role::ALL {
        callers.push((acme.person(role).await, role, None));
    }
    for scope in Scope::ALL {
        callers.push((acme.api_key(&[scope]).await, Role::Owner, Some(scope)));
    }
    for (name, document) in OPERATIONS {
        let action = Action::ALL.iter().copied().find(|action| action.as_str() == name).unwrap();
        let (lowest, key) = action.rule();
        for (client, role, scope) in &callers {
            let allowed = match scope {
                None => *role >= lowest,
                Some(scope) => key == KeyRule::Always || key == KeyRule::With(*scope),
            };
            let variables = json!({"id": "pconf_00000000000000000000000000", "create": github("")});
            let answer = client.gql(document, variables).await;
            let expected = if allowed { "" } else { "FORBIDDEN" };
            assert_eq!(answer.code(), expected, "{name} as {} {scope:?}: {}", role.as_str(), answer.text);
        }
    }
}

#[tokio::test]
async fn a_forbidden_nullable_field_leaves_its_siblings() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let member = acme.person(Role::Member).await;
    let answer = member.gql("{ organization { name apiKeys { totalCount } } }", json!({})).await;
    assert_eq!(answer.body["data"], json!({"organization": {"name": "Acme", "apiKeys": null}}));
    assert_eq!(answer.code(), "FORBIDDEN");
    assert_eq!(answer.body["errors"][0]["path"], json!(["organization", "apiKeys"]));
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn people_see_their_own_admins_see_all_and_a_key_sees_its_own() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (member, other, admin) =
        (acme.person(Role::Member).await, acme.person(Role::Member).await, acme.person(Role::Admin).await);
    let key = acme.api_key(&Scope::ALL).await;
    member.create(github("member's")).await;
    let id = other.create(github("other's")).await["id"].clone();
    key.create(github("key's")).await;
    assert_eq!(member.names(json!(null)).await, ["member's"]);
    assert_eq!(key.names(json!(null)).await, ["key's"]);
    assert_eq!(admin.names(json!(null)).await, ["key's", "other's", "member's"]);
    assert_eq!(acme.owner.names(json!({"ownedByViewer": true})).await, Vec::<String>::new());
    assert_eq!(acme.owner.names(json!({"ownedByViewer": false})).await, ["key's", "other's", "member's"]);
    // What is not visible is not there, for writing as for reading.
    assert_eq!(member.find(&id).await, json!(null));
    assert_eq!(member.update(&id, json!({"name": "mine"}), None).await.user_errors(), ["NOT_FOUND at id"]);
    assert_eq!(admin.update(&id, json!({"name": "changed"}), None).await.user_errors(), Vec::<String>::new());
}

#[tokio::test]
async fn credentials_need_their_own_scope() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let key = acme.api_key(&[Scope::ConfigurationsWrite]).await;
    let mut input = github("with a secret");
    assert_eq!(key.try_create(input.clone()).await.user_errors(), Vec::<String>::new());
    input["name"] = json!("another");
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    assert_eq!(key.try_create(input).await.code(), "FORBIDDEN");
    assert_eq!(acme.owner.names(json!(null)).await, ["with a secret"]);
}

#[tokio::test]
async fn a_key_does_no_more_than_the_person_who_made_it() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let user = acme.user(Role::Admin).await;
    let admin = app.anonymous().with(
        "authorization",
        &format!("Bearer {}", sign(&acme.claims(&subject(user)), &SecretString::from(JWT_SECRET)).unwrap()),
    );
    let made = admin
        .gql(
            "mutation { apiKeyCreate(input: {name: \"k\", scopes: [configurations_write, api_keys_read]}) { secret } }",
            json!({}),
        )
        .await;
    let key = app.anonymous().with("x-api-key", made.data("/apiKeyCreate/secret").as_str().unwrap());
    assert_eq!(key.try_create(github("as admin")).await.user_errors(), Vec::<String>::new());

    let organization = acme.id;
    let set_role = async |role| {
        app.app.db.system_write(async |tx| db::member::put(tx, organization, user, Some(role)).await).await.unwrap();
    };
    set_role(Role::Member).await;
    let keys = key.gql("{ organization { apiKeys { totalCount } } }", json!({})).await;
    assert_eq!(keys.code(), "FORBIDDEN");
    set_role(Role::Viewer).await;
    assert_eq!(key.try_create(github("as viewer")).await.code(), "FORBIDDEN");
}
