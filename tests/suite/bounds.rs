//! What all callers together may hold of this process: memory, open files, the operators' port.
//!
//! Spoken over raw sockets, because a client library sends a body to its end. Limits: what is counted is looked at, not what the
//! kernel says of the process; that the one follows the other is arithmetic (docs/operators.md).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{App, Client, Options, Redis, eventually};
use crate::keys::patient;

const PATIENCE: Duration = Duration::from_secs(10);
const MEBIBYTE: usize = 1 << 20;

/// A service with room for two bodies of the largest size.
async fn start() -> (Redis, App) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.body", "1MiB").set("limits.argument", "1MiB");
    let app = app.set("limits.bodies", "2MiB").set("server.body_timeout", "60s").start().await;
    (redis, app)
}

/// Sends a head and a part of its body, and then nothing more.
async fn stalled(app: &App, request_line: &str, framing: &str, part: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(app.public()).await.expect("the kernel accepts");
    let head = format!("{request_line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(part).await.expect("written");
    stream
}

async fn held(client: &Client) -> u64 {
    client.status().await["limits"]["bodies_bytes"]["used"].as_u64().expect("a number")
}

#[tokio::test]
async fn bodies_that_do_not_fit_together_are_refused_unread_and_their_place_is_given_back() {
    let (_redis, app) = start().await;
    let client = app.client();
    let declared = format!("Content-Length: {MEBIBYTE}");
    let part = vec![b'x'; MEBIBYTE - 1];
    let first = stalled(&app, "PUT /v1/keys/first", &declared, &part).await;
    let second = stalled(&app, "POST /", &declared, &part).await;
    eventually(PATIENCE, async || held(&client).await == 2 * part.len() as u64).await;

    let document = client.put_key("k", vec![b'x'; 100_000]).await;
    assert_eq!((document.status, document.outcome()), (503, "not_executed"), "{}", document.text());
    assert_eq!(document.json()["code"], "overloaded");
    let dialect = client.post_command(&["SET", "k", &"x".repeat(100_000)]).await;
    assert_eq!((dialect.status, dialect.outcome()), (503, "not_executed"), "{}", dialect.text());
    for answer in [&document, &dialect] {
        let wait = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        assert!(wait.is_some_and(|seconds: u64| (1..=3).contains(&seconds)), "{:?}", answer.headers);
    }
    let mut unread = stalled(&app, "PUT /v1/keys/unread", &declared, b"").await;
    let mut answer = vec![0; 12];
    unread.read_exact(&mut answer).await.expect("an answer to the head alone");
    assert_eq!(answer, b"HTTP/1.1 503");
    assert_eq!(client.put_key("small", "v").await.status, 201, "small ones are not counted");
    assert!(
        client.metric("collective_shed_total", &[("reason", "bodies")]).await.expect("there from the start") >= 3.0
    );

    drop(first);
    eventually(PATIENCE, async || client.put_key("k", vec![b'x'; 100_000]).await.is_success()).await;
    drop(second);
    eventually(PATIENCE, async || held(&client).await == 0).await;
}

#[tokio::test]
async fn a_body_that_is_only_declared_takes_no_room() {
    let (_redis, app) = start().await;
    let client = app.client();
    let declared = format!("Content-Length: {MEBIBYTE}");
    let mut idle = Vec::new();
    for round in 0..8 {
        idle.push(stalled(&app, "PUT /v1/keys/idle", &declared, b"x").await);
        assert!(client.put_key("k", vec![b'x'; MEBIBYTE]).await.is_success(), "beside {} that wait", round + 1);
    }
    eventually(PATIENCE, async || held(&client).await == 0).await;
    drop(idle);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_counted_as_it_arrives() {
    let (_redis, app) = start().await;
    let client = app.client();
    let chunk = [format!("{:x}\r\n", 900_000).into_bytes(), vec![b'x'; 900_000], b"\r\n".to_vec()].concat();
    let chunked = async || stalled(&app, "PUT /v1/keys/k", "Transfer-Encoding: chunked", &chunk).await;
    let kept = [chunked().await, chunked().await];
    eventually(PATIENCE, async || held(&client).await == 1_800_000).await;

    let mut third = chunked().await;
    let mut answer = vec![0; 12];
    third.read_exact(&mut answer).await.expect("an answer before its end");
    assert_eq!(answer, b"HTTP/1.1 503");
    drop((kept, third));
    eventually(PATIENCE, async || held(&client).await == 0).await;
}

#[tokio::test]
async fn bodies_that_were_answered_hold_nothing() {
    let (_redis, app) = start().await;
    let client = app.client();
    for round in 0..4 {
        assert!(client.put_key("k", vec![b'x'; MEBIBYTE]).await.is_success(), "round {round}");
        let too_many = client.post_command(&["GET", "k", &"x".repeat(MEBIBYTE / 2)]).await;
        assert_eq!(too_many.status, 400, "{}", too_many.text());
    }
    eventually(PATIENCE, async || held(&client).await == 0).await;
}

/// Asks for a key and waits for the first bytes of the answer; the connection is kept.
async fn status_line(app: &App) -> (TcpStream, String) {
    let mut stream = stalled(app, "GET /v1/keys/k", "X: y", b"").await;
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    let told = read.expect("an answer in time").map(|_| String::from_utf8_lossy(&answer).into_owned());
    (stream, told.unwrap_or_default())
}

#[tokio::test]
async fn where_the_system_allows_few_open_files_fewer_callers_are_let_in_and_probes_answer() {
    let redis = Redis::start(Options::default()).await;
    // A read that came to nothing is answered 503, as one who is not let in.
    let app = patient(&redis.url()).after("ulimit -n 256").start().await;
    let client = app.client();
    let places = client.status().await["limits"]["connections"]["max"].as_u64().expect("a number");
    assert!((16..256).contains(&places), "{places}");
    let (mut kept, mut served, mut refused) = (Vec::new(), 0, 0);
    for _ in 0..300 {
        let (stream, told) = status_line(&app).await;
        match told.as_str() {
            "HTTP/1.1 404" => served += 1,
            "HTTP/1.1 503" => refused += 1,
            // More refusals at once than may be read are closed without a word.
            _ => {}
        }
        kept.push(stream);
    }
    assert_eq!(served, places, "as many as the number in force");
    assert!(refused > 0);
    assert_eq!(client.probe("/livez").await.status, 200);
    let log = app.log();
    assert_eq!(log.matches("fewer open files than limits.connections needs").count(), 1, "{log}");
    assert!(log.contains("LimitNOFILE"), "the way out: {log}");
}

#[tokio::test]
async fn a_soft_limit_on_open_files_is_raised_to_what_is_needed() {
    let redis = Redis::start(Options::default()).await;
    let app =
        App::with_redis(&redis.url()).set("limits.connections", "600").set("limits.connections_per_address", "600");
    let app = app.after("ulimit -S -n 128").start().await;
    assert_eq!(app.client().status().await["limits"]["connections"]["max"], 600);
    assert!(!app.log().contains("fewer open files"), "{}", app.log());
}

#[tokio::test]
async fn idle_connections_do_not_keep_the_probes_from_the_operators_port() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(app.operator()).await.expect("the kernel accepts");
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
        idle.push(stream);
    }
    let client = app.client();
    let lives = async || client.try_probe("/livez").await.is_ok_and(|answer| answer.status == 200);
    eventually(Duration::from_secs(20), lives).await;
    assert_eq!(client.probe("/readyz").await.status, 200);
    drop(idle);
}
