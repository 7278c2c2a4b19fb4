//! Who gets in. Everybody else is told the same.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use chrono::TimeDelta;
use data_encoding::BASE64URL_NOPAD;
use patchbay::auth::jwt::{Claims, sign};
use patchbay::auth::policy::{Role, Scope};
use patchbay::db;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::harness::{AUDIENCE, Answer, Client, ISSUER, JWT_SECRET, Organization, TestApp, subject};

pub const WHO: &str = "{ viewer { role organization { id } } }";

/// A token of exactly this header and payload, with a signature that is right for HS256 and the tests' secret.
fn forge(header: &str, payload: &str) -> String {
    let message =
        format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(payload.as_bytes()));
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

pub fn assert_refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text);
    assert_eq!(
        answer.body["errors"],
        json!([{"message": patchbay::graphql::context::UNAUTHENTICATED, "extensions": {"code": "UNAUTHENTICATED"}}]),
        "{what}"
    );
    assert!(answer.body.get("data").is_none());
    assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
}

pub async fn with_token(app: &TestApp, token: &str) -> Answer {
    app.anonymous().with("authorization", &format!("Bearer {token}")).gql(WHO, json!({})).await
}

/// Payload of a token that is good.
fn good(organization: &Organization, user: &str) -> serde_json::Map<String, Value> {
    let Value::Object(claims) = serde_json::to_value(organization.claims(user)).unwrap() else { unreachable!() };
    claims
}

