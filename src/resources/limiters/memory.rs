//! What this instance remembers of limiters, to decide alone while Redis is away.
//!
//! Each take that may fall back to a local decision leaves the last answer of Redis here. An instance among `n` then decides as if
//! all others did the same: what it grants counts `n` times. So the sum over all instances keeps within the limiter's own
//! bound, without any of them hearing of another. What was granted here is told to Redis afterwards (`settlement.rs`); what has
//! been refilled meanwhile is not told, because it does not count any more.
//!
//! The memory is bounded: names that were not asked for in a long while are forgotten, in two generations. Limits: a name nobody
//! asked about here starts full, with its share of the capacity; so does a forgotten one. A cost above the share is refused as long
//! as the outage lasts. Answers of Redis that overtake each other may leave the older one here.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::policy::{Level, Policy};
use crate::resilience::Moment;

/// Locks, so that workers seldom wait for each other.
const SHARDS: usize = 16;
/// What an entry takes beside its name: itself, the name's pointers, the table's slack.
const OVERHEAD: usize = 256;

/// A bounded memory of limiters.
pub struct Memory {
    shards: Box<[Mutex<Shard>]>,
    shard_bytes: usize,
    /// Whether there may be something to tell Redis.
    owing: AtomicBool,
}

/// A local decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it was granted.
    pub allowed: bool,
    /// Tokens that could still be taken here.
    pub remaining: u64,
    /// How long until the same would be granted here; `None` if it never will be.
    pub retry_after: Option<Duration>,
    /// How long until everything is refilled.
    pub reset_after: Duration,
}

/// What this instance granted and Redis does not know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debt {
    /// The limiter.
    pub name: Box<[u8]>,
    /// Its numbers when it was granted.
    pub policy: Policy,
    /// Tokens.
    pub tokens: u64,
}

/// How telling Redis of a debt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Redis does not know of it.
    No,
    /// It knows, or may: it is not told again.
    Perhaps,
}

/// One limiter: all instances' level as Redis knows it, and what this instance's share makes of it.
#[derive(Clone, Copy)]
struct Entry {
    policy: Policy,
    /// What Redis knows, drained since.
    base: Level,
    /// The same with what was granted here, times the instances.
    level: Level,
    /// The part of it that Redis is being told of.
    telling: Level,
    at: Moment,
    instances: u64,
}

/// Two generations: what is found in the old one moves to the young one; when the young one is full, the old one goes.
#[derive(Default)]
struct Shard {
    young: HashMap<Box<[u8]>, Entry>,
    old: HashMap<Box<[u8]>, Entry>,
    young_bytes: usize,
}

