//! What callers send adds no line to the log and no field to the head of an answer.
//!
//! Why so: whoever can end a line of the log writes the next one himself, and whoever can end a field of an answer writes the next. So
//! line ends, an escape sequence and a forged line are sent wherever a caller has a say, and lines and heads are counted. Limits: what
//! Redis writes into its own log is Redis' affair.

use serde_json::{Value, json};

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{Answer, App, Client, Options, Proxy, Redis, raw_http};
use crate::keys::patient;
use crate::logs::lines;

/// Line ends of several alphabets, a field, a line of the log, an escape sequence.
const FORGED: &str = "a\r\nX-Forged: 1\n{\"level\":\"ERROR\",\"message\":\"forged\"}\u{1b}[2J\u{85}\u{2028}\u{0}";

/// What a field of a request is given: a line end that is encoded, one that is not, what looks like one, what no field may hold.
const FIELDS: [&str; 6] = ["a%0d%0aX-Forged: 1", "a\rX-Forged: 1", "\u{85}\u{2028}", "a\u{1b}[2J", "a\u{0}b", "a b"];

/// A head with `value` in each field that is repeated or noted somewhere, and the forged text as its key.
fn forging(value: &str) -> Vec<u8> {
    let path: String = FORGED.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!(
        "GET /v1/keys/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\nX-Request-Id: {value}\r\n\
         traceparent: {value}\r\ntracestate: {value}\r\nOrigin: {value}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Keys, names, commands and members that are forged, and last a write whose failure has a line of its own.
async fn in_names_and_commands(client: &Client, proxy: &Proxy) -> Vec<Answer> {
    let mut answers = vec![
        client.put_key(FORGED, FORGED).await,
        client.get_key(FORGED).await,
        client.increment(FORGED, 1).await,
        client.post_command(&[FORGED, FORGED]).await,
        client.post_command(&["GET", FORGED]).await,
        client.post_command(&["EVAL", "return redis.error_reply(ARGV[1])", "0", FORGED]).await,
        client.pipeline(&[&[FORGED], &["GET", FORGED]]).await,
        client.post("/v1/leases/l", &json!({ "ttl_ms": 1000, "owner": FORGED })).await,
        client.post("/v1/limiters/l/take", &json!({ "per": FORGED })).await,
    ];
    proxy.lose_connection_instead_of_reply(1.0);
    answers.push(client.increment(FORGED, 1).await);
    answers.push(client.post_command(&["INCR", FORGED]).await);
    proxy.heal();
    answers
}

/// One head of our own fields, and no control character in what is said of a failure.
#[track_caller]
fn is_not_forged(answer: &Answer) {
    assert!(answer.headers.get("x-forged").is_none(), "{:?}", answer.headers);
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = told["error"].as_str().or(told["detail"].as_str()).unwrap_or_default();
    assert!(!text.contains(char::is_control), "{told}");
}

/// Sends the fields; each is read as a value or refused as a head, but one head is all that comes back. How many were read.
async fn in_fields(app: &App) -> usize {
    let mut read = 0;
    for value in FIELDS {
        let answer = raw_http(app.public(), &forging(value)).await.expect("an answer");
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(text.starts_with("http/1.1 ") && !text.contains("\nhttp/1.1 "), "{value:?}: {text}");
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        assert_eq!(head.matches("x-request-id: ").count(), 1, "{value:?}: {head}");
        assert!(!head.contains("forged") && !head.replace("\r\n", "").contains(char::is_control), "{value:?}: {head}");
        read += usize::from(head.starts_with("http/1.1 200"));
    }
    read
}

#[tokio::test]
async fn nothing_a_caller_sends_adds_a_line_to_the_log_or_a_header_to_an_answer() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 3);
    // A lane that opens refuses, and refusals are told together: then not every request has a line.
    let app = patient(&proxy.url()).set("log.level", "debug").start().await;
    let client = app.client();
    client.settled().await;
    let is_about_a_request =
        |line: &&Value| ["request answered", "request failed"].iter().any(|said| line["message"] == *said);
    let about_requests = || lines(&app).iter().filter(is_about_a_request).count();
    let before = about_requests();
    let answers = in_names_and_commands(&client, &proxy).await;
    answers.iter().for_each(is_not_forged);
    let read = in_fields(&app).await;
    assert!(read > 0, "no field was read as a value, so none was tried");
    assert_eq!(app.stop().await.code(), Some(0));
    assert_eq!(about_requests() - before, answers.len() + read, "each request has one line");
    let log = app.stderr();
    assert!(!log.contains("orged"), "what callers send is in no line at all: {log}");
    assert!(!log.replace('\n', "").contains(char::is_control), "{log}");
}
