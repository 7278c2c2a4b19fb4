//! Comparators, shared by all filters: what may be asked of one field. Fields of one comparator are combined with AND.

use std::str::FromStr;

use async_graphql::{Enum, ID, InputObject};

use super::scalar::DateTime;
use crate::db::configuration::HealthStatus as Health;
use crate::db::filter::{Filter, TextOp, TimeOp};

/// Result of the latest connection test.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "lowercase", remote = "Health")]
pub enum HealthStatus {
    /// Connection is working.
    Healthy,
    /// Connection failed or credentials invalid.
    Unhealthy,
    /// Not yet tested.
    Unknown,
}

/// How a connector authenticates. Values equal the `type` of the documented credential objects.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(rename_items = "snake_case")]
pub enum AuthMethodType {
    /// A key of the provider.
    ApiKey,
    /// Tokens of an OAuth 2 grant.
    #[graphql(name = "oauth2")]
    OAuth2,
    /// A token for the `Authorization` header.
    Bearer,
    /// HTTP basic authentication.
    Basic,
    /// No authentication.
    None,
}

/// What may be asked of an id. Text that is no id equals none.
#[derive(InputObject, Clone, Debug, Default)]
#[graphql(name = "IDComparator")]
pub struct IdComparator {
    /// Is this one.
    eq: Option<ID>,
    /// Is not this one.
    neq: Option<ID>,
    /// Is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<ID>>,
    /// Is none of these.
    nin: Option<Vec<ID>>,
}

/// What may be asked of an id that may be missing. `neq` and `nin` also match when there is no value.
#[derive(InputObject, Clone, Debug, Default)]
#[graphql(name = "NullableIDComparator")]
pub struct NullableIdComparator {
    /// Is this one.
    eq: Option<ID>,
    /// Is not this one. Also matches when there is no value.
    neq: Option<ID>,
    /// Is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<ID>>,
    /// Is none of these. Also matches when there is no value.
    nin: Option<Vec<ID>>,
    /// true: has no value; false: has one.
    null: Option<bool>,
}

/// What may be asked of text.
#[derive(InputObject, Clone, Debug, Default)]
pub struct StringComparator {
    /// Is this.
    eq: Option<String>,
    /// Is not this.
    neq: Option<String>,
    /// Is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<String>>,
    /// Is none of these.
    nin: Option<Vec<String>>,
    /// Is this, but for case.
    eq_ignore_case: Option<String>,
    /// Begins with this.
    starts_with: Option<String>,
    /// Holds this.
    contains: Option<String>,
    /// Holds this, but for case.
    contains_ignore_case: Option<String>,
    /// Does not hold this.
    not_contains: Option<String>,
}

/// What may be asked of text that may be missing. `neq`, `nin` and `notContains` also match when there is no value.
#[derive(InputObject, Clone, Debug, Default)]
pub struct NullableStringComparator {
    /// Is this.
    eq: Option<String>,
    /// Is not this. Also matches when there is no value.
    neq: Option<String>,
    /// Is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<String>>,
    /// Is none of these. Also matches when there is no value.
    nin: Option<Vec<String>>,
    /// Is this, but for case.
    eq_ignore_case: Option<String>,
    /// Begins with this.
    starts_with: Option<String>,
    /// Holds this.
    contains: Option<String>,
    /// Holds this, but for case.
    contains_ignore_case: Option<String>,
    /// Does not hold this. Also matches when there is no value.
    not_contains: Option<String>,
    /// true: has no value; false: has one.
    null: Option<bool>,
}

/// What may be asked of a boolean.
#[derive(InputObject, Clone, Debug, Default)]
pub struct BooleanComparator {
    /// Is this.
    eq: Option<bool>,
    /// Is not this.
    neq: Option<bool>,
}

/// What may be asked of a moment.
#[derive(InputObject, Clone, Debug, Default)]
pub struct DateTimeComparator {
    /// Is this moment.
    eq: Option<DateTime>,
    /// Is another moment.
    neq: Option<DateTime>,
    /// Is before.
    lt: Option<DateTime>,
    /// Is before, or is it.
    lte: Option<DateTime>,
    /// Is after.
    gt: Option<DateTime>,
    /// Is after, or is it.
    gte: Option<DateTime>,
}

