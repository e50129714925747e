//! The verb `redis-acl`: what it prints is what Redis takes, lets the service in, and is a second wall behind the gateway's own.
//!
//! Limits: that the list is *enough* for everything the service does is what `make test-acl` shows, with the whole suite.

use std::time::Duration;

use serde_json::json;

use crate::harness::{App, Ended, Options, Redis, Reply, eventually};
use crate::keys::{patient, unhurried};

/// For anything that should take milliseconds; an embedded Redis may take a while to start.
const SOON: Duration = Duration::from_secs(15);

const PASSWORD: &str = "Hq5Tz8RkWn2VbXc7MsLd4JgYp9FaEu3B";

/// The list for a user `gateway` of a Redis.
async fn printed(settings: &[(&str, &str)]) -> Ended {
    let start = App::with_redis("redis://127.0.0.1:1").argument("redis-acl");
    settings.iter().fold(start, |builder, (key, value)| builder.set(key, value)).run().await
}

/// Gives the users of a printed list to a running Redis, all but the default one: that is the test's own way in.
async fn install(list: &str, redis: &Redis) {
    for line in list.lines().filter(|line| !line.starts_with("user default ")) {
        let words = line.split(' ').skip(1);
        let command: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(words).collect();
        assert_eq!(redis.command(&command).await, "OK", "{line}");
    }
}

/// A Redis with the printed list, and the program signed in under it.
async fn behind_the_list() -> (Redis, App) {
    let redis = Redis::start(Options::default()).await;
    let list = printed(&[("redis.username", "gateway"), ("redis.password", PASSWORD)]).await;
    assert_eq!((list.code, list.stderr.as_str()), (Some(0), ""));
    assert!(!list.stdout.contains(PASSWORD), "only its hash leaves the configuration");
    install(&list.stdout, &redis).await;
    let app = patient(&format!("redis://{}", redis.address()))
        .set("redis.username", "gateway")
        .set("redis.password", PASSWORD)
        .start()
        .await;
    (redis, app)
}

#[tokio::test]
async fn the_service_signs_in_under_the_list_it_printed() {
    let (_redis, app) = behind_the_list().await;
    let client = app.client();
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    assert_eq!(client.post_command(&["ACL", "WHOAMI"]).await.result(), json!("gateway"));
    eventually(SOON, async || client.status().await["status"] == "pass").await;
}

#[tokio::test]
async fn redis_itself_refuses_what_is_not_in_the_list_in_scripts_too() {
    let (_redis, app) = behind_the_list().await;
    let client = app.client();
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    assert_eq!(
        client.post_command(&["EVAL", "return redis.call('GET', KEYS[1])", "1", "k"]).await.result(),
        json!("v")
    );
    for call in ["redis.call('FLUSHALL')", "redis.call('SELECT', 1)", "redis.call('REPLICAOF', 'h', '1')"] {
        let answer = client.post_command(&["EVAL", &format!("return {call}"), "0"]).await;
        assert_eq!(answer.status, 400, "{call}: {}", answer.text());
    }
    let settings = client.post_command(&["CONFIG", "GET", "dir"]).await;
    assert!(settings.text().contains("NOPERM"), "root, too: {}", settings.text());
    assert_eq!(client.get_key("k").await.text(), "v", "nothing was flushed");
}

/// Calls of a script that the catalogue lets nobody send, and what they would reach: other machines, other databases, everybody's
/// keys, the server's settings.
const OUT_OF_REACH: [&str; 9] = [
    "'MIGRATE', '127.0.0.1', '1', 'k', 0, 10",
    "'SELECT', 1",
    "'SWAPDB', 0, 1",
    "'MOVE', 'k', 1",
    "'FLUSHALL'",
    "'SLOWLOG', 'GET'",
    "'CONFIG', 'GET', 'requirepass'",
    "'ACL', 'LIST'",
    "'REPLICAOF', '127.0.0.1', '1'",
];

#[tokio::test]
async fn the_embedded_redis_refuses_what_is_not_in_the_list_in_scripts_too() {
    let app = unhurried(App::builder()).start().await;
    let client = app.client();
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    assert_eq!(
        client.post_command(&["EVAL", "return redis.call('GET', KEYS[1])", "1", "k"]).await.result(),
        json!("v")
    );
    for call in OUT_OF_REACH {
        let answer = client.post_command(&["EVAL", &format!("return redis.call({call})"), "0"]).await;
        assert_eq!(answer.status, 400, "{call}: {}", answer.text());
        let text = answer.text();
        assert!(["can't run", "not allowed from script"].iter().any(|why| text.contains(why)), "{call}: {text}");
    }
    assert_eq!(client.post_command(&["ACL", "WHOAMI"]).await.result(), json!("collective"));
    assert_eq!(client.get_key("k").await.text(), "v", "nothing was moved or flushed");
    eventually(SOON, async || client.status().await["status"] == "pass").await;
}

#[tokio::test]
async fn without_a_password_nobody_can_sign_in_and_a_warning_says_so() {
    let list = printed(&[]).await;
    assert_eq!(list.code, Some(0));
    assert!(list.stdout.contains(&format!("user collective on #{} ", "0".repeat(64))));
    assert!(list.stderr.contains("no redis.password is configured"), "{}", list.stderr);
    let redis = Redis::start(Options::default()).await;
    install(&list.stdout.replace("user collective", "user nobody"), &redis).await;
    for password in ["", "0", &"0".repeat(64)] {
        let reply = redis.command(&["AUTH", "nobody", password]).await;
        assert!(matches!(&reply, Reply::Error(text) if text.starts_with("WRONGPASS")), "{reply}");
    }
    let observer = redis.command(&["AUTH", "observer", ""]).await;
    assert!(observer.is_error(), "off until an operator switches it on: {observer}");
}

#[tokio::test]
async fn a_name_that_would_be_another_users_is_refused() {
    for name in ["default", "observer", "two words"] {
        let refused = printed(&[("redis.username", name), ("redis.password", PASSWORD)]).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(78), ""), "{name}");
        assert!(refused.stderr.starts_with("redis.username: must be one word"), "{}", refused.stderr);
    }
}
