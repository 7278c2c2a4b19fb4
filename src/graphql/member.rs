//! Who belongs to an organization.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, InputObject, Object};

use super::configuration::create::{ConfigurationOwnerInput, require_owner};
use super::connection::{CursorScope, PageArguments, connection};
use super::context::{Nullable, RequestContext as _, Result};
use super::loader::Relations;
use super::organization::{OrganizationRole, User};
use super::scalar::DateTime;
use super::user_error::{answer, payload};
use crate::app::App;
use crate::auth::caller::{Actor, Caller};
use crate::auth::policy::{Action, Role};
use crate::db::filter::Filter;
use crate::db::member::{Condition, Member};
use crate::db::{self, OrgTx};
use crate::error::{Code, Error, Rejection};
use crate::id::MemberId;

const MAX_CONDITIONS: usize = 10;
/// The longest e-mail address (RFC 5321: 64 characters, @, 255).
const MAX_EMAIL: usize = 320;

/// A page of those who belong to the organization.
pub async fn list(
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

payload!(
    /// What adding or changing a member gave.
    OrganizationMemberPayload {
        /// As it is now; null when there are userErrors.
        member: OrganizationMember
    }
);
payload!(
    /// What removing a member gave.
    OrganizationMemberRemovePayload {
        /// The membership that is gone; null when there are userErrors.
        removed_id: ID,
        /// Configurations that went to the new owner.
        transferred_count: i32
    }
);

/// Mutations of members.
#[derive(Default)]
pub struct MemberMutation;

#[Object]
impl MemberMutation {
    /// Adds a person by e-mail address: whoever has it verified by an issuer, and sends a request that names this
    /// organization (`X-Organization-Id`), is meant. People only. [role admin; owners only by owners]
    async fn organization_member_add(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of a person who does not belong to the organization yet.")] email: String,
        #[graphql(desc = "What the person is to be.", default_with = "OrganizationRole::Member")]
        role: OrganizationRole,
    ) -> Nullable<OrganizationMemberPayload> {
        answer(add(ctx.app(), ctx.caller(), &email, role.into()).await)
    }

    /// Changes what a person may do. The person's API keys follow at once. People only. [role admin; owners only by owners]
    async fn organization_member_set_role(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`mem_…`")] id: ID,
        #[graphql(desc = "What the person is to be.")] role: OrganizationRole,
    ) -> Nullable<OrganizationMemberPayload> {
        answer(set_role(ctx.app(), ctx.caller(), &id, role.into()).await)
    }

    /// Removes a member. Configurations go to `transferTo`, or are deleted. Credentials go along where the person had
    /// granted the configuration to who gets it, and are destroyed otherwise. API keys that the person made end. People
    /// only. [role admin; owners only by owners]
    async fn organization_member_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`mem_…`")] id: ID,
        #[graphql(desc = "Who gets the person's configurations; nobody by default.")] transfer_to: Option<
            ConfigurationOwnerInput,
        >,
    ) -> Nullable<OrganizationMemberRemovePayload> {
        answer(remove(ctx.app(), ctx.caller(), &id, transfer_to).await)
    }
}

fn not_found() -> Error {
    Rejection::not_found(&["id"], "member").into()
}

/// The membership, locked, if the caller may touch it: owners are for owners. The owners are locked before, always in the
/// same order: two of them who demote each other neither wait for each other nor both go.
async fn lock(tx: &OrgTx, id: &ID) -> crate::error::Result<(Member, Vec<MemberId>)> {
    let id = id.parse::<MemberId>().map_err(|_| not_found())?;
    let owners = db::member::owners_for_update(tx).await?;
    let row = db::member::find_for_update(tx, id).await?.ok_or_else(not_found)?;
    if row.role == Role::Owner {
        tx.caller().require(Action::OwnerChange)?;
    }
    // Nobody gives themselves back what was taken while this waited for the lock.
    if tx.caller().actor() == Actor::User(row.user_id) && row.role < tx.caller().role() {
        return Err(Error::Forbidden(Action::MemberSetRole));
    }
    Ok((row, owners))
}

