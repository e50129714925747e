//! `Idempotency-Key`: an effect that happens once however often its request arrives, and `unknown` made curable.
//!
//! Why so: a lost reply is the one failure a client cannot tell from a lost request. With a key he need not: he sends it
//! again, or asks what became of it. So every test ends at Redis, which knows how often something really happened.
//!
//! Limits: what a key does to leases and limiters is told with them; only what is told about them later is told here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, App, Client, Options, Proxy, Redis, eventually};
use crate::keys::{patient, problem};
use crate::leases::{acquire, renew, token};
use crate::limiters::{daily, take};

const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    redis: Redis,
    proxy: Proxy,
    _app: App,
    client: Client,
}

async fn house(seed: u64) -> House {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, seed);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    // The functions are there before a fault can strike.
    let warm = client.post("/v1/counters/warm/increment", &json!({ "by": 1, "max": 9 })).await;
    assert_eq!(warm.status, 200, "{}", warm.text());
    House { redis, proxy, _app: app, client }
}

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

async fn operation(client: &Client, key: &str) -> Value {
    let answer = client.get(&format!("/v1/operations/{key}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn the_second_arrival_gets_the_first_ones_answer_and_says_so() {
    let house = house(1).await;
    let client = house.client.idempotency_key("order-17");
    let first = client.increment("c", 5).await;
    assert!(!replayed(&first));
    house.redis.command(&["INCRBY", "c", "100"]).await;
    for _ in 0..3 {
        let again = client.increment("c", 5).await;
        assert_eq!((again.status, again.text(), replayed(&again)), (200, first.text(), true));
    }
    assert_eq!(house.redis.command(&["GET", "c"]).await, "105");
    let quoted = house.client.idempotency_key("\"order-17\"").increment("c", 5).await;
    assert!(replayed(&quoted), "a structured field's quotes are no part of the key");
}

#[tokio::test]
async fn a_refusal_that_redis_decided_is_remembered_too() {
    let house = house(2).await;
    let client = house.client.idempotency_key("bound");
    let step = json!({ "by": 7, "max": 5 });
    let document = problem(&client.post("/v1/counters/c/increment", &step).await, 409, "limit_reached");
    assert_eq!(document["value"], 0);
    house.redis.command(&["SET", "c", "-50"]).await;
    let again = client.post("/v1/counters/c/increment", &step).await;
    assert!(replayed(&again));
    problem(&again, 409, "limit_reached");
    assert_eq!(house.redis.command(&["GET", "c"]).await, "-50");
}

#[tokio::test]
async fn a_key_names_one_request_of_one_caller() {
    let house = house(3).await;
    let client = house.client.idempotency_key("mine");
    assert_eq!(client.increment("c", 1).await.status, 200);
    problem(&client.increment("c", 2).await, 422, "idempotency_key_reused");
    problem(&client.increment("d", 1).await, 422, "idempotency_key_reused");
    assert_eq!(client.post_command(&["INCR", "c"]).await.result(), 2, "commands have names of their own");
    assert_eq!(house.redis.command(&["GET", "c"]).await, "2");
    assert_eq!(house.redis.command(&["EXISTS", "d"]).await, 0);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_by_its_rule() {
    let house = house(4).await;
    for bad in ["", "a b", "\"\"", &"k".repeat(256)] {
        let client = house.client.idempotency_key(bad);
        let document = problem(&client.increment("c", 1).await, 422, "invalid_value");
        assert_eq!(document["errors"][0]["pointer"], "Idempotency-Key", "{bad:?}");
        assert_eq!(client.post_command(&["INCR", "c"]).await.status, 422, "{bad:?}");
    }
    let client = house.client.idempotency_key("k");
    problem(&client.put_key("k", "v").await, 422, "invalid_value");
    problem(&client.delete_key("k").await, 422, "invalid_value");
    assert_eq!(house.redis.keys_of_callers().await, 1);
}

#[tokio::test]
async fn concurrent_duplicates_are_one() {
    let house = house(5).await;
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let client = house.client.idempotency_key("together");
        calls.spawn(async move { client.increment("c", 1).await });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| answer.json() == json!({ "value": 1 })));
    assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
    assert_eq!(house.redis.command(&["GET", "c"]).await, "1");
}

#[tokio::test]
async fn with_a_key_the_gateway_itself_sends_it_again() {
    let house = house(6).await;
    house.proxy.only(&["FCALL"]);
    house.proxy.lose_connection_instead_of_reply(0.3);
    for turn in 0..30 {
        let client = house.client.idempotency_key(&format!("turn-{turn}"));
        let mut answer = client.increment("c", 1).await;
        while answer.status == 504 || answer.status == 503 {
            answer = client.increment("c", 1).await;
        }
        assert_eq!(answer.json(), json!({ "value": turn + 1 }));
    }
    assert!(house.proxy.injected().replies_lost > 5);
    assert_eq!(house.redis.command(&["GET", "c"]).await, "30");
}

#[tokio::test]
async fn what_is_unknown_can_be_asked_about() {
    let house = house(7).await;
    house.proxy.only(&["FCALL"]);
    house.proxy.lose_connection_instead_of_reply(1.0);
    let client = house.client.idempotency_key("lost-reply");
    problem(&client.increment("c", 3).await, 504, "outcome_unknown");
    house.proxy.heal();
    let told = operation(&house.client, "lost-reply").await;
    assert_eq!(told, json!({ "outcome": "executed", "reply": { "status": 200, "body": { "value": 3 } } }));
    let again = client.increment("c", 3).await;
    assert_eq!((again.json(), replayed(&again)), (json!({ "value": 3 }), true));
}

#[tokio::test]
async fn what_was_never_executed_is_refused_once_somebody_was_told_so() {
    let house = house(8).await;
    assert_eq!(operation(&house.client, "never").await, json!({ "outcome": "not_executed" }));
    let late = house.client.idempotency_key("never");
    let document = problem(&late.increment("c", 1).await, 409, "idempotency_key_settled");
    assert_eq!(document["outcome"], "not_executed");
    assert_eq!(late.post_command(&["INCR", "c"]).await.status, 409);
    assert_eq!(operation(&house.client, "never").await, json!({ "outcome": "not_executed" }));
    assert_eq!(house.redis.command(&["EXISTS", "c"]).await, 0);
}

#[tokio::test]
async fn a_request_on_its_way_is_overtaken_by_the_question_and_then_refused() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 9);
    // Connections that are silent while the service itself is answered are given up when a lane opens, and with the usual number of
    // calls that takes more failures within the window than a slow machine makes.
    let app = App::with_redis(&proxy.url()).set("breaker.minimum_calls", 5).start().await;
    let house = House { client: app.client(), redis, proxy, _app: app };
    // With so few calls slow first ones may open a lane, even under the one that succeeds; and those of unknown end may have
    // counted.
    eventually(PATIENCE, async || {
        let warm = house.client.post("/v1/counters/w/increment", &json!({ "max": 1_000_000 })).await;
        warm.status == 200 && house.client.both_lanes_serve().await
    })
    .await;
    house.proxy.only(&["FCALL"]);
    house.proxy.hold_requests();
    let answer = house.client.idempotency_key("held").timeout_ms(300).increment("c", 1).await;
    assert_eq!((answer.status, answer.outcome()), (504, "unknown"));
    // The held connections are given up for new ones, which pass.
    eventually(PATIENCE, async || house.client.get("/v1/operations/held").await.status == 200).await;
    let told = operation(&house.client, "held").await;
    house.proxy.release();
    let known = operation(&house.client, "held").await;
    assert_eq!(told, known, "what was told stays true when the late request arrives");
    let counted = house.redis.command(&["EXISTS", "c"]).await;
    assert_eq!(counted == 1, told["outcome"] == "executed", "{told}");
}

