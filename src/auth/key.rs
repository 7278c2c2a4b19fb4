//! Keys that prove tokens: shared secrets, and public keys from PEM or JWK. Each is for one algorithm, which is fixed when
//! the key is read. A public key is checked then, and is of a type that cannot compute an HMAC: no header can turn it into
//! a secret.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::DecodingKey;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::json;

/// The longest `kid`, in bytes.
pub const MAX_ID: usize = 256;
/// The most keys in a set.
const MAX_KEYS: usize = 64;

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS #1 1.5 with SHA-256.
    Rs256,
    /// RSA PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of that name, as headers and key sets spell it. RFC 9864 calls EdDSA by its curve.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "PS256" => Self::Ps256,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// The shortest secret, in bytes: as many as the hash has (RFC 7518, 3.2). `None` when it is not one of secrets.
    pub fn min_secret(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            _ => None,
        }
    }

    fn is_rsa(self) -> bool {
        matches!(self, Self::Rs256 | Self::Ps256)
    }
}

/// A key of an issuer, with the one algorithm it is for.
pub struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) material: Material,
}

/// The two kinds never mix.
pub(super) enum Material {
    Secret(DecodingKey),
    Public(Box<ParsedPublicKey>),
}

/// Why a key is not used.
pub type Unusable = &'static str;

impl Key {
    /// A shared secret. `None` when it is too short, or the algorithm is not for secrets. `id` is matched with `kid`.
    pub fn secret(algorithm: Algorithm, secret: &SecretString, id: Option<String>) -> Option<Self> {
        let secret = secret.expose_secret().as_bytes();
        (secret.len() >= algorithm.min_secret()?).then(|| Self {
            id,
            algorithm,
            material: Material::Secret(DecodingKey::from_secret(secret)),
        })
    }

    /// What `kid` calls it.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A shared secret for HS256.
    pub fn hs256(secret: &SecretString, id: Option<String>) -> Option<Self> {
        Self::secret(Algorithm::Hs256, secret, id)
    }

    /// A public key in PEM (`BEGIN PUBLIC KEY`). An RSA key is for RS256 unless `algorithm` says PS256.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn from_pem(pem: &str, algorithm: Option<Algorithm>, id: Option<String>) -> Result<Self, Unusable> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "is not a public key in PEM (BEGIN PUBLIC KEY)")?;
        // The parser below would take a bare point as well.
        if element(&der, SEQUENCE).is_none_or(|(_, rest)| !rest.is_empty()) {
            return Err("is not a public key in PEM (BEGIN PUBLIC KEY)");
        }
        if let Some((n, e)) = rsa_components(&der) {
            return rsa(n, e, algorithm.unwrap_or(Algorithm::Rs256), id);
        }
        let kinds: [(Algorithm, &'static dyn VerificationAlgorithm); 3] = [
            (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
            (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
            (Algorithm::EdDsa, &ED25519),
        ];
        let (own, key) = kinds
            .into_iter()
            .find_map(|(own, kind)| Some((own, ParsedPublicKey::new(kind, &der).ok()?)))
            .ok_or("is no RSA, P-256, P-384 or Ed25519 key, or is not a point of its curve")?;
        if algorithm.is_some_and(|algorithm| algorithm != own) {
            return Err("is of another kind than its algorithm");
        }
        Ok(Self { id, algorithm: own, material: Material::Public(Box::new(key)) })
    }

    /// A public key as a JWK. An RSA key that does not say is for `rsa`.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn from_jwk(jwk: &Map<String, Value>, rsa_algorithm: Algorithm) -> Result<Self, Unusable> {
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("has a member of the wrong type"),
        };
        let bytes = |name: &str| {
            let encoded = text(name)?.ok_or("lacks a member of its kind")?;
            BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| "has a member that is not base64url")
        };
        if jwk.contains_key("d") {
            return Err("is a private key");
        }
        if text("use")?.is_some_and(|usage| usage != "sig") {
            return Err("is not for signatures");
        }
        let verifies = match jwk.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
            Some(_) => false,
        };
        if !verifies {
            return Err("is not for verifying");
        }
        let id = text("kid")?.map(str::to_owned);
        if id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
            return Err("has a kid that is too long");
        }
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => Some(Algorithm::parse(name).ok_or("is for an algorithm that is not supported")?),
        };
        let (own, kind, point): (_, &'static dyn VerificationAlgorithm, _) = match (text("kty")?, text("crv")?) {
            (Some("RSA"), _) => {
                return rsa(&bytes("n")?, &bytes("e")?, algorithm.unwrap_or(rsa_algorithm), id);
            }
            (Some("EC"), Some("P-256")) => {
                (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, point(&bytes("x")?, &bytes("y")?, 32)?)
            }
            (Some("EC"), Some("P-384")) => {
                (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, point(&bytes("x")?, &bytes("y")?, 48)?)
            }
            (Some("OKP"), Some("Ed25519")) => (Algorithm::EdDsa, &ED25519, bytes("x")?),
            _ => return Err("is of a kind that is not supported"),
        };
        if algorithm.is_some_and(|algorithm| algorithm != own) {
            return Err("is of another kind than its algorithm");
        }
        if own == Algorithm::EdDsa && point.len() != 32 {
            return Err("has coordinates of the wrong length");
        }
        let key = ParsedPublicKey::new(kind, &point).map_err(|_| "is not a point of its curve")?;
        Ok(Self { id, algorithm: own, material: Material::Public(Box::new(key)) })
    }
}

