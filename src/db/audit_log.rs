//! The audit log: who did what to what, in the transaction that did it.
//!
//! Each organization's rows are a chain. A row's hash is SHA-256 over these parts, each behind its length (four bytes,
//! big-endian); a value that may be missing has a byte before it, 1 when it is there and 0 when not:
//!
//! ```text
//! "patchbay-audit/v1", hash of the row before, organization, sequence (u64), id, action, actor id?, actor name?,
//! target type, target id, changes, request id?, address?, user agent?, microseconds since 1970 (i64)
//! ```
//!
//! The service may add rows and read them; it may not change or delete one (table privileges). Whoever owns the tables
//! can: [`Chain`] finds an edited, missing or moved row. Somebody who rewrites everything from some row on, heads
//! included, is found by a head that was noted elsewhere before: `patchbay audit verify --anchor`.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::{try_join, try_join_all};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::{Filter, Predicate, TextOp, TimeOp, lower, starts_with, strpos, text, time};
use super::page::{Cursor, Key, Page, PageRequest, keyset};
use super::schema::{audit_heads, audit_log};
use super::scope::{OrgTable, OrgTx, SystemTx};
use crate::auth::caller::Provenance;
use crate::error::{Error, Result};
use crate::id::{AuditEntryId, OrganizationId, kind};
use crate::vault::{digest, length_prefixed};

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";
/// The longest value that is kept of a change, in bytes of JSON.
const MAX_VALUE: usize = 2048;

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which field of the target, as clients know it.
    pub field: String,
    /// What it was.
    pub before: Value,
    /// What it is.
    pub after: Value,
}

impl Change {
    /// A change of `field`. A very long value is not kept whole.
    pub fn new(field: impl Into<String>, before: impl Into<Value>, after: impl Into<Value>) -> Self {
        let short = |value: Value| if value.to_string().len() > MAX_VALUE { Value::from("[too long]") } else { value };
        Self { field: field.into(), before: short(before.into()), after: short(after.into()) }
    }

    /// A secret was set or replaced.
    pub fn secret(field: &str) -> Self {
        Self::new(field, REDACTED, REDACTED)
    }

    /// One change for each member that differs between two objects.
    pub fn members(prefix: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<Self> {
        let members = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
        let (before, after) = (members(before), members(after));
        let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        names
            .into_iter()
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| {
                let value = |members: &serde_json::Map<String, Value>| members.get(name).cloned().unwrap_or_default();
                Self::new(format!("{prefix}.{name}"), value(&before), value(&after))
            })
            .collect()
    }
}

/// What is to be recorded of one target.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// What was done; the transaction's own action where nothing is said.
    pub action: Option<String>,
    /// The object as clients know it, prefix and all.
    pub target: String,
    /// What changed of it.
    pub changes: Vec<Change>,
}

/// Who is recorded as having done it.
pub(super) enum Recorded<'a> {
    /// A person or a key, with where the request came from.
    Actor(String, &'a Provenance),
    /// The service itself, or its operator at the command line.
    Service(&'a str),
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_log, check_for_backend(diesel::pg::Pg))]
pub struct Entry {
    /// Whose log.
    pub organization_id: OrganizationId,
    /// Counts from 1 within the organization.
    pub sequence: i64,
    /// `aud_...`
    pub id: AuditEntryId,
    /// E.g. `personal_connector_configuration.updated`.
    pub action: String,
    /// `user_...` or `key_...`.
    pub actor_id: Option<String>,
    /// What of the service did it, when nobody asked it to.
    pub actor_name: Option<String>,
    /// E.g. `personal_connector_configuration`.
    pub target_type: String,
    /// With its prefix.
    pub target_id: String,
    /// JSON: a list of [`Change`].
    pub changes: String,
    /// The request that did it.
    pub request_id: Option<String>,
    /// The address that the request came from.
    pub ip_address: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Hash of the row before; zeros for the first.
    pub previous_hash: Vec<u8>,
    /// Hash of this row.
    pub hash: Vec<u8>,
}

