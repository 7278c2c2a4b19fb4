//! `patchbay audit`: proves, exports and prunes the audit log.

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{Days, SecondsFormat};
use clap::Subcommand;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use patchbay::clock::Clock;
use patchbay::db::audit_log::{self, Chain, Entry};
use patchbay::db::organization::Organization;
use patchbay::db::{self, Db};
use patchbay::id::{AuditEntryId, OrganizationId};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Place, counted};
use crate::print;

/// How many rows are read, or deleted, at a time.
const BATCH: i64 = 1000;
/// The shortest time for which entries are kept, in days.
const MIN_KEEP: u64 = 30;

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Look for rows of the audit log that were edited, moved or removed
    ///
    /// Follows each organization's chain of hashes from its beginning, or from behind what was pruned, to its end. Exit
    /// status 1 when anything is wrong. It prints where each chain ends: noted elsewhere and given to a later run with
    /// --anchor, that finds a log that was rewritten as a whole too.
    Verify {
        #[command(flatten)]
        place: Place,
        /// Id or slug of one organization [default: all]
        #[arg(long, value_name = "ORGANIZATION")]
        organization: Option<String>,
        /// An end that an earlier run printed, SEQUENCE:HASH; needs --organization
        #[arg(long, value_name = "ANCHOR", requires = "organization", value_parser = parse_anchor)]
        anchor: Option<Anchor>,
    },
    /// Print an organization's audit log as JSON lines, oldest first, hashes included
    Export {
        #[command(flatten)]
        place: Place,
        /// Id or slug of the organization
        #[arg(long, value_name = "ORGANIZATION")]
        organization: String,
        /// Only entries behind this sequence number
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: i64,
    },
    /// Delete old entries of the audit log
    ///
    /// The chain stays provable: it begins behind the last entry that was deleted. Needs the login that owns the tables;
    /// the service's may not delete entries. Safe to interrupt and to run again.
    Prune {
        #[command(flatten)]
        place: Place,
        /// Keep entries of the last N days, at least 30
        #[arg(long, value_name = "N")]
        keep_days: u64,
        /// Id or slug of one organization [default: all]
        #[arg(long, value_name = "ORGANIZATION")]
        organization: Option<String>,
    },
}

/// Where a chain ended once.
#[derive(Clone, Debug)]
pub struct Anchor {
    sequence: i64,
    hash: Vec<u8>,
}

fn parse_anchor(text: &str) -> Result<Anchor, String> {
    let wrong = || "not SEQUENCE:HASH, as `patchbay audit verify` prints it".to_owned();
    let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
    let sequence = sequence.parse().ok().filter(|sequence| *sequence >= 0).ok_or_else(wrong)?;
    let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok().filter(|hash| hash.len() == 32);
    let hash = hash.ok_or_else(|| "the hash is not 64 hexadecimal digits".to_owned())?;
    Ok(Anchor { sequence, hash })
}

pub async fn run(command: AuditCommand) -> Result<()> {
    let (AuditCommand::Verify { place, .. } | AuditCommand::Export { place, .. } | AuditCommand::Prune { place, .. }) =
        &command;
    let open = place.open(false).await?;
    let done = match &command {
        AuditCommand::Verify { place, organization, anchor } => {
            verify(&open.db, organization.as_deref(), anchor.as_ref(), place.json).await
        }
        AuditCommand::Export { organization, after, .. } => export(&open.db, organization, *after).await,
        AuditCommand::Prune { place, keep_days, organization } => {
            prune(&open.db, organization.as_deref(), *keep_days, place.json).await
        }
    };
    open.close();
    done
}

async fn organizations(db: &Db, wanted: Option<&str>) -> Result<Vec<Organization>> {
    let Some(name) = wanted else {
        let all = db.system_read(async |tx| db::organization::list(tx).await).await?;
        return Ok(all.into_iter().map(|(organization, _)| organization).collect());
    };
    let found = db.system_read(async |tx| db::organization::find_by_name(tx, name).await).await?;
    Ok(vec![found.with_context(|| format!("there is no organization {name}"))?])
}

