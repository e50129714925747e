//! `If-Match` and `If-None-Match`: what each means on each method, and that a condition is decided in Redis, once.
//!
//! Why so: a conditional write is worth what it refuses, so after each answer Redis itself is asked what it holds. The last test is
//! the reason for the records: the content alone cannot tell an author that his write was made when somebody wrote after him.
//!
//! Limits: a Redis that fails is in `keys_outages`, many authors at once in `compare_and_set`.

use std::time::Duration;

use reqwest::Method;

use crate::harness::{Answer, App, Client, Options, Proxy, Redis, eventually};
use crate::keys::{patient, problem};

/// SHA-1 of `old`, of `new` and of what is nowhere.
const OLD: &str = "\"c00dbbc9dadfbe1e232e93a729dd4752fade0abf\"";
const NEW: &str = "\"c2a6b03f190dfb2b4aa91f8af8d477a9bc3401dc\"";
const OTHER: &str = "\"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\"";

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

async fn call(client: &Client, method: Method, header: &str, value: &str, path: &str) -> Answer {
    let request = client.request(method.clone(), path).header(header, value);
    client.send(if method == Method::PUT { request.body("new") } else { request }).await
}

/// Checks a 412 as a whole: the tag of what is stored, or none.
#[track_caller]
fn assert_unmet(answer: &Answer, current: Option<&str>, what: &str) {
    let document = problem(answer, 412, "precondition_failed");
    assert_eq!(answer.header("etag"), current, "{what}");
    assert_eq!(answer.outcome(), "not_executed", "{what}");
    // The first call of a life may find Redis without the functions.
    assert!(document["attempts"].as_u64().is_some_and(|attempts| (1..=2).contains(&attempts)), "{what}: {document}");
    assert_eq!(document["retryable"], false, "{what}");
}

