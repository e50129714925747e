//! Nobody gets past the door without the token: every route, every wrong way to ask.
//!
//! Why so: one forgotten route is an open door, so routes and strangers are two lists and every pair is tried, with a
//! body that would do something. After each list Redis is asked whether anything was done.
//!
//! Limits: there is one token, with every scope; that it is compared in constant time cannot be seen from outside.

use reqwest::Method;
use serde_json::json;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{Answer, App, Client, Options, Redis, raw_http};
use crate::keys::problem;

/// Every route of the designed resources: method, path, body.
const RESOURCES: &[(&str, &str, &str)] = &[
    ("PUT", "/v1/keys/k", "stolen"),
    ("GET", "/v1/keys/k", ""),
    ("HEAD", "/v1/keys/k", ""),
    ("DELETE", "/v1/keys/k", ""),
    ("POST", "/v1/counters/k/increment", "{\"by\":1}"),
    ("POST", "/v1/limiters/k/take", "{\"capacity\":1,\"refill\":1,\"per\":\"1s\"}"),
    ("GET", "/v1/limiters/k", ""),
    ("DELETE", "/v1/limiters/k", ""),
    ("GET", "/v1/counters/k", ""),
    ("DELETE", "/v1/counters/k", ""),
];

/// Every route of the command dialect, and what it says of the rest.
const DIALECT: &[(&str, &str, &str)] = &[
    ("POST", "/", "[\"SET\",\"k\",\"stolen\"]"),
    ("PUT", "/", "[\"SET\",\"k\",\"stolen\"]"),
    ("GET", "/", ""),
    ("POST", "/pipeline", "[[\"SET\",\"k\",\"stolen\"]]"),
    ("PUT", "/pipeline", "[[\"SET\",\"k\",\"stolen\"]]"),
    ("DELETE", "/pipeline", ""),
    ("POST", "/multi-exec", "[[\"SET\",\"k\",\"stolen\"]]"),
    ("GET", "/set/k/stolen", ""),
    ("POST", "/subscribe/c", "[]"),
    ("GET", "/metrics", ""),
];

/// The value nobody without the token may see or change.
const SECRET_VALUE: &str = "12345";

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("log.level", "debug").start().await;
    redis.command(&["SET", "k", SECRET_VALUE]).await;
    let client = app.client();
    (redis, app, client)
}

/// Every wrong thing to present: a name for it, and the header.
fn strangers() -> Vec<(&'static str, Option<String>)> {
    let upper = ROOT_TOKEN.to_uppercase();
    let all_but_the_last = &ROOT_TOKEN[..ROOT_TOKEN.len() - 1];
    vec![
        ("no token", None),
        ("a wrong token", Some("Bearer wrong-token-0123456789abcdef0123456789abc".into())),
        ("the token in another letter case", Some(format!("Bearer {upper}"))),
        ("the token without its end", Some(format!("Bearer {all_but_the_last}"))),
        ("the token and more", Some(format!("Bearer {ROOT_TOKEN}0"))),
        ("the token twice", Some(format!("Bearer Bearer {ROOT_TOKEN}"))),
        ("the token as a password", Some(format!("Basic {ROOT_TOKEN}"))),
        ("an empty token", Some("Bearer ".into())),
        ("an empty header", Some(String::new())),
    ]
}

/// All routes whose answers end; that of a stream never does for a caller who is let in.
fn routes_with_an_end() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    RESOURCES.iter().chain(DIALECT).filter(|(_, path, _)| !path.starts_with("/subscribe/"))
}

async fn ask(client: &Client, route: &(&str, &str, &str), authorization: Option<&str>) -> Answer {
    let (method, path, body) = *route;
    let client = match authorization {
        Some(value) => client.without_token().with_header("Authorization", value),
        None => client.without_token(),
    };
    let request = client.request(method.parse::<Method>().expect("a method"), path);
    client.send(if body.is_empty() { request } else { request.body(body.to_owned()) }).await
}

/// Checks that the answer is a 401 in the shape of the surface it came from, and nothing more.
#[track_caller]
fn assert_turned_away(answer: &Answer, route: &(&str, &str, &str), stranger: &str) {
    let (method, path, _) = *route;
    assert_eq!(answer.status, 401, "{method} {path} with {stranger}: {}", answer.text());
    assert_eq!(answer.outcome, None, "{method} {path}: Redis has nothing to do with it");
    if method == "HEAD" {
        assert!(answer.body.is_empty());
    } else if path.starts_with("/v1") {
        assert_eq!(problem(answer, 401, "unauthenticated")["retryable"], false);
    } else {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
        let text = "WRONGPASS invalid or missing auth token";
        assert_eq!(answer.json(), json!({ "error": text }), "{method} {path} with {stranger}");
    }
    assert!(!answer.text().contains(SECRET_VALUE), "{method} {path} with {stranger}");
}

