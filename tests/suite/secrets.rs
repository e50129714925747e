//! Nothing secret or personal leaves the program but where it was meant to go.
//!
//! Every secret, every value and everything personal a caller can send is planted with a mark of its own; then every surface is
//! used, in health and in every failure, and all that the program has written or shown is searched for the marks: standard
//! output and error, `/status`, `/metrics`, the page, `check-config`, the bodies and headers of errors, the embedded server's
//! command line and environment. What must hold them, the stored data and a problem's `instance` (the caller's own path), is
//! left out; what may be in the stored data is in `stored`. Limits: a mark that is hashed or cut in two would not be found; Redis'
//! own error texts are passed on to the caller who caused them (D24), so they are searched for in the log and not in that answer.

mod stored;

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use self::stored::nothing_personal_is_stored;
use crate::harness::app::Builder;
use crate::harness::{Answer, App, Client, Ended, Options, Proxy, Redis, eventually, raw_http, raw_http_then_hang_up};

/// Begins every mark. The rest says what leaked.
const MARK: &str = "cAnArY";
/// Long and varied enough to be accepted as a token.
const TOKEN: &str = "cAnArY-root-token-8Jw2Lq5Tz7Xb9Rn4Yc";
const PASSWORD: &str = "cAnArY-redis-password-3Hd6Pf";
const ADDRESS: &str = "203.0.113.77";
/// Longest wait for the breakers to notice, and for service to return.
const SOON: Duration = Duration::from_secs(15);

/// A caller who brings everything personal he has.
fn revealing(app: &App) -> Client {
    Client::new(app.public(), app.operator())
        .token(TOKEN)
        .with_header("User-Agent", "cAnArY-user-agent")
        .with_header("Cookie", "session=cAnArY-cookie")
        .with_header("X-Forwarded-For", ADDRESS)
        .with_header("Forwarded", &format!("for={ADDRESS}"))
        .with_header("Referer", "http://example.org/?email=cAnArY@example.org")
        .with_header("Origin", "http://cAnArY-origin.example.org")
        .with_header("Upstash-Sync-Token", "cAnArY-sync-token")
        .with_header("tracestate", "vendor=cAnArY-tracestate")
        .with_header("traceparent", "00-cAnArY-trace-parent-01")
}

/// Everything a caller can be told, gathered while the scene is played.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    /// An answer that must not repeat what was sent. `instance` is the caller's own path.
    fn add(&mut self, what: &str, answer: &Answer) {
        let mut body = answer.text();
        if let Ok(Value::Object(mut document)) = serde_json::from_slice(&answer.body) {
            document.remove("instance");
            body = Value::Object(document).to_string();
        }
        self.0.push(format!("{what}: {} {:?} {body}", answer.status, answer.headers));
    }

    fn search(&self) {
        self.0.iter().for_each(|text| clean(text));
    }
}

#[track_caller]
fn clean(text: &str) {
    for mark in [MARK, ADDRESS] {
        let found = text.find(mark).map(|at| text.get(at.saturating_sub(200)..(at + 80).min(text.len())));
        assert!(found.is_none(), "{mark} leaked: …{}…", found.flatten().unwrap_or(text));
    }
}

