//! Which requests are recorded.
//!
//! A caller who says that his trace is *not* recorded is obeyed. One who says that it is has a wish, not a right: anyone can set
//! that bit, on every request, before we know who he is. So wishes are granted up to a number a second, and beyond it chance
//! decides as it does for requests without a trace. By chance and not by the id, because that is the caller's to choose, too.
//! Limits: two threads at the turn of a second may both grant a few more.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Parent;
use crate::resilience::Moment;

/// Decides, for all workers together.
pub(super) struct Sampler {
    ratio: f64,
    wishes_per_second: u64,
    second: AtomicU64,
    granted: AtomicU64,
}

impl Sampler {
    pub(super) fn new(ratio: f64, wishes_per_second: u64) -> Self {
        Self { ratio, wishes_per_second, second: AtomicU64::new(0), granted: AtomicU64::new(0) }
    }

    /// True if the request that arrived `now` is recorded. `chance` is uniform in 0..1.
    pub(super) fn records(&self, parent: Option<&Parent>, now: Moment, chance: f64) -> bool {
        match parent {
            Some(parent) if !parent.sampled => false,
            Some(_) if self.grants(now) => true,
            _ => chance < self.ratio,
        }
    }

    fn grants(&self, now: Moment) -> bool {
        let second = now.as_micros() / 1_000_000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.granted.store(0, Ordering::Relaxed);
        }
        self.granted.fetch_add(1, Ordering::Relaxed) < self.wishes_per_second
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SpanId, TraceId};
    use super::*;

    fn parent(sampled: bool) -> Option<Parent> {
        Some(Parent { trace: TraceId::new(7)?, span: SpanId::new(7)?, sampled, state: None })
    }

    fn second(number: u64) -> Moment {
        Moment::from_micros(number * 1_000_000)
    }

    #[test]
    fn a_trace_that_is_not_recorded_stays_so_whatever_the_ratio() {
        let sampler = Sampler::new(1.0, 100);
        assert!(!sampler.records(parent(false).as_ref(), second(1), 0.0));
        assert!(sampler.records(None, second(1), 0.999));
    }

    #[test]
    fn wishes_are_granted_up_to_their_number_a_second() {
        let sampler = Sampler::new(0.0, 3);
        let granted = |at| (0..10).filter(|_| sampler.records(parent(true).as_ref(), at, 0.0)).count();
        assert_eq!((granted(second(1)), granted(second(2))), (3, 3));
        assert!(!Sampler::new(0.0, 0).records(parent(true).as_ref(), second(1), 0.0), "0: the flag is never trusted");
    }

    #[test]
    fn beyond_the_wishes_chance_decides_as_for_everyone() {
        let sampler = Sampler::new(0.1, 0);
        for parent in [None, parent(true)] {
            assert!(sampler.records(parent.as_ref(), second(1), 0.09));
            assert!(!sampler.records(parent.as_ref(), second(1), 0.1));
        }
    }
}
