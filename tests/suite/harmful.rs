//! One caller's command must cost nobody else his answer, nor the service its Redis.
//!
//! Why so: callers share connections and one single-threaded server, so a word, a number or a reply that harms either harms
//! everybody. While each is sent, a neighbour whose answers are known goes on. Limits: commands whose cost lies in the data and
//! not in the arguments run as they are; scripts without end are told in `endless`.

use serde_json::json;
use tokio::task::JoinSet;

use crate::bad_input::Neighbour;
use crate::dialect::refused;
use crate::harness::{Answer, App, Client, Options, Redis};
use crate::keys::patient;
use crate::tokens::digest;

const READER: &str = "reader-4f2f6d0c9a1b4e7d8c3b2a190817f6e5";

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("auth.read_only_token_sha256", digest(READER)).start().await;
    let client = app.client();
    client.settled().await;
    (redis, app, client)
}

fn words(call: &str) -> Vec<&str> {
    call.split(' ').collect()
}

#[tokio::test]
async fn what_redis_ends_a_connection_for_never_reaches_it() {
    let (_redis, app, client) = service().await;
    let neighbour = Neighbour::moves_in(&app).await;
    for _ in 0..20 {
        for call in ["PoSt", "POST /", "host:", "Host: localhost"] {
            let text = refused(&client.post_command(&words(call)).await, 400);
            assert!(text.contains("is not allowed in REST"), "{call}: {text}");
        }
        refused(&client.get("/post/x").await, 400);
        refused(&client.multi_exec(&[&["POST"]]).await, 400);
        let list = client.pipeline(&[&["post"], &["ECHO", "here"]]).await;
        assert_eq!(list.json()[1], json!({ "result": "here" }), "{}", list.text());
    }
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn a_choice_with_repetitions_is_bounded_for_everyone() {
    let (redis, app, root) = service().await;
    redis.command(&["SADD", "s", "m"]).await;
    redis.command(&["HSET", "h", "f", "v"]).await;
    redis.command(&["ZADD", "z", "1", "m"]).await;
    let neighbour = Neighbour::moves_in(&app).await;
    for client in [root.token(READER), root] {
        for call in ["SRANDMEMBER s -3000000", "HRANDFIELD h -1001 WITHVALUES", "ZRANDMEMBER z -9223372036854775807"] {
            let text = refused(&client.post_command(&words(call)).await, 400);
            assert!(text.contains("-1000"), "the bound is named: {text}");
        }
        refused(&client.get("/srandmember/s/-3000000").await, 400);
        for (call, length) in [("SRANDMEMBER s -1000", 1000), ("SRANDMEMBER s 3000000", 1), ("ZRANDMEMBER z 2", 1)] {
            let answer = client.post_command(&words(call)).await;
            assert_eq!(answer.result().as_array().map(Vec::len), Some(length), "{call}");
        }
        assert_eq!(client.post_command(&["SRANDMEMBER", "s"]).await.result(), "m");
        let text = client.post_command(&["SRANDMEMBER", "s", "x"]).await.text();
        assert!(text.contains("not an integer"), "what is no number is Redis' to refuse: {text}");
    }
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn no_argument_alone_makes_much_work_for_who_may_only_read() {
    let (_redis, app, root) = service().await;
    let reader = root.token(READER);
    let neighbour = Neighbour::moves_in(&app).await;
    let (most, many) = (vec!["PFCOUNT"; 5001], vec!["PFCOUNT"; 5002]);
    for _ in 0..10 {
        for client in [&reader, &root] {
            refused(&client.post_command(&words("LOLWUT VERSION 6 1000 1000")).await, 400);
            let text = refused(&client.post_command(&many).await, 400);
            assert!(text.contains("5000"), "the bound is named: {text}");
        }
        assert_eq!(reader.post_command(&most).await.result(), 0);
    }
    neighbour.noticed_nothing().await;
}

/// Arrays in arrays, as many as the script is told.
const NESTS: &str = "local t = {} for i = 2, tonumber(ARGV[1]) do t = {t} end return t";

/// Checks that the command has run and that its reply is said to be too deep.
#[track_caller]
fn assert_too_deep(answer: &Answer) {
    assert_eq!((answer.status, answer.outcome()), (413, "executed"), "{}", answer.text());
    assert!(answer.json()["error"].as_str().is_some_and(is_too_deep), "{}", answer.text());
}

fn is_too_deep(text: &str) -> bool {
    text.contains("nested") && text.contains("95 levels")
}

#[tokio::test]
async fn a_reply_nested_too_deep_is_its_callers_alone() {
    let (redis, app, client) = service().await;
    let neighbour = Neighbour::moves_in(&app).await;
    let mut beside = JoinSet::new();
    for _ in 0..4 {
        let client = client.clone();
        beside.spawn(async move {
            for _ in 0..50 {
                let answer = client.post_command(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "n"]).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    for depth in ["96", "97", "98", "99", "100", "101", "150", "1000"] {
        assert_too_deep(&client.post_command(&["EVAL", NESTS, "0", depth]).await);
        let list: &[&[&str]] = &[&["EVAL", NESTS, "0", depth], &["INCR", "items"]];
        for answer in [client.pipeline(list).await, client.multi_exec(list).await] {
            assert_eq!((answer.status, answer.outcome()), (200, "executed"), "{depth}: {}", answer.text());
            let items = answer.json();
            assert!(items[0]["error"].as_str().is_some_and(is_too_deep), "{items}");
            assert!(items[1]["result"].is_number(), "{items}");
        }
    }
    while let Some(calls) = beside.join_next().await {
        calls.expect("a stranger's reply took it along");
    }
    assert_eq!(redis.command(&["GET", "n"]).await, "200", "each was made once");
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn a_reply_nested_as_deep_as_is_allowed_is_told() {
    let (_redis, _app, client) = service().await;
    let expected = (1..95).fold(json!([]), |inner, _| json!([inner]));
    let call: &[&str] = &["EVAL", NESTS, "0", "95"];
    assert_eq!(client.post_command(call).await.result(), expected);
    assert_eq!(client.pipeline(&[call]).await.json(), json!([{ "result": expected }]));
    assert_eq!(client.multi_exec(&[call]).await.json(), json!([{ "result": expected }]));
}
