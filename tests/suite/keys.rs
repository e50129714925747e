//! `/v1/keys`: what a caller stores, reads, inspects and removes, and how each refusal reads.
//!
//! Why so: every answer is compared with what Redis itself holds, asked over a connection of the test's own, so that an
//! answer and the data cannot be wrong together. Each problem document is checked as a whole, not only for its code.
//!
//! Limits: nothing fails here but the callers; what happens when Redis does is told in `classes`.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{Builder, ROOT_TOKEN};
use crate::harness::{Answer, App, Client, Options, Redis, Reply, eventually, raw_http};

/// Largest request body by default.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Longest lifetime a key can be given.
const TTL_MAX_SECONDS: u64 = 3_153_600_000;

/// A program in front of this Redis whose waits are so long that a busy machine is not taken for a slow Redis.
pub fn patient(url: &str) -> Builder {
    App::with_redis(url)
        .set("redis.acquire_timeout", "5s")
        .set("attempt.timeout", "5s")
        .set("requests.timeout", "20s")
        .set("breaker.slow_call_after", "4s")
        .set("breaker.stall_after", "20s")
}

/// Five times as much time for all that goes on with Redis: a freeze is still noticed within seconds, and neither a disk that
/// is slow for a moment nor a Redis that is kept off the processor is taken for one.
pub fn unhurried(builder: Builder) -> Builder {
    builder
        .set("redis.acquire_timeout", "1250ms")
        .set("attempt.timeout", "2s")
        .set("requests.timeout", "10s")
        .set("breaker.slow_call_after", "1500ms")
        .set("breaker.stall_after", "2s")
}

/// As patient, and it tries six times: for links on which three losses in a row are to be expected.
pub fn persistent(url: &str) -> Builder {
    // Six attempts must fit into the request's time.
    patient(url).set("breaker.slow_call_after", "2s").set("attempt.timeout", "3s").set("retry.attempts", 6)
}

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

/// Checks a problem document from its first member to its last, and returns it.
#[track_caller]
pub fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let document = answer.json();
    assert_eq!(document["code"], code, "{document}");
    assert_eq!(document["type"], format!("/problems/{code}"));
    assert_eq!(document["status"], status);
    assert_eq!(document["request_id"].as_str(), answer.header("x-request-id"));
    assert!(document["retryable"].is_boolean(), "{document}");
    for member in ["title", "detail", "instance"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "no {member} in {document}");
    }
    assert_eq!(document["outcome"].as_str(), answer.outcome.as_deref(), "the header repeats the member");
    assert_eq!(document["attempts"].is_u64(), document["outcome"].is_string(), "{document}");
    document
}

/// The tag Redis' own SHA-1 gives to `content`.
async fn tag_of(redis: &Redis, content: &[u8]) -> String {
    let script: [&[u8]; 4] = [b"EVAL", b"return redis.sha1hex(ARGV[1])", b"0", content];
    format!("\"{}\"", redis.command(&script).await)
}

async fn accepting(client: &Client, accept: &str, key: &str) -> Answer {
    client.with_header("Accept", accept).get_key(key).await
}

async fn call(client: &Client, method: &Method, path: &str) -> Answer {
    let request = client.request(method.clone(), path);
    client.send(if *method == Method::PUT { request.body("new") } else { request }).await
}

