//! `Collective-Fence`: a write of a deposed holder is refused, always, and changes nothing.
//!
//! The lease is laid down in Redis as an acquisition leaves it, because what is tested is the write and not the lease.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, App, Client, Options, Redis};
use crate::keys::{patient, problem};
use crate::leases::{acquire, release, token};

const OLD: &str = "\"c00dbbc9dadfbe1e232e93a729dd4752fade0abf\"";

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

fn under(client: &Client, fence: &str) -> Client {
    client.with_header("Collective-Fence", fence)
}

async fn delete(client: &Client, path: &str) -> Answer {
    client.send(client.request(Method::DELETE, path)).await
}

/// Every kind of write that may be fenced, on fresh names.
async fn each_write(redis: &Redis, client: &Client) -> Vec<(&'static str, Answer)> {
    redis.command(&["MSET", "put", "old", "deleted", "old", "n", "5", "gone", "7"]).await;
    let matching = client.with_header("If-Match", OLD);
    vec![
        ("put", client.put_key("put", "new").await),
        ("conditional put", matching.put_key("deleted", "old").await),
        ("delete", delete(client, "/v1/keys/deleted").await),
        ("increment", client.increment("n", 1).await),
        ("bounded increment", client.post("/v1/counters/n/increment", &json!({ "by": 1, "max": 100 })).await),
        ("increment with a key", client.idempotency_key(&fastrand::u64(..).to_string()).increment("n", 1).await),
        ("delete of a counter", delete(client, "/v1/counters/gone").await),
    ]
}

#[tokio::test]
async fn a_write_under_the_newest_token_is_made() {
    let (redis, _app, client) = service().await;
    redis.command(&["HSET", "collective:lease:jobs", "token", "1700000000000000"]).await;
    for fence in ["jobs;1700000000000000", "jobs;1700000000000001", "nobody's;1"] {
        for (write, answer) in each_write(&redis, &under(&client, fence)).await {
            assert!(answer.is_success(), "{write} under {fence}: {}", answer.text());
        }
        assert_eq!(redis.command(&["MGET", "put", "n"]).await.to_string(), "new,8", "{fence}");
        assert_eq!(redis.command(&["EXISTS", "deleted", "gone"]).await, 0, "{fence}");
    }
    assert_eq!(
        redis.command(&["HGET", "collective:lease:jobs", "token"]).await,
        "1700000000000000",
        "writes issue none"
    );
}

#[tokio::test]
async fn a_write_under_an_older_token_is_fenced_and_changes_nothing() {
    let (redis, _app, client) = service().await;
    // Beyond 2^53, where floats would call neighbours equal.
    redis.command(&["HSET", "collective:lease:jobs", "token", "9007199254740993"]).await;
    for fence in ["jobs;9007199254740992", "jobs;1", "%6Aobs;0"] {
        for (write, answer) in each_write(&redis, &under(&client, fence)).await {
            let document = problem(&answer, 409, "fenced");
            assert_eq!(
                (&document["outcome"], &document["retryable"]),
                (&json!("not_executed"), &json!(false)),
                "{write}"
            );
        }
        assert_eq!(redis.command(&["MGET", "put", "deleted", "n", "gone"]).await.to_string(), "old,old,5,7", "{fence}");
    }
}

#[tokio::test]
async fn a_token_that_was_seen_fences_all_older_ones_of_its_lease_alone() {
    let (redis, _app, client) = service().await;
    assert_eq!(under(&client, "a;5").put_key("k", "five").await.status, 201);
    problem(&under(&client, "a;4").put_key("k", "four").await, 409, "fenced");
    assert_eq!(under(&client, "b;4").put_key("k", "b").await.status, 204);
    assert_eq!(under(&client, "a;5").put_key("k", "again").await.status, 204);
    assert_eq!(under(&client, "a%2Fb%3Bc;1").put_key("k", "odd").await.status, 204);
    assert_eq!(redis.command(&["EXISTS", "collective:lease:a/b;c"]).await, 1);
    assert_eq!(client.put_key("k", "plain").await.status, 204, "a write without a fence is bound to nothing");
}

#[tokio::test]
async fn a_fenced_answer_is_replayed_to_its_idempotency_key() {
    let (redis, _app, client) = service().await;
    let counted = under(&client, "jobs;5").idempotency_key("one").increment("n", 1).await;
    assert_eq!(counted.json(), json!({ "value": 1 }));
    under(&client, "jobs;6").put_key("k", "newer").await;
    let again = under(&client, "jobs;5").idempotency_key("one").increment("n", 1).await;
    assert_eq!((again.json(), again.header("idempotency-replayed")), (json!({ "value": 1 }), Some("true")));
    problem(&under(&client, "jobs;5").idempotency_key("two").increment("n", 1).await, 409, "fenced");
    assert_eq!(redis.command(&["GET", "n"]).await, "1");
}

