//! How large a document is: depth, fields, cost, with its fragments unfolded.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Value as ConstValue, Variables};
use async_graphql_value::Value;

use crate::graphql::connection::{DEFAULT_PAGE, MAX_PAGE};

/// How deep selections nest below `__schema` and `__type`.
pub(super) const MAX_INTROSPECTION_DEPTH: usize = 20;
/// How many lists of the schema's description may lie within each other: types, their fields, their arguments, and one
/// more. Each multiplies the answer by its length.
const MAX_INTROSPECTION_LISTS: usize = 4;
const INTROSPECTION_LISTS: [&str; 8] =
    ["types", "directives", "fields", "inputFields", "args", "enumValues", "interfaces", "possibleTypes"];

/// How large a selection is.
#[derive(Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) depth: usize,
    pub(super) roots: usize,
    pub(super) fields: usize,
    pub(super) aliases: usize,
    pub(super) directives: usize,
    pub(super) cost: usize,
    /// How many lists of the schema's own description lie within each other.
    lists: usize,
    /// Whether the selection has the items of a connection.
    items: bool,
}

pub(super) struct Measure<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    pub(super) defaults: Defaults<'a>,
    /// Nothing while a fragment is being measured: a cycle counts as nothing, and validation refuses it.
    fragments: HashMap<&'a Name, Size>,
}

impl<'a> Measure<'a> {
    pub(super) fn new(document: &'a ExecutableDocument, variables: &'a Variables) -> Self {
        Self { document, variables, defaults: defaults(document), fragments: HashMap::new() }
    }

    pub(super) fn selection_set(&mut self, set: &'a SelectionSet) -> Size {
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

pub(super) type Defaults<'a> = HashMap<&'a str, &'a ConstValue>;

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
