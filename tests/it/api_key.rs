//! API keys: made by people, shown once, ended at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::TimeDelta;
use patchbay::auth::api_key::PlainKey;
use patchbay::auth::policy::{Role, Scope};
use patchbay::db::count_statements;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::{Client, TestApp, github};

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

const WHO: &str = "{ viewer { apiKey { id } } }";

async fn make(client: &Client, input: serde_json::Value) -> (Value, String) {
    let made = client.gql(CREATE, json!({"input": input})).await;
    assert_eq!(made.user_errors(), Vec::<String>::new(), "{}", made.text);
    (made.data("/apiKeyCreate/apiKey/id").clone(), made.data("/apiKeyCreate/secret").as_str().unwrap().to_owned())
}

const ROTATE: &str = "mutation($id: ID!, $overlap: Int!) { apiKeyRotate(id: $id, overlapSeconds: $overlap) {
    apiKey { id prefix version previousSecretValidUntil } secret userErrors { code field } } }";

#[tokio::test]
async fn both_secrets_work_while_they_overlap() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (id, first) = make(&acme.owner, json!({"name": "k", "scopes": ["members_read"]})).await;
    let status =
        async |secret: &str| app.anonymous().with("x-api-key", secret).gql(WHO, json!({})).await.status.as_u16();
    let rotate = async |client: &Client, overlap: i32| client.gql(ROTATE, json!({"id": id, "overlap": overlap})).await;
    let rotated = rotate(&acme.owner, 1800).await;
    let second = rotated.data("/apiKeyRotate/secret").as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(first[..20], second[..20], "the public part stays");
    assert_eq!((status(&first).await, status(&second).await), (200, 200));
    let end = rotated.data("/apiKeyRotate/apiKey/previousSecretValidUntil").as_str().unwrap();
    assert_eq!(end.parse::<chrono::DateTime<chrono::Utc>>().unwrap(), app.clock.now() + TimeDelta::minutes(30));
    // The old secret, which may have leaked, does not throw out the new one.
    let old = app.anonymous().with("x-api-key", &first);
    assert_eq!(rotate(&old, 0).await.user_errors(), ["PERMISSION_DENIED at id"]);
    // Nor may another admin: whoever is shown the secret is the key.
    let other = acme.person(Role::Owner).await;
    assert_eq!(rotate(&other, 0).await.user_errors(), ["PERMISSION_DENIED at id"]);
    // The key itself may, too; with a third secret the first one ends at once.
    let third = rotate(&app.anonymous().with("x-api-key", &second), 1800).await;
    let third = third.data("/apiKeyRotate/secret").as_str().unwrap().to_owned();
    assert_eq!((status(&first).await, status(&second).await, status(&third).await), (401, 200, 200));
    app.clock.advance(TimeDelta::minutes(29));
    let owner = acme.owner.clone();
    assert_eq!(status(&second).await, 200);
    app.clock.advance(TimeDelta::minutes(1));
    assert_eq!((status(&second).await, status(&third).await), (401, 200));
    // Without overlap at once.
    let fourth = rotate(&owner, 0).await;
    let fourth = fourth.data("/apiKeyRotate/secret").as_str().unwrap().to_owned();
    assert_eq!((status(&third).await, status(&fourth).await), (401, 200));
    for overlap in [-1, 604_801] {
        assert_eq!(rotate(&owner, overlap).await.user_errors(), ["INVALID at overlapSeconds"]);
    }
    assert_eq!(rotate(&owner, 604_800).await.user_errors(), Vec::<String>::new());
    // Revoking ends both.
    owner.gql("mutation($id: ID!) { apiKeyRevoke(id: $id) { userErrors { code } } }", json!({"id": id})).await;
    assert_eq!(status(&fourth).await, 401);
    assert_eq!(rotate(&owner, 0).await.user_errors(), ["INVALID_STATE at id"]);
    let log = owner.audit_log(3).await;
    assert_eq!(log[0]["action"], "api_key.rotated");
    assert_eq!(log[0]["changes"], json!([{"field": "secret", "before": "[redacted]", "after": "[redacted]"}]));
}

