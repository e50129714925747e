//! Limiters while Redis is frozen, dead, or its replies are lost: each take ends by its own policy, and is charged at most once.
//!
//! Why so: the proof of a charge is what Redis holds afterwards, and of a bound what all instances granted together, in every stretch
//! of time. Limiters that are counted refill so slowly that time plays no part.
//!
//! Limits: three instances are three processes on one machine, with one clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{App, Client, Options, Proxy, Redis, eventually, rounds};
use crate::keys::{patient, persistent, problem, unhurried};
use crate::limiters::{Grant, assert_no_stretch_exceeds, daily, delete, take};

/// Longest wait for the breakers to notice, and for service to return.
const SOON: Duration = Duration::from_secs(10);
/// Longest wait for some hundred grants at sixty a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same numbers with another policy.
fn on_outage(numbers: &Value, policy: &str) -> Value {
    let mut body = numbers.clone();
    body["on_outage"] = policy.into();
    body
}

/// What the limiter holds, seen by its own numbers.
async fn remaining(client: &Client, name: &str) -> u64 {
    client.get(&format!("/v1/limiters/{name}")).await.json()["remaining"].as_u64().expect("a limiter with numbers")
}

/// Brings Redis down, asks by each policy, brings it back.
async fn through_an_outage(down: impl AsyncFn(&Redis), up: impl AsyncFn(&Redis)) {
    let redis = Redis::start(Options::default().durable()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    let numbers = daily(10);
    for (left, policy) in [(9, "closed"), (8, "open"), (7, "local")] {
        let told = take(&client, "l", &on_outage(&numbers, policy)).await.json();
        assert_eq!((&told["remaining"], &told["decided_by"]), (&json!(left), &json!("redis")), "{policy}: {told}");
    }

    down(&redis).await;
    client.until_both_lanes_refuse().await;
    let closed = take(&client, "l", &numbers).await;
    let document = problem(&closed, 503, "circuit_open");
    assert_eq!((&document["outcome"], &document["retryable"]), (&json!("not_executed"), &json!(true)));
    assert!(closed.retry_after.is_some(), "it says when to come back");
    for _ in 0..20 {
        let open = take(&client, "l", &on_outage(&numbers, "open")).await;
        assert_eq!(open.status, 200, "{}", open.text());
        let expected = json!({ "allowed": true, "remaining": null, "retry_after_ms": 0, "reset_after_ms": null,
            "decided_by": "open", "outcome": "not_executed" });
        assert_eq!(open.json(), expected);
    }
    for turn in 0..10 {
        let told = take(&client, "l", &on_outage(&numbers, "local")).await.json();
        assert_eq!((&told["decided_by"], &told["outcome"]), (&json!("local"), &json!("not_executed")), "{told}");
        assert_eq!(told["allowed"], turn < 7, "seven were left when Redis answered last: {told}");
        assert_eq!(told["remaining"], 6_u64.saturating_sub(turn), "{told}");
    }
    let elsewhere = take(&client, "m", &on_outage(&numbers, "local")).await.json();
    assert_eq!((&elsewhere["allowed"], &elsewhere["remaining"]), (&json!(true), &json!(9)), "{elsewhere}");
    for other in [client.get("/v1/limiters/l").await, delete(&client, "l").await] {
        let document = problem(&other, 503, "circuit_open");
        assert_eq!((other.outcome(), &document["retryable"]), ("not_executed", &json!(true)));
        assert!(other.retry_after.is_some());
    }

    up(&redis).await;
    client.until_both_lanes_serve().await;
    // What was granted here alone is told to Redis without being asked; what was granted unseen is not.
    eventually(SOON, async || client.get("/v1/limiters/m").await.status == 200).await;
    assert_eq!(remaining(&client, "m").await, 9);
    // Three of before and seven of here: the deletion that was refused is not made later.
    eventually(SOON, async || client.get("/v1/limiters/l").await.json()["remaining"] == 0).await;
    let told = take(&client, "l", &numbers).await.json();
    assert_eq!((&told["allowed"], &told["decided_by"]), (&json!(false), &json!("redis")), "{told}");
}

#[tokio::test]
async fn a_killed_redis_leaves_each_take_to_its_policy() {
    through_an_outage(async |redis| redis.kill9(), async |redis| redis.restart().await).await;
}

#[tokio::test]
async fn a_frozen_redis_leaves_each_take_to_its_policy() {
    through_an_outage(async |redis| redis.freeze(), async |redis| redis.thaw()).await;
}

#[tokio::test]
async fn the_first_takes_of_a_freeze_are_charged_at_most_once() {
    let redis = Redis::start(Options::default()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    assert_eq!(take(&client, "l", &daily(100)).await.json()["remaining"], 99);
    redis.freeze();
    let mut calls = tokio::task::JoinSet::new();
    for turn in 0..30 {
        let client = client.clone();
        let body = on_outage(&daily(100), ["closed", "open", "local"][turn % 3]);
        calls.spawn(async move { take(&client, "l", &body).await });
    }
    for answer in calls.join_all().await {
        match answer.status {
            200 => assert_ne!(answer.json()["decided_by"], "redis", "{}", answer.text()),
            status => assert!(matches!((status, answer.outcome()), (503, "not_executed") | (504, "unknown"))),
        }
    }
    client.until_both_lanes_refuse().await;
    redis.thaw();
    client.until_both_lanes_serve().await;
    // Everything that was on its way has been read by now, and what was granted alone is told.
    eventually(SOON, async || client.metric("collective_inflight", &[]).await == Some(0.0)).await;
    let left = remaining(&client, "l").await;
    assert!((100 - 31..=99).contains(&left), "{left} left after 31 takes");
}

async fn lossy(seed: u64) -> (Redis, Proxy, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, seed);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    // The functions are in place before anything is lost.
    assert_eq!(take(&client, "first", &daily(1)).await.status, 200);
    proxy.only(&["FCALL"]);
    (redis, proxy, app, client)
}

#[tokio::test]
async fn a_take_whose_reply_is_lost_is_settled_and_charged_once() {
    let (_redis, proxy, _app, client) = lossy(31).await;
    proxy.lose_connection_instead_of_reply(0.15);
    for turn in 0..60 {
        let answer = take(&client, "l", &daily(50)).await;
        assert_eq!(answer.status, 200, "{turn}: {}", answer.text());
        assert_eq!(answer.json()["allowed"], turn < 50, "{turn}: {}", answer.text());
        assert_eq!(answer.json()["remaining"], 49_u64.saturating_sub(turn), "{turn}: each is charged once");
        assert_eq!(answer.header("idempotency-replayed"), None, "{turn}: no key was sent, so nothing was repeated");
    }
    assert!(proxy.injected().replies_lost > 3, "{:?}", proxy.injected());
}

#[tokio::test]
async fn a_take_whose_replies_are_all_lost_ends_by_its_policy_and_is_charged_once() {
    let (_redis, proxy, _app, client) = lossy(32).await;
    proxy.lose_connection_instead_of_reply(1.0);
    for (policy, left) in [("closed", 9), ("open", 8), ("local", 7)] {
        let answer = take(&client, "l", &on_outage(&daily(10), policy)).await;
        if policy == "closed" {
            assert_eq!(problem(&answer, 504, "outcome_unknown")["retryable"], false);
        } else {
            let told = answer.json();
            assert_eq!((&told["decided_by"], &told["outcome"]), (&json!(policy), &json!("unknown")), "{told}");
            assert_eq!(told["allowed"], true, "{told}");
        }
        proxy.heal();
        assert_eq!(remaining(&client, "l").await, left, "{policy}: every attempt had run, and one was charged");
        proxy.lose_connection_instead_of_reply(1.0);
    }
    proxy.heal();
    // Nothing that Redis may know is told to it again.
    assert_eq!(take(&client, "l", &on_outage(&daily(10), "local")).await.json()["remaining"], 6);
}

#[tokio::test]
async fn an_idempotency_key_settles_a_take_even_after_it_ended_unknown() {
    let (_redis, proxy, _app, client) = lossy(33).await;
    let keyed = client.idempotency_key("order-17");
    proxy.lose_connection_instead_of_reply(1.0);
    problem(&take(&keyed, "l", &daily(10)).await, 504, "outcome_unknown");
    proxy.heal();
    for _ in 0..2 {
        let answer = take(&keyed, "l", &daily(10)).await;
        assert_eq!(
            (answer.json()["remaining"].as_u64(), answer.header("idempotency-replayed")),
            (Some(9), Some("true"))
        );
    }
    assert_eq!(remaining(&client, "l").await, 9);
}

#[tokio::test]
async fn with_an_idempotency_key_the_gateway_itself_takes_again_and_charges_once() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 34);
    let app = persistent(&proxy.url()).start().await;
    let client = app.client();
    client.settled().await;
    proxy.only(&["FCALL"]);
    proxy.lose_connection_instead_of_reply(0.15);
    proxy.reset_counts();
    for turn in 0..40 {
        let keyed = client.idempotency_key(&format!("take-{turn}"));
        let answer = take(&keyed, "l", &daily(30)).await;
        let told = answer.json();
        assert_eq!((answer.status, &told["allowed"]), (200, &json!(turn < 30)), "{turn}: {told}");
        assert_eq!(told["remaining"], 29_u64.saturating_sub(turn), "{turn}: each is charged once");
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 0, "{:?}", proxy.injected());
    assert_eq!(proxy.count("FCALL"), 40 + lost, "each lost reply costs one more attempt, and no caller anything");
}

