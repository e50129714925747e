//! `GET /v1/keys`: every name that is there all the time is given, whatever else happens meanwhile, in bounded pages.
//!
//! Why so: a listing that loses one name in ten thousand looks right in every demonstration. So the names are counted against
//! what Redis holds, while others come and go, with pages smaller than what Redis hands out at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Client, Options, Proxy, Redis};
use crate::keys::{patient, problem};

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

/// Stores `count` strings `<prefix><number>`.
async fn fill(redis: &Redis, prefix: &str, count: usize) {
    let script = "for i = 0, ARGV[2] - 1 do redis.call('SET', ARGV[1] .. i, 'v') end";
    redis.command(&["EVAL", script, "0", prefix, &count.to_string()]).await;
}

/// Names of a page, both kinds.
fn names(page: &Value) -> Vec<Vec<u8>> {
    let list = |member: &str| page[member].as_array().cloned().unwrap_or_default();
    let text = |name: Value| name.as_str().expect("a name").to_owned();
    let plain = list("keys").into_iter().map(|name| text(name).into_bytes());
    let encoded = list("keys_base64url").into_iter().map(|name| URL_SAFE_NO_PAD.decode(text(name)).expect("base64url"));
    plain.chain(encoded).collect()
}

/// Walks to the end; the names and the number of pages.
async fn walk(client: &Client, query: &str, limit: usize) -> (BTreeSet<Vec<u8>>, usize) {
    let (mut all, mut cursor) = (BTreeSet::new(), String::new());
    for pages in 1..100_000 {
        let page = client.get(&format!("/v1/keys?limit={limit}{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let names = names(&page);
        assert!(names.len() <= limit, "{} names on a page of {limit}", names.len());
        all.extend(names);
        match (&page["complete"], &page["cursor"]) {
            (Value::Bool(true), Value::Null) => return (all, pages),
            (Value::Bool(false), Value::String(next)) => cursor = format!("&cursor={next}"),
            other => panic!("{other:?}"),
        }
    }
    panic!("the listing never ends");
}

#[tokio::test]
async fn a_listing_gives_every_key_of_a_prefix_and_no_other() {
    let (redis, _app, client) = service().await;
    fill(&redis, "a:", 700).await;
    fill(&redis, "b:", 300).await;
    redis.command(&["SET", "collective:secret", "ours"]).await;
    redis.command(&["RPUSH", "a:list", "x"]).await;
    redis.command(&["SADD", "a:set", "x"]).await;
    client.increment("a:counter", 1).await;
    for limit in [1, 2, 7, 100, 1000] {
        let (all, pages) = walk(&client, "", limit).await;
        assert_eq!(all.len(), 1001, "limit {limit}");
        assert!(!all.iter().any(|name| name.starts_with(b"collective:")));
        assert!(pages >= 1001 / limit, "{pages} pages of {limit}");
        let (some, _) = walk(&client, "&prefix=a:", limit).await;
        assert_eq!(some.len(), 701, "limit {limit}: strings and a counter, no list and no set");
        assert!(some.iter().all(|name| name.starts_with(b"a:")) && some.contains(&b"a:counter"[..]));
    }
    let (none, pages) = walk(&client, "&prefix=nothing", 100).await;
    assert_eq!((none.len(), pages), (0, 1));
    let page = client.get("/v1/keys?prefix=nothing").await;
    assert_eq!(
        (page.json(), page.header("content-type")),
        (json!({ "keys": [], "cursor": null, "complete": true }), Some("application/json"))
    );
}

#[tokio::test]
async fn a_key_that_is_there_all_the_time_is_never_left_out() {
    let (redis, _app, client) = service().await;
    fill(&redis, "stays:", 400).await;
    let stop = Arc::new(AtomicBool::new(false));
    let noise = {
        let (mut connection, stop) = (redis.connect().await, stop.clone());
        tokio::spawn(async move {
            // Growing and shrinking by hundreds makes Redis resize its table again and again.
            let grow = "for i = 1, 900 do redis.call('SET', 'goes:' .. i, 'v') end";
            let shrink = "for i = 1, 900 do redis.call('DEL', 'goes:' .. i) end";
            while !stop.load(Ordering::Relaxed) {
                for script in [grow, shrink] {
                    connection.command(&["EVAL", script, "0"]).await.expect("a reply");
                }
            }
        })
    };
    for limit in [3, 20, 150] {
        for _ in 0..2 {
            let (all, _) = walk(&client, "&prefix=stays:", limit).await;
            assert_eq!(all.len(), 400, "limit {limit}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    noise.await.expect("the noise ends");
}

#[tokio::test]
async fn every_listed_key_can_be_asked_for() {
    let (redis, _app, client) = service().await;
    let odd: [&[u8]; 9] = [b"", b".", b"..", b"\xff\xfe", b"a/b", b"../x", b"sp ace", "gr\u{fc}n".as_bytes(), b"\r\n%"];
    for name in odd {
        redis.command(&[b"SET", name, name]).await;
    }
    let page = client.get("/v1/keys").await.json();
    assert_eq!(
        (page["keys"].as_array().map(Vec::len), page["keys_base64url"].as_array().map(Vec::len)),
        (Some(5), Some(4))
    );
    for name in page["keys"].as_array().expect("names") {
        let name = name.as_str().expect("text");
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(client.get(&format!("/v1/keys/{encoded}")).await.text(), name);
    }
    for name in page["keys_base64url"].as_array().expect("names") {
        let name = name.as_str().expect("text");
        let answer = client.get(&format!("/v1/keys?key_base64url={name}")).await;
        assert_eq!(answer.body, URL_SAFE_NO_PAD.decode(name).expect("base64url"));
    }
}

#[tokio::test]
async fn a_prefix_is_bytes_and_no_pattern() {
    let (redis, _app, client) = service().await;
    for name in [&b"a*1"[..], b"ab1", b"a?1", b"a[b]1", b"a\\1", b"\xff1", b"\xfe1", b"s p", b"s+p"] {
        redis.command(&[b"SET", name, b"v"]).await;
    }
    for (prefix, found) in [
        ("a*", &[&b"a*1"[..]][..]),
        ("a%2A", &[b"a*1"]),
        ("a%3F", &[b"a?1"]),
        ("a[b]", &[b"a[b]1"]),
        ("a%5C", &[b"a\\1"]),
        ("%ff", &[b"\xff1"]),
        ("s+", &[b"s p"]),
        ("s%2B", &[b"s+p"]),
        ("*", &[]),
        ("ab1", &[b"ab1"]),
    ] {
        let (all, _) = walk(&client, &format!("&prefix={prefix}"), 100).await;
        assert_eq!(all, found.iter().map(|name| name.to_vec()).collect(), "{prefix}");
    }
}

#[tokio::test]
async fn what_is_no_page_is_refused_by_name() {
    let (redis, _app, client) = service().await;
    fill(&redis, "a:", 500).await;
    let cursor = client.get("/v1/keys?limit=10&prefix=a:").await.json()["cursor"].as_str().expect("more").to_owned();
    for (query, word) in [
        ("cursor=".to_owned(), "cursor"),
        ("cursor=0".to_owned(), "cursor"),
        ("cursor=%21".to_owned(), "cursor"),
        (format!("cursor={cursor}"), "cursor"),
        (format!("prefix=b:&cursor={cursor}"), "cursor"),
        (format!("prefix=a:&cursor={}", &cursor[1..]), "cursor"),
        ("prefix=%f".to_owned(), "prefix"),
        ("limit=ten".to_owned(), "limit"),
        ("limit=-1".to_owned(), "limit"),
        ("count=5".to_owned(), "count"),
    ] {
        let document = problem(&client.get(&format!("/v1/keys?{query}")).await, 400, "invalid_request");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains(word)), "{query}: {document}");
    }
    for limit in [0, 1001] {
        let document = problem(&client.get(&format!("/v1/keys?limit={limit}")).await, 422, "invalid_value");
        assert_eq!(document["errors"][0]["pointer"], "limit", "{document}");
    }
    assert_eq!(client.get(&format!("/v1/keys?prefix=a:&cursor={cursor}&limit=1000")).await.status, 200);
    problem(&client.get("/v1/keys?prefix=collective:").await, 403, "reserved_name");
    let head = client.send(client.request(Method::HEAD, "/v1/keys")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes_and_in_work() {
    let (redis, _app, client) = service().await;
    let script = "for i = 1, 200 do redis.call('SET', 'large:' .. i .. string.rep('x', 5000), 'v') end";
    redis.command(&["EVAL", script, "0"]).await;
    let page = client.get("/v1/keys?limit=1000").await;
    assert!(page.body.len() < 300 * 1024, "{} bytes", page.body.len());
    assert_eq!(page.json()["complete"], false);
    assert_eq!(walk(&client, "", 1000).await.0.len(), 200);

    redis.command(&["FLUSHALL"]).await;
    fill(&redis, "other:", 100_000).await;
    redis.command(&["SET", "needle", "v"]).await;
    let (found, pages) = walk(&client, "&prefix=needle", 100).await;
    assert_eq!(found.len(), 1);
    assert!((2..=20).contains(&pages), "{pages} pages: some are empty, and the listing goes on");
}

/// A page is cut where time runs out; only if nothing could be asked at all there is no page.
#[tokio::test]
async fn a_listing_is_never_answered_504() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 4);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    fill(&redis, "other:", 20_000).await;
    assert_eq!(client.get("/v1/keys?limit=10").await.status, 200);
    // Five of the twenty calls it takes fit into half of the time, and the first may be late by more than a second.
    proxy.delay(Duration::from_millis(100));
    let page = client.timeout_ms(2000).get("/v1/keys?prefix=needle").await;
    assert_eq!((page.status, page.json()["complete"].clone()), (200, json!(false)), "{}", page.text());
    proxy.heal();
    redis.freeze();
    let none = client.timeout_ms(100).get("/v1/keys").await;
    redis.thaw();
    assert_eq!((none.status, none.outcome()), (503, "not_executed"), "{}", none.text());
}

#[tokio::test]
async fn a_read_only_token_reads_what_it_names_and_lists_nothing() {
    let redis = Redis::start(Options::default()).await;
    let digest = "3d0941964aa3ebdcb00ccef58b1bb399f9f898465e9886d5aec7f31090a0fb30";
    let app = patient(&redis.url()).set("auth.read_only_token_sha256", digest).start().await;
    redis.command(&["SET", "a", "v"]).await;
    let reader = app.client().token("reader");
    assert_eq!(reader.get("/v1/keys?key_base64url=YQ").await.text(), "v");
    let document = problem(&reader.get("/v1/keys").await, 403, "forbidden");
    assert!(document["detail"].as_str().is_some_and(|text| text.contains("keys:list")), "{document}");
}
