//! Access permissions: to use is not to read, and nothing is shared by itself.

use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::harness::{Client, TestApp, github};

const SEEN: &str =
    "query($id: ID!) { personalConnectorConfiguration(id: $id) { id name authMethod credentialsInfo { type }
    grants { id permission userId apiKeyId } viewerPermissions } }";

fn mcp(name: &str) -> Value {
    json!({
        "personalConnectorId": "pcon_custom_mcp", "name": name, "configuration": {"endpoint": "https://mcp.example.com/a"},
        "credentials": {"bearer": {"token": "s3cret"}}, "metadata": {"team": "platform"},
    })
}

async fn permissions(client: &Client, id: &Value) -> Value {
    let answer = client.gql(SEEN, json!({"id": id})).await;
    answer.data("/personalConnectorConfiguration").get("viewerPermissions").cloned().unwrap_or_default()
}

async fn rotate(client: &Client, id: &Value) -> Vec<String> {
    let document = "mutation($id: ID!) { personalConnectorConfigurationRotateCredentials(id: $id, credentials: {bearer: {token: \"n\"}}) { userErrors { code field } } }";
    client.gql(document, json!({"id": id})).await.user_errors()
}

async fn delete(client: &Client, id: &Value) -> Vec<String> {
    let document = "mutation($id: ID!) { personalConnectorConfigurationDelete(id: $id) { userErrors { code field } } }";
    client.gql(document, json!({"id": id})).await.user_errors()
}

#[tokio::test]
async fn use_is_not_read_and_manage_is_not_control() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (mia, bob, vera) =
        (acme.person(Role::Member).await, acme.person(Role::Member).await, acme.person(Role::Viewer).await);
    let id = mia.create(mcp("Mia's")).await["id"].clone();
    assert_eq!(
        permissions(&mia, &id).await,
        json!(["VIEW", "UPDATE", "DELETE", "TEST", "MANAGE_CREDENTIALS"].map(str::to_lowercase))
    );
    assert_eq!(bob.find(&id).await, json!(null), "nothing is shared by itself");
    assert_eq!(bob.names(json!(null)).await, Vec::<String>::new());

    // Use: seen, and nothing else.
    let given = mia.grant(&id, json!({"userId": bob.id().await}), "use").await;
    assert_eq!(given.data("/personalConnectorConfigurationGrant/grant/permission"), "use");
    assert_eq!(given.data("/personalConnectorConfigurationGrant/grant/grantedByUserId"), &mia.id().await);
    let seen = bob.gql(SEEN, json!({"id": id})).await;
    assert_eq!(
        seen.data("/personalConnectorConfiguration"),
        &json!({"id": id, "name": "Mia's", "authMethod": "bearer", "credentialsInfo": null, "grants": null,
                "viewerPermissions": ["view", "test"]})
    );
    let denied = ["PERMISSION_DENIED at id"];
    assert_eq!(bob.update(&id, json!({"name": "Bob's"}), None).await.user_errors(), denied);
    assert_eq!(rotate(&bob, &id).await, denied);
    assert_eq!(delete(&bob, &id).await, denied);
    assert_eq!(bob.grant(&id, json!({"userId": vera.id().await}), "use").await.user_errors(), denied);

    // Manage: the settings, but neither the credential nor where it goes.
    let again = mia.grant(&id, json!({"userId": bob.id().await}), "manage").await;
    assert_eq!(
        again.data("/personalConnectorConfigurationGrant/grant/id"),
        given.data("/personalConnectorConfigurationGrant/grant/id"),
        "one grant for a grantee"
    );
    assert_eq!(permissions(&bob, &id).await, json!(["view", "update", "test"]));
    assert_eq!(
        bob.update(&id, json!({"name": "Renamed", "metadataPatch": {"by": "bob"}}), None).await.user_errors(),
        Vec::<String>::new()
    );
    let same_origin = json!({"configurationPatch": {"endpoint": "https://mcp.example.com/b"}});
    assert_eq!(bob.update(&id, same_origin, None).await.user_errors(), Vec::<String>::new());
    let elsewhere = json!({"configurationPatch": {"endpoint": "https://evil.example.com/"}});
    assert_eq!(
        bob.update(&id, elsewhere.clone(), None).await.user_errors(),
        ["PERMISSION_DENIED at input.configurationPatch.endpoint"]
    );
    // Nor when there is no credential yet: the next one would be sent there.
    mia.gql(
        "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) { userErrors { code } } }",
        json!({"id": id}),
    )
    .await;
    assert_eq!(
        bob.update(&id, elsewhere, None).await.user_errors(),
        ["PERMISSION_DENIED at input.configurationPatch.endpoint"]
    );
    assert_eq!(rotate(&bob, &id).await, denied);
    assert_eq!(delete(&bob, &id).await, denied);
    let credentials = bob.gql(SEEN, json!({"id": id})).await;
    assert_eq!(credentials.data("/personalConnectorConfiguration/credentialsInfo"), &Value::Null);

    // A viewer with `manage` is still a viewer.
    mia.grant(&id, json!({"userId": vera.id().await}), "manage").await;
    assert_eq!(permissions(&vera, &id).await, json!(["view"]));
    assert_eq!(vera.update(&id, json!({"name": "x"}), None).await.code(), "FORBIDDEN");
}

