//! Typed object ids.
//!
//! On the wire an id is its prefix, `_`, and 26 lower-case Crockford base-32 characters of a version 7 UUID (`TypeID`'s
//! form); in the database it is the `uuid`. One type for each kind of object, so that an organization's id cannot be
//! passed where a configuration's is meant. Only the canonical spelling is accepted: upper case, or `o` for `0`, is no id.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;
use uuid::Uuid;

/// The text is not an id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id")]
pub struct InvalidId;

fn digits(id: Uuid) -> String {
    let mut text = Ulid::from(id.as_u128()).to_string();
    text.make_ascii_lowercase();
    text
}

fn encode(prefix: &str, id: Uuid) -> String {
    format!("{prefix}_{}", digits(id))
}

fn decode(prefix: &str, text: &str) -> Result<Uuid, InvalidId> {
    let given = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or(InvalidId)?;
    if given.len() != 26 {
        return Err(InvalidId);
    }
    let id = Uuid::from_u128(Ulid::from_string(given).map_err(|_| InvalidId)?.0);
    if encode(prefix, id) == text { Ok(id) } else { Err(InvalidId) }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

/// What makes a request id differ from all others: 26 characters, like an object's.
pub fn request_suffix() -> String {
    digits(new_uuid())
}

/// What kind of object an id is of, by its prefix.
pub fn kind(id: &str) -> Option<&'static str> {
    let (prefix, _) = id.split_once('_')?;
    match prefix {
        "org" => Some("organization"),
        "user" => Some("user"),
        "mem" => Some("organization_member"),
        "key" => Some("api_key"),
        "pconf" => Some("personal_connector_configuration"),
        "pcon" => Some("personal_connector"),
        "grant" => Some("configuration_grant"),
        "aud" => Some("audit_log_entry"),
        _ => None,
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            diesel::expression::AsExpression, diesel::deserialize::FromSqlRow,
        )]
        #[diesel(sql_type = diesel::sql_types::Uuid)]
        pub struct $name(Uuid);

        impl $name {
            #[doc = concat!("`", $prefix, "`: what every id of this kind begins with, before the underscore.")]
            pub const PREFIX: &'static str = $prefix;

            /// A new id. Ids made later sort later, to the millisecond.
            pub fn generate() -> Self {
                Self(new_uuid())
            }

            /// The 16 bytes that the database holds.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&encode($prefix, self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                decode($prefix, text).map(Self)
            }
        }

        impl diesel::serialize::ToSql<diesel::sql_types::Uuid, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                <Uuid as diesel::serialize::ToSql<diesel::sql_types::Uuid, diesel::pg::Pg>>::to_sql(&self.0, out)
            }
        }

        impl diesel::deserialize::FromSql<diesel::sql_types::Uuid, diesel::pg::Pg> for $name {
            fn from_sql(bytes: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                <Uuid as diesel::deserialize::FromSql<diesel::sql_types::Uuid, diesel::pg::Pg>>::from_sql(bytes).map(Self)
            }
        }
    };
}

id_type!(
    /// An organization: the tenant.
    OrganizationId,
    "org"
);
id_type!(
    /// A person.
    UserId,
    "user"
);
id_type!(
    /// A person's membership of an organization.
    MemberId,
    "mem"
);
id_type!(
    /// An API key.
    ApiKeyId,
    "key"
);
id_type!(
    /// A personal connector configuration.
    ConfigurationId,
    "pconf"
);
id_type!(
    /// A connector that an organization has defined for itself.
    ConnectorId,
    "pcon"
);
id_type!(
    /// Access to a configuration, given to somebody who does not own it.
    GrantId,
    "grant"
);
id_type!(
    /// An entry of the audit log.
    AuditEntryId,
    "aud"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_reads_back_as_itself_and_as_no_other_kind(bits: u128) {
            let id = ConfigurationId::from(Uuid::from_u128(bits));
            let text = id.to_string();
            prop_assert_eq!(text.len(), "pconf_".len() + 26);
            prop_assert_eq!(text.parse(), Ok(id));
            prop_assert_eq!(text.parse::<UserId>(), Err(InvalidId));
            prop_assert_eq!(text.to_uppercase().parse::<ConfigurationId>(), Err(InvalidId));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<ConfigurationId>();
            let _ = format!("pconf_{text}").parse::<ConfigurationId>();
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let id = ConfigurationId::generate().to_string();
        assert!(id.parse::<ConfigurationId>().is_ok());
        // The first character holds 3 bits: more would not fit into 128.
        assert_eq!(format!("pconf_8{}", &id[7..]).parse::<ConfigurationId>(), Err(InvalidId));
        assert_eq!(format!("pconf_{}", "l".repeat(26)).parse::<ConfigurationId>(), Err(InvalidId));
    }
}
