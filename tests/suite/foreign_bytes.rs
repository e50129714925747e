//! Bytes that are no text, and zero bytes, where the command dialect hands them to Redis.
//!
//! Why so: Redis quotes some arguments in its errors, and the driver gives a connection up over an error that is no UTF-8; and it
//! compares words as C does, so what follows a zero byte must hide nothing from us. Which commands quote is asked of a real server
//! in `catalogue`.
//!
//! Limits: one connection a worker, so that a stranger's call must share it if it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::dialect::{refused, send, service};
use crate::harness::proxy::{HANDSHAKE, PROBE};
use crate::harness::{Options, Proxy, Redis, eventually};
use crate::keys::patient;

/// Redis compares words as C does, up to a zero byte.
#[tokio::test]
async fn a_zero_byte_hides_no_word_from_us() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 1);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    redis.command(&["GEOADD", "g", "0", "0", "m"]).await;
    let named = "CLIENT\0x ID,GET\0 k,OBJECT ENCODING\0 k,XREAD\0 BLOCK 1 STREAMS s 0,DEB\u{fc}G SLEEP 0";
    for call in named.split(',') {
        let text = refused(&client.post_command(&call.split(' ').collect::<Vec<_>>()).await, 400);
        assert!(text.starts_with("ERR a command's name, and its subcommand's, is printable ASCII"), "{call}: {text}");
    }
    for (call, status) in [
        ("XREAD BLOCK\0x 1 STREAMS s 0", 400),
        ("XREAD COUNT\0 1 BLOCK 1 STREAMS s 0", 400),
        ("COPY a b DB\0 1", 400),
        ("GEORADIUS g 0 0 1 m STORE\0 collective:mine", 403),
        ("SORT g GET x_* STORE\0 collective:mine", 403),
        ("SORT g GET x_* STORE collective:mine", 403),
    ] {
        refused(&client.post_command(&call.split(' ').collect::<Vec<_>>()).await, status);
    }
    let ours: Vec<&str> = HANDSHAKE.iter().copied().chain([PROBE, "PING", "TIME"]).collect();
    assert_eq!(proxy.total_except(&ours), 0, "{:?}", proxy.counts());
}

#[tokio::test]
async fn two_hundred_reads_succeed_while_unknown_commands_with_foreign_bytes_go_on() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "v"]).await;
    let made = Arc::new(AtomicUsize::new(0));
    let noise = tokio::spawn({
        let (client, made) = (client.clone(), made.clone());
        async move {
            loop {
                assert!(!send(&client, "/", *b"[\"NOSUCH\",\"\xff\xfe\"]").await.is_success());
                made.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    eventually(Duration::from_secs(30), async || {
        let mut calls = JoinSet::new();
        for _ in 0..200 {
            let client = client.clone();
            calls.spawn(async move { client.post_command(&["GET", "k"]).await });
        }
        assert!(calls.join_all().await.iter().all(|answer| answer.status == 200 && answer.result() == "v"));
        made.load(Ordering::Relaxed) >= 10
    })
    .await;
    noise.abort();
}

/// Redis quotes unknown words in its errors, and the driver gives a connection up over an error that is no UTF-8. So
/// the call of `body` and then an increment are made to arrive together, over one connection if one serves both.
async fn assert_an_increment_survives(body: &[u8], name: &str) {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 1);
    let narrow = patient(&proxy.url()).set("server.workers", 1).set("redis.connections_per_worker", 1);
    let app = narrow.start().await;
    let client = app.client();
    proxy.only(&[name, "INCR"]);
    proxy.hold_requests_of_everyone();
    let mut calls = Vec::new();
    for (waiting, body) in [(1, body.to_vec()), (2, b"[\"INCR\",\"n\"]".to_vec())] {
        let client = client.clone();
        calls.push(tokio::spawn(async move { send(&client, "/", body).await }));
        eventually(Duration::from_secs(5), async || proxy.requests_waiting() == waiting).await;
    }
    proxy.release();
    let increment = calls.pop().expect("two calls").await.expect("an answer");
    assert_eq!(increment.status, 200, "a stranger's call took it along: {}", increment.text());
}

#[tokio::test]
async fn an_unknown_command_with_foreign_bytes_disturbs_nobody_else() {
    assert_an_increment_survives(b"[\"NOSUCH\",\"\xff\xfe\"]", "NOSUCH").await;
}

#[tokio::test]
async fn an_unknown_command_that_redis_quotes_half_a_character_of_disturbs_nobody_else() {
    // Redis quotes 128 bytes at most, which ends in the middle of a two-byte character here.
    assert_an_increment_survives(format!("[\"NOSUCH\",\"a{}\"]", "é".repeat(100)).as_bytes(), "NOSUCH").await;
}

#[tokio::test]
async fn a_command_this_redis_lacks_with_foreign_bytes_disturbs_nobody_else() {
    assert_an_increment_survives(b"[\"DIGEST\",\"\xff\xfe\"]", "DIGEST").await;
}

#[tokio::test]
async fn an_unknown_subcommand_that_redis_quotes_half_a_character_of_disturbs_nobody_else() {
    assert_an_increment_survives(format!("[\"OBJECT\",\"FROB\",\"{}\"]", "é".repeat(100)).as_bytes(), "OBJECT").await;
}

#[tokio::test]
async fn names_with_foreign_bytes_never_reach_redis() {
    let (_redis, _app, client) = service().await;
    for body in [&b"[\"OBJECT\",\"\xff\xfe\",\"k\"]"[..], b"[\"G\xff\",\"k\"]", b"[\"GET k\"]", b"[\"GET\\n\",\"k\"]"] {
        let text = refused(&send(&client, "/", body).await, 400);
        assert!(text.starts_with("ERR a command's name"), "{text}");
    }
}

#[tokio::test]
async fn an_option_with_foreign_bytes_disturbs_nobody_else() {
    assert_an_increment_survives(b"[\"EXPIRE\",\"k\",\"10\",\"\xff\xfe\"]", "EXPIRE").await;
}

#[tokio::test]
async fn calls_with_foreign_bytes_open_no_breaker() {
    let (_redis, _app, client) = service().await;
    for _ in 0..40 {
        assert!(!send(&client, "/", *b"[\"NOSUCH\",\"\xff\xfe\"]").await.is_success());
    }
    let answer = client.post_command(&["SET", "k", "v"]).await;
    assert_eq!(answer.status, 200, "one caller's mistakes refused another's write: {}", answer.text());
    assert_eq!(client.breaker("redis.write").await, "closed");
}

#[tokio::test]
async fn an_error_that_quotes_foreign_bytes_is_an_answer_like_any_other() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    for body in [&b"[\"NOSUCH\",\"\xff\"]"[..], "[\"EVAL\",\"return {err='X \\\\255'}\",\"0\"]".as_bytes()] {
        for _ in 0..3 {
            let answer = client.send(client.request(reqwest::Method::POST, "/").body(body.to_vec())).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            assert!(answer.text().contains('?') && !answer.text().contains("lost"), "{}", answer.text());
        }
    }
}
