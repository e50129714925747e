//! Plain and conditional calls of `/v1/keys` × {normal, frozen, killed, reply lost}: each cell of the promised table.
//!
//! Why so: what a caller may do after an answer hangs on its outcome, so every answer is held against what Redis holds afterwards.
//! Limits: breakers and deadlines are five times those of production, so that a busy machine is no outage; timing is judged in
//! `freeze` and `kills`.

use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;

use crate::harness::{Answer, App, Client, Options, Proxy, Redis, eventually};
use crate::keys::{patient, problem, unhurried};

const OLD: &str = "\"c00dbbc9dadfbe1e232e93a729dd4752fade0abf\"";
const SOON: Duration = Duration::from_secs(15);

/// A kind of write: its name, which is its key's, the method, a header, and what the key holds once it was made.
type Kind = (&'static str, Method, Option<(&'static str, &'static str)>, Option<&'static str>);

const KINDS: [Kind; 8] = [
    ("put", Method::PUT, None, Some("new")),
    ("delete", Method::DELETE, None, None),
    ("put:if", Method::PUT, Some(("If-Match", OLD)), Some("new")),
    ("put:none", Method::PUT, Some(("If-None-Match", "*")), Some("new")),
    ("put:keep", Method::PUT, None, Some("new")),
    ("put:fenced", Method::PUT, Some(("Collective-Fence", "outage;5")), Some("new")),
    ("delete:if", Method::DELETE, Some(("If-Match", OLD)), None),
    ("delete:fenced", Method::DELETE, Some(("Collective-Fence", "outage;5")), None),
];

