//! The built program as a child process.
//!
//! What: [`App::builder`] starts it on ports of its own choosing and waits for the line
//! `listening public=127.0.0.1:PORT operator=127.0.0.1:PORT` on its standard output; the handle
//! stops it, kills it, starts it again over the same data, and hands out clients.
//!
//! Why so: a child has its own runtime, signals and exit status, as in production. It sees no
//! environment but PATH and what the test sets, and works in a temporary directory, so nothing
//! on a developer's machine can change a test.
//!
//! Limits: when the handle is dropped, an embedded Redis is found by its working directory
//! inside ours and killed, too: nothing outlives the test.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Client;
use super::{place, tail};

/// The program under test, built by cargo before this test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_collective");

/// Longest wait for the listening line. The promise is 200 ms; this is for busy machines.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Longest wait for an exit: the drain may take 25 s.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The planted root token. Long enough for any rule about token length, and easy to find in
/// a log it must not be in.
pub const ROOT_TOKEN: &str = "k3Vq9dXw7LmZp2RtYb8sHn4JcF6gUaE1";

/// What to start. Begins with both listeners on port 0, a root token and a data directory.
pub struct Builder {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    before: Option<String>,
    directory: TempDir,
}

impl Builder {
    /// Sets a key by its configuration path: `.set("redis.url", …)` becomes
    /// `COLLECTIVE_REDIS__URL`.
    pub fn set(self, key: &str, value: impl ToString) -> Self {
        let name = variable(key);
        self.environment(&name, &value.to_string())
    }

    /// Takes a default of this builder back: `.unset("auth.root_token")`.
    pub fn unset(mut self, key: &str) -> Self {
        self.environment.remove(&variable(key));
        self
    }

    /// Sets any environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes this TOML to a file and passes it as `--config`.
    pub fn toml(mut self, text: &str) -> Self {
        let path = self.directory.path().join("collective.toml");
        std::fs::write(&path, text).expect("a configuration file");
        self.arguments.extend(["--config".to_owned(), path.display().to_string()]);
        self
    }

    /// Runs this line of a shell first, in the process that then becomes the program: `.after("ulimit -n 256")`.
    pub fn after(mut self, line: &str) -> Self {
        self.before = Some(line.to_owned());
        self
    }

    /// Appends a command-line argument: `.argument("check-config")`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it and waits until it listens. Panics with its log if it ends instead.
    pub async fn start(self) -> App {
        match self.try_start().await {
            Ok(app) => app,
            Err(ended) => panic!("the program ended while starting: {ended:?}"),
        }
    }

    /// As [`Builder::start`], for a start that may be refused.
    pub async fn try_start(self) -> Result<App, Ended> {
        let Builder { environment, arguments, before, directory } = self;
        let recipe = Recipe { environment, arguments, before, directory };
        let child = recipe.launch();
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut app = App { recipe, child: Mutex::new(child), public: unknown, operator: unknown };
        app.until_listening(0).await?;
        Ok(app)
    }

    /// Runs it to its end, for verbs that end by themselves. Panics if it does not.
    pub async fn run(self) -> Ended {
        let Builder { environment, arguments, before, directory } = self;
        let recipe = Recipe { environment, arguments, before, directory };
        let mut child = recipe.launch();
        let status = wait(&mut child, START_LIMIT).await;
        let _ = child.kill();
        let status = status.unwrap_or_else(|| panic!("still running: {}", recipe.log()));
        Ended { code: status.code(), stdout: recipe.stdout(), stderr: recipe.stderr() }
    }
}

/// How a program that ended left.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// A running program. Dropping it kills it.
pub struct App {
    recipe: Recipe,
    child: Mutex<Child>,
    public: SocketAddr,
    operator: SocketAddr,
}

impl App {
    /// A program with embedded Redis, until `.set("redis.url", …)` says otherwise.
    pub fn builder() -> Builder {
        let directory = place::directory("app-");
        let data = directory.path().join("data").display().to_string();
        Builder { environment: BTreeMap::new(), arguments: Vec::new(), before: None, directory }
            .set("server.bind", "127.0.0.1:0")
            .set("ops.bind", "127.0.0.1:0")
            .set("auth.root_token", ROOT_TOKEN)
            .set("data_dir", data)
    }

    /// A builder that already knows its Redis: `App::with_redis(&proxy.url())`.
    pub fn with_redis(url: &str) -> Builder {
        App::builder().set("redis.url", url)
    }

    /// The public listener.
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// The operator listener.
    pub fn operator(&self) -> SocketAddr {
        self.operator
    }

