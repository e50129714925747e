//! The numbers of a limiter, and exact arithmetic with what was taken under them.
//!
//! GCRA in its leaky-bucket form: what was taken and is not refilled yet is a [`Level`], which drains by `refill` tokens in each `per`. It
//! is counted in parts of a token so small that a microsecond drains a whole number of them (one token is as many parts as `per`
//! has microseconds), so nothing is ever rounded but waits, and a level under another `per`, both against the taker.
//! The part `limiters` of `migrations/` does the same within 53 bits. Limits: the bounds below keep 128 bits far from full.

use std::time::Duration;

/// Most tokens in any of the numbers: what the functions in Redis count exactly.
pub const TOKENS_MAX: u64 = 1_000_000_000;
/// The shortest and the longest `per`.
pub const PER: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(31 * 24 * 60 * 60);
/// The longest a limiter may take from empty to full. Longer is a mistake, and its record would outlive whoever made it.
pub const FILLING_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

// The functions in Redis divide by `per` in steps of 1024 (2048 * per must stay below 2^53).
const _: () = assert!(PER.end().as_micros() <= 1 << 42);

/// The numbers of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Tokens there can be: the largest burst.
    pub capacity: u64,
    /// Tokens that come back in each `per`.
    pub refill: u64,
    /// Whole microseconds.
    pub per: Duration,
}

/// What was taken and is not refilled yet, in parts of a token as the policy has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u128);

impl Policy {
    /// How long it takes from empty to full, rounded up to whole microseconds.
    pub fn filling(&self) -> Duration {
        self.until_drained(self.tokens(self.capacity))
    }

    /// So many tokens.
    pub fn tokens(&self, tokens: u64) -> Level {
        Level(u128::from(tokens) * self.per.as_micros())
    }

    /// Tokens and parts of one, as Redis keeps them.
    pub fn level(&self, tokens: u64, parts: u64) -> Level {
        Level(self.tokens(tokens).0 + u128::from(parts))
    }

    /// What is left of `level` after a while.
    pub fn drained(&self, level: Level, after: Duration) -> Level {
        Level(level.0.saturating_sub(u128::from(self.refill) * after.as_micros()))
    }

    /// The same tokens under this policy, if they were counted under `other`.
    pub fn adopt(&self, level: Level, other: &Policy) -> Level {
        Level((level.0 * self.per.as_micros()).div_ceil(other.per.as_micros()))
    }

    /// Whether `more` fits on top of `level`.
    pub fn fits(&self, level: Level, more: Level) -> bool {
        level.0 + more.0 <= self.tokens(self.capacity).0
    }

    /// How many portions of this size fit on top of `level`.
    pub fn room(&self, level: Level, portion: Level) -> u64 {
        let room = self.tokens(self.capacity).0.saturating_sub(level.0) / portion.0.max(1);
        u64::try_from(room).unwrap_or(u64::MAX)
    }

    /// How long until `more` fits; zero if it does.
    pub fn wait(&self, level: Level, more: Level) -> Duration {
        self.until_drained(Level((level.0 + more.0).saturating_sub(self.tokens(self.capacity).0)))
    }

    /// How long until nothing of `level` is left, rounded up to whole microseconds.
    pub fn until_drained(&self, level: Level) -> Duration {
        let micros = level.0.div_ceil(u128::from(self.refill.max(1)));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Whole tokens in `level`, a part of one counted as one.
    pub fn whole(&self, level: Level) -> u64 {
        u64::try_from(level.0.div_ceil(self.per.as_micros().max(1))).unwrap_or(u64::MAX)
    }
}

impl Level {
    /// In parts of a token, of which a token has as many as `per` has microseconds.
    pub fn parts(self) -> u128 {
        self.0
    }

    /// Both together.
    pub fn and(self, other: Level) -> Level {
        Level(self.0 + other.0)
    }

    /// What this is beyond `other`.
    pub fn beyond(self, other: Level) -> Level {
        Level(self.0.saturating_sub(other.0))
    }

    /// One of so many equal shares, rounded up.
    pub fn share(self, shares: u64) -> Level {
        Level(self.0.div_ceil(u128::from(shares.max(1))))
    }

    /// So many times this.
    pub fn times(self, times: u64) -> Level {
        Level(self.0 * u128::from(times))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EACH_SECOND: Policy = Policy { capacity: 10, refill: 5, per: Duration::from_secs(1) };

    #[test]
    fn a_level_drains_to_the_microsecond() {
        let full = EACH_SECOND.tokens(10);
        assert!(!EACH_SECOND.fits(full, EACH_SECOND.tokens(1)));
        let wait = EACH_SECOND.wait(full, EACH_SECOND.tokens(1));
        assert_eq!(wait, Duration::from_millis(200));
        let (early, late) =
            (EACH_SECOND.drained(full, wait - Duration::from_micros(1)), EACH_SECOND.drained(full, wait));
        assert!(!EACH_SECOND.fits(early, EACH_SECOND.tokens(1)) && EACH_SECOND.fits(late, EACH_SECOND.tokens(1)));
        assert_eq!(EACH_SECOND.filling(), Duration::from_secs(2));
        assert_eq!(EACH_SECOND.room(early, EACH_SECOND.tokens(1)), 0);
    }

    #[test]
    fn tokens_spent_stay_spent_under_other_numbers() {
        let slower = Policy { capacity: 20, refill: 1, per: Duration::from_secs(3600) };
        let level = slower.adopt(EACH_SECOND.tokens(10), &EACH_SECOND);
        assert_eq!(level, slower.tokens(10));
        assert_eq!(slower.room(level, slower.tokens(1)), 10, "what the larger capacity adds, and no second burst");
    }

    proptest! {
        #[test]
        fn another_per_never_gives_tokens_back(
            tokens in 0..=TOKENS_MAX, part in 0.0..1.0f64, from in 1_000..2_678_400_000_000u64, to in 1_000..2_678_400_000_000u64,
        ) {
            let policy = |micros| Policy { capacity: 1, refill: 1, per: Duration::from_micros(micros) };
            let (from, to) = (policy(from), policy(to));
            let parts = (part * from.per.as_micros() as f64) as u64;
            let there = to.adopt(from.level(tokens, parts), &from);
            let back = from.adopt(there, &to);
            prop_assert!(back >= from.level(tokens, parts));
            prop_assert_eq!(there.0 / to.per.as_micros() - u128::from(tokens), u128::from(there.0 % to.per.as_micros() == 0 && parts > 0));
        }
    }
}
