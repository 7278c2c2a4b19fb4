//! Who belongs to an organization, and with which role.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;

use super::audit_log::{self, Change};
use super::filter::{Filter, Predicate, lower, or, strpos};
use super::page::{Cursor, Key, Page, PageRequest, keyset};
use super::schema::{identities, members, users};
use super::scope::{OrgTable, OrgTx, SystemTx};
use crate::auth::policy::Role;
use crate::error::Result;
use crate::id::{MemberId, OrganizationId, UserId};

/// A membership.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = members, check_for_backend(diesel::pg::Pg))]
pub struct Member {
    /// `mem_...`
    pub id: MemberId,
    /// Whose.
    pub user_id: UserId,
    /// With which role.
    pub role: Role,
    /// Since when.
    pub joined_at: DateTime<Utc>,
    /// When the role last changed.
    pub updated_at: DateTime<Utc>,
}

impl Member {
    /// Where it stands in the list.
    pub fn cursor(&self) -> Cursor {
        Cursor { key: Key::Time(self.joined_at), id: self.id.uuid() }
    }
}

/// What a list of members may be narrowed by.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Has this role.
    Role(Role),
    /// The name holds this word, in any case; or the e-mail address, for those who may read it.
    Holds(String),
}

type Source = diesel::dsl::InnerJoinQuerySource<members::table, users::table>;

fn predicate(tx: &OrgTx, condition: &Condition) -> Predicate<Source> {
    match condition {
        Condition::Role(role) => Box::new(members::role.eq(*role)),
        Condition::Holds(word) => {
            let name: Predicate<Source> = Box::new(
                users::name.is_not_null().and(strpos(lower(users::name.assume_not_null()), lower(word.clone())).gt(0)),
            );
            // Who may not read addresses does not find people by them either, letter by letter.
            if !tx.caller().sees_all() {
                return name;
            }
            let email: Predicate<Source> = Box::new(
                users::email
                    .is_not_null()
                    .and(strpos(lower(users::email.assume_not_null()), lower(word.clone())).gt(0)),
            );
            or(name, email)
        }
    }
}

/// A page of the members that `filter` lets through, oldest first.
pub async fn list(tx: &OrgTx, filter: &Filter<Condition>, page: &PageRequest) -> Result<Page<Member>> {
    let query = || {
        members::table::of(tx)
            .inner_join(users::table)
            .filter(filter.to_sql(&|condition| predicate(tx, condition)))
            .select(Member::as_select())
            .into_boxed()
    };
    let rows = keyset!(query(), page, false, members::joined_at, members::id, time).load(&mut tx.conn());
    if !page.count {
        return Ok(page.page(rows.await?, None));
    }
    let total = members::table::of(tx)
        .inner_join(users::table)
        .filter(filter.to_sql(&|condition| predicate(tx, condition)))
        .count()
        .get_result(&mut tx.conn());
    let (rows, total) = try_join(rows, total).await?;
    Ok(page.page(rows, Some(total)))
}

