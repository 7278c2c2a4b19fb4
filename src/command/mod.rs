//! Commands of the operator that speak to the database, one file for each noun.

pub mod audit;
pub mod organization;
pub mod revoke;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use patchbay::config::Source;
use patchbay::db::{self, Db};
use patchbay::dev::Borrowed;
use patchbay::error::Error;
use patchbay::vault::{RootKey, Vault};

/// Who the audit log says did what a command does.
pub const OPERATOR: &str = "operator";

/// Which database, and how to answer.
#[derive(Args)]
pub struct Place {
    /// Data directory of a development service, where DATABASE_URL is not set [default: .patchbay]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Settings file, in TOML [default: PATCHBAY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer in JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// A database, for as long as a command takes.
pub struct Open {
    pub db: Db,
    root_key: Option<RootKey>,
    borrowed: Option<Borrowed>,
}

impl Place {
    /// The database of DATABASE_URL; else the one of the development service. With `needs_key` the root key as well.
    pub async fn open(&self, needs_key: bool) -> Result<Open> {
        let open = self.find(needs_key)?;
        match open.db.system_read(async |tx| db::migration::pending(tx).await).await {
            Ok(pending) if pending.is_empty() => Ok(open),
            found => {
                open.close();
                let pending = found.map_err(not_ready)?;
                anyhow::bail!("the database lacks migrations {}: run `patchbay migrate`", pending.join(", "))
            }
        }
    }

    fn find(&self, needs_key: bool) -> Result<Open> {
        let mut source = Source::process(self.config.as_deref());
        if source.has_database() {
            ensure!(
                self.data_dir.is_none(),
                "--data-dir and DATABASE_URL are both given, and name two databases; give one"
            );
            let database = source.database();
            let root_key = if needs_key { source.root_key() } else { None };
            source.finish()?;
            let database = database.context("DATABASE_URL is missing")?;
            return Ok(Open { db: Db::new(&database, 1), root_key, borrowed: None });
        }
        // Before anything is started for it.
        source.finish()?;
        let mut borrowed = Borrowed::take(self.data_dir.as_deref().unwrap_or(Path::new(".patchbay")))?;
        let root_key = borrowed.root_key.take();
        Ok(Open { db: Db::new(&borrowed.database, 1), root_key, borrowed: Some(borrowed) })
    }
}

/// What a database that answers may lack, where its own words say little.
fn not_ready(error: Error) -> anyhow::Error {
    let hint = "the database is not ready: has `patchbay migrate` run, and is the login a member of patchbay_app and patchbay_system?";
    match error {
        Error::Internal(error) => error.context(hint),
        error => error.into(),
    }
}

impl Open {
    /// The vault, for a command that asked for the key.
    pub fn vault(&mut self) -> Result<Vault> {
        Ok(Vault::new(self.root_key.take().context("PATCHBAY_ROOT_KEY is missing")?))
    }

    /// Closes it, whatever came of it.
    pub fn close(self) {
        let Self { db, borrowed, .. } = self;
        drop(db);
        if let Some(borrowed) = borrowed {
            borrowed.give_back();
        }
    }
}

/// `1 row`, `2 rows`.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, one: &str, several: &str) -> String {
    let noun = if count == N::from(1) { one } else { several };
    format!("{count} {noun}")
}
