//! `/v1/leases`: one holder at a time, a token that only rises, and honest times.
//!
//! Why so: a lease is used where two at once do harm. So every rule is asked from both sides: what the holder may, and what
//! everybody else may not. Limits: a Redis that answers; outages and failovers have files of their own.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, App, Client, Options, Redis, eventually};
use crate::keys::{patient, problem};

const SOON: Duration = Duration::from_secs(10);

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

pub async fn acquire(client: &Client, lease: &str, owner: &str, ttl_ms: u64) -> Answer {
    client.post(&format!("/v1/leases/{lease}"), &json!({ "owner": owner, "ttl_ms": ttl_ms })).await
}

pub async fn renew(client: &Client, lease: &str, token: u64, ttl_ms: u64) -> Answer {
    client.post(&format!("/v1/leases/{lease}/renew"), &json!({ "token": token, "ttl_ms": ttl_ms })).await
}

pub async fn release(client: &Client, lease: &str, token: u64) -> Answer {
    client.send(client.request(Method::DELETE, &format!("/v1/leases/{lease}?token={token}"))).await
}

/// The token of a success.
#[track_caller]
pub fn token(answer: &Answer) -> u64 {
    assert!(answer.is_success(), "{} {}", answer.status, answer.text());
    answer.json()["token"].as_u64().unwrap_or_else(|| panic!("no token in {}", answer.text()))
}

#[track_caller]
fn left_ms(answer: &Answer) -> u64 {
    answer.json()["expires_in_ms"].as_u64().unwrap_or_else(|| panic!("no time in {}", answer.text()))
}

#[tokio::test]
async fn a_lease_has_one_holder_until_he_releases_it() {
    let (_redis, _app, client) = service().await;
    let first = acquire(&client, "jobs", "a", 60_000).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let token = token(&first);
    assert_eq!(
        first.json(),
        json!({ "lease": "jobs", "owner": "a", "token": token, "held": true, "expires_in_ms": 60_000 })
    );
    let second = acquire(&client, "jobs", "b", 60_000).await;
    let document = problem(&second, 409, "lease_held");
    let wait = document["retry_after_ms"].as_u64().expect("how long it is held");
    assert!((50_000..=60_000).contains(&wait), "{document}");
    assert_eq!(second.retry_after, Some(wait.div_ceil(1000)));
    assert_eq!((second.outcome(), &document["retryable"]), ("not_executed", &json!(false)));
    assert_eq!(release(&client, "jobs", token).await.status, 204);
    let third = acquire(&client, "jobs", "b", 60_000).await;
    assert_eq!(third.status, 201, "{}", third.text());
    assert!(third.json()["token"].as_u64() > Some(token));
}

#[tokio::test]
async fn leases_of_other_names_are_other_leases() {
    let (redis, _app, client) = service().await;
    for name in ["a", "a/b", "a%2Frenew", "%C3%A4", "A", "a;b", "a%20b"] {
        let answer = acquire(&client, name, "w", 60_000).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
    }
    assert_eq!(
        redis.command(&["EXISTS", "collective:lease:a/renew", "collective:lease:ä", "collective:lease:a b"]).await,
        3
    );
    assert_eq!(client.get("/v1/leases/a%2Frenew").await.json()["lease"], "a/renew");
    assert_eq!(client.get("/v1/keys/a").await.status, 404, "a lease is no key");
}

#[tokio::test]
async fn a_lease_runs_out_by_itself_and_never_early() {
    let (_redis, _app, client) = service().await;
    let asked = std::time::Instant::now();
    let first = token(&acquire(&client, "jobs", "a", 400).await);
    let mut next = None;
    eventually(SOON, async || {
        let answer = acquire(&client, "jobs", "b", 60_000).await;
        if answer.status == 409 {
            let wait = answer.json()["retry_after_ms"].as_u64().expect("a wait");
            assert!((1..=400).contains(&wait), "{wait}");
            return false;
        }
        next = Some((asked.elapsed(), token(&answer)));
        true
    })
    .await;
    let (elapsed, second) = next.expect("acquired");
    assert!(elapsed >= Duration::from_millis(400), "it was free after {elapsed:?}");
    assert!(second > first);
    // Who held it is told apart from who holds it, whatever he tries.
    problem(&renew(&client, "jobs", first, 1000).await, 409, "lease_held");
    problem(&release(&client, "jobs", first).await, 409, "lease_held");
    assert_eq!(client.get("/v1/leases/jobs").await.json()["owner"], "b");
}

