//! `/v1/limiters`: what is granted, what is refused, what a look shows, and what changed numbers do.
//!
//! Why so: nearly every limiter here refills so slowly that no test can wait for it, so the numbers are exact whatever the machine
//! does meanwhile. Exactness in time is the matter of `limiters_exact`, outages that of `limiters_outages`.
//!
//! Limits: one instance, a Redis that answers.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, App, Client, Options, Redis, eventually};
use crate::keys::{patient, problem};

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

/// A take with this body.
pub async fn take(client: &Client, name: &str, body: &Value) -> Answer {
    client.post(&format!("/v1/limiters/{name}/take"), body).await
}

/// So many tokens that come back within a day.
pub fn daily(capacity: u64) -> Value {
    json!({ "capacity": capacity, "refill": capacity, "per": "24h" })
}

pub async fn delete(client: &Client, name: &str) -> Answer {
    client.send(client.request(Method::DELETE, &format!("/v1/limiters/{name}"))).await
}

/// Tokens somebody was granted, at some moment between his asking and his being told.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    pub tokens: u64,
    pub asked: Instant,
    pub told: Instant,
}

/// No stretch of time has more than `tolerance` times what a limiter may grant in it. A stretch begins with somebody's asking and
/// ends with somebody's being told; what was asked before it or told after it may have been granted outside and is left out.
#[track_caller]
pub fn assert_no_stretch_exceeds(grants: &[Grant], (capacity, per_second): (f64, f64), tolerance: f64) {
    let mut by_end = grants.to_vec();
    by_end.sort_by_key(|grant| grant.told);
    let mut fullest = (0.0, String::new());
    for first in grants {
        let mut within = 0;
        for last in by_end.iter().filter(|grant| grant.asked >= first.asked) {
            within += last.tokens;
            let length = last.told.duration_since(first.asked).as_secs_f64();
            let bound = capacity + per_second * length;
            if within as f64 / bound > fullest.0 {
                let begun = by_end.first().map_or(0.0, |one| (first.asked - one.asked).as_secs_f64());
                let told = format!("{within} tokens in {length:.3} s from {begun:.3} s on, the bound is {bound:.1}");
                fullest = (within as f64 / bound, told);
            }
        }
    }
    println!("the fullest stretch of {} grants: {}", grants.len(), fullest.1);
    assert!(fullest.0 <= tolerance, "{}", fullest.1);
}

/// How many of so many takes were granted.
async fn granted(client: &Client, name: &str, body: &Value, tries: u64) -> u64 {
    let mut granted = 0;
    for _ in 0..tries {
        let answer = take(client, name, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        granted += u64::from(answer.json()["allowed"] == true);
    }
    granted
}

#[tokio::test]
async fn a_burst_is_granted_and_the_next_one_is_told_when_to_come_back() {
    let (_redis, _app, client) = service().await;
    let five = json!({ "capacity": 5, "refill": 5, "per": "1h" });
    for left in (0..5).rev() {
        let told = take(&client, "l", &five).await.json();
        assert_eq!((&told["allowed"], &told["remaining"]), (&json!(true), &json!(left)), "{told}");
        assert_eq!((&told["retry_after_ms"], &told["decided_by"]), (&json!(0), &json!("redis")), "{told}");
    }
    let answer = take(&client, "l", &five).await;
    assert_eq!((answer.status, answer.outcome.as_deref()), (200, None), "a refusal is data: {}", answer.text());
    let told = answer.json();
    assert_eq!((&told["allowed"], &told["remaining"]), (&json!(false), &json!(0)), "{told}");
    let (retry, reset) = (told["retry_after_ms"].as_u64(), told["reset_after_ms"].as_u64());
    assert!(retry.is_some_and(|millis| (660_000..=720_000).contains(&millis)), "{told}");
    assert!(reset.is_some_and(|millis| (3_540_000..=3_600_000).contains(&millis)), "{told}");
}

#[tokio::test]
async fn a_cost_is_taken_as_a_whole_or_not_at_all() {
    let (_redis, _app, client) = service().await;
    let cost = |cost: u64| json!({ "capacity": 5, "refill": 1, "per": "24h", "cost": cost });
    for (tokens, allowed, left) in [(3, true, 2), (3, false, 2), (2, true, 0), (1, false, 0)] {
        let told = take(&client, "l", &cost(tokens)).await.json();
        assert_eq!((&told["allowed"], &told["remaining"]), (&json!(allowed), &json!(left)), "{tokens}: {told}");
    }
}

#[tokio::test]
async fn takes_at_the_same_time_share_one_bound() {
    let (_redis, _app, client) = service().await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        calls.spawn(async move { take(&client, "l", &daily(20)).await.json()["allowed"] == true });
    }
    assert_eq!(calls.join_all().await.into_iter().filter(|allowed| *allowed).count(), 20);
}

