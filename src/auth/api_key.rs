//! API keys: `pbk_<16 characters that find the key>_<43 secret characters><6 of checksum>`, all base 62.
//!
//! The prefix and the underscores let secret scanners and double clicks find a whole key; the checksum (CRC-32 of all that
//! stands before it) turns junk away before the database is asked. What is stored is an HMAC under a key that derives from
//! the root key: 256 random bits need no slow hash, and who can write to the database still cannot mint a key.

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::vault::{Purpose, Vault};

const PREFIX: &str = "pbk_";
const KEY_ID: usize = 16;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key as its holder has it. It cannot be printed, cloned or serialized.
pub struct PlainKey {
    text: SecretString,
}

impl PlainKey {
    /// A new key.
    pub fn generate() -> Self {
        let mut key_id = String::with_capacity(KEY_ID);
        push_random(&mut key_id, KEY_ID);
        Self::generate_for(&key_id)
    }

    /// A new secret for the key with this public part.
    pub fn generate_for(key_id: &str) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + KEY_ID + 1 + SECRET + CHECKSUM));
        text.push_str(PREFIX);
        text.push_str(key_id);
        text.push('_');
        push_random(&mut text, SECRET);
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self { text: SecretString::from(text.as_str()) }
    }

    /// The key in `text`, if it has the form and the checksum of one.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (key_id, secret) = rest.split_once('_')?;
        let digits = |part: &str| part.bytes().all(|byte| DIGITS.contains(&byte));
        if key_id.len() != KEY_ID || secret.len() != SECRET + CHECKSUM || !digits(key_id) || !digits(secret) {
            return None;
        }
        let (body, given) = text.split_at(text.len() - CHECKSUM);
        (checksum(body) == given).then(|| Self { text: SecretString::from(text) })
    }

    /// Whether `text` means to be an API key at all.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The public part, which finds the key.
    pub fn key_id(&self) -> &str {
        &self.text.expose_secret()[PREFIX.len()..PREFIX.len() + KEY_ID]
    }

    /// What is stored in place of the key.
    pub fn hash(&self, vault: &Vault) -> [u8; 32] {
        vault.mac(Purpose::ApiKey, &[self.text.expose_secret().as_bytes()])
    }

    /// The key itself, for the one answer that shows it.
    pub fn into_secret(self) -> SecretString {
        self.text
    }
}

/// The first characters of a key, enough to tell keys apart.
pub fn display_prefix(key_id: &str) -> String {
    format!("{PREFIX}{}", key_id.get(..6).unwrap_or(key_id))
}

fn push_random(text: &mut String, count: usize) {
    let mut left = count;
    let mut bytes = Zeroizing::new([0; 64]);
    while left > 0 {
        getrandom::fill(&mut bytes[..]).expect("the operating system gives random bytes");
        // 248 = 4 x 62: of the bytes below it every digit has four, so that none is likelier than another.
        for byte in bytes.iter().filter(|byte| **byte < 248).take(left) {
            text.push(char::from(DIGITS[usize::from(byte % 62)]));
            left -= 1;
        }
    }
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use static_assertions::assert_not_impl_any;

    use super::*;
    use crate::vault::RootKey;

    assert_not_impl_any!(PlainKey: Clone, std::fmt::Debug, std::fmt::Display, serde::Serialize);

    #[test]
    fn a_key_parses_and_a_changed_one_does_not() {
        let key = PlainKey::generate().into_secret();
        let text = key.expose_secret();
        assert_eq!(text.len(), 70);
        assert!(PlainKey::parse(text).is_some());
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(PlainKey::parse(std::str::from_utf8(&changed).unwrap()).is_none(), "position {at}");
        }
        for length in 0..text.len() {
            assert!(PlainKey::parse(&text[..length]).is_none());
        }
        assert!(PlainKey::parse(&format!("{text}0")).is_none());
    }

    #[test]
    fn the_hash_needs_the_key_and_the_pepper() {
        let (vault, other) = (Vault::new(RootKey::generate()), Vault::new(RootKey::generate()));
        let (key, another) = (PlainKey::generate(), PlainKey::generate());
        assert_eq!(key.hash(&vault), key.hash(&vault));
        assert_ne!(key.hash(&vault), another.hash(&vault));
        assert_ne!(key.hash(&vault), key.hash(&other));
    }
}
