//! Enums that the database keeps as their documented text.

/// Maps an enum with `as_str` and `parse` to a `text` column. A row with another text names itself in the error.
macro_rules! text_enum {
    ($($name:ty),* $(,)?) => {$(
        impl diesel::serialize::ToSql<diesel::sql_types::Text, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                <str as diesel::serialize::ToSql<diesel::sql_types::Text, diesel::pg::Pg>>::to_sql(self.as_str(), out)
            }
        }

        impl diesel::deserialize::FromSql<diesel::sql_types::Text, diesel::pg::Pg> for $name {
            fn from_sql(bytes: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                let text = <String as diesel::deserialize::FromSql<diesel::sql_types::Text, diesel::pg::Pg>>::from_sql(bytes)?;
                <$name>::parse(&text).ok_or_else(|| format!("{} has no value {text:?}", stringify!($name)).into())
            }
        }
    )*};
}
text_enum!(
    crate::auth::policy::Role,
    crate::auth::policy::Scope,
    crate::vault::Kind,
    super::configuration::HealthStatus,
    super::grant::Permission,
    super::organization_key::KeyState
);
