//! `patchbay revoke`: the operator ends tokens.

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{ArgGroup, Args};
use patchbay::auth::jwt::{MAX_LIFETIME, is_name};
use patchbay::clock::Clock;
use patchbay::db::audit_log;
use patchbay::db::{self, Db, revocation};
use patchbay::id::UserId;
use serde_json::{Value, json};

use super::{OPERATOR, Place};
use crate::print;

#[derive(Args)]
#[command(
    override_usage = "patchbay revoke [OPTIONS] --user <USER>\n       patchbay revoke [OPTIONS] --issuer <ISSUER> --token-id <JTI>"
)]
#[command(group(ArgGroup::new("whose").required(true).args(["user", "issuer"])))]
pub struct RevokeArguments {
    /// Ends every token of this person that was issued before now: id, or e-mail address
    #[arg(long, value_name = "USER", conflicts_with = "token_id")]
    user: Option<String>,
    /// Ends one token, of this issuer
    #[arg(long, requires = "token_id")]
    issuer: Option<String>,
    /// The token's id, its `jti`
    #[arg(long, value_name = "JTI", requires = "issuer")]
    token_id: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
pub async fn run(arguments: RevokeArguments) -> Result<()> {
    let RevokeArguments { user, issuer, token_id, place } = &arguments;
    let open = place.open(false).await?;
    let now = Clock::System.now();
    let done = match (user, issuer.as_deref().zip(token_id.as_deref())) {
        (Some(user), _) => person(&open.db, user, now).await,
        (None, Some((issuer, token_id))) => token(&open.db, issuer, token_id, now).await,
        (None, None) => bail!("--user, or --issuer and --token-id, say whose tokens"),
    };
    open.close();
    let (text, value) = done?;
    print(&if place.json { value.to_string() } else { text })?;
    Ok(())
}

async fn person(db: &Db, wanted: &str, now: DateTime<Utc>) -> Result<(String, Value)> {
    let user = db
        .system_write(async |tx| {
            let mut found = match wanted.parse::<UserId>() {
                Ok(id) => db::user::find(tx, id).await?.into_iter().collect(),
                Err(_) => db::user::list_by_email(tx, wanted).await?,
            };
            // An address may be that of several; none of them is guessed.
            let user = if found.len() == 1 { found.pop().map(|user| user.id) } else { None };
            if let Some(user) = user {
                revocation::revoke_tokens(tx, user, now).await?;
                for organization in db::organization::list_of_user(tx, user).await? {
                    let (id, target) = (organization.id, user.to_string());
                    audit_log::record(tx, id, OPERATOR, "user.tokens_revoked", &target, Vec::new()).await?;
                }
            }
            revocation::delete_expired(tx, now).await?;
            Ok(user)
        })
        .await?;
    let user =
        user.with_context(|| format!("{wanted} is nobody, or more than one person; give a user_… id"))?.to_string();
    // Tokens count whole seconds: one that was issued in this second is refused too.
    let until = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let before = now.to_rfc3339_opts(SecondsFormat::Millis, true);
    let text = format!("tokens of {user} that were issued until {until} are refused");
    Ok((text, json!({"userId": user, "revokedBefore": before})))
}

async fn token(db: &Db, issuer: &str, token_id: &str, now: DateTime<Utc>) -> Result<(String, Value)> {
    ensure!(is_name(token_id), "a token's id has 1 to 255 characters");
    let expires_at = now + TimeDelta::seconds(MAX_LIFETIME) + TimeDelta::hours(1);
    db.system_write(async |tx| {
        revocation::delete_expired(tx, now).await?;
        revocation::revoke_token(tx, issuer, token_id, expires_at).await
    })
    .await?;
    let text = format!("token {token_id} of {issuer} is refused");
    Ok((text, json!({"issuer": issuer, "tokenId": token_id})))
}
