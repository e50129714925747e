//! failsafe's state machine, told only what our guard has decided.
//!
//! The policy opens exactly when the guard says so, with a delay of zero: how long to stay open is the
//! guard's, whose clock is handed in. The engine's own clock is then a formality; its `now > until` is
//! strict, so half-opening right after an opening may need the real clock to tick once. It is asked a
//! bounded number of times for that and never waited for.
//!
//! Every method runs under the breaker's lock. The instrument only writes atomics.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use failsafe::{FailurePolicy, Instrument, StateMachine};

/// How often half-opening is tried: some microseconds, far more than a clock needs to tick.
const TRIES: u32 = 256;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

/// The engine of one breaker.
pub(super) struct Engine {
    machine: StateMachine<Decided, Recorder>,
    decided: Arc<AtomicBool>,
    record: Arc<Record>,
}

impl Engine {
    /// A closed engine that keeps writing the given record.
    pub(super) fn new(record: Arc<Record>) -> Self {
        let decided = Arc::new(AtomicBool::new(false));
        let policy = Decided(Arc::clone(&decided));
        let machine = StateMachine::new(policy, Recorder(Arc::clone(&record)));
        Self { machine, decided, record }
    }

    /// Closed or half-open to open.
    pub(super) fn open(&mut self) {
        debug_assert!(!self.is(OPEN), "an open engine cannot open");
        self.decided.store(true, Ordering::Relaxed);
        self.machine.on_error();
        self.decided.store(false, Ordering::Relaxed);
        debug_assert!(self.is(OPEN), "the engine opens when the guard has decided");
    }

    /// Open to half-open. False, and still open, if the engine's clock has not moved since it opened.
    pub(super) fn half_open(&mut self) -> bool {
        debug_assert!(self.is(OPEN), "only an open engine half-opens");
        let permitted = (0..TRIES).any(|_| {
            let permitted = self.machine.is_call_permitted();
            if !permitted {
                hint::spin_loop();
            }
            permitted
        });
        debug_assert_eq!(permitted, self.is(HALF_OPEN), "permission means half-open");
        permitted
    }

    /// Half-open to closed.
    pub(super) fn close(&mut self) {
        debug_assert!(self.is(HALF_OPEN), "only a half-open engine closes");
        self.machine.on_success();
        debug_assert!(self.is(CLOSED), "a success closes a half-open engine");
    }

    /// The state as the engine itself spells it in its debug output.
    #[cfg(test)]
    pub(super) fn spelled(&self) -> String {
        let debug = format!("{:?}", self.machine);
        debug.split('"').nth(1).unwrap_or_default().to_owned()
    }

    fn is(&self, state: u64) -> bool {
        self.record.state.load(Ordering::Relaxed) == state
    }
}

/// What the engine reported of itself. Outlives the engine when a fresh one takes its place.
#[derive(Debug, Default)]
pub(super) struct Record {
    state: AtomicU64,
    openings: AtomicU64,
}

impl Record {
    /// How often the engine has opened.
    pub(super) fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }
}

/// Opens when the guard has decided, at once and for no time of its own.
struct Decided(Arc<AtomicBool>);

impl FailurePolicy for Decided {
    fn record_success(&mut self) {}

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).then_some(Duration::ZERO)
    }

    fn revived(&mut self) {}
}

/// Writes the record.
struct Recorder(Arc<Record>);

impl Instrument for Recorder {
    // Not a caller: half-opening asked before the engine's clock had ticked.
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.0.state.store(OPEN, Ordering::Relaxed);
        self.0.openings.fetch_add(1, Ordering::Relaxed);
    }

    fn on_half_open(&self) {
        self.0.state.store(HALF_OPEN, Ordering::Relaxed);
    }

    fn on_closed(&self) {
        self.0.state.store(CLOSED, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_goes_round_without_waiting() {
        let record = Arc::new(Record::default());
        let mut engine = Engine::new(Arc::clone(&record));
        for round in 1..=1_000 {
            assert_eq!(engine.spelled(), "closed");
            engine.open();
            assert_eq!(engine.spelled(), "open");
            assert!(engine.half_open());
            assert_eq!(engine.spelled(), "half_open");
            engine.open();
            assert!(engine.half_open());
            engine.close();
            assert_eq!(record.openings(), 2 * round);
        }
    }

    #[test]
    fn an_error_the_guard_did_not_decide_on_opens_nothing() {
        let engine = Engine::new(Arc::default());
        engine.machine.on_error();
        assert_eq!(engine.spelled(), "closed");
    }
}