#[tokio::test]
async fn admins_see_every_configuration_and_use_none_without_a_grant() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (mia, admin) = (acme.person(Role::Member).await, acme.person(Role::Admin).await);
    let id = mia.create(mcp("Mia's")).await["id"].clone();
    assert_eq!(permissions(&admin, &id).await, json!(["view", "update", "delete", "manage_credentials"]), "no test");
    assert_eq!(
        admin.grant(&id, json!({"userId": admin.id().await}), "use").await.user_errors(),
        ["PERMISSION_DENIED at id"]
    );
    assert_eq!(
        acme.owner.grant(&id, json!({"organization": true}), "use").await.user_errors(),
        ["PERMISSION_DENIED at id"]
    );
    let given = mia.grant(&id, json!({"userId": admin.id().await}), "use").await;
    assert_eq!(permissions(&admin, &id).await, json!(["view", "update", "delete", "test", "manage_credentials"]));
    let listed = admin.gql(SEEN, json!({"id": id})).await;
    let grant = given.data("/personalConnectorConfigurationGrant/grant/id");
    assert_eq!(&listed.data("/personalConnectorConfiguration/grants/0/id"), &grant);
    // An admin may take access away, also its own.
    let revoke =
        "mutation($id: ID!, $grant: ID!) { personalConnectorConfigurationRevokeGrant(id: $id, grantId: $grant) {
        personalConnectorConfiguration { grants { id } } userErrors { code field } } }";
    let revoked = admin.gql(revoke, json!({"id": id, "grant": grant})).await;
    assert_eq!(
        revoked.data("/personalConnectorConfigurationRevokeGrant/personalConnectorConfiguration/grants"),
        &json!([])
    );
    assert_eq!(permissions(&admin, &id).await, json!(["view", "update", "delete", "manage_credentials"]));
    assert_eq!(admin.gql(revoke, json!({"id": id, "grant": grant})).await.user_errors(), ["NOT_FOUND at grantId"]);
}