#[tokio::test]
async fn a_key_rotates_itself_and_no_other_and_raises_nothing() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let scopes: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let (own, secret) = make(&acme.owner, json!({"name": "a", "scopes": scopes})).await;
    let (other, _) = make(&acme.owner, json!({"name": "b", "scopes": ["members_read"]})).await;
    let key = app.anonymous().with("x-api-key", &secret);
    let answer = key.gql(ROTATE, json!({"id": other, "overlap": 0})).await;
    let unknown = key.gql(ROTATE, json!({"id": "key_00000000000000000000000000", "overlap": 0})).await;
    assert_eq!(answer.user_errors(), ["NOT_FOUND at id"]);
    assert_eq!(answer.body["data"], unknown.body["data"]);
    for document in [
        "mutation($id: ID!) { apiKeyUpdate(id: $id, input: {scopes: [members_read]}) { userErrors { code } } }",
        "mutation($id: ID!) { apiKeyRevoke(id: $id) { userErrors { code } } }",
    ] {
        assert_eq!(key.gql(document, json!({"id": own})).await.code(), "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_key_is_for_its_networks() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let networks = json!(["192.0.2.77/24", "2001:DB8::1", "192.0.2.0/24"]);
    let (id, secret) =
        make(&acme.owner, json!({"name": "k", "scopes": ["api_keys_read"], "allowedNetworks": networks})).await;
    let shown = acme.owner.gql("query($id: ID!) { apiKey(id: $id) { allowedNetworks } }", json!({"id": id})).await;
    assert_eq!(shown.data("/apiKey/allowedNetworks"), &json!(["192.0.2.0/24", "2001:db8::1/128"]));
    let key = app.anonymous().with("x-api-key", &secret);
    for (address, status) in
        [("192.0.2.1", 200), ("::ffff:192.0.2.1", 200), ("192.0.3.1", 401), ("2001:db8::1", 200), ("2001:db8::2", 401)]
    {
        assert_eq!(key.at_address(address).gql(WHO, json!({})).await.status, status, "{address}");
    }
    assert_eq!(key.gql(WHO, json!({})).await.status, 401, "from nowhere");
    // Nobody is believed about the address but proxies that are trusted.
    let forged = key.at_address("198.51.100.1").with("x-forwarded-for", "192.0.2.1");
    assert_eq!(forged.gql(WHO, json!({})).await.status, 401);
    let api = patchbay::config::Api { trusted_proxies: vec!["198.51.100.0/24".parse().unwrap()], ..TestApp::api() };
    let behind = TestApp::on(&crate::harness::shared_database(), api);
    let proxied = behind.anonymous().with("x-api-key", &secret).at_address("198.51.100.1");
    assert_eq!(proxied.with("x-forwarded-for", "203.0.113.9, 192.0.2.1").gql(WHO, json!({})).await.status, 200);
    assert_eq!(proxied.with("x-forwarded-for", "192.0.2.1, 203.0.113.9").gql(WHO, json!({})).await.status, 401);

    let update = "mutation($id: ID!, $input: ApiKeyUpdateInput!) { apiKeyUpdate(id: $id, input: $input) { apiKey { allowedNetworks } userErrors { code field } } }";
    let open = acme.owner.gql(update, json!({"id": id, "input": {"allowedNetworks": []}})).await;
    assert_eq!(open.data("/apiKeyUpdate/apiKey/allowedNetworks"), &json!([]));
    assert_eq!(key.gql(WHO, json!({})).await.status, 200);
    for (networks, error) in [
        (json!(["192.0.2.0/33"]), "INVALID at input.allowedNetworks.0"),
        (json!(["10.0.0.0/8", "localhost"]), "INVALID at input.allowedNetworks.1"),
        (json!(vec!["10.0.0.0/8"; 21]), "INVALID at input.allowedNetworks"),
        (json!(null), "REQUIRED at input.allowedNetworks"),
    ] {
        let answer = acme.owner.gql(update, json!({"id": id, "input": {"allowedNetworks": networks}})).await;
        assert_eq!(answer.user_errors(), [error], "{networks}");
    }
}

#[tokio::test]
async fn a_key_is_changed_in_what_is_given() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (id, secret) = make(&acme.owner, json!({"name": "k", "scopes": ["members_read", "api_keys_read"]})).await;
    let update = async |input: Value, version: Value| {
        let document = "mutation($id: ID!, $input: ApiKeyUpdateInput!, $version: Int) { apiKeyUpdate(id: $id, input: $input, expectedVersion: $version) {
            apiKey { name scopes version expiresAt } userErrors { code field ... on VersionConflictError { currentVersion } } } }";
        acme.owner.gql(document, json!({"id": id, "input": input, "version": version})).await
    };
    let end = (app.clock.now() + TimeDelta::days(10)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let changed = update(json!({"name": "renamed", "scopes": ["members_read"], "expiresAt": end}), json!(1)).await;
    assert_eq!(
        changed.data("/apiKeyUpdate/apiKey"),
        &json!({"name": "renamed", "scopes": ["members_read"], "version": 2, "expiresAt": end})
    );
    // What was taken away is gone at once.
    let key = app.anonymous().with("x-api-key", &secret);
    assert_eq!(key.gql("{ organization { apiKeys { totalCount } } }", json!({})).await.code(), "FORBIDDEN");
    for (input, version, error) in [
        (json!({"name": "x"}), json!(1), "VERSION_CONFLICT at expectedVersion"),
        (json!({}), json!(2), "REQUIRED at input"),
        (json!({"name": ""}), json!(2), "REQUIRED at input.name"),
        (json!({"name": null}), json!(2), "REQUIRED at input.name"),
        (json!({"scopes": []}), json!(2), "REQUIRED at input.scopes"),
        (json!({"expiresAt": null}), json!(2), "REQUIRED at input.expiresAt"),
        (json!({"expiresAt": "2020-01-01T00:00:00Z"}), json!(2), "INVALID at input.expiresAt"),
    ] {
        assert_eq!(update(input.clone(), version).await.user_errors(), [error], "{input}");
    }
    // Without an end only where an owner has allowed it.
    acme.owner
        .gql("mutation { organizationUpdate(apiKeysMayNeverExpire: true) { userErrors { code } } }", json!({}))
        .await;
    assert_eq!(update(json!({"expiresAt": null}), json!(2)).await.data("/apiKeyUpdate/apiKey/expiresAt"), &Value::Null);
    let (_, endless) =
        make(&acme.owner, json!({"name": "endless", "scopes": ["members_read"], "expiresAt": null})).await;
    app.clock.advance(TimeDelta::days(4000));
    let endless = app.anonymous().with("x-api-key", &endless);
    assert_eq!(endless.gql(WHO, json!({})).await.status, 200);
    // With the permission goes endlessness.
    let owner = acme.person(Role::Owner).await;
    owner.gql("mutation { organizationUpdate(apiKeysMayNeverExpire: false) { userErrors { code } } }", json!({})).await;
    app.clock.advance(TimeDelta::days(89));
    assert_eq!(endless.gql(WHO, json!({})).await.status, 200);
    app.clock.advance(TimeDelta::days(1));
    assert_eq!(endless.gql(WHO, json!({})).await.status, 401);
    // What has ended stays so.
    let owner = acme.person(Role::Owner).await;
    let end = (app.clock.now() + TimeDelta::days(10)).to_rfc3339();
    let revived = owner.gql("mutation($id: ID!, $end: DateTime) { apiKeyUpdate(id: $id, input: {expiresAt: $end}) { userErrors { code field } } }", json!({"id": id, "end": end})).await;
    assert_eq!(revived.user_errors(), ["INVALID_STATE at id"]);
}

