//! Answers of the past: what a read was told last, kept for the time when Redis does not answer (D19).
//!
//! A reader who may be served such an answer opens an [`Asked`] before Redis is asked, and then keeps what Redis said, or asks for
//! what was kept before. The one thing that must not happen is that an answer outlives a write that its author was told of. So:
//!
//! - every write through this instance that succeeded, or may have, takes away the answers of its keys before its caller is
//!   answered ([`Witness`], called by the gateway); one whose keys nobody knows takes away all;
//! - an answer that was on its way while such a write ended is not kept: each write leaves the time of its end, on a clock that
//!   counts events, in a slot for its keys, and an answer asked for before that time is thrown away. Slots are shared by many keys:
//!   a collision costs an answer that would have been good.
//!
//! Bounded in bytes: the answer that was given longest ago goes first. Who asked what is a pair of opaque digests, a key is known
//! by its hash, so that nothing here can be told apart by who reads memory but the answers themselves. Limits: gone with the
//! process; writes through other instances and lifetimes that end meanwhile are not seen, which is why a reader says how
//! old an answer may be.

mod shelf;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::shelf::{Place, Shelf};
use crate::redis::{Interest, Touched, Witness};
use crate::resilience::Moment;

/// A call that names more keys than this is not kept: each of them is an entry of the index.
pub const KEYS_MOST: usize = 1024;

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all answers with what it takes to find them; 0 = nothing is kept.
    pub bytes: usize,
    /// Bytes of one answer.
    pub answer_bytes: usize,
}

/// Who asked, and what. Both are opaque here: the asker's digest must be his alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who.
    pub asker: [u8; 32],
    /// The command and its arguments.
    pub call: [u8; 32],
}

/// All answers this instance remembers.
pub struct Answers<V> {
    limits: Limits,
    interest: Interest,
    hashes: RandomState,
    shelf: Mutex<Shelf<V>>,
}

impl<V: Clone> Answers<V> {
    /// Nothing yet. `interest` is that of the writes to be told of.
    pub fn new(limits: Limits, interest: Interest) -> Self {
        Self { limits, interest, hashes: RandomState::new(), shelf: Mutex::new(Shelf::new(limits.bytes)) }
    }

    /// To be opened before Redis is asked. `keys` are the Redis keys that the answer will depend on. `None` if the answer could not
    /// be kept anyway.
    pub fn ask(&self, question: Question, keys: &[&[u8]], now: Moment) -> Option<Asked<'_, V>> {
        if self.limits.bytes == 0 || keys.is_empty() || keys.len() > KEYS_MOST {
            return None;
        }
        // Before the time is taken: a write that ends from here on leaves a later one.
        self.interest.raise(1);
        let keys = keys.iter().map(|key| self.hashes.hash_one(*key)).collect();
        let tick = self.shelf().now();
        Some(Asked { answers: self, question, keys, at: now, tick })
    }

    /// Takes away all answers of one asker, who may not ask any more.
    pub fn purge(&self, asker: &[u8; 32]) {
        let removed = self.shelf().remove_asker(asker);
        self.interest.lower(removed.len());
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.shelf().bytes()
    }

    /// Bytes that may be in use.
    pub fn bytes_limit(&self) -> usize {
        self.limits.bytes
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<V>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone + Send> Witness for Answers<V> {
    fn wrote(&self, touched: Touched<'_>) {
        // What is taken off is freed when the lock is.
        match touched {
            Touched::Key(key) => {
                let key = self.hashes.hash_one(key);
                let removed = self.shelf().wrote(key);
                self.interest.lower(removed.len());
            }
            Touched::Everything => {
                let removed = self.shelf().wrote_everything();
                self.interest.lower(removed.len());
            }
        }
    }
}

/// A question that Redis is being asked.
pub struct Asked<'a, V: Clone> {
    answers: &'a Answers<V>,
    question: Question,
    keys: Box<[u64]>,
    at: Moment,
    tick: u64,
}

impl<V: Clone> Asked<'_, V> {
    /// Remembers Redis' answer of `bytes` bytes, unless a write to one of its keys ended since it was asked for. An answer that
    /// is too large takes the place of the one before all the same: that one is no longer what was told last.
    pub fn keep(mut self, answer: V, bytes: usize) {
        if bytes > self.answers.limits.answer_bytes {
            return self.forget();
        }
        let place = Place::new(answer, bytes, self.at, std::mem::take(&mut self.keys));
        let mut shelf = self.answers.shelf();
        let changed = shelf.put(self.question, place, self.tick);
        // Within the lock: whoever takes it away later must find it counted.
        if changed.refused.is_none() {
            self.answers.interest.raise(1);
        }
        drop(shelf);
        self.answers.interest.lower(changed.removed.len());
    }

    /// Forgets what was kept: Redis answered otherwise.
    pub fn forget(self) {
        let removed = self.answers.shelf().remove(&self.question);
        self.answers.interest.lower(usize::from(removed.is_some()));
    }

    /// What was told last, and how long ago Redis was asked for it, if that is not longer than `at_most`.
    pub fn recall(&self, at_most: Duration, now: Moment) -> Option<(V, Duration)> {
        let shelf = self.answers.shelf();
        let place = shelf.get(&self.question)?;
        let age = now.saturating_since(place.at());
        (age <= at_most).then(|| (place.answer().clone(), age))
    }
}

impl<V: Clone> Drop for Asked<'_, V> {
    fn drop(&mut self) {
        self.answers.interest.lower(1);
    }
}
