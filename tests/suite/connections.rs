//! The door: who is let in, how one is turned away, and what a caller without manners is told.
//!
//! Spoken over raw sockets, because no client library would send most of this. Limits: everyone here is 127.0.0.1, so the
//! limit of all and the limit of one address are tested with the other one out of the way.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{App, Client, Options, Redis, eventually, raw_http};
use crate::keys::patient;

/// Longest wait for a single answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is kept.
struct Raw(TcpStream);

impl Raw {
    async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the kernel accepts"))
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("it may be written");
    }

    /// Asks for a key and returns the whole answer (there is no body in it).
    async fn get(&mut self) -> io::Result<String> {
        self.0.write_all(get("k").as_bytes()).await?;
        self.head().await
    }

    /// The next answer's head.
    async fn head(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        let read = async {
            while !bytes.ends_with(b"\r\n\r\n") {
                bytes.push(self.0.read_u8().await?);
            }
            io::Result::Ok(())
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time")?;
        Ok(String::from_utf8(bytes).expect("a head is text"))
    }

    /// Everything until the end, which must come and must not be a reset.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        tokio::time::timeout(PATIENCE, read).await.expect("an end in time").expect("an end, not a reset");
        String::from_utf8(bytes).expect("text")
    }
}

fn get(key: &str) -> String {
    format!("HEAD /v1/keys/{key} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n\r\n")
}

fn post(body_headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n{body_headers}\r\n\r\n{body}")
}

/// The status; the whole answer must have what every answer has, and a body that its caller can read: the dialect's own where
/// the head could be understood (all that are not are asked of the dialect here), else one for both surfaces.
#[track_caller]
fn status_of(answer: &str) -> u16 {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    for header in [
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "content-security-policy: default-src 'none'",
        "x-request-id: ",
        "connection: close",
        "date: ",
    ] {
        assert!(head.contains(header), "{header} is missing in {head}");
    }
    let document: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no document: {answer}"));
    assert!(document["error"].is_string(), "{document}");
    if head.contains("content-type: application/json") {
        assert_eq!(document.as_object().map(serde_json::Map::len), Some(1), "{document}");
    } else {
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert_eq!(document["status"], status, "{document}");
        assert!(document["code"].is_string(), "{document}");
    }
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    status
}

async fn limited(key: &str, limit: usize) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.connections_per_address", limit);
    let app = app.set(key, limit).start().await;
    let client = app.client();
    let mut guests = Vec::new();
    for _ in 0..limit {
        let mut guest = Raw::to(app.public()).await;
        assert!(guest.get().await.expect("served").starts_with("HTTP/1.1 404"));
        guests.push(guest);
    }
    let limits = &client.status().await["limits"]["connections"];
    assert_eq!(limits["used"], limit, "{limits}");

    let mut one_more = Raw::to(app.public()).await;
    one_more.send(get("k")).await;
    let answer = one_more.rest().await;
    assert_eq!(status_of(&answer), 503);
    let head = answer.to_ascii_lowercase();
    assert!(head.contains("retry-after: ") && head.contains("collective-outcome: not_executed"), "{head}");
    let mut silent = Raw::to(app.public()).await;
    assert_eq!(status_of(&silent.rest().await), 503, "one who says nothing is told, too");
    for guest in &mut guests {
        assert!(guest.get().await.expect("still served").starts_with("HTTP/1.1 404"));
    }

    drop(guests.pop());
    let from_there = async || Raw::to(app.public()).await.get().await;
    eventually(PATIENCE, async || from_there().await.is_ok_and(|head| head.starts_with("HTTP/1.1 404"))).await;
    let reason = if key.ends_with("address") { "address" } else { "total" };
    let count = async |name, labels: &[(&str, &str)]| client.metric(name, labels).await.unwrap_or(-1.0);
    assert!(count("collective_connections_rejected_total", &[("reason", reason)]).await >= 2.0);
    assert!(count("collective_connections_accepted_total", &[]).await > limit as f64);
    drop(guests);
    eventually(PATIENCE, async || count("collective_connections_open", &[]).await == 0.0).await;
}

#[tokio::test]
async fn one_connection_more_than_the_limit_is_refused_and_a_place_is_given_back() {
    limited("limits.connections", 5).await;
}

#[tokio::test]
async fn one_connection_more_than_the_limit_of_an_address_is_refused_and_a_place_is_given_back() {
    limited("limits.connections_per_address", 5).await;
}

