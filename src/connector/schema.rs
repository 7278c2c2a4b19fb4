//! Schemas that an organization writes for its own connectors: what they may say, and how much work they may make.
//!
//! A schema is a program that somebody else gives us to run. A few lines of it can ask for more memory and time than the
//! service has: references that double at each step or come back to themselves, patterns that a backtracking engine tries
//! for years, a thousand errors for each of ten thousand values. So references lead into the schema itself and to no
//! loop, patterns run on an engine whose time is linear, and what is left is weighed, with all references unfolded. The
//! values of a schema times the values of a configuration bound what is looked at and how many errors there are; its
//! patterns times the text of a configuration bound what is matched, for a large pattern is slow though linear.

use std::collections::{HashMap, HashSet};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value, json};

use super::Compiled;
use crate::error::{Code, Rejection};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const MAX_BYTES: usize = 64 * 1024;
/// The heaviest schema, in values, with references unfolded. One of 64 KiB without references stays below.
const MAX_WEIGHT: usize = 20_000;
/// The most that a schema and a configuration may be together: the product of their values.
const MAX_WORK: usize = 1_000_000;
/// How deep schemas nest, through references too. Each level takes a piece of the stack.
const MAX_DEPTH: usize = 32;
const MAX_PATTERNS: usize = 50;
/// The largest pattern, compiled, in bytes.
const MAX_PATTERN: usize = 64 * 1024;
/// The most text that is matched: bytes of a configuration, times patterns.
const MAX_MATCHING: usize = 256 * 1024;

/// Keywords that hold a schema, a list of them, or schemas by name. Everything else is data, where `$ref` is a name.
const ONE: [&str; 10] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
];
const LIST: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// Keywords that would let a reference mean something else than it says; and those that make the validator go over what lies
/// below them once more on each level, which takes eight times as long for every two.
const REFUSED: [&str; 9] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// The schema of those who give none: an object that may be anything.
pub fn anything() -> Value {
    json!({"$schema": DIALECT, "type": "object"})
}

/// What is wrong with a schema: the first thing.
pub fn check(schema: &Value, field: &[&str]) -> Option<Rejection> {
    problem(schema).map(|message| Rejection::new(Code::Invalid, field, message))
}

fn problem(schema: &Value) -> Option<String> {
    if schema.to_string().len() > MAX_BYTES {
        return Some(format!("A schema has at most {} KiB.", MAX_BYTES / 1024));
    }
    if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
        let place = error.instance_path().as_str();
        let place = if place.is_empty() { "the schema" } else { place };
        return Some(format!("It is no JSON Schema 2020-12: {place}: {}", error.masked_with("the value")));
    }
    if schema.get("type") != Some(&json!("object")) {
        return Some("The schema describes an object: its type is \"object\".".to_owned());
    }
    match weigh(schema) {
        Ok(weight) if weight.values > MAX_WEIGHT => {
            return Some(format!("A schema has at most {MAX_WEIGHT} values, its references unfolded."));
        }
        Ok(_) => {}
        Err(message) => return Some(message),
    }
    validator(schema).is_none().then(|| {
        "A pattern cannot be used: it is no regular expression, needs look-around or a back-reference, or is too large."
            .to_owned()
    })
}

/// The schema, ready to run, if it passes [`check`].
pub(super) fn compile(schema: &Value) -> Option<Compiled> {
    let weight = weigh(schema).ok().filter(|weight| weight.values <= MAX_WEIGHT)?;
    Some(Compiled { validator: validator(schema)?, weight })
}

fn validator(schema: &Value) -> Option<Validator> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN))
        .build(schema)
        .ok()
}

/// How much a schema makes of each value, with all references unfolded.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    values: usize,
    patterns: usize,
}

impl Weight {
    /// Whether a configuration is too much for a schema of this weight.
    pub(super) fn check(self, configuration: &Value, field: &[&str]) -> Option<Rejection> {
        let work = self.values.saturating_mul(values(configuration));
        let matching = self.patterns.saturating_mul(text(configuration));
        (work > MAX_WORK || matching > MAX_MATCHING).then(|| {
            Rejection::new(Code::Invalid, field, "The configuration and the connector's schema are too large together.")
        })
    }
}

/// How much text there is in a value, in bytes, the names of members included.
fn text(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text).sum(),
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + text(member)).sum(),
        _ => 0,
    }
}

/// How many values there are in a value, itself and the names of members included.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(|member| 1 + values(member)).sum::<usize>(),
        _ => 1,
    }
}

/// What a schema weighs, its references unfolded.
///
/// # Errors
/// What it may not say, in words.
fn weigh(schema: &Value) -> Result<Weight, String> {
    let mut scales = Scales { root: schema, known: HashMap::new(), open: HashSet::new(), patterns: 0 };
    let size = scales.schema(schema, 0)?;
    if scales.patterns > MAX_PATTERNS {
        return Err(format!("A schema has at most {MAX_PATTERNS} patterns."));
    }
    Ok(size.weight)
}