/// Calls of every surface, well formed and not, with marks wherever a caller has a say.
async fn calls(client: &Client, told: &mut Told) {
    let body = |method: Method, path: &str, body: &str| {
        client.request(method, path).header("Content-Type", "application/json").body(body.to_owned())
    };
    let wrong = [
        (Method::PUT, "/v1/keys/cAnArY-key?ttl_seconds=cAnArY-number", "cAnArY-value"),
        (Method::PUT, "/v1/keys/cAnArY-key?cAnArY-parameter=1", "cAnArY-value"),
        (Method::PUT, "/v1/keys/cAnArY-key%zz", "cAnArY-value"),
        (Method::POST, "/v1/keys/cAnArY-key", "cAnArY-value"),
        (Method::GET, "/v1/nothing/cAnArY-path?q=cAnArY-query", ""),
        (Method::POST, "/v1/counters/cAnArY-counter/increment", "{\"by\": \"cAnArY-by\"}"),
        (Method::POST, "/v1/counters/cAnArY-counter/increment", "{\"cAnArY-member\": 1}"),
        (Method::POST, "/v1/counters/cAnArY-counter/increment", "{\"by\": cAnArY-no-json"),
        (Method::POST, "/v1/counters/cAnArY-text/increment", "{\"by\": 1}"),
        (Method::POST, "/", "[\"SET\", \"cAnArY-key\", {\"cAnArY-object\": 1}]"),
        (Method::POST, "/", "{\"cAnArY-no-array\": 1}"),
        (Method::POST, "/", "[\"GET\", \"cAnArY-unfinished"),
        (Method::POST, "/pipeline", "[[\"GET\", \"cAnArY-key\"], cAnArY-no-json]"),
        (Method::POST, "/pipeline", "[[\"CONFIG\", \"GET\", \"cAnArY-setting\"], [\"GET\", null, \"cAnArY\"]]"),
        (Method::POST, "/", "[\"SUBSCRIBE\", \"cAnArY-channel\"]"),
        (Method::POST, "/", "[\"INCR\", \"cAnArY-text\"]"),
        (Method::GET, "/set/cAnArY-key/cAnArY-value?_token=cAnArY-query-token", ""),
        (Method::DELETE, "/cAnArY-path", ""),
        (Method::POST, "/v1/leases/cAnArY-lease", "{\"ttl_ms\": \"cAnArY-ttl\", \"owner\": \"cAnArY-owner\"}"),
        (Method::POST, "/v1/leases/cAnArY-lease", "{\"ttl_ms\": 1000, \"owner\": \"cAnArY\", \"cAnArY-member\": 1}"),
        (Method::POST, "/v1/leases/cAnArY-lease/renew", "{\"token\": \"cAnArY-token\", \"ttl_ms\": 1000}"),
        (Method::DELETE, "/v1/leases/cAnArY-lease?token=cAnArY-token", ""),
        (Method::POST, "/v1/limiters/cAnArY-limiter/take", "{\"capacity\": 1, \"refill\": 1, \"per\": \"cAnArY-per\"}"),
        (Method::GET, "/v1/limiters/cAnArY-limiter?capacity=cAnArY-number", ""),
        (Method::PUT, "/v1/presence/cAnArY-room/cAnArY-visitor", "{\"ttl_seconds\": \"cAnArY-ttl\"}"),
        (Method::GET, "/v1/operations/cAnArY%20key", ""),
        (Method::GET, "/v1/keys?prefix=cAnArY-prefix&cursor=cAnArY-cursor", ""),
        (Method::POST, "/multi-exec", "[[\"SET\", \"cAnArY-key\"], [\"GET\", \"cAnArY-key\"]]"),
        (Method::POST, "/multi-exec", "[[\"BLPOP\", \"cAnArY-key\", \"0\"]]"),
        (Method::GET, "/docs/cAnArY-path?token=cAnArY-query", ""),
        (Method::GET, "/problems/cAnArY-problem?email=cAnArY-query", ""),
        (Method::GET, "/openapi.json/cAnArY-path", ""),
    ];
    for (method, path, text) in wrong {
        let answer = client.send(body(method.clone(), path, text)).await;
        told.add(&format!("{method} of a wrong request"), &answer);
    }
    let strangers = [
        client.without_token(),
        client.token("cAnArY-wrong-token-000000000000000000"),
        client.without_token().with_header("Authorization", "Basic cAnArY-basic"),
    ];
    for stranger in strangers {
        told.add("a stranger's read", &stranger.get_key("cAnArY-key").await);
        told.add("a stranger's command", &stranger.post_command(&["SET", "cAnArY-key", "cAnArY-value"]).await);
    }
    told.add("a bad deadline", &client.with_header("X-Request-Timeout-Ms", "cAnArY").get_key("cAnArY-key").await);
    told.add("a bad encoding", &client.with_header("Upstash-Encoding", "cAnArY").post_command(&["GET", "k"]).await);
    told.add("a bad id", &client.with_header("X-Request-Id", "cAnArY id").without_token().get_key("k").await);
    // Not searched: Redis' own words for its own caller (D24). The log is searched all the same.
    client.post_command(&["cAnArY-command", "cAnArY-argument"]).await;
    client.post_command(&["EVAL", "return cAnArY-script", "0"]).await;
}