/// A request as bytes, for targets a client would tidy up before sending.
fn raw(method: &str, target: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {ROOT_TOKEN}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn raw_answer(app: &App, request: &[u8]) -> String {
    let answer = raw_http(app.public(), request).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_value_comes_back_as_the_bytes_it_was_stored_as() {
    let (redis, _app, client) = service().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    for content in [&b"hello"[..], b"", b"\r\n$-1\r\n*3\r\n", &every_byte] {
        assert_eq!(client.put_key("k", content).await.text(), "");
        assert_eq!(redis.command(&["GET", "k"]).await, Reply::Bulk(content.to_vec()));
        let answer = client.get_key("k").await;
        assert_eq!((answer.status, &answer.body[..]), (200, content));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    }
}

#[tokio::test]
async fn a_put_says_whether_it_created_the_key() {
    let (_redis, _app, client) = service().await;
    assert_eq!(client.put_key("k", "a").await.status, 201);
    assert_eq!(client.put_key("k", "a").await.status, 204);
    assert_eq!(client.put_key("k", "b").await.status, 204);
    client.delete_key("k").await;
    assert_eq!(client.put_key("k", "a").await.status, 201);
}

#[tokio::test]
async fn the_etag_is_the_sha1_of_the_content_and_of_nothing_else() {
    let (redis, _app, client) = service().await;
    for content in [&b"hello"[..], b"", b"\xff\x00"] {
        let expected = tag_of(&redis, content).await;
        for path in ["/v1/keys/one", "/v1/keys/two?ttl_seconds=100"] {
            let put = client.send(client.request(Method::PUT, path).body(content.to_vec())).await;
            assert_eq!(put.header("etag"), Some(expected.as_str()));
        }
        for key in ["one", "two"] {
            assert_eq!(client.get_key(key).await.header("etag"), Some(expected.as_str()));
            assert_eq!(client.head_key(key).await.header("etag"), Some(expected.as_str()));
        }
    }
    assert_eq!(client.put_key("k", "hello").await.header("etag"), Some("\"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\""));
}

#[tokio::test]
async fn a_reader_who_asks_for_json_gets_the_same_bytes_as_json() {
    let (_redis, _app, client) = service().await;
    let json = " {\"a\": [1, 2.50, \"\\u00e9\"]}\n";
    client.put_key("json", json).await;
    for accept in ["application/json", "application/json;q=0.9, */*;q=0.1", "text/html, application/json"] {
        let answer = accepting(&client, accept, "json").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, json), "{accept}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{accept}");
    }
    for accept in [
        "*/*",
        "application/octet-stream",
        "application/*",
        "application/json;q=0, */*",
        "application/json;q=0.5, application/octet-stream",
        "text/html",
        "neither; nor",
    ] {
        let answer = accepting(&client, accept, "json").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, json), "{accept}");
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"), "{accept}");
    }
}

#[tokio::test]
async fn a_reader_who_takes_only_json_is_told_when_the_content_is_none() {
    let (_redis, _app, client) = service().await;
    for content in [&b"hello"[..], b"", b"{\"a\":1}x"] {
        client.put_key("text", content).await;
        problem(&accepting(&client, "application/json", "text").await, 406, "not_acceptable");
        problem(
            &accepting(&client, "application/json, application/octet-stream;q=0", "text").await,
            406,
            "not_acceptable",
        );
        for accept in ["application/json, */*", "application/json, application/octet-stream"] {
            let answer = accepting(&client, accept, "text").await;
            assert_eq!((answer.status, &answer.body[..]), (200, content), "{accept}");
            assert_eq!(answer.header("content-type"), Some("application/octet-stream"), "{accept}");
        }
    }
}

#[tokio::test]
async fn content_that_is_no_utf8_is_no_json() {
    let (_redis, _app, client) = service().await;
    client.put_key("text", *b"\"\xff\"").await;
    problem(&accepting(&client, "application/json", "text").await, 406, "not_acceptable");
}

#[tokio::test]
async fn media_types_are_compared_without_regard_to_letter_case() {
    let (_redis, _app, client) = service().await;
    client.put_key("json", "1").await;
    let answer = accepting(&client, "Application/JSON", "json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_head_tells_length_tag_and_lifetime_without_the_content() {
    let (redis, _app, client) = service().await;
    client.put_key("k", "hello").await;
    let answer = client.head_key("k").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), Some("5"));
    assert_eq!(answer.header("etag"), Some(tag_of(&redis, b"hello").await.as_str()));
    assert_eq!(answer.header("collective-ttl-ms"), None, "it lives for ever");

    redis.command(&["PEXPIRE", "k", "60000"]).await;
    let answer = client.head_key("k").await;
    let millis: u64 = answer.header("collective-ttl-ms").expect("a lifetime").parse().expect("milliseconds");
    assert!((30_000..=60_000).contains(&millis), "{millis}");

    client.put_key("empty", "").await;
    assert_eq!(client.head_key("empty").await.header("content-length"), Some("0"));
    let answer = client.head_key("missing").await;
    assert_eq!((answer.status, answer.body.len()), (404, 0));
}