/// An uncompressed point (SEC 1).
fn point(x: &[u8], y: &[u8], length: usize) -> Result<Vec<u8>, Unusable> {
    if x.len() != length || y.len() != length {
        return Err("has coordinates of the wrong length");
    }
    Ok([&[4], x, y].concat())
}

fn rsa(n: &[u8], e: &[u8], algorithm: Algorithm, id: Option<String>) -> Result<Key, Unusable> {
    let parameters = match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        _ => return Err("is of another kind than its algorithm"),
    };
    let without_zeros = |number: &'_ [u8]| number.iter().position(|byte| *byte != 0).map(|at| number[at..].to_vec());
    let (n, e) = without_zeros(n).zip(without_zeros(e)).ok_or("is zero")?;
    let bits = n.len() * 8 - n[0].leading_zeros() as usize;
    if !(2048..=8192).contains(&bits) {
        return Err("has a modulus that is not of 2048 to 8192 bits");
    }
    // aws-lc allows 33 bits at most.
    if e.len() > 4 || e == [1] || e.last().is_none_or(|last| last % 2 == 0) {
        return Err("has an exponent that is even, 1, or longer than 32 bits");
    }
    if is_roca(&n) {
        return Err("was made by a generator that can be broken (ROCA)");
    }
    let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| "is not an RSA key")?;
    Ok(Key { id, algorithm, material: Material::Public(Box::new(key)) })
}

/// CVE-2017-15361: such moduli are powers of 65537 modulo every small prime, which others are not.
fn is_roca(n: &[u8]) -> bool {
    const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    PRIMES.into_iter().all(|prime| {
        let rest = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        std::iter::successors(Some(1), |power| Some(power * 65537 % prime))
            .take(prime as usize)
            .any(|power| power == rest)
    })
}

/// Modulus and exponent of an RSA key in DER (RFC 5280, RFC 8017); `None` when it is no RSA key.
fn rsa_components(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    const RSA_ENCRYPTION: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    let (outer, rest) = element(spki, SEQUENCE)?;
    let (kind, key) = element(outer, SEQUENCE)?;
    let (key, more) = element(key, BIT_STRING)?;
    let (key, behind) = element(key.strip_prefix(&[0])?, SEQUENCE)?;
    let (n, e) = element(key, INTEGER)?;
    let (e, end) = element(e, INTEGER)?;
    let whole = [rest, more, behind, end].iter().all(|rest| rest.is_empty());
    (whole && kind.starts_with(&RSA_ENCRYPTION)).then_some((n, e))
}

const SEQUENCE: u8 = 0x30;

