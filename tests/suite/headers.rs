//! The standard headers (D29), on every route and method and whatever its answer: served, refused, or in an outage.
//!
//! Limits: routes are listed here by hand; what the HTTP parser itself refuses is in `connections.rs`, pages for people are in
//! `problems.rs` and beside the operator's page. Strict-Transport-Security belongs to whoever ends TLS, and nothing here does.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;

use crate::harness::{Answer, App, Client, Options, Redis, eventually};

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];

const ROUTES: [&str; 22] = [
    "/",
    "/pipeline",
    "/multi-exec",
    "/get/k",
    "/nothing",
    "/monitor",
    "/psubscribe/",
    "/v1",
    "/v1/keys",
    "/v1/keys/k",
    "/v1/keys/none",
    "/v1/keys/%zz",
    "/v1/keys/collective:x",
    "/v1/counters/n",
    "/v1/counters/n/increment",
    "/v1/nothing",
    "/docs",
    "/openapi.json",
    "/problems",
    "/problems/not_found",
    "/problems/nothing",
    "/.well-known/security.txt",
];

#[track_caller]
fn dressed(answer: &Answer, what: &str) {
    let has = |name: &str| answer.headers.get_all(name).iter().count();
    for (name, value) in [("x-content-type-options", "nosniff"), ("cache-control", "no-store")] {
        assert_eq!((answer.header(name), has(name)), (Some(value), 1), "{name} of {what}: {}", answer.status);
    }
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{what}: {policy}");
    assert_eq!(has("content-security-policy"), 1, "{what}");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{what}");
    for telling in ["server", "x-powered-by", "set-cookie"] {
        assert_eq!(answer.header(telling), None, "{what}");
    }
}

/// Asks everything of everyone, and gives the statuses that were seen.
async fn round(client: &Client, bodies: &[&str]) -> BTreeSet<u16> {
    let mut seen = BTreeSet::new();
    for (path, method) in ROUTES.iter().flat_map(|path| METHODS.map(|method| (path, method))) {
        for body in bodies {
            let verb = Method::from_bytes(method.as_bytes()).expect("a method");
            let answer = client.send(client.request(verb, path).body((*body).to_owned())).await;
            dressed(&answer, &format!("{method} {path}"));
            seen.insert(answer.status);
        }
    }
    seen
}

#[tokio::test]
async fn every_route_method_and_status_carries_the_standard_headers() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("limits.body", 4096).set("limits.argument", 2048).start().await;
    let client = app.client();
    let bodies = ["", r#"["GET","k"]"#, r#"[["GET","k"]]"#, r#"{"by":1}"#, "garbage"];
    let mut seen = round(&client, &bodies).await;
    seen.extend(round(&client.without_token(), &[""]).await);
    for (status, answer) in [
        (413, client.put_key("k", vec![b'x'; 5000]).await),
        (414, client.get(&format!("/v1/keys/{}", "k".repeat(9000))).await),
        (431, client.with_header("X-Large", &"x".repeat(17_000)).get_key("k").await),
        (400, client.timeout_ms(0).get_key("k").await),
        (422, client.idempotency_key("not one").increment("n", 1).await),
    ] {
        dressed(&answer, "what is too much");
        assert_eq!(answer.status, status, "{}", answer.text());
        seen.insert(status);
    }
    let stream = client.subscribe("c").await;
    assert_eq!(stream.header("x-content-type-options"), Some("nosniff"));
    assert!(stream.header("x-request-id").is_some());
    redis.kill9();
    eventually(Duration::from_secs(5), async || client.breaker("redis.write").await == "open").await;
    seen.extend(round(&client, &bodies).await);
    for status in [200, 201, 204, 400, 401, 403, 404, 405, 413, 414, 422, 431, 503] {
        assert!(seen.contains(&status), "{status} was never answered, so it was not looked at: {seen:?}");
    }
}