#[tokio::test]
async fn a_command_happens_once_and_its_reply_is_kept_byte_for_byte() {
    let house = house(10).await;
    house.redis.command(&["SET", "big", "9007199254740992"]).await;
    house.redis.command(&["SET", "text", "\u{1F980}"]).await;
    for (turn, (command, result)) in [
        (&["INCR", "big"][..], json!(9_007_199_254_740_993_i64)),
        (&["decrby", "big", "2"], json!(9_007_199_254_740_991_i64)),
        (&["HINCRBY", "h", "f", "9007199254740993"], json!(9_007_199_254_740_993_i64)),
        (&["LPUSH", "l", "a", "b"], json!(2)),
        (&["SADD", "s", "x"], json!(1)),
        (&["SET", "k", "v"], json!("OK")),
        (&["SET", "k", "w", "NX"], Value::Null),
        (&["GETDEL", "text"], json!("\u{1F980}")),
        (&["LPOP", "l", "2"], json!(["b", "a"])),
        (&["SETNX", "k", "x"], json!(0)),
    ]
    .into_iter()
    .enumerate()
    {
        let client = house.client.idempotency_key(&format!("command-{turn}"));
        let first = client.post_command(command).await;
        let again = client.post_command(command).await;
        assert_eq!((first.result(), again.result()), (result.clone(), result), "{command:?}: {}", first.text());
        assert_eq!((replayed(&first), replayed(&again)), (false, true), "{command:?}");
    }
    let wrong = house.client.idempotency_key("wrong");
    for turn in 0..2 {
        let answer = wrong.post_command(&["LPUSH", "k", "a"]).await;
        assert_eq!((answer.status, replayed(&answer)), (400, turn == 1));
        assert!(
            answer.json()["error"].as_str().is_some_and(|text| text.starts_with("WRONGTYPE ")),
            "{}",
            answer.text()
        );
    }
    let told = operation(&house.client, "command-0").await;
    assert_eq!(told["reply"]["body"], json!({ "result": 9_007_199_254_740_993_i64 }));
}