/// Calls that read or write data, of every resource and route; only those that failed are gathered, since a success gives its data
/// back.
async fn data(client: &Client, told: &mut Told) {
    let commands = [
        client.post_command(&["SET", "cAnArY-text", "cAnArY-value"]).await,
        client.post_command(&["INCR", "cAnArY-counter"]).await,
        client.post_command(&["PUBLISH", "cAnArY-channel", "cAnArY-message"]).await,
        client.pipeline(&[&["SET", "cAnArY-text", "cAnArY-value"], &["GET", "cAnArY-text"]]).await,
        client
            .multi_exec(&[&["HSET", "cAnArY-hash", "cAnArY-field", "cAnArY-value"], &["SADD", "cAnArY-set", "m"]])
            .await,
        client.get("/get/cAnArY-text").await,
    ];
    for answer in commands.iter().chain(&resources(client).await).filter(|answer| !answer.is_success()) {
        told.add("a failed call", answer);
    }
}

async fn resources(client: &Client) -> Vec<Answer> {
    let take = json!({ "capacity": 9, "refill": 1, "per": "1h", "on_outage": "local" });
    let member = |method: Method| client.request(method, "/v1/presence/cAnArY-room/cAnArY-visitor");
    let once = client.idempotency_key("cAnArY-once");
    vec![
        client.put_key("cAnArY-key", "cAnArY-value").await,
        client.get_key("cAnArY-key").await,
        client.with_header("Collective-Fence", "cAnArY-lease;1").put_key("cAnArY-key", "cAnArY-value").await,
        client.with_header("If-Match", "\"cAnArY-tag\"").put_key("cAnArY-key", "cAnArY-value").await,
        client.get("/v1/keys?prefix=cAnArY-prefix").await,
        client.increment("cAnArY-counter", 1).await,
        once.increment("cAnArY-counter", 1).await,
        client.get("/v1/operations/cAnArY-once").await,
        client.get("/v1/operations/cAnArY-never").await,
        client.post("/v1/leases/cAnArY-lease", &json!({ "ttl_ms": 60_000, "owner": "cAnArY-owner" })).await,
        client.post("/v1/leases/cAnArY-lease/renew", &json!({ "token": 1, "ttl_ms": 60_000 })).await,
        client.get("/v1/leases/cAnArY-lease").await,
        client.post("/v1/limiters/cAnArY-limiter/take", &take).await,
        client.get("/v1/limiters/cAnArY-limiter").await,
        client.send(member(Method::PUT).body(json!({ "ttl_seconds": 60 }).to_string())).await,
        client.get("/v1/presence/cAnArY-room").await,
        client.send(client.request(Method::DELETE, "/v1/presence/cAnArY-room/cAnArY-passer-by")).await,
    ]
}

/// What no HTTP client would send.
async fn broken_heads(app: &App, told: &mut Told) {
    for head in [
        "GET /v1/keys/cAnArY-key HTTP/1.1\r\nHost: x\r\nContent-Length: cAnArY-length\r\n\r\n",
        "GET /v1/keys/cAnArY-key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: cAnArY-coding\r\n\r\n",
        "GET /v1/keys/cAnArY key HTTP/1.1\r\nHost: x\r\n\r\n",
        "cAnArY-method / cAnArY\r\n\r\n",
    ] {
        for listener in [app.public(), app.operator()] {
            let answer = raw_http(listener, head.as_bytes()).await.unwrap_or_default();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            // A problem of the operator's listener may repeat the caller's own path.
            told.0.push(answer.replace("\"instance\":\"/v1/keys/cAnArY-key\"", ""));
        }
    }
    let cut = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 50\r\n\r\n[\"cAnArY-cut"
    );
    raw_http_then_hang_up(app.public(), cut.as_bytes(), Duration::from_millis(20)).await.expect("a connection");
}

