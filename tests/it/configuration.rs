//! Personal connector configurations: made, read, changed, deleted.

use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::harness::{TestApp, github};

/// Every property of the reference page, under its name and with its default.
#[tokio::test]
async fn a_new_configuration_is_as_the_reference_page_says() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let made = acme.owner.create(github("My GitHub Account")).await;
    let viewer = acme.owner.gql("{ viewer { user { id } } }", json!({})).await;
    let id = made["id"].as_str().unwrap();
    assert!(id.strip_prefix("pconf_").unwrap().chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
    assert_eq!(made["object"], "personal_connector.configuration");
    assert_eq!(&made["userId"], viewer.data("/viewer/user/id"));
    assert_eq!(made["apiKeyId"], Value::Null);
    assert_eq!(made["organizationId"], json!(acme.id.to_string()));
    assert_eq!(made["personalConnectorId"], "pcon_github");
    assert_eq!(made["name"], "My GitHub Account");
    assert_eq!(
        made["configuration"],
        json!({"repository": "acme/backend", "branch": "main", "paths": ["src/", "docs/"]})
    );
    assert_eq!(made["enabled"], true);
    assert_eq!(made["healthStatus"], "unknown");
    for absent in ["lastSyncAt", "lastError", "description", "metadata", "authMethod"] {
        assert_eq!(made[absent], Value::Null, "{absent}");
    }
    assert_eq!(made["version"], 1);
    for time in ["createdAt", "updatedAt"] {
        assert!(made[time].as_str().unwrap().ends_with('Z'), "{made}");
    }
    assert_eq!(acme.owner.find(&made["id"]).await, made);
}

#[tokio::test]
async fn an_update_changes_what_is_given_and_nothing_else() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mut input = github("one");
    input["description"] = json!("what it is for");
    input["metadata"] = json!({"environment": "production", "team": "platform", "n": 1, "on": true});
    let made = acme.owner.create(input).await;
    let id = &made["id"];
    let mut expected = made.clone();
    let mut step = async |change: Value, set: Value| {
        let answer = acme.owner.update(id, change.clone(), None).await;
        assert_eq!(answer.user_errors(), Vec::<String>::new(), "{change}");
        let now = answer.data("/personalConnectorConfigurationUpdate/personalConnectorConfiguration");
        for (field, value) in set.as_object().unwrap() {
            expected[field] = value.clone();
        }
        expected["version"] = json!(expected["version"].as_i64().unwrap() + 1);
        assert_ne!(now["updatedAt"], expected["updatedAt"], "{change}");
        expected["updatedAt"] = now["updatedAt"].clone();
        assert_eq!(now, &expected, "{change}");
    };
    step(json!({"name": "two"}), json!({"name": "two"})).await;
    step(json!({"enabled": false}), json!({"enabled": false})).await;
    step(json!({"configuration": {"repository": "a/b"}}), json!({"configuration": {"repository": "a/b"}})).await;
    step(
        json!({"configurationPatch": {"branch": "dev", "paths": ["x"]}}),
        json!({"configuration": {"repository": "a/b", "branch": "dev", "paths": ["x"]}}),
    )
    .await;
    step(
        json!({"configurationPatch": {"paths": null}}),
        json!({"configuration": {"repository": "a/b", "branch": "dev"}}),
    )
    .await;
    step(
        json!({"metadataPatch": {"team": null, "n": 2, "new": "x"}}),
        json!({"metadata": {"environment": "production", "n": 2, "on": true, "new": "x"}}),
    )
    .await;
    step(json!({"metadata": {"only": "this"}}), json!({"metadata": {"only": "this"}})).await;
    step(json!({"metadata": null}), json!({"metadata": null})).await;
    step(json!({"metadataPatch": {"again": "there"}}), json!({"metadata": {"again": "there"}})).await;
    step(json!({"description": null}), json!({"description": null})).await;
    step(json!({"description": ""}), json!({"description": ""})).await;
}

/// A variable that is left out leaves the field out, and an update does not touch it.
#[tokio::test]
async fn an_omitted_variable_stays_omitted() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mut input = github("one");
    input["description"] = json!("stays");
    let made = acme.owner.create(input).await;
    let document = "mutation($id: ID!, $name: String, $description: String) {
        personalConnectorConfigurationUpdate(id: $id, input: {name: $name, description: $description}) {
          personalConnectorConfiguration { name description } userErrors { code } } }";
    let answer = acme.owner.gql(document, json!({"id": made["id"], "name": "two"})).await;
    let now = answer.data("/personalConnectorConfigurationUpdate/personalConnectorConfiguration");
    assert_eq!(now, &json!({"name": "two", "description": "stays"}));
    let answer = acme.owner.gql(document, json!({"id": made["id"], "name": "three", "description": null})).await;
    let now = answer.data("/personalConnectorConfigurationUpdate/personalConnectorConfiguration");
    assert_eq!(now, &json!({"name": "three", "description": null}));
}

