//! A place the service keeps in Redis and something else has taken: refused as `wrong_type` by every resource, and left untouched.
//!
//! Why so: no caller reaches such a name, but Redis' own tools do, and a restored backup may. Who overwrites what he does not
//! understand destroys the only trace of the mistake. That the document tells of each of these answers is seen by the harness.
//! Limits: keys and counters, which callers share with any tool, have their own tests.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Client, Options, Redis};
use crate::keys::{patient, problem};

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    client.settled().await;
    (redis, app, client)
}

/// Each of these requests is refused because of what is stored.
async fn refused(client: &Client, requests: &[(&str, &str, Value)]) {
    for (method, path, body) in requests {
        let request = client.request(method.parse::<Method>().expect("a method"), path);
        let answer = client.send(if body.is_null() { request } else { request.body(body.to_string()) }).await;
        if *method == "HEAD" {
            assert_eq!(answer.status, 409, "{method} {path}");
        } else {
            let document = problem(&answer, 409, "wrong_type");
            assert_eq!(document["outcome"], "not_executed", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_room_a_lease_or_a_limiter_whose_place_is_taken_is_409_and_left_untouched() {
    let (redis, _app, client) = service().await;
    let places =
        ["presence:r", "presence-room:secretless", "lease:l", "limiter:m"].map(|place| format!("collective:{place}"));
    for place in &places {
        redis.command(&["RPUSH", place, "something else"]).await;
    }
    let (beat, take) = (json!({ "ttl_seconds": 60 }), json!({ "capacity": 1, "refill": 1, "per": "1s" }));
    refused(
        &client,
        &[
            ("PUT", "/v1/presence/r/me", beat.clone()),
            ("GET", "/v1/presence/r", Value::Null),
            ("HEAD", "/v1/presence/r", Value::Null),
            ("DELETE", "/v1/presence/r/me", Value::Null),
            ("PUT", "/v1/presence/secretless/me", beat),
            ("POST", "/v1/leases/l", json!({ "ttl_ms": 60_000, "owner": "me" })),
            ("POST", "/v1/leases/l/renew", json!({ "ttl_ms": 60_000, "token": 1 })),
            ("GET", "/v1/leases/l", Value::Null),
            ("HEAD", "/v1/leases/l", Value::Null),
            ("DELETE", "/v1/leases/l?token=1", Value::Null),
            ("POST", "/v1/limiters/m/take", take),
            ("GET", "/v1/limiters/m", Value::Null),
            ("HEAD", "/v1/limiters/m", Value::Null),
            ("DELETE", "/v1/limiters/m", Value::Null),
        ],
    )
    .await;
    for place in &places {
        assert_eq!(redis.command(&["LRANGE", place, "0", "-1"]).await.to_string(), "something else", "{place}");
    }
}

#[tokio::test]
async fn a_write_under_a_lease_whose_place_is_taken_is_409_and_changes_nothing() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "collective:lease:l", "something else"]).await;
    redis.command(&["MSET", "k", "old", "n", "5"]).await;
    let fenced = client.with_header("Collective-Fence", "l;1");
    let requests = [
        ("PUT", "/v1/keys/k", json!("new")),
        ("DELETE", "/v1/keys/k", Value::Null),
        ("POST", "/v1/counters/n/increment", json!({ "by": 1 })),
        ("DELETE", "/v1/counters/n", Value::Null),
    ];
    refused(&fenced, &requests).await;
    assert_eq!(redis.command(&["MGET", "k", "n"]).await.to_string(), "old,5");
}

#[tokio::test]
async fn a_call_whose_record_is_something_else_is_409_and_has_no_effect() {
    let (redis, _app, client) = service().await;
    let requests = [
        ("order-1", "/v1/counters/n/increment", json!({ "by": 1 })),
        ("order-2", "/v1/leases/l", json!({ "ttl_ms": 60_000, "owner": "me" })),
        ("order-3", "/v1/limiters/m/take", json!({ "capacity": 9, "refill": 1, "per": "1s" })),
    ];
    for (key, path, body) in &requests {
        let first = client.idempotency_key(key).post(path, body).await;
        assert!(first.is_success(), "{}", first.text());
    }
    let records = redis.command(&["KEYS", "collective:idempotency:*"]).await;
    assert_eq!(records.items().len(), requests.len());
    for record in records.items().iter().map(ToString::to_string) {
        redis.command(&["DEL", &record]).await;
        redis.command(&["RPUSH", &record, "something else"]).await;
    }
    for (key, path, body) in requests {
        refused(&client.idempotency_key(key), &[("POST", path, body)]).await;
        let operation = format!("/v1/operations/{key}");
        refused(&client, &[("GET", &operation, Value::Null)]).await;
    }
    assert_eq!(redis.command(&["GET", "n"]).await, "1", "counted once");
}
