//! `Collective-Retry: state`: the caller wants the state, whatever the count in the reply.
//!
//! Why so: `DEL` sent again answers 0 although the effect is its caller's, so nobody repeats it unasked; who does not look at
//! the count asks. The wire is the witness, as in `classes`. Limits: the seed decides which replies are lost.

use reqwest::Method;

use crate::classes::{self, lose, resent_behind_a_fence};
use crate::dialect::{refused, send};
use crate::harness::{App, Client, Options, Proxy, Redis};
use crate::keys::patient;

/// As in `classes`, for a caller who wants the state.
async fn service(seed: u64) -> (Redis, Proxy, App, Client) {
    let (redis, proxy, app, client) = classes::service(seed).await;
    (redis, proxy, app, client.with_header("Collective-Retry", "state"))
}

#[tokio::test]
async fn a_write_with_an_unstable_reply_is_fenced_and_retried_for_who_wants_the_state() {
    let (redis, proxy, _app, client) = service(21).await;
    for turn in 0..15 {
        redis.command(&["SET", &format!("gone{turn}"), "x"]).await;
    }
    lose(&proxy, 0.15, &["DEL", "SADD", "HSETNX"]);
    for turn in 0..15 {
        for answer in [
            client.post_command(&["DEL", &format!("gone{turn}")]).await,
            client.post_command(&["HSETNX", &format!("hash{turn}"), "f", "v"]).await,
            client.send(client.request(Method::POST, &format!("/sadd/set{turn}/a"))).await,
        ] {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let resent = resent_behind_a_fence(&proxy, &["DEL", "SADD", "HSETNX"]);
    let lost = proxy.injected().replies_lost;
    assert!(lost > 0);
    assert_eq!(resent, lost, "each lost reply costs one more attempt");
    for turn in 0..15 {
        assert_eq!(redis.command(&["EXISTS", &format!("gone{turn}")]).await, 0);
        assert_eq!(redis.command(&["EXISTS", &format!("hash{turn}"), &format!("set{turn}")]).await, 2);
    }
}

#[tokio::test]
async fn what_counts_or_decides_is_sent_once_all_the_same() {
    let (redis, proxy, _app, client) = service(22).await;
    for call in ["INCR n", "SET once v NX", "LPUSH list x", "EVAL return 0", "PUBLISH c m"] {
        let words: Vec<&str> = call.split(' ').collect();
        lose(&proxy, 1.0, &words[..1]);
        let answer = client.post_command(&words).await;
        assert_eq!((answer.status, answer.outcome()), (504, "unknown"), "{call}: {}", answer.text());
        assert_eq!(proxy.count(words[0]), 1, "{call}: {:?}", proxy.history());
    }
    for (path, name) in [("/pipeline", "SADD"), ("/multi-exec", "SREM")] {
        lose(&proxy, 1.0, &[name, "EXEC"]);
        let answer = send(&client, path, format!("[[\"{name}\",\"s\",\"a\"]]")).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (504, "unknown"),
            "a batch is never sent again: {}",
            answer.text()
        );
        assert_eq!(proxy.count(name), 1, "{path}");
    }
    assert_eq!(redis.command(&["GET", "n"]).await, "1");
}

#[tokio::test]
async fn another_value_is_refused_on_every_route() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    for value in ["safe", "State", "state, state", ""] {
        let client = client.with_header("Collective-Retry", value);
        for answer in [
            client.post_command(&["DEL", "k"]).await,
            client.pipeline(&[&["DEL", "k"]]).await,
            client.multi_exec(&[&["DEL", "k"]]).await,
            client.get("/get/k").await,
        ] {
            let text = refused(&answer, 400);
            assert!(text.contains("Collective-Retry must be state"), "{value}: {text}");
        }
    }
    let twice = client.with_header("Collective-Retry", "state").with_header("Collective-Retry", "state");
    assert_eq!(twice.post_command(&["DEL", "k"]).await.status, 400);
}
