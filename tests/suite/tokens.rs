//! Tokens of the configuration: what a full and what a read-only one may do, on both surfaces.
//!
//! Digests are made with the `sha256sum` of the documentation, so that the line users paste is the one that is proven.

use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;

use crate::harness::described::Operation;
use crate::harness::{App, Client, Options, Redis};
use crate::keys::patient;

const FULL: &str = "full-7f3c9e1d2b8a4650917263544a5b6c7d";
const READER: &str = "reader-0a1b2c3d4e5f60718293a4b5c6d7e8";

/// What `printf %s "$TOKEN" | sha256sum` prints, without the file name.
pub fn digest(token: &str) -> String {
    let mut program =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum of coreutils");
    program.stdin.take().expect("its input").write_all(token.as_bytes()).expect("the token is read");
    let output = program.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a digest").to_owned()
}

struct House {
    redis: Redis,
    app: App,
}

impl House {
    async fn start() -> Self {
        let redis = Redis::start(Options::default()).await;
        let app = patient(&redis.url())
            .set("auth.full_token_sha256", format!("{},{}", digest("another-token"), digest(FULL)))
            .set("auth.read_only_token_sha256", digest(READER))
            .start()
            .await;
        redis.command(&["SET", "k", "v"]).await;
        Self { redis, app }
    }

    fn full(&self) -> Client {
        self.app.client().token(FULL)
    }

    fn reader(&self) -> Client {
        self.app.client().token(READER)
    }
}

fn noperm(command: &str) -> String {
    format!("NOPERM this user has no permissions to run the '{command}' command or its subcommand")
}

#[tokio::test]
async fn a_read_only_token_reads_what_it_names() {
    let house = House::start().await;
    let reader = house.reader();
    assert_eq!(reader.post_command(&["GET", "k"]).await.result(), json!("v"));
    assert_eq!(reader.get("/mget/k/none").await.result(), json!(["v", null]));
    assert_eq!(reader.get(&format!("/get/k?_token={READER}")).await.result(), json!("v"));
    for call in [
        &["SET", "k", "w"][..],
        &["GETDEL", "k"],
        &["SCAN", "0"],
        &["KEYS", "*"],
        &["EVAL", "return 1", "0"],
        &["EVALSHA", "x", "0"],
        &["PUBLISH", "c", "m"],
        &["PUBSUB", "CHANNELS"],
        &["PUBSUB", "SHARDCHANNELS"],
        &["FLUSHALL"],
        &["INFO"],
        &["nosuchcommand"],
    ] {
        let answer = reader.post_command(call).await;
        assert_eq!((answer.status, answer.outcome()), (403, "not_executed"), "{call:?}");
        assert_eq!(answer.json(), json!({"error": noperm(&call[0].to_lowercase())}));
    }
    assert_eq!(house.redis.command(&["GET", "k"]).await, "v");
}

#[tokio::test]
async fn a_read_only_token_subscribes_and_does_not_publish() {
    let house = House::start().await;
    let reader = house.reader();
    let mut channel = reader.subscribe("c").await;
    channel.expect("data: subscribe,c,1").await;
    let browser = reader.without_token();
    let mut pattern = browser.events(Method::GET, &format!("/psubscribe/c*?_token={READER}")).await;
    pattern.expect("data: psubscribe,c*,1").await;
    assert_eq!(reader.post_command(&["PUBLISH", "c", "m"]).await.json(), json!({"error": noperm("publish")}));
    assert_eq!(house.full().post_command(&["PUBLISH", "c", "m"]).await.result(), json!(2), "one for each kind");
    channel.expect("data: message,c,m").await;
    pattern.expect("data: pmessage,c*,c,m").await;
}

#[tokio::test]
async fn a_denial_is_an_items_own_in_a_pipeline_and_discards_a_transaction() {
    let house = House::start().await;
    let list = house.reader().pipeline(&[&["GET", "k"], &["GEOADD", "g", "1", "1", "m"], &["TTL", "k"]]).await;
    assert_eq!((list.status, list.outcome()), (200, "not_executed"));
    assert_eq!(list.json(), json!([{"result": "v"}, {"error": noperm("geoadd")}, {"result": -1}]));
    let transaction = house.reader().multi_exec(&[&["GET", "k"], &["DEL", "k"]]).await;
    assert_eq!((transaction.status, transaction.json()), (403, json!({"error": noperm("del")})));
    assert_eq!(house.reader().multi_exec(&[&["GET", "k"]]).await.json(), json!([{"result": "v"}]));
    let blocked = house.reader().post_command(&["BLPOP", "l", "0"]).await;
    assert_eq!(blocked.status, 400, "what nobody may run has its own text: {}", blocked.text());
}