#[tokio::test]
async fn a_delete_answers_204_whether_or_not_there_was_a_key() {
    let (redis, _app, client) = service().await;
    client.put_key("k", "v").await;
    for _ in 0..2 {
        let answer = client.delete_key("k").await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
        problem(&client.get_key("k").await, 404, "not_found");
    }
}

#[tokio::test]
async fn a_key_lives_as_long_as_it_was_given() {
    let (redis, _app, client) = service().await;
    let put = async |query: &str| call(&client, &Method::PUT, &format!("/v1/keys/k{query}")).await.status;
    assert_eq!(put("?ttl_seconds=100").await, 201);
    assert!((50_000..=100_000).contains(&redis.command(&["PTTL", "k"]).await.integer()));
    assert_eq!(put("").await, 204);
    assert_eq!(redis.command(&["PTTL", "k"]).await, -1, "a put without a lifetime gives one for ever");
    assert_eq!(put(&format!("?ttl_seconds={TTL_MAX_SECONDS}")).await, 204);
    assert!(redis.command(&["TTL", "k"]).await.integer() > 3_153_599_000);
    assert_eq!(put("?ttl_seconds=1").await, 204);
    eventually(Duration::from_secs(5), async || client.get_key("k").await.status == 404).await;
}

#[tokio::test]
async fn a_put_that_keeps_the_lifetime_changes_the_content_alone() {
    let (redis, _app, client) = service().await;
    let keep = async |key: &str| call(&client, &Method::PUT, &format!("/v1/keys/{key}?keep_ttl=true")).await.status;
    redis.command(&["SET", "k", "old", "PX", "100000"]).await;
    assert_eq!(keep("k").await, 204);
    assert_eq!(redis.command(&["GET", "k"]).await, "new");
    assert!((50_000..=100_000).contains(&redis.command(&["PTTL", "k"]).await.integer()));
    assert_eq!(keep("another").await, 201);
    assert_eq!(redis.command(&["PTTL", "another"]).await, -1, "a new key has no lifetime to keep");
    let both = call(&client, &Method::PUT, "/v1/keys/k?keep_ttl=true&ttl_seconds=5").await;
    let document = problem(&both, 422, "invalid_value");
    assert!(document["errors"][0]["detail"].as_str().is_some_and(|rule| rule.contains("keep_ttl")), "{document}");
    assert_eq!(call(&client, &Method::PUT, "/v1/keys/k?keep_ttl=maybe").await.status, 400);
    assert_eq!(call(&client, &Method::PUT, "/v1/keys/k?keep_ttl=false").await.status, 204);
    assert_eq!(redis.command(&["PTTL", "k"]).await, -1);
}