#[tokio::test]
async fn commands_that_cannot_happen_once_say_so_and_reads_need_no_key() {
    let house = house(11).await;
    let client = house.client.idempotency_key("once");
    for command in [
        &["EVAL", "return 1", "0"][..],
        &["BITFIELD", "b", "INCRBY", "i64", "0", "1"],
        &["PUBLISH", "c", "m"],
        &["FLUSHALL"],
        &["ZUNIONSTORE", "d", "1", "z"],
    ] {
        let answer = client.post_command(command).await;
        assert_eq!((answer.status, answer.outcome()), (422, "not_executed"), "{command:?}: {}", answer.text());
    }
    assert_eq!(client.post_command(&["GET", "none"]).await.result(), Value::Null);
    let reserved = client.post_command(&["SET", "collective:x", "v"]).await;
    assert_eq!(reserved.status, 403, "{}", reserved.text());
}

#[tokio::test]
async fn a_command_under_a_key_answers_as_without_one() {
    let house = house(16).await;
    for (turn, (before, command)) in [
        (&["ZADD z 1 a 2 b 3.5 c"][..], "ZPOPMIN z 2"),
        (&["ZADD z 1 a"], "ZADD z NX INCR 1 a"),
        (&["ZADD z 1 a"], "ZINCRBY z 1e300 a"),
        (&["SET f 0.1"], "INCRBYFLOAT f 0.2"),
        (&["HSET h f 10.5"], "HINCRBYFLOAT h f 0.1"),
        (&["SADD s x"], "SPOP s 5"),
        (&[], "SPOP nothing 5"),
        (&[], "LPOP nothing 2"),
        (&["XADD x 1-1 f v", "XGROUP CREATE x g 0"], "XGROUP CREATECONSUMER x g c"),
        (&["XADD x 1-1 f v", "XGROUP CREATE x g 0", "XREADGROUP GROUP g c STREAMS x >"], "XAUTOCLAIM x g d 0 0"),
        (&["XADD x 1-1 f v", "XGROUP CREATE x g 0", "XREADGROUP GROUP g c STREAMS x >"], "XCLAIM x g d 0 1-1"),
        (
            &["XADD x 1-1 f v", "XGROUP CREATE x g 0", "XREADGROUP GROUP g c STREAMS x >", "XDEL x 1-1"],
            "XAUTOCLAIM x g d 0 0",
        ),
        (&["XADD x 5-1 f v"], "XADD x 1-1 f v"),
        (&["SET k v"], "GETSET k w"),
        (&["SET k v"], "SET k w GET"),
        (&[], "RENAME nothing k"),
        (&["SET k 1"], "LPUSH k 1"),
        (&["SET k 9223372036854775807"], "INCR k"),
        (&["SET k -9223372036854775807"], "DECR k"),
        (&["HSET h f x"], "HINCRBY h f 1"),
        (&[], "HINCRBY h f -9223372036854775808"),
        (&["SET k x"], "EXPIRE k 100"),
        (&["SET k x"], "SETRANGE k 5 y"),
        (&[], "SETEX k 0 v"),
        (&[], "INCRBY k 1.5"),
        (&["GEOADD g 13.361389 38.115556 p"], "GEOADD g CH 13 38 p"),
        (&["PFADD p a"], "PFADD p a b"),
        (&["SET k v"], "COPY k l"),
    ]
    .into_iter()
    .enumerate()
    {
        let words: Vec<&str> = command.split(' ').collect();
        let keyed = house.client.idempotency_key(&format!("same-{turn}"));
        let mut answers = Vec::new();
        for client in [&house.client, &keyed, &keyed] {
            house.redis.command(&["DEL", "z", "f", "h", "s", "x", "k", "l", "g", "p"]).await;
            for call in before {
                house.redis.command(&call.split(' ').collect::<Vec<_>>()).await;
            }
            let answer = client.post_command(&words).await;
            answers.push((answer.status, answer.text().to_owned()));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{command}: {answers:#?}");
    }
}

#[tokio::test]
async fn a_command_with_more_words_than_a_function_can_hold_is_refused_as_such() {
    let house = house(15).await;
    let members: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut command = vec!["SADD", "s"];
    command.extend(members.iter().map(String::as_str));
    let answer = house.client.idempotency_key("long").post_command(&command).await;
    assert_eq!((answer.status, answer.outcome()), (422, "not_executed"), "{}", answer.text());
    command.truncate(5_000);
    let client = house.client.idempotency_key("shorter");
    for _ in 0..2 {
        let answer = client.post_command(&command).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.result(), 4_998);
    }
}

#[tokio::test]
async fn a_command_that_may_take_long_takes_no_shorter_time_under_a_key() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url())
        .set("attempt.timeout", "100ms")
        .set("breaker.slow_call_after", "90ms")
        .set("breaker.minimum_calls", 1_000_000)
        .start()
        .await;
    let client = app.client();
    // The service's own writes are counted as well, and none may be on its way while Redis is kept busy.
    client.settled().await;
    eventually(PATIENCE, async || client.idempotency_key("warm").increment("warm", 1).await.status == 200).await;
    let fill = "for at = 1, 400000, 4000 do local some = {} for n = at, at + 3999 do some[#some + 1] = n end \
                redis.call('SADD', KEYS[1], unpack(some)) end";
    redis.command(&["EVAL", fill, "1", "many"]).await;
    let timeouts = async || {
        let labels = [("lane", "write"), ("outcome", "timeout")];
        client.metric("collective_redis_command_duration_seconds_count", &labels).await
    };
    let before = timeouts().await;
    let keyed = client.idempotency_key("long").timeout_ms(20_000);
    let answer = keyed.post_command(&["SUNIONSTORE", "copy", "many"]).await;
    assert_eq!((answer.status, replayed(&answer)), (200, false), "{}", answer.text());
    assert_eq!(answer.result(), 400_000);
    assert_eq!(timeouts().await, before, "callers must not steer the breaker");
}

