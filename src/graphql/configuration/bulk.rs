//! Many configurations at once: all that can be changed are, in one transaction, and each that cannot be says why.

use async_graphql::{Context, ID, InputObject, Object, OneofObject, SimpleObject};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::ConfigurationFilterInput;
use super::mutation::{not_permitted, patched};
use crate::app::App;
use crate::auth::caller::Caller;
use crate::auth::policy::Action;
use crate::connector::configuration as rules;
use crate::db::audit_log::Change;
use crate::db::configuration::{Access, Configuration, ConfigurationChanges};
use crate::db::idempotency_key::{self, Once};
use crate::db::{self, OrgTx};
use crate::error::{Code, Detail, Rejection, Result};
use crate::graphql::context::{Nullable, RequestContext as _};
use crate::graphql::idempotency::once;
use crate::graphql::scalar::JsonObject;
use crate::graphql::user_error::{UserError, answer};
use crate::id::ConfigurationId;

/// The most configurations that one mutation may touch.
pub const MAX_BULK_ITEMS: i32 = 1000;
/// The longest list of ids.
const MAX_IDS: usize = 100;

/// Which configurations a bulk mutation touches: give exactly one field.
#[derive(OneofObject)]
pub enum PersonalConnectorConfigurationSelector {
    /// These, at most 100.
    Ids(Vec<ID>),
    /// All that match.
    Filter(Box<ConfigurationFilterInput>),
}

/// What to change of each.
#[derive(InputObject)]
pub struct PersonalConnectorConfigurationBulkPatch {
    /// Whether it is active.
    enabled: Option<bool>,
    /// JSON Merge Patch (RFC 7386) on each one's metadata: null removes a key.
    metadata_patch: Option<JsonObject>,
}

/// One that could not be changed.
#[derive(SimpleObject)]
pub struct BulkFailure {
    /// Which one.
    id: ID,
    /// Why.
    error: UserError,
}

/// What a bulk mutation did.
#[derive(SimpleObject, Default)]
pub struct PersonalConnectorConfigurationBulkPayload {
    /// How many matched; null when there are userErrors.
    matched_count: Option<i32>,
    /// How many were changed, or with dryRun would be; null when there are userErrors.
    changed_count: Option<i32>,
    /// One entry for each that could not be changed.
    failures: Vec<BulkFailure>,
    /// True when nothing was changed because dryRun was true.
    dry_run: bool,
    /// What the caller can correct. Empty when all went well.
    user_errors: Vec<UserError>,
}

impl From<Vec<UserError>> for PersonalConnectorConfigurationBulkPayload {
    fn from(user_errors: Vec<UserError>) -> Self {
        Self { user_errors, ..Self::default() }
    }
}

/// The same, as it is kept for repeats.
#[derive(Serialize, Deserialize)]
struct Outcome {
    matched: usize,
    changed: usize,
    failures: Vec<(String, Rejection)>,
    dry_run: bool,
}

impl From<Outcome> for PersonalConnectorConfigurationBulkPayload {
    fn from(Outcome { matched, changed, failures, dry_run }: Outcome) -> Self {
        let failures =
            failures.into_iter().map(|(id, rejection)| BulkFailure { id: ID(id), error: rejection.into() }).collect();
        Self {
            matched_count: Some(i32::try_from(matched).unwrap_or(i32::MAX)),
            changed_count: Some(i32::try_from(changed).unwrap_or(i32::MAX)),
            failures,
            dry_run,
            user_errors: Vec::new(),
        }
    }
}

/// What both mutations are told.
struct Bulk {
    selector: PersonalConnectorConfigurationSelector,
    max_affected: i32,
    dry_run: bool,
    once: Option<Once>,
}

/// The configurations that are meant, locked, and those that are not there.
struct Selected {
    rows: Vec<(Configuration, Access)>,
    failures: Vec<(String, Rejection)>,
}

impl Selected {
    fn matched(&self) -> usize {
        self.rows.len() + self.failures.len()
    }
}

