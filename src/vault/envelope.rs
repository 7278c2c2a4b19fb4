//! The byte format of a sealed credential. Frozen: format 1 will be readable for ever.
//!
//! ```text
//! offset  length  field
//!      0       1  format = 1
//!      1       1  suite = 1: AES-256-KW, HKDF-SHA-512, commitment, AES-256-GCM
//!      2       4  version of the organization key, big-endian
//!      6      40  data key, wrapped by the organization key
//!     46      32  message id, random
//!     78      32  commitment to the data key and to what it is bound to
//!    110      12  nonce, random
//!    122  n + 16  ciphertext of the padded plaintext, and its tag
//! ```
//!
//! `LP(x, ...)` is each part behind its length (u32, big-endian). With a fresh data key DEK for every message:
//!
//! ```text
//! wrapping key = HKDF-SHA-512(organization key, no salt, "patchbay-kw/v1" || LP(LP context))[..32]
//!   LP context = "patchbay-dek/v1", organization, configuration, revision (u64), organization key version (u32)
//! AAD          = LP("patchbay-cred/v1", [format, suite], organization, configuration, revision (u64), [kind],
//!                   [schema version], SHA-256(bound origin))
//! key || commitment = HKDF-SHA-512(DEK, salt = message id, "patchbay-commit/v1" || AAD), 32 + 32 bytes
//! ciphertext   = AES-256-GCM(key, nonce, AAD, plaintext || 0x80 || 0x00...), padded to a multiple of 64 bytes
//! ```
//!
//! The associated data names the record and not the keys, so that re-wrapping changes bytes 2 to 46 and never the
//! payload. The commitment is compared, in constant time, before anything is decrypted: one ciphertext has one key.
//! The padding hides how long a token is.

use aes_gcm::aead::{Aead as _, Nonce, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::key::{Key32, WRAPPED_LENGTH, length_prefixed};
use crate::id::{ConfigurationId, OrganizationId};

const FORMAT: u8 = 1;
const SUITE: u8 = 1;
/// The shape of the plaintext: the credential object of the API reference, as JSON.
const SCHEMA_VERSION: u8 = 1;
const PADDING: usize = 64;
const HEADER: usize = 122;
const TAG: usize = 16;

/// What kind of credential is sealed. Part of what the bytes are bound to.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `{"type": "api_key", ...}`
    ApiKey = 1,
    /// `{"type": "oauth2", ...}`
    OAuth2 = 2,
    /// `{"type": "bearer", ...}`
    Bearer = 3,
    /// `{"type": "basic", ...}`
    Basic = 4,
}

impl Kind {
    /// The name, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::OAuth2 => "oauth2",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::ApiKey, Self::OAuth2, Self::Bearer, Self::Basic].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a sealed credential is bound to: with anything else it does not open.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// Whose.
    pub organization: OrganizationId,
    /// Of which configuration.
    pub configuration: ConfigurationId,
    /// The how-manieth credential of that configuration.
    pub revision: u64,
    /// Which kind.
    pub kind: Kind,
    /// Where it may be sent: `scheme://host:port`, or empty where the origin is in the program.
    pub origin: &'a str,
}

impl Binding<'_> {
    fn associated_data(&self) -> Vec<u8> {
        length_prefixed(&[
            b"patchbay-cred/v1",
            &[FORMAT, SUITE],
            self.organization.uuid().as_bytes(),
            self.configuration.uuid().as_bytes(),
            &self.revision.to_be_bytes(),
            &[self.kind as u8],
            &[SCHEMA_VERSION],
            &Sha256::digest(self.origin.as_bytes()),
        ])
    }

    fn with_wrap_context<T>(&self, key_version: u32, use_it: impl FnOnce(&[&[u8]]) -> T) -> T {
        use_it(&[
            b"patchbay-dek/v1",
            self.organization.uuid().as_bytes(),
            self.configuration.uuid().as_bytes(),
            &self.revision.to_be_bytes(),
            &key_version.to_be_bytes(),
        ])
    }
}

/// Where opening stopped. For the log: clients are told the same of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short, or of a format or suite that this version does not know.
    #[error("the envelope is malformed")]
    Malformed,
    /// The row's organization key is not the one that the envelope names.
    #[error("the envelope names another organization key")]
    KeyVersion,
    /// The data key does not unwrap: another key or another record.
    #[error("the data key does not unwrap")]
    Unwrap,
    /// The commitment differs.
    #[error("the commitment differs")]
    Commitment,
    /// The ciphertext or its tag were changed.
    #[error("the payload does not authenticate")]
    Payload,
}

/// Seals `plaintext` under a fresh data key.
pub(super) fn seal(organization_key: &Key32, key_version: u32, binding: &Binding<'_>, plaintext: &[u8]) -> Vec<u8> {
    let data_key = Key32::generate();
    let mut random = [0; 44];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let (message_id, nonce) = random.split_at(32);
    let associated_data = binding.associated_data();
    let derived = payload_key(&data_key, message_id, &associated_data);

    let mut padded = Zeroizing::new(Vec::with_capacity(plaintext.len() + PADDING));
    padded.extend_from_slice(plaintext);
    padded.push(0x80);
    let length = padded.len().next_multiple_of(PADDING);
    padded.resize(length, 0);

    let mut sealed = Vec::with_capacity(HEADER + padded.len() + TAG);
    sealed.extend_from_slice(&[FORMAT, SUITE]);
    sealed.extend_from_slice(&key_version.to_be_bytes());
    sealed.extend_from_slice(
        &binding.with_wrap_context(key_version, |context| organization_key.wrap(context, &data_key)),
    );
    sealed.extend_from_slice(message_id);
    sealed.extend_from_slice(&derived[32..]);
    sealed.extend_from_slice(nonce);
    let nonce = Nonce::<Aes256Gcm>::try_from(nonce).expect("the nonce is 12 bytes");
    let ciphertext = cipher(&derived)
        .encrypt(&nonce, Payload { msg: &padded, aad: &associated_data })
        .expect("AES-GCM encrypts up to 64 GiB");
    sealed.extend_from_slice(&ciphertext);
    sealed
}

