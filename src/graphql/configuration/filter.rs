//! The filter of configurations.

use async_graphql::{Enum, InputObject};

use crate::auth::caller::{Actor, Caller};
use crate::connector::AuthMethod;
use crate::db::configuration::{Condition, OrderField};
use crate::db::filter::{Filter, TextOp};
use crate::error::{Code, Rejection, Result};
use crate::graphql::comparator::{
    AuthMethodTypeComparator, BooleanComparator, DateTimeComparator, HealthStatusComparator, IdComparator,
    NullableDateTimeComparator, NullableIdComparator, NullableStringComparator, StringComparator,
};
use crate::graphql::scalar::{JsonObject, MetadataValue};
use crate::id::{ApiKeyId, ConfigurationId, UserId};

const MAX_DEPTH: usize = 4;
const MAX_CONDITIONS: usize = 40;
const MAX_ENTRIES: usize = 10;

/// Filter for configurations. Fields are combined with AND. `and`, `or` and `not` nest to a depth of 4, 40 conditions in
/// all, 100 values in one list. A null in it is refused: it would be no condition, and show more than was meant.
///
/// Example: healthy or never tested GitHub configurations of production:
/// `{personalConnectorId: {eq: "pcon_github"}, metadata: {contains: {environment: "production"}}, healthStatus: {in: [healthy, unknown]}}`
#[derive(InputObject, Clone, Debug, Default)]
#[graphql(name = "PersonalConnectorConfigurationFilter")]
pub struct ConfigurationFilterInput {
    /// All of these hold.
    and: Option<Vec<ConfigurationFilterInput>>,
    /// At least one of these holds.
    or: Option<Vec<ConfigurationFilterInput>>,
    /// This does not hold.
    not: Option<Box<ConfigurationFilterInput>>,
    /// Its id.
    id: Option<IdComparator>,
    /// The person who owns it.
    user_id: Option<NullableIdComparator>,
    /// The API key that owns it.
    api_key_id: Option<NullableIdComparator>,
    /// true: only the caller's own; false: only those of others.
    owned_by_viewer: Option<bool>,
    /// true: only what was granted to the caller; false: only what was not.
    granted_to_viewer: Option<bool>,
    /// What it configures.
    personal_connector_id: Option<IdComparator>,
    /// Its name.
    name: Option<StringComparator>,
    /// What it is for.
    description: Option<NullableStringComparator>,
    /// Whether it is active.
    enabled: Option<BooleanComparator>,
    /// Its health.
    health_status: Option<HealthStatusComparator>,
    /// How it authenticates.
    auth_method: Option<AuthMethodTypeComparator>,
    /// When it last worked.
    last_sync_at: Option<NullableDateTimeComparator>,
    /// Why it is unhealthy.
    last_error: Option<NullableStringComparator>,
    /// When it was created.
    created_at: Option<DateTimeComparator>,
    /// When it was last updated.
    updated_at: Option<DateTimeComparator>,
    /// Its tags.
    metadata: Option<MetadataFilter>,
    /// Its settings.
    configuration: Option<SettingsFilter>,
    /// Words to find in name and description. All must be found.
    search: Option<String>,
}

/// Filter on `metadata`. All given fields must hold (AND).
///
/// - the common case: `{contains: {environment: "production", team: "platform"}}`;
/// - one key, several values: `{entries: [{key: "environment", in: ["staging", "production"]}]}`;
/// - a key that exists, whatever its value: `{hasKey: "owner"}` or `{entries: [{key: "owner"}]}`.
#[derive(InputObject, Clone, Debug, Default)]
pub struct MetadataFilter {
    /// Holds all of these pairs (and maybe more).
    contains: Option<JsonObject>,
    /// Has this key.
    has_key: Option<String>,
    /// Has at least one of these keys.
    has_any_key: Option<Vec<String>>,
    /// Has all of these keys.
    has_all_keys: Option<Vec<String>>,
    /// Conditions on single keys; all must hold. At most 10.
    entries: Option<Vec<MetadataEntryFilter>>,
    /// true: has no metadata; false: has some.
    null: Option<bool>,
}

/// A condition on the value under one metadata key. With only `key`, the key must exist.
#[derive(InputObject, Clone, Debug)]
pub struct MetadataEntryFilter {
    /// Which key.
    key: String,
    /// Its value is this.
    eq: Option<MetadataValue>,
    /// Its value is not this. Also matches when the key is absent.
    neq: Option<MetadataValue>,
    /// Its value is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<MetadataValue>>,
    /// Its value is none of these. Also matches when the key is absent.
    nin: Option<Vec<MetadataValue>>,
    /// Begins with this. String values only.
    starts_with: Option<String>,
    /// Holds this. String values only.
    contains: Option<String>,
    /// false: the key must be absent. Not to be combined with a comparison.
    exists: Option<bool>,
}