#[tokio::test]
async fn numbers_against_the_rules_are_refused_by_name() {
    let (redis, _app, client) = service().await;
    let cases = [
        (json!({ "capacity": 0, "refill": 1, "per": "1s" }), "/capacity", "from 1 to 1000000000"),
        (json!({ "capacity": 1, "refill": 1_000_000_001_u64, "per": "1s" }), "/refill", "from 1 to 1000000000"),
        (json!({ "capacity": 1, "refill": 1, "per": "1" }), "/per", "one unit of ms, s, m, h"),
        (json!({ "capacity": 1, "refill": 1, "per": "0s" }), "/per", "from 1ms to 744h"),
        (json!({ "capacity": 1, "refill": 1, "per": "745h" }), "/per", "from 1ms to 744h"),
        (json!({ "capacity": 1, "refill": 1, "per": 1 }), "", "with its unit of ms, s, m or h"),
        (json!({ "capacity": 1, "refill": 1, "per": "1s", "cost": 0 }), "/cost", "look at the limiter with GET"),
        (json!({ "capacity": 1, "refill": 1, "per": "1s", "cost": 2 }), "", "cost must not be greater than capacity"),
        (json!({ "capacity": 367, "refill": 1, "per": "24h" }), "", "366 days"),
        (json!({ "capacity": 1, "refill": 1, "per": "1s", "on_outage": "ajar" }), "", "`closed`, `open`, `local`"),
        (json!({ "capacity": 1, "refill": 1, "per": "1s", "burst": 2 }), "", "`burst` is not known"),
        (json!({ "capacity": 1.5, "refill": 1, "per": "1s" }), "", "expected u64"),
        (json!({ "capacity": 1, "refill": 1 }), "", "missing field `per`"),
    ];
    for (body, pointer, rule) in cases {
        let document = problem(&take(&client, "l", &body).await, 422, "invalid_value");
        let told = &document["errors"][0];
        assert_eq!(told["pointer"], pointer, "{body}: {document}");
        assert!(told["detail"].as_str().is_some_and(|detail| detail.contains(rule)), "{body}: {document}");
    }
    let all_wrong = json!({ "capacity": 0, "refill": 0, "per": "soon", "cost": 0 });
    let document = problem(&take(&client, "l", &all_wrong).await, 422, "invalid_value");
    assert_eq!(document["errors"].as_array().map(Vec::len), Some(4), "{document}");
    assert_eq!(redis.command(&["EXISTS", "collective:limiter:l"]).await, 0);
}

