//! Answers of the past: who gets one, how it is told, and what takes it away.
//!
//! Why so: a stale answer is a promise in both directions. It must be there when Redis is not, and it must not be there once the
//! same service has told somebody that the value was changed. Redis is frozen, killed or loading for real; writes go around and
//! through the service.
//!
//! Limits: interleavings of a read and a write are driven in the unit tests of the store, one by one.

use reqwest::Method;
use std::time::Duration;

use crate::harness::app::Builder;
use crate::harness::{Answer, App, Client, Options, Proxy, Redis, eventually};
use crate::keys::{patient, problem};
use crate::tokens::digest;

/// Longest wait for the breakers to notice, and for service to return.
const SOON: Duration = Duration::from_secs(10);

const READER: &str = "reader-9d1c42f05ab34e6791d2c0ffee000001";
const FULL: &str = "writer-9d1c42f05ab34e6791d2c0ffee000002";

fn with_tokens(builder: Builder) -> Builder {
    builder.set("auth.read_only_token_sha256", digest(READER)).set("auth.full_token_sha256", digest(FULL))
}

/// A service, and a client who takes answers of the last hour. It waits so long that only a Redis that is frozen stands still,
/// and not a busy machine or its disk: some of the writes here are sent once, and must be made.
async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let builder = patient(&redis.url()).set("breaker.slow_call_after", "1s").set("breaker.stall_after", "2s");
    let app = with_tokens(builder).start().await;
    let client = remembered(&app).await;
    (redis, app, client)
}

/// A client who takes answers of the last hour, once the service writes nothing on its own account any more: an answer on its
/// way while a write ends is not kept if their keys happen to share a slot, so the migrations would cost one in a thousand.
async fn remembered(app: &App) -> Client {
    let client = lenient(&app.client(), 3600);
    client.settled().await;
    client
}

fn lenient(client: &Client, seconds: u64) -> Client {
    client.with_header("Cache-Control", &format!("max-age=0, stale-if-error={seconds}"))
}

/// Freezes Redis and waits until the breakers have noticed.
async fn freeze(redis: &Redis, client: &Client) {
    redis.freeze();
    until_open(client).await;
}

/// Waits until both lanes refuse. Asks meanwhile, so that there is something to notice, and without taking old answers.
async fn until_open(client: &Client) {
    let strict = client.with_header("Cache-Control", "no-cache");
    eventually(SOON, async || {
        strict.get_key("nobody").await;
        client.both_lanes_refuse().await
    })
    .await;
}

#[track_caller]
fn assert_stale(answer: &Answer, call: &str) {
    assert_eq!(answer.status, 200, "{call}: {}", answer.text());
    assert!(answer.header("age").is_some(), "{call}: {:?}", answer.headers);
    let told = answer.header("cache-status").unwrap_or_default();
    assert!(told.starts_with("collective; "), "{call}: {told}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{call}: nobody else is to keep it");
    assert_eq!(answer.outcome, None, "{call}");
}

#[track_caller]
fn assert_fresh(answer: &Answer, call: &str) {
    assert!(answer.is_success(), "{call}: {} {}", answer.status, answer.text());
    assert_eq!((answer.header("age"), answer.header("cache-status")), (None, None), "{call}");
}

#[track_caller]
fn assert_refused(answer: &Answer, call: &str) {
    assert!(matches!(answer.status, 503 | 504), "{call}: {} {}", answer.status, answer.text());
    assert_eq!(answer.outcome(), "not_executed", "{call}");
}

/// Every kind of read that is remembered, once.
async fn every_read(client: &Client) -> Vec<(&'static str, Answer)> {
    let base64 = client.with_header("Upstash-Encoding", "base64");
    vec![
        ("a key", client.get_key("greeting").await),
        ("the head of a key", client.head_key("greeting").await),
        ("a counter", client.get("/v1/counters/visits").await),
        ("a room", client.get("/v1/presence/lobby").await),
        ("a command in the body", client.post_command(&["GET", "greeting"]).await),
        ("a command in the path", client.get("/hget/hash/field").await),
        ("a command of several keys", client.post_command(&["MGET", "greeting", "visits", "none"]).await),
        ("a whole list", client.post_command(&["LRANGE", "list", "0", "-1"]).await),
        ("an absent key of the dialect", client.post_command(&["GET", "none"]).await),
        ("base64", base64.post_command(&["GET", "greeting"]).await),
    ]
}

