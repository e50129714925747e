//! How often and how soon a failed attempt may be repeated.
//!
//! Numbers only. Whether a command *may* be repeated at all is the command catalogue's to say, whether
//! it can be afforded the [`RetryBudget`](super::RetryBudget)'s, and whether there is time left the
//! [`Deadline`](super::Deadline)'s: all three must agree.

use std::time::Duration;

use super::backoff::Backoff;

/// The numbers of a retry.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts per call, the first one included.
    pub attempts: u32,
    /// Waits between them.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    /// Three attempts, 10 ms growing to 100 ms. Three, because a second retry still helps against one
    /// lost connection, and a third helps only against an outage, which is the breaker's business.
    fn default() -> Self {
        Self { attempts: 3, backoff: Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(100) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_all_waits_of_a_call_together_stay_below_a_tenth_of_a_second() {
        let policy = RetryPolicy::default();
        let longest: Duration = (0..policy.attempts - 1).map(|retry| policy.backoff.delay(retry, 1.0)).sum();
        assert_eq!(longest, Duration::from_millis(30));
    }
}