/// What may be asked of a moment that may be missing. `neq` also matches when there is no value.
#[derive(InputObject, Clone, Debug, Default)]
pub struct NullableDateTimeComparator {
    /// Is this moment.
    eq: Option<DateTime>,
    /// Is another moment. Also matches when there is no value.
    neq: Option<DateTime>,
    /// Is before.
    lt: Option<DateTime>,
    /// Is before, or is it.
    lte: Option<DateTime>,
    /// Is after.
    gt: Option<DateTime>,
    /// Is after, or is it.
    gte: Option<DateTime>,
    /// true: has no value; false: has one.
    null: Option<bool>,
}

/// What may be asked of a health status.
#[derive(InputObject, Clone, Debug, Default)]
pub struct HealthStatusComparator {
    /// Is this.
    eq: Option<HealthStatus>,
    /// Is not this.
    neq: Option<HealthStatus>,
    /// Is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<HealthStatus>>,
    /// Is none of these.
    nin: Option<Vec<HealthStatus>>,
}

/// What may be asked of an auth method. `neq` and `nin` also match when no credentials are stored.
#[derive(InputObject, Clone, Debug, Default)]
pub struct AuthMethodTypeComparator {
    /// Is this.
    eq: Option<AuthMethodType>,
    /// Is not this. Also matches when no credentials are stored.
    neq: Option<AuthMethodType>,
    /// Is one of these.
    #[graphql(name = "in")]
    one_of: Option<Vec<AuthMethodType>>,
    /// Is none of these. Also matches when no credentials are stored.
    nin: Option<Vec<AuthMethodType>>,
}

fn not<L>(filter: Filter<L>) -> Filter<L> {
    Filter::Not(Box::new(filter))
}

/// The four set operators: `eq`, `neq`, `in`, `nin`.
fn set<T: Clone, L>(
    eq: Option<&T>,
    neq: Option<&T>,
    one_of: Option<&Vec<T>>,
    nin: Option<&Vec<T>>,
    leaf: impl Fn(Vec<T>) -> Filter<L>,
) -> Vec<Filter<L>> {
    let eq = eq.map(|value| leaf(vec![value.clone()]));
    let neq = neq.map(|value| not(leaf(vec![value.clone()])));
    let one_of = one_of.map(|values| leaf(values.clone()));
    let nin = nin.map(|values| not(leaf(values.clone())));
    [eq, neq, one_of, nin].into_iter().flatten().collect()
}

fn presence<L>(null: Option<bool>, present: L) -> Option<Filter<L>> {
    null.map(|null| if null { not(Filter::Is(present)) } else { Filter::Is(present) })
}

/// Ids of one kind; text that is none is left out, and so equals nothing.
fn ids<T: FromStr>(texts: &[ID]) -> Vec<T> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

impl IdComparator {
    /// As conditions on ids of one kind.
    pub fn conditions<T: FromStr, L>(&self, leaf: impl Fn(Vec<T>) -> L) -> Vec<Filter<L>> {
        let leaf = |texts: Vec<ID>| Filter::Is(leaf(ids(&texts)));
        set(self.eq.as_ref(), self.neq.as_ref(), self.one_of.as_ref(), self.nin.as_ref(), leaf)
    }
}

impl NullableIdComparator {
    /// As conditions on ids of one kind that may be missing.
    pub fn conditions<T: FromStr, L>(&self, present: L, leaf: impl Fn(Vec<T>) -> L) -> Vec<Filter<L>> {
        let leaf = |texts: Vec<ID>| Filter::Is(leaf(ids(&texts)));
        let mut all = set(self.eq.as_ref(), self.neq.as_ref(), self.one_of.as_ref(), self.nin.as_ref(), leaf);
        all.extend(presence(self.null, present));
        all
    }
}

