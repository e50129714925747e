//! The metrics as a scrape sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::exposition::{Families, check};
use super::*;
use crate::resilience::{Cause, Moment, Observer, Outcomes, Snapshot, State};

struct Two;

impl BreakerSource for Two {
    fn breakers(&self, now: Moment) -> Vec<Snapshot> {
        let outcomes = Outcomes { success: 7, failure: 3, ignored: 0, slow: 1, rejected: 5, late: 2 };
        [("redis.read", State::Closed), ("redis.write", State::Open)]
            .map(|(name, state)| Snapshot {
                name,
                state,
                since: now,
                retry_after: None,
                calls: 10,
                failures: 3,
                failure_ratio: 0.3,
                slow_ratio: 0.1,
                rejected_total: 5,
                opened_total: 1,
                outcomes,
            })
            .into()
    }
}

fn metrics() -> Metrics {
    let metrics = Metrics::new(Build { version: "1.2.3", revision: "abc", rustc: "1.95.0" }).expect("a valid table");
    metrics.watch_breakers(Arc::new(Two));
    metrics
}

fn scrape(metrics: &Metrics) -> Families {
    check(&metrics.render()).expect("valid text")
}

fn value(families: &Families, series: &str) -> f64 {
    let found = families.values().flatten().find(|(name, _)| name == series);
    found.unwrap_or_else(|| panic!("no series {series}")).1
}

#[test]
fn every_family_of_the_table_is_exported_from_the_start() {
    let exported: Vec<_> = scrape(&metrics()).into_keys().collect();
    let expected: Vec<_> = table::table().iter().map(|family| family.name).collect();
    assert_eq!(exported, expected);
}

