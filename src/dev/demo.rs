//! Demo data: two organizations with people of each role, and in the first the examples of the API reference.
//!
//! Everything that the API can do goes through the API, as a person would do it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_graphql::{Request, Variables};
use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::env_file::{Entry, EnvFile, parse};
use super::{AUDIENCE, DataDir, ISSUER, write_private};
use crate::app::App;
use crate::auth::Evidence;
use crate::auth::caller::Provenance;
use crate::auth::jwt::{Claims, sign};
use crate::auth::policy::{Action, Role, Scope};
use crate::config::read_secret;
use crate::db::configuration::HealthStatus;
use crate::db::organization::Organization;
use crate::db::{self, SystemTx};
use crate::graphql::{self, Schema, loader};
use crate::id::OrganizationId;
use crate::vault::Vault;

/// Slug of the first demo organization.
pub const FIRST: &str = "acme";
const ORGANIZATIONS: [(&str, &str); 2] = [("Acme", FIRST), ("Globex", "globex")];
const PEOPLE: [(&str, Role); 4] = [
    ("Olivia Owner", Role::Owner),
    ("Adam Admin", Role::Admin),
    ("Mia Member", Role::Member),
    ("Vera Viewer", Role::Viewer),
];
/// How long a demo token works: as long as a token may.
const TOKEN_LIFETIME: TimeDelta = TimeDelta::hours(24);

fn subject(name: &str, slug: &str) -> String {
    let first = name.split(' ').next().unwrap_or(name).to_lowercase();
    format!("{first}@{slug}.example")
}

