//! What a caller may ask in a while, and how often an address may fail.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use axum::Extension;
use axum::extract::ConnectInfo;
use axum::http::Method;
use chrono::TimeDelta;
use patchbay::auth::jwt::sign;
use patchbay::auth::policy::{Role, Scope};
use patchbay::config::{Api, Source};
use patchbay::db;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, JWT_SECRET, TestApp, github, shared_database, subject};

/// 1 for the list, and for each of 100 items 1 for `nodes`, 1 for `id` and 1 for `name`.
const LIST: &str = "{ personalConnectorConfigurations(first: 100) { nodes { id name } } }";
const LIST_COST: u64 = 301;

fn with_budget(limit: u32, restore: u32) -> TestApp {
    TestApp::on(&shared_database(), Api { rate_limit: limit, rate_restore: restore, ..TestApp::api() })
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn status(answer: &Answer) -> &Value {
    &answer.body["extensions"]["cost"]["throttleStatus"]
}

#[tokio::test]
async fn an_operation_is_charged_and_over_the_budget_nothing_runs() {
    let app = with_budget(10_000, 100);
    let acme = app.organization("Acme").await;
    let person = acme.person(Role::Member).await;
    let answer = person.gql(LIST, json!({})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body["extensions"]["cost"],
        json!({"requestedQueryCost": LIST_COST, "throttleStatus":
            {"maximumAvailable": 10_000, "currentlyAvailable": 10_000 - LIST_COST, "restoreRate": 100}})
    );
    assert_eq!(header(&answer, "ratelimit-policy"), "\"default\";q=10000;w=100");
    // 301 points come back in 3.01 seconds.
    assert_eq!(header(&answer, "ratelimit"), "\"default\";r=9699;t=4");
    for _ in 0..32 {
        assert_eq!(person.gql(LIST, json!({})).await.status, 200);
    }
    // 67 are left.
    let mutation = "mutation($input: PersonalConnectorConfigurationCreateInput!) { personalConnectorConfigurationCreate(input: $input) {
        personalConnectorConfiguration { id personalConnector { configurations(first: 100) { nodes { id } } } } userErrors { code } } }";
    for document in [LIST, mutation] {
        let answer = person.gql(document, json!({"input": github("never")})).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (429, "RATE_LIMITED"), "{}", answer.text);
        assert!(answer.body.get("data").is_none(), "{}", answer.text);
        assert_eq!(status(&answer)["currentlyAvailable"], 67);
        assert_eq!(header(&answer, "ratelimit"), "\"default\";r=67;t=100");
        let missing = answer.body["extensions"]["cost"]["requestedQueryCost"].as_u64().unwrap() - 67;
        assert_eq!(header(&answer, "retry-after"), missing.div_ceil(100).to_string());
    }
    // What costs less than is left still runs, and what costs nothing always does.
    let free =
        person.gql("{ rateLimit { limit cost remaining restoreRate resetAt } service { version } }", json!({})).await;
    let reset_at =
        (app.clock.now() + TimeDelta::milliseconds(99_330)).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    assert_eq!(
        free.data("/rateLimit"),
        &json!({"limit": 10_000, "cost": 0, "remaining": 67, "restoreRate": 100, "resetAt": reset_at})
    );
    // Others have budgets of their own.
    let key = acme.api_key(&Scope::ALL).await;
    assert_eq!(status(&key.gql(LIST, json!({})).await)["currentlyAvailable"], 10_000 - LIST_COST);
    assert_eq!(acme.owner.names(json!(null)).await, Vec::<String>::new());
    // Whoever waits as long as is said is served.
    app.clock.advance(TimeDelta::seconds(2));
    assert_eq!(person.gql(LIST, json!({})).await.status, 429);
    app.clock.advance(TimeDelta::seconds(1));
    let answer = person.gql(&format!("query Q {LIST}"), json!({})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(status(&answer)["currentlyAvailable"], 66);
}