/// Keys are often names of jobs: the one who takes a job over does what the deposed holder could not.
#[tokio::test]
async fn the_next_holder_may_make_a_fenced_write_under_the_same_idempotency_key() {
    let (_redis, _app, client) = service().await;
    under(&client, "jobs;6").put_key("k", "newer").await;
    let job = client.idempotency_key("job-17");
    for _ in 0..2 {
        let refused = under(&job, "jobs;5").increment("n", 1).await;
        problem(&refused, 409, "fenced");
        assert_eq!(refused.header("idempotency-replayed"), None);
    }
    for (holder, replayed) in [("jobs;6", None), ("jobs;5", Some("true"))] {
        let answer = under(&job, holder).increment("n", 1).await;
        assert_eq!(
            (answer.json(), answer.header("idempotency-replayed")),
            (json!({ "value": 1 }), replayed),
            "{holder}"
        );
    }
}

#[tokio::test]
async fn a_fence_that_is_none_is_refused_with_its_rule() {
    let (redis, _app, client) = service().await;
    for fence in ["", "jobs", ";5", "jobs;", "jobs;x", "jobs;-1", "jobs;18446744073709551616", "j%z;5"] {
        for (write, answer) in each_write(&redis, &under(&client, fence)).await {
            let document = problem(&answer, 400, "invalid_request");
            let detail = document["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("Collective-Fence must be <lease>;<token>"), "{write}, {fence:?}: {detail}");
        }
    }
    let twice = under(&under(&client, "jobs;5"), "jobs;6").put_key("k", "v").await;
    problem(&twice, 400, "invalid_request");
    let read = under(&client, "jobs;5").get_key("put").await;
    assert!(
        problem(&read, 400, "invalid_request")["detail"].as_str().is_some_and(|text| text.contains("Collective-Fence"))
    );
    assert_eq!(redis.command(&["MGET", "put", "n", "k"]).await.to_string(), "old,5,(nil)");
}

#[tokio::test]
async fn a_fence_and_a_condition_must_both_hold() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "old"]).await;
    redis.command(&["HSET", "collective:lease:jobs", "token", "10"]).await;
    let matching = client.with_header("If-Match", OLD);
    problem(&under(&matching, "jobs;9").put_key("k", "new").await, 409, "fenced");
    let other = client.with_header("If-None-Match", OLD);
    problem(&under(&other, "jobs;10").put_key("k", "new").await, 412, "precondition_failed");
    assert_eq!(redis.command(&["GET", "k"]).await, "old");
    assert_eq!(under(&matching, "jobs;10").put_key("k", "new").await.status, 204);
}

/// One write of each kind under this token, as its holder would make it.
async fn writes_of(client: &Client, holder: u64) -> Vec<Answer> {
    let fenced = client.with_header("Collective-Fence", &format!("jobs;{holder}"));
    vec![
        fenced.put_key("fenced", format!("by {holder}")).await,
        fenced.increment("fenced-counter", 1).await,
        fenced.send(fenced.request(Method::DELETE, "/v1/keys/fenced-gone")).await,
    ]
}

#[tokio::test]
async fn a_fenced_write_by_a_deposed_holder_is_refused() {
    let (redis, _app, client) = service().await;
    let first = token(&acquire(&client, "jobs", "a", 60_000).await);
    for answer in writes_of(&client, first).await {
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
    }
    assert_eq!(release(&client, "jobs", first).await.status, 204);
    // Nobody came after him yet, so nothing he writes can overwrite anybody.
    for answer in writes_of(&client, first).await {
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
    }
    let second = token(&acquire(&client, "jobs", "b", 60_000).await);
    for answer in writes_of(&client, first).await {
        problem(&answer, 409, "fenced");
        assert_eq!(answer.outcome(), "not_executed");
    }
    for answer in writes_of(&client, second).await {
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
    }
    assert_eq!(redis.command(&["GET", "fenced"]).await, format!("by {second}").as_str());
    assert_eq!(redis.command(&["GET", "fenced-counter"]).await, "3");
}

/// A record of a lease is kept for a day after it was last held. Whoever comes later with a token from before that is deposed, whether
/// or not anybody remembers by whom.
#[tokio::test]
async fn a_token_older_than_any_record_of_its_lease_writes_nothing() {
    let (redis, _app, client) = service().await;
    let micros = |reply: Vec<u64>| reply[0] * 1_000_000 + reply[1];
    let time = redis.command(&["TIME"]).await;
    let now = micros(time.items().iter().map(|part| part.to_string().parse().expect("digits")).collect());
    const DAY: u64 = 86_400_000_000;
    for (write, answer) in each_write(&redis, &under(&client, &format!("weekly;{}", now - DAY - 1))).await {
        problem(&answer, 409, "fenced");
        assert_eq!(answer.outcome(), "not_executed", "{write}");
    }
    assert_eq!(redis.command(&["MGET", "put", "deleted", "n", "gone"]).await.to_string(), "old,old,5,7");
    assert_eq!(redis.command(&["EXISTS", "collective:lease:weekly"]).await, 0, "nothing is remembered of it");
    // The record may be lost earlier, with a failover: then nobody knows better, and the holder goes on.
    for (write, answer) in each_write(&redis, &under(&client, &format!("daily;{}", now - DAY / 2))).await {
        assert!(answer.is_success(), "{write}: {}", answer.text());
    }
}
