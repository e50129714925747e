//! `/v1/presence`: how many are in a room, exactly, and nothing about who they are.
//!
//! Why so: a count that is a little wrong is of no use, and a list of who was where is what nobody should have. So counts are
//! compared with the people who came and went, and Redis is searched for their names. Limits: a Redis that answers.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, App, Client, Options, Redis, eventually};
use crate::keys::{patient, problem};

const SOON: Duration = Duration::from_secs(10);

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

pub async fn beat(client: &Client, path: &str, ttl_seconds: u64) -> Answer {
    let request = client.request(Method::PUT, &format!("/v1/presence/{path}"));
    client.send(request.body(json!({ "ttl_seconds": ttl_seconds }).to_string())).await
}

pub async fn leave(client: &Client, path: &str) -> Answer {
    client.send(client.request(Method::DELETE, &format!("/v1/presence/{path}"))).await
}

/// Present now, and at most.
pub async fn counts(client: &Client, room: &str) -> (u64, u64) {
    let answer = client.get(&format!("/v1/presence/{room}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number in {}", answer.text()));
    (number(&answer.json()["count"]), number(&answer.json()["peak"]["count"]))
}

#[tokio::test]
async fn members_come_and_go_and_the_peak_stays() {
    let (_redis, _app, client) = service().await;
    let nobody = json!({ "count": 0, "peak": { "count": 0, "at": null, "since": null } });
    assert_eq!(client.get("/v1/presence/lobby").await.json(), nobody);
    for (member, count) in [("a", 1), ("b", 2), ("a", 2), ("c/d", 3), ("c%2Fd", 3), ("%ff", 4)] {
        assert_eq!(beat(&client, &format!("lobby/{member}"), 60).await.status, 204, "{member}");
        assert_eq!(counts(&client, "lobby").await, (count, count), "{member}");
    }
    let peak = client.get("/v1/presence/lobby").await.json()["peak"].clone();
    let time = |name: &str| peak[name].as_str().unwrap_or_else(|| panic!("no {name} in {peak}")).to_owned();
    assert!(time("since") <= time("at") && time("at").ends_with('Z'), "{peak}");
    for (member, count) in [("b", 3), ("b", 3), ("never there", 3), ("a", 2), ("c/d", 1), ("%ff", 0)] {
        assert_eq!(leave(&client, &format!("lobby/{member}")).await.status, 204, "{member}");
        assert_eq!(counts(&client, "lobby").await, (count, 4), "{member}");
    }
    assert_eq!(beat(&client, "lobby/z", 60).await.status, 204);
    assert_eq!(client.get("/v1/presence/lobby").await.json()["peak"], peak, "one is no new peak");
    assert_eq!(leave(&client, "other/a").await.status, 204, "a room nobody entered can be left");
    assert_eq!(counts(&client, "other").await, (0, 0));
}

#[tokio::test]
async fn whoever_is_silent_too_long_is_gone_by_himself() {
    let (redis, _app, client) = service().await;
    assert_eq!(beat(&client, "lobby/stays", 600).await.status, 204);
    let asked = std::time::Instant::now();
    // All of them must have come before the first is gone, or there never were so many: on a busy machine that takes seconds.
    for member in 0..250 {
        assert_eq!(beat(&client, &format!("lobby/{member}"), 5).await.status, 204);
    }
    assert!(beat(&client, "lobby/stays", 600).await.status == 204 && counts(&client, "lobby").await.1 >= 200);
    eventually(SOON, async || counts(&client, "lobby").await.0 == 1).await;
    assert!(asked.elapsed() >= Duration::from_secs(5));
    // Their entries are swept a few at a time, and the count is right meanwhile.
    let kept = redis.command(&["ZCARD", "collective:presence:lobby"]).await.integer();
    assert_eq!(beat(&client, "lobby/stays", 600).await.status, 204);
    let swept = kept - redis.command(&["ZCARD", "collective:presence:lobby"]).await.integer();
    assert!((1..=100).contains(&swept), "{swept} of {kept}");
    eventually(SOON, async || {
        assert_eq!(beat(&client, "lobby/stays", 600).await.status, 204);
        assert_eq!(counts(&client, "lobby").await.0, 1);
        redis.command(&["ZCARD", "collective:presence:lobby"]).await == 1
    })
    .await;
}

