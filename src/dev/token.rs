//! `patchbay token`: a token for anybody, from the same directory as the service.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use secrecy::SecretString;

use super::postgres::Cluster;
use super::{AUDIENCE, DataDir, ISSUER, demo};
use crate::auth::jwt::{Claims, MAX_LIFETIME, sign};
use crate::auth::policy::Role;
use crate::clock::Clock;
use crate::config::Source;
use crate::db::{self, Db, Settings, SystemTx};
use crate::id::{OrganizationId, UserId};

/// Whom the token is for.
pub struct Wanted<'a> {
    /// Id, e-mail address or name of a person; one who is not there is made.
    pub user: Option<&'a str>,
    /// Id or slug of an organization; the first demo organization by default.
    pub organization: Option<&'a str>,
    /// What the person is to be in it.
    pub role: Option<Role>,
    /// How long the token works. Negative for one that has expired already.
    pub expires_in: chrono::TimeDelta,
}

/// Mints a token. Uses the running service's database, or starts it for a moment.
///
/// # Errors
/// When there is no such organization, or nothing to mint from.
pub async fn mint(data_dir: &Path, wanted: &Wanted<'_>, mut source: Source) -> Result<SecretString> {
    if !data_dir.join("jwt.key").exists() {
        bail!("{} has no key to sign with: run `patchbay dev` there first", data_dir.display());
    }
    if wanted.expires_in.num_seconds() > MAX_LIFETIME {
        bail!("a token lives for at most 24 hours");
    }
    let data_dir = DataDir::open(data_dir)?;
    let secret = data_dir.signing_secret()?;
    let given = source.has_database().then(|| source.database()).flatten();
    source.finish()?;
    if let Some(settings) = given.or_else(|| Cluster::running(&data_dir.path)) {
        return sign_for(&settings, &secret, wanted).await;
    }
    let _lock = data_dir.lock()?;
    let cluster = Cluster::start(&data_dir.path, &[])?;
    let token = sign_for(&cluster.owner(), &secret, wanted).await;
    cluster.stop();
    token
}

async fn sign_for(settings: &Settings, secret: &SecretString, wanted: &Wanted<'_>) -> Result<SecretString> {
    let db = Db::new(settings, 1);
    // Whatever DATABASE_URL is in the environment: nobody becomes a member in production by way of a demo.
    ensure!(
        db.system_read(async |tx| demo::is_there(tx).await)
            .await
            .with_context(|| format!("{} is not ready", settings.describe()))?,
        "{} is not of a development service: run `patchbay dev` on it first, or unset DATABASE_URL",
        settings.describe()
    );
    let (organization, subject, role) = db
        .system_write(async |tx| {
            let slug = wanted.organization.unwrap_or(demo::FIRST);
            let Some(organization) = db::organization::find_by_name(tx, slug).await? else { return Ok(None) };
            let (user, subject) = person(tx, organization.id, wanted).await?;
            let role = wanted.role;
            let role = db::member::put_as_told(tx, "patchbay token", organization.id, user, role, Role::Member).await?;
            Ok(Some((organization, subject, role)))
        })
        .await?
        .with_context(|| format!("there is no organization {}", wanted.organization.unwrap_or(demo::FIRST)))?;
    eprintln!("{subject}, {} of {} ({})", role.as_str(), organization.name, organization.id);
    let now = Clock::System.now();
    // A token that has expired was issued before that.
    let expires_at = now + wanted.expires_in;
    let issued_at = now.min(expires_at - Duration::from_secs(1));
    let claims = Claims::new(ISSUER, AUDIENCE, &subject, issued_at, expires_at).for_organization(organization.id);
    Ok(SecretString::from(sign(&claims, secret)?))
}

/// The person, and what the issuer calls them.
async fn person(
    tx: &SystemTx,
    organization: OrganizationId,
    wanted: &Wanted<'_>,
) -> crate::error::Result<(UserId, String)> {
    let id = match wanted.user {
        None => db::member::find_owner(tx, organization).await?,
        Some(text) => text.parse().ok(),
    };
    if let Some(id) = id
        && let Some(subject) = db::user::find_subject(tx, ISSUER, id).await?
    {
        return Ok((id, subject));
    }
    let subject = wanted.user.unwrap_or("owner");
    if let Some(user) = db::user::find_by_identity(tx, ISSUER, subject).await? {
        return Ok((user.id, subject.to_owned()));
    }
    let email = subject.contains('@').then_some(subject);
    let user = db::user::create(tx, ISSUER, subject, Some(subject), email).await?;
    Ok((user, subject.to_owned()))
}

/// Reads `15m`, `2h`, `7d`, `90s`, or a bare number of seconds; a minus before it means the past.
///
/// # Errors
/// With the forms that it reads.
pub fn parse_duration(text: &str) -> Result<chrono::TimeDelta, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 15m, 2h or 1d");
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let split = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, unit) = rest.split_at(split);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(wrong()),
    };
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(sign * seconds).and_then(chrono::TimeDelta::try_seconds).ok_or_else(wrong)
}
