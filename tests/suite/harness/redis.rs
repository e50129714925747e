//! A real Redis for one test alone.
//!
//! What: [`Redis::start`] runs a `redis-server` (or `valkey-server`) child in a directory of its
//! own, on a TCP port of 127.0.0.1 and on a unix socket, and hands out what a test does to a
//! Redis: freeze it, kill it, restart it, look inside.
//!
//! Why so: readiness is asked over the unix socket, whose path nobody else can have. A port
//! could answer and yet be a stranger's. Ports are drawn below the kernel's ephemeral range, and kept
//! by a socket that never listens, so that nobody takes the port while the server is down: neither an
//! outgoing connection nor the server of another test, which the program would take for its own.
//!
//! Limits: needs Redis 7 or newer on PATH.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::certificates::Certificate;
use super::deployed;
use super::place;
use super::resp::{Connection, Reply};
use super::tail;

/// Ports to draw from: above the well-known ones, below Linux' ephemeral range (32768 and up).
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How many ports to try. With 22 000 to choose from, one retry is already rare.
const PORT_ATTEMPTS: usize = 50;

/// Longest wait for a start, which includes loading the append-only file.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Server programs, in order of preference.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// How to start a server. `Options::default()`: no password, nothing kept on disk.
#[derive(Clone, Debug, Default)]
pub struct Options {
    password: Option<String>,
    durable: bool,
    settings: Vec<(String, String)>,
    tls: bool,
    plain: Option<&'static str>,
}

impl Options {
    /// Requires this password of the default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Append-only file with `appendfsync always`: what was acknowledged survives a `kill -9`.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Any other directive of `redis.conf`: `.set("maxmemory", "1mb")`.
    pub fn set(mut self, directive: &str, value: &str) -> Self {
        self.settings.push((directive.to_owned(), value.to_owned()));
        self
    }

    /// Never started from `deploy/redis` (see [`deployed`]), and why not.
    pub fn plain(mut self, why: &'static str) -> Self {
        self.plain = Some(why);
        self
    }

    /// Why it cannot be started from `deploy/redis`.
    fn unfit(&self) -> Option<&'static str> {
        self.plain
            .or(self.password.is_some().then_some("the default user signs in with a password, and there he is off"))
    }

    /// Also listens within TLS, on a port of its own. Clients need no certificate, until [`Options::clients_from`].
    pub fn tls(mut self, server: &Certificate, ca: &Path) -> Self {
        self.tls = true;
        self.set("tls-cert-file", &server.certificate.display().to_string())
            .set("tls-key-file", &server.key.display().to_string())
            .set("tls-ca-cert-file", &ca.display().to_string())
            .set("tls-auth-clients", "no")
    }

    /// Demands of clients within TLS a certificate of this authority.
    pub fn clients_from(self, ca: &Path) -> Self {
        self.set("tls-ca-cert-file", &ca.display().to_string()).set("tls-auth-clients", "yes")
    }
}

/// A running server. Dropping it kills the process and removes its directory.
pub struct Redis {
    directory: TempDir,
    port: Port,
    tls_port: Option<Port>,
    options: Options,
    /// Where `redis.conf` and `users.acl` are, if it was started from them.
    deployed: Option<PathBuf>,
    child: Mutex<Child>,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub async fn start(options: Options) -> Redis {
        let deployed = deployed::directory().filter(|_| options.unfit().is_none());
        if deployed::directory().is_some() {
            deployed::report(options.unfit());
        }
        for _ in 0..PORT_ATTEMPTS {
            let directory = place::directory("redis-");
            let port = Port::take();
            let tls_port = options.tls.then(Port::take);
            let deployed = deployed.clone();
            let ports = (port.number, tls_port.as_ref().map(|port| port.number));
            let child = Mutex::new(launch(&directory, ports, &options, deployed.as_deref()));
            let redis = Redis { directory, port, tls_port, options: options.clone(), deployed, child };
            match redis.until_ready().await {
                Ok(()) => return redis,
                Err(log) if log.contains("Failed listening on port") => {}
                Err(log) => panic!("Redis ended while starting:\n{log}"),
            }
        }
        panic!("found no free port for Redis in {PORT_ATTEMPTS} attempts");
    }

