//! Presence, for the OpenAPI document.

use serde_json::json;
use utoipa::openapi::{HttpMethod, Required};

use super::super::super::openapi::entry::{Entry, name};
use super::super::super::openapi::failures::{ATOMIC, BODILESS, BODY, NAMED, READS, WRITES};
use super::{Beat, Seen};
use crate::api::problem::Code;

const ROOM: &str = "/v1/presence/{room}";
const MEMBER: &str = "/v1/presence/{room}/{member}";
/// Its place in Redis holds something else: no caller can put it there, but Redis' own tools can.
const TAKEN: &[Code] = &[Code::WrongType];

/// Every operation of the resource.
pub fn entries() -> Vec<Entry> {
    let look = look();
    let head = look.head("checkRoom", "Ask as GET does, without the answer's content");
    let entries = vec![beat(), look, head, leave()];
    entries
        .into_iter()
        .map(|entry| entry.tag("presence").parameter(name("room", "The room's name.", "lobby")))
        .collect()
}

fn member() -> utoipa::openapi::path::Parameter {
    name("member", "Any name that is the member's own; it is not kept.", "visitor-1")
}

fn beat() -> Entry {
    Entry::new(HttpMethod::Put, MEMBER, "beat", "Give a sign of life")
        .order(500)
        .parameter(member())
        .json_body::<Beat>(Required::True, json!({ "ttl_seconds": 60 }))
        .empty(204, "Present until then", &[])
        .fails(&[NAMED, BODY, WRITES, ATOMIC, TAKEN])
}

fn look() -> Entry {
    let at = "2026-01-01T00:00:00.000Z";
    let told = json!({ "count": 1, "peak": { "count": 1, "at": at, "since": at } });
    Entry::new(HttpMethod::Get, ROOM, "lookIntoRoom", "Count who is there")
        .order(510)
        .shared(&["Cache-Control"])
        .json::<Seen>(200, "How many there are, and the most there were", &["Age", "Cache-Status"], told)
        .fails(&[NAMED, BODILESS, READS, ATOMIC, TAKEN])
}

fn leave() -> Entry {
    Entry::new(HttpMethod::Delete, MEMBER, "leave", "Leave")
        .order(590)
        .parameter(member())
        .empty(204, "Not present, whether it was before or not", &[])
        .fails(&[NAMED, BODILESS, WRITES, ATOMIC, TAKEN])
}
