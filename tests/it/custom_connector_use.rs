//! Configurations of connectors that an organization has defined: what they follow, and what they keep from going.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::custom_connector::{change, configuration, crm, define, delete};
use crate::harness::{Answer, TestApp, fresh_database};

fn message(answer: &Answer) -> String {
    let payload = answer.body["data"].as_object().unwrap().values().next().unwrap();
    payload["userErrors"][0]["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn configurations_follow_its_schema_and_lead_back_to_it() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let member = acme.person(Role::Member).await;
    let id = define(&acme.owner, crm("CRM")).await["id"].clone();
    let other = define(&acme.owner, crm("Other")).await["id"].clone();
    let made = member.create(configuration(&id, "one")).await;
    assert_eq!(made["personalConnectorId"], id);
    let bad = json!({"personalConnectorId": id, "name": "two", "configuration": {"region": "secret"}});
    let refused = member.try_create(bad).await;
    assert_eq!(refused.user_errors(), ["CONFIGURATION_SCHEMA_MISMATCH at input.configuration.region"]);
    assert!(!refused.text.contains("secret"), "{}", refused.text);
    assert_eq!(
        member.update(&made["id"], json!({"configurationPatch": {"size": "large"}}), None).await.user_errors(),
        ["CONFIGURATION_SCHEMA_MISMATCH at input.configurationPatch.size"]
    );
    assert_eq!(
        member.update(&made["id"], json!({"configurationPatch": {"size": 3}}), None).await.user_errors(),
        Vec::<String>::new()
    );
    let validate = "query($id: ID!, $c: JSONObject!) {
        validateConfiguration(personalConnectorId: $id, configuration: $c) { valid errors { instancePath keyword } } }";
    let answer = member.gql(validate, json!({"id": id, "c": {"size": 1}})).await;
    assert_eq!(
        answer.data("/validateConfiguration"),
        &json!({"valid": false, "errors": [{"instancePath": "", "keyword": "required"}]})
    );
    let answer = member.gql(validate, json!({"id": id, "c": {"region": "us"}})).await;
    assert_eq!(answer.data("/validateConfiguration/valid"), true);
    let refused = member
        .try_create(json!({"personalConnectorId": id, "name": "x", "configuration": {"region": "eu"},
        "credentials": {"basic": {"username": "a", "password": "b"}}}))
        .await;
    assert_eq!(refused.user_errors(), ["AUTH_METHOD_UNSUPPORTED at input.credentials"]);

    // The relation is loaded once for all of them, however many there are.
    for n in 0..6 {
        member.create(configuration(if n % 2 == 0 { &id } else { &other }, &format!("n{n}"))).await;
    }
    let list = "{ personalConnectorConfigurations { nodes { name personalConnector { name serverUrl configurationSchema } } } }";
    let statements = Arc::new(AtomicU32::new(0));
    let answer = patchbay::db::count_statements(statements.clone(), member.gql(list, json!({}))).await;
    for node in answer.data("/personalConnectorConfigurations/nodes").as_array().unwrap() {
        assert_eq!(node["personalConnector"]["serverUrl"], "https://mcp.example.com/crm", "{node}");
    }
    assert_eq!(statements.load(Ordering::Relaxed), 3, "who is calling, the page, the connectors");
    let of = member
        .gql("query($id: ID!) { personalConnector(id: $id) { configurations { totalCount } } }", json!({"id": other}))
        .await;
    assert_eq!(of.data("/personalConnector/configurations/totalCount"), 3);

    // Disabled: what is there goes on, nothing new is made.
    change(&acme.owner, &id, json!({"enabled": false}), None).await;
    assert_eq!(
        member.try_create(configuration(&id, "new")).await.user_errors(),
        ["INVALID_STATE at input.personalConnectorId"]
    );
    assert_eq!(
        member.update(&made["id"], json!({"configurationPatch": {"size": 4}}), None).await.user_errors(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn what_configurations_rely_on_cannot_go() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let owner = &acme.owner;
    let id = define(owner, crm("CRM")).await["id"].clone();
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(acme.person(Role::Member).await.create(configuration(&id, &format!("c{n}"))).await["id"].clone());
    }
    let narrow = json!({"type": "object", "properties": {"region": {"const": "us"}}});
    let refused = change(owner, &id, json!({"configurationSchema": narrow}), None).await;
    assert_eq!(refused.user_errors(), ["IN_USE at input.configurationSchema"]);
    assert!(
        message(&refused).starts_with("7 configurations that do not pass the new schema: pconf_"),
        "{}",
        refused.text
    );
    assert!(
        message(&refused).contains(made[4].as_str().unwrap()) && !message(&refused).contains(made[5].as_str().unwrap())
    );
    assert_eq!(delete(owner, &id, None).await.user_errors(), ["IN_USE at id"]);
    // A key does not see other people's configurations: it is told how many, not which.
    let key = acme.api_key(&[Scope::ConnectorsWrite]).await;
    assert_eq!(message(&delete(&key, &id, None).await), "7 configurations of this connector.");
    // A schema that they pass.
    let wide = json!({"type": "object", "required": ["region"]});
    assert_eq!(
        change(owner, &id, json!({"configurationSchema": wide}), None).await.user_errors(),
        Vec::<String>::new()
    );

    // Without credentials the server may move; with some, not to another origin.
    let to = |url: &str| json!({"serverUrl": url});
    assert_eq!(change(owner, &id, to("https://two.example.com"), None).await.user_errors(), Vec::<String>::new());
    let rotate = "mutation($id: ID!, $c: CredentialsInput!) {
        personalConnectorConfigurationRotateCredentials(id: $id, credentials: $c) { userErrors { code } } }";
    let bearer = json!({"id": made[0], "c": {"bearer": {"token": "t"}}});
    assert_eq!(owner.gql(rotate, bearer).await.user_errors(), Vec::<String>::new());
    let refused = change(owner, &id, to("https://three.example.com"), None).await;
    assert_eq!(refused.user_errors(), ["IN_USE at input.serverUrl"]);
    assert!(message(&refused).starts_with("1 configuration with credentials"), "{}", refused.text);
    assert_eq!(
        change(owner, &id, to("https://two.example.com:443/other/path"), None).await.user_errors(),
        Vec::<String>::new()
    );
    let without = json!({"authMethods": [{"type": "api_key"}]});
    assert_eq!(change(owner, &id, without.clone(), None).await.user_errors(), ["IN_USE at input.authMethods"]);
    // Settings may change as they like: the address is the connector's.
    assert_eq!(
        owner.update(&made[0], json!({"configuration": {"region": "us"}}), None).await.user_errors(),
        Vec::<String>::new()
    );
    let clear =
        "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) { userErrors { code } } }";
    owner.gql(clear, json!({"id": made[0]})).await;
    assert_eq!(change(owner, &id, without, None).await.user_errors(), Vec::<String>::new());
    assert_eq!(change(owner, &id, to("https://three.example.com"), None).await.user_errors(), Vec::<String>::new());
    for configuration in &made {
        let document = "mutation($id: ID!) { personalConnectorConfigurationDelete(id: $id) { userErrors { code } } }";
        assert_eq!(owner.gql(document, json!({"id": configuration})).await.user_errors(), Vec::<String>::new());
    }
    assert_eq!(delete(owner, &id, None).await.user_errors(), Vec::<String>::new());
}

