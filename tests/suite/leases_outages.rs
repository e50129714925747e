//! Leases when Redis is slow, frozen, dead or loses replies: they fail closed, and no ghost holds one.
//!
//! Why so: an acquisition whose answer is lost may have been run. Its author does not know, so he does not hold it; if Redis
//! thought so, nobody could for the whole of its time. Every lease here is asked for ten minutes and must be free again within
//! seconds. Limits: one instance; failovers have a file of their own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{App, Client, Options, Proxy, Redis, eventually, raw_http_then_hang_up, rounds};
use crate::keys::{patient, persistent, problem, unhurried};
use crate::leases::{acquire, audit, contend, release, release_in_the_end, renew, token};

/// Much longer than any wait here.
const TEN_MINUTES: u64 = 600_000;
const SOON: Duration = Duration::from_secs(15);

/// Waits until somebody else can have it, and gives it back.
async fn becomes_free(client: &Client, lease: &str) -> Duration {
    let mut issued = 0;
    let waited = eventually(SOON, async || {
        let answer = acquire(client, lease, "somebody else", TEN_MINUTES).await;
        issued = if answer.is_success() { token(&answer) } else { 0 };
        issued > 0
    })
    .await;
    release_in_the_end(client, lease, issued).await;
    waited
}

#[tokio::test]
async fn while_redis_is_dead_leases_fail_closed_and_nothing_is_applied() {
    let redis = Redis::start(Options::default().durable()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    let held = token(&acquire(&client, "held", "a", TEN_MINUTES).await);
    redis.kill9();
    client.until_both_lanes_refuse().await;
    for answer in [
        acquire(&client, "other", "a", TEN_MINUTES).await,
        acquire(&client.idempotency_key("k"), "other", "a", TEN_MINUTES).await,
        renew(&client, "held", held, TEN_MINUTES).await,
        release(&client, "held", held).await,
        client.get("/v1/leases/held").await,
    ] {
        let document = problem(&answer, 503, "circuit_open");
        assert_eq!((answer.outcome(), &document["retryable"]), ("not_executed", &json!(true)));
        assert!(answer.retry_after.is_some());
    }
    redis.restart().await;
    client.until_both_lanes_serve().await;
    assert_eq!(client.get("/v1/leases/held").await.status, 200);
    assert_eq!(client.get("/v1/leases/other").await.status, 404, "what was refused is never applied later");
    assert_eq!(renew(&client, "held", held, TEN_MINUTES).await.status, 200);
    // Refused before Redis: the same key may be tried again.
    let first = token(&acquire(&client.idempotency_key("k"), "other", "a", TEN_MINUTES).await);
    assert!(first > held);
}

#[tokio::test]
async fn an_acquisition_lost_in_a_frozen_redis_holds_nothing_when_it_thaws() {
    let redis = Redis::start(Options::default()).await;
    // One worker, whose connections are there before the freeze: what is sent over them is on its way.
    let app = unhurried(App::with_redis(&redis.url())).set("server.workers", 1).start().await;
    let client = app.client();
    client.settled().await;
    assert!(acquire(&client, "warm", "a", 1000).await.is_success());
    redis.freeze();
    let mut unknown = Vec::new();
    for turn in 0..40 {
        let lease = format!("ghost:{turn}");
        let answer = acquire(&client, &lease, "a", TEN_MINUTES).await;
        match (answer.status, answer.outcome()) {
            (504, "unknown") => unknown.push(lease),
            (503, "not_executed") => {}
            other => panic!("{other:?}: {}", answer.text()),
        }
    }
    assert!(!unknown.is_empty(), "the first of them were sent");
    client.until_both_lanes_refuse().await;
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let refused = acquire(&client, "fast", "a", TEN_MINUTES).await;
        assert_eq!((refused.status, refused.outcome()), (503, "not_executed"));
        fastest = fastest.min(refused.elapsed);
    }
    // A busy machine is late with some; whoever waits for Redis is late with each.
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    redis.thaw();
    client.until_both_lanes_serve().await;
    for lease in unknown {
        becomes_free(&client, &lease).await;
    }
    assert_eq!(client.get("/v1/leases/fast").await.status, 404);
}

