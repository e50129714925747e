//! `/v1/counters`: exact over all 64 bits, and refusing what it cannot count.
//!
//! Why so: a counter's whole worth is that its number is right. So numbers are compared as text where a reader of
//! floating point would round, and after every refusal Redis is asked whether the value was kept.
//!
//! Limits: one instance, a Redis that answers; what a lost reply does to an increment is told in `classes`.

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Answer, App, Client, Options, Redis};
use crate::keys::{patient, problem};

/// The first whole number that a 64-bit float cannot hold.
const BEYOND_FLOATS: &str = "9007199254740993";

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

/// An increment with this very text as its body.
async fn increment_with(client: &Client, name: &str, body: &str) -> Answer {
    let request = client.request(Method::POST, &format!("/v1/counters/{name}/increment"));
    client.send(request.header("Content-Type", "application/json").body(body.to_owned())).await
}

async fn delete(client: &Client, name: &str) -> Answer {
    client.send(client.request(Method::DELETE, &format!("/v1/counters/{name}"))).await
}

#[tokio::test]
async fn a_counter_starts_at_zero_and_counts_both_ways() {
    let (redis, _app, client) = service().await;
    for (by, value) in [(1, 1), (41, 42), (-50, -8), (8, 0)] {
        let answer = client.increment("c", by).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "value": value })));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(client.get("/v1/counters/c").await.json(), json!({ "value": value }));
        assert_eq!(redis.command(&["GET", "c"]).await.integer(), value);
    }
}

#[tokio::test]
async fn an_increment_without_a_step_counts_one() {
    let (_redis, _app, client) = service().await;
    for (body, value) in [("", 1), ("{}", 2), (" {} ", 3)] {
        let answer = increment_with(&client, "c", body).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "value": value })), "{body:?}");
    }
}

#[tokio::test]
async fn numbers_beyond_two_to_the_fifty_third_stay_exact() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "c", BEYOND_FLOATS]).await;
    assert_eq!(client.get("/v1/counters/c").await.text(), "{\"value\":9007199254740993}");
    assert_eq!(client.increment("c", 2).await.text(), "{\"value\":9007199254740995}");
    assert_eq!(increment_with(&client, "d", "{\"by\":9007199254740993}").await.text(), "{\"value\":9007199254740993}");
    for (name, end) in [("top", i64::MAX), ("bottom", i64::MIN)] {
        assert_eq!(client.increment(name, end).await.text(), format!("{{\"value\":{end}}}"));
        assert_eq!(client.get(&format!("/v1/counters/{name}")).await.text(), format!("{{\"value\":{end}}}"));
        assert_eq!(redis.command(&["GET", name]).await, end.to_string().as_str());
    }
}

#[tokio::test]
async fn an_increment_past_either_end_is_refused_and_the_value_is_kept() {
    let (redis, _app, client) = service().await;
    for (end, by) in [(i64::MAX, 1), (i64::MAX, i64::MAX), (i64::MIN, -1), (i64::MIN, i64::MIN), (-1, i64::MIN)] {
        redis.command(&["SET", "c", &end.to_string()]).await;
        let document = problem(&client.increment("c", by).await, 409, "out_of_range");
        assert_eq!((&document["outcome"], &document["retryable"]), (&json!("not_executed"), &json!(false)));
        assert_eq!(redis.command(&["GET", "c"]).await, end.to_string().as_str(), "{end} by {by}");
    }
}

#[tokio::test]
async fn a_step_of_zero_is_422_and_creates_nothing() {
    let (redis, _app, client) = service().await;
    let document = problem(&increment_with(&client, "c", "{\"by\":0}").await, 422, "invalid_value");
    assert_eq!(document["errors"][0]["pointer"], "/by", "{document}");
    assert_eq!(redis.command(&["EXISTS", "c"]).await, 0);
}

#[tokio::test]
async fn a_member_it_does_not_know_is_refused_by_name() {
    let (redis, _app, client) = service().await;
    for member in ["maximum", "floor", "ttl", "By"] {
        let body = json!({ "by": 1, member: 5 }).to_string();
        let document = problem(&increment_with(&client, "c", &body).await, 422, "invalid_value");
        assert!(document["errors"].to_string().contains(&format!("`{member}`")), "{document}");
    }
    assert_eq!(redis.command(&["EXISTS", "c"]).await, 0);
}

#[tokio::test]
async fn a_step_that_is_no_64_bit_integer_is_422() {
    let (redis, _app, client) = service().await;
    for by in ["\"1\"", "1.5", "1.0", "1e3", "true", "null", "[1]", "9223372036854775808", "-9223372036854775809"] {
        problem(&increment_with(&client, "c", &format!("{{\"by\":{by}}}")).await, 422, "invalid_value");
    }
    problem(&increment_with(&client, "c", "{\"by\":1,\"by\":2}").await, 422, "invalid_value");
    assert_eq!(redis.command(&["EXISTS", "c"]).await, 0);
}

