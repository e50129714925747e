//! Limiters, for the OpenAPI document.

use serde_json::json;
use utoipa::IntoParams;
use utoipa::openapi::{HttpMethod, Required};

use super::super::super::openapi::entry::{Entry, name};
use super::super::super::openapi::failures::{ATOMIC, BODILESS, BODY, NAMED, ONCE, READS, WRITES};
use super::{Body, Decision, Numbers, View};
use crate::api::problem::Code;

const PATH: &str = "/v1/limiters/{name}";
const NAME: &str = "The limiter's name: what is limited, for example a user.";
/// Its place in Redis holds something else: no caller can put it there, but Redis' own tools can.
const TAKEN: &[Code] = &[Code::WrongType];

/// Every operation of the resource.
pub fn entries() -> Vec<Entry> {
    let peek = peek();
    let head = peek.head("checkLimiter", "Ask whether anything is taken from a limiter");
    let entries = vec![take(), peek, head, forget()];
    entries.into_iter().map(|entry| entry.tag("limiters").parameter(name("name", NAME, "login:alice"))).collect()
}

fn take() -> Entry {
    let about = "A refusal is an answer like any other: 200 with `allowed: false`. `on_outage` says what decides when Redis cannot: \
                 `closed` (503), `open` (granted unseen), or `local` (this instance, with its share).";
    let told =
        json!({ "allowed": true, "remaining": 9, "retry_after_ms": 0, "reset_after_ms": 1000, "decided_by": "redis" });
    Entry::new(HttpMethod::Post, "/v1/limiters/{name}/take", "takeFromLimiter", "Take tokens, all or none")
        .about(about)
        .order(400)
        .shared(&["Idempotency-Key"])
        .json_body::<Body>(Required::True, json!({ "capacity": 10, "refill": 1, "per": "1m", "cost": 1 }))
        .json::<Decision>(200, "How it was decided", &["Idempotency-Replayed"], told)
        .fails(&[NAMED, BODY, ONCE, WRITES, ATOMIC, TAKEN, &[Code::NotFound]])
}

fn peek() -> Entry {
    let about = "By the numbers in the query, or by those of the last take. Nothing is taken.";
    let told = json!({
        "allowed": true, "remaining": 9, "retry_after_ms": 0, "reset_after_ms": 59_900, "decided_by": "redis",
        "capacity": 10, "refill": 1, "per": "1m",
    });
    Entry::new(HttpMethod::Get, PATH, "peekLimiter", "Look without taking")
        .about(about)
        .order(410)
        .parameters(Numbers::into_params(|| None))
        .json::<View>(200, "How a take would be decided", &[], told)
        .fails(&[NAMED, BODILESS, READS, ATOMIC, TAKEN, &[Code::NotFound]])
}

fn forget() -> Entry {
    Entry::new(HttpMethod::Delete, PATH, "forgetLimiter", "Forget what was taken")
        .order(490)
        .empty(204, "It is full again", &[])
        .fails(&[NAMED, BODILESS, WRITES, ATOMIC, TAKEN])
}