async fn verify(db: &Db, wanted: Option<&str>, anchor: Option<&Anchor>, as_json: bool) -> Result<()> {
    let mut broken = 0;
    for organization in organizations(db, wanted).await? {
        let id = organization.id;
        let head = db.system_read(async |tx| audit_log::head(tx, id).await).await?;
        // Without an end, everything is behind it.
        let until = head.as_ref().map_or(i64::MAX, |head| head.sequence);
        let head = head.unwrap_or_else(audit_log::Head::empty);
        let mut chain = Chain::begin(&head);
        let mut seen = match anchor {
            None => true,
            // What is gone proves nothing either way.
            Some(anchor) if anchor.sequence < head.pruned_sequence => bail!("the anchor was pruned; give a later one"),
            Some(anchor) => anchor.sequence == head.pruned_sequence && anchor.hash == head.pruned_hash,
        };
        let mut after = 0;
        // What is written meanwhile is behind the end that was read first.
        loop {
            let rows = db.system_read(async |tx| audit_log::list_after(tx, id, after, BATCH).await).await?;
            let Some(last) = rows.last() else { break };
            after = last.sequence;
            for row in rows.iter().filter(|row| row.sequence <= until) {
                seen |= anchor.is_some_and(|anchor| anchor.sequence == row.sequence && anchor.hash == row.hash);
                chain.follow(row);
            }
            if after >= until {
                break;
            }
        }
        // A row is written before the end that names it, and committed with it.
        let now = db.system_read(async |tx| audit_log::head(tx, id).await).await?.map_or(0, |head| head.sequence);
        let rows = chain.rows;
        let mut problems = chain.end(&head);
        if after > now {
            problems.push(format!("there are rows behind the chain's end, {now}"));
        }
        if !seen {
            problems.push("the anchor is not in the chain: what is there is not what was there then".to_owned());
        }
        broken += usize::from(!problems.is_empty());
        let end = format!("{}:{}", head.sequence, HEXLOWER.encode(&head.hash));
        if as_json {
            let line = json!({"organizationId": id, "slug": organization.slug, "rows": rows, "end": end, "problems": problems});
            print(&line.to_string())?;
            continue;
        }
        let slug = &organization.slug;
        let rows = counted(rows, "row", "rows");
        if problems.is_empty() {
            print(&format!("{slug} ({id}): {rows}, as written. End {end}"))?;
        } else {
            print(&format!("{slug} ({id}): {rows}, {}", counted(problems.len(), "problem", "problems")))?;
            for problem in problems {
                print(&format!("  - {problem}"))?;
            }
        }
    }
    if broken > 0 {
        bail!("the audit log of {} is not as it was written", counted(broken, "organization", "organizations"));
    }
    Ok(())
}

async fn export(db: &Db, name: &str, mut after: i64) -> Result<()> {
    let id = organizations(db, Some(name)).await?[0].id;
    loop {
        let rows = db.system_read(async |tx| audit_log::list_after(tx, id, after, BATCH).await).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.sequence;
        for row in &rows {
            print(&line(row)?)?;
        }
    }
}

/// An entry as it is exported. `changes` is in the very characters that its hash covers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    sequence: i64,
    id: AuditEntryId,
    organization_id: OrganizationId,
    action: &'a str,
    actor_id: Option<&'a str>,
    actor_name: Option<&'a str>,
    target_type: &'a str,
    target_id: &'a str,
    changes: Box<RawValue>,
    request_id: Option<&'a str>,
    ip_address: Option<&'a str>,
    user_agent: Option<&'a str>,
    created_at: String,
    previous_hash: String,
    hash: String,
}

fn line(row: &Entry) -> Result<String> {
    let line = Line {
        sequence: row.sequence,
        id: row.id,
        organization_id: row.organization_id,
        action: &row.action,
        actor_id: row.actor_id.as_deref(),
        actor_name: row.actor_name.as_deref(),
        target_type: &row.target_type,
        target_id: &row.target_id,
        changes: RawValue::from_string(row.changes.clone()).with_context(|| format!("the changes of {}", row.id))?,
        request_id: row.request_id.as_deref(),
        ip_address: row.ip_address.as_deref(),
        user_agent: row.user_agent.as_deref(),
        created_at: row.created_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        previous_hash: HEXLOWER.encode(&row.previous_hash),
        hash: HEXLOWER.encode(&row.hash),
    };
    Ok(serde_json::to_string(&line)?)
}

async fn prune(db: &Db, wanted: Option<&str>, keep_days: u64, as_json: bool) -> Result<()> {
    ensure!(keep_days >= MIN_KEEP, "--keep-days is at least {MIN_KEEP}");
    let cutoff = Clock::System.now() - Days::new(keep_days);
    for organization in organizations(db, wanted).await? {
        let id = organization.id;
        let mut pruned = 0;
        loop {
            let done = db.operator_write(async |tx| audit_log::prune(tx, id, cutoff, BATCH).await).await;
            match done.context("entries cannot be deleted; does the login own the tables?")? {
                0 => break,
                done => pruned += done,
            }
        }
        if as_json {
            print(&json!({"organizationId": id, "slug": organization.slug, "pruned": pruned}).to_string())?;
        } else {
            let entries = counted(pruned, "entry", "entries");
            let cutoff = cutoff.to_rfc3339_opts(SecondsFormat::Secs, true);
            print(&format!("{} ({id}): deleted {entries} of before {cutoff}", organization.slug))?;
        }
    }
    Ok(())
}
