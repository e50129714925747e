//! A frozen Redis: noticed within a second, refused in milliseconds, served again at once, and nothing told a lie.
//!
//! `SIGSTOP` is the failure that hangs most services: connections stay, nothing answers. The load is 20 requests a second, half
//! reads, half increments. Limits: bounds are those of the product's promises, on a machine that also runs other tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::harness::{App, Client, Options, Pauses, Proxy, Redis, eventually};
use crate::ledger::Ledger;

/// 20 requests a second.
const BEAT: Duration = Duration::from_millis(50);
/// Promise: noticed.
const NOTICED: Duration = Duration::from_secs(1);
/// Promise: refused.
const FAST: Duration = Duration::from_millis(10);
/// Promise: served again.
const RECOVERED: Duration = Duration::from_millis(1100);
/// What has not come by then is not late, but missing.
const MISSING: Duration = Duration::from_secs(10);
/// A pause this long may have made the service count a silence anew, as it should: `breaker.stall_after` more.
const PAUSE: Duration = Duration::from_millis(150);
const COUNTED_ANEW: Duration = Duration::from_millis(400);

/// Waits for what is promised within so long on a machine that runs. For how long it stood still is not held against the
/// service, which must not blame Redis for it either.
async fn within(promise: Duration, condition: impl AsyncFnMut() -> bool) {
    let pauses = Pauses::watch();
    let took = eventually(MISSING, condition).await;
    let paused = pauses.end();
    let excused = if paused.longest < PAUSE { paused.all } else { paused.all + COUNTED_ANEW };
    assert!(took <= promise + excused, "it took {took:?} instead of {promise:?}, and {excused:?} are excused");
}

/// Load that goes on until it is told to stop: reads and increments in turn, each on its own beat.
struct Load {
    stop: Arc<AtomicBool>,
    beat: tokio::task::JoinHandle<()>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Load {
    /// `patience`: callers hang up after it.
    fn start(client: &Client, patience: Option<Duration>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Mutex::new(Ledger::new("frozen:n")));
        let (client, stopped, books) = (client.clone(), stop.clone(), ledger.clone());
        let beat = tokio::spawn(async move {
            let mut beat = tokio::time::interval(BEAT);
            let mut calls = tokio::task::JoinSet::new();
            for turn in 0_u64.. {
                beat.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (client, books) = (client.clone(), books.clone());
                calls.spawn(async move {
                    let call = one_call(&client, turn, &books, patience.is_none());
                    match patience {
                        // Dropping the call closes its connection: the caller has hung up.
                        Some(patience) => drop(tokio::time::timeout(patience, call).await),
                        None => call.await,
                    }
                });
            }
            while calls.join_next().await.is_some() {}
        });
        Self { stop, beat, ledger }
    }

    async fn stop(self) -> Arc<Mutex<Ledger>> {
        self.stop.store(true, Ordering::Relaxed);
        self.beat.await.expect("the load ends");
        self.ledger
    }
}

/// Increments overlap while Redis is frozen, so only the sums are booked here, not the order.
async fn one_call(client: &Client, turn: u64, ledger: &Mutex<Ledger>, keep_books: bool) {
    if turn.is_multiple_of(2) {
        let answer = client.get_key("frozen:read").await;
        assert!(matches!(answer.status, 200 | 503 | 504), "{} {}", answer.status, answer.text());
        assert!(answer.status == 200 || answer.outcome() == "not_executed", "a failed read changed nothing");
        return;
    }
    let answer = client.post_command(&["INCR", "frozen:n"]).await;
    if !keep_books {
        return;
    }
    let mut ledger = ledger.lock().await;
    match (answer.status, answer.outcome()) {
        (200, _) => ledger.acknowledged += 1,
        (503, "not_executed") => ledger.not_executed += 1,
        (504, "unknown") => ledger.unknown += 1,
        other => panic!("{other:?} {}", answer.text()),
    }
}

