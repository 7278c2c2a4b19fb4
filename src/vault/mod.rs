//! The vault: the only way in and out for credentials.
//!
//! Three levels. A **root key**, which is never in the database, wraps each **organization key**; that wraps a fresh
//! **data key** for every credential written, which encrypts it. The formats are in [`envelope`] and `key`. There is no
//! mode without encryption: without a root key there is no [`Vault`], and without a vault the process does not start.
//!
//! What it does not protect against: somebody who can write to the database can put back an old row whole, and somebody
//! who runs code in this process can read what it opens.

pub mod envelope;
mod key;
mod keyring;

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use zeroize::Zeroizing;

pub use self::envelope::{Binding, Kind, OpenError};
pub use self::key::{Key32, length_prefixed};
pub use self::keyring::{RootKey, RootKeyError};
use crate::id::OrganizationId;

/// What else derives from the root key, each under a key of its own.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Hashes of API keys: who can write to the database still cannot mint one.
    ApiKey,
    /// Signatures of page cursors.
    Cursor,
    /// Hashes of arguments, which tell whether a request repeats an earlier one.
    Idempotency,
}

/// An organization key as the database has it.
#[derive(Clone, Debug)]
pub struct WrappedKey {
    /// Whose.
    pub organization: OrganizationId,
    /// Counts from 1 within the organization.
    pub version: u32,
    /// The root key that wraps it.
    pub root_key_id: String,
    /// AES-256 key wrap: 40 bytes.
    pub wrapped: Vec<u8>,
}

/// Why the vault refused.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key that wraps the organization key is not in this process.
    #[error(
        "the organization key {organization} version {version} is wrapped by root key {root_key_id}, which is not configured"
    )]
    UnknownRootKey {
        /// Whose key.
        organization: OrganizationId,
        /// Which version of it.
        version: u32,
        /// What wraps it.
        root_key_id: String,
    },
    /// The organization key was changed, or belongs to another organization or version.
    #[error("the organization key {organization} version {version} does not unwrap")]
    OrganizationKey {
        /// Whose key.
        organization: OrganizationId,
        /// Which version of it.
        version: u32,
    },
    /// The credential does not open.
    #[error("the credential of {organization} {configuration} revision {revision} does not open: {reason}")]
    Credential {
        /// Whose.
        organization: OrganizationId,
        /// Of which configuration.
        configuration: crate::id::ConfigurationId,
        /// Which one.
        revision: u64,
        /// Where it stopped.
        reason: OpenError,
    },
}

/// Seals and opens.
pub struct Vault {
    root: RootKey,
    api_keys: Key32,
    cursors: Key32,
    idempotency: Key32,
    /// Unwrapped organization keys, so that a root key in a key service is not asked for every record. Memory only.
    organization_keys: Cache<(OrganizationId, u32), Arc<Key32>>,
}

impl Vault {
    /// A vault under `root`.
    pub fn new(root: RootKey) -> Self {
        Self {
            api_keys: root.key().derive(&[b"patchbay-apikey-pepper/v1"]),
            cursors: root.key().derive(&[b"patchbay-cursor/v1"]),
            idempotency: root.key().derive(&[b"patchbay-idempotency/v1"]),
            root,
            organization_keys: Cache::builder().max_capacity(10_000).time_to_live(Duration::from_mins(5)).build(),
        }
    }

    /// The root key that wraps what is wrapped now.
    pub fn root_key_id(&self) -> &str {
        self.root.id()
    }

