//! The migrations, inside the binary.

use anyhow::{Context as _, anyhow};
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{AsyncMigrationHarness, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connect::Settings;
use super::scope::SystemTx;
use crate::error::Result;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Two instances that start together must not migrate together. The number is ours alone; it says nothing.
const LOCK: i64 = 0x7061_7463_6862_6179;

diesel::table! {
    /// Diesel's own record of what has run.
    __diesel_schema_migrations (version) {
        /// Which.
        version -> Text,
        /// When.
        run_on -> Timestamp,
    }
}

/// Which way to migrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Run what is pending.
    Up,
    /// Take all of it back, and all data with it.
    Down,
}

/// Brings a database to this version's tables, or back to none. Needs a login that owns the tables and may make roles.
/// Must run on a multi-threaded runtime.
///
/// # Errors
/// When the database is not there, or refuses a statement.
pub async fn migrate(settings: &Settings, direction: Direction) -> anyhow::Result<Vec<String>> {
    let mut connection =
        settings.connect().await.with_context(|| format!("cannot connect to {}", settings.describe()))?;
    // The connection ends with this function, and the lock with the connection.
    connection.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})")).await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let done = match direction {
        Direction::Up => harness.run_pending_migrations(MIGRATIONS),
        Direction::Down => harness.revert_all_migrations(MIGRATIONS),
    };
    let done = done.map_err(|error| {
        // Postgres 15 says it in one way, 16 in others.
        let about_roles =
            ["to create role", "admin option", "to grant role"].iter().any(|words| error.to_string().contains(words));
        let hint = if about_roles {
            "\nThe login may not make roles, or not hand them out. Let an administrator run once:\n  \
             CREATE ROLE patchbay_app NOLOGIN; CREATE ROLE patchbay_system NOLOGIN; CREATE ROLE patchbay_operator NOLOGIN;\n  \
             GRANT patchbay_app, patchbay_system, patchbay_operator TO <this login> WITH ADMIN OPTION;"
        } else if ["permission denied", "must be owner"].iter().any(|words| error.to_string().contains(words)) {
            "\nThe login must own the tables, and may have to create them: is this the service's login?"
        } else {
            ""
        };
        anyhow!("a migration failed and was taken back: {error}{hint}")
    })?;
    Ok(done.into_iter().map(|version| version.to_string()).collect())
}

/// The migrations of this binary that the database does not have.
pub async fn pending(tx: &SystemTx) -> Result<Vec<String>> {
    // A failed query would end the transaction, so a table that is missing is asked for first.
    let is_there: bool = diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>(
        "to_regclass('__diesel_schema_migrations') IS NOT NULL",
    ))
    .get_result(&mut tx.conn())
    .await?;
    let have: Vec<String> = if is_there {
        __diesel_schema_migrations::table.select(__diesel_schema_migrations::version).load(&mut tx.conn()).await?
    } else {
        Vec::new()
    };
    let want: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS
        .migrations()
        .map_err(|error| crate::error::Error::internal(anyhow!("embedded migrations: {error}")))?;
    Ok(want
        .iter()
        .map(|migration| migration.name().version().to_string())
        .filter(|name| !have.contains(name))
        .collect())
}

/// Makes the database that `owner` names, on a server that is ours alone, unless it is there.
///
/// # Errors
/// When the server refuses.
pub async fn create_database(owner: &Settings) -> anyhow::Result<()> {
    let name = owner.database_name();
    let connection = &owner.with_database("postgres").connect().await?;
    let exists: bool = diesel::select(
        diesel::dsl::sql::<diesel::sql_types::Bool>("EXISTS (SELECT FROM pg_database WHERE datname = ")
            .bind::<diesel::sql_types::Text, _>(&name)
            .sql(")"),
    )
    .get_result(&mut &*connection)
    .await?;
    if !exists {
        (&mut &*connection).batch_execute(&format!("CREATE DATABASE {}", quoted(&name))).await?;
    }
    Ok(())
}

/// Makes a login for the service, which owns nothing and can do nothing but switch to the two roles.
///
/// # Errors
/// When the server refuses.
pub async fn create_service_login(owner: &Settings, name: &str) -> anyhow::Result<()> {
    let mut connection = owner.connect().await?;
    let login = quoted(name);
    connection
        .batch_execute(&format!(
            "DO $$ BEGIN
               IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
                 CREATE ROLE {login} LOGIN NOINHERIT;
               END IF;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
             END $$;
             GRANT patchbay_app, patchbay_system TO {login}"
        ))
        .await?;
    Ok(())
}

/// A name of our own choosing, as an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