/// Freezes Redis under load, checks every promise about it, thaws and checks the return. Returns the books.
async fn freeze_and_thaw(patience: Option<Duration>) {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 1);
    let app = App::with_redis(&proxy.url()).start().await;
    let client = app.client();
    eventually(MISSING, async || client.put_key("frozen:read", "there").await.is_success()).await;
    let load = Load::start(&client, patience);
    eventually(Duration::from_secs(5), async || proxy.count("INCR") >= 10).await;

    redis.freeze();
    within(NOTICED, async || client.both_lanes_refuse().await).await;

    refusals_are_fast_and_honest(&client).await;
    let ready = client.probe("/readyz").await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("warn")));
    assert_eq!(client.probe("/livez").await.status, 200);

    // What callers ask for while the lanes are open must not reach Redis: no request of theirs is a probe.
    let before = (proxy.count("GET"), proxy.count("INCR"));
    let half_second_of_refusals = Instant::now() + Duration::from_millis(500);
    eventually(Duration::from_secs(2), async || Instant::now() > half_second_of_refusals).await;
    assert_eq!(
        (proxy.count("GET"), proxy.count("INCR")),
        before,
        "a caller's request was sent while the lanes were open"
    );

    redis.thaw();
    within(RECOVERED, async || client.get_key("frozen:read").await.status == 200).await;
    within(RECOVERED, async || client.both_lanes_serve().await).await;
    eventually(MISSING, async || client.post_command(&["INCR", "frozen:other"]).await.status == 200).await;

    let ledger = load.stop().await;
    let ledger = ledger.lock().await;
    if patience.is_none() {
        let value = redis.command(&["GET", "frozen:n"]).await.integer();
        let may = ledger.acknowledged..=ledger.acknowledged + ledger.unknown;
        assert!(may.contains(&value), "{value} applied, books allow {may:?}");
        assert!(ledger.not_executed > 0, "some were refused");
    }
    assert_eq!(app.stop().await.code(), Some(0));
}

async fn refusals_are_fast_and_honest(client: &Client) {
    let (mut slow, mut held_up) = (0, 0);
    for turn in 0..200 {
        let answer =
            if turn % 2 == 0 { client.get_key("frozen:read").await } else { client.post_command(&["INCR", "x"]).await };
        assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
        assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1), "Retry-After is missing");
        slow += i32::from(answer.elapsed > FAST);
        held_up += i32::from(client.round_trip().await > FAST);
    }
    // One in twenty. A scheduler's hiccup is not the product's: it holds up the round trip behind a refusal as well. But where
    // every round trip is late, the service may hold up itself, as when it burns the processors while Redis is away.
    let excused = 2 * held_up.min(30);
    assert!(slow <= 10 + excused, "{slow} of 200 refusals took more than {FAST:?}, and {held_up} round trips did");
}

#[tokio::test]
async fn a_frozen_redis_is_noticed_within_a_second() {
    freeze_and_thaw(None).await;
}

#[tokio::test]
async fn a_frozen_redis_is_noticed_within_a_second_when_callers_hang_up() {
    freeze_and_thaw(Some(Duration::from_millis(100))).await;
}

#[tokio::test]
async fn service_returns_without_spending_a_caller() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    eventually(MISSING, async || client.put_key("k", "v").await.is_success()).await;
    redis.kill9();
    // Nobody asks: the heartbeat alone finds out.
    client.until_both_lanes_refuse().await;
    redis.restart().await;
    // Nobody asks here either: the probes alone close the lanes.
    within(RECOVERED, async || client.both_lanes_serve().await).await;
    let first = client.put_key("k", "v").await;
    assert!(first.is_success(), "the first caller after the outage is served: {}", first.text());
}

#[tokio::test]
async fn probes_stay_green_while_redis_is_down() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    redis.kill9();
    eventually(MISSING, async || client.status().await["status"] == "warn").await;
    // The first heartbeat's answer may have been on its way when Redis died: it is believed until the lanes open.
    client.until_both_lanes_refuse().await;
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(client.probe(path).await.status, 200, "{path}");
    }
    let status = client.status().await;
    assert_eq!(status["redis"]["reachable"], false);
    assert_eq!(status["phase"], "ready");
}

#[tokio::test]
async fn start_up_finishes_with_redis_absent() {
    let redis = Redis::start(Options::default()).await;
    redis.kill9();
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    assert_eq!(client.probe("/startupz").await.status, 200);
    let answer = client.get_key("k").await;
    assert_eq!((answer.status, answer.outcome()), (503, "not_executed"));
    redis.restart().await;
    eventually(MISSING, async || client.put_key("k", "v").await.is_success()).await;
}
