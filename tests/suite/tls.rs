//! Redis within TLS: what works, what is refused and with which reason, and that faults are those of a plain connection.
//!
//! Limits: the server is OpenSSL behind Redis; which alert it sends for a certificate it dislikes is its own choice.

use std::time::Duration;

use serde_json::json;

use crate::harness::app::Builder;
use crate::harness::{App, Authority, Client, Options, Proxy, Redis, eventually};
use crate::keys::{patient, unhurried};

/// For anything that should take milliseconds.
const SOON: Duration = Duration::from_secs(10);
/// The name in the certificates of the servers here.
const NAME: &str = "localhost";

/// A Redis within TLS whose certificate is good, and who signed it.
async fn redis() -> (Redis, Authority) {
    let authority = Authority::new();
    let options = Options::default().tls(&authority.server(NAME), &authority.file());
    (Redis::start(options).await, authority)
}

/// A program that trusts this authority.
fn app(redis: &Redis, authority: &Authority) -> Builder {
    patient(&redis.tls_url(NAME)).set("redis.tls.ca_file", authority.file().display())
}

/// Waits for this reason in `/status`, and checks that the service lives, refuses honestly, and has told the log once.
async fn refused_because(app: &App, reason: &str) {
    let client = app.client();
    eventually(SOON, async || client.status().await["redis"]["last_error"] == reason).await;
    let answer = client.put_key("k", "v").await;
    assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
    client.until_both_lanes_refuse().await;
    assert_eq!(client.probe("/readyz").await.status, 200);
    // The state is told before its line is written.
    eventually(SOON, async || app.stderr().contains(reason)).await;
    let log = app.stderr();
    let failures = log.lines().filter(|line| line.contains("cannot connect to Redis") || line.contains(reason));
    let told: Vec<bool> = failures.map(|line| line.contains(reason)).collect();
    // Once, and again only after another: a handshake on a busy machine may be too late for the limit of a probe.
    let repeated = told.windows(2).any(|pair| pair == [true, true]);
    assert!(told.contains(&true) && !repeated, "once in the log: {log}");
    assert!(!app.log().contains("a-password-9f27c"));
}

async fn serves(client: &Client) {
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
}