/// What operators are shown.
async fn operators_side(client: &Client, told: &mut Told) {
    for path in ["/status", "/metrics", "/", "/livez", "/readyz", "/startupz"] {
        told.add(path, &client.probe(path).await);
    }
    told.add("an unknown path", &client.probe("/cAnArY-path?token=cAnArY-query").await);
}

fn file(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("a secret's file");
    path.display().to_string()
}

/// Health, freeze, thaw, lost replies, death and return, with everything planted.
async fn play(app: &App, redis: &Redis, proxy: &Proxy) -> Told {
    let mut told = Told::default();
    let client = revealing(app);
    let is_open = async || client.breaker("redis.read").await == "open";
    client.settled().await;
    let stream = client.subscribe("cAnArY-channel").await;
    let other = client.psubscribe("cAnArY-pattern*").await;
    data(&client, &mut told).await;
    calls(&client, &mut told).await;
    broken_heads(app, &mut told).await;
    operators_side(&client, &mut told).await;
    proxy.lose_connection_instead_of_reply(1.0);
    data(&client.timeout_ms(300), &mut told).await;
    proxy.heal();
    redis.freeze();
    data(&client.timeout_ms(150), &mut told).await;
    eventually(SOON, async || {
        drop(client.timeout_ms(100).get_key("cAnArY-key").await);
        is_open().await
    })
    .await;
    data(&client, &mut told).await;
    calls(&client, &mut told).await;
    operators_side(&client, &mut told).await;
    redis.thaw();
    eventually(SOON, async || client.put_key("cAnArY-key", "cAnArY-value").await.is_success()).await;
    nothing_personal_is_stored(redis).await;
    redis.kill9();
    eventually(SOON, is_open).await;
    data(&client, &mut told).await;
    operators_side(&client, &mut told).await;
    redis.restart().await;
    eventually(SOON, async || client.put_key("cAnArY-key", "cAnArY-value").await.is_success()).await;
    assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await, "OK");
    data(&client, &mut told).await;
    drop((stream, other));
    told
}

/// Plays the scene with our two secrets given by `builder`, then searches.
async fn play_and_search(level: &str, secrets: impl FnOnce(Builder) -> Builder) {
    let redis = Redis::start(Options::default().password(PASSWORD)).await;
    let proxy = Proxy::in_front_of(&redis, 9);
    let builder = App::with_redis(&format!("redis://{}", proxy.address())).set("log.level", level);
    let app = secrets(builder).start().await;
    let told = play(&app, &redis, &proxy).await;
    nothing_personal_is_stored(&redis).await;
    assert_eq!(app.stop().await.code(), Some(0));
    assert!(told.0.len() > 100, "the scene was played: {}", told.0.len());
    told.search();
    clean(&app.log());
    assert!(app.stderr().contains("request failed"), "the failures were logged, or the search proves nothing");
}

#[tokio::test]
async fn nothing_planted_is_found_in_any_output() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = file(directory.path(), "token", TOKEN);
    let password = file(directory.path(), "password", PASSWORD);
    play_and_search("info", |builder| {
        builder.unset("auth.root_token").set("auth.root_token_file", token).set("redis.password_file", password)
    })
    .await;
}

#[tokio::test]
async fn nothing_planted_is_found_in_any_output_at_the_most_talkative_level() {
    let level = "trace,actix_http=trace,actix_web=trace,actix_server=trace,mio=trace";
    play_and_search(level, |builder| builder.set("auth.root_token", TOKEN).set("redis.password", PASSWORD)).await;
}

#[tokio::test]
async fn a_wrong_redis_password_is_never_shown() {
    let redis = Redis::start(Options::default().password("another-one-entirely-5Gh2")).await;
    let url = format!("redis://cAnArY-user:{PASSWORD}@{}/0", redis.address());
    let app = App::with_redis(&url).set("auth.root_token", TOKEN).set("log.level", "trace").start().await;
    let client = revealing(&app);
    eventually(SOON, async || client.status().await["redis"]["last_error"].is_string()).await;
    let mut told = Told::default();
    data(&client, &mut told).await;
    operators_side(&client, &mut told).await;
    assert_eq!(app.stop().await.code(), Some(0));
    told.search();
    clean(&app.log());
}

