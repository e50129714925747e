//! Configuration as its operators meet it: every mistake at once, the verbs and their exit codes, secrets from files, and
//! surroundings that must not stop a start.
//!
//! Limits: what each single key accepts is tested beside the table of keys.

use std::net::TcpListener;
use std::time::Duration;

use crate::harness::{App, Client, Ended, Options, Redis, eventually};
use crate::keys::patient;

/// Longest wait for the service to notice what became of Redis. The promise is a second; this is for busy machines.
const SOON: Duration = Duration::from_secs(15);

/// Runs with these settings, expects a refusal, and gives its lines. The ports are ours, so a try to open one would be
/// another error than the one expected.
async fn refused(settings: &[(&str, &str)]) -> Vec<String> {
    let taken: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let bound = |index: usize| taken[index].local_addr().expect("an address");
    let mut builder = App::builder().set("server.bind", bound(0)).set("ops.bind", bound(1));
    let data = tempfile::tempdir().expect("a directory");
    let data = data.path().join("untouched");
    builder = builder.set("data_dir", data.display());
    for (key, value) in settings {
        builder = match key.starts_with("COLLECTIVE_") {
            true => builder.environment(key, value),
            false => builder.set(key, value),
        };
    }
    let Ended { code, stdout, stderr } = builder.run().await;
    assert_eq!(code, Some(78), "{stderr}");
    assert_eq!(stdout, "", "nothing is announced");
    assert!(!stderr.contains("listen"), "a port was tried: {stderr}");
    assert!(!data.exists(), "the data directory was made before the configuration was known to be right");
    stderr.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn three_wrong_settings_give_three_messages() {
    let lines = refused(&[
        ("requests.timeout", "5"),
        ("breaker.failure_ratio", "1.5"),
        ("COLLECTIVE_SERVER_BIND", "127.0.0.1:80"),
    ])
    .await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for part in ["requests.timeout", "breaker.failure_ratio", "did you mean COLLECTIVE_SERVER__BIND?"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
    }
}

#[tokio::test]
async fn five_wrong_settings_of_different_kinds_give_five_lines_and_show_no_secret() {
    let lines = refused(&[
        ("redis.url", "http://user:canary-in-url@db:6379"),
        ("auth.root_token", "canary"),
        ("limits.body", "16MB"),
        ("redis.topology", "cluster"),
        ("retry.attempts", "eleven"),
    ])
    .await;
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for key in ["redis.url", "auth.root_token", "limits.body", "redis.topology", "retry.attempts"] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(key)).count(), 1, "{key}: {lines:#?}");
    }
    assert!(lines.iter().all(|line| !line.contains("canary") && line.contains("; ")), "{lines:#?}");
}

#[tokio::test]
async fn service_links_of_kubernetes_do_not_stop_a_start() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url())
        .environment("COLLECTIVE_SERVICE_HOST", "10.0.0.1")
        .environment("COLLECTIVE_SERVICE_PORT", "8080")
        .environment("COLLECTIVE_PORT", "tcp://10.0.0.1:8080")
        .environment("COLLECTIVE_PORT_8080_TCP_ADDR", "10.0.0.1")
        .start()
        .await;
    assert_eq!(app.client().put_key("k", "v").await.status, 201);
    assert_eq!(app.stderr().matches("Kubernetes service links").count(), 1, "{}", app.stderr());
}

#[tokio::test]
async fn a_wrong_redis_password_is_a_state_and_no_crash() {
    let redis = Redis::start(Options::default().password("right-7d1f")).await;
    // So much time for a connect that none ends for want of it: that would be another reason than the one looked for.
    let app = App::with_redis(&redis.url().replace("right-7d1f", "wrong-90aa"))
        .set("redis.connect_timeout", "10s")
        .set("breaker.probe_timeout", "600ms")
        .set("breaker.open_wait", "1200ms")
        .set("breaker.open_wait_max", "1200ms")
        .start()
        .await;
    let client = app.client();
    eventually(SOON, async || client.status().await["redis"]["last_error"].is_string()).await;
    let answer = client.put_key("k", "v").await;
    assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
    let ready = client.probe("/readyz").await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("warn")));
    let status = client.status().await;
    assert_eq!(status["redis"]["last_error"], "authentication failed", "{status}");
    let output = &status["checks"]["redis:responseTime"][0]["output"];
    assert_eq!(output, "Redis does not answer: authentication failed");
    assert!(client.probe("/").await.text().contains("authentication failed"), "the page says why, too");
    // Its state is told before its line is written.
    eventually(SOON, async || app.stderr().contains("authentication failed")).await;
    let told = app.stderr().lines().filter(|line| line.contains("authentication failed")).count();
    assert_eq!(told, 1, "the reason is a log line, once: {}", app.stderr());

    // An operator mends it on Redis' side: no restart is needed.
    assert_eq!(redis.command(&["CONFIG", "SET", "requirepass", "wrong-90aa"]).await, "OK");
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    eventually(SOON, async || client.status().await["status"] == "pass").await;
    assert!(client.status().await["redis"].get("last_error").is_none());
}