#[tokio::test]
async fn a_flood_of_connections_costs_those_who_are_in_nothing() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url())
        .set("limits.connections", 8)
        .set("limits.connections_per_address", 8)
        .start()
        .await;
    let client = app.client();
    let mut guest = Raw::to(app.public()).await;
    let mut calm: Vec<Duration> = guest.waits(&client).await.into_iter().map(|(wait, _)| wait).collect();
    calm.sort_unstable();
    // By far more than nine in ten take without a flood.
    let long = calm[89] + Duration::from_millis(100);
    let mut flood = Vec::new();
    for _ in 0..400 {
        flood.push(Raw::to(app.public()).await);
    }
    // A flood may well cost a few long waits and leave the others alone, so they are counted. A machine that pauses delays
    // some, too, but also what is asked of the operators' thread.
    let (mut slow, mut held_up) = (0, 0);
    for (wait, round_trip) in guest.waits(&client).await {
        slow += usize::from(wait > long);
        held_up += usize::from(round_trip > long);
    }
    assert!(slow <= (5 + 2 * held_up).min(10), "{slow} of 100 waits, {held_up} round trips took more than {long:?}");
    // Nobody hangs: all of the flood but those with a place have been told or closed.
    for raw in flood.iter_mut().skip(8) {
        let mut bytes = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, raw.0.read_to_end(&mut bytes)).await;
        assert!(ended.is_ok(), "still open");
    }
}

#[tokio::test]
async fn an_early_413_is_read_by_a_client_that_is_still_writing() {
    let redis = Redis::start(Options::default()).await;
    // A client whom a busy machine keeps from writing is waited for all the same.
    let app = App::with_redis(&redis.url()).set("server.client_disconnect_timeout", "10s").start().await;
    for _ in 0..3 {
        let body = "x".repeat(20 << 20);
        let request = post(&format!("Content-Length: {}", body.len()), &body);
        let mut raw = Raw::to(app.public()).await;
        raw.send(request).await;
        // That was all: nobody need wait for more.
        raw.0.shutdown().await.expect("still connected");
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
}

/// What the parser itself refuses never reaches a route.
#[tokio::test]
async fn what_the_parser_refuses_wears_our_clothes() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: y")).collect::<Vec<_>>().join("\r\n");
    let cases: Vec<(String, u16)> = vec![
        ("nonsense\r\n\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        (head("Host: y"), 400),
        (head("Content-Length: -1"), 400),
        (head("Content-Length: 3\r\nContent-Length: 3"), 400),
        (head("Content-Length: 3\r\nTransfer-Encoding: chunked"), 400),
        (head("Transfer-Encoding: gzip, chunked"), 400),
        (head("Transfer-Encoding: xchunked"), 400),
        (head("a b: c"), 400),
        (head(&many(200)), 431),
        (head(&many(90)), 431),
        (head(&format!("x: {}", "y".repeat(20 << 10))), 431),
        (head(&format!("x: {}", "y".repeat(200 << 10))), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(20 << 10)), 414),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(70 << 10)), 414),
        (format!("GET /{}", "y".repeat(200 << 10)), 414),
    ];
    let count = cases.len();
    for (bytes, expected) in cases {
        let asked = &bytes[..bytes.len().min(60)];
        let answer =
            raw_http(app.public(), bytes.as_bytes()).await.unwrap_or_else(|error| panic!("{asked:?}: {error}"));
        let answer = String::from_utf8(answer).expect("text");
        assert!(!answer.is_empty(), "no answer to {asked:?}");
        assert_eq!(status_of(&answer), expected, "{asked:?}");
    }
    let refused = app.client().metric("collective_heads_refused_total", &[]).await;
    assert_eq!(refused, Some(count as f64));
    assert!(!app.log().contains("ERROR"), "strangers fill the log: {}", app.log());
}

#[tokio::test]
async fn what_the_parser_refuses_behind_served_requests_wears_our_clothes() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let mut raw = Raw::to(app.public()).await;
    raw.get().await.expect("served");
    raw.get().await.expect("served");
    raw.send("nonsense\r\n\r\n").await;
    assert_eq!(status_of(&raw.rest().await), 400);
}

