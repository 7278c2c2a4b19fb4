//! JSON Web Tokens, read as RFC 8725 asks: the algorithm comes from the key and never from the header, every claim that
//! decides is required and typed, and a header that asks for more than we do is refused.
//!
//! The crates verify the signature and nothing else: `jsonwebtoken`'s own checks of claims accept a token without `iss`,
//! without `aud`, or with `nbf` in the future (all tried), so the claims are read here.

use std::fmt;

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::crypto;
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::issuer::{Issuer, Keys, Reach};
use super::json;
use super::key::{Algorithm, Key, MAX_ID, Material};
use crate::error::{Error, Result};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 30;
/// The longest time between issue and expiry, in seconds.
pub const MAX_LIFETIME: i64 = 24 * 60 * 60;
/// The longest subject, and the longest token id, in bytes.
pub const MAX_NAME: usize = 255;

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who issued it.
    pub issuer: String,
    /// Whom it is about, in the issuer's words.
    pub subject: String,
    /// When it was issued, in seconds since 1970, if it says.
    pub issued_at: Option<i64>,
    /// Its own id, if it has one.
    pub token_id: Option<String>,
    /// What it says about organizations.
    pub reach: Reach,
    /// The person's e-mail address, if the issuer has verified it.
    pub email: Option<String>,
    /// What the person is called.
    pub name: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Not to be used before, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The token's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The organization. What it means when it is read is the issuer's to say.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
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
/// Only ID tokens have these, or logout tokens and other notices of events. Neither are for us.
const OF_OTHER_TOKENS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
/// Members that are there with a value or not at all: a null is none, and readers disagree on what it means.
const NEVER_NULL: [&str; 9] = ["typ", "kid", "iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// Verifies tokens of the configured issuers.
pub struct Verifier(Vec<Issuer>);

impl Verifier {
    /// A verifier that believes these issuers and no others.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self(issuers)
    }

    /// Asks the issuers that publish their keys for them, without waiting. One that does not answer is in the log.
    pub fn warm(&self, now: DateTime<Utc>) {
        for issuer in &self.0 {
            if let Keys::Published(set) = &issuer.keys {
                set.warm(now);
            }
        }
    }

    /// What `token` says, if it holds at `now`. May ask the issuer for its keys, once everything else holds.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with the reason, which is for the log only.
    pub async fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Verified> {
        let refuse = |reason| Err(Error::Unauthenticated(reason));
        if token.len() > MAX_TOKEN {
            return refuse("the token is longer than 8 KiB");
        }
        let Some((message, signature)) = token.rsplit_once('.') else { return refuse("the token is not a JWS") };
        let Some((header, payload)) = message.split_once('.') else { return refuse("the token is not a JWS") };
        if payload.contains('.') {
            return refuse("the token is not a JWS");
        }

        let header: StrictHeader = typed(&decode(header, &REFUSED)?)?;
        let Some(algorithm) = Algorithm::parse(&header.alg) else { return refuse("the algorithm is not supported") };
        if header.kid.as_ref().is_some_and(|kid| kid.len() > MAX_ID) {
            return refuse("the kid is too long");
        }
        let members = decode(payload, &OF_OTHER_TOKENS)?;
        let claims: Claims = typed(&members)?;
        let Some(issuer) = self.0.iter().find(|issuer| issuer.issuer == claims.iss) else {
            return refuse("the issuer is not configured");
        };
        if !issuer.token_type.allows(header.typ.as_deref()) {
            return refuse("the token is of another type");
        }
        check(&claims, issuer, now.timestamp()).map_err(Error::Unauthenticated)?;
        let reach = issuer.reach(&members).map_err(Error::Unauthenticated)?;

        let Some(key) = issuer.key(algorithm, header.kid.as_deref(), now).await else {
            return refuse("no key of the issuer fits the header");
        };
        if !key.verifies(message.as_bytes(), signature) {
            return refuse("the signature does not verify");
        }
        let name = members.get("name").and_then(Value::as_str);
        let name = name.filter(|name| (1..=120).contains(&name.chars().count()) && !name.contains(char::is_control));
        Ok(Verified {
            email: issuer.email(&members),
            name: name.map(str::to_owned),
            issuer: claims.iss,
            subject: claims.sub,
            issued_at: claims.iat,
            token_id: claims.jti,
            reach,
        })
    }
}