/// Filter on the `configuration` object: containment only, so that it stays indexable.
#[derive(InputObject, Clone, Debug, Default)]
#[graphql(name = "ConfigurationFilter")]
pub struct SettingsFilter {
    /// Holds all of these pairs, at any depth as Postgres `@>` has it, e.g. {repository: "acme/backend"}.
    contains: Option<JsonObject>,
    /// Has this key.
    has_key: Option<String>,
}

/// Direction of an order.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderDirection {
    /// Smallest, oldest, A first.
    Asc,
    /// Largest, newest, Z first.
    Desc,
}

/// Ties are always broken by id, so that pages never overlap.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "OrderField")]
pub enum PersonalConnectorConfigurationOrderField {
    /// When it was created.
    CreatedAt,
    /// When it was last updated.
    UpdatedAt,
    /// By code points.
    Name,
    /// When it last worked. Those that never did come first in ascending order.
    LastSyncAt,
    /// healthy, unhealthy, unknown.
    HealthStatus,
}

/// What a list is ordered by.
#[derive(InputObject, Clone, Copy, Debug)]
pub struct PersonalConnectorConfigurationOrder {
    /// By which field.
    pub field: PersonalConnectorConfigurationOrderField,
    /// Which way.
    #[graphql(default_with = "OrderDirection::Asc")]
    pub direction: OrderDirection,
}

impl Default for PersonalConnectorConfigurationOrder {
    /// Newest first.
    fn default() -> Self {
        Self { field: PersonalConnectorConfigurationOrderField::CreatedAt, direction: OrderDirection::Desc }
    }
}

impl ConfigurationFilterInput {
    /// As conditions on configurations.
    ///
    /// # Errors
    /// [`crate::error::Error::Rejected`] when it is too deep, too long, or contradicts itself.
    pub fn conditions(&self, caller: &Caller) -> Result<Filter<Condition>> {
        let mut left = MAX_CONDITIONS;
        self.build(caller, 1, &mut left)
    }

    fn build(&self, caller: &Caller, depth: usize, left: &mut usize) -> Result<Filter<Condition>> {
        if depth > MAX_DEPTH {
            let message = format!("A filter nests at most {MAX_DEPTH} levels deep.");
            return Err(Rejection::new(Code::Invalid, &["filter"], message).into());
        }
        let mut all = self.own_conditions(caller)?;
        // One that has nothing in it counts as one: it costs something to look at.
        let is_empty = all.is_empty() && self.and.is_none() && self.or.is_none() && self.not.is_none();
        *left = left.checked_sub(all.len() + usize::from(is_empty)).ok_or_else(|| {
            Rejection::new(Code::Invalid, &["filter"], format!("A filter has at most {MAX_CONDITIONS} conditions."))
        })?;
        for part in self.and.iter().flatten() {
            all.push(part.build(caller, depth + 1, left)?);
        }
        if let Some(parts) = &self.or {
            let parts = parts.iter().map(|part| part.build(caller, depth + 1, left)).collect::<Result<_>>()?;
            all.push(Filter::Any(parts));
        }
        if let Some(part) = &self.not {
            all.push(Filter::Not(Box::new(part.build(caller, depth + 1, left)?)));
        }
        Ok(Filter::All(all))
    }

