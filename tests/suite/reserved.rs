//! What is the service's own stays out of callers' reach: its functions, its keys behind patterns, its channels.
//!
//! Why so: two holders of one lease are what a replaced function makes, and a lease's token is what a pattern shows. Root is a
//! caller here like any other. Limits: scripts may name any key while they run; their scope is the guard.

use serde_json::json;

use crate::dialect::refused;
use crate::harness::{App, Client, Options, Redis};
use crate::keys::patient;
use crate::leases::acquire;
use crate::tokens::digest;

const FULL: &str = "full-5a4c0be19f7d4b3a8e6c2d1f90a7b6c5";
const LIBRARY: &str = "#!lua name=mine\nredis.register_function('mine', function() return 7 end)";

async fn service() -> (Redis, App, [Client; 2]) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("auth.full_token_sha256", digest(FULL)).start().await;
    let root = app.client();
    (redis, app, [root.token(FULL), root])
}

#[tokio::test]
async fn nobody_replaces_removes_or_calls_the_services_own_functions() {
    let (_redis, _app, clients) = service().await;
    let squatter = "#!lua name=other\nredis.register_function('Collective_v1_lease_acquire', function() return 1 end)";
    for client in &clients {
        assert!([201, 409].contains(&acquire(client, "jobs", "first", 60_000).await.status));
        for call in [
            &["FUNCTION", "LOAD", "REPLACE", "#!lua name=collective_v1\nredis.register_function('x', print)"][..],
            &["function", "load", "replace", "#!lua   name=collective_v2\nredis.register_function('x', print)"],
            &["FUNCTION", "LOAD", squatter],
            &["FUNCTION", "LOAD", "REPLACE", "#!lua name=\"\\x63ollective_v1\"\nredis.register_function('x', print)"],
            &["FUNCTION", "DELETE", "collective_v1"],
            &["FUNCTION", "FLUSH"],
            &["function", "flush", "async"],
            &["FUNCTION", "RESTORE", "payload", "FLUSH"],
            &["FCALL", "collective_v1_command", "1", "k", "SET", "k", "v"],
            &["FCALL", "COLLECTIVE_V1_command", "1", "k", "SET", "k", "v"],
            &["FCALL_RO", "collective_v1_lease_inspect", "1", "k"],
        ] {
            let text = refused(&client.post_command(call).await, 403);
            assert!(text.starts_with("NOPERM "), "{call:?}: {text}");
            let list = client.pipeline(&[call, &["ECHO", "here"]]).await;
            assert_eq!(list.json(), json!([{ "error": text }, { "result": "here" }]));
            refused(&client.multi_exec(&[call]).await, 400);
        }
        let second = acquire(client, "jobs", "second", 60_000).await;
        assert_eq!(second.status, 409, "two holders of one lease: {}", second.text());
    }
}

#[tokio::test]
async fn callers_functions_are_their_own() {
    let (_redis, _app, clients) = service().await;
    for client in &clients {
        assert_eq!(client.post_command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]).await.result(), "mine");
        assert_eq!(client.post_command(&["FCALL", "mine", "0"]).await.result(), 7);
        assert_eq!(client.post_command(&["FUNCTION", "DELETE", "mine"]).await.result(), "OK");
    }
}

#[tokio::test]
async fn no_pattern_reaches_the_services_own_keys() {
    let (redis, _app, clients) = service().await;
    redis.command(&["RPUSH", "l", "jobs", "b"]).await;
    redis.command(&["MSET", "w_jobs", "2", "w_b", "1"]).await;
    for client in &clients {
        assert!([201, 409].contains(&acquire(client, "jobs", "first", 60_000).await.status));
        for call in [
            "SORT l BY nosort GET collective:lease:*->token",
            "SORT l GET w_* GET c*",
            "SORT l BY collective*",
            "SORT_RO l BY nosort GET *",
            "sort l by *->x alpha limit 0 1",
            "SORT l BY nosort GET collective:lease:jobs*",
            "SORT l GET c* STORE d",
        ] {
            let text = refused(&client.post_command(&call.split(' ').collect::<Vec<_>>()).await, 403);
            assert!(text.starts_with("NOPERM ") && text.contains("collective:"), "{call}: {text}");
        }
        for (call, expected) in [
            ("SORT l BY w_* GET w_* GET #", json!(["1", "b", "2", "jobs"])),
            ("SORT_RO l BY nosort GET w_*", json!(["2", "1"])),
            ("SORT l BY collect GET colt*", json!([null, null])),
            ("SORT l ALPHA DESC", json!(["jobs", "b"])),
        ] {
            assert_eq!(client.post_command(&call.split(' ').collect::<Vec<_>>()).await.result(), expected, "{call}");
        }
    }
}

#[tokio::test]
async fn nobody_publishes_on_the_services_own_channels() {
    let (_redis, _app, clients) = service().await;
    for client in &clients {
        for command in ["PUBLISH", "spublish"] {
            let text = refused(&client.post_command(&[command, "collective:x", "m"]).await, 403);
            assert!(text.starts_with("NOPERM channels"), "{text}");
            assert_eq!(client.post_command(&[command, "collective", "m"]).await.result(), 0);
        }
        refused(&client.get("/publish/collective:x/m").await, 403);
    }
}
