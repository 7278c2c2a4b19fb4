//! `dev.env`: what a script needs to call the service, in shell form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use secrecy::{ExposeSecret as _, SecretString};

use super::DataDir;
use crate::app::App;
use crate::id::OrganizationId;

/// What is known of one demo organization.
pub struct Entry {
    /// Which.
    pub organization: OrganizationId,
    /// Its owner's token.
    pub token: SecretString,
    /// A key for scripts.
    pub api_key: SecretString,
}

/// What the file says.
pub struct EnvFile {
    address: SocketAddr,
    entries: [Entry; 2],
}

impl EnvFile {
    pub(super) fn new(address: SocketAddr, entries: [Entry; 2]) -> Self {
        Self { address, entries }
    }

    fn base(&self) -> String {
        let ip = self.address.ip();
        let host = if ip.is_unspecified() { "127.0.0.1".to_owned() } else { SocketAddr::new(ip, 0).to_string() };
        let host = host.strip_suffix(":0").unwrap_or(&host);
        format!("http://{host}:{}", self.address.port())
    }

    /// The file's text: `NAME='value'`, one a line. No value has a quote in it.
    pub fn to_text(&self) -> SecretString {
        let base = self.base();
        let mut text = format!("PATCHBAY_URL='{base}/graphql'\nPATCHBAY_GRAPHIQL='{base}/graphiql'\n");
        for (entry, suffix) in self.entries.iter().zip(["", "_2"]) {
            let _ = write!(
                text,
                "PATCHBAY_TOKEN{suffix}='{}'\nPATCHBAY_API_KEY{suffix}='{}'\nPATCHBAY_ORGANIZATION_ID{suffix}='{}'\n",
                entry.token.expose_secret(),
                entry.api_key.expose_secret(),
                entry.organization
            );
        }
        SecretString::from(text)
    }

    /// What a developer sees at the start.
    pub fn welcome(&self, data_dir: &DataDir, app: &App, private: bool) -> String {
        let base = self.base();
        let entry = &self.entries[0];
        let database = if private { "a private Postgres" } else { "the database of DATABASE_URL" };
        format!(
            "\nPatchbay {version} is ready, on {database}.\n\n  \
             GraphiQL   {base}/graphiql{}\n  \
             GraphQL    {base}/graphql\n\n  \
             Organization   {}\n  \
             Token          {}\n  \
             API key        {}\n\n  \
             For scripts:   . {}\n\n\
             Ctrl-C stops it.\n",
            if app.api.graphiql { "" } else { " (switched off)" },
            entry.organization,
            entry.token.expose_secret(),
            entry.api_key.expose_secret(),
            data_dir.file("dev.env").display(),
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}

/// Reads `NAME='value'` lines, as [`EnvFile::to_text`] writes them.
pub fn parse(text: &str) -> BTreeMap<String, SecretString> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), SecretString::from(value.trim_matches('\''))))
        .collect()
}