#[tokio::test]
async fn looks_and_deletions_are_sent_again_when_the_reply_is_lost() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 35);
    let app = persistent(&proxy.url()).start().await;
    let client = app.client();
    client.settled().await;
    proxy.only(&["FCALL_RO", "GETDEL"]);
    proxy.lose_connection_instead_of_reply(0.15);
    for _ in 0..20 {
        assert_eq!(take(&client, "l", &daily(10)).await.json()["remaining"], 9, "it was forgotten before");
        assert_eq!(remaining(&client, "l").await, 9);
        assert_eq!(delete(&client, "l").await.status, 204);
    }
    assert!(proxy.injected().replies_lost > 0, "{:?}", proxy.injected());
    // All attempts lost: a look has changed nothing, a deletion may have been made.
    assert_eq!(take(&client, "l", &daily(10)).await.status, 200);
    proxy.lose_connection_instead_of_reply(1.0);
    problem(&client.get("/v1/limiters/l").await, 503, "redis_unreachable");
    problem(&delete(&client, "l").await, 504, "outcome_unknown");
    proxy.heal();
    problem(&client.get("/v1/limiters/l").await, 404, "not_found");
}

/// Takes that were granted, by who decided, and when.
#[derive(Default)]
struct Tally {
    by_redis: AtomicU64,
    alone: AtomicU64,
    grants: Mutex<Vec<Grant>>,
}

