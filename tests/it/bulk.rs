//! Many configurations at once.

use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, TestApp, github};

const COUNTS: &str = "matchedCount changedCount dryRun failures { id error { code message field } }
    userErrors { code field ... on LimitExceededError { limit current } }";

async fn update(client: &Client, selector: Value, patch: Value, more: &str) -> Answer {
    let document = format!(
        "mutation($selector: PersonalConnectorConfigurationSelector!, $patch: PersonalConnectorConfigurationBulkPatch!) {{
           personalConnectorConfigurationsBulkUpdate(selector: $selector, patch: $patch {more}) {{ {COUNTS} }} }}"
    );
    client.gql(&document, json!({"selector": selector, "patch": patch})).await
}

async fn delete(client: &Client, selector: Value, more: &str) -> Answer {
    let document = format!(
        "mutation($selector: PersonalConnectorConfigurationSelector!) {{
           personalConnectorConfigurationsBulkDelete(selector: $selector {more}) {{ {COUNTS} }} }}"
    );
    client.gql(&document, json!({"selector": selector})).await
}

fn counts(answer: &Answer) -> (i64, i64, usize) {
    let payload = answer.body["data"].as_object().unwrap().values().next().unwrap();
    assert_eq!(payload["userErrors"], json!([]), "{}", answer.text);
    let failures = payload["failures"].as_array().unwrap().len();
    (payload["matchedCount"].as_i64().unwrap(), payload["changedCount"].as_i64().unwrap(), failures)
}

async fn some(client: &Client, count: usize) -> Vec<Value> {
    let mut ids = Vec::new();
    for n in 0..count {
        let mut input = github(&format!("c{n}"));
        input["metadata"] = json!({"n": n, "even": n % 2 == 0});
        ids.push(client.create(input).await["id"].clone());
    }
    ids
}

#[tokio::test]
async fn all_that_match_are_changed_and_counted() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let ids = some(&owner, 6).await;
    let even = json!({"filter": {"metadata": {"contains": {"even": true}}}});
    let dry = update(&owner, even.clone(), json!({"enabled": false}), ", dryRun: true").await;
    assert_eq!(counts(&dry), (3, 3, 0));
    assert_eq!(dry.data("/personalConnectorConfigurationsBulkUpdate/dryRun"), true);
    assert_eq!(owner.names(json!({"enabled": {"eq": false}})).await, Vec::<String>::new(), "nothing was changed");

    assert_eq!(
        counts(
            &update(&owner, even.clone(), json!({"enabled": false, "metadataPatch": {"by": "bulk", "n": null}}), "")
                .await
        ),
        (3, 3, 0)
    );
    assert_eq!(owner.names(json!({"enabled": {"eq": false}})).await, ["c4", "c2", "c0"]);
    assert_eq!(owner.find(&ids[0]).await["metadata"], json!({"even": true, "by": "bulk"}));
    assert_eq!(owner.find(&ids[0]).await["version"], 2);
    // Done already: matched, not changed, and no version moves.
    assert_eq!(counts(&update(&owner, even, json!({"enabled": false}), "").await), (3, 0, 0));
    assert_eq!(owner.find(&ids[0]).await["version"], 2);
    let log = owner.audit_log(3).await;
    assert!(log.iter().all(|entry| entry["action"] == "personal_connector_configuration.updated"));
    assert!(
        log[0]["changes"]
            .as_array()
            .unwrap()
            .contains(&json!({"field": "metadata.by", "before": null, "after": "bulk"}))
    );

    let dry = delete(&owner, json!({"ids": ids}), ", dryRun: true").await;
    assert_eq!(counts(&dry), (6, 6, 0));
    assert_eq!(owner.names(json!(null)).await.len(), 6);
    assert_eq!(counts(&delete(&owner, json!({"filter": {"enabled": {"eq": true}}}), "").await), (3, 3, 0));
    assert_eq!(owner.names(json!(null)).await, ["c4", "c2", "c0"]);
}

#[tokio::test]
async fn more_than_were_meant_are_not_touched() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let ids = some(&owner, 4).await;
    for selector in [json!({"filter": {}}), json!({"ids": ids})] {
        let refused = update(&owner, selector.clone(), json!({"enabled": false}), ", maxAffected: 3").await;
        assert_eq!(refused.user_errors(), ["LIMIT_EXCEEDED at maxAffected"]);
        assert_eq!(refused.body["data"]["personalConnectorConfigurationsBulkUpdate"]["userErrors"][0]["limit"], 3);
        assert_eq!(delete(&owner, selector, ", maxAffected: 3").await.user_errors(), ["LIMIT_EXCEEDED at maxAffected"]);
    }
    assert_eq!(owner.names(json!({"enabled": {"eq": true}})).await.len(), 4);
    for (answer, error) in [
        (
            update(&owner, json!({"ids": ids}), json!({"enabled": false}), ", maxAffected: 0").await,
            "INVALID at maxAffected",
        ),
        (
            update(&owner, json!({"ids": ids}), json!({"enabled": false}), ", maxAffected: 1001").await,
            "INVALID at maxAffected",
        ),
        (
            update(&owner, json!({"ids": vec!["x"; 101]}), json!({"enabled": false}), "").await,
            "INVALID at selector.ids",
        ),
        (update(&owner, json!({"ids": ids}), json!({}), "").await, "REQUIRED at patch"),
    ] {
        assert_eq!(answer.user_errors(), [error]);
    }
    let null = update(&owner, json!({"filter": {"name": {"eq": null}}}), json!({"enabled": false}), "").await;
    assert_eq!(null.code(), "BAD_USER_INPUT", "a filter's null is no condition here either: {}", null.text);
    assert_eq!(owner.names(json!({"enabled": {"eq": true}})).await.len(), 4);
}