#[tokio::test]
async fn a_renewal_moves_the_end_and_keeps_the_token() {
    let (_redis, _app, client) = service().await;
    let token = token(&acquire(&client, "jobs", "a", 5_000).await);
    let renewed = renew(&client, "jobs", token, 60_000).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    assert_eq!(
        renewed.json(),
        json!({ "lease": "jobs", "owner": "a", "token": token, "held": true, "expires_in_ms": 60_000 })
    );
    assert!(left_ms(&client.get("/v1/leases/jobs").await) > 50_000);
    assert_eq!(left_ms(&renew(&client, "jobs", token, 150).await), 150, "a holder may want it for a shorter time, too");
    eventually(SOON, async || client.get("/v1/leases/jobs").await.status == 404).await;
    problem(&renew(&client, "jobs", token, 60_000).await, 404, "not_found");
}

#[tokio::test]
async fn a_release_is_the_holders_alone() {
    let (_redis, _app, client) = service().await;
    problem(&release(&client, "jobs", 1).await, 404, "not_found");
    let token = token(&acquire(&client, "jobs", "a", 60_000).await);
    for other in [token - 1, token + 1, 0, u64::MAX] {
        let document = problem(&release(&client, "jobs", other).await, 409, "lease_held");
        assert!(document["retry_after_ms"].as_u64().is_some_and(|wait| wait > 50_000), "{document}");
        problem(&renew(&client, "jobs", other, 1000).await, 409, "lease_held");
    }
    assert_eq!(release(&client, "jobs", token).await.status, 204);
    problem(&release(&client, "jobs", token).await, 404, "not_found");
}