#[tokio::test]
async fn a_look_charges_nothing() {
    let (_redis, _app, client) = service().await;
    problem(&client.get("/v1/limiters/l").await, 404, "not_found");
    take(&client, "l", &json!({ "capacity": 5, "refill": 5, "per": "90m", "cost": 2 })).await;
    for _ in 0..3 {
        let seen = client.get("/v1/limiters/l").await.json();
        let numbers = (&seen["capacity"], &seen["refill"], &seen["per"], &seen["remaining"], &seen["allowed"]);
        assert_eq!(numbers, (&json!(5), &json!(5), &json!("90m"), &json!(3), &json!(true)), "{seen}");
    }
    let dear = client.get("/v1/limiters/l?cost=4").await.json();
    assert_eq!((&dear["allowed"], &dear["remaining"]), (&json!(false), &json!(3)), "{dear}");
    assert!(dear["retry_after_ms"].as_u64().is_some_and(|millis| millis > 1_000_000), "{dear}");
    let other = client.get("/v1/limiters/l?capacity=10&refill=1&per=24h").await.json();
    assert_eq!((&other["remaining"], &other["per"]), (&json!(8), &json!("24h")), "{other}");
    let untouched = client.get("/v1/limiters/none?capacity=10&refill=1&per=24h").await.json();
    assert_eq!((&untouched["remaining"], &untouched["reset_after_ms"]), (&json!(10), &json!(0)), "{untouched}");
    assert_eq!(client.get("/v1/limiters/l").await.json()["remaining"], 3, "the numbers in force are the last take's");
    problem(&client.get("/v1/limiters/l?capacity=10").await, 422, "invalid_value");
    assert_eq!(client.send(client.request(Method::HEAD, "/v1/limiters/l")).await.status, 200);
}

#[tokio::test]
async fn a_look_for_more_than_there_can_be_is_told_so_and_not_to_wait() {
    let (_redis, _app, client) = service().await;
    take(&client, "l", &daily(10)).await;
    assert_eq!(client.get("/v1/limiters/l?cost=10").await.json()["allowed"], false);
    problem(&client.get("/v1/limiters/l?cost=11").await, 422, "invalid_value");
}

#[tokio::test]
async fn a_deleted_limiter_has_forgotten_everything() {
    let (_redis, _app, client) = service().await;
    assert_eq!(delete(&client, "l").await.status, 204, "there is nothing, and that is fine");
    assert_eq!(granted(&client, "l", &daily(3), 5).await, 3);
    assert_eq!(delete(&client, "l").await.status, 204);
    problem(&client.get("/v1/limiters/l").await, 404, "not_found");
    assert_eq!(granted(&client, "l", &daily(3), 5).await, 3);
}

#[tokio::test]
async fn a_limiter_that_is_full_again_leaves_nothing_behind() {
    let (redis, _app, client) = service().await;
    take(&client, "l", &json!({ "capacity": 4, "refill": 1, "per": "1s", "cost": 3 })).await;
    let lives = redis.command(&["PTTL", "collective:limiter:l"]).await.integer();
    assert!((1..=3000).contains(&lives), "{lives}");
    eventually(Duration::from_secs(10), async || redis.command(&["EXISTS", "collective:limiter:l"]).await == 0).await;
}

#[tokio::test]
async fn changed_numbers_give_no_second_burst() {
    let (_redis, _app, client) = service().await;
    let numbers = |capacity: u64, refill: u64, per: &str| json!({ "capacity": capacity, "refill": refill, "per": per });
    assert_eq!(granted(&client, "l", &numbers(10, 10, "24h"), 12).await, 10);
    for changed in [numbers(10, 1, "24h"), numbers(10, 10, "12h"), numbers(10, 1, "744h"), numbers(2, 10, "24h")] {
        assert_eq!(granted(&client, "l", &changed, 3).await, 0, "{changed}");
    }
    // What a larger capacity adds may be taken, and nothing that was taken before.
    assert_eq!(granted(&client, "l", &numbers(13, 10, "24h"), 20).await, 3);
    // Old and new side by side, as while a new version is rolled out.
    for turn in 0..50 {
        let (old, new) = (numbers(10, 10, "24h"), numbers(13, 9, "23h"));
        assert_eq!(granted(&client, "l", if turn % 2 == 0 { &old } else { &new }, 1).await, 0, "{turn}");
    }
    let seen = client.get("/v1/limiters/l?capacity=100&refill=1&per=24h").await.json();
    assert_eq!(seen["remaining"], 87, "thirteen were taken, all told: {seen}");
}

