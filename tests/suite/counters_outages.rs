//! Counters and operations when Redis is slow, frozen, dead or loses replies, with a key and without.
//!
//! Why so: an increment is the call that must not be guessed about. Each outcome is held against what Redis counted. Limits: one
//! instance; what ten thousand calls over a bad link add up to is told in `idempotency` and `ledger`.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Client, Options, Proxy, Redis, eventually};
use crate::keys::{patient, persistent, problem};

const SOON: Duration = Duration::from_secs(15);

/// An increment that only a function can make.
async fn bounded(client: &Client, name: &str) -> Answer {
    client.post(&format!("/v1/counters/{name}/increment"), &json!({ "by": 1, "max": 1000 })).await
}

async fn remove(client: &Client, name: &str) -> Answer {
    client.send(client.request(Method::DELETE, &format!("/v1/counters/{name}"))).await
}

/// An increment under the token of a lease nobody has acquired.
fn fenced(client: &Client) -> Client {
    client.with_header("Collective-Fence", "outage;5")
}

/// One call of each kind: a look, plain, bounded, fenced, under a key, and a question about a key.
async fn each(client: &Client, round: &str) -> Vec<(&'static str, Answer)> {
    let keyed = client.idempotency_key(round);
    vec![
        ("look", client.get("/v1/counters/seen").await),
        ("fenced", fenced(client).increment("n", 1).await),
        ("plain", client.increment("n", 1).await),
        ("bounded", bounded(client, "n").await),
        ("under a key", keyed.increment("n", 1).await),
        ("delete", remove(client, "gone").await),
        ("operation", client.get(&format!("/v1/operations/asked-{round}")).await),
    ]
}

#[tokio::test]
async fn an_increment_whose_reply_is_lost_is_unknown_and_made_once() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 61);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    client.settled().await;
    proxy.only(&["FCALL", "INCRBY"]);
    proxy.lose_connection_instead_of_reply(1.0);
    proxy.reset_counts();
    let fenced = fenced(&client).increment("fenced", 1).await;
    for answer in [client.increment("plain", 1).await, bounded(&client, "bounded").await, fenced] {
        let document = problem(&answer, 504, "outcome_unknown");
        assert_eq!((&document["attempts"], &document["retryable"]), (&json!(1), &json!(false)));
    }
    assert_eq!((proxy.count("INCRBY"), proxy.count("FCALL")), (1, 2), "{:?}", proxy.history());
    let keyed = client.idempotency_key("lost");
    let document = problem(&bounded(&keyed, "keyed").await, 504, "outcome_unknown");
    assert_eq!(document["attempts"], 3, "with a key it may be sent again");
    proxy.heal();
    assert_eq!(bounded(&keyed, "keyed").await.json(), json!({ "value": 1 }));
    assert_eq!(redis.command(&["MGET", "plain", "bounded", "fenced", "keyed"]).await.to_string(), "1,1,1,1");
}

#[tokio::test]
async fn a_look_at_a_counter_is_repeated_when_its_reply_is_lost_and_changes_nothing() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 63);
    let app = persistent(&proxy.url()).start().await;
    let client = app.client();
    redis.command(&["SET", "n", "7"]).await;
    proxy.only(&["GET"]);
    proxy.lose_connection_instead_of_reply(0.2);
    for _ in 0..30 {
        assert_eq!(client.get("/v1/counters/n").await.json(), json!({ "value": 7 }));
    }
    assert!(proxy.injected().replies_lost > 0, "{:?}", proxy.injected());
    proxy.lose_connection_instead_of_reply(1.0);
    let lost = client.get("/v1/counters/n").await;
    assert_eq!(problem(&lost, 503, "redis_unreachable")["outcome"], "not_executed");
}

#[tokio::test]
async fn a_question_about_an_operation_is_asked_again_when_its_reply_is_lost() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 62);
    let app = persistent(&proxy.url()).set("breaker.minimum_calls", 1_000_000).start().await;
    let client = app.client();
    client.settled().await;
    proxy.only(&["FCALL"]);
    proxy.lose_connection_instead_of_reply(0.3);
    for turn in 0..10 {
        let told = client.get(&format!("/v1/operations/turn-{turn}")).await;
        assert_eq!((told.status, told.json()), (200, json!({ "outcome": "not_executed" })));
    }
    assert!(proxy.injected().replies_lost > 0);
    problem(&client.idempotency_key("k").get("/v1/operations/turn-0").await, 422, "invalid_value");
    // All of them lost: the question itself may have settled the matter, so it is asked again.
    proxy.lose_connection_instead_of_reply(1.0);
    let unheard = client.get("/v1/operations/unheard").await;
    assert_eq!(problem(&unheard, 504, "outcome_unknown")["outcome"], "unknown");
    proxy.heal();
    assert_eq!(client.get("/v1/operations/unheard").await.json(), json!({ "outcome": "not_executed" }));
    let late = client.idempotency_key("unheard").increment("n", 1).await;
    problem(&late, 409, "idempotency_key_settled");
    assert_eq!(redis.command(&["EXISTS", "n"]).await, 0);
}