#[tokio::test]
async fn a_write_is_made_only_if_its_condition_holds() {
    let (redis, _app, client) = service().await;
    let weak = format!("W/{OLD}");
    let list = format!("{OTHER} , {OLD}");
    let upper = OLD.to_uppercase();
    // Header, value, whether it holds for `old`, whether it holds where there is nothing.
    let rows = [
        ("If-Match", OLD, true, false),
        ("If-Match", list.as_str(), true, false),
        ("If-Match", "*", true, false),
        ("If-Match", OTHER, false, false),
        ("If-Match", "\"another-kind-of-tag\"", false, false),
        ("If-Match", weak.as_str(), false, false),
        ("If-Match", upper.as_str(), false, false),
        ("If-None-Match", OLD, false, true),
        ("If-None-Match", list.as_str(), false, true),
        ("If-None-Match", weak.as_str(), false, true),
        ("If-None-Match", "*", false, true),
        ("If-None-Match", OTHER, true, true),
    ];
    for (header, value, holds, holds_for_nothing) in rows {
        let what = format!("{header}: {value}");
        for method in [Method::PUT, Method::DELETE] {
            redis.command(&["SET", "k", "old"]).await;
            redis.command(&["DEL", "gone"]).await;
            let answer = call(&client, method.clone(), header, value, "/v1/keys/k").await;
            let nothing = call(&client, method.clone(), header, value, "/v1/keys/gone").await;
            let (k, gone) = (redis.command(&["GET", "k"]).await, redis.command(&["GET", "gone"]).await);
            match (holds, &method) {
                (true, &Method::PUT) => {
                    assert_eq!((answer.status, answer.header("etag")), (204, Some(NEW)), "{what}");
                    assert_eq!(k, "new", "{what}");
                }
                (true, _) => assert_eq!((answer.status, k.is_nil()), (204, true), "{what}"),
                (false, _) => {
                    assert_unmet(&answer, Some(OLD), &what);
                    assert_eq!(k, "old", "{what}");
                }
            }
            match (holds_for_nothing, &method) {
                (true, &Method::PUT) => {
                    assert_eq!((nothing.status, nothing.header("etag")), (201, Some(NEW)), "{what}");
                    assert_eq!(gone, "new", "{what}");
                }
                (true, _) => assert_eq!((nothing.status, gone.is_nil()), (204, true), "{what}"),
                (false, _) => {
                    assert_unmet(&nothing, None, &what);
                    assert!(gone.is_nil(), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn both_conditions_must_hold() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "old"]).await;
    let unmet = call(&client.with_header("If-Match", "*"), Method::PUT, "If-None-Match", OLD, "/v1/keys/k").await;
    assert_unmet(&unmet, Some(OLD), "If-None-Match fails");
    let met = call(&client.with_header("If-Match", OLD), Method::PUT, "If-None-Match", OTHER, "/v1/keys/k").await;
    assert_eq!(met.status, 204);
    let lines = client.with_header("If-Match", OTHER).with_header("If-Match", NEW);
    assert_eq!(lines.put_key("k", "old").await.status, 204, "several lines are one list");
}

#[tokio::test]
async fn a_read_is_answered_without_content_where_the_reader_has_it() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "old", "PX", "100000"]).await;
    let weak = format!("W/{OLD}");
    for method in [Method::GET, Method::HEAD] {
        for value in [OLD, "*", &format!("{OTHER},{OLD}"), &weak] {
            let answer = call(&client, method.clone(), "If-None-Match", value, "/v1/keys/k").await;
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{method} {value}");
            assert_eq!(answer.header("etag"), Some(OLD), "{method} {value}");
            assert_ne!(answer.header("content-length"), Some("0"), "a 304 does not say that the content is empty");
        }
        assert_eq!(call(&client, method.clone(), "If-None-Match", OTHER, "/v1/keys/k").await.status, 200);
        assert_eq!(call(&client, method.clone(), "If-Match", OLD, "/v1/keys/k").await.status, 200);
        for value in [OTHER, &weak] {
            let answer = call(&client, method.clone(), "If-Match", value, "/v1/keys/k").await;
            assert_eq!((answer.status, answer.header("etag"), answer.outcome()), (412, Some(OLD), "not_executed"));
        }
        let missing = call(&client, method.clone(), "If-Match", "*", "/v1/keys/missing").await;
        assert_eq!(missing.status, 404, "without the condition it were no success either (RFC 9110, 13.2.1)");
    }
    assert_unmet(&call(&client, Method::GET, "If-Match", OTHER, "/v1/keys/k").await, Some(OLD), "GET");
    assert_eq!(redis.command(&["GET", "k"]).await, "old");
}

#[tokio::test]
async fn a_condition_that_is_none_is_refused_with_its_rule() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "old"]).await;
    for header in ["If-Match", "If-None-Match"] {
        for value in ["", "old", "c00dbbc9dadfbe1e232e93a729dd4752fade0abf", "*, *", "\"a\" \"b\"", "\"a", "w/\"a\""] {
            for method in [Method::PUT, Method::DELETE, Method::GET] {
                let answer = call(&client, method, header, value, "/v1/keys/k").await;
                let document = problem(&answer, 400, "invalid_request");
                let detail = document["detail"].as_str().unwrap_or_default();
                assert!(detail.starts_with(header) && detail.contains("double quotes"), "{value}: {detail}");
            }
        }
    }
    assert_eq!(redis.command(&["GET", "k"]).await, "old");
}

/// Nothing has a date: the one condition that protects is refused, the one that saves a transfer is ignored (RFC 9110, 13.1.3).
#[tokio::test]
async fn conditions_on_dates_are_refused_where_they_protect_and_ignored_where_they_save() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "old"]).await;
    let date = "Sun, 22 Nov 2026 08:00:00 GMT";
    for method in [Method::PUT, Method::DELETE, Method::GET] {
        let answer = call(&client, method, "If-Unmodified-Since", date, "/v1/keys/k").await;
        let document = problem(&answer, 400, "invalid_request");
        assert!(document["detail"].as_str().is_some_and(|text| text.starts_with("If-Unmodified-Since")), "{document}");
    }
    assert_eq!(call(&client, Method::GET, "If-Modified-Since", date, "/v1/keys/k").await.text(), "old");
}