#[tokio::test]
async fn while_redis_is_frozen_leases_fail_closed_and_nothing_is_applied_when_it_thaws() {
    let redis = Redis::start(Options::default()).await;
    let app = unhurried(App::with_redis(&redis.url())).start().await;
    let client = app.client();
    client.settled().await;
    let held = token(&acquire(&client, "held", "a", TEN_MINUTES).await);
    redis.freeze();
    client.until_both_lanes_refuse().await;
    for answer in [
        acquire(&client.idempotency_key("k"), "other", "a", TEN_MINUTES).await,
        renew(&client, "held", held, 100).await,
        renew(&client.idempotency_key("r"), "held", held, 100).await,
        release(&client, "held", held).await,
        client.get("/v1/leases/held").await,
    ] {
        let document = problem(&answer, 503, "circuit_open");
        assert_eq!((answer.outcome(), &document["retryable"]), ("not_executed", &json!(true)));
        assert!(answer.retry_after.is_some());
    }
    redis.thaw();
    client.until_both_lanes_serve().await;
    let seen = client.get("/v1/leases/held").await.json();
    assert_eq!(seen["owner"], "a", "neither released nor cut short: {seen}");
    assert!(seen["expires_in_ms"].as_u64().is_some_and(|left| left > TEN_MINUTES / 2), "{seen}");
    assert_eq!(client.get("/v1/leases/other").await.status, 404);
    // Refused before Redis: the same keys may be tried again.
    assert_eq!(acquire(&client.idempotency_key("k"), "other", "a", TEN_MINUTES).await.status, 201);
    let renewed = renew(&client.idempotency_key("r"), "held", held, 100).await;
    assert_eq!((renewed.status, renewed.header("idempotency-replayed")), (200, None), "{}", renewed.text());
}

#[tokio::test]
async fn whoever_loses_the_reply_to_his_own_acquisition_still_gets_it() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 41);
    let app = persistent(&proxy.url()).start().await;
    let client = app.client();
    assert!(acquire(&client, "warm", "a", 1000).await.is_success());
    proxy.only(&["FCALL", "FCALL_RO"]);
    proxy.lose_connection_instead_of_reply(0.15);
    proxy.reset_counts();
    for turn in 0..30 {
        let lease = format!("lost:{turn}");
        let answer = acquire(&client, &lease, "a", TEN_MINUTES).await;
        assert_eq!(answer.status, 201, "never told that another held it: {}", answer.text());
        assert_eq!(answer.header("idempotency-replayed"), None, "he never asked before");
        let token = token(&answer);
        assert_eq!(renew(&client, &lease, token, TEN_MINUTES).await.status, 200);
        assert_eq!(client.get(&format!("/v1/leases/{lease}")).await.json()["owner"], "a");
        let stored = redis.command(&["HGET", &format!("collective:lease:{lease}"), "token"]).await;
        assert_eq!(stored, token.to_string().as_str());
        assert_eq!(release(&client, &lease, token).await.status, 204, "never told that it was not his");
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 5, "{lost}");
    let sent = proxy.count("FCALL") + proxy.count("FCALL_RO");
    assert_eq!(sent, 120 + lost, "each lost reply costs one more attempt");
}

#[tokio::test]
async fn an_acquisition_that_stays_ambiguous_is_unknown_and_taken_back() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 42);
    let app = patient(&proxy.url()).start().await;
    let client = app.client();
    assert!(acquire(&client, "warm", "a", 1000).await.is_success());
    proxy.only(&["FCALL"]);
    proxy.lose_connection_instead_of_reply(1.0);
    let answer = acquire(&client, "ghost", "a", TEN_MINUTES).await;
    let document = problem(&answer, 504, "outcome_unknown");
    assert_eq!((answer.outcome(), &document["retryable"]), ("unknown", &json!(false)));
    assert!(
        redis.command(&["HGET", "collective:lease:ghost", "token"]).await.to_string().parse::<u64>().is_ok(),
        "it ran"
    );
    proxy.heal();
    let waited = becomes_free(&client, "ghost").await;
    println!("free after {waited:?}");
}

