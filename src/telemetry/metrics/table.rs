//! The one table of metric families: name, kind, unit, labels, help.
//!
//! Everything is derived from it: what is registered, what a scrape prints as HELP and TYPE, and `docs/metrics.md`.
//! A family that is not here cannot be exported, and a test fails when one here is not.

use std::fmt::Write;

use super::breakers::{CALL_OUTCOMES, STATE_WORDS};
use super::labels::{
    CommandOutcome, HeadReason, Lane, LifePhase, LimiterDecision, Method, PoolState, RejectReason, RetryOutcome, Route,
    STATUSES, ShedReason, SpanDrop, StreamCut,
};

/// One metric family.
pub struct Family {
    /// The exported name, unit last.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What one unit of the value is.
    pub unit: &'static str,
    /// Label names with the values they can take; an empty list means the operator chooses them.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// One sentence for people.
    pub help: &'static str,
}

/// What kind of number a family holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Durations in buckets; the upper bounds are microseconds.
    Histogram(&'static [u64]),
}

/// Bounds for whole requests: fine around the promised milliseconds, up to the default deadline and beyond.
const REQUEST_BOUNDS: &[u64] =
    &[500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000];

/// Bounds for one attempt at Redis: finer at the low end, and a bound at the attempt timeout of 400 ms.
const COMMAND_BOUNDS: &[u64] =
    &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 400_000, 1_000_000];

/// Every family, sorted by name.
pub fn table() -> &'static [&'static Family] {
    TABLE
}

/// The table as the page `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Generated from the table in `src/telemetry/metrics/table.rs`; do not edit by hand.\n\n\
         Served as Prometheus text at `/metrics` on the operator listener. No key, token or address is ever a label.\n\n\
         | name | type | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for family in TABLE {
        let labels: Vec<String> = family.labels.iter().map(|(name, _)| format!("`{name}`")).collect();
        let (name, kind, unit, labels) = (family.name, family.kind.word(), family.unit, labels.join(", "));
        let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {} |", family.help);
    }
    page.push_str("\n## Label values\n\n| name | label | values |\n|---|---|---|\n");
    for family in TABLE {
        for (label, values) in family.labels.iter().filter(|(_, values)| !values.is_empty()) {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            let _ = writeln!(page, "| `{}` | `{label}` | {} |", family.name, values.join(", "));
        }
    }
    page.push_str("\n## Buckets\n\n| name | upper bounds in seconds |\n|---|---|\n");
    for family in TABLE {
        if let Kind::Histogram(bounds) = family.kind {
            let bounds: Vec<String> = bounds.iter().map(|micros| (*micros as f64 / 1e6).to_string()).collect();
            let _ = writeln!(page, "| `{}` | {} |", family.name, bounds.join(", "));
        }
    }
    page
}