/// Opens what [`seal`] sealed with the same key for the same binding.
pub(super) fn open(
    organization_key: &Key32,
    key_version: u32,
    binding: &Binding<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if sealed.len() < HEADER + PADDING + TAG || sealed[..2] != [FORMAT, SUITE] {
        return Err(OpenError::Malformed);
    }
    if sealed[2..6] != key_version.to_be_bytes() {
        return Err(OpenError::KeyVersion);
    }
    let wrapped: &[u8; WRAPPED_LENGTH] = sealed[6..46].try_into().map_err(|_| OpenError::Malformed)?;
    let data_key = binding
        .with_wrap_context(key_version, |context| organization_key.unwrap(context, wrapped))
        .ok_or(OpenError::Unwrap)?;
    let associated_data = binding.associated_data();
    let derived = payload_key(&data_key, &sealed[46..78], &associated_data);
    if !bool::from(derived[32..].ct_eq(&sealed[78..110])) {
        return Err(OpenError::Commitment);
    }
    let nonce = Nonce::<Aes256Gcm>::try_from(&sealed[110..HEADER]).map_err(|_| OpenError::Malformed)?;
    let mut plaintext = cipher(&derived)
        .decrypt(&nonce, Payload { msg: &sealed[HEADER..], aad: &associated_data })
        .map(Zeroizing::new)
        .map_err(|_| OpenError::Payload)?;
    let end = plaintext.iter().rposition(|byte| *byte != 0).ok_or(OpenError::Payload)?;
    if plaintext[end] != 0x80 {
        return Err(OpenError::Payload);
    }
    plaintext.truncate(end);
    Ok(plaintext)
}

fn payload_key(data_key: &Key32, message_id: &[u8], associated_data: &[u8]) -> Zeroizing<[u8; 64]> {
    let mut derived = Zeroizing::new([0; 64]);
    Hkdf::<Sha512>::new(Some(message_id), data_key.expose())
        .expand_multi_info(&[b"patchbay-commit/v1", associated_data], &mut derived[..])
        .expect("64 bytes are within HKDF's limit");
    derived
}

fn cipher(derived: &[u8; 64]) -> Aes256Gcm {
    Aes256Gcm::new_from_slice(&derived[..32]).expect("the key is 32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn binding() -> Binding<'static> {
        Binding {
            organization: OrganizationId::from(Uuid::from_u128(1)),
            configuration: ConfigurationId::from(Uuid::from_u128(2)),
            revision: 1,
            kind: Kind::Bearer,
            origin: "https://mcp.example.com",
        }
    }

    #[test]
    fn a_sealed_credential_opens_for_its_own_binding_only() {
        let key = Key32::generate();
        let sealed = seal(&key, 1, &binding(), b"s3cret");
        assert_eq!(open(&key, 1, &binding(), &sealed).unwrap()[..], *b"s3cret");

        let elsewhere = [
            Binding { organization: OrganizationId::from(Uuid::from_u128(9)), ..binding() },
            Binding { configuration: ConfigurationId::from(Uuid::from_u128(9)), ..binding() },
            Binding { revision: 2, ..binding() },
        ];
        for other in &elsewhere {
            assert_eq!(open(&key, 1, other, &sealed), Err(OpenError::Unwrap));
        }
        let kind = Binding { kind: Kind::ApiKey, ..binding() };
        assert_eq!(open(&key, 1, &kind, &sealed), Err(OpenError::Commitment));
        let origin = Binding { origin: "https://evil.example.com", ..binding() };
        assert_eq!(open(&key, 1, &origin, &sealed), Err(OpenError::Commitment));
        assert_eq!(open(&key, 2, &binding(), &sealed), Err(OpenError::KeyVersion));
        assert_eq!(open(&Key32::generate(), 1, &binding(), &sealed), Err(OpenError::Unwrap));
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_opens() {
        let key = Key32::generate();
        let sealed = seal(&key, 1, &binding(), b"s3cret");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, 1, &binding(), &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&key, 1, &binding(), &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn nothing_is_used_twice() {
        let key = Key32::generate();
        let (first, second) = (seal(&key, 1, &binding(), b"s3cret"), seal(&key, 1, &binding(), b"s3cret"));
        for range in [6..46, 46..78, 78..110, 110..122, 122..first.len()] {
            assert_ne!(first[range.clone()], second[range]);
        }
    }

    proptest! {
        #[test]
        fn any_plaintext_comes_back_and_only_its_length_class_shows(plaintext: Vec<u8>) {
            let key = Key32::generate();
            let sealed = seal(&key, 7, &binding(), &plaintext);
            prop_assert_eq!(&open(&key, 7, &binding(), &sealed).unwrap()[..], &plaintext[..]);
            prop_assert_eq!((sealed.len() - HEADER - TAG) % PADDING, 0);
        }
    }
}
