//! Traces as an operator's receiver gets them: names, parents, attempts; and what they must never cost or tell anybody.
//!
//! The built program sends to a real OTLP receiver of the harness. Limits: durations are compared with each other, not with a
//! clock.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::app::Builder;
use crate::harness::collector::{attribute, hex};
use crate::harness::{App, Collector, Manner, Options, Proxy, Redis, eventually};
use crate::keys::patient;

/// The example of the W3C recommendation.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const LIMIT: Duration = Duration::from_secs(5);

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// A program that records every request.
fn recording(redis: &str, collector: &Collector) -> Builder {
    patient(redis).set("traces.endpoint", collector.url()).set("traces.sample_ratio", "1")
}

fn fact(span: &Span, name: &str) -> String {
    attribute(&span.attributes, name).unwrap_or_default()
}

fn told(event: &Event, name: &str) -> String {
    attribute(&event.attributes, name).unwrap_or_default()
}

fn named(spans: &[Span], name: &str) -> Vec<Span> {
    spans.iter().filter(|span| span.name == name).cloned().collect()
}

/// The only span of that name, once it has come.
async fn the(collector: &Collector, name: &str) -> Span {
    eventually(LIMIT, async || !named(&collector.spans(), name).is_empty()).await;
    let mut found = named(&collector.spans(), name);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found.remove(0)
}

async fn dropped(app: &App, reason: &str) -> f64 {
    let found = app.client().metric("collective_traces_dropped_total", &[("reason", reason)]).await;
    found.expect("all reasons exist from the start")
}

