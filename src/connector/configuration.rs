//! What a configuration must look like before it is stored: name, description, metadata, sizes, and how patches merge.

use serde_json::{Map, Value};

use crate::error::{Code, Rejection};

const MAX_NAME: usize = 120;
const MAX_DESCRIPTION: usize = 2000;
const MAX_CONFIGURATION_BYTES: usize = 64 * 1024;
const MAX_CONFIGURATION_DEPTH: usize = 32;
const MAX_METADATA_KEYS: usize = 50;
const MAX_METADATA_KEY: usize = 40;
const MAX_METADATA_TEXT: usize = 500;

/// What is wrong with a name.
pub fn check_name(name: &str, field: &[&str]) -> Option<Rejection> {
    if name.trim().is_empty() {
        Some(Rejection::new(Code::Required, field, "A name is needed."))
    } else if name.chars().count() > MAX_NAME {
        Some(Rejection::new(Code::Invalid, field, format!("A name has at most {MAX_NAME} characters.")))
    } else if name.contains(char::is_control) {
        Some(Rejection::new(Code::Invalid, field, "A name is one line of text."))
    } else {
        None
    }
}

/// What is wrong with a description.
pub fn check_description(description: &str, field: &[&str]) -> Option<Rejection> {
    (description.chars().count() > MAX_DESCRIPTION).then(|| {
        Rejection::new(Code::Invalid, field, format!("A description has at most {MAX_DESCRIPTION} characters."))
    })
}

/// What is wrong with the size of a configuration. Its shape is the connector's to check.
pub fn check_size(configuration: &Value, field: &[&str]) -> Option<Rejection> {
    if depth(configuration) > MAX_CONFIGURATION_DEPTH {
        let message = format!("A configuration nests at most {MAX_CONFIGURATION_DEPTH} levels deep.");
        return Some(Rejection::new(Code::Invalid, field, message));
    }
    if configuration.to_string().len() > MAX_CONFIGURATION_BYTES {
        let message = format!("A configuration has at most {} KiB.", MAX_CONFIGURATION_BYTES / 1024);
        return Some(Rejection::new(Code::Invalid, field, message));
    }
    None
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// What is wrong with metadata: the first thing.
pub fn check_metadata(metadata: &Value, field: &[&str]) -> Option<Rejection> {
    let refuse = |message: String| Some(Rejection::new(Code::MetadataInvalid, field, message));
    let Value::Object(pairs) = metadata else { return refuse("Metadata are an object.".to_owned()) };
    if pairs.len() > MAX_METADATA_KEYS {
        return refuse(format!("Metadata have at most {MAX_METADATA_KEYS} keys."));
    }
    for (key, value) in pairs {
        if key.is_empty()
            || key.len() > MAX_METADATA_KEY
            || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        {
            return refuse(format!("A metadata key has 1 to {MAX_METADATA_KEY} characters of [A-Za-z0-9_.-]."));
        }
        let refuse = |message: String| {
            let path: Vec<_> = field.iter().copied().chain([key.as_str()]).collect();
            Some(Rejection::new(Code::MetadataInvalid, &path, message))
        };
        match value {
            Value::String(text) if text.chars().count() > MAX_METADATA_TEXT => {
                return refuse(format!("A metadata text has at most {MAX_METADATA_TEXT} characters."));
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {}
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return refuse("A metadata value is a text, a number or a boolean.".to_owned());
            }
        }
    }
    None
}

/// JSON Merge Patch (RFC 7386): members of `patch` replace those of `target`, objects merge, null removes.
pub fn merge_patch(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        match change {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(change) => {
                let inner = target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge_patch(inner, change);
                }
            }
            value => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The table of RFC 7386, appendix A, as far as target and patch are objects.
    #[test]
    fn merge_patch_does_as_the_rfc_says() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let (Value::Object(mut merged), Value::Object(patch)) = (target, patch) else { unreachable!() };
            merge_patch(&mut merged, &patch);
            assert_eq!(Value::Object(merged), result);
        }
    }
}