#[tokio::test]
async fn while_redis_is_frozen_nothing_is_counted_that_was_refused() {
    let redis = Redis::start(Options::default()).await;
    // Long enough that only a Redis that is frozen stands still, and not a busy machine.
    let app = patient(&redis.url()).set("breaker.slow_call_after", "1s").set("breaker.stall_after", "2s").start().await;
    let client = app.client();
    client.settled().await;
    redis.command(&["MSET", "seen", "7", "gone", "7"]).await;
    redis.freeze();
    let mut unknown = 0;
    eventually(SOON, async || {
        let answer = bounded(&client, "n").await;
        assert!(
            matches!((answer.status, answer.outcome()), (503, "not_executed") | (504, "unknown")),
            "{}",
            answer.text()
        );
        unknown += i64::from(answer.status == 504);
        client.both_lanes_refuse().await
    })
    .await;
    for (call, answer) in each(&client, "frozen").await {
        let document = problem(&answer, 503, "circuit_open");
        assert_eq!((answer.outcome(), &document["retryable"]), ("not_executed", &json!(true)), "{call}");
    }
    redis.thaw();
    client.until_both_lanes_serve().await;
    assert_eq!(client.increment("n", 1).await.status, 200);
    let value = redis.command(&["GET", "n"]).await.to_string().parse::<i64>().expect("a number");
    assert!((1..=1 + unknown).contains(&value), "{value} with {unknown} of unknown end");
    assert_eq!(redis.command(&["GET", "gone"]).await, "7", "what was refused is never made later");
    questions_left_no_note(&client, "frozen").await;
}

#[tokio::test]
async fn while_redis_is_dead_counters_are_refused_and_go_on_where_they_were() {
    let redis = Redis::start(Options::default().durable()).await;
    // It syncs every write, which takes as long as the disk is busy. That it is dead is seen by connects that fail.
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    client.settled().await;
    assert_eq!(bounded(&client, "n").await.json(), json!({ "value": 1 }));
    let keyed = client.idempotency_key("before");
    assert_eq!(keyed.increment("n", 1).await.json(), json!({ "value": 2 }));
    redis.command(&["MSET", "seen", "7", "gone", "7"]).await;
    redis.kill9();
    client.until_both_lanes_refuse().await;
    for (call, answer) in each(&client, "dead").await {
        problem(&answer, 503, "circuit_open");
        assert_eq!(answer.outcome(), "not_executed", "{call}");
    }
    redis.restart().await;
    client.until_both_lanes_serve().await;
    let again = keyed.increment("n", 1).await;
    assert_eq!(
        (again.json(), again.header("idempotency-replayed")),
        (json!({ "value": 2 }), Some("true")),
        "the record was written with the effect, so both outlived the kill"
    );
    assert_eq!(
        client.idempotency_key("dead").increment("n", 1).await.json(),
        json!({ "value": 3 }),
        "no key was used up"
    );
    assert_eq!(redis.command(&["GET", "gone"]).await, "7", "what was refused is never made later");
    questions_left_no_note(&client, "dead").await;
}

/// A question that was refused has settled nothing: the request it was about may still be made.
async fn questions_left_no_note(client: &Client, round: &str) {
    let asked_about = client.idempotency_key(&format!("asked-{round}")).increment("other", 1).await;
    assert_eq!((asked_about.status, asked_about.header("idempotency-replayed")), (200, None), "{}", asked_about.text());
}

#[tokio::test]
async fn calm_counters_count() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    redis.command(&["SET", "seen", "7"]).await;
    let statuses: Vec<u16> = each(&app.client(), "calm").await.iter().map(|(_, answer)| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 204, 200]);
    assert_eq!(redis.command(&["GET", "n"]).await, "4");
}
