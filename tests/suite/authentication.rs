//! Nobody gets past the door without the token: every route, every wrong way to ask.
//!
//! Why so: one forgotten route is an open door, so routes and strangers are two lists and every pair is tried, with a
//! body that would do something. The routes are those of the OpenAPI document, so a new one is tried without a line here. After each
//! list Redis is asked whether anything was done.
//!
//! Limits: there is one token, with every scope; that it is compared in constant time cannot be seen from outside.

use reqwest::Method;
use serde_json::json;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::described::Operation;
use crate::harness::{Answer, App, Client, Options, Redis, raw_http};
use crate::keys::{patient, problem};

/// A request: method, path, body.
#[derive(Clone)]
struct Route {
    method: Method,
    path: String,
    body: String,
}

impl Route {
    fn new((method, path, body): (&str, &str, &str)) -> Self {
        Self { method: method.parse().expect("a method"), path: path.to_owned(), body: body.to_owned() }
    }

    /// The example of an operation, as the document gives it.
    fn example(operation: &Operation) -> Self {
        let path = operation.target(&operation.parameters(&Default::default()));
        let body = operation.body(None).map(|(_, body)| String::from_utf8_lossy(&body).into_owned());
        Self { method: operation.method.clone(), path, body: body.unwrap_or_default() }
    }

    fn is_stream(&self) -> bool {
        self.path.starts_with("/subscribe/") || self.path.starts_with("/psubscribe/")
    }
}

/// Everything the document describes and a token is asked for.
fn described() -> Vec<Route> {
    Operation::all().iter().filter(|operation| !operation.is_public()).map(Route::example).collect()
}

/// What the examples leave out: requests that would change the planted key, and what the dialect says of the rest.
const MORE: &[(&str, &str, &str)] = &[
    ("PUT", "/v1/keys/k", "stolen"),
    ("DELETE", "/v1/keys/k", ""),
    ("POST", "/v1/counters/k/increment", "{\"by\":1}"),
    ("DELETE", "/v1/counters/k", ""),
    ("POST", "/", "[\"SET\",\"k\",\"stolen\"]"),
    ("PUT", "/", "[\"SET\",\"k\",\"stolen\"]"),
    ("GET", "/", ""),
    ("POST", "/pipeline", "[[\"SET\",\"k\",\"stolen\"]]"),
    ("PUT", "/pipeline", "[[\"SET\",\"k\",\"stolen\"]]"),
    ("DELETE", "/pipeline", ""),
    ("POST", "/multi-exec", "[[\"SET\",\"k\",\"stolen\"]]"),
    ("GET", "/set/k/stolen", ""),
    ("POST", "/set/k", "stolen"),
    ("POST", "/subscribe/c", "[]"),
    ("GET", "/metrics", ""),
];

fn routes() -> Vec<Route> {
    let all: Vec<Route> = described().into_iter().chain(MORE.iter().copied().map(Route::new)).collect();
    assert!(all.len() > 55, "{}", all.len());
    all
}

/// The value nobody without the token may see or change.
const SECRET_VALUE: &str = "12345";

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("log.level", "debug").start().await;
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
fn routes_with_an_end() -> Vec<Route> {
    routes().into_iter().filter(|route| !route.is_stream()).collect()
}

async fn ask(client: &Client, route: &Route, authorization: Option<&str>) -> Answer {
    let client = match authorization {
        Some(value) => client.without_token().with_header("Authorization", value),
        None => client.without_token(),
    };
    let request = client.request(route.method.clone(), &route.path);
    client.send(if route.body.is_empty() { request } else { request.body(route.body.clone()) }).await
}

/// Checks that the answer is a 401 in the shape of the surface it came from, and nothing more.
#[track_caller]
fn assert_turned_away(answer: &Answer, route: &Route, stranger: &str) {
    let Route { method, path, .. } = route;
    assert_eq!(answer.status, 401, "{method} {path} with {stranger}: {}", answer.text());
    assert_eq!(answer.outcome, None, "{method} {path}: Redis has nothing to do with it");
    if method == Method::HEAD {
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

/// Nothing a request could have made or changed is there: no lease, no member of a room, no record of a call.
async fn assert_untouched(redis: &Redis) {
    assert_eq!(redis.command(&["GET", "k"]).await, SECRET_VALUE);
    assert_eq!(redis.keys_of_callers().await, 1, "a key was made");
    for kind in ["lease", "limiter", "presence", "idempotency"] {
        let made = redis.command(&["KEYS", &format!("collective:{kind}*")]).await;
        assert!(made.items().is_empty(), "{made}");
    }
}

#[tokio::test]
async fn no_wrong_credential_opens_any_route_and_nothing_is_done() {
    let (redis, _app, client) = service().await;
    for route in routes() {
        for (stranger, authorization) in strangers() {
            let answer = ask(&client, &route, authorization.as_deref()).await;
            assert_turned_away(&answer, &route, stranger);
        }
    }
    assert_untouched(&redis).await;
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
    for route in unknown.map(Route::new) {
        assert_turned_away(&ask(&client, &route, None).await, &route, "no token");
    }
}

#[tokio::test]
async fn a_401_names_the_scheme_it_wants() {
    let (_redis, _app, client) = service().await;
    for route in routes() {
        let answer = ask(&client, &route, None).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let Route { method, path, .. } = route;
        assert!(challenge.starts_with("Bearer"), "{method} {path} answers WWW-Authenticate: {challenge:?}");
    }
}

#[tokio::test]
async fn the_token_opens_every_route_however_its_scheme_is_written() {
    let (_redis, _app, client) = service().await;
    for scheme in ["Bearer ", "bearer ", "BEARER ", "Bearer   ", ""] {
        let credential = format!("{scheme}{ROOT_TOKEN}");
        for route in routes_with_an_end() {
            let answer = ask(&client, &route, Some(&credential)).await;
            assert!(!matches!(answer.status, 401 | 403), "{} {} with {scheme:?}", route.method, route.path);
        }
        let subscriber = client.without_token().with_header("Authorization", &credential);
        subscriber.subscribe("c").await.expect("data: subscribe,c,1").await;
    }
}

#[tokio::test]
async fn a_token_in_the_query_opens_no_resource() {
    let (redis, _app, client) = service().await;
    for mut route in routes().into_iter().filter(|route| route.path.starts_with("/v1")) {
        let mark = if route.path.contains('?') { '&' } else { '?' };
        route.path.push_str(&format!("{mark}_token={ROOT_TOKEN}"));
        assert_turned_away(&ask(&client, &route, None).await, &route, "a token in the query");
    }
    assert_untouched(&redis).await;
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
            ask(&client, &route, Some(&format!("Bearer {token}"))).await;
        }
    }
    client.subscribe("c").await.expect("data: subscribe,c,1").await;
    client.token(wrong).get(&format!("/subscribe/c?_token={wrong}")).await;
    client.without_token().get(&format!("/get/k?_token={wrong}")).await;
    let log = app.log();
    assert!(!log.contains(ROOT_TOKEN) && !log.contains(wrong), "{log}");
}
