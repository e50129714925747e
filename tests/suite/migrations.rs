//! Migrations: the functions of `/v1` come into Redis by themselves, once, whoever is there to bring them.
//!
//! Why so: many replicas start together, are killed while they start, and old ones live beside new ones; and a server may lose
//! what it was given. None of it may show in an answer, and where two builds disagree nobody may guess.
//!
//! Limits: a later version is played by a record and a library that this one does not know.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Answer, App, Client, Options, Proxy, Redis, Reply, eventually};
use crate::keys::{patient, problem};
use crate::tokens::digest;

const PATIENCE: Duration = Duration::from_secs(20);

const RECORD: &str = "collective:migrations";
const LOCK: &str = "collective:migrations:lock";
const LIBRARY: &str = "collective_v1";

async fn redis() -> Redis {
    Redis::start(Options::default()).await
}

/// A call that only a function can answer.
async fn bounded(client: &Client) -> Answer {
    client.post("/v1/counters/bounded/increment", &json!({ "by": 1, "max": 1000 })).await
}

async fn is_in_place(redis: &Redis) -> bool {
    let list = redis.command(&["FUNCTION", "LIST", "LIBRARYNAME", LIBRARY]).await;
    !list.items().is_empty() && record(redis).await.iter().all(|(_, line)| !line.starts_with("applying"))
}

async fn until_in_place(redis: &Redis) {
    eventually(PATIENCE, async || is_in_place(redis).await).await;
}

