//! Credentials: sealed on the way in, never on the way out, bound to where they go.

use diesel_async::RunQueryDsl as _;
use patchbay::id::ConfigurationId;
use patchbay::vault::{Binding, Kind, RootKey, Vault, WrappedKey};
use serde_json::{Value, json};

use crate::harness::{Client, ROOT_KEY, TestApp, github};

const INFO: &str = "query($id: ID!) { personalConnectorConfiguration(id: $id) { authMethod healthStatus version
    credentialsInfo { type expiresAt refreshable scopes rotatedAt encryptionKeyVersion } } }";
const ROTATE: &str = "mutation($id: ID!, $credentials: CredentialsInput!) {
    personalConnectorConfigurationRotateCredentials(id: $id, credentials: $credentials) {
      personalConnectorConfiguration { authMethod version healthStatus } userErrors { code message field } } }";
const CLEAR: &str = "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) {
    personalConnectorConfiguration { authMethod version credentialsInfo { type } } userErrors { code } } }";

fn mcp(name: &str, endpoint: &str) -> Value {
    json!({"personalConnectorId": "pcon_custom_mcp", "name": name, "configuration": {"endpoint": endpoint}})
}

#[derive(diesel::QueryableByName)]
struct Stored {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    revision: i64,
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    bound_origin: String,
    #[diesel(sql_type = diesel::sql_types::Binary)]
    sealed: Vec<u8>,
    #[diesel(sql_type = diesel::sql_types::Integer)]
    version: i32,
    #[diesel(sql_type = diesel::sql_types::Text)]
    root_key_id: String,
    #[diesel(sql_type = diesel::sql_types::Binary)]
    wrapped: Vec<u8>,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    organization_id: uuid::Uuid,
}

async fn stored(app: &TestApp, id: &Value) -> Stored {
    let id: ConfigurationId = id.as_str().unwrap().parse().unwrap();
    let mut connection = app.owner.connect().await.unwrap();
    diesel::sql_query(format!(
        "SELECT c.revision, c.kind, c.bound_origin, c.sealed, k.version, k.root_key_id, k.wrapped, c.organization_id
         FROM credentials c JOIN organization_keys k ON k.organization_id = c.organization_id AND k.version = c.organization_key_version
         WHERE c.configuration_id = '{}'",
        id.uuid()
    ))
    .get_result(&mut connection)
    .await
    .unwrap()
}

/// Opens what is stored as `connector` will, with the row's binding, changed by `tamper`.
async fn open(app: &TestApp, id: &Value, tamper: impl FnOnce(&mut Stored)) -> Option<Value> {
    let mut row = stored(app, id).await;
    tamper(&mut row);
    let key = WrappedKey {
        organization: row.organization_id.into(),
        version: row.version.try_into().unwrap(),
        root_key_id: row.root_key_id,
        wrapped: row.wrapped,
    };
    let binding = Binding {
        organization: row.organization_id.into(),
        configuration: id.as_str().unwrap().parse().unwrap(),
        revision: row.revision.try_into().unwrap(),
        kind: Kind::parse(&row.kind).unwrap(),
        origin: &row.bound_origin,
    };
    let vault = Vault::new(RootKey::parse(ROOT_KEY).unwrap());
    vault.open(&key, &binding, &row.sealed).ok().map(|plaintext| serde_json::from_slice(&plaintext).unwrap())
}

