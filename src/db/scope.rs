//! The one door to the database.
//!
//! A transaction needs a [`Caller`] and an [`Action`], carries its organization by itself, and ends by itself. There is
//! no other way to a connection: no `pool()`, no `begin()`. A write that names its subject leaves an audit row in the
//! same commit; one that names none is rolled back, so nothing can be committed without (but for the answer to a repeat).
//!
//! What would surprise: `BEGIN`, the role and the organization travel *with* the first statement and not before it, so
//! that a read costs one round trip. `COMMIT` of a read is sent and not waited for. It is never sent beside a statement,
//! only after its answer: a statement that is not prepared yet on its connection would be overtaken, and would run
//! outside the transaction.

use std::fmt::Display;
use std::ops::AsyncFnOnce;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::dsl::{Eq, Filter};
use diesel::prelude::*;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt as _;
use futures_util::future::join;

use super::audit_log::{self, Change, Event, Recorded};
use super::connect::{self, Settings};
use super::standing;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::Action;
use crate::error::{Code, Error, Result};
use crate::id::{OrganizationId, UserId};

/// How long a request waits for a free connection before it is told to come back.
const POOL_WAIT: Duration = Duration::from_secs(5);

/// The most attempts of one caller that are recorded in a minute: the log cannot be emptied, so it must not be flooded.
const MAX_ATTEMPTS: usize = 30;

tokio::task_local! {
    static STATEMENTS: Arc<AtomicU32>;
}

/// Runs `work` and counts the statements that it sends (those that begin and end transactions aside).
pub async fn count_statements<T>(counter: Arc<AtomicU32>, work: impl Future<Output = T>) -> T {
    STATEMENTS.scope(counter, work).await
}

/// The counter that this task counts into, for a task that goes on with the same request.
pub fn statement_counter() -> Arc<AtomicU32> {
    STATEMENTS.try_with(Arc::clone).unwrap_or_default()
}

fn count_statement() {
    let _ = STATEMENTS.try_with(|statements| statements.fetch_add(1, Ordering::Relaxed));
}

/// The database, behind its door.
#[derive(Clone)]
pub struct Db(Pool<AsyncPgConnection>);

/// A pooled connection that is closed instead of given back unless its transaction was ended. A request that is dropped
/// half-way, by a timeout or because its client left, leaves no transaction and no organization behind for the next one.
struct Lease {
    connection: Option<Object<AsyncPgConnection>>,
    ended: bool,
}

impl Lease {
    fn connection(&self) -> &AsyncPgConnection {
        self.connection.as_ref().expect("a lease has its connection until it is dropped")
    }

    /// Sends the end of the transaction without waiting for the answer, which nobody needs: there is nothing to lose.
    fn end(&mut self, statement: &'static str) {
        let mut connection = self.connection();
        // The first poll sends it. The answer goes to nobody.
        self.ended = connection.batch_execute(statement).now_or_never().is_none_or(|result| result.is_ok());
    }

    /// Commits and waits: after this the write is durable.
    async fn commit(&mut self) -> Result<()> {
        self.connection().batch_execute("COMMIT").await?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended
            && let Some(connection) = self.connection.take()
        {
            drop(Object::take(connection));
        }
    }
}

/// One transaction, on behalf of one organization.
pub struct OrgTx {
    lease: Lease,
    caller: Caller,
    events: Mutex<Vec<Event>>,
    /// Whether the answer to a repeat is worth a commit, though nothing else was changed.
    kept: AtomicBool,
    /// Whether the transaction itself took something from its caller, who had it until then.
    own_standing_changed: AtomicBool,
}

/// One transaction across organizations, for the few questions that come before one is known.
pub struct SystemTx {
    lease: Lease,
}

impl Db {
    /// A pool of at most `connections`, none of them opened yet.
    pub fn new(settings: &Settings, connections: usize) -> Self {
        Self(connect::pool(settings, connections))
    }

