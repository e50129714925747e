//! Breakers as metrics: states, totals and ratios are read from the breakers at scrape; transitions are counted here.
//!
//! The breakers keep their own totals, so a call pays nothing for these metrics. Every state and every pair of states
//! is exported from the start for each breaker that a source knows or that has changed state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::resilience::{Moment, Snapshot, State};
use crate::telemetry::clock;

use super::export::{Export, Samples};
use super::table::{BREAKER_CALLS, BREAKER_FAILURE_RATIO, BREAKER_STATE, BREAKER_TRANSITIONS, Family};

/// The states in the order of [`STATE_WORDS`].
const STATES: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];

pub(super) const STATE_WORDS: &[&str] = &["closed", "open", "half_open", "forced_open", "disabled"];

pub(super) const CALL_OUTCOMES: &[&str] = &["success", "failure", "ignored", "slow", "rejected", "late"];

/// Whoever has breakers to show.
pub trait BreakerSource: Send + Sync {
    /// The breakers as they stand at `now`. Must not block.
    fn breakers(&self, now: Moment) -> Vec<Snapshot>;
}

/// Transition counts by breaker, every pair of states.
#[derive(Default)]
pub struct Transitions {
    by_name: Mutex<Vec<(&'static str, Arc<Pairs>)>>,
}

type Pairs = [[AtomicU64; STATES.len()]; STATES.len()];

impl Transitions {
    /// Counts one transition.
    pub fn count(&self, name: &'static str, from: State, to: State) {
        self.pairs(name)[index(from)][index(to)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of one breaker, all zero if it was not known yet.
    fn pairs(&self, name: &'static str) -> Arc<Pairs> {
        let mut by_name = self.by_name();
        if let Some((_, pairs)) = by_name.iter().find(|(known, _)| *known == name) {
            return Arc::clone(pairs);
        }
        let pairs: Arc<Pairs> = Arc::default();
        by_name.push((name, Arc::clone(&pairs)));
        pairs
    }

    fn read(&self) -> Samples {
        let mut samples = Samples::of(&BREAKER_TRANSITIONS);
        for (name, pairs) in self.by_name().iter() {
            for (from, row) in STATE_WORDS.iter().zip(pairs.iter()) {
                for (to, count) in STATE_WORDS.iter().zip(row).filter(|(to, _)| *to != from) {
                    samples.add(&[name, from, to], count.load(Ordering::Relaxed) as f64);
                }
            }
        }
        samples
    }

    fn by_name(&self) -> MutexGuard<'_, Vec<(&'static str, Arc<Pairs>)>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sources and the counts, as one part of the metrics.
#[derive(Default)]
pub(super) struct BreakerMetrics {
    pub(super) transitions: Arc<Transitions>,
    sources: Mutex<Vec<Arc<dyn BreakerSource>>>,
}

impl BreakerMetrics {
    pub(super) fn watch(&self, source: Arc<dyn BreakerSource>) {
        self.sources().push(source);
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Arc<dyn BreakerSource>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        let now = clock::now();
        self.sources().iter().flat_map(|source| source.breakers(now)).collect()
    }
}

impl Export for BreakerMetrics {
    fn families(&self) -> Vec<&'static Family> {
        vec![&BREAKER_STATE, &BREAKER_CALLS, &BREAKER_FAILURE_RATIO, &BREAKER_TRANSITIONS]
    }

    fn read(&self) -> Vec<Samples> {
        let (mut states, mut calls) = (Samples::of(&BREAKER_STATE), Samples::of(&BREAKER_CALLS));
        let mut ratios = Samples::of(&BREAKER_FAILURE_RATIO);
        for breaker in self.snapshots() {
            self.transitions.pairs(breaker.name); // known from now on
            for (state, word) in STATES.into_iter().zip(STATE_WORDS) {
                states.add(&[breaker.name, word], if breaker.state == state { 1.0 } else { 0.0 });
            }
            for (outcome, total) in CALL_OUTCOMES.iter().zip(totals(&breaker)) {
                calls.add(&[breaker.name, outcome], total as f64);
            }
            ratios.add(&[breaker.name], breaker.failure_ratio);
        }
        vec![states, calls, ratios, self.transitions.read()]
    }
}

/// The totals of one breaker in the order of [`CALL_OUTCOMES`].
fn totals(breaker: &Snapshot) -> [u64; CALL_OUTCOMES.len()] {
    let of = &breaker.outcomes;
    [of.success, of.failure, of.ignored, of.slow, of.rejected, of.late]
}

fn index(state: State) -> usize {
    match state {
        State::Closed => 0,
        State::Open => 1,
        State::HalfOpen => 2,
        State::ForcedOpen => 3,
        State::Disabled => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_states_are_the_breakers_own() {
        for (at, state) in STATES.into_iter().enumerate() {
            assert_eq!((index(state), STATE_WORDS[at]), (at, state.as_str()));
        }
    }
}
