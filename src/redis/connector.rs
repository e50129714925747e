//! Making a connection: transport, handshake, identity. The only place that opens sockets to Redis.
//!
//! Our own connect instead of the driver's, because the stream must be watched (`link.rs`) and the driver's future must be ours
//! to await and abort. A connection is handed out only when it has authenticated and told its client id and the server's run id,
//! which the fence needs. Limits: everything here but looking up a name (`lookup.rs`) happens within one connect timeout.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis_rs::aio::MultiplexedConnection;
use redis_rs::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, Value};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::address::{Address, Place};
use super::link::{Link, Traffic, Transport, WatchedStream};
use super::tls::{Fault, FaultSlot};

/// Longest wait of one connect for a name's addresses: resolvers ask through several domains, one after the other. The lookup goes on
/// for the next (`lookup.rs`).
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long bytes may wait for the peer, to be acknowledged or for room to be sent into, before the kernel calls a TCP connection
/// dead. Far above the usual attempt timeout and stall: it is for the black holes that neither has ended.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle links through NAT and load balancers need a sign of life.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Requests queued inside the driver before hand-off waits; above the in-flight bound of one connection.
const DRIVER_QUEUE: usize = 128;

/// What Redis answers while a script runs for longer than it should.
pub(super) const BUSY: &str = "BUSY";

/// A cheap-to-clone handle on one established connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) handle: MultiplexedConnection,
    pub(super) link: Arc<Link>,
}

/// What the server said of itself during the handshake.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    pub(super) version: Option<String>,
}

/// Why no connection could be made. Text for logs and operators, never for callers.
#[derive(Debug)]
pub(super) enum ConnectError {
    Transport(io::Error),
    Tls(Fault),
    Handshake(String),
    TimedOut(Duration),
    /// The resolver did not say where the host's name leads.
    Unresolved(Arc<io::Error>),
    /// Where it leads was not known in time, which says nothing of the server.
    LookupTimedOut(Duration),
    /// Not a failure to connect: the pooled connection was found dead or too old at check-out.
    Stale,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => write!(f, "cannot reach Redis: {error}"),
            Self::Tls(fault) => write!(f, "cannot reach Redis: {}", fault.as_str()),
            Self::Handshake(text) => write!(f, "Redis refused the handshake: {text}"),
            Self::TimedOut(limit) => write!(f, "Redis did not complete the handshake within {limit:?}"),
            Self::Unresolved(error) => write!(f, "the name of Redis' host cannot be looked up: {error}"),
            Self::LookupTimedOut(limit) => write!(f, "the addresses of Redis' host were not known within {limit:?}"),
            Self::Stale => f.write_str("the pooled connection is dead or too old"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl ConnectError {
    /// The reason in a few words for `/status`: a code of Redis or of the system, never a text with an address in it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Transport(error) => error.kind().to_string(),
            Self::Tls(fault) => fault.as_str().to_owned(),
            // What the server calls an error code is its own choice of bytes: take over only what looks like one.
            Self::Handshake(text) if text.len() <= LONGEST_CODE && text.chars().all(is_plain) => text.clone(),
            Self::Handshake(_) => "handshake refused".to_owned(),
            Self::TimedOut(_) => "handshake timed out".to_owned(),
            Self::Unresolved(_) => "name lookup failed".to_owned(),
            Self::LookupTimedOut(_) => "name lookup timed out".to_owned(),
            Self::Stale => "stale".to_owned(),
        }
    }

    /// Whether the server said that it is busy with a script.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Handshake(code) if code == BUSY)
    }

    /// Whether it is the resolver's failure, of which the server knows nothing.
    pub(super) fn is_of_the_lookup(&self) -> bool {
        matches!(self, Self::Unresolved(_) | Self::LookupTimedOut(_))
    }

    /// What broke a connection within TLS explains the failure better than that it broke.
    pub(super) fn explained_by(self, fault: Option<FaultSlot>) -> Self {
        fault.and_then(|fault| fault.get().copied()).map_or(self, Self::Tls)
    }
}

/// Longest code of a refusal that is shown; Redis' own have half of it.
const LONGEST_CODE: usize = 32;

