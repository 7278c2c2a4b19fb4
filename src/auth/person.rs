//! From a verified token to a person in an organization.
//!
//! One round trip for everything that decides: the person, the memberships, what was revoked, and what the issuer's words
//! stand for. So a revocation holds at once, on every instance. More is asked only where something must be written: a
//! person who comes for the first time, or whose role the issuer has changed.

use std::sync::Arc;

use futures_util::future::try_join3;

use super::caller::{Caller, Provenance};
use super::issuer::Reach;
use super::jwt::Verified;
use super::policy::Role;
use crate::db::member::{Known, Membership};
use crate::db::{self, Db, revocation};
use crate::error::{Error, Result};
use crate::id::{OrganizationId, UserId};

struct Found {
    known: Option<Known>,
    revoked: Vec<UserId>,
    linked: Vec<OrganizationId>,
}

/// Who the token is about, in the organization that it, or `wanted`, says.
pub(super) async fn find(
    db: &Db,
    verified: &Verified,
    wanted: Option<OrganizationId>,
    provenance: &Arc<Provenance>,
) -> Result<Caller> {
    let Verified { issuer, .. } = verified;
    let found = look_up(db, verified).await?;
    match &verified.reach {
        Reach::Members { pinned } => {
            let pinned = match pinned.as_deref().map(str::parse::<OrganizationId>) {
                None => None,
                Some(Ok(id)) => Some(id),
                Some(Err(_)) => return Err(Error::Unauthenticated("the token's organization is no organization id")),
            };
            let chosen = match (pinned, wanted) {
                (Some(pinned), Some(wanted)) if pinned != wanted => {
                    return Err(Error::Unauthenticated("the token is for another organization"));
                }
                (pinned, wanted) => pinned.or(wanted),
            };
            let mut membership = choose(&found, chosen)?;
            if membership.is_none()
                && let Some(email) = &verified.email
            {
                // Nobody is made a member by an organization alone: who comes says which offer to take up. Only what the
                // operator has offered, and nobody else, is taken up unasked.
                let chosen = if let Some(chosen) = chosen {
                    chosen
                } else {
                    let offers = db.system_read(async |tx| db::member::list_pending(tx, email).await).await?;
                    let by_operator: Vec<_> = offers.iter().filter(|(_, by_operator)| *by_operator).collect();
                    match (&offers[..], &by_operator[..]) {
                        ([], _) => {
                            return Err(Error::Unauthenticated("the person is no member of the organization"));
                        }
                        (_, [(only, _)]) => *only,
                        _ => return Err(Error::OrganizationNeeded(offers.iter().map(|(id, _)| *id).collect())),
                    }
                };
                if accept_pending(db, verified, email, chosen).await? {
                    membership = choose(&look_up(db, verified).await?, Some(chosen))?;
                }
            }
            let Membership { organization_id, user_id, role } =
                membership.ok_or(Error::Unauthenticated("the person is no member of the organization"))?;
            let reach = pinned.map(|pinned| vec![pinned]);
            Ok(Caller::user(organization_id, user_id, role, reach, issuer, provenance))
        }
        Reach::Claimed { role, default_role, .. } => {
            let organization = match (found.linked.as_slice(), wanted) {
                ([], _) => return Err(Error::Unauthenticated("the token's organization is not linked to its issuer")),
                (linked, Some(wanted)) if linked.contains(&wanted) => wanted,
                (_, Some(_)) => return Err(Error::Unauthenticated("the token is for other organizations")),
                ([only], None) => *only,
                (several, None) => return Err(Error::OrganizationNeeded(several.to_vec())),
            };
            let membership =
                choose(&found, Some(organization))?.filter(|found| role.is_none_or(|role| role == found.role));
            let Membership { user_id, role, .. } = match membership {
                Some(membership) => membership,
                None => provision(db, verified, organization, *role, *default_role).await?,
            };
            Ok(Caller::user(organization, user_id, role, Some(found.linked), issuer, provenance))
        }
    }
}

/// Everything that decides, and whether the token still holds.
async fn look_up(db: &Db, verified: &Verified) -> Result<Found> {
    let Verified { issuer, subject, issued_at, token_id, reach, .. } = verified;
    let values = match reach {
        Reach::Members { .. } => &[][..],
        Reach::Claimed { values, .. } => values,
    };
    let (known, revoked, linked) = db
        .system_read(async |tx| {
            try_join3(
                db::member::find_identity(tx, issuer, subject),
                revocation::find(tx, issuer, token_id.as_deref()),
                db::organization_claim::find(tx, issuer, values),
            )
            .await
        })
        .await?;
    let found = Found { known, revoked, linked };
    let user = found.known.as_ref().map(|known| known.user_id);
    if found.revoked.iter().any(|of| *of == revocation::everybody() || Some(*of) == user) {
        return Err(Error::Unauthenticated("the token is revoked"));
    }
    let valid_from = found.known.as_ref().and_then(|known| known.tokens_valid_from);
    // A token that does not say when it was issued may be from before.
    if valid_from.is_some_and(|from| issued_at.is_none_or(|at| at * 1000 < from.timestamp_millis())) {
        return Err(Error::Unauthenticated("the person's tokens of that time are revoked"));
    }
    Ok(found)
}

/// The membership in `organization`, or the only one.
fn choose(found: &Found, organization: Option<OrganizationId>) -> Result<Option<Membership>> {
    let memberships = found.known.as_ref().map(|known| known.memberships.as_slice()).unwrap_or_default();
    match organization {
        Some(id) => Ok(memberships.iter().find(|membership| membership.organization_id == id).cloned()),
        None if memberships.len() > 1 => {
            Err(Error::OrganizationNeeded(memberships.iter().map(|membership| membership.organization_id).collect()))
        }
        None => Ok(memberships.first().cloned()),
    }
}

/// Whether there was a membership waiting for the person's verified e-mail address in that organization.
async fn accept_pending(db: &Db, verified: &Verified, email: &str, organization: OrganizationId) -> Result<bool> {
    let Verified { issuer, subject, .. } = verified;
    let accept = async |tx: &_| db::member::accept_pending(tx, issuer, subject, email, organization).await;
    let accepted = db.system_write(accept).await?;
    if accepted {
        tracing::info!(issuer, %organization, "somebody who was added by e-mail has come");
    }
    Ok(accepted)
}

/// Makes the membership that the issuer says there is, or gives it the role that the issuer says.
async fn provision(
    db: &Db,
    verified: &Verified,
    organization: OrganizationId,
    role: Option<Role>,
    default_role: Role,
) -> Result<Membership> {
    let Verified { issuer, subject, name, email, .. } = verified;
    let (user_id, role) = db
        .system_write(async |tx| {
            let user = db::user::find_or_create(tx, issuer, subject, name.as_deref(), email.as_deref()).await?;
            let role = db::member::put_as_told(tx, &format!("issuer {issuer}"), organization, user, role, default_role)
                .await?;
            Ok((user, role))
        })
        .await?;
    tracing::info!(issuer, %organization, user = %user_id, role = role.as_str(), "a membership is as its issuer says");
    Ok(Membership { organization_id: organization, user_id, role })
}
