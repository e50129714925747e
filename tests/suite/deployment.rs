//! What `deploy/` tells an operator to do, done: the secrets of `secrets.sh` fit the Redis of `deploy/redis`, and the settings a
//! cluster gets are settings this program takes.
//!
//! Limits: the containers around it are run by `tests/e2e/compose.sh` and `kubernetes.sh`; here nothing but a shell and Redis is needed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{App, Authority, Client, eventually};
use crate::keys::patient;

const SOON: Duration = Duration::from_secs(10);
const MADE: [&str; 4] = ["root-token", "redis-password", "grafana-password", "users.acl"];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `secrets.sh` for this folder and gives what it made.
fn make_secrets(folder: &Path) -> [String; 4] {
    let run = Command::new("sh").arg(deploy("secrets.sh")).arg(folder).output().expect("a shell");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let made = MADE.map(|name| read(&folder.join(name)));
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(!made[..3].iter().any(|secret| said.contains(secret)), "it says where, and not what");
    made
}

/// Killed with the test that started it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As compose starts it, but for a socket in place of a network.
fn start_redis(folder: &Path) -> Server {
    let mut server = Command::new("redis-server");
    server.arg(deploy("redis/redis.conf")).args(["--port", "0", "--unixsocket"]).arg(folder.join("redis.sock"));
    server.arg("--dir").arg(folder).arg("--aclfile").arg(folder.join("users.acl"));
    Server(server.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server"))
}

#[tokio::test]
async fn the_secrets_it_makes_open_the_redis_it_ships_and_the_service() {
    let directory = tempfile::Builder::new().prefix("deploy-").tempdir().expect("a directory");
    let folder = directory.path();
    let made = make_secrets(folder);
    let [token, password, grafana, list] = &made;
    for secret in [token, password, grafana] {
        assert!(secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "256 bits of chance");
    }
    assert!(token != password && password != grafana && !list.contains(password.as_str()), "each its own, and a hash");
    assert_eq!(make_secrets(folder), made, "a second run changes nothing");

    let _redis = start_redis(folder);
    let app = patient(&format!("unix://{}", folder.join("redis.sock").display()))
        .set("redis.username", "collective")
        .set("redis.password_file", folder.join("redis-password").display())
        .unset("auth.root_token")
        .set("auth.root_token_file", folder.join("root-token").display());
    let app = app.start().await;
    let client = Client::new(app.public(), app.operator()).token(token);
    eventually(SOON, async || client.put_key("k", "v").await.is_success()).await;
    eventually(SOON, async || client.status().await["status"] == "pass").await;
    assert_eq!(client.post_command(&["ACL", "WHOAMI"]).await.result(), "collective");
    let stranger = Command::new("redis-cli").arg("-s").arg(folder.join("redis.sock")).arg("PING").output();
    let told = String::from_utf8_lossy(&stranger.expect("redis-cli").stdout).into_owned();
    assert!(told.contains("NOAUTH"), "{told}");
}

/// The settings in a file of variables, or in the literals of a component.
fn settings(path: &str) -> Vec<(String, String)> {
    let text = read(&deploy(path));
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    let pairs = lines.filter(|line| line.starts_with("COLLECTIVE_")).filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn the_settings_a_cluster_gets_are_taken_with_every_component() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    make_secrets(directory.path());
    let base = settings("kubernetes/base/collective.env");
    let tls = settings("kubernetes/components/redis-tls/kustomization.yaml");
    let traces = settings("kubernetes/components/traces/kustomization.yaml");
    assert!(base.len() > 5 && tls.len() == 3 && traces.len() == 1, "{base:?} {tls:?} {traces:?}");
    for added in [vec![], tls, traces] {
        let mut builder = App::builder().unset("auth.root_token").argument("check-config");
        for (name, value) in base.iter().chain(&added) {
            // The files are mounted there; here they are elsewhere.
            let here = value.replace("/run/secrets/collective", &directory.path().display().to_string());
            let here = here.replace("/run/secrets/redis-tls/ca.pem", &authority.file().display().to_string());
            builder = builder.environment(name, &here);
        }
        let ended = builder.run().await;
        assert_eq!(ended.code, Some(0), "{added:?}: {ended:?}");
    }
}
