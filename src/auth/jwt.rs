//! JSON Web Tokens, read as RFC 8725 asks: the algorithm comes from the key and never from the header, every claim that
//! decides is required and typed, and a header that asks for more than we do is refused.
//!
//! The crate verifies the signature and nothing else: its own checks of claims accept a token without `iss`, without
//! `aud`, or with `nbf` in the future (all tried), so the claims are read here, from the verified bytes.

use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::crypto;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 30;
/// The longest time between issue and expiry, in seconds.
pub const MAX_LIFETIME: i64 = 24 * 60 * 60;

/// Who may issue tokens, and what proves it.
pub struct Issuer {
    /// `iss`, compared exactly.
    pub issuer: String,
    /// `aud` must name this.
    pub audience: String,
    /// Any of these proves a token.
    pub keys: Vec<Key>,
}

/// A key of an issuer, with the one algorithm it is for.
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Key {
    /// The shortest HS256 secret, in bytes: as many as the hash has (RFC 7518, 3.2).
    pub const MIN_SECRET: usize = 32;

    /// A shared secret for HS256. `None` when it is too short. `id` is matched with `kid`.
    pub fn hs256(secret: &SecretString, id: Option<String>) -> Option<Self> {
        let secret = secret.expose_secret().as_bytes();
        (secret.len() >= Self::MIN_SECRET).then(|| Self {
            id,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
        })
    }
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who issued it.
    pub issuer: String,
    /// Whom it is about, in the issuer's words.
    pub subject: String,
    /// The one organization that it is for, if it is for one.
    pub organization: Option<String>,
}

/// Reads and writes the claims that we know. Others are ignored.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Subject.
    pub sub: String,
    /// Audience.
    pub aud: Audience,
    /// Expiry, in seconds since 1970.
    pub exp: i64,
    /// When it was issued, in seconds since 1970.
    pub iat: Option<i64>,
    /// Not to be used before, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
}

/// One audience or several.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct StrictHeader {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
}

/// Header members that ask us to do something, or carry a key.
const REFUSED: [&str; 9] = ["crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"];

/// Verifies tokens of the configured issuers.
pub struct Verifier(Vec<Issuer>);

impl Verifier {
    /// A verifier that believes these issuers and no others.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self(issuers)
    }

    /// What `token` says, if it holds at `now`.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with the reason, which is for the log only.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Verified> {
        let refuse = |reason| Err(Error::Unauthenticated(reason));
        if token.len() > MAX_TOKEN {
            return refuse("the token is longer than 8 KiB");
        }
        let Some((message, signature)) = token.rsplit_once('.') else { return refuse("the token is not a JWS") };
        let Some((header, payload)) = message.split_once('.') else { return refuse("the token is not a JWS") };
        if payload.contains('.') {
            return refuse("the token is not a JWS");
        }

        let header: StrictHeader = decode(header, &REFUSED)?;
        if !header
            .typ
            .as_deref()
            .is_none_or(|typ| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt"))
        {
            return refuse("the token is of another type");
        }
        // Only ID tokens have these, and they are not for us.
        let claims: Claims = decode(payload, &["nonce", "at_hash", "c_hash"])?;
        let Some(issuer) = self.0.iter().find(|issuer| issuer.issuer == claims.iss) else {
            return refuse("the issuer is not configured");
        };
        let Some(key) = issuer.key(&header) else { return refuse("no key of the issuer fits the header") };
        if !crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm).unwrap_or(false) {
            return refuse("the signature does not verify");
        }

        let names_us = match &claims.aud {
            Audience::One(audience) => *audience == issuer.audience,
            Audience::Many(audiences) => audiences.contains(&issuer.audience),
        };
        if !names_us {
            return refuse("the token is for another audience");
        }
        if claims.sub.is_empty() || claims.sub.len() > 255 || claims.sub.contains(char::is_control) {
            return refuse("the subject is empty, too long, or no text");
        }
        let now = now.timestamp();
        // Saturating: the numbers are the sender's.
        if claims.exp.saturating_add(LEEWAY) <= now {
            return refuse("the token has expired");
        }
        if claims.nbf.is_some_and(|nbf| nbf.saturating_sub(LEEWAY) > now) {
            return refuse("the token is not valid yet");
        }
        let issued_at = claims.iat.unwrap_or(now);
        if issued_at.saturating_sub(LEEWAY) > now {
            return refuse("the token is from the future");
        }
        if claims.exp.saturating_sub(issued_at) > MAX_LIFETIME + LEEWAY {
            return refuse("the token lives longer than 24 hours");
        }
        Ok(Verified { issuer: claims.iss, subject: claims.sub, organization: claims.org })
    }
}

impl Issuer {
    /// The key that the header names; without a name, the only one of its algorithm.
    fn key(&self, header: &StrictHeader) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| {
            header.alg.parse::<Algorithm>().is_ok_and(|algorithm| algorithm == key.algorithm)
                && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }
}

/// Signs claims with HS256: for the tokens that `patchbay dev` hands out. A service in production issues none.
///
/// # Errors
/// When the claims cannot be written as JSON, which they always can.
pub fn sign(claims: &Claims, secret: &SecretString) -> Result<String> {
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).map_err(Error::internal)
}

impl Claims {
    /// Claims for an access token.
    pub fn new(
        issuer: &str,
        audience: &str,
        subject: &str,
        issued_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Self {
        Self {
            iss: issuer.to_owned(),
            sub: subject.to_owned(),
            aud: Audience::One(audience.to_owned()),
            exp: expires_at.timestamp(),
            iat: Some(issued_at.timestamp()),
            nbf: None,
            org: None,
        }
    }

    /// The same, for one organization only.
    #[must_use]
    pub fn for_organization(mut self, organization: impl fmt::Display) -> Self {
        self.org = Some(organization.to_string());
        self
    }
}

fn decode<T: DeserializeOwned>(part: &str, refused: &[&str]) -> Result<T> {
    let bytes =
        BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Error::Unauthenticated("the token is not base64url"))?;
    let mut unchecked = serde_json::Deserializer::from_slice(&bytes);
    let members = (|| {
        let members = Unique.deserialize(&mut unchecked)?;
        unchecked.end()?;
        Ok::<_, serde_json::Error>(members)
    })()
    .map_err(|_| Error::Unauthenticated("the token is not JSON, or has a member twice"))?;
    if refused.iter().any(|name| members.contains(*name)) {
        return Err(Error::Unauthenticated("the token has a member that is refused"));
    }
    // A list would be read as the members in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Error::Unauthenticated("the token is not of objects"));
    }
    serde_json::from_slice(&bytes).map_err(|_| Error::Unauthenticated("a claim is missing or of the wrong type"))
}

/// Reads any JSON, refuses a member that an object has twice (readers disagree on which one counts), and gives the names
/// of the outermost members.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = HashSet<String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = HashSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(HashSet::new())
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(HashSet::new())
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(HashSet::new())
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(HashSet::new())
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(HashSet::new())
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(HashSet::new())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element_seed(Unique)?.is_some() {}
        Ok(HashSet::new())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(Unique)?;
            if !names.insert(name) {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(names)
    }
}
