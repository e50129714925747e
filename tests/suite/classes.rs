//! The README's table, row by row: what each class of call is told when its reply is lost, and when Redis is down.
//!
//! Why so: whether a call may be sent again is the product's first promise, and the only witness is the wire. The
//! proxy loses the connection after Redis executed, instead of the reply, and counts what passes; the answers are held
//! against its counts and against what Redis holds. Calls are made one after another, so the seed alone decides which
//! replies are lost.
//!
//! Limits: timeouts are set so wide that only losses end an attempt; slowness and freezing are told elsewhere.

use reqwest::Method;
use serde_json::json;
use std::time::Duration;

use crate::harness::{Answer, App, Client, Options, Proxy, Redis, eventually};
use crate::keys::{patient, problem};

/// Longest wait for the breakers to notice, and for service to return.
const SOON: Duration = Duration::from_secs(10);

/// A service whose link to Redis loses what it is told to; the functions are in place.
pub async fn service(seed: u64) -> (Redis, Proxy, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, seed);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    // A call that finds no functions brings them and is made again: once too often for whoever counts.
    client.settled().await;
    (redis, proxy, app, client)
}

/// Loses this share of the replies to commands of these names from now on, and counts anew.
pub fn lose(proxy: &Proxy, share: f64, names: &[&str]) {
    proxy.only(names);
    proxy.lose_connection_instead_of_reply(share);
    proxy.reset_counts();
}

async fn delete(client: &Client, path: &str) -> Answer {
    client.send(client.request(Method::DELETE, path)).await
}

/// Checks that the answer, of either dialect, leaves it open whether the call took effect.
#[track_caller]
fn assert_unknown(answer: &Answer, call: &str) {
    assert_eq!((answer.status, answer.outcome()), (504, "unknown"), "{call}: {}", answer.text());
    assert_eq!(answer.retry_after, None, "{call}: nobody is invited to send it again");
    match answer.header("content-type") {
        Some("application/problem+json") => {
            let document = problem(answer, 504, "outcome_unknown");
            assert_eq!((&document["retryable"], &document["attempts"]), (&json!(false), &json!(1)), "{call}");
        }
        _ => assert!(answer.json()["error"].as_str().is_some_and(|text| text.contains("may have been")), "{call}"),
    }
}

/// Sends one command whose reply is lost, and checks that it was sent once and the caller told `unknown`.
async fn assert_sent_once_and_unknown(proxy: &Proxy, client: &Client, call: &str) {
    let command: Vec<&str> = call.split(' ').collect();
    lose(proxy, 1.0, &command[..1]);
    assert_unknown(&client.post_command(&command).await, call);
    assert_eq!((proxy.count(command[0]), proxy.injected().replies_lost), (1, 1), "{call}: {:?}", proxy.history());
}

#[tokio::test]
async fn a_read_is_retried_when_its_reply_is_lost() {
    let (redis, proxy, _app, client) = service(11).await;
    redis.command(&["SET", "k", "42"]).await;
    lose(&proxy, 0.15, &["GET", "FCALL_RO"]);
    for turn in 0..15 {
        assert_eq!(client.post_command(&["GET", "k"]).await.result(), "42", "{turn}");
        assert_eq!(client.get_key("k").await.text(), "42", "{turn}");
        assert_eq!(client.head_key("k").await.header("content-length"), Some("2"), "{turn}");
        assert_eq!(client.get("/v1/counters/k").await.json(), json!({ "value": 42 }), "{turn}");
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 0);
    assert_eq!(proxy.count("GET") + proxy.count("FCALL_RO"), 60 + lost, "each lost reply costs one more attempt");
}