impl Entry {
    /// Where it stands in the list.
    pub fn cursor(&self) -> Cursor {
        Cursor { key: Key::Number(self.sequence), id: self.id.uuid() }
    }

    /// What changed.
    pub fn changes(&self) -> Vec<Change> {
        serde_json::from_str(&self.changes).unwrap_or_default()
    }

    /// What the row's hash must be.
    pub fn expected_hash(&self) -> [u8; 32] {
        let optional = |value: &Option<String>| match value {
            None => vec![0],
            Some(text) => [&[1], text.as_bytes()].concat(),
        };
        digest(&length_prefixed(&[
            b"patchbay-audit/v1",
            &self.previous_hash,
            self.organization_id.uuid().as_bytes(),
            &self.sequence.to_be_bytes(),
            self.id.uuid().as_bytes(),
            self.action.as_bytes(),
            &optional(&self.actor_id),
            &optional(&self.actor_name),
            self.target_type.as_bytes(),
            self.target_id.as_bytes(),
            self.changes.as_bytes(),
            &optional(&self.request_id),
            &optional(&self.ip_address),
            &optional(&self.user_agent),
            &self.created_at.timestamp_micros().to_be_bytes(),
        ]))
    }
}

diesel::define_sql_function! {
    /// The time now, and not when the transaction began: rows of one chain are in the order of their times.
    fn clock_timestamp() -> Timestamptz;
}

/// Appends `events` to the organization's chain. Locks its end until the transaction ends: call it last.
pub(super) async fn append(
    connection: &AsyncPgConnection,
    organization: OrganizationId,
    actor: &Recorded<'_>,
    action: &str,
    events: Vec<Event>,
) -> Result<()> {
    let none = vec![0; 32];
    let (mut sequence, mut previous, now): (i64, Vec<u8>, DateTime<Utc>) = diesel::insert_into(audit_heads::table)
        .values((
            audit_heads::organization_id.eq(organization),
            audit_heads::sequence.eq(0),
            audit_heads::hash.eq(none),
        ))
        .on_conflict(audit_heads::organization_id)
        .do_update()
        .set(audit_heads::sequence.eq(audit_heads::sequence))
        .returning((audit_heads::sequence, audit_heads::hash, clock_timestamp()))
        .get_result(&mut &*connection)
        .await?;
    let (actor_id, actor_name, provenance) = match actor {
        Recorded::Actor(id, provenance) => (Some(id.clone()), None, Some(provenance)),
        Recorded::Service(name) => (None, Some((*name).to_owned()), None),
    };
    let mut rows = Vec::with_capacity(events.len());
    for Event { action: own, target, changes } in events {
        sequence += 1;
        let action = own.unwrap_or_else(|| action.to_owned());
        let target_type = kind(&target).unwrap_or_else(|| action.split('.').next().unwrap_or_default()).to_owned();
        let mut row = Entry {
            organization_id: organization,
            sequence,
            id: AuditEntryId::generate(),
            action,
            actor_id: actor_id.clone(),
            actor_name: actor_name.clone(),
            target_type,
            target_id: target,
            changes: serde_json::to_string(&changes).map_err(Error::internal)?,
            request_id: provenance.map(|from| from.request_id.clone()),
            ip_address: provenance.and_then(|from| from.address).map(|address| address.to_string()),
            user_agent: provenance.and_then(|from| from.user_agent.clone()),
            created_at: now,
            previous_hash: previous.clone(),
            hash: Vec::new(),
        };
        row.hash = row.expected_hash().to_vec();
        previous.clone_from(&row.hash);
        rows.push(row);
    }
    let head = async {
        diesel::update(audit_heads::table.filter(audit_heads::organization_id.eq(organization)))
            .set((audit_heads::sequence.eq(sequence), audit_heads::hash.eq(previous)))
            .execute(&mut &*connection)
            .await
    };
    // Some hundred rows of a bulk change have more values than one statement may bind.
    let inserts = rows
        .chunks(1000)
        .map(|rows| async move { diesel::insert_into(audit_log::table).values(rows).execute(&mut &*connection).await });
    try_join(try_join_all(inserts), head).await?;
    Ok(())
}