impl Memory {
    /// A memory of at most about `bytes`.
    pub fn new(bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_bytes: bytes / SHARDS, owing: AtomicBool::new(false) }
    }

    /// Keeps Redis' answer for a time when there is none.
    pub fn keep(&self, name: &[u8], policy: Policy, level: Level, now: Moment) {
        self.with(name, policy, now, |entry| {
            let granted_here = entry.level.beyond(entry.base);
            entry.base = level;
            entry.level = level.and(granted_here);
        });
    }

    /// Decides alone, as one of so many instances. `told`: whether what is granted is to be told to Redis; what Redis may
    /// know already is not.
    pub fn take(&self, name: &[u8], policy: Policy, cost: u64, instances: u64, told: bool, now: Moment) -> Verdict {
        self.with(name, policy, now, |entry| {
            entry.divide(instances);
            let portion = policy.tokens(cost).times(instances);
            let allowed = policy.fits(entry.level, portion);
            let retry_after = match portion <= policy.tokens(policy.capacity) {
                true => Some(policy.wait(entry.level, portion)),
                false => None,
            };
            if allowed {
                entry.level = entry.level.and(portion);
                if told {
                    self.owing.store(true, Ordering::Release);
                } else {
                    entry.base = entry.base.and(portion);
                }
            }
            Verdict {
                allowed,
                remaining: policy.room(entry.level, policy.tokens(1).times(instances)),
                retry_after,
                reset_after: policy.until_drained(entry.level),
            }
        })
    }

    /// What is owed under this name. The debt is counted here until [`Self::conclude`] is told how it ended.
    pub fn owed(&self, name: &[u8], now: Moment) -> Option<Debt> {
        let mut shard = lock(self.shard(name));
        let Shard { young, old, .. } = &mut *shard;
        let entry = young.get_mut(name).or_else(|| old.get_mut(name))?;
        entry.advance(now);
        entry.promise(name)
    }

    /// Up to `most` debts.
    pub fn collect(&self, most: usize, now: Moment) -> Vec<Debt> {
        let mut debts = Vec::new();
        if !self.owing.swap(false, Ordering::AcqRel) {
            return debts;
        }
        for shard in &self.shards {
            let mut shard = lock(shard);
            let Shard { young, old, .. } = &mut *shard;
            for (name, entry) in young.iter_mut().chain(old.iter_mut()) {
                if debts.len() == most {
                    self.owing.store(true, Ordering::Release);
                    return debts;
                }
                entry.advance(now);
                debts.extend(entry.promise(name));
            }
        }
        debts
    }

    /// Takes note of how telling Redis of a debt ended.
    pub fn conclude(&self, debt: &Debt, told: Told, now: Moment) {
        self.with(&debt.name, debt.policy, now, |entry| {
            let tokens = entry.policy.tokens(debt.tokens).times(entry.instances);
            entry.telling = entry.telling.beyond(tokens);
            // What Redis knows is in its next answer. Until then it counts here, and as if all others had told as much.
            if told != Told::No {
                entry.base = entry.base.and(tokens).min(entry.level);
            }
        });
        if told == Told::No {
            self.owing.store(true, Ordering::Release);
        }
    }

    /// Forgets a limiter, and what was granted under its name.
    pub fn forget(&self, name: &[u8]) {
        let mut shard = lock(self.shard(name));
        shard.old.remove(name);
        if shard.young.remove(name).is_some() {
            shard.young_bytes -= weight(name);
        }
    }

    /// Does something with the entry of a name as it stands now under `policy`; a new one starts full.
    fn with<T>(&self, name: &[u8], policy: Policy, now: Moment, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut shard = lock(self.shard(name));
        let known = shard.young.get(name).copied().or_else(|| shard.old.remove(name));
        let mut entry = known.unwrap_or_else(|| Entry::full(policy, now));
        entry.advance(now);
        entry.adopt(policy);
        let result = change(&mut entry);
        shard.put(name, entry, self.shard_bytes / 2);
        result
    }

    fn shard(&self, name: &[u8]) -> &Mutex<Shard> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        &self.shards[hasher.finish() as usize % SHARDS]
    }
}

impl Shard {
    fn put(&mut self, name: &[u8], entry: Entry, generation_bytes: usize) {
        if let Some(place) = self.young.get_mut(name) {
            *place = entry;
            return;
        }
        if self.young_bytes + weight(name) > generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += weight(name);
        self.young.insert(name.into(), entry);
    }
}

impl Entry {
    fn full(policy: Policy, now: Moment) -> Self {
        Self {
            policy,
            base: Level::default(),
            level: Level::default(),
            telling: Level::default(),
            at: now,
            instances: 1,
        }
    }

    fn advance(&mut self, now: Moment) {
        let elapsed = now.saturating_since(self.at);
        self.base = self.policy.drained(self.base, elapsed);
        self.level = self.policy.drained(self.level, elapsed);
        self.at = self.at.max(now);
    }

    fn adopt(&mut self, policy: Policy) {
        if self.policy != policy {
            self.base = policy.adopt(self.base, &self.policy);
            self.level = policy.adopt(self.level, &self.policy);
            self.telling = policy.adopt(self.telling, &self.policy);
            self.policy = policy;
        }
    }

    /// Counts what was granted here for another number of instances.
    fn divide(&mut self, instances: u64) {
        if self.instances != instances {
            let own = self.level.beyond(self.base).share(self.instances);
            self.level = self.base.and(own.times(instances));
            self.telling = self.telling.share(self.instances).times(instances);
            self.instances = instances;
        }
    }

    /// What was granted here, Redis does not know, and nobody is telling it: promised to be told.
    fn promise(&mut self, name: &[u8]) -> Option<Debt> {
        let outstanding = self.level.beyond(self.base).beyond(self.telling);
        let tokens = self.policy.whole(outstanding.share(self.instances));
        self.telling = self.telling.and(self.policy.tokens(tokens).times(self.instances));
        (tokens > 0).then(|| Debt { name: name.into(), policy: self.policy, tokens })
    }
}

fn weight(name: &[u8]) -> usize {
    name.len() + OVERHEAD
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
