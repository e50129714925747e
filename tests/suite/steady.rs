//! What must never open a breaker, and what must.
//!
//! Callers cannot steer it: their mistakes, their impatience, a full memory are no sign of a broken server; a server that is
//! loading its data is. Limits: one Redis, real replies.

use std::time::Duration;

use crate::harness::{App, Client, Options, Proxy, Redis, eventually};
use crate::keys::patient;

async fn openings(client: &Client) -> u64 {
    let status = client.status().await;
    let breakers = status["breakers"].as_array().expect("breakers").clone();
    breakers.iter().map(|breaker| breaker["opened_total"].as_u64().expect("a count")).sum()
}

#[tokio::test]
async fn an_impatient_caller_opens_no_breaker() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 2);
    // A machine that stands still for a moment is no caller's doing.
    let app = App::with_redis(&proxy.url()).set("breaker.stall_after", "5s").start().await;
    // On one connection, whose worker is connected to Redis by then: who waits for that sends nothing in time.
    let client = app.client();
    eventually(Duration::from_secs(10), async || client.put_key("k", "v").await.is_success()).await;
    // Every reply comes too late for these callers, and in good time for Redis. Their time is enough to send.
    proxy.delay(Duration::from_millis(50));
    let hurried = client.timeout_ms(5);
    let mut late = 0;
    for turn in 0..300 {
        let answer =
            if turn % 2 == 0 { hurried.get_key("k").await } else { hurried.post_command(&["INCR", "n"]).await };
        assert!(matches!(answer.status, 200 | 503 | 504), "{} {}", answer.status, answer.text());
        late += u32::from(answer.status == 504);
    }
    assert!(late > 250, "only {late} of 300 were late");
    assert_eq!(openings(&client).await, 0);
}

#[tokio::test]
async fn callers_mistakes_open_no_breaker() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    redis.command(&["RPUSH", "list", "x"]).await;
    for _ in 0..400 {
        let answer = client.post_command(&["INCR", "list"]).await;
        assert_eq!((answer.status, answer.outcome()), (400, "not_executed"));
        assert!(answer.text().contains("WRONGTYPE"), "{}", answer.text());
    }
    assert_eq!(openings(&client).await, 0);
}

#[tokio::test]
async fn a_full_memory_opens_no_breaker() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    assert_eq!(client.put_key("victim", "v").await.status, 201);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for _ in 0..100 {
        let answer = client.post_command(&["SET", "k", "v"]).await;
        assert_eq!((answer.status, answer.outcome()), (507, "not_executed"), "{}", answer.text());
    }
    assert_eq!(client.put_key("other", "v").await.json()["code"], "out_of_memory");
    assert_eq!(openings(&client).await, 0);
    assert_eq!(client.delete_key("victim").await.status, 204, "the cure is not refused");
}

/// A Redis with a snapshot that takes about two seconds to load: 2000 keys, a millisecond each. It hears us between any two of
/// them, as each is larger than the interval: packed together they would let it hear us a few dozen times in all.
async fn slow_to_load() -> Redis {
    let options = Options::default()
        .set("key-load-delay", "1000")
        .set("rdbcompression", "no")
        .set("loading-process-events-interval-bytes", "1024")
        .plain("it loads a snapshot, and there only the append-only file is kept");
    let redis = Redis::start(options).await;
    let script = "for i = 1, 2000 do redis.call('SET', 'k' .. i, string.rep('x', 1100)) end";
    redis.command(&["EVAL", script, "0"]).await;
    redis.command(&["SAVE"]).await;
    redis
}

/// Connects, and whatever is allowed while loading, succeed; nobody calls, so no breaker can tell either.
#[tokio::test]
async fn a_loading_redis_is_not_called_reachable_though_nobody_calls() {
    let redis = slow_to_load().await;
    let app = App::with_redis(&redis.url()).set("breaker.connect_failures", 100).start().await;
    let client = app.client();
    eventually(Duration::from_secs(5), async || client.status().await["status"] == "pass").await;
    redis.kill9();
    eventually(Duration::from_secs(5), async || client.status().await["status"] != "pass").await;
    let restarted = redis.restart();
    tokio::pin!(restarted);
    let mut looks = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut restarted => break,
            status = client.status() => {
                let ping = redis.try_command(&["PING"]).await;
                if matches!(&ping, Ok(reply) if reply.is_error() && reply.to_string().contains("LOADING")) {
                    assert_ne!(status["status"], "pass", "Redis is loading: {status}");
                    looks += 1;
                }
            }
        }
    }
    assert!(looks > 0, "Redis was seen loading");
    eventually(Duration::from_secs(5), async || client.status().await["status"] == "pass").await;
}

#[tokio::test]
async fn a_loading_redis_opens_the_breaker() {
    let redis = slow_to_load().await;
    let app = App::with_redis(&redis.url()).set("breaker.connect_failures", 100).start().await;
    let client = app.client();
    redis.kill9();
    let restarted = redis.restart();
    tokio::pin!(restarted);
    let mut loading = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut restarted => break,
            answer = client.post_command(&["GET", "k1"]) => {
                loading += u32::from(answer.text().contains("LOADING"));
                if loading > 0 && client.breaker("redis.read").await != "closed" {
                    break;
                }
            }
        }
    }
    assert!(loading > 0, "Redis was seen loading");
    assert!(openings(&client).await > 0, "{loading} LOADING answers and no breaker opened");
    restarted.await;
    eventually(Duration::from_secs(5), async || client.get_key("k1").await.status == 200).await;
}
