//! What the process holds, made once at start.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::Authenticator;
use crate::auth::caller::Actor;
use crate::auth::jwt::Verifier;
use crate::clock::Clock;
use crate::config::Api;
use crate::db::Db;
use crate::id::OrganizationId;
use crate::limit::Buckets;
use crate::vault::Vault;

/// How many failures an address is forgiven each second.
const FAILURE_RESTORE: u32 = 1;

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
    /// What each caller may ask, in points of cost; nothing where there is no limit.
    pub budgets: Option<Arc<Buckets<(OrganizationId, Actor)>>>,
    /// How often an address may fail to authenticate; nothing where there is no limit.
    pub failures: Option<Arc<Buckets<IpAddr>>>,
}

impl App {
    /// Puts the parts together.
    pub fn new(db: Db, vault: Vault, verifier: Verifier, clock: Clock, api: Api) -> Self {
        let vault = Arc::new(vault);
        let authenticator = Arc::new(Authenticator::new(db.clone(), vault.clone(), verifier, clock.clone()));
        let budgets = Buckets::new(api.rate_limit, api.rate_restore, clock.clone()).map(Arc::new);
        let failures = Buckets::new(api.failure_limit, FAILURE_RESTORE, clock.clone()).map(Arc::new);
        Self { db, vault, authenticator, clock, api, budgets, failures }
    }
}