/// The content of a DER element, and what stands behind it.
fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let digits = length - 0x80;
        if !(1..=2).contains(&digits) {
            return None;
        }
        let (bytes, behind) = rest.split_at_checked(digits)?;
        length = bytes.iter().fold(0, |length, byte| length * 256 + usize::from(*byte));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(length)?;
    (*tag == wanted).then_some((content, behind))
}

/// The usable keys of a published set (RFC 7517). Keys of other kinds and for other uses are passed over, as the RFC asks;
/// a set that holds a shared secret is refused whole, and so is one with too many keys. Two keys of one name: neither.
///
/// # Errors
/// With what is wrong with the set.
pub(super) fn read_set(body: &[u8], rsa_algorithm: Algorithm) -> Result<Vec<Key>, Unusable> {
    let set = json::object(body).ok_or("is not one JSON object, or has a member twice")?;
    let Some(Value::Array(members)) = set.get("keys") else { return Err("has no list of keys") };
    if members.len() > MAX_KEYS {
        return Err("has more than 64 keys");
    }
    if members.iter().any(|member| member["kty"] == "oct") {
        return Err("holds a shared secret");
    }
    // Counted over all: a key that is passed over still makes its name ambiguous.
    let times = |id: &str| members.iter().filter(|member| member["kid"] == id).count();
    Ok(members
        .iter()
        .filter_map(Value::as_object)
        .filter_map(|member| Key::from_jwk(member, rsa_algorithm).ok())
        .filter(|key| key.id.as_deref().is_none_or(|id| times(id) == 1))
        .collect())
}

/// A JWK in text, with the algorithm that it does not name itself.
///
/// # Errors
/// With what is wrong with it.
pub fn from_jwk_text(text: &str, algorithm: Option<Algorithm>, id: Option<String>) -> Result<Key, Unusable> {
    let jwk = json::object(text.as_bytes()).ok_or("is not one JSON object, or has a member twice")?;
    let rsa_algorithm = algorithm.filter(|algorithm| algorithm.is_rsa()).unwrap_or(Algorithm::Rs256);
    let mut key = Key::from_jwk(&jwk, rsa_algorithm)?;
    if algorithm.is_some_and(|algorithm| algorithm != key.algorithm) {
        return Err("is of another kind than its algorithm");
    }
    key.id = id.or(key.id);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 65537 to the power of `exponent`, big-endian.
    fn power(exponent: usize) -> Vec<u8> {
        let mut number = vec![1u8];
        for _ in 0..exponent {
            let mut carry = 0u64;
            for byte in number.iter_mut().rev() {
                let product = u64::from(*byte) * 65537 + carry;
                *byte = product.to_le_bytes()[0];
                carry = product >> 8;
            }
            while carry > 0 {
                number.insert(0, carry.to_le_bytes()[0]);
                carry >>= 8;
            }
        }
        number
    }

    #[test]
    fn a_modulus_of_a_broken_generator_is_known() {
        let mut weak = power(128);
        assert_eq!(weak.len(), 257);
        let key = |n: &[u8]| rsa(n, &[1, 0, 1], Algorithm::Rs256, None).map(|_| ());
        assert_eq!(key(&weak), Err("was made by a generator that can be broken (ROCA)"));
        let last = weak.len() - 1;
        weak[last] ^= 2;
        assert_eq!(key(&weak), Ok(()));
    }

    #[test]
    fn an_exponent_is_odd_and_at_least_3() {
        let mut n = vec![0xc5; 256];
        n[255] = 1;
        for (exponent, good) in [
            (&[3][..], true),
            (&[0, 3], true),
            (&[1, 0, 1], true),
            (&[0xff, 0xff, 0xff, 0xff], true),
            (&[], false),
            (&[0], false),
            (&[1], false),
            (&[0, 1], false),
            (&[2], false),
            (&[1, 0, 0], false),
            (&[1, 0, 0, 0, 1], false),
        ] {
            assert_eq!(rsa(&n, exponent, Algorithm::Rs256, None).is_ok(), good, "{exponent:?}");
        }
    }
}
