//! Key sets that issuers publish: when they are asked for, what is taken from them, and what happens when they are away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use patchbay::auth::issuer::{Issuer, Keys};
use patchbay::auth::jwks::{KeySet, Location, WINDOW};
use patchbay::auth::jwt::{Audience, Claims, Verifier};
use patchbay::auth::key::{Algorithm, Key};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::issuer::{FakeIssuer, Signer, base64};
use crate::harness::{AUDIENCE, now};

/// A verifier of one issuer, and what its tokens say.
struct Side {
    issuer: FakeIssuer,
    verifier: Arc<Verifier>,
}

impl Side {
    async fn new() -> Self {
        let issuer = FakeIssuer::start().await;
        let address = format!("{}/keys", issuer.address).parse().unwrap();
        Self::at(issuer, Location::KeySet(address))
    }

    fn at(issuer: FakeIssuer, location: Location) -> Self {
        let set = KeySet::new(&issuer.address, location, Algorithm::Rs256);
        let configured = Issuer { keys: Keys::Published(set), ..Issuer::new(&issuer.address, AUDIENCE, Vec::new()) };
        Self { verifier: Arc::new(Verifier::new(vec![configured])), issuer }
    }

    fn claims(&self, now: DateTime<Utc>) -> Claims {
        Claims::new(&self.issuer.address, AUDIENCE, "somebody", now, now + TimeDelta::hours(1))
    }

    async fn accepts(&self, signer: &Signer, algorithm: &str, id: &str, now: DateTime<Utc>) -> bool {
        self.verifier.verify(&signer.mint(algorithm, id, &self.claims(now)), now).await.is_ok()
    }

