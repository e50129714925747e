//! Operations, for the OpenAPI document.

use serde_json::json;
use utoipa::openapi::HttpMethod;
use utoipa::openapi::schema::ObjectBuilder;

use super::super::super::openapi::entry::{Entry, path};
use super::super::super::openapi::failures::{ATOMIC, BODILESS, NAMED, WRITES};
use super::Told;
use crate::api::problem::Code;

const ABOUT: &str = "Asking settles it: after `not_executed` a late arrival with that key is refused (409 `idempotency_key_settled`). A caller \
                     sees the keys of its own requests only. Requests are remembered for 24 hours: of an older one, or one that Redis lost in \
                     a failover, `not_executed` is told though it may have been. Not for read-only tokens.";

/// The record's place in Redis holds something else: no caller can put it there, but Redis' own tools can.
const TAKEN: &[Code] = &[Code::WrongType];

/// Every operation of the resource.
pub fn entries() -> Vec<Entry> {
    let key = ObjectBuilder::new().pattern(Some("^[!#-~]{1,255}$"));
    let get = Entry::new(HttpMethod::Get, "/v1/operations/{key}", "settleOperation", "What became of a request")
        .about(ABOUT)
        .tag("operations")
        .order(600)
        .parameter(path("key", "The request's Idempotency-Key.", "order-4711", key))
        .json::<Told>(
            200,
            "What became of it, with its answer if it was executed",
            &[],
            json!({ "outcome": "not_executed" }),
        )
        .fails(&[NAMED, BODILESS, WRITES, ATOMIC, TAKEN]);
    let head = get.head("settleOperationQuietly", "As GET, without the answer's content");
    vec![get, head]
}