#[tokio::test]
async fn both_dialects_and_subscriptions_work_over_tls() {
    let (redis, authority) = redis().await;
    let app = patient(&redis.tls_url(NAME)).set("redis.tls.ca_file", authority.file().display()).start().await;
    let client = app.client();
    assert_eq!(client.put_key("k", "v").await.status, 201);
    assert_eq!(client.get_key("k").await.text(), "v");
    assert_eq!(client.increment("n", 5).await.json(), json!({"value": 5}));
    assert_eq!(client.post_command(&["GET", "n"]).await.result(), json!("5"));
    let large = "x".repeat(3 << 20);
    assert_eq!(client.post_command(&["SET", "large", &large]).await.status, 200);
    assert_eq!(client.get_key("large").await.text(), large);
    assert_eq!(client.pipeline(&[&["INCR", "n"], &["GET", "k"]]).await.status, 200);
    assert_eq!(client.multi_exec(&[&["INCR", "n"], &["INCR", "n"]]).await.status, 200);

    let mut stream = client.subscribe("chat").await;
    stream.expect("data: subscribe,chat,1").await;
    redis.command(&["PUBLISH", "chat", "over TLS"]).await;
    stream.expect("data: message,chat,over TLS").await;

    eventually(SOON, async || client.status().await["status"] == "pass").await;
    let clients = redis.command(&["CLIENT", "LIST", "TYPE", "normal"]).await.to_string();
    let plain = clients.lines().filter(|line| !line.contains(&format!("laddr={}", redis.tls_address())));
    assert_eq!(plain.count(), 1, "only the test itself speaks in the clear: {clients}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (redis, _) = redis().await;
    let app = app(&redis, &Authority::new()).start().await;
    refused_because(&app, "TLS: the certificate of Redis is not from a trusted CA (redis.tls.ca_file)").await;
}

#[tokio::test]
async fn without_a_ca_file_the_authorities_of_the_system_are_asked() {
    let (redis, _) = redis().await;
    let app = App::with_redis(&redis.tls_url(NAME)).start().await;
    refused_because(&app, "TLS: the certificate of Redis is not from a trusted CA (redis.tls.ca_file)").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (redis, authority) = redis().await;
    let url = redis.tls_url("127.0.0.1");
    let app = App::with_redis(&url).set("redis.tls.ca_file", authority.file().display()).start().await;
    refused_because(&app, "TLS: the certificate of Redis does not bear the host name in redis.url").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let options = Options::default().tls(&authority.expired_server(NAME), &authority.file());
    let redis = Redis::start(options.password("a-password-9f27c")).await;
    let app = app(&redis, &authority).start().await;
    refused_because(&app, "TLS: the certificate of Redis has expired").await;
}

/// A Redis that lets in only clients with a certificate of `clients`.
async fn strict_redis(authority: &Authority, clients: &Authority, protocols: &str) -> Redis {
    let options = Options::default().tls(&authority.server(NAME), &authority.file()).clients_from(&clients.file());
    Redis::start(options.set("tls-protocols", protocols)).await
}

#[tokio::test]
async fn a_client_certificate_opens_a_redis_that_demands_one() {
    let authority = Authority::new();
    let redis = strict_redis(&authority, &authority, "TLSv1.2 TLSv1.3").await;
    let own = authority.client();
    let app = app(&redis, &authority)
        .set("redis.tls.cert_file", own.certificate.display())
        .set("redis.tls.key_file", own.key.display())
        .start()
        .await;
    serves(&app.client()).await;
    let mut stream = app.client().subscribe("chat").await;
    stream.expect("data: subscribe,chat,1").await;
}

#[tokio::test]
async fn a_missing_client_certificate_is_refused_with_the_reason() {
    let authority = Authority::new();
    let redis = strict_redis(&authority, &authority, "TLSv1.3").await;
    let app = app(&redis, &authority).start().await;
    refused_because(&app, "TLS: Redis wants a client certificate (redis.tls.cert_file)").await;
}

#[tokio::test]
async fn a_missing_client_certificate_is_refused_by_tls_1_2_too() {
    let authority = Authority::new();
    let redis = strict_redis(&authority, &authority, "TLSv1.2").await;
    let app = app(&redis, &authority).start().await;
    let reason = "TLS: Redis refuses the handshake: no common version or cipher, or it misses a client certificate";
    refused_because(&app, reason).await;
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused_with_the_reason() {
    let authority = Authority::new();
    let redis = strict_redis(&authority, &authority, "TLSv1.3").await;
    let stranger = Authority::new();
    let own = stranger.client();
    let app = app(&redis, &authority)
        .set("redis.tls.cert_file", own.certificate.display())
        .set("redis.tls.key_file", own.key.display())
        .start()
        .await;
    refused_because(&app, "TLS: Redis refuses our client certificate (redis.tls.cert_file)").await;
}

#[tokio::test]
async fn a_renewed_file_needs_no_restart() {
    let (redis, authority) = redis().await;
    let trusted = tempfile::NamedTempFile::new().expect("a file");
    std::fs::copy(Authority::new().file(), trusted.path()).expect("a copy");
    let app = App::with_redis(&redis.tls_url(NAME)).set("redis.tls.ca_file", trusted.path().display()).start().await;
    refused_because(&app, "TLS: the certificate of Redis is not from a trusted CA (redis.tls.ca_file)").await;
    std::fs::copy(authority.file(), trusted.path()).expect("a copy");
    serves(&app.client()).await;
}

#[tokio::test]
async fn freezes_cuts_and_kills_within_tls_are_those_of_a_plain_connection() {
    let (redis, authority) = redis().await;
    let proxy = Proxy::start(redis.tls_address(), 1);
    let url = redis.tls_url(NAME).replace(&redis.tls_address().port().to_string(), &proxy.address().port().to_string());
    let builder = App::with_redis(&url).set("redis.tls.ca_file", authority.file().display());
    let app = unhurried(builder).start().await;
    let client = app.client();
    serves(&client).await;

    redis.freeze();
    let lost = client.post_command(&["INCR", "n"]).await;
    // Or the heartbeat was first to notice, and it was never sent.
    let unsent = (lost.status, lost.outcome()) == (503, "not_executed");
    assert!(unsent || (lost.status, lost.outcome()) == (504, "unknown"), "{}", lost.text());
    client.until_both_lanes_refuse().await;
    let refused = client.get_key("k").await;
    assert_eq!((refused.status, refused.outcome()), (503, "not_executed"), "{}", refused.text());
    redis.thaw();
    client.until_both_lanes_serve().await;
    assert_eq!(client.get_key("k").await.status, 200);
    let applied = redis.command(&["GET", "n"]).await;
    assert!(applied.is_nil() || (applied == "1" && !unsent), "unknown is never twice: {applied}");

    proxy.cut();
    let after = client.get_key("k").await;
    assert_eq!(after.status, 200, "a read outlives a cut: {}", after.text());

    redis.kill9();
    client.until_both_lanes_refuse().await;
    assert_eq!(client.get_key("k").await.status, 503);
    redis.restart().await;
    client.until_both_lanes_serve().await;
    assert!(client.put_key("k", "again").await.is_success());
    assert_eq!(app.stop().await.code(), Some(0));
}
