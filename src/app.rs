//! What the process holds, made once at start.

use std::sync::Arc;

use crate::auth::Authenticator;
use crate::auth::jwt::Verifier;
use crate::clock::Clock;
use crate::config::Api;
use crate::db::Db;
use crate::vault::Vault;

/// Everything a request may need. Cheap to clone: the parts are shared.
#[derive(Clone)]
pub struct App {
    /// The database, behind its door.
    pub db: Db,
    /// Credentials in and out.
    pub vault: Arc<Vault>,
    /// Finds out who is calling.
    pub authenticator: Arc<Authenticator>,
    /// The time, where decisions depend on it.
    pub clock: Clock,
    /// What the operator allows at the API.
    pub api: Api,
}

impl App {
    /// Puts the parts together.
    pub fn new(db: Db, vault: Vault, verifier: Verifier, clock: Clock, api: Api) -> Self {
        let vault = Arc::new(vault);
        let authenticator = Arc::new(Authenticator::new(db.clone(), vault.clone(), verifier, clock.clone()));
        Self { db, vault, authenticator, clock, api }
    }
}
