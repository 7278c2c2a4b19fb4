//! The time, as far as decisions depend on it: whether a token or a key has expired.
//!
//! Timestamps of rows come from Postgres (`now()`), so that all instances agree.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Where the time comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands still until it is moved. For tests of expiry.
    Fixed(Arc<Mutex<DateTime<Utc>>>),
}

impl Clock {
    /// A clock that shows `time` until [`Clock::advance`] moves it.
    pub fn fixed(time: DateTime<Utc>) -> Self {
        Self::Fixed(Arc::new(Mutex::new(time)))
    }

    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            Self::Fixed(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a fixed clock. Does nothing to the machine's.
    pub fn advance(&self, by: TimeDelta) {
        if let Self::Fixed(time) = self {
            *time.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}
