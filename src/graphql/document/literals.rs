//! The values in a document and in its variables: text that the database can keep, filters that mean what they say.

use async_graphql::parser::types::{Directive, Selection, SelectionSet};
use async_graphql::{Name, Positioned, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::measure::Defaults;
use super::{ArgumentPlaces, Violation};

/// The longest list in a filter.
const MAX_FILTER_LIST: usize = 100;
/// How deep values nest: more than any configuration may (32), and far less than a stack holds.
const MAX_VALUE_DEPTH: usize = 48;
/// How deep a filter nests, its lists included: enough for 4 levels of `or` around a condition on metadata. Filters are
/// read into nested types, each level of which takes a large piece of the stack.
const MAX_FILTER_DEPTH: usize = 16;

/// Walks the arguments that stand in the document.
pub(super) struct Literals<'a> {
    variables: &'a Variables,
    defaults: Defaults<'a>,
    pub(super) places: ArgumentPlaces,
}

impl<'a> Literals<'a> {
    pub(super) fn new(variables: &'a Variables, defaults: Defaults<'a>) -> Self {
        Self { variables, defaults, places: ArgumentPlaces::new() }
    }

    pub(super) fn selection_set(&mut self, set: &'a SelectionSet) -> Result<(), Violation> {
        for selection in &set.items {
            self.directives(selection.node.directives())?;
            match &selection.node {
                Selection::Field(field) => {
                    self.arguments(&field.node.arguments)?;
                    self.selection_set(&field.node.selection_set.node)?;
                }
                Selection::InlineFragment(fragment) => self.selection_set(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn directives(&mut self, directives: &'a [Positioned<Directive>]) -> Result<(), Violation> {
        directives.iter().try_for_each(|directive| self.arguments(&directive.node.arguments))
    }

    fn arguments(&mut self, arguments: &'a [(Positioned<Name>, Positioned<Value>)]) -> Result<(), Violation> {
        for (name, value) in arguments {
            self.places.insert(value.pos, name.node.to_string());
            let mut path = vec![name.node.to_string()];
            check_literal_text(&value.node, &mut path)?;
            match name.node.as_str() {
                "filter" => self.check_filter(&value.node, &mut path)?,
                "selector" => self.check_selector(&value.node, &mut path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A selector may hold a filter, to which the same applies.
    fn check_selector(&self, value: &Value, path: &mut Vec<String>) -> Result<(), Violation> {
        match value {
            Value::Variable(name) => {
                let set = self.variables.get(name).or_else(|| self.defaults.get(name.as_str()).copied());
                match set {
                    Some(ConstValue::Object(members)) => members.get("filter").map_or(Ok(()), |filter| {
                        within(path, "filter".to_owned(), |path| check_const_filter(filter, path))
                    }),
                    _ => Ok(()),
                }
            }
            Value::Object(members) => members
                .get("filter")
                .map_or(Ok(()), |filter| within(path, "filter".to_owned(), |path| self.check_filter(filter, path))),
            _ => Ok(()),
        }
    }

    /// A null inside a filter is most often a variable that somebody forgot to set. Taken for "no condition" it would
    /// show more than was meant.
    fn check_filter(&self, value: &Value, path: &mut Vec<String>) -> Result<(), Violation> {
        if path.len() > MAX_FILTER_DEPTH {
            return Err(too_deep(path, MAX_FILTER_DEPTH));
        }
        match value {
            Value::Variable(name) => {
                let set = self.variables.get(name).or_else(|| self.defaults.get(name.as_str()).copied());
                set.map_or(Ok(()), |value| check_const_filter(value, path))
            }
            Value::Null if path.len() > 1 => Err(null_in_filter(path)),
            Value::List(items) => {
                check_length(items.len(), path)?;
                items
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, item)| within(path, index.to_string(), |path| self.check_filter(item, path)))
            }
            Value::Object(members) => members.iter().try_for_each(|(name, member)| {
                let is_object = match member {
                    Value::Object(_) => true,
                    Value::Variable(name) => matches!(self.variables.get(name), Some(ConstValue::Object(_))),
                    _ => false,
                };
                if is_json(name, is_object) {
                    return Ok(());
                }
                within(path, name.to_string(), |path| self.check_filter(member, path))
            }),
            _ => Ok(()),
        }
    }
}

fn check_length(length: usize, path: &[String]) -> Result<(), Violation> {
    if length > MAX_FILTER_LIST {
        let message = format!("A list in a filter has at most {MAX_FILTER_LIST} values.");
        return Err(Violation { code: "BAD_USER_INPUT", message, argument: Some(path.join(".")) });
    }
    Ok(())
}

/// `contains` of metadata and configuration is JSON, where null is a value; of text it is text.
fn is_json(name: &Name, is_object: bool) -> bool {
    name == "contains" && is_object
}

fn null_in_filter(path: &[String]) -> Violation {
    Violation {
        code: "BAD_USER_INPUT",
        message: "A filter has no null: leave the condition out, or use `null: true` to ask for what has no value."
            .to_owned(),
        argument: Some(path.join(".")),
    }
}

fn check_const_filter(value: &ConstValue, path: &mut Vec<String>) -> Result<(), Violation> {
    if path.len() > MAX_FILTER_DEPTH {
        return Err(too_deep(path, MAX_FILTER_DEPTH));
    }
    match value {
        ConstValue::Null if path.len() > 1 => Err(null_in_filter(path)),
        ConstValue::List(items) => {
            check_length(items.len(), path)?;
            items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| within(path, index.to_string(), |path| check_const_filter(item, path)))
        }
        ConstValue::Object(members) => members.iter().try_for_each(|(name, member)| {
            if is_json(name, matches!(member, ConstValue::Object(_))) {
                return Ok(());
            }
            within(path, name.to_string(), |path| check_const_filter(member, path))
        }),
        _ => Ok(()),
    }
}

fn within(
    path: &mut Vec<String>,
    step: String,
    walk: impl FnOnce(&mut Vec<String>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    path.push(step);
    let result = if path.len() > MAX_VALUE_DEPTH { Err(too_deep(path, MAX_VALUE_DEPTH)) } else { walk(path) };
    path.pop();
    result
}

fn too_deep(path: &[String], max: usize) -> Violation {
    let message = format!("The value nests more than {max} levels deep.");
    Violation { code: "BAD_USER_INPUT", message, argument: path.first().cloned() }
}

/// Postgres keeps no U+0000 in text.
fn check_string(text: &str, path: &[String]) -> Result<(), Violation> {
    if text.contains('\0') {
        return Err(Violation {
            code: "BAD_USER_INPUT",
            message: "Text must not contain the character U+0000.".to_owned(),
            argument: Some(path.join(".")),
        });
    }
    Ok(())
}

pub(super) fn check_text(value: &ConstValue, path: &mut Vec<String>) -> Result<(), Violation> {
    match value {
        ConstValue::String(text) => check_string(text, path),
        ConstValue::List(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| within(path, index.to_string(), |path| check_text(item, path))),
        ConstValue::Object(members) => members.iter().try_for_each(|(name, member)| {
            check_string(name, path)?;
            within(path, name.to_string(), |path| check_text(member, path))
        }),
        _ => Ok(()),
    }
}

fn check_literal_text(value: &Value, path: &mut Vec<String>) -> Result<(), Violation> {
    match value {
        Value::String(text) => check_string(text, path),
        Value::List(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| within(path, index.to_string(), |path| check_literal_text(item, path))),
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, member)| within(path, name.to_string(), |path| check_literal_text(member, path))),
        _ => Ok(()),
    }
}