impl Bulk {
    async fn select(&self, tx: &OrgTx) -> Result<Selected> {
        if !(1..=MAX_BULK_ITEMS).contains(&self.max_affected) {
            let message = format!("maxAffected is from 1 to {MAX_BULK_ITEMS}.");
            return Err(Rejection::new(Code::Invalid, &["maxAffected"], message).into());
        }
        let limit = usize::try_from(self.max_affected).unwrap_or_default();
        let mut failures = Vec::new();
        let ids: Vec<ConfigurationId> = match &self.selector {
            PersonalConnectorConfigurationSelector::Ids(given) => {
                if given.len() > MAX_IDS {
                    let message = format!("At most {MAX_IDS} ids; use a filter for more.");
                    return Err(Rejection::new(Code::Invalid, &["selector", "ids"], message).into());
                }
                let mut unique = given.clone();
                unique.sort();
                unique.dedup();
                unique
                    .iter()
                    .filter_map(|id| {
                        let parsed = id.parse().ok();
                        if parsed.is_none() {
                            failures.push((id.to_string(), missing()));
                        }
                        parsed
                    })
                    .collect()
            }
            PersonalConnectorConfigurationSelector::Filter(filter) => {
                let filter = filter.conditions(tx.caller())?;
                db::configuration::list_ids(tx, &filter, i64::from(self.max_affected) + 1).await?
            }
        };
        if ids.len() + failures.len() > limit {
            let message = format!("More than {limit} configurations match; nothing was changed.");
            let current = i32::try_from(ids.len() + failures.len()).unwrap_or(i32::MAX);
            let detail = Detail::Limit { limit: self.max_affected, current };
            return Err(Rejection { detail, ..Rejection::new(Code::LimitExceeded, &["maxAffected"], message) }.into());
        }
        let rows = db::configuration::find_many_for_update(tx, &ids).await?;
        // One that a filter found and that has gone meanwhile is no failure.
        if let PersonalConnectorConfigurationSelector::Ids(_) = &self.selector {
            let gone = ids.iter().filter(|id| !rows.iter().any(|(row, _)| row.id == **id));
            failures.extend(gone.map(|id| (id.to_string(), missing())));
        }
        Ok(Selected { rows, failures })
    }
}

/// More than was granted was tried: that is kept beside what was done, as one entry.
fn note_refusals(tx: &OrgTx, action: Action, failures: &[(String, Rejection)]) {
    let mut refused = failures.iter().filter(|(_, rejection)| rejection.code == Code::PermissionDenied);
    if let Some((first, _)) = refused.next() {
        let more = Change::new("more", (), refused.count());
        tx.also(&format!("{}_refused", action.as_str()), first, vec![more]);
    }
}

fn missing() -> Rejection {
    Rejection::not_found(&["selector", "ids"], "personal connector configuration")
}

async fn update(
    app: &App,
    caller: &Caller,
    bulk: Bulk,
    patch: PersonalConnectorConfigurationBulkPatch,
) -> Result<PersonalConnectorConfigurationBulkPayload> {
    let outcome = app.db.write(caller, Action::ConfigurationUpdate, "", async |tx| {
        if let Some(outcome) = idempotency_key::replay(tx, bulk.once.as_ref()).await? {
            return Ok(outcome);
        }
        if patch.enabled.is_none() && patch.metadata_patch.is_none() {
            let message = "There is nothing to change: give at least one field.";
            return Err(Rejection::new(Code::Required, &["patch"], message).into());
        }
        let selected = bulk.select(tx).await?;
        let matched = selected.matched();
        let Selected { rows, mut failures } = selected;
        let mut changed = Vec::new();
        for (row, access) in rows {
            match changes(&row, access, &patch) {
                Ok(changes) if changes == ConfigurationChanges::default() => {}
                Ok(changes) => changed.push((row, changes)),
                Err(rejection) => failures.push((row.id.to_string(), *rejection)),
            }
        }
        let outcome = Outcome { matched, changed: changed.len(), failures, dry_run: bulk.dry_run };
        if !bulk.dry_run {
            note_refusals(tx, Action::ConfigurationUpdate, &outcome.failures);
            let updates =
                changed.into_iter().map(async |(row, changes)| db::configuration::update(tx, &row, changes).await);
            try_join_all(updates).await?;
            idempotency_key::keep(tx, bulk.once.as_ref(), &outcome).await?;
        }
        Ok(outcome)
    });
    Ok(outcome.await?.into())
}