#[tokio::test]
async fn a_lifetime_against_the_rule_is_422_and_points_at_the_parameter() {
    let (redis, _app, client) = service().await;
    for seconds in [0, TTL_MAX_SECONDS + 1, u64::MAX] {
        let answer = call(&client, &Method::PUT, &format!("/v1/keys/k?ttl_seconds={seconds}")).await;
        let document = problem(&answer, 422, "invalid_value");
        assert_eq!(document["errors"][0]["pointer"], "ttl_seconds", "{document}");
        assert!(document["errors"][0]["detail"].as_str().is_some_and(|rule| rule.contains("3153600000")), "{document}");
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn a_lifetime_that_is_no_whole_number_is_refused_by_name() {
    let (redis, _app, client) = service().await;
    for value in ["", "abc", "-1", "1.5", "10s", "99999999999999999999999"] {
        let answer = call(&client, &Method::PUT, &format!("/v1/keys/k?ttl_seconds={value}")).await;
        assert!(matches!(answer.status, 400 | 422), "{value}: {} {}", answer.status, answer.text());
        let document = answer.json();
        let named = [&document["detail"], &document["errors"]].map(Value::to_string).concat();
        assert!(named.contains("ttl_seconds"), "{value}: the parameter is not named in {document}");
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_by_name() {
    let (redis, _app, client) = service().await;
    for query in ["ttl=5", "ttl_seconds=5&nx=true", "TTL_SECONDS=5"] {
        let answer = call(&client, &Method::PUT, &format!("/v1/keys/k?{query}")).await;
        let document = problem(&answer, 400, "invalid_request");
        let name = query.rsplit('&').next().and_then(|last| last.split('=').next()).expect("a name");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains(name)), "{document}");
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn a_parameter_that_a_method_does_not_know_is_refused_on_every_method() {
    let (redis, _app, client) = service().await;
    client.put_key("k", "v").await;
    for method in [Method::GET, Method::DELETE] {
        let document = problem(&call(&client, &method, "/v1/keys/k?ttl_seconds=5").await, 400, "invalid_request");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains("ttl_seconds")), "{document}");
    }
    assert_eq!(redis.command(&["GET", "k"]).await, "v");
}

#[tokio::test]
async fn a_name_is_everything_after_the_prefix_decoded_once() {
    let (redis, _app, client) = service().await;
    let names: &[(&str, &[u8])] = &[
        ("plain", b"plain"),
        ("a/b/c", b"a/b/c"),
        ("x%2Fy", b"x/y"),
        ("x%252Fy", b"x%2Fy"),
        ("/a//b/", b"/a//b/"),
        ("%00", b"\0"),
        ("%FF%fe", b"\xff\xfe"),
        ("..%2Fup", b"../up"),
        ("line%0D%0Afeed", b"line\r\nfeed"),
        ("q%3Fh%23s%20p+p", b"q?h#s p+p"),
        ("gr%C3%BC%C3%9Fe%E2%9C%93", "grüße✓".as_bytes()),
        ("collectiv", b"collectiv"),
        ("Collective%3Ax", b"Collective:x"),
    ];
    for (encoded, name) in names {
        let path = format!("/v1/keys/{encoded}");
        assert_eq!(call(&client, &Method::PUT, &path).await.status, 201, "{path}");
        assert_eq!(redis.command(&[b"GET", *name]).await, "new", "{path}");
        assert_eq!(client.get(&path).await.text(), "new", "{path}");
        assert_eq!(call(&client, &Method::HEAD, &path).await.status, 200, "{path}");
        assert_eq!(call(&client, &Method::DELETE, &path).await.status, 204, "{path}");
        assert_eq!(redis.command(&[b"EXISTS", *name]).await, 0, "{path}");
    }
}

/// Paths that end in a slash lose it on the way too often, so the contract names the empty key by `?key_base64url=` alone.
#[tokio::test]
async fn the_empty_key_has_no_name_in_a_path() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "", "kept"]).await;
    for method in [Method::PUT, Method::GET, Method::DELETE] {
        let document = problem(&call(&client, &method, "/v1/keys/").await, 400, "invalid_path");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains("/v1/keys?key_base64url=")), "{document}");
    }
    assert_eq!(call(&client, &Method::HEAD, "/v1/keys/").await.status, 400);
    assert_eq!(redis.command(&["GET", ""]).await, "kept");
}

#[tokio::test]
async fn dot_segments_are_part_of_the_name_and_lead_nowhere() {
    let (redis, app, _client) = service().await;
    for name in ["..", ".", "../counters/c", "a/../b"] {
        let answer = raw_answer(&app, &raw("PUT", &format!("/v1/keys/{name}"), "dots")).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{name}: {answer}");
        assert_eq!(redis.command(&["GET", name]).await, "dots", "{name}");
    }
}

#[tokio::test]
async fn a_broken_percent_sequence_is_an_invalid_path() {
    let (redis, app, _client) = service().await;
    for name in ["a%", "a%4", "a%zz", "%%41"] {
        let answer = raw_answer(&app, &raw("PUT", &format!("/v1/keys/{name}"), "v")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        assert!(answer.contains("\"code\":\"invalid_path\""), "{name}: {answer}");
    }
    assert_eq!(redis.keys_of_callers().await, 0);
}

#[tokio::test]
async fn the_services_own_names_are_refused_to_every_verb() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "collective:x", "ours"]).await;
    for path in ["/v1/keys/collective:x", "/v1/keys/%63ollective%3Ax", "/v1/keys/collective:"] {
        for method in [Method::PUT, Method::GET, Method::DELETE] {
            let document = problem(&call(&client, &method, path).await, 403, "reserved_name");
            assert_eq!(document["outcome"], "not_executed", "{method} {path}");
        }
        let answer = call(&client, &Method::HEAD, path).await;
        assert_eq!((answer.status, answer.outcome()), (403, "not_executed"), "{path}");
    }
    assert_eq!(redis.command(&["GET", "collective:x"]).await, "ours");
    assert_eq!(redis.command(&["EXISTS", "collective:"]).await, 0);
}

