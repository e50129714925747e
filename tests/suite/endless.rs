//! Scripts without end: an outage that one caller makes and that ends by itself.
//!
//! Redis runs one script at a time and nothing beside it, so a loop without end is an outage for everyone, and the lane it opens
//! refuses the very command that would end it. The service ends it. Limits: what has written cannot be ended, by nobody but who
//! stops the server; that the log says so is all there is.

use std::time::Duration;

use crate::harness::{App, Client, Options, Redis, eventually};

/// Longest wait for the end of a loop: Redis itself says nothing for its first five seconds.
const SOON: Duration = Duration::from_secs(40);

const LIBRARY: &str = "#!lua name=endless\nredis.register_function('endless', function() while true do end end)";

/// Sends a call that does not come back in time, and waits until its loop is noticed.
async fn outage(client: &Client, call: &[&str]) {
    eventually(SOON, async || {
        let answer = client.post_command(call).await;
        // What was refused has not run, so it may be sent again.
        let refused = (answer.status, answer.outcome()) == (503, "not_executed");
        assert!(refused || matches!(answer.status, 504 | 400), "{} {}", answer.status, answer.text());
        !refused
    })
    .await;
}

async fn is_over(client: &Client) {
    eventually(SOON, async || client.get_key("k").await.status == 200).await;
    eventually(SOON, async || client.post_command(&["INCR", "n"]).await.status == 200).await;
}

/// How often the log says that a script was ended.
fn ended(app: &App) -> usize {
    app.log().matches("was ended").count()
}

#[tokio::test]
async fn a_script_without_end_is_ended_and_everyone_is_served_again() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    let run = redis.info("server").await["run_id"].clone();
    outage(&client, &["EVAL", "while true do end", "0"]).await;
    is_over(&client).await;
    assert_eq!(redis.info("server").await["run_id"], run, "nobody restarted anything");
    assert_eq!(ended(&app), 1, "{}", app.log());
}

#[tokio::test]
async fn a_function_without_end_is_ended_too_and_so_is_the_next() {
    let redis = Redis::start(Options::default().set("busy-reply-threshold", "200")).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    let load = &["FUNCTION", "LOAD", "REPLACE", LIBRARY];
    eventually(SOON, async || client.post_command(load).await.status == 200).await;
    for turn in 1..=2 {
        outage(&client, &["FCALL", "endless", "0"]).await;
        is_over(&client).await;
        assert_eq!(ended(&app), turn, "{}", app.log());
    }
}

#[tokio::test]
async fn a_script_that_wrote_cannot_be_ended_and_the_log_says_so_once() {
    let redis = Redis::start(Options::default().set("busy-reply-threshold", "200")).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    outage(&client, &["EVAL", "redis.call('SET', KEYS[1], 'x') while true do end", "1", "w"]).await;
    eventually(SOON, async || app.log().contains("SHUTDOWN NOSAVE")).await;
    redis.kill9();
    redis.restart().await;
    is_over_without(&client).await;
    assert_eq!(app.log().matches("SHUTDOWN NOSAVE").count(), 1, "{}", app.log());
    assert_eq!(ended(&app), 0, "{}", app.log());
}

/// As `is_over`, after a restart that kept nothing.
async fn is_over_without(client: &Client) {
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
}

#[tokio::test]
async fn a_slow_script_that_ends_by_itself_is_left_alone() {
    let redis = Redis::start(Options::default().set("busy-reply-threshold", "100")).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client().timeout_ms(20_000);
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    let slow = "local t = redis.call('TIME') local now repeat now = redis.call('TIME') until now[1] - t[1] + (now[2] - t[2]) / 1000000 > 1 \
                return redis.call('SET', KEYS[1], 'done')";
    eventually(SOON, async || {
        let answer = client.post_command(&["EVAL", slow, "1", "slow"]).await;
        // What was refused has not run, and would be waited for in vain.
        (answer.status, answer.outcome()) != (503, "not_executed")
    })
    .await;
    eventually(SOON, async || client.get_key("slow").await.text() == "done").await;
    assert_eq!(ended(&app), 0, "{}", app.log());
}

#[tokio::test]
async fn a_script_without_end_is_ended_in_the_embedded_redis() {
    let app = App::builder().start().await;
    let client = app.client();
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    outage(&client, &["EVAL", "while true do end", "0"]).await;
    is_over(&client).await;
    assert_eq!(ended(&app), 1, "{}", app.log());
}
