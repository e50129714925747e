//! The Redis protocol, as little of it as the harness needs.
//!
//! What: [`Scanner`] finds where frames end in a byte stream cut anywhere (the proxy lives on
//! it), [`Reply`] is a decoded reply, [`Connection`] a client of one socket.
//!
//! Why so: the harness judges a product built on a Redis driver, so it must not use that driver.
//! Nested arrays need no stack to find the end of a frame: a count of elements still owed is
//! enough, and bodies are skipped by length, so a 16 MiB value costs no scan.
//!
//! Limits: RESP2 is decoded; RESP3 frames are only measured, streamed RESP3 types not at all.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Longest wait for one reply. Above every deadline of the product: only a hang reaches it.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// One decoded reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Status(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3 bar`: bytes
    Bulk(Vec<u8>),
    /// A null string or a null array.
    Nil,
    /// `*2 …`
    Array(Vec<Reply>),
}

impl Reply {
    /// The integer, also when it came as a string (`GET` of a counter). Panics on anything else.
    #[track_caller]
    pub fn integer(&self) -> i64 {
        match self {
            Reply::Integer(value) => *value,
            other => other.to_string().parse().unwrap_or_else(|_| panic!("not an integer: {other:?}")),
        }
    }

    /// The items of an array. Panics on anything else.
    #[track_caller]
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// Whether there was no such value.
    pub fn is_nil(&self) -> bool {
        matches!(self, Reply::Nil)
    }

    /// Whether Redis answered with an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

/// What a person would read: the text of a string, status or error, `(nil)`, items by comma.
impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Status(text) | Reply::Error(text) => out.write_str(text),
            Reply::Integer(value) => write!(out, "{value}"),
            Reply::Bulk(bytes) => out.write_str(&String::from_utf8_lossy(bytes)),
            Reply::Nil => out.write_str("(nil)"),
            Reply::Array(items) => {
                let texts: Vec<String> = items.iter().map(Reply::to_string).collect();
                out.write_str(&texts.join(","))
            }
        }
    }
}

/// `assert_eq!(redis.command(&["GET", "k"]).await, "v")`: a string or status with this text.
impl PartialEq<&str> for Reply {
    fn eq(&self, other: &&str) -> bool {
        match self {
            Reply::Status(text) => text == other,
            Reply::Bulk(bytes) => bytes == other.as_bytes(),
            Reply::Error(_) | Reply::Integer(_) | Reply::Nil | Reply::Array(_) => false,
        }
    }
}

/// `assert_eq!(redis.command(&["INCR", "n"]).await, 1)`
impl PartialEq<i64> for Reply {
    fn eq(&self, other: &i64) -> bool {
        matches!(self, Reply::Integer(value) if value == other)
    }
}

/// A command as a RESP array.
pub fn encode<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let bytes = argument.as_ref();
        wire.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
        wire.extend_from_slice(bytes);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// How far a [`Scanner`] came.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The frame ends after this many of the given bytes.
    Whole(usize),
    /// All given bytes belong to the frame, which goes on.
    Partial,
    /// This is not the Redis protocol.
    NotResp,
}

/// Finds the ends of frames in a stream that may be cut anywhere.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Elements the current frame still owes; 0 between frames.
    owed: u64,
    /// Bytes of the current bulk body still to come, its CRLF included.
    body: usize,
    /// A header line whose end has not come yet.
    line: Vec<u8>,
}

impl Scanner {
    /// Whether the next byte begins a frame.
    pub fn between_frames(&self) -> bool {
        self.owed == 0
    }

    /// Reads on. Give the bytes after the returned length in the next call.
    pub fn advance(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        self.owed = self.owed.max(1);
        while at < bytes.len() {
            if self.body > 0 {
                let taken = self.body.min(bytes.len() - at);
                at += taken;
                self.body -= taken;
            } else {
                let rest = &bytes[at..];
                if self.line.is_empty() && !may_begin(rest[0]) {
                    return Step::NotResp;
                }
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                    self.line.extend_from_slice(rest);
                    return Step::Partial;
                };
                self.line.extend_from_slice(&rest[..end]);
                at += end + 1;
                let line = std::mem::take(&mut self.line);
                let Some((more, body)) = header(&line) else { return Step::NotResp };
                self.owed += more;
                self.body = body;
            }
            if self.body == 0 {
                self.owed -= 1;
                if self.owed == 0 {
                    return Step::Whole(at);
                }
            }
        }
        Step::Partial
    }
}