macro_rules! text_conditions {
    ($comparator:expr, $leaf:expr) => {{
        let (comparator, leaf) = ($comparator, $leaf);
        let mut all = set(
            comparator.eq.as_ref(),
            comparator.neq.as_ref(),
            comparator.one_of.as_ref(),
            comparator.nin.as_ref(),
            |values| Filter::Is(leaf(TextOp::In(values))),
        );
        let more = [
            comparator.eq_ignore_case.clone().map(TextOp::EqIgnoreCase),
            comparator.starts_with.clone().map(TextOp::StartsWith),
            comparator.contains.clone().map(TextOp::Contains),
            comparator.contains_ignore_case.clone().map(TextOp::ContainsIgnoreCase),
        ];
        all.extend(more.into_iter().flatten().map(|op| Filter::Is(leaf(op))));
        all.extend(comparator.not_contains.clone().map(|part| not(Filter::Is(leaf(TextOp::Contains(part))))));
        all
    }};
}

impl StringComparator {
    /// As conditions on text.
    pub fn conditions<L>(&self, leaf: impl Fn(TextOp) -> L) -> Vec<Filter<L>> {
        text_conditions!(self, leaf)
    }
}

impl NullableStringComparator {
    /// As conditions on text that may be missing.
    pub fn conditions<L>(&self, present: L, leaf: impl Fn(TextOp) -> L) -> Vec<Filter<L>> {
        let mut all = text_conditions!(self, leaf);
        all.extend(presence(self.null, present));
        all
    }
}

impl BooleanComparator {
    /// As conditions on a boolean that is true when `leaf` holds.
    pub fn conditions<L>(&self, leaf: impl Fn() -> L) -> Vec<Filter<L>> {
        let is = |value| if value { Filter::Is(leaf()) } else { not(Filter::Is(leaf())) };
        [self.eq.map(is), self.neq.map(|value| is(!value))].into_iter().flatten().collect()
    }
}

macro_rules! time_conditions {
    ($comparator:expr, $leaf:expr) => {{
        let (comparator, leaf) = ($comparator, $leaf);
        let ops = [
            comparator.eq.map(|time| TimeOp::Eq(time.0)),
            comparator.lt.map(|time| TimeOp::Lt(time.0)),
            comparator.lte.map(|time| TimeOp::Lte(time.0)),
            comparator.gt.map(|time| TimeOp::Gt(time.0)),
            comparator.gte.map(|time| TimeOp::Gte(time.0)),
        ];
        let mut all: Vec<_> = ops.into_iter().flatten().map(|op| Filter::Is(leaf(op))).collect();
        all.extend(comparator.neq.map(|time| not(Filter::Is(leaf(TimeOp::Eq(time.0))))));
        all
    }};
}

impl DateTimeComparator {
    /// As conditions on a moment.
    pub fn conditions<L>(&self, leaf: impl Fn(TimeOp) -> L) -> Vec<Filter<L>> {
        time_conditions!(self, leaf)
    }
}

impl NullableDateTimeComparator {
    /// As conditions on a moment that may be missing.
    pub fn conditions<L>(&self, present: L, leaf: impl Fn(TimeOp) -> L) -> Vec<Filter<L>> {
        let mut all = time_conditions!(self, leaf);
        all.extend(presence(self.null, present));
        all
    }
}

impl HealthStatusComparator {
    /// As conditions on a health status.
    pub fn conditions<L>(&self, leaf: impl Fn(Vec<Health>) -> L) -> Vec<Filter<L>> {
        let leaf = |values: Vec<HealthStatus>| Filter::Is(leaf(values.into_iter().map(Health::from).collect()));
        set(self.eq.as_ref(), self.neq.as_ref(), self.one_of.as_ref(), self.nin.as_ref(), leaf)
    }
}

impl AuthMethodTypeComparator {
    /// As conditions on an auth method.
    pub fn conditions<L>(&self, leaf: impl Fn(Vec<AuthMethodType>) -> Filter<L>) -> Vec<Filter<L>> {
        set(self.eq.as_ref(), self.neq.as_ref(), self.one_of.as_ref(), self.nin.as_ref(), leaf)
    }
}
