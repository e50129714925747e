//! CORS: which pages may read answers, and that a browser is told the same by every layer that answers.
//!
//! What a browser makes of these headers is tried with a real one by `tests/e2e/cors.sh`; here stands what is on the wire.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::app::{Builder, ROOT_TOKEN};
use crate::harness::{Answer, App, Client, Options, Proxy, Redis, eventually, raw_http};
use crate::keys::patient;

/// For anything that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

const APP: &str = "https://app.example.com";
const LOCAL: &str = "http://localhost:3000";
const EVIL: &str = "https://evil.example";

/// A service that lists two origins, with a Redis of its own.
async fn start() -> (Redis, App) {
    let redis = Redis::start(Options::default()).await;
    let app = listing(patient(&redis.url()), &[APP, LOCAL]).start().await;
    (redis, app)
}

fn listing(builder: Builder, origins: &[&str]) -> Builder {
    builder.set("cors.allowed_origins", origins.join(","))
}

/// What a browser sends before a call that is not simple: no credential, and what it is going to do.
async fn preflight(client: &Client, origin: &str, path: &str, method: &str, headers: &str) -> Answer {
    let client = client.without_token();
    let request = client.request(Method::OPTIONS, path).header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", method);
    client
        .send(if headers.is_empty() { request } else { request.header("Access-Control-Request-Headers", headers) })
        .await
}

/// The entries of a header that is a list, in lower case and sorted.
fn list(answer: &Answer, name: &str) -> Vec<String> {
    let values = answer.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut entries: Vec<String> =
        values.flat_map(|value| value.split(',')).map(|entry| entry.trim().to_lowercase()).collect();
    entries.sort();
    entries
}

/// The answer may be read by a page of `origin`, and nobody's cookies have a part in it.
#[track_caller]
fn readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{} {}", answer.status, answer.text());
    assert_eq!(answer.headers.get_all("access-control-allow-origin").iter().count(), 1);
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(list(answer, "vary").contains(&"origin".to_owned()), "{:?}", answer.headers);
}

#[track_caller]
fn unreadable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), None, "{}", answer.text());
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn cross_origin_use_is_off_until_an_origin_is_listed() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client().with_header("Origin", APP);
    for answer in [
        client.post_command(&["PING"]).await,
        client.get("/v1/keys/none").await,
        client.without_token().get("/v1/keys/none").await,
        client.without_token().get("/problems").await,
        preflight(&app.client(), APP, "/pipeline", "POST", "authorization").await,
        preflight(&app.client(), APP, "/v1/keys/a", "PUT", "authorization").await,
    ] {
        let cors = answer.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(cors, None, "{} {}", answer.status, answer.text());
    }
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_credential_and_within_the_envelope() {
    let (_redis, app) = start().await;
    for (path, method) in
        [("/pipeline", "POST"), ("/", "POST"), ("/get/a", "GET"), ("/v1/keys/a", "PUT"), ("/v1/nothing", "DELETE")]
    {
        let answer = preflight(&app.client(), APP, path, method, "authorization, Content-Type,upstash-encoding").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{method} {path}");
        readable(&answer, APP);
        assert_eq!(list(&answer, "access-control-allow-methods"), ["delete", "get", "head", "post", "put"]);
        assert_eq!(answer.header("access-control-max-age"), Some("3600"));
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    }
    let counted = [("method", "OPTIONS"), ("route", "/pipeline"), ("status", "200")];
    assert_eq!(app.client().metric("collective_http_requests_total", &counted).await, Some(1.0));
}

#[tokio::test]
async fn a_preflight_allows_every_header_that_sdks_and_v1_callers_send() {
    let (_redis, app) = start().await;
    let sent = "accept,authorization,cache-control,collective-fence,collective-retry,content-type,idempotency-key,if-match,\
                if-none-match,pragma,traceparent,tracestate,upstash-encoding,upstash-response-format,upstash-sync-token,\
                upstash-telemetry-platform,upstash-telemetry-retry,upstash-telemetry-runtime,upstash-telemetry-sdk,\
                x-request-id,x-request-timeout-ms";
    let answer = preflight(&app.client(), LOCAL, "/pipeline", "POST", sent).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    readable(&answer, LOCAL);
    let allowed = list(&answer, "access-control-allow-headers");
    for header in sent.split(',') {
        assert!(allowed.contains(&header.to_owned()), "{header}: {allowed:?}");
    }
}

