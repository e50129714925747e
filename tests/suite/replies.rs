//! What one request is told is bounded, as it is written, and the word says what became of what is not told.
//!
//! Why so: nobody's values may take the process' memory several times over, and nobody's data may be lost for it. Limits: the reply has
//! been read from Redis by then.

use serde_json::json;

use crate::harness::{Options, Redis};
use crate::keys::patient;

#[tokio::test]
async fn a_reply_over_the_limit_is_refused_and_its_outcome_told() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.reply", "1MiB").start().await;
    let client = app.client();
    // As JSON: `{"result":"` and `"}` around it.
    let at = "x".repeat((1 << 20) - 13);
    redis.command(&["SET", "at", &at]).await;
    redis.command(&["SET", "over", &format!("{at}x")]).await;
    assert_eq!(client.post_command(&["GET", "at"]).await.status, 200);
    let read = client.post_command(&["GET", "over"]).await;
    assert_eq!((read.status, read.outcome()), (413, "not_executed"), "{}", read.text());
    let batch = client.pipeline(&[&["PING"], &["GETDEL", "over"], &["PING"]]).await;
    assert_eq!((batch.status, batch.outcome()), (200, "executed"));
    let items = batch.json();
    assert_eq!((&items[0]["result"], &items[2]["result"]), (&"PONG".into(), &"PONG".into()));
    assert!(items[1]["error"].as_str().is_some_and(|text| text.contains("max request size exceeded")), "{items}");
}

#[tokio::test]
async fn a_reply_is_measured_as_it_is_written() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.reply", "1MiB").start().await;
    // A zero byte is six bytes of JSON text and a third more than one of base64.
    redis.command(&["SETRANGE", "zero", "199999", "\0"]).await;
    let client = app.client();
    for command in [&["GET", "zero"][..], &["MGET", "zero", "zero", "zero"]] {
        let read = client.post_command(command).await;
        assert_eq!((read.status, read.outcome()), (413, "not_executed"), "{command:?}");
        assert_eq!(client.clone().with_header("Upstash-Encoding", "base64").post_command(command).await.status, 200);
    }
}

#[tokio::test]
async fn the_replies_of_a_list_are_bounded_together() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.reply", "1MiB").start().await;
    let client = app.client();
    redis.command(&["SET", "third", &"x".repeat(400_000)]).await;
    let reads = client.pipeline(&[&["GET", "third"], &["GET", "third"], &["GET", "third"], &["PING"]]).await;
    assert_eq!((reads.status, reads.outcome()), (200, "not_executed"));
    assert!(reads.body.len() < (1 << 20) + 1024, "{} bytes", reads.body.len());
    let items = reads.json();
    assert_eq!((items[1]["result"].as_str().map(str::len), &items[3]["result"]), (Some(400_000), &"PONG".into()));
    assert!(items[2]["error"].as_str().is_some_and(|text| text.contains("all replies of a request")), "{items}");

    // What was popped is nowhere else any more, so it is told.
    for path in ["/multi-exec", "/pipeline"] {
        for key in ["a", "b", "c"] {
            redis.command(&["SET", key, &"y".repeat(400_000)]).await;
        }
        let list = json!([["GETDEL", "a"], ["GETDEL", "b"], ["GETDEL", "c"], ["GET", "third"]]);
        let popped = client.post(path, &list).await.json();
        for item in 0..3 {
            assert_eq!(popped[item]["result"].as_str().map(str::len), Some(400_000), "{item}");
        }
        assert!(popped[3]["error"].as_str().is_some_and(|text| text.contains("request of its own")), "{}", popped[3]);
        assert_eq!(redis.command(&["EXISTS", "a", "b", "c"]).await, 0);
    }
}

#[tokio::test]
async fn what_redis_refuses_keeps_its_word_where_little_room_is_left() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.reply", "1MiB").start().await;
    let client = app.client();
    // As JSON: `[{"result":"` and `"}` around it, and twenty bytes are left.
    redis.command(&["SET", "large", &"x".repeat((1 << 20) - 14 - 20)]).await;
    redis.command(&["SET", "word", "x"]).await;
    for answer in [
        client.pipeline(&[&["GET", "large"], &["INCR", "word"]]).await,
        client.multi_exec(&[&["GET", "large"], &["INCR", "word"]]).await,
    ] {
        assert_eq!((answer.status, answer.outcome()), (200, "not_executed"));
        assert_eq!(answer.json()[1]["error"], "ERR value is not an integer or out of range");
    }
}

#[tokio::test]
async fn a_call_that_only_reads_is_not_said_to_be_executed_whatever_others_of_its_name_do() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.reply", "1MiB").start().await;
    let client = app.client();
    redis.command(&["RPUSH", "l", &"x".repeat(1 << 20)]).await;
    let sorted = client.post_command(&["SORT", "l", "ALPHA"]).await;
    assert_eq!((sorted.status, sorted.outcome()), (413, "not_executed"), "{}", sorted.text());
    let listed = client.pipeline(&[&["SORT", "l", "ALPHA"]]).await;
    assert_eq!((listed.status, listed.outcome()), (200, "not_executed"), "{}", listed.text());
}