#[tokio::test]
async fn a_condition_is_refused_where_it_would_be_ignored() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "c", "7"]).await;
    for header in ["If-Match", "If-None-Match"] {
        for (method, path) in
            [(Method::DELETE, "/v1/counters/c"), (Method::POST, "/v1/counters/c/increment"), (Method::GET, "/v1/keys")]
        {
            problem(&call(&client, method, header, OLD, path).await, 400, "invalid_request");
        }
    }
    assert_eq!(redis.command(&["GET", "c"]).await, "7");
}

#[tokio::test]
async fn a_key_of_another_type_is_409_whatever_the_condition() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "list", "a"]).await;
    for (header, value) in [("If-Match", "*"), ("If-Match", OLD), ("If-None-Match", "*"), ("If-None-Match", OLD)] {
        for method in [Method::PUT, Method::DELETE, Method::GET] {
            problem(&call(&client, method, header, value, "/v1/keys/list").await, 409, "wrong_type");
        }
    }
    assert_eq!(redis.command(&["LRANGE", "list", "0", "-1"]).await.to_string(), "a");
}

#[tokio::test]
async fn a_conditional_put_sets_the_lifetime_like_any_other() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "old", "PX", "100000"]).await;
    let put = async |query: &str, tag: &str| {
        call(&client, Method::PUT, "If-Match", tag, &format!("/v1/keys/k{query}")).await.status
    };
    assert_eq!(put("?keep_ttl=true", OLD).await, 204);
    assert!((50_000..=100_000).contains(&redis.command(&["PTTL", "k"]).await.integer()));
    assert_eq!(put("?ttl_seconds=1000", NEW).await, 204);
    assert!((500_000..=1_000_000).contains(&redis.command(&["PTTL", "k"]).await.integer()));
    assert_eq!(put("?ttl_seconds=5", OLD).await, 412);
    assert!(redis.command(&["PTTL", "k"]).await.integer() > 500_000, "a refused write moves no lifetime");
    assert_eq!(put("", NEW).await, 204);
    assert_eq!(redis.command(&["PTTL", "k"]).await, -1, "the lifetime is no part of the tag");
}

#[tokio::test]
async fn any_bytes_can_be_compared() {
    let (redis, _app, client) = service().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    for content in [&b""[..], b"\0", b"-", b"*", &every_byte] {
        redis.command(&[&b"SET"[..], b"k", content]).await;
        let tag = client.head_key("k").await.header("etag").expect("a tag").to_owned();
        assert_eq!(client.with_header("If-Match", &tag).put_key("k", content).await.header("etag"), Some(tag.as_str()));
        assert_eq!(redis.command(&["GET", "k"]).await, crate::harness::Reply::Bulk(content.to_vec()));
        assert_eq!(call(&client, Method::DELETE, "If-Match", &tag, "/v1/keys/k").await.status, 204);
    }
}

