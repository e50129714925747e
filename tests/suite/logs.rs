//! What the log says of requests: one line for each that failed, one a second for refusals, none for a success.
//!
//! The built program's standard error is read as its operators read it, line by line as JSON. Limits: the level of each line is
//! asserted here, the shape of a line by the unit tests of the log.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{App, Options, Proxy, Redis, eventually};
use crate::keys::patient;

/// The example of the W3C recommendation.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The log as JSON, complete lines only.
pub fn lines(app: &App) -> Vec<Value> {
    let log = app.stderr();
    let complete = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The lines about one request.
fn lines_about(app: &App, request_id: &str) -> Vec<Value> {
    lines(app).into_iter().filter(|line| line["request_id"] == request_id).collect()
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_one_error_line_with_all_its_facts() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 3);
    let app = patient(&proxy.url()).start().await;
    let client = app.client().with_header("traceparent", TRACEPARENT);
    assert_eq!(client.put_key("warm", "v").await.status, 201);
    proxy.lose_connection_instead_of_reply(1.0);
    let dialect = client.with_header("X-Request-Id", "by-command").post_command(&["INCR", "n"]).await;
    assert_eq!((dialect.status, dialect.outcome()), (504, "unknown"), "{}", dialect.text());
    let resource = client.with_header("X-Request-Id", "by-resource").increment("n", 1).await;
    assert_eq!((resource.status, resource.outcome()), (504, "unknown"), "{}", resource.text());
    assert!(!resource.text().contains(TRACE_ID), "the answer is the same with and without a trace");

    for (id, route) in [("by-command", "/"), ("by-resource", "/v1/counters/{name}/increment")] {
        eventually(Duration::from_secs(2), async || !lines_about(&app, id).is_empty()).await;
        let about = lines_about(&app, id);
        let [line] = about.as_slice() else { panic!("one line expected: {about:?}") };
        let fact = |name: &str| line[name].as_str().unwrap_or_default();
        assert_eq!((fact("level"), fact("method"), fact("route")), ("ERROR", "POST", route));
        assert_eq!((fact("code"), fact("outcome"), fact("trace_id")), ("outcome_unknown", "unknown", TRACE_ID));
        assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (Some(504), Some(1)));
        assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 10_000.0), "{line}");
    }
}

#[tokio::test]
async fn a_read_that_failed_without_harm_is_a_warning_and_a_bad_traceparent_is_ignored() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 3);
    // The heartbeat's replies are held as well, and no breaker may open before the read is made.
    let app = patient(&proxy.url()).start().await;
    assert_eq!(app.client().put_key("warm", "v").await.status, 201);
    proxy.hold_replies_of_everyone();
    let client = app.client().timeout_ms(80).with_header("X-Request-Id", "late-read");
    let answer = client.with_header("traceparent", &TRACEPARENT.to_uppercase()).get_key("warm").await;
    assert_eq!((answer.status, answer.outcome()), (504, "not_executed"), "{}", answer.text());
    eventually(Duration::from_secs(2), async || !lines_about(&app, "late-read").is_empty()).await;
    let line = lines_about(&app, "late-read").remove(0);
    assert_eq!((line["level"].as_str(), line["code"].as_str()), (Some("WARN"), Some("deadline_exceeded")));
    assert_eq!((line["route"].as_str(), line["outcome"].as_str()), (Some("/v1/keys/{key}"), Some("not_executed")));
    assert_eq!(line.get("trace_id"), None);
}

#[tokio::test]
async fn refusals_of_an_open_breaker_are_told_together_and_none_is_missing() {
    const REFUSALS: usize = 300;
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client().with_header("X-Request-Id", "refused");
    redis.kill9();
    client.until_both_lanes_refuse().await;
    let began = Instant::now();
    for _ in 0..REFUSALS {
        assert_eq!(client.get_key("k").await.outcome(), "not_executed");
    }
    let told = || {
        let counts = lines(&app).into_iter().filter(|line| line["code"] == "circuit_open");
        counts.map(|line| line["count"].as_u64().unwrap_or_default() as usize).collect::<Vec<_>>()
    };
    eventually(Duration::from_secs(5), async || told().iter().sum::<usize>() >= REFUSALS).await;
    assert_eq!(told().iter().sum::<usize>(), REFUSALS, "each refusal is counted once");
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a short test");
    assert!(told().len() <= seconds + 1, "{} lines in {seconds} s", told().len());
    assert!(lines_about(&app, "refused").is_empty(), "no refusal has a line of its own");
    // The outage itself is told: why Redis is away, and that both lanes opened.
    let all = lines(&app);
    assert!(all.iter().any(|line| line["reason"] == "connection refused" && line["level"] == "WARN"), "{all:?}");
    for breaker in ["redis.read", "redis.write"] {
        assert!(all.iter().any(|line| line["breaker"] == breaker && line["to"] == "open"), "{breaker}: {all:?}");
    }
}

#[tokio::test]
async fn a_success_leaves_no_line_unless_asked_for_and_then_without_its_path() {
    let redis = Redis::start(Options::default()).await;
    for level in ["info", "debug"] {
        let app = patient(&redis.url()).set("log.level", level).start().await;
        let client = app.client().with_header("X-Request-Id", "served");
        for _ in 0..20 {
            assert!(client.put_key("planted-name", "planted-value").await.is_success());
            assert_eq!(client.get_key("planted-name").await.status, 200);
            assert_eq!(client.get_key("planted-absence").await.status, 404);
        }
        // Written before the process ends, so after its end the log is complete.
        assert_eq!(app.stop().await.code(), Some(0));
        let expected = if level == "debug" { 60 } else { 0 };
        assert_eq!(lines_about(&app, "served").len(), expected, "at {level}");
        assert!(!app.stderr().contains("planted"), "{}", app.stderr());
    }
}

#[tokio::test]
async fn a_stop_tells_the_refusals_that_were_still_to_be_told() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    redis.kill9();
    client.until_both_lanes_refuse().await;
    for _ in 0..10 {
        assert_eq!(client.increment("n", 1).await.status, 503);
    }
    assert_eq!(app.stop().await.code(), Some(0));
    let told = lines(&app).into_iter().filter(|line| line["code"] == "circuit_open");
    assert_eq!(told.map(|line| line["count"].as_u64().unwrap_or_default()).sum::<u64>(), 10);
}
