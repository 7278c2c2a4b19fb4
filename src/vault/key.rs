//! A 256-bit key in memory, and the only things ever done with one.

use aes_kw::KwAes256;
use aes_kw::cipher::consts::{U32, U40};
use aes_kw::cipher::{Array, KeyInit as _};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::{Sha256, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes, wiped when dropped. It cannot be printed, cloned, compared or serialized.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key32(Box<[u8; 32]>);

/// Bytes of a key wrapped with AES-256 key wrap (RFC 3394): 32 of the key and 8 that prove it intact.
pub const WRAPPED_LENGTH: usize = 40;

impl Key32 {
    /// A key from the operating system's generator.
    ///
    /// # Panics
    /// When the operating system gives no random bytes: there is nothing sound to go on with.
    pub fn generate() -> Self {
        let mut key = Self(Box::new([0; 32]));
        getrandom::fill(&mut key.0[..]).expect("the operating system gives random bytes");
        key
    }

    /// The key in `bytes`, which the caller wipes. `None` unless it is 32 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new([0; 32]));
        if bytes.len() != key.0.len() {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// The raw bytes, for the module that encrypts with them or writes them to a key file.
    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// HKDF-SHA-512 without salt: a key for one use only, which `info` names.
    pub(super) fn derive(&self, info: &[&[u8]]) -> Self {
        let mut key = Self(Box::new([0; 32]));
        Hkdf::<Sha512>::new(None, &self.0[..])
            .expand_multi_info(info, &mut key.0[..])
            .expect("32 bytes are within HKDF's limit");
        key
    }

    /// HMAC-SHA-256 over the parts, each with its length before it.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("HMAC takes a key of any length");
        mac.update(&length_prefixed(parts));
        mac.finalize().into_bytes().into()
    }

    /// AES-256 key wrap of `key`. Key wrap has no associated data, so the wrapping key derives from `context`: what is
    /// wrapped for one context does not unwrap in another. Only through the fixed-length interface, because the one
    /// for slices accepts lengths (zero among them) that RFC 3394 does not have.
    pub(super) fn wrap(&self, context: &[&[u8]], key: &Self) -> [u8; WRAPPED_LENGTH] {
        let cipher = KwAes256::new((self.wrapping_key(context).expose()).into());
        let key: &Array<u8, U32> = key.expose().into();
        let wrapped: Array<u8, U40> = cipher.wrap_fixed_key::<U32>(key);
        wrapped.into()
    }

    /// The key that [`Key32::wrap`] wrapped with this key in the same context.
    pub(super) fn unwrap(&self, context: &[&[u8]], wrapped: &[u8; WRAPPED_LENGTH]) -> Option<Self> {
        let cipher = KwAes256::new((self.wrapping_key(context).expose()).into());
        let wrapped: &Array<u8, U40> = wrapped.into();
        let mut bytes = cipher.unwrap_fixed_key::<U32>(wrapped).ok()?;
        let key = Self::from_slice(&bytes);
        bytes.as_mut_slice().zeroize();
        key
    }

    fn wrapping_key(&self, context: &[&[u8]]) -> Self {
        self.derive(&[b"patchbay-kw/v1", &length_prefixed(context)])
    }
}

/// Each part behind its length, four bytes, big-endian: no two lists of parts give the same bytes.
///
/// # Panics
/// For a part of 4 GiB.
pub fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        let length = u32::try_from(part.len()).expect("a part is far smaller than 4 GiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_wrap_agrees_with_rfc_3394() {
        // RFC 3394, 4.6: 256 bits of key data with a 256-bit key-encryption key. Straight to the cipher, as the RFC
        // derives nothing.
        let hex = |text: &str| data_encoding::HEXUPPER.decode(text.as_bytes()).unwrap();
        let kek = hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let key = hex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
        let cipher = KwAes256::new(<&[u8; 32]>::try_from(&kek[..]).unwrap().into());
        let key: &Array<u8, U32> = <&[u8; 32]>::try_from(&key[..]).unwrap().into();
        let wrapped: [u8; 40] = cipher.wrap_fixed_key::<U32>(key).into();
        assert_eq!(
            wrapped[..],
            hex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21")
        );
    }

    #[test]
    fn a_wrapped_key_opens_in_its_own_context_only() {
        let (outer, inner) = (Key32::generate(), Key32::generate());
        let wrapped = outer.wrap(&[b"a", b"b"], &inner);
        assert!(outer.unwrap(&[b"a", b"b"], &wrapped).is_some_and(|key| key.expose() == inner.expose()));
        assert!(outer.unwrap(&[b"ab"], &wrapped).is_none());
        assert!(outer.unwrap(&[b"", b"ab"], &wrapped).is_none());
        assert!(Key32::generate().unwrap(&[b"a", b"b"], &wrapped).is_none());
        for bit in 0..WRAPPED_LENGTH * 8 {
            let mut flipped = wrapped;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(outer.unwrap(&[b"a", b"b"], &flipped).is_none(), "bit {bit}");
        }
        // Wycheproof's AUTH_BYPASS class: eight bytes of the integrity constant and nothing else.
        assert!(outer.unwrap(&[b"a", b"b"], &[0xa6; WRAPPED_LENGTH]).is_none());
    }
}