async fn record(redis: &Redis) -> Vec<(String, String)> {
    let text = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    let fields = redis.command(&["HGETALL", RECORD]).await;
    fields.items().chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

async fn migrate(redis: &Redis, option: Option<&str>) -> (Option<i32>, String) {
    let builder = App::with_redis(&redis.url()).argument("migrate");
    let ended = option.into_iter().fold(builder, |builder, option| builder.argument(option)).run().await;
    (ended.code, ended.stdout + &ended.stderr)
}

#[tokio::test]
async fn the_functions_are_there_soon_after_the_start() {
    let redis = redis().await;
    // Patient, here and below, where a single increment must be answered: it is never sent twice.
    let app = patient(&redis.url()).start().await;
    until_in_place(&redis).await;
    let record = record(&redis).await;
    assert!(record.iter().any(|(id, line)| id == "0001_prelude" && line.starts_with("applied ")), "{record:?}");
    assert_eq!(bounded(&app.client()).await.status, 200);
    assert_eq!(app.client().status().await["checks"]["redis:migrations"][0]["status"], "pass");
}

#[tokio::test]
async fn many_replicas_at_once_load_the_library_once() {
    let redis = redis().await;
    let proxy = Proxy::in_front_of(&redis, 1);
    proxy.delay(Duration::from_millis(5));
    let mut starts = JoinSet::new();
    for _ in 0..4 {
        // Patient: a load whose reply is late on a busy machine would be sent again.
        let builder = patient(&proxy.url());
        starts.spawn(async move { builder.start().await });
    }
    let replicas = starts.join_all().await;
    for replica in &replicas {
        let client = replica.client();
        eventually(PATIENCE, async || bounded(&client).await.status == 200).await;
    }
    let loads = proxy.history().iter().filter(|(_, line)| line.starts_with("FUNCTION LOAD")).count();
    assert_eq!(loads, 1, "one replica applies, the others wait for it");
}

#[tokio::test]
async fn what_a_replica_left_half_way_is_done_by_the_next() {
    let redis = redis().await;
    let proxy = Proxy::in_front_of(&redis, 2);
    proxy.do_not_spare_probes();
    proxy.only(&["FUNCTION LOAD"]);
    proxy.hold_requests_of_everyone();
    // Patient: whose attempts have ended gives the lock back.
    let first = patient(&proxy.url()).start().await;
    // The looks pass; the load is kept back with the lock taken and the record begun.
    eventually(PATIENCE, async || {
        let begun = record(&redis).await.iter().any(|(_, line)| line.starts_with("applying"));
        begun && proxy.requests_waiting() > 0
    })
    .await;
    first.kill9();
    assert_ne!(redis.command(&["EXISTS", LOCK]).await, 0, "its lock outlives it");
    let second = patient(&redis.url()).start().await;
    until_in_place(&redis).await;
    assert_eq!(bounded(&second.client()).await.status, 200);
    // What the dead one had sent arrives after all: the same library, so nothing changes.
    proxy.release();
    assert_eq!(bounded(&second.client()).await.status, 200);
}

#[tokio::test]
async fn a_library_that_took_a_name_of_ours_gives_way() {
    const NAMES_IT_AS_IT_RUNS: &str = "#!lua name=mine\nredis.register_function('Collective' .. '_v1_key_put', \
                                       function() return 7 end)";
    const OTHER: &str = "#!lua name=other\nredis.register_function('other', function() return 7 end)";
    let redis = redis().await;
    for library in [NAMES_IT_AS_IT_RUNS, OTHER] {
        assert!(!redis.command(&["FUNCTION", "LOAD", library]).await.is_error());
    }
    let app = patient(&redis.url()).start().await;
    until_in_place(&redis).await;
    assert_eq!(bounded(&app.client()).await.status, 200);
    let left = async |name| redis.command(&["FUNCTION", "LIST", "LIBRARYNAME", name]).await.items().len();
    assert_eq!((left("mine").await, left("other").await), (0, 1));
    assert_eq!(app.log().matches("names of the service's own").count(), 1, "{}", app.log());
}

#[tokio::test]
async fn functions_that_were_lost_come_back_with_the_call_that_needs_them() {
    let redis = redis().await;
    let app = patient(&redis.url()).start().await;
    until_in_place(&redis).await;
    // And the service knows: a call that is told so while it brings them for itself would be sent again before they are there.
    app.client().settled().await;
    for round in 1..=3 {
        assert_eq!(redis.command(&["FUNCTION", "FLUSH"]).await, Reply::Status("OK".into()));
        let answer = bounded(&app.client()).await;
        assert_eq!((answer.status, &answer.json()["value"]), (200, &json!(round)), "{}", answer.text());
    }
    redis.command(&["FLUSHALL"]).await;
    redis.command(&["FUNCTION", "FLUSH"]).await;
    assert_eq!(bounded(&app.client()).await.json(), json!({ "value": 1 }), "as on an empty server after a failover");
}

#[tokio::test]
async fn a_caller_who_gives_up_half_way_does_not_lock_the_next_one_out() {
    let redis = redis().await;
    let proxy = Proxy::in_front_of(&redis, 3);
    let app = patient(&proxy.url()).start().await;
    until_in_place(&redis).await;
    let client = app.client();
    proxy.delay(Duration::from_millis(10));
    redis.command(&["FUNCTION", "FLUSH"]).await;
    // Each step takes 20 ms, so that he has the lock and not the time.
    eventually(PATIENCE, async || {
        let given_up = bounded(&client.timeout_ms(130)).await;
        assert_ne!(given_up.status, 200, "{}", given_up.text());
        redis.command(&["EXISTS", LOCK]).await != 0
    })
    .await;
    let next = bounded(&client.timeout_ms(2_000)).await;
    assert_eq!((next.status, &next.json()["value"]), (200, &json!(1)), "{}", next.text());
}

#[tokio::test]
async fn a_replica_that_may_not_load_functions_does_not_spoil_it_for_those_that_may() {
    let redis = redis().await;
    redis.command(&["ACL", "SETUSER", redis.user(), "-function|load"]).await;
    let app = patient(&redis.url()).start().await;
    let document = problem(&bounded(&app.client()).await, 503, "functions_missing");
    assert_eq!(document["outcome"], "not_executed");
    let (code, output) = migrate(&redis, None).await;
    assert!(code == Some(1) && output.contains("redis-acl"), "it says what to do: {output}");
    redis.command(&["ACL", "SETUSER", redis.user(), "+function|load"]).await;
    eventually(PATIENCE, async || bounded(&app.client()).await.status == 200).await;
}

#[tokio::test]
async fn a_migration_that_was_edited_is_refused_and_everything_else_is_served() {
    let redis = redis().await;
    redis.command(&["HSET", RECORD, "0001_prelude", "applied 0000"]).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    let document = problem(&bounded(&client).await, 503, "functions_missing");
    assert_eq!(document["outcome"], "not_executed");
    assert_eq!(client.put_key("k", "v").await.status, 201);
    assert_eq!(client.increment("plain", 1).await.status, 200);
    assert_eq!(client.post_command(&["GET", "k"]).await.result(), "v");
    eventually(PATIENCE, async || app.log().contains("migrations not applied")).await;
    let check = client.status().await["checks"]["redis:migrations"][0].clone();
    assert_eq!(check["status"], "warn", "{check}");
    assert!(check["output"].as_str().is_some_and(|text| text.contains("0001_prelude")), "{check}");
    let (code, text) = migrate(&redis, None).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("0001_prelude") && text.contains("collective migrate --repair"), "{text}");
    assert_eq!(migrate(&redis, Some("--repair")).await.0, Some(0));
    eventually(PATIENCE, async || bounded(&client).await.status == 200).await;
}

