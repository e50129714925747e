//! How long to wait before a retry: exponential growth with full jitter.
//!
//! `uniform(0, min(cap, base * 2^retry))`, from the AWS Architecture Blog, "Exponential Backoff And
//! Jitter" (2015). Full jitter, because callers that failed together must not come back together.
//!
//! Limit: the random number is the caller's, so a delay can be tested.

use std::time::Duration;

/// Exponential backoff with full jitter.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the delay before the first retry.
    pub base: Duration,
    /// Upper bound of every delay.
    pub cap: Duration,
}

impl Backoff {
    /// The delay before retry number `retry` (the first is 0), for a `random` in `0..=1`.
    pub fn delay(&self, retry: u32, random: f64) -> Duration {
        let ceiling = self.ceiling(retry);
        let share = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
        // `mul_f64` panics when rounding carries the product past `Duration::MAX`.
        Duration::try_from_secs_f64(ceiling.as_secs_f64() * share).unwrap_or(ceiling).min(ceiling)
    }

    fn ceiling(&self, retry: u32) -> Duration {
        let factor = 2_u32.checked_pow(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(100) };

    #[test]
    fn the_bound_doubles_until_the_cap() {
        let bounds: Vec<_> = (0..6).map(|retry| BACKOFF.delay(retry, 1.0).as_millis()).collect();
        assert_eq!(bounds, [10, 20, 40, 80, 100, 100]);
        assert_eq!(BACKOFF.delay(u32::MAX, 1.0), BACKOFF.cap);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(BACKOFF.delay(2, 0.0), Duration::ZERO);
        assert_eq!(BACKOFF.delay(2, 0.5), Duration::from_millis(20));
    }

    #[test]
    fn a_random_number_out_of_range_does_no_harm() {
        assert_eq!(BACKOFF.delay(0, f64::NAN), Duration::ZERO);
        assert_eq!(BACKOFF.delay(0, -1.0), Duration::ZERO);
        assert_eq!(BACKOFF.delay(0, f64::INFINITY), BACKOFF.base);
    }

    proptest! {
        #[test]
        fn a_delay_never_exceeds_its_bound(
            base in any::<Duration>(),
            cap in any::<Duration>(),
            retry in any::<u32>(),
            random in 0.0..=1.0_f64,
        ) {
            let backoff = Backoff { base, cap };
            let delay = backoff.delay(retry, random);
            prop_assert!(delay <= cap);
            prop_assert!(delay <= base.saturating_mul(2_u32.saturating_pow(retry)));
        }
    }
}
