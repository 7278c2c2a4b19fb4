//! Who may issue tokens, what proves them, and what they may decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::jwks::KeySet;
use super::key::{Algorithm, Key};
use super::policy::Role;

/// The most organizations, and the most roles, that one token may name.
const MAX_VALUES: usize = 1000;
/// The longest name of one, in bytes.
const MAX_VALUE: usize = 255;
const ROLES_WRONG: &str = "the token's roles are not a text, nor a list of at most 1000 texts";

/// An issuer, as configured. Nothing of it is ever taken from a token.
pub struct Issuer {
    /// `iss`, compared exactly.
    pub issuer: String,
    /// `aud` must name this.
    pub audience: String,
    /// What proves a token.
    pub keys: Keys,
    /// Which `typ` a token may have.
    pub token_type: TokenType,
    /// Where an organization comes from.
    pub organizations: Organizations,
    /// The claim with the e-mail address; `None` when addresses of this issuer prove nothing.
    pub email_claim: Option<String>,
}

/// What proves a token.
pub enum Keys {
    /// Keys that the settings hold.
    Fixed(Vec<Arc<Key>>),
    /// A set that the issuer publishes.
    Published(Arc<KeySet>),
}

/// Which `typ` a token may have in its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// None, `JWT`, or `at+jwt`.
    #[default]
    Any,
    /// None, or `JWT`.
    Jwt,
    /// `at+jwt` (RFC 9068) and nothing else: what an issuer needs that signs ID tokens for the same audience.
    AccessToken,
}

impl TokenType {
    pub(super) fn allows(self, typ: Option<&str>) -> bool {
        let Some(typ) = typ else { return self != Self::AccessToken };
        let typ = typ.to_ascii_lowercase();
        let access_token = ["at+jwt", "application/at+jwt"].contains(&typ.as_str());
        (typ == "jwt" && self != Self::AccessToken) || (access_token && self != Self::Jwt)
    }
}

/// Where an organization comes from.
pub enum Organizations {
    /// The members table alone: somebody must have added the person. The claim `org`, one of our ids, narrows a token.
    Members,
    /// A claim of the token. The issuer decides who belongs to the organizations that are linked to it, and to no others.
    Claim {
        /// The claim's name. Its value is a text or a list of texts.
        claim: String,
        /// The claim with the role, and what its words mean to us.
        role: Option<RoleClaim>,
        /// The role of somebody whose token names none that we know.
        default_role: Role,
    },
}

/// Where a role comes from.
pub struct RoleClaim {
    /// The claim's name. Its value is a text or a list of texts; the highest role counts.
    pub claim: String,
    /// Their word, our role.
    pub roles: BTreeMap<String, Role>,
}

/// What a token says about organizations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Any that the person is a member of, or the one that the token is held to.
    Members {
        /// An organization's id, if it is one.
        pinned: Option<String>,
    },
    /// These, in the issuer's words.
    Claimed {
        /// At least one.
        values: Vec<String>,
        /// The role, where the issuer decides it.
        role: Option<Role>,
        /// The role of somebody who is new.
        default_role: Role,
    },
}

impl Issuer {
    /// An issuer whose people are those of the members table.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, keys: Vec<Key>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            keys: Keys::Fixed(keys.into_iter().map(Arc::new).collect()),
            token_type: TokenType::Any,
            organizations: Organizations::Members,
            email_claim: Some("email".to_owned()),
        }
    }

    /// Says in the log what proves its tokens, and which of them are for us.
    pub fn log(&self) {
        let proof = match &self.keys {
            Keys::Fixed(keys) if keys.iter().any(|key| key.algorithm.min_secret().is_some()) => "secret",
            Keys::Fixed(_) => "keys",
            Keys::Published(set) => set.setting(),
        };
        let token_type = match self.token_type {
            TokenType::Any => "any",
            TokenType::Jwt => "JWT",
            TokenType::AccessToken => "at+jwt",
        };
        tracing::info!(issuer = self.issuer, proof, token_type, "tokens of this issuer are believed");
        // Whoever publishes keys signs ID tokens too, as a rule, and with these keys.
        if matches!(self.keys, Keys::Published(_)) && self.token_type == TokenType::Any {
            tracing::warn!(
                issuer = self.issuer,
                "an ID token of this issuer would do if it is for our audience; set token_type to at+jwt or JWT"
            );
        }
    }

    /// The key that a header names; without a name, the only one that fits. A configured key without a name fits any.
    pub(super) async fn key(&self, algorithm: Algorithm, id: Option<&str>, now: DateTime<Utc>) -> Option<Arc<Key>> {
        let keys = match &self.keys {
            // Nobody publishes a secret, so nobody is asked for one.
            Keys::Published(_) if algorithm.min_secret().is_some() => return None,
            Keys::Published(set) => return set.find(algorithm, id, now).await,
            Keys::Fixed(keys) => keys,
        };
        let mut fitting = keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.is_none() || key.id.as_deref() == id));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(key.clone()),
            _ => None,
        }
    }

    /// What verified claims say about organizations; or what is wrong with a claim that decides, for the log.
    pub(super) fn reach(&self, claims: &Map<String, Value>) -> Result<Reach, &'static str> {
        let unnamed = "the token names no organization rightly";
        match &self.organizations {
            Organizations::Members => match claims.get("org") {
                None | Some(Value::Null) => Ok(Reach::Members { pinned: None }),
                Some(Value::String(id)) => Ok(Reach::Members { pinned: Some(id.clone()) }),
                Some(_) => Err(unnamed),
            },
            Organizations::Claim { claim, role, default_role } => {
                let values = claims.get(claim).and_then(texts).filter(|values| !values.is_empty()).ok_or(unnamed)?;
                let role = match role {
                    None => None,
                    Some(RoleClaim { claim, roles }) => {
                        let words = match claims.get(claim) {
                            // Some issuers leave an empty list out.
                            None | Some(Value::Null) => Vec::new(),
                            Some(words) => texts(words).ok_or(ROLES_WRONG)?,
                        };
                        // Whoever has lost every role that we know does not keep the one of yesterday.
                        let known = words.iter().filter_map(|word| roles.get(word).copied()).max();
                        Some(known.unwrap_or(*default_role))
                    }
                };
                Ok(Reach::Claimed { values, role, default_role: *default_role })
            }
        }
    }

    /// The e-mail address, if the issuer says that it has been verified.
    pub(super) fn email(&self, claims: &Map<String, Value>) -> Option<String> {
        let email = claims.get(self.email_claim.as_ref()?)?.as_str()?;
        let verified = claims.get("email_verified") == Some(&Value::Bool(true));
        let plausible = (3..=320).contains(&email.len())
            && email.is_ascii()
            && email.contains('@')
            && !email.contains(char::is_control);
        (verified && plausible).then(|| email.to_owned())
    }
}

/// A text, or a list of texts.
fn texts(value: &Value) -> Option<Vec<String>> {
    let texts: Vec<String> = match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    let good = |text: &String| (1..=MAX_VALUE).contains(&text.len()) && !text.contains(char::is_control);
    (texts.len() <= MAX_VALUES && texts.iter().all(good)).then_some(texts)
}