/// What a list of entries may be narrowed by.
#[derive(Debug, Clone)]
pub enum Condition {
    /// What was done.
    Action(TextOp),
    /// A person or a key did it.
    HasActor,
    /// One of these did it.
    Actor(Vec<String>),
    /// It was done to one of these.
    Target(Vec<String>),
    /// It was done to such a thing.
    TargetType(TextOp),
    /// When.
    CreatedAt(TimeOp),
    /// A request did it.
    HasRequest,
    /// Which request did it.
    Request(TextOp),
}

fn predicate(condition: &Condition) -> Predicate<audit_log::table> {
    use super::filter::and;
    match condition {
        Condition::Action(op) => text!(audit_log::action, op),
        Condition::HasActor => Box::new(audit_log::actor_id.is_not_null()),
        Condition::Actor(ids) => and(
            Box::new(audit_log::actor_id.is_not_null()),
            Box::new(audit_log::actor_id.assume_not_null().eq_any(ids.clone())),
        ),
        Condition::Target(ids) => Box::new(audit_log::target_id.eq_any(ids.clone())),
        Condition::TargetType(op) => text!(audit_log::target_type, op),
        Condition::CreatedAt(op) => time!(audit_log::created_at, op),
        Condition::HasRequest => Box::new(audit_log::request_id.is_not_null()),
        Condition::Request(op) => {
            and(Box::new(audit_log::request_id.is_not_null()), text!(audit_log::request_id.assume_not_null(), op))
        }
    }
}

/// A page of the entries that `filter` lets through, newest first.
pub async fn list(tx: &OrgTx, filter: &Filter<Condition>, page: &PageRequest) -> Result<Page<Entry>> {
    let query = audit_log::table::of(tx).filter(filter.to_sql(&predicate)).select(Entry::as_select()).into_boxed();
    let rows = keyset!(query, page, true, audit_log::sequence, audit_log::id, number).load(&mut tx.conn());
    if !page.count {
        return Ok(page.page(rows.await?, None));
    }
    let total = audit_log::table::of(tx).filter(filter.to_sql(&predicate)).count().get_result(&mut tx.conn());
    let (rows, total) = try_join(rows, total).await?;
    Ok(page.page(rows, Some(total)))
}

