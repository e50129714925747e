//! The promises of `docs/guarantees.md` that need one scene each and have no file of their own.
//!
//! Limits: times are bounded more widely where the machine's scheduler has a say; the sharp numbers are the benchmarks'.

use std::time::Duration;

use crate::harness::{App, Options, Proxy, Redis, Reply, eventually};

#[tokio::test]
async fn an_open_breaker_refuses_within_milliseconds() {
    let redis = Redis::start(Options::default()).await;
    let app =
        App::with_redis(&redis.url()).set("breaker.open_wait", "5s").set("breaker.open_wait_max", "5s").start().await;
    let client = app.client();
    redis.kill9();
    client.until_both_lanes_refuse().await;
    let mut times = Vec::new();
    for turn in 0..200 {
        let answer = if turn % 2 == 0 { client.get_key("k").await } else { client.post_command(&["INCR", "n"]).await };
        assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
        times.push(answer.elapsed);
    }
    times.sort();
    let (median, most) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    assert!(most < Duration::from_millis(10), "95 of 100 refusals took up to {most:?}, the median {median:?}");
}

#[tokio::test]
async fn retry_after_is_the_remaining_wait_rounded_up() {
    let redis = Redis::start(Options::default()).await;
    let app =
        App::with_redis(&redis.url()).set("breaker.open_wait", "4s").set("breaker.open_wait_max", "4s").start().await;
    let client = app.client();
    redis.kill9();
    client.until_both_lanes_refuse().await;
    let wait = async || {
        let status = client.status().await;
        let lanes = status["breakers"].as_array().cloned().unwrap_or_default();
        let read = lanes.into_iter().find(|lane| lane["name"] == "redis.read").expect("the read lane");
        read["retry_after_ms"].as_u64().expect("an open breaker says how long").div_ceil(1000)
    };
    for _ in 0..20 {
        let (before, answer, after) = (wait().await, client.get_key("k").await, wait().await);
        let told = answer.retry_after.expect("a refusal says when to come back");
        assert!((after..=before).contains(&told), "told {told} s between {before} s and {after} s");
        assert!((1..=5).contains(&told), "{told}");
    }
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let app = App::with_redis(&proxy.url()).start().await;
    assert_eq!(app.client().put_key("k", "v").await.status, 201);
    proxy.hold_replies_of_everyone();
    let hurried = app.client().timeout_ms(120);
    let read = hurried.get_key("k").await;
    assert_eq!((read.status, read.outcome()), (504, "not_executed"), "{}", read.text());
    let write = hurried.post_command(&["INCR", "n"]).await;
    assert_eq!((write.status, write.outcome()), (504, "unknown"), "{}", write.text());
    for answer in [read, write] {
        assert!(answer.elapsed >= Duration::from_millis(115), "too early: {:?}", answer.elapsed);
        assert!(answer.elapsed < Duration::from_millis(350), "too late: {:?}", answer.elapsed);
    }
}

#[tokio::test]
async fn a_full_bulkhead_sheds_at_once() {
    const CALLS: usize = 12;
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let app = App::with_redis(&proxy.url())
        .set("server.workers", 1)
        .set("redis.connections_per_worker", 1)
        .set("redis.in_flight_per_connection", 2)
        .set("redis.queue", 3)
        .start()
        .await;
    assert_eq!(app.client().put_key("k", "v").await.status, 201);
    proxy.hold_replies_of_everyone();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let client = app.client();
        calls.spawn(async move { client.get_key("k").await });
    }
    let mut shed = Vec::new();
    while let Some(answer) = calls.join_next().await {
        let answer = answer.expect("the call ended");
        if answer.json()["code"] == "overloaded" {
            assert_eq!((answer.status, answer.outcome()), (503, "not_executed"));
            assert!(answer.retry_after.is_some());
            shed.push(answer.elapsed);
        }
    }
    // Two are in flight and three wait; whoever came after them did not wait at all.
    shed.sort();
    let at_once = shed.get(CALLS - 2 - 3 - 1).unwrap_or_else(|| panic!("only {} were shed", shed.len()));
    assert!(*at_once < Duration::from_millis(200), "shed after {at_once:?}: that is the queue's wait");
    assert_eq!(app.client().metric("collective_shed_total", &[("reason", "bulkhead_full")]).await, Some(7.0));
}

#[tokio::test]
async fn an_outcome_stays_unknown_when_later_attempts_find_nobody() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let app = App::with_redis(&proxy.url()).set("server.workers", 1).start().await;
    let client = app.client();
    assert_eq!(client.post_command(&["SET", "k", "before"]).await.status, 200);
    // The first attempt is run and its reply lost; every later one finds nobody, which alone would be `not_executed`.
    proxy.only(&["SET"]);
    proxy.refuse();
    proxy.lose_connection_instead_of_reply(1.0);
    let answer = client.post_command(&["SET", "k", "after"]).await;
    assert_eq!((answer.status, answer.outcome()), (504, "unknown"), "{}", answer.text());
    assert_eq!(redis.command(&["GET", "k"]).await, "after", "it had been executed, so `not_executed` were a lie");
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_nine_of_both() {
    let mut app = App::builder().start().await;
    for number in 0..50 {
        let answer = app.client().put_key(&format!("kept:{number}"), format!("value {number}")).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let child = std::fs::read_to_string(app.data_directory().join("redis.pid")).expect("the child's id");
    let child = child.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    app.kill9();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("the child is alive until now");
    app.restart().await;
    let client = app.client();
    eventually(Duration::from_secs(10), async || client.get_key("kept:0").await.status == 200).await;
    for number in 0..50 {
        let answer = client.get_key(&format!("kept:{number}")).await;
        assert_eq!((answer.status, answer.text()), (200, format!("value {number}")));
    }
    assert_eq!(app.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_frame_of_the_protocol_in_a_key_a_value_or_a_name_stays_data() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    let hostile = "\r\n*3\r\n$3\r\nSET\r\n$6\r\nstolen\r\n$1\r\n1\r\n";
    assert_eq!(client.put_key("by-resource", hostile).await.status, 201);
    assert_eq!(client.post_command(&["SET", "by-command", hostile]).await.result(), "OK");
    assert_eq!(client.post_command(&["SET", hostile, "v"]).await.result(), "OK");
    assert_eq!(client.pipeline(&[&["SET", "by-pipeline", hostile], &["GET", hostile]]).await.status, 200);
    assert_eq!(client.increment(&format!("n{hostile}"), 1).await.json()["value"], 1);
    for key in ["by-resource", "by-command", "by-pipeline"] {
        assert_eq!(redis.command(&["GET", key]).await, hostile, "{key}");
        assert_eq!(client.get_key(key).await.body, hostile.as_bytes(), "{key}");
    }
    assert_eq!(redis.command(&["EXISTS", "stolen"]).await, Reply::Integer(0));
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(client.put_key("bytes", every_byte.clone()).await.status, 201);
    assert_eq!(client.get_key("bytes").await.body, every_byte);
}