#[tokio::test]
async fn while_redis_is_down_no_key_is_used_up() {
    let house = house(12).await;
    house.redis.freeze();
    let client = house.client.idempotency_key("outage");
    eventually(PATIENCE, async || client.timeout_ms(300).increment("c", 1).await.status == 503).await;
    house.redis.thaw();
    eventually(PATIENCE, async || {
        let answer = client.increment("c", 1).await;
        answer.status == 200 && answer.json() == json!({ "value": 1 })
    })
    .await;
    assert_eq!(house.redis.command(&["GET", "c"]).await, "1");
}

/// Asks what became of the request that had this key, and holds it against the answer its caller got.
async fn assert_told_as(client: &Client, key: &str, answer: &Answer) {
    let told = operation(client, key).await;
    assert_eq!(
        (&told["outcome"], &told["reply"]["status"]),
        (&json!("executed"), &json!(answer.status)),
        "{key}: {told}"
    );
    let (later, then) = (&told["reply"]["body"], answer.json());
    for (member, value) in later.as_object().unwrap_or_else(|| panic!("{key}: {told}")) {
        match member.as_str() {
            // Of the question, not of the request.
            "request_id" | "instance" => {}
            // Time went on since.
            "retry_after_ms" | "expires_in_ms" => {
                assert!(value.as_u64() <= then[member].as_u64(), "{key}: {told}, then {then}")
            }
            _ => assert_eq!(value, &then[member], "{key}, {member}: {told}, then {then}"),
        }
    }
}