    /// `redis://127.0.0.1:PORT`, with user and password if there are any.
    pub fn url(&self) -> String {
        format!("redis://{}{}", self.credentials(), self.address())
    }

    /// `user:password@` or what of it the program needs.
    pub fn credentials(&self) -> String {
        match (&self.deployed, self.password()) {
            (Some(_), _) => format!("{}:{}@", deployed::USER, deployed::PASSWORD),
            (None, Some(password)) => format!(":{password}@"),
            (None, None) => String::new(),
        }
    }

    /// User and password of the program, if it needs any.
    pub fn sign_in(&self) -> Option<(&str, &str)> {
        match (&self.deployed, self.password()) {
            (Some(_), _) => Some((deployed::USER, deployed::PASSWORD)),
            (None, Some(password)) => Some(("default", password)),
            (None, None) => None,
        }
    }

    /// The user the program signs in as.
    pub fn user(&self) -> &'static str {
        if self.deployed.is_some() { deployed::USER } else { "default" }
    }

    /// Where it listens within TLS, if it does.
    #[track_caller]
    pub fn tls_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tls_port.as_ref().expect("Options::tls").number).into()
    }

    /// `rediss://HOST:PORT`, with user and password if there are any.
    #[track_caller]
    pub fn tls_url(&self, host: &str) -> String {
        format!("rediss://{}{host}:{}", self.credentials(), self.tls_address().port())
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The TCP address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number).into()
    }

    /// The unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// The password, if it was given one.
    pub fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// The process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// SIGSTOP: the kernel still accepts connections and bytes, nobody answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on where it was, and runs everything that arrived meanwhile.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill9(&self) {
        end(&mut self.child());
    }

    /// Starts it again with the same directory, port and options, killing it first if it still
    /// runs, and waits until it answers and has loaded its data.
    pub async fn restart(&self) {
        self.kill9();
        let ports = (self.port.number, self.tls_port.as_ref().map(|port| port.number));
        *self.child() = launch(&self.directory, ports, &self.options, self.deployed.as_deref());
        if let Err(log) = self.until_ready().await {
            panic!("Redis did not restart:\n{log}");
        }
    }

    /// A connection of our own, authenticated, not through the product or a proxy.
    pub async fn connect(&self) -> Connection {
        self.try_connect().await.expect("a connection to Redis")
    }

    /// Runs one command on a connection of its own. Errors of Redis are a [`Reply::Error`].
    pub async fn command<A: AsRef<[u8]>>(&self, arguments: &[A]) -> Reply {
        self.connect().await.command(arguments).await.expect("a reply from Redis")
    }

    /// How many keys there are that the service does not keep for itself.
    pub async fn keys_of_callers(&self) -> usize {
        let keys = self.command(&["KEYS", "*"]).await;
        let own = |key: &&Reply| matches!(key, Reply::Bulk(name) if name.starts_with(b"collective:"));
        keys.items().iter().filter(|key| !own(key)).count()
    }

    /// As [`Redis::command`], for a server that may be dead or frozen.
    pub async fn try_command<A: AsRef<[u8]>>(&self, arguments: &[A]) -> io::Result<Reply> {
        self.try_connect().await?.command(arguments).await
    }

    /// The fields of one `INFO` section.
    pub async fn info(&self, section: &str) -> BTreeMap<String, String> {
        self.command(&["INFO", section])
            .await
            .to_string()
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
            .collect()
    }

    /// Everything the server has logged, restarts included.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }

    async fn try_connect(&self) -> io::Result<Connection> {
        self.authenticated(Connection::tcp(self.address()).await?).await
    }

    async fn authenticated(&self, mut connection: Connection) -> io::Result<Connection> {
        let sign_in = match (&self.deployed, &self.options.password) {
            (Some(_), _) => vec!["AUTH", deployed::OWN, "any"],
            (None, Some(password)) => vec!["AUTH", password],
            (None, None) => vec![],
        };
        if !sign_in.is_empty() {
            let reply = connection.command(&sign_in).await?;
            // A loading server answers AUTH, too.
            assert_eq!(reply, "OK", "Redis refused our own password");
        }
        Ok(connection)
    }

    /// The log is the error: the process ended, or took too long.
    async fn until_ready(&self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if let Ok(Some(_)) = self.child().try_wait() {
                return Err(self.log());
            }
            if self.answers_ping().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(format!("not ready in {START_LIMIT:?}\n{}", self.log()))
    }

    async fn answers_ping(&self) -> bool {
        let ping = async {
            let connection = Connection::unix(&self.socket()).await?;
            self.authenticated(connection).await?.command(&["PING"]).await
        };
        matches!(ping.await, Ok(Reply::Status(pong)) if pong == "PONG")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child());
        kill_process(pid, signal).expect("a signal to Redis");
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process, no SIGCONT needed.
        end(&mut self.child());
        if std::thread::panicking() {
            eprintln!("--- log of Redis on port {}\n{}", self.port.number, tail(&self.log(), 40));
        }
    }
}

