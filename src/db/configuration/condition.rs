//! What a list of configurations may be narrowed by, in SQL.

use diesel::prelude::*;
use serde_json::Value;

use super::{HealthStatus, Source, granted_to_viewer};
use crate::db::filter::{
    Predicate, TextOp, TimeOp, always, and, jsonb_typeof, lower, or, starts_with, strpos, text, time,
};
use crate::db::schema::{configurations, credentials};
use crate::db::scope::OrgTx;
use crate::id::{ApiKeyId, ConfigurationId, UserId};
use crate::vault::Kind;

/// What a list of configurations may be narrowed by.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Its id is one of these.
    Id(Vec<ConfigurationId>),
    /// A person owns it.
    HasUser,
    /// One of these people owns it.
    User(Vec<UserId>),
    /// An API key owns it.
    HasApiKey,
    /// One of these keys owns it.
    ApiKey(Vec<ApiKeyId>),
    /// It was granted to the caller.
    Granted,
    /// It configures one of these connectors.
    Connector(Vec<String>),
    /// Its name.
    Name(TextOp),
    /// Has a description.
    HasDescription,
    /// Its description.
    Description(TextOp),
    /// Is in use.
    Enabled,
    /// Its health is one of these.
    Health(Vec<HealthStatus>),
    /// Has a credential.
    HasCredential,
    /// Has a credential of one of these kinds.
    Credential(Vec<Kind>),
    /// Was synced.
    HasLastSyncAt,
    /// When it was last synced.
    LastSyncAt(TimeOp),
    /// Has an error.
    HasLastError,
    /// Its error.
    LastError(TextOp),
    /// When it was made.
    CreatedAt(TimeOp),
    /// When it was changed.
    UpdatedAt(TimeOp),
    /// Has metadata: at least one pair.
    HasMetadata,
    /// Its metadata hold all of these pairs.
    MetadataContains(Value),
    /// Its metadata have one of these keys.
    MetadataAnyKey(Vec<String>),
    /// Its metadata have all of these keys.
    MetadataAllKeys(Vec<String>),
    /// The text under a metadata key.
    MetadataText(String, TextOp),
    /// Its settings hold this.
    ConfigurationContains(Value),
    /// Its settings have this key.
    ConfigurationKey(String),
    /// Name or description hold this word, in any case.
    Holds(String),
}

pub(super) fn predicate(tx: &OrgTx, condition: &Condition) -> Predicate<Source> {
    use configurations as c;
    let given = |has: Predicate<Source>, holds: Predicate<Source>| and(has, holds);
    match condition {
        Condition::Id(ids) => Box::new(c::id.eq_any(ids.clone())),
        Condition::HasUser => Box::new(c::owner_user_id.is_not_null()),
        Condition::User(ids) => given(
            Box::new(c::owner_user_id.is_not_null()),
            Box::new(c::owner_user_id.assume_not_null().eq_any(ids.clone())),
        ),
        Condition::HasApiKey => Box::new(c::owner_api_key_id.is_not_null()),
        Condition::ApiKey(ids) => given(
            Box::new(c::owner_api_key_id.is_not_null()),
            Box::new(c::owner_api_key_id.assume_not_null().eq_any(ids.clone())),
        ),
        Condition::Granted => granted_to_viewer!(tx),
        Condition::Connector(ids) => Box::new(c::connector_id.eq_any(ids.clone())),
        Condition::Name(op) => text!(c::name, op),
        Condition::HasDescription => Box::new(c::description.is_not_null()),
        Condition::Description(op) => {
            given(Box::new(c::description.is_not_null()), text!(c::description.assume_not_null(), op))
        }
        Condition::Enabled => Box::new(c::enabled.eq(true)),
        Condition::Health(statuses) => Box::new(c::health_status.eq_any(statuses.clone())),
        Condition::HasCredential => Box::new(credentials::kind.nullable().is_not_null()),
        Condition::Credential(kinds) => given(
            Box::new(credentials::kind.nullable().is_not_null()),
            Box::new(credentials::kind.nullable().assume_not_null().eq_any(kinds.clone())),
        ),
        Condition::HasLastSyncAt => Box::new(c::last_sync_at.is_not_null()),
        Condition::LastSyncAt(op) => {
            given(Box::new(c::last_sync_at.is_not_null()), time!(c::last_sync_at.assume_not_null(), op))
        }
        Condition::HasLastError => Box::new(c::last_error.is_not_null()),
        Condition::LastError(op) => {
            given(Box::new(c::last_error.is_not_null()), text!(c::last_error.assume_not_null(), op))
        }
        Condition::CreatedAt(op) => time!(c::created_at, op),
        Condition::UpdatedAt(op) => time!(c::updated_at, op),
        Condition::HasMetadata => given(
            Box::new(c::metadata.is_not_null()),
            Box::new(c::metadata.assume_not_null().ne(Value::Object(serde_json::Map::new()))),
        ),
        Condition::MetadataContains(pairs) if pairs.as_object().is_some_and(serde_json::Map::is_empty) => always(true),
        Condition::MetadataContains(pairs) => {
            given(Box::new(c::metadata.is_not_null()), Box::new(c::metadata.assume_not_null().contains(pairs.clone())))
        }
        Condition::MetadataAnyKey(keys) => given(
            Box::new(c::metadata.is_not_null()),
            Box::new(c::metadata.assume_not_null().has_any_key(keys.clone())),
        ),
        Condition::MetadataAllKeys(keys) if keys.is_empty() => always(true),
        Condition::MetadataAllKeys(keys) => given(
            Box::new(c::metadata.is_not_null()),
            Box::new(c::metadata.assume_not_null().has_all_keys(keys.clone())),
        ),
        Condition::MetadataText(key, op) => {
            let value = || c::metadata.assume_not_null().retrieve_as_object(key.clone());
            let text = || c::metadata.assume_not_null().retrieve_as_text(key.clone());
            given(
                Box::new(c::metadata.is_not_null()),
                given(Box::new(jsonb_typeof(value()).is_not_distinct_from("string")), text!(text(), op)),
            )
        }
        Condition::ConfigurationContains(value) => Box::new(c::configuration.contains(value.clone())),
        Condition::ConfigurationKey(key) => Box::new(c::configuration.has_key(key.clone())),
        Condition::Holds(word) => or(
            Box::new(strpos(lower(c::name), lower(word.clone())).gt(0)),
            given(
                Box::new(c::description.is_not_null()),
                Box::new(strpos(lower(c::description.assume_not_null()), lower(word.clone())).gt(0)),
            ),
        ),
    }
}