#[tokio::test]
async fn a_full_redis_still_takes_a_conditional_delete() {
    let (redis, _app, client) = service().await;
    client.with_header("If-None-Match", "*").put_key("k", "old").await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let put = client.with_header("If-Match", OLD).put_key("k", "new").await;
    problem(&put, 507, "out_of_memory");
    assert_eq!(redis.command(&["GET", "k"]).await, "old");
    assert_eq!(call(&client, Method::DELETE, "If-Match", OLD, "/v1/keys/k").await.status, 204);
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn a_full_redis_still_takes_whatever_makes_room() {
    let (redis, _app, client) = service().await;
    let token = crate::leases::token(&crate::leases::acquire(&client, "jobs", "me", 60_000).await);
    assert_eq!(crate::presence::beat(&client, "room/me", 60).await.status, 204);
    let keyed = client.idempotency_key("before");
    assert_eq!(keyed.increment("n", 1).await.status, 200);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    problem(&client.idempotency_key("after").increment("n", 1).await, 507, "out_of_memory");
    problem(&crate::leases::acquire(&client, "other", "me", 60_000).await, 507, "out_of_memory");
    assert_eq!(client.get("/v1/leases/jobs").await.status, 200);
    assert_eq!(crate::leases::release(&client, "jobs", token).await.status, 204);
    assert_eq!(crate::presence::leave(&client, "room/me").await.status, 204);
    assert_eq!(crate::presence::counts(&client, "room").await, (0, 1));
    // Settling takes a few bytes; without it, what is unknown would stay so for as long as Redis is full.
    assert_eq!(client.get("/v1/operations/before").await.json()["outcome"], "executed");
    assert_eq!(client.get("/v1/operations/after").await.json()["outcome"], "not_executed");
}

#[tokio::test]
async fn without_functions_plain_calls_work_and_conditional_ones_say_why_not() {
    let old = [("FCALL", "nofcall"), ("FCALL_RO", "nofcall_ro"), ("FUNCTION", "nofunction")];
    let old = old
        .into_iter()
        .fold(Options::default(), |old, (name, other)| old.set(&format!("rename-command {name}"), other));
    let redis = Redis::start(old).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    assert_eq!(client.put_key("k", "old").await.status, 201);
    let head = client.head_key("k").await;
    assert_eq!((head.status, head.header("etag"), head.header("content-length")), (200, Some(OLD), Some("3")));
    assert_eq!(client.with_header("If-None-Match", OLD).get_key("k").await.status, 304);
    problem(&client.with_header("If-Match", OLD).put_key("k", "new").await, 501, "functions_unsupported");
    problem(&client.with_header("Collective-Fence", "jobs;5").put_key("k", "new").await, 501, "functions_unsupported");
    assert_eq!(client.delete_key("k").await.status, 204);
}

#[tokio::test]
async fn a_head_needs_no_right_to_call_functions() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "old", "PX", "100000"]).await;
    redis.command(&["ACL", "SETUSER", "default", "-fcall_ro"]).await;
    let head = client.head_key("k").await;
    assert_eq!((head.status, head.header("etag"), head.header("content-length")), (200, Some(OLD), Some("3")));
    assert!(head.header("collective-ttl-ms").is_some());
}

/// The case a read-back of the content cannot settle: the write was made, its reply is lost, and somebody has written after it.
#[tokio::test]
async fn an_author_whose_write_was_made_is_told_so_even_if_somebody_wrote_after_him() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 21);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    for (method, after) in [(Method::PUT, Some("new")), (Method::DELETE, None)] {
        redis.command(&["SET", "k", "old"]).await;
        assert_eq!(
            client.with_header("If-Match", OTHER).put_key("k", "x").await.status,
            412,
            "the functions are in place"
        );
        proxy.only(&["FCALL"]);
        proxy.reset_counts();
        proxy.hold_replies_of_everyone();
        let author = tokio::spawn({
            let (client, method) = (client.clone(), method.clone());
            async move { call(&client, method, "If-Match", OLD, "/v1/keys/k").await }
        });
        eventually(Duration::from_secs(10), async || {
            let now = redis.command(&["GET", "k"]).await;
            after.map_or(now.is_nil(), |content| now == content)
        })
        .await;
        redis.command(&["SET", "k", "somebody else's"]).await;
        proxy.cut();
        proxy.release();
        let answer = author.await.expect("an answer");
        assert_eq!(answer.status, 204, "{method}: {}", answer.text());
        assert_eq!(proxy.count("FCALL"), 2, "{method}: it was sent again: {:?}", proxy.history());
        assert_eq!(redis.command(&["GET", "k"]).await, "somebody else's", "{method}: it was made once");
    }
}