#[tokio::test]
async fn a_dirty_record_is_refused_until_somebody_repairs_it() {
    for (field, line) in [("0002_counters", "failed 0000"), ("0001_other", "applied 0000"), ("0001_prelude", "torn")] {
        let redis = redis().await;
        redis.command(&["HSET", RECORD, field, line]).await;
        let (code, text) = migrate(&redis, None).await;
        assert_eq!(code, Some(1), "{field} {line}: {text}");
        assert!(text.contains(field) && text.contains("--repair"), "{text}");
        assert!(migrate(&redis, Some("--status")).await.1.contains("refused"), "{field} {line}");
        assert_eq!(migrate(&redis, Some("--repair")).await.0, Some(0));
        assert_eq!(migrate(&redis, None).await, (Some(0), "nothing to do: every migration is applied\n".to_owned()));
    }
}

#[tokio::test]
async fn functions_replaced_by_hand_are_not_trusted_by_the_next_start() {
    let redis = redis().await;
    assert_eq!(migrate(&redis, None).await, (Some(0), "migrations applied\n".to_owned()));
    let forged = format!("#!lua name={LIBRARY}\nredis.register_function('{LIBRARY}_other', function() return 1 end)");
    redis.command(&["FUNCTION", "LOAD", "REPLACE", &forged]).await;
    let (code, text) = migrate(&redis, None).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("by hand"), "{text}");
}

#[tokio::test]
async fn an_old_service_works_on_a_newer_schema_and_leaves_it_alone() {
    let redis = redis().await;
    assert_eq!(migrate(&redis, None).await.0, Some(0));
    let list = redis.command(&["FUNCTION", "LIST", "LIBRARYNAME", LIBRARY, "WITHCODE"]).await;
    let Reply::Bulk(code) = &list.items()[0].items()[7] else { panic!("{list:?}") };
    let ours = String::from_utf8_lossy(code);
    let body = ours.splitn(3, '\n').last().expect("what comes after the name and the seal");
    let body = format!("{body}define('later', function() return {{'ok'}} end)\n");
    let newer = format!("#!lua name={LIBRARY}\n-- sha256 {}\n{body}", digest(&body));
    redis.command(&["FUNCTION", "LOAD", "REPLACE", &newer]).await;
    redis.command(&["HSET", RECORD, "9999_later", "applied 0000"]).await;
    let old = patient(&redis.url()).start().await;
    assert_eq!(bounded(&old.client()).await.status, 200);
    assert_eq!(migrate(&redis, None).await, (Some(0), "nothing to do: every migration is applied\n".to_owned()));
    assert_eq!(redis.command(&["FCALL", "collective_v1_later", "0", "", "", ""]).await.items().len(), 2);
    assert!(migrate(&redis, Some("--status")).await.1.contains("9999_later"));
    // A replica of the old version that was paused while it applied goes on now: nobody is locked out by that.
    redis.command(&["FUNCTION", "LOAD", "REPLACE", &ours]).await;
    assert_eq!(migrate(&redis, None).await, (Some(0), "nothing to do: every migration is applied\n".to_owned()));
    assert_eq!(bounded(&old.client()).await.status, 200);
    // If the newer functions are lost, the older ones come back: enough for the old service, and the new one adds its own.
    redis.command(&["FUNCTION", "FLUSH"]).await;
    assert_eq!(bounded(&old.client()).await.status, 200);
}

#[tokio::test]
async fn a_redis_without_functions_serves_everything_that_needs_none() {
    let options =
        Options::default().set("rename-command FUNCTION", "nofunction").set("rename-command FCALL", "nofcall");
    let redis = Redis::start(options).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    let document = problem(&bounded(&client).await, 501, "functions_unsupported");
    assert_eq!((&document["outcome"], &document["retryable"]), (&json!("not_executed"), &json!(false)));
    assert_eq!(client.put_key("k", "v").await.status, 201);
    assert_eq!(client.increment("plain", 1).await.status, 200);
    let (code, text) = migrate(&redis, None).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("Redis 7.0"), "{text}");
}

#[tokio::test]
async fn migrating_an_embedded_redis_is_the_services_own_affair() {
    let ended = App::builder().argument("migrate").run().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("collective serve"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_redis_that_comes_late_delays_the_functions_and_not_the_start() {
    let redis = redis().await;
    redis.freeze();
    let app = App::with_redis(&redis.url()).start().await;
    assert_eq!(app.client().probe("/readyz").await.status, 200);
    redis.thaw();
    until_in_place(&redis).await;
    eventually(PATIENCE, async || bounded(&app.client()).await.status == 200).await;
}
