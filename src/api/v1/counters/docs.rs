//! Counters, for the OpenAPI document.

use serde_json::json;
use utoipa::openapi::{HttpMethod, Required};

use super::super::super::openapi::entry::{Entry, name};
use super::super::super::openapi::failures::{ATOMIC, BODILESS, BODY, NAMED, ONCE, READS, WRITES};
use super::{Body, Counter};
use crate::api::problem::Code;

const PATH: &str = "/v1/counters/{name}";
const HELD: &[Code] = &[Code::ReservedName, Code::WrongType];

/// Every operation of the resource.
pub fn entries() -> Vec<Entry> {
    let read = read();
    let head = read.head("inspectCounter", "Ask whether there is such a counter");
    vec![increment(), read, head, delete()]
        .into_iter()
        .map(|entry| entry.tag("counters").parameter(name("name", NAME, "visits")))
        .collect()
}

const NAME: &str = "The counter's name: the Redis key of the same name.";

fn increment() -> Entry {
    let by = "Without a body: by one. With `Idempotency-Key` it happens exactly once, also where replies are lost.";
    Entry::new(HttpMethod::Post, "/v1/counters/{name}/increment", "incrementCounter", "Count up, or down")
        .about(by)
        .order(200)
        .shared(&["Idempotency-Key", "Collective-Fence"])
        .json_body::<Body>(Required::False, json!({ "by": 5, "max": 100, "on_limit": "clamp" }))
        .json::<Counter>(200, "What it is at now", &["Idempotency-Replayed"], json!({ "value": 5 }))
        .fails(&[NAMED, BODY, ONCE, HELD, WRITES, ATOMIC])
        .fails(&[&[Code::OutOfRange, Code::LimitReached, Code::Fenced, Code::NotFound]])
}

fn read() -> Entry {
    Entry::new(HttpMethod::Get, PATH, "readCounter", "Read a counter")
        .order(210)
        .shared(&["Cache-Control"])
        .json::<Counter>(200, "What it is at", &["Age", "Cache-Status"], json!({ "value": 5 }))
        .fails(&[NAMED, BODILESS, HELD, READS, &[Code::NotFound]])
}

fn delete() -> Entry {
    Entry::new(HttpMethod::Delete, PATH, "deleteCounter", "Delete a counter")
        .about("204 whether there was one or not: the next increment begins at 0.")
        .order(290)
        .shared(&["Collective-Fence"])
        .empty(204, "There is no such counter now", &[])
        .fails(&[NAMED, BODILESS, HELD, WRITES, ATOMIC, &[Code::Fenced]])
}
