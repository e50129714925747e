//! The probes of one half-open period.
//!
//! Whoever holds the [`Probing`] runs probes one after the other and reports each. The engine hears a
//! single word in the end: the last of `probes_to_close` passed, or one failed.
//!
//! Limit: reporting is all there is; sending, timing out and pausing between probes are the prober's.

use super::super::moment::Moment;
use super::Breaker;

/// The right to probe, for one generation. Dropped without a verdict the probing has failed, as of the
/// last moment it was heard of; leaked, it can be replaced after `half_open_max`.
#[derive(Debug)]
#[must_use = "a probing dropped at once is a failed probe"]
pub struct Probing<'a> {
    breaker: &'a Breaker,
    generation: u64,
    passed: u32,
    heard_of: Moment,
    over: bool,
}

/// What to do after a passed probe.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Probe once more.
    More,
    /// Probing is over: the breaker closed, or this probing was replaced meanwhile, by the operator or
    /// by a take-over, and has no say any more ([`Probing::is_current`] tells beforehand).
    Closed,
}

impl<'a> Probing<'a> {
    pub(super) fn new(breaker: &'a Breaker, generation: u64, now: Moment) -> Self {
        Self { breaker, generation, passed: 0, heard_of: now, over: false }
    }

    /// Whether this probing still decides. False once the breaker closed or someone else took over.
    pub fn is_current(&self) -> bool {
        !self.over && self.breaker.published.word().generation() == self.generation
    }

    /// A probe passed. The last one that was needed closes the breaker.
    pub fn passed(&mut self, now: Moment) -> Progress {
        if !self.is_current() {
            self.over = true;
            return Progress::Closed;
        }
        self.passed += 1;
        self.heard_of = now;
        if self.passed < self.breaker.settings.probes_to_close {
            return Progress::More;
        }
        self.over = true;
        self.breaker.close(self.generation, now);
        Progress::Closed
    }

    /// A probe failed: the breaker is open again.
    pub fn failed(mut self, now: Moment) {
        self.fail(now);
    }

    fn fail(&mut self, now: Moment) {
        if !self.over {
            self.over = true;
            self.breaker.reopen(self.generation, now);
        }
    }
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.fail(self.heard_of);
    }
}
