//! The shelf: answers by question, by key and by age, within a bound of bytes. Pure: no clock, no lock, no atomics.
//!
//! Three indices of the same places, kept together here and nowhere else. Time is a count of events (`tick`), so that "before"
//! and "after" need no clock; the moment an answer was asked for is stored for its age alone. Limits: no entry expires by itself;
//! what a reader finds too old stays until it is pushed out.

use std::collections::{BTreeMap, HashMap};

use super::Question;
use crate::resilience::Moment;

/// Slots for the ends of writes. An answer is on its way for milliseconds: 1 024 slots make it rare that a write to another key ends
/// in the same slot meanwhile, and take 8 KiB.
const SLOTS: usize = 1024;
/// What a place costs besides the answer: itself and its entries in two indices, measured and rounded up.
pub(super) const PLACE_BYTES: usize = 512;
/// What each key of an answer costs.
pub(super) const KEY_BYTES: usize = 128;
/// Answers that one key can have. A write to it takes them all away under the lock: so many take well under a millisecond.
pub(super) const ANSWERS_OF_A_KEY: usize = 1024;

/// One answer and what it depends on.
pub(super) struct Place<V> {
    answer: V,
    bytes: usize,
    at: Moment,
    keys: Box<[u64]>,
    /// Its entry in the order of age.
    tick: u64,
}

impl<V> Place<V> {
    /// An answer of `bytes` bytes that Redis was asked for at `at`. `keys` are hashes.
    pub(super) fn new(answer: V, bytes: usize, at: Moment, mut keys: Box<[u64]>) -> Self {
        keys.sort_unstable();
        let bytes = bytes.saturating_add(PLACE_BYTES + KEY_BYTES * keys.len());
        Self { answer, bytes, at, keys, tick: 0 }
    }

    pub(super) fn answer(&self) -> &V {
        &self.answer
    }

    pub(super) fn at(&self) -> Moment {
        self.at
    }

    /// Its keys, each once.
    fn keys(&self) -> impl Iterator<Item = u64> {
        self.keys.chunk_by(|a, b| a == b).filter_map(|same| same.first().copied())
    }
}

/// What [`Shelf::put`] did.
pub(super) struct Changed<V> {
    /// The answer, if it was not taken.
    pub(super) refused: Option<Place<V>>,
    /// What had to go, to be freed by whoever holds no lock.
    pub(super) removed: Vec<Place<V>>,
}

/// See the module's text.
pub(super) struct Shelf<V> {
    limit: usize,
    bytes: usize,
    tick: u64,
    /// When the last write ended to a key of each slot.
    written: Box<[u64]>,
    /// When the last write ended that may have touched any key.
    everything_written: u64,
    places: HashMap<Question, Place<V>>,
    by_key: HashMap<u64, Vec<Question>>,
    by_age: BTreeMap<u64, Question>,
}

impl<V> Shelf<V> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            tick: 0,
            written: vec![0; SLOTS].into_boxed_slice(),
            everything_written: 0,
            places: HashMap::new(),
            by_key: HashMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    /// The time on the clock of events. What is asked now is older than what ends later.
    pub(super) fn now(&self) -> u64 {
        self.tick
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, question: &Question) -> Option<&Place<V>> {
        self.places.get(question)
    }

    /// Puts an answer that was asked for at `asked` in place of the one before, unless that one is younger, or a write ended since.
    pub(super) fn put(&mut self, question: Question, mut place: Place<V>, asked: u64) -> Changed<V> {
        let outdated = self.everything_written > asked || place.keys.iter().any(|key| self.written[slot(*key)] > asked);
        let overtaken = self.places.get(&question).is_some_and(|other| other.at > place.at);
        if outdated || overtaken {
            return Changed { refused: Some(place), removed: Vec::new() };
        }
        let mut removed: Vec<_> = self.remove(&question).into_iter().collect();
        let crowded = place.keys().any(|key| self.by_key.get(&key).is_some_and(|all| all.len() >= ANSWERS_OF_A_KEY));
        if crowded || place.bytes > self.limit {
            return Changed { refused: Some(place), removed };
        }
        while self.bytes + place.bytes > self.limit
            && let Some((_, oldest)) = self.by_age.first_key_value().map(|(tick, oldest)| (*tick, *oldest))
        {
            removed.extend(self.remove(&oldest));
        }
        place.tick = self.next();
        self.bytes += place.bytes;
        self.by_age.insert(place.tick, question);
        place.keys().for_each(|key| self.by_key.entry(key).or_default().push(question));
        self.places.insert(question, place);
        Changed { refused: None, removed }
    }

    pub(super) fn remove(&mut self, question: &Question) -> Option<Place<V>> {
        let place = self.places.remove(question)?;
        self.bytes -= place.bytes;
        self.by_age.remove(&place.tick);
        for key in place.keys() {
            if let Some(questions) = self.by_key.get_mut(&key) {
                questions.retain(|other| other != question);
                if questions.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
        Some(place)
    }

    /// A write to this key has ended.
    pub(super) fn wrote(&mut self, key: u64) -> Vec<Place<V>> {
        self.written[slot(key)] = self.next();
        let questions = self.by_key.remove(&key).unwrap_or_default();
        questions.iter().filter_map(|question| self.remove(question)).collect()
    }

    /// A write that may have touched any key has ended. What is given back is the shelf as it was.
    pub(super) fn wrote_everything(&mut self) -> Self {
        let tick = self.next();
        let empty = Self { tick, everything_written: tick, ..Self::new(self.limit) };
        std::mem::replace(self, empty)
    }

    /// Takes away what this asker was told.
    pub(super) fn remove_asker(&mut self, asker: &[u8; 32]) -> Vec<Place<V>> {
        let his: Vec<Question> = self.places.keys().filter(|question| question.asker == *asker).copied().collect();
        his.iter().filter_map(|question| self.remove(question)).collect()
    }

    fn next(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// The indices agree and the bound holds.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        assert!(self.bytes <= self.limit, "{} bytes of {}", self.bytes, self.limit);
        assert_eq!(self.bytes, self.places.values().map(|place| place.bytes).sum::<usize>());
        assert_eq!(self.by_age.len(), self.places.len());
        for (tick, question) in &self.by_age {
            assert_eq!(self.places[question].tick, *tick);
        }
        let mut pairs = 0;
        for (key, questions) in &self.by_key {
            assert!((1..=ANSWERS_OF_A_KEY).contains(&questions.len()));
            assert!(questions.iter().all(|question| self.places[question].keys.contains(key)));
            pairs += questions.len();
        }
        assert_eq!(pairs, self.places.values().map(|place| place.keys().count()).sum::<usize>());
    }
}

/// The hash is a keyed one: all its bits are as good as any.
fn slot(key: u64) -> usize {
    (key % SLOTS as u64) as usize
}