    async fn organization_tx(&self, caller: &Caller) -> Result<OrgTx> {
        let lease = self.lease().await?;
        Ok(OrgTx {
            lease,
            caller: caller.clone(),
            events: Mutex::default(),
            kept: AtomicBool::new(false),
            own_standing_changed: AtomicBool::new(false),
        })
    }

    async fn lease(&self) -> Result<Lease> {
        match tokio::time::timeout(POOL_WAIT, self.0.get()).await {
            Ok(Ok(connection)) => Ok(Lease { connection: Some(connection), ended: false }),
            Ok(Err(error)) => Err(Error::Unavailable(format!("no database connection: {error}"))),
            Err(_) => Err(Error::Unavailable("no database connection became free in time".to_owned())),
        }
    }

    /// Runs `run` in a read-only transaction, if the policy allows `action` to `caller`.
    ///
    /// # Errors
    /// [`Error::Forbidden`], before a connection is taken; else what `run` or the database say.
    pub async fn read<T, F>(&self, caller: &Caller, action: Action, run: F) -> Result<T>
    where
        F: for<'t> AsyncFnOnce(&'t OrgTx) -> Result<T> + for<'t> Work<&'t OrgTx, Result<T>, Fut: Send> + Send,
        T: Send,
    {
        caller.require(action)?;
        let mut tx = self.organization_tx(caller).await?;
        let begin = begin("READ ONLY", "patchbay_app", Some(caller.organization()));
        let (begun, value) = join(tx.lease.connection().batch_execute(&begin), run(&tx)).await;
        tx.lease.end("COMMIT");
        begun?;
        value
    }

    /// Runs `run` in a transaction, if the policy allows `action` to `caller`. When `run` succeeds and has named what it
    /// is about ([`OrgTx::about`]), adds the audit row and commits; in every other case nothing is kept. An attempt on
    /// credentials, keys, members or grants that is refused or fails leaves a row too, which names `on`: the id that was
    /// given, whether or not there is such an object.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; else what `run` or the database say.
    pub async fn write<T, F>(&self, caller: &Caller, action: Action, on: &str, run: F) -> Result<T>
    where
        F: for<'t> AsyncFnOnce(&'t OrgTx) -> Result<T> + for<'t> Work<&'t OrgTx, Result<T>, Fut: Send> + Send,
        T: Send,
    {
        let result = self.write_unattended(caller, action, run).await;
        if let Err(error) = &result {
            self.record_attempt(caller, action, on, error).await;
        }
        result
    }

    async fn write_unattended<T, F>(&self, caller: &Caller, action: Action, run: F) -> Result<T>
    where
        F: for<'t> AsyncFnOnce(&'t OrgTx) -> Result<T> + for<'t> Work<&'t OrgTx, Result<T>, Fut: Send> + Send,
        T: Send,
    {
        caller.require(action)?;
        let mut tx = self.organization_tx(caller).await?;
        let begin = begin("READ WRITE", "patchbay_app", Some(caller.organization()));
        let (begun, value) = join(tx.lease.connection().batch_execute(&begin), run(&tx)).await;
        let events = std::mem::take(&mut *tx.events.lock().unwrap_or_else(PoisonError::into_inner));
        let kept = tx.kept.load(Ordering::Relaxed);
        match (begun, value, events.is_empty()) {
            (Ok(()), Ok(value), no_events) if kept || !no_events => {
                if !no_events {
                    let actor = Recorded::Actor(caller.actor().to_string(), caller.provenance());
                    audit_log::append(tx.conn(), caller.organization(), &actor, &action.event(), events).await?;
                }
                // Last, and behind the lock on the audit log, which everybody who takes standing away holds to the end.
                if !tx.own_standing_changed.load(Ordering::Relaxed)
                    && let Err(error) = standing::check(&tx, action).await
                {
                    tx.lease.end("ROLLBACK");
                    return Err(error);
                }
                tx.lease.commit().await?;
                Ok(value)
            }
            (begun, value, _) => {
                tx.lease.end("ROLLBACK");
                begun?;
                value
            }
        }
    }

    /// Keeps that something was tried, in a transaction of its own: the one that was meant for it is gone.
    async fn record_attempt(&self, caller: &Caller, action: Action, on: &str, error: &Error) {
        let (action, how) = match error {
            Error::Forbidden(denied) if denied.is_guarded() => (*denied, "refused"),
            // More than was granted was tried, with what is somebody else's.
            Error::Rejected(rejections) if rejections.iter().any(|one| one.code == Code::PermissionDenied) => {
                (action, "refused")
            }
            Error::Rejected(_) if action.is_guarded() => (action, "failed"),
            _ => return,
        };
        // What was given may be anything: an id is short.
        let short: String = on.chars().filter(char::is_ascii_graphic).take(64).collect();
        let target = if short.is_empty() { caller.organization().to_string() } else { short };
        let event = Event { action: None, target, changes: Vec::new() };
        let recorded = async {
            let mut tx = self.organization_tx(caller).await?;
            let begin = begin("READ WRITE", "patchbay_app", Some(caller.organization()));
            tx.lease.connection().batch_execute(&begin).await?;
            if audit_log::attempts_of_late(&tx).await? >= MAX_ATTEMPTS {
                tracing::warn!(caller = %caller.actor(), action = action.as_str(), how, "too many attempts to record each");
                tx.lease.end("ROLLBACK");
                return Ok(());
            }
            let actor = Recorded::Actor(caller.actor().to_string(), caller.provenance());
            let name = format!("{}_{how}", action.as_str());
            audit_log::append(tx.conn(), caller.organization(), &actor, &name, vec![event]).await?;
            tx.lease.commit().await
        };
        if let Err(error) = recorded.await {
            tracing::warn!(%error, action = action.as_str(), how, "an attempt could not be recorded");
        }
    }

    /// Runs `run` in a read-only transaction across organizations. Only `auth`, `http::health` and the commands may:
    /// `tests/it/architecture.rs` holds the list.
    ///
    /// # Errors
    /// What `run` or the database say.
    pub async fn system_read<T, F>(&self, run: F) -> Result<T>
    where
        F: for<'t> AsyncFnOnce(&'t SystemTx) -> Result<T> + for<'t> Work<&'t SystemTx, Result<T>, Fut: Send> + Send,
        T: Send,
    {
        let mut tx = SystemTx { lease: self.lease().await? };
        let begin = begin("READ ONLY", "patchbay_system", None);
        let (begun, value) = join(tx.lease.connection().batch_execute(&begin), run(&tx)).await;
        tx.lease.end("COMMIT");
        begun?;
        value
    }

    /// Runs `run` in a transaction across organizations, and commits when it succeeds.
    ///
    /// # Errors
    /// What `run` or the database say.
    pub async fn system_write<T, F>(&self, run: F) -> Result<T>
    where
        F: for<'t> AsyncFnOnce(&'t SystemTx) -> Result<T> + for<'t> Work<&'t SystemTx, Result<T>, Fut: Send> + Send,
        T: Send,
    {
        self.write_as("patchbay_system", run).await
    }

    /// The same as the operator, who may prune the audit log and delete organizations. The service's login may not be that.
    ///
    /// # Errors
    /// What `run` or the database say.
    pub async fn operator_write<T, F>(&self, run: F) -> Result<T>
    where
        F: for<'t> AsyncFnOnce(&'t SystemTx) -> Result<T> + for<'t> Work<&'t SystemTx, Result<T>, Fut: Send> + Send,
        T: Send,
    {
        self.write_as("patchbay_operator", run).await
    }

    async fn write_as<T, F>(&self, role: &str, run: F) -> Result<T>
    where
        F: for<'t> AsyncFnOnce(&'t SystemTx) -> Result<T> + for<'t> Work<&'t SystemTx, Result<T>, Fut: Send> + Send,
        T: Send,
    {
        let mut tx = SystemTx { lease: self.lease().await? };
        let begin = begin("READ WRITE", role, None);
        let (begun, value) = join(tx.lease.connection().batch_execute(&begin), run(&tx)).await;
        match (begun, value) {
            (Ok(()), Ok(value)) => {
                tx.lease.commit().await?;
                Ok(value)
            }
            (begun, value) => {
                tx.lease.end("ROLLBACK");
                begun?;
                value
            }
        }
    }
}

