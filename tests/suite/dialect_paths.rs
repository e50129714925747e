//! The routes of the command dialect: paths, methods, slashes, tokens in the query, headers, and the answers that differ from Redis'.
//!
//! What the SDKs send and expect on the wire is the standard here; bytes that a client library would tidy up are sent raw.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{Answer, App, Client, Options, Redis, eventually, raw_http};
use crate::keys::patient;

async fn start() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

async fn send(client: &Client, method: Method, path: &str, body: &'static [u8]) -> Answer {
    client.send(client.request(method, path).body(body)).await
}

/// Checks that the key was given a hundred seconds; some of them may be over.
async fn given_a_hundred_seconds(redis: &Redis, key: &str) {
    let left = redis.command(&["TTL", key]).await.integer();
    assert!((80..=100).contains(&left), "{left}");
}

/// A request as its bytes, so that nothing tidies the path up; the answer as text.
async fn raw(app: &App, line: &str, body: &str) -> String {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = raw_http(app.public(), request.as_bytes()).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_path_is_a_command_with_body_and_query_behind() {
    let (redis, _app, client) = start().await;
    let answer = send(&client, Method::POST, "/set/foo?EX=100", b"{\"a\": 1}").await;
    assert_eq!((answer.status, answer.result()), (200, json!("OK")));
    assert_eq!(redis.command(&["GET", "foo"]).await, "{\"a\": 1}");
    given_a_hundred_seconds(&redis, "foo").await;
    assert_eq!(client.get("/get/foo").await.result(), json!("{\"a\": 1}"));
    assert_eq!(client.get("/set/foo/bar?NX").await.result(), Value::Null);
    assert_eq!(send(&client, Method::PUT, "/incr/n", b"").await.result(), json!(1), "an empty body is no argument");
    assert_eq!(client.get("/SET/a%2Fb%20%00/1+1").await.result(), json!("OK"));
    assert_eq!(redis.command(&[&b"GET"[..], b"a/b \0"]).await, "1+1");
}

#[tokio::test]
async fn the_content_type_is_ignored() {
    let (_redis, _app, client) = start().await;
    for media in ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8", "nonsense"] {
        let request = client.request(Method::POST, "/").header("Content-Type", media).body("[\"ECHO\", \"x\"]");
        assert_eq!(client.send(request).await.result(), json!("x"), "{media}");
        let request = client.request(Method::POST, "/echo").header("Content-Type", media).body("[1]");
        assert_eq!(client.send(request).await.result(), json!("[1]"), "{media}");
    }
}

#[tokio::test]
async fn slashes_are_forgiven_where_sdks_join_urls_carelessly() {
    let (_redis, app, _client) = start().await;
    for line in ["POST //pipeline", "POST /pipeline/", "PUT /Pipeline"] {
        let answer = raw(&app, line, "[[\"ECHO\",\"x\"]]").await;
        assert!(answer.ends_with("[{\"result\":\"x\"}]"), "{line}: {answer}");
    }
    for line in ["POST //", "GET //echo/x/"] {
        let answer = raw(&app, line, if line.starts_with("POST") { "[\"ECHO\",\"x\"]" } else { "" }).await;
        assert!(answer.ends_with("{\"result\":\"x\"}"), "{line}: {answer}");
    }
}