#[tokio::test]
async fn a_key_of_another_type_is_409_and_left_untouched() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "k", "a", "b"]).await;
    let calls = [Method::PUT, Method::GET, Method::DELETE].map(|method| (method, "/v1/keys/k"));
    for (method, path) in calls.into_iter().chain([(Method::PUT, "/v1/keys/k?ttl_seconds=1")]) {
        let document = problem(&call(&client, &method, path).await, 409, "wrong_type");
        assert_eq!(document["outcome"], "not_executed", "{method} {path}");
        assert_eq!(document["retryable"], false, "{method} {path}");
    }
    let answer = client.head_key("k").await;
    assert_eq!((answer.status, answer.outcome(), answer.body.len()), (409, "not_executed", 0));
    assert_eq!(redis.command(&["LRANGE", "k", "0", "-1"]).await.to_string(), "a,b");
    assert_eq!(redis.command(&["PTTL", "k"]).await, -1);
}

#[tokio::test]
async fn a_body_of_sixteen_mebibytes_is_stored_and_one_byte_more_is_not() {
    let (redis, app, client) = service().await;
    assert_eq!(client.put_key("fits", vec![b'x'; BODY_LIMIT]).await.status, 201);
    assert_eq!(redis.command(&["STRLEN", "fits"]).await, BODY_LIMIT as i64);
    assert_eq!(client.get_key("fits").await.body.len(), BODY_LIMIT);

    let too_large = "x".repeat(BODY_LIMIT + 1);
    let declared = raw_answer(&app, &raw("PUT", "/v1/keys/too-large", &too_large)).await;
    let chunked = format!(
        "PUT /v1/keys/too-large HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{too_large}\r\n0\r\n\r\n",
        too_large.len()
    );
    let chunked = raw_answer(&app, chunked.as_bytes()).await;
    for answer in [declared, chunked] {
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("\"code\":\"payload_too_large\""), "{answer}");
        assert!(answer.contains("16777216"), "the limit is told: {answer}");
    }
    assert_eq!(redis.command(&["EXISTS", "too-large"]).await, 0);
}

#[tokio::test]
async fn content_over_the_limit_on_replies_is_refused_and_told_why() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.reply", "1MiB").start().await;
    redis.command(&["SETRANGE", "at", "1048575", "x"]).await;
    redis.command(&["SETRANGE", "over", "1048576", "x"]).await;
    let client = app.client().with_header("Cache-Control", "stale-if-error=60");
    assert_eq!(client.get_key("at").await.body.len(), 1 << 20);
    let document = problem(&client.get_key("over").await, 413, "reply_too_large");
    assert_eq!((&document["outcome"], &document["retryable"]), (&"not_executed".into(), &false.into()));
    assert_eq!(client.head_key("over").await.status, 200, "what is too large to read can be looked at");
}

#[tokio::test]
async fn a_problem_names_its_request_and_the_callers_id_is_kept() {
    let (_redis, _app, client) = service().await;
    let document = problem(&client.get_key("a/missing key").await, 404, "not_found");
    assert_eq!(document["instance"], "/v1/keys/a/missing%20key");

    let answer = client.with_header("X-Request-Id", "order-17.retry_2").get_key("missing").await;
    assert_eq!(problem(&answer, 404, "not_found")["request_id"], "order-17.retry_2");
    let too_long = "x".repeat(65);
    for forged in ["two words", "quo\"te", &too_long] {
        let answer = client.with_header("X-Request-Id", forged).get_key("missing").await;
        assert_ne!(problem(&answer, 404, "not_found")["request_id"], forged);
    }
    let (first, second) = (client.get_key("missing").await, client.get_key("missing").await);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn every_answer_carries_the_standard_headers() {
    let (_redis, _app, client) = service().await;
    let stored = client.put_key("k", "v").await;
    for answer in [stored, client.get_key("k").await, client.head_key("k").await, client.get_key("missing").await] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
        assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    }
}