async fn fill(redis: &Redis) {
    redis.command(&["MSET", "greeting", "hello", "visits", "42"]).await;
    redis.command(&["HSET", "hash", "field", "value"]).await;
    redis.command(&["RPUSH", "list", "a", "b"]).await;
    redis.command(&["HSET", "collective:presence-room:lobby", "peak", "3", "at", "1700000000000", "since", "1"]).await;
}

#[tokio::test]
async fn while_redis_is_frozen_every_read_is_told_what_it_was_told_last() {
    let (redis, _app, client) = service().await;
    fill(&redis).await;
    let before = every_read(&client).await;
    before.iter().for_each(|(call, answer)| assert_fresh(answer, call));
    freeze(&redis, &client).await;
    let after = every_read(&client).await;
    for ((call, fresh), (_, stale)) in before.iter().zip(&after) {
        assert_stale(stale, call);
        assert_eq!(stale.body, fresh.body, "{call}");
        for name in ["content-type", "content-length", "etag", "collective-ttl-ms"] {
            assert_eq!(stale.header(name), fresh.header(name), "{call}: {name}");
        }
        let told = stale.header("cache-status").unwrap_or_default();
        assert_eq!(told, format!("collective; hit; ttl=-{}; detail=circuit_open", stale.header("age").unwrap_or("?")));
    }
    let served = client.metric("collective_stale_served_total", &[]).await;
    assert_eq!(served, Some(before.len() as f64));

    redis.thaw();
    client.until_both_lanes_serve().await;
    redis.command(&["SET", "greeting", "changed"]).await;
    let answer = client.get_key("greeting").await;
    assert_fresh(&answer, "Redis is asked first");
    assert_eq!(answer.text(), "changed");
}

#[tokio::test]
async fn a_killed_redis_is_no_different_and_a_restart_of_the_service_forgets() {
    let (redis, mut app, client) = service().await;
    fill(&redis).await;
    every_read(&client).await;
    redis.kill9();
    until_open(&client).await;
    for (call, answer) in every_read(&client).await {
        assert_stale(&answer, call);
    }
    app.restart().await;
    for (call, answer) in every_read(&lenient(&app.client(), 3600)).await {
        assert_refused(&answer, call);
    }
}

#[tokio::test]
async fn only_who_allows_it_is_told_and_nothing_older_than_he_allows() {
    let (redis, app, client) = service().await;
    fill(&redis).await;
    assert_fresh(&client.get_key("greeting").await, "remembered");
    // A reader without the field has nothing remembered.
    assert_fresh(&app.client().get("/v1/counters/visits").await, "not remembered");
    freeze(&redis, &client).await;
    assert_refused(&app.client().get_key("greeting").await, "without the field");
    assert_refused(&client.get("/v1/counters/visits").await, "never asked with the field");
    for field in ["stale-if-error", "stale-if-error=x", "max-stale=60", "stale-if-error=60, no-store"] {
        let client = app.client().with_header("Cache-Control", field);
        assert_refused(&client.get_key("greeting").await, field);
    }
    let brief = lenient(&app.client(), 1);
    eventually(SOON, async || !brief.get_key("greeting").await.is_success()).await;
    let answer = client.get_key("greeting").await;
    assert_stale(&answer, "who allows more is told");
    let age: u64 = answer.header("age").and_then(|age| age.parse().ok()).expect("an age");
    assert!((2..=60).contains(&age), "more than a second is rounded up: {age}");
}

#[tokio::test]
async fn nobody_is_told_what_another_was_told() {
    let (redis, app, client) = service().await;
    fill(&redis).await;
    let [reader, full] = [READER, FULL].map(|token| lenient(&app.client().token(token), 3600));
    every_read(&client).await;
    assert_fresh(&reader.get_key("greeting").await, "the reader asked once");
    freeze(&redis, &client).await;
    for (call, answer) in every_read(&full).await {
        assert_refused(&answer, call);
    }
    assert_stale(&reader.get_key("greeting").await, "his own");
    assert_refused(&reader.head_key("greeting").await, "another call");
    assert_eq!(client.without_token().get_key("greeting").await.status, 401);
    assert_eq!(lenient(&app.client().token("nobody"), 60).get_key("greeting").await.status, 401);
}