#[derive(Clone, Copy, Default)]
struct Size {
    weight: Weight,
    depth: usize,
}

impl Size {
    fn of(values: usize) -> Self {
        Self { weight: Weight { values, patterns: 0 }, depth: 0 }
    }

    fn add(&mut self, part: Self) {
        self.weight.values = self.weight.values.saturating_add(part.weight.values);
        self.weight.patterns = self.weight.patterns.saturating_add(part.weight.patterns);
        self.depth = self.depth.max(part.depth);
    }
}

/// Each schema is weighed once, and counted as often as something refers to it. Schemas are told apart by where they lie
/// in memory.
struct Scales<'a> {
    root: &'a Value,
    known: HashMap<*const Value, Size>,
    /// Those that are being weighed: a reference to one of them would be a loop.
    open: HashSet<*const Value>,
    patterns: usize,
}

impl<'a> Scales<'a> {
    fn schema(&mut self, schema: &'a Value, depth: usize) -> Result<Size, String> {
        let place = std::ptr::from_ref(schema);
        if self.open.contains(&place) {
            return Err("A $ref comes back to itself.".to_owned());
        }
        let size = match self.known.get(&place) {
            Some(size) => *size,
            None => Size::default(),
        };
        if depth + size.depth > MAX_DEPTH {
            return Err(format!("Schemas nest at most {MAX_DEPTH} levels deep, references included."));
        }
        if size.weight.values > 0 {
            return Ok(size);
        }
        let mut size = Size::of(1);
        if let Value::Object(keywords) = schema {
            self.open.insert(place);
            for (keyword, value) in keywords {
                size.add(self.keyword(keyword, value, depth)?);
            }
            self.open.remove(&place);
        }
        size.depth += 1;
        self.known.insert(place, size);
        Ok(size)
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value, depth: usize) -> Result<Size, String> {
        if REFUSED.contains(&keyword) {
            return Err(format!("A schema here goes without {keyword}."));
        }
        let mut size = Size::of(1);
        match (keyword, value) {
            ("$schema", Value::String(dialect)) if dialect.trim_end_matches('#') == DIALECT => {}
            ("$schema", _) => return Err(format!("$schema, where it is given, is {DIALECT}.")),
            ("$ref", Value::String(pointer)) => size.add(self.schema(self.target(pointer)?, depth + 1)?),
            ("patternProperties", Value::Object(named)) => {
                self.patterns += named.len();
                size.weight.patterns += named.len();
                size.add(self.named(named, depth)?);
            }
            ("pattern", _) => {
                self.patterns += 1;
                size.weight.patterns += 1;
            }
            (name, Value::Object(named)) if NAMED.contains(&name) => size.add(self.named(named, depth)?),
            (name, Value::Array(schemas)) if LIST.contains(&name) => {
                for schema in schemas {
                    size.add(self.schema(schema, depth + 1)?);
                }
            }
            (name, schema @ (Value::Object(_) | Value::Bool(_))) if ONE.contains(&name) => {
                size.add(self.schema(schema, depth + 1)?);
            }
            (_, data) => size.weight.values += values(data),
        }
        Ok(size)
    }

    fn named(&mut self, schemas: &'a Map<String, Value>, depth: usize) -> Result<Size, String> {
        let mut size = Size::default();
        for schema in schemas.values() {
            size.weight.values += 1;
            match schema {
                Value::Array(names) => size.weight.values += names.len(),
                schema => size.add(self.schema(schema, depth + 1)?),
            }
        }
        Ok(size)
    }

