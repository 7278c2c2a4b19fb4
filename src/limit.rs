//! How much anybody may ask in a while: token buckets.
//!
//! A bucket holds so many points and gets so many back each second. It is kept as what is missing and since when, so that
//! nothing has to run in the background, and a full one is not kept at all. The crate governor was looked at: it cannot
//! tell how full a bucket is without taking from it, puts no bound to the number of buckets, and has a clock of its own,
//! where this has the process's, which tests move.
//!
//! The buckets are the process's own: N instances of the service let N times as much through. Who needs an exact limit for
//! all of them sets it in front of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;

/// What is missing is counted in billionths of a point: exact for every rate, with nanoseconds as they are.
const POINT: u64 = 1_000_000_000;
/// How many buckets there may be. Then those that are nearly full are forgotten, which gives away next to nothing.
const MAX_BUCKETS: usize = 100_000;
/// So few buckets are not looked through.
const FEW: usize = 1024;

/// How large a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Points in a full bucket.
    pub limit: u32,
    /// Points that come back each second.
    pub restore: u32,
}

impl Quota {
    /// Seconds until an empty bucket is full, rounded up.
    pub fn window(self) -> u64 {
        u64::from(self.limit).div_ceil(u64::from(self.restore.max(1)))
    }
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Of which size.
    pub quota: Quota,
    /// Whole points that are left.
    pub remaining: u32,
    /// Seconds until it is full again, rounded up.
    pub reset: u64,
    /// The moment when it is full again.
    pub reset_at: DateTime<Utc>,
}

/// There are not enough points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// What there is.
    pub level: Level,
    /// Seconds until there are enough, rounded up.
    pub retry_after: u64,
}

/// What a request was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What it costs.
    pub cost: u32,
    /// What its bucket holds since; nothing where there is no limit.
    pub level: Option<Level>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// In billionths of a point, at the moment `at`.
    missing: u64,
    at: DateTime<Utc>,
}

struct State<K> {
    buckets: HashMap<K, Bucket>,
    /// How many buckets there may be before they are looked through the next time.
    shrink_at: usize,
}

/// One bucket for each key, all of one size.
pub struct Buckets<K> {
    quota: Quota,
    clock: Clock,
    max_buckets: usize,
    state: Mutex<State<K>>,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    /// Buckets that are all full. Nothing for a limit of 0: there is none.
    pub fn new(limit: u32, restore: u32, clock: Clock) -> Option<Self> {
        let quota = Quota { limit, restore: restore.max(1) };
        let state = Mutex::new(State { buckets: HashMap::new(), shrink_at: FEW });
        (limit > 0).then_some(Self { quota, clock, max_buckets: MAX_BUCKETS, state })
    }