#[tokio::test]
async fn methods_are_those_of_the_protocol() {
    let (redis, app, client) = start().await;
    redis.command(&["SET", "k", "v"]).await;
    for method in [Method::DELETE, Method::PATCH] {
        for path in ["/", "/pipeline", "/get/k"] {
            let answer = send(&client, method.clone(), path, b"").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.json()["error"].is_string() && answer.header("allow").is_some(), "{}", answer.text());
        }
    }
    for path in ["/", "/pipeline", "/multi-exec"] {
        assert_eq!(client.get(path).await.status, 405);
        assert_eq!(send(&client, Method::HEAD, path, b"").await.status, 200);
    }
    let head = raw(&app, "HEAD /get/k", "").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(send(&client.without_token(), Method::HEAD, "/get/k", b"").await.status, 401);
    let asked = send(&client.without_token(), Method::OPTIONS, "/pipeline", b"").await;
    assert_eq!(asked.status, 200);
    assert!(asked.header("allow").is_some_and(|allow| allow.contains("POST")));
    assert_eq!(asked.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_token_may_stand_in_the_query_of_the_dialect_and_nowhere_else() {
    let (redis, app, client) = start().await;
    let nobody = client.without_token();
    let answer = nobody.get(&format!("/set/foo/bar?_token={ROOT_TOKEN}&EX=100")).await;
    assert_eq!((answer.status, answer.result()), (200, json!("OK")));
    given_a_hundred_seconds(&redis, "foo").await;
    assert_eq!(nobody.get("/get/foo?_token=wrong").await.status, 401);
    assert_eq!(nobody.get(&format!("/v1/keys/foo?_token={ROOT_TOKEN}")).await.status, 401);
    let wrong = client.token("wrong-but-first-wrong-but-first-x");
    assert_eq!(wrong.get(&format!("/get/foo?_token={ROOT_TOKEN}")).await.status, 401, "the header wins");
    assert!(!app.log().contains(ROOT_TOKEN), "the token is in the log");
}

#[tokio::test]
async fn what_is_left_out_on_purpose_is_refused_clearly() {
    let (_redis, _app, client) = start().await;
    let monitor = client.post("/monitor", &json!([])).await;
    assert_eq!((monitor.status, monitor.outcome()), (400, "not_executed"));
    assert!(monitor.text().contains("MONITOR is not available"), "{}", monitor.text());
    let resp2 = client.with_header("Upstash-Response-Format", "resp2");
    for answer in [resp2.post_command(&["PING"]).await, resp2.pipeline(&[&["PING"]]).await, resp2.get("/ping").await] {
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("resp2 is not available"), "{}", answer.text());
    }
    assert_eq!(
        resp2.multi_exec(&[&["PING"]]).await.json(),
        json!([{"result": "PONG"}]),
        "transactions are always JSON"
    );
    let json = client.with_header("Upstash-Response-Format", "json");
    assert_eq!(json.post_command(&["PING"]).await.status, 200);
    assert_eq!(client.with_header("Upstash-Response-Format", "xml").post_command(&["PING"]).await.status, 400);
    assert_eq!(client.with_header("Upstash-Encoding", "gzip").post_command(&["PING"]).await.status, 400);
}

#[tokio::test]
async fn pages_of_the_service_are_never_commands() {
    let (_redis, _app, client) = start().await;
    for path in ["/.well-known/security.txt", "/problems/nothing", "/v1/nothing"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
}

#[tokio::test]
async fn errors_are_json_with_an_outcome_and_successes_have_a_new_sync_token() {
    let (redis, _app, client) = start().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let answer = client.post_command(&["SET", "k", "same"]).await;
        tokens.push(answer.header("upstash-sync-token").expect("a token").to_owned());
        let answer = client.pipeline(&[&["SET", "k", "same"]]).await;
        tokens.push(answer.header("upstash-sync-token").expect("a token").to_owned());
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 6);
    let refused = client.get("/incr/k").await;
    assert_eq!((refused.status, refused.outcome()), (400, "not_executed"));
    assert_eq!(refused.header("upstash-sync-token"), None);
    redis.kill9();
    eventually(Duration::from_secs(15), async || {
        let down = client.get("/incr/k").await;
        assert!(down.json()["error"].is_string() && down.header("upstash-sync-token").is_none(), "{}", down.text());
        // What was handed to a connection that was just dying is unknown; from then on nothing is sent.
        let truth = matches!((down.status, down.outcome()), (503, "not_executed") | (504, "unknown"));
        assert!(truth, "{} {} {}", down.status, down.outcome(), down.text());
        down.status == 503 && down.retry_after.is_some()
    })
    .await;
}

#[tokio::test]
async fn bad_items_are_refused_one_by_one() {
    let (_redis, _app, client) = start().await;
    let body = json!([
        ["SET", "a", 1],
        ["GET", null],
        ["BLPOP", "l", 0],
        ["GET", "collective:x"],
        ["INCR", "a"],
        [],
        ["LPUSH", "a", "x"]
    ]);
    let answer = client.post("/pipeline", &body).await;
    let items = answer.json();
    assert_eq!((answer.status, items.as_array().map(Vec::len)), (200, Some(7)));
    assert_eq!((&items[0], &items[4]), (&json!({"result": "OK"}), &json!({"result": 2})));
    assert_eq!(items[1], json!({"error": "ERR null args are not supported"}));
    for (index, text) in [(2, "BLPOP"), (3, "collective:"), (5, "empty command"), (6, "WRONGTYPE")] {
        assert!(items[index]["error"].as_str().is_some_and(|error| error.contains(text)), "{}", items[index]);
        assert_eq!(items[index].get("result"), None);
    }
    assert_eq!(answer.outcome(), "not_executed");
}

#[tokio::test]
async fn copying_a_key_onto_itself_copies_nothing() {
    let (redis, _app, client) = start().await;
    redis.command(&["SET", "k", "v"]).await;
    assert_eq!(client.post_command(&["COPY", "k", "k"]).await.result(), json!(0));
    assert_eq!(client.post_command(&["COPY", "k", "k", "REPLACE"]).await.result(), json!(0));
    assert_eq!(client.post_command(&["COPY", "k", "l"]).await.result(), json!(1));
    let answer = client.multi_exec(&[&["COPY", "k", "k"], &["GET", "k"]]).await;
    assert_eq!(answer.json(), json!([{"result": 0}, {"result": "v"}]));
}

