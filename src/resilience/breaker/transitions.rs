//! Every change of state, in one place and under one lock.
//!
//! Each transition moves the engine first, then publishes the next generation, then tells the
//! observer. Waiters are woken after unlocking: a waker is foreign code. A transition asked for on
//! behalf of an older generation does nothing.
//!
//! Limit: the observer runs under the lock; its contract is in [`Observer`](super::super::Observer).

use std::sync::{Arc, MutexGuard, PoisonError};

use super::super::moment::Moment;
use super::Breaker;
use super::engine::Engine;
use super::probing::Probing;
use super::waits::Waits;
use super::words::{Cause, Override, State};

/// What transitions need and nobody else may touch.
pub(super) struct Core {
    pub(super) engine: Engine,
    waits: Waits,
}

impl Core {
    pub(super) fn new(engine: Engine, seed: u64) -> Self {
        Self { engine, waits: Waits::new(seed) }
    }
}

impl Breaker {
    /// Opens a closed breaker on the word of a detector. True if it opened now; false in every other
    /// state: an open one knows, a half-open one has its probes, an overridden one obeys.
    pub fn trip(&self, cause: Cause, now: Moment) -> bool {
        self.trip_generation(None, cause, now)
    }

    /// The right to probe, if a probe is due: the breaker goes from open to half-open. A half-open
    /// breaker whose prober has not decided within `half_open_max` goes to the new prober, in a new
    /// generation; the old one has no say any more.
    pub fn start_probing(&self, now: Moment) -> Option<Probing<'_>> {
        if !self.probe_is_due(now) {
            return None;
        }
        let mut core = self.lock();
        // Somebody else may have started in between.
        if !self.probe_is_due(now) {
            return None;
        }
        let before = self.published.view();
        // Not half-open after all: the engine's clock stands still. The next attempt is as good.
        if before.state == State::Open && !core.engine.half_open() {
            return None;
        }
        let since = if before.state == State::HalfOpen { before.since } else { now };
        self.publish(&core, State::HalfOpen, since, Some(now + self.settings.half_open_max));
        self.tell(before.state, State::HalfOpen, Cause::ProbeDue);
        Some(Probing::new(self, self.published.word().generation(), now))
    }

    /// Puts the operator's will above everything. Returning to automatic starts afresh: closed, an
    /// empty window, and results of calls from before are late.
    pub fn override_state(&self, wanted: Override, now: Moment) {
        let to = {
            let mut core = self.lock();
            let from = self.state();
            let to = match wanted {
                Override::ForcedOpen => State::ForcedOpen,
                Override::Disabled => State::Disabled,
                Override::Automatic if overridden(from) => State::Closed,
                Override::Automatic => from,
            };
            if from == to {
                return;
            }
            if to == State::Closed {
                // Never `reset()`, which calls out under the engine's lock.
                core.engine = Engine::new(Arc::clone(&self.record));
                core.waits.forget();
                self.window.clear();
            }
            self.publish(&core, to, now, None);
            self.tell(from, to, Cause::Operator);
            to
        };
        if to.refuses() {
            self.opened.notify_waiters();
        }
    }

    /// Closed to open, if the breaker is still in this generation (none: in any).
    pub(super) fn trip_generation(&self, generation: Option<u64>, cause: Cause, now: Moment) -> bool {
        if self.state() != State::Closed {
            return false;
        }
        {
            let mut core = self.lock();
            let word = self.published.word();
            if word.state() != State::Closed || generation.is_some_and(|expected| expected != word.generation()) {
                return false;
            }
            core.engine.open();
            let due = now + core.waits.after_trip(&self.settings, now);
            self.window.clear();
            self.publish(&core, State::Open, now, Some(due));
            self.tell(State::Closed, State::Open, cause);
        }
        self.opened.notify_waiters();
        true
    }

    /// Half-open to open, if the probing of this generation still decides.
    pub(super) fn reopen(&self, generation: u64, now: Moment) {
        {
            let mut core = self.lock();
            if !self.is_probed_by(generation) {
                return;
            }
            core.engine.open();
            let due = now + core.waits.after_probe(&self.settings);
            self.publish(&core, State::Open, now, Some(due));
            self.tell(State::HalfOpen, State::Open, Cause::ProbeFailed);
        }
        self.opened.notify_waiters();
    }

    /// Half-open to closed, if the probing of this generation still decides.
    pub(super) fn close(&self, generation: u64, now: Moment) {
        let mut core = self.lock();
        if !self.is_probed_by(generation) {
            return;
        }
        core.engine.close();
        core.waits.recovered(now);
        self.window.clear();
        self.publish(&core, State::Closed, now, None);
        self.tell(State::HalfOpen, State::Closed, Cause::ProbesPassed);
    }

    /// The lock of all transitions. An observer that panicked found everything published already, so
    /// a poisoned lock guards a sound state.
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn probe_is_due(&self, now: Moment) -> bool {
        self.probe_due_at().is_some_and(|due| now >= due)
    }

    fn is_probed_by(&self, generation: u64) -> bool {
        let word = self.published.word();
        word.state() == State::HalfOpen && word.generation() == generation
    }

    /// Starts the next generation; `_core` is the proof that the lock is held.
    fn publish(&self, _core: &Core, state: State, since: Moment, due: Option<Moment>) {
        debug_assert_eq!(
            due.is_some(),
            matches!(state, State::Open | State::HalfOpen),
            "exactly open and half-open have an end"
        );
        debug_assert!(
            state != State::Open || due.is_some_and(|due| due <= since + self.settings.open_wait_max),
            "no opening outlasts the longest wait"
        );
        self.published.advance(state, since, due);
    }

    fn tell(&self, from: State, to: State, cause: Cause) {
        if from != to {
            self.observer.breaker_transition(self.name, from, to, cause);
        }
    }
}

fn overridden(state: State) -> bool {
    match state {
        State::ForcedOpen | State::Disabled => true,
        State::Closed | State::Open | State::HalfOpen => false,
    }
}
