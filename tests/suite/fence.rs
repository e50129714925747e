//! The proof of the fence: after it, what a read-back says is never contradicted; without it, it is.
//!
//! An increment is abandoned while its bytes are on the way (held by the proxy, or unread by a frozen server). Then the gateway
//! gives the connection up, fences it over another and reads. Whatever arrives later must not change what was read. The same
//! trials without the fence are kept as the proof that the test can fail. These tests use the redis room directly, in process.
//! Limits: one gateway, a hundred trials each.

use std::sync::Arc;
use std::time::Duration;

use collective::redis::{Address, Command, Endpoint, Gateway, Outcome, Reply, Settings, StreamSettings};
use collective::resilience::{Backoff, Deadline, Observer, RetryPolicy, Silent, breaker};
use collective::telemetry::metrics::Build;
use collective::telemetry::{Metrics, Secret, clock};

use crate::harness::{Options, Proxy, Redis, eventually};

const TRIALS: i64 = 100;

/// Settings for abandoned calls.
fn settings() -> Settings {
    Settings {
        alias: "redis".into(),
        connections_per_worker: 2,
        in_flight_per_connection: 50,
        queue: 10,
        acquire_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(1),
        max_connection_age: None,
        attempt_timeout: Duration::from_millis(40),
        // The short attempts are for increments, which get one each. A read has as many as it needs on a busy machine.
        retry: RetryPolicy {
            attempts: 100,
            backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(5) },
        },
        budget_ratio: 1.0,
        budget_tokens: 100,
        // A hundred abandoned calls in a row are the point here, so nothing may open.
        breaker: breaker::Settings { minimum_calls: 1_000_000, ..breaker::Settings::default() },
        probe_timeout: Duration::from_millis(200),
        stall_after: Duration::from_secs(60),
        connect_failures: 1_000_000,
        streams: StreamSettings { max: 1, buffer_messages: 1, buffer_bytes: 1 },
    }
}

/// A gateway to `redis` by way of `address`.
fn gateway(redis: &Redis, address: std::net::SocketAddr) -> Gateway {
    gateway_with(settings(), redis, address)
}

fn gateway_with(settings: Settings, redis: &Redis, address: std::net::SocketAddr) -> Gateway {
    let metrics = Arc::new(Metrics::new(Build::current()).expect("metrics"));
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let address = Address::tcp(address.ip().to_string(), address.port());
    let address = match redis.sign_in() {
        Some((user, password)) => address.with_credentials(Some(user), Some(&Secret::from(password.to_owned()))),
        None => address,
    };
    Gateway::new(Endpoint::new(address, settings, metrics, &observer))
}

fn soon() -> Deadline {
    Deadline::after(clock::now(), Duration::from_secs(5))
}

async fn read(gateway: &Gateway) -> i64 {
    match gateway.run(&Command::of(&[b"GET", b"n"]), soon()).await.expect("a reply").reply {
        Reply::Nil => 0,
        Reply::BulkString(text) => String::from_utf8_lossy(&text).parse().expect("a number"),
        other => panic!("{other:?}"),
    }
}

async fn in_redis(redis: &Redis) -> i64 {
    let reply = redis.command(&["GET", "n"]).await;
    if reply.is_nil() { 0 } else { reply.integer() }
}

/// Abandons an increment: its outcome is unknown, and its connection may still carry it.
async fn abandon(gateway: &Gateway) -> collective::redis::Suspect {
    let error = gateway.run(&Command::of(&[b"INCR", b"n"]), soon()).await.expect_err("no reply can come");
    assert_eq!((error.outcome, error.attempts), (Outcome::Unknown, 1), "{error}");
    error.suspect.expect("an ambiguous write has a suspect")
}

/// Delivers what was held and waits until nothing of the given-up connection is left. The last sign is Redis' own: the
/// connection of the abandoned command is gone from its list or idle.
async fn deliver(proxy: &Proxy) {
    proxy.release();
    eventually(Duration::from_secs(5), async || proxy.requests_waiting() == 0).await;
}

#[tokio::test]
async fn a_read_back_after_a_fence_is_never_contradicted_by_delayed_bytes() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let gateway = gateway(&redis, proxy.address());
    read(&gateway).await;
    for trial in 0..TRIALS {
        proxy.only(&["INCR"]);
        proxy.hold_requests();
        let suspect = abandon(&gateway).await;
        gateway.fence(&suspect, soon()).await.expect("the fence stands");
        let read_back = read(&gateway).await;
        deliver(&proxy).await;
        // One more round trip through Redis: whatever was delivered before it has been worked off.
        redis.command(&["PING"]).await;
        assert_eq!(in_redis(&redis).await, read_back, "trial {trial}: the abandoned command ran after the read-back");
    }
}

#[tokio::test]
async fn without_the_fence_delayed_bytes_contradict_the_read_back() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 5);
    let gateway = gateway(&redis, proxy.address());
    read(&gateway).await;
    let mut contradicted = 0;
    for _ in 0..20 {
        proxy.only(&["INCR"]);
        proxy.hold_requests();
        let _ = abandon(&gateway).await;
        let read_back = in_redis(&redis).await;
        proxy.release();
        let ran =
            crate::harness::eventually_within(Duration::from_millis(500), async || in_redis(&redis).await != read_back)
                .await;
        contradicted += i32::from(ran.is_some());
    }
    assert!(contradicted > 0, "this test must be able to fail, else the one above proves nothing");
}