#[tokio::test]
async fn the_configuration_is_checked_and_refused_without_showing_a_secret() {
    let secrets = tempfile::tempdir().expect("a directory");
    let secret = file(secrets.path(), "secret", "cAnArY-too-short");
    let valid = [("redis.url", format!("redis://u:{PASSWORD}@127.0.0.1:1")), ("auth.root_token", TOKEN.to_owned())];
    let wrong = [
        // Every way to write a secret wrongly, or a right one in the wrong place.
        vec![("redis.url", format!("redis://u:{PASSWORD}/@127.0.0.1")), ("auth.root_token", "cAnArY".to_owned())],
        vec![("redis.url", format!("http://u:{PASSWORD}@h")), ("auth.root_token_file", secret)],
        vec![("server.bind", format!("redis://u:{PASSWORD}@h:1")), ("redis.password_file", PASSWORD.to_owned())],
        vec![("redis.url", format!("redis://u:{PASSWORD}@10.9.8.7:1")), ("redis.pasword", PASSWORD.to_owned())],
        vec![("redis.url", format!("redis://h:1?password={PASSWORD}")), ("redis.password", format!("{PASSWORD}\n"))],
    ];
    let toml = format!("[redis]\npassword = \"{PASSWORD}\nurl = {PASSWORD}\n");
    for verb in ["check-config", "serve"] {
        for (settings, code) in [(valid.to_vec(), 0)].into_iter().chain(wrong.iter().map(|wrong| (wrong.clone(), 78))) {
            if (verb, code) == ("serve", 0) {
                continue; // It would serve; the scene above is about that.
            }
            let mut builder = App::builder().argument(verb);
            if settings.iter().any(|(key, _)| *key == "auth.root_token_file") {
                builder = builder.unset("auth.root_token");
            }
            let builder = settings.iter().fold(builder, |builder, (key, value)| builder.set(key, value));
            let Ended { code: ended, stdout, stderr } = builder.run().await;
            assert_eq!(ended, Some(code), "{settings:?}: {stderr}");
            clean(&stdout);
            clean(&stderr);
        }
        let refused = App::builder().toml(&toml).argument(verb).run().await;
        assert_eq!(refused.code, Some(78), "{}", refused.stderr);
        clean(&refused.stderr);
    }
    let typed = App::builder().argument(&format!("--redis-password={PASSWORD}")).run().await;
    assert_eq!(typed.code, Some(78));
    clean(&typed.stderr);
}

#[tokio::test]
async fn the_embedded_server_sees_none_of_our_secrets() {
    let app = App::builder().set("auth.root_token", TOKEN).environment("UNRELATED", "cAnArY-unrelated").start().await;
    let client = revealing(&app);
    // A start waits two seconds for the embedded Redis, and goes on without it.
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    let child = std::fs::read_to_string(app.data_directory().join("redis.pid")).expect("the child's id");
    let password = std::fs::read_dir(app.data_directory())
        .expect("the data directory")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .find_map(|text| {
            Some(text.lines().find_map(|line| line.strip_prefix("requirepass "))?.trim_matches('"').to_owned())
        })
        .expect("the embedded server's password is in a file of its own");
    for what in ["environ", "cmdline"] {
        let bytes = std::fs::read(format!("/proc/{}/{what}", child.trim())).expect("our own child's");
        let text = String::from_utf8_lossy(&bytes);
        clean(&text);
        assert!(!text.contains(&password), "{what} holds the password");
        assert!(what != "environ" || text.is_empty(), "the environment should be empty: {text}");
    }
    assert!(!app.log().contains(&password));
}

#[tokio::test]
async fn a_generated_token_is_in_its_file_and_nowhere_else() {
    let app = App::builder().unset("auth.root_token").set("log.level", "trace").start().await;
    let token = std::fs::read_to_string(app.data_directory().join("root-token")).expect("the token's file");
    let client = Client::new(app.public(), app.operator()).token(token.trim());
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    for path in ["/status", "/metrics", "/"] {
        assert!(!client.probe(path).await.text().contains(token.trim()), "{path}");
    }
    assert_eq!(app.stop().await.code(), Some(0));
    assert!(!app.log().contains(token.trim()), "the token was printed");
}
