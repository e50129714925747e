//! Leases where Redis loses things: tokens rise all the same, and a deposed holder is told apart.
//!
//! Why so: replication is asynchronous, so a failover may lose acknowledged acquisitions, and then two may believe to hold one
//! lease. Nothing in front of Redis can prevent that; what it can do, and what is proved here, is never to issue a token
//! twice or a lower one later, so that whoever writes under an older one is refused. Limits: both servers have the same clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{App, Client, Options, Pair, Redis, Reply, eventually, rounds, seeded};
use crate::keys::{patient, problem, unhurried};
use crate::leases::{Tenure, acquire, audit, release, release_in_the_end, renew, token};

const SOON: Duration = Duration::from_secs(15);

/// Whether a write under this token was applied. Asked again until Redis has decided it; the lease may never have been acquired.
async fn writes(client: &Client, redis: &Redis, lease: &str, token: u64) -> bool {
    let (fenced, text) = (under(client, lease, token), token.to_string());
    redis.command(&["SET", "written-by", "nobody"]).await;
    let mut written = None;
    eventually(SOON, async || {
        let answer = fenced.put_key("written-by", text.as_str()).await;
        written = match (answer.status, answer.outcome()) {
            (201 | 204, _) => Some(true),
            (409, "not_executed") => {
                problem(&answer, 409, "fenced");
                Some(false)
            }
            (503, "not_executed") | (504, "unknown") => None,
            other => panic!("{other:?}: {}", answer.text()),
        };
        written.is_some()
    })
    .await;
    let stored = redis.command(&["GET", "written-by"]).await;
    let written = written.expect("decided");
    assert_eq!(stored == text.as_str(), written, "{stored} is stored, and {token} was told {written}");
    written
}

/// A client whose writes are made under this token.
fn under(client: &Client, lease: &str, token: u64) -> Client {
    client.with_header("Collective-Fence", &format!("{lease};{token}"))
}

async fn acquired(client: &Client, lease: &str, owner: &str) -> u64 {
    let mut issued = None;
    eventually(SOON, async || {
        let answer = acquire(client, lease, owner, 60_000).await;
        issued = answer.is_success().then(|| token(&answer));
        issued.is_some()
    })
    .await;
    issued.expect("acquired")
}

