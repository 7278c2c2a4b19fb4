//! Filters: conditions on columns, and how they become SQL.
//!
//! Every condition is true or false, never unknown: where a column may be null, "has a value and ..." is spelled out. So
//! `not` is the complement, and `neq` is the complement of `eq` and also holds where there is no value.

use chrono::{DateTime, Utc};
use diesel::dsl::not;
use diesel::expression::BoxableExpression;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Jsonb, Text};

/// A condition in SQL, on rows of `Source`.
pub(super) type Predicate<Source> = Box<dyn BoxableExpression<Source, Pg, SqlType = Bool>>;

/// Conditions, combined. `L` is the noun's own: which column, and what of it.
#[derive(Debug, Clone)]
pub enum Filter<L> {
    /// All hold; with none of them, everything matches.
    All(Vec<Filter<L>>),
    /// At least one holds; with none of them, nothing matches.
    Any(Vec<Filter<L>>),
    /// It does not hold.
    Not(Box<Filter<L>>),
    /// One condition.
    Is(L),
}

impl<L> Default for Filter<L> {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

/// What text may be asked.
#[derive(Debug, Clone)]
pub enum TextOp {
    /// Is one of these.
    In(Vec<String>),
    /// Is this but for case.
    EqIgnoreCase(String),
    /// Begins with this.
    StartsWith(String),
    /// Holds this anywhere.
    Contains(String),
    /// Holds this anywhere, but for case.
    ContainsIgnoreCase(String),
}

/// What a moment may be asked.
#[derive(Debug, Clone, Copy)]
pub enum TimeOp {
    /// Is this moment.
    Eq(DateTime<Utc>),
    /// Is before.
    Lt(DateTime<Utc>),
    /// Is before, or is it.
    Lte(DateTime<Utc>),
    /// Is after.
    Gt(DateTime<Utc>),
    /// Is after, or is it.
    Gte(DateTime<Utc>),
}

impl<L> Filter<L> {
    pub(super) fn to_sql<S: 'static>(&self, leaf: &dyn Fn(&L) -> Predicate<S>) -> Predicate<S> {
        match self {
            Self::All(parts) => balanced(parts.iter().map(|part| part.to_sql(leaf)).collect(), and, true),
            Self::Any(parts) => balanced(parts.iter().map(|part| part.to_sql(leaf)).collect(), or, false),
            Self::Not(part) => Box::new(not(part.to_sql(leaf))),
            Self::Is(condition) => leaf(condition),
        }
    }
}

/// Combines pairwise and not one after another: as deep as the logarithm of the number of parts. A list as long as a
/// request may be would else make an expression that overflows the stack.
fn balanced<S: 'static>(
    mut parts: Vec<Predicate<S>>,
    combine: fn(Predicate<S>, Predicate<S>) -> Predicate<S>,
    empty: bool,
) -> Predicate<S> {
    while parts.len() > 1 {
        let mut rest = parts.into_iter();
        parts = Vec::new();
        while let Some(left) = rest.next() {
            parts.push(match rest.next() {
                Some(right) => combine(left, right),
                None => left,
            });
        }
    }
    parts.pop().unwrap_or_else(|| always(empty))
}

pub(super) fn and<S: 'static>(left: Predicate<S>, right: Predicate<S>) -> Predicate<S> {
    Box::new(left.and(right))
}

pub(super) fn or<S: 'static>(left: Predicate<S>, right: Predicate<S>) -> Predicate<S> {
    Box::new(left.or(right))
}

pub(super) fn always<S: 'static>(value: bool) -> Predicate<S> {
    Box::new(value.into_sql::<Bool>())
}

diesel::define_sql_function! {
    /// Where `part` begins in `whole`, from 1; 0 when it does not. Unlike LIKE it has no wildcards to escape.
    fn strpos(whole: Text, part: Text) -> Integer;
}
diesel::define_sql_function! {
    /// Whether `whole` begins with `part`.
    fn starts_with(whole: Text, part: Text) -> Bool;
}
diesel::define_sql_function! {
    /// As the database's `LC_CTYPE` has it.
    fn lower(text: Text) -> Text;
}
diesel::define_sql_function! {
    /// object, array, string, number, boolean or null.
    fn jsonb_typeof(value: Jsonb) -> Nullable<Text>;
}

/// A [`TextOp`] on a column that is never null, or was checked.
macro_rules! text {
    ($column:expr, $op:expr) => {
        match $op {
            TextOp::In(values) => Box::new($column.eq_any(values.clone())),
            TextOp::EqIgnoreCase(value) => Box::new(lower($column).eq(lower(value.clone()))),
            TextOp::StartsWith(value) => Box::new(starts_with($column, value.clone())),
            TextOp::Contains(value) => Box::new(strpos($column, value.clone()).gt(0)),
            TextOp::ContainsIgnoreCase(value) => Box::new(strpos(lower($column), lower(value.clone())).gt(0)),
        }
    };
}

/// A [`TimeOp`] on a column that is never null, or was checked.
macro_rules! time {
    ($column:expr, $op:expr) => {
        match *$op {
            TimeOp::Eq(value) => Box::new($column.eq(value)),
            TimeOp::Lt(value) => Box::new($column.lt(value)),
            TimeOp::Lte(value) => Box::new($column.le(value)),
            TimeOp::Gt(value) => Box::new($column.gt(value)),
            TimeOp::Gte(value) => Box::new($column.ge(value)),
        }
    };
}
pub(super) use {text, time};