#[tokio::test]
async fn a_full_token_runs_scripts_and_flushes_but_does_not_look_into_the_server() {
    let house = House::start().await;
    let full = house.full();
    assert_eq!(full.post_command(&["EVAL", "return 1", "0"]).await.result(), json!(1));
    assert_eq!(full.post_command(&["KEYS", "k*"]).await.result(), json!(["k"]));
    assert_eq!(full.post_command(&["SCRIPT", "FLUSH"]).await.result(), json!("OK"));
    assert_eq!(full.post_command(&["CONFIG", "GET", "requirepass"]).await.json(), json!({"error": noperm("config")}));
    assert_eq!(full.post_command(&["ACL", "LIST"]).await.status, 403);
    assert_eq!(
        house.app.client().post_command(&["ACL", "WHOAMI"]).await.result(),
        json!(house.redis.user()),
        "root may"
    );
    assert_eq!(full.post_command(&["FLUSHDB"]).await.result(), json!("OK"));
    assert_eq!(full.token("another-token").post_command(&["PING"]).await.result(), json!("PONG"));
}

#[tokio::test]
async fn v1_knows_the_same_tokens() {
    let house = House::start().await;
    assert_eq!(house.full().put_key("a", "1").await.status, 201);
    assert_eq!(house.full().increment("n", 1).await.status, 200);
    let reader = house.reader();
    assert_eq!(reader.get_key("a").await.text(), "1");
    assert_eq!(reader.get("/v1/counters/n").await.status, 200);
    for answer in [
        reader.put_key("a", "2").await,
        reader.delete_key("a").await,
        reader.increment("n", 1).await,
        // Asking settles, and what is settled is kept.
        reader.get("/v1/operations/k").await,
        reader.send(reader.request(Method::DELETE, "/v1/counters/n")).await,
    ] {
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("forbidden")));
    }
    assert_eq!(house.redis.command(&["GET", "a"]).await, "1");
}

/// What a read-only token may ask below `/v1`, by the ids of the document. An operation that joins them is a decision, and made here.
const READS: [&str; 10] = [
    "readKey",
    "inspectKey",
    "readCounter",
    "inspectCounter",
    "inspectLease",
    "checkLease",
    "peekLimiter",
    "checkLimiter",
    "lookIntoRoom",
    "checkRoom",
];

#[tokio::test]
async fn each_operation_of_the_document_is_open_to_the_tokens_it_is_for_and_to_no_other() {
    let house = House::start().await;
    let resources = Operation::all().iter().filter(|operation| operation.path.starts_with("/v1/"));
    let denied = async |client: &Client, operation: &Operation| {
        let answer = client.send(operation.example(client)).await;
        assert_ne!(answer.status, 401, "{}", operation.name());
        answer.status == 403
    };
    house.app.client().settled().await;
    let before = house.redis.keys_of_callers().await;
    let (reader, full) = (house.reader(), house.full());
    let mut read = Vec::new();
    for operation in resources.clone() {
        if !denied(&reader, operation).await {
            read.push(operation.id());
        }
    }
    read.sort_unstable();
    let mut expected = READS.to_vec();
    expected.sort_unstable();
    assert_eq!(read, expected);
    assert_eq!(house.redis.keys_of_callers().await, before, "a token that may only read made something");
    for operation in resources {
        assert!(!denied(&full, operation).await, "{}", operation.name());
        assert!(!denied(&house.app.client(), operation).await, "{}", operation.name());
    }
}

#[tokio::test]
async fn a_strangers_token_is_the_same_as_none() {
    let house = House::start().await;
    let wrong = "WRONGPASS invalid or missing auth token";
    for client in
        [house.app.client().without_token(), house.full().token("nobody's"), house.full().token(&digest(FULL))]
    {
        for answer in
            [client.post_command(&["PING"]).await, client.pipeline(&[&["PING"]]).await, client.get("/ping").await]
        {
            assert_eq!(answer.status, 401);
            assert!(answer.json()["error"].as_str().is_some_and(|text| text.starts_with(wrong)), "{}", answer.text());
        }
    }
    assert!(![FULL, READER].iter().any(|token| house.app.log().contains(token)), "a token is in the log");
}

#[tokio::test]
async fn a_token_in_place_of_its_digest_is_refused_and_not_shown() {
    let ended = App::builder().set("auth.full_token_sha256", FULL).argument("check-config").run().await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("auth.full_token_sha256") && ended.stderr.contains("sha256sum"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(FULL), "{}", ended.stderr);
}

#[tokio::test]
async fn the_verb_token_prints_the_token_in_force_and_makes_none() {
    let configured = App::builder().argument("token").run().await;
    assert_eq!((configured.code, configured.stdout.trim_end()), (Some(0), crate::harness::app::ROOT_TOKEN));

    let app = App::builder().unset("auth.root_token").start().await;
    let beside = || App::builder().unset("auth.root_token").set("data_dir", app.data_directory().display());
    let printed = beside().argument("token").run().await;
    let kept = std::fs::read_to_string(app.data_directory().join("root-token")).expect("the token's file");
    assert_eq!((printed.code, printed.stdout), (Some(0), kept), "while the service holds the directory");

    let early = App::builder().unset("auth.root_token").argument("token").run().await;
    assert_eq!((early.code, early.stdout.as_str()), (Some(1), ""));
    assert!(early.stderr.contains("(data_dir)") && early.stderr.contains("start the service"), "{}", early.stderr);
}