#[tokio::test]
async fn a_stable_write_is_fenced_and_retried_when_its_reply_is_lost() {
    let (redis, proxy, _app, client) = service(2).await;
    for turn in 0..10 {
        redis.command(&["MSET", &format!("gone{turn}"), "x", &format!("counter{turn}"), "7"]).await;
    }
    lose(&proxy, 0.15, &["SET", "GETDEL"]);
    for turn in 0..10 {
        let answer = client.post_command(&["SET", &format!("set{turn}"), "v"]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = client.put_key(&format!("put{turn}"), "v").await;
        assert!(matches!(answer.status, 201 | 204), "{} {}", answer.status, answer.text());
        let answer = client.delete_key(&format!("gone{turn}")).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        let answer = delete(&client, &format!("/v1/counters/counter{turn}")).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    for turn in 0..10 {
        let [set, put, gone, counter] = ["set", "put", "gone", "counter"].map(|kind| format!("{kind}{turn}"));
        assert_eq!(redis.command(&["EXISTS", &set, &put]).await, 2);
        assert_eq!(redis.command(&["EXISTS", &gone, &counter]).await, 0);
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 0);
    assert_eq!(resent_behind_a_fence(&proxy, &["SET", "GETDEL"]), lost, "each lost reply costs one more attempt");
}

/// How often a call of these was sent again. Panics if one was without `CLIENT KILL` between it and the one before.
pub fn resent_behind_a_fence(proxy: &Proxy, names: &[&str]) -> u64 {
    let lines: Vec<String> = proxy.history().into_iter().map(|(_, line)| line).collect();
    let mut resent = 0;
    let of_these = |line: &str| names.iter().any(|name| line.split(' ').next() == Some(name));
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| of_these(line)) {
        if let Some(before) = lines[..at].iter().rposition(|earlier| earlier == line) {
            let fenced = lines[before..at].iter().any(|between| between == "CLIENT KILL");
            assert!(fenced, "{line} was sent again without a fence: {:?}", &lines[before..=at]);
            resent += 1;
        }
    }
    resent
}

#[tokio::test]
async fn an_unstable_write_is_unknown_when_its_reply_is_lost() {
    let (redis, proxy, _app, client) = service(13).await;
    redis.command(&["MSET", "deleted", "x", "unlinked", "x", "dated", "x"]).await;
    for call in
        ["DEL deleted", "UNLINK unlinked", "SADD set a b", "HSETNX hash f v", "EXPIRE dated 1000", "ZADD zset 1 m"]
    {
        assert_sent_once_and_unknown(&proxy, &client, call).await;
    }
    assert_eq!(redis.command(&["EXISTS", "deleted", "unlinked"]).await, 0, "each had run all the same");
    assert_eq!(redis.command(&["EXISTS", "set", "hash", "zset", "dated"]).await, 4);
    assert!(redis.command(&["TTL", "dated"]).await.integer() > 0);
    proxy.heal();
    assert_eq!(client.post_command(&["DEL", "set"]).await.result(), 1);
}

#[tokio::test]
async fn a_conditional_write_is_unknown_when_its_reply_is_lost() {
    let (redis, proxy, _app, client) = service(14).await;
    redis.command(&["MSET", "there", "old", "from", "x", "taken", "x"]).await;
    for call in [
        "SET fresh v NX",
        "set there new XX",
        "SET there newest GET",
        "SETNX other v",
        "RENAME from to",
        "GETDEL taken",
        "EXPIRE there 1000 NX",
    ] {
        assert_sent_once_and_unknown(&proxy, &client, call).await;
    }
    assert_eq!(
        redis.command(&["MGET", "fresh", "there", "other", "to", "taken"]).await.to_string(),
        "v,newest,v,x,(nil)"
    );
    proxy.heal();
    assert_eq!(client.post_command(&["SET", "fresh", "v", "NX"]).await.json(), json!({ "result": null }));
}

#[tokio::test]
async fn an_increment_is_never_sent_twice() {
    let (redis, proxy, _app, client) = service(15).await;
    let calls = 20;
    lose(&proxy, 0.2, &["INCR", "INCRBY", "LPUSH", "NOSUCH"]);
    let mut unknown = 0;
    for turn in 0..calls {
        for answer in [
            client.post_command(&["INCR", "incr"]).await,
            client.increment("counter", 1).await,
            client.post_command(&["LPUSH", "list", "x"]).await,
            client.post_command(&["NOSUCH"]).await,
        ] {
            match answer.status {
                504 => assert_unknown(&answer, &format!("turn {turn}")),
                status => assert!(matches!(status, 200 | 400), "{} {}", answer.status, answer.text()),
            }
            unknown += u64::from(answer.status == 504);
        }
    }
    assert!(unknown > 0);
    assert_eq!(proxy.injected().replies_lost, unknown);
    for name in ["INCR", "INCRBY", "LPUSH", "NOSUCH"] {
        assert_eq!(proxy.count(name), calls, "{name}");
    }
    assert_eq!(redis.command(&["MGET", "incr", "counter"]).await.to_string(), "20,20");
    assert_eq!(redis.command(&["LLEN", "list"]).await, 20);
}

#[tokio::test]
async fn half_a_reply_to_an_increment_is_no_reply() {
    let (redis, proxy, _app, client) = service(16).await;
    proxy.only(&["INCR"]);
    proxy.half_a_frame(1.0);
    assert_unknown(&client.post_command(&["INCR", "n"]).await, "INCR");
    assert_eq!((proxy.count("INCR"), proxy.injected().halves), (1, 1));
    assert_eq!(redis.command(&["GET", "n"]).await, "1");
}

#[tokio::test]
async fn a_batch_is_unknown_as_a_whole_when_its_reply_is_lost() {
    let (redis, proxy, _app, client) = service(17).await;
    let batches: [(&str, &[&[&str]]); 3] = [
        ("INCR", &[&["SET", "a", "1"], &["INCR", "n"], &["GET", "a"]]),
        ("GET", &[&["SET", "b", "1"], &["GET", "b"], &["BLPOP", "k", "1"]]),
        ("SET", &[&["SET", "c", "1"], &["SET", "d", "1"]]),
    ];
    for (lost, batch) in batches {
        lose(&proxy, 1.0, &[lost]);
        assert_unknown(&client.pipeline(batch).await, lost);
        let names = ["SET", "INCR", "GET"];
        let sent = batch.iter().filter(|command| names.contains(&command[0])).count();
        assert_eq!(names.map(|name| proxy.count(name)).iter().sum::<u64>(), sent as u64, "each was sent once");
    }
    assert_eq!(redis.command(&["MGET", "a", "n", "b", "c"]).await.to_string(), "1,1,1,1");
}

#[tokio::test]
async fn a_batch_of_reads_is_retried_when_its_reply_is_lost() {
    let (redis, proxy, _app, client) = service(18).await;
    redis.command(&["SET", "k", "v"]).await;
    lose(&proxy, 0.2, &["GET"]);
    for turn in 0..30 {
        let answer = client.pipeline(&[&["EXISTS", "k"], &["GET", "k"], &["BLPOP", "l", "1"]]).await;
        assert_eq!(answer.status, 200, "{turn}: {}", answer.text());
        assert_eq!((&answer.json()[0]["result"], &answer.json()[1]["result"]), (&json!(1), &json!("v")), "{turn}");
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 0);
    assert_eq!(proxy.count("GET"), 30 + lost);
}

#[tokio::test]
async fn the_outcome_is_the_worst_over_all_attempts() {
    let (redis, proxy, _app, client) = service(19).await;
    client.post_command(&["PING"]).await;
    for (key, maxmemory, expected) in [("lifted", "0", (200, "")), ("sticky", "1", (504, "unknown"))] {
        proxy.only(&["SET"]);
        proxy.reset_counts();
        proxy.hold_replies_of_everyone();
        let call = tokio::spawn({
            let client = client.clone();
            async move { client.post_command(&["SET", key, "v"]).await }
        });
        eventually(SOON, async || redis.command(&["GET", key]).await == "v").await;
        // The first attempt has run; the second will be answered by a Redis that is full, and says that it refused.
        redis.command(&["CONFIG", "SET", "maxmemory", maxmemory]).await;
        proxy.cut();
        proxy.release();
        let answer = call.await.expect("an answer");
        assert_eq!((answer.status, answer.outcome()), expected, "{key}: {}", answer.text());
        assert_eq!(proxy.count("SET"), 2, "{key}: {:?}", proxy.history());
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    lose(&proxy, 1.0, &["SET"]);
    let answer = client.put_key("k", "v").await;
    assert_eq!(problem(&answer, 504, "outcome_unknown")["attempts"], proxy.count("SET"));
    assert!(proxy.count("SET") > 1, "one attempt more than the first was lost, too");
}

/// One call of every row of the table, in both dialects, on keys of their own.
async fn one_of_each_class(client: &Client) -> Vec<(&'static str, Answer)> {
    vec![
        ("read", client.post_command(&["GET", "down"]).await),
        ("read of a key", client.get_key("down").await),
        ("read of a counter", client.get("/v1/counters/down").await),
        ("stable write", client.post_command(&["SET", "down", "v"]).await),
        ("put of a key", client.put_key("down:put", "v").await),
        ("delete of a key", client.delete_key("kept:key").await),
        ("delete of a counter", delete(client, "/v1/counters/kept:counter").await),
        ("unstable write", client.post_command(&["SADD", "down:set", "m"]).await),
        ("unstable delete", client.post_command(&["DEL", "kept:key"]).await),
        ("conditional write", client.post_command(&["SET", "down:nx", "v", "NX"]).await),
        ("increment", client.post_command(&["INCR", "down:incr"]).await),
        ("increment of a counter", client.increment("down:counter", 1).await),
        ("push", client.post_command(&["LPUSH", "down:list", "x"]).await),
        ("unknown command", client.post_command(&["NOSUCH"]).await),
        ("script", client.post_command(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "down:eval"]).await),
        ("batch of reads", client.pipeline(&[&["GET", "down"], &["EXISTS", "down"]]).await),
        ("batch of writes", client.pipeline(&[&["GET", "down"], &["INCR", "down:batch"]]).await),
    ]
}

#[tokio::test]
async fn every_class_is_refused_as_not_executed_while_redis_is_down() {
    let redis = Redis::start(Options::default().durable()).await;
    // Each write waits for the disk. That Redis is gone is seen by the connects that fail, whatever the timeouts.
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    assert_eq!(client.put_key("kept:key", "v").await.status, 201);
    assert_eq!(client.increment("kept:counter", 7).await.status, 200);

    redis.kill9();
    client.until_both_lanes_refuse().await;
    for (call, answer) in one_of_each_class(&client).await {
        assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{call}: {}", answer.text());
        assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1), "{call}: {:?}", answer.headers);
        if answer.header("content-type") == Some("application/problem+json") {
            assert_eq!(problem(&answer, 503, "circuit_open")["retryable"], true, "{call}");
        } else {
            assert!(answer.json()["error"].as_str().is_some_and(|text| text.contains("not executed")), "{call}");
        }
    }

    redis.restart().await;
    client.until_both_lanes_serve().await;
    assert_eq!(client.post_command(&["SET", "back", "v"]).await.status, 200);
    let kept = redis.command(&["MGET", "kept:key", "kept:counter"]).await.to_string();
    assert_eq!(kept, "v,7", "what was refused is never applied");
    assert_eq!(redis.command(&["KEYS", "down*"]).await.items().len(), 0, "what was refused is never applied");
}