    /// HMAC-SHA-256 over `parts` under the key for `purpose`.
    pub fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        match purpose {
            Purpose::ApiKey => self.api_keys.mac(parts),
            Purpose::Cursor => self.cursors.mac(parts),
            Purpose::Idempotency => self.idempotency.mac(parts),
        }
    }

    /// A new organization key, wrapped.
    pub fn generate_organization_key(&self, organization: OrganizationId, version: u32) -> WrappedKey {
        let wrapped = with_organization_context(self.root.id(), organization, version, |context| {
            self.root.key().wrap(context, &Key32::generate())
        });
        WrappedKey { organization, version, root_key_id: self.root.id().to_owned(), wrapped: wrapped.to_vec() }
    }

    /// Seals a credential under `key`. The result is for the database only.
    ///
    /// # Errors
    /// When `key` cannot be unwrapped.
    pub fn seal(&self, key: &WrappedKey, binding: &Binding<'_>, plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(envelope::seal(&*self.unwrap(key)?, key.version, binding, plaintext))
    }

    /// Opens a credential. The plaintext is wiped when dropped; it is for `connector` only.
    ///
    /// # Errors
    /// When `key` cannot be unwrapped, or the bytes were not sealed for exactly this binding.
    pub fn open(
        &self,
        key: &WrappedKey,
        binding: &Binding<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        envelope::open(&*self.unwrap(key)?, key.version, binding, sealed).map_err(|reason| VaultError::Credential {
            organization: binding.organization,
            configuration: binding.configuration,
            revision: binding.revision,
            reason,
        })
    }

    fn unwrap(&self, key: &WrappedKey) -> Result<Arc<Key32>, VaultError> {
        let WrappedKey { organization, version, .. } = *key;
        if let Some(unwrapped) = self.organization_keys.get(&(organization, version)) {
            return Ok(unwrapped);
        }
        if key.root_key_id != self.root.id() {
            let root_key_id = key.root_key_id.clone();
            return Err(VaultError::UnknownRootKey { organization, version, root_key_id });
        }
        let unwrapped = <&[u8; 40]>::try_from(&key.wrapped[..])
            .ok()
            .and_then(|wrapped| {
                with_organization_context(&key.root_key_id, organization, version, |context| {
                    self.root.key().unwrap(context, wrapped)
                })
            })
            .map(Arc::new)
            .ok_or(VaultError::OrganizationKey { organization, version })?;
        self.organization_keys.insert((organization, version), unwrapped.clone());
        Ok(unwrapped)
    }
}

/// SHA-256, for what is not secret.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

fn with_organization_context<T>(
    root_key_id: &str,
    organization: OrganizationId,
    version: u32,
    use_it: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    use_it(&[b"patchbay-ok/v1", root_key_id.as_bytes(), organization.uuid().as_bytes(), &version.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use static_assertions::assert_not_impl_any;

    use super::*;
    use crate::id::ConfigurationId;

    assert_not_impl_any!(Key32: Clone, std::fmt::Debug, std::fmt::Display, serde::Serialize, PartialEq);
    assert_not_impl_any!(RootKey: Clone, std::fmt::Debug, std::fmt::Display, serde::Serialize, PartialEq);
    assert_not_impl_any!(Vault: Clone, std::fmt::Debug, serde::Serialize);

    #[test]
    fn an_organization_key_works_for_its_organization_version_and_root_key_only() {
        let vault = Vault::new(RootKey::generate());
        let (organization, other) = (OrganizationId::generate(), OrganizationId::generate());
        let binding = Binding {
            organization,
            configuration: ConfigurationId::generate(),
            revision: 1,
            kind: Kind::ApiKey,
            origin: "",
        };
        let key = vault.generate_organization_key(organization, 1);
        let sealed = vault.seal(&key, &binding, b"s3cret").unwrap();
        assert_eq!(vault.open(&key, &binding, &sealed).unwrap()[..], *b"s3cret");

        let moved = WrappedKey { organization: other, ..key.clone() };
        assert!(matches!(vault.seal(&moved, &binding, b""), Err(VaultError::OrganizationKey { .. })));
        let renumbered = WrappedKey { version: 2, ..key.clone() };
        assert!(matches!(vault.seal(&renumbered, &binding, b""), Err(VaultError::OrganizationKey { .. })));
        let elsewhere = Vault::new(RootKey::generate());
        assert!(matches!(elsewhere.seal(&key, &binding, b""), Err(VaultError::UnknownRootKey { .. })));
        let renamed = WrappedKey { root_key_id: elsewhere.root_key_id().to_owned(), ..key };
        assert!(matches!(elsewhere.seal(&renamed, &binding, b""), Err(VaultError::OrganizationKey { .. })));
    }
}
