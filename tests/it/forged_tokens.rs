//! Keys of every kind: what they prove, and what is made to look like it.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::KeyPair as _;
use chrono::TimeDelta;
use data_encoding::BASE64URL_NOPAD;
use patchbay::auth::issuer::{Issuer, Keys, TokenType};
use patchbay::auth::jwks::{KeySet, Location};
use patchbay::auth::jwt::Claims;
use patchbay::auth::key::{Algorithm, Key};
use patchbay::auth::policy::Role;
use patchbay::db;
use patchbay::id::OrganizationId;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::auth::{assert_refused, with_token};
use crate::harness::issuer::{FakeIssuer, Signer, base64};
use crate::harness::{AUDIENCE, ISSUER, JWT_SECRET, TestApp, shared_database, subject};
use crate::issuers::{KEYS, on, public};

/// An issuer with shared secrets of every length.
const SECRETS: &str = "https://secrets.example";

fn hmac(algorithm: jsonwebtoken::Algorithm, secret: &[u8], header: &Value, payload: &str) -> String {
    let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(payload.as_bytes()));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    format!("{message}.{}", jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap())
}

/// One person in one organization, whom several issuers know.
async fn known_to(app: &TestApp, issuers: &[&str]) -> (OrganizationId, String) {
    let acme = app.organization("Acme").await;
    let user = acme.user(Role::Admin).await;
    app.app
        .db
        .system_write(async |tx| {
            for issuer in issuers {
                db::user::add_identity(tx, issuer, &subject(user), user).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    (acme.id, subject(user))
}

/// A signature of two numbers in DER, as X.509 has it and JOSE does not.
fn der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let number = |bytes: &[u8]| {
        let pad: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
        [&[2, u8::try_from(bytes.len() + pad.len()).unwrap()], pad, bytes].concat()
    };
    let body = [number(r), number(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_configured_key_proves_a_token_and_every_forgery_is_refused_alike() {
    prove_and_forge(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_published_key_proves_a_token_and_every_forgery_is_refused_alike() {
    let publisher = FakeIssuer::start().await;
    prove_and_forge(Some(&publisher)).await;
    assert_eq!(publisher.asked(), 1, "forgeries cost the issuer nothing");
}

/// With keys that the settings hold, or that somebody publishes.
async fn prove_and_forge(publisher: Option<&FakeIssuer>) {
    let (rsa, pss, p256, p384, ed) = (Signer::rsa(), Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519());
    let signers = [
        ("RS256", &rsa, "rsa"),
        ("PS256", &pss, "pss"),
        ("ES256", &p256, "p256"),
        ("ES384", &p384, "p384"),
        ("EdDSA", &ed, "ed"),
    ];
    let secrets = [
        (Algorithm::Hs256, jsonwebtoken::Algorithm::HS256, "HS256", "s".repeat(32)),
        (Algorithm::Hs384, jsonwebtoken::Algorithm::HS384, "HS384", "s".repeat(48)),
        (Algorithm::Hs512, jsonwebtoken::Algorithm::HS512, "HS512", "s".repeat(64)),
    ];
    let of_the_keys = match publisher {
        None => Issuer::new(
            KEYS,
            AUDIENCE,
            signers.iter().map(|(algorithm, signer, id)| public(signer, algorithm, id)).collect(),
        ),
        Some(publisher) => {
            let keys = signers.map(|(algorithm, signer, id)| signer.named(id, &json!({"alg": algorithm})));
            publisher.keys(&keys);
            let address = format!("{}/keys", publisher.address).parse().unwrap();
            let set = KeySet::new(KEYS, Location::KeySet(address), Algorithm::Rs256);
            Issuer { keys: Keys::Published(set), ..Issuer::new(KEYS, AUDIENCE, Vec::new()) }
        }
    };
    let shared = secrets
        .iter()
        .map(|(own, _, name, secret)| {
            Key::secret(*own, &SecretString::from(secret.as_str()), Some((*name).to_owned())).unwrap()
        })
        .collect();
    let strict = "https://strict.example";
    let app = on(
        &shared_database(),
        vec![
            of_the_keys,
            Issuer::new(SECRETS, AUDIENCE, shared),
            Issuer {
                token_type: TokenType::AccessToken,
                ..Issuer::new(strict, AUDIENCE, vec![public(&p256, "ES256", "p256")])
            },
        ],
    );
    let (organization, person) = known_to(&app, &[KEYS, SECRETS, strict]).await;
    let now = app.clock.now();
    let payload = |issuer: &str| {
        let claims = Claims::new(issuer, AUDIENCE, &person, now, now + TimeDelta::hours(1));
        serde_json::to_string(&claims.for_organization(organization)).unwrap()
    };
    let of_keys = payload(KEYS);

    // What all others differ from.
    let mut good = BTreeMap::new();
    for (algorithm, signer, id) in signers {
        let token = signer.token(&json!({"alg": algorithm, "kid": id}), &of_keys);
        assert_eq!(with_token(&app, &token).await.data("/viewer/role"), "admin", "{algorithm}");
        good.insert(id, token);
    }
    for (_, kind, name, secret) in &secrets {
        let token = hmac(*kind, secret.as_bytes(), &json!({"alg": name, "kid": name}), &payload(SECRETS));
        assert_eq!(with_token(&app, &token).await.data("/viewer/role"), "admin", "{name}");
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        let token = p256.token(&json!({"alg": "ES256", "kid": "p256", "typ": typ}), &payload(strict));
        assert_eq!(with_token(&app, &token).await.status, 200, "{typ}");
    }

    let mut forged: Vec<(String, String)> = Vec::new();
    let mut forge = |what: &str, token: String| forged.push((what.to_owned(), token));
    // The public key as a shared secret, in every form that somebody may have of it.
    let n = BASE64URL_NOPAD.decode(rsa.jwk()["n"].as_str().unwrap().as_bytes()).unwrap();
    let point = [&[4][..], &BASE64URL_NOPAD.decode(p256.jwk()["x"].as_str().unwrap().as_bytes()).unwrap()].concat();
    let as_secrets = [rsa.jwk().to_string().into_bytes(), n, point, p256.jwk().to_string().into_bytes(), Vec::new()];
    for (at, secret) in as_secrets.iter().enumerate() {
        for (kind, name) in [(jsonwebtoken::Algorithm::HS256, "HS256"), (jsonwebtoken::Algorithm::HS512, "HS512")] {
            for id in ["rsa", "p256"] {
                let header = json!({"alg": name, "kid": id});
                forge(&format!("{name} with form {at} of a public key as {id}"), hmac(kind, secret, &header, &of_keys));
            }
        }
        let header = json!({"alg": "RS256", "kid": "rsa"});
        let token = hmac(jsonwebtoken::Algorithm::HS256, secret, &header, &of_keys);
        forge(&format!("an HMAC with form {at} that says RS256"), token);
    }
    // One key's algorithm with another key.
    for (algorithm, signer, id) in signers {
        for (other, _, other_id) in signers {
            if id != other_id {
                forge(
                    &format!("{id} signs as {other_id}"),
                    signer.token(&json!({"alg": algorithm, "kid": other_id}), &of_keys),
                );
                let header = json!({"alg": other, "kid": id});
                let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(of_keys.as_bytes()));
                let signature = base64(&signer.signature(algorithm, message.as_bytes()));
                forge(&format!("{id} says it is {other}"), format!("{message}.{signature}"));
            }
        }
    }
    // Somebody else's key by the same name, and brought along.
    let strangers = [Signer::rsa(), Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519()];
    for (stranger, (algorithm, _, id)) in strangers.iter().zip(signers) {
        forge(&format!("a stranger as {id}"), stranger.token(&json!({"alg": algorithm, "kid": id}), &of_keys));
        forge(&format!("a stranger without a name, {algorithm}"), stranger.token(&json!({"alg": algorithm}), &of_keys));
        for (member, value) in [
            ("jwk", stranger.jwk()),
            ("jku", json!("https://evil.example/keys")),
            ("x5u", json!("https://evil.example/chain")),
            ("x5c", json!([base64(&[0x30, 0])])),
        ] {
            let header = json!({"alg": algorithm, "kid": id, member: value});
            forge(&format!("a stranger's {member}, {algorithm}"), stranger.token(&header, &of_keys));
        }
    }
    for id in [
        "",
        "RSA",
        " rsa",
        "rsa\u{0}",
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "rsa'; SELECT 1; --",
        "|/bin/true",
        "https://evil.example/keys",
        "p256",
    ] {
        forge(&format!("kid {id:?}"), rsa.token(&json!({"alg": "RS256", "kid": id}), &of_keys));
    }
    for id in [json!(1), json!(["rsa"]), json!({"kid": "rsa"}), json!(true), json!("r".repeat(257))] {
        forge(&format!("kid {id}"), rsa.token(&json!({"alg": "RS256", "kid": id}), &of_keys));
    }
    for name in [
        "none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS384", "RS512", "PS384", "PS512", "ES512", "ES256K",
        "Ed448", "HS256", "RSA-OAEP", "dir", "ECDH-ES",
    ] {
        for id in ["rsa", "p256"] {
            let header = json!({"alg": name, "kid": id});
            forge(&format!("alg {name:?} of {id}"), rsa.token(&header, &of_keys));
            let unsigned = format!("{}.{}.", base64(header.to_string().as_bytes()), base64(of_keys.as_bytes()));
            forge(&format!("alg {name:?} of {id}, unsigned"), unsigned);
        }
    }
    forge("an algorithm in a list", rsa.token(&json!({"alg": ["RS256"], "kid": "rsa"}), &of_keys));
    // Signatures that are nearly right.
    for (id, token) in &good {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let half = signature.len() / 2;
        let mut flipped = signature.clone();
        flipped[half] ^= 1;
        let mut variants = vec![
            ("nothing", Vec::new()),
            ("one byte", signature[..1].to_vec()),
            ("a byte less", signature[..signature.len() - 1].to_vec()),
            ("the second byte on", signature[1..].to_vec()),
            ("half", signature[..half].to_vec()),
            ("a byte more", [&signature[..], &[0]].concat()),
            ("a zero before it", [&[0], &signature[..]].concat()),
            ("twice", signature.repeat(2)),
            ("a bit flipped", flipped),
            ("zeros", vec![0; signature.len()]),
            ("ones", vec![0xff; signature.len()]),
            ("halves swapped", [&signature[half..], &signature[..half]].concat()),
        ];
        if id.starts_with('p') && *id != "pss" {
            variants.push(("DER", der(&signature)));
            variants.push(("r of zero", [&vec![0; half][..], &signature[half..]].concat()));
            variants.push(("s of zero", [&signature[..half], &vec![0; half][..]].concat()));
        }
        for (what, variant) in variants {
            forge(&format!("{id}: {what}"), format!("{message}.{}", base64(&variant)));
        }
        let text = token.rsplit_once('.').unwrap().1;
        for (what, token) in [
            ("padded", format!("{token}==")),
            ("with a line break", format!("{token}%0A")),
            ("with the signature in base64", format!("{message}.{}", data_encoding::BASE64.encode(&signature))),
            ("with five parts", format!("{message}.{text}.{text}.{text}")),
            ("of another payload", {
                let (header, _) = message.split_once('.').unwrap();
                let other = of_keys.replace(&person, "somebody else");
                format!("{header}.{}.{text}", base64(other.as_bytes()))
            }),
            ("of another header", {
                let (_, payload) = message.split_once('.').unwrap();
                let header =
                    json!({"kid": id, "alg": signers.iter().find(|(_, _, own)| own == id).unwrap().0, "typ": "JWT"});
                format!("{}.{payload}.{text}", base64(header.to_string().as_bytes()))
            }),
        ] {
            forge(&format!("{id}: {what}"), token);
        }
    }
    // One issuer's key for another issuer.
    for issuer in [ISSUER, SECRETS, "https://keys.example/", "HTTPS://KEYS.EXAMPLE", "https://evil.example", "", "null"]
    {
        forge(&format!("for {issuer:?}"), rsa.token(&json!({"alg": "RS256", "kid": "rsa"}), &payload(issuer)));
    }
    let ours = json!({"alg": "HS256", "kid": "HS256"});
    forge(
        "our secret for another issuer",
        hmac(jsonwebtoken::Algorithm::HS256, JWT_SECRET.as_bytes(), &ours, &payload(SECRETS)),
    );
    let short = json!({"alg": "HS512", "kid": "HS256"});
    forge(
        "a secret with another hash",
        hmac(jsonwebtoken::Algorithm::HS512, secrets[0].3.as_bytes(), &short, &payload(SECRETS)),
    );
    // An issuer that also signs ID tokens: only its access tokens are for us.
    for typ in [json!("JWT"), json!("jwt"), json!("id+jwt"), json!("logout+jwt"), json!("at+jwt2"), json!(1), json!("")]
    {
        forge(
            &format!("type {typ}"),
            p256.token(&json!({"alg": "ES256", "kid": "p256", "typ": typ}), &payload(strict)),
        );
    }
    forge("no type", p256.token(&json!({"alg": "ES256", "kid": "p256"}), &payload(strict)));

    assert!(forged.len() >= 250, "{}", forged.len());
    for (what, token) in forged {
        assert_refused(&with_token(&app, &token).await, &what);
    }
}

/// Keys in files, as `openssl` writes them: each is for one algorithm.
#[test]
fn keys_in_pem_are_what_they_are() {
    let spki = |signer: &Signer| {
        let der: PublicKeyX509Der<'_> = match signer {
            Signer::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Signer::Ec(_, pair) => pair.public_key().as_der().unwrap(),
            Signer::Ed(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    };
    let pem = |der: &[u8]| {
        let text = data_encoding::BASE64.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    };
    let read = |der: &[u8], algorithm| Key::from_pem(&pem(der), algorithm, None).map(|_| ());
    let (rsa, p256, p384, ed) = (Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519());
    for (signer, right) in [
        (&rsa, &[Algorithm::Rs256, Algorithm::Ps256][..]),
        (&p256, &[Algorithm::Es256]),
        (&p384, &[Algorithm::Es384]),
        (&ed, &[Algorithm::EdDsa]),
    ] {
        let der = spki(signer);
        assert_eq!(read(&der, None), Ok(()));
        for algorithm in
            [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Hs256]
        {
            assert_eq!(read(&der, Some(algorithm)).is_ok(), right.contains(&algorithm), "{algorithm:?}");
        }
        for length in 0..der.len() {
            assert!(read(&der[..length], None).is_err(), "{length}");
        }
    }
    // 65537 becomes 65535, 1 and an even number.
    let der = spki(&rsa);
    assert!(der.ends_with(&[2, 3, 1, 0, 1]));
    for exponent in [[0, 0, 1], [1, 0, 0], [0, 0, 0]] {
        let weak = [&der[..der.len() - 3], &exponent].concat();
        assert!(read(&weak, None).is_err(), "{exponent:?}");
    }
    for text in ["", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        assert!(Key::from_pem(text, None, None).is_err());
    }
    for (algorithm, least) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        let secret = |length: usize| SecretString::from("x".repeat(length));
        assert!(Key::secret(algorithm, &secret(least), None).is_some());
        assert!(Key::secret(algorithm, &secret(least - 1), None).is_none());
    }
    assert!(Key::secret(Algorithm::Rs256, &SecretString::from("x".repeat(64)), None).is_none());
}
