//! Pages of a list: keyset, never offset, so that a page deep in a list costs what the first one costs and nothing is
//! shown twice or skipped when rows are added meanwhile.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Where a row stands in a list: by the value it is ordered by, and by its id among equals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The value of the column that orders the list.
    pub key: Key,
    /// The row's id.
    pub id: Uuid,
}

/// The value of an ordering column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Microseconds, as Postgres has them.
    Time(DateTime<Utc>),
    /// Text.
    Text(String),
    /// A number that counts.
    Number(i64),
}

impl Cursor {
    /// For the wire. Not signed: that is `graphql::connection`'s part.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.id.as_bytes().to_vec();
        match &self.key {
            Key::Time(time) => {
                bytes.push(b't');
                bytes.extend_from_slice(&time.timestamp_micros().to_be_bytes());
            }
            Key::Text(text) => {
                bytes.push(b's');
                bytes.extend_from_slice(text.as_bytes());
            }
            Key::Number(number) => {
                bytes.push(b'n');
                bytes.extend_from_slice(&number.to_be_bytes());
            }
        }
        bytes
    }

    /// What [`Cursor::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let key = match rest.split_first()? {
            (b't', micros) => Key::Time(DateTime::from_timestamp_micros(i64::from_be_bytes(micros.try_into().ok()?))?),
            (b'n', number) => Key::Number(i64::from_be_bytes(number.try_into().ok()?)),
            (b's', text) => Key::Text(String::from_utf8(text.to_vec()).ok()?),
            _ => return None,
        };
        Some(Self { key, id: Uuid::from_bytes(*id) })
    }

    pub(super) fn time(&self) -> DateTime<Utc> {
        match &self.key {
            Key::Time(time) => *time,
            Key::Text(_) | Key::Number(_) => DateTime::UNIX_EPOCH,
        }
    }

    pub(super) fn number(&self) -> i64 {
        match &self.key {
            Key::Number(number) => *number,
            Key::Time(_) | Key::Text(_) => 0,
        }
    }

    pub(super) fn text(&self) -> String {
        match &self.key {
            Key::Text(text) => text.clone(),
            Key::Time(_) | Key::Number(_) => String::new(),
        }
    }
}

/// Which page.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// At most so many rows.
    pub limit: usize,
    /// From the end of the list.
    pub backward: bool,
    /// Only rows behind this one.
    pub after: Option<Cursor>,
    /// Only rows before this one.
    pub before: Option<Cursor>,
    /// Whether to count the whole list too.
    pub count: bool,
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, in the order of the list.
    pub rows: Vec<T>,
    /// Whether the list goes on behind them.
    pub has_next: bool,
    /// Whether the list begins before them.
    pub has_previous: bool,
    /// Length of the whole list, when asked for.
    pub total: Option<i64>,
}

impl PageRequest {
    /// One more than the page holds, to see whether the list goes on.
    pub(super) fn sql_limit(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX - 1) + 1
    }

    /// The cursors, each with whether rows must be greater than it in a list of that direction.
    pub(super) fn bounds(&self, descending: bool) -> impl Iterator<Item = (&Cursor, bool)> {
        let after = self.after.iter().map(move |cursor| (cursor, !descending));
        after.chain(self.before.iter().map(move |cursor| (cursor, descending)))
    }

    /// Turns what [`Self::sql_limit`] rows gave into a page.
    pub(super) fn page<T>(&self, mut rows: Vec<T>, total: Option<i64>) -> Page<T> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        if self.backward {
            rows.reverse();
            Page { rows, has_next: self.before.is_some(), has_previous: more, total }
        } else {
            Page { rows, has_next: more, has_previous: self.after.is_some(), total }
        }
    }
}

/// Bounds, order and limit of a page on a boxed query ordered by `$key` (of type [`Key`]'s `$get`) and `$id`.
macro_rules! keyset {
    ($query:expr, $page:expr, $descending:expr, $key:expr, $id:expr, $get:ident) => {{
        let mut query = $query;
        for (cursor, greater) in $page.bounds($descending) {
            let key = cursor.$get();
            // The first comparison alone bounds an index; together they are (key, id) > (cursor).
            query = if greater {
                query.filter($key.ge(key.clone()).and($key.gt(key).or($id.gt(cursor.id))))
            } else {
                query.filter($key.le(key.clone()).and($key.lt(key).or($id.lt(cursor.id))))
            };
        }
        query = if $descending != $page.backward {
            query.order(($key.desc(), $id.desc()))
        } else {
            query.order(($key.asc(), $id.asc()))
        };
        query.limit($page.sql_limit())
    }};
}
pub(super) use keyset;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_itself(id: u128, text in ".*", micros in -62_135_596_800_000_000i64..253_402_300_799_000_000) {
            let id = Uuid::from_u128(id);
            let time = DateTime::from_timestamp_micros(micros).unwrap();
            for key in [Key::Text(text), Key::Time(time)] {
                let cursor = Cursor { key, id };
                prop_assert_eq!(Cursor::from_bytes(&cursor.to_bytes()), Some(cursor));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Cursor::from_bytes(&bytes);
        }
    }
}
