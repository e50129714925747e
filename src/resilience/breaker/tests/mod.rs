//! Tests of the breaker: a sentence per edge, properties over random histories, and threads.
//!
//! Time is a number the test moves; nothing sleeps.

mod edges;
mod overrides;
mod probes;
mod properties;
mod slowness;
mod threads;

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

/// Notes every transition.
#[derive(Default)]
struct Log(Mutex<Vec<(State, State, Cause)>>);

impl Observer for Log {
    fn breaker_transition(&self, _: &'static str, from: State, to: State, cause: Cause) {
        self.0.lock().unwrap().push((from, to, cause));
    }
}

impl Log {
    fn events(&self) -> Vec<(State, State, Cause)> {
        self.0.lock().unwrap().clone()
    }

    /// Every event starts where the last one ended and is an edge of the diagram; returns the end.
    fn assert_is_a_walk(&self) -> State {
        self.events().into_iter().fold(State::Closed, |at, (from, to, cause)| {
            use Cause::*;
            use State::*;
            assert_eq!(at, from, "an event out of order");
            let known = match (from, to) {
                (Closed, Open) => matches!(cause, FailureRatio | SlowRatio | Stall | Connect),
                (Open, HalfOpen) => cause == ProbeDue,
                (HalfOpen, Open) => cause == ProbeFailed,
                (HalfOpen, Closed) => cause == ProbesPassed,
                (_, ForcedOpen | Disabled) | (ForcedOpen | Disabled, Closed) => cause == Operator,
                _ => false,
            };
            assert!(known && from != to, "no such edge: {from:?} to {to:?} by {cause:?}");
            to
        })
    }
}

impl Breaker {
    /// What holds at any time at which no other thread is at work.
    fn assert_invariants(&self, now: Moment) {
        let view = self.published.view();
        assert_eq!(view.state, self.state());
        assert_eq!(self.refusing(), view.state.refuses());
        let spelled = self.lock().engine.spelled();
        match view.state {
            State::Closed | State::Open | State::HalfOpen => assert_eq!(spelled, view.state.as_str()),
            State::ForcedOpen | State::Disabled => {}
        }
        let longest = match view.state {
            State::Open => Some(self.settings.open_wait_max),
            State::HalfOpen => Some(self.settings.half_open_max),
            State::Closed | State::ForcedOpen | State::Disabled => None,
        };
        assert_eq!(view.due.is_some(), longest.is_some(), "exactly open and half-open have an end");
        if let (Some(due), Some(longest)) = (view.due, longest) {
            assert!(due <= now + longest, "an end too far away");
        }
        let snapshot = self.snapshot(now);
        assert!(snapshot.failures <= snapshot.calls, "more failures than calls");
        assert!(snapshot.slow_ratio <= 1.0, "more slow calls than calls");
        assert_eq!(snapshot.retry_after.is_some(), self.refusing());
    }

    fn generation(&self) -> u64 {
        self.published.word().generation()
    }
}

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1_000)
}

/// The defaults without jitter, so that moments can be named.
fn exact() -> Settings {
    Settings { jitter: 0.0, ..Settings::default() }
}

/// A breaker created at one second, and its log.
fn breaker(settings: Settings) -> (Breaker, Arc<Log>) {
    let log = Arc::new(Log::default());
    (Breaker::new("test", settings, log.clone(), at(1_000)), log)
}

/// One call from admission to verdict, taking no time.
fn call(breaker: &Breaker, verdict: Verdict, now: Moment) {
    breaker.admit(now).expect("an admitting breaker").finish(verdict, now);
}

fn calls(breaker: &Breaker, count: u32, verdict: Verdict, now: Moment) {
    (0..count).for_each(|_| call(breaker, verdict, now));
}

/// A breaker that opened at two seconds and may be probed half a second later.
fn opened() -> (Breaker, Arc<Log>) {
    let (breaker, log) = breaker(exact());
    assert!(breaker.trip(Cause::Stall, at(2_000)));
    (breaker, log)
}

/// Lets all probes pass; the breaker must be due.
fn recover(breaker: &Breaker, now: Moment) {
    let mut probing = breaker.start_probing(now).expect("a due probe");
    while probing.passed(now) == Progress::More {}
    assert_eq!(breaker.state(), State::Closed);
}

/// Drops a value in the middle of a panic, quietly.
fn drop_in_panic<T>(value: T) {
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        let _value = value;
        panic::resume_unwind(Box::new("planned"));
    }));
    assert!(caught.is_err());
}
