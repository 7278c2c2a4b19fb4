//! What is sent twice is done once.

use chrono::TimeDelta;
use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, TestApp, github};

const CREATE: &str = "mutation($input: PersonalConnectorConfigurationCreateInput!, $key: String) {
    personalConnectorConfigurationCreate(input: $input, idempotencyKey: $key) {
      personalConnectorConfiguration { id name version credentialsInfo { type } } userErrors { code message field } } }";

async fn create(client: &Client, name: &str, key: &str) -> Answer {
    let mut input = github(name);
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    client.gql(CREATE, json!({"input": input, "key": key})).await
}

#[tokio::test]
async fn a_repeat_gives_the_first_answer() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let first = create(&acme.owner, "one", "k").await;
    let again = create(&acme.owner, "one", "k").await;
    assert_eq!(
        first.data("/personalConnectorConfigurationCreate"),
        again.data("/personalConnectorConfigurationCreate")
    );
    let id = first.data("/personalConnectorConfigurationCreate/personalConnectorConfiguration/id");
    // The first answer, whatever has become of it since.
    acme.owner.update(id, json!({"name": "renamed"}), None).await;
    let later = create(&acme.owner, "one", "k").await;
    assert_eq!(
        first.data("/personalConnectorConfigurationCreate"),
        later.data("/personalConnectorConfigurationCreate")
    );
    assert_eq!(acme.owner.names(json!(null)).await, ["renamed"]);
    // Members in another order are the same arguments.
    let swapped = r#"{"input": {"name": "one", "credentials": {"bearer": {"token": "s3cret"}}, "configuration": {"paths": ["src/", "docs/"], "branch": "main", "repository": "acme/backend"}, "personalConnectorId": "pcon_github"}, "key": "k"}"#;
    let swapped = acme.owner.gql(CREATE, serde_json::from_str(swapped).unwrap()).await;
    assert_eq!(
        first.data("/personalConnectorConfigurationCreate"),
        swapped.data("/personalConnectorConfigurationCreate")
    );
    // One audit row, for the one time.
    assert_eq!(
        acme.owner
            .audit_log(10)
            .await
            .iter()
            .filter(|entry| entry["action"] == "personal_connector_configuration.created")
            .count(),
        1
    );
}

#[tokio::test]
async fn other_arguments_are_refused_and_another_caller_is_another_key() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    create(&acme.owner, "one", "k").await;
    assert_eq!(create(&acme.owner, "two", "k").await.user_errors(), ["IDEMPOTENCY_KEY_REUSED at idempotencyKey"]);
    let mut other_secret = github("one");
    other_secret["credentials"] = json!({"bearer": {"token": "another"}});
    let reused = acme.owner.gql(CREATE, json!({"input": other_secret, "key": "k"})).await;
    assert_eq!(reused.user_errors(), ["IDEMPOTENCY_KEY_REUSED at idempotencyKey"], "a secret is an argument too");
    let member = acme.person(patchbay::auth::policy::Role::Member).await;
    assert_eq!(create(&member, "two", "k").await.user_errors(), Vec::<String>::new(), "a key is its caller's");
    let elsewhere = app.organization("Globex").await;
    assert_eq!(create(&elsewhere.owner, "three", "k").await.user_errors(), Vec::<String>::new());
    for key in ["", &"x".repeat(256), "a\nb"] {
        assert_eq!(create(&acme.owner, "four", key).await.user_errors(), ["INVALID at idempotencyKey"]);
    }
    // What was refused was not done, and may be tried again.
    assert_eq!(create(&acme.owner, " ", "r").await.user_errors(), ["REQUIRED at input.name"]);
    assert_eq!(create(&acme.owner, "five", "r").await.user_errors(), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let script = acme.api_key(&Scope::ALL).await;
    create(&script, "one", "k").await;
    app.clock.advance(TimeDelta::hours(24));
    assert_eq!(create(&script, "two", "k").await.user_errors(), Vec::<String>::new());
    assert_eq!(script.names(json!(null)).await, ["two", "one"]);
}

#[tokio::test]
async fn the_header_does_the_same_for_a_request_with_one_mutation() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let variables = json!({"input": github("one")});
    for key in ["h", "\"h\""] {
        let answer = acme.owner.with("idempotency-key", key).gql(CREATE, variables.clone()).await;
        assert_eq!(answer.user_errors(), Vec::<String>::new(), "bare and quoted are one key");
    }
    assert_eq!(acme.owner.names(json!(null)).await, ["one"]);
    let both =
        acme.owner.with("idempotency-key", "h").gql(CREATE, json!({"input": github("one"), "key": "other"})).await;
    assert_eq!(both.user_errors(), ["INVALID at idempotencyKey"]);
    let two = "mutation { a: apiKeyRevoke(id: \"x\") { userErrors { code } } b: apiKeyRevoke(id: \"x\") { userErrors { code } } }";
    let answer = acme.owner.with("idempotency-key", "h").gql(two, json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code(), answer.argument()), (400, "BAD_REQUEST", "Idempotency-Key"));
    assert_eq!(
        acme.owner
            .with("idempotency-key", "h")
            .gql("{ viewer { role } organization { name } }", json!({}))
            .await
            .status,
        200
    );
}

