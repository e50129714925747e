//! The embedded Redis: one server per data directory, whatever dies, freezes or comes twice.
//!
//! A real server program is used, and for an orphan a real `kill -9` of a real owner: this test binary runs itself
//! again as that owner. Servers are counted by the kernel's word (who works in the data directory), not by ours.
//!
//! Limits: Linux only (`/proc`).

use std::ffi::OsStr;
use std::future::pending;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use collective::redis::embedded::{DataDir, Embedded, EmbeddedEvent};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::harness::{Connection, Reply, eventually};

/// Longer than every bounded wait of the supervisor together.
const PATIENCE: Duration = Duration::from_secs(20);
/// Tells this binary to be the owner of the named data directory.
const OWNED_DIRECTORY: &str = "TEST_OWNED_DATA_DIR";

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data() {
    let home = Home::new();
    let mut owner = Owner::start(&home);
    let first = owner.until_ready().await;
    assert_eq!(home.command(&["SET", "kept", "yes"]).await, "OK");

    signal(first, Signal::KILL);
    let Event::Down { reason, .. } = owner.until(|event| matches!(event, Event::Down { .. })).await else { panic!() };
    assert!(reason.contains("SIGKILL"), "{reason}");
    let second = owner.until_ready().await;

    assert_ne!(first, second);
    assert_eq!(home.servers(), [second]);
    assert_eq!(home.command(&["GET", "kept"]).await, "yes");
    owner.stop().await;
}

#[tokio::test]
async fn an_orphan_is_adopted_and_never_doubled() {
    let home = Home::new();
    let orphan = home.orphan().await;
    assert_eq!(home.command(&["SET", "kept", "yes"]).await, "OK");

    let mut owner = Owner::start(&home);
    assert_eq!(owner.until(|event| matches!(event, Event::Adopted { .. })).await, Event::Adopted { pid: orphan });
    assert_eq!(owner.until_ready().await, orphan);
    assert_eq!(home.servers(), [orphan]);
    assert_eq!(home.command(&["GET", "kept"]).await, "yes");

    owner.stop().await;
    assert_eq!(home.servers(), [0; 0], "an adopted server ends with its new owner");
}

#[tokio::test]
async fn an_adopted_server_that_dies_is_replaced_by_a_child() {
    let home = Home::new();
    let orphan = home.orphan().await;
    let mut owner = Owner::start(&home);
    assert_eq!(owner.until_ready().await, orphan);
    assert_eq!(home.command(&["SET", "kept", "yes"]).await, "OK");

    signal(orphan, Signal::KILL);
    let child = owner.until_ready().await;
    assert_ne!(child, orphan);
    assert_eq!(home.command(&["GET", "kept"]).await, "yes");
    owner.stop().await;
}

#[tokio::test]
async fn a_frozen_orphan_is_waited_for_and_adopted_once_it_answers() {
    let home = Home::new();
    let orphan = home.orphan().await;
    signal(orphan, Signal::STOP);

    let mut owner = Owner::start(&home);
    let Event::Waiting { pid, .. } = owner.until(|event| matches!(event, Event::Waiting { .. })).await else {
        panic!()
    };
    assert_eq!(pid, Some(orphan));
    assert_eq!(home.servers(), [orphan]);

    signal(orphan, Signal::CONT);
    assert_eq!(owner.until_ready().await, orphan);
    assert_eq!(home.servers(), [orphan]);
    owner.stop().await;
}

#[tokio::test]
async fn a_frozen_orphan_without_its_socket_file_is_not_doubled_and_ends_on_stop() {
    let home = Home::new();
    let orphan = home.orphan().await;
    signal(orphan, Signal::STOP);
    std::fs::remove_file(home.socket()).expect("remove the socket file");

    let mut owner = Owner::start(&home);
    owner.until(|event| matches!(event, Event::Waiting { pid: Some(_), .. })).await;
    assert_eq!(home.servers(), [orphan]);
    owner.stop().await;
    assert_eq!(home.servers(), [0; 0]);
}

#[tokio::test]
async fn an_orphan_whose_password_was_lost_is_ended_and_replaced() {
    let home = Home::new();
    let orphan = home.orphan().await;
    assert_eq!(home.command(&["SET", "kept", "yes"]).await, "OK");
    std::fs::remove_file(home.data().join("redis-password")).expect("lose the password");

    let mut owner = Owner::start(&home);
    assert_ne!(owner.until_ready().await, orphan);
    assert_eq!(home.command(&["GET", "kept"]).await, "yes");
    owner.stop().await;
}