/// A port no other server of the harness has, of this process or another, for as long as this lives.
struct Port {
    number: u16,
    _guard: Socket,
}

impl Port {
    fn take() -> Port {
        loop {
            let number = fastrand::u16(PORTS);
            match Port::guard(number) {
                Ok(guard) => return Port { number, _guard: guard },
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                // Another number would not help, and trying them would never end.
                Err(error) => panic!("no port can be kept: {error}"),
            }
        }
    }

    /// Bound and never listening. Whoever binds like this finds it taken; our server asks to share, and may listen beside it.
    fn guard(number: u16) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, number)).into())?;
        socket.set_reuse_address(true)?;
        Ok(socket)
    }
}

fn end(child: &mut Child) {
    // Fails only if it has been waited for already.
    let _ = child.kill();
    let _ = child.wait();
}

fn launch(directory: &TempDir, ports: (u16, Option<u16>), options: &Options, deployed: Option<&Path>) -> Child {
    PROGRAMS
        .iter()
        .find_map(|program| match command(program, directory, ports, options, deployed).spawn() {
            Ok(child) => Some(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{program} did not start: {error}"),
        })
        .unwrap_or_else(|| panic!("none of {PROGRAMS:?} is on PATH: install Redis 7 or newer"))
}

fn command(
    program: &str,
    directory: &TempDir,
    (port, tls_port): (u16, Option<u16>),
    options: &Options,
    deployed: Option<&Path>,
) -> Command {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.path().join("redis.log"))
        .expect("a log file for Redis");
    let mut command = Command::new(program);
    if let Some(deployed) = deployed {
        command.arg(deployed.join("redis.conf"));
    }
    command
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a second handle of the log"))
        .stdout(log)
        .args(["--port", &port.to_string()])
        .args([OsStr::new("--unixsocket"), directory.path().join("redis.sock").as_os_str()])
        .args([OsStr::new("--dir"), directory.path().as_os_str()])
        .args(["--enable-debug-command", "yes"]);
    match deployed {
        Some(deployed) => {
            let list = deployed::write_list(deployed, directory.path());
            command.args([OsStr::new("--aclfile"), list.as_os_str()]);
        }
        None => {
            command.args(["--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        }
    }
    if options.durable {
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    }
    if let Some(password) = &options.password {
        command.args(["--requirepass", password]);
    }
    if let Some(port) = tls_port {
        command.args(["--tls-port", &port.to_string()]);
    }
    for (directive, value) in &options.settings {
        command.args([format!("--{directive}"), value.clone()]);
    }
    command
}
