//! One connection as the gateway sees it: what it carries, whether it still lives, and when bytes last moved.
//!
//! The driver tells nobody when a RESP2 connection dies and cannot say whether a request was answered after its caller left
//! (`redis-rs` refuses push senders on RESP2). So the stream is wrapped: every read and write stamps [`Traffic`], and the end of
//! the driver's own future is the sign of death. Both are plain atomics written by the worker that owns the connection and read
//! by the background keeper. Limits: `Traffic` counts bytes, not replies; a reply that arrives in pieces is progress each time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::ThreadId;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

use super::sanitize::Sanitizer;
use super::tls::{FaultSlot, TlsStream};
use crate::resilience::Moment;
use crate::resilience::detectors::Activity;
use crate::telemetry::clock;

/// When bytes last moved on one connection. Zero means never, or nothing outstanding.
#[derive(Default)]
pub(super) struct Traffic {
    last_read: AtomicU64,
    unanswered_since: AtomicU64,
    bytes_read: AtomicU64,
    careful: AtomicBool,
}

impl Traffic {
    /// How many bytes have arrived since the connection was made.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The peer made room for more of a long request: that is progress, too.
    fn drained(&self) {
        if self.unanswered_since.load(Ordering::Relaxed) != 0 {
            self.unanswered_since.store(clock::now().as_micros(), Ordering::Relaxed);
        }
    }

    fn wrote(&self) {
        if self.unanswered_since.load(Ordering::Relaxed) == 0 {
            self.unanswered_since.store(clock::now().as_micros(), Ordering::Relaxed);
        }
    }

    /// Only the connection's own task writes these, so plain loads and stores lose nothing.
    fn read(&self, bytes: usize) {
        self.bytes_read.store(self.bytes_read() + bytes as u64, Ordering::Relaxed);
        self.last_read.store(clock::now().as_micros(), Ordering::Relaxed);
        self.unanswered_since.store(0, Ordering::Relaxed);
    }

    /// What the stall detector wants to know.
    pub(super) fn activity(&self) -> Activity {
        let moment = |word: &AtomicU64| match word.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Moment::from_micros(micros)),
        };
        Activity { unanswered_since: moment(&self.unanswered_since), last_read: moment(&self.last_read) }
    }
}

/// Identity and fate of one established connection.
///
/// `server_run` tells two lives of a server apart: client ids start again after a restart, so killing an id of the former life
/// could hit a stranger.
pub(super) struct Link {
    pub(super) client_id: i64,
    pub(super) server_run: Arc<str>,
    pub(super) born: Moment,
    pub(super) traffic: Arc<Traffic>,
    owner: ThreadId,
    heavy: AtomicBool,
    dead: AtomicBool,
    fenced: AtomicBool,
    loss_counted: AtomicBool,
    open_writes: AtomicU32,
    driver: std::sync::OnceLock<AbortHandle>,
}

impl Link {
    pub(super) fn new(client_id: i64, server_run: Arc<str>, traffic: Arc<Traffic>) -> Self {
        Self {
            client_id,
            server_run,
            born: clock::now(),
            traffic,
            owner: std::thread::current().id(),
            heavy: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            fenced: AtomicBool::new(false),
            loss_counted: AtomicBool::new(false),
            open_writes: AtomicU32::new(0),
            driver: std::sync::OnceLock::new(),
        }
    }

    /// Remembers the task to end when the connection is given up.
    pub(super) fn driven_by(&self, driver: AbortHandle) {
        let _ = self.driver.set(driver);
    }

    /// True if one thread serves both connections: only then does news on one say that the other is looked at, too.
    pub(super) fn same_owner(&self, other: &Self) -> bool {
        self.owner == other.owner
    }

    /// Declares that this connection carries commands that may rightly take long, or may be quoted in errors. To be called
    /// while nothing is outstanding.
    pub(super) fn carries_heavy(&self) {
        self.heavy.store(true, Ordering::Relaxed);
        self.traffic.careful.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_heavy(&self) -> bool {
        self.heavy.load(Ordering::Relaxed)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Nobody gets it any more; who is waiting on it still gets an answer.
    pub(super) fn retire(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Gives the connection up: nobody gets it any more and everyone waiting on it is told at once.
    pub(super) fn give_up(&self) {
        self.retire();
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }

    /// A stalled connection's losses are the stall's, which has been counted already.
    pub(super) fn give_up_as_stalled(&self) {
        self.loss_counted.store(true, Ordering::Relaxed);
        self.give_up();
    }

    /// True for the first of all victims of this connection's loss: one lost connection is one failure (D6).
    pub(super) fn is_first_victim(&self) -> bool {
        !self.loss_counted.swap(true, Ordering::Relaxed)
    }

    pub(super) fn write_begins(&self) {
        self.open_writes.fetch_add(1, Ordering::Relaxed);
    }

    /// A definite reply arrived. Writes abandoned before theirs stay open for good: they are what a fence is for.
    pub(super) fn write_settles(&self) {
        self.open_writes.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn needs_fence(&self) -> bool {
        self.open_writes.load(Ordering::Relaxed) > 0 && !self.is_fenced()
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    pub(super) fn mark_fenced(&self) {
        self.fenced.store(true, Ordering::Release);
    }
}

/// The byte streams Redis is spoken to over.
pub(super) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Unix(UnixStream),
}

/// A transport that stamps [`Traffic`].
pub(super) struct WatchedStream {
    transport: Transport,
    traffic: Arc<Traffic>,
    write_blocked: bool,
    sanitizer: Sanitizer,
}

impl WatchedStream {
    pub(super) fn new(transport: Transport, traffic: Arc<Traffic>) -> Self {
        Self { transport, traffic, write_blocked: false, sanitizer: Sanitizer::default() }
    }

    /// Where a stream within TLS leaves the reason it failed for.
    pub(super) fn fault(&self) -> Option<FaultSlot> {
        match &self.transport {
            Transport::Tls(stream) => Some(stream.fault()),
            Transport::Tcp(_) | Transport::Unix(_) => None,
        }
    }
}

macro_rules! on_transport {
    ($self:expr, $method:ident, $cx:expr $(, $argument:expr)*) => {
        match &mut $self.transport {
            Transport::Tcp(stream) => Pin::new(stream).$method($cx $(, $argument)*),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).$method($cx $(, $argument)*),
            Transport::Unix(stream) => Pin::new(stream).$method($cx $(, $argument)*),
        }
    };
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = on_transport!(self, poll_read, cx, buffer);
        let arrived = buffer.filled().len() - before;
        if matches!(polled, Poll::Ready(Ok(()))) && arrived > 0 {
            self.traffic.read(arrived);
            if self.traffic.careful.load(Ordering::Relaxed) {
                self.sanitizer.pass(&mut buffer.filled_mut()[before..]);
            }
        }
        polled
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = on_transport!(self, poll_write, cx, bytes);
        match polled {
            Poll::Ready(Ok(written)) if written > 0 => {
                // A write that had to wait for the peer shows that the peer reads; any other only fills the kernel's buffer.
                if std::mem::take(&mut self.write_blocked) {
                    self.traffic.drained();
                }
                self.traffic.wrote();
            }
            Poll::Pending => self.write_blocked = true,
            _ => {}
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(self, poll_shutdown, cx)
    }
}
