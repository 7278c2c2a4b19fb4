//! Organizations, and people. Who belongs to one is in [`member`].

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use chrono::Days;

use super::api_key::mutation::DEFAULT_DAYS;
use super::api_key::{self, ApiKeyConnection, ApiKeyFilter};
use super::audit_log::{self, AuditLogEntryConnection, AuditLogFilter};
use super::connection::PageArguments;
use super::context::{Nullable, RequestContext as _, Result};
use super::member::{self, OrganizationMemberConnection, OrganizationMemberFilter};
use super::scalar::DateTime;
use super::user_error::{answer, payload};
use crate::auth::caller::Actor;
use crate::auth::policy::{Action, Role};
use crate::connector::configuration::check_name;
use crate::db;
use crate::db::organization::OrganizationChanges;
use crate::db::organization_key::{KeyState, KeyUse};
use crate::error::{Code, Error, Rejection};

/// What a person is in an organization. Each role may do all that the roles below it may.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "lowercase", remote = "Role")]
pub enum OrganizationRole {
    /// All.
    Owner,
    /// Members, API keys, every configuration (never their secrets).
    Admin,
    /// Own configurations.
    Member,
    /// May look at the catalog and at own configurations.
    Viewer,
}

/// An organization: what belongs to one is invisible to every other.
#[derive(Clone)]
pub struct Organization(db::organization::Organization);

impl From<db::organization::Organization> for Organization {
    fn from(row: db::organization::Organization) -> Self {
        Self(row)
    }
}

/// An organization: what belongs to one is invisible to every other.
#[Object]
impl Organization {
    /// `org_…`
    pub(super) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Always `organization`.
    async fn object(&self) -> &str {
        "organization"
    }

    /// For people.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// For addresses.
    async fn slug(&self) -> &str {
        &self.0.slug
    }

    /// When it was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it was last updated.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }

    /// Whether its API keys may be without an end.
    async fn api_keys_may_never_expire(&self) -> bool {
        self.0.api_keys_may_never_expire
    }

    /// Who belongs to it. Null for an organization that the request is not for. [role member, scope members_read]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all by default.")] filter: Option<OrganizationMemberFilter>,
        #[graphql(desc = "So many from the beginning, or behind `after`: 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "So many from the end, or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
    ) -> Nullable<OrganizationMemberConnection> {
        if self.0.id != ctx.caller().organization() {
            return None;
        }
        Some(member::list(ctx, filter, &PageArguments { first, after, last, before }).await)
    }

    /// Its API keys, newest first. Null for an organization that the request is not for. [role admin, scope api_keys_read]
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all by default.")] filter: Option<ApiKeyFilter>,
        #[graphql(desc = "So many from the beginning, or behind `after`: 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "So many from the end, or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
    ) -> Nullable<ApiKeyConnection> {
        if self.0.id != ctx.caller().organization() {
            return None;
        }
        Some(api_key::list(ctx, filter, &PageArguments { first, after, last, before }).await)
    }

    /// What was done and tried, newest first. Null for an organization that the request is not for. [role admin, scope
    /// audit_read]
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which entries; all by default.")] filter: Option<AuditLogFilter>,
        #[graphql(desc = "So many from the beginning, or behind `after`: 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "So many from the end, or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
    ) -> Nullable<AuditLogEntryConnection> {
        if self.0.id != ctx.caller().organization() {
            return None;
        }
        Some(audit_log::list(ctx, filter, &PageArguments { first, after, last, before }).await)
    }

    /// Which encryption keys are in use. Null for an organization that the request is not for. [role admin, scope
    /// encryption_read]
    async fn encryption(&self, ctx: &Context<'_>) -> Nullable<EncryptionStatus> {
        if self.0.id != ctx.caller().organization() {
            return None;
        }
        let read = ctx
            .app()
            .db
            .read(ctx.caller(), Action::EncryptionRead, async |tx| db::organization_key::list_with_counts(tx).await);
        Some(read.await.map(EncryptionStatus::from).map_err(Into::into))
    }
}

/// What an encryption key is used for.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "lowercase")]
pub enum EncryptionKeyState {
    /// New credentials are sealed with it.
    Active,
    /// Still opens old credentials; being replaced.
    Retiring,
    /// No credential needs it any more.
    Retired,
}

/// A version of the organization's encryption key. The key itself is nowhere to be read.
#[derive(SimpleObject)]
pub struct EncryptionKey {
    /// Counts from 1.
    version: i32,
    /// What it is used for.
    state: EncryptionKeyState,
    /// When it was made.
    created_at: DateTime,
    /// Credentials still sealed with it.
    credential_count: i64,
}

/// Which encryption keys are in use.
#[derive(SimpleObject)]
pub struct EncryptionStatus {
    /// The version that new credentials are sealed with.
    active_key_version: i32,
    /// All versions, oldest first.
    keys: Vec<EncryptionKey>,
}

