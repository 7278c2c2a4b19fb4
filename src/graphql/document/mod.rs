//! What a document must be before it runs: small enough, and without values that could only fail later.
//!
//! Everything is measured on the parsed document, fragments counted once and multiplied, so that a short document whose
//! fragments unfold into millions of fields is refused before anything walks them. Introspection has a depth of its own:
//! the standard query needs 15.
//!
//! The cost is counted here and not by async-graphql, which refuses an argument whose variable was left out as soon as the
//! cost depends on it (8.0.0-rc.5), so that `first: $first` would need a value.

mod literals;
mod measure;

use std::collections::HashMap;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{Name, Pos, Positioned, Variables};

use self::literals::{Literals, check_text};
use self::measure::Measure;

/// The longest document, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// How deep selections nest.
pub const MAX_DEPTH: usize = 12;
/// What all selected fields may cost.
pub const MAX_COMPLEXITY: usize = 10_000;
/// How many fields may have an alias, after fragments are unfolded.
pub const MAX_ALIASES: usize = 30;
const MAX_FIELDS: usize = 1000;
const MAX_ROOT_QUERIES: usize = 20;
const MAX_ROOT_MUTATIONS: usize = 10;
const MAX_DIRECTIVES: usize = 5;
const MAX_OPERATIONS: usize = 10;

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
    let mut measure = Measure::new(document, variables);
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
    let mut literals = Literals::new(variables, measure.defaults);
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use async_graphql::parser::parse_query;

    use super::measure::MAX_INTROSPECTION_DEPTH;
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
