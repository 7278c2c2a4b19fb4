//! What a document must be before it runs: small enough, and without values that could only fail later.
//!
//! Everything is measured on the parsed document, fragments counted once and multiplied, so that a short document whose
//! fragments unfold into millions of fields is refused before anything walks them. Introspection has a depth of its own:
//! the standard query needs 15.
//!
//! The cost is counted here and not by async-graphql, which refuses an argument whose variable was left out as soon as the
//! cost depends on it (8.0.0-rc.5), so that `first: $first` would need a value.

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Pos, Positioned, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::connection::{DEFAULT_PAGE, MAX_PAGE};

/// The longest document, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// How deep selections nest.
pub const MAX_DEPTH: usize = 12;
/// How deep selections nest below `__schema` and `__type`.
const MAX_INTROSPECTION_DEPTH: usize = 20;
/// What all selected fields may cost.
pub const MAX_COMPLEXITY: usize = 10_000;
/// How many fields may have an alias, after fragments are unfolded.
pub const MAX_ALIASES: usize = 30;
/// How many lists of the schema's description may lie within each other: types, their fields, their arguments, and one
/// more. Each multiplies the answer by its length.
const MAX_INTROSPECTION_LISTS: usize = 4;
const INTROSPECTION_LISTS: [&str; 8] =
    ["types", "directives", "fields", "inputFields", "args", "enumValues", "interfaces", "possibleTypes"];
const MAX_FIELDS: usize = 1000;
/// The longest list in a filter.
const MAX_FILTER_LIST: usize = 100;
const MAX_ROOT_QUERIES: usize = 20;
const MAX_ROOT_MUTATIONS: usize = 10;
const MAX_DIRECTIVES: usize = 5;
const MAX_OPERATIONS: usize = 10;
/// How deep values nest: more than any configuration may (32), and far less than a stack holds.
const MAX_VALUE_DEPTH: usize = 48;
/// How deep a filter nests, its lists included: enough for 4 levels of `or` around a condition on metadata. Filters are
/// read into nested types, each level of which takes a large piece of the stack.
const MAX_FILTER_DEPTH: usize = 16;

/// Why a document does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Stable, machine-readable.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// The argument at fault, if one is: `input.name`.
    pub argument: Option<String>,
}

fn too(code: &'static str, message: String) -> Violation {
    Violation { code, message, argument: None }
}

/// The operation that is meant, with its name.
pub fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<(Option<&'a Name>, &'a Positioned<OperationDefinition>)> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some((None, operation)),
        (DocumentOperations::Multiple(all), None) if all.len() == 1 => {
            all.iter().next().map(|(name, operation)| (Some(name), operation))
        }
        (DocumentOperations::Single(_), Some(_)) | (DocumentOperations::Multiple(_), None) => None,
        (DocumentOperations::Multiple(all), Some(wanted)) => {
            all.get_key_value(wanted).map(|(name, operation)| (Some(name), operation))
        }
    }
}

/// Names of arguments, by where their values stand in the document.
pub type ArgumentPlaces = HashMap<Pos, String>;

/// A document that may run.
#[derive(Debug)]
pub struct Checked {
    /// Where its arguments stand.
    pub places: ArgumentPlaces,
    /// What the operation costs that is meant; nothing where there is no such operation.
    pub cost: u32,
}