/// There must be an owner left when `row` is none any more.
fn keep_an_owner(row: &Member, owners: &[MemberId]) -> crate::error::Result<()> {
    if row.role == Role::Owner && owners.iter().all(|id| *id == row.id) {
        let message = "The last owner of an organization cannot go; make somebody else an owner first.";
        return Err(Rejection::new(Code::LastOwner, &["id"], message).into());
    }
    Ok(())
}

async fn add(app: &App, caller: &Caller, email: &str, role: Role) -> crate::error::Result<OrganizationMemberPayload> {
    let email = email.trim();
    let added = app.db.write(caller, Action::MemberAdd, "", async |tx| {
        if role == Role::Owner {
            caller.require(Action::OwnerChange)?;
        }
        let has_form = email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
        // Letters of other alphabets that lower case makes equal to ours would let somebody else in.
        if !has_form
            || !email.is_ascii()
            || email.len() > MAX_EMAIL
            || email.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(Rejection::new(Code::Invalid, &["email"], "This is no e-mail address.").into());
        }
        if db::member::has_email(tx, email).await? {
            let message = "Somebody with this e-mail address belongs to the organization already.";
            return Err(Rejection::new(Code::InvalidState, &["email"], message).into());
        }
        db::member::add(tx, email, role).await
    });
    Ok(OrganizationMemberPayload { member: Some(added.await?.into()), user_errors: Vec::new() })
}

async fn set_role(app: &App, caller: &Caller, id: &ID, role: Role) -> crate::error::Result<OrganizationMemberPayload> {
    let set = app.db.write(caller, Action::MemberSetRole, id, async |tx| {
        let (row, owners) = lock(tx, id).await?;
        if role == row.role {
            return Ok(row);
        }
        if role == Role::Owner {
            caller.require(Action::OwnerChange)?;
        }
        keep_an_owner(&row, &owners)?;
        db::member::set_role(tx, &row, role).await
    });
    Ok(OrganizationMemberPayload { member: Some(set.await?.into()), user_errors: Vec::new() })
}

async fn remove(
    app: &App,
    caller: &Caller,
    id: &ID,
    transfer_to: Option<ConfigurationOwnerInput>,
) -> crate::error::Result<OrganizationMemberRemovePayload> {
    let removed = app
        .db
        .write(caller, Action::MemberRemove, id, async |tx| {
            let (row, owners) = lock(tx, id).await?;
            keep_an_owner(&row, &owners)?;
            let heir = transfer_to.map(|heir| heir.parse(&["transferTo"])).transpose()?;
            let transferred = match heir {
                Some(heir) if heir == Actor::User(row.user_id) => {
                    let message = "The configurations cannot go to the member who goes.";
                    return Err(Rejection::new(Code::Invalid, &["transferTo", "userId"], message).into());
                }
                Some(heir) => {
                    require_owner(tx, heir, &["transferTo"]).await?;
                    db::configuration::transfer(tx, row.user_id, heir).await?
                }
                None => {
                    db::configuration::delete_of(tx, row.user_id).await?;
                    0
                }
            };
            for key in db::api_key::revoke_of(tx, row.user_id).await? {
                tx.also("api_key.revoked", key, Vec::new());
            }
            db::member::remove(tx, &row).await?;
            Ok((row.id, transferred))
        })
        .await;
    match removed {
        Ok((id, transferred)) => Ok(OrganizationMemberRemovePayload {
            removed_id: Some(id.into()),
            transferred_count: Some(i32::try_from(transferred).unwrap_or(i32::MAX)),
            user_errors: Vec::new(),
        }),
        Err(error)
            if matches!(
                error.constraint(),
                Some("configurations_user_name_key" | "configurations_api_key_name_key")
            ) =>
        {
            let message =
                "The new owner has a configuration of the same connector and name; rename one of the two first.";
            Err(Rejection::new(Code::NameTaken, &["transferTo"], message).into())
        }
        Err(error) => Err(error),
    }
}
