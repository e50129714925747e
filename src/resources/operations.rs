//! Operations: what became of a request that was sent under an Idempotency-Key.
//!
//! `unknown` is an answer nobody can act on. Whoever sent a key can turn it into one he can: Redis looks for the request's record
//! and, if there is none, leaves a note that refuses the request should it still arrive. So `not_executed` stays true.
//! Limits: records and notes are kept for a day; a question asked later is answered by what is left, which is nothing.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::Failure;
use super::atomic::{Decision, Step};
use super::once::{CALLERS_LIFETIME, record_key};
use crate::redis::catalogue::Class;
use crate::redis::{Gateway, Reply};
use crate::resilience::Deadline;

/// What became of a request.
#[derive(Debug)]
pub enum Operation {
    /// It took effect, or Redis decided against it.
    Executed {
        /// The function that decided.
        function: String,
        /// What it decided.
        decision: Decision,
    },
    /// It did not, and will not.
    NotExecuted,
}

/// As many requests are remembered as found executed; then they are forgotten all together.
const FOUND_MOST: usize = 4096;

/// Requests that were found executed here. The first time, what others were told of their keys before is taken away; once is enough, and
/// more would let anybody keep the memory of all others empty.
#[derive(Debug, Default)]
pub struct Found(Mutex<HashSet<[u8; 32]>>);

impl Found {
    fn is_news(&self, name: [u8; 32]) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= FOUND_MOST {
            found.clear();
        }
        found.insert(name)
    }
}

/// Settles the request that has one of these names.
pub async fn settle(
    gateway: &Gateway,
    names: &[[u8; 32]],
    found: &Found,
    deadline: Deadline,
) -> Result<Operation, Failure> {
    let records: Vec<Vec<u8>> = names.iter().map(record_key).collect();
    let keys: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let lifetime = CALLERS_LIFETIME.as_millis().to_string();
    let arguments = [lifetime.as_bytes()];
    // Once settled, always the same answer.
    let step =
        Step { function: "operation_settle", keys: &keys, arguments: &arguments, class: Class::Idempotent, once: None };
    let mut decision = step.decide(gateway, deadline).await?.value;
    match decision.word() {
        b"not_executed" => Ok(Operation::NotExecuted),
        b"executed" => {
            let place = decision.number::<usize>(1)?.saturating_sub(1);
            // It may have had its effect since it was given up here and the answers of its keys were taken away, and which keys
            // these were is not remembered.
            if names.get(place).is_none_or(|name| found.is_news(*name)) {
                gateway.endpoint().writes().tell_of_everything();
            }
            let function = String::from_utf8_lossy(decision.bytes(2).unwrap_or_default()).into_owned();
            let Some(Reply::Array(parts)) = decision.take(3) else { return Err(decision.unreadable()) };
            let decision = Decision::of(parts, decision.attempts());
            Ok(Operation::Executed { function, decision })
        }
        _ => Err(decision.unreadable()),
    }
}
