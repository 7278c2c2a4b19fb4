//! Organizations: the tenants.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::audit_log::Change;
use super::schema::{audit_log, members, organization_tombstones, organizations};
use super::scope::{OrgTable, OrgTx, SystemTx};
use crate::error::Result;
use crate::id::{OrganizationId, UserId};

/// An organization.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = organizations, check_for_backend(diesel::pg::Pg))]
pub struct Organization {
    /// `org_...`
    pub id: OrganizationId,
    /// For people.
    pub name: String,
    /// For addresses: lower case, digits, dashes.
    pub slug: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its name was last changed.
    pub updated_at: DateTime<Utc>,
    /// Whether its API keys may be without an end.
    pub api_keys_may_never_expire: bool,
}

/// What an update changes. Absent: unchanged.
#[derive(Debug, Default, PartialEq, Eq, AsChangeset)]
#[diesel(table_name = organizations)]
pub struct OrganizationChanges {
    /// A new name.
    pub name: Option<String>,
    /// A new slug.
    pub slug: Option<String>,
    /// Whether its API keys may be without an end.
    pub api_keys_may_never_expire: Option<bool>,
}

/// Changes the transaction's own organization. Keys without an end get this one when they may not be without any more.
pub async fn update(tx: &OrgTx, changes: &OrganizationChanges, end: DateTime<Utc>) -> Result<Organization> {
    let mut recorded = Vec::new();
    if let Some(before) = find(tx).await? {
        if let Some(name) = &changes.name {
            recorded.push(Change::new("name", before.name, name.clone()));
        }
        if let Some(slug) = &changes.slug {
            recorded.push(Change::new("slug", before.slug, slug.clone()));
        }
        if let Some(may) = changes.api_keys_may_never_expire {
            recorded.push(Change::new("apiKeysMayNeverExpire", before.api_keys_may_never_expire, may));
        }
    }
    tx.changed(tx.caller().organization(), recorded);
    if changes.api_keys_may_never_expire == Some(false) {
        for key in super::api_key::end_endless(tx, end).await? {
            tx.also("api_key.updated", key, vec![Change::new("expiresAt", (), end.to_rfc3339())]);
        }
    }
    Ok(diesel::update(organizations::table::of(tx))
        .set((changes, organizations::updated_at.eq(diesel::dsl::now)))
        .returning(Organization::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// The transaction's own organization.
pub async fn find(tx: &OrgTx) -> Result<Option<Organization>> {
    Ok(organizations::table::of(tx).select(Organization::as_select()).first(&mut tx.conn()).await.optional()?)
}

/// The organizations that `user` is a member of, by name.
pub async fn list_of_user(tx: &SystemTx, user: UserId) -> Result<Vec<Organization>> {
    Ok(members::table
        .inner_join(organizations::table)
        .filter(members::user_id.eq(user))
        .order((organizations::name.asc(), organizations::id.asc()))
        .select(Organization::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// The organization of that id or slug.
pub async fn find_by_name(tx: &SystemTx, id_or_slug: &str) -> Result<Option<Organization>> {
    let mut query = organizations::table.select(Organization::as_select()).into_boxed();
    query = match id_or_slug.parse::<OrganizationId>() {
        Ok(id) => query.filter(organizations::id.eq(id)),
        Err(_) => query.filter(organizations::slug.eq(id_or_slug.to_owned())),
    };
    Ok(query.first(&mut tx.conn()).await.optional()?)
}

/// Makes an organization. It needs an organization key before it can keep credentials.
pub async fn create(tx: &SystemTx, id: OrganizationId, name: &str, slug: &str) -> Result<Organization> {
    Ok(diesel::insert_into(organizations::table)
        .values((organizations::id.eq(id), organizations::name.eq(name), organizations::slug.eq(slug)))
        .returning(Organization::as_returning())
        .get_result(&mut tx.conn())
        .await?)
}

/// Every organization, by slug, with the number of its members.
pub async fn list(tx: &SystemTx) -> Result<Vec<(Organization, i64)>> {
    let mut all: Vec<(Organization, i64)> = organizations::table
        .left_join(members::table)
        .group_by(organizations::all_columns)
        .select((Organization::as_select(), diesel::dsl::count(members::id.nullable())))
        .load(&mut tx.conn())
        .await?;
    all.sort_by(|(one, _), (other, _)| one.slug.cmp(&other.slug));
    Ok(all)
}

/// What is left of an organization that was deleted.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = organization_tombstones, check_for_backend(diesel::pg::Pg))]
pub struct Tombstone {
    /// `org_...`
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// Its slug, which is free again.
    pub slug: String,
    /// When it was deleted.
    pub deleted_at: DateTime<Utc>,
    /// How many entries its audit log had.
    pub audit_entries: i64,
}

/// Deletes an organization and everything in it, its keys too: what they sealed cannot be opened again, except from a backup.
/// Leaves a tombstone.
pub async fn delete(tx: &SystemTx, organization: &Organization) -> Result<Tombstone> {
    let id = organization.id;
    // There may be much of it.
    tx.conn().batch_execute("SET LOCAL statement_timeout = '15min'").await?;
    // Nobody adds to the log any more: every entry refers to the row.
    organizations::table
        .filter(organizations::id.eq(id))
        .select(organizations::id)
        .for_update()
        .first::<OrganizationId>(&mut tx.conn())
        .await?;
    let audit_entries: i64 = audit_log::table
        .filter(audit_log::organization_id.eq(id))
        .select(diesel::dsl::count(audit_log::id))
        .first(&mut tx.conn())
        .await?;
    let tombstone = diesel::insert_into(organization_tombstones::table)
        .values((
            organization_tombstones::id.eq(id),
            organization_tombstones::name.eq(&organization.name),
            organization_tombstones::slug.eq(&organization.slug),
            organization_tombstones::audit_entries.eq(audit_entries),
        ))
        .returning(Tombstone::as_returning())
        .get_result(&mut tx.conn())
        .await?;
    diesel::delete(organizations::table.filter(organizations::id.eq(id))).execute(&mut tx.conn()).await?;
    Ok(tombstone)
}