/// Whether the claims hold, whoever signed them.
fn check(claims: &Claims, issuer: &Issuer, now: i64) -> Result<(), &'static str> {
    let names_us = match &claims.aud {
        Audience::One(audience) => *audience == issuer.audience,
        Audience::Many(audiences) => audiences.contains(&issuer.audience),
    };
    if !names_us {
        return Err("the token is for another audience");
    }
    if !is_name(&claims.sub) || claims.sub.trim().is_empty() {
        return Err("the subject is blank, too long, or no text");
    }
    if claims.jti.as_deref().is_some_and(|id| !is_name(id)) {
        return Err("the token's id is empty, too long, or no text");
    }
    // Saturating: the numbers are the sender's.
    if claims.exp.saturating_add(LEEWAY) <= now {
        return Err("the token has expired");
    }
    if claims.nbf.is_some_and(|nbf| nbf.saturating_sub(LEEWAY) > now) {
        return Err("the token is not valid yet");
    }
    let issued_at = claims.iat.unwrap_or(now);
    if issued_at.saturating_sub(LEEWAY) > now {
        return Err("the token is from the future");
    }
    if claims.exp.saturating_sub(issued_at) > MAX_LIFETIME + LEEWAY {
        return Err("the token lives longer than 24 hours");
    }
    Ok(())
}

/// Whether `text` may be a subject or a token's id.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control)
}

impl Key {
    /// Whether `signature`, in base64url, is this key's over `message`.
    fn verifies(&self, message: &[u8], signature: &str) -> bool {
        match &self.material {
            Material::Secret(key) => {
                let algorithm = match self.algorithm {
                    Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
                    Algorithm::Hs384 => jsonwebtoken::Algorithm::HS384,
                    Algorithm::Hs512 => jsonwebtoken::Algorithm::HS512,
                    _ => return false,
                };
                crypto::verify(signature, message, key, algorithm).unwrap_or(false)
            }
            // The key was parsed for its one algorithm.
            Material::Public(key) => BASE64URL_NOPAD
                .decode(signature.as_bytes())
                .is_ok_and(|signature| key.verify_sig(message, &signature).is_ok()),
        }
    }
}

/// Signs claims with HS256: for the tokens that `patchbay dev` hands out. A service in production issues none.
///
/// # Errors
/// When the claims cannot be written as JSON, which they always can.
pub fn sign(claims: &Claims, secret: &SecretString) -> Result<String> {
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(jsonwebtoken::Algorithm::HS256), claims, &key).map_err(Error::internal)
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
            jti: None,
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

/// The object in one part of a token.
fn decode(part: &str, refused: &[&str]) -> Result<Map<String, Value>> {
    let bytes =
        BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Error::Unauthenticated("the token is not base64url"))?;
    let members = json::object(&bytes)
        .ok_or(Error::Unauthenticated("the token is not of JSON objects, or has a member twice"))?;
    if refused.iter().any(|name| members.contains_key(*name)) {
        return Err(Error::Unauthenticated("the token has a member that is refused"));
    }
    if NEVER_NULL.iter().any(|name| members.get(*name).is_some_and(Value::is_null)) {
        return Err(Error::Unauthenticated("the token has a null where a value must be"));
    }
    Ok(members)
}

fn typed<'a, T: Deserialize<'a>>(members: &'a Map<String, Value>) -> Result<T> {
    T::deserialize(members).map_err(|_| Error::Unauthenticated("a claim is missing or of the wrong type"))
}