fn is_plain(character: char) -> bool {
    character.is_ascii_alphabetic() || character == ' '
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Fault::of(&error).map_or(Self::Transport(error), Self::Tls)
    }
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        // The code tells WRONGPASS from NOAUTH from LOADING; the driver's text may quote the address, so only io texts pass.
        match error.code() {
            Some(code) => Self::Handshake(code.to_owned()),
            None => Self::Handshake(error.category().to_owned()),
        }
    }
}

/// Connects to one address: within `timeout`, from when on it is known where that is. The connection's driver is spawned on the
/// current runtime; `on_end` is dropped when the driver has ended, however it ended.
pub(super) async fn connect<G: Send + 'static>(
    address: &Address,
    timeout: Duration,
    on_end: impl FnOnce(Arc<Link>) -> G,
) -> Result<(Connection, Greeting), ConnectError> {
    within(address, timeout, async |peers| establish(address, peers, on_end).await).await
}

/// Does `work` with the addresses of the server, within `limit` from when on they are known: looking them up has a time of its own.
pub(super) async fn within<T>(
    address: &Address,
    limit: Duration,
    work: impl AsyncFnOnce(&[SocketAddr]) -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let peers = look_up(&address.place).await?;
    tokio::time::timeout(limit, work(&peers)).await.map_err(|_| ConnectError::TimedOut(limit))?
}

async fn establish<G: Send + 'static>(
    address: &Address,
    peers: &[SocketAddr],
    on_end: impl FnOnce(Arc<Link>) -> G,
) -> Result<(Connection, Greeting), ConnectError> {
    let traffic = Arc::new(Traffic::default());
    let stream = dial(address, peers, traffic.clone()).await?;
    let fault = stream.fault();
    let established = sign_in(address, stream, traffic, on_end).await;
    established.map_err(|error| error.explained_by(fault))
}

async fn sign_in<G: Send + 'static>(
    address: &Address,
    stream: WatchedStream,
    traffic: Arc<Traffic>,
    on_end: impl FnOnce(Arc<Link>) -> G,
) -> Result<(Connection, Greeting), ConnectError> {
    let (handle, driver) = MultiplexedConnection::new_with_config(&address.identity, stream, unlimited()).await?;
    let driven = Arc::new(OnceLock::<Arc<Link>>::new());
    let driver = Driver(tokio::spawn({
        let driven = driven.clone();
        async move {
            driver.await;
            // Before anyone else is polled: what would be sent from here on could only be lost, and be told as unknown.
            if let Some(link) = driven.get() {
                link.retire();
            }
        }
    }));
    let mut introduced = handle.clone();
    let (client_id, run, version) = introduce(&mut introduced).await?;
    let link = Arc::new(Link::new(client_id, run, traffic));
    link.driven_by(driver.0.abort_handle());
    let _ = driven.set(link.clone());
    if driver.0.is_finished() {
        link.retire();
    }
    let last_words = on_end(link.clone());
    tokio::spawn(async move {
        let _last_words = last_words;
        driver.ended().await;
    });
    Ok((Connection { handle, link }, Greeting { version }))
}

/// Says one command to a server that may have no ear for any other: signs in, selects nothing, asks for no name. Within `timeout`.
pub(super) async fn say(address: &Address, timeout: Duration, command: &[&str]) -> Result<Value, ConnectError> {
    let asked = async |peers: &[SocketAddr]| {
        let stream = dial(address, peers, Arc::default()).await?;
        let identity = address.identity.clone().set_db(0);
        let (mut handle, driver) = MultiplexedConnection::new_with_config(&identity, stream, unlimited()).await?;
        let _driver = Driver(tokio::spawn(driver));
        Ok(handle.send_packed_command(&words(command)).await?)
    };
    within(address, timeout, asked).await
}

/// Deadlines and limits are ours (`attempt.rs`); the driver's own would run beside them.
fn unlimited() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(DRIVER_QUEUE)
}

/// Ends the driver's task if the handshake is abandoned half way: a given-up connect must leave no socket behind.
struct Driver(tokio::task::JoinHandle<()>);