impl Tally {
    fn note(&self, asked: Instant, told: &Value) {
        if told["allowed"] == true {
            let alone = told["decided_by"] == "local";
            if alone { &self.alone } else { &self.by_redis }.fetch_add(1, Relaxed);
            let grant = Grant { tokens: 1, asked, told: Instant::now() };
            self.grants.lock().expect("the grants").push(grant);
        }
    }

    fn by_redis(&self) -> u64 {
        self.by_redis.load(Relaxed)
    }

    fn alone(&self) -> u64 {
        self.alone.load(Relaxed)
    }

    /// Waits until so many more were granted.
    async fn until(&self, count: impl Fn(&Self) -> u64, more: u64) {
        let goal = count(self) + more;
        eventually(PATIENCE, async || count(self) >= goal).await;
    }
}

/// What three instances granted together while Redis went and came back.
struct Run {
    grants: Vec<Grant>,
    alone: u64,
    start: Instant,
    end: Instant,
}

/// A limiter of sixty tokens and so many more a second. Lets so many be granted by Redis before it goes, by the instances alone, and by
/// Redis again.
async fn three_instances(
    per_second: u64,
    (before, alone, after): (u64, u64, u64),
    down: impl AsyncFn(&Redis),
    up: impl AsyncFn(&Redis),
) -> Run {
    let redis = Redis::start(Options::default().durable()).await;
    let mut apps = Vec::new();
    for _ in 0..3 {
        apps.push(App::with_redis(&redis.url()).start().await);
    }
    for app in &apps {
        let client = app.client();
        eventually(SOON, async || client.metric("collective_instances", &[]).await == Some(3.0)).await;
    }
    let body = json!({ "capacity": 60, "refill": per_second, "per": "1s", "on_outage": "local" });
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let start = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..12 {
        let (client, body) = (apps[caller % 3].client(), body.clone());
        let (stop, tally) = (stop.clone(), tally.clone());
        callers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(caller as u64);
            while !stop.load(Relaxed) {
                let asked = Instant::now();
                tally.note(asked, &take(&client, "l", &body).await.json());
                // The pace of a caller, not a wait for anything.
                tokio::time::sleep(Duration::from_millis(random.u64(10..50))).await;
            }
        });
    }
    tally.until(|tally| tally.by_redis(), before).await;
    down(&redis).await;
    tally.until(|tally| tally.alone(), alone).await;
    up(&redis).await;
    tally.until(|tally| tally.by_redis(), after).await;
    stop.store(true, Relaxed);
    callers.join_all().await;
    let grants = tally.grants.lock().expect("the grants").clone();
    Run { grants, alone: tally.alone(), start, end: Instant::now() }
}