#[tokio::test]
async fn a_room_keeps_no_names_and_cannot_be_compared_with_another() {
    let (redis, _app, client) = service().await;
    redis.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]).await;
    for room in ["one", "two"] {
        for member in ["alice@example.org", "203.0.113.7"] {
            assert_eq!(beat(&client, &format!("{room}/{member}"), 60).await.status, 204);
        }
    }
    assert_eq!(leave(&client, "one/alice@example.org").await.status, 204);
    let members = async |room: &str| {
        let range = ["ZRANGE", &format!("collective:presence:{room}"), "0", "-1"];
        redis.command(&range).await.to_string()
    };
    let (one, two) = (members("one").await, members("two").await);
    assert_eq!((one.len(), two.len()), (40, 81), "{one} {two}");
    assert!(!two.contains(&one), "the same member looks different in another room");
    let log = redis.command(&["SLOWLOG", "GET", "-1"]).await.to_string();
    let everything = [log, one, two].concat();
    assert!(everything.contains("presence_beat"), "the slow log was kept");
    for personal in ["alice", "example.org", "203.0.113.7"] {
        assert!(!everything.contains(personal), "{personal} is in Redis");
    }
    // The secret goes with the room: a day after its last member's time.
    for (key, least, most) in
        [("collective:presence:one", 1, 60_000), ("collective:presence-room:one", 86_400_000, 86_460_000)]
    {
        let kept = redis.command(&["PTTL", key]).await.integer();
        assert!((least..=most).contains(&kept), "{key}: {kept}");
    }
}

#[tokio::test]
async fn a_thousand_members_at_once_are_counted_once_each() {
    let (_redis, app, client) = service().await;
    let mut beats = tokio::task::JoinSet::new();
    for index in 0..32 {
        let client = app.client();
        beats.spawn(async move {
            for member in (0..1000).filter(|member| member % 16 == index % 16) {
                assert_eq!(beat(&client, &format!("hall/{member}"), 600).await.status, 204);
            }
        });
    }
    while let Some(ended) = beats.join_next().await {
        ended.expect("a crowd");
    }
    assert_eq!(counts(&client, "hall").await, (1000, 1000), "each came twice");
}

#[tokio::test]
async fn every_mistake_about_a_room_is_named() {
    let redis = Redis::start(Options::default()).await;
    // `printf %s reader | sha256sum`
    let digest = "3d0941964aa3ebdcb00ccef58b1bb399f9f898465e9886d5aec7f31090a0fb30";
    let app = patient(&redis.url()).set("auth.read_only_token_sha256", digest).start().await;
    let (client, reader) = (app.client(), app.client().token("reader"));
    for ttl in [0, 3601, u64::MAX] {
        let document = problem(&beat(&client, "r/m", ttl).await, 422, "invalid_value");
        assert_eq!(document["errors"][0]["pointer"], "/ttl_seconds");
    }
    let put =
        async |body: &str| client.send(client.request(Method::PUT, "/v1/presence/r/m").body(body.to_owned())).await;
    problem(&put("").await, 400, "invalid_json");
    problem(&put("{}").await, 422, "invalid_value");
    problem(&put(r#"{"ttl_seconds": 1, "name": "x"}"#).await, 422, "invalid_value");
    for path in ["r/", "/m", "/"] {
        problem(&beat(&client, path, 1).await, 400, "invalid_path");
    }
    problem(&client.get("/v1/presence/").await, 400, "invalid_path");
    problem(&beat(&client, "r/%zz", 1).await, 400, "invalid_path");
    for (answer, allow) in [
        (beat(&client, "r", 1).await, "GET, HEAD, OPTIONS"),
        (leave(&client, "r").await, "GET, HEAD, OPTIONS"),
        (client.get("/v1/presence/r/m").await, "PUT, DELETE, OPTIONS"),
        (client.post("/v1/presence/r/m", &json!({})).await, "PUT, DELETE, OPTIONS"),
    ] {
        problem(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow));
    }
    problem(&beat(&reader, "r/m", 1).await, 403, "forbidden");
    problem(&leave(&reader, "r/m").await, 403, "forbidden");
    assert_eq!(reader.get("/v1/presence/r").await.status, 200);
    problem(&client.without_token().get("/v1/presence/r").await, 401, "unauthenticated");
    assert_eq!(redis.command(&["KEYS", "collective:presence*"]).await.to_string(), "", "nothing was written");
    for ttl in [1, 3600] {
        assert_eq!(beat(&client, "r/m", ttl).await.status, 204);
    }
}
