//! What tests stand on: a database, the service over it, organizations with people in them, and clients.

mod client;
mod database;
pub mod issuer;
pub mod process;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};
use patchbay::app::App;
use patchbay::auth::issuer::Issuer;
use patchbay::auth::jwt::{Claims, Verifier, sign};
use patchbay::auth::key::Key;
use patchbay::auth::policy::{Role, Scope};
use patchbay::clock::Clock;
use patchbay::config::Api;
use patchbay::db::{self, Db, Settings};
use patchbay::id::{OrganizationId, UserId};
use patchbay::vault::{RootKey, Vault};
use patchbay::{graphql, http};
use secrecy::SecretString;
use serde_json::{Value, json};

pub use self::client::{Answer, Client};
pub use self::database::{Database, fresh_database, server, shared_database};

/// `iss` of the tests' tokens.
pub const ISSUER: &str = "https://issuer.example";
/// `aud` of the tests' tokens.
pub const AUDIENCE: &str = "patchbay";
/// HS256 secret of the tests' issuer.
pub const JWT_SECRET: &str = "a secret of the tests, long enough for HS256";
/// The root key of every test: the shared database has organizations of all of them.
pub const ROOT_KEY: &str = "pW7oZ2vXnQ4tT0yJm1cR8sLkEaFhUgBdVi3x5N9qOeM=";

/// The service.
pub struct TestApp {
    pub app: Arc<App>,
    pub router: Router,
    pub clock: Clock,
    /// The login of the owner of the tables.
    pub owner: Settings,
}

impl TestApp {
    /// On the shared database, as the service logs in to it in production: a login that owns nothing.
    pub fn new() -> Self {
        Self::on(&shared_database(), Self::api())
    }

    /// What tests allow at the API: the schema, no GraphiQL. No budget, which would run out: the clock of a test stands still.
    pub fn api() -> Api {
        Api { introspection: true, rate_limit: 0, ..Api::default() }
    }

    pub fn on(database: &Database, api: Api) -> Self {
        Self::with_login(&database.service, &database.owner, api)
    }

    pub fn with_login(login: &Settings, owner: &Settings, api: Api) -> Self {
        Self::with_issuers(login, owner, api, Vec::new())
    }

    /// With more issuers than the tests' own.
    pub fn with_issuers(login: &Settings, owner: &Settings, api: Api, mut issuers: Vec<Issuer>) -> Self {
        let clock = Clock::fixed(now());
        let key = Key::hs256(&SecretString::from(JWT_SECRET), None).unwrap();
        issuers.push(Issuer::new(ISSUER, AUDIENCE, vec![key]));
        let vault = Vault::new(RootKey::parse(ROOT_KEY).unwrap());
        let db = Db::new(login, 4);
        let app = Arc::new(App::new(db, vault, Verifier::new(issuers), clock.clone(), api));
        let router = http::router(app.clone(), graphql::schema(app.clone()));
        Self { app, router, clock, owner: owner.clone() }
    }

    /// A new organization, empty but for its owner.
    pub async fn organization(&self, name: &str) -> Organization {
        let id = OrganizationId::generate();
        let slug = id.to_string().replace('_', "-");
        let vault = &self.app.vault;
        self.app
            .db
            .system_write(async |tx| {
                db::organization::create(tx, id, name, &slug).await?;
                db::organization_key::create(tx, &vault.generate_organization_key(id, 1)).await
            })
            .await
            .unwrap();
        let mut organization = Organization {
            id,
            router: self.router.clone(),
            app: self.app.clone(),
            clock: self.clock.clone(),
            owner: Client::anonymous(self.router.clone()),
        };
        organization.owner = organization.person(Role::Owner).await;
        organization
    }

    pub fn anonymous(&self) -> Client {
        Client::anonymous(self.router.clone())
    }

    /// Runs SQL as the owner of the tables, past every lock.
    pub async fn sql(&self, statements: &str) {
        use diesel_async::SimpleAsyncConnection as _;
        self.owner.connect().await.unwrap().batch_execute(statements).await.unwrap();
    }
}

/// The time at which tests begin.
pub fn now() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// An organization, with its owner at hand.
pub struct Organization {
    pub id: OrganizationId,
    pub owner: Client,
    router: Router,
    app: Arc<App>,
    clock: Clock,
}

impl Organization {
    /// A new person with that role.
    pub async fn person(&self, role: Role) -> Client {
        let user = self.user(role).await;
        self.client(&subject(user))
    }

    /// A new person with that role, as an id.
    pub async fn user(&self, role: Role) -> UserId {
        let organization = self.id;
        self.app
            .db
            .system_write(async |tx| {
                // The subject is not known before the id is: a placeholder identity, and the one that tests use.
                let name = format!("{} of {organization}", role.as_str());
                let unique = OrganizationId::generate().to_string();
                let email = format!("{unique}@example.com");
                let user = db::user::create(tx, ISSUER, &unique, Some(&name), Some(&email)).await?;
                db::member::put(tx, organization, user, Some(role)).await?;
                SUBJECTS.lock().unwrap().get_or_insert_default().insert(user, unique);
                Ok(user)
            })
            .await
            .unwrap()
    }

    pub fn claims(&self, subject: &str) -> Claims {
        let now = self.clock.now();
        Claims::new(ISSUER, AUDIENCE, subject, now, now + TimeDelta::hours(1)).for_organization(self.id)
    }

    fn client(&self, subject: &str) -> Client {
        let token = sign(&self.claims(subject), &SecretString::from(JWT_SECRET)).unwrap();
        Client::anonymous(self.router.clone()).with("authorization", &format!("Bearer {token}"))
    }

    /// A new key, made by the owner.
    pub async fn api_key(&self, scopes: &[Scope]) -> Client {
        Client::anonymous(self.router.clone()).with("x-api-key", &self.api_key_secret(scopes).await)
    }

    pub async fn api_key_secret(&self, scopes: &[Scope]) -> String {
        let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
        let document = "mutation($input: ApiKeyCreateInput!) { apiKeyCreate(input: $input) { secret userErrors { code message } } }";
        let answer = self.owner.gql(document, json!({"input": {"name": "A key", "scopes": scopes}})).await;
        answer.data("/apiKeyCreate/secret").as_str().unwrap().to_owned()
    }
}

static SUBJECTS: Mutex<Option<HashMap<UserId, String>>> = Mutex::new(None);

/// What the tests' issuer calls a person.
pub fn subject(user: UserId) -> String {
    SUBJECTS.lock().unwrap().as_ref().unwrap()[&user].clone()
}

/// A configuration that every connector test can use.
pub fn github(name: &str) -> Value {
    json!({
        "personalConnectorId": "pcon_github",
        "name": name,
        "configuration": {"repository": "acme/backend", "branch": "main", "paths": ["src/", "docs/"]},
    })
}

/// The fields of the reference page.
pub const FIELDS: &str = "id object userId apiKeyId organizationId personalConnectorId name configuration enabled \
    healthStatus lastSyncAt lastError description metadata createdAt updatedAt version authMethod";