#[tokio::test]
async fn the_budget_is_one_persons_in_one_organization() {
    let app = with_budget(10_000, 100);
    let (acme, globex) = (app.organization("Acme").await, app.organization("Globex").await);
    let user = acme.user(Role::Member).await;
    let organization = globex.id;
    app.app
        .db
        .system_write(async |tx| db::member::put(tx, organization, user, Some(Role::Member)).await)
        .await
        .unwrap();
    let left = async |organization: &crate::harness::Organization| {
        let token = sign(&organization.claims(&subject(user)), &SecretString::from(JWT_SECRET)).unwrap();
        let person = app.anonymous().with("authorization", &format!("Bearer {token}"));
        status(&person.gql(LIST, json!({})).await)["currentlyAvailable"].as_u64().unwrap()
    };
    assert_eq!(left(&acme).await, 10_000 - LIST_COST);
    // Another token of the same person is the same person.
    app.clock.advance(TimeDelta::milliseconds(10));
    assert_eq!(left(&acme).await, 10_001 - 2 * LIST_COST);
    assert_eq!(left(&globex).await, 10_000 - LIST_COST);
}

#[tokio::test]
async fn the_cost_is_that_of_the_operation_that_runs() {
    let app = with_budget(10_000, 100);
    let owner = app.organization("Acme").await.owner;
    let document = format!("query Small {{ viewer {{ role }} }} query Large {LIST}");
    for (name, cost) in [("Small", 2), ("Large", 301)] {
        let body = json!({"query": document, "operationName": name}).to_string();
        let answer = owner.with("content-type", "application/json").send(Method::POST, "/graphql", body).await;
        assert_eq!(answer.body["extensions"]["cost"]["requestedQueryCost"], cost, "{}", answer.text);
    }
    // What is refused unread costs one point, so that it is not for nothing to send it.
    let before =
        owner.gql("{ rateLimit { remaining } }", json!({})).await.data("/rateLimit/remaining").as_i64().unwrap();
    for (document, code) in [("{", "GRAPHQL_PARSE_FAILED"), (&"{ a ".repeat(13), "GRAPHQL_PARSE_FAILED")] {
        assert_eq!(owner.gql(document, json!({})).await.code(), code);
    }
    let deep = format!("{}{}", "{ a ".repeat(13), "}".repeat(13));
    assert_eq!(owner.gql(&deep, json!({})).await.code(), "QUERY_TOO_DEEP");
    let after =
        owner.gql("{ rateLimit { remaining } }", json!({})).await.data("/rateLimit/remaining").as_i64().unwrap();
    assert_eq!(before - after, 3);
}

#[tokio::test]
async fn without_a_limit_the_cost_is_told_and_nothing_refused() {
    let app = with_budget(0, 1);
    let owner = app.organization("Acme").await.owner;
    let answer = owner.gql(LIST, json!({})).await;
    assert_eq!(answer.body["extensions"]["cost"], json!({"requestedQueryCost": LIST_COST}));
    assert_eq!((header(&answer, "ratelimit"), header(&answer, "ratelimit-policy")), ("", ""));
    let answer = owner.gql("{ rateLimit { limit cost remaining } viewer { role } }", json!({})).await;
    assert_eq!(answer.data("/rateLimit"), &json!({"limit": i32::MAX, "cost": 2, "remaining": i32::MAX}));
}

/// A client at an address.
fn at(app: &TestApp, address: &str) -> Client {
    let peer: SocketAddr = address.parse().unwrap();
    Client::anonymous(app.router.clone().layer(Extension(ConnectInfo(peer))))
}