#[tokio::test]
async fn a_server_started_by_hand_on_our_settings_is_adopted() {
    let home = Home::new();
    let dir = DataDir::open(&home.data()).expect("open");
    drop(Embedded::prepare(&dir, &search_path()).expect("prepare"));
    drop(dir);
    let mut by_hand = Command::new("redis-server").arg(home.data().join("redis.conf")).spawn().expect("a server");
    eventually(PATIENCE, async || home.answers().await).await;

    let mut owner = Owner::start(&home);
    assert_eq!(owner.until_ready().await, by_hand.id());
    assert_eq!(home.servers(), [by_hand.id()]);
    owner.stop().await;
    by_hand.wait().expect("ended by us");
}

#[tokio::test]
async fn a_server_of_an_earlier_version_is_adopted_and_given_the_rights_of_this_one() {
    let home = Home::new();
    let dir = DataDir::open(&home.data()).expect("open");
    drop(Embedded::prepare(&dir, &search_path()).expect("prepare"));
    drop(dir);
    let settings = std::fs::read_to_string(home.data().join("redis.conf")).expect("the settings");
    // Earlier versions knew `default` alone.
    let earlier: String =
        settings.lines().filter(|line| !line.starts_with("user ")).map(|it| format!("{it}\n")).collect();
    assert_ne!(earlier, settings);
    std::fs::write(home.data().join("earlier.conf"), earlier).expect("write");
    let mut of_earlier = Command::new("redis-server").arg(home.data().join("earlier.conf")).spawn().expect("a server");
    eventually(PATIENCE, async || home.answers().await).await;
    assert!(home.signed_in_as("collective", &["PING"]).await.is_err(), "nobody of that name yet");

    let mut owner = Owner::start(&home);
    assert_eq!(owner.until_ready().await, of_earlier.id());
    assert_eq!(home.signed_in_as("collective", &["SET", "kept", "yes"]).await.expect("signed in"), "OK");
    let flushed = home.signed_in_as("collective", &["EVAL", "return redis.call('FLUSHALL')", "0"]).await;
    assert!(flushed.expect("signed in").is_error());
    owner.stop().await;
    of_earlier.wait().expect("ended by us");
}

#[tokio::test]
async fn data_and_log_may_lie_on_another_disk_behind_links_of_the_same_user() {
    let home = Home::new();
    let dir = DataDir::open(&home.data()).expect("open");
    let disk = home.0.path().join("disk");
    std::fs::create_dir_all(disk.join("data")).expect("a directory");
    std::fs::write(disk.join("log"), "").expect("a file");
    for (target, name) in [("data", "redis"), ("log", "redis.log")] {
        std::os::unix::fs::symlink(disk.join(target), home.data().join(name)).expect("a link");
    }
    drop(dir);
    let mut owner = Owner::start(&home);
    owner.until_ready().await;
    assert_eq!(home.command(&["SET", "kept", "yes"]).await, "OK");
    owner.stop().await;
    assert!(std::fs::read_dir(disk.join("data")).expect("a directory").count() > 0);
    assert!(std::fs::metadata(disk.join("log")).expect("a file").len() > 0);
    let mode = std::fs::metadata(disk.join("data")).expect("a directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "others cannot look in");
}

/// Played by a newer one that says it is older: what matters is that it is not given what an older one cannot read.
#[tokio::test]
async fn a_server_from_before_rights_of_subcommands_is_served_from_all_the_same() {
    let home = Home::new();
    let programs = home.0.path().join("programs");
    std::fs::create_dir(&programs).expect("a directory");
    let program = programs.join("redis-server");
    let real =
        std::env::split_paths(&search_path()).map(|directory| directory.join("redis-server")).find(|it| it.is_file());
    let real = real.expect("redis-server on the search path");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] || {{ echo 'Redis server v=6.0.16 sha=0'; exit; }}\nexec {} \"$@\"\n",
        real.display()
    );
    std::fs::write(&program, script).expect("write");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let mut owner = Owner::start_from(&home, programs.as_os_str());
    owner.until_ready().await;
    assert_eq!(home.signed_in_as("collective", &["SET", "k", "v"]).await.expect("signed in"), "OK");
    let settings = std::fs::read_to_string(home.data().join("redis.conf")).expect("the settings");
    assert!(!settings.contains('|'), "no right of a subcommand is named: {settings}");
    owner.stop().await;
}

