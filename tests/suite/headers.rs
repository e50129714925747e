//! The standard headers (D29), on every route and method and whatever its answer: served, refused, or in an outage.
//!
//! Routes are those of the OpenAPI document and what no operation describes, so a new one is looked at without a line here; each
//! status the service can answer with is provoked, and the list of them is the table of codes. Limits: what the HTTP parser itself
//! refuses is in `connections.rs`, the operator's listener beside its page. Strict-Transport-Security belongs to whoever ends
//! TLS, and nothing here does.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::described::{Operation, document};
use crate::harness::{Answer, App, Client, Options, Proxy, Redis, Reply, raw_http};
use crate::keys::patient;
use crate::tokens::digest;

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];

/// What no operation describes: pages, unknown paths, names that are wrong.
const ELSEWHERE: [&str; 16] = [
    "/nothing",
    "/monitor",
    "/get/k",
    "/psubscribe/",
    "/v1",
    "/v1/",
    "/v1/keys/none",
    "/v1/keys/%zz",
    "/v1/keys/collective:x",
    "/v1/nothing",
    "/docs",
    "/docs/",
    "/docs/nothing",
    "/problems/",
    "/problems/nothing",
    "/.well-known",
];

/// Bodies that some route takes, and one that none does.
const BODIES: [&str; 6] = ["", r#"["GET","k"]"#, r#"[["GET","k"]]"#, r#"{"by":1}"#, r#"{"ttl_seconds":60}"#, "garbage"];

/// Statuses that are no failure, and those of the framework and the dialect that no code has.
const SERVED: [u16; 5] = [200, 201, 204, 304, 308];

#[track_caller]
fn dressed(answer: &Answer, what: &str) {
    let has = |name: &str| answer.headers.get_all(name).iter().count();
    for (name, value) in [("x-content-type-options", "nosniff"), ("cache-control", "no-store")] {
        assert_eq!((answer.header(name), has(name)), (Some(value), 1), "{name} of {what}: {}", answer.status);
    }
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{what}: {policy}");
    assert_eq!(has("content-security-policy"), 1, "{what}");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{what}");
    for telling in ["server", "x-powered-by", "set-cookie"] {
        assert_eq!(answer.header(telling), None, "{what}");
    }
    if answer.header("content-type").is_some_and(|media_type| media_type.starts_with("text/html")) {
        dressed_for_people(answer, what);
    }
}

/// The full set, which a page for people carries: it is drawn by a browser, and what it may load or be framed by is told there.
#[track_caller]
pub fn dressed_for_people(page: &Answer, what: &str) {
    let policy = page.header("content-security-policy").unwrap_or_default();
    let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    for directive in
        ["default-src 'none'", "style-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    {
        assert!(directives.contains(&directive), "{directive} of {what}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{what}: {policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("x-permitted-cross-domain-policies", "none"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name} of {what}");
    }
    let features = page.header("permissions-policy").unwrap_or_default();
    assert!(features.contains("camera=()") && features.contains("geolocation=()"), "{what}: {features}");
    assert_eq!(page.header("server"), None, "{what}");
}

/// Every path there is: with the examples' parameters in it, and what no operation describes.
fn paths() -> BTreeSet<String> {
    let described =
        Operation::all().iter().map(|operation| operation.target(&operation.parameters(&Default::default())));
    described.chain(ELSEWHERE.map(str::to_owned)).collect()
}

/// What was answered so far, all of it dressed.
#[derive(Default)]
struct Seen(BTreeSet<u16>);

impl Seen {
    fn add(&mut self, answer: &Answer, what: &str) {
        dressed(answer, what);
        self.0.insert(answer.status);
    }

    /// Sends every example of the document, then asks everything of every path.
    async fn round(&mut self, client: &Client, bodies: &[&str]) {
        for operation in Operation::all() {
            self.add(&client.send(operation.example(client)).await, &operation.name());
        }
        for (path, method) in paths().iter().flat_map(|path| METHODS.map(|method| (path, method))) {
            for body in bodies {
                let verb = Method::from_bytes(method.as_bytes()).expect("a method");
                let request = client.request(verb, path).header("Accept", "text/html,*/*;q=0.5");
                self.add(&client.send(request.body((*body).to_owned())).await, &format!("{method} {path}"));
            }
        }
    }

    #[track_caller]
    fn provoke(&mut self, status: u16, answer: &Answer) {
        assert_eq!(answer.status, status, "{}", answer.text());
        self.add(answer, "what was provoked");
    }
}

/// Refusals for what is too much, too late, or against a condition.
async fn provoke_by_requests(seen: &mut Seen, client: &Client) {
    assert!(client.put_key("k", "v").await.is_success());
    seen.provoke(413, &client.put_key("k", vec![b'x'; 5000]).await);
    seen.provoke(414, &client.get(&format!("/v1/keys/{}", "k".repeat(9000))).await);
    seen.provoke(431, &client.with_header("X-Large", &"x".repeat(17_000)).get_key("k").await);
    seen.provoke(400, &client.timeout_ms(0).get_key("k").await);
    seen.provoke(422, &client.idempotency_key("not one").increment("n", 1).await);
    seen.provoke(406, &client.with_header("Accept", "application/json").get_key("k").await);
    seen.provoke(304, &client.with_header("If-None-Match", "*").get_key("k").await);
    seen.provoke(412, &client.with_header("If-Match", "\"another\"").put_key("k", "w").await);
}

/// A body that never comes, which no client would send.
async fn provoke_by_silence(seen: &mut Seen, app: &App) {
    let head = format!(
        "PUT /v1/keys/k HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {ROOT_TOKEN}\r\nX-Request-Timeout-Ms: 50\r\n\
         Content-Length: 9\r\n\r\n"
    );
    let bytes = raw_http(app.public(), head.as_bytes()).await.expect("an answer");
    seen.provoke(408, &Answer::read(Method::PUT, "/v1/keys/k", &bytes));
}

/// Refusals and failures that Redis has a part in.
async fn provoke_by_redis(seen: &mut Seen, client: &Client, redis: &Redis, proxy: &Proxy) {
    redis.command(&["HSET", "collective:lease:jobs", "token", "9007199254740993"]).await;
    seen.provoke(409, &client.with_header("Collective-Fence", "jobs;1").put_key("k", "w").await);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    seen.provoke(507, &client.put_key("new", "v").await);
    seen.provoke(507, &client.post_command(&["SET", "new", "v"]).await);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    proxy.lose_connection_instead_of_reply(1.0);
    seen.provoke(504, &client.increment("n", 1).await);
    seen.provoke(504, &client.post_command(&["INCR", "n"]).await);
    proxy.heal();
    replace_functions(redis).await;
    seen.provoke(500, &client.post("/v1/counters/n/increment", &json!({ "by": 1, "max": 100 })).await);
}

/// Puts functions of the same names in the place of ours that answer with what none of ours ever says.
async fn replace_functions(redis: &Redis) {
    let list = redis.command(&["FUNCTION", "LIST", "LIBRARYNAME", "collective_v1"]).await;
    let library = list.items()[0].items();
    let Some(Reply::Array(functions)) = library.iter().find(|part| matches!(part, Reply::Array(_))) else {
        panic!("no functions in {list:?}")
    };
    let names = functions.iter().map(|function| function.items()[1].to_string());
    let bodies = names.map(|name| format!("redis.register_function('{name}', function() return 'nonsense' end)\n"));
    let code = format!("#!lua name=collective_v1\n{}", bodies.collect::<String>());
    assert_eq!(redis.command(&["FUNCTION", "LOAD", "REPLACE", &code]).await, "collective_v1");
}

/// A Redis that is too old for functions.
async fn provoke_by_an_old_redis(seen: &mut Seen) {
    let old = Options::default().set("rename-command FUNCTION", "nofunction").set("rename-command FCALL", "nofcall");
    let redis = Redis::start(old).await;
    let app = patient(&redis.url()).start().await;
    seen.provoke(501, &app.client().post("/v1/leases/l", &json!({ "ttl_ms": 1000, "owner": "me" })).await);
}

/// Every status of the table of codes, from the committed document.
fn statuses() -> BTreeSet<u16> {
    let examples = document()["components"]["examples"].as_object().expect("an example for each code");
    let statuses = examples.values().filter_map(|example| example["value"]["status"].as_u64());
    statuses.filter_map(|status| u16::try_from(status).ok()).chain(SERVED).collect()
}

#[tokio::test]
async fn every_route_method_and_status_carries_the_standard_headers() {
    const READER: &str = "reader-of-headers-0a1b2c3d4e5f60718293";
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 7);
    let app = patient(&proxy.url())
        .set("limits.body", 4096)
        .set("limits.argument", 2048)
        .set("server.security_contact", "mailto:security@example.com")
        .set("auth.read_only_token_sha256", digest(READER))
        .start()
        .await;
    let (client, mut seen) = (app.client(), Seen::default());
    client.settled().await;
    seen.round(&client, &BODIES).await;
    seen.round(&client.without_token(), &[""]).await;
    seen.round(&client.token(READER), &[""]).await;
    provoke_by_requests(&mut seen, &client).await;
    provoke_by_silence(&mut seen, &app).await;
    provoke_by_redis(&mut seen, &client, &redis, &proxy).await;
    provoke_by_an_old_redis(&mut seen).await;
    redis.kill9();
    client.until_both_lanes_refuse().await;
    seen.round(&client, &BODIES).await;
    let missing: Vec<u16> = statuses().difference(&seen.0).copied().collect();
    assert!(missing.is_empty(), "never answered, so not looked at: {missing:?} of {:?}", seen.0);
    assert!(statuses().len() > 20, "{:?}", statuses());
}

#[tokio::test]
async fn every_page_for_people_carries_the_full_set_of_headers() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let stranger = app.client().without_token();
    for path in ["/docs/", "/docs/index.html", "/problems", "/problems/circuit_open"] {
        for method in [Method::GET, Method::HEAD] {
            let request = stranger.request(method.clone(), path).header("Accept", "text/html");
            let page = stranger.send(request).await;
            assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
            dressed_for_people(&page, &format!("{method} {path}"));
        }
    }
}
