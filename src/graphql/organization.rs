//! Organizations, their members, and people.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, ID, InputObject, Object};

use super::api_key::{self, ApiKeyConnection, ApiKeyFilter};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::Relations;
use super::scalar::DateTime;
use crate::auth::caller::Actor;
use crate::auth::policy::{Action, Role};
use crate::db;
use crate::db::filter::Filter;
use crate::db::member::Condition;
use crate::error::{Code, Error, Rejection};

const MAX_CONDITIONS: usize = 10;

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
        Some(members(ctx, filter, &PageArguments { first, after, last, before }).await)
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
}

async fn members(
    ctx: &Context<'_>,
    filter: Option<OrganizationMemberFilter>,
    arguments: &PageArguments,
) -> Result<OrganizationMemberConnection> {
    let (app, caller) = (ctx.app(), ctx.caller());
    let scope = CursorScope::new(ctx, "members", &filter);
    let page = scope.page(arguments)?;
    let OrganizationMemberFilter { role, search } = filter.unwrap_or_default();
    let mut conditions: Vec<_> = role.map(|role| Filter::Is(Condition::Role(role.into()))).into_iter().collect();
    let words = search.unwrap_or_default();
    conditions.extend(words.split_whitespace().map(|word| Filter::Is(Condition::Holds(word.to_owned()))));
    if conditions.len() > MAX_CONDITIONS {
        let message = format!("A filter has at most {MAX_CONDITIONS} words.");
        return Err(Rejection::new(Code::Invalid, &["filter", "search"], message).into());
    }
    let filter = Filter::All(conditions);
    let page = app.db.read(caller, Action::MemberRead, async |tx| db::member::list(tx, &filter, &page).await).await?;
    Ok(OrganizationMemberConnection::new(page, &scope, db::member::Member::cursor, Into::into))
}

/// A person's membership of the organization.
#[derive(Clone)]
pub struct OrganizationMember(db::member::Member);

impl From<db::member::Member> for OrganizationMember {
    fn from(row: db::member::Member) -> Self {
        Self(row)
    }
}

/// A person's membership of the organization.
#[Object]
impl OrganizationMember {
    /// `mem_…`
    pub(super) async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Who.
    async fn user_id(&self) -> ID {
        self.0.user_id.into()
    }

    /// The person.
    async fn user(&self, ctx: &Context<'_>) -> Nullable<Option<User>> {
        let loader = ctx.data_unchecked::<DataLoader<Relations>>();
        Some(loader.load_one(self.0.user_id).await.map(|row| row.map(User::from)))
    }

    /// What the person is in the organization.
    async fn role(&self) -> OrganizationRole {
        self.0.role.into()
    }

    /// Since when.
    async fn joined_at(&self) -> DateTime {
        DateTime(self.0.joined_at)
    }

    /// When the role last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

connection!(OrganizationMemberConnection, OrganizationMemberEdge, OrganizationMember);

/// Filter for members. Fields are combined with AND.
#[derive(InputObject, Clone, Debug, Default)]
pub struct OrganizationMemberFilter {
    /// Has this role.
    role: Option<OrganizationRole>,
    /// Words to find in name and e-mail address. All must be found.
    search: Option<String>,
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
