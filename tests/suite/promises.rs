//! The promises of `docs/guarantees.md` that need one scene each and have no file of their own.
//!
//! Limits: times are bounded more widely where the machine's scheduler has a say; the sharp numbers are the benchmarks'.

use std::time::Duration;

use crate::harness::{App, Options, Proxy, Redis, Reply, eventually};
use crate::keys::patient;

/// Promise: refused.
const FAST: Duration = Duration::from_millis(10);

#[tokio::test]
async fn an_open_breaker_refuses_within_milliseconds() {
    let redis = Redis::start(Options::default()).await;
    let app =
        App::with_redis(&redis.url()).set("breaker.open_wait", "5s").set("breaker.open_wait_max", "5s").start().await;
    redis.kill9();
    app.client().until_both_lanes_refuse().await;
    // Several connections, so that both workers are asked.
    let callers: Vec<_> = (0..8).map(|_| app.client()).collect();
    let (mut slow, mut held_up) = (0, 0);
    for turn in 0..200 {
        let caller = &callers[turn / 2 % callers.len()];
        let answer = if turn % 2 == 0 { caller.get_key("k").await } else { caller.post_command(&["INCR", "n"]).await };
        assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
        slow += i32::from(answer.elapsed > FAST);
        // What any answer takes on this machine now, which has other things to do: this one asks nobody anything.
        held_up += i32::from(caller.without_token().get_key("k").await.elapsed > FAST);
    }
    // One in twenty. Counted, since of two rows of times one may just have the tenth hiccup and the other just not.
    assert!(slow <= 10 + 2 * held_up, "{slow} of 200 refusals took more than {FAST:?}, as did {held_up} other answers");
}

#[tokio::test]
async fn retry_after_is_the_remaining_wait_rounded_up() {
    let redis = Redis::start(Options::default()).await;
    // Long enough that no probe comes between: with it the wait begins anew.
    let app =
        App::with_redis(&redis.url()).set("breaker.open_wait", "30s").set("breaker.open_wait_max", "30s").start().await;
    let client = app.client();
    redis.kill9();
    client.until_both_lanes_refuse().await;
    let wait = async || {
        let status = client.status().await;
        let lanes = status["breakers"].as_array().cloned().unwrap_or_default();
        let read = lanes.into_iter().find(|lane| lane["name"] == "redis.read").expect("the read lane");
        read["retry_after_ms"].as_u64().expect("an open breaker says how long").div_ceil(1000)
    };
    // No wait is longer than thirty seconds: with all of it to come, whoever always told the longest would be right.
    eventually(Duration::from_secs(10), async || wait().await < 29).await;
    for _ in 0..20 {
        let (before, answer, after) = (wait().await, client.get_key("k").await, wait().await);
        let told = answer.retry_after.expect("a refusal says when to come back");
        assert!((after..=before).contains(&told), "told {told} s between {before} s and {after} s");
        assert!((1..29).contains(&told), "{told}");
    }
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    // Nothing but the deadline is to end a call here: by default the silence counts as a stall before the last one is over.
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    assert_eq!(client.put_key("k", "v").await.status, 201);
    proxy.hold_replies_of_everyone();
    // The same client and so the same worker, which has its connections: what cannot be sent in time is told otherwise.
    let hurried = client.timeout_ms(200);
    let mut soonest = [Duration::MAX; 2];
    for _ in 0..4 {
        let read = hurried.get_key("k").await;
        assert_eq!((read.status, read.outcome()), (504, "not_executed"), "{}", read.text());
        let write = hurried.post_command(&["INCR", "n"]).await;
        assert_eq!((write.status, write.outcome()), (504, "unknown"), "{}", write.text());
        for (soonest, answer) in soonest.iter_mut().zip([read, write]) {
            assert!(answer.elapsed >= Duration::from_millis(195), "too early: {:?}", answer.elapsed);
            *soonest = answer.elapsed.min(*soonest);
        }
    }
    // A service that ends calls late does so each time; a machine that is busy elsewhere, now and then.
    assert!(soonest.iter().all(|soonest| *soonest < Duration::from_millis(350)), "too late: {soonest:?}");
}

#[tokio::test]
async fn a_full_bulkhead_sheds_at_once() {
    const CALLS: usize = 12;
    const LATER: usize = 10;
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let app = patient(&proxy.url())
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
    // Two are in flight and three wait, up to five seconds; whoever came after them does not wait at all.
    for _ in 0..CALLS - 2 - 3 {
        let shed = calls.join_next().await.expect("a call").expect("the call ended");
        assert_eq!((shed.status, shed.outcome(), &shed.json()["code"]), (503, "not_executed", &"overloaded".into()));
        assert!(shed.retry_after.is_some());
        assert!(shed.elapsed < Duration::from_secs(3), "shed after {:?}: that is the queue's wait", shed.elapsed);
    }
    let (client, mut soonest) = (app.client(), Duration::MAX);
    for _ in 0..LATER {
        let shed = client.get_key("k").await;
        assert_eq!((shed.status, &shed.json()["code"]), (503, &"overloaded".into()));
        soonest = soonest.min(shed.elapsed);
    }
    // A busy machine is late with some; whoever waits for anything is late with each.
    assert!(soonest < Duration::from_millis(100), "none was shed at once, the first of them after {soonest:?}");
    proxy.release();
    while let Some(served) = calls.join_next().await {
        assert_eq!(served.expect("the call ended").status, 200, "who was in flight or waited is served");
    }
    let shed = client.metric("collective_shed_total", &[("reason", "bulkhead_full")]).await;
    assert_eq!(shed, Some((CALLS - 2 - 3 + LATER) as f64));
}

#[tokio::test]
async fn an_outcome_stays_unknown_when_later_attempts_find_nobody() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let app = patient(&proxy.url()).set("server.workers", 1).start().await;
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
    // As `patient`: every write waits for the disk, and one that is sent again for its slowness finds the key there.
    let mut app = App::builder()
        .set("redis.acquire_timeout", "5s")
        .set("attempt.timeout", "5s")
        .set("requests.timeout", "20s")
        .set("breaker.slow_call_after", "4s")
        .set("breaker.stall_after", "20s")
        .start()
        .await;
    // A start waits two seconds for the embedded Redis, and goes on without it.
    app.client().settled().await;
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
    let app = patient(&redis.url()).start().await;
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