    fn own_conditions(&self, caller: &Caller) -> Result<Vec<Filter<Condition>>> {
        let mut all = Vec::new();
        if let Some(id) = &self.id {
            all.extend(id.conditions::<ConfigurationId, _>(Condition::Id));
        }
        if let Some(id) = &self.user_id {
            all.extend(id.conditions::<UserId, _>(Condition::HasUser, Condition::User));
        }
        if let Some(id) = &self.api_key_id {
            all.extend(id.conditions::<ApiKeyId, _>(Condition::HasApiKey, Condition::ApiKey));
        }
        if let Some(own) = self.owned_by_viewer {
            let mine = Filter::Is(match caller.actor() {
                Actor::User(id) => Condition::User(vec![id]),
                Actor::ApiKey(id) => Condition::ApiKey(vec![id]),
            });
            all.push(if own { mine } else { Filter::Not(Box::new(mine)) });
        }
        if let Some(granted) = self.granted_to_viewer {
            let granted_to_viewer = Filter::Is(Condition::Granted);
            all.push(if granted { granted_to_viewer } else { Filter::Not(Box::new(granted_to_viewer)) });
        }
        if let Some(id) = &self.personal_connector_id {
            all.extend(id.conditions::<String, _>(Condition::Connector));
        }
        if let Some(name) = &self.name {
            all.extend(name.conditions(Condition::Name));
        }
        if let Some(description) = &self.description {
            all.extend(description.conditions(Condition::HasDescription, Condition::Description));
        }
        if let Some(enabled) = &self.enabled {
            all.extend(enabled.conditions(|| Condition::Enabled));
        }
        if let Some(status) = &self.health_status {
            all.extend(status.conditions(Condition::Health));
        }
        if let Some(method) = &self.auth_method {
            all.extend(method.conditions(|methods| {
                let kinds = methods.iter().filter_map(|method| match AuthMethod::from(*method) {
                    AuthMethod::Credential(kind) => Some(kind),
                    AuthMethod::None => None,
                });
                Filter::Is(Condition::Credential(kinds.collect()))
            }));
        }
        if let Some(time) = &self.last_sync_at {
            all.extend(time.conditions(Condition::HasLastSyncAt, Condition::LastSyncAt));
        }
        if let Some(error) = &self.last_error {
            all.extend(error.conditions(Condition::HasLastError, Condition::LastError));
        }
        if let Some(time) = &self.created_at {
            all.extend(time.conditions(Condition::CreatedAt));
        }
        if let Some(time) = &self.updated_at {
            all.extend(time.conditions(Condition::UpdatedAt));
        }
        if let Some(metadata) = &self.metadata {
            all.extend(metadata.conditions()?);
        }
        if let Some(settings) = &self.configuration {
            all.extend(settings.contains.clone().map(|part| Filter::Is(Condition::ConfigurationContains(part.into()))));
            all.extend(settings.has_key.clone().map(|key| Filter::Is(Condition::ConfigurationKey(key))));
        }
        if let Some(search) = &self.search {
            all.extend(search.split_whitespace().map(|word| Filter::Is(Condition::Holds(word.to_owned()))));
        }
        Ok(all)
    }
}

impl MetadataFilter {
    fn conditions(&self) -> Result<Vec<Filter<Condition>>> {
        let mut all = Vec::new();
        all.extend(self.contains.clone().map(|pairs| Filter::Is(Condition::MetadataContains(pairs.into()))));
        all.extend(self.has_key.clone().map(|key| Filter::Is(Condition::MetadataAnyKey(vec![key]))));
        all.extend(self.has_any_key.clone().map(|keys| Filter::Is(Condition::MetadataAnyKey(keys))));
        all.extend(self.has_all_keys.clone().map(|keys| Filter::Is(Condition::MetadataAllKeys(keys))));
        if let Some(null) = self.null {
            let has = Filter::Is(Condition::HasMetadata);
            all.push(if null { Filter::Not(Box::new(has)) } else { has });
        }
        let entries = self.entries.as_deref().unwrap_or_default();
        if entries.len() > MAX_ENTRIES {
            let message = format!("At most {MAX_ENTRIES} entries.");
            return Err(Rejection::new(Code::Invalid, &["filter", "metadata", "entries"], message).into());
        }
        for entry in entries {
            all.extend(entry.conditions()?);
        }
        Ok(all)
    }
}

impl MetadataEntryFilter {
    fn conditions(&self) -> Result<Vec<Filter<Condition>>> {
        let pair = |value: &MetadataValue| {
            let pairs = serde_json::Map::from_iter([(self.key.clone(), value.0.clone())]);
            Filter::Is(Condition::MetadataContains(pairs.into()))
        };
        let any = |values: &Vec<MetadataValue>| Filter::Any(values.iter().map(pair).collect());
        let not = |filter| Filter::Not(Box::new(filter));
        let text = |op| Filter::Is(Condition::MetadataText(self.key.clone(), op));
        let has_key = || Filter::Is(Condition::MetadataAnyKey(vec![self.key.clone()]));

        let comparisons: Vec<_> = [
            self.eq.as_ref().map(pair),
            self.neq.as_ref().map(|value| not(pair(value))),
            self.one_of.as_ref().map(any),
            self.nin.as_ref().map(|values| not(any(values))),
            self.starts_with.clone().map(|prefix| text(TextOp::StartsWith(prefix))),
            self.contains.clone().map(|part| text(TextOp::Contains(part))),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (self.exists, comparisons.is_empty()) {
            (Some(_), false) => {
                let message = "exists is not to be combined with a comparison.";
                Err(Rejection::new(Code::Invalid, &["filter", "metadata", "entries"], message).into())
            }
            (Some(false), true) => Ok(vec![not(has_key())]),
            (Some(true) | None, true) => Ok(vec![has_key()]),
            (None, false) => Ok(comparisons),
        }
    }
}