    /// Waits for what runs in the background.
    async fn asked(&self, times: usize) {
        for _ in 0..500 {
            if self.issuer.asked() >= times {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // One more would have come by now.
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(self.issuer.asked(), times);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_asks_the_issuer_once_in_a_window() {
    let side = Side::new().await;
    let signer = Signer::p256();
    side.issuer.keys(&[signer.named("one", &json!({}))]);
    side.issuer.delay(Duration::from_millis(50));
    let begin = now();
    // Signed once: what is wrong with them is the name.
    let flood = |now: DateTime<Utc>| {
        let payload = base64(serde_json::to_string(&side.claims(now)).unwrap().as_bytes());
        (0..10_000).map(move |number| {
            let header =
                base64(json!({"alg": "ES256", "kid": format!("unknown-{now}-{number}")}).to_string().as_bytes());
            format!("{header}.{payload}.{}", base64(&[0; 64]))
        })
    };
    for (round, time) in [begin, begin + WINDOW, begin + WINDOW * 2].into_iter().enumerate() {
        let tokens: Vec<_> = flood(time).collect();
        let results = join_all(tokens.into_iter().map(|token| {
            let verifier = side.verifier.clone();
            tokio::spawn(async move { verifier.verify(&token, time).await.is_ok() })
        }))
        .await;
        assert!(results.into_iter().all(|accepted| !accepted.unwrap()));
        assert_eq!(side.issuer.asked(), round + 1, "one fetch in a window, however many ask");
        assert!(side.accepts(&signer, "ES256", "one", time).await, "who has a right name is not in the way");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_known_to_be_unknown_is_not_asked_for_again() {
    let side = Side::new().await;
    let signer = Signer::p256();
    side.issuer.keys(&[signer.named("one", &json!({}))]);
    let begin = now();
    assert!(!side.accepts(&signer, "ES256", "two", begin).await);
    for minute in 1..=4 {
        assert!(!side.accepts(&signer, "ES256", "two", begin + TimeDelta::minutes(minute)).await);
    }
    assert_eq!(side.issuer.asked(), 1);
    // Another name is: a window has passed. And with the set comes the key, whatever was known of it.
    side.issuer.keys(&[signer.named("two", &json!({}))]);
    let later = begin + TimeDelta::minutes(4);
    assert!(!side.accepts(&signer, "ES256", "three", later).await);
    assert_eq!(side.issuer.asked(), 2);
    assert!(side.accepts(&signer, "ES256", "two", later).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated() {
    let side = Side::new().await;
    let (old, new) = (Signer::p256(), Signer::ed25519());
    side.issuer.keys(&[old.named("old", &json!({}))]);
    let begin = now();
    assert!(side.accepts(&old, "ES256", "old", begin).await);
    side.issuer.keys(&[old.named("old", &json!({})), new.named("new", &json!({"alg": "EdDSA", "use": "sig"}))]);
    // Within the window nobody asks again; then the new name is reason enough.
    assert!(!side.accepts(&new, "EdDSA", "new", begin + TimeDelta::seconds(29)).await);
    assert_eq!(side.issuer.asked(), 1);
    assert!(side.accepts(&new, "EdDSA", "new", begin + TimeDelta::seconds(30)).await);
    assert!(side.accepts(&old, "ES256", "old", begin + TimeDelta::seconds(30)).await);
    assert_eq!(side.issuer.asked(), 2);
    // A key that is gone works until the next refresh, and not a request longer.
    side.issuer.keys(&[new.named("new", &json!({}))]);
    assert!(side.accepts(&old, "ES256", "old", begin + TimeDelta::minutes(5)).await);
    assert!(!side.accepts(&old, "ES256", "old", begin + TimeDelta::seconds(30) + TimeDelta::minutes(10)).await);
    assert_eq!(side.issuer.asked(), 3);
    assert!(side.accepts(&new, "EdDSA", "new", begin + TimeDelta::seconds(30) + TimeDelta::minutes(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_kept_as_long_as_the_issuer_says_within_bounds() {
    let signer = Signer::p256();
    for (said, seconds) in [
        (None, 600),
        (Some("public, max-age=900"), 900),
        (Some("max-age=1"), 300),
        (Some("no-store"), 600),
        (Some("max-age=999999"), 3600),
        (Some("max-age=nonsense"), 600),
    ] {
        let side = Side::new().await;
        side.issuer.keys(&[signer.named("one", &json!({}))]);
        if let Some(said) = said {
            side.issuer.header("cache-control", said);
        }
        let begin = now();
        let at = |share: i64| begin + TimeDelta::milliseconds(seconds * share * 10);
        assert!(side.accepts(&signer, "ES256", "one", begin).await);
        assert!(side.accepts(&signer, "ES256", "one", at(79)).await);
        side.asked(1).await;
        // At four fifths it is refreshed behind the request's back.
        assert!(side.accepts(&signer, "ES256", "one", at(80)).await);
        side.asked(2).await;
        // The new set counts from then.
        assert!(side.accepts(&signer, "ES256", "one", at(101)).await);
        side.asked(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_is_believed_for_a_day() {
    let side = Side::new().await;
    let signer = Signer::p256();
    side.issuer.keys(&[signer.named("one", &json!({}))]);
    let begin = now();
    assert!(side.accepts(&signer, "ES256", "one", begin).await);
    side.issuer.status(503);
    for minutes in [11, 60, 23 * 60 + 59] {
        assert!(side.accepts(&signer, "ES256", "one", begin + TimeDelta::minutes(minutes)).await, "{minutes}");
    }
    assert_eq!(side.issuer.asked(), 4);
    let day = begin + TimeDelta::hours(24);
    assert!(!side.accepts(&signer, "ES256", "one", day + TimeDelta::seconds(1)).await, "then nothing is believed");
    side.issuer.status(200);
    assert!(!side.accepts(&signer, "ES256", "one", day + TimeDelta::seconds(2)).await, "asked a second ago");
    assert!(side.accepts(&signer, "ES256", "one", day + TimeDelta::seconds(31)).await);
}

/// What the old set can answer waits for a new one only a little while.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_hangs_holds_nobody_up() {
    let side = Side::new().await;
    let (signer, new) = (Signer::p256(), Signer::p256());
    side.issuer.keys(&[signer.named("one", &json!({}))]);
    let begin = now();
    assert!(side.accepts(&signer, "ES256", "one", begin).await);
    side.issuer.delay(Duration::from_secs(4));
    let stale = begin + TimeDelta::minutes(11);
    let took = Instant::now();
    assert!(side.accepts(&signer, "ES256", "one", stale).await);
    assert!((1..3).contains(&took.elapsed().as_secs()), "{:?}", took.elapsed());
    // Whoever comes later does not wait as long again.
    let took = Instant::now();
    assert!(side.accepts(&signer, "ES256", "one", stale).await);
    assert!(took.elapsed() < Duration::from_millis(500), "{:?}", took.elapsed());
    // A name that the old set does not have is worth the wait.
    side.asked(2).await;
    assert!(!side.accepts(&new, "ES256", "two", stale).await);

    // An answer that comes in time takes a key away that is gone.
    side.issuer.delay(Duration::from_millis(200));
    side.issuer.keys(&[new.named("two", &json!({}))]);
    let later = stale + TimeDelta::minutes(11);
    assert!(!side.accepts(&signer, "ES256", "one", later).await);
    assert!(side.accepts(&new, "ES256", "two", later).await);
    assert_eq!(side.issuer.asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_was_never_there_may_come_later() {
    let side = Side::new().await;
    let signer = Signer::rsa();
    side.issuer.status(500);
    let begin = now();
    side.verifier.warm(begin);
    side.asked(1).await;
    assert!(!side.accepts(&signer, "RS256", "one", begin).await);
    side.issuer.status(200);
    side.issuer.keys(&[signer.named("one", &json!({}))]);
    assert!(side.accepts(&signer, "RS256", "one", begin + WINDOW).await);
    assert_eq!(side.issuer.asked(), 2);
}

/// The request that begins a fetch may be dropped: those who wait for the same fetch get it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_cut_the_fetch_off() {
    let side = Side::new().await;
    let signer = Signer::p256();
    side.issuer.keys(&[signer.named("one", &json!({}))]);
    side.issuer.delay(Duration::from_millis(200));
    let begin = now();
    let first = side.accepts(&signer, "ES256", "one", begin);
    assert!(tokio::time::timeout(Duration::from_millis(20), first).await.is_err());
    assert!(side.accepts(&signer, "ES256", "one", begin).await);
    assert_eq!(side.issuer.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_not_in_order_is_refused_whole() {
    let signer = Signer::p256();
    let good = signer.named("one", &json!({}));
    let many = |count: usize| {
        let mut keys: Vec<_> = (1..count).map(|number| signer.named(&format!("k{number}"), &json!({}))).collect();
        keys.push(good.clone());
        json!({ "keys": keys }).to_string()
    };
    let cases = [
        ("64 keys", many(64), true),
        ("65 keys", many(65), false),
        (
            "a shared secret beside it",
            json!({"keys": [good, {"kty": "oct", "k": base64(&[7; 32])}]}).to_string(),
            false,
        ),
        ("256 KiB", format!("{}{}", json!({"keys": [good]}), " ".repeat(255 * 1024)), true),
        ("more", format!("{}{}", json!({"keys": [good]}), " ".repeat(256 * 1024)), false),
        ("no JSON", "<html>".to_owned(), false),
        ("a list", json!([good]).to_string(), false),
        ("no list of keys", json!({"keys": good}).to_string(), false),
        ("a member twice", format!("{{\"keys\":[],\"keys\":[{good}]}}"), false),
        (
            "a member twice, deep",
            json!({"keys": [good]}).to_string().replacen("\"kty\"", "\"kid\":\"two\",\"kty\"", 1),
            false,
        ),
        (
            "keys of other kinds beside it",
            json!({"keys": [{"kty": "future"}, 5, {}, {"kty": "EC", "crv": "P-521"}, good]}).to_string(),
            true,
        ),
    ];
    for (what, body, accepted) in cases {
        let side = Side::new().await;
        side.issuer.body(&body);
        assert_eq!(side.accepts(&signer, "ES256", "one", now()).await, accepted, "{what}");
    }
    // And what is no answer at all.
    for status in [204, 301, 302, 307, 404, 500] {
        let side = Side::new().await;
        side.issuer.keys(std::slice::from_ref(&good));
        side.issuer.header("location", &format!("{}/keys", side.issuer.address));
        side.issuer.status(status);
        assert!(!side.accepts(&signer, "ES256", "one", now()).await, "{status}");
        assert_eq!(side.issuer.asked(), 1, "no redirect is followed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_in_order_is_passed_over() {
    let (ec, rsa, ed, other) = (Signer::p256(), Signer::rsa(), Signer::ed25519(), Signer::p256());
    let changed = |signer: &Signer, member: &str, value: Value| signer.named("one", &json!({member: value}));
    let n = data_encoding::BASE64URL_NOPAD.decode(rsa.jwk()["n"].as_str().unwrap().as_bytes()).unwrap();
    let cases: Vec<(&str, &Signer, &str, Vec<Value>, bool)> = vec![
        ("RSA", &rsa, "RS256", vec![rsa.named("one", &json!({}))], true),
        ("RSA that says PS256", &rsa, "PS256", vec![changed(&rsa, "alg", json!("PS256"))], true),
        ("RSA that says PS256, used for RS256", &rsa, "RS256", vec![changed(&rsa, "alg", json!("PS256"))], false),
        ("RSA that says nothing, used for PS256", &rsa, "PS256", vec![rsa.named("one", &json!({}))], false),
        ("Ed25519", &ed, "EdDSA", vec![ed.named("one", &json!({}))], true),
        ("Ed25519 by its new name", &ed, "Ed25519", vec![changed(&ed, "alg", json!("Ed25519"))], true),
        ("for encryption", &ec, "ES256", vec![changed(&ec, "use", json!("enc"))], false),
        ("for verifying", &ec, "ES256", vec![changed(&ec, "key_ops", json!(["verify"]))], true),
        ("for signing only", &ec, "ES256", vec![changed(&ec, "key_ops", json!(["sign"]))], false),
        ("operations that are no list", &ec, "ES256", vec![changed(&ec, "key_ops", json!("verify"))], false),
        ("for key agreement", &ec, "ES256", vec![changed(&ec, "alg", json!("ECDH-ES"))], false),
        ("for another algorithm", &ec, "ES256", vec![changed(&ec, "alg", json!("RS256"))], false),
        ("an HMAC algorithm on a public key", &ec, "ES256", vec![changed(&ec, "alg", json!("HS256"))], false),
        ("another curve", &ec, "ES256", vec![changed(&ec, "crv", json!("P-384"))], false),
        ("not on the curve", &ec, "ES256", vec![changed(&ec, "x", json!(base64(&[1; 32])))], false),
        (
            "the point of zeros",
            &ec,
            "ES256",
            vec![ec.named("one", &json!({"x": base64(&[0; 32]), "y": base64(&[0; 32])}))],
            false,
        ),
        ("a short coordinate", &ec, "ES256", vec![changed(&ec, "y", json!(base64(&[1; 31])))], false),
        ("not base64url", &ec, "ES256", vec![changed(&ec, "y", json!("a+b="))], false),
        ("a private key", &ec, "ES256", vec![changed(&ec, "d", json!(base64(&[1; 32])))], false),
        ("exponent 1", &rsa, "RS256", vec![changed(&rsa, "e", json!(base64(&[1])))], false),
        ("an even exponent", &rsa, "RS256", vec![changed(&rsa, "e", json!(base64(&[4])))], false),
        ("no exponent", &rsa, "RS256", vec![changed(&rsa, "e", json!(""))], false),
        ("a modulus of 2040 bits", &rsa, "RS256", vec![changed(&rsa, "n", json!(base64(&n[..255])))], false),
        ("a modulus of 8200 bits", &rsa, "RS256", vec![changed(&rsa, "n", json!(base64(&n.repeat(5)[..1025])))], false),
        ("a very long name", &ec, "ES256", vec![ec.named(&"x".repeat(257), &json!({}))], false),
        ("a name that is a number", &ec, "ES256", vec![changed(&ec, "kid", json!(1))], false),
        ("a name twice", &ec, "ES256", vec![ec.named("one", &json!({})), other.named("one", &json!({}))], false),
        (
            "a name twice, once for encryption",
            &ec,
            "ES256",
            vec![ec.named("one", &json!({})), other.named("one", &json!({"use": "enc"}))],
            false,
        ),
    ];
    for (what, signer, algorithm, keys, accepted) in cases {
        let side = Side::new().await;
        side.issuer.keys(&keys);
        assert_eq!(side.accepts(signer, algorithm, "one", now()).await, accepted, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_name_needs_the_only_key_that_fits() {
    let side = Side::new().await;
    let (first, second, ed) = (Signer::p256(), Signer::p256(), Signer::ed25519());
    let nameless = |signer: &Signer, algorithm: &str| {
        signer.token(&json!({"alg": algorithm}), &serde_json::to_string(&side.claims(now())).unwrap())
    };
    side.issuer.keys(&[first.named("one", &json!({})), ed.named("two", &json!({}))]);
    assert!(side.verifier.verify(&nameless(&first, "ES256"), now()).await.is_ok());
    assert!(side.verifier.verify(&nameless(&ed, "EdDSA"), now()).await.is_ok());
    assert!(side.verifier.verify(&nameless(&ed, "ES256"), now()).await.is_err());
    let later = now() + TimeDelta::minutes(10);
    side.issuer.keys(&[first.named("one", &json!({})), second.named("two", &json!({}))]);
    assert!(side.verifier.verify(&nameless(&first, "ES256"), later).await.is_err(), "two fit");
    assert!(side.accepts(&first, "ES256", "one", later).await);
    // A key without a name is no answer to a token that names one.
    side.issuer.keys(&[first.jwk()]);
    let later = later + TimeDelta::minutes(10);
    assert!(!side.accepts(&first, "ES256", "one", later).await);
    assert!(side.verifier.verify(&nameless(&first, "ES256"), later).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_believes_the_issuer_about_itself_only() {
    let signer = Signer::p256();
    let elsewhere = FakeIssuer::start().await;
    elsewhere.keys(&[signer.named("one", &json!({}))]);
    let foreign = format!("{}/keys", elsewhere.address);
    for (what, issuer_says, key_set, listed, accepted) in [
        ("its own", None, None, None, true),
        ("with a slash more", Some("/"), None, None, false),
        ("of another issuer", Some(".evil.example"), None, None, false),
        ("keys of another origin", None, Some(foreign.clone()), None, false),
        ("keys of another origin that is listed", None, Some(foreign.clone()), Some(foreign.clone()), true),
        ("no address of keys", None, Some("nothing".to_owned()), None, false),
        ("keys in a file", None, Some("file:///etc/passwd".to_owned()), None, false),
    ] {
        let issuer = FakeIssuer::start().await;
        issuer.keys(&[signer.named("one", &json!({}))]);
        let said = format!("{}{}", issuer.address, issuer_says.unwrap_or_default());
        let own = format!("{}/keys", issuer.address);
        issuer.metadata(&json!({"issuer": said, "jwks_uri": key_set.unwrap_or(own)}));
        let listed: Option<String> = listed;
        let side = Side::at(issuer, Location::Discovery { key_set: listed.map(|listed| listed.parse().unwrap()) });
        assert_eq!(side.accepts(&signer, "ES256", "one", now()).await, accepted, "{what}");
    }
}

/// What cannot hold whatever the keys are costs the issuer nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_hold_asks_nobody() {
    let side = Side::new().await;
    let signer = Signer::p256();
    side.issuer.keys(&[signer.named("one", &json!({}))]);
    let begin = now();
    let token = |header: Value, change: &dyn Fn(&mut Claims)| {
        let mut claims = side.claims(begin);
        change(&mut claims);
        signer.token(&header, &serde_json::to_string(&claims).unwrap())
    };
    let header = json!({"alg": "ES256", "kid": "one"});
    for (what, token) in [
        ("another issuer", token(header.clone(), &|claims| claims.iss = "https://evil.example".to_owned())),
        ("another audience", token(header.clone(), &|claims| claims.aud = Audience::One("somebody".to_owned()))),
        ("expired", token(header.clone(), &|claims| claims.exp = begin.timestamp() - 60)),
        ("a secret's algorithm", token(json!({"alg": "HS256", "kid": "one"}), &|_| ())),
        ("no algorithm", token(json!({"alg": "none", "kid": "one"}), &|_| ())),
        ("a very long name", token(json!({"alg": "ES256", "kid": "x".repeat(257)}), &|_| ())),
        ("its own key", token(json!({"alg": "ES256", "kid": "one", "jwk": signer.jwk()}), &|_| ())),
    ] {
        assert!(side.verifier.verify(&token, begin).await.is_err(), "{what}");
        assert_eq!(side.issuer.asked(), 0, "{what}");
    }
    assert!(side.accepts(&signer, "ES256", "one", begin).await);
    // A name that is there, for another algorithm, is no reason to ask again.
    let later = begin + TimeDelta::minutes(1);
    assert!(side.verifier.verify(&token(json!({"alg": "RS256", "kid": "one"}), &|_| ()), later).await.is_err());
    assert_eq!(side.issuer.asked(), 1);
}

proptest! {
    /// Whatever comes as a token or as a key set is answered, and does not end the service.
    #[test]
    fn nothing_makes_it_panic(text in ".*", header in ".*", payload in ".*", member in "[a-z]{1,4}", value in ".*") {
        let key = SecretString::from("s".repeat(32));
        let issuer = Issuer::new("i", AUDIENCE, vec![Key::hs256(&key, None).unwrap()]);
        let verifier = Verifier::new(vec![issuer]);
        let verify = |token: &str| futures_util::FutureExt::now_or_never(verifier.verify(token, now())).unwrap();
        assert!(verify(&text).is_err());
        assert!(verify(&format!("{text}.{text}.{text}")).is_err());
        let json = json!({"alg": header, &member: value}).to_string();
        let parts = [json.as_bytes(), header.as_bytes()].map(base64);
        assert!(verify(&format!("{}.{}.{text}", parts[0], base64(payload.as_bytes()))).is_err());
        assert!(verify(&format!("{}.{}.", parts[1], base64(payload.as_bytes()))).is_err());
        let jwk = json!({"kty": header, "crv": "P-256", "x": payload, "y": text, "n": value, "e": text, &member: value});
        assert!(Key::from_jwk(jwk.as_object().unwrap(), Algorithm::Rs256).is_err());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", data_encoding::BASE64.encode(text.as_bytes()));
        assert!(Key::from_pem(&pem, None, None).is_err());
    }
}