/// Where many share few connections, the one a fence is put up over is often lost with a neighbour's reply.
#[tokio::test]
async fn a_fence_that_is_lost_with_its_connection_is_put_up_again() {
    const WRITERS: usize = 32;
    const WRITES: usize = 40;
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 6);
    let backoff = Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(5) };
    // A lost connection takes up to sixteen calls along, and each of them tries again: more retries than calls could pay for at
    // one each.
    let patient = Settings {
        acquire_timeout: Duration::from_secs(5),
        attempt_timeout: Duration::from_secs(5),
        retry: RetryPolicy { attempts: 1000, backoff },
        budget_ratio: 1_000.0,
        budget_tokens: 1_000_000,
        ..settings()
    };
    let gateway = gateway_with(patient, &redis, proxy.address());
    read(&gateway).await;
    proxy.only(&["SET"]);
    proxy.lose_connection_instead_of_reply(0.05);
    let gateway = &gateway;
    let writers = (0..WRITERS).map(async |writer| {
        let key = format!("key-{writer}");
        for write in 0..WRITES {
            let value = write.to_string();
            let set = Command::of(&[b"SET", key.as_bytes(), value.as_bytes()]);
            let deadline = Deadline::after(clock::now(), Duration::from_secs(30));
            let answer = gateway.run(&set, deadline).await;
            assert!(matches!(&answer, Ok(answer) if answer.reply == Reply::Okay), "{key} {value}: {answer:?}");
        }
    });
    futures_util::future::join_all(writers).await;
    assert!(proxy.injected().replies_lost > 20, "{:?}", proxy.injected());
}

#[tokio::test]
async fn a_read_back_after_a_fence_is_never_contradicted_by_a_frozen_server() {
    let redis = Redis::start(Options::default()).await;
    let gateway = gateway(&redis, redis.address());
    read(&gateway).await;
    for trial in 0..TRIALS {
        redis.freeze();
        let suspect = abandon(&gateway).await;
        // The fence is asked for while the server still sleeps, as it is in life.
        let fence = gateway.fence(&suspect, soon());
        tokio::pin!(fence);
        let early = tokio::time::timeout(Duration::from_millis(5), &mut fence).await;
        assert!(early.is_err(), "trial {trial}: a frozen server answered");
        redis.thaw();
        fence.await.expect("the fence stands");
        let read_back = read(&gateway).await;
        redis.command(&["PING"]).await;
        assert_eq!(in_redis(&redis).await, read_back, "trial {trial}: the abandoned command ran after the read-back");
    }
}

#[tokio::test]
async fn a_restarted_server_needs_no_fence_and_no_stranger_is_killed() {
    let redis = Redis::start(Options::default().durable()).await;
    let proxy = Proxy::in_front_of(&redis, 9);
    let gateway = gateway(&redis, proxy.address());
    read(&gateway).await;
    redis.freeze();
    let suspect = abandon(&gateway).await;
    redis.kill9();
    redis.restart().await;
    // Client ids start again: strangers now hold the ids of our former connections.
    let mut strangers = Vec::new();
    for _ in 0..10 {
        strangers.push(redis.connect().await);
    }
    // What is said over a connection of the former life hits nobody, and is not what this is about.
    eventually(Duration::from_secs(5), async || proxy.connections_open() == 0).await;
    proxy.reset_counts();
    eventually(Duration::from_secs(5), async || gateway.fence(&suspect, soon()).await.is_ok()).await;
    let killed: Vec<_> =
        proxy.history().into_iter().filter(|(_, command)| command.starts_with("CLIENT KILL")).collect();
    assert!(killed.is_empty(), "an id of a former life was killed: {killed:?}");
    for stranger in &mut strangers {
        assert_eq!(
            stranger.command(&["PING"]).await.expect("still connected"),
            crate::harness::Reply::Status("PONG".into())
        );
    }
}

#[tokio::test]
async fn without_info_a_fence_is_refused_rather_than_risk_a_stranger() {
    let redis = Redis::start(Options::default().durable()).await;
    redis.command(&["ACL", "SETUSER", redis.user(), "-info"]).await;
    let proxy = Proxy::in_front_of(&redis, 10);
    let gateway = gateway(&redis, proxy.address());
    read(&gateway).await;
    redis.freeze();
    let suspect = abandon(&gateway).await;
    redis.kill9();
    redis.restart().await;
    redis.command(&["ACL", "SETUSER", redis.user(), "-info"]).await;
    proxy.reset_counts();
    // Two lives of the server look alike now: the id may be a stranger's, so the write stays unknown.
    let refused = gateway.fence(&suspect, soon()).await.expect_err("no fence can stand");
    assert_eq!(refused.outcome, Outcome::Unknown);
    let killed = proxy.history().into_iter().any(|(_, command)| command.starts_with("CLIENT KILL"));
    assert!(!killed, "an id that may be a stranger's was killed");
}
