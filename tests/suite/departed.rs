//! Callers who leave: what they asked for and was not yet written to Redis is never written (D5).
//!
//! There are three places to wait in: the bulkhead's queue, the queue for a connection, and the driver behind a full socket.
//! Each test fills one of them while Redis does not move, lets all callers hang up, sets Redis free and counts. Limits: what was
//! written before they left cannot be called back and is allowed for.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::app::{Builder, ROOT_TOKEN};
use crate::harness::{App, Client, Options, Proxy, Redis, eventually};

const CALLERS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);

/// One worker with one connection, and no detector that would end the waiting before the callers do.
fn patient(url: &str, in_flight: usize) -> Builder {
    App::with_redis(url)
        .set("server.workers", 1)
        .set("redis.connections_per_worker", 1)
        .set("redis.in_flight_per_connection", in_flight)
        .set("redis.acquire_timeout", "10s")
        .set("redis.connect_timeout", "30s")
        .set("requests.timeout", "30s")
        .set("attempt.timeout", "25s")
        .set("retry.attempts", 1)
        .set("breaker.window", "60s")
        .set("breaker.minimum_calls", 100_000)
        .set("breaker.stall_after", "60s")
        .set("breaker.connect_failures", 100)
}

/// Callers who have asked and wait for an answer.
async fn callers(app: &App, command: impl Fn(usize) -> String) -> Vec<TcpStream> {
    let client = app.client();
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let mut stream = TcpStream::connect(app.public()).await.expect("a connection");
        let body = command(caller);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("the request is sent");
        callers.push(stream);
        if caller == 0 {
            // So that the first of the list is the first to be served. Where detectors are on, they may have ended it unseen.
            eventually(PATIENCE, async || {
                used(&client, "redis_in_flight").await == 1 || client.both_lanes_refuse().await
            })
            .await;
        }
    }
    eventually(PATIENCE, async || used(&client, "connections").await as usize >= CALLERS).await;
    callers
}

async fn used(client: &Client, limit: &str) -> u64 {
    let status = client.status().await;
    status["limits"][limit]["used"].as_u64().unwrap_or_else(|| panic!("no {limit} in {status}"))
}

/// All hang up, the last in the queue first, so that no place becomes free for one who is still there; and the service has
/// noticed.
async fn leave(client: &Client, mut callers: Vec<TcpStream>) {
    callers.truncate(1);
    eventually(PATIENCE, async || used(client, "redis_waiting").await == 0).await;
    drop(callers);
    eventually(PATIENCE, async || {
        // The one that asks keeps a connection alive.
        used(client, "connections").await <= 1
            && used(client, "redis_waiting").await == 0
            && used(client, "redis_in_flight").await == 0
    })
    .await;
}

/// Waits until the proxy has counted what the service had written by now: all that came in has its turn, and this came last.
async fn until_counted(proxy: &Proxy) {
    let mut last = TcpStream::connect(proxy.address()).await.expect("a connection");
    last.write_all(b"*1\r\n$4\r\nECHO\r\n").await.expect("it is written");
    eventually(PATIENCE, async || proxy.count("ECHO") == 1).await;
}

#[tokio::test]
async fn callers_who_leave_the_queue_are_never_sent() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 21);
    let app = patient(&proxy.url(), 1).start().await;
    app.client().settled().await;
    let client = app.client();
    assert!(client.put_key("warm", "v").await.is_success());
    proxy.freeze();
    let callers = callers(&app, |_| r#"["INCR","n"]"#.to_owned()).await;
    eventually(PATIENCE, async || used(&client, "redis_waiting").await as usize == CALLERS - 1).await;
    assert_eq!(used(&client, "redis_in_flight").await, 1);
    leave(&client, callers).await;
    proxy.thaw();
    eventually(PATIENCE, async || client.get_key("warm").await.status == 200).await;
    let sent = proxy.count("INCR");
    assert!(sent <= 1, "{sent} increments of callers who had left were written");
    assert!(redis.command(&["STRLEN", "n"]).await.integer() <= 1, "a counter below ten has one digit");
}

fn all_threads_stand_still(process: u32) -> bool {
    std::fs::read_dir(format!("/proc/{process}/task")).expect("a process").flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    })
}

