//! Breaker transitions, told once: as a log line, as a counter, and to the diary that people are shown.
//!
//! The breakers know only the `Observer` trait. This is the observer the service gives them. It is called under
//! the breaker's own lock, so it counts, notes and writes one line, nothing more.

use std::sync::Arc;

use crate::resilience::{Cause, Observer, State};
use crate::telemetry::metrics::Transitions;
use crate::telemetry::{Diary, clock};

/// The observer that logs and counts every transition of every breaker.
pub struct BreakerLog {
    transitions: Arc<Transitions>,
    diary: Arc<Diary>,
}

impl BreakerLog {
    /// An observer that counts into `transitions` and notes into `diary`; [`crate::telemetry::Metrics::breaker_log`] makes
    /// the usual one.
    pub fn new(transitions: Arc<Transitions>, diary: Arc<Diary>) -> Self {
        Self { transitions, diary }
    }
}

impl Observer for BreakerLog {
    fn breaker_transition(&self, name: &'static str, from: State, to: State, cause: Cause) {
        self.transitions.count(name, from, to);
        self.diary.note(clock::now(), name, from, to, cause);
        let (from, to, cause) = (from.as_str(), to.as_str(), cause.as_str());
        // By consequence: callers are refused from now on, or life goes on. Probing through an outage is neither: several times
        // a second, until it ends.
        if is_probing(cause) {
            tracing::debug!(breaker = name, from, to, cause, "breaker probed");
        } else if refuses(to) {
            tracing::warn!(breaker = name, from, to, cause, "breaker opened");
        } else {
            tracing::info!(breaker = name, from, to, cause, "breaker changed state");
        }
    }
}

fn is_probing(cause: &str) -> bool {
    cause == Cause::ProbeDue.as_str() || cause == Cause::ProbeFailed.as_str()
}

fn refuses(state: &str) -> bool {
    state == State::Open.as_str() || state == State::ForcedOpen.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logs::tests::captured;

    #[test]
    fn an_opening_is_a_warning_and_a_closing_is_information() {
        let log = BreakerLog::new(Arc::default(), Arc::default());
        let lines = captured(|| {
            log.breaker_transition("redis.read", State::Closed, State::Open, Cause::Stall);
            log.breaker_transition("redis.read", State::HalfOpen, State::Closed, Cause::ProbesPassed);
        });
        let [opened, closed] = lines.as_slice() else { panic!("two lines expected: {lines:?}") };
        assert_eq!(opened["level"], "WARN");
        assert_eq!(opened["breaker"], "redis.read");
        assert_eq!(opened["to"], "open");
        assert_eq!(opened["cause"], "stall");
        assert_eq!(closed["level"], "INFO");
        assert_eq!(closed["from"], "half_open");
    }
}
