//! Answers are read, requests are written, as the typed client claims.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{app, client, raw_http};

/// Answers each connection with `answer` after its first bytes; returns what it received.
async fn answering(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut bytes = vec![0; 4096];
        let length = stream.read(&mut bytes).await.expect("a request");
        stream.write_all(answer).await.expect("an answer");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    (address, received)
}

#[tokio::test]
async fn an_answer_has_its_outcome_and_retry_after() {
    let (address, received) = answering(
        b"HTTP/1.1 503 Service Unavailable\r\nCollective-Outcome: not_executed\r\n\
          Retry-After: 2\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}",
    )
    .await;
    let client = client::Client::new(address, address).token("t").timeout_ms(70);
    let answer = client.post_command(&["INCR", "n"]).await;
    assert_eq!((answer.status, answer.outcome()), (503, "not_executed"));
    assert_eq!(answer.retry_after, Some(2));
    assert_eq!(answer.json()["error"], "x");
    assert!(!answer.is_success());
    let request = received.await.expect("the request").to_ascii_lowercase();
    assert!(request.starts_with("post / http/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: bearer t\r\n"), "{request}");
    assert!(request.contains("x-request-timeout-ms: 70\r\n"), "{request}");
    assert!(request.ends_with("[\"incr\",\"n\"]"), "{request}");
}

#[tokio::test]
async fn a_key_is_percent_encoded_except_its_slashes() {
    let (address, received) = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let answer = client::Client::new(address, address).put_key("a/b c%\u{e9}?", "v").await;
    assert_eq!((answer.status, answer.outcome()), (204, ""));
    let request = received.await.expect("the request");
    assert!(request.starts_with("PUT /v1/keys/a/b%20c%25%C3%A9%3F HTTP/1.1\r\n"), "{request}");
    assert!(!request.to_ascii_lowercase().contains("authorization"), "{request}");
}

#[tokio::test]
async fn raw_bytes_go_out_as_they_are() {
    let (address, received) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let answer = raw_http(address, b"G\0T / nonsense\r\n\r\n").await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    assert_eq!(received.await.expect("the request"), "G\0T / nonsense\r\n\r\n");
}

#[test]
fn metrics_are_summed_over_the_labels_not_asked_for() {
    let text = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na{x=\"2\"} 9\nb 5\n";
    assert_eq!(client::sum_of(text, "a", &[("x", "1")]), Some(7.0));
    assert_eq!(client::sum_of(text, "a", &[("y", "3"), ("x", "1")]), Some(4.0));
    assert_eq!(client::sum_of(text, "b", &[]), Some(5.0));
    assert_eq!(client::sum_of(text, "c", &[]), None);
}

#[test]
fn the_listening_line_is_read_only_when_it_is_complete() {
    let line = "hello\nlistening public=127.0.0.1:81 operator=127.0.0.1:82\nmore";
    let expected: (SocketAddr, SocketAddr) = (([127, 0, 0, 1], 81).into(), ([127, 0, 0, 1], 82).into());
    assert_eq!(app::listening(line), Some(expected));
    assert_eq!(app::listening("listening public=127.0.0.1:81 operator=127.0.0.1:8"), None);
    assert_eq!(app::listening(""), None);
}
