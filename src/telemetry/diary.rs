//! The last transitions of the breakers, for people: what opened, why, and when it closed again.
//!
//! A breaker that stays open is probed twice a second; told one by one, an hour's outage would push its own beginning
//! out of any bounded list. So failed probes in a row are one entry that counts them.
//!
//! Limits: the last [`KEPT`] entries of this process, in memory. The log has all that mattered.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::resilience::{Cause, Moment, State};

/// Entries kept. A flapping breaker makes two a second at most; nobody reads further back on a page.
pub const KEPT: usize = 32;

/// One transition, or a row of failed probes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When; of a row of probes, the last one.
    pub at: Moment,
    /// The breaker.
    pub name: &'static str,
    /// The state it left.
    pub from: State,
    /// The state it entered.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// Probes that failed, where the entry is about probing.
    pub failed_probes: u64,
}

impl Entry {
    /// Whether it tells of probing during an outage, not of a change that callers notice.
    pub fn is_probing(&self) -> bool {
        matches!(self.cause, Cause::ProbeDue | Cause::ProbeFailed)
    }
}

/// The diary of all breakers.
#[derive(Default)]
pub struct Diary {
    entries: Mutex<VecDeque<Entry>>,
}

impl Diary {
    /// Notes one transition. Called under the breaker's own lock, so it takes a moment and no more.
    pub fn note(&self, at: Moment, name: &'static str, from: State, to: State, cause: Cause) {
        let failed_probes = u64::from(cause == Cause::ProbeFailed);
        let entry = Entry { at, name, from, to, cause, failed_probes };
        let mut entries = self.entries();
        let last = entries.iter_mut().rev().find(|known| known.name == name);
        match last {
            Some(last) if last.is_probing() && entry.is_probing() => {
                *last = Entry { failed_probes: last.failed_probes + failed_probes, ..entry };
            }
            _ => {
                if entries.len() == KEPT {
                    entries.pop_front();
                }
                entries.push_back(entry);
            }
        }
    }

    /// The entries, newest first.
    pub fn read(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.entries().iter().rev().copied().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        entries
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(diary: &Diary, name: &'static str, begin: u64, probes: u64) {
        let at = |offset: u64| Moment::from_micros(begin + offset);
        diary.note(at(0), name, State::Closed, State::Open, Cause::Stall);
        for probe in 0..probes {
            diary.note(at(2 * probe + 1), name, State::Open, State::HalfOpen, Cause::ProbeDue);
            diary.note(at(2 * probe + 2), name, State::HalfOpen, State::Open, Cause::ProbeFailed);
        }
        diary.note(at(2 * probes + 1), name, State::Open, State::HalfOpen, Cause::ProbeDue);
        diary.note(at(2 * probes + 2), name, State::HalfOpen, State::Closed, Cause::ProbesPassed);
    }

    #[test]
    fn failed_probes_in_a_row_are_one_entry() {
        let diary = Diary::default();
        outage(&diary, "redis.read", 100, 40);
        let told: Vec<_> = diary.read().iter().map(|entry| (entry.to, entry.cause, entry.failed_probes)).collect();
        assert_eq!(
            told,
            [
                (State::Closed, Cause::ProbesPassed, 0),
                (State::HalfOpen, Cause::ProbeDue, 40),
                (State::Open, Cause::Stall, 0)
            ]
        );
    }

    #[test]
    fn breakers_do_not_mix_and_the_newest_comes_first() {
        let diary = Diary::default();
        diary.note(Moment::from_micros(1), "redis.read", State::Closed, State::Open, Cause::Connect);
        diary.note(Moment::from_micros(2), "redis.read", State::Open, State::HalfOpen, Cause::ProbeDue);
        diary.note(Moment::from_micros(3), "redis.write", State::Closed, State::Open, Cause::Connect);
        diary.note(Moment::from_micros(4), "redis.read", State::HalfOpen, State::Open, Cause::ProbeFailed);
        let told: Vec<_> = diary.read().iter().map(|entry| (entry.name, entry.at.as_micros())).collect();
        assert_eq!(told, [("redis.read", 4), ("redis.write", 3), ("redis.read", 1)]);
    }

    #[test]
    fn the_oldest_entries_make_way() {
        let diary = Diary::default();
        (0..20).for_each(|n| outage(&diary, "redis.read", n * 1000, 1));
        let entries = diary.read();
        assert_eq!(entries.len(), KEPT);
        assert_eq!(entries[0].at, Moment::from_micros(19_004));
    }
}
