//! The command dialect, `POST /` and `POST /pipeline`: what the official SDKs send, and what they break on.
//!
//! Why so: SDKs compare texts, count keys of objects and decode strings by rules of their own, so shapes and texts are
//! compared exactly, and errors of Redis with what Redis itself says to the same words.
//!
//! Limits: no SDK runs here; the rules are those of its wire. What lost replies do is told in `classes`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::proxy::{HANDSHAKE, PROBE};
use crate::harness::{Answer, App, Client, Options, Proxy, Redis, Reply};
use crate::keys::patient;

/// Longest single argument by default.
const ARGUMENT_LIMIT: usize = 10 * 1024 * 1024;
/// Largest request body by default.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Most commands in one batch by default.
const BATCH_LIMIT: usize = 10_000;

pub async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

/// A body as it stands, valid JSON or not.
pub async fn send(client: &Client, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    client.send(client.request(Method::POST, path).body(body.into())).await
}

/// Checks that the answer is one error object with this status, refused before anything ran; returns its text.
#[track_caller]
pub fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!((answer.status, answer.outcome()), (status, "not_executed"), "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    error_of(&answer.json())
}

/// The text of an object that holds `error` and nothing else.
#[track_caller]
fn error_of(object: &Value) -> String {
    let members = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    let only = members.len() == 1;
    let text = members.get("error").and_then(Value::as_str).filter(|_| only);
    text.unwrap_or_else(|| panic!("not exactly one error: {object}")).to_owned()
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

#[tokio::test]
async fn every_string_but_a_top_level_ok_is_base64_when_asked() {
    let (redis, _app, client) = service().await;
    let client = client.with_header("Upstash-Encoding", "base64");
    redis.command(&[&b"SET"[..], b"binary", b"\xff\x00\x80"]).await;
    let nested = "return {redis.status_reply('OK'), {'OK', 7, false}}";
    let cases: &[(&[&str], Value)] = &[
        (&["SET", "ok", "OK"], json!("OK")),
        (&["GET", "ok"], json!("T0s=")),
        (&["MGET", "ok", "missing"], json!(["T0s=", null])),
        (&["EVAL", nested, "0"], json!(["T0s=", ["T0s=", 7, null]])),
        (&["PING"], json!(base64("PONG"))),
        (&["TYPE", "ok"], json!(base64("string"))),
        (&["GET", "binary"], json!(base64(b"\xff\x00\x80"))),
        (&["SET", "empty", ""], json!("OK")),
        (&["GET", "empty"], json!("")),
        (&["GET", "missing"], Value::Null),
        (&["INCRBY", "n", "41"], json!(41)),
    ];
    for (command, expected) in cases {
        assert_eq!(client.post_command(command).await.json(), json!({ "result": expected }), "{command:?}");
    }
    let commands: Vec<&[&str]> = cases.iter().map(|(command, _)| *command).collect();
    let items = client.pipeline(&commands).await.json();
    assert_eq!(items[0], json!({ "result": "OK" }), "an item's result is top level, too");
    assert_eq!(items[1], json!({ "result": "T0s=" }));
}

#[tokio::test]
async fn the_text_of_an_error_is_never_base64() {
    let (redis, _app, client) = service().await;
    let client = client.with_header("Upstash-Encoding", "base64");
    redis.command(&["RPUSH", "list", "a"]).await;
    let expected = redis.command(&["GET", "list"]).await.to_string();
    assert!(expected.starts_with("WRONGTYPE "));
    assert_eq!(refused(&client.post_command(&["GET", "list"]).await, 400), expected);
    assert_eq!(error_of(&client.pipeline(&[&["GET", "list"]]).await.json()[0]), expected);
}

#[tokio::test]
async fn an_encoding_it_does_not_know_is_refused() {
    let (redis, _app, client) = service().await;
    for path in ["/", "/pipeline"] {
        let client = client.with_header("Upstash-Encoding", "gzip");
        assert!(refused(&client.post(path, &json!([["SET", "k", "v"]])).await, 400).contains("Upstash-Encoding"));
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

/// Whoever asks for raw RESP2 parses the answer as such, and JSON is none.
#[tokio::test]
async fn a_response_format_that_is_not_built_is_refused_and_never_ignored() {
    let (_redis, _app, client) = service().await;
    let asking = |format: &str| client.with_header("Upstash-Response-Format", format);
    assert_eq!(asking("json").post_command(&["SET", "k", "v"]).await.json(), json!({ "result": "OK" }));
    assert_eq!(asking("xml").post_command(&["SET", "k", "v"]).await.status, 400);
    let answer = asking("resp2").post_command(&["SET", "k", "v"]).await;
    assert!(answer.status == 400 || answer.body == b"+OK\r\n", "{} {}", answer.status, answer.text());
}

#[tokio::test]
async fn replies_have_the_shapes_of_resp2() {
    let (redis, _app, client) = service().await;
    redis.command(&["ZADD", "z", "1.5", "m", "inf", "n"]).await;
    redis.command(&["HSET", "h", "f", "v"]).await;
    redis.command(&["SET", "n", "9223372036854775806"]).await;
    let lua = "return {1, 2.9, 'x', true, false, {'deep', {}}}";
    let cases: &[(&[&str], Value)] = &[
        (&["ZSCORE", "z", "m"], json!("1.5")),
        (&["ZRANGE", "z", "0", "-1", "WITHSCORES"], json!(["m", "1.5", "n", "inf"])),
        (&["HGETALL", "h"], json!(["f", "v"])),
        (&["EXISTS", "h", "z", "missing"], json!(2)),
        (&["SMEMBERS", "missing"], json!([])),
        (&["SSCAN", "missing", "0"], json!(["0", []])),
        (&["EVAL", lua, "0"], json!([1, 2, "x", 1, null, ["deep", []]])),
        (&["INCR", "n"], json!(9_223_372_036_854_775_807_i64)),
        (&["ZINCRBY", "z", "0.1", "m"], json!("1.6000000000000001")),
    ];
    for (command, expected) in cases {
        assert_eq!(client.post_command(command).await.json(), json!({ "result": expected }), "{command:?}");
    }
}

#[tokio::test]
async fn text_comes_back_as_it_went_in_and_foreign_bytes_become_the_replacement_character() {
    let (redis, _app, client) = service().await;
    for text in ["quote\" back\\slash", "\n\r\t\u{1}\u{7f}", "grüße ✓ 🦀", "", "</script>", "\u{2028}"] {
        client.post_command(&["SET", text, text]).await;
        assert_eq!(client.post_command(&["GET", text]).await.result(), text);
        assert_eq!(redis.command(&["GET", text]).await, text);
    }
    redis.command(&[&b"SET"[..], b"k", b"a\xffb\xc3"]).await;
    assert_eq!(client.post_command(&["GET", "k"]).await.result(), "a\u{fffd}b\u{fffd}");
}

#[tokio::test]
async fn numbers_and_booleans_are_taken_as_they_are_written() {
    let (redis, _app, client) = service().await;
    for literal in ["1e21", "1e+21", "1.0", "-0", "0.10", "12345678901234567890123", "true", "false"] {
        let answer = send(&client, "/", format!("[\"SET\",\"k\",{literal}]")).await;
        assert_eq!(answer.json(), json!({ "result": "OK" }), "{literal}");
        assert_eq!(redis.command(&["GET", "k"]).await, literal);
        send(&client, "/pipeline", format!("[[\"SET\",\"p\",{literal}]]")).await;
        assert_eq!(redis.command(&["GET", "p"]).await, literal);
    }
    assert_eq!(send(&client, "/", "[\"GETRANGE\",\"k\",0,-2]").await.result(), "fals");
}

#[tokio::test]
async fn strings_that_strict_parsers_refuse_are_taken_as_sdks_send_them() {
    let (redis, _app, client) = service().await;
    let bodies: &[(&[u8], &[u8])] = &[
        (br#"["SET","k","\ud83d"]"#, "\u{fffd}".as_bytes()),
        (br#"["SET","k","\ud83e\udd80\u00e9\/"]"#, "🦀é/".as_bytes()),
        (b" \n[ \"set\" ,\t\"k\",\"\" ]\r\n", b""),
        (b"[\"SeT\",\"k\",\"raw \xff byte\"]", b"raw \xff byte"),
    ];
    for (body, expected) in bodies {
        assert_eq!(send(&client, "/", *body).await.result(), "OK", "{}", String::from_utf8_lossy(body));
        assert_eq!(redis.command(&["GET", "k"]).await, Reply::Bulk(expected.to_vec()));
    }
}

#[tokio::test]
async fn an_argument_that_is_no_scalar_refuses_its_command() {
    let (redis, _app, client) = service().await;
    let cases = [
        ("[\"SET\",\"k\",null]", "ERR null args are not supported"),
        ("[null]", "ERR null args are not supported"),
        ("[[\"SET\",\"k\",\"v\"]]", "ERR unsupported arg type: \"[\": json.Delim"),
        ("[\"SET\",\"k\",{\"a\":[1]}]", "ERR unsupported arg type: \"{\": json.Delim"),
        ("[]", "ERR empty command"),
        ("[\"\"]", "ERR Command is not available: ''"),
    ];
    for (command, text) in cases {
        assert_eq!(refused(&send(&client, "/", command).await, 400), text, "{command}");
        let batch = format!("[[\"SET\",\"before\",\"1\"],{command},[\"SET\",\"after\",\"1\"]]");
        let answer = send(&client, "/pipeline", batch).await;
        assert_eq!((answer.status, answer.outcome()), (200, "not_executed"), "{command}");
        let ok = json!({ "result": "OK" });
        assert_eq!(answer.json(), json!([ok, { "error": text }, ok]), "{command}");
        assert_eq!(redis.command(&["DEL", "before", "after"]).await, 2, "{command}");
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn a_pipeline_answers_each_item_in_its_place() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "list", "a"]).await;
    let wrong_type = redis.command(&["INCR", "list"]).await.to_string();
    let arity = redis.command(&["GET"]).await.to_string();
    let answer = client
        .pipeline(&[
            &["SET", "k", "v"],
            &["INCR", "list"],
            &["GET", "k"],
            &["GET"],
            &["GET", "missing"],
            &["INCR", "n"],
        ])
        .await;
    assert_eq!((answer.status, answer.outcome()), (200, "not_executed"));
    assert_eq!(
        answer.json(),
        json!([
            { "result": "OK" }, { "error": wrong_type }, { "result": "v" },
            { "error": arity }, { "result": null }, { "result": 1 },
        ])
    );
    let answer = client.pipeline(&[&["GET", "k"]]).await;
    assert_eq!((answer.json(), answer.outcome), (json!([{ "result": "v" }]), None));
}

#[tokio::test]
async fn a_body_that_is_no_list_is_refused_as_a_whole() {
    let (redis, _app, client) = service().await;
    for body in r#"| |{}|"GET"|5|null|["SET","k","v"|["SET","k","v"]]|["SET","k",]|["SET" "k"]"#.split('|') {
        assert!(refused(&send(&client, "/", body).await, 400).starts_with("ERR "), "{body}");
    }
    let batches =
        r#"|[]|{}|["SET","k","v"]|[["SET","k","v"]|[["SET","k","v"],]|[["SET","k","v"],5]|[["SET","k","v"]]x"#;
    for body in batches.split('|').chain([r#"[["SET","k","v"],["SET","k","v]]"#]) {
        assert!(refused(&send(&client, "/pipeline", body).await, 400).starts_with("ERR "), "{body}");
    }
    assert!(refused(&send(&client, "/", "{}").await, 400).contains("expected JSON array"));
    assert!(refused(&send(&client, "/", "").await, 400).contains("empty"));
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn ten_thousand_commands_make_a_batch_and_one_more_makes_none() {
    let (redis, _app, client) = service().await;
    let batch = |length: usize| format!("[{}]", vec!["[\"INCR\",\"n\"]"; length].join(","));
    let answer = send(&client, "/pipeline", batch(BATCH_LIMIT)).await;
    assert_eq!(answer.status, 200);
    let items = answer.json();
    assert_eq!(items.as_array().map(Vec::len), Some(BATCH_LIMIT));
    assert_eq!(items[BATCH_LIMIT - 1], json!({ "result": BATCH_LIMIT }));

    let text = refused(&send(&client, "/pipeline", batch(BATCH_LIMIT + 1)).await, 413);
    assert!(text.contains("10000"), "{text}");
    assert_eq!(redis.command(&["GET", "n"]).await.integer(), BATCH_LIMIT as i64);
}

#[tokio::test]
async fn an_argument_of_ten_mebibytes_is_taken_and_one_byte_more_is_not() {
    let (redis, _app, client) = service().await;
    let set = |length: usize| format!("[\"SET\",\"k\",\"{}\"]", "x".repeat(length));
    assert_eq!(send(&client, "/", set(ARGUMENT_LIMIT)).await.result(), "OK");
    assert_eq!(redis.command(&["STRLEN", "k"]).await, ARGUMENT_LIMIT as i64);
    redis.command(&["DEL", "k"]).await;

    let expected = "ERR max request size exceeded. Limit: 10485760 bytes, Actual: 10485761 bytes.";
    assert_eq!(refused(&send(&client, "/", set(ARGUMENT_LIMIT + 1)).await, 413), expected);
    let answer = send(&client, "/pipeline", format!("[{},[\"PING\"]]", set(ARGUMENT_LIMIT + 1))).await;
    assert_eq!((answer.status, answer.json()), (200, json!([{ "error": expected }, { "result": "PONG" }])));
    let too_large = send(&client, "/", vec![b' '; BODY_LIMIT + 1]).await;
    assert_eq!(too_large.status, 413);
    assert!(error_of(&too_large.json()).contains("16777216"));
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn errors_of_redis_are_passed_on_word_for_word() {
    let (redis, _app, client) = service().await;
    redis.command(&["RPUSH", "list", "a"]).await;
    let commands: &[&[&str]] = &[
        &["NOSUCH", "a", "b c"],
        &["nosuch"],
        &["GET"],
        &["INCR", "list"],
        &["SET", "k", "v", "FROB"],
        &["INCRBY", "n", "x"],
        &["EVALSHA", "0000000000000000000000000000000000000000", "0"],
        &["OBJECT", "FROB", "k"],
        &["JSON.GET", "k", "ü"],
    ];
    for command in commands {
        let expected = redis.command(command).await.to_string();
        assert_eq!(refused(&client.post_command(command).await, 400), expected, "{command:?}");
        assert_eq!(client.pipeline(&[command]).await.json(), json!([{ "error": expected }]), "{command:?}");
    }
    let answer = client.post_command(commands[6]).await;
    assert_eq!(answer.json()["error"], "NOSCRIPT No matching script. Please use EVAL.");
}

#[tokio::test]
async fn a_script_that_raises_after_its_effects_was_executed() {
    let (redis, _app, client) = service().await;
    let script = "redis.call('INCR', KEYS[1]) return redis.call('LPUSH', KEYS[1], 'x')";
    let answer = client.post_command(&["EVAL", script, "1", "k"]).await;
    assert_eq!((answer.status, answer.outcome()), (400, "executed"), "{}", answer.text());
    let answer = client.pipeline(&[&["PING"], &["EVAL", script, "1", "k"], &["GET"]]).await;
    assert_eq!(redis.command(&["GET", "k"]).await, "2");
    assert_eq!((answer.status, answer.outcome()), (200, "executed"), "the worst of the items that failed");
}

#[tokio::test]
async fn a_script_that_returns_an_error_after_its_effects_was_executed() {
    let (redis, _app, client) = service().await;
    for (turn, ending) in
        ["redis.error_reply('LIMIT reached')", "redis.pcall('LPUSH', KEYS[1], 'x')"].iter().enumerate()
    {
        let script = format!("redis.call('INCR', KEYS[1]) return {ending}");
        let answer = client.post_command(&["EVAL", &script, "1", "k"]).await;
        assert_eq!(redis.command(&["GET", "k"]).await.integer(), turn as i64 + 1);
        assert_eq!((answer.status, answer.outcome()), (400, "executed"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_script_that_never_ran_was_not_executed() {
    let (_redis, _app, client) = service().await;
    for script in ["this is no Lua", "return ("] {
        let text = refused(&client.post_command(&["EVAL", script, "0"]).await, 400);
        assert!(text.starts_with("ERR Error compiling script"), "{text}");
    }
}

#[tokio::test]
async fn what_breaks_a_shared_connection_or_the_server_never_reaches_redis() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 1);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    let sessions = "AUTH,MULTI,EXEC,DISCARD,WATCH k,UNWATCH,HELLO 3,RESET,SUBSCRIBE c,UNSUBSCRIBE,PSUBSCRIBE p,\
                    PUNSUBSCRIBE,CLIENT ID,client kill id 1,CLIENT,MONITOR,SELECT 1,QUIT";
    for call in sessions.split(',') {
        let command: Vec<&str> = call.split(' ').collect();
        let name = command[0].to_uppercase();
        let expected = format!("ERR Command \"{name}\" is not allowed in REST or it has a special context path");
        assert_eq!(refused(&client.post_command(&command).await, 400), expected);
        let answer = client.pipeline(&[&command]).await;
        assert_eq!((answer.json(), answer.outcome()), (json!([{ "error": expected }]), "not_executed"));
    }
    let server = "BLPOP k 1,brpop k 1,BLMOVE a b LEFT LEFT 1,BLMPOP 1 1 k LEFT,BZPOPMIN k 1,BZPOPMAX k 1,\
                  BRPOPLPUSH a b 1,WAIT 1 1,XREAD BLOCK 1 STREAMS s 0,XREADGROUP GROUP g c BLOCK 1 STREAMS s 0,\
                  DEBUG SLEEP 0,SHUTDOWN,SAVE,REPLICAOF NO ONE,SWAPDB 0 1,MOVE k 1,COPY a b DB 1,SLOWLOG GET,\
                  LATENCY RESET,FAILOVER,PSYNC a 1,SYNC";
    for call in server.split(',') {
        let command: Vec<&str> = call.split_whitespace().collect();
        let text = refused(&client.post_command(&command).await, 400);
        let expected = format!("ERR Command is not available: '{}", command[0].to_uppercase());
        assert!(text.starts_with(&expected), "{call}: {text}");
    }
    for (call, name) in
        [("config set maxmemory 1", "CONFIG SET"), ("MODULE LIST", "MODULE LIST"), ("ACL SETUSER u", "ACL SETUSER")]
    {
        let text = refused(&client.post_command(&call.split(' ').collect::<Vec<_>>()).await, 400);
        assert!(text.starts_with(&format!("ERR Command is not available: '{name}'")), "{call}: {text}");
    }
    let ours: Vec<&str> = HANDSHAKE.iter().copied().chain([PROBE, "PING", "TIME"]).collect();
    assert_eq!(proxy.total_except(&ours), 0, "{:?}", proxy.counts());
}

#[tokio::test]
async fn the_root_token_has_every_scope() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "k", "v"]).await;
    let calls = "KEYS k,CONFIG GET port,INFO server,SCRIPT EXISTS x,FUNCTION LIST,ACL WHOAMI,ROLE,XREAD STREAMS s 0";
    for call in calls.split(',') {
        let command: Vec<&str> = call.split(' ').collect();
        let answer = client.post_command(&command).await;
        // Of `deploy/redis` the server itself refuses what shows its settings, whoever asks.
        let refused = call.starts_with("CONFIG") && redis.user() != "default";
        assert_eq!(answer.status, if refused { 400 } else { 200 }, "{call}: {}", answer.text());
        assert_eq!(answer.text().contains("NOPERM"), refused, "{call}");
    }
    assert_eq!(client.post_command(&["FLUSHDB"]).await.result(), "OK");
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn flushall_empties_this_database_and_no_other() {
    let (redis, _app, client) = service().await;
    let mut elsewhere = redis.connect().await;
    elsewhere.command(&["SELECT", "1"]).await.expect("a reply");
    elsewhere.command(&["SET", "kept", "yes"]).await.expect("a reply");
    redis.command(&["SET", "gone", "soon"]).await;
    for command in [&["FLUSHALL"][..], &["flushall", "ASYNC"], &["FLUSHALL", "SYNC"]] {
        assert_eq!(client.post_command(command).await.result(), "OK");
        assert_eq!(redis.command(&["EXISTS", "gone"]).await, 0);
        assert_eq!(elsewhere.command(&["GET", "kept"]).await.expect("a reply"), "yes", "{command:?}");
    }
}

#[tokio::test]
async fn keys_of_the_service_are_refused_wherever_they_stand() {
    let (redis, _app, client) = service().await;
    redis.command(&["SET", "collective:x", "ours"]).await;
    let calls = "GET collective:x,set collective:x v,DEL a collective:x,MSET a 1 collective:x 2,RENAME a collective:x,\
                 COPY collective:x a,EVAL return 1 collective:x,SORT l STORE collective:x,XREAD STREAMS collective:x 0,\
                 ZUNIONSTORE d 1 collective:x,BITOP NOT collective:x a,OBJECT ENCODING collective:x,\
                 LMPOP 1 collective:x LEFT,GEORADIUS g 0 0 1 m STORE collective:x,MEMORY USAGE collective:x,\
                 UNLINK collective:x";
    for call in calls.split(',') {
        let command: Vec<&str> = call.split_whitespace().collect();
        let text = refused(&client.post_command(&command).await, 403);
        assert!(text.starts_with("NOPERM "), "{call}: {text}");
        let answer = client.pipeline(&[&["SET", "k", "v"], &command, &["GET", "k"]]).await;
        assert_eq!((answer.status, answer.outcome()), (200, "not_executed"), "{call}");
        assert_eq!(answer.json(), json!([{ "result": "OK" }, { "error": text }, { "result": "v" }]), "{call}");
    }
    assert_eq!(redis.command(&["GET", "collective:x"]).await, "ours");
    assert_eq!(client.post_command(&["SET", "k", "collective:x"]).await.result(), "OK", "a value may be anything");
}

#[tokio::test]
async fn every_success_carries_a_sync_token_no_other_has_had() {
    let (_redis, _app, client) = service().await;
    let mut calls = JoinSet::new();
    for turn in 0..30 {
        let client = client.with_header("upstash-sync-token", ["", "my-new-sync-token", "17"][turn % 3]);
        calls.spawn(async move {
            match turn % 2 {
                0 => client.post_command(&["SET", "k", "same"]).await,
                _ => client.pipeline(&[&["SET", "k", "same"]]).await,
            }
        });
    }
    let answers = calls.join_all().await;
    let mut tokens: Vec<&str> = answers.iter().filter_map(|answer| answer.header("upstash-sync-token")).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 30);
    assert!(tokens.iter().all(|token| !token.is_empty()));
}

#[tokio::test]
async fn the_media_type_of_a_body_is_ignored_and_put_will_do() {
    let (_redis, _app, client) = service().await;
    for media_type in ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8", "nonsense"]
    {
        for (path, body, expected) in [
            ("/", "[\"PING\"]", json!({ "result": "PONG" })),
            ("/pipeline", "[[\"PING\"]]", json!([{ "result": "PONG" }])),
        ] {
            for method in [Method::POST, Method::PUT] {
                let request = client.request(method, path).header("Content-Type", media_type).body(body);
                let answer = client.send(request).await;
                assert_eq!((answer.status, answer.json()), (200, expected.clone()), "{media_type}");
                assert_eq!(answer.header("content-type"), Some("application/json"));
            }
        }
    }
}

#[tokio::test]
async fn slashes_around_the_path_do_not_matter() {
    let (_redis, _app, client) = service().await;
    for path in ["//pipeline", "/pipeline/", "//pipeline//"] {
        let answer = send(&client, path, "[[\"PING\"]]").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "[{\"result\":\"PONG\"}]"), "{path}");
    }
    assert_eq!(send(&client, "//", "[\"PING\"]").await.text(), "{\"result\":\"PONG\"}");
}

#[tokio::test]
async fn other_methods_and_what_is_not_built_say_so_and_run_nothing() {
    let (redis, _app, client) = service().await;
    for path in ["/", "/pipeline"] {
        for method in [Method::GET, Method::DELETE, Method::PATCH] {
            let answer = client.send(client.request(method, path).body("[[\"SET\",\"k\",\"v\"]]")).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, PUT, HEAD, OPTIONS")));
            assert!(error_of(&answer.json()).starts_with("ERR "));
        }
    }
    for (path, status, way_out) in [
        ("/subscribe", 400, "the path is /subscribe/<name>"),
        ("/psubscribe", 400, "the path is /psubscribe/<name>"),
        ("/monitor", 400, "MONITOR is not available"),
        ("/pipeline/set/k/v", 400, "unknown command 'pipeline'"),
    ] {
        let answer = send(&client, path, "[[\"SET\",\"k\",\"v\"]]").await;
        assert_eq!(answer.status, status, "{path}");
        assert!(error_of(&answer.json()).contains(way_out), "{path}: {}", answer.text());
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
}

#[tokio::test]
async fn a_deadline_that_is_no_number_is_refused_before_anything_runs() {
    let (redis, _app, client) = service().await;
    for value in ["0", "-1", "1.5", "abc", "", "10ms"] {
        for (path, body) in [("/", "[\"SET\",\"k\",\"v\"]"), ("/pipeline", "[[\"SET\",\"k\",\"v\"]]")] {
            let answer = send(&client.with_header("X-Request-Timeout-Ms", value), path, body).await;
            assert_eq!(answer.status, 400, "{value}");
            assert!(error_of(&answer.json()).contains("X-Request-Timeout-Ms"), "{value}");
        }
    }
    assert_eq!(redis.command(&["EXISTS", "k"]).await, 0);
    assert_eq!(client.timeout_ms(60_000).post_command(&["PING"]).await.result(), "PONG", "it is cut, not refused");
}

#[tokio::test]
async fn a_command_of_too_many_arguments_is_refused_before_it_is_sent() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("limits.arguments", "10000").start().await;
    let client = app.client();
    let keys = vec!["k"; 10_000];
    let at: Vec<&str> = ["EXISTS"].into_iter().chain(keys[1..].iter().copied()).collect();
    let over: Vec<&str> = ["EXISTS"].into_iter().chain(keys.iter().copied()).collect();
    assert_eq!(client.post_command(&at).await.result(), 0);
    let refused = client.post_command(&over).await;
    assert_eq!((refused.status, refused.outcome()), (413, "not_executed"));
    assert!(refused.text().contains("Limit: 10000 arguments"), "{}", refused.text());
    let items = client.pipeline(&[&["SET", "k", "v"], &over]).await;
    assert_eq!((items.status, &items.json()[0]["result"]), (200, &"OK".into()));
    assert!(items.json()[1]["error"].as_str().is_some_and(|text| text.contains("max arguments")), "{}", items.text());
    assert_eq!(client.multi_exec(&[&["DEL", "k"], &over]).await.status, 413);
    assert_eq!(redis.command(&["GET", "k"]).await, "v");
    let list = vec![&at[..]; 11];
    let together = client.pipeline(&list).await;
    assert_eq!((together.status, together.outcome()), (413, "not_executed"), "{}", together.text());
}
