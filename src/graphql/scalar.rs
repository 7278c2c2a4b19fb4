//! Scalars of the contract.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{Datelike as _, SecondsFormat, Utc};
use serde_json::Map;

/// RFC 3339 timestamp, always UTC with a trailing Z, e.g. "2025-10-07T10:00:00Z". Input with any offset is accepted and
/// normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// RFC 3339 timestamp, always UTC with a trailing Z, e.g. "2025-10-07T10:00:00Z". Input with any offset is accepted and
/// normalised.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time.html")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let wrong = || InputValueError::custom("expected a timestamp such as 2025-10-07T10:00:00Z");
        let Value::String(text) = value else { return Err(wrong()) };
        let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(|_| wrong())?;
        let time = time.with_timezone(&Utc);
        // With its offset gone it must still be one that we would accept.
        if (1..=9999).contains(&time.year()) { Ok(Self(time)) } else { Err(wrong()) }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok())
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// A JSON object (never an array or a bare scalar). In variables send a plain JSON object, not a string.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonObject(pub Map<String, serde_json::Value>);

/// A JSON object (never an array or a bare scalar). In variables send a plain JSON object, not a string.
#[Scalar(
    name = "JSONObject",
    specified_by_url = "https://www.ecma-international.org/publications-and-standards/standards/ecma-404/"
)]
impl ScalarType for JsonObject {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value.into_json() {
            Ok(serde_json::Value::Object(members)) => Ok(Self(members)),
            _ => Err(InputValueError::custom("expected a JSON object")),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Object(_))
    }

    fn to_value(&self) -> Value {
        Value::from_json(serde_json::Value::Object(self.0.clone())).unwrap_or_default()
    }
}

impl From<serde_json::Value> for JsonObject {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Object(members) => Self(members),
            // The tables hold objects only: a check says so.
            _ => Self(Map::new()),
        }
    }
}

impl From<JsonObject> for serde_json::Value {
    fn from(JsonObject(members): JsonObject) -> Self {
        Self::Object(members)
    }
}

/// A value that metadata may hold: a JSON string (at most 500 characters), number or boolean.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataValue(pub serde_json::Value);

/// A value that metadata may hold: a JSON string (at most 500 characters), number or boolean.
#[Scalar(
    name = "MetadataValue",
    specified_by_url = "https://www.ecma-international.org/publications-and-standards/standards/ecma-404/"
)]
impl ScalarType for MetadataValue {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(_) | Value::Number(_) | Value::Boolean(_) => Ok(Self(value.into_json()?)),
            _ => Err(InputValueError::custom("expected a text, a number or a boolean")),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(_) | Value::Number(_) | Value::Boolean(_))
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

/// An absolute http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

/// An absolute http or https URL.
#[Scalar(name = "URL", specified_by_url = "https://url.spec.whatwg.org/")]
impl ScalarType for Url {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text)
                if url::Url::parse(&text)
                    .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) =>
            {
                Ok(Self(text))
            }
            _ => Err(InputValueError::custom("expected an absolute http or https URL")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub serde_json::Value);

/// Any JSON value.
#[Scalar(
    name = "JSON",
    specified_by_url = "https://www.ecma-international.org/publications-and-standards/standards/ecma-404/"
)]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        Ok(Self(value.into_json()?))
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}