/// Checks a document with its variables. `name` says which operation runs.
///
/// # Errors
/// The first violation.
pub fn check(document: &ExecutableDocument, variables: &Variables, name: Option<&str>) -> Result<Checked, Violation> {
    for (name, value) in variables.iter() {
        check_text(value, &mut vec![name.to_string()])?;
    }
    if document.operations.iter().count() > MAX_OPERATIONS {
        return Err(too("QUERY_TOO_COMPLEX", format!("A document has at most {MAX_OPERATIONS} operations.")));
    }
    let meant = operation(document, name).map(|(_, meant)| meant);
    let mut cost = 0;
    let mut measure = Measure { document, variables, defaults: defaults(document), fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        let size = measure.selection_set(&operation.node.selection_set.node);
        let max_roots = match operation.node.ty {
            OperationType::Mutation => MAX_ROOT_MUTATIONS,
            OperationType::Query | OperationType::Subscription => MAX_ROOT_QUERIES,
        };
        if size.depth > MAX_DEPTH {
            return Err(too("QUERY_TOO_DEEP", format!("Selections nest at most {MAX_DEPTH} deep.")));
        }
        if size.cost > MAX_COMPLEXITY {
            let message =
                format!("The operation costs {}; {MAX_COMPLEXITY} is the most. Ask for smaller pages.", size.cost);
            return Err(too("QUERY_TOO_COMPLEX", message));
        }
        if meant.is_some_and(|meant| std::ptr::eq(meant, operation)) {
            cost = u32::try_from(size.cost).unwrap_or(u32::MAX);
        }
        for (what, count, max) in [
            ("fields on one level of the root", size.roots, max_roots),
            ("fields, fragments unfolded", size.fields, MAX_FIELDS),
            ("aliases", size.aliases, MAX_ALIASES),
            ("directives on one field", size.directives.max(operation.node.directives.len()), MAX_DIRECTIVES),
        ] {
            if count > max {
                return Err(too("QUERY_TOO_COMPLEX", format!("An operation has at most {max} {what}.")));
            }
        }
    }
    let mut literals = Literals { variables, defaults: measure.defaults, places: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        for definition in &operation.node.variable_definitions {
            if let Some(value) = &definition.node.default_value {
                check_text(&value.node, &mut vec![definition.node.name.node.to_string()])?;
            }
        }
        literals.directives(&operation.node.directives)?;
        literals.selection_set(&operation.node.selection_set.node)?;
    }
    for fragment in document.fragments.values() {
        literals.directives(&fragment.node.directives)?;
        literals.selection_set(&fragment.node.selection_set.node)?;
    }
    Ok(Checked { places: literals.places, cost })
}

/// How large a selection is.
#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    roots: usize,
    fields: usize,
    aliases: usize,
    directives: usize,
    cost: usize,
    /// How many lists of the schema's own description lie within each other.
    lists: usize,
    /// Whether the selection has the items of a connection.
    items: bool,
}

struct Measure<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    defaults: Defaults<'a>,
    /// Nothing while a fragment is being measured: a cycle counts as nothing, and validation refuses it.
    fragments: HashMap<&'a Name, Size>,
}

impl<'a> Measure<'a> {
    fn selection_set(&mut self, set: &'a SelectionSet) -> Size {
        let mut total = Size::default();
        for selection in &set.items {
            let part = match &selection.node {
                Selection::Field(field) => self.field(&field.node),
                // A spread counts as a field: a fragment of nothing but spreads unfolds as well.
                Selection::InlineFragment(fragment) => {
                    let mut size = self.selection_set(&fragment.node.selection_set.node);
                    size.directives = size.directives.max(fragment.node.directives.len());
                    size.fields = size.fields.saturating_add(1);
                    size
                }
                Selection::FragmentSpread(spread) => {
                    let mut size = self.fragment(&spread.node.fragment_name.node);
                    size.directives = size.directives.max(spread.node.directives.len());
                    size.fields = size.fields.saturating_add(1);
                    size
                }
            };
            total.lists = total.lists.max(part.lists);
            total.depth = total.depth.max(part.depth);
            total.directives = total.directives.max(part.directives);
            total.roots = total.roots.saturating_add(part.roots);
            total.fields = total.fields.saturating_add(part.fields);
            total.aliases = total.aliases.saturating_add(part.aliases);
            total.cost = total.cost.saturating_add(part.cost);
            total.items |= part.items;
        }
        total
    }

    fn field(&mut self, field: &'a Field) -> Size {
        let inner = self.selection_set(&field.selection_set.node);
        let name = field.name.node.as_str();
        let introspection = matches!(name, "__schema" | "__type");
        Size {
            cost: match name {
                "totalCount" => 5,
                "service" | "rateLimit" => 0,
                _ => 1_usize.saturating_add(inner.cost.saturating_mul(self.multiplier(field, inner.items))),
            },
            lists: inner.lists + usize::from(INTROSPECTION_LISTS.contains(&name)),
            items: matches!(name, "nodes" | "edges") && field.arguments.is_empty(),
            depth: match introspection {
                true if inner.depth <= MAX_INTROSPECTION_DEPTH && inner.lists <= MAX_INTROSPECTION_LISTS => 1,
                true => usize::MAX,
                false => inner.depth.saturating_add(1),
            },
            roots: 1,
            fields: inner.fields.saturating_add(1),
            aliases: inner.aliases.saturating_add(usize::from(field.alias.is_some())),
            directives: inner.directives.max(field.directives.len()),
        }
    }

