//! Keeping books on increments: what was acknowledged, what may have happened, what must not.
//!
//! Each caller counts on a key of its own, one call after the other, so that every single answer can be checked against what
//! came before: an acknowledged value lies between what was acknowledged and what may have been applied, and the final value
//! does, too. That catches a lie about any outcome, a lost acknowledgement and a doubled effect. Limits: one caller, one key.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Answer, Client, Redis};

/// The books of one caller.
#[derive(Debug, Default)]
pub struct Ledger {
    key: String,
    /// Calls acknowledged with a value.
    pub acknowledged: i64,
    /// Calls answered `unknown`.
    pub unknown: i64,
    /// Calls answered `not_executed`.
    pub not_executed: i64,
    /// Highest value acknowledged.
    last: i64,
    /// Time of each answer that was `not_executed`.
    pub refusals: Vec<Duration>,
}

impl Ledger {
    /// Books for the counter `key`, which does not exist yet.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Increments once through `client` and books the answer.
    pub async fn increment(&mut self, client: &Client) -> Answer {
        let answer = client.post_command(&["INCR", &self.key]).await;
        self.book(&answer);
        answer
    }

    /// Books one answer to `INCR`.
    pub fn book(&mut self, answer: &Answer) {
        match (answer.status, answer.outcome()) {
            (200, _) => {
                let value = answer.result().as_i64().expect("INCR answers a number");
                self.acknowledged += 1;
                let may = self.last.max(self.acknowledged)..=self.acknowledged + self.unknown;
                assert!(
                    may.contains(&value) && value > self.last,
                    "{}: {value} is outside {may:?} after {}",
                    self.key,
                    self.last
                );
                self.last = value;
            }
            (503, "not_executed") => {
                self.not_executed += 1;
                self.refusals.push(answer.elapsed);
            }
            (504, "unknown") => self.unknown += 1,
            (status, outcome) => panic!("{}: unexpected answer {status} {outcome:?}: {}", self.key, answer.text()),
        }
    }

    /// Compares the books with what is in Redis, which must have come to rest.
    pub async fn audit(&self, redis: &Redis) {
        let reply = redis.command(&["GET", &self.key]).await;
        let value = if reply.is_nil() { 0 } else { reply.integer() };
        let may = self.acknowledged..=self.acknowledged + self.unknown;
        assert!(may.contains(&value), "{}: {value} in Redis, books allow {may:?}: {self:?}", self.key);
    }
}

/// The sums of many books.
pub fn totals(ledgers: &[Ledger]) -> BTreeMap<&'static str, i64> {
    let sum = |read: fn(&Ledger) -> i64| ledgers.iter().map(read).sum();
    BTreeMap::from([
        ("acknowledged", sum(|ledger| ledger.acknowledged)),
        ("unknown", sum(|ledger| ledger.unknown)),
        ("not_executed", sum(|ledger| ledger.not_executed)),
    ])
}