#[tokio::test]
async fn each_that_cannot_be_changed_says_why_and_the_others_are() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (mia, bob) = (acme.person(Role::Member).await, acme.person(Role::Member).await);
    let theirs = some(&mia, 3).await;
    mia.grant(&theirs[0], json!({"userId": bob.id().await}), "use").await;
    mia.grant(&theirs[1], json!({"userId": bob.id().await}), "manage").await;
    let mut full = github("full");
    full["metadata"] = (0..50).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    let full = bob.create(full).await["id"].clone();
    let fine = bob.create(github("fine")).await["id"].clone();
    let ids = json!([theirs[0], theirs[1], theirs[2], full, fine, fine, "nonsense"]);
    let answer = update(&bob, json!({"ids": ids}), json!({"metadataPatch": {"new": true}}), "").await;
    assert_eq!(counts(&answer), (6, 2, 4), "{}", answer.text);
    let failures = answer.data("/personalConnectorConfigurationsBulkUpdate/failures").as_array().unwrap();
    let code = |id: &Value| {
        failures.iter().find(|failure| failure["id"] == *id).map(|failure| failure["error"]["code"].clone())
    };
    assert_eq!(code(&theirs[0]), Some(json!("PERMISSION_DENIED")));
    assert_eq!(code(&theirs[2]), Some(json!("NOT_FOUND")));
    assert_eq!(code(&full), Some(json!("METADATA_INVALID")));
    assert_eq!(code(&json!("nonsense")), Some(json!("NOT_FOUND")));
    assert_eq!(mia.find(&theirs[1]).await["metadata"]["new"], true);
    let deleted = delete(&bob, json!({"filter": {}}), "").await;
    assert_eq!(counts(&deleted), (4, 2, 2), "what was granted stays: {}", deleted.text);
    assert_eq!(mia.names(json!(null)).await.len(), 3);
}

#[tokio::test]
async fn a_repeat_is_done_once() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let script = acme.api_key(&Scope::ALL).await;
    let ids = some(&script, 2).await;
    let first = delete(&script, json!({"ids": ids}), ", idempotencyKey: \"k\"").await;
    let again = delete(&script, json!({"ids": ids}), ", idempotencyKey: \"k\"").await;
    assert_eq!(counts(&first), (2, 2, 0));
    assert_eq!(first.body["data"], again.body["data"]);
    assert_eq!(counts(&delete(&script, json!({"ids": ids}), "").await), (2, 0, 2));
}

/// What was tried beyond a grant is in the audit log, once for each call; a dry run tries nothing.
#[tokio::test]
async fn refusals_are_one_entry_of_the_audit_log() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let ann = acme.person(Role::Member).await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let id = acme.owner.create(github(name)).await["id"].clone();
        acme.owner.grant(&id, json!({"userId": ann.id().await}), "use").await;
        ids.push(id);
    }
    let refusals = async || {
        let log = acme.owner.audit_log(100).await;
        let refused = log.into_iter().filter(|entry| entry["action"].as_str().unwrap().ends_with("_refused"));
        refused.map(|entry| (entry["action"].clone(), entry["changes"].clone())).collect::<Vec<_>>()
    };
    let selector = json!({"ids": ids});
    let more = json!([{"field": "more", "before": null, "after": 2}]);
    let mut expected = Vec::new();
    for (extra, is_kept) in [(", dryRun: true", false), ("", true)] {
        let answer = update(&ann, selector.clone(), json!({"enabled": false}), extra).await;
        assert_eq!(answer.data("/personalConnectorConfigurationsBulkUpdate/failures").as_array().unwrap().len(), 3);
        if is_kept {
            expected.push((json!("personal_connector_configuration.update_refused"), more.clone()));
        }
        assert_eq!(refusals().await, expected, "{extra}");
        let answer = delete(&ann, selector.clone(), extra).await;
        assert_eq!(answer.data("/personalConnectorConfigurationsBulkDelete/failures").as_array().unwrap().len(), 3);
        if is_kept {
            expected.push((json!("personal_connector_configuration.delete_refused"), more.clone()));
        }
        assert_eq!(refusals().await, expected, "{extra}");
    }
}