/// Writes that name their keys: a name, the method, the path and the body, with `{k}` where the key stands.
const WRITES: [(&str, Method, &str, &str); 12] = [
    ("PUT", Method::PUT, "/v1/keys/{k}", "written"),
    ("DELETE", Method::DELETE, "/v1/keys/{k}", ""),
    ("increment", Method::POST, "/v1/counters/{k}/increment", r#"{"by":1}"#),
    ("increment in one function", Method::POST, "/v1/counters/{k}/increment", r#"{"by":1,"max":9}"#),
    ("counter's DELETE", Method::DELETE, "/v1/counters/{k}", ""),
    ("SET", Method::POST, "/", r#"["SET","{k}","written"]"#),
    ("set in the path", Method::GET, "/set/{k}/written", ""),
    ("DEL of many", Method::POST, "/", r#"["DEL","a","{k}","b"]"#),
    ("RENAME", Method::POST, "/", r#"["RENAME","from{k}","{k}"]"#),
    ("SORT STORE", Method::POST, "/", r#"["SORT","list","ALPHA","STORE","{k}"]"#),
    ("pipeline", Method::POST, "/pipeline", r#"[["GET","{k}"],["SET","{k}","written"]]"#),
    ("transaction", Method::POST, "/multi-exec", r#"[["SET","{k}","written"],["GET","{k}"]]"#),
];

/// Writes whose keys nobody can name.
const SWEEPS: [(&str, &str, &str); 5] = [
    ("script", "/", r#"["EVAL","return redis.call('SET','k','written')","0"]"#),
    ("script in a pipeline", "/pipeline", r#"[["EVAL","return redis.call('SET','k','written')","0"]]"#),
    ("script in a transaction", "/multi-exec", r#"[["EVAL","return redis.call('SET','k','written')","0"]]"#),
    ("FLUSHALL", "/", r#"["FLUSHALL"]"#),
    ("SORT that may read any key", "/", r#"["SORT","list","BY","w_*","STORE","sorted"]"#),
];

async fn write(client: &Client, (method, path, body): (Method, &str, &str), key: &str) -> Answer {
    let with_key = |text: &str| text.replace("{k}", key);
    client.send(client.request(method, &with_key(path)).body(with_key(body))).await
}

/// Reads that depend on this key, in both dialects.
async fn reads_of(client: &Client, key: &str) -> [Answer; 4] {
    [
        client.get_key(key).await,
        client.head_key(key).await,
        client.get(&format!("/v1/counters/{key}")).await,
        client.post_command(&["MGET", "other", key]).await,
    ]
}

#[tokio::test]
async fn every_write_through_the_service_takes_the_answers_of_its_keys_away() {
    let (redis, app, client) = service().await;
    redis.command(&["SET", "other", "kept"]).await;
    redis.command(&["RPUSH", "list", "a", "b"]).await;
    assert_fresh(&client.get_key("other").await, "another key");
    for (number, (call, method, path, body)) in WRITES.into_iter().enumerate() {
        let key = format!("k{number}");
        redis.command(&["MSET", &key, "1", &format!("from{key}"), "2"]).await;
        reads_of(&client, &key).await.iter().for_each(|answer| assert_fresh(answer, call));
        let answer = write(&app.client(), (method, path, body), &key).await;
        assert!(answer.is_success(), "{call}: {} {}", answer.status, answer.text());
    }
    freeze(&redis, &client).await;
    for (number, (call, ..)) in WRITES.into_iter().enumerate() {
        reads_of(&client, &format!("k{number}")).await.iter().for_each(|answer| assert_refused(answer, call));
    }
    assert_stale(&client.get_key("other").await, "another key");
}

#[tokio::test]
async fn a_write_whose_keys_nobody_can_name_takes_all_answers_away() {
    for (call, path, body) in SWEEPS {
        let (redis, app, client) = service().await;
        fill(&redis).await;
        every_read(&client).await;
        write(&app.client(), (Method::POST, path, body), "").await;
        freeze(&redis, &client).await;
        for (read, answer) in every_read(&client).await {
            assert_refused(&answer, &format!("{read} after {call}"));
        }
    }
}

#[tokio::test]
async fn a_write_of_unknown_outcome_takes_answers_away_and_one_that_was_not_executed_does_not() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 7);
    let app = patient(&proxy.url()).start().await;
    let client = remembered(&app).await;
    let calls: [(&str, &[&str]); 3] =
        [("INCR", &["INCR", "unknown"]), ("SADD", &["SADD", "unknown", "m"]), ("EVAL", &["EVAL", "return 1", "0"])];
    for (name, call) in calls {
        redis.command(&["MSET", "unknown", "1", "kept", "1"]).await;
        proxy.heal();
        assert_fresh(&client.get_key("unknown").await, name);
        assert_fresh(&client.get_key("kept").await, name);
        proxy.only(&[name]);
        proxy.lose_connection_instead_of_reply(1.0);
        assert_eq!(client.post_command(call).await.outcome(), "unknown", "{name}");
        proxy.every_command();
        proxy.heal();
        proxy.refuse();
        proxy.cut();
        assert_refused(&client.get_key("unknown").await, name);
        let kept = client.get_key("kept").await;
        if name == "EVAL" {
            assert_refused(&kept, name)
        } else {
            assert_stale(&kept, name)
        }
        // Refused now: nothing changes, and what is remembered stays.
        let refused = client.put_key("kept", "never").await;
        assert_eq!((refused.status, refused.outcome()), (503, "not_executed"), "{}", refused.text());
        let again = client.get_key("kept").await;
        if name == "EVAL" {
            assert_refused(&again, name)
        } else {
            assert_stale(&again, name)
        }
        proxy.accept();
        client.until_both_lanes_serve().await;
    }
}

#[tokio::test]
async fn a_write_whose_caller_left_takes_answers_away() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 8);
    let app = patient(&proxy.url()).start().await;
    let client = remembered(&app).await;
    redis.command(&["SET", "k", "old"]).await;
    assert_fresh(&client.get_key("k").await, "remembered");
    proxy.only(&["SET"]);
    proxy.hold_replies_of_everyone();
    let hurried = app.client();
    // He leaves when Redis has written and before he is told, however long it takes until then.
    tokio::select! {
        answer = hurried.put_key("k", "new") => panic!("he was answered: {}", answer.status),
        _ = eventually(SOON, async || redis.command(&["GET", "k"]).await == "new") => {}
    }
    // His call gives its place back once the service has noticed.
    client.settled().await;
    proxy.every_command();
    proxy.refuse();
    proxy.cut();
    eventually(SOON, async || client.get_key("k").await.status == 503).await;
}

#[tokio::test]
async fn a_read_past_its_deadline_is_told_too_and_says_that_redis_was_asked() {
    let redis = Redis::start(Options::default()).await;
    // The reads take seconds together, and none is to meet a breaker that the keeper's failed connects have opened meanwhile.
    let app = patient(&redis.url()).set("breaker.connect_failures", 100).start().await;
    let client = remembered(&app).await;
    fill(&redis).await;
    every_read(&client).await;
    redis.freeze();
    // Time enough to hand the call over on a busy machine: what was not sent is told otherwise.
    let hurried = client.timeout_ms(250);
    for (call, answer) in every_read(&hurried).await {
        assert_stale(&answer, call);
        let told = answer.header("cache-status").unwrap_or_default();
        assert!(told.starts_with("collective; fwd=stale; fwd-status=504; ttl=-"), "{call}: {told}");
        assert!(told.ends_with("; detail=deadline_exceeded"), "{call}: {told}");
    }
    let strict = app.client().timeout_ms(60).get_key("greeting").await;
    problem(&strict, 504, "deadline_exceeded");
}

#[tokio::test]
async fn what_redis_decided_is_never_replaced_and_ends_what_was_told_before() {
    let (redis, app, client) = service().await;
    fill(&redis).await;
    every_read(&client).await;
    // Changed behind the service's back, so that nothing is taken away by a write.
    redis.command(&["DEL", "greeting", "visits", "hash"]).await;
    redis.command(&["RPUSH", "greeting", "no string"]).await;
    redis.command(&["SET", "hash", "no hash"]).await;
    problem(&client.get_key("greeting").await, 409, "wrong_type");
    problem(&client.get("/v1/counters/visits").await, 404, "not_found");
    assert_eq!(client.get("/hget/hash/field").await.status, 400);
    assert_eq!(client.post_command(&["GET", "greeting"]).await.status, 400);
    freeze(&redis, &client).await;
    assert_refused(&client.get_key("greeting").await, "a key");
    assert_refused(&client.get("/v1/counters/visits").await, "a counter");
    assert_refused(&client.get("/hget/hash/field").await, "a field");
    assert_refused(&client.post_command(&["GET", "greeting"]).await, "a command");
    assert_stale(&client.head_key("greeting").await, "nobody asked for the head since");
    assert_eq!(client.get_key("%zz").await.status, 503, "this name is one, and was never asked for");
    assert_eq!(client.get("/v1/keys/%zz").await.status, 400, "what is wrong is wrong");
    assert_eq!(app.client().post_command(&["GET", "collective:x"]).await.status, 403);
}

#[tokio::test]
async fn what_is_not_a_single_read_of_named_keys_is_not_remembered() {
    let (redis, _app, client) = service().await;
    fill(&redis).await;
    let calls: [&[&str]; 6] = [
        &["DBSIZE"],
        &["SCAN", "0"],
        &["EVAL_RO", "return 1", "0"],
        &["EVAL_RO", "return 1", "1", "greeting"],
        &["PING"],
        &["GETEX", "greeting"],
    ];
    for call in calls {
        assert_fresh(&client.post_command(call).await, call[0]);
    }
    assert_fresh(&client.pipeline(&[&["GET", "greeting"]]).await, "pipeline");
    assert_fresh(&client.multi_exec(&[&["GET", "greeting"]]).await, "transaction");
    freeze(&redis, &client).await;
    for call in calls {
        assert_refused(&client.post_command(call).await, call[0]);
    }
    assert_refused(&client.pipeline(&[&["GET", "greeting"]]).await, "pipeline");
    assert_refused(&client.multi_exec(&[&["GET", "greeting"]]).await, "transaction");
}

#[tokio::test]
async fn an_old_answer_may_be_unchanged_but_meets_no_condition_on_the_present() {
    let (redis, _app, client) = service().await;
    fill(&redis).await;
    let etag = client.get_key("greeting").await.header("etag").expect("a tag").to_owned();
    freeze(&redis, &client).await;
    let unchanged = client.with_header("If-None-Match", &etag).get_key("greeting").await;
    assert_eq!(unchanged.status, 304, "{}", unchanged.text());
    assert!(unchanged.header("age").is_some() && unchanged.header("cache-status").is_some(), "{:?}", unchanged.headers);
    assert_refused(&client.with_header("If-Match", &etag).get_key("greeting").await, "If-Match");
}

#[tokio::test]
async fn a_lifetime_goes_on_in_memory_and_ends_there() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "long", "v", "EX", "1000"]).await;
    redis.command(&["SET", "short", "v", "PX", "3000"]).await;
    for key in ["long", "short"] {
        assert_fresh(&client.head_key(key).await, key);
    }
    freeze(&redis, &client).await;
    let left = |answer: &Answer| answer.header("collective-ttl-ms").and_then(|left| left.parse::<u64>().ok());
    eventually(SOON, async || client.head_key("short").await.status == 503).await;
    let answer = client.head_key("long").await;
    assert_stale(&answer, "long");
    assert!(left(&answer).is_some_and(|left| (900_000..999_000).contains(&left)), "{:?}", answer.headers);
}

#[tokio::test]
async fn answers_are_bounded_one_by_one_and_in_all_and_can_be_switched_off() {
    let redis = Redis::start(Options::default()).await;
    let builder = App::with_redis(&redis.url());
    let app = builder.set("stale.max_bytes", "16KiB").set("stale.max_value_bytes", "1KiB").start().await;
    let client = remembered(&app).await;
    redis.command(&["MSET", "fits", &"x".repeat(1024), "large", &"x".repeat(1025)]).await;
    for number in 0..40 {
        redis.command(&["SET", &format!("n{number}"), "v"]).await;
        assert_fresh(&client.get_key(&format!("n{number}")).await, "a small one");
    }
    for key in ["fits", "large"] {
        assert_fresh(&client.get_key(key).await, key);
    }
    let limits = client.probe("/status").await.json()["limits"]["stale_bytes"].clone();
    assert!(limits["used"].as_u64().is_some_and(|used| (8 * 1024..=16 * 1024).contains(&used)), "{limits}");
    freeze(&redis, &client).await;
    assert_stale(&client.get_key("fits").await, "at the limit");
    assert_refused(&client.get_key("large").await, "one byte more");
    assert_refused(&client.get_key("n0").await, "the oldest made room");
    assert_stale(&client.get_key("n39").await, "the youngest stayed");
    redis.thaw();

    let app = App::with_redis(&redis.url()).set("stale.max_bytes", "0B").start().await;
    let client = lenient(&app.client(), 3600);
    assert_fresh(&client.get_key("fits").await, "switched off");
    freeze(&redis, &client).await;
    assert_refused(&client.get_key("fits").await, "switched off");
}

/// An increment is given up on its way, somebody reads the old value, it arrives after all, and its author learns that.
#[tokio::test]
async fn no_answer_outlives_a_write_that_was_asked_about_and_found_executed() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 8);
    // One worker: the connection of another, made later, would not be held.
    let app = patient(&proxy.url()).set("server.workers", 1).start().await;
    let client = lenient(&app.client(), 3600);
    assert_eq!(client.increment("n", 5).await.status, 200);
    client.settled().await;
    proxy.only(&["FCALL"]);
    proxy.hold_requests();
    let keyed = client.idempotency_key("k").timeout_ms(400);
    problem(&keyed.increment("n", 1).await, 504, "outcome_unknown");
    assert_fresh(&client.get("/v1/counters/n").await, "while it is on its way");
    proxy.release();
    eventually(SOON, async || redis.command(&["GET", "n"]).await == "6").await;
    let told = client.get("/v1/operations/k").await;
    assert_eq!((told.status, &told.json()["outcome"]), (200, &serde_json::json!("executed")), "{}", told.text());
    proxy.refuse();
    proxy.cut();
    assert_refused(&client.get("/v1/counters/n").await, "five was told before six");
    // A connect refused before and noticed after the door opened would be the third, and open the lanes behind the next look.
    client.until_both_lanes_refuse().await;
    proxy.accept();
    client.until_both_lanes_serve().await;
    // Once is enough: whoever asks again and again does not empty the memory of all others.
    assert_fresh(&client.get("/v1/counters/n").await, "six");
    assert_eq!(client.get("/v1/operations/k").await.json()["outcome"], "executed");
    proxy.refuse();
    proxy.cut();
    assert_stale(&client.get("/v1/counters/n").await, "six");
}

#[tokio::test]
async fn a_lease_is_told_as_it_was_until_it_is_over_and_a_room_until_somebody_comes() {
    let (redis, _app, client) = service().await;
    let acquire = async |lease: &str, ttl_ms: u64| {
        crate::leases::token(&crate::leases::acquire(&client, lease, "a", ttl_ms).await)
    };
    acquire("long", 600_000).await;
    acquire("short", 4_000).await;
    let token = acquire("released", 600_000).await;
    for lease in ["long", "short", "released"] {
        assert_fresh(&client.get(&format!("/v1/leases/{lease}")).await, lease);
    }
    assert_eq!(client.get("/v1/presence/lobby").await.json()["count"], 0);
    let beat = client.request(Method::PUT, "/v1/presence/lobby/a").json(&serde_json::json!({ "ttl_seconds": 60 }));
    assert_eq!(client.send(beat).await.status, 204);
    assert_eq!(crate::leases::release(&client, "released", token).await.status, 204);
    freeze(&redis, &client).await;
    let long = client.get("/v1/leases/long").await;
    assert_stale(&long, "long");
    assert_eq!(long.json()["owner"], "a");
    assert!(long.json()["expires_in_ms"].as_u64().is_some_and(|left| left < 600_000), "{}", long.text());
    eventually(SOON, async || client.get("/v1/leases/short").await.status == 503).await;
    assert_refused(&client.get("/v1/leases/released").await, "its release took it away");
    assert_refused(&client.get("/v1/presence/lobby").await, "a sign of life took it away");
}