#[tokio::test]
async fn a_renewal_or_a_release_whose_replies_are_all_lost_is_unknown_and_was_made() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 46);
    let app = patient(&proxy.url()).set("breaker.minimum_calls", 1_000_000).start().await;
    let client = app.client();
    let held = token(&acquire(&client, "held", "a", TEN_MINUTES).await);
    proxy.only(&["FCALL", "FCALL_RO"]);
    proxy.lose_connection_instead_of_reply(1.0);
    let twice = 2 * TEN_MINUTES;
    for renewal in
        [renew(&client, "held", held, twice).await, renew(&client.idempotency_key("r"), "held", held, twice).await]
    {
        assert_eq!(problem(&renewal, 504, "outcome_unknown")["retryable"], false);
    }
    let unseen = client.get("/v1/leases/held").await;
    assert_eq!(problem(&unseen, 503, "redis_unreachable")["outcome"], "not_executed", "a look changes nothing");
    proxy.heal();
    let left = client.get("/v1/leases/held").await.json()["expires_in_ms"].as_u64();
    assert!(left > Some(TEN_MINUTES), "it was prolonged: {left:?}");
    let again = renew(&client.idempotency_key("r"), "held", held, twice).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")), "{}", again.text());
    proxy.lose_connection_instead_of_reply(1.0);
    problem(&release(&client, "held", held).await, 504, "outcome_unknown");
    proxy.heal();
    problem(&release(&client, "held", held).await, 404, "not_found");
    assert_eq!(acquire(&client, "held", "b", TEN_MINUTES).await.status, 201, "it was released");
}

#[tokio::test]
async fn a_renewal_under_a_key_is_told_to_its_author_however_often_its_reply_is_lost() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 47);
    let app = persistent(&proxy.url()).start().await;
    let client = app.client();
    let held = token(&acquire(&client, "held", "a", TEN_MINUTES).await);
    proxy.only(&["FCALL"]);
    proxy.lose_connection_instead_of_reply(0.15);
    proxy.reset_counts();
    for turn in 0..30 {
        let keyed = client.idempotency_key(&format!("renewal-{turn}"));
        let renewed = renew(&keyed, "held", held, TEN_MINUTES + turn).await;
        let told = renewed.json();
        assert_eq!((renewed.status, &told["token"], &told["held"]), (200, &json!(held), &json!(true)), "{told}");
    }
    let lost = proxy.injected().replies_lost;
    assert!(lost > 0, "{:?}", proxy.injected());
    assert_eq!(proxy.count("FCALL"), 30 + lost, "each lost reply costs one more attempt");
}

#[tokio::test]
async fn with_an_idempotency_key_an_ambiguous_acquisition_waits_for_its_author() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 43);
    let app = persistent(&proxy.url()).start().await;
    let client = app.client();
    assert!(acquire(&client, "warm", "a", 1000).await.is_success());
    proxy.only(&["FCALL"]);
    proxy.lose_connection_instead_of_reply(0.15);
    for turn in 0..20 {
        let (lease, keyed) = (format!("lost:{turn}"), client.idempotency_key(&format!("key:{turn}")));
        let first = acquire(&keyed, &lease, "a", TEN_MINUTES).await;
        assert_eq!(first.status, 201, "{}", first.text());
        let again = acquire(&keyed, &lease, "a", TEN_MINUTES).await;
        assert_eq!((again.status, token(&again)), (201, token(&first)));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert!(proxy.injected().replies_lost > 5);
    // Every attempt lost: nobody takes it back, since its author may ask again, and then it is his.
    proxy.lose_connection_instead_of_reply(1.0);
    let keyed = client.idempotency_key("in-the-end");
    problem(&acquire(&keyed, "waits", "a", TEN_MINUTES).await, 504, "outcome_unknown");
    proxy.heal();
    let issued = redis.command(&["HGET", "collective:lease:waits", "token"]).await.to_string();
    problem(&acquire(&client, "waits", "b", TEN_MINUTES).await, 409, "lease_held");
    let answer = acquire(&keyed, "waits", "a", TEN_MINUTES).await;
    assert_eq!((answer.status, token(&answer).to_string()), (201, issued));
    assert_eq!(answer.json()["held"], true);
}