#[tokio::test]
async fn a_scan_tells_types_where_it_is_asked_to() {
    let (redis, _app, client) = start().await;
    redis.command(&["SET", "s", "v"]).await;
    redis.command(&["RPUSH", "l", "v"]).await;
    let pairs = |result: &Value| {
        let flat: Vec<&str> =
            result[1].as_array().expect("keys").iter().map(|word| word.as_str().expect("text")).collect();
        let mut pairs: Vec<_> = flat.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
        pairs.sort();
        pairs
    };
    let both = vec![("l".to_owned(), "list".to_owned()), ("s".to_owned(), "string".to_owned())];
    let answer = client.post_command(&["scan", "0", "match", "?", "withtype"]).await;
    assert_eq!((&answer.result()[0], pairs(&answer.result())), (&json!("0"), both.clone()));
    let list =
        client.pipeline(&[&["scan", "0", "match", "?", "withtype"], &["GET", "s"], &["scan", "x", "withtype"]]).await;
    assert_eq!(pairs(&list.json()[0]["result"]), both);
    assert_eq!(list.json()[1], json!({"result": "v"}));
    assert_eq!(list.json()[2], json!({"error": "ERR invalid cursor"}));
    let transaction = client.multi_exec(&[&["scan", "0", "match", "?", "withtype"]]).await;
    assert_eq!(pairs(&transaction.json()[0]["result"]), both);
    let encoded =
        client.with_header("Upstash-Encoding", "base64").post_command(&["scan", "0", "match", "s", "withtype"]).await;
    assert_eq!(encoded.result(), json!(["MA==", ["cw==", "c3RyaW5n"]]));
    assert_eq!(client.post_command(&["scan", "0", "match", "none", "withtype"]).await.result(), json!(["0", []]));
}

#[tokio::test]
async fn a_scan_for_everything_tells_types_a_thousand_at_a_time() {
    const KEYS: usize = 3000;
    let (redis, _app, client) = start().await;
    let fill = format!("for n = 1, {KEYS} do redis.call('SET', 'k' .. n, 'v') end");
    redis.command(&["EVAL", &fill, "0"]).await;
    let told = |result: &Value| -> Vec<String> {
        let words = result[1].as_array().expect("keys");
        let callers =
            || words.chunks(2).filter(|pair| !pair[0].as_str().is_some_and(|key| key.starts_with("collective:")));
        assert!(callers().all(|pair| pair[1] == "string"), "each key has its type");
        callers().flatten().step_by(2).map(|key| key.as_str().expect("text").to_owned()).collect()
    };
    let (mut found, mut cursor, mut turns) = (std::collections::BTreeSet::new(), "0".to_owned(), 0);
    while turns == 0 || cursor != "0" {
        let result = client.post_command(&["SCAN", &cursor, "COUNT", "1000000", "WITHTYPE"]).await.result();
        assert!(told(&result).len() < 2 * 1000, "a hint of a million is brought down");
        found.extend(told(&result));
        cursor = result[0].as_str().expect("a cursor").to_owned();
        turns += 1;
    }
    assert_eq!(found.len(), KEYS);
    let scan = &["SCAN", "0", "COUNT", "1000", "WITHTYPE"][..];
    let list = client.pipeline(&[scan, scan, scan]).await;
    for item in list.json().as_array().expect("three items") {
        assert!(item["result"][1].as_array().is_some_and(|words| words.len() >= 2 * 1000));
        told(&item["result"]);
    }
}

#[tokio::test]
async fn flushing_everything_stays_within_the_callers_database() {
    let (redis, _app, client) = start().await;
    let mut elsewhere = redis.connect().await;
    elsewhere.command(&["SELECT", "1"]).await.expect("another database");
    elsewhere.command(&["SET", "other", "1"]).await.expect("a key in it");
    redis.command(&["SET", "mine", "1"]).await;
    assert_eq!(client.post_command(&["FLUSHALL", "ASYNC"]).await.result(), json!("OK"));
    assert!(redis.command(&["GET", "mine"]).await.is_nil());
    assert_eq!(elsewhere.command(&["GET", "other"]).await.expect("a reply"), "1");
}

#[tokio::test]
async fn a_command_the_server_is_too_old_for_is_its_own_error() {
    let (_redis, _app, client) = start().await;
    let answer = client.post_command(&["NOSUCHCOMMAND", "k"]).await;
    assert_eq!((answer.status, answer.outcome()), (400, "not_executed"));
    assert!(answer.text().contains("ERR unknown command 'NOSUCHCOMMAND'"), "{}", answer.text());
}
