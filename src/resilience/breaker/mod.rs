//! The circuit breaker: [`failsafe::StateMachine`] as engine, our guard around it.
//!
//! The engine performs every transition between closed, open and half-open. The guard decides *when*,
//! with time handed in: it counts calls in a window, owns the moment a probe is due, and publishes
//! state and generation in one atomic word that callers read without a lock.
//!
//! ```text
//!            ratio, stall, connect                     probe due
//!   closed ───────────────────────────► open ◄──────────────────────► half_open
//!     ▲                                       a probe failed               │
//!     └────────────────────────────────────────────────────────────────────┘
//!                          the last of `probes_to_close` passed
//!   forced_open, disabled: by the operator, from any state; back always to closed
//! ```
//!
//! Callers are refused while half-open; only probes of the house pass, so recovery costs no caller a
//! failure. An opening clears the window, and so does a closing.
//!
//! # What the engine leaves open, and who closes it
//!
//! | # | failsafe 1.3.0 | here |
//! |--:|---|---|
//! | 1 | half-open admits every call, without limit of number or time | `admit` refuses while half-open; one [`Probing`] per generation, replaceable after `half_open_max` |
//! | 2 | the first success closes | the engine hears of a success once, after `probes_to_close` passed probes |
//! | 3 | results carry no identity, late ones flip the state | every [`Admission`] and [`Probing`] carries its generation; an older one changes nothing but `late` |
//! | 4 | a late success while open reaches the policy | the same check; besides, successes of calls never reach the engine |
//! | 5 | a dropped future records nothing and leaves half-open behind | dropping an admission is `ignored`, dropping a probing is a failed probe |
//! | 6 | a panic records nothing | dropping an admission while panicking is a failure |
//! | 7 | an error the predicate does not match is a success | three-valued [`Verdict`]; `Ignored` touches no window |
//! | 8 | the state cannot be read | published word, [`Breaker::state`] |
//! | 9 | asking for permission mutates | asked only by `start_probing`, and only when a probe is due |
//! | 10 | no retry-after | the due moment is ours and published beside the word |
//! | 11 | the instrument is called after unlocking, out of order | it only counts; events come from the guard, under the guard's lock |
//! | 12 | `reset()` calls the instrument under its lock: deadlock | `reset()` is never called; leaving an override starts a fresh engine |
//! | 13 | no forced-open, no disabled | [`Breaker::override_state`], kept in the word and above the engine |
//! | 14 | no slow calls | counted in the window, on finish or while still in flight ([`Admission::slow`]) |
//! | 15 | its average is blind to the rate of calls | does not apply: its policies are not used; exact buckets, [`Window`] |
//! | 16 | its average cannot trip in the first window | does not apply, for the same reason; `minimum_calls` is the only condition |
//! | 17 | its windows are cut to whole seconds | does not apply; ours are cut to microseconds |
//! | 18 | its windows under 5 ms panic | does not apply; ours take any length |
//! | 19 | its backoffs are cut to seconds, jitter may give zero | does not apply: the engine's delay is always zero; waits are ours, in `waits.rs` |
//! | 20 | `or_else` advances both backoffs | does not apply: one policy, without backoff |
//! | 21 | a delay of `Duration::MAX` panics | does not apply: the engine's delay is always zero; our waits are capped, moments saturate |
//! | 22 | a stream asks for permission on every poll | does not apply: streams and futures of failsafe are not used |
//! | 23 | its clock is the real one | the engine never waits: zero delay, and `start_probing` steps over its strict `now > until` |
//! | 24 | a lock on every success | a call in closed state touches atomics only; the engine is touched on transitions only |
//!
//! # Limits
//!
//! One process, one breaker per name: nothing is shared between instances. A call recorded at the very
//! moment of a transition may be counted on either side of it.

mod engine;
mod guard;
mod probing;
mod published;
mod settings;
mod snapshot;
mod transitions;
mod waits;
mod words;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub use self::guard::Admission;
pub use self::probing::{Probing, Progress};
pub use self::settings::Settings;
pub use self::snapshot::{Outcomes, Snapshot};
pub use self::words::{Cause, Override, Refused, State, Verdict};