#[tokio::test]
async fn every_call_that_takes_a_key_is_told_later_as_it_was_told_to_its_caller() {
    let house = house(17).await;
    let under = |key: &str| house.client.idempotency_key(key);
    let acquired = acquire(&under("acquired"), "jobs", "a", 60_000).await;
    let renewed = renew(&under("renewed"), "jobs", token(&acquired), 60_000).await;
    let nobodys = renew(&under("nobodys"), "free", 1, 60_000).await;
    let again = json!({ "owner": "a", "ttl_ms": 60_000, "token": token(&acquired) });
    let reacquired = under("reacquired").post("/v1/leases/jobs", &again).await;
    // Behind all that moves the lease's end: the wait is told later as it is then, and only from here on does it never grow.
    let held = acquire(&under("held"), "jobs", "b", 60_000).await;
    let elsewhere = renew(&under("elsewhere"), "jobs", token(&acquired) - 1, 60_000).await;
    let granted = take(&under("granted"), "l", &daily(1)).await;
    let refused = take(&under("refused"), "l", &daily(1)).await;
    let counted = under("counted").increment("c", 7).await;
    let bound = under("bound").post("/v1/counters/c/increment", &json!({ "by": 1, "max": 7 })).await;
    let pushed = under("pushed").post_command(&["LPUSH", "list", "a", "b"]).await;
    let wrong = under("wrong").post_command(&["INCR", "list"]).await;
    let told: Vec<(&str, u16, &Answer)> = vec![
        ("acquired", 201, &acquired),
        ("held", 409, &held),
        ("renewed", 200, &renewed),
        ("elsewhere", 409, &elsewhere),
        ("nobodys", 404, &nobodys),
        ("reacquired", 200, &reacquired),
        ("granted", 200, &granted),
        ("refused", 200, &refused),
        ("counted", 200, &counted),
        ("bound", 409, &bound),
        ("pushed", 200, &pushed),
        ("wrong", 400, &wrong),
    ];
    for (key, status, answer) in &told {
        assert_eq!(answer.status, *status, "{key}: {}", answer.text());
        assert_told_as(&house.client, key, answer).await;
    }
    // What its holder needs above all is there.
    for (key, answer) in [("acquired", &acquired), ("reacquired", &reacquired)] {
        assert_eq!(operation(&house.client, key).await["reply"]["body"]["token"], token(answer), "{key}");
    }
}

#[tokio::test]
async fn other_methods_of_operations_are_told_the_right_ones() {
    let house = house(13).await;
    for method in [Method::POST, Method::DELETE] {
        let answer = house.client.send(house.client.request(method, "/v1/operations/k")).await;
        problem(&answer, 405, "method_not_allowed");
    }
    problem(&house.client.get("/v1/operations/").await, 422, "invalid_value");
}

/// Sends the same request until it is answered. The service may fail to ask Redis, or to hear from it, and nothing else.
async fn increment_in_the_end(client: &Client) {
    loop {
        let answer = client.increment("c", 1).await;
        match (answer.status, answer.outcome()) {
            (200, _) => return,
            (503, "not_executed") | (504, "unknown") => {}
            other => panic!("{other:?}: {}", answer.text()),
        }
    }
}

/// The promise with the number: 0 duplicate effects in 10⁵ calls with 10 % of replies and 10 % of requests lost.
#[tokio::test]
async fn a_hundred_thousand_increments_over_a_bad_link_are_a_hundred_thousand() {
    const CALLS: u64 = 100_000;
    const CALLERS: u64 = 64;
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 14);
    // About one call a connection: what is lost with one is then one call, and not all that share it.
    let app = App::with_redis(&proxy.url())
        .set("breaker.failure_ratio", "0.9")
        .set("redis.connections_per_worker", 32)
        .start()
        .await;
    eventually(PATIENCE, async || {
        app.client().post("/v1/counters/warm/increment", &json!({ "by": 1, "max": 9 })).await.status == 200
    })
    .await;
    proxy.only(&["FCALL"]);
    proxy.lose_connection_instead_of_reply(0.1);
    proxy.lose_connection_instead_of_request(0.1);
    let next = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, next) = (app.client(), next.clone());
        callers.spawn(async move {
            loop {
                let call = next.fetch_add(1, Ordering::Relaxed);
                if call >= CALLS {
                    return;
                }
                let client = client.idempotency_key(&format!("call-{call}"));
                increment_in_the_end(&client).await;
            }
        });
    }
    callers.join_all().await;
    let lost = proxy.injected();
    assert!(lost.replies_lost > CALLS / 20 && lost.requests_lost > CALLS / 20, "{lost:?}");
    assert_eq!(redis.command(&["GET", "c"]).await, CALLS.to_string().as_str());
}
