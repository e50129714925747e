//! What callers see of a breaker without a lock.
//!
//! State and generation share one word, so one load answers "may I pass, and in which generation".
//! Two more facts per state, since when and until when, sit in two slots that take turns: a transition
//! fills the slot nobody reads, then publishes the word that points to it.
//!
//! Limit: one writer at a time, which the breaker's lock provides.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::moment::Moment;
use super::words::State;

/// Bits of the word that hold the state; the generation has the other 61 and cannot run out.
const STATE_BITS: u32 = 3;

/// State and generation at one instant.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    fn new(state: State, generation: u64) -> Self {
        let code = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
            State::ForcedOpen => 3,
            State::Disabled => 4,
        };
        Self(generation << STATE_BITS | code)
    }

    pub(super) fn state(self) -> State {
        match self.0 & ((1 << STATE_BITS) - 1) {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            3 => State::ForcedOpen,
            // Only `new` makes words: nothing above 4 exists.
            _ => State::Disabled,
        }
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> STATE_BITS
    }
}

/// State, generation and the facts that belong to them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) since: Moment,
    /// When probing may start (open) or be taken over (half-open).
    pub(super) due: Option<Moment>,
}

#[derive(Debug, Default)]
struct Slot {
    since: AtomicU64,
    /// 0: never.
    due: AtomicU64,
}

/// The published facts. On cache lines of their own: every call reads them, and counters beside them
/// would take them away from all other cores.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Published {
    word: AtomicU64,
    slots: [Slot; 2],
}

impl Published {
    pub(super) fn closed(now: Moment) -> Self {
        let slots: [Slot; 2] = Default::default();
        slots[0].since.store(now.as_micros(), Ordering::Relaxed);
        Self { word: AtomicU64::new(Word::new(State::Closed, 0).0), slots }
    }

    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// One consistent view. Repeats only when a transition came in between.
    pub(super) fn view(&self) -> View {
        loop {
            let word = self.word();
            let slot = self.slot(word.generation());
            let since = slot.since.load(Ordering::Acquire);
            let due = slot.due.load(Ordering::Acquire);
            // The slot is filled again only for the generation after next, that is after the next
            // one's word. So the same word now means the slot was ours.
            if self.word() == word {
                return View {
                    state: word.state(),
                    generation: word.generation(),
                    since: Moment::from_micros(since),
                    due: (due > 0).then_some(Moment::from_micros(due)),
                };
            }
        }
    }

    /// Starts the next generation. Call it under the breaker's lock.
    pub(super) fn advance(&self, state: State, since: Moment, due: Option<Moment>) {
        let generation = self.word().generation() + 1;
        let slot = self.slot(generation);
        slot.since.store(since.as_micros(), Ordering::Release);
        slot.due.store(due.map_or(0, Moment::as_micros), Ordering::Release);
        self.word.store(Word::new(state, generation).0, Ordering::Release);
    }

    fn slot(&self, generation: u64) -> &Slot {
        &self.slots[(generation % 2) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Enough for a reader to fall between the writer's stores many times.
    const GENERATIONS: u64 = 1_000_000;

    #[test]
    fn a_word_gives_back_what_it_was_made_of() {
        for state in State::ALL {
            let word = Word::new(state, 12_345);
            assert_eq!((word.state(), word.generation()), (state, 12_345));
        }
    }

    #[test]
    fn a_view_never_mixes_two_generations() {
        let published = Published::closed(Moment::from_micros(0));
        let together = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    together.wait();
                    let mut view = published.view();
                    while view.generation < GENERATIONS {
                        assert_eq!(view.since.as_micros(), view.generation);
                        assert_eq!(view.due.map_or(0, Moment::as_micros), view.generation);
                        view = published.view();
                    }
                });
            }
            together.wait();
            for generation in 1..=GENERATIONS {
                let moment = Moment::from_micros(generation);
                published.advance(State::Open, moment, Some(moment));
            }
        });
    }
}