/// A request that is sent by somebody who does not wait for the answer.
fn acquisition(lease: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST /v1/leases/{lease} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn whoever_hangs_up_while_he_acquires_holds_nothing() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 44);
    let app = patient(&proxy.url()).set("server.workers", 1).start().await;
    let client = app.client();
    assert!(acquire(&client, "warm", "a", 1000).await.is_success());
    // Once while the acquisition is on its way, once when it has been run and its answer is on its way.
    for (lease, hold) in [("sent", Proxy::hold_requests as fn(&Proxy)), ("run", Proxy::hold_replies)] {
        proxy.reset_counts();
        proxy.only(&["FCALL"]);
        hold(&proxy);
        let wish = json!({ "owner": "who left", "ttl_ms": TEN_MINUTES });
        let (address, request) = (app.public(), acquisition(lease, &wish));
        let caller = tokio::spawn(async move { raw_http_then_hang_up(address, &request, SOON).await });
        let key = format!("collective:lease:{lease}");
        eventually(SOON, async || match lease {
            "sent" => proxy.requests_waiting() > 0,
            _ => redis.command(&["HEXISTS", &key, "owner"]).await == 1,
        })
        .await;
        caller.abort();
        let _ = caller.await;
        eventually(SOON, async || client.status().await["limits"]["connections"]["used"].as_u64() <= Some(1)).await;
        proxy.release();
        becomes_free(&client, lease).await;
    }
}

/// The order that only the record can settle: taken back first, run afterwards.
#[tokio::test]
async fn an_acquisition_that_arrives_after_it_was_taken_back_holds_nothing() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    assert!(acquire(&app.client(), "warm", "a", 1000).await.is_success());
    let (lease, record) = ("collective:lease:late", "collective:attempt:0123");
    let withdraw = ["FCALL", "collective_v1_lease_withdraw", "2", lease, record, "", "", "", "nonce", "60000"];
    let arrive = [
        "FCALL",
        "collective_v1_lease_acquire",
        "2",
        lease,
        record,
        "own",
        "60000",
        "",
        "a",
        "nonce",
        "60000",
        "",
        "0",
    ];
    assert_eq!(redis.command(&withdraw).await.to_string(), "done,withdrawn");
    assert_eq!(redis.command(&arrive).await.to_string(), "settled");
    assert_eq!(redis.command(&["EXISTS", lease]).await, 0);
    // And the other order, in which it is another's by the time.
    redis.command(&["DEL", record]).await;
    assert!(redis.command(&arrive).await.to_string().starts_with("done,acquired,"));
    assert_eq!(redis.command(&withdraw).await.to_string(), "done,withdrawn");
    let next = token(&acquire(&app.client(), "late", "b", TEN_MINUTES).await);
    assert_eq!(redis.command(&withdraw).await.to_string(), "done,withdrawn", "again, as after a lost reply");
    assert_eq!(renew(&app.client(), "late", next, TEN_MINUTES).await.status, 200, "another's lease is left alone");
}