    /// How many times what is selected in a field is resolved: the size of the page, or the number of ids.
    fn multiplier(&self, field: &Field, items: bool) -> usize {
        if let Some(ids) = field.get_argument("ids") {
            return match &ids.node {
                Value::List(ids) => ids.len(),
                Value::Variable(name) => match self.variable(name) {
                    Some(ConstValue::List(ids)) => ids.len(),
                    _ => 1,
                },
                _ => 1,
            };
        }
        if !items {
            return 1;
        }
        let size = |argument| match &field.get_argument(argument)?.node {
            Value::Number(size) => size.as_u64(),
            Value::Variable(name) => match self.variable(name)? {
                ConstValue::Number(size) => size.as_u64(),
                _ => None,
            },
            _ => None,
        };
        let size = size("first").or_else(|| size("last")).and_then(|size| usize::try_from(size).ok());
        size.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE)
    }

    fn variable(&self, name: &Name) -> Option<&ConstValue> {
        self.variables.get(name).or_else(|| self.defaults.get(name.as_str()).copied())
    }

    fn fragment(&mut self, name: &'a Name) -> Size {
        if let Some(size) = self.fragments.get(name) {
            return *size;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return Size::default() };
        self.fragments.insert(name, Size::default());
        let size = self.selection_set(&fragment.node.selection_set.node);
        self.fragments.insert(name, size);
        size
    }
}

type Defaults<'a> = HashMap<&'a str, &'a ConstValue>;

fn defaults(document: &ExecutableDocument) -> Defaults<'_> {
    document
        .operations
        .iter()
        .flat_map(|(_, operation)| &operation.node.variable_definitions)
        .filter_map(|definition| {
            let value = definition.node.default_value.as_ref()?;
            Some((definition.node.name.node.as_str(), &value.node))
        })
        .collect()
}

/// Walks the arguments that stand in the document.
struct Literals<'a> {
    variables: &'a Variables,
    defaults: Defaults<'a>,
    places: ArgumentPlaces,
}

