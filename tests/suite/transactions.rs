//! `/multi-exec`: all or nothing, nobody else's commands in between, and the truth about how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::{Client, Options, Proxy, Redis};
use crate::keys::patient;

#[tokio::test]
async fn transactions_are_isolated_from_fifty_clients_and_each_other() {
    const TRANSACTIONS: usize = 400;
    const CLIENTS: usize = 50;
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..CLIENTS)
        .map(|writer| {
            let (client, done) = (app.client(), done.clone());
            tokio::spawn(async move {
                let (key, mut writes) = (format!("plain-{writer}"), 0_u64);
                while !done.load(Ordering::Relaxed) {
                    let answer = client.post_command(&["SET", &key, &writes.to_string()]).await;
                    assert_eq!(answer.json(), json!({"result": "OK"}), "a plain SET got another's reply");
                    writes += 1;
                }
                writes
            })
        })
        .collect();
    let next = Arc::new(AtomicUsize::new(0));
    let transactions: Vec<_> = (0..8)
        .map(|_| {
            let (client, next) = (client.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= TRANSACTIONS {
                        return;
                    }
                    transfer(&client, number).await;
                }
            })
        })
        .collect();
    for transaction in transactions {
        transaction.await.expect("a transaction went as promised");
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.expect("a writer went as promised") > 0);
    }
    assert_eq!(redis.command(&["GET", "shared"]).await, (2 * TRANSACTIONS).to_string().as_str());
}

/// Five commands whose replies tell whether anything came in between: the shared counter is odd only inside a transaction.
async fn transfer(client: &Client, number: usize) {
    let own = format!("own-{number}");
    let answer = client
        .multi_exec(&[
            &["INCR", "shared"],
            &["SET", &own, "x"],
            &["APPEND", &own, "y"],
            &["INCR", "shared"],
            &["GET", &own],
        ])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.text().contains("QUEUED"), "{}", answer.text());
    let items = answer.json();
    let first = items[0]["result"].as_u64().expect("a number");
    assert_eq!(first % 2, 1, "another transaction was in between: {items}");
    let expected = json!([{"result": first}, {"result": "OK"}, {"result": 2}, {"result": first + 1}, {"result": "xy"}]);
    assert_eq!(items, expected);
}

#[tokio::test]
async fn an_error_at_run_time_is_an_items_own() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let answer = app.client().multi_exec(&[&["SET", "k", "v"], &["INCR", "k"], &["SET", "l", "w"]]).await;
    assert_eq!((answer.status, answer.outcome()), (200, "not_executed"));
    let error = json!({"error": "ERR value is not an integer or out of range"});
    assert_eq!(answer.json(), json!([{"result": "OK"}, error, {"result": "OK"}]));
    assert!(answer.header("upstash-sync-token").is_some());
    assert_eq!(redis.command(&["GET", "l"]).await, "w");
}

#[tokio::test]
async fn nested_strings_are_encoded_and_a_plain_ok_is_not() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client().with_header("Upstash-Encoding", "base64");
    let answer = client.multi_exec(&[&["SET", "k", "OK"], &["GET", "k"], &["MGET", "k", "none"]]).await;
    assert_eq!(answer.json(), json!([{"result": "OK"}, {"result": "T0s="}, {"result": ["T0s=", null]}]));
}

#[tokio::test]
async fn a_transaction_redis_will_not_queue_is_discarded_with_the_reason() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    for (item, text) in
        [(&["GET"][..], "ERR wrong number of arguments for 'get' command"), (&["NOSUCH", "k"], "ERR unknown command")]
    {
        let answer = client.multi_exec(&[&["SET", "k", "v"], item, &["SET", "l", "w"]]).await;
        assert_eq!((answer.status, answer.outcome()), (400, "not_executed"));
        let error = answer.json();
        assert!(error["error"].as_str().is_some_and(|error| error.starts_with(text)), "{error}");
        assert_eq!(answer.header("upstash-sync-token"), None);
    }
    assert_eq!(redis.command(&["EXISTS", "k", "l"]).await.integer(), 0);
    assert_eq!(
        client.multi_exec(&[&["PING"]]).await.json(),
        json!([{"result": "PONG"}]),
        "the connection is as before"
    );
}