#[tokio::test]
async fn a_preflight_of_another_origin_method_or_header_is_refused_in_its_surfaces_shape() {
    let (_redis, app) = start().await;
    let client = app.client();
    let foreign = preflight(&client, EVIL, "/v1/keys/a", "PUT", "authorization").await;
    assert_eq!((foreign.status, &foreign.json()["code"]), (403, &json!("origin_not_allowed")));
    assert_eq!(foreign.header("content-type"), Some("application/problem+json"));
    assert!(foreign.header("x-request-id").is_some());
    unreadable(&foreign);
    let foreign = preflight(&client, EVIL, "/pipeline", "POST", "authorization").await;
    assert_eq!(foreign.json(), json!({"error": "ERR this origin is not among those of cors.allowed_origins"}));
    assert_eq!(foreign.status, 403);
    unreadable(&foreign);
    let method = preflight(&client, APP, "/v1/keys/a", "PATCH", "").await;
    assert_eq!((method.status, &method.json()["code"]), (400, &json!("invalid_request")));
    let header = preflight(&client, APP, "/pipeline", "POST", "x-of-somebody-else").await;
    assert_eq!(header.status, 400, "{}", header.text());
    assert!(header.text().contains("Access-Control-Request-Headers"), "{}", header.text());
}

#[tokio::test]
async fn answers_and_refusals_alike_are_readable_for_a_listed_origin() {
    let (_redis, app) = start().await;
    let client = app.client().with_header("Origin", APP);
    let answers = [
        (201, client.put_key("a", "1").await),
        (200, client.get_key("a").await),
        (200, client.post_command(&["GET", "a"]).await),
        (200, client.without_token().get("/problems").await),
        (401, client.without_token().get_key("a").await),
        (401, client.without_token().pipeline(&[&["PING"]]).await),
        (404, client.get_key("none").await),
        (400, client.post_command(&["NOSUCHCOMMAND"]).await),
        (405, client.send(client.request(Method::PATCH, "/v1/keys/a")).await),
        (405, client.send(client.request(Method::TRACE, "/get/a")).await),
        (414, client.get(&format!("/v1/keys/{}", "k".repeat(9000))).await),
        (431, client.with_header("X-Large", &"x".repeat(17_000)).get_key("a").await),
        (413, client.send(client.request(Method::PUT, "/v1/keys/a").header("Content-Length", "999999999")).await),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{}", answer.text());
        readable(&answer, APP);
        let exposed = list(&answer, "access-control-expose-headers");
        for header in [
            "age",
            "cache-status",
            "collective-outcome",
            "collective-ttl-ms",
            "etag",
            "idempotency-replayed",
            "retry-after",
            "traceresponse",
            "upstash-sync-token",
            "x-request-id",
        ] {
            assert!(exposed.contains(&header.to_owned()), "{header} of {status}: {exposed:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_while_redis_is_down_is_readable_with_its_outcome() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 1);
    let app = listing(App::with_redis(&proxy.url()), &[APP, LOCAL]).start().await;
    proxy.refuse();
    proxy.cut();
    let client = app.client().with_header("Origin", LOCAL);
    let answer = client.pipeline(&[&["SET", "a", "1"]]).await;
    assert!([503, 504].contains(&answer.status), "{} {}", answer.status, answer.text());
    assert!(!answer.outcome().is_empty());
    readable(&answer, LOCAL);
}

#[tokio::test]
async fn a_stream_is_readable_for_a_listed_origin() {
    let (redis, app) = start().await;
    let mut stream = app.client().with_header("Origin", APP).subscribe("chat").await;
    assert_eq!(stream.header("access-control-allow-origin"), Some(APP));
    stream.expect("data: subscribe,chat,1").await;
    redis.command(&["PUBLISH", "chat", "hello"]).await;
    stream.expect("data: message,chat,hello").await;
}

#[tokio::test]
async fn an_origin_that_only_looks_like_a_listed_one_reads_nothing() {
    let (_redis, app) = start().await;
    for origin in [
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "https://sub.app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.",
        "https://APP.example.com",
        "http://localhost:3001",
        "null",
        "*",
    ] {
        let answer = app.client().with_header("Origin", origin).post_command(&["PING"]).await;
        assert_eq!(answer.status, 200, "who may act is the token's affair: {}", answer.text());
        unreadable(&answer);
        unreadable(&preflight(&app.client(), origin, "/pipeline", "POST", "authorization").await);
    }
    let twice = app.client().with_header("Origin", EVIL).with_header("Origin", APP).post_command(&["PING"]).await;
    unreadable(&twice);
    let none = app.client().post_command(&["PING"]).await;
    unreadable(&none);
    assert!(list(&none, "vary").contains(&"origin".to_owned()), "a cache must not give it to a page");
}

#[tokio::test]
async fn a_star_allows_every_page_and_still_no_cookies() {
    let redis = Redis::start(Options::default()).await;
    let app = listing(patient(&redis.url()), &["*"]).start().await;
    let page = app.client().with_header("Origin", EVIL);
    readable(&page.post_command(&["PING"]).await, "*");
    readable(&page.without_token().post_command(&["PING"]).await, "*");
    readable(&preflight(&app.client(), EVIL, "/v1/keys/a", "PUT", "authorization,if-match").await, "*");
    assert!(app.log().contains("cors.allowed_origins is *"), "whoever starts it is told: {}", app.log());
}

/// Where no head was read no origin is known: the refusal is readable if it would be the same for all, and else it is not.
#[tokio::test]
async fn what_is_refused_before_a_head_was_read_is_readable_if_there_is_one_answer_for_all() {
    let redis = Redis::start(Options::default()).await;
    for (origins, allowed) in [(&[APP][..], Some(APP)), (&["*"], Some("*")), (&[APP, LOCAL], None)] {
        let app = listing(patient(&redis.url()), origins)
            .set("limits.connections", 1)
            .set("limits.connections_per_address", 1);
        let app = app.start().await;
        let malformed = raw_http(app.public(), b"this is no HTTP\r\n\r\n").await.expect("an answer");
        let client = app.client();
        eventually(PATIENCE, async || client.status().await["limits"]["connections"]["used"] == 0).await;
        let mut first = TcpStream::connect(app.public()).await.expect("a place");
        let request = format!("GET /ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n\r\n");
        first.write_all(request.as_bytes()).await.expect("it is read");
        let mut status = [0; 12];
        first.read_exact(&mut status).await.expect("it is answered");
        assert!(status.ends_with(b"200"), "it has the only place");
        let full = raw_http(app.public(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("an answer");
        for (status, answer) in [("400", malformed), ("503", full)] {
            let head = String::from_utf8(answer).expect("text").to_lowercase();
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
            let header = head.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: "));
            assert_eq!(header, allowed, "{head}");
            assert_eq!(head.contains("access-control-expose-headers: age"), allowed.is_some(), "{head}");
        }
    }
}

#[tokio::test]
async fn an_origin_no_browser_would_send_is_refused_with_the_configuration() {
    for (origins, word) in
        [("https://app.example.com/", "slash"), ("app.example.com", "scheme"), ("*,https://a.example", "alone")]
    {
        let ended = App::builder().set("cors.allowed_origins", origins).argument("check-config").run().await;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains("cors.allowed_origins") && ended.stderr.contains(word), "{}", ended.stderr);
    }
    let listed = App::builder().toml("[cors]\nallowed_origins = [\"https://a.example\", \"http://localhost:3000\"]\n");
    let ended = listed.argument("check-config").run().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