/// Whoever comes first: no configuration is ever left without its connector, or against its schema.
#[tokio::test(flavor = "multi_thread")]
async fn who_defines_and_who_configures_do_not_miss_each_other() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let owner = &acme.owner;
    let narrow = json!({"configurationSchema": {"type": "object", "properties": {"region": {"const": "us"}}}});
    for round in 0..12 {
        let id = define(owner, crm(&format!("d{round}"))).await["id"].clone();
        let (gone, made) = tokio::join!(delete(owner, &id, None), owner.try_create(configuration(&id, "one")));
        match (gone.user_errors().first().map(String::as_str), made.user_errors().first().map(String::as_str)) {
            (None, Some("NOT_FOUND at input.personalConnectorId")) | (Some("IN_USE at id"), None) => {}
            other => panic!("{other:?}: {} {}", gone.text, made.text),
        }
        let id = define(owner, crm(&format!("s{round}"))).await["id"].clone();
        let (changed, made) =
            tokio::join!(change(owner, &id, narrow.clone(), None), owner.try_create(configuration(&id, "one")));
        match (changed.user_errors().first().map(String::as_str), made.user_errors().first().map(String::as_str)) {
            (None, Some("CONFIGURATION_SCHEMA_MISMATCH at input.configuration.region"))
            | (Some("IN_USE at input.configurationSchema"), None) => {}
            other => panic!("{other:?}: {} {}", changed.text, made.text),
        }
    }
}