impl Kind {
    /// The word in the TYPE line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

macro_rules! families {
    ($($id:ident = $name:literal $kind:expr, $unit:literal, [$($label:literal: $values:expr),*], $help:literal;)+) => {
        $(pub(super) static $id: Family = Family {
            name: $name,
            kind: $kind,
            unit: $unit,
            labels: &[$(($label, $values)),*],
            help: $help,
        };)+
        static TABLE: &[&Family] = &[$(&$id),+];
    };
}

families! {
    AUDIT_DROPPED = "collective_audit_dropped_total" Kind::Counter, "records", [],
        "Audit records that were lost. Must stay 0.";
    AUDIT_SPOOLED = "collective_audit_spooled" Kind::Gauge, "records", [],
        "Audit records that wait on disk for Redis to return.";
    BREAKER_CALLS = "collective_breaker_calls_total" Kind::Counter, "calls", ["name": &[], "outcome": CALL_OUTCOMES],
        "Calls a breaker has seen. A slow call is also counted under its verdict, a late one was admitted before the last transition.";
    BREAKER_FAILURE_RATIO = "collective_breaker_failure_ratio" Kind::Gauge, "ratio", ["name": &[]],
        "Share of failures among the calls in the breaker's window, 0 to 1.";
    BREAKER_STATE = "collective_breaker_state" Kind::Gauge, "0 or 1", ["name": &[], "state": STATE_WORDS],
        "1 for the state the breaker is in, 0 for the others.";
    BREAKER_TRANSITIONS = "collective_breaker_transitions_total" Kind::Counter, "transitions",
        ["name": &[], "from": STATE_WORDS, "to": STATE_WORDS],
        "Changes of state of a breaker.";
    BUILD_INFO = "collective_build_info" Kind::Gauge, "1", ["version": &[], "revision": &[], "rustc": &[]],
        "Which build this is; the value is always 1.";
    CONNECTIONS_ACCEPTED = "collective_connections_accepted_total" Kind::Counter, "connections", [],
        "Connections of callers that were given a place.";
    CONNECTIONS_OPEN = "collective_connections_open" Kind::Gauge, "connections", [],
        "Connections of callers that are open.";
    CONNECTIONS_REJECTED = "collective_connections_rejected_total" Kind::Counter, "connections",
        ["reason": RejectReason::WORDS],
        "Connections of callers that were turned away.";
    HEADS_REFUSED = "collective_heads_refused_total" Kind::Counter, "requests", ["reason": HeadReason::WORDS],
        "Requests answered before any route was known, because of their head. Each ended its connection.";
    HTTP_DURATION = "collective_http_request_duration_seconds" Kind::Histogram(REQUEST_BOUNDS), "seconds",
        ["route": Route::WORDS],
        "Time from the request's head to the end of our work on its answer.";
    HTTP_REQUESTS = "collective_http_requests_total" Kind::Counter, "requests",
        ["method": Method::WORDS, "route": Route::WORDS, "status": STATUSES],
        "Requests answered on the public listener.";
    INFLIGHT = "collective_inflight" Kind::Gauge, "requests", [],
        "Requests on the public listener that are being worked on.";
    INSTANCES = "collective_instances" Kind::Gauge, "instances", [],
        "Instances that use this Redis, as last known; a local decision of a limiter is divided by them.";
    LIMITER_TAKES = "collective_limiter_takes_total" Kind::Counter, "takes", ["decision": LimiterDecision::WORDS],
        "Takes from limiters, by who decided and how.";
    PHASE = "collective_phase" Kind::Gauge, "0 or 1", ["phase": LifePhase::WORDS],
        "1 for the phase of its life the service is in, 0 for the others. Only when ready does it serve.";
    POOL_CONNECTIONS = "collective_pool_connections" Kind::Gauge, "connections", ["state": PoolState::WORDS],
        "Connections to Redis.";
    REDIS_DURATION = "collective_redis_command_duration_seconds" Kind::Histogram(COMMAND_BOUNDS), "seconds",
        ["lane": Lane::WORDS, "outcome": CommandOutcome::WORDS],
        "Time of one attempt at Redis, retries counted on their own.";
    REDIS_RETRIES = "collective_redis_retries_total" Kind::Counter, "decisions",
        ["lane": Lane::WORDS, "outcome": RetryOutcome::WORDS],
        "Decisions after a failed attempt: retried, or why not.";
    RETRY_BUDGET = "collective_retry_budget_tokens" Kind::Gauge, "tokens", [],
        "Retries the budget would still allow at this moment.";
    SHED = "collective_shed_total" Kind::Counter, "requests", ["reason": ShedReason::WORDS],
        "Requests and connections turned away before Redis was asked.";
    STALE_SERVED = "collective_stale_served_total" Kind::Counter, "answers", [],
        "Reads answered from memory because Redis did not answer.";
    STREAMS_CUT = "collective_streams_cut_total" Kind::Counter, "streams", ["reason": StreamCut::WORDS],
        "Streams ended before their readers left.";
    STREAMS_DISCONTINUITIES = "collective_streams_discontinuities_total" Kind::Counter, "holes", [],
        "Holes told to readers: their subscription was lost and is back, each reader counted.";
    STREAMS_OPEN = "collective_streams_open" Kind::Gauge, "streams", [],
        "Streams that callers hold open.";
    SUBSCRIPTIONS = "collective_subscriptions" Kind::Gauge, "subscriptions", [],
        "Channels and patterns that Redis sends us messages of; readers of the same one share it.";
    TRACES_DROPPED = "collective_traces_dropped_total" Kind::Counter, "spans", ["reason": SpanDrop::WORDS],
        "Spans that were recorded and not exported. No request waits for a span.";
    TRACES_EXPORTED = "collective_traces_exported_total" Kind::Counter, "spans", [],
        "Spans that the receiver of traces took.";
    PROCESS_CPU = "process_cpu_seconds_total" Kind::Counter, "seconds", [],
        "Processor time used, user and system.";
    PROCESS_FDS = "process_open_fds" Kind::Gauge, "descriptors", [],
        "Open file descriptors.";
    PROCESS_MEMORY = "process_resident_memory_bytes" Kind::Gauge, "bytes", [],
        "Resident memory.";
    PROCESS_START = "process_start_time_seconds" Kind::Gauge, "seconds since 1970", [],
        "When the process started.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_unique_and_documented() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
        for family in TABLE {
            assert!(family.name.starts_with("collective_") || family.name.starts_with("process_"));
            assert!(family.help.ends_with('.') && !family.unit.is_empty(), "{}", family.name);
        }
    }

    #[test]
    fn names_end_as_prometheus_asks() {
        for family in TABLE {
            let total = family.name.ends_with("_total");
            assert_eq!(total, family.kind == Kind::Counter, "only counters end in _total: {}", family.name);
            if let Kind::Histogram(bounds) = family.kind {
                assert!(family.name.ends_with("_seconds"));
                assert!(bounds.is_sorted_by(|a, b| a < b), "{}", family.name);
            }
        }
    }

    #[test]
    fn the_page_names_every_family_and_every_value() {
        let page = markdown();
        for family in TABLE {
            assert!(page.contains(&format!("| `{}` |", family.name)), "{}", family.name);
            let values = family.labels.iter().flat_map(|(_, values)| values.iter());
            values.for_each(|value| assert!(page.contains(&format!("`{value}`")), "{value}"));
        }
    }
}
