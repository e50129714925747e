//! Each fault happens when it is asked for, to whom, and never otherwise.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::proxy::PROBE;
use crate::harness::resp::encode;
use crate::harness::{Connection, Options, Proxy, Redis, Reply, eventually, eventually_within};

use super::{A_WHILE, SOON};

async fn redis_and_proxy() -> (Redis, Proxy) {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 42);
    (redis, proxy)
}

async fn through(proxy: &Proxy) -> Connection {
    Connection::tcp(proxy.address()).await.expect("a connection to the proxy")
}

async fn silent(connection: &mut Connection) -> bool {
    tokio::time::timeout(A_WHILE, connection.reply()).await.is_err()
}

/// Whether the other side has closed.
async fn closed(connection: &mut Connection) -> bool {
    connection.reply().await.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    })
}

async fn value(redis: &Redis, key: &str) -> i64 {
    match redis.command(&["GET", key]).await {
        Reply::Nil => 0,
        reply => reply.integer(),
    }
}

#[tokio::test]
async fn a_healthy_proxy_changes_nothing_and_counts() {
    let (_redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    connection.command(&["CLIENT", "ID"]).await.expect("a reply");
    assert_eq!(connection.command(&["set", "k", "v"]).await.expect("a reply"), "OK");
    assert_eq!(connection.command(&["GET", "k"]).await.expect("a reply"), "v");
    connection.command(&["SET", "collective:probe:a", "1"]).await.expect("a reply");
    assert_eq!(proxy.count("SET"), 1);
    assert_eq!(proxy.count("get"), 1);
    assert_eq!(proxy.count(PROBE), 1);
    assert_eq!(proxy.total(), 2);
    assert_eq!(proxy.total_except(&["GET"]), 3);
    let lines: Vec<String> = proxy.history().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["CLIENT ID", "SET k", "GET k", "SET collective:probe:a"]);
    assert_eq!(proxy.connections_accepted(), 1);
    assert_eq!(proxy.connections_open(), 1);
    proxy.reset_counts();
    assert_eq!(proxy.total_except(&[]), 0);
    drop(connection);
    eventually(SOON, async || proxy.connections_open() == 0).await;
}

#[tokio::test]
async fn large_values_and_deep_pipelines_pass_unchanged() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    connection.command(&[b"SET".as_slice(), b"large", &large]).await.expect("a reply");
    let back = connection.command(&["GET", "large"]).await.expect("a reply");
    assert!(back == Reply::Bulk(large));
    for _ in 0..20 {
        connection.send_bytes(&encode(&["INCR", "n"]).repeat(100)).await.expect("sent");
    }
    for n in 1..=2000 {
        assert_eq!(connection.reply().await.expect("a reply"), n);
    }
    assert_eq!(value(&redis, "n").await, 2000);
    assert_eq!(proxy.count("INCR"), 2000);
}