#[tokio::test]
async fn a_stale_version_changes_nothing_and_says_the_current_one() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let made = acme.owner.create(github("one")).await;
    let id = &made["id"];
    assert_eq!(acme.owner.update(id, json!({"name": "two"}), Some(1)).await.user_errors(), Vec::<String>::new());
    let stale = acme.owner.update(id, json!({"name": "three"}), Some(1)).await;
    assert_eq!(stale.user_errors(), ["VERSION_CONFLICT at expectedVersion"]);
    let error = stale.data("/personalConnectorConfigurationUpdate/userErrors/0");
    assert_eq!((&error["expectedVersion"], &error["currentVersion"]), (&json!(1), &json!(2)));
    let delete = "mutation($id: ID!, $version: Int) { personalConnectorConfigurationDelete(id: $id, expectedVersion: $version) { deletedId userErrors { code field } } }";
    let kept = acme.owner.gql(delete, json!({"id": id, "version": 1})).await;
    assert_eq!(kept.user_errors(), ["VERSION_CONFLICT at expectedVersion"]);
    assert_eq!(acme.owner.find(id).await["name"], "two");
    let gone = acme.owner.gql(delete, json!({"id": id, "version": 2})).await;
    assert_eq!(gone.data("/personalConnectorConfigurationDelete/deletedId"), id);
    assert_eq!(acme.owner.find(id).await, Value::Null);
    assert_eq!(acme.owner.gql(delete, json!({"id": id})).await.user_errors(), ["NOT_FOUND at id"]);
}

/// Of many who write at once with the same version, one wins and the others learn of it.
#[tokio::test]
async fn no_update_is_lost() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let id = acme.owner.create(github("one")).await["id"].clone();
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let (owner, id) = (acme.owner.clone(), id.clone());
            tokio::spawn(async move {
                owner.update(&id, json!({"name": format!("writer {n}")}), Some(1)).await.user_errors()
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        let errors = writer.await.unwrap();
        won += usize::from(errors.is_empty());
        assert!(errors.is_empty() || errors == ["VERSION_CONFLICT at expectedVersion"], "{errors:?}");
    }
    assert_eq!(won, 1);
    assert_eq!(acme.owner.find(&id).await["version"], 2);
}

#[tokio::test]
async fn a_name_is_unique_for_one_owner_and_connector() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let first = acme.owner.create(github("taken")).await;
    let again = acme.owner.try_create(github("taken")).await;
    assert_eq!(again.user_errors(), ["NAME_TAKEN at input.name"]);
    assert_eq!(again.data("/personalConnectorConfigurationCreate/userErrors/0/existingId"), &first["id"]);
    let second = acme.owner.create(github("free")).await;
    assert_eq!(
        acme.owner.update(&second["id"], json!({"name": "taken"}), None).await.user_errors(),
        ["NAME_TAKEN at input.name"]
    );
    // For another connector, another owner or another organization the name is free.
    acme.owner
        .create(json!({"personalConnectorId": "pcon_clickup", "name": "taken", "configuration": {"workspaceId": "1"}}))
        .await;
    acme.person(Role::Member).await.create(github("taken")).await;
    acme.api_key(&Scope::ALL).await.create(github("taken")).await;
    app.organization("Globex").await.owner.create(github("taken")).await;
}

#[tokio::test]
async fn enabling_and_disabling_twice_does_nothing_the_second_time() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let id = acme.owner.create(github("one")).await["id"].clone();
    for (verb, enabled, version) in
        [("Enable", true, 1), ("Disable", false, 2), ("Disable", false, 2), ("Enable", true, 3)]
    {
        let field = format!("personalConnectorConfiguration{verb}");
        let document = format!(
            "mutation($id: ID!) {{ {field}(id: $id) {{ personalConnectorConfiguration {{ enabled version }} userErrors {{ code }} }} }}"
        );
        let answer = acme.owner.gql(&document, json!({"id": id})).await;
        assert_eq!(
            answer.data(&format!("/{field}/personalConnectorConfiguration")),
            &json!({"enabled": enabled, "version": version})
        );
    }
}

#[tokio::test]
async fn an_admin_may_create_for_others_and_nobody_else_may() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let user = acme.user(Role::Member).await;
    let mut input = github("given");
    input["owner"] = json!({"userId": user.to_string()});
    let made = acme.person(Role::Admin).await.create(input.clone()).await;
    assert_eq!(made["userId"], json!(user.to_string()));
    input["name"] = json!("another");
    for other in [acme.person(Role::Member).await, acme.api_key(&Scope::ALL).await] {
        assert_eq!(other.try_create(input.clone()).await.user_errors(), ["PERMISSION_DENIED at input.owner"]);
    }
    // Naming oneself is no privilege.
    let member = acme.person(Role::Member).await;
    let own = member.gql("{ viewer { user { id } } }", json!({})).await;
    let mut input = github("own");
    input["owner"] = json!({"userId": own.data("/viewer/user/id")});
    member.create(input).await;
}

#[tokio::test]
async fn what_the_viewer_may_do_is_told() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let user = acme.user(Role::Viewer).await;
    let mut input = github("given");
    input["owner"] = json!({"userId": user.to_string()});
    let id = acme.owner.create(input).await["id"].clone();
    let document = "query($id: ID!) { personalConnectorConfiguration(id: $id) { viewerPermissions } }";
    let mine = acme.owner.gql(document, json!({"id": id})).await;
    assert_eq!(
        mine.data("/personalConnectorConfiguration/viewerPermissions"),
        &json!(["view", "update", "delete", "manage_credentials"])
    );
    let token = patchbay::auth::jwt::sign(
        &acme.claims(&crate::harness::subject(user)),
        &secrecy::SecretString::from(crate::harness::JWT_SECRET),
    )
    .unwrap();
    let viewer = app.anonymous().with("authorization", &format!("Bearer {token}"));
    let theirs = viewer.gql(document, json!({"id": id})).await;
    assert_eq!(theirs.data("/personalConnectorConfiguration/viewerPermissions"), &json!(["view"]));
    assert_eq!(viewer.update(&id, json!({"name": "x"}), None).await.code(), "FORBIDDEN");
}