/// Whether the database has people of the demo data, whom nobody but the development issuer knows.
pub(super) async fn is_there(tx: &SystemTx) -> crate::error::Result<bool> {
    for (_, slug) in ORGANIZATIONS {
        if db::user::find_by_identity(tx, ISSUER, &subject(PEOPLE[0].0, slug)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes what is missing of the demo data, and writes `dev.env`. What is there and works is kept.
pub(super) async fn ensure(
    app: &App,
    data_dir: &DataDir,
    secret: &SecretString,
    address: SocketAddr,
) -> Result<(EnvFile, SecretString)> {
    let path = data_dir.file("dev.env");
    let known = read_secret(&path).map(|text| parse(text.expose_secret())).unwrap_or_default();
    let mut entries = Vec::new();
    for ((name, slug), suffix) in ORGANIZATIONS.into_iter().zip(["", "_2"]) {
        let organization = organization(app, name, slug).await?;
        let token = owner_token(app, secret, &organization)?;
        let kept = known.get(&format!("PATCHBAY_TOKEN{suffix}"));
        let token = match kept {
            Some(kept) if works(app, kept, &organization).await => kept.clone(),
            _ => token,
        };
        let kept = known.get(&format!("PATCHBAY_API_KEY{suffix}"));
        let api_key = match kept {
            Some(kept) if works(app, kept, &organization).await => kept.clone(),
            _ => api_key(app, &token).await?,
        };
        entries.push(Entry { organization: organization.id, token, api_key });
    }
    let [first, second] = <[Entry; 2]>::try_from(entries).ok().context("there are two demo organizations")?;
    examples(app, &first).await?;
    let demo_token = first.token.clone();
    let env = EnvFile::new(address, [first, second]);
    write_private(&path, env.to_text().expose_secret().trim_end())?;
    Ok((env, demo_token))
}

/// Whether a credential still lets its holder in, and will for a while.
async fn works(app: &App, credential: &SecretString, organization: &Organization) -> bool {
    let authorization = format!("Bearer {}", credential.expose_secret());
    let evidence = Evidence { authorization: Some(&authorization), ..Evidence::default() };
    let caller = app.authenticator.authenticate(evidence, &Arc::new(Provenance::of("dev"))).await;
    caller.is_ok_and(|caller| caller.organization() == organization.id)
}

async fn organization(app: &App, name: &str, slug: &str) -> Result<Organization> {
    let vault: &Vault = &app.vault;
    let organization = app
        .db
        .system_write(async |tx| {
            if let Some(organization) = db::organization::find_by_name(tx, slug).await? {
                return Ok(organization);
            }
            let organization = db::organization::create(tx, OrganizationId::generate(), name, slug).await?;
            db::organization_key::create(tx, &vault.generate_organization_key(organization.id, 1)).await?;
            for (person, role) in PEOPLE {
                let email = subject(person, slug);
                let user = db::user::create(tx, ISSUER, &email, Some(person), Some(&email)).await?;
                db::member::put(tx, organization.id, user, Some(role)).await?;
            }
            Ok(organization)
        })
        .await?;
    Ok(organization)
}

fn owner_token(app: &App, secret: &SecretString, organization: &Organization) -> Result<SecretString> {
    let now = app.clock.now();
    let owner = subject(PEOPLE[0].0, &organization.slug);
    let claims = Claims::new(ISSUER, AUDIENCE, &owner, now, now + TOKEN_LIFETIME).for_organization(organization.id);
    Ok(SecretString::from(sign(&claims, secret)?))
}

/// Runs an operation as the holder of `credential`, as HTTP would.
async fn run(app: &App, schema: &Schema, credential: &SecretString, document: &str, variables: Value) -> Result<Value> {
    let authorization = format!("Bearer {}", credential.expose_secret());
    let evidence = Evidence { authorization: Some(&authorization), ..Evidence::default() };
    let caller = app.authenticator.authenticate(evidence, &Arc::new(Provenance::of("dev"))).await?;
    let relations = loader::relations(Arc::new(app.clone()), caller.clone());
    let request = Request::new(document).variables(Variables::from_json(variables)).data(caller).data(relations);
    let response = schema.execute(request).await;
    ensure!(response.errors.is_empty(), "the demo data cannot be made: {}", response.errors[0].message);
    let data = response.data.into_json()?;
    let payload = data.as_object().and_then(|fields| fields.values().next()).context("the answer has one field")?;
    ensure!(
        payload["userErrors"].as_array().is_none_or(Vec::is_empty),
        "the demo data cannot be made: {}",
        payload["userErrors"]
    );
    Ok(payload.clone())
}

/// A schema over the same parts, for the operations that make demo data.
fn schema(app: &App) -> Schema {
    graphql::schema(Arc::new(app.clone()))
}

async fn api_key(app: &App, token: &SecretString) -> Result<SecretString> {
    let scopes: Vec<_> = Scope::ALL.into_iter().map(Scope::as_str).collect();
    let end = app.clock.now() + TimeDelta::days(365);
    let made = run(
        app,
        &schema(app),
        token,
        "mutation($input: ApiKeyCreateInput!) { apiKeyCreate(input: $input) { secret userErrors { message } } }",
        json!({"input": {"name": "Demo script", "scopes": scopes, "expiresAt": end.to_rfc3339()}}),
    )
    .await?;
    made["secret"].as_str().map(SecretString::from).context("a new key has a secret")
}

/// The examples of the reference page, in an organization that has no configuration yet.
async fn examples(app: &App, entry: &Entry) -> Result<()> {
    let schema = schema(app);
    let any = "{ personalConnectorConfigurations(first: 1) { totalCount } }";
    if run(app, &schema, &entry.token, any, json!({})).await?["totalCount"] != 0 {
        return Ok(());
    }
    let viewer = run(app, &schema, &entry.api_key, "{ viewer { apiKey { id } } }", json!({})).await?;
    let now = app.clock.now();
    let healthy = (HealthStatus::Healthy, Some(now), None);
    let unhealthy =
        (HealthStatus::Unhealthy, Some(now - TimeDelta::days(1)), Some("Authentication failed: Invalid API token"));
    for (input, health) in [
        (
            json!({
                "personalConnectorId": "pcon_github",
                "name": "My GitHub Account",
                "configuration": {"repository": "acme/backend", "branch": "main", "paths": ["src/", "docs/"], "fileTypes": [".py", ".md"]},
                "credentials": {"bearer": {"token": "demo-only-not-a-github-token"}},
                "description": "Access to backend repository",
                "metadata": {"environment": "production"},
            }),
            Some(healthy),
        ),
        (
            json!({
                "personalConnectorId": "pcon_clickup",
                "name": "Work ClickUp",
                "configuration": {"workspaceId": "12345", "listId": "67890", "defaultPriority": 3, "defaultStatus": "To Do"},
                "credentials": {"apiKey": {"apiKey": "demo-only-not-a-clickup-token"}},
                "description": "Engineering team tasks",
                "metadata": {"team": "engineering"},
            }),
            Some(healthy),
        ),
        (
            json!({
                "personalConnectorId": "pcon_jira",
                "name": "Jira Integration",
                "configuration": {"projectKey": "PROJ", "issueType": "Task"},
                "credentials": {"basic": {"username": "user@example.com", "password": "demo-only-not-a-jira-token"}},
            }),
            Some(unhealthy),
        ),
        (
            json!({
                "personalConnectorId": "pcon_teams",
                "name": "Platform Channel",
                "configuration": {"teamId": "team-abc123", "channelId": "channel-xyz789"},
                "credentials": {"oauth2": {
                    "accessToken": "demo-only-access", "refreshToken": "demo-only-refresh",
                    "expiresAt": (now + TimeDelta::hours(1)).to_rfc3339(), "scopes": ["User.Read", "Channel.ReadBasic.All"],
                }},
                "metadata": {"environment": "staging", "team": "platform"},
            }),
            None,
        ),
        (
            json!({
                "personalConnectorId": "pcon_custom_mcp",
                "name": "Build Server",
                "configuration": {"endpoint": "https://my-server.com/api", "customSettings": {"region": "eu"}},
                "credentials": {"apiKey": {"apiKey": "demo-only-not-a-key"}},
                "description": "Owned by the API key, so that scripts find something of their own",
                "metadata": {"environment": "production", "team": "platform"},
                "owner": {"apiKeyId": viewer["apiKey"]["id"]},
            }),
            None,
        ),
    ] {
        let made = run(
            app,
            &schema,
            &entry.token,
            "mutation($input: PersonalConnectorConfigurationCreateInput!) {
               personalConnectorConfigurationCreate(input: $input) {
                 personalConnectorConfiguration { id } userErrors { message }
               }
             }",
            json!({"input": input}),
        )
        .await?;
        let id = made["personalConnectorConfiguration"]["id"].as_str().and_then(|id| id.parse().ok());
        if let (Some((status, last_sync_at, last_error)), Some(id)) = (health, id) {
            let authorization = format!("Bearer {}", entry.token.expose_secret());
            let evidence = Evidence { authorization: Some(&authorization), ..Evidence::default() };
            let caller = app.authenticator.authenticate(evidence, &Arc::new(Provenance::of("dev"))).await?;
            // Nothing tests connections yet, so what a test would have found is written down here.
            app.db
                .write(&caller, Action::ConfigurationTest, "", async |tx| {
                    db::configuration::record_health(tx, id, status, last_sync_at, last_error).await
                })
                .await?;
        }
    }
    Ok(())
}
