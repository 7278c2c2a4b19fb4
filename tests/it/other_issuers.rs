//! Tokens of programs that nobody here wrote: npm's `oidc-provider` end to end, npm's `jose`, PyPI's `joserfc`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chrono::TimeDelta;
use patchbay::auth::issuer::Issuer;
use patchbay::auth::jwt::Claims;
use patchbay::auth::key::{Algorithm, Key, from_jwk_text};
use patchbay::auth::policy::Role;
use patchbay::db;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::auth::{assert_refused, with_token};
use crate::harness::process::{Service, gql, patchbay, run};
use crate::harness::{AUDIENCE, ROOT_KEY, TestApp, fresh_database, shared_database, subject};
use crate::http::{is_here, node_is_here, node_packages, run_node};
use crate::serve::{address, url};

const JWK: &str = "https://jwk.example";
const PEM: &str = "https://pem.example";

/// Runs a script of `tests/python`, with its packages, and gives what it printed.
fn run_python(script: &str, environment: &[(&str, &str)]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    std::fs::create_dir_all(&packages).unwrap();
    let lock = std::fs::File::create(packages.join("lock")).unwrap();
    lock.lock().unwrap();
    let python = packages.join("venv/bin/python");
    let wanted = std::fs::read(folder.join("requirements.txt")).unwrap();
    if std::fs::read(packages.join("installed")).ok().as_ref() != Some(&wanted) {
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(packages.join("venv")).output().unwrap();
        assert!(
            made.status.success(),
            "{}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        let installed = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(folder.join("requirements.txt"))
            .output()
            .unwrap();
        assert!(installed.status.success(), "pip: {}", String::from_utf8_lossy(&installed.stderr));
        std::fs::write(packages.join("installed"), wanted).unwrap();
    }
    drop(lock);
    let output = Command::new(&python).arg(folder.join(script)).envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every token is accepted with the key beside it, given as JWK and as PEM, and is refused with one character changed.
async fn assert_tokens_of(mint: impl Fn(&str, &str) -> String) {
    // The person is there before the tokens are made; the issuers are known when they have been.
    let first = TestApp::new();
    let acme = first.organization("Acme").await;
    let user = acme.user(Role::Admin).await;
    let now = first.clock.now();
    let claims = |issuer: &str| {
        let claims = Claims::new(issuer, AUDIENCE, &subject(user), now, now + TimeDelta::hours(1));
        serde_json::to_string(&claims.for_organization(acme.id)).unwrap()
    };
    for (issuer, header) in [(JWK, "{}"), (PEM, r#"{"typ": "at+jwt"}"#)] {
        let minted: Vec<Value> = serde_json::from_str(&mint(&claims(issuer), header)).unwrap();
        let key = |minted: &Value| {
            let text = |name: &str| minted[name].as_str().unwrap_or_default().to_owned();
            let algorithm = Algorithm::parse(&text("algorithm")).unwrap();
            let id = Some(text("algorithm"));
            if minted["secret"].is_string() {
                Key::secret(algorithm, &SecretString::from(text("secret")), id).unwrap()
            } else if issuer == PEM {
                Key::from_pem(&text("pem"), Some(algorithm), id).unwrap()
            } else {
                from_jwk_text(&minted["jwk"].to_string(), Some(algorithm), id).unwrap()
            }
        };
        let keys = minted.iter().map(key).collect();
        let database = shared_database();
        let issuers = vec![Issuer::new(issuer, AUDIENCE, keys)];
        let app = TestApp::with_issuers(&database.service, &database.owner, TestApp::api(), issuers);
        let identity =
            app.app.db.system_write(async |tx| db::user::add_identity(tx, issuer, &subject(user), user).await);
        identity.await.unwrap();
        assert!(minted.len() >= 8, "{minted:?}");
        for token in &minted {
            let (algorithm, token) = (&token["algorithm"], token["token"].as_str().unwrap());
            assert_eq!(with_token(&app, token).await.data("/viewer/role"), "admin", "{issuer} {algorithm}");
            let (message, signature) = token.rsplit_once('.').unwrap();
            let changed = if signature.starts_with('A') { "B" } else { "A" };
            let changed = format!("{message}.{changed}{}", &signature[1..]);
            assert_refused(&with_token(&app, &changed).await, &format!("{issuer} {algorithm}, changed"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_jose_are_read() {
    if !node_is_here() {
        return;
    }
    assert_tokens_of(|claims, header| {
        let (good, text) = run_node("mint.mjs", &[("CLAIMS", claims), ("HEADER", header)]);
        assert!(good, "{text}");
        text
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_joserfc_are_read() {
    if !is_here("python3", &["-c", "import ensurepip, venv"]) {
        return;
    }
    assert_tokens_of(|claims, header| run_python("mint.py", &[("CLAIMS", claims), ("HEADER", header)])).await;
}

/// `oidc-provider`, running. It ends with its input, and so with the test.
struct Provider {
    issuer: String,
    child: Child,
    /// A program that writes where nobody reads would end.
    _streams: (ChildStdin, BufReader<ChildStdout>),
}

impl Provider {
    fn start() -> Self {
        let packages = node_packages("provider.mjs");
        let mut child = Command::new("node")
            .arg(packages.join("provider.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut issuer = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut issuer).unwrap();
        let input = child.stdin.take().unwrap();
        Self { issuer: issuer.trim().to_owned(), child, _streams: (input, output) }
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}/test/{path}", self.issuer)).await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What the code flow with PKCE gives: access token and ID token.
    async fn tokens(&self, algorithm: &str, claims: &Value) -> (String, String) {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("alg", algorithm)
            .append_pair("extra", &claims.to_string())
            .finish();
        let answer = self.ask(&format!("token?{query}")).await;
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned();
        (text("access_token"), text("id_token"))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From nothing: organization and link by command line, issuer by discovery, a person who logs in, keys that change.
#[tokio::test(flavor = "multi_thread")]
async fn an_openid_provider_end_to_end() {
    if !node_is_here() {
        return;
    }
    let provider = tokio::task::spawn_blocking(Provider::start).await.unwrap();
    let other = tokio::task::spawn_blocking(Provider::start).await.unwrap();
    let database = fresh_database().await;
    let operator = |arguments: &[&str]| {
        let mut command = patchbay(arguments);
        command.env("DATABASE_URL", url(&database, "patchbay_service")).env("PATCHBAY_ROOT_KEY", ROOT_KEY);
        let said = run(&mut command);
        assert_eq!(said.code, Some(0), "{}", said.err);
    };
    operator(&[
        "organization",
        "create",
        "--name",
        "Acme",
        "--slug",
        "acme",
        "--issuer",
        &provider.issuer,
        "--claim",
        "acme-corp",
    ]);
    operator(&["organization", "create", "--name", "Globex", "--slug", "globex", "--owner-email", "ann@acme.example"]);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("patchbay.toml");
    // One issuer says which organizations its people are in; to the other we say who belongs to ours.
    let settings = format!(
        "[[issuers]]\nissuer = \"{}\"\ndiscovery = true\ntoken_type = \"at+jwt\"\norganization_claim = \"tenant\"\n\
         role_claim = \"groups\"\nroles = {{ staff = \"admin\", guest = \"viewer\" }}\n\
         [[issuers]]\nissuer = \"{}\"\ndiscovery = true\n",
        provider.issuer, other.issuer
    );
    std::fs::write(&file, settings).unwrap();
    let log = home.path().join("log");
    let mut command = patchbay(&["serve", "--port", "0", "--config", file.to_str().unwrap()]);
    command.env("DATABASE_URL", url(&database, "patchbay_service")).env("PATCHBAY_ROOT_KEY", ROOT_KEY);
    let service = Service::start(command, &log, || address(&log)).unwrap();
    let who = async |token: &str| {
        let header = format!("Bearer {token}");
        let document = "{ viewer { role organization { name } user { id } } }";
        gql(&service.url, ("authorization", &header), document, json!({})).await
    };

    let staff = json!({"tenant": "acme-corp", "groups": ["staff"]});
    let (token, id_token) = provider.tokens("RS256", &staff).await;
    let answer = who(&token).await;
    assert_eq!(answer["data"]["viewer"]["role"], "admin", "{answer} {}", service.log());
    assert_eq!(answer["data"]["viewer"]["organization"]["name"], "Acme");
    let person = answer["data"]["viewer"]["user"]["id"].clone();
    assert!(person.as_str().unwrap().starts_with("user_"));
    assert_eq!(who(&id_token).await["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "an ID token");
    let (token, _) = provider.tokens("ES256", &json!({"tenant": ["acme-corp"], "groups": ["guest"]})).await;
    let answer = who(&token).await;
    assert_eq!(
        (&answer["data"]["viewer"]["role"], &answer["data"]["viewer"]["user"]["id"]),
        (&json!("viewer"), &person)
    );
    let (stranger, _) = provider.tokens("ES256", &json!({"tenant": "globex-corp"})).await;
    assert_eq!(who(&stranger).await["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "not linked");
    assert_eq!(provider.ask("fetches").await["fetches"], 1, "the keys were asked for once");

    // The owner of the second organization comes by the verified address.
    let verified = json!({"email": "Ann@acme.example", "email_verified": true});
    let (token, _) = other.tokens("ES256", &verified).await;
    let answer = who(&token).await;
    assert_eq!(answer["data"]["viewer"]["role"], "owner", "{answer} {}", service.log());
    assert_eq!(answer["data"]["viewer"]["organization"]["name"], "Globex");
    assert_ne!(answer["data"]["viewer"]["user"]["id"], person, "another issuer's ann is another person");
    let (foreign, _) = other.tokens("ES256", &json!({"tenant": "acme-corp"})).await;
    assert_eq!(who(&foreign).await["data"]["viewer"]["organization"]["name"], "Globex", "its claims do not lead there");

    // New keys while it runs. The service asks again as soon as it may, which is half a minute after it has asked.
    other.ask("rotate").await;
    let (rotated, _) = other.tokens("RS256", &verified).await;
    let mut answer = Value::Null;
    for _ in 0..100 {
        answer = who(&rotated).await;
        if answer["data"]["viewer"]["role"] == "owner" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(answer["data"]["viewer"]["role"], "owner", "{}", service.log());
    assert_eq!(who(&token).await["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "the old keys are gone");
    assert_eq!(other.ask("fetches").await["fetches"], 2);
}
