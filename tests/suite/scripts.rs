//! Scripts as the SDKs send them: flags that Redis does not know, names that only the caller knows.
//!
//! Limits: one Redis 7 or newer, which refuses the foreign flag; what the official packages do with it is the end-to-end suites'.

use serde_json::json;
use sha1::{Digest, Sha1};

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{App, Client, Options, Redis};
use crate::keys::patient;

/// The shape of the official rate limiter's scripts: a fixed window.
const LIMITER: &str = "#!lua flags=allow-key-locking
  local key           = KEYS[1]
  local window        = ARGV[1]
  local incrementBy   = ARGV[2]

  local r = redis.call(\"INCRBY\", key, incrementBy)
  if r == tonumber(incrementBy) then
  redis.call(\"PEXPIRE\", key, window)
  end

  return r
";

fn name_of(source: &str) -> String {
    Sha1::digest(source).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn start() -> (Redis, App, Client) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let client = app.client();
    (redis, app, client)
}

#[tokio::test]
async fn a_limiters_script_runs_by_the_name_its_caller_knows() {
    let (_redis, _app, client) = start().await;
    let name = name_of(LIMITER);
    let unknown = client.post_command(&["EVALSHA", &name, "1", "limit", "600000", "1"]).await;
    assert_eq!((unknown.status, unknown.outcome()), (400, "not_executed"));
    assert_eq!(unknown.json(), json!({"error": "NOSCRIPT No matching script. Please use EVAL."}));
    let loaded = client.post_command(&["SCRIPT", "LOAD", LIMITER]).await;
    assert_eq!(loaded.result(), json!(name), "the caller's own name");
    for turn in 1..=3 {
        let answer = client.post_command(&["EVALSHA", &name, "1", "limit", "600000", "1"]).await;
        assert_eq!(answer.result(), json!(turn), "{}", answer.text());
    }
    let upper = name.to_uppercase();
    assert_eq!(client.post_command(&["EVALSHA", &upper, "1", "limit", "600000", "1"]).await.result(), json!(4));
    let nothing = name_of("nothing");
    let exists = client.post_command(&["SCRIPT", "EXISTS", &nothing, &name, &nothing]).await;
    assert_eq!(exists.result(), json!([0, 1, 0]));
}

#[tokio::test]
async fn a_script_sent_once_is_known_from_then_on() {
    let (_redis, app, client) = start().await;
    let name = name_of(LIMITER);
    assert_eq!(client.post_command(&["EVAL", LIMITER, "1", "limit", "600000", "1"]).await.result(), json!(1));
    // All workers know it, whichever sent it.
    for turn in 2..20 {
        let fresh = Client::new(app.public(), app.operator()).token(ROOT_TOKEN);
        let answer = fresh.post_command(&["EVALSHA", &name, "1", "limit", "600000", "1"]).await;
        assert_eq!(answer.result(), json!(turn), "{}", answer.text());
    }
    let by_name = ["EVALSHA", &name, "1", "limit", "600000", "1"];
    let list = client.pipeline(&[&by_name, &["EVAL", LIMITER, "1", "limit", "1", "1"]]).await;
    assert_eq!(list.json(), json!([{"result": 20}, {"result": 21}]));
    let transaction = client.multi_exec(&[&["SCRIPT", "LOAD", LIMITER], &by_name]).await;
    assert_eq!(transaction.json(), json!([{"result": name}, {"result": 22}]));
}

#[tokio::test]
async fn after_a_restart_the_sdk_is_asked_for_the_text_again() {
    let redis = Redis::start(Options::default()).await;
    let mut app = patient(&redis.url()).start().await;
    let name = name_of(LIMITER);
    assert_eq!(app.client().post_command(&["EVAL", LIMITER, "1", "limit", "600000", "1"]).await.result(), json!(1));
    app.restart().await;
    let client = app.client();
    let answer = client.post_command(&["EVALSHA", &name, "1", "limit", "600000", "1"]).await;
    assert_eq!(answer.json(), json!({"error": "NOSCRIPT No matching script. Please use EVAL."}));
    assert_eq!(client.post_command(&["EVAL", LIMITER, "1", "limit", "600000", "1"]).await.result(), json!(2));
    assert_eq!(client.post_command(&["EVALSHA", &name, "1", "limit", "600000", "1"]).await.result(), json!(3));
}

#[tokio::test]
async fn native_flags_keep_their_meaning() {
    let (_redis, _app, client) = start().await;
    let reads = "#!lua flags=no-writes,allow-key-locking\nreturn redis.call('GET', KEYS[1])";
    assert_eq!(client.post_command(&["EVAL_RO", reads, "1", "k"]).await.result(), json!(null));
    assert_eq!(client.post_command(&["EVALSHA_RO", &name_of(reads), "1", "k"]).await.result(), json!(null));
    let bare = "#!lua flags=allow-key-locking\nreturn redis.call('GET', KEYS[1])";
    assert_eq!(client.post_command(&["EVAL_RO", bare, "1", "k"]).await.result(), json!(null));
    let writes = "#!lua flags=allow-key-locking,no-writes\nreturn redis.call('SET', KEYS[1], 'v')";
    let refused = client.post_command(&["EVAL", writes, "1", "k"]).await;
    assert!(refused.text().contains("Write commands are not allowed"), "{}", refused.text());
    let misspelt = client.post_command(&["EVAL", "#!lua flags=no-wirtes\nreturn 1", "0"]).await;
    assert!(misspelt.text().contains("Unexpected flag in script shebang: no-wirtes"), "{}", misspelt.text());
}

#[tokio::test]
async fn a_function_library_is_loaded_without_the_foreign_flag() {
    let (_redis, _app, client) = start().await;
    let library = "#!lua name=mylib\nredis.register_function{function_name='mine', callback=function(keys, args) \
                   return redis.call('INCR', keys[1]) end, flags={'allow-key-locking'}}";
    assert_eq!(client.post_command(&["FUNCTION", "LOAD", library]).await.result(), json!("mylib"));
    assert_eq!(client.post_command(&["FUNCTION", "LOAD", "REPLACE", library]).await.result(), json!("mylib"));
    assert_eq!(client.post_command(&["FCALL", "mine", "1", "n"]).await.result(), json!(1));
}

#[tokio::test]
async fn an_error_inside_a_script_tells_that_it_ran() {
    let (redis, _app, client) = start().await;
    let script = "redis.call('SET', KEYS[1], 'v') error('stop')";
    let answer = client.post_command(&["EVAL", script, "1", "k"]).await;
    assert_eq!((answer.status, answer.outcome()), (400, "executed"), "{}", answer.text());
    assert_eq!(redis.command(&["GET", "k"]).await, "v");
    let list = client.pipeline(&[&["GET", "k"], &["EVAL", script, "1", "k"], &["GET", "collective:x"]]).await;
    assert_eq!((list.status, list.outcome()), (200, "executed"), "the worst of its items");
}
