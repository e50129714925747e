//! `/v1/keys?key_base64url=…`: the same resource, for names no path can carry.
//!
//! Limits: names that a path can carry are told in `keys`.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use reqwest::Method;

use crate::harness::{Answer, App, Client, Options, Redis};
use crate::keys::{patient, problem};

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

async fn call(client: &Client, method: Method, path: &str) -> Answer {
    let request = client.request(method.clone(), path);
    client.send(if method == Method::PUT { request.body("new") } else { request }).await
}

#[tokio::test]
async fn every_key_has_a_name_in_base64url_with_padding_or_without() {
    let (redis, _app, client) = service().await;
    for name in [&b""[..], b".", b"..", b"\xff\xfe\xfb", b"plain", b"a/../b", "grüße".as_bytes(), b"\r\n"] {
        for encoded in [URL_SAFE_NO_PAD.encode(name), URL_SAFE.encode(name).replace('=', "%3D")] {
            let path = format!("/v1/keys?key_base64url={encoded}");
            assert_eq!(call(&client, Method::PUT, &path).await.status, 201, "{path}");
            assert_eq!(redis.command(&[b"GET", name]).await, "new", "{path}");
            assert_eq!(call(&client, Method::GET, &path).await.text(), "new", "{path}");
            let head = call(&client, Method::HEAD, &path).await;
            assert_eq!((head.status, head.header("content-length")), (200, Some("3")), "{path}");
            let lasting = call(&client, Method::PUT, &format!("{path}&ttl_seconds=100")).await;
            assert_eq!(lasting.status, 204, "{path}");
            assert!(redis.command(&[b"PTTL", name]).await.integer() > 50_000, "{path}");
            let tag = head.header("etag").expect("a tag");
            assert_eq!(call(&client.with_header("If-None-Match", tag), Method::GET, &path).await.status, 304, "{path}");
            assert_eq!(call(&client, Method::DELETE, &path).await.status, 204, "{path}");
            assert_eq!(redis.command(&[b"EXISTS", name]).await, 0, "{path}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_no_base64url_is_refused_with_the_rule() {
    let (redis, _app, client) = service().await;
    for encoded in ["a", "ab%2Bc", "a%2Fbc", "YR", "Y Q", "%FF", "*"] {
        for method in [Method::PUT, Method::GET, Method::DELETE] {
            let answer = call(&client, method, &format!("/v1/keys?key_base64url={encoded}")).await;
            let document = problem(&answer, 400, "invalid_request");
            let detail = document["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("key_base64url must be base64url"), "{encoded}: {detail}");
        }
    }
    assert_eq!(redis.command(&["KEYS", "[^c]*"]).await.items().len(), 0);
}

#[tokio::test]
async fn a_key_is_named_once() {
    let (redis, _app, client) = service().await;
    redis.command(&["MSET", "a", "1", "b", "2"]).await;
    for (method, path, word) in [
        (Method::DELETE, "/v1/keys/a?key_base64url=Yg", "once"),
        (Method::PUT, "/v1/keys/a?key_base64url=YQ", "once"),
        (Method::GET, "/v1/keys?key_base64url=YQ&key_base64url=Yg", "duplicate field `key_base64url`"),
        (Method::DELETE, "/v1/keys?key_base64url=YQ&prefix=a", "prefix"),
        (Method::DELETE, "/v1/keys", "key_base64url"),
        (Method::PUT, "/v1/keys?ttl_seconds=5", "key_base64url"),
        (Method::GET, "/v1/keys?key%5Fbase64url=YQ", "unknown member"),
    ] {
        let document = problem(&call(&client, method, path).await, 400, "invalid_request");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains(word)), "{path}: {document}");
    }
    assert_eq!(redis.command(&["MGET", "a", "b"]).await.to_string(), "1,2");
}

#[tokio::test]
async fn the_services_own_names_are_refused_in_base64url_too() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "collective:x", "ours"]).await;
    let path = format!("/v1/keys?key_base64url={}", URL_SAFE_NO_PAD.encode("collective:x"));
    for method in [Method::PUT, Method::GET, Method::DELETE] {
        problem(&call(&client, method, &path).await, 403, "reserved_name");
    }
    assert_eq!(redis.command(&["GET", "collective:x"]).await, "ours");
}

#[tokio::test]
async fn other_methods_are_told_those_there_are() {
    let (_redis, _app, client) = service().await;
    for method in [Method::POST, Method::PATCH] {
        let answer = call(&client, method, "/v1/keys?key_base64url=YQ").await;
        problem(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, PUT, DELETE, OPTIONS"));
    }
}
