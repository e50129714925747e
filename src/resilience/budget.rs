//! A retry budget: retries are paid for by requests.
//!
//! Each request deposits a fraction of a token, each retry costs a whole one. While everything fails,
//! attempts per request therefore stay at `1 + ratio`, whatever the retry policy says; a fixed number
//! of retries per request would multiply load exactly when there is none to spare. No deposits happen
//! by time alone: a floor per second is extra load per instance during an outage.
//!
//! One atomic holds thousandths of a token. A full bucket, the normal case, is read and not written,
//! so workers do not fight over its cache line.
//!
//! Limit: ratios are kept to a thousandth, rounded down.

use std::sync::atomic::{AtomicU64, Ordering};

/// One token, in the unit the bucket is kept in.
const TOKEN: u64 = 1_000;

/// A lock-free token bucket that earns by requests and spends on retries.
#[derive(Debug)]
pub struct RetryBudget {
    milli_tokens: AtomicU64,
    earned_per_request: u64,
    capacity: u64,
}

impl RetryBudget {
    /// A bucket for `capacity` tokens that starts with `initial` of them and earns `ratio` tokens per
    /// request (0.2 = one retry per five requests).
    pub fn new(ratio: f64, capacity: u32, initial: u32) -> Self {
        let capacity = u64::from(capacity) * TOKEN;
        Self {
            milli_tokens: AtomicU64::new((u64::from(initial) * TOKEN).min(capacity)),
            earned_per_request: milli(ratio).min(capacity),
            capacity,
        }
    }

    /// Earns one request's share. Call it once per request, not per attempt.
    pub fn deposit(&self) {
        let mut held = self.milli_tokens.load(Ordering::Relaxed);
        while held < self.capacity {
            let next = (held + self.earned_per_request).min(self.capacity);
            match self.replace(held, next) {
                Ok(()) => return,
                Err(actual) => held = actual,
            }
        }
    }

    /// Pays for one retry; false when the bucket cannot.
    pub fn try_withdraw(&self) -> bool {
        let mut held = self.milli_tokens.load(Ordering::Relaxed);
        while held >= TOKEN {
            match self.replace(held, held - TOKEN) {
                Ok(()) => return true,
                Err(actual) => held = actual,
            }
        }
        false
    }

    /// Tokens held now.
    pub fn tokens(&self) -> f64 {
        self.milli_tokens.load(Ordering::Relaxed) as f64 / TOKEN as f64
    }

    // Relaxed: the count guards nothing but itself.
    fn replace(&self, held: u64, next: u64) -> Result<(), u64> {
        debug_assert!(next <= self.capacity, "a bucket never holds more than its capacity");
        self.milli_tokens.compare_exchange_weak(held, next, Ordering::Relaxed, Ordering::Relaxed).map(drop)
    }
}

/// Thousandths of a token, rounded down; the hair's breadth makes 0.29 mean 290 and not 289.
fn milli(ratio: f64) -> u64 {
    // A float-to-integer cast saturates, and a NaN becomes 0.
    (ratio * TOKEN as f64 + 1e-6) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn five_requests_pay_for_one_retry() {
        let budget = RetryBudget::new(0.2, 100, 0);
        for _ in 0..4 {
            budget.deposit();
            assert!(!budget.try_withdraw());
        }
        budget.deposit();
        assert!(budget.try_withdraw());
        assert!(!budget.try_withdraw());
    }

    #[test]
    fn a_bucket_starts_with_its_initial_tokens_and_never_more_than_its_capacity() {
        assert_eq!(RetryBudget::new(0.2, 100, 7).tokens(), 7.0);
        assert_eq!(RetryBudget::new(0.2, 100, 101).tokens(), 100.0);
    }

    #[test]
    fn a_full_bucket_earns_nothing() {
        let budget = RetryBudget::new(0.2, 1, 1);
        budget.deposit();
        assert_eq!(budget.tokens(), 1.0);
    }

    #[test]
    fn a_senseless_ratio_earns_nothing_or_fills_the_bucket() {
        for (ratio, expected) in [(f64::NAN, 0.0), (-1.0, 0.0), (f64::INFINITY, 3.0)] {
            let budget = RetryBudget::new(ratio, 3, 0);
            budget.deposit();
            assert_eq!(budget.tokens(), expected, "ratio {ratio}");
        }
    }

    #[test]
    fn threads_together_withdraw_no_more_than_was_earned() {
        let budget = RetryBudget::new(0.2, 1_000_000, 10);
        let retries = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        budget.deposit();
                        if budget.try_withdraw() {
                            retries.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let spent = f64::from(retries.into_inner());
        assert!((spent + budget.tokens() - (10.0 + 0.2 * 20_000.0)).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_what_was_given_and_earned(
            ratio in 0.0..2.0_f64,
            capacity in 0..50_u32,
            initial in 0..60_u32,
            deposits in proptest::collection::vec(any::<bool>(), 0..400),
        ) {
            let budget = RetryBudget::new(ratio, capacity, initial);
            let (mut requests, mut retries) = (0_u32, 0_u32);
            for deposit in deposits {
                if deposit {
                    budget.deposit();
                    requests += 1;
                } else if budget.try_withdraw() {
                    retries += 1;
                }
                prop_assert!(budget.tokens() <= f64::from(capacity));
                let earned = f64::from(initial) + ratio * f64::from(requests);
                prop_assert!(f64::from(retries) <= earned + 1e-3);
            }
        }
    }
}
