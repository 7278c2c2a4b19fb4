//! Several issuers at once: what each of them can prove, and where it may lead.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use patchbay::auth::issuer::{Issuer, Organizations, RoleClaim};
use patchbay::auth::jwt::{Claims, Verifier};
use patchbay::auth::key::{Algorithm, Key};
use patchbay::auth::policy::Role;
use patchbay::db;
use patchbay::db::organization_claim::Link;
use patchbay::id::OrganizationId;
use serde_json::{Value, json};

use crate::auth::{WHO, assert_refused, with_token};
use crate::harness::issuer::Signer;
use crate::harness::{AUDIENCE, Database, TestApp, fresh_database};

/// An issuer whose keys the settings hold.
pub const KEYS: &str = "https://keys.example";
/// An issuer that says which organizations its people are in.
const CLAIMING: &str = "https://claiming.example";

pub fn on(database: &Database, issuers: Vec<Issuer>) -> TestApp {
    TestApp::with_issuers(&database.service, &database.owner, TestApp::api(), issuers)
}

pub fn public(signer: &Signer, algorithm: &str, id: &str) -> Key {
    let jwk = signer.named(id, &json!({"alg": algorithm}));
    Key::from_jwk(jwk.as_object().unwrap(), Algorithm::Rs256).unwrap()
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

    // Roles: the highest that we know counts; whoever has none that we know has the default, however that is said.
    for (groups, role) in [
        (json!("staff"), "admin"),
        (json!(["guest", "staff", "something"]), "admin"),
        (json!(null), "member"),
        (json!(["guest"]), "viewer"),
        (json!(["something"]), "member"),
        (json!([]), "member"),
        (json!("boss"), "owner"),
    ] {
        let answer = who("ann", json!({"tenant": "acme-corp", "groups": groups})).await;
        assert_eq!(answer.data("/viewer/role"), role, "{groups}");
    }
    let absent = who("ann", json!({"tenant": "acme-corp"})).await;
    assert_eq!(absent.data("/viewer/role"), "member", "some issuers leave an empty list out");

    // A thousand of each is no reason to lock anybody out.
    let many = |more: usize| [vec!["a"; more], vec!["acme-corp"]].concat();
    for more in [json!({"tenant": many(999)}), json!({"tenant": "acme-corp", "groups": many(999)})] {
        assert_eq!(who("ann", more).await.status, 200);
    }
    // The log tells one claim from the other.
    let verifier = Verifier::new(vec![claiming(&signer)]);
    for (more, reason) in [
        (json!({"tenant": 1}), "the token names no organization rightly"),
        (json!({"tenant": "acme-corp", "groups": 1}), "the token's roles are not a text, nor a list"),
    ] {
        let refused = verifier.verify(&claimed(&app, &signer, "ann", &more), app.clock.now()).await.unwrap_err();
        assert!(refused.to_string().contains(reason), "{refused}");
    }

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
        ("a very long value", json!({"tenant": "x".repeat(256)})),
        ("very many values", json!({"tenant": many(1000)})),
        ("very many roles", json!({"tenant": "acme-corp", "groups": many(1000)})),
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

/// What an organization's admin offers by e-mail address, anybody may offer: it is taken up by who names the organization,
/// and leads nobody there who did not ask for it.
#[tokio::test]
async fn what_an_admin_offers_is_taken_up_by_its_name() {
    let signer = Signer::ed25519();
    let database = fresh_database().await;
    let app = on(&database, vec![Issuer::new(KEYS, AUDIENCE, vec![public(&signer, "EdDSA", "one")])]);
    let (acme, stranger) = (app.organization("Acme").await, app.organization("Stranger").await);
    let add = "mutation { organizationMemberAdd(email: \"Ann@example.com\", role: admin) { userErrors { code } } }";
    for organization in [&acme, &stranger] {
        assert_eq!(organization.owner.gql(add, json!({})).await.user_errors(), Vec::<String>::new());
    }
    let now = app.clock.now();
    let token = |email: &str, verified: bool| {
        let claims = Claims::new(KEYS, AUDIENCE, "ann", now, now + TimeDelta::hours(1));
        let mut claims = serde_json::to_value(claims).unwrap();
        claims["email"] = json!(email);
        claims["email_verified"] = json!(verified);
        let token = signer.token(&json!({"alg": "EdDSA", "kid": "one"}), &claims.to_string());
        app.anonymous().with("authorization", &format!("Bearer {token}"))
    };
    let ann = token("ann@example.com", true);
    let unnamed = ann.gql(WHO, json!({})).await;
    assert_eq!((unnamed.status.as_u16(), unnamed.code()), (400, "ORGANIZATION_REQUIRED"));
    for organization in [&acme, &stranger] {
        assert!(unnamed.text.contains(&organization.id.to_string()), "{}", unnamed.text);
    }
    let id = acme.id.to_string();
    for other in [token("ann@example.com", false), token("bob@example.com", true)] {
        assert_refused(&other.with("x-organization-id", &id).gql(WHO, json!({})).await, "not the address");
    }
    assert_eq!(ann.with("x-organization-id", &id).gql(WHO, json!({})).await.data("/viewer/role"), "admin");
    // From now on it is the only one there is: the other offer still waits.
    assert_eq!(ann.gql(WHO, json!({})).await.data("/viewer/organization/id"), &json!(id));
    let own = ann.gql("{ viewer { organizations { id } } }", json!({})).await;
    assert_eq!(own.data("/viewer/organizations"), &json!([{"id": id}]));
}

/// What the operator offers is not mixed up with what somebody else has offered to the same address before.
#[tokio::test]
async fn the_operators_offer_brings_nobody_elsewhere() {
    let signer = Signer::ed25519();
    let database = fresh_database().await;
    let app = on(&database, vec![Issuer::new(KEYS, AUDIENCE, vec![public(&signer, "EdDSA", "one")])]);
    let (acme, stranger) = (app.organization("Acme").await, app.organization("Stranger").await);
    let add = "mutation { organizationMemberAdd(email: \"ann@example.com\", role: admin) { userErrors { code } } }";
    assert_eq!(stranger.owner.gql(add, json!({})).await.user_errors(), Vec::<String>::new());
    let offered = app.app.db.system_write(async |tx| {
        let user = db::user::find_or_create_pending(tx, "ann@example.com").await?;
        db::member::put(tx, acme.id, user, Some(Role::Member)).await
    });
    offered.await.unwrap();
    let now = app.clock.now();
    let claims = Claims::new(KEYS, AUDIENCE, "ann", now, now + TimeDelta::hours(1));
    let mut claims = serde_json::to_value(claims).unwrap();
    claims["email"] = json!("ann@example.com");
    claims["email_verified"] = json!(true);
    let token = signer.token(&json!({"alg": "EdDSA", "kid": "one"}), &claims.to_string());
    assert_eq!(with_token(&app, &token).await.data("/viewer/organization/id"), &json!(acme.id.to_string()));
    let ann = app.anonymous().with("authorization", &format!("Bearer {token}"));
    let own = ann.gql("{ viewer { organizations { id } } }", json!({})).await;
    assert_eq!(own.data("/viewer/organizations"), &json!([{"id": acme.id.to_string()}]));
    // An address that strangers have offered places is still one person's for the operator.
    let found = app.app.db.system_read(async |tx| db::user::list_by_email(tx, "ann@example.com").await).await.unwrap();
    assert_eq!(found.len(), 1);
}
