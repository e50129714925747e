//! Presence when Redis is slow, frozen, dead or loses replies: every call may be repeated, so every one is.
//!
//! Limits: one instance. Nothing here can be counted twice: a member is present or he is not.

use std::time::Duration;

use serde_json::json;

use crate::harness::{App, Options, Proxy, Redis, eventually};
use crate::keys::{persistent, problem, unhurried};
use crate::presence::{beat, counts, leave};

const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn signs_of_life_are_sent_again_when_the_reply_is_lost() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 51);
    let app = persistent(&proxy.url()).start().await;
    let client = app.client();
    assert_eq!(beat(&client, "warm/m", 60).await.status, 204);
    proxy.only(&["FCALL", "FCALL_RO"]);
    proxy.lose_connection_instead_of_reply(0.15);
    proxy.reset_counts();
    for turn in 1..=30 {
        let member = format!("lobby/{turn}");
        assert_eq!(beat(&client, &member, 600).await.status, 204);
        assert_eq!(counts(&client, "lobby").await, (1, turn.min(2)));
        assert_eq!(beat(&client, "lobby/guest", 600).await.status, 204);
        assert_eq!(leave(&client, &member).await.status, 204);
        assert_eq!(leave(&client, "lobby/guest").await.status, 204);
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 10, "{lost}");
    assert_eq!(proxy.count("FCALL") + proxy.count("FCALL_RO"), 150 + lost, "each lost reply costs one more attempt");
    assert_eq!(counts(&client, "lobby").await, (0, 2));
    // All attempts lost: a write may have happened, a read changed nothing.
    proxy.lose_connection_instead_of_reply(1.0);
    problem(&beat(&client, "lobby/m", 600).await, 504, "outcome_unknown");
    problem(&leave(&client, "lobby/n").await, 504, "outcome_unknown");
    problem(&client.get("/v1/presence/lobby").await, 503, "redis_unreachable");
    // A key would add nothing to a call that may be repeated as it is, and is refused rather than ignored.
    let keyed = client.idempotency_key("k");
    problem(&beat(&keyed, "lobby/m", 600).await, 422, "invalid_value");
    problem(&leave(&keyed, "lobby/m").await, 422, "invalid_value");
    problem(&keyed.get("/v1/presence/lobby").await, 422, "invalid_value");
    proxy.heal();
    assert_eq!(counts(&client, "lobby").await, (1, 2), "every attempt had run, and counts once");
}

#[tokio::test]
async fn while_redis_is_frozen_presence_is_refused_at_once_and_what_was_refused_is_never_applied() {
    let redis = Redis::start(Options::default()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    assert_eq!(beat(&client, "lobby/m", 600).await.status, 204);
    redis.freeze();
    eventually(SOON, async || {
        let (write, read) = (beat(&client, "early/m", 600).await, client.get("/v1/presence/lobby").await);
        assert!(
            matches!((write.status, write.outcome()), (503, "not_executed") | (504, "unknown")),
            "{}",
            write.text()
        );
        assert_eq!(read.outcome(), "not_executed", "{}", read.text());
        write.status == 503 && read.status == 503
    })
    .await;
    for answer in
        [beat(&client, "refused/m", 600).await, leave(&client, "lobby/m").await, client.get("/v1/presence/lobby").await]
    {
        let document = problem(&answer, 503, "circuit_open");
        assert_eq!((answer.outcome(), &document["retryable"]), ("not_executed", &json!(true)));
        assert!(answer.retry_after.is_some());
    }
    redis.thaw();
    client.until_both_lanes_serve().await;
    assert_eq!(counts(&client, "lobby").await, (1, 1));
    assert_eq!(counts(&client, "refused").await, (0, 0));
}

#[tokio::test]
async fn a_room_outlives_a_kill_of_redis_and_nobody_is_counted_twice() {
    let redis = Redis::start(Options::default().durable()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    for member in ["a", "b"] {
        assert_eq!(beat(&client, &format!("lobby/{member}"), 600).await.status, 204);
    }
    redis.kill9();
    client.until_both_lanes_refuse().await;
    for answer in
        [beat(&client, "lobby/c", 600).await, leave(&client, "lobby/a").await, client.get("/v1/presence/lobby").await]
    {
        let document = problem(&answer, 503, "circuit_open");
        assert_eq!((answer.outcome(), &document["retryable"]), ("not_executed", &json!(true)));
        assert!(answer.retry_after.is_some());
    }
    redis.restart().await;
    client.until_both_lanes_serve().await;
    assert_eq!(counts(&client, "lobby").await, (2, 2), "what was refused is never applied later");
    assert_eq!(beat(&client, "lobby/a", 600).await.status, 204);
    assert_eq!(counts(&client, "lobby").await, (2, 2), "the room's secret is the same, so its members are");
}