/// What the patch changes of one.
fn changes(
    row: &Configuration,
    access: Access,
    patch: &PersonalConnectorConfigurationBulkPatch,
) -> Result<ConfigurationChanges, Box<Rejection>> {
    if !access.may_update() {
        return Err(Box::new(not_permitted(&[])));
    }
    let metadata = patch.metadata_patch.as_ref().map(|patch| patched(row.metadata.as_ref(), patch));
    if let Some(rejection) =
        metadata.as_ref().and_then(|pairs| rules::check_metadata(pairs, &["patch", "metadataPatch"]))
    {
        return Err(Box::new(rejection));
    }
    let none = Value::Object(serde_json::Map::new());
    Ok(ConfigurationChanges {
        enabled: patch.enabled.filter(|enabled| *enabled != row.enabled),
        metadata: metadata.filter(|new| new != row.metadata.as_ref().unwrap_or(&none)).map(Some),
        ..ConfigurationChanges::default()
    })
}

async fn delete(app: &App, caller: &Caller, bulk: Bulk) -> Result<PersonalConnectorConfigurationBulkPayload> {
    let outcome = app.db.write(caller, Action::ConfigurationDelete, "", async |tx| {
        if let Some(outcome) = idempotency_key::replay(tx, bulk.once.as_ref()).await? {
            return Ok(outcome);
        }
        let selected = bulk.select(tx).await?;
        let matched = selected.matched();
        let Selected { rows, mut failures } = selected;
        let mut doomed = Vec::new();
        for (row, access) in rows {
            if access.may_control() {
                doomed.push(row.id);
            } else {
                failures.push((row.id.to_string(), not_permitted(&[])));
            }
        }
        let outcome = Outcome { matched, changed: doomed.len(), failures, dry_run: bulk.dry_run };
        if !bulk.dry_run {
            note_refusals(tx, Action::ConfigurationDelete, &outcome.failures);
            try_join_all(doomed.into_iter().map(|id| db::configuration::delete(tx, id))).await?;
            idempotency_key::keep(tx, bulk.once.as_ref(), &outcome).await?;
        }
        Ok(outcome)
    });
    Ok(outcome.await?.into())
}

/// Mutations of many configurations.
#[derive(Default)]
pub struct BulkMutation;

#[Object]
impl BulkMutation {
    /// Changes many at once. Refused when more than `maxAffected` match. [owner, grant `manage`, or role admin, scope
    /// configurations_write]
    async fn personal_connector_configurations_bulk_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] selector: PersonalConnectorConfigurationSelector,
        #[graphql(desc = "What to change of each.")] patch: PersonalConnectorConfigurationBulkPatch,
        #[graphql(desc = "1 to 1000.", default = 100)] max_affected: i32,
        #[graphql(desc = "Say what would be done, and do nothing.", default = false)] dry_run: bool,
        #[graphql(desc = "Sent twice, it is done once; a repeat gives the first answer. Kept for 24 hours.")]
        idempotency_key: Option<String>,
    ) -> Nullable<PersonalConnectorConfigurationBulkPayload> {
        let work = async {
            let bulk = Bulk { selector, max_affected, dry_run, once: once(ctx, idempotency_key)? };
            update(ctx.app(), ctx.caller(), bulk, patch).await
        };
        answer(work.await)
    }

    /// Deletes many at once, with their credentials. Refused when more than `maxAffected` match. [owner, or role admin,
    /// scope configurations_write]
    async fn personal_connector_configurations_bulk_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] selector: PersonalConnectorConfigurationSelector,
        #[graphql(desc = "1 to 1000.", default = 100)] max_affected: i32,
        #[graphql(desc = "Say what would be done, and do nothing.", default = false)] dry_run: bool,
        #[graphql(desc = "Sent twice, it is done once; a repeat gives the first answer. Kept for 24 hours.")]
        idempotency_key: Option<String>,
    ) -> Nullable<PersonalConnectorConfigurationBulkPayload> {
        let work = async {
            let bulk = Bulk { selector, max_affected, dry_run, once: once(ctx, idempotency_key)? };
            delete(ctx.app(), ctx.caller(), bulk).await
        };
        answer(work.await)
    }
}
