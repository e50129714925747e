//! What calls that run code are told: a script may answer anything, after any effect, and none of it is Redis' own word.
//!
//! Why so: `BUSY` or `LOADING` from Redis means that nothing ran; the same word from a script means nothing at all. So scripts here
//! count their runs in Redis, and the count is held against what the caller was told.
//!
//! Limits: the sentences of servers in trouble are compared in the unit tests of `redis::error`; here one such server is real.

use std::time::Duration;

use serde_json::json;

use crate::harness::{App, Client, Options, Redis, eventually};
use crate::keys::patient;

/// Codes that Redis itself answers before it runs anything.
const CODES: [&str; 10] =
    ["BUSY", "LOADING", "READONLY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "OOM", "MISCONF", "NOREPLICAS", "NOPERM"];

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

async fn failures(client: &Client) -> f64 {
    client.metric("collective_breaker_calls_total", &[("outcome", "failure")]).await.expect("the metric is there")
}

#[tokio::test]
async fn a_script_that_answers_as_a_server_in_trouble_does_runs_once_and_was_executed() {
    let (redis, _app, client) = service().await;
    for code in CODES {
        redis.command(&["DEL", "n"]).await;
        let script = format!("redis.call('INCR', 'n') return redis.error_reply('{code} seat is taken')");
        let item = json!({ "error": format!("{code} seat is taken") });
        let single = client.post_command(&["EVAL", &script, "0"]).await;
        assert_eq!((single.status, single.outcome()), (400, "executed"), "{}", single.text());
        assert_eq!(single.json(), item);
        let list = client.pipeline(&[&["EVAL", &script, "0"]]).await;
        assert_eq!((list.status, list.outcome(), list.json()), (200, "executed", json!([item])));
        let transaction = client.multi_exec(&[&["EVAL", &script, "0"]]).await;
        assert_eq!((transaction.status, transaction.outcome()), (200, "executed"), "{}", transaction.text());
        assert_eq!(redis.command(&["GET", "n"]).await, "3", "{code}: each of the three ran once");
    }
    assert_eq!(failures(&client).await, 0.0, "a script's words are no failure of Redis");
}

#[tokio::test]
async fn a_function_that_answers_as_a_server_in_trouble_does_runs_once_and_was_executed() {
    let (redis, _app, client) = service().await;
    let library = "#!lua name=l\nredis.register_function('f', function() redis.call('INCR', 'n') \
                   return redis.error_reply('TRYAGAIN x') end)";
    assert_eq!(client.post_command(&["FUNCTION", "LOAD", library]).await.status, 200);
    let answer = client.post_command(&["FCALL", "f", "0"]).await;
    assert_eq!((answer.status, answer.outcome()), (400, "executed"), "{}", answer.text());
    assert_eq!(redis.command(&["GET", "n"]).await, "1");
}

#[tokio::test]
async fn a_read_only_script_that_answers_as_a_server_in_trouble_steers_no_breaker() {
    let (_redis, _app, client) = service().await;
    for _ in 0..30 {
        let script = "return redis.error_reply('LOADING Redis is loading the dataset in memory')";
        let answer = client.post_command(&["EVAL_RO", script, "0"]).await;
        assert_eq!(answer.outcome(), "not_executed", "{}", answer.text());
    }
    assert_eq!(failures(&client).await, 0.0);
    assert_eq!(client.post_command(&["GET", "k"]).await.status, 200);
}

#[tokio::test]
async fn a_refusal_that_a_script_met_and_passed_on_was_executed() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "s", "text"]).await;
    let script = "redis.call('INCR', 'n') return redis.pcall('INCRBY', 's', 1)";
    let single = client.post_command(&["EVAL", script, "0"]).await;
    assert_eq!(single.json(), json!({ "error": "ERR value is not an integer or out of range" }));
    assert_eq!((single.status, single.outcome()), (400, "executed"));
    let list = client.pipeline(&[&["GET", "s"], &["EVAL", script, "0"], &["INCR", "s"]]).await;
    assert_eq!(list.outcome(), "executed", "the worst of the items that failed: {}", list.text());
    assert_eq!(redis.command(&["GET", "n"]).await, "2");
}

/// Our own functions raise nothing, but Redis may: here its access list denies the service a command that a function calls.
#[tokio::test]
async fn a_function_of_ours_that_redis_stops_half_way_is_not_told_as_not_executed() {
    let (redis, _app, client) = service().await;
    let path = "/v1/counters/c/increment";
    eventually(Duration::from_secs(5), async || client.post(path, &json!({ "max": 9 })).await.status == 200).await;
    redis.command(&["ACL", "SETUSER", redis.user(), "-pexpire"]).await;
    let answer = client.post("/v1/counters/d/increment", &json!({ "ttl_seconds": 60 })).await;
    assert_eq!((answer.status, answer.outcome()), (500, "executed"), "{}", answer.text());
    assert_eq!(redis.command(&["GET", "d"]).await, "1", "it was counted before Redis stopped it");
    redis.command(&["ACL", "SETUSER", redis.user(), "-incrby"]).await;
    let answer = client.post(path, &json!({ "max": 9 })).await;
    assert_eq!(answer.status, 500, "the counter is one, so it is not told to be of another type: {}", answer.text());
}

#[tokio::test]
async fn a_script_that_redis_would_not_start_was_not_executed() {
    let (redis, _app, client) = service().await;
    let count = "return redis.call('INCR', 'n')";
    let calls: &[&[&str]] = &[
        &["EVAL", count, "x"],
        &["EVAL", count, "+0"],
        &["EVAL", count, "-1"],
        &["EVAL", count, "1"],
        &["EVAL", count],
        &["EVAL", "retur 1", "0"],
        &["EVAL", "#!lua flags=frob\nreturn 1", "0"],
        &["EVALSHA", "0000000000000000000000000000000000000000", "0"],
        &["FCALL", "nosuch", "0"],
    ];
    for call in calls {
        let single = client.post_command(call).await;
        assert_eq!((single.status, single.outcome()), (400, "not_executed"), "{call:?}: {}", single.text());
        let list = client.pipeline(&[call]).await;
        assert_eq!((list.status, list.outcome()), (200, "not_executed"), "{call:?}: {}", list.text());
    }
    assert!(redis.command(&["GET", "n"]).await.is_nil());
}

#[tokio::test]
async fn a_script_refused_by_a_busy_server_was_not_executed() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    assert_eq!(client.post_command(&["PING"]).await.status, 200);
    redis.command(&["CONFIG", "SET", "busy-reply-threshold", "1"]).await;
    let mut other = redis.connect().await;
    let endless = tokio::spawn(async move { other.command(&["EVAL", "while true do end", "0"]).await });
    eventually(Duration::from_secs(10), async || redis.command(&["GET", "n"]).await.to_string().starts_with("BUSY"))
        .await;
    let answer = client.post_command(&["EVAL", "return redis.call('INCR', 'n')", "0"]).await;
    assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
    redis.command(&["SCRIPT", "KILL"]).await;
    endless.await.expect("the script was ended").expect("a reply");
    assert!(redis.command(&["GET", "n"]).await.is_nil());
}