#[tokio::test]
async fn a_server_killed_while_it_rewrites_its_file_leaves_nothing_in_the_way() {
    let home = Home::new();
    let mut owner = Owner::start(&home);
    let first = owner.until_ready().await;
    let fill = "for i = 1, 5000 do redis.call('SET', 'k' .. i, i) end";
    home.command(&["EVAL", fill, "0"]).await;
    // Ten milliseconds a key: left alone, the rewriting process would be there for most of a minute.
    assert_eq!(home.command(&["CONFIG", "SET", "rdb-key-save-delay", "10000"]).await, "OK");
    home.command(&["BGREWRITEAOF"]).await;
    eventually(PATIENCE, async || home.servers().len() == 2).await;

    signal(first, Signal::KILL);
    let second = owner.until_ready().await;
    assert_eq!(home.servers(), [second]);
    assert_eq!(home.command(&["DBSIZE"]).await, 5000);
    owner.stop().await;
}

#[tokio::test]
async fn left_over_socket_and_pid_files_of_the_dead_do_not_matter() {
    let home = Home::new();
    let orphan = home.orphan().await;
    signal(orphan, Signal::KILL);
    eventually(PATIENCE, async || home.servers().is_empty()).await;
    assert!(home.socket().exists() && home.data().join("redis.pid").exists());
    // The number of a process that lives, and is no server of ours.
    std::fs::write(home.data().join("redis.pid"), std::process::id().to_string()).expect("write");

    let mut owner = Owner::start(&home);
    let child = owner.until_ready().await;
    assert_eq!(home.servers(), [child]);
    owner.stop().await;
}

#[tokio::test]
async fn stop_ends_the_server_even_when_it_is_frozen() {
    let home = Home::new();
    for frozen in [false, true] {
        let mut owner = Owner::start(&home);
        let child = owner.until_ready().await;
        if frozen {
            signal(child, Signal::STOP);
        }
        owner.stop().await;
        assert_eq!(home.servers(), [0; 0], "frozen: {frozen}");
    }
}