#[tokio::test]
async fn a_refused_item_discards_the_whole_transaction() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    for (item, text) in [
        (json!(["BLPOP", "l", 0]), "BLPOP"),
        (json!(["MULTI"]), "ERR Command \"MULTI\" is not allowed in REST"),
        (json!(["DISCARD"]), "DISCARD"),
        (json!(["SET", "collective:x", 1]), "collective:"),
        (json!(["GET", null]), "ERR null args are not supported"),
        (json!(["GET", ["k"]]), "unsupported arg type"),
    ] {
        let answer = client.post("/multi-exec", &json!([["SET", "k", "v"], item])).await;
        assert_eq!((answer.status, answer.outcome()), (400, "not_executed"), "{}", answer.text());
        let error = answer.json();
        assert!(error["error"].as_str().is_some_and(|error| error.contains(text)), "{error}");
    }
    for body in ["", "[]", "{}", "[[\"SET\",\"k\"", "[1]"] {
        let request = client.request(reqwest::Method::POST, "/multi-exec").body(body);
        let answer = client.send(request).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await.integer(), 0);
}

#[tokio::test]
async fn an_idempotency_key_is_refused_where_it_cannot_be_honoured() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client().idempotency_key("once");
    let lists = [client.multi_exec(&[&["INCR", "n"]]).await, client.pipeline(&[&["INCR", "n"]]).await];
    let in_path = client.get("/incr/n").await;
    for answer in lists.into_iter().chain([in_path]) {
        assert_eq!((answer.status, answer.outcome()), (422, "not_executed"));
        assert!(answer.text().contains("Idempotency-Key is not available"), "{}", answer.text());
    }
    assert!(redis.command(&["GET", "n"]).await.is_nil());
}

#[tokio::test]
async fn a_transaction_whose_reply_is_lost_is_unknown_and_never_sent_twice() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    assert_eq!(client.multi_exec(&[&["INCR", "n"]]).await.status, 200);
    proxy.only(&["EXEC"]);
    proxy.lose_connection_instead_of_reply(1.0);
    let answer = client.multi_exec(&[&["INCR", "n"], &["INCR", "m"]]).await;
    assert_eq!((answer.status, answer.outcome()), (504, "unknown"), "{}", answer.text());
    assert!(answer.json()["error"].is_string());
    assert_eq!(proxy.count("EXEC"), 2, "one for each transaction");
    assert_eq!(redis.command(&["GET", "n"]).await, "2");
    assert_eq!(redis.command(&["GET", "m"]).await, "1");
}

#[tokio::test]
async fn a_transaction_of_reads_is_sent_again_when_its_reply_is_lost() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    assert_eq!(client.multi_exec(&[&["SET", "k", "v"]]).await.status, 200);
    proxy.only(&["EXEC"]);
    proxy.lose_connection_instead_of_reply(0.5);
    let mut answered = 0;
    for _ in 0..20 {
        let answer = client.multi_exec(&[&["GET", "k"], &["TTL", "k"]]).await;
        match answer.status {
            200 => answered += u32::from(answer.json() == json!([{"result": "v"}, {"result": -1}])),
            _ => assert_eq!(answer.outcome(), "not_executed", "a failed read changed nothing"),
        }
    }
    assert!(answered >= 13 && proxy.count("EXEC") > 21, "{answered} answered, {} sent", proxy.count("EXEC"));
}

#[tokio::test]
async fn a_user_who_may_not_begin_a_transaction_is_told_what_became_of_it() {
    let redis = Redis::start(Options::default()).await;
    redis.command(&["ACL", "SETUSER", "gateway", "on", ">longenoughpassword", "~*", "&*", "+@all", "-multi"]).await;
    let app = patient(&format!("redis://gateway:longenoughpassword@{}", redis.address())).start().await;
    let answer = app.client().multi_exec(&[&["SET", "k", "v"]]).await;
    assert_eq!((answer.status, answer.outcome()), (500, "executed"), "{}", answer.text());
    assert!(answer.text().contains("ran one by one"), "{}", answer.text());
}

#[tokio::test]
async fn a_full_memory_discards_a_transaction_with_its_reason() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    assert_eq!(client.put_key("victim", "v").await.status, 201);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let answer = client.multi_exec(&[&["SET", "k", "v"]]).await;
    assert_eq!((answer.status, answer.outcome()), (507, "not_executed"), "{}", answer.text());
    // Redis queues nothing while it is full, not even the cure: that must come alone.
    assert_eq!(client.post_command(&["DEL", "victim"]).await.result(), json!(1));
}
