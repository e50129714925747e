//! The one connection that carries all subscriptions: connect, ask, hear.
//!
//! A subscribed connection can do nothing else, so it is no pooled one. It is opened like them, though: the same address and
//! credentials, a watched stream, one round trip before it counts as connected; so its failures tell the detectors what those of
//! others do. Limits: Publish/Subscribe knows no logical databases, so none is selected.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use redis_rs::Cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::address::Address;
use super::super::connector::{self, ConnectError, words};
use super::super::link::{Link, Traffic, WatchedStream};
use super::registry::{Question, Topic};
use super::wire::{Frame, Malformed, decode};

/// Read ahead: a few hundred small messages a system call.
const READ_AHEAD: usize = 16 << 10;

/// An established connection.
pub(in super::super) struct Line {
    stream: WatchedStream,
    heard: BytesMut,
    link: Arc<Link>,
}

/// Connects and signs in within `timeout`, from when on it is known where the server is.
pub(in super::super) async fn connect(address: &Address, timeout: Duration) -> Result<Line, ConnectError> {
    connector::within(address, timeout, async |peers| establish(address, peers).await).await
}

async fn establish(address: &Address, peers: &[SocketAddr]) -> Result<Line, ConnectError> {
    let traffic = Arc::new(Traffic::default());
    let stream = connector::dial(address, peers, traffic.clone()).await?;
    let fault = stream.fault();
    let established = sign_in(address, stream, traffic).await;
    established.map_err(|error| error.explained_by(fault))
}

async fn sign_in(address: &Address, stream: WatchedStream, traffic: Arc<Traffic>) -> Result<Line, ConnectError> {
    // Nothing is ever written that a fence would have to settle: identity and life of the server do not matter here.
    let link = Arc::new(Link::new(0, Arc::from(""), traffic));
    let mut line = Line { stream, heard: BytesMut::with_capacity(READ_AHEAD), link };
    let greetings = greetings(address);
    let packed: Vec<u8> = greetings.iter().flat_map(Cmd::get_packed_command).collect();
    line.send(&packed).await?;
    for _ in greetings {
        match line.next().await? {
            Frame::Done => {}
            Frame::Refused(error) => return Err(ConnectError::Handshake(error.code().to_owned())),
            Frame::Message { .. } | Frame::PatternMessage { .. } => {
                return Err(ConnectError::Handshake("a message came before any subscription".into()));
            }
        }
    }
    Ok(line)
}

/// Credentials, and a question whose answer proves that somebody is there. All our connections need the right to it.
fn greetings(address: &Address) -> Vec<Cmd> {
    let identity = &address.identity;
    let sign_in = identity.password().map(|password| match identity.username() {
        Some(username) => words(&["AUTH", username, password]),
        None => words(&["AUTH", password]),
    });
    sign_in.into_iter().chain([words(&["CLIENT", "ID"])]).collect()
}

impl Line {
    /// The connection as the detectors see it.
    pub(in super::super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Sends packed commands.
    pub(super) async fn send(&mut self, packed: &[u8]) -> io::Result<()> {
        self.stream.write_all(packed).await?;
        self.stream.flush().await
    }

    /// The next thing Redis says. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = decode(&mut self.heard)? {
                return Ok(frame);
            }
            self.heard.reserve(READ_AHEAD);
            if self.stream.read_buf(&mut self.heard).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, "Redis sent something that is no answer and no message")
    }
}

/// Appends a question as Redis reads it.
pub(super) fn pack(question: &Question, out: &mut Vec<u8>) {
    let mut command = Cmd::new();
    match question {
        Question::Subscribe(Topic::Channel(name)) => command.arg("SUBSCRIBE").arg(&name[..]),
        Question::Subscribe(Topic::Pattern(name)) => command.arg("PSUBSCRIBE").arg(&name[..]),
        Question::Unsubscribe(Topic::Channel(name)) => command.arg("UNSUBSCRIBE").arg(&name[..]),
        Question::Unsubscribe(Topic::Pattern(name)) => command.arg("PUNSUBSCRIBE").arg(&name[..]),
        Question::Ping => command.arg("PING"),
    };
    out.extend_from_slice(&command.get_packed_command());
}