/// Those of `ids` that are entries of the transaction's organization.
pub async fn find_many(tx: &OrgTx, ids: &[AuditEntryId]) -> Result<Vec<Entry>> {
    Ok(audit_log::table::of(tx)
        .filter(audit_log::id.eq_any(ids.to_vec()))
        .select(Entry::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// How many attempts of the caller were recorded in the last minute, among its latest entries.
pub(super) async fn attempts_of_late(tx: &OrgTx) -> Result<usize> {
    let latest: Vec<(String, DateTime<Utc>, DateTime<Utc>)> = audit_log::table::of(tx)
        .filter(audit_log::actor_id.eq(tx.caller().actor().to_string()))
        .order(audit_log::sequence.desc())
        .limit(200)
        .select((audit_log::action, audit_log::created_at, clock_timestamp()))
        .load(&mut tx.conn())
        .await?;
    let is_attempt = |action: &str| action.ends_with("_refused") || action.ends_with("_failed");
    let of_late = |at: DateTime<Utc>, now: DateTime<Utc>| now - at < TimeDelta::minutes(1);
    Ok(latest.iter().filter(|(action, at, now)| of_late(*at, *now) && is_attempt(action)).count())
}

/// Records what the service, or its operator, did to an organization without a caller.
pub async fn record(
    tx: &SystemTx,
    organization: OrganizationId,
    who: &str,
    action: &str,
    target: &str,
    changes: Vec<Change>,
) -> Result<()> {
    let event = Event { action: None, target: target.to_owned(), changes };
    append(tx.conn(), organization, &Recorded::Service(who), action, vec![event]).await
}

/// The next `limit` entries behind `sequence`, oldest first.
pub async fn list_after(tx: &SystemTx, organization: OrganizationId, sequence: i64, limit: i64) -> Result<Vec<Entry>> {
    Ok(audit_log::table
        .filter(audit_log::organization_id.eq(organization))
        .filter(audit_log::sequence.gt(sequence))
        .order(audit_log::sequence.asc())
        .limit(limit)
        .select(Entry::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// Where an organization's chain begins and ends.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = audit_heads, check_for_backend(diesel::pg::Pg))]
pub struct Head {
    /// The last entry.
    pub sequence: i64,
    /// Its hash.
    pub hash: Vec<u8>,
    /// The last entry that was pruned; 0 when none was.
    pub pruned_sequence: i64,
    /// Its hash.
    pub pruned_hash: Vec<u8>,
}

impl Head {
    /// Where nothing was recorded yet.
    pub fn empty() -> Self {
        Self { sequence: 0, hash: vec![0; 32], pruned_sequence: 0, pruned_hash: vec![0; 32] }
    }
}

/// The organization's chain, if anything was ever recorded.
pub async fn head(tx: &SystemTx, organization: OrganizationId) -> Result<Option<Head>> {
    Ok(audit_heads::table
        .filter(audit_heads::organization_id.eq(organization))
        .select(Head::as_select())
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// Follows a chain, row by row.
pub struct Chain {
    sequence: i64,
    hash: Vec<u8>,
    /// What was found wrong.
    pub problems: Vec<String>,
    /// How many rows were seen.
    pub rows: u64,
}

impl Chain {
    /// The chain of a head, from its beginning, or from behind what was pruned.
    pub fn begin(head: &Head) -> Self {
        Self { sequence: head.pruned_sequence, hash: head.pruned_hash.clone(), problems: Vec::new(), rows: 0 }
    }

    /// The row that comes next.
    pub fn follow(&mut self, row: &Entry) {
        self.rows += 1;
        let expected = self.sequence + 1;
        if row.sequence > expected {
            self.problems.push(format!("rows {expected} to {} are missing", row.sequence - 1));
        } else if row.previous_hash != self.hash {
            self.problems.push(format!("row {} does not follow row {}", row.sequence, row.sequence - 1));
        }
        if row.expected_hash() != row.hash[..] {
            self.problems.push(format!("row {} ({}) was changed", row.sequence, row.id));
        }
        self.sequence = row.sequence;
        self.hash.clone_from(&row.hash);
    }

    /// There are no more rows. What is wrong, all together.
    pub fn end(mut self, head: &Head) -> Vec<String> {
        if self.sequence < head.sequence {
            self.problems.push(format!("rows {} to {} are missing", self.sequence + 1, head.sequence));
        } else if self.sequence > head.sequence || self.hash != head.hash {
            self.problems
                .push(format!("the chain's end says {}, and the last row is {}", head.sequence, self.sequence));
        }
        self.problems
    }
}

/// Deletes at most `limit` of the oldest entries of before `cutoff`, and notes where the chain begins now. How many.
/// The transaction must be the operator's.
pub async fn prune(tx: &SystemTx, organization: OrganizationId, cutoff: DateTime<Utc>, limit: i64) -> Result<usize> {
    let Some(head) = head(tx, organization).await? else { return Ok(0) };
    let rows = list_after(tx, organization, head.pruned_sequence, limit).await?;
    let Some(last) = rows.iter().take_while(|row| row.created_at < cutoff).last() else { return Ok(0) };
    diesel::update(audit_heads::table.filter(audit_heads::organization_id.eq(organization)))
        .set((audit_heads::pruned_sequence.eq(last.sequence), audit_heads::pruned_hash.eq(&last.hash)))
        .execute(&mut tx.conn())
        .await?;
    Ok(diesel::delete(
        audit_log::table
            .filter(audit_log::organization_id.eq(organization))
            .filter(audit_log::sequence.le(last.sequence)),
    )
    .execute(&mut tx.conn())
    .await?)
}