/// What stands behind a request may cost its sender the connection, but not the answer that is due.
#[tokio::test]
async fn garbage_behind_a_request_takes_nothing_from_its_answer() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    for behind in ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{7f}\u{0}\n"] {
        let mut raw = Raw::to(app.public()).await;
        raw.send(post("Content-Length: 14", &format!("[\"INCR\",\"key\"]{behind}"))).await;
        let answers = raw.rest().await;
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{behind:?}: {answers:?}");
        let second = answers[1..].find("HTTP/1.1").map(|at| &answers[at + 1..]);
        assert_eq!(second.map(status_of), Some(400), "{behind:?}: {answers:?}");
    }
    assert_eq!(redis.command(&["GET", "key"]).await, "3");
}

/// A value may end in the very bytes that the framework's own refusal has.
#[tokio::test]
async fn a_value_that_looks_like_a_refusal_is_delivered() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    let bare = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    for value in [bare.to_owned(), format!("text {bare}"), format!("{}{bare}", "x".repeat(3 << 20))] {
        assert!(client.put_key("k", value.clone()).await.is_success());
        for _ in 0..3 {
            let answer = client.get_key("k").await;
            assert!(answer.status == 200 && answer.body == value.as_bytes(), "{} bytes came", answer.body.len());
        }
        let last = client.with_header("Connection", "close").get_key("k").await;
        assert!(last.status == 200 && last.body == value.as_bytes(), "{} bytes came", last.body.len());
    }
}

#[tokio::test]
async fn the_limits_of_a_head_are_exact() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("limits.head_fields", 10).start().await;
    let ask = async |fields: usize| {
        let fields: String = (0..fields - 2).map(|n| format!("x-{n}: y\r\n")).collect();
        let head = format!("HEAD /v1/keys/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
        Raw::to(app.public()).await.send_and_head(&head).await
    };
    assert!(ask(10).await.starts_with("HTTP/1.1 401"));
    assert!(ask(11).await.starts_with("HTTP/1.1 431"));
}

impl Raw {
    /// How long each of a hundred answers takes, and behind it the service to say that it runs.
    async fn waits(&mut self, client: &Client) -> Vec<(Duration, Duration)> {
        let mut waits = Vec::new();
        for _ in 0..100 {
            let asked = Instant::now();
            self.get().await.expect("served");
            waits.push((asked.elapsed(), client.round_trip().await));
        }
        waits
    }

    async fn send_and_head(mut self, bytes: &str) -> String {
        self.send(bytes).await;
        self.head().await.expect("an answer")
    }
}

