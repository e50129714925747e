//! Plain and conditional calls of `/v1/keys` × {normal, frozen, killed, reply lost}: each cell of the promised table.
//!
//! Why so: what a caller may do after an answer hangs on its outcome, so every answer is held against what Redis holds afterwards.
//! Limits: breakers and deadlines are those of production; timing is judged in `freeze` and `kills`.

use reqwest::Method;

use crate::harness::{Answer, App, Client, Options, Proxy, Redis};
use crate::keys::{patient, problem};

const OLD: &str = "\"c00dbbc9dadfbe1e232e93a729dd4752fade0abf\"";

async fn call(client: &Client, method: Method, path: &str, condition: Option<(&str, &str)>) -> Answer {
    let mut request = client.request(method.clone(), path);
    if let Some((header, value)) = condition {
        request = request.header(header, value);
    }
    client.send(if method == Method::PUT { request.body("new") } else { request }).await
}

/// One call of each kind, on keys of their own: name, answer, the key and what it holds if the call was made.
async fn one_of_each(client: &Client) -> Vec<(&'static str, Answer, &'static str, Option<&'static str>)> {
    let fenced = client.with_header("Collective-Fence", "outage;5");
    let (put, delete) = (Method::PUT, Method::DELETE);
    vec![
        ("put", call(client, put.clone(), "/v1/keys/put", None).await, "put", Some("new")),
        ("delete", call(client, delete.clone(), "/v1/keys/delete", None).await, "delete", None),
        ("put if", call(client, put.clone(), "/v1/keys/put:if", Some(("If-Match", OLD))).await, "put:if", Some("new")),
        (
            "put if none",
            call(client, put.clone(), "/v1/keys/put:none", Some(("If-None-Match", "*"))).await,
            "put:none",
            Some("new"),
        ),
        (
            "put keeping",
            call(client, put.clone(), "/v1/keys/put:keep?keep_ttl=true", None).await,
            "put:keep",
            Some("new"),
        ),
        ("put fenced", call(&fenced, put, "/v1/keys/put:fenced", None).await, "put:fenced", Some("new")),
        (
            "delete if",
            call(client, delete.clone(), "/v1/keys/delete:if", Some(("If-Match", OLD))).await,
            "delete:if",
            None,
        ),
        ("delete fenced", call(&fenced, delete, "/v1/keys/delete:fenced", None).await, "delete:fenced", None),
    ]
}

async fn prepare(redis: &Redis) {
    for key in ["put", "delete", "put:if", "put:keep", "put:fenced", "delete:if", "delete:fenced"] {
        redis.command(&["SET", key, "old"]).await;
    }
    redis.command(&["DEL", "put:none"]).await;
}

async fn reads(client: &Client) -> Vec<(&'static str, Answer)> {
    vec![
        ("get", client.get_key("put").await),
        ("get if", client.with_header("If-Match", OLD).get_key("put").await),
        ("head", client.head_key("put").await),
        ("list", client.get("/v1/keys").await),
    ]
}

async fn assert_made(redis: &Redis, calls: Vec<(&'static str, Answer, &'static str, Option<&'static str>)>) {
    for (name, answer, key, after) in calls {
        assert!(matches!(answer.status, 201 | 204), "{name}: {} {}", answer.status, answer.text());
        let now = redis.command(&["GET", key]).await;
        assert!(after.map_or(now.is_nil(), |content| now == content), "{name}: {now}");
    }
}

#[tokio::test]
async fn calls_of_keys_are_made_once_also_when_their_reply_is_lost() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 31);
    // Attempts enough for bad luck with every fifth reply.
    let app = patient(&proxy.url()).set("requests.timeout", "30s").set("retry.attempts", 5).start().await;
    let client = app.client();
    prepare(&redis).await;
    assert_made(&redis, one_of_each(&client).await).await;

    proxy.only(&["SET", "GETDEL", "FCALL", "GET", "FCALL_RO", "SCAN"]);
    proxy.lose_connection_instead_of_reply(0.2);
    proxy.reset_counts();
    for _ in 0..10 {
        prepare(&redis).await;
        assert_made(&redis, one_of_each(&client).await).await;
        redis.command(&["SET", "put", "old"]).await;
        for (name, answer) in reads(&client).await {
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        }
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 10, "{lost}");
    let sent: u64 = ["SET", "GETDEL", "FCALL", "GET", "FCALL_RO", "SCAN"].map(|name| proxy.count(name)).iter().sum();
    assert!(sent >= 120 + lost, "{sent} sent, {lost} lost: each loss costs one more attempt");
}

#[tokio::test]
async fn a_conditional_write_that_is_ambiguous_to_the_end_is_unknown() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 32);
    let app = patient(&proxy.url()).set("breaker.minimum_calls", 1_000_000).start().await;
    let client = app.client();
    prepare(&redis).await;
    assert_eq!(call(&client, Method::PUT, "/v1/keys/put", Some(("If-None-Match", "*"))).await.status, 412);
    proxy.only(&["SET", "GETDEL", "FCALL"]);
    proxy.reset_counts();
    proxy.lose_connection_instead_of_reply(1.0);
    for (name, answer, ..) in one_of_each(&client).await {
        let document = problem(&answer, 504, "outcome_unknown");
        assert_eq!((answer.outcome(), &document["retryable"]), ("unknown", &serde_json::json!(false)), "{name}");
    }
    let sent: u64 = ["SET", "GETDEL", "FCALL"].map(|name| proxy.count(name)).iter().sum();
    assert!(sent > 8, "{sent}: all may be sent again, and were while a fence could be had");
}

#[tokio::test]
async fn every_call_of_keys_is_refused_while_redis_is_dead_and_never_made_later() {
    let redis = Redis::start(Options::default().durable()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    prepare(&redis).await;
    assert_eq!(call(&client, Method::PUT, "/v1/keys/put", Some(("If-None-Match", "*"))).await.status, 412);
    redis.kill9();
    client.until_both_lanes_refuse().await;
    assert_refused(&client).await;
    redis.restart().await;
    assert_nothing_was_made(&redis, &client).await;
}

#[tokio::test]
async fn every_call_of_keys_is_refused_while_redis_is_frozen_and_never_made_later() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    prepare(&redis).await;
    assert_eq!(call(&client, Method::PUT, "/v1/keys/put", Some(("If-None-Match", "*"))).await.status, 412);
    redis.freeze();
    client.until_both_lanes_refuse().await;
    assert_refused(&client).await;
    redis.thaw();
    assert_nothing_was_made(&redis, &client).await;
}

async fn assert_refused(client: &Client) {
    let writes = one_of_each(client).await.into_iter().map(|(name, answer, ..)| (name, answer));
    for (name, answer) in writes.chain(reads(client).await) {
        assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{name}: {}", answer.text());
        assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1), "{name}");
    }
}

async fn assert_nothing_was_made(redis: &Redis, client: &Client) {
    client.until_both_lanes_serve().await;
    // Redis answers again, so whatever was sent to it before has run.
    assert!(call(client, Method::PUT, "/v1/keys/back", Some(("If-None-Match", "\"x\""))).await.is_success());
    for key in ["put", "delete", "put:if", "put:keep", "put:fenced", "delete:if", "delete:fenced"] {
        assert_eq!(redis.command(&["GET", key]).await, "old", "{key}");
    }
    assert_eq!(redis.command(&["EXISTS", "put:none"]).await, 0);
    prepare(redis).await;
    assert_made(redis, one_of_each(client).await).await;
}