#[tokio::test]
async fn a_body_that_is_no_object_counts_nothing() {
    let (redis, _app, client) = service().await;
    for body in ["5", "\"by\"", "null", "true", "[5]", "[]"] {
        let answer = increment_with(&client, "c", body).await;
        assert_eq!(redis.command(&["EXISTS", "c"]).await, 0, "{body} was counted: {}", answer.text());
        problem(&answer, 422, "invalid_value");
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400() {
    let (redis, _app, client) = service().await;
    for body in ["{", "{\"by\":}", "by=1", "{\"by\":1}x", "{'by':1}", "{\"by\":1,}", " "] {
        problem(&increment_with(&client, "c", body).await, 400, "invalid_json");
    }
    assert_eq!(redis.command(&["EXISTS", "c"]).await, 0);
}

#[tokio::test]
async fn a_body_too_large_for_a_step_is_413() {
    let (redis, _app, client) = service().await;
    let padded = |length: usize| format!("{{\"by\":1{}}}", " ".repeat(length - 8));
    assert_eq!(increment_with(&client, "c", &padded(4096)).await.status, 200);
    problem(&increment_with(&client, "c", &padded(4097)).await, 413, "payload_too_large");
    assert_eq!(redis.command(&["GET", "c"]).await, "1");
}

#[tokio::test]
async fn what_is_no_counter_is_409_and_left_untouched() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "list", "a"]).await;
    for answer in
        [client.increment("list", 1).await, client.get("/v1/counters/list").await, delete(&client, "list").await]
    {
        assert_eq!(problem(&answer, 409, "wrong_type")["outcome"], "not_executed");
    }
    assert_eq!(redis.command(&["LRANGE", "list", "0", "-1"]).await.to_string(), "a");
    for text in ["abc", "", "1.5", " 1", "9223372036854775808", "+5", "-0", "007"] {
        redis.command(&["SET", "text", text]).await;
        problem(&client.increment("text", 1).await, 409, "wrong_type");
        problem(&client.get("/v1/counters/text").await, 409, "wrong_type");
        assert_eq!(redis.command(&["GET", "text"]).await, text);
    }
}

#[tokio::test]
async fn a_missing_counter_is_404_and_a_deleted_one_starts_anew() {
    let (_redis, _app, client) = service().await;
    problem(&client.get("/v1/counters/c").await, 404, "not_found");
    assert_eq!(delete(&client, "c").await.status, 204);
    client.increment("c", 5).await;
    let answer = delete(&client, "c").await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    problem(&client.get("/v1/counters/c").await, 404, "not_found");
    assert_eq!(client.increment("c", 1).await.json(), json!({ "value": 1 }));
}

#[tokio::test]
async fn a_counters_name_may_hold_slashes_and_any_bytes() {
    let (redis, _app, client) = service().await;
    let names: &[(&str, &[u8])] = &[
        ("a/b", b"a/b"),
        ("c%2Fd", b"c/d"),
        ("%FF%00", b"\xff\0"),
        ("increment", b"increment"),
        ("e/increment", b"e/increment"),
        ("", b""),
    ];
    for (encoded, name) in names {
        assert_eq!(increment_with(&client, encoded, "").await.json(), json!({ "value": 1 }), "{encoded}");
        assert_eq!(client.get(&format!("/v1/counters/{encoded}")).await.json(), json!({ "value": 1 }), "{encoded}");
        assert_eq!(redis.command(&[b"GET", *name]).await, "1", "{encoded}");
        assert_eq!(delete(&client, encoded).await.status, 204, "{encoded}");
        assert_eq!(redis.command(&[b"EXISTS", *name]).await, 0, "{encoded}");
    }
}

#[tokio::test]
async fn the_services_own_names_are_no_counters() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "collective:n", "7"]).await;
    for answer in [
        client.increment("collective:n", 1).await,
        client.get("/v1/counters/collective:n").await,
        delete(&client, "collective:n").await,
    ] {
        problem(&answer, 403, "reserved_name");
    }
    assert_eq!(redis.command(&["GET", "collective:n"]).await, "7");
}

#[tokio::test]
async fn other_methods_and_other_verbs_are_told_the_right_ones() {
    let (redis, _app, client) = service().await;
    for method in [Method::PUT, Method::PATCH] {
        let answer = client.send(client.request(method, "/v1/counters/c")).await;
        problem(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, DELETE, POST, OPTIONS"));
    }
    for path in ["/v1/counters/c", "/v1/counters/c/decrement", "/v1/counters/c/increment/"] {
        problem(&client.post(path, &json!({})).await, 404, "not_found");
    }
    assert_eq!(redis.keys_of_callers().await, 0);
}

#[tokio::test]
async fn a_counter_is_one_integer_string_to_every_other_way_in() {
    let (_redis, _app, client) = service().await;
    client.increment("c", 5).await;
    assert_eq!(client.post_command(&["GET", "c"]).await.result(), "5");
    assert_eq!(client.get_key("c").await.text(), "5");
    assert_eq!(client.post_command(&["INCRBY", "c", "-7"]).await.result(), -2);
    assert_eq!(client.get("/v1/counters/c").await.json(), json!({ "value": -2 }));
    client.put_key("c", "100").await;
    assert_eq!(client.increment("c", 1).await.json(), json!({ "value": 101 }));
}

#[tokio::test]
async fn concurrent_increments_are_all_counted_and_each_sees_its_own_value() {
    let (redis, _app, client) = service().await;
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let client = client.clone();
        calls.spawn(async move { client.increment("c", 1).await.json()["value"].as_i64().expect("a value") });
    }
    let mut values = calls.join_all().await;
    values.sort_unstable();
    assert!(values.into_iter().eq(1..=200));
    assert_eq!(redis.command(&["GET", "c"]).await, "200");
}