#[tokio::test]
async fn secrets_come_from_files_and_no_data_directory_is_needed_then() {
    let redis = Redis::start(Options::default().password("from-a-file-3b2c")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("a secret's file");
        path.display().to_string()
    };
    let token = "Zk8w2LqT6vXb9RnYc4JdHm7PfGs1UaE3";
    let app = patient(&format!("redis://{}", redis.address()))
        .unset("auth.root_token")
        .set("auth.root_token_file", file("token", &format!("{token}\n")))
        .set("redis.password_file", file("password", "from-a-file-3b2c"))
        .start()
        .await;
    let client = Client::new(app.public(), app.operator()).token(token);
    assert_eq!(client.put_key("k", "v").await.status, 201);
    assert!(!app.data_directory().exists(), "with url and token given, nothing is written");
}

/// What a shell makes of the token in a line that was printed at the start, with our program on its path and `set` in it.
fn token_as_pasted(app: &App, set: &[(&str, &str)]) -> String {
    let stdout = app.stdout();
    let word = stdout.split_once("UPSTASH_REDIS_REST_TOKEN=").and_then(|(_, line)| line.lines().next());
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_collective")).parent().expect("its directory");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.display());
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &format!("printf %s {}", word.expect(&stdout))]);
    let output = shell.env_clear().env("PATH", path).envs(set.iter().copied()).output().expect("a shell");
    assert!(output.status.success(), "{word:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn the_printed_lines_find_the_token_wherever_it_was_configured() {
    let redis = Redis::start(Options::default()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().join("the root token");
    let token = "Zk8w2LqT6vXb9RnYc4JdHm7PfGs1UaE3";
    std::fs::write(&kept, format!("{token}\n")).expect("a secret's file");
    let start = async || App::with_redis(&redis.url()).unset("auth.root_token");

    let in_file = start().await.set("auth.root_token_file", kept.display().to_string()).start().await;
    assert_eq!(token_as_pasted(&in_file, &[]), token);
    let in_configuration = start().await.toml(&format!("[auth]\nroot_token = \"{token}\"\n")).start().await;
    assert_eq!(token_as_pasted(&in_configuration, &[]), token);
    let in_variable = start().await.set("auth.root_token", token).start().await;
    assert_eq!(token_as_pasted(&in_variable, &[("COLLECTIVE_AUTH__ROOT_TOKEN", token)]), token);
    let made = start().await.start().await;
    let made_token = std::fs::read_to_string(made.data_directory().join("root-token")).expect("it was made");
    assert_eq!(token_as_pasted(&made, &[]), made_token.trim());
}

#[tokio::test]
async fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let redis = Redis::start(Options::default()).await;
    let in_file = "Q1w8Er5Ty2Ui9Op6As3Df7Gh4Jk0LzXc";
    let toml = format!("[auth]\nroot_token = \"{in_file}\"\n\n[limits]\nbody = \"1KiB\"\nargument = \"1KiB\"\n");
    let app = patient(&redis.url()).toml(&toml).start().await;
    assert_eq!(app.client().put_key("k", "v").await.status, 201, "the variable's token is valid");
    assert_eq!(app.client().token(in_file).get_key("k").await.status, 401, "the file's is not");
    assert_eq!(app.client().put_key("k", vec![b'x'; 1025]).await.status, 413, "the file's limit holds");
}

#[tokio::test]
async fn verbs_end_with_the_exit_codes_they_promise() {
    let redis = Redis::start(Options::default()).await;
    let run = async |verb: &str| App::with_redis(&redis.url()).argument(verb).run().await;
    let version = run("version").await;
    assert_eq!((version.code, version.stdout), (Some(0), format!("collective {}\n", env!("CARGO_PKG_VERSION"))));
    let valid = run("check-config").await;
    assert_eq!((valid.code, valid.stdout.as_str()), (Some(0), "the configuration is valid\n"), "{}", valid.stderr);
    let invalid = App::builder().argument("check-config").set("log.level", "loud").run().await;
    assert_eq!((invalid.code, invalid.stdout.as_str()), (Some(78), ""));
    assert!(invalid.stderr.starts_with("log.level (COLLECTIVE_LOG__LEVEL)"), "{}", invalid.stderr);
    let mistyped = run("sevre").await;
    assert_eq!(mistyped.code, Some(78));
    assert!(mistyped.stderr.contains("did you mean `serve`?"), "{}", mistyped.stderr);
    let no_file = App::builder().argument("check-config").argument("--config=/nonexistent.toml").run().await;
    assert_eq!(no_file.code, Some(78));
    assert!(no_file.stderr.contains("cannot be read"), "{}", no_file.stderr);
}

#[tokio::test]
async fn healthcheck_asks_the_running_service() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let ask = async || App::builder().set("ops.bind", app.operator()).argument("healthcheck").run().await;
    let healthy = ask().await;
    assert_eq!((healthy.code, healthy.stderr.as_str()), (Some(0), ""));
    redis.kill9();
    assert_eq!(ask().await.code, Some(0), "an outage of Redis is no reason to restart us");
    assert_eq!(app.stop().await.code(), Some(0));
    let gone = ask().await;
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("ops.bind"), "{}", gone.stderr);
}
