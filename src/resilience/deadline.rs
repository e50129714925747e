//! The moment after which an answer is worthless.
//!
//! Made once per request and handed down, so that admission, queueing, retries and connecting share
//! one allowance instead of adding up their own timeouts. It can only move closer.
//!
//! Limit: it wakes nobody. Whoever waits sets a timer for [`Deadline::remaining`].

use std::time::Duration;

use super::moment::Moment;

/// The latest moment at which an answer is still of use.
#[derive(Copy, Clone, Debug)]
pub struct Deadline(Moment);

impl Deadline {
    /// A deadline at this moment.
    pub fn at(moment: Moment) -> Self {
        Self(moment)
    }

    /// A deadline this long after `now`.
    pub fn after(now: Moment, allowance: Duration) -> Self {
        Self(now + allowance)
    }

    /// The moment itself.
    pub fn moment(self) -> Moment {
        self.0
    }

    /// Time left; zero once passed.
    pub fn remaining(self, now: Moment) -> Duration {
        self.0.saturating_since(now)
    }

    /// Whether nothing is left. At the very moment the deadline has passed.
    pub fn passed(self, now: Moment) -> bool {
        now >= self.0
    }

    /// The earlier of this deadline and `other`: the way to bound one step of a request.
    pub fn earlier(self, other: Moment) -> Self {
        Self(self.0.min(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_micros(1_000_000);

    #[test]
    fn a_deadline_has_passed_exactly_when_nothing_remains() {
        let deadline = Deadline::after(START, Duration::from_millis(50));
        let last = START + Duration::from_micros(49_999);
        assert_eq!(deadline.remaining(last), Duration::from_micros(1));
        assert!(!deadline.passed(last));
        assert_eq!(deadline.remaining(deadline.moment()), Duration::ZERO);
        assert!(deadline.passed(deadline.moment()));
        assert!(deadline.passed(deadline.moment() + Duration::from_secs(1)));
    }

    #[test]
    fn a_deadline_only_moves_closer() {
        let deadline = Deadline::at(START);
        let before = Moment::from_micros(1);
        assert_eq!(deadline.earlier(before).moment(), before);
        assert_eq!(deadline.earlier(START + Duration::from_secs(1)).moment(), START);
    }
}
