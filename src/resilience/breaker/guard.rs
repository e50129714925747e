//! The guard of one admitted call.
//!
//! It says how the call ended, exactly once, whatever becomes of the call: finished, cancelled or
//! panicking. In closed state that is atomics only; the window is added up only when a failure or a slow
//! call was recorded: a success lowers both ratios. (It may be the call that completes
//! `minimum_calls`; then the next failure opens, not a success.)
//!
//! Limit: a forgotten guard (`mem::forget`) is a call nobody hears of; it holds nothing back.

use std::thread;

use super::super::moment::Moment;
use super::Breaker;
use super::words::{Cause, State, Verdict};

/// An admitted call. Dropped without a verdict it counts as ignored, while panicking as a failure.
#[derive(Debug)]
#[must_use = "an admission dropped at once counts as an ignored call"]
pub struct Admission<'a> {
    breaker: &'a Breaker,
    generation: u64,
    admitted_at: Moment,
    slow_at: Option<Moment>,
    untimed: bool,
    finished: bool,
}

impl<'a> Admission<'a> {
    pub(super) fn new(breaker: &'a Breaker, generation: u64, admitted_at: Moment) -> Self {
        Self { breaker, generation, admitted_at, slow_at: None, untimed: false, finished: false }
    }

    /// Keeps this call out of the slow statistics: it is heavy, and slow by nature.
    pub fn untimed(mut self) -> Self {
        self.untimed = true;
        self
    }

    /// The call is still in flight: if it is slow by now it is counted as such, at once and once. Thus
    /// a black hole shows before its timeouts do.
    pub fn slow(&mut self, now: Moment) {
        if self.slow_at.is_none() && self.is_slow(now) && self.is_current() {
            self.count_slow(now);
        }
    }

    /// The call ended.
    pub fn finish(mut self, verdict: Verdict, now: Moment) {
        self.settle(verdict, now);
    }

    fn settle(&mut self, verdict: Verdict, now: Moment) {
        self.finished = true;
        if !self.is_current() {
            self.breaker.counters.late();
            return;
        }
        self.breaker.counters.ended(verdict);
        match verdict {
            Verdict::Success => self.count_success(now),
            Verdict::Failure => self.count_failure(now),
            Verdict::Ignored => {}
        }
    }

    fn count_success(&mut self, now: Moment) {
        if self.slow_at.is_some() {
            // In the window already.
        } else if self.is_slow(now) {
            self.count_slow(now);
        } else {
            self.breaker.window.record_success(now);
        }
    }

    fn count_failure(&self, now: Moment) {
        let window = &self.breaker.window;
        match self.slow_at {
            Some(marked) => window.record_slow_failed(marked, now),
            None => window.record_failure(now),
        }
        self.breaker.evaluate(self.generation, now);
    }

    fn count_slow(&mut self, now: Moment) {
        self.slow_at = Some(now);
        self.breaker.counters.slow();
        self.breaker.window.record_slow(now);
        self.breaker.evaluate(self.generation, now);
    }

    fn is_slow(&self, now: Moment) -> bool {
        let elapsed = now.saturating_since(self.admitted_at);
        !self.untimed && elapsed >= self.breaker.settings.slow_call_after
    }

    fn is_current(&self) -> bool {
        self.breaker.published.word().generation() == self.generation
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // No clock here; the admission is the one moment known.
        let verdict = if thread::panicking() { Verdict::Failure } else { Verdict::Ignored };
        self.settle(verdict, self.admitted_at);
    }
}

impl Breaker {
    /// Trips if the window says so and nothing has happened since this generation.
    fn evaluate(&self, generation: u64, now: Moment) {
        let word = self.published.word();
        if word.state() != State::Closed || word.generation() != generation {
            return;
        }
        if let Some(cause) = self.verdict_of_window(now) {
            self.trip_generation(Some(generation), cause, now);
        }
    }

    fn verdict_of_window(&self, now: Moment) -> Option<Cause> {
        let totals = self.window.totals(now);
        if totals.calls < u64::from(self.settings.minimum_calls) {
            None
        } else if totals.failures > 0 && totals.failure_ratio() >= self.settings.failure_ratio {
            Some(Cause::FailureRatio)
        } else if totals.slow > 0 && totals.slow_ratio() >= self.settings.slow_ratio {
            Some(Cause::SlowRatio)
        } else {
            None
        }
    }
}