/// They leave all at once, as when a proxy before us dies: their hanging up is read together, and each place that becomes free is
/// offered to one whose end is known already.
#[tokio::test]
async fn callers_who_left_together_are_never_sent() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 24);
    let app = patient(&proxy.url(), 1).start().await;
    app.client().settled().await;
    let client = app.client();
    assert!(client.put_key("warm", "v").await.is_success());
    proxy.freeze();
    let callers = callers(&app, |_| r#"["INCR","n"]"#.to_owned()).await;
    eventually(PATIENCE, async || used(&client, "redis_waiting").await as usize == CALLERS - 1).await;
    let service = Pid::from_raw(app.pid().cast_signed()).expect("a process id");
    kill_process(service, Signal::STOP).expect("SIGSTOP");
    eventually(PATIENCE, async || all_threads_stand_still(app.pid())).await;
    drop(callers);
    kill_process(service, Signal::CONT).expect("SIGCONT");
    leave(&client, Vec::new()).await;
    proxy.thaw();
    eventually(PATIENCE, async || client.get_key("warm").await.status == 200).await;
    let sent = proxy.count("INCR");
    assert!(sent <= 1, "{sent} increments of callers who had left were written");
}

#[tokio::test]
async fn callers_who_leave_while_there_is_no_connection_are_never_sent() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 22);
    let app = patient(&proxy.url(), CALLERS).start().await;
    app.client().settled().await;
    let client = app.client();
    // Nobody has asked yet, so this worker has no connection, and gets none while nothing moves.
    proxy.freeze();
    let callers = callers(&app, |_| r#"["INCR","n"]"#.to_owned()).await;
    eventually(PATIENCE, async || used(&client, "redis_in_flight").await as usize == CALLERS).await;
    leave(&client, callers).await;
    proxy.thaw();
    eventually(PATIENCE, async || client.put_key("after", "v").await.is_success()).await;
    assert_eq!(proxy.count("INCR"), 0, "increments of callers who had left were written");
}

#[tokio::test]
async fn callers_who_leave_behind_a_full_socket_are_never_sent() {
    let redis = Redis::start(Options::default()).await;
    // No TCP: a peer whose window is shut for as long as a busy machine takes for all this is given up by the kernel.
    let sign_in = redis.sign_in().map_or_else(String::new, |(user, password)| format!("?user={user}&pass={password}"));
    let app = patient(&format!("unix://{}{sign_in}", redis.socket().display()), CALLERS).start().await;
    app.client().settled().await;
    let client = app.client();
    assert!(client.put_key("warm", "v").await.is_success());
    redis.freeze();
    // Twenty-five megabytes; the socket between us and Redis holds less than one of them.
    let value = "x".repeat(128 << 10);
    let callers = callers(&app, |caller| format!(r#"["SET","departed:{caller}","{value}"]"#)).await;
    eventually(PATIENCE, async || used(&client, "redis_in_flight").await as usize == CALLERS).await;
    leave(&client, callers).await;
    redis.thaw();
    eventually(PATIENCE, async || client.get_key("warm").await.status == 200).await;
    let written = redis.keys_of_callers().await - 1;
    println!("{written} of {CALLERS} were in the sockets when their callers left");
    assert!(written < CALLERS / 2, "{written} of {CALLERS} were written");
    assert_eq!(client.post_command(&["INCR", "n"]).await.status, 200);
    assert_eq!(redis.keys_of_callers().await - 2, written, "more came later");
}

#[tokio::test]
async fn two_hundred_callers_who_leave_a_frozen_redis_are_not_sent_after_it_thaws() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 23);
    // As it comes out of the box: detectors, queues and all.
    let app = App::with_redis(&proxy.url()).start().await;
    app.client().settled().await;
    let client = app.client();
    eventually(PATIENCE, async || client.put_key("warm", "v").await.is_success()).await;
    redis.freeze();
    let callers = callers(&app, |_| r#"["INCR","n"]"#.to_owned()).await;
    leave(&client, callers).await;
    until_counted(&proxy).await;
    let written = proxy.count("INCR");
    redis.thaw();
    eventually(PATIENCE, async || client.put_key("after", "v").await.is_success()).await;
    assert_eq!(proxy.count("INCR"), written, "increments were written after their callers had left");
}
