//! One caller's command must cost nobody else his answer, nor the service its Redis.
//!
//! Why so: callers share connections and one single-threaded server, so a word, a number or a reply that harms either harms
//! everybody. While each is sent, a neighbour whose answers are known goes on. Limits: commands whose cost lies in the data and
//! not in the arguments run as they are; scripts without end are told in `endless`.

use serde_json::json;

use crate::bad_input::Neighbour;
use crate::dialect::refused;
use crate::harness::{App, Client, Options, Redis};

async fn service() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    client.settled().await;
    (redis, app, client)
}

fn words(call: &str) -> Vec<&str> {
    call.split(' ').collect()
}

#[tokio::test]
async fn what_redis_ends_a_connection_for_never_reaches_it() {
    let (_redis, app, client) = service().await;
    let neighbour = Neighbour::moves_in(&app).await;
    for _ in 0..20 {
        for call in ["PoSt", "POST /", "host:", "Host: localhost"] {
            let text = refused(&client.post_command(&words(call)).await, 400);
            assert!(text.contains("is not allowed in REST"), "{call}: {text}");
        }
        refused(&client.get("/post/x").await, 400);
        refused(&client.multi_exec(&[&["POST"]]).await, 400);
        let list = client.pipeline(&[&["post"], &["ECHO", "here"]]).await;
        assert_eq!(list.json()[1], json!({ "result": "here" }), "{}", list.text());
    }
    neighbour.noticed_nothing().await;
}
