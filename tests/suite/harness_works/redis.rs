//! A real Redis can be frozen, killed, restarted, and leaves nothing behind.

use crate::harness::{Connection, Options, Redis, Reply};

use super::A_WHILE;

#[tokio::test]
async fn a_redis_answers_on_its_port_and_on_its_unix_socket() {
    let redis = Redis::start(Options::default()).await;
    assert_eq!(redis.command(&["SET", "k", "v"]).await, "OK");
    let mut socket = Connection::unix(&redis.socket()).await.expect("the unix socket");
    assert_eq!(socket.command(&["GET", "k"]).await.expect("a reply"), "v");
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    assert_eq!(redis.info("server").await["process_id"], redis.pid().to_string());
    assert!(redis.log().contains("Ready to accept connections"));
}

#[tokio::test]
async fn every_kind_of_reply_is_understood() {
    let redis = Redis::start(Options::default()).await;
    assert_eq!(redis.command(&["INCR", "n"]).await, 1);
    assert_eq!(redis.command(&["GET", "n"]).await.integer(), 1);
    assert!(redis.command(&["GET", "nothing"]).await.is_nil());
    assert!(redis.command(&["LPUSH", "n", "x"]).await.is_error());
    let binary = [0_u8, 13, 10, 255];
    assert_eq!(redis.command(&[b"SET".as_slice(), b"b", &binary]).await, "OK");
    assert_eq!(redis.command(&["GET", "b"]).await, Reply::Bulk(binary.to_vec()));
    let nested = redis.command(&["EVAL", "return {1,{'a',false}}", "0"]).await;
    assert_eq!(nested.items()[1].items(), [Reply::Bulk(b"a".to_vec()), Reply::Nil]);
    let large = vec![b'x'; 3 << 20];
    redis.command(&[b"SET".as_slice(), b"large", &large]).await;
    assert_eq!(redis.command(&["GET", "large"]).await, Reply::Bulk(large));
}

#[tokio::test]
async fn a_password_keeps_strangers_out_and_lets_us_in() {
    let redis = Redis::start(Options::default().password("secret")).await;
    assert_eq!(redis.command(&["PING"]).await, "PONG");
    assert_eq!(redis.url(), format!("redis://:secret@127.0.0.1:{}", redis.port()));
    let mut stranger = Connection::tcp(redis.address()).await.expect("a connection");
    let refusal = stranger.command(&["PING"]).await.expect("a reply");
    assert!(refusal.to_string().starts_with("NOAUTH"), "{refusal}");
}

#[tokio::test]
async fn a_frozen_redis_accepts_and_answers_only_when_thawed() {
    let redis = Redis::start(Options::default()).await;
    redis.freeze();
    let mut connection = redis.connect().await;
    connection.send(&["INCR", "n"]).await.expect("sent");
    assert!(tokio::time::timeout(A_WHILE, connection.reply()).await.is_err());
    redis.thaw();
    assert_eq!(connection.reply().await.expect("a reply"), 1);
}

#[tokio::test]
async fn a_durable_redis_keeps_acknowledged_writes_over_kill_9() {
    let redis = Redis::start(Options::default().durable().password("p")).await;
    let (port, pid) = (redis.port(), redis.pid());
    for _ in 0..20 {
        redis.command(&["INCR", "n"]).await;
    }
    redis.kill9();
    assert!(redis.try_command(&["GET", "n"]).await.is_err());
    redis.restart().await;
    assert_eq!(redis.command(&["GET", "n"]).await, "20");
    assert_eq!(redis.port(), port);
    assert_ne!(redis.pid(), pid);
}

#[tokio::test]
async fn a_frozen_redis_can_be_restarted_and_forgets_without_durability() {
    let redis = Redis::start(Options::default().set("maxmemory", "50mb")).await;
    redis.command(&["SET", "k", "v"]).await;
    redis.freeze();
    redis.restart().await;
    assert!(redis.command(&["GET", "k"]).await.is_nil());
    assert_eq!(redis.info("memory").await["maxmemory_human"], "50.00M");
}

#[tokio::test]
async fn two_at_a_time_share_nothing() {
    let (one, two) = tokio::join!(Redis::start(Options::default()), Redis::start(Options::default()));
    one.command(&["SET", "k", "one"]).await;
    assert!(two.command(&["GET", "k"]).await.is_nil());
    assert_ne!(one.port(), two.port());
}

#[tokio::test]
async fn dropping_ends_a_frozen_process_and_removes_its_directory() {
    let redis = Redis::start(Options::default()).await;
    let (pid, socket) = (redis.pid(), redis.socket());
    redis.freeze();
    drop(redis);
    assert!(!std::fs::exists(format!("/proc/{pid}")).expect("/proc"));
    assert!(!socket.parent().expect("a directory").exists());
}