#[tokio::test]
async fn a_supervision_that_is_dropped_leaves_no_second_server() {
    let home = Home::new();
    let owner = Owner::start(&home);
    eventually(PATIENCE, async || home.answers().await).await;
    owner.task.abort();
    owner.task.await.expect_err("aborted");

    let mut next = Owner::start(&home);
    eventually(PATIENCE, async || {
        assert!(home.servers().len() <= 1, "two servers on one file: {:?}", home.servers());
        matches!(next.events.try_recv(), Ok(Event::Ready { .. }))
    })
    .await;
    next.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_is_retried_with_growing_waits_and_says_why() {
    let home = Home::new();
    let mut owner = Owner::start(&home);
    owner.until_ready().await;
    assert_eq!(home.command(&["SET", "kept", "yes"]).await, "OK");
    owner.stop().await;
    let file = home.data().join("redis/appendonlydir/appendonly.aof.1.incr.aof");
    std::fs::write(&file, "this is no append-only file\r\n".repeat(10)).expect("corrupt the file");

    let mut owner = Owner::start(&home);
    for attempt in 0..3_u32 {
        let down = owner.until(|event| matches!(event, Event::Down { .. })).await;
        let Event::Down { log_tail, retry_in, .. } = down else { panic!() };
        assert!(log_tail.iter().any(|line| line.contains("Bad file format")), "{log_tail:#?}");
        assert!(retry_in <= Duration::from_millis(100) * 2_u32.pow(attempt), "{retry_in:?}");
    }
    owner.stop().await;
}

#[tokio::test]
async fn the_server_has_its_own_process_group_an_empty_environment_and_no_password_in_sight() {
    let home = Home::new();
    let mut owner = Owner::start(&home);
    let child = owner.until_ready().await;
    // A Ctrl-C at the terminal goes to our whole group, and must not reach it.
    assert_eq!(getpgid(Some(pid(child))).expect("group"), pid(child));
    assert_eq!(std::fs::read(format!("/proc/{child}/environ")).expect("environment").len(), 0);
    let command_line = std::fs::read(format!("/proc/{child}/cmdline")).expect("command line");
    assert!(!String::from_utf8_lossy(&command_line).contains(&home.password()));
    assert_eq!(std::fs::read_link(format!("/proc/{child}/fd/0")).expect("input"), home.data().join("redis.lock"));
    owner.stop().await;
}

#[tokio::test]
async fn everything_in_the_data_directory_is_for_its_owner_only() {
    let home = Home::new();
    DataDir::open(&home.data()).expect("open").root_token().expect("token");
    let mut owner = Owner::start(&home);
    owner.until_ready().await;
    for directory in ["", "redis"] {
        assert_eq!(mode(&home.data().join(directory)), 0o700, "{directory}");
    }
    for file in ["lock", "root-token", "redis-password", "redis.conf", "redis.lock", "redis.log"] {
        assert_eq!(mode(&home.data().join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&home.socket()), 0o700);
    assert!(matches!(home.unauthenticated().await, Reply::Error(text) if text.starts_with("NOAUTH")));
    owner.stop().await;
}

#[test]
fn a_second_instance_is_refused_and_told_the_way_out() {
    let home = Home::new();
    let first = DataDir::open(&home.data()).expect("the first");
    let refusal = DataDir::open(&home.data()).expect_err("the second").to_string();
    for part in [home.data().to_str().expect("text"), &std::process::id().to_string(), "COLLECTIVE_DATA_DIR"] {
        assert!(refusal.contains(part), "{part} is missing from: {refusal}");
    }
    // A prepared server holds the directory, too.
    let prepared = Embedded::prepare(&first, &search_path()).expect("prepare");
    drop(first);
    DataDir::open(&home.data()).expect_err("still held");
    drop(prepared);
    DataDir::open(&home.data()).expect("free again");
}

#[test]
fn the_root_token_is_long_random_and_kept() {
    let home = Home::new();
    let token = DataDir::open(&home.data()).expect("open").root_token().expect("token");
    // 43 characters of base64 carry 256 bits.
    assert!(token.expose().len() >= 43);
    let again = DataDir::open(&home.data()).expect("open").root_token().expect("token");
    assert_eq!(token.expose(), again.expose());
    let other = DataDir::open(&Home::new().data()).expect("open").root_token().expect("token");
    assert_ne!(token.expose(), other.expose());
}

#[test]
fn without_a_server_program_the_error_tells_how_to_install_one() {
    let home = Home::new();
    let dir = DataDir::open(&home.data()).expect("open");
    let refusal = Embedded::prepare(&dir, OsStr::new("")).expect_err("no program").to_string();
    for part in ["apt-get install redis-server", "brew install redis", "redis.url"] {
        assert!(refusal.contains(part), "{part} is missing from: {refusal}");
    }
}

#[test]
fn a_socket_path_is_refused_from_the_first_byte_too_many() {
    let home = Home::new();
    let base = home.data().as_os_str().len() + "//redis.sock".len();
    for (length, fits) in [(107, true), (108, false)] {
        let dir = DataDir::open(&home.data().join("x".repeat(length - base))).expect("open");
        let prepared = Embedded::prepare(&dir, &search_path());
        assert_eq!(prepared.is_ok(), fits, "{length}: {prepared:?}");
    }
}

/// Not a test of its own: what the killed owner runs. Started as an ordinary test, it has nothing to do.
#[tokio::test]
async fn the_owner_that_gets_killed_keeps_a_server_until_then() {
    if let Some(data) = std::env::var_os(OWNED_DIRECTORY) {
        let dir = DataDir::open(Path::new(&data)).expect("open");
        let embedded = Embedded::prepare(&dir, &search_path()).expect("prepare");
        embedded.supervise(pending(), |_| ()).await;
    }
}

type Event = EmbeddedEvent;

/// A data directory; dropping it ends every server that works in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("embedded-").tempdir().expect("a directory"))
    }

    /// Absolute and resolved, as the kernel names it.
    fn data(&self) -> PathBuf {
        self.0.path().canonicalize().expect("resolve").join("data")
    }

    fn socket(&self) -> PathBuf {
        self.data().join("redis.sock")
    }

    fn password(&self) -> String {
        std::fs::read_to_string(self.data().join("redis-password")).unwrap_or_default().trim().to_owned()
    }

    /// Runs an owner, kills it with SIGKILL once its server answers, and returns the server that outlived it.
    async fn orphan(&self) -> u32 {
        let mut owner = run_owner(&self.data());
        eventually(PATIENCE, async || self.answers().await).await;
        owner.kill().expect("kill -9");
        owner.wait().expect("ended");
        let servers = self.servers();
        assert_eq!(servers.len(), 1, "one server outlives its owner");
        servers[0]
    }

    /// Every living process that works in the server's directory.
    fn servers(&self) -> Vec<u32> {
        let data = self.data().join("redis");
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|pid: &u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)).collect()
    }

    async fn answers(&self) -> bool {
        let ping = async {
            let mut connection = Connection::unix(&self.socket()).await?;
            connection.command(&["AUTH", &self.password()]).await?;
            connection.command(&["PING"]).await
        };
        ping.await.is_ok_and(|reply| reply == "PONG")
    }

    async fn command(&self, arguments: &[&str]) -> Reply {
        let mut connection = Connection::unix(&self.socket()).await.expect("a connection");
        assert_eq!(connection.command(&["AUTH", &self.password()]).await.expect("a reply"), "OK");
        connection.command(arguments).await.expect("a reply")
    }

    /// What a command is answered for a user who has the password; `Err` is the answer to a login that failed.
    async fn signed_in_as(&self, user: &str, arguments: &[&str]) -> Result<Reply, Reply> {
        let mut connection = Connection::unix(&self.socket()).await.expect("a connection");
        let login = connection.command(&["AUTH", user, &self.password()]).await.expect("a reply");
        if login != "OK" {
            return Err(login);
        }
        Ok(connection.command(arguments).await.expect("a reply"))
    }

    async fn unauthenticated(&self) -> Reply {
        let mut connection = Connection::unix(&self.socket()).await.expect("a connection");
        connection.command(&["GET", "kept"]).await.expect("a reply")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for server in self.servers() {
            // It may end by itself at the same moment.
            let _ = kill_process(pid(server), Signal::KILL);
        }
    }
}

