//! Leases where Redis loses things: tokens rise all the same, and a deposed holder is told apart.
//!
//! Why so: replication is asynchronous, so a failover may lose acknowledged acquisitions, and then two may believe to hold one
//! lease. Nothing in front of Redis can prevent that; what it can do, and what is proved here, is never to issue a token
//! twice or a lower one later, so that whoever writes under an older one is refused. Limits: both servers have the same clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{App, Client, Options, Pair, Redis, Reply, eventually, seeded};
use crate::leases::{acquire, release, release_in_the_end, renew, token};

const SOON: Duration = Duration::from_secs(15);

/// Functions as they are shipped, under another name, and a write that is fenced as those of `/v1` are.
async fn load_fenced_write(redis: &Redis) {
    let part = |id: &str| {
        let path = format!("{}/migrations/{id}.lua", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a migration").replace("'collective_v1_'", "'trial_'")
    };
    let write = "define('write', function(keys, args)
        if not admits(keys[1], args[1]) then return {'fenced'} end
        redis.call('SET', keys[2], args[2])
        return {'written'}
    end)";
    let code = ["#!lua name=trial\n", &part("0001_prelude"), &part("0003_leases"), write].concat();
    assert_eq!(redis.command(&["FUNCTION", "LOAD", &code]).await, "trial");
}

/// Whether a write under this token was applied.
async fn writes(redis: &Redis, lease: &str, token: u64) -> bool {
    let key = format!("collective:lease:{lease}");
    let text = token.to_string();
    redis.command(&["SET", "written-by", "nobody"]).await;
    let reply = redis.command(&["FCALL", "trial_write", "2", &key, "written-by", "", "", &text, &text]).await;
    let written = match reply.to_string().as_str() {
        "done,written" => true,
        "done,fenced" => false,
        other => panic!("{other}"),
    };
    let stored = redis.command(&["GET", "written-by"]).await;
    assert_eq!(stored == text.as_str(), written, "{stored} is stored, and {token} was told {written}");
    written
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
    load_fenced_write(&redis).await;
    let app = App::with_redis(&redis.url()).start().await;
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
            2 => assert!(writes(&redis, "jobs", newest).await, "turn {turn}: the holder was refused"),
            _ if issued.len() > 1 => {
                let old = issued[random.usize(..issued.len() - 1)];
                assert!(!writes(&redis, "jobs", old).await, "turn {turn}: {old} wrote after {newest} was issued");
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
    load_fenced_write(&redis).await;
    let app = App::with_redis(&redis.url()).start().await;
    let first = acquired(&app.client(), "jobs", "a").await;
    for invented in [first + 2 * 86_400_000_000, i64::MAX as u64, u64::MAX] {
        assert!(!writes(&redis, "jobs", invented).await, "{invented}");
    }
    assert!(writes(&redis, "jobs", first).await);
    release_in_the_end(&app.client(), "jobs", first).await;
    assert!(acquired(&app.client(), "jobs", "b").await < first + 60_000_000);
    // A write under a token that is known of no lease is remembered, and not for ever.
    assert!(writes(&redis, "never-acquired", 7).await && !writes(&redis, "never-acquired", 6).await);
    assert!(redis.command(&["PTTL", "collective:lease:never-acquired"]).await.integer() > 0);
}

#[tokio::test]
async fn tokens_rise_across_a_failover_that_lost_acknowledged_acquisitions() {
    let pair = Pair::start(32).await;
    load_fenced_write(&pair.primary).await;
    let app = App::with_redis(&pair.door.url()).start().await;
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
    assert!(writes(&pair.primary, "jobs", lost).await && !writes(&pair.primary, "jobs", known).await);
    pair.fail_over().await;
    let stored = pair.replica.command(&["HGET", "collective:lease:jobs", "token"]).await;
    assert_eq!(
        stored,
        known.to_string().as_str(),
        "the failover lost acknowledged acquisitions, or this proves nothing"
    );
    // The one who was deposed by a lost acquisition is refused as soon as its holder has written.
    assert!(writes(&pair.replica, "jobs", lost).await);
    assert!(!writes(&pair.replica, "jobs", known).await, "a deposed holder wrote");
    // By the new primary's books the lease is held by the one before.
    eventually(SOON, async || release(&client, "jobs", known).await.status == 204).await;
    let next = turn("next").await;
    assert!(!writes(&pair.replica, "jobs", lost).await, "a deposed holder wrote");
    assert!(writes(&pair.replica, "jobs", next).await);
}

/// An acquisition as its client saw it.
#[derive(Debug)]
struct Issued {
    token: u64,
    asked: Instant,
    told: Instant,
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

/// Acquires and releases until told to stop, whatever happens to Redis.
async fn busy(client: Client, owner: String, stop: Arc<AtomicBool>) -> Vec<Issued> {
    let mut issued = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = acquire(&client, "busy", &owner, 300).await;
        match answer.status {
            201 => {
                issued.push(Issued { token: token(&answer), asked, told: Instant::now() });
                release(&client, "busy", token(&answer)).await;
            }
            409 | 503 | 504 => tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    issued
}

async fn work_through(app: &App, clients: usize, disaster: impl AsyncFnOnce()) -> Vec<Issued> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut working = tokio::task::JoinSet::new();
    for index in 0..clients {
        working.spawn(busy(app.client(), format!("client {index}"), stop.clone()));
    }
    disaster().await;
    // Life goes on before the books are closed.
    let client = app.client();
    client.until_both_lanes_serve().await;
    for _ in 0..20 {
        let token = acquired(&client, "busy", "afterwards").await;
        release_in_the_end(&client, "busy", token).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut issued = Vec::new();
    while let Some(ended) = working.join_next().await {
        issued.extend(ended.expect("a client"));
    }
    issued
}

#[tokio::test]
async fn tokens_rise_for_busy_clients_while_the_primary_fails_over() {
    let pair = Pair::start(33).await;
    let app = App::with_redis(&pair.door.url()).start().await;
    let issued = work_through(&app, 16, async || {
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
        pair.fail_over().await;
        assert!(kept > 0 && token(&pair.replica).await >= kept);
    })
    .await;
    assert!(issued.len() > 100, "{}", issued.len());
    tokens_rise(issued);
}

#[tokio::test]
async fn tokens_rise_and_leases_stay_across_kill_nine() {
    let redis = Redis::start(Options::default().durable()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    let kept = token(&acquire(&client, "kept", "a", 60_000).await);
    let issued = work_through(&app, 8, async || {
        for _ in 0..3 {
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
    tokens_rise(issued);
    assert_eq!(acquire(&client, "kept", "b", 60_000).await.status, 409, "what was acknowledged is kept");
    assert_eq!(renew(&client, "kept", kept, 60_000).await.status, 200);
}
