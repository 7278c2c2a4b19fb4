//! The audit log.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject, Union};

use super::api_key::ApiKey;
use super::comparator::{
    DateTimeComparator, IdComparator, NullableIdComparator, NullableStringComparator, StringComparator,
};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::{self, AnyId, Relations};
use super::node::Node;
use super::organization::User;
use super::scalar::{DateTime, Json};
use crate::auth::policy::Action;
use crate::db;
use crate::db::audit_log::{Condition, Entry};
use crate::db::filter::Filter;

const MAX_CONDITIONS: usize = 20;

/// Something that was done, or tried. Entries are never changed; `patchbay audit verify` proves it.
#[derive(Clone)]
pub struct AuditLogEntry(Entry);

impl From<Entry> for AuditLogEntry {
    fn from(row: Entry) -> Self {
        Self(row)
    }
}

/// Something the service did by itself, or its operator at the command line.
#[derive(SimpleObject)]
pub struct SystemActor {
    /// What of the service it was.
    name: String,
}

/// Who did it.
#[derive(Union)]
pub enum Actor {
    /// A person.
    User(User),
    /// An API key.
    ApiKey(ApiKey),
    /// The service itself.
    System(SystemActor),
}

/// One thing that changed.
#[derive(SimpleObject)]
pub struct AuditChange {
    /// Which field of the target.
    field: String,
    /// What it was. A secret is the word `[redacted]`.
    before: Option<Json>,
    /// What it is. A secret is the word `[redacted]`.
    after: Option<Json>,
}

/// Something that was done, or tried. Entries are never changed; `patchbay audit verify` proves it.
#[Object]
impl AuditLogEntry {
    /// `aud_…`
    pub(super) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// What was done, e.g. `personal_connector_configuration.updated`, `api_key.rotated`; or what was tried on credentials,
    /// keys, members and grants, e.g. `api_key.create_refused` (not allowed), `member.remove_failed` (not possible).
    async fn action(&self) -> &str {
        &self.0.action
    }

    /// Who did it. Null when the person or key is gone, and for a caller who may not read members, or API keys.
    async fn actor(&self, ctx: &Context<'_>) -> Nullable<Option<Actor>> {
        if let Some(name) = &self.0.actor_name {
            return Some(Ok(Some(Actor::System(SystemActor { name: name.clone() }))));
        }
        let id = self.0.actor_id.as_deref().unwrap_or_default();
        Some(match (id.parse(), id.parse()) {
            (Ok(id), _) => loader::user(ctx, id).await.map(|found| found.map(Actor::User)),
            (_, Ok(id)) => loader::api_key(ctx, id).await.map(|found| found.map(Actor::ApiKey)),
            _ => Ok(None),
        })
    }

    /// Who did it, kept even when the actor is gone. Null for the service itself.
    async fn actor_id(&self) -> Option<ID> {
        self.0.actor_id.clone().map(ID)
    }

    /// Of which kind the target is, e.g. `personal_connector_configuration`.
    async fn target_type(&self) -> &str {
        &self.0.target_type
    }

    /// What it was done to. For an attempt, what was given: there may be no such object.
    async fn target_id(&self) -> ID {
        ID(self.0.target_id.clone())
    }

    /// The object, if it still exists and the caller may see it.
    async fn target(&self, ctx: &Context<'_>) -> Nullable<Option<Node>> {
        let loader = ctx.data_unchecked::<DataLoader<Relations>>();
        Some(loader.load_one(AnyId(self.0.target_id.clone())).await)
    }

    /// What changed. Credentials appear only as the word `[redacted]`.
    async fn changes(&self) -> Vec<AuditChange> {
        let json = |value: serde_json::Value| (!value.is_null()).then_some(Json(value));
        self.0
            .changes()
            .into_iter()
            .map(|change| AuditChange { field: change.field, before: json(change.before), after: json(change.after) })
            .collect()
    }

    /// The request that did it, as in its answer and in the service's log.
    async fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// The address that the request came from.
    async fn ip_address(&self) -> Option<&str> {
        self.0.ip_address.as_deref()
    }

    /// What the client calls itself.
    async fn user_agent(&self) -> Option<&str> {
        self.0.user_agent.as_deref()
    }

    /// When.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

connection!(AuditLogEntryConnection, AuditLogEntryEdge, AuditLogEntry);

/// Filter for the audit log. Fields are combined with AND.
#[derive(InputObject, Clone, Debug, Default)]
pub struct AuditLogFilter {
    /// What was done.
    action: Option<StringComparator>,
    /// Who did it.
    actor_id: Option<NullableIdComparator>,
    /// What it was done to.
    target_id: Option<IdComparator>,
    /// Of which kind that is.
    target_type: Option<StringComparator>,
    /// When.
    created_at: Option<DateTimeComparator>,
    /// Which request did it.
    request_id: Option<NullableStringComparator>,
}

/// A page of the organization's log.
pub async fn list(
    ctx: &Context<'_>,
    filter: Option<AuditLogFilter>,
    arguments: &PageArguments,
) -> Result<AuditLogEntryConnection> {
    let (app, caller) = (ctx.app(), ctx.caller());
    let scope = CursorScope::new(ctx, "auditLog", &filter);
    let page = scope.page(arguments)?;
    let AuditLogFilter { action, actor_id, target_id, target_type, created_at, request_id } =
        filter.unwrap_or_default();
    let mut conditions = Vec::new();
    conditions.extend(action.iter().flat_map(|action| action.conditions(Condition::Action)));
    conditions.extend(actor_id.iter().flat_map(|id| id.conditions::<String, _>(Condition::HasActor, Condition::Actor)));
    conditions.extend(target_id.iter().flat_map(|id| id.conditions::<String, _>(Condition::Target)));
    conditions.extend(target_type.iter().flat_map(|kind| kind.conditions(Condition::TargetType)));
    conditions.extend(created_at.iter().flat_map(|time| time.conditions(Condition::CreatedAt)));
    conditions.extend(request_id.iter().flat_map(|id| id.conditions(Condition::HasRequest, Condition::Request)));
    if conditions.len() > MAX_CONDITIONS {
        let message = format!("A filter has at most {MAX_CONDITIONS} conditions.");
        return Err(crate::error::Rejection::new(crate::error::Code::Invalid, &["filter"], message).into());
    }
    let filter = Filter::All(conditions);
    let page = app.db.read(caller, Action::AuditRead, async |tx| db::audit_log::list(tx, &filter, &page).await).await?;
    Ok(AuditLogEntryConnection::new(page, &scope, Entry::cursor, Into::into))
}
