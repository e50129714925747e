//! Telling Redis, when it is back, what this instance granted alone.
//!
//! Ten times a second, and only while writes pass: what local decisions granted and is not refilled yet is charged, so that an outage
//! ends without a second burst; limiters that are asked carry it with the next take. Each charge runs under a record of its own, so
//! a lost reply does not charge it twice; one that stays ambiguous is not repeated. Limits: best effort, a bounded number of limiters a round; what a process that ends still owes is
//! never told.

use std::sync::Arc;
use std::time::Duration;

use super::memory::{Debt, Memory, Told};
use super::{numbers, record_of};
use crate::redis::catalogue::{Class, Lane};
use crate::redis::{Endpoint, Gateway, Outcome};
use crate::resilience::Deadline;
use crate::resources::atomic::Step;
use crate::resources::once::Once;
use crate::telemetry::clock;

/// Between two rounds: what an instance grants alone just after an outage is known to the others within this time.
const PAUSE: Duration = Duration::from_millis(100);
/// Limiters told of in a round: a fraction of its time, so that callers are not crowded out.
const ROUND: usize = 100;

/// Settles for ever what `memory` owes; each charge may take `patience`. Cancel by dropping the future.
pub async fn run(endpoint: Arc<Endpoint>, memory: Arc<Memory>, patience: Duration) {
    // Made once there is something to tell: a door holds connections.
    let mut gateway = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        if endpoint.lane(Lane::Write).refusing() {
            continue;
        }
        let debts = memory.collect(ROUND, clock::now());
        if debts.is_empty() {
            continue;
        }
        let gateway = gateway.get_or_insert_with(|| Gateway::new(endpoint.clone()));
        for (at, debt) in debts.iter().enumerate() {
            let told = charge(gateway, debt, Deadline::after(clock::now(), patience)).await;
            memory.conclude(debt, told, clock::now());
            if told == Told::No {
                // Whatever stopped this one stops the others as well: the next round is soon enough.
                debts[at + 1..].iter().for_each(|debt| memory.conclude(debt, Told::No, clock::now()));
                break;
            }
        }
    }
}

async fn charge(gateway: &Gateway, debt: &Debt, deadline: Deadline) -> Told {
    let once = Once::for_this_call();
    let [capacity, refill, per] = numbers(&debt.policy);
    let tokens = debt.tokens.to_string();
    let arguments = [capacity.as_bytes(), refill.as_bytes(), per.as_bytes(), tokens.as_bytes()];
    let (record, class) = (record_of(&debt.name), Class::NonIdempotent);
    let keys = [record.as_slice()];
    let step = Step { function: "limiter_charge", keys: &keys, arguments: &arguments, class, once: Some(&once) };
    match step.decide(gateway, deadline).await {
        Err(failure) if failure.outcome == Outcome::NotExecuted => Told::No,
        Ok(_) | Err(_) => Told::Perhaps,
    }
}