    /// A client with the root token.
    pub fn client(&self) -> Client {
        Client::new(self.public, self.operator).token(ROOT_TOKEN)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// The data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.recipe.directory.path().join("data")
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child()), Signal::TERM).expect("SIGTERM");
    }

    /// SIGTERM, and the exit status once it has ended.
    pub async fn stop(&self) -> ExitStatus {
        self.terminate();
        self.exited().await
    }

    /// The exit status once it has ended by itself or by [`App::terminate`].
    pub async fn exited(&self) -> ExitStatus {
        let start = Instant::now();
        loop {
            let status = self.child().try_wait().expect("the status of the program");
            match status {
                Some(status) => return status,
                None if start.elapsed() > STOP_LIMIT => {
                    panic!("still running after {STOP_LIMIT:?}:\n{}", tail(&self.log(), 40))
                }
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// SIGKILL, and waits until the process is gone. An embedded Redis survives it.
    pub fn kill9(&self) {
        let mut child = self.child();
        // Fails only if it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts it again with the same configuration and data, on new ports. Kills it first if it
    /// still runs.
    pub async fn restart(&mut self) {
        self.kill9();
        let seen = self.recipe.stdout().len();
        *self.child() = self.recipe.launch();
        if let Err(ended) = self.until_listening(seen).await {
            panic!("the program ended while restarting: {ended:?}");
        }
    }

    /// Everything it has written, standard output first.
    pub fn log(&self) -> String {
        self.recipe.log()
    }

    /// Its standard output.
    pub fn stdout(&self) -> String {
        self.recipe.stdout()
    }

    /// Its standard error.
    pub fn stderr(&self) -> String {
        self.recipe.stderr()
    }

    async fn until_listening(&mut self, seen: usize) -> Result<(), Ended> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            // Asked before the output is read: what an ended program wrote is complete then.
            let ended = self.child().try_wait().expect("the status of the program");
            let stdout = self.recipe.stdout();
            if let Some((public, operator)) = stdout.get(seen..).and_then(listening) {
                (self.public, self.operator) = (public, operator);
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(Ended { code: status.code(), stdout, stderr: self.recipe.stderr() });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("no listening line in {START_LIMIT:?}:\n{}", tail(&self.log(), 40));
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.kill9();
        kill_all_within(self.recipe.directory.path());
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- log of the program\n{}", tail(&log, 60));
        } else {
            assert!(!log.contains("panicked at"), "the program panicked:\n{}", tail(&log, 60));
            // So that every run of the suite is a search for leaks.
            assert!(!log.contains(ROOT_TOKEN), "the root token is in the log");
        }
    }
}

/// All it takes to start the program, as often as needed.
struct Recipe {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    before: Option<String>,
    directory: TempDir,
}

impl Recipe {
    fn launch(&self) -> Child {
        self.command()
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_BACKTRACE", "1")
            .envs(&self.environment)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(self.append("stdout"))
            .stderr(self.append("stderr"))
            .spawn()
            .expect("the program starts")
    }

    fn command(&self) -> Command {
        let Some(before) = &self.before else { return Command::new(PROGRAM) };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before} && exec \"$0\" \"$@\""), PROGRAM]);
        shell
    }

    fn append(&self, name: &str) -> File {
        let path = self.directory.path().join(name);
        File::options().create(true).append(true).open(path).expect("a file for the output")
    }

    fn stdout(&self) -> String {
        self.read("stdout")
    }

    fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn log(&self) -> String {
        format!("{}\n{}", self.stdout(), self.stderr())
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// `redis.url` → `COLLECTIVE_REDIS__URL`
fn variable(key: &str) -> String {
    format!("COLLECTIVE_{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// The two addresses, if the line is there and complete.
pub fn listening(stdout: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = stdout.split_inclusive('\n').find_map(|l| l.strip_prefix("listening public="))?;
    let (public, operator) = line.strip_suffix('\n')?.trim_end().split_once(" operator=")?;
    Some((public.parse().ok()?, operator.parse().ok()?))
}

async fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("the status of the program") {
            return Some(status);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    None
}

/// Kills the processes that work inside `directory`: the embedded Redis, and nothing else,
/// because the directory is this test's alone.
fn kill_all_within(directory: &Path) {
    let Ok(directory) = directory.canonicalize() else { return };
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Unreadable: not our process.
        let Ok(cwd) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        if cwd.starts_with(&directory)
            && let Some(pid) = Pid::from_raw(pid)
        {
            // Fails only if it ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