#[tokio::test]
async fn a_grant_reaches_a_person_a_key_or_everybody_and_lists_show_it() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (mia, bob) = (acme.person(Role::Member).await, acme.person(Role::Member).await);
    let (key, other) = (acme.api_key(&Scope::ALL).await, acme.api_key(&Scope::ALL).await);
    for name in ["for bob", "for the key", "for all", "for nobody"] {
        mia.create(github(name)).await;
    }
    bob.create(github("bob's")).await;
    let id = async |name: &str| {
        let answer = mia
            .gql("query($name: String) { personalConnectorConfigurations(filter: {name: {eq: $name}}) { nodes { id } } }", json!({"name": name}))
            .await;
        answer.data("/personalConnectorConfigurations/nodes/0/id").clone()
    };
    mia.grant(&id("for bob").await, json!({"userId": bob.id().await}), "use").await;
    mia.grant(&id("for the key").await, json!({"apiKeyId": key.id().await}), "manage").await;
    let everybody = mia.grant(&id("for all").await, json!({"organization": true}), "use").await;
    assert_eq!(everybody.data("/personalConnectorConfigurationGrant/grant/userId"), &Value::Null);

    assert_eq!(bob.names(json!(null)).await, ["bob's", "for all", "for bob"]);
    assert_eq!(bob.names(json!({"grantedToViewer": true})).await, ["for all", "for bob"]);
    assert_eq!(bob.names(json!({"grantedToViewer": false})).await, ["bob's"]);
    assert_eq!(bob.names(json!({"ownedByViewer": true})).await, ["bob's"]);
    assert_eq!(key.names(json!(null)).await, ["for the key"], "a grant to the organization is for people");
    assert_eq!(other.names(json!(null)).await, Vec::<String>::new());
    assert_eq!(acme.owner.names(json!({"grantedToViewer": true})).await, ["for all"]);
    assert_eq!(
        key.update(&id("for the key").await, json!({"description": "by a key"}), None).await.user_errors(),
        Vec::<String>::new()
    );
    let mine = bob.gql("{ viewer { personalConnectorConfigurations { nodes { name } } } personalConnector(id: \"pcon_github\") { configurations { totalCount } } }", json!({})).await;
    assert_eq!(mine.data("/viewer/personalConnectorConfigurations/nodes"), &json!([{"name": "bob's"}]));
    assert_eq!(mine.data("/personalConnector/configurations/totalCount"), 3);

    // A key gives access to what it owns, and only to that.
    let own = key.create(github("key's")).await["id"].clone();
    assert_eq!(key.grant(&own, json!({"userId": bob.id().await}), "use").await.user_errors(), Vec::<String>::new());
    assert_eq!(
        key.grant(&id("for the key").await, json!({"organization": true}), "use").await.user_errors(),
        ["PERMISSION_DENIED at id"]
    );
    // What is gone with the member, or with the configuration.
    for (to, error) in [
        (json!({"userId": "user_00000000000000000000000000"}), "NOT_FOUND at to.userId"),
        (json!({"apiKeyId": "x"}), "NOT_FOUND at to.apiKeyId"),
        (json!({"organization": false}), "INVALID at to.organization"),
        (json!({"userId": mia.id().await}), "INVALID at to"),
    ] {
        assert_eq!(mia.grant(&id("for nobody").await, to, "use").await.user_errors(), [error]);
    }
    assert_eq!(
        mia.grant(&id("for nobody").await, json!({"userId": "x", "organization": true}), "use").await.status,
        200
    );
}

#[tokio::test]
async fn giving_and_taking_is_audited_and_costs_one_statement_a_page() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mia = acme.person(Role::Member).await;
    let id = mia.create(github("one")).await["id"].clone();
    let bob = acme.person(Role::Member).await;
    let given = mia.grant(&id, json!({"userId": bob.id().await}), "use").await;
    mia.gql(
        "mutation($id: ID!, $grant: ID!) { personalConnectorConfigurationRevokeGrant(id: $id, grantId: $grant) { userErrors { code } } }",
        json!({"id": id, "grant": given.data("/personalConnectorConfigurationGrant/grant/id")}),
    )
    .await;
    bob.grant(&id, json!({"organization": true}), "use").await;
    let log = acme.owner.audit_log(3).await;
    let field = format!("grants.{}", bob.id().await.as_str().unwrap());
    assert_eq!(log[0]["action"], "grant.created");
    assert_eq!(log[0]["changes"], json!([{"field": field, "before": null, "after": "use"}]));
    assert_eq!(log[1]["action"], "grant.revoked");
    assert_eq!(log[1]["changes"], json!([{"field": field, "before": "use", "after": null}]));
    assert_eq!((&log[2]["action"], &log[2]["targetId"]), (&json!("grant.create_failed"), &id), "not there, for bob");
}
