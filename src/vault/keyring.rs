//! Root keys: what wraps organization keys. They come from the operator and are never in the database.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use super::key::Key32;

/// A root key. Its id derives from its bytes, so that a key with the right id *is* the right key.
pub struct RootKey {
    id: String,
    key: Key32,
}

/// Why bytes are not fit to be a root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootKeyError {
    /// Neither base64 nor hexadecimal of 32 bytes.
    #[error(
        "must be 32 random bytes, as base64 (44 characters) or hexadecimal (64); `patchbay key generate` makes one"
    )]
    Malformed,
    /// 32 bytes that nobody drew at random.
    #[error("is not random: too few different bytes; `patchbay key generate` makes a good one")]
    NotRandom,
}

impl RootKey {
    /// A new one, from the operating system's generator.
    pub fn generate() -> Self {
        Self::new(Key32::generate())
    }

    fn new(key: Key32) -> Self {
        let fingerprint = key.derive(&[b"patchbay-root-key-id/v1"]);
        Self { id: format!("local:{}", HEXLOWER.encode(&fingerprint.expose()[..8])), key }
    }

    /// Reads a key as [`RootKey::to_text`] writes it, or in hexadecimal.
    ///
    /// # Errors
    /// When it is not 32 bytes, or plainly not random.
    pub fn parse(text: &str) -> Result<Self, RootKeyError> {
        let text = text.trim().as_bytes();
        // 64 hexadecimal digits are base64 too, of 48 bytes: the length decides.
        let bytes = if text.len() == 64 { HEXLOWER_PERMISSIVE.decode(text) } else { BASE64.decode(text) };
        let bytes = Zeroizing::new(bytes.map_err(|_| RootKeyError::Malformed)?);
        let key = Key32::from_slice(&bytes).ok_or(RootKeyError::Malformed)?;
        let mut distinct = bytes.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        // 32 random bytes have fewer than 16 different values about once in 2^70 draws.
        if distinct.len() < 16 { Err(RootKeyError::NotRandom) } else { Ok(Self::new(key)) }
    }

    /// The key in base64, to be kept in a secret store.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.key.expose()))
    }

    /// `local:` and 16 hexadecimal characters.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn key(&self) -> &Key32 {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_with_the_same_id() {
        let key = RootKey::generate();
        assert_eq!(RootKey::parse(&key.to_text()).map(|read| read.id), Ok(key.id.clone()));
        assert_ne!(RootKey::generate().id, key.id);
    }

    #[test]
    fn what_is_not_32_random_bytes_is_refused() {
        for (text, error) in [
            ("", RootKeyError::Malformed),
            ("changeme", RootKeyError::Malformed),
            (&BASE64.encode(&[7; 31]), RootKeyError::Malformed),
            (&BASE64.encode(&[0; 32]), RootKeyError::NotRandom),
            (&HEXLOWER.encode(&[0xab; 32]), RootKeyError::NotRandom),
            (&BASE64.encode(b"passwordpasswordpasswordpassword"), RootKeyError::NotRandom),
        ] {
            assert_eq!(RootKey::parse(text).err(), Some(error), "{text}");
        }
    }
}
