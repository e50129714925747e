//! Two replicas in front of one Redis, restarted one after the other under load: nobody notices.
//!
//! The balancer of the harness follows `/readyz` and nothing else. Every request is sent once; any answer that is no success, and
//! any that never comes, fails the test. The counter in Redis says at the end that each increment was done once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{App, Balancer, Client, Options, Redis, eventually};
use crate::keys::patient;

const PATIENCE: Duration = Duration::from_secs(20);
/// How often the balancer looks.
const BEAT: Duration = Duration::from_millis(50);
/// Forty looks: a busy machine may be late with many of them.
const DRAIN_DELAY: &str = "2s";
const CALLERS: usize = 20;

/// What the callers saw.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    increments: AtomicU64,
    reads: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Tally {
    fn note(&self, done: &AtomicU64, what: &str, answer: reqwest::Result<crate::harness::Answer>) {
        let told = match answer {
            Ok(answer) if answer.is_success() => {
                done.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(answer) => format!("{what}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => format!("{what}: {error:?}"),
        };
        self.failures.lock().expect("the list of failures").push(told);
    }

    fn served(&self) -> u64 {
        self.increments.load(Ordering::Relaxed) + self.reads.load(Ordering::Relaxed)
    }

    fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("the list of failures").clone()
    }
}

/// One caller: an increment and a read by turns, a hundred requests a second at most.
async fn caller(balancer: Arc<Balancer>, tally: Arc<Tally>) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    for turn in 0_u64.. {
        beat.tick().await;
        if tally.stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(client) = balancer.pick() else {
            tally.failures.lock().expect("the list of failures").push("no replica is ready".to_owned());
            return;
        };
        if turn % 2 == 0 {
            tally.note(&tally.increments, "INCR", client.try_post_command(&["INCR", "rolled"]).await);
        } else {
            tally.note(&tally.reads, "GET", client.try_post_command(&["GET", "rolled"]).await);
        }
    }
}

/// With the usual 400 ms for an attempt a machine that stands still for as long would fail an increment, whoever is restarted.
async fn replica(redis: &Redis) -> App {
    patient(&redis.url()).set("drain.delay", DRAIN_DELAY).start().await
}

async fn requests_served(client: &Client) -> f64 {
    client.metric("collective_http_requests_total", &[("status", "200")]).await.unwrap_or_default()
}

#[tokio::test]
async fn replicas_restarted_one_after_the_other_under_load_fail_no_request() {
    let redis = Redis::start(Options::default()).await;
    let mut apps = [replica(&redis).await, replica(&redis).await];
    let balancer = Balancer::over(&[&apps[0], &apps[1]], BEAT);
    eventually(PATIENCE, async || balancer.sends_to(0) && balancer.sends_to(1)).await;
    let tally = Arc::new(Tally::default());
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(caller(balancer.clone(), tally.clone()))).collect();
    eventually(PATIENCE, async || tally.served() > 300).await;

    for place in [0, 1] {
        let before = tally.served();
        assert_eq!(apps[place].stop().await.code(), Some(0), "replica {place} drains");
        assert!(tally.served() > before, "the other one serves meanwhile");
        apps[place].restart().await;
        balancer.replace(place, &apps[place]);
        eventually(PATIENCE, async || balancer.sends_to(place)).await;
        let client = apps[place].client();
        eventually(PATIENCE, async || requests_served(&client).await > 50.0).await;
    }

    tally.stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("a caller");
    }
    let failures = tally.failures();
    assert!(
        failures.is_empty(),
        "{} of {} failed: {:#?}",
        failures.len(),
        tally.served(),
        &failures[..failures.len().min(5)]
    );
    let increments = tally.increments.load(Ordering::Relaxed);
    println!("{} served, {increments} of them increments, 0 failed", tally.served());
    assert_eq!(redis.command(&["GET", "rolled"]).await.integer(), i64::try_from(increments).expect("a small number"));
}