#[tokio::test]
async fn an_address_that_fails_too_often_is_refused_and_a_valid_credential_never_is() {
    let app = TestApp::on(&shared_database(), Api { failure_limit: 5, ..TestApp::api() });
    let acme = app.organization("Acme").await;
    let (token, key) = (acme.owner.header("authorization").to_owned(), acme.api_key_secret(&Scope::ALL).await);
    let viewer = "{ viewer { role } }";
    let address = "192.0.2.1:5000";
    // All that can fail, and for each the same answer: first of one kind, then of the other.
    let attempts = [
        at(&app, address),
        at(&app, address).with("authorization", "Bearer nothing"),
        at(&app, address).with("authorization", "Basic eA=="),
        at(&app, address).with("x-api-key", "pb_nothing"),
        at(&app, address).with("x-api-key", &format!("{}x", &key[..key.len() - 1])),
        at(&app, address).with("x-api-key", &key).with("authorization", &token),
        at(&app, address).with("x-api-key", &key).with("x-organization-id", "org_nothing"),
    ];
    let mut bodies = BTreeSet::new();
    for (number, attempt) in attempts.iter().chain(&attempts).enumerate() {
        let answer = attempt.with("x-request-id", "same").gql(viewer, json!({})).await;
        let expected = if number < 5 { (401, "UNAUTHENTICATED") } else { (429, "RATE_LIMITED") };
        assert_eq!((answer.status.as_u16(), answer.code()), expected, "{number}: {}", answer.text);
        assert_eq!(header(&answer, "retry-after"), if number < 5 { "" } else { "1" });
        bodies.insert((answer.status.as_u16(), answer.text));
    }
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    // A shared proxy locks nobody out.
    assert_eq!(
        at(&app, address).with("authorization", &token).gql(viewer, json!({})).await.data("/viewer/role"),
        "owner"
    );
    assert_eq!(at(&app, address).with("x-api-key", &key).gql(viewer, json!({})).await.status, 200);
    // Another port is the same address, another address is not; in IPv6 the network counts.
    let fails = async |address: &str| at(&app, address).gql(viewer, json!({})).await.status.as_u16();
    assert_eq!(fails("192.0.2.1:6000").await, 429);
    assert_eq!(fails("[::ffff:192.0.2.1]:6000").await, 429);
    assert_eq!(fails("192.0.2.2:5000").await, 401);
    for _ in 0..5 {
        assert_eq!(fails("[2001:db8:1:2::1]:1").await, 401);
    }
    assert_eq!(fails("[2001:db8:1:2:ffff::9]:1").await, 429);
    assert_eq!(fails("[2001:db8:1:3::1]:1").await, 401);
    // One is forgiven each second.
    app.clock.advance(TimeDelta::seconds(1));
    assert_eq!((fails(address).await, fails(address).await), (401, 429));
    // Where the address is not known nothing is counted.
    for _ in 0..10 {
        assert_eq!(app.anonymous().gql(viewer, json!({})).await.status, 401);
    }
    let app = TestApp::on(&shared_database(), Api { failure_limit: 0, ..TestApp::api() });
    for _ in 0..400 {
        assert_eq!(at(&app, address).gql(viewer, json!({})).await.status, 401);
    }
}

#[tokio::test]
async fn a_web_page_may_read_the_headers() {
    let origin = "https://app.example.com";
    let api = Api { allowed_origins: vec![origin.to_owned()], rate_limit: 10_000, ..TestApp::api() };
    let app = TestApp::on(&shared_database(), api);
    let owner = app.organization("Acme").await.owner;
    let answer = owner.with("origin", origin).gql(LIST, json!({})).await;
    let exposed = header(&answer, "access-control-expose-headers").to_lowercase();
    for name in ["x-request-id", "ratelimit", "ratelimit-policy", "retry-after"] {
        assert!(exposed.split(',').any(|exposed| exposed == name), "{exposed}");
    }
}

#[test]
fn settings_are_numbers_that_leave_room_for_one_request() {
    let settings = |name: &'static str, value: &'static str| {
        let mut source = Source::new(move |asked| (asked == name).then(|| value.to_owned()), None);
        let api = source.api(Api::default());
        source
            .finish()
            .map(|()| (api.rate_limit, api.rate_restore, api.failure_limit))
            .map_err(|problems| problems.0.join("\n"))
    };
    for (name, value, expected) in [
        ("PATCHBAY_LISTEN", "", (100_000, 5000, 300)),
        ("PATCHBAY_RATE_LIMIT", "10000", (10_000, 5000, 300)),
        ("PATCHBAY_RATE_LIMIT", "0", (0, 5000, 300)),
        ("PATCHBAY_RATE_RESTORE", "1", (100_000, 1, 300)),
        ("PATCHBAY_FAILURE_LIMIT", "0", (100_000, 5000, 0)),
    ] {
        assert_eq!(settings(name, value), Ok(expected), "{name}={value}");
    }
    for (name, value) in [
        ("PATCHBAY_RATE_LIMIT", "9999"),
        ("PATCHBAY_RATE_LIMIT", "-1"),
        ("PATCHBAY_RATE_LIMIT", "3000000000"),
        ("PATCHBAY_RATE_LIMIT", "much"),
        ("PATCHBAY_RATE_RESTORE", "0"),
        ("PATCHBAY_FAILURE_LIMIT", "1.5"),
    ] {
        assert!(settings(name, value).unwrap_err().contains(name), "{name}={value}");
    }
}