#[tokio::test]
async fn a_request_in_single_bytes_passes_and_counts_once() {
    let (_redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    for byte in encode(&["INCR", "n"]) {
        connection.send_bytes(&[byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.reply().await.expect("a reply"), 1);
    assert_eq!(proxy.count("INCR"), 1);
}

#[tokio::test]
async fn a_reply_that_is_to_pass_is_forwarded_before_it_is_whole() {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let proxy = Proxy::start(server.local_addr().expect("an address"), 1);
    let mut client = TcpStream::connect(proxy.address()).await.expect("a connection");
    let (mut upstream, _) = server.accept().await.expect("the proxy connects");
    client.write_all(&encode(&["GET", "k"])).await.expect("sent");
    upstream.write_all(b"$10\r\nhalf").await.expect("sent");
    let mut start = [0; 9];
    client.read_exact(&mut start).await.expect("the first half");
    assert_eq!(&start, b"$10\r\nhalf");
}

#[tokio::test]
async fn other_protocols_pass_untouched() {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let proxy = Proxy::start(server.local_addr().expect("an address"), 1);
    let mut client = TcpStream::connect(proxy.address()).await.expect("a connection");
    let (mut upstream, _) = server.accept().await.expect("the proxy connects");
    let mut five = [0; 5];
    client.write_all(b"\x16\x03\x01ab").await.expect("sent");
    upstream.read_exact(&mut five).await.expect("to the server");
    assert_eq!(&five, b"\x16\x03\x01ab");
    upstream.write_all(b"\x17\x03\x01cd").await.expect("sent");
    client.read_exact(&mut five).await.expect("to the client");
    assert_eq!(&five, b"\x17\x03\x01cd");
}

#[tokio::test]
async fn refusing_refuses_new_connections_and_accepts_again_on_the_same_port() {
    let (_redis, proxy) = redis_and_proxy().await;
    let mut before = through(&proxy).await;
    for _ in 0..3 {
        proxy.refuse();
        let refused = Connection::tcp(proxy.address()).await.err().expect("refused");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(before.command(&["PING"]).await.expect("a reply"), "PONG");
        proxy.accept();
        assert_eq!(through(&proxy).await.command(&["PING"]).await.expect("a reply"), "PONG");
    }
}

#[tokio::test]
async fn cutting_closes_everything_at_once_on_both_sides() {
    let (redis, proxy) = redis_and_proxy().await;
    let (mut one, mut two) = (through(&proxy).await, through(&proxy).await);
    one.command(&["PING"]).await.expect("a reply");
    two.command(&["PING"]).await.expect("a reply");
    proxy.cut();
    assert_eq!(proxy.connections_open(), 0);
    assert!(closed(&mut one).await && closed(&mut two).await);
    eventually(SOON, async || redis.info("clients").await["connected_clients"] == "1").await;
    assert_eq!(through(&proxy).await.command(&["PING"]).await.expect("a reply"), "PONG");
}

#[tokio::test]
async fn a_frozen_network_delivers_everything_when_thawed() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    connection.command(&["PING"]).await.expect("a reply");
    proxy.freeze();
    connection.send(&["INCR", "n"]).await.expect("sent");
    let mut newcomer = through(&proxy).await;
    newcomer.send(&["INCR", "n"]).await.expect("sent");
    assert!(silent(&mut connection).await);
    assert!(silent(&mut newcomer).await);
    assert_eq!(value(&redis, "n").await, 0);
    proxy.thaw();
    connection.reply().await.expect("a reply");
    newcomer.reply().await.expect("a reply");
    assert_eq!(value(&redis, "n").await, 2);
}

#[tokio::test]
async fn a_delay_adds_to_each_way_and_keeps_the_rate() {
    let (_redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    connection.command(&["PING"]).await.expect("a reply");
    proxy.delay(Duration::from_millis(50));
    let start = Instant::now();
    for _ in 0..50 {
        connection.send(&["PING"]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    for _ in 0..50 {
        connection.reply().await.expect("a reply");
    }
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(100), "{elapsed:?}");
    // One after the other they would take five seconds.
    assert!(elapsed < Duration::from_millis(4900), "{elapsed:?}");
    proxy.heal();
    eventually(SOON, async || {
        let start = Instant::now();
        connection.command(&["PING"]).await.expect("a reply");
        start.elapsed() < Duration::from_millis(100)
    })
    .await;
}

#[tokio::test]
async fn a_black_hole_swallows_and_closes_whom_it_robbed() {
    let (redis, proxy) = redis_and_proxy().await;
    let (mut robbed, mut idle) = (through(&proxy).await, through(&proxy).await);
    robbed.command(&["PING"]).await.expect("a reply");
    idle.command(&["PING"]).await.expect("a reply");
    proxy.black_hole();
    robbed.send(&["INCR", "n"]).await.expect("sent");
    let mut newcomer = through(&proxy).await;
    newcomer.send(&["INCR", "n"]).await.expect("sent");
    assert!(silent(&mut robbed).await);
    // Swallowed, and not only sent: what the proxy sees after the end of the hole passes.
    eventually(SOON, async || proxy.injected().swallowed == 1).await;
    proxy.heal();
    assert!(closed(&mut robbed).await && closed(&mut newcomer).await);
    assert_eq!(idle.command(&["INCR", "n"]).await.expect("a reply"), 1);
    assert_eq!(value(&redis, "n").await, 1);
}

#[tokio::test]
async fn a_lost_reply_costs_the_connection_and_the_command_has_run() {
    let (redis, proxy) = redis_and_proxy().await;
    proxy.lose_connection_instead_of_reply(1.0);
    let mut connection = through(&proxy).await;
    connection.command(&["CLIENT", "ID"]).await.expect("handshakes are spared");
    connection.command(&["GET", "collective:probe:a"]).await.expect("probes are spared");
    connection.send(&["INCR", "n"]).await.expect("sent");
    assert!(closed(&mut connection).await);
    assert!(connection.leftover().is_empty());
    eventually(SOON, async || value(&redis, "n").await == 1).await;
    assert_eq!(proxy.injected().replies_lost, 1);
    proxy.heal();
    assert_eq!(through(&proxy).await.command(&["INCR", "n"]).await.expect("a reply"), 2);
}

#[tokio::test]
async fn the_next_reply_can_be_lost_and_no_other() {
    let (_redis, proxy) = redis_and_proxy().await;
    proxy.only(&["INCR"]);
    proxy.lose_connection_instead_of_next_reply();
    let mut connection = through(&proxy).await;
    assert_eq!(connection.command(&["PING"]).await.expect("not chosen"), "PONG");
    connection.send(&["INCR", "n"]).await.expect("sent");
    assert!(closed(&mut connection).await);
    let mut connection = through(&proxy).await;
    assert_eq!(connection.command(&["INCR", "n"]).await.expect("a reply"), 2);
    proxy.lose_connection_instead_of_next_reply();
    proxy.heal();
    assert_eq!(connection.command(&["INCR", "n"]).await.expect("a reply"), 3);
    assert_eq!(proxy.injected().replies_lost, 1);
}

#[tokio::test]
async fn what_was_sent_after_a_lost_reply_runs_nevertheless() {
    let (redis, proxy) = redis_and_proxy().await;
    proxy.only(&["APPEND"]);
    proxy.lose_connection_instead_of_reply(1.0);
    let mut connection = through(&proxy).await;
    let batch = [encode(&["INCR", "n"]), encode(&["APPEND", "a", "x"]), encode(&["INCR", "n"])];
    connection.send_bytes(&batch.concat()).await.expect("sent");
    assert_eq!(connection.reply().await.expect("the reply before the lost one"), 1);
    assert!(closed(&mut connection).await);
    eventually(SOON, async || value(&redis, "n").await == 2).await;
}

#[tokio::test]
async fn with_ten_percent_of_replies_lost_executed_is_answered_plus_lost() {
    let (redis, proxy) = redis_and_proxy().await;
    proxy.lose_connection_instead_of_reply(0.1);
    let (mut answered, mut connection) = (0, through(&proxy).await);
    for _ in 0..1000 {
        match connection.command(&["INCR", "n"]).await {
            Ok(_) => answered += 1,
            Err(_) => connection = through(&proxy).await,
        }
    }
    let lost = proxy.injected().replies_lost;
    assert!((50..200).contains(&lost), "{lost}");
    assert_eq!(answered + lost, 1000);
    assert_eq!(proxy.count("INCR"), 1000);
    assert_eq!(proxy.connections_accepted(), lost + 1);
    eventually(SOON, async || value(&redis, "n").await == 1000).await;
}

#[tokio::test]
async fn the_same_seed_strikes_the_same_calls() {
    let redis = Redis::start(Options::default()).await;
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let proxy = Proxy::in_front_of(&redis, seed);
        proxy.lose_connection_instead_of_reply(0.3);
        let (mut struck, mut connection) = (Vec::new(), through(&proxy).await);
        for call in 0..40 {
            if connection.command(&["PING"]).await.is_err() {
                struck.push(call);
                connection = through(&proxy).await;
            }
        }
        runs.push(struck);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn a_lost_request_never_reaches_redis_but_those_before_it_do() {
    let (redis, proxy) = redis_and_proxy().await;
    proxy.only(&["append"]);
    proxy.lose_connection_instead_of_request(1.0);
    let mut connection = through(&proxy).await;
    let batch = [encode(&["INCR", "n"]), encode(&["APPEND", "a", "x"]), encode(&["INCR", "n"])];
    connection.send_bytes(&batch.concat()).await.expect("sent");
    while connection.reply().await.is_ok() {}
    eventually(SOON, async || value(&redis, "n").await == 1).await;
    eventually(SOON, async || proxy.connections_open() == 0).await;
    assert!(redis.command(&["GET", "a"]).await.is_nil());
    assert_eq!(value(&redis, "n").await, 1);
    assert_eq!((proxy.count("APPEND"), proxy.injected().requests_lost), (0, 1));
}

#[tokio::test]
async fn half_a_frame_is_half_a_frame() {
    let (_redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    connection.command(&["SET", "k", "0123456789"]).await.expect("a reply");
    proxy.half_a_frame(1.0);
    connection.send(&["GET", "k"]).await.expect("sent");
    assert!(closed(&mut connection).await);
    assert_eq!(connection.leftover(), b"$10\r\n012");
    assert_eq!(proxy.injected().halves, 1);
}

#[tokio::test]
async fn a_held_request_runs_after_its_client_has_long_left() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut given_up = through(&proxy).await;
    given_up.command(&["PING"]).await.expect("a reply");
    proxy.hold_requests();
    given_up.send(&["SET", "k", "abandoned"]).await.expect("sent");
    eventually(SOON, async || proxy.requests_waiting() == 1).await;
    drop(given_up);
    let mut newcomer = through(&proxy).await;
    assert!(newcomer.command(&["GET", "k"]).await.expect("new connections work").is_nil());
    assert!(eventually_within(A_WHILE, async || proxy.connections_open() < 2).await.is_none());
    proxy.release();
    eventually(SOON, async || redis.command(&["GET", "k"]).await == "abandoned").await;
    eventually(SOON, async || proxy.connections_open() == 1).await;
    assert_eq!(proxy.requests_waiting(), 0);
}

#[tokio::test]
async fn a_fence_before_the_release_keeps_the_held_request_out() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut given_up = through(&proxy).await;
    let id = given_up.command(&["CLIENT", "ID"]).await.expect("a reply").to_string();
    proxy.hold_requests();
    given_up.send(&["SET", "k", "abandoned"]).await.expect("sent");
    eventually(SOON, async || proxy.requests_waiting() == 1).await;
    drop(given_up);
    let mut replacement = through(&proxy).await;
    let killed = replacement.command(&["CLIENT", "KILL", "ID", &id]).await.expect("a reply");
    assert_eq!(killed, 1);
    proxy.release();
    eventually(SOON, async || proxy.connections_open() == 1).await;
    assert!(redis.command(&["GET", "k"]).await.is_nil());
}

#[tokio::test]
async fn a_hold_of_everyone_spares_handshakes_and_probes_until_something_is_held_before() {
    let (_redis, proxy) = redis_and_proxy().await;
    proxy.hold_requests_of_everyone();
    let mut connection = through(&proxy).await;
    connection.command(&["CLIENT", "ID"]).await.expect("handshakes pass");
    connection.command(&["GET", "collective:probe:a"]).await.expect("probes pass");
    connection.send(&["PING"]).await.expect("sent");
    connection.send(&["CLIENT", "ID"]).await.expect("sent");
    assert!(silent(&mut connection).await);
    proxy.heal();
    assert_eq!(connection.reply().await.expect("a reply"), "PONG");
    connection.reply().await.expect("in order");
}

#[tokio::test]
async fn held_replies_come_late_and_in_order() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    connection.command(&["PING"]).await.expect("a reply");
    proxy.hold_replies();
    connection.send(&["INCR", "n"]).await.expect("sent");
    connection.send(&["INCR", "n"]).await.expect("sent");
    eventually(SOON, async || value(&redis, "n").await == 2).await;
    assert!(silent(&mut connection).await);
    proxy.release();
    assert_eq!(connection.reply().await.expect("a reply"), 1);
    assert_eq!(connection.reply().await.expect("a reply"), 2);
}

#[tokio::test]
async fn cutting_loses_what_was_held() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    proxy.hold_requests();
    connection.send(&["INCR", "n"]).await.expect("sent");
    eventually(SOON, async || proxy.requests_waiting() == 1).await;
    proxy.cut();
    assert_eq!(proxy.requests_waiting(), 0);
    proxy.release();
    assert!(closed(&mut connection).await);
    assert_eq!(value(&redis, "n").await, 0);
}

#[tokio::test]
async fn the_choice_of_commands_can_be_narrowed_and_widened() {
    let (_redis, proxy) = redis_and_proxy().await;
    proxy.lose_connection_instead_of_reply(1.0);
    proxy.only(&["INCR"]);
    let mut connection = through(&proxy).await;
    assert_eq!(connection.command(&["PING"]).await.expect("not chosen"), "PONG");
    proxy.every_command();
    proxy.spare(&["PING"]);
    assert_eq!(connection.command(&["PING"]).await.expect("spared"), "PONG");
    connection.command(&["GET", "collective:probe:a"]).await.expect("spared");
    proxy.do_not_spare_probes();
    assert!(connection.command(&["GET", "collective:probe:a"]).await.is_err());
    assert!(through(&proxy).await.command(&["CLIENT", "ID"]).await.is_err());
}

#[tokio::test]
async fn the_end_of_redis_is_passed_on() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    connection.command(&["PING"]).await.expect("a reply");
    redis.kill9();
    assert!(closed(&mut connection).await);
    // Accepted and closed at once: the proxy has nobody behind it.
    assert!(through(&proxy).await.command(&["PING"]).await.is_err());
    redis.restart().await;
    assert_eq!(through(&proxy).await.command(&["PING"]).await.expect("a reply"), "PONG");
    eventually(SOON, async || proxy.connections_open() == 0).await;
}

#[tokio::test]
async fn a_busy_test_does_not_slow_the_network() {
    let (redis, proxy) = redis_and_proxy().await;
    let mut connection = through(&proxy).await;
    connection.send(&["INCR", "n"]).await.expect("sent");
    // Blocks this test's only thread on purpose; the proxy has its own.
    let start = Instant::now();
    while proxy.count("INCR") == 0 {
        assert!(start.elapsed() < SOON);
        std::thread::yield_now();
    }
    // It is counted when it is about to leave; Redis may hear our question first.
    eventually(SOON, async || value(&redis, "n").await == 1).await;
}