#[tokio::test]
async fn an_owner_acquires_anew_with_his_token_and_only_with_it() {
    let (_redis, _app, client) = service().await;
    let first = token(&acquire(&client, "jobs", "a", 60_000).await);
    let again = async |owner: &str, token: Value| {
        client.post("/v1/leases/jobs", &json!({ "owner": owner, "ttl_ms": 60_000, "token": token })).await
    };
    // A name is no proof, and a token without the name is somebody else's.
    problem(&acquire(&client, "jobs", "a", 60_000).await, 409, "lease_held");
    problem(&again("b", json!(first)).await, 409, "lease_held");
    problem(&again("a", json!(first - 1)).await, 409, "lease_held");
    let answer = again("a", json!(first)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = token(&answer);
    assert!(second > first, "his former self is fenced");
    problem(&renew(&client, "jobs", first, 1000).await, 409, "lease_held");
    assert_eq!(release(&client, "jobs", second).await.status, 204);
    assert_eq!(again("a", json!(second)).await.status, 201, "a token of a lease that is over does no harm");
}

#[tokio::test]
async fn a_token_is_shown_to_nobody_but_its_holder() {
    let (_redis, _app, client) = service().await;
    problem(&client.get("/v1/leases/jobs").await, 404, "not_found");
    let token = token(&acquire(&client, "jobs", "a", 60_000).await);
    let seen = client.get("/v1/leases/jobs").await;
    assert_eq!((&seen.json()["lease"], &seen.json()["owner"]), (&json!("jobs"), &json!("a")));
    let head = client.send(client.request(Method::HEAD, "/v1/leases/jobs")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let refused = acquire(&client, "jobs", "b", 60_000).await;
    for answer in [&seen, &refused] {
        assert!(!answer.text().contains(&token.to_string()), "{}", answer.text());
    }
}

#[tokio::test]
async fn every_mistake_in_a_lease_is_named() {
    let (redis, _app, client) = service().await;
    let path = "/v1/leases/jobs";
    for (body, pointer) in [
        (json!({ "owner": "a", "ttl_ms": 99 }), "/ttl_ms"),
        (json!({ "owner": "a", "ttl_ms": 86_400_001 }), "/ttl_ms"),
        (json!({ "owner": "", "ttl_ms": 100 }), "/owner"),
        (json!({ "owner": "ä".repeat(129), "ttl_ms": 100 }), "/owner"),
        (json!({ "owner": "a" }), ""),
        (json!({ "ttl_ms": 100 }), ""),
        (json!({ "owner": "a", "ttl_ms": 100, "wait": true }), ""),
        (json!({ "owner": "a", "ttl_ms": 100.5 }), ""),
        (json!({ "owner": "a", "ttl_ms": 100, "token": -1 }), ""),
    ] {
        let document = problem(&client.post(path, &body).await, 422, "invalid_value");
        assert_eq!(document["errors"][0]["pointer"], pointer, "{body}: {document}");
    }
    problem(&renew(&client, "jobs", 1, 99).await, 422, "invalid_value");
    problem(&client.post(&format!("{path}/renew"), &json!({ "ttl_ms": 100 })).await, 422, "invalid_value");
    let delete = async |query: &str| client.send(client.request(Method::DELETE, &format!("{path}{query}"))).await;
    for query in ["", "?token=", "?token=x", "?token=-1", "?tokens=1", "?token=1&token=2"] {
        problem(&delete(query).await, 400, "invalid_request");
    }
    problem(&acquire(&client, "", "a", 100).await, 400, "invalid_path");
    problem(&acquire(&client, "%ff", "a", 100).await, 400, "invalid_path");
    let put = client.send(client.request(Method::PUT, path).body("{}")).await;
    problem(&put, 405, "method_not_allowed");
    assert_eq!(redis.command(&["KEYS", "collective:lease:*"]).await.to_string(), "", "nothing was written");
    for (owner, ttl_ms) in [("ä".repeat(128), 100), ("\"\\\u{1}".into(), 86_400_000)] {
        let answer = acquire(&client, &format!("bound:{ttl_ms}"), &owner, ttl_ms).await;
        assert_eq!((answer.status, &answer.json()["owner"]), (201, &json!(owner)));
    }
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_token_and_the_time_that_is_left() {
    let (_redis, _app, client) = service().await;
    let keyed = client.idempotency_key("once");
    let first = acquire(&keyed, "jobs", "a", 60_000).await;
    let again = acquire(&keyed, "jobs", "a", 60_000).await;
    assert_eq!((first.status, again.status), (201, 201), "{}", again.text());
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(token(&again), token(&first));
    assert!(again.json()["held"] == true && left_ms(&again) <= 60_000);
    eventually(SOON, async || left_ms(&acquire(&keyed, "jobs", "a", 60_000).await) < left_ms(&again)).await;
    problem(&acquire(&keyed, "jobs", "a", 60_001).await, 422, "idempotency_key_reused");
}

#[tokio::test]
async fn a_repeated_answer_does_not_claim_a_lease_that_is_over() {
    let (_redis, _app, client) = service().await;
    let keyed = client.idempotency_key("once");
    let first = token(&acquire(&keyed, "jobs", "a", 60_000).await);
    assert_eq!(release(&client, "jobs", first).await.status, 204);
    let is_over = |answer: &Answer| {
        let body = json!({ "lease": "jobs", "owner": "a", "token": first, "held": false, "expires_in_ms": 0 });
        assert_eq!((answer.status, answer.json()), (200, body));
        assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    };
    is_over(&acquire(&keyed, "jobs", "a", 60_000).await);
    let second = token(&acquire(&client, "jobs", "b", 60_000).await);
    assert!(second > first);
    is_over(&acquire(&keyed, "jobs", "a", 60_000).await);
    // A refusal is an answer, too, and tells the time of now.
    let refused = client.idempotency_key("refused");
    problem(&acquire(&refused, "jobs", "c", 60_000).await, 409, "lease_held");
    assert_eq!(release(&client, "jobs", second).await.status, 204);
    let replay = acquire(&refused, "jobs", "c", 60_000).await;
    assert_eq!(problem(&replay, 409, "lease_held")["retry_after_ms"], 0);
    assert_eq!(replay.header("idempotency-replayed"), Some("true"));
    // A renewal under a key is told again with the time that is left.
    let third = token(&acquire(&client, "jobs", "d", 60_000).await);
    let renewal = client.idempotency_key("renewal");
    assert_eq!(renew(&renewal, "jobs", third, 60_000).await.json()["held"], true);
    assert_eq!(release(&client, "jobs", third).await.status, 204);
    assert_eq!(renew(&renewal, "jobs", third, 60_000).await.json()["held"], false);
}

#[tokio::test]
async fn reading_a_lease_takes_less_than_holding_one() {
    let redis = Redis::start(Options::default()).await;
    // `printf %s reader | sha256sum`
    let digest = "3d0941964aa3ebdcb00ccef58b1bb399f9f898465e9886d5aec7f31090a0fb30";
    let app = patient(&redis.url()).set("auth.read_only_token_sha256", digest).start().await;
    let (client, reader) = (app.client(), app.client().token("reader"));
    let token = token(&acquire(&client, "jobs", "a", 60_000).await);
    assert_eq!(reader.get("/v1/leases/jobs").await.status, 200);
    problem(&acquire(&reader, "other", "b", 60_000).await, 403, "forbidden");
    problem(&renew(&reader, "jobs", token, 60_000).await, 403, "forbidden");
    problem(&release(&reader, "jobs", token).await, 403, "forbidden");
    problem(&app.client().without_token().get("/v1/leases/jobs").await, 401, "unauthenticated");
}

/// Sets back what Redis would take for the past: the clock itself cannot be moved here, so what is known is moved ahead.
#[tokio::test]
async fn tokens_rise_although_the_clock_is_behind() {
    let (redis, _app, client) = service().await;
    let first = token(&acquire(&client, "jobs", "a", 60_000).await);
    assert_eq!(release(&client, "jobs", first).await.status, 204);
    let ahead = first + 3_600_000_000;
    for field in ["token", "seen"] {
        redis.command(&["HSET", "collective:lease:jobs", field, &ahead.to_string()]).await;
        let next = token(&acquire(&client, "jobs", "a", 60_000).await);
        assert!(next > ahead, "{field}: {next} is not above {ahead}");
        assert_eq!(release(&client, "jobs", next).await.status, 204);
        redis.command(&["HSET", "collective:lease:jobs", "token", "1", "seen", "1"]).await;
    }
    let kept = redis.command(&["PTTL", "collective:lease:jobs"]).await.integer();
    assert!(kept > 86_000_000, "what is known of tokens outlives the lease by a day, not {kept} ms");
    // Even if the record is gone, whatever passed through this instance is still below.
    redis.command(&["DEL", "collective:lease:jobs"]).await;
    assert!(token(&acquire(&client, "jobs", "a", 60_000).await) > ahead + 1);
}

/// Ten thousand acquisitions of one lease by thirty-two clients of two instances. Each believes to hold it from the moment he was told
/// until just before he releases it; no two such times may meet, and in their order the tokens rise.
#[tokio::test]
async fn ten_thousand_acquisitions_by_thirty_two_clients_never_overlap_and_tokens_rise() {
    let (redis, app, client) = service().await;
    let other = patient(&redis.url()).start().await;
    let mut held = contend(&[&app, &other], 32, 10_000, 60_000).await;
    assert!(held.len() >= 10_000, "{}", held.len());
    audit(&mut held);
    problem(&client.get("/v1/leases/contended").await, 404, "not_found");
}

/// One time somebody believed to hold the lease.
#[derive(Clone, Copy, Debug)]
pub struct Tenure {
    pub token: u64,
    pub from: std::time::Instant,
    pub to: std::time::Instant,
}

/// Clients of these instances, in turn, who acquire and release the lease `contended` until it was acquired so often.
pub async fn contend(apps: &[&App], clients: usize, times: usize, ttl_ms: u64) -> Vec<Tenure> {
    let done = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut working = JoinSet::new();
    for index in 0..clients {
        let (client, done) = (apps[index % apps.len()].client(), done.clone());
        working.spawn(async move {
            let (owner, mut tenures) = (format!("owner {index}"), Vec::new());
            while done.load(std::sync::atomic::Ordering::Relaxed) < times {
                let asked = std::time::Instant::now();
                let answer = acquire(&client, "contended", &owner, ttl_ms).await;
                let from = std::time::Instant::now();
                match answer.status {
                    201 => {
                        let token = token(&answer);
                        if fastrand::u8(..) < 32 {
                            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..4))).await;
                        }
                        // His own clock ends it, whatever becomes of the release.
                        let to = std::time::Instant::now().min(asked + Duration::from_millis(ttl_ms));
                        release_in_the_end(&client, "contended", token).await;
                        tenures.push(Tenure { token, from, to });
                        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    409 => tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await,
                    503 | 504 => {}
                    other => panic!("{other}: {}", answer.text()),
                }
            }
            tenures
        });
    }
    let mut tenures = Vec::new();
    while let Some(ended) = working.join_next().await {
        tenures.extend(ended.expect("a client"));
    }
    tenures
}

/// Releases until nobody holds it under this token, however often the answer is lost.
pub async fn release_in_the_end(client: &Client, lease: &str, token: u64) {
    // A loop of its own: it is also used in tasks, where the borrows of an asynchronous closure are in the way.
    let start = std::time::Instant::now();
    loop {
        let answer = release(client, lease, token).await;
        assert!(matches!(answer.status, 204 | 404 | 409 | 503 | 504), "{} {}", answer.status, answer.text());
        if answer.status < 500 {
            return;
        }
        assert!(start.elapsed() < SOON, "not released in {SOON:?}: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// No two at once, and the later has the higher token.
#[track_caller]
pub fn audit(tenures: &mut [Tenure]) {
    tenures.sort_by_key(|tenure| tenure.token);
    for pair in tenures.windows(2) {
        assert!(pair[0].token < pair[1].token, "a token was issued twice: {pair:?}");
        assert!(pair[0].to <= pair[1].from, "two held it at once, or tokens fell: {pair:?}");
    }
}
