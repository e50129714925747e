//! Stopping: the last callers are served, nobody is left hanging, nothing is left behind.
//!
//! Callers are raw connections, so that it is known exactly when a request was written and what became of it. Limits: "written
//! before the signal" means that the kernel had taken the request's last byte before SIGTERM was sent. To the longest time that
//! something may take is added for how long the machine stood still meanwhile.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{App, Options, Pauses, Proxy, Redis, eventually};
use crate::keys::patient;

const PATIENCE: Duration = Duration::from_secs(10);

fn increment(key: &str) -> Vec<u8> {
    let body = format!(r#"["INCR","{key}"]"#);
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One answer, body included; `None` when the connection ended, cleanly or not, before it was complete.
async fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if length.is_some_and(|length| body.len() >= length) {
                return Some(text);
            }
        }
        match tokio::time::timeout(PATIENCE, stream.read_buf(&mut bytes)).await.expect("nobody hangs") {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

/// What became of the requests of one caller.
#[derive(Debug, Default)]
struct Books {
    acknowledged: i64,
    not_executed: i64,
    /// When each request was written that got no answer.
    unanswered: Vec<Instant>,
}

/// A caller on a keep-alive connection, on a beat of its own, until nobody listens any more.
async fn caller(address: SocketAddr, beat: Duration, stop: Arc<AtomicBool>) -> Books {
    let mut books = Books::default();
    let mut beat = tokio::time::interval(beat);
    let mut connection: Option<TcpStream> = None;
    let request = increment("drained");
    while !stop.load(Ordering::Relaxed) {
        beat.tick().await;
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                // The kernel had taken it in, and the listener closed before this was looked at.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                Err(error) => panic!("{error}"),
            },
        };
        if stream.write_all(&request).await.is_err() {
            continue;
        }
        let written = Instant::now();
        match answer(&mut stream).await {
            Some(text) if text.starts_with("HTTP/1.1 200") => books.acknowledged += 1,
            Some(text) if text.contains("not_executed") => books.not_executed += 1,
            Some(text) => panic!("neither acknowledged nor not executed: {text}"),
            None => {
                books.unanswered.push(written);
                continue;
            }
        }
        connection = Some(stream);
    }
    books
}

#[tokio::test]
async fn a_drain_finishes_what_was_admitted() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 31);
    let app = patient(&proxy.url())
        // Those who never say a word are closed by the drain, and not for their silence, however long all this takes.
        .set("server.client_request_timeout", "60s")
        // Time to see that it is unready, and to ask once more.
        .set("drain.delay", "2s")
        .set("drain.finish", "20s")
        .start()
        .await;
    // Some are always under way.
    proxy.delay(Duration::from_millis(2));
    let stop = Arc::new(AtomicBool::new(false));
    // 25 callers, 20 requests a second each: 500 requests/s.
    let callers: Vec<_> =
        (0..25).map(|_| tokio::spawn(caller(app.public(), Duration::from_millis(50), stop.clone()))).collect();
    let mut idle = Vec::new();
    for turn in 0..20 {
        let mut stream = TcpStream::connect(app.public()).await.expect("a connection");
        if turn % 2 == 0 {
            stream.write_all(&increment("idle")).await.expect("written");
            answer(&mut stream).await.expect("served");
        }
        idle.push(stream);
    }
    eventually(PATIENCE, async || proxy.count("INCR") > 500).await;

    let client = app.client();
    let signal = Instant::now();
    app.terminate();
    eventually(PATIENCE, async || client.probe("/readyz").await.status == 503).await;
    assert!(client.post_command(&["PING"]).await.is_success(), "unready is not deaf: drain.delay is not over");
    let status = app.exited().await;
    let took = signal.elapsed();
    assert_eq!(status.code(), Some(0));
    // Two seconds and a quarter, and what a busy machine adds.
    assert!(took < Duration::from_secs(8), "the drain took {took:?}");
    for mut stream in idle {
        let ended = stream.read(&mut [0]).await;
        assert!(matches!(ended, Ok(0)), "an idle connection ended with {ended:?}");
    }
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut not_executed, mut unanswered) = (0, 0, 0);
    for caller in callers {
        let books = caller.await.expect("a caller");
        let early = books.unanswered.iter().filter(|written| **written < signal).count();
        assert_eq!(early, 0, "requests written before the signal got no answer");
        acknowledged += books.acknowledged;
        not_executed += books.not_executed;
        unanswered += books.unanswered.len();
    }
    println!("{acknowledged} acknowledged, {not_executed} not executed, {unanswered} unanswered, {took:?}");
    assert!(acknowledged > 500);
    assert_eq!(redis.command(&["GET", "drained"]).await.integer(), acknowledged, "acknowledged and nothing else");
}