#[tokio::test]
async fn a_retried_read_is_a_span_with_its_attempts_in_the_trace_of_its_caller() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 3);
    let collector = Collector::start().await;
    let app = recording(&proxy.url(), &collector).set("traces.service_name", "shop").start().await;
    assert_eq!(app.client().put_key("warm", "v").await.status, 201);
    proxy.only(&["GET"]);
    // By the proxy alone: were it for us to heal the link, all three attempts might be over before.
    proxy.lose_connection_instead_of_next_reply();
    let client = app.client().with_header("traceparent", &traceparent("01")).with_header("tracestate", "vendor=1");
    let answer = client.get_key("warm").await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let request = the(&collector, "GET /v1/keys/{key}").await;
    assert_eq!((hex(&request.trace_id).as_str(), hex(&request.parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!((request.kind(), request.trace_state.as_str()), (SpanKind::Server, "vendor=1"));
    assert_eq!(fact(&request, "http.request.method"), "GET");
    assert_eq!(fact(&request, "http.route"), "/v1/keys/{key}");
    assert_eq!(fact(&request, "http.response.status_code"), "200");
    assert_eq!((fact(&request, "url.scheme"), fact(&request, "error.type")), ("http".to_owned(), String::new()));
    let expected = format!("00-{TRACE}-{}-01", hex(&request.span_id));
    assert_eq!(answer.header("traceresponse"), Some(expected.as_str()));

    let operation = the(&collector, &format!("GET {}", proxy.address())).await;
    assert_eq!((hex(&operation.trace_id).as_str(), &operation.parent_span_id), (TRACE, &request.span_id));
    assert_eq!(operation.kind(), SpanKind::Client);
    for (name, value) in [
        ("db.system.name", "redis"),
        ("db.operation.name", "GET"),
        ("db.namespace", "0"),
        ("server.address", "127.0.0.1"),
        ("collective.outcome", "executed"),
        ("error.type", ""),
    ] {
        assert_eq!(fact(&operation, name), value, "{name}");
    }
    assert!(request.start_time_unix_nano <= operation.start_time_unix_nano);
    assert!(operation.end_time_unix_nano <= request.end_time_unix_nano);
    attempts_are_told(&operation);
    let service = collector.resource();
    assert_eq!(attribute(&service, "service.name").as_deref(), Some("shop"));
    assert_eq!(attribute(&service, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    eventually(LIMIT, async || app.client().metric("collective_traces_exported_total", &[]).await >= Some(4.0)).await;
}

/// Lost at least once, waited for, answered at last; in order, and within the operation.
fn attempts_are_told(operation: &Span) {
    let (last, before) = operation.events.split_last().expect("attempts are events");
    assert!(before.len() >= 2 && before.len() % 2 == 0, "{before:?}");
    for (index, pair) in before.chunks(2).enumerate() {
        assert_eq!(
            (pair[0].name.as_str(), told(&pair[0], "collective.attempt.verdict").as_str()),
            ("attempt", "connection_lost")
        );
        assert_eq!(told(&pair[0], "collective.attempt.number"), (index + 1).to_string());
        assert_eq!((pair[1].name.as_str(), told(&pair[1], "collective.retry.decision").as_str()), ("retry", "retried"));
        let backoff: f64 = told(&pair[1], "collective.retry.backoff_ms").parse().expect("a number");
        assert!((0.0..=100.0).contains(&backoff), "{backoff}");
    }
    assert_eq!((last.name.as_str(), told(last, "collective.attempt.verdict").as_str()), ("attempt", "ok"));
    assert_eq!(told(last, "collective.attempt.number"), (before.len() / 2 + 1).to_string());
    let took: f64 = told(last, "collective.attempt.duration_ms").parse().expect("a number");
    assert!(took > 0.0 && took < 10_000.0, "{took}");
    let times: Vec<u64> = operation.events.iter().map(|event| event.time_unix_nano).collect();
    assert!(times.is_sorted() && times[0] >= operation.start_time_unix_nano, "{times:?}");
    assert!(times.last() <= Some(&operation.end_time_unix_nano));
}

#[tokio::test]
async fn a_stable_write_tells_of_the_fence_before_its_repetition() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 3);
    let collector = Collector::start().await;
    let app = recording(&proxy.url(), &collector).start().await;
    assert_eq!(app.client().post_command(&["PING"]).await.status, 200);
    proxy.only(&["SET"]);
    proxy.lose_connection_instead_of_next_reply();
    let answer = app.client().post_command(&["SET", "k", "v"]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let operation = the(&collector, &format!("SET {}", proxy.address())).await;
    let again = operation.events.last().expect("attempts are events");
    assert_eq!(told(again, "collective.attempt.verdict"), "ok");
    assert_eq!(told(again, "collective.attempt.fence"), "stands");
    assert_eq!(told(&operation.events[0], "collective.attempt.fence"), "");
}

#[tokio::test]
async fn failures_say_what_stopped_them_and_whether_they_took_effect() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 3);
    let collector = Collector::start().await;
    let app = recording(&proxy.url(), &collector).start().await;
    let client = app.client();
    assert_eq!(client.put_key("text", "v").await.status, 201);
    assert_eq!(client.post_command(&["LPUSH", "text", "x"]).await.status, 400);
    assert_eq!(client.multi_exec(&[&["SET", "a", "1"], &["GET", "a"]]).await.status, 200);
    proxy.lose_connection_instead_of_reply(1.0);
    assert_eq!(client.post_command(&["INCR", "n"]).await.status, 504);

    let wrong = the(&collector, &format!("LPUSH {}", proxy.address())).await;
    assert_eq!(
        (fact(&wrong, "db.response.status_code"), fact(&wrong, "error.type")),
        ("WRONGTYPE".into(), "WRONGTYPE".into())
    );
    assert_eq!(fact(&wrong, "collective.outcome"), "not_executed");
    let batch = the(&collector, &format!("MULTI {}", proxy.address())).await;
    assert_eq!(
        (fact(&batch, "db.operation.batch.size"), fact(&batch, "collective.outcome")),
        ("2".into(), "executed".into())
    );
    let lost = the(&collector, &format!("INCR {}", proxy.address())).await;
    assert_eq!(
        (fact(&lost, "error.type"), fact(&lost, "collective.outcome")),
        ("connection_lost".into(), "unknown".into())
    );
    assert_eq!(lost.status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
    let decisions: Vec<_> = lost.events.iter().map(|event| told(event, "collective.retry.decision")).collect();
    assert_eq!(decisions, ["", "not_idempotent"]);
    // Its request ends after it, and may come in a later batch.
    eventually(LIMIT, async || collector.spans().iter().any(|span| span.span_id == lost.parent_span_id)).await;
    let spans = collector.spans();
    let request = spans.iter().find(|span| span.span_id == lost.parent_span_id).expect("its request");
    assert_eq!((request.name.as_str(), fact(request, "http.response.status_code").as_str()), ("POST /", "504"));
    assert_eq!(
        (fact(request, "error.type"), fact(request, "collective.outcome")),
        ("outcome_unknown".into(), "unknown".into())
    );
    assert!(request.parent_span_id.is_empty(), "nobody called it from a trace");
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_record_is_not_recorded_and_a_malformed_one_starts_anew() {
    let redis = Redis::start(Options::default()).await;
    let collector = Collector::start().await;
    let app = recording(&redis.url(), &collector).start().await;
    let unsampled = app.client().with_header("traceparent", &traceparent("00"));
    for _ in 0..20 {
        let answer = unsampled.get_key("absent").await;
        assert_eq!((answer.status, answer.header("traceresponse")), (404, None));
    }
    let malformed =
        app.client().with_header("traceparent", &traceparent("01").to_uppercase()).delete_key("absent").await;
    assert!(malformed.header("traceresponse").is_some_and(|text| !text.contains(TRACE)), "{:?}", malformed.headers);
    // The last request's spans come after those of all before it.
    let request = the(&collector, "DELETE /v1/keys/{key}").await;
    assert!(request.parent_span_id.is_empty());
    assert_ne!(hex(&request.trace_id), TRACE);
    assert!(named(&collector.spans(), "GET /v1/keys/{key}").is_empty());
}

#[tokio::test]
async fn the_callers_flag_is_a_wish_that_is_granted_a_number_of_times_a_second() {
    let redis = Redis::start(Options::default()).await;
    let collector = Collector::start().await;
    let builder =
        recording(&redis.url(), &collector).set("traces.sample_ratio", "0").set("traces.parents_per_second", "2");
    let app = builder.start().await;
    let sampled = app.client().with_header("traceparent", &traceparent("01"));
    let began = Instant::now();
    let mut recorded = 0;
    for _ in 0..200 {
        recorded += usize::from(sampled.get_key("k").await.header("traceresponse").is_some());
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a short test");
    assert!(recorded >= 2 && recorded <= 2 * (seconds + 2), "{recorded} in {seconds} s");
    assert_eq!(app.client().get_key("k").await.header("traceresponse"), None, "without a trace only chance decides");
}

#[tokio::test]
async fn without_a_receiver_nothing_is_recorded_and_nobody_is_told_of_traces() {
    let redis = Redis::start(Options::default()).await;
    // Patient, since a write that is sent again finds its key there, and is told another status.
    let app = patient(&redis.url()).start().await;
    let client = app.client().with_header("traceparent", &traceparent("01"));
    let answer = client.put_key("k", "v").await;
    assert_eq!((answer.status, answer.header("traceresponse")), (201, None));
    assert_eq!(app.client().metric("collective_traces_exported_total", &[]).await, Some(0.0));
    for reason in ["queue_full", "not_accepted", "stopped"] {
        assert_eq!(dropped(&app, reason).await, 0.0);
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_spans_and_no_caller_anything() {
    let redis = Redis::start(Options::default()).await;
    let collector = Collector::start().await;
    collector.set(Manner::Hangs);
    let builder = recording(&redis.url(), &collector).set("traces.queue", "10").set("traces.timeout", "60s");
    let app = builder.set("drain.flush", "100ms").start().await;
    let client = app.client();
    redis.command(&["SET", "k", "v"]).await;
    // One span, so that all of it hangs: of two, one may come a batch later and would take a place in the queue.
    assert_eq!(client.get("/v1/nothing").await.status, 404);
    eventually(LIMIT, async || collector.asked() == 1).await;
    let (mut waited, mut longest) = (0, Duration::ZERO);
    for _ in 0..200 {
        let answer = client.get_key("k").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "v"));
        waited += u32::from(answer.elapsed >= Duration::from_secs(1));
        longest = longest.max(answer.elapsed);
    }
    assert_eq!(collector.asked(), 1, "it hung all the while");
    // Nearly all of them find the queue full. A machine that stands still holds up one or two.
    assert!(waited <= 3, "{waited} of 200 requests waited for a second or more while the receiver hung");
    assert!(longest < Duration::from_secs(20), "{longest:?}: who waits for the receiver waits for its minute");
    assert_eq!(dropped(&app, "queue_full").await, 400.0 - 10.0, "two spans a request, ten of all fit");
    let stopping = Instant::now();
    assert_eq!(app.stop().await.code(), Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(20), "the flush is bounded: {:?}", stopping.elapsed());
    assert!(app.stderr().contains("stopping before all traces were exported"), "{}", app.stderr());
}

#[tokio::test]
async fn a_receiver_that_is_away_or_refuses_costs_its_batches_and_is_told_once() {
    let redis = Redis::start(Options::default()).await;
    let collector = Collector::start().await;
    collector.set(Manner::Refuses);
    let app = recording(&redis.url(), &collector).start().await;
    let nobody = patient(&redis.url()).set("traces.endpoint", "http://127.0.0.1:1").set("traces.sample_ratio", "1");
    let nobody = nobody.start().await;
    for app in [&app, &nobody] {
        for round in 1..=2 {
            assert!(app.client().put_key("k", "v").await.is_success());
            eventually(LIMIT, async || dropped(app, "not_accepted").await == 2.0 * f64::from(round)).await;
        }
        assert_eq!(app.stderr().matches("traces cannot be exported").count(), 1, "{}", app.stderr());
    }
    assert!(app.stderr().contains("status 503") && nobody.stderr().contains("refused"), "{}", nobody.stderr());
    collector.set(Manner::Accepts);
    assert_eq!(app.client().get_key("k").await.status, 200);
    the(&collector, "GET /v1/keys/{key}").await;
    eventually(LIMIT, async || app.stderr().contains("traces are exported again")).await;
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_service_ends() {
    let redis = Redis::start(Options::default()).await;
    let collector = Collector::start().await;
    let app = recording(&redis.url(), &collector).start().await;
    let client = app.client();
    for _ in 0..1000 {
        assert_eq!(client.get_key("k").await.status, 404);
    }
    assert_eq!(app.stop().await.code(), Some(0));
    assert_eq!(collector.spans().len(), 2000, "two spans a request, none left behind");
}

#[tokio::test]
async fn a_caller_who_leaves_ends_his_spans_as_abandoned() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 3);
    let collector = Collector::start().await;
    let app = recording(&proxy.url(), &collector).set("retry.attempts", "1").start().await;
    assert_eq!(app.client().put_key("k", "v").await.status, 201);
    proxy.only(&["GET"]);
    proxy.hold_replies_of_everyone();
    proxy.reset_counts();
    let token = crate::harness::app::ROOT_TOKEN;
    let request = format!("GET /v1/keys/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut caller = TcpStream::connect(app.public()).await.expect("a connection");
    caller.write_all(request.as_bytes()).await.expect("sent");
    // He leaves once Redis was asked for him, however long that takes.
    eventually(LIMIT, async || proxy.count("GET") == 1).await;
    drop(caller);
    let request = the(&collector, "GET /v1/keys/{key}").await;
    let operation = the(&collector, &format!("GET {}", proxy.address())).await;
    for span in [&request, &operation] {
        assert_eq!(fact(span, "error.type"), "abandoned", "{span:?}");
    }
    assert_eq!(fact(&request, "http.response.status_code"), "");
    assert_eq!(fact(&operation, "collective.outcome"), "unknown");
}

#[tokio::test]
async fn a_stream_is_a_span_until_it_is_open() {
    let redis = Redis::start(Options::default()).await;
    let collector = Collector::start().await;
    let app = recording(&redis.url(), &collector).start().await;
    let mut events = app.client().subscribe("news").await;
    let operation = the(&collector, &format!("SUBSCRIBE {}", redis.address())).await;
    let request = the(&collector, "POST /subscribe/{channel}").await;
    assert_eq!(
        (&operation.parent_span_id, fact(&operation, "collective.outcome").as_str()),
        (&request.span_id, "executed")
    );
    assert_eq!(app.client().post_command(&["PUBLISH", "news", "after"]).await.status, 200);
    events.expect("data: subscribe,news,1").await;
    events.expect("data: message,news,after").await;
}

#[tokio::test]
async fn nothing_a_caller_stores_or_signs_in_with_is_ever_exported() {
    let redis = Redis::start(Options::default().password("cAnArY-redis-password-3Hd6Pf")).await;
    let collector = Collector::start().await;
    let builder = recording(&redis.url(), &collector);
    let app = builder.set("traces.headers", "authorization=Bearer cAnArY-receiver,x-scope=team").start().await;
    let client = app.client().with_header("User-Agent", "cAnArY-agent").with_header("X-Request-Id", "cAnArY-id");
    client.put_key("cAnArY-key", "cAnArY-value").await;
    client.get_key("cAnArY-key").await;
    client.get("/v1/keys/cAnArY-key?cAnArY=1").await;
    client.increment("cAnArY-counter", 1).await;
    client.post_command(&["SET", "cAnArY-key", "cAnArY-value"]).await;
    client.post_command(&["cAnArY-command", "cAnArY-argument"]).await;
    client.post_command(&["EVAL", "return redis.error_reply('CANARY cAnArY-made-up')", "0"]).await;
    client.pipeline(&[&["SET", "cAnArY-key", "cAnArY-value"], &["LPUSH", "cAnArY-key", "x"]]).await;
    client.multi_exec(&[&["cAnArY-command"], &["GET", "cAnArY-key"]]).await;
    client.get("/get/cAnArY-key?_token=cAnArY-token").await;
    client.post("/v1/leases/cAnArY-lease", &json!({ "ttl_ms": 60_000, "owner": "cAnArY-owner" })).await;
    client.post("/v1/limiters/cAnArY-limiter/take", &json!({ "capacity": 9, "refill": 1, "per": "1s" })).await;
    client
        .send(client.request(Method::PUT, "/v1/presence/cAnArY-room/cAnArY-visitor").body("{\"ttl_seconds\":60}"))
        .await;
    client.idempotency_key("cAnArY-once").increment("cAnArY-counter", 1).await;
    client.get("/v1/operations/cAnArY-once").await;
    client.get("/v1/keys?prefix=cAnArY").await;
    drop(client.subscribe("cAnArY-channel").await);
    client.get("/cAnArY/path").await;
    client.send(client.request(Method::from_bytes(b"CANARY").expect("a word"), "/v1/keys/k")).await;
    client.with_header("traceparent", "00-cAnArY-01").delete_key("cAnArY-key").await;
    assert_eq!(app.stop().await.code(), Some(0));

    let requests = collector.requests();
    assert!(collector.spans().len() >= 20, "all of it was recorded: {}", collector.spans().len());
    for request in &requests {
        assert!(request.head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", request.head);
        assert!(request.head.contains("authorization: Bearer cAnArY-receiver\r\n"), "{}", request.head);
        let body = String::from_utf8_lossy(&request.body).to_ascii_lowercase();
        let found = body.find("canary").map(|at| &body[body.floor_char_boundary(at.saturating_sub(80))..]);
        assert_eq!(found, None, "exported");
        assert!(!body.contains(&crate::harness::app::ROOT_TOKEN.to_ascii_lowercase()));
    }
    assert!(!app.log().contains("cAnArY-receiver"), "the receiver's token is in the log");
}