    fn target(&self, pointer: &str) -> Result<&'a Value, String> {
        let within = pointer.strip_prefix('#').filter(|path| path.is_empty() || path.starts_with('/'));
        let Some(path) = within.filter(|path| !path.contains('%')) else {
            return Err("A $ref leads into the schema itself: #/$defs/name, without % and anchors.".to_owned());
        };
        match self.root.pointer(path) {
            Some(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(schema),
            _ => Err("A $ref leads to no schema.".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(rest: Value) -> Value {
        let (Value::Object(mut schema), Value::Object(rest)) = (json!({"type": "object"}), rest) else {
            unreachable!()
        };
        schema.extend(rest);
        Value::Object(schema)
    }

    /// Each definition refers twice to the next: a few lines that unfold into more than anybody can look at.
    fn doubling(levels: usize) -> Value {
        let mut definitions = Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        definitions.insert(format!("d{levels}"), json!({"type": "string"}));
        object(json!({"$defs": definitions, "properties": {"a": {"$ref": "#/$defs/d0"}}}))
    }

    #[test]
    fn ordinary_schemas_are_accepted() {
        for schema in [
            anything(),
            object(json!({"$schema": format!("{DIALECT}#"), "additionalProperties": false})),
            object(json!({"properties": {"$ref": {"type": "string", "pattern": "^[a-z]{1,100}$"}}})),
            object(
                json!({"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/a"}}}),
            ),
            object(json!({"default": {"$ref": "https://example.com"}, "examples": [{"$id": 1}]})),
            doubling(5),
        ] {
            assert_eq!(problem(&schema), None, "{schema}");
            assert!(compile(&schema).is_some());
        }
        for connector in super::super::catalog::all() {
            assert_eq!(problem(&connector.configuration_schema), None, "{}", connector.id);
        }
    }

    #[test]
    fn what_could_not_be_run_safely_is_refused() {
        let loops = json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}});
        let mut chain = Map::new();
        for link in 0..500 {
            chain.insert(format!("c{link}"), json!({"$ref": format!("#/$defs/c{}", link + 1)}));
        }
        chain.insert("c500".to_owned(), json!(true));
        let patterns: Map<_, _> = (0..51).map(|n| (format!("p{n}"), json!({"pattern": "a"}))).collect();
        for (schema, message) in [
            (json!({"type": "object", "properties": 5}), "no JSON Schema 2020-12: /properties"),
            (json!({"type": "string"}), "its type is \"object\""),
            (json!({}), "its type is \"object\""),
            (object(json!({"$schema": "http://json-schema.org/draft-07/schema#"})), "$schema"),
            (object(json!({"$ref": "https://example.com/schema.json"})), "leads into the schema itself"),
            (object(json!({"$ref": "other.json#/a"})), "leads into the schema itself"),
            (object(json!({"items": {"$ref": "file:///etc/passwd"}})), "leads into the schema itself"),
            (object(json!({"properties": {"a": {"$id": "https://example.com/x", "$ref": "y"}}})), "$id"),
            (object(json!({"$dynamicRef": "#x"})), "$dynamicRef"),
            (object(json!({"$ref": "#/$defs/nothing"})), "leads to no schema"),
            (object(json!({"$ref": "#/type"})), "leads to no schema"),
            (object(json!({"properties": {"a": {"$ref": "#"}}})), "comes back to itself"),
            (object(loops), "comes back to itself"),
            (doubling(14), "its references unfolded"),
            (doubling(28), "nest at most"),
            (object(json!({"$defs": chain})), "nest at most"),
            (object(json!({"properties": {"a": {"pattern": "("}}})), "pattern"),
            (object(json!({"properties": {"a": {"pattern": "(?=a)b"}}})), "pattern cannot be used"),
            (object(json!({"properties": {"a": {"pattern": "(a)\\1"}}})), "pattern cannot be used"),
            (object(json!({"properties": {"a": {"pattern": "(\\w{1000}){1000}"}}})), "pattern cannot be used"),
            (
                object(json!({"properties": {"a": {"pattern": "(".repeat(20_000) + &")".repeat(20_000)}}})),
                "pattern cannot be used",
            ),
            (object(json!({"properties": {"a": {"pattern": "[".repeat(20_000)}}})), "pattern"),
            (object(json!({"properties": patterns})), "at most 50 patterns"),
            (object(json!({"description": "x".repeat(65 * 1024)})), "64 KiB"),
        ] {
            let found = problem(&schema).unwrap_or_default();
            assert!(found.contains(message), "{schema:.200}: {found}");
        }
    }

    /// `(a+)+$` keeps a backtracking engine busy for longer than anybody waits.
    #[test]
    fn a_pattern_takes_linear_time_and_much_work_is_refused() {
        let evil = compile(&object(json!({"properties": {"a": {"pattern": "^(a+)+$"}}}))).unwrap();
        let began = std::time::Instant::now();
        assert!(!evil.validator.is_valid(&json!({"a": format!("{}!", "a".repeat(60_000))})));
        let mut random = 1_u32;
        let noise: String = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 31 == 0 { 'a' } else { 'b' }
        })
        .take(30_000)
        .collect();
        // The slowest that is let through: large patterns that keep all their states busy, over and over on the same text.
        let slow = json!({"pattern": "a[ab]{900}c"});
        let slow = compile(&object(
            json!({"$defs": {"s": slow}, "properties": {"a": {"allOf": vec![json!({"$ref": "#/$defs/s"}); 7]}}}),
        ));
        let (slow, value) = (slow.unwrap(), json!({"a": noise}));
        assert!(slow.weight.check(&value, &[]).is_none());
        assert!(!slow.validator.is_valid(&value));
        assert!(slow.weight.check(&json!({"a": "abc".repeat(12_000)}), &[]).is_some());
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());

        let falsehoods = vec![json!(false); 1000];
        let heavy = compile(&object(json!({"properties": {"a": {"items": {"allOf": falsehoods}}}}))).unwrap();
        assert!(heavy.weight.check(&json!({"a": vec![1; 400]}), &[]).is_none());
        assert!(heavy.weight.check(&json!({"a": vec![1; 5000]}), &[]).is_some());
    }
}