#[tokio::test]
async fn a_deposed_holder_never_writes_again() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    let mut random = seeded(31);
    let mut issued = vec![acquired(&client, "jobs", "a").await];
    let mut refused = 0;
    for turn in 0..200 {
        let newest = issued[issued.len() - 1];
        match random.u8(0..4) {
            0 => {
                assert_eq!(release(&client, "jobs", newest).await.status, 204);
                issued.push(acquired(&client, "jobs", "b").await);
            }
            1 => {
                let owner = client.get("/v1/leases/jobs").await.json()["owner"].clone();
                let body = json!({ "owner": owner, "ttl_ms": 60_000, "token": newest });
                issued.push(token(&client.post("/v1/leases/jobs", &body).await));
            }
            2 => assert!(writes(&client, &redis, "jobs", newest).await, "turn {turn}: the holder was refused"),
            _ if issued.len() > 1 => {
                let old = issued[random.usize(..issued.len() - 1)];
                assert!(
                    !writes(&client, &redis, "jobs", old).await,
                    "turn {turn}: {old} wrote after {newest} was issued"
                );
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(issued.is_sorted_by(|a, b| a < b), "{issued:?}");
    assert!(refused > 20, "{refused}");
}

#[tokio::test]
async fn a_token_from_the_future_writes_nothing_and_moves_nothing() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    let first = acquired(&client, "jobs", "a").await;
    for invented in [first + 2 * 86_400_000_000, i64::MAX as u64, u64::MAX] {
        assert!(!writes(&client, &redis, "jobs", invented).await, "{invented}");
    }
    assert!(writes(&client, &redis, "jobs", first).await);
    release_in_the_end(&client, "jobs", first).await;
    assert!(acquired(&client, "jobs", "b").await < first + 60_000_000);
    // A write under a token that is known of no lease is remembered, and not for ever.
    assert!(writes(&client, &redis, "never-acquired", 7).await && !writes(&client, &redis, "never-acquired", 6).await);
    assert!(redis.command(&["PTTL", "collective:lease:never-acquired"]).await.integer() > 0);
}

#[tokio::test]
async fn tokens_rise_across_a_failover_that_lost_acknowledged_acquisitions() {
    let pair = Pair::start(32).await;
    let app = patient(&pair.door.url()).start().await;
    let client = app.client();
    let mut issued = Vec::new();
    let mut turn = async |owner: &str| {
        let token = acquired(&client, "jobs", owner).await;
        assert!(issued.last().is_none_or(|last| *last < token), "{token} after {issued:?}");
        issued.push(token);
        token
    };
    for _ in 0..20 {
        let token = turn("a").await;
        assert_eq!(release(&client, "jobs", token).await.status, 204);
    }
    let known = turn("known to both").await;
    pair.caught_up().await;
    pair.lose_what_follows();
    assert_eq!(release(&client, "jobs", known).await.status, 204);
    for _ in 0..20 {
        let token = turn("lost").await;
        assert_eq!(release(&client, "jobs", token).await.status, 204);
    }
    let lost = turn("lost and held").await;
    assert!(writes(&client, &pair.primary, "jobs", lost).await && !writes(&client, &pair.primary, "jobs", known).await);
    pair.fail_over().await;
    let stored = pair.replica.command(&["HGET", "collective:lease:jobs", "token"]).await;
    assert_eq!(
        stored,
        known.to_string().as_str(),
        "the failover lost acknowledged acquisitions, or this proves nothing"
    );
    // The one who was deposed by a lost acquisition is refused as soon as its holder has written.
    assert!(writes(&client, &pair.replica, "jobs", lost).await);
    assert!(!writes(&client, &pair.replica, "jobs", known).await, "a deposed holder wrote");
    // By the new primary's books the lease is held by the one before.
    eventually(SOON, async || release(&client, "jobs", known).await.status == 204).await;
    let next = turn("next").await;
    assert!(!writes(&client, &pair.replica, "jobs", lost).await, "a deposed holder wrote");
    assert!(writes(&client, &pair.replica, "jobs", next).await);
}

/// How long a busy client holds the lease, if he does not release it.
const HELD_MS: u64 = 300;

/// An acquisition as its client saw it.
#[derive(Debug)]
struct Issued {
    token: u64,
    asked: Instant,
    told: Instant,
    /// When he stopped believing that it was his.
    left: Instant,
}

impl Issued {
    fn tenure(&self) -> Tenure {
        Tenure { token: self.token, from: self.told, to: self.left }
    }
}

/// Whoever asked after another was told has the higher token.
#[track_caller]
fn tokens_rise(mut issued: Vec<Issued>) {
    issued.sort_by_key(|one| one.asked);
    let mut told: Vec<(Instant, u64)> = issued.iter().map(|one| (one.told, one.token)).collect();
    told.sort();
    let (mut highest, mut next) = (0, 0);
    for one in &issued {
        while next < told.len() && told[next].0 <= one.asked {
            highest = highest.max(told[next].1);
            next += 1;
        }
        assert!(one.token > highest, "{one:?} was issued after {highest}");
    }
    let mut tokens: Vec<u64> = issued.iter().map(|one| one.token).collect();
    tokens.sort_unstable();
    assert!(tokens.is_sorted_by(|a, b| a < b), "a token was issued twice");
}

/// What busy clients and the disaster that strikes have in common.
#[derive(Default)]
struct Work {
    stop: AtomicBool,
    /// How often the server that is asked was changed for another; odd while it is being changed.
    changes: AtomicUsize,
}

impl Work {
    /// The server for good, or nothing while there is none.
    fn server(&self) -> Option<usize> {
        Some(self.changes.load(Ordering::SeqCst)).filter(|changes| changes % 2 == 0)
    }

    fn changes_server(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

/// Acquires and releases until told to stop, whatever happens to Redis. While he holds the lease he writes once more under the token
/// he held before, which may only be refused.
async fn busy(client: Client, owner: String, work: Arc<Work>) -> Vec<Issued> {
    let mut issued: Vec<Issued> = Vec::new();
    while !work.stop.load(Ordering::Relaxed) {
        let (server, asked) = (work.server(), Instant::now());
        let answer = acquire(&client, "busy", &owner, HELD_MS).await;
        match answer.status {
            201 => {
                let (token, told) = (token(&answer), Instant::now());
                if let Some(former) = issued.last() {
                    let applied = write_as_deposed(&client, former.token).await;
                    // A server that never heard of the newer token cannot refuse the older one: that is what a failover loses.
                    let knows = server.is_some() && server == work.server();
                    assert!(!applied || !knows, "{former:?} wrote after {token} was issued");
                }
                // His own clock ends it, whatever becomes of the release.
                let left = Instant::now().min(asked + Duration::from_millis(HELD_MS));
                release(&client, "busy", token).await;
                issued.push(Issued { token, asked, told, left });
            }
            409 | 503 | 504 => tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    issued
}

/// Whether it was applied. Nobody but deposed holders writes to this key.
async fn write_as_deposed(client: &Client, token: u64) -> bool {
    let answer = under(client, "busy", token).put_key("deposed", token.to_string()).await;
    match (answer.status, answer.outcome()) {
        (201 | 204, _) => true,
        (409 | 503, "not_executed") | (504, "unknown") => false,
        other => panic!("a deposed holder was told {other:?}: {}", answer.text()),
    }
}

/// Lets clients work while a disaster strikes, and closes the books once life has gone on.
async fn work_through(app: &App, left: &Redis, clients: usize, disaster: impl AsyncFnOnce(&Work)) -> Vec<Issued> {
    let work = Arc::new(Work::default());
    let mut working = tokio::task::JoinSet::new();
    for index in 0..clients {
        working.spawn(busy(app.client(), format!("client {index}"), work.clone()));
    }
    disaster(&work).await;
    let client = app.client();
    client.until_both_lanes_serve().await;
    for _ in 0..20 {
        let token = acquired(&client, "busy", "afterwards").await;
        release_in_the_end(&client, "busy", token).await;
    }
    work.stop.store(true, Ordering::Relaxed);
    let mut issued = Vec::new();
    while let Some(ended) = working.join_next().await {
        issued.extend(ended.expect("a client"));
    }
    // Once the next holder has written, everybody before him is refused, whatever was lost on the way.
    let next = acquired(&client, "busy", "the next").await;
    assert!(writes(&client, left, "busy", next).await);
    for former in issued.iter().rev().step_by(issued.len().div_ceil(50).max(1)) {
        assert!(!writes(&client, left, "busy", former.token).await, "{former:?} wrote after {next}");
    }
    issued
}

#[tokio::test]
async fn tokens_rise_for_busy_clients_while_the_primary_fails_over() {
    let pair = Pair::start(33).await;
    let app = App::with_redis(&pair.door.url()).start().await;
    let issued = work_through(&app, &pair.replica, 16, async |work| {
        let token = async |redis: &Redis| match redis.command(&["HGET", "collective:lease:busy", "token"]).await {
            Reply::Nil => 0,
            reply => reply.to_string().parse::<u64>().expect("a token"),
        };
        let moved = async |from: u64| eventually(SOON, async || token(&pair.primary).await > from + 500_000).await;
        moved(token(&pair.primary).await).await;
        // What the replica never had it cannot keep.
        eventually(SOON, async || token(&pair.replica).await > 0).await;
        pair.lose_what_follows();
        let kept = token(&pair.replica).await;
        moved(kept).await;
        work.changes_server();
        pair.fail_over().await;
        work.changes_server();
        assert!(kept > 0 && token(&pair.replica).await >= kept);
    })
    .await;
    assert!(issued.len() > 20, "{}", issued.len());
    tokens_rise(issued);
}

#[tokio::test]
async fn tokens_rise_and_leases_stay_across_kill_nine() {
    let redis = Redis::start(Options::default().durable()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    // For longer than all rounds of `make chaos` take.
    let kept = token(&acquire(&client, "kept", "a", 600_000).await);
    let issued = work_through(&app, &redis, 8, async |_| {
        for _ in 0..3 * rounds() {
            let before = redis.command(&["HGET", "collective:lease:busy", "token"]).await.to_string();
            let moved = async || redis.command(&["HGET", "collective:lease:busy", "token"]).await.to_string() != before;
            eventually(SOON, moved).await;
            redis.kill9();
            client.until_both_lanes_refuse().await;
            redis.restart().await;
            client.until_both_lanes_serve().await;
        }
    })
    .await;
    assert!(issued.len() > 20, "{}", issued.len());
    // Redis kept all it had acknowledged: no two held it at once, and no deposed holder's write is there.
    audit(&mut issued.iter().map(Issued::tenure).collect::<Vec<_>>());
    assert_eq!(redis.command(&["EXISTS", "deposed"]).await, 0);
    tokens_rise(issued);
    assert_eq!(acquire(&client, "kept", "b", 60_000).await.status, 409, "what was acknowledged is kept");
    assert_eq!(renew(&client, "kept", kept, 60_000).await.status, 200);
}