use self::engine::{Engine, Record};
use self::published::{Published, View};
use self::snapshot::Counters;
use self::transitions::Core;
use super::moment::Moment;
use super::observer::Observer;
use super::window::Window;

/// The least a refusal asks for: an overdue probe may be under way, and zero would invite a storm.
const SOONEST: Duration = Duration::from_millis(1);

/// A circuit breaker for one lane of one endpoint.
pub struct Breaker {
    name: &'static str,
    settings: Settings,
    observer: Arc<dyn Observer>,
    published: Published,
    counters: Counters,
    window: Window,
    /// What the engine has done, readable without its lock.
    record: Arc<Record>,
    /// Taken by transitions only.
    core: Mutex<Core>,
    opened: Notify,
}

impl Breaker {
    /// A closed breaker. Settings out of range are brought into it ([`Settings`] says how).
    pub fn new(name: &'static str, settings: Settings, observer: Arc<dyn Observer>, now: Moment) -> Self {
        let settings = settings.in_range();
        let record = Arc::new(Record::default());
        Self {
            name,
            observer,
            published: Published::closed(now),
            counters: Counters::default(),
            window: Window::new(settings.window, settings.buckets),
            core: Mutex::new(Core::new(Engine::new(Arc::clone(&record)), settings.seed)),
            record,
            opened: Notify::new(),
            settings,
        }
    }

    /// The name given at creation.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The state now: one atomic load.
    pub fn state(&self) -> State {
        self.published.word().state()
    }

    /// Whether calls are refused now: one atomic load.
    pub fn refusing(&self) -> bool {
        self.state().refuses()
    }

    /// Lets a call pass or refuses it. Takes no lock and never changes the state.
    pub fn admit(&self, now: Moment) -> Result<Admission<'_>, Refused> {
        let word = self.published.word();
        if word.state().refuses() {
            return Err(self.refuse(word.state(), now));
        }
        Ok(Admission::new(self, word.generation(), now))
    }

    /// When [`start_probing`](Self::start_probing) may next succeed: the end of an opening, or the
    /// moment a half-open breaker may be taken over. None in every other state.
    pub fn probe_due_at(&self) -> Option<Moment> {
        self.published.view().due
    }

    /// Resolves at the next opening, by trip, by a failed probe or by the operator. An opening after
    /// this call is never missed, polled or not; so call it first, then look at
    /// [`refusing`](Self::refusing), then wait.
    pub fn opened(&self) -> Notified<'_> {
        self.opened.notified()
    }

    /// State and figures at one glance, without a lock.
    pub fn snapshot(&self, now: Moment) -> Snapshot {
        let view = self.published.view();
        let totals = self.window.totals(now);
        let outcomes = self.counters.outcomes();
        Snapshot {
            name: self.name,
            state: view.state,
            since: view.since,
            retry_after: self.retry_after(view, now),
            calls: totals.calls,
            failures: totals.failures,
            failure_ratio: totals.failure_ratio(),
            slow_ratio: totals.slow_ratio(),
            rejected_total: outcomes.rejected,
            opened_total: self.record.openings(),
            outcomes,
        }
    }

    #[cold]
    fn refuse(&self, state: State, now: Moment) -> Refused {
        self.counters.rejected();
        // The breaker may have closed since `state` was read: then at once is soon enough.
        let retry_after = self.retry_after(self.published.view(), now).unwrap_or(SOONEST);
        Refused { state, retry_after }
    }

    /// How long a refused caller should stay away; none when nobody is refused.
    fn retry_after(&self, view: View, now: Moment) -> Option<Duration> {
        match view.state {
            State::Closed | State::Disabled => None,
            State::Open => {
                let due = view.due.unwrap_or(now);
                Some(due.saturating_since(now).clamp(SOONEST, self.settings.open_wait_max))
            }
            // The probes decide within their own timeouts; if they fail, this is the next wait.
            State::HalfOpen => Some(self.settings.open_wait),
            State::ForcedOpen => Some(self.settings.open_wait_max),
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("name", &self.name).field("state", &self.state()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
