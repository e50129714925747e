//! A Redis from before functions: the atomic calls of `/v1` are refused by name, and everything else is served.
//!
//! Why so: such a server is told apart by its version, and is not asked at all for what it cannot do. The one behind this test has
//! the commands, so a call that was made all the same would be seen. The service's own heartbeat is not looked at.
//!
//! Limits: one that hides its version is told apart by its answer; that is the matter of `migrations`.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, App, Client, Elder, Options, Proxy, Redis, eventually};
use crate::keys::{patient, problem};
use crate::leases::{acquire, release, renew};
use crate::limiters::{daily, delete, take};
use crate::presence::{beat, leave};

const SOON: Duration = Duration::from_secs(10);

struct House {
    redis: Redis,
    proxy: Proxy,
    _elder: Elder,
    _app: App,
    client: Client,
}

async fn house() -> House {
    let redis = Redis::start(Options::default().set("rename-command FUNCTION", "nofunction")).await;
    let elder = Elder::in_front_of(&redis).await;
    let proxy = Proxy::in_front_of(&redis, 1);
    proxy.point_at(elder.address());
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    let is_known =
        async || client.status().await["redis"]["server_version"].as_str().is_some_and(|v| v.starts_with("6."));
    eventually(SOON, is_known).await;
    House { redis, proxy, _elder: elder, _app: app, client }
}

/// Every call that is decided by a function.
async fn atomic_calls(client: &Client) -> Vec<(&'static str, Answer)> {
    let keyed = client.idempotency_key("k");
    let fenced = client.with_header("Collective-Fence", "jobs;5");
    let bounded = json!({ "by": 1, "max": 9 });
    vec![
        ("bounded increment", client.post("/v1/counters/n/increment", &bounded).await),
        ("increment under a key", keyed.increment("n", 1).await),
        ("fenced increment", fenced.increment("n", 1).await),
        ("conditional put", client.with_header("If-None-Match", "*").put_key("new", "v").await),
        ("fenced put", fenced.put_key("new", "v").await),
        ("conditional delete", client.with_header("If-Match", "*").delete_key("kept").await),
        ("acquire", acquire(client, "jobs", "a", 60_000).await),
        ("acquire under a key", acquire(&keyed, "jobs", "a", 60_000).await),
        ("renew", renew(client, "jobs", 5, 60_000).await),
        ("release", release(client, "jobs", 5).await),
        ("inspect", client.get("/v1/leases/jobs").await),
        ("take", take(client, "l", &daily(3)).await),
        ("look at a limiter", client.get("/v1/limiters/l").await),
        ("sign of life", beat(client, "lobby/m", 60).await),
        ("leave", leave(client, "lobby/m").await),
        ("look into a room", client.get("/v1/presence/lobby").await),
        ("operation", client.get("/v1/operations/k").await),
    ]
}

#[tokio::test]
async fn a_redis_from_before_functions_is_not_asked_for_them_and_the_refusal_says_why() {
    let House { redis, proxy, client, .. } = &house().await;
    redis.command(&["SET", "kept", "v"]).await;
    for (call, answer) in atomic_calls(client).await {
        let document = problem(&answer, 501, "functions_unsupported");
        assert_eq!((&document["outcome"], &document["retryable"]), (&json!("not_executed"), &json!(false)), "{call}");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains("Redis 7.0")), "{call}: {document}");
    }
    // A policy for outages is none for a server that somebody chose.
    let mut open = daily(3);
    open["on_outage"] = "open".into();
    problem(&take(client, "l", &open).await, 501, "functions_unsupported");
    let command = client.idempotency_key("k").post_command(&["INCR", "n"]).await;
    assert_eq!((command.status, command.outcome()), (501, "not_executed"), "{}", command.text());
    assert!(command.json()["error"].as_str().is_some_and(|text| text.contains("Redis 7.0")), "{}", command.text());
    assert_eq!(redis.keys_of_callers().await, 1, "nothing was written");
    let asked = proxy.count("FCALL") + proxy.count("FCALL_RO");
    assert_eq!(asked, 0, "it was asked for what it is known not to have: {:?}", proxy.history());
}

#[tokio::test]
async fn a_redis_from_before_functions_serves_everything_that_needs_none() {
    let House { redis, client, .. } = &house().await;
    assert_eq!(client.put_key("k", "v").await.status, 201);
    let read = client.get_key("k").await;
    assert_eq!((read.status, read.text()), (200, "v".to_owned()));
    let tag = read.header("etag").expect("a tag").to_owned();
    let head = client.head_key("k").await;
    assert_eq!((head.status, head.header("etag"), head.header("content-length")), (200, Some(tag.as_str()), Some("1")));
    assert_eq!(client.with_header("If-None-Match", &tag).get_key("k").await.status, 304);
    let listed = client.get("/v1/keys").await;
    assert_eq!((listed.status, &listed.json()["keys"]), (200, &json!(["k"])));
    assert_eq!(client.delete_key("k").await.status, 204);
    for value in 1..=2 {
        assert_eq!(client.increment("n", 1).await.json(), json!({ "value": value }));
    }
    assert_eq!(client.get("/v1/counters/n").await.json(), json!({ "value": 2 }));
    assert_eq!(client.send(client.request(Method::DELETE, "/v1/counters/n")).await.status, 204);
    assert_eq!(delete(client, "l").await.status, 204);
    assert_eq!(client.post_command(&["SET", "k", "w"]).await.result(), "OK");
    assert_eq!(
        client.pipeline(&[&["GET", "k"], &["INCR", "n"]]).await.json(),
        json!([{ "result": "w" }, { "result": 1 }])
    );
    assert_eq!(
        client.multi_exec(&[&["INCR", "n"], &["DEL", "k"]]).await.json(),
        json!([{ "result": 2 }, { "result": 1 }])
    );
    let mut stream = client.subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    redis.command(&["PUBLISH", "c", "x"]).await;
    stream.expect("data: message,c,x").await;
    assert_eq!(client.probe("/readyz").await.status, 200);
}