/// Type bytes, and letters because of inline commands (`PING\r\n`).
fn may_begin(byte: u8) -> bool {
    b"+-:$*_#,(!=%~>|".contains(&byte) || byte.is_ascii_alphabetic() || byte == b'\r'
}

/// What a header line promises: further elements, and body bytes. `None` if it is malformed.
fn header(line: &[u8]) -> Option<(u64, usize)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some((kind, rest)) = line.split_first() else { return Some((0, 0)) };
    let length = || std::str::from_utf8(rest).ok()?.parse::<i64>().ok();
    Some(match kind {
        b'$' | b'!' | b'=' => match length()? {
            -1 => (0, 0),
            n => (0, usize::try_from(n).ok()? + 2),
        },
        b'*' | b'~' | b'>' => (length()?.max(0).unsigned_abs(), 0),
        b'%' => (length()?.max(0).unsigned_abs() * 2, 0),
        // An attribute precedes the reply proper: one element more than its pairs.
        b'|' => (length()?.max(0).unsigned_abs() * 2 + 1, 0),
        _ => (0, 0),
    })
}

/// The arguments of one whole request frame; of an inline command its words.
pub fn arguments(frame: &[u8]) -> Vec<Vec<u8>> {
    if frame.first() == Some(&b'*') {
        return match decode(frame) {
            Some(Reply::Array(items)) => items.into_iter().filter_map(bulk).collect(),
            _ => Vec::new(),
        };
    }
    frame.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
}

fn bulk(reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Bulk(bytes) => Some(bytes),
        _ => None,
    }
}

/// Decodes one whole RESP2 frame.
pub fn decode(frame: &[u8]) -> Option<Reply> {
    let mut rest = frame;
    element(&mut rest)
}

fn element(rest: &mut &[u8]) -> Option<Reply> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    let (kind, text) = line.split_first()?;
    let text = String::from_utf8_lossy(text).into_owned();
    match kind {
        b'+' => Some(Reply::Status(text)),
        b'-' => Some(Reply::Error(text)),
        b':' => text.parse().ok().map(Reply::Integer),
        b'$' | b'*' if text == "-1" => Some(Reply::Nil),
        b'$' => {
            let length: usize = text.parse().ok()?;
            let bytes = rest.get(..length)?.to_vec();
            *rest = rest.get(length + 2..)?;
            Some(Reply::Bulk(bytes))
        }
        b'*' => {
            (0..text.parse::<usize>().ok()?).map(|_| element(rest)).collect::<Option<Vec<Reply>>>().map(Reply::Array)
        }
        _ => None,
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A plain client of one socket. Every call is bounded by ten seconds.
pub struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Connection {
    /// Connects over TCP.
    pub async fn tcp(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: Box::new(stream), received: Vec::new() })
    }

    /// Connects over a unix socket.
    pub async fn unix(path: &Path) -> io::Result<Connection> {
        let stream = UnixStream::connect(path).await?;
        Ok(Connection { stream: Box::new(stream), received: Vec::new() })
    }

    /// Sends a command and waits for its reply.
    pub async fn command<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Reply> {
        self.send(arguments).await?;
        self.reply().await
    }

    /// Sends a command without waiting.
    pub async fn send<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<()> {
        self.send_bytes(&encode(arguments)).await
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits for the next reply. A closed connection is `UnexpectedEof`.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let frame = self.frame().await?;
        decode(&frame).ok_or_else(|| io::Error::other("a malformed reply"))
    }

    /// Waits for the next reply and hands it over undecoded.
    pub async fn frame(&mut self) -> io::Result<Vec<u8>> {
        tokio::time::timeout(REPLY_LIMIT, self.read_frame())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no reply in ten seconds"))?
    }

    /// Bytes received that do not make a whole frame yet.
    pub fn leftover(&self) -> &[u8] {
        &self.received
    }

    async fn read_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut scanner = Scanner::default();
        let mut scanned = 0;
        loop {
            if scanned < self.received.len() {
                match scanner.advance(&self.received[scanned..]) {
                    Step::Whole(used) => {
                        let rest = self.received.split_off(scanned + used);
                        return Ok(std::mem::replace(&mut self.received, rest));
                    }
                    Step::Partial => scanned = self.received.len(),
                    Step::NotResp => return Err(io::Error::other("not a Redis reply")),
                }
            }
            self.received.reserve(64 * 1024);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
