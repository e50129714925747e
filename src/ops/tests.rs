//! The operator listener over real HTTP, in front of a view that can be set to anything.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response};

use super::*;

/// A service where all is well.
pub(super) fn facts() -> Facts {
    let breaker = |name: &str| BreakerStatus {
        name: name.to_owned(),
        state: "closed",
        since: "2026-01-01T00:00:00.000Z".to_owned(),
        since_millis: 1_767_225_600_000,
        retry_after_ms: None,
        calls: 40,
        failures: 2,
        failure_ratio: 0.05,
        slow_ratio: 0.0,
        rejected_total: 0,
        opened_total: 0,
    };
    Facts {
        version: "1.2.3".to_owned(),
        phase: Phase::Ready,
        uptime: Duration::from_secs(90),
        redis: RedisStatus {
            topology: "standalone".to_owned(),
            reachable: true,
            latency_ms: Some(0.25),
            server_version: Some("7.0.15".to_owned()),
            last_error: None,
        },
        functions: Ok(true),
        redis_connections: 4,
        breakers: vec![breaker("redis.read"), breaker("redis.write")],
        limits: BTreeMap::from([
            ("connections", Limit { used: Some(3), max: 10_000 }),
            ("body_bytes", Limit { used: None, max: 16_777_216 }),
        ]),
        wall_millis: 1_767_225_600_000,
    }
}

pub(super) struct Fake(Mutex<Facts>);

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(facts())))
    }

    fn facts(&self) -> Facts {
        self.0.lock().expect("not poisoned").clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.lock().expect("not poisoned"));
    }
}

impl OpsView for Fake {
    fn phase(&self) -> Phase {
        self.facts().phase
    }

    fn status(&self) -> StatusDocument {
        StatusDocument::assess(self.facts())
    }

    fn traffic(&self) -> HttpTotals {
        HttpTotals::default()
    }

    fn transitions(&self) -> Vec<Entry> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        "# HELP a x\n# TYPE a gauge\na 1\n".to_owned()
    }
}

struct Ops {
    view: Arc<Fake>,
    handle: OpsHandle,
    client: Client,
}

impl Ops {
    fn spawn() -> Self {
        let view = Fake::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let handle = spawn(listener, view.clone(), MAX_CONNECTIONS).expect("a listener");
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { view, handle, client }
    }

    async fn ask(&self, method: Method, path: &str) -> Response {
        let url = format!("http://{}{path}", self.handle.address());
        self.client.request(method, url).send().await.expect("an answer")
    }

    async fn get(&self, path: &str) -> (u16, HeaderMap, String) {
        let answer = self.ask(Method::GET, path).await;
        (answer.status().as_u16(), answer.headers().clone(), answer.text().await.expect("a body"))
    }