#[tokio::test]
async fn forged_and_malformed_tokens_are_refused_alike() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let user = subject(acme.user(Role::Owner).await);
    let good = good(&acme, &user);
    let payload = Value::Object(good.clone()).to_string();
    let now = app.clock.now().timestamp();
    let hs256 = r#"{"alg":"HS256","typ":"JWT"}"#;
    let token = forge(hs256, &payload);
    assert_eq!(with_token(&app, &token).await.data("/viewer/role"), "owner", "the token that all others differ from");

    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        if value.is_null() {
            claims.remove(name)
        } else {
            claims.insert(name.to_owned(), value)
        };
        forge(hs256, &Value::Object(claims).to_string())
    };
    let null = |name: &str| {
        let mut claims = good.clone();
        claims.insert(name.to_owned(), Value::Null);
        forge(hs256, &Value::Object(claims).to_string())
    };
    let mut forged = vec![
        ("no audience", with("aud", json!(null))),
        ("another audience", with("aud", json!("somebody"))),
        ("another audience in a list", with("aud", json!(["somebody"]))),
        ("an empty list of audiences", with("aud", json!([]))),
        ("an audience that is a number", with("aud", json!(5))),
        ("no issuer", with("iss", json!(null))),
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("issuers in a list", with("iss", json!([ISSUER]))),
        ("an issuer with a slash more", with("iss", json!(format!("{ISSUER}/")))),
        ("no subject", with("sub", json!(null))),
        ("an empty subject", with("sub", json!(""))),
        ("a blank subject", with("sub", json!(" "))),
        ("a blank subject of other spaces", with("sub", json!("\u{2003}\u{a0}"))),
        ("a subject that is a number", with("sub", json!(1))),
        ("a very long subject", with("sub", json!("x".repeat(256)))),
        ("an unknown subject", with("sub", json!("nobody"))),
        ("no expiry", with("exp", json!(null))),
        ("an expiry in text", with("exp", json!((now + 60).to_string()))),
        ("an expiry with a fraction", with("exp", json!(1_795_438_800.5))),
        ("expired", with("exp", json!(now - 31))),
        ("expired for ever", with("exp", json!(i64::MIN))),
        ("an expiry beyond counting", forge(hs256, &payload.replace(&good["exp"].to_string(), "1e30"))),
        ("not yet valid", with("nbf", json!(now + 31))),
        ("not-before in text", with("nbf", json!("0"))),
        ("issued in the future", with("iat", json!(now + 31))),
        ("living too long", with("exp", json!(now + 24 * 3600 + 31))),
        ("an organization that is none", with("org", json!("acme"))),
        ("an organization that is a number", with("org", json!(1))),
        ("another organization", with("org", json!("org_01m00000000000000000000000"))),
        ("an ID token", with("nonce", json!("n"))),
        ("an ID token by at_hash", with("at_hash", json!("n"))),
        ("an ID token by c_hash", with("c_hash", json!("n"))),
        ("an ID token by s_hash", with("s_hash", json!("n"))),
        ("a logout token", with("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}))),
        ("an issuer of null", null("iss")),
        ("a subject of null", null("sub")),
        ("an audience of null", null("aud")),
        ("an expiry of null", null("exp")),
        ("a not-before of null", null("nbf")),
        ("an issue time of null", null("iat")),
        ("an id of null", null("jti")),
        ("a type of null", forge(r#"{"alg":"HS256","typ":null}"#, &payload)),
        ("a kid of null", forge(r#"{"alg":"HS256","kid":null}"#, &payload)),
        ("an ID token whose nonce is null", forge(hs256, &payload.replacen('{', r#"{"nonce":null,"#, 1))),
        ("a subject that no text can be", with("sub", json!("a\u{0}b"))),
        (
            "claims in a list",
            forge(hs256, &format!("[{}]", good.values().map(ToString::to_string).collect::<Vec<_>>().join(","))),
        ),
        ("a header in a list", forge(r#"["HS256","JWT",null]"#, &payload)),
        ("a claim twice", forge(hs256, &payload.replacen('{', &format!("{{\"sub\":\"{user}\","), 1))),
        ("an unknown claim twice", forge(hs256, &payload.replacen('{', r#"{"x":1,"x":2,"#, 1))),
        ("a claim twice, deep", forge(hs256, &payload.replacen('{', r#"{"x":{"y":1,"y":2},"#, 1))),
        ("a payload that is a list", forge(hs256, "[]")),
        ("a payload with more behind it", forge(hs256, &format!("{payload}{{}}"))),
        ("alg none", forge(r#"{"alg":"none"}"#, &payload)),
        ("alg missing", forge(r#"{"typ":"JWT"}"#, &payload)),
        ("alg HS512, signed with HS256", forge(r#"{"alg":"HS512"}"#, &payload)),
        ("alg RS256, signed with the secret", forge(r#"{"alg":"RS256"}"#, &payload)),
        ("alg in lower case", forge(r#"{"alg":"hs256"}"#, &payload)),
        ("alg twice", forge(r#"{"alg":"none","alg":"HS256"}"#, &payload)),
        ("another type", forge(r#"{"alg":"HS256","typ":"dpop+jwt"}"#, &payload)),
        ("a critical extension", forge(r#"{"alg":"HS256","crit":["x"],"x":1}"#, &payload)),
        ("an unencoded payload", forge(r#"{"alg":"HS256","b64":false}"#, &payload)),
        ("compressed", forge(r#"{"alg":"HS256","zip":"DEF"}"#, &payload)),
        ("nested", forge(r#"{"alg":"HS256","cty":"JWT"}"#, &payload)),
        ("its own key set", forge(r#"{"alg":"HS256","jku":"https://evil.example"}"#, &payload)),
        ("its own key", forge(r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#, &payload)),
        ("its own certificate", forge(r#"{"alg":"HS256","x5c":[]}"#, &payload)),
        ("its own certificate's address", forge(r#"{"alg":"HS256","x5u":"https://evil.example"}"#, &payload)),
        ("a kid that is a number", forge(r#"{"alg":"HS256","kid":1}"#, &payload)),
        ("padding", format!("{token}=")),
        ("two parts", token.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{token}.x")),
        ("no signature", format!("{}.", token.rsplit_once('.').unwrap().0)),
        ("a broken signature", format!("{}A", &token[..token.len() - 1])),
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("too long", forge(hs256, &format!("{}{}", payload, " ".repeat(8 * 1024)))),
    ];
    let other_secret = SecretString::from("another secret, which is long enough too");
    forged.push(("another secret", sign(&acme.claims(&user), &other_secret).unwrap()));
    // The last character of the signature has bits that decode to nothing: only the canonical one is right.
    if forged.iter().any(|(what, forged)| *what == "a broken signature" && *forged == token) {
        forged.retain(|(what, _)| *what != "a broken signature");
    }
    assert!(forged.len() >= 55);
    for (what, token) in forged {
        assert_refused(&with_token(&app, &token).await, what);
    }
    for (what, token) in [
        ("one audience of several", with("aud", json!(["somebody", AUDIENCE]))),
        ("within the leeway after expiry", with("exp", json!(now - 29))),
        ("within the leeway before it is valid", with("nbf", json!(now + 29))),
        ("no issue time", with("iat", json!(null))),
        ("type at+jwt", forge(r#"{"alg":"HS256","typ":"at+jwt"}"#, &payload)),
        ("no type", forge(r#"{"alg":"HS256"}"#, &payload)),
    ] {
        assert_eq!(with_token(&app, &token).await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn one_credential_and_only_one() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let key = acme.api_key_secret(&[Scope::ConfigurationsRead]).await;
    let token = acme.owner.header("authorization").to_owned();
    let anonymous = app.anonymous();
    let refused: Vec<(&str, Client)> = vec![
        ("none", anonymous.clone()),
        ("both", anonymous.with("authorization", &token).with("x-api-key", &key)),
        ("a key twice", anonymous.with("x-api-key", &key).with("x-api-key", &key)),
        ("a token twice", anonymous.with("authorization", &token).with("authorization", &token)),
        ("another scheme", anonymous.with("authorization", &token.replace("Bearer", "Basic"))),
        ("no scheme", anonymous.with("authorization", token.strip_prefix("Bearer ").unwrap())),
        ("a scheme alone", anonymous.with("authorization", "Bearer")),
        ("a token as a key", anonymous.with("x-api-key", token.strip_prefix("Bearer ").unwrap())),
        ("a key with a wrong checksum", anonymous.with("x-api-key", &format!("{}0", &key[..key.len() - 1]))),
        ("a key in upper case", anonymous.with("x-api-key", &key.to_uppercase())),
        (
            "another key",
            anonymous.with(
                "x-api-key",
                secrecy::ExposeSecret::expose_secret(&patchbay::auth::api_key::PlainKey::generate().into_secret()),
            ),
        ),
        (
            "another organization",
            anonymous.with("x-api-key", &key).with("x-organization-id", "org_01m00000000000000000000000"),
        ),
        ("no organization's id", anonymous.with("x-api-key", &key).with("x-organization-id", "acme")),
    ];
    for (what, client) in refused {
        let answer = client.gql(WHO, json!({})).await;
        if what != "a key with a wrong checksum" || !key.ends_with('0') {
            assert_refused(&answer, what);
        }
    }
    let own = acme.id.to_string();
    for client in [
        anonymous.with("authorization", &token),
        anonymous.with("authorization", &token.replace("Bearer", "bearer")),
        anonymous.with("x-api-key", &key),
        anonymous.with("authorization", &format!("Bearer {key}")),
        anonymous.with("x-api-key", &key).with("x-organization-id", &own),
        anonymous.with("authorization", &token).with("x-organization-id", &own),
    ] {
        assert_eq!(client.gql(WHO, json!({})).await.data("/viewer/organization/id"), &json!(own));
    }
}

#[tokio::test]
async fn a_person_of_several_organizations_picks_one_of_their_own() {
    let app = TestApp::new();
    let (acme, globex, other) =
        (app.organization("Acme").await, app.organization("Globex").await, app.organization("Other").await);
    let user = acme.user(Role::Admin).await;
    let second = globex.id;
    app.app.db.system_write(async |tx| db::member::put(tx, second, user, Some(Role::Viewer)).await).await.unwrap();
    let now = app.clock.now();
    let free = Claims::new(ISSUER, AUDIENCE, &subject(user), now, now + TimeDelta::hours(1));
    let token = sign(&free, &SecretString::from(JWT_SECRET)).unwrap();
    let person = app.anonymous().with("authorization", &format!("Bearer {token}"));

    let unnamed = person.gql(WHO, json!({})).await;
    assert_eq!(
        (unnamed.status.as_u16(), unnamed.code(), unnamed.argument()),
        (400, "ORGANIZATION_REQUIRED", "X-Organization-Id")
    );
    for own in [&acme, &globex] {
        assert!(unnamed.text.contains(&own.id.to_string()), "{}", unnamed.text);
    }
    assert!(!unnamed.text.contains(&other.id.to_string()));
    assert_refused(&person.with("x-organization-id", &other.id.to_string()).gql(WHO, json!({})).await, "not a member");
    for (organization, role) in [(&acme, "admin"), (&globex, "viewer")] {
        let chosen = person.with("x-organization-id", &organization.id.to_string());
        let answer = chosen.gql("{ viewer { role organization { id } organizations { name } } }", json!({})).await;
        assert_eq!(answer.data("/viewer/role"), role, "the role is the membership's");
        assert_eq!(answer.data("/viewer/organization/id"), &json!(organization.id.to_string()));
        assert_eq!(answer.data("/viewer/organizations"), &json!([{"name": "Acme"}, {"name": "Globex"}]));
        // What is shown of the other organization is its name: its lists are not this request's.
        let lists = chosen
            .gql("{ viewer { organizations { id members { totalCount } apiKeys { totalCount } } } }", json!({}))
            .await;
        for shown in lists.body["data"]["viewer"]["organizations"].as_array().unwrap() {
            assert!(shown["id"] == json!(organization.id.to_string()) || shown["members"].is_null(), "{}", lists.text);
        }
    }
    // A token that is for one organization stays there.
    let pinned = sign(&acme.claims(&subject(user)), &SecretString::from(JWT_SECRET)).unwrap();
    let pinned = app.anonymous().with("authorization", &format!("Bearer {pinned}"));
    assert_refused(&pinned.with("x-organization-id", &globex.id.to_string()).gql(WHO, json!({})).await, "pinned");
    let answer = pinned.gql("{ viewer { organizations { name } } }", json!({})).await;
    assert_eq!(answer.data("/viewer/organizations"), &json!([{"name": "Acme"}]));
}

#[tokio::test]
async fn a_token_and_a_key_end_when_their_time_is_over() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let made = acme
        .owner
        .gql(
            "mutation($end: DateTime) { apiKeyCreate(input: {name: \"short\", scopes: [configurations_read], expiresAt: $end}) { secret } }",
            json!({"end": (app.clock.now() + TimeDelta::minutes(30)).to_rfc3339()}),
        )
        .await;
    let key = app.anonymous().with("x-api-key", made.data("/apiKeyCreate/secret").as_str().unwrap());
    assert_eq!(key.gql(WHO, json!({})).await.status, 200);
    app.clock.advance(TimeDelta::minutes(30));
    assert_refused(&key.gql(WHO, json!({})).await, "the key has ended");
    assert_eq!(acme.owner.gql(WHO, json!({})).await.status, 200);
    app.clock.advance(TimeDelta::seconds(30 * 60 + 30));
    assert_refused(&acme.owner.gql(WHO, json!({})).await, "the token has ended");
}

/// The body of a request whose sender holds it back after the service has begun to read it.
fn held(body: String) -> (Body, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let ((begun, is_begun), (go, may_go)) = (oneshot::channel(), oneshot::channel::<()>());
    let stream = futures_util::stream::once(async move {
        begun.send(()).unwrap();
        may_go.await.unwrap();
        Ok::<_, std::convert::Infallible>(body)
    });
    (Body::from_stream(stream), is_begun, go)
}

/// Who is calling is found out before the body is read. Who was removed, demoted or revoked until it came changes nothing.
#[tokio::test]
async fn who_was_shown_the_door_while_the_body_came_does_nothing() {
    const CREATE: &str = "mutation { apiKeyCreate(input: {name: \"late\", scopes: [members_read]}) { apiKey { id } } }";
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let key = "mutation { apiKeyCreate(input: {name: \"k\", scopes: [configurations_read, configurations_write]}) {
        apiKey { id } secret } }";
    let key = acme.owner.gql(key, json!({})).await;
    let (key, secret) = (key.data("/apiKeyCreate/apiKey/id"), key.data("/apiKeyCreate/secret").as_str().unwrap());
    let by_key = app.anonymous().with("x-api-key", secret);
    let create = "mutation { personalConnectorConfigurationCreate(input: {personalConnectorId: \"pcon_github\", name: \"late\"}) {
        personalConnectorConfiguration { id } userErrors { code } } }";
    let remove = "mutation($id: ID!) { organizationMemberRemove(id: $id) { removedId } }";
    let demote = "mutation($id: ID!) { organizationMemberSetRole(id: $id, role: viewer) { member { id } } }";
    let revoke = "mutation($id: ID!) { apiKeyRevoke(id: $id) { apiKey { id } } }";
    for pause in [Duration::ZERO, Duration::from_millis(600)] {
        let (removed, demoted) = (acme.person(Role::Admin).await, acme.person(Role::Admin).await);
        let mut cases = vec![
            (&removed, CREATE, remove, crate::member::membership(&acme.owner, &removed).await),
            (&demoted, CREATE, demote, crate::member::membership(&acme.owner, &demoted).await),
        ];
        if !pause.is_zero() {
            cases.push((&by_key, create, revoke, key.clone()));
        }
        for (client, document, act, id) in cases {
            let (body, is_begun, go) = held(json!({"query": document}).to_string());
            let client = client.with("content-type", "application/json");
            let sent = tokio::spawn(async move { client.send(Method::POST, "/graphql", body).await });
            is_begun.await.unwrap();
            assert!(acme.owner.gql(act, json!({"id": id})).await.body["errors"].is_null());
            tokio::time::sleep(pause).await;
            go.send(()).unwrap();
            let late = sent.await.unwrap();
            let expected = if act == demote { "FORBIDDEN" } else { "UNAUTHENTICATED" };
            assert_eq!(late.code(), expected, "{act} {pause:?}: {}", late.text);
        }
    }
    let names = acme.owner.gql("{ organization { apiKeys { nodes { name } } } }", json!({})).await;
    assert!(!names.text.contains("late"), "{}", names.text);
    assert_eq!(acme.owner.names(json!(null)).await, Vec::<String>::new());
}
