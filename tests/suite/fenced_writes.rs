//! `Collective-Fence: <lease>;<token>` on a write of `/v1`: a deposed holder is refused, always.
//!
//! Why so: a lease alone does not keep out who was paused beyond it; the token does, where each write shows it. Limits: the
//! rule itself is proved against the functions in `leases_failover.rs`; this is the way through the service. What it needs: the
//! header on `PUT` and `DELETE` of `/v1/keys` and on increments, and its code `fenced` (409). Mount it in `main.rs` with them.

use reqwest::Method;

use crate::harness::{Answer, App, Client, Options, Redis};
use crate::keys::problem;
use crate::leases::{acquire, release, token};

/// One write of each kind under this token, as its holder would make it.
async fn writes(client: &Client, holder: u64) -> Vec<Answer> {
    let fenced = client.with_header("Collective-Fence", &format!("jobs;{holder}"));
    vec![
        fenced.put_key("fenced", format!("by {holder}")).await,
        fenced.increment("fenced-counter", 1).await,
        fenced.send(fenced.request(Method::DELETE, "/v1/keys/fenced-gone")).await,
    ]
}

#[tokio::test]
async fn a_fenced_write_by_a_deposed_holder_is_refused() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    let first = token(&acquire(&client, "jobs", "a", 60_000).await);
    for answer in writes(&client, first).await {
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
    }
    assert_eq!(release(&client, "jobs", first).await.status, 204);
    // Nobody came after him yet, so nothing he writes can overwrite anybody.
    for answer in writes(&client, first).await {
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
    }
    let second = token(&acquire(&client, "jobs", "b", 60_000).await);
    for answer in writes(&client, first).await {
        problem(&answer, 409, "fenced");
        assert_eq!(answer.outcome(), "not_executed");
    }
    for answer in writes(&client, second).await {
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
    }
    assert_eq!(redis.command(&["GET", "fenced"]).await, format!("by {second}").as_str());
    assert_eq!(redis.command(&["GET", "fenced-counter"]).await, "3");
}
