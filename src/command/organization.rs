//! `patchbay organization`: organizations are made, linked to issuers and deleted by the operator.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use patchbay::auth::policy::Role;
use patchbay::db::audit_log::{self, Change};
use patchbay::db::organization::Organization;
use patchbay::db::organization_claim::Link;
use patchbay::db::{self, Db, SystemTx};
use patchbay::error::Error;
use patchbay::id::{OrganizationId, UserId};
use serde_json::{Value, json};

use super::{OPERATOR, Open, Place, counted};
use crate::{parse_role, print};

#[derive(Args)]
pub struct OrganizationArguments {
    #[command(subcommand)]
    command: OrganizationCommand,
}

#[derive(Subcommand)]
enum OrganizationCommand {
    /// Make an organization
    ///
    /// It gets an encryption key of its own, and an owner where one is named: by e-mail address, who takes it up with the
    /// first token whose issuer has verified that address; or by issuer and subject, who has it at once.
    Create(CreateArguments),
    /// List the organizations, their members and their links
    List(Place),
    /// Link an organization to an issuer's organization claim
    ///
    /// From now on a token of the issuer with that value in its organization claim is for this organization.
    Link(LinkArguments),
    /// Take a link back
    ///
    /// The members stay in the members table; the issuer's tokens do not lead to the organization any more.
    Unlink(UnlinkArguments),
    /// Add a person to an organization
    AddMember(AddMemberArguments),
    /// Delete an organization and everything in it
    ///
    /// Its encryption keys go with it: credentials cannot be opened again, except from a backup and with the root key.
    /// What is left is its name, when it was deleted, and how many entries its audit log had.
    Delete(DeleteArguments),
}