#[tokio::test]
async fn a_refusal_that_redis_decided_carries_its_outcome() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "list", "a"]).await;
    client.put_key("text", "hello").await;
    for answer in [
        client.get_key("list").await,
        client.get_key("missing").await,
        client.head_key("missing").await,
        client.get("/v1/counters/missing").await,
        accepting(&client, "application/json", "text").await,
    ] {
        assert_eq!(answer.outcome(), "not_executed", "{} {}", answer.status, answer.text());
    }
}

#[tokio::test]
async fn a_method_the_resource_does_not_have_is_405_with_those_it_has() {
    let (_redis, _app, client) = service().await;
    for method in [Method::POST, Method::PATCH] {
        let answer = call(&client, &method, "/v1/keys/k").await;
        problem(&answer, 405, "method_not_allowed");
        let allow: Vec<&str> = answer.header("allow").expect("an Allow header").split(", ").collect();
        assert_eq!(allow, ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]);
    }
    let answer = call(&client, &Method::OPTIONS, "/v1/keys/k").await;
    assert_eq!((answer.status, answer.header("allow")), (204, Some("GET, HEAD, PUT, DELETE, OPTIONS")));
}

#[tokio::test]
async fn an_unknown_path_below_v1_is_a_problem_of_its_own() {
    let (_redis, _app, client) = service().await;
    for path in ["/v1", "/v1/", "/v1/key/k", "/v1/lease/l", "/v1/KEYS/k"] {
        for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
            let document = problem(&call(&client, &method, path).await, 404, "not_found");
            assert_eq!(document["instance"], path);
        }
    }
}

#[tokio::test]
async fn a_deadline_that_is_no_number_is_refused() {
    let (redis, _app, client) = service().await;
    for value in ["0", "-1", "1.5", "abc", "", "10ms"] {
        let answer = call(&client.with_header("X-Request-Timeout-Ms", value), &Method::PUT, "/v1/keys/k").await;
        let document = problem(&answer, 400, "invalid_request");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains("X-Request-Timeout-Ms")), "{document}");
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
    assert_eq!(
        call(&client.timeout_ms(60_000), &Method::PUT, "/v1/keys/k").await.status,
        201,
        "it is cut, not refused"
    );
}

#[tokio::test]
async fn a_value_written_in_one_dialect_is_read_in_the_other() {
    let (_redis, _app, client) = service().await;
    client.put_key("from v1", "grüße").await;
    assert_eq!(client.post_command(&["GET", "from v1"]).await.result(), "grüße");
    client.post_command(&["SET", "from/dialect", "✓", "EX", "100"]).await;
    assert_eq!(client.get_key("from/dialect").await.text(), "✓");
    assert!(client.head_key("from/dialect").await.header("collective-ttl-ms").is_some());
    client.pipeline(&[&["APPEND", "from v1", "!"], &["DEL", "from/dialect"]]).await;
    assert_eq!(client.get_key("from v1").await.text(), "grüße!");
    assert_eq!(client.get_key("from/dialect").await.status, 404);
}

#[tokio::test]
async fn values_that_look_like_protocol_stay_data() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "witness", "alive"]).await;
    let forged = [
        "\r\n*1\r\n$8\r\nFLUSHALL\r\n",
        "$-1\r\n",
        "*3\r\n$3\r\nSET\r\n$7\r\nwitness\r\n$1\r\nx\r\n",
        "+OK\r\n-ERR no\r\n:1\r\n",
        "\"],[\"FLUSHALL\"],[\"",
        "\0",
        "FLUSHALL\n",
        "-MOVED 1 127.0.0.1:1\r\n",
    ];
    for text in forged {
        assert_eq!(client.post_command(&["SET", text, text]).await.result(), "OK");
        assert_eq!(client.post_command(&["GET", text]).await.result(), text);
        assert_eq!(
            client.pipeline(&[&["ECHO", text], &["GET", text]]).await.json(),
            json!([{ "result": text }, { "result": text }])
        );
        assert_eq!(client.get_key(text).await.text(), text);
        assert_eq!(client.put_key(text, text).await.status, 204);
        assert_eq!(redis.command(&["GET", text]).await, text);
    }
    assert_eq!(redis.command(&["GET", "witness"]).await, "alive");
    assert_eq!(redis.keys_of_callers().await, forged.len() + 1);
}