#[tokio::test]
async fn what_was_written_before_the_signal_is_answered_even_on_connections_nobody_has_seen_yet() {
    let redis = Redis::start(Options::default()).await;
    for round in 0..5 {
        let app = patient(&redis.url()).start().await;
        let mut crowd = Vec::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(app.public()).await.expect("a connection");
            stream.write_all(&increment(&format!("crowd:{round}"))).await.expect("written");
            crowd.push(stream);
        }
        app.terminate();
        for stream in &mut crowd {
            let text = answer(stream).await.expect("an answer, not a reset");
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
        assert_eq!(app.exited().await.code(), Some(0));
        assert_eq!(redis.command(&["GET", &format!("crowd:{round}")]).await.integer(), 100);
    }
}

#[tokio::test]
async fn drain_finish_is_kept_to_the_millisecond_that_it_says() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 33);
    let app = App::with_redis(&proxy.url())
        .set("drain.finish", "300ms")
        .set("requests.timeout", "20s")
        .set("attempt.timeout", "15s")
        .set("retry.attempts", 1)
        .set("breaker.window", "60s")
        .set("breaker.stall_after", "60s")
        .start()
        .await;
    let mut stream = TcpStream::connect(app.public()).await.expect("a connection");
    stream.write_all(&increment("n")).await.expect("written");
    answer(&mut stream).await.expect("served");
    proxy.only(&["INCR"]);
    proxy.hold_requests_of_everyone();
    stream.write_all(&increment("n")).await.expect("written");
    eventually(PATIENCE, async || proxy.requests_waiting() == 1).await;
    let (pauses, signal) = (Pauses::watch(), Instant::now());
    app.terminate();
    assert!(answer(&mut stream).await.is_none(), "nobody can have answered");
    let cut = signal.elapsed();
    assert_eq!(app.exited().await.code(), Some(0));
    let took = signal.elapsed();
    let paused = pauses.end().all;
    let longest = Duration::from_millis(1000) + paused;
    assert!((Duration::from_millis(300)..longest).contains(&cut), "cut after {cut:?}, paused for {paused:?}");
    assert!(took < Duration::from_millis(2000) + paused, "exit after {took:?}, paused for {paused:?}");
    assert!(app.log().contains("drain.finish is over"), "{}", app.log());
}

#[tokio::test]
async fn an_idle_service_stops_at_once() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let (pauses, signal) = (Pauses::watch(), Instant::now());
    assert_eq!(app.stop().await.code(), Some(0));
    let took = signal.elapsed();
    let paused = pauses.end().all;
    assert!(took < Duration::from_secs(1) + paused, "it took {took:?}, paused for {paused:?}");
    let refused = TcpStream::connect(app.public()).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_second_signal_exits_one_at_once() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("drain.delay", "60s").start().await;
    let client = app.client();
    app.terminate();
    eventually(PATIENCE, async || client.probe("/readyz").await.status == 503).await;
    assert!(app.is_running());
    let (pauses, second) = (Pauses::watch(), Instant::now());
    assert_eq!(app.stop().await.code(), Some(1));
    let took = second.elapsed();
    let paused = pauses.end().all;
    assert!(took < Duration::from_secs(1) + paused, "it took {took:?}, paused for {paused:?}");
}

#[tokio::test]
async fn answers_during_the_drain_ask_their_callers_to_go_elsewhere() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 35);
    let app = patient(&proxy.url()).set("server.workers", 1).start().await;
    let mut idle = TcpStream::connect(app.public()).await.expect("a connection");
    let mut stream = TcpStream::connect(app.public()).await.expect("a connection");
    for stream in [&mut idle, &mut stream] {
        stream.write_all(&increment("n")).await.expect("written");
        let before = answer(stream).await.expect("served").to_ascii_lowercase();
        assert!(!before.contains("connection: close"), "{before}");
    }
    proxy.only(&["INCR"]);
    proxy.hold_replies_of_everyone();
    proxy.reset_counts();
    stream.write_all(&increment("n")).await.expect("written");
    eventually(PATIENCE, async || proxy.count("INCR") == 1).await;
    app.terminate();
    // The one worker has told both connections of the drain when it closes the idle one.
    let ended = tokio::time::timeout(PATIENCE, idle.read(&mut [0])).await;
    assert!(matches!(ended, Ok(Ok(0))), "an idle connection ended with {ended:?}");
    proxy.release();
    let during = answer(&mut stream).await.expect("served").to_ascii_lowercase();
    assert!(during.starts_with("http/1.1 200") && during.contains("connection: close"), "{during}");
    assert!(matches!(stream.read(&mut [0]).await, Ok(0)), "closed politely");
    assert_eq!(app.exited().await.code(), Some(0));
}

/// Command lines of the processes that work below `directory`.
fn working_in(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory)) {
            found.push(std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " "));
        }
    }
    found
}

#[tokio::test]
async fn a_stop_leaves_no_process_behind() {
    let app = App::builder().start().await;
    let client = app.client();
    eventually(PATIENCE, async || client.put_key("k", "v").await.is_success()).await;
    let directory = app.data_directory().canonicalize().expect("a data directory");
    assert!(!working_in(&directory).is_empty(), "the embedded Redis works there");
    assert_eq!(app.stop().await.code(), Some(0));
    assert_eq!(working_in(&directory), Vec::<String>::new());
}