#[derive(Args)]
struct CreateArguments {
    /// For people: 1 to 120 characters
    #[arg(long)]
    name: String,
    /// For addresses: lower case, digits, dashes
    #[arg(long)]
    slug: String,
    /// E-mail address of the owner
    #[arg(long, value_name = "EMAIL")]
    owner_email: Option<String>,
    /// Issuer of the owner's tokens
    #[arg(long, value_name = "ISSUER", requires = "owner_subject", value_parser = parse_issuer)]
    owner_issuer: Option<String>,
    /// What that issuer calls the owner
    #[arg(long, value_name = "SUBJECT", requires = "owner_issuer")]
    owner_subject: Option<String>,
    /// Issuer to link the organization to
    #[arg(long, value_name = "ISSUER", value_parser = parse_issuer)]
    issuer: Option<String>,
    /// Value of that issuer's organization claim [default: the organization's id]
    #[arg(long, value_name = "VALUE", requires = "issuer")]
    claim: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct LinkArguments {
    /// Id or slug
    organization: String,
    /// The issuer, as in `iss`
    #[arg(long, value_parser = parse_issuer)]
    issuer: String,
    /// Value of its organization claim
    #[arg(long, value_name = "VALUE")]
    claim: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct UnlinkArguments {
    /// The issuer, as in `iss`
    #[arg(long)]
    issuer: String,
    /// Value of its organization claim
    #[arg(long, value_name = "VALUE")]
    claim: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct AddMemberArguments {
    /// Id or slug
    organization: String,
    /// E-mail address, which an issuer must have verified when the person comes
    #[arg(long, required_unless_present = "issuer", conflicts_with_all = ["issuer", "subject"])]
    email: Option<String>,
    /// Issuer of the person's tokens
    #[arg(long, requires = "subject", value_parser = parse_issuer)]
    issuer: Option<String>,
    /// What that issuer calls the person
    #[arg(long, requires = "issuer")]
    subject: Option<String>,
    /// owner, admin, member or viewer
    #[arg(long, value_parser = parse_role)]
    role: Role,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct DeleteArguments {
    /// Id or slug
    organization: String,
    /// Really
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
pub async fn run(arguments: OrganizationArguments) -> Result<()> {
    use OrganizationCommand::{AddMember, Create, Delete, Link, List, Unlink};
    let (place, needs_key) = match &arguments.command {
        Create(arguments) => (&arguments.place, true),
        List(place) => (place, false),
        Link(arguments) => (&arguments.place, false),
        Unlink(arguments) => (&arguments.place, false),
        AddMember(arguments) => (&arguments.place, false),
        Delete(arguments) => (&arguments.place, false),
    };
    let json = place.json;
    let mut open = place.open(needs_key).await?;
    let done = match &arguments.command {
        Create(arguments) => create(&mut open, arguments).await,
        List(_) => list(&open.db).await,
        Link(arguments) => link(&open.db, arguments).await,
        Unlink(arguments) => unlink(&open.db, arguments).await,
        AddMember(arguments) => add_member(&open.db, arguments).await,
        Delete(arguments) => delete(&open.db, arguments).await,
    };
    open.close();
    let (text, value) = done?;
    print(&if json { value.to_string() } else { text })?;
    Ok(())
}

/// What to say, for people and for programs.
type Said = (String, Value);

/// A violated constraint, in words.
fn explained(error: Error) -> anyhow::Error {
    let words = match error.constraint() {
        Some("organizations_slug_key") => "an organization has that slug already",
        Some("organizations_slug_check") => {
            "a slug has 1 to 63 lower-case letters, digits and dashes, and begins with no dash"
        }
        Some("organizations_name_check") => "a name has 1 to 120 characters",
        Some("users_email_check") => "an e-mail address has 3 to 320 characters",
        Some("organization_claims_pkey") => "that value of the issuer's claim is linked already",
        Some("organization_claims_value_check") => "a value of a claim has 1 to 255 bytes",
        _ => return error.into(),
    };
    anyhow!(words)
}

/// RFC 7519 lets `iss` be any text without a colon, and a URI with one.
fn parse_issuer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("an issuer is not empty, and has no spaces".to_owned());
    }
    if text.contains(':') && !url::Url::parse(text).is_ok_and(|url| ["https", "http"].contains(&url.scheme())) {
        return Err("not an address such as https://login.example.com".to_owned());
    }
    Ok(text.to_owned())
}

fn checked_email(email: &str) -> Result<&str> {
    ensure!(
        email.is_ascii() && email.contains('@') && !email.contains(char::is_control),
        "{email:?} is not an e-mail address"
    );
    Ok(email)
}

async fn find(tx: &SystemTx, id_or_slug: &str) -> Result<Option<Organization>, Error> {
    db::organization::find_by_name(tx, id_or_slug).await
}

async fn create(open: &mut Open, arguments: &CreateArguments) -> Result<Said> {
    let vault = open.vault()?;
    let CreateArguments { name, slug, owner_email, owner_issuer, owner_subject, issuer, claim, .. } = arguments;
    let email = owner_email.as_deref().map(checked_email).transpose()?;
    let identity = owner_issuer.as_deref().zip(owner_subject.as_deref());
    let id = OrganizationId::generate();
    let key = vault.generate_organization_key(id, 1);
    let link = issuer.as_ref().map(|issuer| Link {
        issuer: issuer.clone(),
        value: claim.clone().unwrap_or_else(|| id.to_string()),
        organization_id: id,
    });
    let root_key = vault.root_key_id();
    let made = open.db.system_write(async |tx| {
        if let Some(theirs) = db::organization_key::find_unknown_root_key(tx, root_key).await? {
            return Ok(Err(theirs));
        }
        db::organization::create(tx, id, name, slug).await?;
        db::organization_key::create(tx, &key).await?;
        let owner: Option<UserId> = match (identity, email) {
            (Some((issuer, subject)), email) => Some(db::user::find_or_create(tx, issuer, subject, None, email).await?),
            (None, Some(email)) => Some(db::user::find_or_create_pending(tx, email).await?),
            (None, None) => None,
        };
        let changes = vec![Change::new("name", (), name.as_str()), Change::new("slug", (), slug.as_str())];
        audit_log::record(tx, id, OPERATOR, "organization.created", &id.to_string(), changes).await?;
        if let Some(owner) = owner {
            db::member::put_as_told(tx, OPERATOR, id, owner, Some(Role::Owner), Role::Owner).await?;
        }
        if let Some(link) = &link {
            db::organization_claim::create(tx, link).await?;
            record_link(tx, link, true).await?;
        }
        Ok(Ok(owner))
    });
    let owner = match made.await.map_err(explained)? {
        Ok(owner) => owner,
        Err(theirs) => {
            bail!("the database has organization keys under root key {theirs}, and the one that is given is {root_key}")
        }
    };
    if owner.is_none() && link.is_none() {
        eprintln!(
            "Nobody can enter it yet. Give it an owner:\n  \
             patchbay organization add-member {slug} --email EMAIL --role owner\n\
             or an issuer that says who belongs:\n  \
             patchbay organization link {slug} --issuer ISSUER --claim VALUE"
        );
    }
    let link = link.map(|Link { issuer, value, .. }| json!({"issuer": issuer, "claim": value}));
    let owner = owner.map(|owner| owner.to_string());
    Ok((id.to_string(), json!({"id": id.to_string(), "name": name, "slug": slug, "ownerId": owner, "link": link})))
}

/// A link that is there from now on, or that was.
async fn record_link(tx: &SystemTx, link: &Link, is_there: bool) -> Result<(), Error> {
    let Link { issuer, value, organization_id } = link;
    let (action, change) = if is_there {
        ("organization.linked", Change::new(issuer, (), value.as_str()))
    } else {
        ("organization.unlinked", Change::new(issuer, value.as_str(), ()))
    };
    audit_log::record(tx, *organization_id, OPERATOR, action, &organization_id.to_string(), vec![change]).await
}

async fn list(db: &Db) -> Result<Said> {
    let (organizations, links) = db
        .system_read(async |tx| Ok((db::organization::list(tx).await?, db::organization_claim::list(tx).await?)))
        .await?;
    let mut lines = Vec::new();
    let mut values = Vec::new();
    for (Organization { id, name, slug, created_at, .. }, members) in organizations {
        let of_this = || links.iter().filter(|link| link.organization_id == id);
        let mut line = format!("{id}  {slug}  {name}  {}", counted(members, "member", "members"));
        for Link { issuer, value, .. } in of_this() {
            let _ = write!(line, "\n    {issuer}  {value}");
        }
        lines.push(line);
        let links: Vec<_> = of_this().map(|link| json!({"issuer": link.issuer, "claim": link.value})).collect();
        let created_at = created_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        values.push(json!({
            "id": id.to_string(), "name": name, "slug": slug, "createdAt": created_at, "members": members, "links": links,
        }));
    }
    Ok((lines.join("\n"), Value::Array(values)))
}

async fn link(db: &Db, arguments: &LinkArguments) -> Result<Said> {
    let LinkArguments { organization, issuer, claim, .. } = arguments;
    let found = db.system_write(async |tx| {
        let Some(found) = find(tx, organization).await? else { return Ok(None) };
        let link = Link { issuer: issuer.clone(), value: claim.clone(), organization_id: found.id };
        db::organization_claim::create(tx, &link).await?;
        record_link(tx, &link, true).await?;
        Ok(Some(found))
    });
    let id = there(found.await.map_err(explained)?, organization)?.id.to_string();
    Ok((format!("{id} is {claim} of {issuer}"), json!({"organizationId": id, "issuer": issuer, "claim": claim})))
}

async fn unlink(db: &Db, arguments: &UnlinkArguments) -> Result<Said> {
    let UnlinkArguments { issuer, claim, .. } = arguments;
    let was_there = db
        .system_write(async |tx| {
            let Some(organization_id) = db::organization_claim::delete(tx, issuer, claim).await? else {
                return Ok(false);
            };
            let link = Link { issuer: issuer.clone(), value: claim.clone(), organization_id };
            record_link(tx, &link, false).await?;
            Ok(true)
        })
        .await?;
    ensure!(was_there, "{claim} of {issuer} is not linked");
    Ok((format!("{claim} of {issuer} is no longer linked"), json!({"issuer": issuer, "claim": claim})))
}

fn there(found: Option<Organization>, name: &str) -> Result<Organization> {
    found.with_context(|| format!("there is no organization {name}"))
}

async fn add_member(db: &Db, arguments: &AddMemberArguments) -> Result<Said> {
    let AddMemberArguments { organization, email, issuer, subject, role, .. } = arguments;
    let email = email.as_deref().map(checked_email).transpose()?;
    let identity = issuer.as_deref().zip(subject.as_deref());
    let added = db.system_write(async |tx| {
        let Some(found) = find(tx, organization).await? else { return Ok(None) };
        let user = match (identity, email) {
            (Some((issuer, subject)), _) => db::user::find_or_create(tx, issuer, subject, None, None).await?,
            (None, Some(email)) => db::user::find_or_create_pending(tx, email).await?,
            (None, None) => return Ok(None),
        };
        let role = db::member::put_as_told(tx, OPERATOR, found.id, user, Some(*role), *role).await?;
        Ok(Some((found, user, role)))
    });
    let (found, user, now) =
        added.await.map_err(explained)?.with_context(|| format!("there is no organization {organization}"))?;
    ensure!(now == *role, "{user} is the last owner of {}, and stays owner", found.id);
    let (id, user, role) = (found.id.to_string(), user.to_string(), now.as_str());
    Ok((format!("{user} is {role} of {id}"), json!({"organizationId": id, "userId": user, "role": role})))
}

async fn delete(db: &Db, arguments: &DeleteArguments) -> Result<Said> {
    let DeleteArguments { organization, yes, .. } = arguments;
    let found = db.system_read(async |tx| find(tx, organization).await).await?;
    let found = found.with_context(|| format!("there is no organization {organization}"))?;
    ensure!(*yes, "{} ({}) and everything in it would be gone for good; say --yes", found.name, found.id);
    let tombstone = db
        .operator_write(async |tx| db::organization::delete(tx, &found).await)
        .await
        .context("it cannot be deleted; does the login own the tables?")?;
    let deleted_at = tombstone.deleted_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Ok((
        format!("deleted {} ({})", tombstone.name, tombstone.id),
        json!({
            "id": tombstone.id.to_string(), "name": tombstone.name, "slug": tombstone.slug, "deletedAt": deleted_at,
            "auditEntries": tombstone.audit_entries,
        }),
    ))
}