impl<'a> Literals<'a> {
    fn selection_set(&mut self, set: &'a SelectionSet) -> Result<(), Violation> {
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

    fn directives(&mut self, directives: &'a [Positioned<Directive>]) -> Result<(), Violation> {
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

fn check_text(value: &ConstValue, path: &mut Vec<String>) -> Result<(), Violation> {
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use async_graphql::parser::parse_query;

    use super::*;

    fn violation(document: &str, variables: &serde_json::Value) -> Option<(&'static str, Option<String>)> {
        let document = parse_query(document).unwrap();
        check(&document, &Variables::from_json(variables.clone()), None).err().map(|error| (error.code, error.argument))
    }

    #[test]
    fn fragments_are_multiplied_and_not_walked() {
        let mut document = "query { ...F0 }".to_owned();
        for level in 0..60 {
            let next = level + 1;
            let _ = write!(document, " fragment F{level} on Query {{ ...F{next} ...F{next} }}");
        }
        // Whether it ends in a field, in nothing, or in something that is not there.
        for end in [" fragment F60 on Query { a }", ""] {
            assert_eq!(
                violation(&format!("{document}{end}"), &serde_json::json!({})),
                Some(("QUERY_TOO_COMPLEX", None))
            );
        }
    }

    #[test]
    fn a_cycle_ends() {
        assert_eq!(violation("{ ...A } fragment A on Query { a ...A }", &serde_json::json!({})), None);
    }

    #[test]
    fn limits_are_exact() {
        let nested = |depth: usize| format!("{}{}", "{ a ".repeat(depth), "}".repeat(depth));
        assert_eq!(violation(&nested(MAX_DEPTH), &serde_json::json!({})), None);
        assert_eq!(violation(&nested(MAX_DEPTH + 1), &serde_json::json!({})), Some(("QUERY_TOO_DEEP", None)));
        let lists = |pairs: usize| {
            format!(
                "{{ __schema {{ types {{ {} name {} }} }} }}",
                "interfaces { possibleTypes { ".repeat(pairs),
                "} }".repeat(pairs)
            )
        };
        assert_eq!(violation(&lists(1), &serde_json::json!({})), None);
        assert_eq!(violation(&lists(2), &serde_json::json!({})), Some(("QUERY_TOO_DEEP", None)));
        let introspection = |depth: usize| format!("{{ __schema {} }}", nested(depth));
        assert_eq!(violation(&introspection(MAX_INTROSPECTION_DEPTH), &serde_json::json!({})), None);
        let deeper = violation(&introspection(MAX_INTROSPECTION_DEPTH + 1), &serde_json::json!({}));
        assert_eq!(deeper, Some(("QUERY_TOO_DEEP", None)));
        let aliases = |count: usize| format!("{{ x {{ {} }} }}", "a: a ".repeat(count));
        assert_eq!(violation(&aliases(MAX_ALIASES), &serde_json::json!({})), None);
        assert_eq!(violation(&aliases(MAX_ALIASES + 1), &serde_json::json!({})), Some(("QUERY_TOO_COMPLEX", None)));
    }

    #[test]
    fn the_cost_grows_with_the_page_and_an_omitted_variable_is_no_error() {
        // 1 for the list, and for each item 1 for `nodes` and 1 for `id`; the inner list costs the same, times the outer.
        let list =
            |first: &str, inner: &str| format!("query($n: Int) {{ list({first}) {{ nodes {{ id {inner} }} }} }}");
        let nested = list("first: 100", "list(first: 100) { nodes { id } }");
        assert_eq!(violation(&nested, &serde_json::json!({})), Some(("QUERY_TOO_COMPLEX", None)));
        let by_variable = list("first: $n", "list(first: 100) { ...Items }") + " fragment Items on C { nodes { id } }";
        assert_eq!(violation(&by_variable, &serde_json::json!({"n": 49})), None);
        assert_eq!(violation(&by_variable, &serde_json::json!({"n": 50})), Some(("QUERY_TOO_COMPLEX", None)));
        assert_eq!(violation(&by_variable, &serde_json::json!({})), None);
        let many = "query($ids: [ID!]!) { nodes(ids: $ids) { list(first: 100) { nodes { id } } } }";
        assert_eq!(violation(many, &serde_json::json!({"ids": vec!["x"; 51]})), Some(("QUERY_TOO_COMPLEX", None)));
    }

    #[test]
    fn the_cost_is_that_of_the_operation_that_runs() {
        let document = parse_query(
            "query A { a b } query B { list(first: 10) { nodes { id } } } query C { service { x } rateLimit { y } }",
        );
        let document = document.unwrap();
        let cost = |name| check(&document, &Variables::default(), name).unwrap().cost;
        assert_eq!([cost(Some("A")), cost(Some("B")), cost(Some("C")), cost(Some("D")), cost(None)], [2, 21, 0, 0, 0]);
        let single = parse_query("{ a }").unwrap();
        assert_eq!(check(&single, &Variables::default(), None).unwrap().cost, 1);
    }

    #[test]
    fn text_with_nul_is_named_wherever_it_hides() {
        let nul = serde_json::json!({"input": {"metadata": {"team": "a\0b"}}});
        assert_eq!(violation("{ a }", &nul), Some(("BAD_USER_INPUT", Some("input.metadata.team".to_owned()))));
        let literal = r#"{ a(id: "x\u0000") }"#;
        assert_eq!(violation(literal, &serde_json::json!({})), Some(("BAD_USER_INPUT", Some("id".to_owned()))));
        let default = r#"query($v: String = "\u0000") { a(id: $v) }"#;
        assert_eq!(violation(default, &serde_json::json!({})), Some(("BAD_USER_INPUT", Some("v".to_owned()))));
    }

    #[test]
    fn a_null_in_a_filter_is_refused_and_an_omitted_variable_is_not() {
        let document = "query($n: String) { list(filter: {name: {eq: $n}}) }";
        assert_eq!(violation(document, &serde_json::json!({})), None);
        let named = Some(("BAD_USER_INPUT", Some("filter.name.eq".to_owned())));
        assert_eq!(violation(document, &serde_json::json!({"n": null})), named);
        let whole = "query($f: F) { list(filter: $f) }";
        assert_eq!(violation(whole, &serde_json::json!({"f": null})), None);
        assert_eq!(violation(whole, &serde_json::json!({"f": {"name": {"eq": null}}})), named);
        let json = serde_json::json!({"f": {"configuration": {"contains": {"branch": null}}}});
        assert_eq!(violation(whole, &json), None);
    }
}