#[tokio::test]
async fn every_route_without_a_token_answers_401() {
    let (redis, _app, client) = service().await;
    for route in RESOURCES.iter().chain(DIALECT) {
        for (stranger, authorization) in strangers() {
            let answer = ask(&client, route, authorization.as_deref()).await;
            assert_turned_away(&answer, route, stranger);
        }
    }
    assert_eq!(redis.command(&["GET", "k"]).await, SECRET_VALUE);
}

#[tokio::test]
async fn unknown_paths_and_methods_without_a_token_answer_401() {
    let (_redis, _app, client) = service().await;
    let unknown = [
        ("PATCH", "/v1/keys/k", "x"),
        ("POST", "/v1/keys/k", "x"),
        ("PUT", "/v1/counters/k", "x"),
        ("POST", "/v1/counters/k", "x"),
        ("GET", "/v1/nothing/here", ""),
        ("GET", "/v1", ""),
        ("GET", "/nothing/here", ""),
        ("DELETE", "/", ""),
    ];
    for route in &unknown {
        assert_turned_away(&ask(&client, route, None).await, route, "no token");
    }
}

#[tokio::test]
async fn a_401_names_the_scheme_it_wants() {
    let (_redis, _app, client) = service().await;
    for route in RESOURCES.iter().chain(DIALECT) {
        let answer = ask(&client, route, None).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{} {} answers WWW-Authenticate: {challenge:?}", route.0, route.1);
    }
}

#[tokio::test]
async fn the_token_opens_every_route_however_its_scheme_is_written() {
    let (_redis, _app, client) = service().await;
    for scheme in ["Bearer ", "bearer ", "BEARER ", "Bearer   ", ""] {
        let credential = format!("{scheme}{ROOT_TOKEN}");
        for route in routes_with_an_end() {
            let answer = ask(&client, route, Some(&credential)).await;
            assert!(!matches!(answer.status, 401 | 403), "{} {} with {scheme:?}", route.0, route.1);
        }
        let subscriber = client.without_token().with_header("Authorization", &credential);
        subscriber.subscribe("c").await.expect("data: subscribe,c,1").await;
    }
}

#[tokio::test]
async fn a_token_in_the_query_opens_no_resource() {
    let (redis, _app, client) = service().await;
    for (method, path, body) in RESOURCES {
        let path = format!("{path}?_token={ROOT_TOKEN}");
        let route = (*method, path.as_str(), *body);
        assert_turned_away(&ask(&client, &route, None).await, &route, "a token in the query");
    }
    assert_eq!(redis.command(&["GET", "k"]).await, SECRET_VALUE);
}

/// Sends a head that promises `promised` bytes, then `body`, and returns the first line of the answer.
async fn status_line(app: &App, target: &str, promised: usize, body: &[u8]) -> String {
    let head = format!("{target} HTTP/1.1\r\nHost: test\r\nContent-Length: {promised}\r\n\r\n");
    let answer = raw_http(app.public(), &[head.as_bytes(), body].concat()).await.expect("an answer");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_stranger_with_twenty_megabytes_is_answered_401_and_not_413() {
    let (_redis, app, _client) = service().await;
    let body = vec![b'x'; 20_000_000];
    for target in ["PUT /v1/keys/k", "POST /v1/counters/k/increment", "POST /", "POST /pipeline"] {
        assert_eq!(status_line(&app, target, body.len(), &body).await, "HTTP/1.1 401 Unauthorized", "{target}");
    }
}

#[tokio::test]
async fn a_stranger_is_answered_before_a_byte_of_the_body_came() {
    let (_redis, app, _client) = service().await;
    for target in ["PUT /v1/keys/k", "POST /"] {
        assert_eq!(status_line(&app, target, 1000, b"").await, "HTTP/1.1 401 Unauthorized", "{target}");
    }
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_never_read_as_a_request() {
    let (redis, app, _client) = service().await;
    let smuggled = format!("DELETE /v1/keys/k HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n\r\n");
    for target in ["PUT /v1/keys/k", "POST /", "POST /pipeline", "GET /nothing/here"] {
        let line = status_line(&app, target, smuggled.len(), smuggled.as_bytes()).await;
        assert_eq!(line, "HTTP/1.1 401 Unauthorized", "{target}");
        assert_eq!(redis.command(&["GET", "k"]).await, SECRET_VALUE, "{target}");
    }
}

#[tokio::test]
async fn no_token_right_or_wrong_reaches_the_log() {
    let (_redis, app, client) = service().await;
    let wrong = "wrong-token-0123456789abcdef0123456789abc";
    for route in routes_with_an_end() {
        for token in [ROOT_TOKEN, wrong] {
            ask(&client, route, Some(&format!("Bearer {token}"))).await;
        }
    }
    client.subscribe("c").await.expect("data: subscribe,c,1").await;
    client.token(wrong).get(&format!("/subscribe/c?_token={wrong}")).await;
    client.without_token().get(&format!("/get/k?_token={wrong}")).await;
    let log = app.log();
    assert!(!log.contains(ROOT_TOKEN) && !log.contains(wrong), "{log}");
}