/// Role and organization hold for this transaction only. The role is switched even though the service's login owns
/// nothing, so that row-level security holds for a login that is the owner, or a superuser, as well.
fn begin(mode: &str, role: &str, organization: Option<OrganizationId>) -> String {
    // A UUID prints hexadecimal digits and dashes only.
    let organization = organization.map(|id| id.uuid().to_string()).unwrap_or_default();
    format!("BEGIN {mode}; SET LOCAL ROLE {role}; SET LOCAL patchbay.organization_id = '{organization}'")
}

impl OrgTx {
    /// The connection, for the statements of `db`. A shared reference: statements may be pipelined.
    pub(in crate::db) fn conn(&self) -> &AsyncPgConnection {
        count_statement();
        self.lease.connection()
    }

    /// On whose behalf.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Names what a write is about, for the audit log. A write that never says is not committed.
    pub fn about(&self, target: impl Display) {
        self.changed(target, Vec::new());
    }

    /// The transaction takes a role or a membership from `user`, whose row it has locked.
    pub(in crate::db) fn takes_from(&self, user: UserId) {
        if self.caller.actor() == Actor::User(user) {
            self.own_standing_changed.store(true, Ordering::Relaxed);
        }
    }

    /// Commits although nothing was changed: what was answered is kept for repeats.
    pub(in crate::db) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Names what a write is about, and what changed of it.
    pub fn changed(&self, target: impl Display, changes: Vec<Change>) {
        self.event(None, target, changes);
    }