/// A credential is bound to the origin that the server has, whichever of the two changes came first.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_and_a_server_that_moves_do_not_miss_each_other() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let owner = &acme.owner;
    let rotate = "mutation($id: ID!) { personalConnectorConfigurationRotateCredentials(id: $id,
        credentials: {bearer: {token: \"t\"}}) { userErrors { code } } }";
    for round in 0..12 {
        let id = define(owner, crm(&format!("m{round}"))).await["id"].clone();
        let made = owner.create(configuration(&id, "one")).await["id"].clone();
        let to = |url: &str| json!({"serverUrl": url});
        let (moved, rotated) = tokio::join!(
            change(owner, &id, to("https://two.example.com"), None),
            owner.gql(rotate, json!({"id": made}))
        );
        assert_eq!(rotated.user_errors(), Vec::<String>::new());
        let (here, there) = match moved.user_errors().first() {
            None => ("https://two.example.com/path", "https://mcp.example.com"),
            Some(_) => ("https://mcp.example.com/path", "https://two.example.com"),
        };
        assert_eq!(change(owner, &id, to(there), None).await.user_errors(), ["IN_USE at input.serverUrl"]);
        assert_eq!(change(owner, &id, to(here), None).await.user_errors(), Vec::<String>::new());
    }
}

/// A transaction that is slow to commit is waited for, whichever side it is on.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_a_configuration_that_is_being_written() {
    use diesel_async::SimpleAsyncConnection as _;
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let id = define(&acme.owner, crm("CRM")).await["id"].clone();
    let uuid = id.as_str().unwrap().parse::<patchbay::id::ConnectorId>().unwrap().uuid();
    let mut slow = app.owner.connect().await.unwrap();
    slow.batch_execute(&format!(
        "BEGIN; SELECT 1 FROM connectors WHERE id = '{uuid}' FOR SHARE;
         INSERT INTO configurations (organization_id, id, owner_user_id, connector_id, custom_connector_id, name, configuration)
         SELECT organization_id, gen_random_uuid(), user_id, '{}', '{uuid}', 'slow', '{{}}' FROM members
         WHERE organization_id = '{}' LIMIT 1",
        id.as_str().unwrap(),
        acme.id.uuid()
    ))
    .await
    .unwrap();
    let owner = acme.owner.clone();
    let deletion = tokio::spawn(async move { delete(&owner, &id, None).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!deletion.is_finished());
    slow.batch_execute("COMMIT").await.unwrap();
    assert_eq!(deletion.await.unwrap().user_errors(), ["IN_USE at id"]);
}

/// `(a+)+$` would keep a backtracking engine busy for years.
#[tokio::test]
async fn an_evil_pattern_does_no_harm() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let mut input = crm("Evil");
    input["configurationSchema"] = json!({"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}});
    let id = define(&owner, input).await["id"].clone();
    let began = Instant::now();
    let long = format!("{}!", "a".repeat(50_000));
    let answer = owner.try_create(json!({"personalConnectorId": id, "name": "x", "configuration": {"a": long}})).await;
    assert_eq!(answer.user_errors(), ["CONFIGURATION_SCHEMA_MISMATCH at input.configuration.a"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Nor does a schema that makes much of little.
    let mut input = crm("Heavy");
    input["configurationSchema"] =
        json!({"type": "object", "properties": {"a": {"items": {"allOf": vec![json!(false); 1000]}}}});
    let id = define(&owner, input).await["id"].clone();
    let many = json!({"personalConnectorId": id, "name": "x", "configuration": {"a": vec![1; 10_000]}});
    let answer = owner.try_create(many).await;
    assert_eq!(answer.user_errors(), ["INVALID at input.configuration"]);
}

/// The two columns that name a connector cannot disagree, whoever writes them.
#[tokio::test]
async fn the_two_ids_of_a_connector_agree() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let (one, two) = (define(&acme.owner, crm("one")).await, define(&acme.owner, crm("two")).await);
    let uuid = |made: &Value| made["id"].as_str().unwrap().parse::<patchbay::id::ConnectorId>().unwrap().uuid();
    let insert = async |text: &str, custom: &str| {
        use diesel_async::SimpleAsyncConnection as _;
        let statement = format!(
            "INSERT INTO configurations (organization_id, id, owner_user_id, connector_id, custom_connector_id, name, configuration)
             SELECT organization_id, gen_random_uuid(), user_id, '{text}', {custom}, gen_random_uuid()::text, '{{}}' FROM members LIMIT 1"
        );
        database.owner.connect().await.unwrap().batch_execute(&statement).await
    };
    let (text, own, others) = (one["id"].as_str().unwrap(), format!("'{}'", uuid(&one)), format!("'{}'", uuid(&two)));
    assert!(insert(text, &own).await.is_ok());
    assert!(insert("pcon_github", "NULL").await.is_ok());
    for (text, custom) in [(text, others.as_str()), (text, "NULL"), ("pcon_github", own.as_str())] {
        let error = format!("{:?}", insert(text, custom).await.unwrap_err());
        assert!(error.contains("custom_connector_id_check"), "{text} {custom}: {error}");
    }
}