async fn three_instances_stay_within_the_bound(down: impl AsyncFn(&Redis), up: impl AsyncFn(&Redis)) {
    // More than a full limiter each time, so that its refill decides.
    let run = three_instances(60, (150, 240, 150), down, up).await;
    let (granted, bound) = (run.grants.len(), 60.0 + 60.0 * (run.end - run.start).as_secs_f64());
    println!("{granted} granted, {} of them alone, the bound is {bound:.0}", run.alone);
    assert_no_stretch_exceeds(&run.grants, (60.0, 60.0), 1.1);
    assert!(granted as f64 >= 0.6 * bound, "service went on: {granted} of {bound}");
    assert!(run.alone > 100, "the outage was served: {}", run.alone);
}

/// Redis comes back full, and each instance tells it for itself, when it sees it again, what it granted meanwhile.
#[tokio::test]
async fn a_redis_that_comes_back_gives_three_instances_no_second_burst() {
    // So slow a refill does not hide a burst. They are back within a second, in another order each time.
    for _ in 0..3 {
        let run = three_instances(10, (65, 40, 20), async |redis| redis.freeze(), async |redis| redis.thaw()).await;
        println!("{} granted, {} of them alone, in {:?}", run.grants.len(), run.alone, run.end - run.start);
        assert_no_stretch_exceeds(&run.grants, (60.0, 10.0), 1.1);
    }
}

#[tokio::test]
async fn three_instances_alone_with_a_killed_redis_stay_within_the_bound() {
    for _ in 0..rounds() {
        three_instances_stay_within_the_bound(async |redis| redis.kill9(), async |redis| redis.restart().await).await;
    }
}

#[tokio::test]
async fn three_instances_alone_with_a_frozen_redis_stay_within_the_bound() {
    for _ in 0..rounds() {
        three_instances_stay_within_the_bound(async |redis| redis.freeze(), async |redis| redis.thaw()).await;
    }
}

#[tokio::test]
async fn a_take_sent_twice_into_a_redis_that_freezes_between_is_charged_once() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 34);
    // It freezes for longer than any record of an attempt is kept, and no detector ends the attempts before. Their number does:
    // the deadline would leave it at one on a machine that stands still for what remains after the first.
    let builder = App::with_redis(&proxy.url()).set("breaker.stall_after", "5s").set("retry.attempts", 2);
    let app = builder.set("server.workers", 1).start().await;
    let client = app.client();
    client.settled().await;
    // As often as a busy machine needs, whose short attempts may end before their answer is there.
    eventually(SOON, async || take(&client, "l", &daily(100)).await.status == 200).await;
    let left = remaining(&client, "l").await;
    proxy.only(&["FCALL"]);
    proxy.reset_counts();
    proxy.hold_replies();
    // Read before the take is sent: read after, it may already tell of it, and nothing would ever change.
    let key = "collective:limiter:l";
    let before = redis.command(&["GET", key]).await.to_string();
    let caller = tokio::spawn({
        let client = client.timeout_ms(1500);
        async move { take(&client, "l", &daily(100)).await }
    });
    eventually(SOON, async || redis.command(&["GET", key]).await.to_string() != before).await;
    redis.freeze();
    assert_eq!(problem(&caller.await.expect("an answer"), 504, "outcome_unknown")["attempts"], 2);
    // The time that passes is what is tested: longer than a record of a take of 1.5 s is kept.
    let gone = Instant::now() + Duration::from_secs(13);
    eventually(PATIENCE, async || Instant::now() > gone).await;
    redis.thaw();
    proxy.release();
    eventually(SOON, async || client.get("/v1/limiters/l").await.status == 200).await;
    assert_eq!(remaining(&client, "l").await, left - 1, "the second arrival came too late to know, and did nothing");
}

/// Just after an outage an instance keeps to its share; that is no reason to grant what Redis knows to be spent.
#[tokio::test]
async fn what_redis_knows_to_be_spent_is_not_granted_by_an_instance_that_forgot_it() {
    for instances in ["1", "2"] {
        let redis = Redis::start(Options::default().durable()).await;
        // Patient: what a busy disk is late with would be granted locally, and Redis not know of it.
        let start = async || patient(&redis.url()).set("limiters.instances", instances).start().await;
        let mut app = start().await;
        let local = on_outage(&daily(3), "local");
        for _ in 0..3 {
            let told = take(&app.client(), "l", &local).await.json();
            assert_eq!((&told["allowed"], &told["decided_by"]), (&json!(true), &json!("redis")), "{instances}: {told}");
        }
        redis.kill9();
        // A new process remembers nothing.
        app = start().await;
        let client = app.client();
        client.until_both_lanes_refuse().await;
        redis.restart().await;
        client.until_both_lanes_serve().await;
        let told = take(&client, "l", &local).await.json();
        assert_eq!((&told["allowed"], &told["decided_by"]), (&json!(false), &json!("redis")), "{instances}: {told}");
    }
}
