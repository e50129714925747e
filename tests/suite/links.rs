//! Connections that go bad alone: stuck, demoted, lost, starved by large transfers. Nothing opens, and callers hardly notice.
//!
//! Each of these once opened breakers for everyone or went on failing for half an hour. Limits: one gateway, one or two servers.

use std::time::Duration;

use crate::harness::{App, Client, Options, Proxy, Redis, eventually};

async fn openings(client: &Client) -> u64 {
    let status = client.status().await;
    let breakers = status["breakers"].as_array().expect("breakers").clone();
    breakers.iter().map(|breaker| breaker["opened_total"].as_u64().expect("a count")).sum()
}

/// A worker's two light connections and the keeper's heartbeat, and the one that asks.
const WHOLE: u32 = 4;

/// How many connections Redis has, once one more call has been made.
async fn connections(client: &Client, redis: &Redis) -> u32 {
    client.get_key("k").await;
    redis.info("clients").await["connected_clients"].parse().expect("a number")
}

#[tokio::test]
async fn a_stuck_connection_is_replaced_while_others_serve() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 4);
    let app = App::with_redis(&proxy.url()).set("server.workers", 1).start().await;
    let client = app.client();
    eventually(Duration::from_secs(5), async || client.put_key("k", "v").await.is_success()).await;
    eventually(Duration::from_secs(3), async || connections(&client, &redis).await >= WHOLE).await;
    // One of the worker's connections swallows its next request for good; the others answer.
    proxy.only(&["GETDEL"]);
    proxy.hold_requests();
    let answer = client.delete_key("absent").await;
    assert!(matches!(answer.status, 204 | 503 | 504), "{} {}", answer.status, answer.text());
    let healthy = eventually(Duration::from_secs(3), async || {
        let calls = (0..8).map(|_| client.get_key("k"));
        futures_util::future::join_all(calls)
            .await
            .iter()
            .all(|answer| answer.status == 200 && answer.elapsed < Duration::from_millis(300))
    })
    .await;
    assert!(healthy < Duration::from_secs(2), "served again after {healthy:?}");
    assert_eq!(openings(&client).await, 0);
}

#[tokio::test]
async fn a_worker_whose_connections_are_all_stuck_gets_new_ones() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 9);
    // So few calls that no ratio ever opens a breaker, which would replace every connection. And half a second is what a busy
    // machine may take for the keeper's question and its answer, without which it would be a stall of the server.
    let builder = App::with_redis(&proxy.url()).set("breaker.minimum_calls", 10_000).set("breaker.stall_after", "1s");
    let app = builder.set("server.workers", 1).start().await;
    let client = app.client();
    client.settled().await;
    eventually(Duration::from_secs(3), async || connections(&client, &redis).await >= WHOLE).await;
    // What swallows them goes on acknowledging; only the keeper, on a thread of its own, still hears from the server.
    proxy.only(&["GET"]);
    proxy.hold_requests();
    eventually(Duration::from_secs(30), async || client.get_key("k").await.status == 404).await;
    assert_eq!(openings(&client).await, 0);
}

#[tokio::test]
async fn a_demoted_primary_is_left_behind() {
    let options = Options::default().plain("one server replicates the other, and no user there may");
    let (old, new) = (Redis::start(options.clone()).await, Redis::start(options).await);
    let switch = Proxy::start(old.address(), 6);
    let app = App::with_redis(&switch.url()).start().await;
    let client = app.client();
    eventually(Duration::from_secs(5), async || client.put_key("k", "v").await.is_success()).await;
    // The old primary becomes a replica of the new one; its connections stay alive and refuse writes.
    let port = new.port().to_string();
    old.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    eventually(Duration::from_secs(5), async || client.put_key("k", "w").await.json()["code"] == "redis_unavailable")
        .await;
    old.command(&["REPLICAOF", "NO", "ONE"]).await;
    eventually(Duration::from_secs(3), async || client.put_key("k", "w").await.is_success()).await;
}

#[tokio::test]
async fn a_lost_connection_is_made_up_for() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("server.workers", 1).start().await;
    let client = app.client();
    eventually(Duration::from_secs(5), async || connections(&client, &redis).await == WHOLE).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    eventually(Duration::from_secs(5), async || connections(&client, &redis).await == WHOLE).await;
    assert_eq!(openings(&client).await, 0);
}

#[tokio::test]
async fn a_busy_script_alone_opens_no_breaker() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client().timeout_ms(5000);
    eventually(Duration::from_secs(5), async || client.put_key("k", "v").await.is_success()).await;
    // About half a second of work for Redis.
    let script = "local t = redis.call('TIME') local s = t[1] * 1000000 + t[2] \
                  repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] - s > 550000 return 'done'";
    let answer = client.post_command(&["EVAL", script, "0"]).await;
    assert_eq!((answer.status, answer.result()), (200, "done".into()), "{}", answer.text());
    assert_eq!(openings(&client).await, 0);
}

#[tokio::test]
async fn large_values_open_no_breaker() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    // Not larger: a server that must find a quarter of a gigabyte of fresh memory at once does stall, and one on a busy machine
    // does so earlier.
    redis.command(&["SETRANGE", "large", "8000000", "x"]).await;
    for _ in 0..6 {
        let calls = (0..4).map(|_| client.get_key("large"));
        for answer in futures_util::future::join_all(calls).await {
            assert!(matches!(answer.status, 200 | 503 | 504), "{}", answer.status);
        }
    }
    assert_eq!(openings(&client).await, 0, "{}", app.log());
}

#[tokio::test]
async fn a_pause_of_our_own_blames_nobody() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 8);
    // One worker, which is connected before the delay: over it a connect would take longer than a call waits for one. By a
    // write, since quick reads would hide the slow ones in the ratio that opens, which is nine of ten.
    let app = App::with_redis(&proxy.url()).set("server.workers", 1).start().await;
    let client = app.client();
    client.settled().await;
    assert!(client.put_key("other", "v").await.is_success());
    let pid = rustix::process::Pid::from_raw(app.pid() as i32).expect("a process");
    // Long enough for every call of a round to be on its way when the process stops, and answered when it goes on.
    proxy.delay(Duration::from_millis(100));
    // Until between the moment from which a call is slow and the end of its attempt, and until long after that.
    for pause in [275, 275, 300, 700] {
        proxy.reset_counts();
        let calls = tokio::spawn({
            let client = client.clone();
            async move { futures_util::future::join_all((0..20).map(|_| client.get_key("k"))).await }
        });
        eventually(Duration::from_secs(5), async || proxy.count("GET") >= 20).await;
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stopped");
        tokio::time::sleep(Duration::from_millis(pause)).await;
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("continued");
        for answer in calls.await.expect("answers") {
            assert_eq!(answer.status, 404, "{}", answer.text());
        }
    }
    assert_eq!(openings(&client).await, 0, "{}", app.log());
}