    /// What the write does to something else on the way, under a name of its own.
    pub fn also(&self, action: &str, target: impl Display, changes: Vec<Change>) {
        self.event(Some(action.to_owned()), target, changes);
    }

    fn event(&self, action: Option<String>, target: impl Display, mut changes: Vec<Change>) {
        let target = target.to_string();
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match events.iter_mut().find(|event| event.target == target && event.action == action) {
            Some(event) => event.changes.append(&mut changes),
            None => events.push(Event { action, target, changes }),
        }
    }
}

impl SystemTx {
    pub(in crate::db) fn conn(&self) -> &AsyncPgConnection {
        count_statement();
        self.lease.connection()
    }
}

/// A table whose rows belong to an organization.
pub(in crate::db) trait OrgTable {
    /// The table, already filtered.
    type Scoped;

    /// The rows of the transaction's organization: where every query begins.
    fn of(tx: &OrgTx) -> Self::Scoped;
}

macro_rules! organization_tables {
    ($($table:ident by $column:ident),* $(,)?) => {$(
        impl OrgTable for super::schema::$table::table {
            type Scoped = Filter<super::schema::$table::table, Eq<super::schema::$table::$column, OrganizationId>>;

            fn of(tx: &OrgTx) -> Self::Scoped {
                super::schema::$table::table.filter(super::schema::$table::$column.eq(tx.caller.organization()))
            }
        }
    )*};
}
organization_tables!(
    api_keys by organization_id,
    audit_log by organization_id,
    configurations by organization_id,
    connectors by organization_id,
    credentials by organization_id,
    grants by organization_id,
    idempotency_keys by organization_id,
    members by organization_id,
    organization_keys by organization_id,
    organizations by id,
);

/// Lets a bound say that the future of an asynchronous closure can move between threads, which `AsyncFnOnce` cannot.
pub trait Work<T, R>: AsyncFnOnce(T) -> R + FnOnce(T) -> <Self as Work<T, R>>::Fut {
    /// The future.
    type Fut: Future<Output = R>;
}

impl<F, T, Fut, R> Work<T, R> for F
where
    F: AsyncFnOnce(T) -> R + FnOnce(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}