#[tokio::test]
async fn every_kind_is_sealed_in_the_shape_of_the_reference_page() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    for (n, (input, plaintext, info)) in [
        (
            json!({"apiKey": {"apiKey": "k-1"}}),
            json!({"type": "api_key", "apiKey": "k-1"}),
            json!({"type": "api_key", "expiresAt": null, "refreshable": false, "scopes": []}),
        ),
        (
            json!({"oauth2": {"accessToken": "a-1", "refreshToken": "r-1", "expiresAt": "2026-12-31T23:59:59+01:00", "scopes": ["x", "y"]}}),
            json!({"type": "oauth2", "accessToken": "a-1", "refreshToken": "r-1", "expiresAt": "2026-12-31T22:59:59Z", "scopes": ["x", "y"]}),
            json!({"type": "oauth2", "expiresAt": "2026-12-31T22:59:59Z", "refreshable": true, "scopes": ["x", "y"]}),
        ),
        (
            json!({"bearer": {"token": "t-1"}}),
            json!({"type": "bearer", "token": "t-1"}),
            json!({"type": "bearer", "expiresAt": null, "refreshable": false, "scopes": []}),
        ),
        (
            json!({"basic": {"username": "u", "password": "p-\"1\""}}),
            json!({"type": "basic", "username": "u", "password": "p-\"1\""}),
            json!({"type": "basic", "expiresAt": null, "refreshable": false, "scopes": []}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut create = mcp(&format!("{n}"), "https://mcp.example.com/api");
        create["credentials"] = input;
        let made = owner.create(create).await;
        assert_eq!(open(&app, &made["id"], |_| ()).await, Some(plaintext));
        let answer = owner.gql(INFO, json!({"id": made["id"]})).await;
        let told = answer.data("/personalConnectorConfiguration/credentialsInfo");
        for (field, value) in info.as_object().unwrap() {
            assert_eq!(&told[field], value, "{field}");
        }
        assert_eq!(told["encryptionKeyVersion"], 1);
        assert_eq!(made["authMethod"], info["type"]);
    }
}

#[tokio::test]
async fn a_stored_credential_opens_for_its_own_record_and_destination_only() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let mut input = mcp("one", "https://mcp.example.com/api");
    input["credentials"] = json!({"bearer": {"token": "t-1"}});
    let one = owner.create(input.clone()).await["id"].clone();
    input["name"] = json!("two");
    let two = owner.create(input).await["id"].clone();
    assert_eq!(stored(&app, &one).await.bound_origin, "https://mcp.example.com");
    assert!(open(&app, &one, |_| ()).await.is_some());
    assert_eq!(open(&app, &one, |row| row.bound_origin = "https://evil.example.com".to_owned()).await, None);
    assert_eq!(open(&app, &one, |row| row.kind = "api_key".to_owned()).await, None);
    assert_eq!(open(&app, &one, |row| row.revision += 1).await, None);
    let other = stored(&app, &two).await.sealed;
    assert_eq!(open(&app, &one, |row| row.sealed = other).await, None, "another record's envelope");
    let stranger = app.organization("Globex").await.id.uuid();
    assert_eq!(open(&app, &one, |row| row.organization_id = stranger).await, None);
}

#[tokio::test]
async fn rotating_and_clearing_never_reuse_a_revision() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let id = owner.create(github("one")).await["id"].clone();
    let rotate = async |token: &str| {
        let answer = owner.gql(ROTATE, json!({"id": id, "credentials": {"bearer": {"token": token}}})).await;
        assert_eq!(answer.user_errors(), Vec::<String>::new());
        answer.data("/personalConnectorConfigurationRotateCredentials/personalConnectorConfiguration/version").clone()
    };
    assert_eq!(rotate("t-1").await, 2);
    assert_eq!(stored(&app, &id).await.revision, 1);
    let first = stored(&app, &id).await;
    assert_eq!(rotate("t-2").await, 3);
    assert_eq!(open(&app, &id, |_| ()).await.unwrap()["token"], "t-2");
    assert_eq!(open(&app, &id, |row| row.sealed = first.sealed).await, None, "the old envelope in the new row");
    let cleared = owner.gql(CLEAR, json!({"id": id})).await;
    let now = cleared.data("/personalConnectorConfigurationClearCredentials/personalConnectorConfiguration");
    assert_eq!(now, &json!({"authMethod": null, "version": 4, "credentialsInfo": null}));
    let again = owner.gql(CLEAR, json!({"id": id})).await;
    assert_eq!(again.body["data"], cleared.body["data"], "clearing again does nothing");
    assert_eq!(rotate("t-3").await, 5);
    assert_eq!(stored(&app, &id).await.revision, 3);
}