/// The ledger of `leases.rs` on a bad link: one reply in twenty and one request in twenty is lost, with its connection. No two at once,
/// and no ghost: each would stop everybody for ten minutes.
#[tokio::test]
async fn on_a_bad_link_nobody_holds_a_lease_that_another_holds_and_no_ghost_does() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 45);
    let app = unhurried(App::with_redis(&proxy.url())).start().await;
    app.client().settled().await;
    assert!(acquire(&app.client(), "warm", "a", 1000).await.is_success());
    proxy.lose_connection_instead_of_reply(0.05);
    proxy.lose_connection_instead_of_request(0.05);
    let mut held = contend(&[&app], 8, 1000 * rounds(), TEN_MINUTES).await;
    println!("{:?}", proxy.injected());
    assert!(proxy.injected().replies_lost > 100);
    proxy.heal();
    audit(&mut held);
    becomes_free(&app.client(), "contended").await;
}

/// Whoever acquires anew what he holds, and is told nothing, holds what he held: it was promised to him.
#[tokio::test]
async fn an_acquisition_anew_that_is_taken_back_leaves_its_owner_what_he_held() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 46);
    let app = patient(&proxy.url()).set("server.workers", 1).start().await;
    let client = app.client();
    let first = token(&acquire(&client, "kept", "a", TEN_MINUTES).await);
    let anew = json!({ "owner": "a", "ttl_ms": TEN_MINUTES / 2, "token": first });
    let issued = async || redis.command(&["HGET", "collective:lease:kept", "token"]).await.to_string();
    let is_as_before = async || {
        eventually(SOON, async || issued().await == first.to_string()).await;
        problem(&acquire(&client, "kept", "b", TEN_MINUTES).await, 409, "lease_held");
        let left = client.get("/v1/leases/kept").await.json()["expires_in_ms"].as_u64().expect("a time");
        assert!(left > TEN_MINUTES / 2, "until when it was promised: {left}");
        let written = client.with_header("Collective-Fence", &format!("kept;{first}")).put_key("k", "a's").await;
        assert!(written.is_success(), "under the token he knows: {}", written.text());
    };

    proxy.only(&["FCALL"]);
    proxy.lose_connection_instead_of_reply(1.0);
    problem(&client.post("/v1/leases/kept", &anew).await, 504, "outcome_unknown");
    proxy.heal();
    is_as_before().await;

    // The same when he does not wait for the answer.
    proxy.hold_replies();
    let (address, request) = (app.public(), acquisition("kept", &anew));
    let caller = tokio::spawn(async move { raw_http_then_hang_up(address, &request, SOON).await });
    eventually(SOON, async || issued().await != first.to_string()).await;
    caller.abort();
    let _ = caller.await;
    proxy.release();
    is_as_before().await;
    // And what is told is his: the next time it works.
    let second = client.post("/v1/leases/kept", &anew).await;
    assert!(second.status == 200 && token(&second) > first, "{}", second.text());
    assert_eq!(release(&client, "kept", token(&second)).await.status, 204);
}

/// What lay in a frozen server's socket until nobody waits for it any more does nothing: the record that would tell whether an earlier
/// arrival had its effect is gone by then.
#[tokio::test]
async fn an_arrival_after_its_time_does_nothing_unless_its_record_is_there() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    assert!(acquire(&app.client(), "warm", "a", 1000).await.is_success());
    let (lease, record) = ("collective:lease:late", "collective:attempt:4567");
    let arrive = |not_after: &str| {
        let call = ["FCALL", "collective_v1_lease_acquire", "2", lease, record, "own", "60000", not_after];
        call.into_iter().chain(["a", "nonce", "60000", "", "0"]).map(str::to_owned).collect::<Vec<_>>()
    };
    let ask = async |not_after: &str| {
        let call = arrive(not_after);
        redis.command(&call.iter().map(String::as_str).collect::<Vec<_>>()).await.to_string()
    };
    assert_eq!(ask("1").await, "late");
    assert_eq!(redis.command(&["EXISTS", lease, record]).await, 0, "nothing was done");
    assert!(ask("9007199254740991").await.starts_with("done,acquired,"));
    assert!(ask("1").await.starts_with("replayed,acquired,"), "what was decided in time is told late, too");
}