/// Those of `ids` that are memberships of the transaction's organization.
pub async fn find_many(tx: &OrgTx, ids: &[MemberId]) -> Result<Vec<Member>> {
    Ok(members::table::of(tx)
        .filter(members::id.eq_any(ids.to_vec()))
        .select(Member::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// A membership of the transaction's organization, locked against other writers until the transaction ends.
pub async fn find_for_update(tx: &OrgTx, id: MemberId) -> Result<Option<Member>> {
    Ok(members::table::of(tx)
        .filter(members::id.eq(id))
        .select(Member::as_select())
        .for_update()
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// The organization's owners who have come, locked: two who go at once must not both find the other one there.
pub async fn owners_for_update(tx: &OrgTx) -> Result<Vec<MemberId>> {
    let pending = users::table.filter(users::id.eq(members::user_id)).filter(users::pending.is_not_null());
    Ok(members::table::of(tx)
        .filter(members::role.eq(Role::Owner))
        .filter(diesel::dsl::not(diesel::dsl::exists(pending)))
        .order(members::id.asc())
        .select(members::id)
        .for_update()
        .load(&mut tx.conn())
        .await?)
}

/// Whether somebody with that e-mail address belongs to the transaction's organization.
pub async fn has_email(tx: &OrgTx, email: &str) -> Result<bool> {
    let with_email = members::table::of(tx)
        .inner_join(users::table)
        .filter(users::email.is_not_null())
        .filter(lower(users::email.assume_not_null()).eq(lower(email.to_owned())));
    Ok(diesel::select(diesel::dsl::exists(with_email)).get_result(&mut tx.conn()).await?)
}

/// Adds a person of whom only the e-mail address is known: whoever signs in with it, verified by an issuer, is meant.
pub async fn add(tx: &OrgTx, email: &str, role: Role) -> Result<Member> {
    let (id, user) = (MemberId::generate(), UserId::generate());
    tx.changed(id, vec![Change::new("email", (), email), Change::new("role", (), role.as_str())]);
    // Nothing is read back: nobody sees the person before the membership is there.
    diesel::insert_into(users::table)
        .values((users::id.eq(user), users::email.eq(email), users::pending.eq(super::user::BY_ORGANIZATION)))
        .execute(&mut tx.conn())
        .await?;
    Ok(diesel::insert_into(members::table)
        .values((members::id.eq(id), members::user_id.eq(user), members::role.eq(role)))
        .returning(Member::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// Gives a member that the caller has locked another role.
pub async fn set_role(tx: &OrgTx, row: &Member, role: Role) -> Result<Member> {
    tx.changed(row.id, vec![Change::new("role", row.role.as_str(), role.as_str())]);
    tx.takes_from(row.user_id);
    Ok(diesel::update(members::table::of(tx).filter(members::id.eq(row.id)))
        .set((members::role.eq(role), members::updated_at.eq(diesel::dsl::now)))
        .returning(Member::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// Ends a membership that the caller has locked. The person owns nothing here any more.
pub async fn remove(tx: &OrgTx, row: &Member) -> Result<()> {
    let changes = vec![Change::new("userId", row.user_id.to_string(), ()), Change::new("role", row.role.as_str(), ())];
    tx.changed(row.id, changes);
    tx.takes_from(row.user_id);
    diesel::delete(members::table::of(tx).filter(members::id.eq(row.id))).execute(&mut tx.conn()).await?;
    Ok(())
}

/// Whether `user` belongs to the transaction's organization.
pub async fn is_member(tx: &OrgTx, user: UserId) -> Result<bool> {
    Ok(diesel::select(diesel::dsl::exists(members::table::of(tx).filter(members::user_id.eq(user))))
        .get_result(&mut tx.conn())
        .await?)
}

/// A membership, as authentication needs it.
#[derive(Debug, Clone, Queryable)]
pub struct Membership {
    /// In which organization.
    pub organization_id: OrganizationId,
    /// Who.
    pub user_id: UserId,
    /// With which role.
    pub role: Role,
}

/// Whom an issuer means, as authentication needs it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who.
    pub user_id: UserId,
    /// Tokens that were issued before this are refused.
    pub tokens_valid_from: Option<DateTime<Utc>>,
    /// Oldest first.
    pub memberships: Vec<Membership>,
}

type KnownRow = (UserId, Option<DateTime<Utc>>, Option<OrganizationId>, Option<Role>);

/// The person whom `issuer` calls `subject`, with every membership.
pub async fn find_identity(tx: &SystemTx, issuer: &str, subject: &str) -> Result<Option<Known>> {
    let rows: Vec<KnownRow> = identities::table
        .inner_join(users::table)
        .left_join(members::table.on(members::user_id.eq(identities::user_id)))
        .filter(identities::issuer.eq(issuer))
        .filter(identities::subject.eq(subject))
        .order(members::joined_at.asc())
        .select((users::id, users::tokens_valid_from, members::organization_id.nullable(), members::role.nullable()))
        .load(&mut tx.conn())
        .await?;
    let [(user_id, tokens_valid_from, ..), ..] = rows[..] else { return Ok(None) };
    let memberships = rows
        .into_iter()
        .filter_map(|(_, _, organization_id, role)| {
            Some(Membership { organization_id: organization_id?, user_id, role: role? })
        })
        .collect();
    Ok(Some(Known { user_id, tokens_valid_from, memberships }))
}

/// The first owner of an organization.
pub async fn find_owner(tx: &SystemTx, organization: OrganizationId) -> Result<Option<UserId>> {
    Ok(members::table
        .filter(members::organization_id.eq(organization))
        .filter(members::role.eq(Role::Owner))
        .order((members::joined_at.asc(), members::id.asc()))
        .select(members::user_id)
        .first(&mut tx.conn())
        .await
        .optional()?)
}

/// Makes `user` a member, or gives a member another role. Without a role, a member keeps the one there is.
pub async fn put(tx: &SystemTx, organization: OrganizationId, user: UserId, role: Option<Role>) -> Result<Role> {
    let new = (
        members::organization_id.eq(organization),
        members::id.eq(MemberId::generate()),
        members::user_id.eq(user),
        members::role.eq(role.unwrap_or(Role::Member)),
    );
    let insert =
        diesel::insert_into(members::table).values(new).on_conflict((members::organization_id, members::user_id));
    if role.is_some() {
        insert
            .do_update()
            .set((members::role.eq(excluded(members::role)), members::updated_at.eq(diesel::dsl::now)))
            .execute(&mut tx.conn())
            .await?;
    } else {
        insert.do_nothing().execute(&mut tx.conn()).await?;
    }
    Ok(members::table
        .filter(members::organization_id.eq(organization))
        .filter(members::user_id.eq(user))
        .select(members::role)
        .first(&mut tx.conn())
        .await?)
}

/// Gives `user` the role that `who` says (an issuer, the operator), as far as the organization keeps an owner. `None` for one
/// who has it already or is new leaves the role, or gives `default`.
pub async fn put_as_told(
    tx: &SystemTx,
    who: &str,
    organization: OrganizationId,
    user: UserId,
    role: Option<Role>,
    default: Role,
) -> Result<Role> {
    let of_organization = || members::table.filter(members::organization_id.eq(organization));
    // Locked, in one order: two owners cannot be demoted at the same time.
    let pending = users::table.filter(users::id.eq(members::user_id)).filter(users::pending.is_not_null());
    let owners: Vec<UserId> = of_organization()
        .filter(members::role.eq(Role::Owner))
        .filter(diesel::dsl::not(diesel::dsl::exists(pending)))
        .order(members::id.asc())
        .select(members::user_id)
        .for_update()
        .load(&mut tx.conn())
        .await?;
    let current: Option<Role> = of_organization()
        .filter(members::user_id.eq(user))
        .select(members::role)
        .first(&mut tx.conn())
        .await
        .optional()?;
    match (current, role) {
        (Some(current), None) => Ok(current),
        (Some(Role::Owner), Some(wanted)) if wanted != Role::Owner && owners.iter().all(|owner| *owner == user) => {
            tracing::warn!(%organization, %user, role = wanted.as_str(), "the last owner stays owner, whatever role is given");
            Ok(Role::Owner)
        }
        (current, role) => {
            let role = put(tx, organization, user, Some(role.unwrap_or(default))).await?;
            let id: MemberId =
                of_organization().filter(members::user_id.eq(user)).select(members::id).first(&mut tx.conn()).await?;
            let action = if current.is_some() { "member.role_changed" } else { "member.added" };
            let before = current.map(Role::as_str);
            let changes = vec![
                Change::new("userId", current.map(|_| user.to_string()), user.to_string()),
                Change::new("role", before, role.as_str()),
            ];
            audit_log::record(tx, organization, who, action, &id.to_string(), changes).await?;
            Ok(role)
        }
    }
}

/// The organizations to which somebody was added by `email` who has never come, and whether the operator did that.
pub async fn list_pending(tx: &SystemTx, email: &str) -> Result<Vec<(OrganizationId, bool)>> {
    Ok(members::table
        .inner_join(users::table)
        .filter(users::pending.is_not_null())
        .filter(users::email.is_not_null().and(lower(users::email.assume_not_null()).eq(lower(email.to_owned()))))
        .order(members::organization_id.asc())
        .select((members::organization_id, users::pending.is_not_distinct_from(super::user::BY_OPERATOR)))
        .distinct()
        .load(&mut tx.conn())
        .await?)
}

/// Takes up what `organization` has offered to `email`, in any case of letters: the memberships of people who were added by
/// that address and have never come. They go to the person whom `issuer` calls `subject`, who is one of them if not known yet.
/// What the operator offered counts first. A person who has an identity is never touched.
pub async fn accept_pending(
    tx: &SystemTx,
    issuer: &str,
    subject: &str,
    email: &str,
    organization: OrganizationId,
) -> Result<bool> {
    let offered =
        members::table.filter(members::user_id.eq(users::id)).filter(members::organization_id.eq(organization));
    let locked: Vec<UserId> = users::table
        .filter(diesel::dsl::exists(offered))
        .filter(users::email.is_not_null().and(lower(users::email.assume_not_null()).eq(lower(email.to_owned()))))
        .filter(diesel::dsl::not(diesel::dsl::exists(identities::table.filter(identities::user_id.eq(users::id)))))
        .order((users::pending.asc(), users::created_at.asc(), users::id.asc()))
        .select(users::id)
        .for_update()
        .load(&mut tx.conn())
        .await?;
    if locked.is_empty() {
        return Ok(false);
    }
    // Asked again: while this waited for the lock, somebody else of that address may have come and gone with it.
    let pending: Vec<UserId> = users::table
        .filter(users::id.eq_any(locked))
        .filter(diesel::dsl::not(diesel::dsl::exists(identities::table.filter(identities::user_id.eq(users::id)))))
        .order((users::pending.asc(), users::created_at.asc(), users::id.asc()))
        .select(users::id)
        .load(&mut tx.conn())
        .await?;
    let Some((first, rest)) = pending.split_first() else { return Ok(false) };
    super::user::lock_identity(tx, issuer, subject).await?;
    // Who they were, and where.
    let joined: Vec<(OrganizationId, MemberId, UserId)> = members::table
        .filter(members::user_id.eq_any(pending.clone()))
        .order((members::organization_id.asc(), members::id.asc()))
        .select((members::organization_id, members::id, members::user_id))
        .load(&mut tx.conn())
        .await?;
    let known = super::user::find_by_identity(tx, issuer, subject).await?;
    let (user, moved) = if let Some(user) = known {
        (user.id, pending.as_slice())
    } else {
        super::user::add_identity(tx, issuer, subject, *first).await?;
        (*first, rest)
    };
    for from in moved {
        let already: Vec<OrganizationId> = members::table
            .filter(members::user_id.eq(user))
            .select(members::organization_id)
            .load(&mut tx.conn())
            .await?;
        diesel::update(
            members::table.filter(members::user_id.eq(from)).filter(members::organization_id.ne_all(already)),
        )
        .set((members::user_id.eq(user), members::updated_at.eq(diesel::dsl::now)))
        .execute(&mut tx.conn())
        .await?;
        let left = members::table.filter(members::user_id.eq(from));
        let is_member: bool = diesel::select(diesel::dsl::exists(left)).get_result(&mut tx.conn()).await?;
        // Who was added twice to one organization keeps the first membership; the other stays, and nobody can use it.
        if !is_member {
            diesel::delete(users::table.filter(users::id.eq(from))).execute(&mut tx.conn()).await?;
        }
    }
    for (organization, id, was) in joined {
        let changes = vec![Change::new("userId", was.to_string(), user.to_string())];
        let who = format!("issuer {issuer}");
        audit_log::record(tx, organization, &who, "member.joined", &id.to_string(), changes).await?;
    }
    Ok(true)
}