/// Whoever may change the address but does not know the secret must not have it sent to an address of their own.
#[tokio::test]
async fn the_destination_of_a_stored_credential_does_not_change() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let mut input = mcp("one", "https://mcp.example.com/api");
    input["credentials"] = json!({"bearer": {"token": "t-1"}});
    let id = owner.create(input).await["id"].clone();
    for (change, allowed) in [
        (json!({"configuration": {"endpoint": "https://evil.example.com/api"}}), false),
        (json!({"configurationPatch": {"endpoint": "https://evil.example.com/api"}}), false),
        (json!({"configurationPatch": {"endpoint": "http://mcp.example.com/api"}}), false),
        (json!({"configurationPatch": {"endpoint": "https://mcp.example.com:8443/api"}}), false),
        (json!({"configurationPatch": {"endpoint": "https://mcp.example.com.evil.example/api"}}), false),
        (json!({"configurationPatch": {"endpoint": "https://MCP.example.com:443/another/path"}}), true),
        (json!({"configurationPatch": {"customSettings": {"a": 1}}}), true),
    ] {
        let errors = owner.update(&id, change.clone(), None).await.user_errors();
        let field = change.as_object().unwrap().keys().next().unwrap();
        let refused = [format!("INVALID_STATE at input.{field}.endpoint")];
        assert_eq!(errors, if allowed { &[][..] } else { &refused }, "{change}");
    }
    // With the credential gone the address is free, and the next credential is bound to it.
    owner.gql(CLEAR, json!({"id": id})).await;
    let moved =
        owner.update(&id, json!({"configurationPatch": {"endpoint": "https://new.example.com/api"}}), None).await;
    assert_eq!(moved.user_errors(), Vec::<String>::new());
    owner.gql(ROTATE, json!({"id": id, "credentials": {"bearer": {"token": "t-2"}}})).await;
    assert_eq!(stored(&app, &id).await.bound_origin, "https://new.example.com");
}

#[tokio::test]
async fn credentials_that_do_not_fit_are_refused_and_nothing_is_kept() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let id = owner.create(github("one")).await["id"].clone();
    let refused = async |client: &Client, credentials: Value| {
        let answer = client.gql(ROTATE, json!({"id": id, "credentials": credentials})).await;
        assert!(!answer.text.contains("s3cret"), "{}", answer.text);
        match answer.code() {
            "" => answer.user_errors().join(", "),
            code => format!("{code} at {}", answer.argument()),
        }
    };
    for (credentials, expected) in [
        (json!({"basic": {"username": "u", "password": "s3cret"}}), "AUTH_METHOD_UNSUPPORTED at credentials"),
        (json!({"bearer": {"token": ""}}), "REQUIRED at credentials.bearer.token"),
        (json!({"bearer": {"token": "  "}}), "REQUIRED at credentials.bearer.token"),
        (json!({"bearer": {"token": "s3cret\r\nx-injected: 1"}}), "INVALID at credentials.bearer.token"),
        (json!({"bearer": {"token": "s3cret".repeat(3000)}}), "INVALID at credentials.bearer.token"),
        (
            json!({"oauth2": {"accessToken": "s3cret", "refreshToken": ""}}),
            "REQUIRED at credentials.oauth2.refreshToken",
        ),
        (json!({"oauth2": {"accessToken": "s3cret", "scopes": [""]}}), "INVALID at credentials.oauth2.scopes"),
        (json!({}), "BAD_USER_INPUT at credentials"),
        (json!({"bearer": {"token": "s3cret"}, "apiKey": {"apiKey": "s3cret"}}), "BAD_USER_INPUT at credentials"),
        (json!({"bearer": {"token": "s3cret"}, "apiKey": null}), "BAD_USER_INPUT at credentials"),
        (json!({"bearer": null}), "BAD_USER_INPUT at credentials"),
        (json!({"bearer": "s3cret"}), "BAD_USER_INPUT at credentials"),
        (json!({"bearer": {"token": ["s3cret"]}}), "BAD_USER_INPUT at credentials.bearer.token"),
        (json!({"bearer": {"token": 5}}), "BAD_USER_INPUT at credentials.bearer.token"),
        (json!("s3cret"), "BAD_USER_INPUT at credentials"),
        (json!({"s3cret": {}}), "BAD_USER_INPUT at credentials"),
        (
            json!({"oauth2": {"accessToken": "a", "expiresAt": "s3cret"}}),
            "BAD_USER_INPUT at credentials.oauth2.expiresAt",
        ),
    ] {
        assert_eq!(refused(&owner, credentials.clone()).await, expected, "{credentials}");
    }
    assert_eq!(owner.find(&id).await["version"], 1);
    let info = owner.gql(INFO, json!({"id": id})).await;
    assert_eq!(info.data("/personalConnectorConfiguration/credentialsInfo"), &Value::Null);
}
