//! Organizations: the tenants.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::audit_log::Change;
use super::schema::{members, organizations};
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

/// Changes the transaction's own organization.
pub async fn update(tx: &OrgTx, changes: &OrganizationChanges) -> Result<Organization> {
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

/// All organizations, by slug.
pub async fn list(tx: &SystemTx) -> Result<Vec<Organization>> {
    Ok(organizations::table
        .order(organizations::slug.asc())
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