impl From<Vec<KeyUse>> for EncryptionStatus {
    fn from(rows: Vec<KeyUse>) -> Self {
        let active = rows.iter().find(|row| row.state == KeyState::Active).map_or(0, |row| row.version);
        let keys = rows.into_iter().map(|row| EncryptionKey {
            version: row.version,
            state: match (row.state, row.credentials) {
                (KeyState::Active, _) => EncryptionKeyState::Active,
                (KeyState::DecryptOnly, 0) => EncryptionKeyState::Retired,
                (KeyState::DecryptOnly, _) => EncryptionKeyState::Retiring,
            },
            created_at: DateTime(row.created_at),
            credential_count: row.credentials,
        });
        Self { active_key_version: active, keys: keys.collect() }
    }
}

/// A person.
#[derive(Clone)]
pub struct User(db::user::User);

impl From<db::user::User> for User {
    fn from(row: db::user::User) -> Self {
        Self(row)
    }
}

/// A person.
#[Object]
impl User {
    /// `user_…`
    pub(super) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Always `user`.
    async fn object(&self) -> &str {
        "user"
    }

    /// As the person wants to be called.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Visible to the user and to admins of a shared organization; null to others.
    async fn email(&self, ctx: &Context<'_>) -> Option<&str> {
        let caller = ctx.caller();
        let visible = caller.actor() == Actor::User(self.0.id) || caller.sees_all();
        self.0.email.as_deref().filter(|_| visible)
    }

    /// When we first heard of the person.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }
}

/// Queries of organizations.
#[derive(Default)]
pub struct OrganizationQuery;

#[Object]
impl OrganizationQuery {
    /// The organization the request is for.
    async fn organization(&self, ctx: &Context<'_>) -> Result<Organization> {
        own(ctx).await
    }
}

/// The organization the request is for.
pub async fn own(ctx: &Context<'_>) -> Result<Organization> {
    let (app, caller) = (ctx.app(), ctx.caller());
    let row =
        app.db.read(caller, Action::OrganizationRead, async |tx| db::organization::find(tx).await).await?.ok_or_else(
            || Error::internal(anyhow::anyhow!("{} has gone since the caller was found", caller.organization())),
        )?;
    Ok(row.into())
}

payload!(
    /// What changing the organization gave.
    OrganizationUpdatePayload {
        /// As it is now; null when there are userErrors.
        organization: Organization
    }
);

/// Mutations of the organization.
#[derive(Default)]
pub struct OrganizationMutation;

#[Object]
impl OrganizationMutation {
    /// Changes what is given and nothing else. [role admin; what keys may be, role owner]
    async fn organization_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "1 to 120 characters.")] name: Option<String>,
        #[graphql(desc = "1 to 63 of a-z, 0-9 and dashes, not beginning with a dash. No other organization has it.")]
        slug: Option<String>,
        #[graphql(
            desc = "Whether API keys may be without an end; false gives those that are one, 90 days from now. [role owner]"
        )]
        api_keys_may_never_expire: Option<bool>,
    ) -> Nullable<OrganizationUpdatePayload> {
        let changes = OrganizationChanges { name, slug, api_keys_may_never_expire };
        answer(update(ctx, changes).await)
    }
}

async fn update(ctx: &Context<'_>, changes: OrganizationChanges) -> crate::error::Result<OrganizationUpdatePayload> {
    let (app, caller) = (ctx.app(), ctx.caller());
    caller.require(Action::OrganizationUpdate)?;
    if changes.api_keys_may_never_expire.is_some() {
        caller.require(Action::OrganizationPolicyUpdate)?;
    }
    let mut rejections: Vec<Rejection> =
        changes.name.as_deref().and_then(|name| check_name(name, &["name"])).into_iter().collect();
    let is_slug = |slug: &str| {
        (1..=63).contains(&slug.len())
            && !slug.starts_with('-')
            && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if changes.slug.as_deref().is_some_and(|slug| !is_slug(slug)) {
        let message = "A slug has 1 to 63 characters of a-z, 0-9 and dashes, and does not begin with a dash.";
        rejections.push(Rejection::new(Code::Invalid, &["slug"], message));
    }
    if changes == OrganizationChanges::default() {
        rejections.push(Rejection::new(Code::Required, &[], "There is nothing to change: give at least one argument."));
    }
    if !rejections.is_empty() {
        return Err(Error::Rejected(rejections));
    }
    let target = caller.organization().to_string();
    let end = app.clock.now() + Days::new(DEFAULT_DAYS);
    let updated = app
        .db
        .write(caller, Action::OrganizationUpdate, &target, async |tx| {
            db::organization::update(tx, &changes, end).await
        })
        .await;
    match updated {
        Ok(row) => Ok(OrganizationUpdatePayload { organization: Some(row.into()), user_errors: Vec::new() }),
        Err(error) if error.constraint() == Some("organizations_slug_key") => {
            Err(Rejection::new(Code::NameTaken, &["slug"], "The slug is taken.").into())
        }
        Err(error) => Err(error),
    }
}