impl Driver {
    async fn ended(mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A watched stream to a server at one of these addresses, nothing said on it yet.
pub(super) async fn dial(
    address: &Address,
    peers: &[SocketAddr],
    traffic: Arc<Traffic>,
) -> Result<WatchedStream, ConnectError> {
    Ok(WatchedStream::new(open(&address.place, peers).await?, traffic))
}

/// Where a host is; nothing for a socket in the file system. It has a time of its own, since it says nothing of the server: a prober
/// in a hurry would never find one again whose name takes longer to look up than a probe may take.
async fn look_up(place: &Place) -> Result<Vec<SocketAddr>, ConnectError> {
    let Place::Tcp { host, .. } = place else { return Ok(Vec::new()) };
    let found = host.addresses(LOOKUP_TIMEOUT).await.ok_or(ConnectError::LookupTimedOut(LOOKUP_TIMEOUT))?;
    found.map_err(ConnectError::Unresolved)
}

async fn open(place: &Place, peers: &[SocketAddr]) -> io::Result<Transport> {
    match place {
        Place::Unix(path) => Ok(Transport::Unix(UnixStream::connect(path).await?)),
        Place::Tcp { tls, .. } => {
            let stream = TcpStream::connect(peers).await?;
            stream.set_nodelay(true)?;
            let socket = SockRef::from(&stream);
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
            match tls {
                Some(tls) => Ok(Transport::Tls(Box::new(tls.wrap(stream).await?))),
                None => Ok(Transport::Tcp(stream)),
            }
        }
    }
}

/// Learns who we are to the server (`CLIENT ID`) and which life of it this is (`run_id`).
async fn introduce(handle: &mut MultiplexedConnection) -> Result<(i64, Arc<str>, Option<String>), ConnectError> {
    let mut questions = Pipeline::with_capacity(2);
    questions.add_command(words(&["CLIENT", "ID"]));
    questions.add_command(words(&["INFO", "server"]));
    let answers = handle.send_packed_commands(&questions, 0, 2).await?;
    let id = match answers.first() {
        Some(Value::Int(id)) => *id,
        Some(Value::ServerError(error)) => return Err(ConnectError::Handshake(error.code().to_owned())),
        _ => return Err(ConnectError::Handshake("CLIENT ID was not answered with a number".into())),
    };
    let info = match answers.get(1) {
        Some(Value::BulkString(info)) => String::from_utf8_lossy(info).into_owned(),
        _ => String::new(),
    };
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    // Without INFO (an ACL may forbid it) two lives of a server cannot be told apart; an empty run never equals another.
    let run = field("run_id").unwrap_or_default();
    let version = field("valkey_version").or(field("redis_version")).map(str::to_owned);
    Ok((id, Arc::from(run), version))
}

/// A driver command from plain words.
pub(super) fn words(words: &[&str]) -> Cmd {
    let mut command = Cmd::with_capacity(words.len(), words.iter().map(|word| word.len()).sum());
    for word in words {
        command.arg(*word);
    }
    command
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// Answers every command with a number, which is all the handshake asks for, and hangs up on `PING`.
    async fn serve(listener: UnixListener) {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = [0; 1024];
        loop {
            let length = stream.read(&mut bytes).await.expect("readable");
            let text = String::from_utf8_lossy(&bytes[..length]);
            if length == 0 || text.contains("PING") {
                return;
            }
            let commands = text.matches('*').count();
            stream.write_all(":1\r\n".repeat(commands).as_bytes()).await.expect("writable");
        }
    }

    #[tokio::test]
    async fn a_connection_is_dead_before_anyone_hears_that_it_is_lost() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("socket");
        tokio::spawn(serve(UnixListener::bind(&path).expect("a listener")));
        let address = Address::unix(&path);
        let (connection, _) = connect(&address, Duration::from_secs(10), |_| ()).await.expect("a connection");
        let Connection { mut handle, link } = connection;
        assert!(!link.is_dead());
        assert!(handle.send_packed_command(&words(&["PING"])).await.is_err());
        assert!(link.is_dead());
    }
}
