//! A point in time that the caller supplies.
//!
//! Whole microseconds since an origin that the process chose once; only differences mean anything.
//! A plain `u64`, because breakers publish moments in atomics, where 0 stands for "never": the clock
//! that makes moments therefore starts above 0.
//!
//! Limits: durations are cut to whole microseconds, and arithmetic saturates instead of wrapping.

use std::ops::Add;
use std::time::Duration;

/// A point in time, in microseconds since an arbitrary origin.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// The moment this many microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` is in fact later.
    pub fn saturating_since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(micros(duration)))
    }
}

/// Whole microseconds of a duration; the largest `u64` when it has more.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates_at_the_end_of_time() {
        let late = Moment::from_micros(u64::MAX - 1);
        assert_eq!(late + Duration::from_secs(1), Moment::from_micros(u64::MAX));
        assert_eq!(late + Duration::MAX, Moment::from_micros(u64::MAX));
    }

    #[test]
    fn time_since_a_later_moment_is_zero() {
        let early = Moment::from_micros(10);
        let late = early + Duration::from_micros(5);
        assert_eq!(late.saturating_since(early), Duration::from_micros(5));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
    }
}
