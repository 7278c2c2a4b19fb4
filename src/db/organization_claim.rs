//! Which organization an issuer means by a value of its organization claim.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::organization_claims;
use super::scope::SystemTx;
use crate::error::Result;
use crate::id::OrganizationId;

/// A value of an issuer's claim, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = organization_claims, check_for_backend(diesel::pg::Pg))]
pub struct Link {
    /// Whose claim.
    pub issuer: String,
    /// Its value.
    pub value: String,
    /// What it stands for.
    pub organization_id: OrganizationId,
}

/// The organizations that `issuer` means by `values`, as far as the operator has linked them to it; each once.
pub async fn find(tx: &SystemTx, issuer: &str, values: &[String]) -> Result<Vec<OrganizationId>> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    Ok(organization_claims::table
        .filter(organization_claims::issuer.eq(issuer))
        .filter(organization_claims::value.eq_any(values.to_vec()))
        .order(organization_claims::organization_id.asc())
        .select(organization_claims::organization_id)
        .distinct()
        .load(&mut tx.conn())
        .await?)
}

/// Every link.
pub async fn list(tx: &SystemTx) -> Result<Vec<Link>> {
    Ok(organization_claims::table
        .order((organization_claims::issuer.asc(), organization_claims::value.asc()))
        .select(Link::as_select())
        .load(&mut tx.conn())
        .await?)
}

/// From now on `issuer` means the organization by the value. A value that means another one already is refused by its key.
pub async fn create(tx: &SystemTx, link: &Link) -> Result<()> {
    diesel::insert_into(organization_claims::table)
        .values((
            organization_claims::issuer.eq(&link.issuer),
            organization_claims::value.eq(&link.value),
            organization_claims::organization_id.eq(link.organization_id),
        ))
        .execute(&mut tx.conn())
        .await?;
    Ok(())
}

/// From now on `issuer` means nothing by the value. Whether it meant something.
pub async fn delete(tx: &SystemTx, issuer: &str, value: &str) -> Result<bool> {
    let link = organization_claims::table
        .filter(organization_claims::issuer.eq(issuer))
        .filter(organization_claims::value.eq(value));
    Ok(diesel::delete(link).execute(&mut tx.conn()).await? > 0)
}