/// A supervision inside this process.
struct Owner {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    events: mpsc::UnboundedReceiver<EmbeddedEvent>,
}

impl Owner {
    fn start(home: &Home) -> Self {
        Self::start_from(home, &search_path())
    }

    fn start_from(home: &Home, search_path: &OsStr) -> Self {
        let dir = DataDir::open(&home.data()).expect("open");
        let embedded = Embedded::prepare(&dir, search_path).expect("prepare");
        let (stop, stopped) = oneshot::channel();
        let (sender, events) = mpsc::unbounded_channel();
        // Nobody listens any more once the test is over.
        let tell = move |event| drop(sender.send(event));
        let stopped = async { stopped.await.unwrap_or_default() };
        Self { task: tokio::spawn(embedded.supervise(stopped, tell)), stop, events }
    }

    async fn until(&mut self, wanted: impl Fn(&EmbeddedEvent) -> bool) -> EmbeddedEvent {
        let mut seen = Vec::new();
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the supervision goes on");
                seen.push(event.clone());
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("only saw {seen:#?}"))
    }

    async fn until_ready(&mut self) -> u32 {
        match self.until(|event| matches!(event, Event::Ready { .. })).await {
            Event::Ready { pid } => pid.expect("Linux names the listener"),
            other => panic!("{other:?}"),
        }
    }

    async fn stop(self) {
        self.stop.send(()).expect("the supervision waits for this");
        tokio::time::timeout(PATIENCE, self.task).await.expect("a bounded end").expect("no panic");
    }
}

fn run_owner(data: &Path) -> Child {
    let module = module_path!().split_once("::").map_or("", |(_, module)| module);
    Command::new(std::env::current_exe().expect("this test binary"))
        .args(["--exact", &format!("{module}::the_owner_that_gets_killed_keeps_a_server_until_then")])
        .env(OWNED_DIRECTORY, data)
        .stdout(Stdio::null())
        .spawn()
        .expect("this test binary runs again")
}

fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").expect("a search path")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a process id")).expect("not zero")
}

fn signal(process: u32, signal: Signal) {
    kill_process(pid(process), signal).expect("a signal to the server");
}
