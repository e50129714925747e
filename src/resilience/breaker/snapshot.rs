//! Figures about a breaker: a snapshot, and the counters behind it.
//!
//! Limit: counters are relaxed and read one after the other; under load a snapshot's figures may be a
//! few calls apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::moment::Moment;
use super::words::{State, Verdict};

/// A breaker at one glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The breaker's name.
    pub name: &'static str,
    /// Its state.
    pub state: State,
    /// When that state began.
    pub since: Moment,
    /// What a refused caller is told; none while calls pass.
    pub retry_after: Option<Duration>,
    /// Calls in the window.
    pub calls: u64,
    /// Failures in the window.
    pub failures: u64,
    /// Failures per call of the window, 0 to 1.
    pub failure_ratio: f64,
    /// Slow calls per call of the window, 0 to 1.
    pub slow_ratio: f64,
    /// Calls refused since the start.
    pub rejected_total: u64,
    /// Openings since the start, by trip or by failed probe; forcing open is none.
    pub opened_total: u64,
    /// How calls ended since the start.
    pub outcomes: Outcomes,
}

/// How calls ended since the start. `success`, `failure`, `ignored` and `late` add up to the calls let
/// pass and finished; `slow` counts some of them a second time.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Succeeded.
    pub success: u64,
    /// Failed, or panicked.
    pub failure: u64,
    /// Said nothing, or were dropped.
    pub ignored: u64,
    /// Were slow, however they ended.
    pub slow: u64,
    /// Were refused. Not calls: nothing was sent.
    pub rejected: u64,
    /// Ended in another generation than they began in, whatever they had to say.
    pub late: u64,
}

/// The running counters; see [`Outcomes`].
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters {
    success: AtomicU64,
    failure: AtomicU64,
    ignored: AtomicU64,
    slow: AtomicU64,
    rejected: AtomicU64,
    late: AtomicU64,
}

impl Counters {
    pub(super) fn ended(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Success => &self.success,
            Verdict::Failure => &self.failure,
            Verdict::Ignored => &self.ignored,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn outcomes(&self) -> Outcomes {
        Outcomes {
            success: self.success.load(Ordering::Relaxed),
            failure: self.failure.load(Ordering::Relaxed),
            ignored: self.ignored.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
        }
    }
}