    async fn json(&self, path: &str) -> (u16, serde_json::Value) {
        let (status, headers, body) = self.get(path).await;
        assert!(headers["content-type"].to_str().is_ok_and(|kind| kind.ends_with("+json")), "{headers:?}");
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

const PATHS: [&str; 6] = ["/", "/livez", "/readyz", "/startupz", "/status", "/metrics"];

#[tokio::test]
async fn live_never_asks_about_anything() {
    let ops = Ops::spawn();
    for phase in [Phase::Starting, Phase::Ready, Phase::Draining] {
        ops.view.set(|facts| (facts.phase, facts.redis.reachable) = (phase, false));
        assert_eq!(ops.json("/livez").await, (200, serde_json::json!({"status": "pass"})));
    }
}

#[tokio::test]
async fn ready_survives_an_outage_and_ends_with_the_drain() {
    let ops = Ops::spawn();
    ops.view.set(|facts| facts.phase = Phase::Starting);
    assert_eq!(ops.json("/readyz").await, (503, serde_json::json!({"status": "fail", "output": "starting"})));
    ops.view.set(|facts| facts.phase = Phase::Ready);
    assert_eq!(ops.json("/readyz").await, (200, serde_json::json!({"status": "pass"})));
    ops.view.set(|facts| facts.redis.reachable = false);
    assert_eq!(ops.json("/readyz").await, (200, serde_json::json!({"status": "warn"})));
    ops.view.set(|facts| facts.phase = Phase::Draining);
    assert_eq!(ops.json("/readyz").await, (503, serde_json::json!({"status": "fail", "output": "draining"})));
}

#[tokio::test]
async fn started_stays_true_once_it_is() {
    let ops = Ops::spawn();
    ops.view.set(|facts| facts.phase = Phase::Starting);
    assert_eq!(ops.json("/startupz").await.0, 503);
    for phase in [Phase::Ready, Phase::Draining] {
        ops.view.set(|facts| facts.phase = phase);
        assert_eq!(ops.json("/startupz").await.0, 200);
    }
}

#[tokio::test]
async fn status_has_exactly_the_promised_members() {
    let ops = Ops::spawn();
    let (status, document) = ops.json("/status").await;
    assert_eq!(status, 200);
    let members = |value: &serde_json::Value| {
        let mut names: Vec<_> = value.as_object().expect("an object").keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(members(&document), "breakers checks limits phase redis status uptime_seconds version");
    assert_eq!(members(&document["redis"]), "latency_ms reachable server_version topology");
    assert_eq!(
        members(&document["breakers"][0]),
        "calls failure_ratio failures name opened_total rejected_total retry_after_ms since slow_ratio state"
    );
    assert_eq!(document["limits"]["connections"], serde_json::json!({"used": 3, "max": 10_000}));
    let latency = &document["checks"]["redis:responseTime"][0];
    assert_eq!(latency["observedValue"], 0.25);
    assert_eq!((latency["observedUnit"].as_str(), latency["componentType"].as_str()), (Some("ms"), Some("datastore")));
    assert_eq!(document["checks"]["redis:connections"][0]["observedValue"], 4);
    assert_eq!(latency["time"], "2026-01-01T00:00:00.000Z");
}

#[tokio::test]
async fn status_is_served_while_degraded_and_fails_only_while_starting_or_draining() {
    let ops = Ops::spawn();
    ops.view.set(|facts| facts.redis.reachable = false);
    let (status, document) = ops.json("/status").await;
    assert_eq!((status, document["status"].as_str()), (200, Some("warn")));
    assert_eq!(document["checks"]["redis:responseTime"][0]["output"], "Redis does not answer");
    ops.view.set(|facts| facts.phase = Phase::Draining);
    let (status, document) = ops.json("/status").await;
    assert_eq!((status, document["phase"].as_str()), (503, Some("draining")));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let (status, headers, body) = Ops::spawn().get("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(body.ends_with("a 1\n"));
}

#[tokio::test]
async fn no_answer_may_be_stored_or_sniffed() {
    let ops = Ops::spawn();
    for path in PATHS.into_iter().chain([page::style_path(), "/nowhere"]) {
        let (_, headers, _) = ops.get(path).await;
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(headers.get_all("content-security-policy").iter().count(), 1, "{path}");
        assert!(!headers.contains_key("server"), "{path}");
    }
}

#[tokio::test]
async fn the_page_carries_the_full_header_set_and_its_style_sheet_exists() {
    let ops = Ops::spawn();
    let (status, headers, body) = ops.get("/").await;
    assert_eq!((status, headers["content-type"].to_str().ok()), (200, Some("text/html; charset=utf-8")));
    for (name, value) in headers::HTML {
        assert_eq!(headers[name], value);
    }
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("script-src 'sha256-") && policy.contains("trusted-types 'none'"), "{policy}");
    let style = body.split_once("stylesheet\" href=\"").and_then(|(_, rest)| rest.split_once('"'));
    let (status, headers, body) = ops.get(style.expect("a style sheet").0).await;
    assert_eq!((status, headers["content-type"].to_str().ok()), (200, Some("text/css; charset=utf-8")));
    assert!(body.contains(".verdict"));
}

/// Reads the page's stream until `wanted` was in it; fails when it ends before.
async fn until(answer: &mut Response, wanted: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(wanted) {
        let chunk = tokio::time::timeout(Duration::from_secs(5), answer.chunk()).await;
        let chunk = chunk.expect("in time").expect("a stream").unwrap_or_else(|| panic!("it ended: {heard}"));
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    heard
}

async fn ended(answer: &mut Response) {
    let end = async { while answer.chunk().await.expect("an orderly end").is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("the stream ends");
}

#[tokio::test]
async fn a_change_of_a_breaker_is_told_to_whoever_looks() {
    let ops = Ops::spawn();
    let mut events = ops.ask(Method::GET, "/events").await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(events.headers()["x-accel-buffering"], "no");
    assert_eq!(events.headers()["cache-control"], "no-store");
    let greeting = until(&mut events, "\"b0_word\":\"closed\"").await;
    assert!(greeting.starts_with("retry: 2000\nevent: hello\ndata: "), "{greeting}");
    let (_, _, page) = ops.get("/").await;
    let id = greeting.lines().nth(2).and_then(|line| line.strip_prefix("data: ")).expect("an id");
    assert!(page.contains(&format!("data-page=\"{id}\"")), "the page fits its events");
    ops.view.set(|facts| facts.breakers[0].state = "open");
    until(&mut events, "\"b0_word\":\"open\"").await;
}

#[tokio::test]
async fn streams_end_at_the_drain_and_no_new_one_begins() {
    let ops = Ops::spawn();
    let mut events = ops.ask(Method::GET, "/events").await;
    until(&mut events, "event: state").await;
    ops.view.set(|facts| facts.phase = Phase::Draining);
    until(&mut events, "\"headline\":\"Draining\"").await;
    ended(&mut events).await;
    let (status, document) = ops.json("/events").await;
    assert_eq!((status, document["code"].as_str()), (503, Some("draining")));
}

#[tokio::test]
async fn there_are_places_for_so_many_viewers_and_probes_need_none() {
    let ops = Ops::spawn();
    let mut viewers = Vec::new();
    for _ in 0..live::hub::PLACES {
        viewers.push(ops.ask(Method::GET, "/events").await);
    }
    let refused = ops.ask(Method::GET, "/events").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().ok()), (503, Some("5")));
    assert_eq!(ops.json("/livez").await.0, 200);
    assert!(viewers.iter().all(|viewer| viewer.status() == 200));
}

#[tokio::test]
async fn stopping_does_not_wait_for_viewers() {
    let ops = Ops::spawn();
    let mut events = ops.ask(Method::GET, "/events").await;
    until(&mut events, "event: state").await;
    let stopping = tokio::task::spawn_blocking(|| ops.handle.stop());
    ended(&mut events).await;
    stopping.await.expect("the thread ends");
}

#[tokio::test]
async fn head_tells_the_length_and_sends_nothing() {
    let ops = Ops::spawn();
    for path in PATHS {
        // The page has a second more to tell once a second: where it grew meanwhile, all is asked again.
        let (head, length) = loop {
            let before = ops.get(path).await.2.len();
            let head = raw(&ops, &format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
            if ops.get(path).await.2.len() == before {
                break (head, before);
            }
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        assert!(head.ends_with("\r\n\r\n"), "{path} sent a body: {head}");
        assert!(head.to_lowercase().contains(&format!("content-length: {length}\r\n")), "{path}: {head}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_document() {
    let ops = Ops::spawn();
    let (status, document) = ops.json("/v1/keys/a%22b").await;
    assert_eq!((status, document["status"].as_u64(), document["code"].as_str()), (404, Some(404), Some("not_found")));
    assert_eq!(document["instance"], "/v1/keys/a%22b");
}

#[tokio::test]
async fn another_method_is_told_which_are_allowed() {
    let ops = Ops::spawn();
    for path in PATHS {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let answer = ops.ask(method.clone(), path).await;
            assert_eq!(answer.status().as_u16(), 405, "{method} {path}");
            assert_eq!(answer.headers()["allow"], "GET, HEAD");
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_ignored() {
    let ops = Ops::spawn();
    for (length, status) in [(routes::BODY_LIMIT_BYTES, "200"), (routes::BODY_LIMIT_BYTES + 1, "413")] {
        let body = "x".repeat(length as usize);
        let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let answer = raw(&ops, &(head + &body));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn stopping_joins_the_thread_and_frees_the_port() {
    let ops = Ops::spawn();
    assert!(ops.handle.is_running());
    assert_eq!(ops.get("/livez").await.0, 200); // and keeps the connection alive
    let address = ops.handle.address();
    ops.handle.stop();
    assert!(TcpStream::connect(address).is_err());
}

/// Sends bytes as they are and reads until the other side closes.
fn raw(ops: &Ops, request: &str) -> String {
    let mut stream = TcpStream::connect(ops.handle.address()).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text until the end");
    answer
}
