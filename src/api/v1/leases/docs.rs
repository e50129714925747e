//! Leases, for the OpenAPI document.

use serde_json::json;
use utoipa::IntoParams;
use utoipa::openapi::{HttpMethod, Required};

use super::super::super::openapi::entry::{Entry, name};
use super::super::super::openapi::failures::{ATOMIC, BODILESS, BODY, NAMED, ONCE, READS, WRITES};
use super::{Acquisition, Held, Release, Renewal, Seen};
use crate::api::problem::Code;

const PATH: &str = "/v1/leases/{name}";
const NAME: &str = "The lease's name, as text.";
/// Its place in Redis holds something else: no caller can put it there, but Redis' own tools can.
const TAKEN: &[Code] = &[Code::WrongType];
const TOKEN: &str = "$response.body#/token";

/// Every operation of the resource.
pub fn entries() -> Vec<Entry> {
    let inspect = inspect();
    let head = inspect.head("checkLease", "Ask whether anybody holds a lease");
    let entries = vec![acquire(), renew(), inspect, head, release()];
    entries.into_iter().map(|entry| entry.tag("leases").parameter(name("name", NAME, "nightly-report"))).collect()
}

fn acquire() -> Entry {
    let about = "The answer's `token` is a fencing token: send it with every write, in `Collective-Fence`. An owner that holds the lease \
                 acquires it anew, under a higher token, by showing the one it has.";
    let held = json!({ "lease": "nightly-report", "owner": "worker-7", "token": 1_767_225_600_000_000_u64, "held": true, "expires_in_ms": 30_000 });
    let before = "Acquired anew by its owner; or `held: false`, in a repeated answer whose lease is over";
    Entry::new(HttpMethod::Post, PATH, "acquireLease", "Acquire a lease")
        .about(about)
        .order(300)
        .shared(&["Idempotency-Key"])
        .json_body::<Acquisition>(Required::True, json!({ "ttl_ms": 30_000, "owner": "worker-7" }))
        .json::<Held<'_>>(201, "Acquired", &["Idempotency-Replayed"], held.clone())
        .link("renewLease", &[("name", "$request.path.name")], Some(json!({ "token": TOKEN, "ttl_ms": 60_000 })))
        .link("releaseLease", &[("name", "$request.path.name"), ("token", TOKEN)], None)
        .json::<Held<'_>>(200, before, &["Idempotency-Replayed"], held)
        .fails(&[NAMED, BODY, ONCE, WRITES, ATOMIC, TAKEN, &[Code::LeaseHeld]])
}

fn renew() -> Entry {
    let held = json!({ "lease": "nightly-report", "owner": "worker-7", "token": 1_767_225_600_000_000_u64, "held": true, "expires_in_ms": 60_000 });
    Entry::new(HttpMethod::Post, "/v1/leases/{name}/renew", "renewLease", "Go on holding a lease")
        .order(310)
        .shared(&["Idempotency-Key"])
        .json_body::<Renewal>(Required::True, json!({ "token": 1_767_225_600_000_000_u64, "ttl_ms": 60_000 }))
        .json::<Held<'_>>(200, "Held for as long again", &["Idempotency-Replayed"], held)
        .fails(&[NAMED, BODY, ONCE, WRITES, ATOMIC, TAKEN, &[Code::LeaseHeld, Code::NotFound]])
}

fn inspect() -> Entry {
    let seen = json!({ "lease": "nightly-report", "owner": "worker-7", "expires_in_ms": 59_990 });
    Entry::new(HttpMethod::Get, PATH, "inspectLease", "See who holds a lease")
        .about("Never its token: that is its holder's.")
        .order(320)
        .shared(&["Cache-Control"])
        .json::<Seen<'_>>(200, "Who holds it, and for how long", &["Age", "Cache-Status"], seen)
        .fails(&[NAMED, BODILESS, READS, ATOMIC, TAKEN, &[Code::NotFound]])
}

fn release() -> Entry {
    Entry::new(HttpMethod::Delete, PATH, "releaseLease", "Release a lease")
        .order(390)
        .parameters(Release::into_params(|| None))
        .empty(204, "Released", &[])
        .fails(&[NAMED, BODILESS, WRITES, ATOMIC, TAKEN, &[Code::LeaseHeld, Code::NotFound]])
}