#[tokio::test]
async fn a_silent_or_a_partial_head_gets_408_in_time() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("server.client_request_timeout", "500ms").start().await;
    // Measured from before the connection, or the part of a head, was there: its time cannot have begun any earlier.
    let timed = async |begun: Instant, mut raw: Raw, bytes: &str| {
        raw.send(bytes).await;
        assert_eq!(status_of(&raw.rest().await), 408, "{bytes:?}");
        let elapsed = begun.elapsed();
        assert!((400..2500).contains(&elapsed.as_millis()), "{bytes:?}: {elapsed:?}");
    };
    timed(Instant::now(), Raw::to(app.public()).await, "").await;
    timed(Instant::now(), Raw::to(app.public()).await, "GET /").await;
    timed(Instant::now(), Raw::to(app.public()).await, "GET / HTTP/1.1\r\nHost: x\r\n").await;
    // Not only the first head of a connection.
    let mut known = Raw::to(app.public()).await;
    known.get().await.expect("served");
    timed(Instant::now(), known, "GET / HT").await;
    // A byte now and then buys no time. This head has no end: one that has is sent within five seconds, let live or not.
    let mut dripping = Raw::to(app.public()).await;
    let (mut answer, mut head) = dripping.0.split();
    let drip = async {
        let _ = head.write_all(b"GET / HTTP/1.1\r\nx: ").await;
        while head.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Closed: what was said before is still to be read.
        std::future::pending::<()>().await;
    };
    let mut told = [0; 12];
    tokio::select! {
        biased;
        read = answer.read_exact(&mut told) => assert_eq!(read.expect("an answer"), 12),
        () = drip => {}
        () = tokio::time::sleep(Duration::from_secs(5)) => {}
    }
    assert_eq!(&told, b"HTTP/1.1 408", "a dripping head was let live");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_time_of_a_head() {
    let redis = Redis::start(Options::default()).await;
    // A second, and not less: the first head has to come within it, also where this process pauses after connecting.
    let app = patient(&redis.url()).set("server.client_request_timeout", "1s").start().await;
    let mut raw = Raw::to(app.public()).await;
    raw.get().await.expect("served");
    raw.send(post("Content-Length: 8", r#"["PING"]"#)).await;
    let head = raw.head().await.expect("served");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = vec![0; r#"{"result":"PONG"}"#.len()];
    raw.0.read_exact(&mut body).await.expect("a body");
    let rest_of = Instant::now() + Duration::from_secs(2);
    eventually(PATIENCE, async || Instant::now() > rest_of).await;
    assert!(raw.get().await.expect("still served").starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn an_idle_connection_ends_after_keep_alive() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("server.keep_alive", "2s").start().await;
    let mut raw = Raw::to(app.public()).await;
    // Before the request: when the answer was sent cannot be seen here, only when it was read.
    let begun = Instant::now();
    raw.get().await.expect("served");
    assert_eq!(raw.rest().await, "");
    // The framework takes the time from a clock that it reads twice a second: it may be half a second early, and more where its
    // thread has paused. A time of its own, which it has for whoever sets none, is five seconds, so 4.5 at the earliest.
    let elapsed = begun.elapsed();
    assert!((1000..4400).contains(&elapsed.as_millis()), "{elapsed:?}");
}

#[tokio::test]
async fn a_body_that_stalls_gets_408() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("server.body_timeout", "300ms").start().await;
    for headers in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut raw = Raw::to(app.public()).await;
        raw.send(post(headers, "")).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{headers}: {answer}");
    }
    assert_eq!(redis.keys_of_callers().await, 0);
}

/// Sends a request for a body of eight bytes, then those there are, each after a pause, and returns the answer's head.
async fn trickled(app: &App, line: &str, fields: &str, body: &[u8], pause: Duration) -> String {
    let mut raw = Raw::to(app.public()).await;
    let authorization = format!("Authorization: Bearer {ROOT_TOKEN}\r\n");
    raw.send(format!("{line} HTTP/1.1\r\nHost: x\r\n{authorization}{fields}Content-Length: 8\r\n\r\n")).await;
    for byte in body {
        tokio::time::sleep(pause).await;
        if raw.0.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    raw.head().await.expect("an answer")
}

const SLOW: [(&str, &[u8; 8]); 4] = [
    ("PUT /v1/keys/k", b"12345678"),
    ("POST /v1/counters/c/increment", br#"{"by":1}"#),
    ("POST /", br#"["PING"]"#),
    ("POST /echo", b"12345678"),
];

/// A body over a slow line has its own time; the time of the answer begins when it is there.
#[tokio::test]
async fn a_body_that_takes_longer_than_the_deadline_is_still_served() {
    let redis = Redis::start(Options::default()).await;
    // The body takes longer than the deadline, and the deadline is long enough for the first connections on a busy machine.
    let app = App::with_redis(&redis.url())
        .set("requests.timeout", "2500ms")
        .set("attempt.timeout", "2s")
        .set("redis.acquire_timeout", "2s")
        .set("breaker.stall_after", "2s")
        .set("retry.attempts", "1")
        .start()
        .await;
    let answers = SLOW.map(|(line, body)| trickled(&app, line, "", body, Duration::from_millis(400)));
    for (head, (line, _)) in futures_util::future::join_all(answers).await.iter().zip(SLOW) {
        assert!(head.starts_with("HTTP/1.1 20"), "{line}: {head}");
    }
}

/// Whoever names a time means all of it: then a slow body is what was too slow, and not Redis.
#[tokio::test]
async fn a_body_that_takes_longer_than_its_caller_allows_is_408() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("server.body_timeout", "60s").start().await;
    // The last byte never comes: a service that pauses must not find the body whole when its time is over.
    let pause = Duration::from_millis(150);
    let answers = SLOW.map(|(line, body)| trickled(&app, line, "X-Request-Timeout-Ms: 400\r\n", &body[..7], pause));
    for (head, (line, _)) in futures_util::future::join_all(answers).await.iter().zip(SLOW) {
        assert!(head.starts_with("HTTP/1.1 408"), "{line}: {head}");
    }
    assert_eq!(redis.command(&["EXISTS", "k", "c"]).await.integer(), 0);
}

#[tokio::test]
async fn a_body_with_broken_chunks_gets_400() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    for body in ["zz\r\n", "8\r\n[\"PING\"]xx0\r\n\r\n", "ffffffffffffffffff\r\n"] {
        let answer =
            raw_http(app.public(), post("Transfer-Encoding: chunked", body).as_bytes()).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"error\""), "{body:?}: {answer}");
    }
}