/// To the minute, and written down beside the request, not on its way.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_noted_once_a_minute() {
    let database = crate::harness::fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let (id, secret) = make(&acme.owner, json!({"name": "k", "scopes": ["members_read"]})).await;
    let last_used = async || {
        let answer =
            acme.owner.gql("query($id: ID!) { apiKey(id: $id) { lastUsedAt version } }", json!({"id": id})).await;
        assert_eq!(answer.data("/apiKey/version"), 1, "a use is no change");
        answer.data("/apiKey/lastUsedAt").clone()
    };
    assert_eq!(last_used().await, Value::Null);
    let key = app.anonymous().with("x-api-key", &secret);
    let first = json!("2026-11-23T12:00:00Z");
    app.clock.advance(TimeDelta::seconds(42));
    for _ in 0..20 {
        key.gql(WHO, json!({})).await;
    }
    for _ in 0..500 {
        if last_used().await == first {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(last_used().await, first);
    // Physical versions of the row: made once, noted once.
    let moved = crate::tenancy::lines(&database, "SELECT ctid::text AS line FROM api_keys").await;
    assert_eq!(moved, ["(0,2)"], "one write for twenty uses");
    let list = async |filter: Value| {
        let answer = acme
            .owner
            .gql(
                "query($f: ApiKeyFilter) { organization { apiKeys(filter: $f) { totalCount } } }",
                json!({"f": filter}),
            )
            .await;
        answer.data("/organization/apiKeys/totalCount").clone()
    };
    assert_eq!(list(json!({"lastUsedAt": {"null": false}})).await, 1);
    assert_eq!(list(json!({"lastUsedAt": {"lt": "2026-11-23T12:00:00Z"}})).await, 0);
    assert_eq!(list(json!({"lastUsedAt": {"lte": "2026-11-23T12:00:00Z"}})).await, 1);
}

/// Junk costs no connection: form and checksum are looked at before the database is asked.
#[tokio::test]
async fn what_cannot_be_a_key_is_refused_without_asking_the_database() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let secret = acme.api_key_secret(&[Scope::MembersRead]).await;
    let last = secret.chars().last().unwrap();
    let wrong_checksum = format!("{}{}", &secret[..secret.len() - 1], if last == '0' { '1' } else { '0' });
    let wrong_secret = secret.replacen(&secret[30..31], if &secret[30..31] == "x" { "y" } else { "x" }, 1);
    let (short, long, twice) =
        (secret[..secret.len() - 1].to_owned(), format!("{secret}0"), format!("{secret} {secret}"));
    let foreign = secret.replacen("pbk_", "pbx_", 1);
    let unknown = PlainKey::generate().into_secret();
    let counted = async |header: &str, value: &str| {
        let counter = Arc::new(AtomicU32::new(0));
        let client = app.anonymous().with(header, value);
        let answer = count_statements(counter.clone(), client.gql(WHO, json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (401, "UNAUTHENTICATED"), "{header}: {value}");
        counter.load(Ordering::Relaxed)
    };
    for junk in ["x", "pbk_", "pbk__", &foreign, &short, &long, &twice, &wrong_checksum, &wrong_secret] {
        assert_eq!(counted("x-api-key", junk).await, 0, "{junk}");
        assert_eq!(counted("authorization", &format!("Bearer {junk}")).await, 0, "{junk}");
    }
    // What has the form of a key has to be looked for, once.
    assert_eq!(counted("x-api-key", unknown.expose_secret()).await, 1);
    assert_eq!(counted("authorization", &format!("Bearer {}", unknown.expose_secret())).await, 1);
    // The counter counts: a key that works is looked for, too.
    let counter = Arc::new(AtomicU32::new(0));
    let client = app.anonymous().with("x-api-key", &secret);
    let answer = count_statements(counter.clone(), client.gql("{ viewer { role } }", json!({}))).await;
    assert_eq!((answer.status.as_u16(), counter.load(Ordering::Relaxed)), (200, 1));
}