    /// Takes points from a bucket.
    ///
    /// # Errors
    /// [`Exhausted`] when there are not so many; then none are taken.
    pub fn take(&self, key: K, points: u32) -> Result<Level, Exhausted> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.buckets.get(&key).map_or(0, |bucket| self.missing(*bucket, now));
        let missing = before.saturating_add(u64::from(points) * POINT);
        let size = u64::from(self.quota.limit) * POINT;
        if missing > size {
            let retry_after = self.nanoseconds(missing - size).div_ceil(POINT).max(1);
            return Err(Exhausted { level: self.level_of(before, now), retry_after });
        }
        if missing > 0 {
            state.buckets.insert(key, Bucket { missing, at: now });
            self.shrink(&mut state, now);
        }
        Ok(self.level_of(missing, now))
    }

    /// How full a bucket is. Takes nothing.
    pub fn level(&self, key: K) -> Level {
        let now = self.clock.now();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.level_of(state.buckets.get(&key).map_or(0, |bucket| self.missing(*bucket, now)), now)
    }

    /// What is missing by now. A clock that was set back gives nothing and takes nothing.
    fn missing(&self, bucket: Bucket, now: DateTime<Utc>) -> u64 {
        let elapsed = (now - bucket.at).num_nanoseconds().unwrap_or(i64::MAX);
        let restored = u64::try_from(elapsed).unwrap_or(0).saturating_mul(u64::from(self.quota.restore));
        bucket.missing.saturating_sub(restored)
    }

    fn nanoseconds(&self, missing: u64) -> u64 {
        missing.div_ceil(u64::from(self.quota.restore))
    }

    fn level_of(&self, missing: u64, now: DateTime<Utc>) -> Level {
        let used = u32::try_from(missing.div_ceil(POINT)).unwrap_or(u32::MAX);
        let until_full = self.nanoseconds(missing);
        Level {
            quota: self.quota,
            remaining: self.quota.limit.saturating_sub(used),
            reset: until_full.div_ceil(POINT),
            reset_at: now + TimeDelta::nanoseconds(i64::try_from(until_full).unwrap_or(i64::MAX)),
        }
    }

    /// Forgets full buckets, and when that is not enough the half that lacks least. Not at each call: the next time is when
    /// there are twice as many as were left.
    fn shrink(&self, state: &mut State<K>, now: DateTime<Utc>) {
        if state.buckets.len() <= state.shrink_at.min(self.max_buckets) {
            return;
        }
        state.buckets.retain(|_, bucket| self.missing(*bucket, now) > 0);
        if state.buckets.len() > self.max_buckets {
            let mut all: Vec<_> = state.buckets.values().map(|bucket| self.missing(*bucket, now)).collect();
            let middle = all.len() / 2;
            let (_, median, _) = all.select_nth_unstable(middle);
            let median = *median;
            let mut spare = self.max_buckets / 2;
            state.buckets.retain(|_, bucket| {
                let missing = self.missing(*bucket, now);
                // Of those that are equal, as many as there is room for.
                let keep = missing > median || (missing == median && spare > 0);
                spare -= usize::from(keep && missing == median);
                keep
            });
        }
        state.shrink_at = FEW.max(state.buckets.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock() -> Clock {
        Clock::fixed("2026-11-24T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let clock = clock();
        let buckets = Buckets::new(100, 10, clock.clone()).unwrap();
        assert_eq!((buckets.level('a').remaining, buckets.level('a').reset), (100, 0));
        let level = buckets.take('a', 60).unwrap();
        assert_eq!((level.remaining, level.reset, level.reset_at), (40, 6, clock.now() + TimeDelta::seconds(6)));
        let exhausted = buckets.take('a', 41).unwrap_err();
        assert_eq!((exhausted.level.remaining, exhausted.retry_after), (40, 1));
        assert_eq!(buckets.take('b', 100).unwrap().remaining, 0);
        assert_eq!(buckets.take('a', 100).unwrap_err().retry_after, 6);
        clock.advance(TimeDelta::milliseconds(5950));
        assert_eq!(buckets.take('a', 100).unwrap_err().retry_after, 1);
        clock.advance(TimeDelta::milliseconds(50));
        assert_eq!(buckets.take('a', 100).unwrap().remaining, 0);
        clock.advance(TimeDelta::days(10_000));
        assert_eq!(buckets.level('a').remaining, 100);
        clock.advance(TimeDelta::days(-20_000));
        assert_eq!(buckets.level('a').remaining, 0);
        assert!(Buckets::<char>::new(0, 10, clock).is_none());
    }

    #[test]
    fn what_costs_nothing_is_never_refused() {
        let buckets = Buckets::new(10, 1, clock()).unwrap();
        buckets.take((), 10).unwrap();
        assert_eq!(buckets.take((), 0).unwrap().remaining, 0);
    }

    #[test]
    fn there_are_never_more_buckets_than_may_be_and_the_emptiest_stay() {
        let clock = clock();
        let mut buckets = Buckets::new(300, 1, clock.clone()).unwrap();
        buckets.max_buckets = 2000;
        for _ in 0..300 {
            buckets.take(u32::MAX, 1).unwrap();
        }
        let count = |buckets: &Buckets<u32>| buckets.state.lock().unwrap().buckets.len();
        for key in 0..50_000 {
            buckets.take(key, 1).unwrap();
            assert!(count(&buckets) <= 2000);
        }
        assert_eq!(buckets.level(u32::MAX).remaining, 0);
        // Full ones go first.
        clock.advance(TimeDelta::seconds(10));
        for key in 0..2000 {
            buckets.take(key, 300).unwrap();
        }
        assert!((0..2000).filter(|key| buckets.level(*key).remaining == 0).count() > 990);
    }

    proptest! {
        /// Whatever is asked when: no more is given than was in the bucket and has come back.
        #[test]
        fn no_more_is_given_than_there_was(
            limit in 1_u32..1000, restore in 1_u32..1000,
            steps in prop::collection::vec((0_u32..1200, 0_i64..3_000_000_000), 1..60),
        ) {
            let clock = clock();
            let began = clock.now();
            let buckets = Buckets::new(limit, restore, clock.clone()).unwrap();
            let mut given = 0_u64;
            for (points, pause) in steps {
                clock.advance(TimeDelta::nanoseconds(pause));
                let before = buckets.level(()).remaining;
                match buckets.take((), points) {
                    Ok(level) => {
                        given += u64::from(points);
                        prop_assert_eq!(level.remaining, before - points);
                    }
                    Err(exhausted) => {
                        prop_assert!(before < points);
                        if points <= limit {
                            // Whoever waits as long as is said gets it.
                            clock.advance(TimeDelta::seconds(exhausted.retry_after.try_into().unwrap()));
                            prop_assert!(buckets.take((), points).is_ok());
                            given += u64::from(points);
                        }
                    }
                }
                let elapsed = (clock.now() - began).num_nanoseconds().unwrap().cast_unsigned();
                let most = u128::from(limit) * u128::from(POINT) + u128::from(elapsed) * u128::from(restore);
                prop_assert!(u128::from(given) * u128::from(POINT) <= most);
            }
        }
    }
}
