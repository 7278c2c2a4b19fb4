//! Mutations that are done once however often they are sent.
//!
//! The answer is kept in the transaction that did the work, so there is never one without the other. Only success is
//! kept: what is refused has changed nothing, and may be tried again with the same key.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema::idempotency_keys;
use super::scope::{OrgTable, OrgTx};
use crate::error::{Code, Error, Rejection, Result};
use crate::vault::{digest, length_prefixed};

/// How long an answer is kept.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// A mutation that is to be done once.
#[derive(Clone, Debug)]
pub struct Once {
    /// Which mutation.
    pub mutation: String,
    /// What the caller calls this attempt and its repeats.
    pub key: String,
    /// A keyed hash of the arguments.
    pub arguments: [u8; 32],
    /// The time now.
    pub now: DateTime<Utc>,
}

impl Once {
    /// Among all keys of the database: what is locked while the first request runs.
    fn lock(&self, tx: &OrgTx) -> i64 {
        let caller = tx.caller();
        let parts = length_prefixed(&[
            b"patchbay-idempotency/v1",
            caller.organization().uuid().as_bytes(),
            caller.actor().to_string().as_bytes(),
            self.mutation.as_bytes(),
            self.key.as_bytes(),
        ]);
        let [first, ..] = digest(&parts).as_chunks::<8>().0[..] else { return 0 };
        i64::from_be_bytes(first)
    }
}

diesel::define_sql_function! {
    /// Takes a lock until the transaction ends; false when somebody has it.
    fn pg_try_advisory_xact_lock(key: BigInt) -> Bool;
}

/// What was answered to the same mutation with the same key, if it was done. Must come before the work.
///
/// # Errors
/// [`Code::IdempotencyInProgress`] while the first request runs, [`Code::IdempotencyKeyReused`] for other arguments.
pub async fn replay<T: DeserializeOwned>(tx: &OrgTx, once: Option<&Once>) -> Result<Option<T>> {
    let Some(once) = once else { return Ok(None) };
    // In this order on one connection: what is read was committed before the lock was free.
    let locked = diesel::select(pg_try_advisory_xact_lock(once.lock(tx))).get_result(&mut tx.conn());
    let known = idempotency_keys::table::of(tx)
        .filter(idempotency_keys::actor_id.eq(tx.caller().actor().to_string()))
        .filter(idempotency_keys::mutation.eq(&once.mutation))
        .filter(idempotency_keys::key.eq(&once.key))
        .select((idempotency_keys::arguments_hash, idempotency_keys::answer, idempotency_keys::created_at))
        .load::<(Vec<u8>, Value, DateTime<Utc>)>(&mut tx.conn());
    let (locked, known): (bool, _) = try_join(locked, known).await?;
    if !locked {
        let message = "The first request with this idempotency key is still running. Try again in a moment.";
        return Err(Rejection::new(Code::IdempotencyInProgress, &["idempotencyKey"], message).into());
    }
    match known.into_iter().next() {
        Some((arguments, _, made)) if made > once.now - KEPT && arguments != once.arguments => {
            let message = "This idempotency key was used with other arguments. Use a new key for a new request.";
            Err(Rejection::new(Code::IdempotencyKeyReused, &["idempotencyKey"], message).into())
        }
        Some((_, answer, made)) if made > once.now - KEPT => {
            serde_json::from_value(answer).map(Some).map_err(Error::internal)
        }
        _ => Ok(None),
    }
}

/// Keeps the answer for repeats, and drops what is too old.
pub async fn keep(tx: &OrgTx, once: Option<&Once>, answer: &impl Serialize) -> Result<()> {
    let Some(once) = once else { return Ok(()) };
    let answer = serde_json::to_value(answer).map_err(Error::internal)?;
    let old = idempotency_keys::table::of(tx).filter(idempotency_keys::created_at.le(once.now - KEPT));
    let dropped = diesel::delete(old).execute(&mut tx.conn());
    let kept = diesel::insert_into(idempotency_keys::table)
        .values((
            idempotency_keys::actor_id.eq(tx.caller().actor().to_string()),
            idempotency_keys::mutation.eq(&once.mutation),
            idempotency_keys::key.eq(&once.key),
            idempotency_keys::arguments_hash.eq(&once.arguments[..]),
            idempotency_keys::answer.eq(answer),
            idempotency_keys::created_at.eq(once.now),
        ))
        .execute(&mut tx.conn());
    try_join(dropped, kept).await?;
    tx.keep();
    Ok(())
}
