//! Tokens that are ended before their time.

use chrono::TimeDelta;
use patchbay::auth::jwt::sign;
use patchbay::auth::policy::Role;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::auth::{WHO, assert_refused, with_token};
use crate::harness::issuer::Signer;
use crate::harness::{JWT_SECRET, fresh_database, subject};
use crate::issuers::{claimed, claiming, link, on};

const REVOKE: &str =
    "mutation($id: String) { viewerTokensRevoke(tokenId: $id) { revokedBefore userErrors { code field } } }";

#[tokio::test]
async fn tokens_are_ended_at_once_on_every_instance() {
    let database = fresh_database().await;
    // Two instances over one database, with clocks of their own that stand at the same time.
    let (here, there) = (on(&database, Vec::new()), on(&database, Vec::new()));
    let acme = here.organization("Acme").await;
    let (ann, bob) = (subject(acme.user(Role::Viewer).await), subject(acme.user(Role::Viewer).await));
    let token = |person: &str, id: Option<&str>, issued: Option<TimeDelta>| {
        let mut claims = acme.claims(person);
        claims.jti = id.map(str::to_owned);
        claims.iat = issued.map(|ago| (here.clock.now() + ago).timestamp());
        sign(&claims, &SecretString::from(JWT_SECRET)).unwrap()
    };
    let just_now = Some(TimeDelta::seconds(-1));
    let revoke = async |token: &str, id: Value| {
        here.anonymous().with("authorization", &format!("Bearer {token}")).gql(REVOKE, json!({"id": id})).await
    };

    // One token, by its id.
    let (first, second) = (token(&ann, Some("first"), just_now), token(&ann, Some("second"), just_now));
    let of_bob = token(&bob, Some("first"), just_now);
    assert_eq!(with_token(&there, &first).await.status, 200);
    let answer = revoke(&second, json!("first")).await;
    assert_eq!(answer.data("/viewerTokensRevoke"), &json!({"revokedBefore": null, "userErrors": []}));
    assert_refused(&with_token(&there, &first).await, "ended by its id");
    assert_refused(&with_token(&here, &first).await, "ended by its id");
    assert_eq!(with_token(&there, &second).await.status, 200);
    assert_eq!(with_token(&there, &of_bob).await.status, 200, "another person's token of that id");
    // Again, and both people: each has an entry.
    assert_eq!(revoke(&second, json!("first")).await.user_errors(), Vec::<String>::new());
    assert_eq!(revoke(&of_bob, json!("first")).await.user_errors(), Vec::<String>::new());
    assert_refused(&with_token(&there, &of_bob).await, "ended by its own person");
    for bad in ["", "a\u{7}", &"x".repeat(256)] {
        assert_eq!(revoke(&second, json!(bad)).await.user_errors(), ["INVALID at tokenId"]);
    }

    // All of them.
    let (nameless, undated) = (token(&ann, None, just_now), token(&ann, None, None));
    assert_eq!(with_token(&there, &undated).await.status, 200);
    let answer = revoke(&second, json!(null)).await;
    assert_eq!(answer.data("/viewerTokensRevoke/revokedBefore"), "2026-11-23T12:00:00Z");
    for (what, token) in [("by id", &second), ("without an id", &nameless), ("without a date", &undated)] {
        assert_refused(&with_token(&there, token).await, what);
        assert_refused(&with_token(&here, token).await, what);
    }
    let bobs = token(&bob, None, just_now);
    assert_eq!(with_token(&there, &bobs).await.status, 200, "another person");
    // A new one holds.
    here.clock.advance(TimeDelta::seconds(5));
    there.clock.advance(TimeDelta::seconds(5));
    assert_eq!(with_token(&there, &token(&ann, None, just_now)).await.status, 200);

    // An API key has no tokens; and what happened is in the log.
    let key = acme.api_key(&patchbay::auth::policy::Scope::ALL).await;
    assert_eq!(key.gql(REVOKE, json!({})).await.code(), "FORBIDDEN");
    let entries = crate::tenancy::lines(
        &database,
        "SELECT count(*)::text AS line FROM audit_log WHERE action = 'viewer.tokens_revoked'",
    )
    .await;
    assert_eq!(entries, ["4"]);
}

/// A person whose tokens were ended does not come back by way of an issuer that would make the membership.
#[tokio::test]
async fn a_revocation_holds_where_the_issuer_decides() {
    let signer = Signer::p256();
    let app = on(&fresh_database().await, vec![claiming(&signer)]);
    let acme = app.organization("Acme").await;
    link(&app, acme.id, "acme-corp").await;
    let token = claimed(&app, &signer, "ann", &json!({"tenant": "acme-corp", "jti": "one"}));
    let client = app.anonymous().with("authorization", &format!("Bearer {token}"));
    assert_eq!(client.gql(WHO, json!({})).await.status, 200);
    app.clock.advance(TimeDelta::seconds(1));
    assert_eq!(client.gql(REVOKE, json!({})).await.user_errors(), Vec::<String>::new());
    app.sql("DELETE FROM members WHERE user_id IN (SELECT user_id FROM identities WHERE subject = 'ann')").await;
    assert_refused(&client.gql(WHO, json!({})).await, "ended");
}