#[tokio::test]
async fn an_idempotency_key_charges_once_and_repeats_the_first_decision() {
    let (_redis, _app, client) = service().await;
    let keyed = client.idempotency_key("order-17");
    let first = take(&keyed, "l", &daily(2)).await;
    assert_eq!((first.json()["remaining"].as_u64(), first.header("idempotency-replayed")), (Some(1), None));
    for _ in 0..3 {
        let again = take(&keyed, "l", &daily(2)).await;
        assert_eq!((again.status, again.body == first.body), (200, true), "{}", again.text());
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(take(&client, "l", &daily(2)).await.json()["remaining"], 0, "the key charged one");
    let operation = client.get("/v1/operations/order-17").await.json();
    assert_eq!(
        (&operation["outcome"], &operation["reply"]["body"]),
        (&json!("executed"), &first.json()),
        "{operation}"
    );
    let refused = take(&client.idempotency_key("order-18"), "l", &daily(2)).await;
    assert_eq!(refused.json()["allowed"], false);
    delete(&client, "l").await;
    let again = take(&client.idempotency_key("order-18"), "l", &daily(2)).await;
    assert_eq!(again.json()["allowed"], false, "a refusal is a decision, too: {}", again.text());
    assert_eq!(take(&keyed, "l", &daily(3)).await.status, 422, "the same key with other numbers is a mistake");
}

#[tokio::test]
async fn what_is_no_limiter_is_409_and_left_untouched() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "collective:limiter:list", "a"]).await;
    redis.command(&["SET", "collective:limiter:text", "1 2 three 4 5 6"]).await;
    for name in ["list", "text"] {
        problem(&take(&client, name, &daily(3)).await, 409, "wrong_type");
        problem(&client.get(&format!("/v1/limiters/{name}")).await, 409, "wrong_type");
    }
    problem(&delete(&client, "list").await, 409, "wrong_type");
    assert_eq!(redis.command(&["LLEN", "collective:limiter:list"]).await, 1);
    assert_eq!(redis.command(&["GET", "collective:limiter:text"]).await, "1 2 three 4 5 6");
}

#[tokio::test]
async fn a_limiters_name_may_hold_slashes_and_any_bytes() {
    let (redis, _app, client) = service().await;
    for (encoded, name) in
        [("a/b", &b"a/b"[..]), ("%FF%00", b"\xff\0"), ("take", b"take"), ("collective:x", b"collective:x")]
    {
        assert_eq!(take(&client, encoded, &daily(3)).await.json()["remaining"], 2, "{encoded}");
        assert_eq!(client.get(&format!("/v1/limiters/{encoded}")).await.json()["remaining"], 2, "{encoded}");
        let record = [b"collective:limiter:", name].concat();
        assert_eq!(redis.command(&[&b"EXISTS"[..], &record]).await, 1, "{encoded}");
        assert_eq!(delete(&client, encoded).await.status, 204);
    }
    problem(&client.post("/v1/limiters/l", &daily(3)).await, 404, "not_found");
    problem(&client.send(client.request(Method::PUT, "/v1/limiters/l")).await, 405, "method_not_allowed");
}

#[tokio::test]
async fn takes_are_counted_by_who_decided() {
    let (_redis, _app, client) = service().await;
    granted(&client, "l", &daily(2), 3).await;
    for (decision, count) in [("redis_allowed", 2.0), ("redis_refused", 1.0), ("closed", 0.0), ("local_allowed", 0.0)] {
        let counted = client.metric("collective_limiter_takes_total", &[("decision", decision)]).await;
        assert_eq!(counted, Some(count), "{decision}");
    }
}