#[test]
fn every_closed_label_value_exists_from_the_start() {
    let families = scrape(&metrics());
    let mut unseen = BTreeSet::new();
    for family in table::table() {
        for (label, values) in family.labels.iter().filter(|(label, _)| !["status", "method"].contains(label)) {
            for value in *values {
                let text = format!("{label}=\"{value}\"");
                if !families[family.name].iter().any(|(series, _)| series.contains(&text)) {
                    unseen.insert(format!("{} {text}", family.name));
                }
            }
        }
    }
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn a_request_moves_its_counter_and_its_histogram_once() {
    let metrics = metrics();
    metrics.http.observe(Route::Key, Method::Get, 200, Duration::from_millis(3));
    metrics.http.observe(Route::Key, Method::Get, 418, Duration::from_millis(300));
    let families = scrape(&metrics);
    let requests = |method, status| {
        let series = format!(
            "collective_http_requests_total{{method=\"{method}\",route=\"/v1/keys/{{key}}\",status=\"{status}\"}}"
        );
        value(&families, &series)
    };
    assert_eq!((requests("GET", "200"), requests("GET", "other"), requests("PUT", "503")), (1.0, 1.0, 0.0));
    let bucket = |le| {
        let labels = format!("{{route=\"/v1/keys/{{key}}\",le=\"{le}\"}}");
        value(&families, &format!("collective_http_request_duration_seconds_bucket{labels}"))
    };
    assert_eq!((bucket("0.0025"), bucket("0.005"), bucket("0.25"), bucket("0.5")), (0.0, 1.0, 1.0, 2.0));
    let sum = value(&families, "collective_http_request_duration_seconds_sum{route=\"/v1/keys/{key}\"}");
    assert!((sum - 0.303).abs() < 1e-9);
}

#[test]
fn an_attempt_and_a_retry_decision_move_their_own_label_set_only() {
    let metrics = metrics();
    metrics.redis.observe(Lane::Write, CommandOutcome::Timeout, Duration::from_millis(400));
    metrics.redis.retry(Lane::Write, RetryOutcome::NotIdempotent);
    let families = scrape(&metrics);
    let moved: Vec<_> = families["collective_redis_command_duration_seconds"]
        .iter()
        .filter(|(series, count)| series.contains("_count") && *count > 0.0)
        .map(|(series, _)| series.as_str())
        .collect();
    assert_eq!(moved, ["collective_redis_command_duration_seconds_count{lane=\"write\",outcome=\"timeout\"}"]);
    assert_eq!(value(&families, "collective_redis_retries_total{lane=\"write\",outcome=\"not_idempotent\"}"), 1.0);
    assert_eq!(value(&families, "collective_redis_retries_total{lane=\"read\",outcome=\"not_idempotent\"}"), 0.0);
}

#[test]
fn gauges_add_what_was_counted_to_what_is_sampled() {
    let metrics = metrics();
    metrics.inflight.add(3);
    metrics.inflight.sub(1);
    metrics.retry_budget_tokens.sample(|| 99.5);
    metrics.pool_connections(PoolState::Open).add(4);
    metrics.pool_connections(PoolState::Open).sample(|| 2.0);
    let families = scrape(&metrics);
    assert_eq!(value(&families, "collective_inflight"), 2.0);
    assert_eq!(value(&families, "collective_retry_budget_tokens"), 99.5);
    assert_eq!(value(&families, "collective_pool_connections{state=\"open\"}"), 6.0);
    assert_eq!(value(&families, "collective_pool_connections{state=\"connecting\"}"), 0.0);
}

#[test]
fn what_was_shed_served_stale_or_dropped_is_counted() {
    let metrics = metrics();
    metrics.shed(ShedReason::Draining);
    metrics.stale_served.increment();
    metrics.audit_dropped.add(2);
    let families = scrape(&metrics);
    assert_eq!(value(&families, "collective_shed_total{reason=\"draining\"}"), 1.0);
    assert_eq!(value(&families, "collective_shed_total{reason=\"breaker_open\"}"), 0.0);
    assert_eq!(value(&families, "collective_stale_served_total"), 1.0);
    assert_eq!(value(&families, "collective_audit_dropped_total"), 2.0);
}

#[test]
fn streams_and_their_ends_are_counted_by_reason() {
    let metrics = metrics();
    metrics.streams_open.sample(|| 3.0);
    metrics.stream_cut(StreamCut::SlowReader, 2);
    metrics.streams_discontinuities.add(5);
    let families = scrape(&metrics);
    assert_eq!(value(&families, "collective_streams_open"), 3.0);
    assert_eq!(value(&families, "collective_streams_cut_total{reason=\"slow_reader\"}"), 2.0);
    assert_eq!(value(&families, "collective_streams_cut_total{reason=\"draining\"}"), 0.0);
    assert_eq!(value(&families, "collective_streams_discontinuities_total"), 5.0);
}

#[test]
fn a_breaker_shows_exactly_one_state_and_all_its_totals() {
    let families = scrape(&metrics());
    assert_eq!(value(&families, "collective_breaker_state{name=\"redis.write\",state=\"open\"}"), 1.0);
    let ones: f64 = families["collective_breaker_state"].iter().map(|(_, value)| value).sum();
    assert_eq!(ones, 2.0, "one state for each of two breakers");
    assert_eq!(value(&families, "collective_breaker_calls_total{name=\"redis.read\",outcome=\"rejected\"}"), 5.0);
    assert_eq!(value(&families, "collective_breaker_failure_ratio{name=\"redis.read\"}"), 0.3);
}

#[test]
fn a_transition_is_counted_and_all_other_pairs_stand_at_zero() {
    let metrics = metrics();
    metrics.breaker_log().breaker_transition("redis.read", State::Closed, State::Open, Cause::Connect);
    let families = scrape(&metrics);
    let pairs = &families["collective_breaker_transitions_total"];
    assert_eq!(pairs.len(), 2 * 5 * 4);
    let moved: Vec<_> = pairs.iter().filter(|(_, count)| *count > 0.0).collect();
    assert_eq!(moved.len(), 1);
    assert!(moved[0].0.contains("from=\"closed\"") && moved[0].0.contains("to=\"open\""));
}

#[test]
fn the_build_is_named() {
    let series = "collective_build_info{version=\"1.2.3\",revision=\"abc\",rustc=\"1.95.0\"}";
    assert_eq!(value(&scrape(&metrics()), series), 1.0);
}