/// A secret is shown once, and never kept for a repeat.
#[tokio::test]
async fn a_repeat_shows_no_secret() {
    let database = crate::harness::fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let document = "mutation { apiKeyCreate(input: {name: \"CI\", scopes: [members_read]}, idempotencyKey: \"k\") { apiKey { id name } secret userErrors { code } } }";
    let (first, again) = (acme.owner.gql(document, json!({})).await, acme.owner.gql(document, json!({})).await);
    assert_eq!(first.data("/apiKeyCreate/apiKey"), again.data("/apiKeyCreate/apiKey"));
    assert_eq!(again.data("/apiKeyCreate/secret"), &Value::Null);
    let id = first.data("/apiKeyCreate/apiKey/id");
    let rotate = "mutation($id: ID!) { apiKeyRotate(id: $id, idempotencyKey: \"r\") { apiKey { version } secret userErrors { code } } }";
    let (first_rotation, repeated) =
        (acme.owner.gql(rotate, json!({"id": id})).await, acme.owner.gql(rotate, json!({"id": id})).await);
    assert_eq!(first_rotation.data("/apiKeyRotate/apiKey"), repeated.data("/apiKeyRotate/apiKey"));
    assert_eq!(repeated.data("/apiKeyRotate/secret"), &Value::Null);
    // The secret that the first rotation gave still works: the repeat has not rotated again.
    let secret = first_rotation.data("/apiKeyRotate/secret").as_str().unwrap();
    assert_eq!(app.anonymous().with("x-api-key", secret).gql("{ viewer { scopes } }", json!({})).await.status, 200);
    create(&acme.owner, "one", "c").await;
    let kept = crate::tenancy::lines(&database, "SELECT row_to_json(k)::text AS line FROM idempotency_keys k").await;
    assert_eq!(kept.len(), 3);
    for row in kept {
        for word in ["s3cret", secret, first.data("/apiKeyCreate/secret").as_str().unwrap()] {
            assert!(!row.contains(word), "{row}");
        }
    }
}

/// Fifty at once with one key: one object. Who comes while the first runs is told so, and gets the answer later.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_creators_with_one_key_make_one_object() {
    let database = crate::harness::fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let creators: Vec<_> = (0..50)
        .map(|_| {
            let client = acme.owner.clone();
            tokio::spawn(async move {
                loop {
                    let answer = create(&client, "one", "k").await;
                    if answer.user_errors() != ["IDEMPOTENCY_IN_PROGRESS at idempotencyKey"] {
                        return answer.data("/personalConnectorConfigurationCreate").clone();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for creator in creators {
        answers.push(creator.await.unwrap());
    }
    assert!(
        answers
            .iter()
            .all(|answer| *answer == answers[0] && answer["personalConnectorConfiguration"]["id"].is_string())
    );
    assert_eq!(acme.owner.names(json!(null)).await, ["one"]);
}

#[tokio::test]
async fn while_the_first_runs_a_repeat_is_told_to_wait() {
    use diesel_async::SimpleAsyncConnection as _;
    let database = crate::harness::fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    // Somebody who holds the table's rows back keeps the first request in the middle.
    let mut blocker = database.owner.connect().await.unwrap();
    blocker.batch_execute("BEGIN; LOCK TABLE configurations IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let first = {
        let client = acme.owner.clone();
        tokio::spawn(async move { create(&client, "one", "k").await.user_errors() })
    };
    let waiting = format!(
        "SELECT 'waits' AS line FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = '{}' AND NOT l.granted",
        database.name
    );
    while crate::tenancy::lines(&database, &waiting).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let waited = create(&acme.owner, "one", "k").await.user_errors();
    assert_eq!(waited, ["IDEMPOTENCY_IN_PROGRESS at idempotencyKey"]);
    blocker.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(first.await.unwrap(), Vec::<String>::new());
}

/// A repeat gives the object as it is now, to those who may see it now.
#[tokio::test]
async fn a_repeat_shows_nothing_that_was_taken_away() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (ann, bob) = (acme.person(Role::Admin).await, acme.person(Role::Member).await);
    let id = bob.create(github("Bob's")).await["id"].clone();
    let rotate = "mutation($id: ID!) { personalConnectorConfigurationRotateCredentials(
        id: $id, credentials: {bearer: {token: \"s3cret\"}}, idempotencyKey: \"k\") {
          personalConnectorConfiguration { id name } userErrors { code field } } }";
    let first = ann.gql(rotate, json!({"id": id})).await;
    assert_eq!(first.user_errors(), Vec::<String>::new());
    assert_eq!(ann.gql(rotate, json!({"id": id})).await.body["data"], first.body["data"]);
    let demote = "mutation($id: ID!) { organizationMemberSetRole(id: $id, role: member) { userErrors { code } } }";
    let member = crate::member::membership(&acme.owner, &ann).await;
    assert_eq!(acme.owner.gql(demote, json!({"id": member})).await.user_errors(), Vec::<String>::new());
    let repeated = ann.gql(rotate, json!({"id": id})).await;
    assert_eq!(repeated.user_errors(), ["NOT_FOUND at id"]);
    assert!(!repeated.text.contains("Bob's"), "{}", repeated.text);
}
