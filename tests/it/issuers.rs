//! Several issuers at once: what each of them can prove, and where it may lead.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::KeyPair as _;
use chrono::TimeDelta;
use data_encoding::BASE64URL_NOPAD;
use patchbay::auth::issuer::{Issuer, Organizations, RoleClaim, TokenType};
use patchbay::auth::jwt::Claims;
use patchbay::auth::key::{Algorithm, Key};
use patchbay::auth::policy::Role;
use patchbay::db;
use patchbay::db::organization_claim::Link;
use patchbay::id::OrganizationId;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::auth::{WHO, assert_refused, with_token};
use crate::harness::issuer::{Signer, base64};
use crate::harness::{AUDIENCE, Database, ISSUER, JWT_SECRET, TestApp, fresh_database, shared_database, subject};

/// An issuer whose keys the settings hold.
const KEYS: &str = "https://keys.example";
/// An issuer with shared secrets of every length.
const SECRETS: &str = "https://secrets.example";
/// An issuer that says which organizations its people are in.
const CLAIMING: &str = "https://claiming.example";

pub fn on(database: &Database, issuers: Vec<Issuer>) -> TestApp {
    TestApp::with_issuers(&database.service, &database.owner, TestApp::api(), issuers)
}

fn public(signer: &Signer, algorithm: &str, id: &str) -> Key {
    let jwk = signer.named(id, &json!({"alg": algorithm}));
    Key::from_jwk(jwk.as_object().unwrap(), Algorithm::Rs256).unwrap()
}

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
async fn every_kind_of_key_proves_a_token_and_every_forgery_is_refused_alike() {
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
    let keys = signers.iter().map(|(algorithm, signer, id)| public(signer, algorithm, id)).collect();
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
            Issuer::new(KEYS, AUDIENCE, keys),
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

pub fn claiming(signer: &Signer) -> Issuer {
    Issuer {
        organizations: Organizations::Claim {
            claim: "tenant".to_owned(),
            role: Some(RoleClaim {
                claim: "groups".to_owned(),
                roles: BTreeMap::from([
                    ("boss".to_owned(), Role::Owner),
                    ("staff".to_owned(), Role::Admin),
                    ("guest".to_owned(), Role::Viewer),
                ]),
            }),
            default_role: Role::Member,
        },
        ..Issuer::new(CLAIMING, AUDIENCE, vec![public(signer, "ES256", "one")])
    }
}

/// A token of the issuer that says which organizations its people are in.
pub fn claimed(app: &TestApp, signer: &Signer, subject: &str, more: &Value) -> String {
    let now = app.clock.now();
    let mut claims =
        serde_json::to_value(Claims::new(CLAIMING, AUDIENCE, subject, now, now + TimeDelta::hours(1))).unwrap();
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signer.token(&json!({"alg": "ES256", "kid": "one"}), &claims.to_string())
}

pub async fn link(app: &TestApp, organization: OrganizationId, value: &str) {
    let link = Link { issuer: CLAIMING.to_owned(), value: value.to_owned(), organization_id: organization };
    app.app.db.system_write(async |tx| db::organization_claim::create(tx, &link).await).await.unwrap();
}

#[tokio::test]
async fn an_issuer_says_who_is_in_the_organizations_that_are_linked_to_it() {
    let signer = Signer::p256();
    let app = on(&fresh_database().await, vec![claiming(&signer)]);
    let (acme, globex, other) =
        (app.organization("Acme").await, app.organization("Globex").await, app.organization("Other").await);
    link(&app, acme.id, "acme-corp").await;
    link(&app, globex.id, "globex-corp").await;
    let who = async |subject: &str, more: Value| with_token(&app, &claimed(&app, &signer, subject, &more)).await;

    // Somebody who was never seen is a member, with the default role, and keeps id and role.
    let first = who("ann", json!({"tenant": "acme-corp", "name": "Ann"})).await;
    assert_eq!(first.data("/viewer/role"), "member");
    assert_eq!(first.data("/viewer/organization/id"), &json!(acme.id.to_string()));
    let id = async |subject: &str, tenant: &str| {
        let token = claimed(&app, &signer, subject, &json!({"tenant": tenant}));
        let client = app.anonymous().with("authorization", &format!("Bearer {token}"));
        client.gql("{ viewer { user { id name } } }", json!({})).await.data("/viewer/user").clone()
    };
    let ann = id("ann", "acme-corp").await;
    assert_eq!(ann["name"], "Ann");
    assert_eq!(ann["id"], id("ann", "globex-corp").await["id"], "one person in both");
    assert_ne!(ann["id"], id("bob", "acme-corp").await["id"]);

    // Roles: the highest that we know counts, none leaves what there is, words that we do not know are the default.
    for (groups, role) in [
        (json!("staff"), "admin"),
        (json!(["guest", "staff", "something"]), "admin"),
        (json!(null), "admin"),
        (json!(["guest"]), "viewer"),
        (json!(["something"]), "member"),
        (json!([]), "member"),
        (json!("boss"), "owner"),
    ] {
        let answer = who("ann", json!({"tenant": "acme-corp", "groups": groups})).await;
        assert_eq!(answer.data("/viewer/role"), role, "{groups}");
    }
    let absent = who("ann", json!({"tenant": "acme-corp"})).await;
    assert_eq!(absent.data("/viewer/role"), "owner");

    // Nothing but what is linked, by whatever name.
    for (what, more) in [
        ("no claim", json!({})),
        ("an empty claim", json!({"tenant": ""})),
        ("an empty list", json!({"tenant": []})),
        ("a number", json!({"tenant": 1})),
        ("a list with a number", json!({"tenant": ["acme-corp", 1]})),
        ("another value", json!({"tenant": "other-corp"})),
        ("a value in upper case", json!({"tenant": "ACME-CORP"})),
        ("the organization's id", json!({"tenant": acme.id.to_string()})),
        ("another organization's id", json!({"tenant": other.id.to_string()})),
        ("our claim", json!({"org": acme.id.to_string()})),
        ("several, and none is named", json!({"tenant": ["acme-corp", "globex-corp"]})),
        ("a very long value", json!({"tenant": "x".repeat(256)})),
        ("very many values", json!({"tenant": vec!["acme-corp"; 101]})),
        ("roles of the wrong form", json!({"tenant": "acme-corp", "groups": {"staff": true}})),
    ] {
        assert_refused(&who("ann", more).await, what);
    }
    // Our own claim means nothing to this issuer.
    let ours = who("ann", json!({"tenant": "acme-corp", "org": other.id.to_string()})).await;
    assert_eq!(ours.data("/viewer/organization/id"), &json!(acme.id.to_string()));

    // Of several, X-Organization-Id picks one; only one of those.
    let both = claimed(&app, &signer, "ann", &json!({"tenant": ["acme-corp", "globex-corp", "unknown"]}));
    let both = app.anonymous().with("authorization", &format!("Bearer {both}"));
    for organization in [&acme, &globex] {
        let answer = both
            .with("x-organization-id", &organization.id.to_string())
            .gql("{ viewer { organization { id } organizations { name } } }", json!({}))
            .await;
        assert_eq!(answer.data("/viewer/organization/id"), &json!(organization.id.to_string()));
        assert_eq!(answer.data("/viewer/organizations"), &json!([{"name": "Acme"}, {"name": "Globex"}]));
    }
    assert_refused(&both.with("x-organization-id", &other.id.to_string()).gql(WHO, json!({})).await, "not claimed");
    let one = claimed(&app, &signer, "ann", &json!({"tenant": "acme-corp"}));
    let one = app.anonymous().with("authorization", &format!("Bearer {one}"));
    let answer = one.gql("{ viewer { organizations { name } } }", json!({})).await;
    assert_eq!(answer.data("/viewer/organizations"), &json!([{"name": "Acme"}]), "the token is for one");

    // Although the person is a member there, by another way: this issuer does not lead there.
    let user: patchbay::id::UserId = ann["id"].as_str().unwrap().parse().unwrap();
    let third = other.id;
    app.app.db.system_write(async |tx| db::member::put(tx, third, user, Some(Role::Owner)).await).await.unwrap();
    assert_refused(
        &one.with("x-organization-id", &third.to_string()).gql(WHO, json!({})).await,
        "a member, but not by this",
    );
}

#[tokio::test]
async fn an_issuer_does_not_take_the_last_owner_away() {
    let signer = Signer::p256();
    let app = on(&fresh_database().await, vec![claiming(&signer)]);
    let acme = app.organization("Acme").await;
    link(&app, acme.id, "acme-corp").await;
    let who = async |subject: &str, group: &str| {
        let token = claimed(&app, &signer, subject, &json!({"tenant": "acme-corp", "groups": group}));
        with_token(&app, &token).await.data("/viewer/role").clone()
    };
    assert_eq!(who("ann", "boss").await, "owner");
    // The owner that the organization was made with is one too.
    assert_eq!(who("ann", "guest").await, "viewer");
    assert_eq!(who("ann", "boss").await, "owner");
    app.sql("UPDATE members SET role = 'member' WHERE user_id NOT IN (SELECT user_id FROM identities WHERE subject = 'ann')").await;
    assert_eq!(who("ann", "guest").await, "owner", "nobody else is");
    assert_eq!(who("bob", "boss").await, "owner");
    assert_eq!(who("ann", "guest").await, "viewer");
}

#[tokio::test]
async fn many_first_requests_at_once_make_one_person() {
    let signer = Signer::p256();
    let database = fresh_database().await;
    let app = on(&database, vec![claiming(&signer)]);
    let acme = app.organization("Acme").await;
    link(&app, acme.id, "acme-corp").await;
    let token = claimed(&app, &signer, "ann", &json!({"tenant": "acme-corp", "groups": "staff"}));
    let answers = futures_util::future::join_all((0..20).map(|_| with_token(&app, &token))).await;
    assert!(answers.iter().all(|answer| answer.data("/viewer/role") == "admin"));
    let members = acme.owner.gql("{ organization { members { totalCount } } }", json!({})).await;
    assert_eq!(members.data("/organization/members/totalCount"), 2);
}

#[tokio::test]
async fn who_was_added_by_email_comes_with_a_verified_address() {
    let signer = Signer::ed25519();
    let (deaf, other) = ("https://deaf.example", "https://other.example");
    let key = || vec![public(&signer, "EdDSA", "one")];
    let app = on(
        &fresh_database().await,
        vec![
            Issuer::new(KEYS, AUDIENCE, key()),
            Issuer { email_claim: None, ..Issuer::new(deaf, AUDIENCE, key()) },
            Issuer { email_claim: Some("mail".to_owned()), ..Issuer::new(other, AUDIENCE, key()) },
        ],
    );
    let (acme, globex) = (app.organization("Acme").await, app.organization("Globex").await);
    let invite = async |organization: OrganizationId, email: &str, role| {
        app.app
            .db
            .system_write(async |tx| {
                let user = db::user::find_or_create_pending(tx, email).await?;
                db::member::put(tx, organization, user, Some(role)).await?;
                Ok(user)
            })
            .await
            .unwrap()
    };
    let who = async |issuer: &str, subject: &str, more: Value, organization: Option<OrganizationId>| {
        let now = app.clock.now();
        let claims = Claims::new(issuer, AUDIENCE, subject, now, now + TimeDelta::hours(1));
        let mut claims = serde_json::to_value(claims).unwrap();
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = signer.token(&json!({"alg": "EdDSA", "kid": "one"}), &claims.to_string());
        let client = app.anonymous().with("authorization", &format!("Bearer {token}"));
        let client = match organization {
            Some(id) => client.with("x-organization-id", &id.to_string()),
            None => client,
        };
        client.gql("{ viewer { role user { id } organization { id } } }", json!({})).await
    };
    let ann = invite(acme.id, "Ann@Example.com", Role::Admin).await;
    let verified = json!({"email": "ann@EXAMPLE.com", "email_verified": true});
    for (what, issuer, more) in [
        ("no address", KEYS, json!({})),
        ("an address that is not verified", KEYS, json!({"email": "ann@example.com"})),
        ("an address that is said not to be", KEYS, json!({"email": "ann@example.com", "email_verified": false})),
        ("verified in text", KEYS, json!({"email": "ann@example.com", "email_verified": "true"})),
        ("another address", KEYS, json!({"email": "ann@example.co", "email_verified": true})),
        ("a pattern", KEYS, json!({"email": "%@example.com", "email_verified": true})),
        ("a list", KEYS, json!({"email": ["ann@example.com"], "email_verified": true})),
        ("an issuer whose addresses prove nothing", deaf, verified.clone()),
        ("an issuer with another claim", other, verified.clone()),
        // The address of somebody who has an identity is nobody's to take.
        ("the owner's address", KEYS, json!({"email": "x", "email_verified": true})),
    ] {
        assert_refused(&who(issuer, "ann", more, None).await, what);
    }
    let came = who(KEYS, "ann", verified.clone(), None).await;
    assert_eq!(came.data("/viewer/role"), "admin");
    assert_eq!(came.data("/viewer/user/id"), &json!(ann.to_string()), "the row that was waiting");
    // From now on the address has nothing to do with it, and nobody else can take it.
    assert_eq!(who(KEYS, "ann", json!({}), None).await.data("/viewer/role"), "admin");
    assert_refused(&who(KEYS, "eve", verified.clone(), None).await, "taken");
    assert_refused(&who(other, "ann", json!({"mail": "ann@example.com", "email_verified": true}), None).await, "taken");

    // Known already, and added to another organization: the membership moves, and what the pending person owns with it.
    let pending = invite(globex.id, "ANN@example.com", Role::Viewer).await;
    assert_ne!(pending, ann);
    let mut input = crate::harness::github("for Ann");
    input["owner"] = json!({"userId": pending.to_string()});
    globex.owner.create(input).await;
    assert_eq!(who(KEYS, "ann", json!({}), None).await.data("/viewer/organization/id"), &json!(acme.id.to_string()));
    assert_refused(&who(KEYS, "ann", json!({}), Some(globex.id)).await, "without the address");
    let moved = who(KEYS, "ann", verified.clone(), Some(globex.id)).await;
    assert_eq!(
        (moved.data("/viewer/role"), moved.data("/viewer/user/id")),
        (&json!("viewer"), &json!(ann.to_string()))
    );
    assert_eq!(globex.owner.names(json!({"userId": {"eq": ann.to_string()}})).await, ["for Ann"]);
    assert_eq!(globex.owner.names(json!({"userId": {"eq": pending.to_string()}})).await, Vec::<String>::new());
    let left = app.app.db.system_read(async |tx| db::user::find(tx, pending).await).await.unwrap();
    assert!(left.is_none(), "the pending person is gone");
}

/// Several people with one verified address, at the same moment: it is taken up once, and nobody becomes somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_taken_up_once() {
    let signer = Signer::ed25519();
    let database = fresh_database().await;
    let app = on(&database, vec![Issuer::new(KEYS, AUDIENCE, vec![public(&signer, "EdDSA", "one")])]);
    let acme = app.organization("Acme").await.id;
    let now = app.clock.now();
    for round in 0..5 {
        let email = format!("ann{round}@example.com");
        let invited = app.app.db.system_write(async |tx| {
            let user = db::user::find_or_create_pending(tx, &email).await?;
            db::member::put(tx, acme, user, Some(Role::Viewer)).await
        });
        invited.await.unwrap();
        let tokens: Vec<_> = (0..8)
            .map(|number| {
                let subject = format!("{round}-{number}");
                let claims = Claims::new(KEYS, AUDIENCE, &subject, now, now + TimeDelta::hours(1));
                let mut claims = serde_json::to_value(claims).unwrap();
                claims["email"] = json!(email);
                claims["email_verified"] = json!(true);
                signer.token(&json!({"alg": "EdDSA", "kid": "one"}), &claims.to_string())
            })
            .collect();
        let answers = futures_util::future::join_all(tokens.iter().map(|token| with_token(&app, token))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "round {round}");
    }
    let shared = crate::tenancy::lines(
        &database,
        "SELECT user_id::text AS line FROM identities GROUP BY user_id HAVING count(*) > 1",
    )
    .await;
    assert_eq!(shared, Vec::<String>::new());
}
