//! `patchbay organization` and `patchbay revoke`, as operators run them, and `[[issuers]]` of the settings.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use patchbay::auth::jwt::{Claims, sign};
use patchbay::clock::Clock;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::issuer::{FakeIssuer, Signer};
use crate::harness::process::{Said, Service, gql, patchbay, run};
use crate::harness::{AUDIENCE, Database, ISSUER, JWT_SECRET, ROOT_KEY, TestApp, fresh_database};
use crate::serve::{address, url};
use crate::tenancy::lines;

fn operator(database: &Database, arguments: &[&str]) -> Said {
    let mut command = patchbay(arguments);
    command.env("DATABASE_URL", url(database, "patchbay_service")).env("PATCHBAY_ROOT_KEY", ROOT_KEY);
    run(&mut command)
}

fn answer(database: &Database, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let said = operator(database, &arguments);
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

fn refusal(database: &Database, arguments: &[&str]) -> String {
    let said = operator(database, arguments);
    assert_eq!(said.code, Some(1), "{arguments:?}: {} {}", said.out, said.err);
    assert!(said.out.is_empty());
    said.err
}

#[tokio::test(flavor = "multi_thread")]
async fn organizations_are_made_linked_and_deleted() {
    let database = fresh_database().await;
    let made = answer(
        &database,
        &["organization", "create", "--name", "Acme", "--slug", "acme", "--owner-email", "Ann@acme.example"],
    );
    let id = made["id"].as_str().unwrap();
    assert!(made["ownerId"].as_str().unwrap().starts_with("user_") && made["link"].is_null(), "{made}");
    let second = answer(
        &database,
        &[
            "organization",
            "create",
            "--name",
            "Globex",
            "--slug",
            "globex",
            "--owner-issuer",
            ISSUER,
            "--owner-subject",
            "gus",
            "--issuer",
            "https://idp.example",
        ],
    );
    assert_eq!(second["link"], json!({"issuer": "https://idp.example", "claim": second["id"]}));

    for (arguments, reason) in [
        (&["organization", "create", "--name", "Acme", "--slug", "acme"][..], "has that slug already"),
        (&["organization", "create", "--name", "", "--slug", "other"], "a name has 1 to 120 characters"),
        (&["organization", "create", "--name", "A", "--slug", "Not A Slug"], "a slug has"),
        (
            &["organization", "create", "--name", "A", "--slug", "a", "--owner-email", "nobody"],
            "is not an e-mail address",
        ),
        (
            &[
                "organization",
                "create",
                "--name",
                "A",
                "--slug",
                "a",
                "--issuer",
                "https://idp.example",
                "--claim",
                second["id"].as_str().unwrap(),
            ],
            "is linked already",
        ),
        (&["organization", "link", "nothing", "--issuer", "i", "--claim", "c"], "there is no organization nothing"),
        (&["organization", "link", "acme", "--issuer", "", "--claim", "c"], "an issuer is not empty"),
        (&["organization", "link", "acme", "--issuer", "a b", "--claim", "c"], "has no spaces"),
        (&["organization", "link", "acme", "--issuer", "https:/", "--claim", "c"], "not an address such as"),
        (&["organization", "create", "--name", "A", "--slug", "a", "--issuer", "ftp://a"], "not an address such as"),
        (&["organization", "list", "--data-dir", "."], "--data-dir and DATABASE_URL are both given"),
        (&["organization", "delete", "acme"], "--yes"),
        (&["organization", "delete", "nothing", "--yes"], "there is no organization nothing"),
        (&["organization", "add-member", "acme", "--issuer", ISSUER, "--subject", "nobody", "--role", "boss"], ""),
    ] {
        let said = operator(&database, arguments);
        assert!(said.code != Some(0) && said.err.contains(reason), "{arguments:?}: {}", said.err);
    }
    // A failed one leaves nothing: not the organization, not its key.
    let listed = answer(&database, &["organization", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(lines(&database, "SELECT count(*)::text AS line FROM organization_keys").await, ["2"]);

    answer(&database, &["organization", "link", "acme", "--issuer", "https://idp.example", "--claim", "acme-corp"]);
    let bob = answer(&database, &["organization", "add-member", id, "--email", "bob@acme.example", "--role", "viewer"]);
    let again =
        answer(&database, &["organization", "add-member", "acme", "--email", "BOB@acme.example", "--role", "admin"]);
    assert_eq!((&again["userId"], &again["role"]), (&bob["userId"], &json!("admin")), "one person, another role");
    let owner = ["organization", "add-member", "acme", "--email", "ann@acme.example", "--role", "viewer"];
    assert!(refusal(&database, &owner).contains("last owner"));
    answer(
        &database,
        &["organization", "add-member", "acme", "--issuer", ISSUER, "--subject", "carl", "--role", "member"],
    );
    let listed = answer(&database, &["organization", "list"]);
    assert_eq!(listed[0]["members"], 3);
    assert_eq!(listed[0]["links"], json!([{"issuer": "https://idp.example", "claim": "acme-corp"}]));
    let text = operator(&database, &["organization", "list"]).out;
    assert!(text.contains("globex  Globex  1 member\n"), "{text}");
    assert!(text.contains(&format!("{id}  acme  Acme  3 members\n    https://idp.example  acme-corp")), "{text}");

    answer(&database, &["organization", "link", "acme", "--issuer", "https://idp.example", "--claim", "mistake"]);
    answer(&database, &["organization", "unlink", "--issuer", "https://idp.example", "--claim", "mistake"]);
    assert_eq!(
        lines(
            &database,
            "SELECT changes AS line FROM audit_log WHERE action LIKE 'organization.%linked' AND changes LIKE '%mistake%' ORDER BY sequence"
        )
        .await,
        [
            r#"[{"field":"https://idp.example","before":null,"after":"mistake"}]"#,
            r#"[{"field":"https://idp.example","before":"mistake","after":null}]"#
        ]
    );
    let gone = ["organization", "unlink", "--issuer", "https://idp.example", "--claim", "mistake"];
    assert!(refusal(&database, &gone).contains("is not linked"));
    assert_eq!(answer(&database, &["organization", "list"]), listed);

    // Who was added gets in.
    let app = TestApp::on(&database, TestApp::api());
    let now = app.clock.now();
    let mut claims =
        serde_json::to_value(Claims::new(ISSUER, AUDIENCE, "ann", now, now + chrono::TimeDelta::hours(1))).unwrap();
    claims["email"] = json!("ann@acme.example");
    claims["email_verified"] = json!(true);
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let ann = app.anonymous().with("authorization", &format!("Bearer {token}"));
    let mut input = crate::harness::github("one");
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    ann.create(input.clone()).await;
    let document =
        "mutation { apiKeyCreate(input: {name: \"k\", scopes: [configurations_write, credentials_write]}) { secret } }";
    let made_key = ann.gql(document, json!({})).await;
    let key = app.anonymous().with("x-api-key", made_key.data("/apiKeyCreate/secret").as_str().unwrap());
    key.create(input).await;
    let connector = crate::custom_connector::define(&ann, crate::custom_connector::crm("CRM")).await["id"].clone();
    ann.create(crate::custom_connector::configuration(&connector, "two")).await;
    let uuid = id.parse::<patchbay::id::OrganizationId>().unwrap().uuid();
    let count = format!("SELECT count(*)::text AS line FROM audit_log WHERE organization_id = '{uuid}'");
    let entries = lines(&database, &count).await.remove(0);
    assert_ne!(entries, "0");

    // Deleted with everything in it; the other one is as it was.
    let before = answer(&database, &["organization", "list"])[1].clone();
    let delete = ["organization", "delete", "acme", "--yes", "--json"];
    assert!(refusal(&database, &delete).contains("does the login own the tables?"), "the service's login may not");
    assert_eq!(answer(&database, &["organization", "list"])[0], listed[0]);
    let said =
        run(patchbay(&delete).env("DATABASE_URL", url(&database, "patchbay")).env("PATCHBAY_ROOT_KEY", ROOT_KEY));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let gone: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&gone["id"], gone["auditEntries"].to_string()), (&made["id"], entries.clone()));
    for table in [
        "members",
        "organization_keys",
        "configurations",
        "credentials",
        "api_keys",
        "audit_log",
        "organization_claims",
    ] {
        let left =
            lines(&database, &format!("SELECT count(*)::text AS line FROM {table} WHERE organization_id = '{uuid}'"))
                .await;
        assert_eq!(left, ["0"], "{table}");
    }
    assert_eq!(
        lines(&database, "SELECT format('%s %s %s', name, slug, audit_entries) AS line FROM organization_tombstones")
            .await,
        [format!("Acme acme {entries}")]
    );
    assert_eq!(answer(&database, &["organization", "list"]), json!([before]));
    assert_eq!(ann.gql("{ viewer { role } }", json!({})).await.status, 401);
    // The slug and the claim are free again.
    answer(
        &database,
        &[
            "organization",
            "create",
            "--name",
            "Acme",
            "--slug",
            "acme",
            "--issuer",
            "https://idp.example",
            "--claim",
            "acme-corp",
        ],
    );

    // An organization that nobody can enter is made, and what it lacks is said.
    let empty = operator(&database, &["organization", "create", "--name", "Empty", "--slug", "empty"]);
    assert_eq!(empty.code, Some(0));
    for command in ["add-member empty --email EMAIL --role owner", "link empty --issuer ISSUER --claim VALUE"] {
        assert!(empty.err.contains(&format!("patchbay organization {command}")), "{}", empty.err);
    }

    // Another root key would make an organization that the service cannot open.
    let other_key = run(&mut patchbay(&["key", "generate"])).out;
    let other = run(patchbay(&["organization", "create", "--name", "A", "--slug", "a"])
        .env("DATABASE_URL", url(&database, "patchbay_service"))
        .env("PATCHBAY_ROOT_KEY", other_key.trim()));
    assert!(other.code == Some(1) && other.err.contains("under root key"), "{}", other.err);
    let none = run(patchbay(&["organization", "list", "--data-dir", "/nowhere"]).env_remove("DATABASE_URL"));
    assert!(none.code == Some(1) && none.err.contains("patchbay dev"), "{}", none.err);
}

fn private(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// A service with issuers of every kind, revoked from the command line.
#[tokio::test(flavor = "multi_thread")]
async fn several_issuers_are_served_and_their_tokens_ended() {
    let database = fresh_database().await;
    let home = tempfile::tempdir().unwrap();
    let (fixed, published) = (Signer::ed25519(), Signer::p256());
    let (issuer, away) = (FakeIssuer::start().await, FakeIssuer::start().await);
    issuer.keys(&[published.named("one", &json!({}))]);
    away.status(500);
    let file = private(
        home.path(),
        "patchbay.toml",
        &format!(
            "port = 0\njwt_issuer = \"{ISSUER}\"\njwt_secret_file = '{}'\n\
         [[issuers]]\nissuer = \"https://fixed.example\"\nkeys = [{{ jwk_file = '{}' }}]\n\
         [[issuers]]\nissuer = \"{}\"\ndiscovery = true\norganization_claim = \"tenant\"\ndefault_role = \"viewer\"\n\
         [[issuers]]\nissuer = \"{}\"\njwks_url = \"{}/keys\"\n\
         [[issuers]]\nissuer = \"https://secrets.example\"\nsecrets = [{{ kid = \"a\", algorithm = \"HS512\", file = '{}' }}]\n",
            private(home.path(), "jwt", JWT_SECRET),
            private(home.path(), "jwk", &fixed.jwk().to_string()),
            issuer.address,
            away.address,
            away.address,
            private(home.path(), "long", &"s".repeat(64)),
        ),
    );
    let made = answer(
        &database,
        &[
            "organization",
            "create",
            "--name",
            "Acme",
            "--slug",
            "acme",
            "--owner-issuer",
            ISSUER,
            "--owner-subject",
            "ann",
            "--issuer",
            &issuer.address,
            "--claim",
            "acme-corp",
        ],
    );
    answer(
        &database,
        &[
            "organization",
            "add-member",
            "acme",
            "--issuer",
            "https://fixed.example",
            "--subject",
            "bob",
            "--role",
            "member",
        ],
    );
    let log = home.path().join("log");
    let mut command = patchbay(&["serve", "--config", &file]);
    command.env("DATABASE_URL", url(&database, "patchbay_service")).env("PATCHBAY_ROOT_KEY", ROOT_KEY);
    command.env("PATCHBAY_JWT_ISSUR", ISSUER).env("PATCHBAY_TOKEN_2", "of dev.env");
    let service = Service::start(command, &log, || address(&log)).unwrap();
    // What it goes by is in the log, and what it does not.
    let said: Vec<Value> = service.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let warned = said.iter().find(|line| !line["variables"].is_null()).unwrap();
    assert!(warned["variables"].as_str().unwrap().contains("PATCHBAY_JWT_ISSUR"), "{warned}");
    assert!(!warned.to_string().contains("PATCHBAY_TOKEN_2"), "{warned}");
    let mut proofs: Vec<_> = said.iter().filter_map(|line| line["proof"].as_str()).collect();
    proofs.sort_unstable();
    assert_eq!(proofs, ["discovery", "jwks_url", "keys", "secret", "secret"]);
    assert_eq!(said.iter().filter(|line| line.to_string().contains("set token_type to")).count(), 2);

    let now = Clock::System.now();
    let claims = |issuer: &str, subject: &str, id: Option<&str>| {
        let mut claims = Claims::new(issuer, AUDIENCE, subject, now, now + chrono::TimeDelta::hours(1));
        claims.jti = id.map(str::to_owned);
        claims
    };
    let role = async |token: &str| {
        let header = format!("Bearer {token}");
        gql(&service.url, ("authorization", &header), "{ viewer { role } }", json!({})).await["data"]["viewer"]["role"]
            .clone()
    };
    let first = sign(&claims(ISSUER, "ann", Some("first")), &SecretString::from(JWT_SECRET)).unwrap();
    let second = sign(&claims(ISSUER, "ann", None), &SecretString::from(JWT_SECRET)).unwrap();
    assert_eq!(role(&first).await, "owner");
    assert_eq!(role(&fixed.mint("EdDSA", "any", &claims("https://fixed.example", "bob", None))).await, "member");
    let mut tenant = serde_json::to_value(claims(&issuer.address, "carl", None)).unwrap();
    tenant["tenant"] = json!("acme-corp");
    let tenant = published.token(&json!({"alg": "ES256", "kid": "one"}), &tenant.to_string());
    assert_eq!(role(&tenant).await, "viewer");
    assert_eq!(role(&published.mint("ES256", "one", &claims(&away.address, "ann", None))).await, Value::Null);
    assert!(service.log().contains("the issuer's key set cannot be fetched"), "{}", service.log());

    // From the command line, at once.
    answer(&database, &["revoke", "--issuer", ISSUER, "--token-id", "first"]);
    assert_eq!(role(&first).await, Value::Null);
    assert_eq!(role(&second).await, "owner");
    let said = answer(&database, &["revoke", "--user", made["ownerId"].as_str().unwrap()]);
    assert_eq!(said["userId"], made["ownerId"]);
    assert_eq!(role(&second).await, Value::Null);
    assert_eq!(role(&tenant).await, "viewer", "somebody else");
    assert!(refusal(&database, &["revoke", "--user", "nobody@acme.example"]).contains("is nobody, or more than one"));
    let ann = made["ownerId"].as_str().unwrap();
    for (arguments, words) in [
        (&[][..], "<--user <USER>|--issuer <ISSUER>>"),
        (&["--issuer", ISSUER], "--token-id <JTI>"),
        (&["--token-id", "first"], "--issuer <ISSUER>"),
        (&["--user", ann, "--issuer", ISSUER, "--token-id", "first"], "cannot be used with"),
    ] {
        let said = operator(&database, &[&["revoke"], arguments].concat());
        assert!(said.code == Some(2) && said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn everything_that_is_wrong_with_issuers_is_listed_at_once() {
    let home = tempfile::tempdir().unwrap();
    let short = private(home.path(), "short", "a-short-s3cret");
    let long = private(home.path(), "long", &"long-s3cret".repeat(4));
    let point = json!({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}).to_string();
    let file = private(
        home.path(),
        "patchbay.toml",
        &format!(
            r#"
[[issuers]]
audience = 5
secret_file = "{short}"
nothing = 1

[[issuers]]
issuer = "https://two.example"
secret_file = "{short}"
jwks_url = "http://two.example/keys"
token_type = "id"
default_role = "boss"
roles = {{ staff = "boss" }}

[[issuers]]
issuer = "three"
discovery = true
rsa_algorithm = "HS256"
email_claim = 1

[[issuers]]
issuer = "https://four.example"
keys = [{{ jwk = '{point}' }}, {{ pem = "a-pem-s3cret", jwk = "x" }}, {{ pem_file = "/nowhere" }}, {{ pem = "another-s3cret", algorithm = "HS256" }}]
organization_claim = "tenant"
roles = {{ staff = "admin" }}

[[issuers]]
issuer = "https://four.example"
secrets = "the-s3cret-itself"

[[issuers]]
issuer = "https://six.example"
jwks_url = "https://six.example/keys"
discovery = "yes"

[[issuers]]
issuer = "https://seven.example"
jwks_url = "https://seven.example/keys"

[[issuers]]
issuer = "https://seven.example"
discovery = true

[[issuers]]
issuer = "https://eight.example"
secrets = [{{ file = "{long}" }}, {{ file = "{long}", kid = "a" }}]
jwks_url = "https://user:password-s3cret@eight.example/keys"

[[issuers]]
issuer = "https://nine.example"
keys = []
"#
        ),
    );
    let said = run(&mut patchbay(&["serve", "--config", &file]));
    assert_eq!(said.code, Some(2));
    for part in [
        "issuers[0]: audience is not a text",
        "issuers[0]: issuer is missing",
        "issuers[0]: there is no setting nothing",
        "issuers[0]: secret_file has a secret of fewer than 32 bytes",
        "issuers[1] (https://two.example): exactly one of secret_file, secrets, keys, jwks_url and discovery",
        "issuers[1] (https://two.example): jwks_url is not an https address",
        "issuers[1] (https://two.example): token_type is not",
        "issuers[1] (https://two.example): default_role is not owner",
        "issuers[1] (https://two.example): the role of \"staff\" in roles is not owner",
        "issuers[1] (https://two.example): roles needs organization_claim",
        "issuers[2] (three): discovery needs an issuer that is an https address",
        "issuers[2] (three): rsa_algorithm is not RS256 or PS256",
        "issuers[2] (three): email_claim is not a text",
        "issuers[3] (https://four.example), keys[0]: jwk has coordinates of the wrong length",
        "issuers[3] (https://four.example), keys[1]: exactly one of pem",
        "issuers[3] (https://four.example), keys[2]: pem_file: /nowhere",
        "issuers[3] (https://four.example), keys[3]: algorithm is not RS256",
        "issuers[3] (https://four.example): roles needs role_claim",
        "issuers[4] (https://four.example): secrets is not a list of tables",
        "issuers[5] (https://six.example): discovery is not true or false",
        "issuers[8] (https://eight.example): jwks_url is not an https address",
        "issuers[8] (https://eight.example): of several keys of one algorithm each needs a kid",
        "the issuer https://seven.example is configured twice",
        "issuers[9] (https://nine.example): keys is empty",
        "- DATABASE_URL",
        "- PATCHBAY_ROOT_KEY",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(!said.err.contains("s3cret"), "{}", said.err);
    assert!(!said.err.contains("PATCHBAY_JWT_ISSUER"), "there are issuers: {}", said.err);
    let good = r#"[{"issuer": "https://a.example", "jwks_url": "https://a.example/keys"}]"#;
    let said = run(patchbay(&["serve"]).env("PATCHBAY_ISSUERS", good));
    assert!(said.code == Some(2) && !said.err.contains("ssuer"), "{}", said.err);
    for list in ["{}", "nonsense", "[1]", "[null]", "5"] {
        let said = run(patchbay(&["serve"]).env("PATCHBAY_ISSUERS", list));
        assert!(said.code == Some(2) && said.err.to_lowercase().contains("issuers is not"), "{list}: {}", said.err);
    }
}

/// The example of the README is one: all that it lacks is its files.
#[test]
fn the_example_of_the_readme_is_read() {
    let readme = include_str!("../../README.md");
    let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = private(home.path(), "patchbay.toml", example);
    let said = run(&mut patchbay(&["serve", "--config", &file]));
    assert_eq!(said.code, Some(2));
    let problems: Vec<_> = said.err.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    assert_eq!(problems.len(), 4, "{}", said.err);
    assert!(problems[0].starts_with("DATABASE_URL") && problems[1].starts_with("PATCHBAY_ROOT_KEY"), "{problems:?}");
    assert!(
        problems[2].contains("keys[0]: pem_file: /etc/") && problems[3].contains("keys[1]: jwk_file: /etc/"),
        "{problems:?}"
    );
}

/// Without DATABASE_URL they speak to the development service, whether it runs or not.
#[test]
fn the_development_service_has_organizations_too() {
    let home = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = patchbay(arguments);
        let said = run(command.args(["--json", "--data-dir"]).arg(home.path()));
        assert_eq!(said.code, Some(0), "{}", said.err);
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let slugs = || {
        let listed = command(&["organization", "list"]);
        listed.as_array().unwrap().iter().map(|found| found["slug"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut service = Service::dev(home.path()).unwrap();
    assert_eq!(slugs(), ["acme", "globex"]);
    command(&["organization", "create", "--name", "Initech", "--slug", "initech"]);
    command(&["revoke", "--user", "mia@acme.example"]);
    service.signal("TERM");
    assert_eq!(service.wait(), Some(0));
    assert_eq!(slugs(), ["acme", "globex", "initech"]);
    command(&["organization", "delete", "initech", "--yes"]);
    assert_eq!(slugs(), ["acme", "globex"]);
}