async fn call(client: &Client, method: Method, path: &str, header: Option<(&str, &str)>) -> Answer {
    let mut request = client.request(method.clone(), path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    client.send(if method == Method::PUT { request.body("new") } else { request }).await
}

async fn make(client: &Client, (key, method, header, _): Kind) -> Answer {
    let query = if key == "put:keep" { "?keep_ttl=true" } else { "" };
    call(client, method, &format!("/v1/keys/{key}{query}"), header).await
}

/// One call of each kind, on keys of their own.
async fn one_of_each(client: &Client) -> Vec<(Kind, Answer)> {
    let mut made = Vec::new();
    for kind in KINDS {
        made.push((kind.clone(), make(client, kind).await));
    }
    made
}

async fn prepare(redis: &Redis) {
    for (key, ..) in KINDS {
        redis.command(&["SET", key, "old"]).await;
    }
    redis.command(&["DEL", "put:none"]).await;
}

/// Whether a key is as it was before.
async fn is_untouched(redis: &Redis, key: &str) -> bool {
    let now = redis.command(&["GET", key]).await;
    if key == "put:none" { now.is_nil() } else { now == "old" }
}

/// Whether a key is as this call leaves it.
async fn is_made(redis: &Redis, (key, _, _, after): Kind) -> bool {
    let now = redis.command(&["GET", key]).await;
    after.map_or(now.is_nil(), |content| now == content)
}

async fn reads(client: &Client) -> Vec<(&'static str, Answer)> {
    vec![
        ("get", client.get_key("put").await),
        ("get if", client.with_header("If-Match", OLD).get_key("put").await),
        ("head", client.head_key("put").await),
        ("list", client.get("/v1/keys").await),
    ]
}

async fn assert_made(redis: &Redis, calls: Vec<(Kind, Answer)>) {
    for (kind, answer) in calls {
        assert!(matches!(answer.status, 201 | 204), "{}: {} {}", kind.0, answer.status, answer.text());
        assert!(is_made(redis, kind.clone()).await, "{}", kind.0);
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
    for ((name, ..), answer) in one_of_each(&client).await {
        let document = problem(&answer, 504, "outcome_unknown");
        assert_eq!((answer.outcome(), &document["retryable"]), ("unknown", &serde_json::json!(false)), "{name}");
    }
    let sent: u64 = ["SET", "GETDEL", "FCALL"].map(|name| proxy.count(name)).iter().sum();
    assert!(sent > 8, "{sent}: all may be sent again, and were while a fence could be had");
}

#[tokio::test]
async fn every_call_of_keys_is_refused_while_redis_is_dead_and_never_made_later() {
    let redis = Redis::start(Options::default().durable()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
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
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    prepare(&redis).await;
    assert_eq!(call(&client, Method::PUT, "/v1/keys/put", Some(("If-None-Match", "*"))).await.status, 412);
    redis.freeze();
    client.until_both_lanes_refuse().await;
    assert_refused(&client).await;
    redis.thaw();
    assert_nothing_was_made(&redis, &client).await;
}

async fn assert_refused(client: &Client) {
    let writes = one_of_each(client).await.into_iter().map(|((name, ..), answer)| (name, answer));
    for (name, answer) in writes.chain(reads(client).await) {
        assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{name}: {}", answer.text());
        assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1), "{name}");
    }
}

async fn assert_nothing_was_made(redis: &Redis, client: &Client) {
    client.until_both_lanes_serve().await;
    // Redis answers again, so whatever was sent to it before has run.
    assert!(call(client, Method::PUT, "/v1/keys/back", Some(("If-None-Match", "\"x\""))).await.is_success());
    for (key, ..) in KINDS {
        assert!(is_untouched(redis, key).await, "{key}");
    }
    prepare(redis).await;
    assert_made(redis, one_of_each(client).await).await;
}

/// One call of each kind is on its way, or has been made and its answer is on its way, when Redis is struck.
async fn struck_on_their_way(seed: u64, down: impl AsyncFn(&Redis), up: impl AsyncFn(&Redis)) {
    for (place, hold) in [
        ("requests", Proxy::hold_requests_of_everyone as fn(&Proxy)),
        ("replies", Proxy::hold_replies_of_everyone as fn(&Proxy)),
    ] {
        let redis = Redis::start(Options::default().durable()).await;
        let proxy = Proxy::in_front_of(&redis, seed);
        let app = unhurried(App::with_redis(&proxy.url())).start().await;
        let client = app.client();
        client.settled().await;
        prepare(&redis).await;
        proxy.only(&["SET", "GETDEL", "FCALL"]);
        proxy.reset_counts();
        hold(&proxy);
        let mut calls = JoinSet::new();
        for kind in KINDS {
            let client = client.clone();
            calls.spawn(async move { (kind.clone(), make(&client, kind).await) });
        }
        // All of them are there, unless the service has noticed something before.
        eventually(SOON, async || {
            let sent: u64 = ["SET", "GETDEL", "FCALL"].map(|name| proxy.count(name)).iter().sum();
            sent + proxy.requests_waiting() >= KINDS.len() as u64 || client.both_lanes_refuse().await
        })
        .await;
        down(&redis).await;
        let told = calls.join_all().await;
        client.until_both_lanes_refuse().await;
        up(&redis).await;
        client.until_both_lanes_serve().await;
        // What was held arrives now, at the latest moment.
        proxy.heal();
        eventually(SOON, async || proxy.requests_waiting() == 0).await;
        assert!(call(&client, Method::PUT, "/v1/keys/back", Some(("If-None-Match", "\"x\""))).await.is_success());
        assert_told_truly(&redis, place, told).await;
    }
}

/// `not_executed` left everything as it was; `unknown` may have made the call, and nothing else.
async fn assert_told_truly(redis: &Redis, place: &str, told: Vec<(Kind, Answer)>) {
    let mut unknown = 0;
    for (kind, answer) in told {
        let (made, untouched) = (is_made(redis, kind.clone()).await, is_untouched(redis, kind.0).await);
        match (answer.status, answer.outcome()) {
            (503, "not_executed") => assert!(untouched, "{place} held, {}: told not_executed, and made", kind.0),
            (504, "unknown") => assert!(made || untouched, "{place} held, {}", kind.0),
            other => panic!("{place} held, {}: {other:?} {}", kind.0, answer.text()),
        }
        unknown += u32::from(answer.status == 504);
    }
    assert!(unknown > 0, "{place} held: some were on their way");
}

#[tokio::test]
async fn calls_of_keys_that_are_on_their_way_when_redis_freezes_are_told_truly() {
    struck_on_their_way(33, async |redis| redis.freeze(), async |redis| redis.thaw()).await;
}

#[tokio::test]
async fn calls_of_keys_that_are_on_their_way_when_redis_is_killed_are_told_truly() {
    struck_on_their_way(34, async |redis| redis.kill9(), async |redis| redis.restart().await).await;
}
