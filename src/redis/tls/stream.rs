//! A stream within TLS that remembers why it failed.
//!
//! A server of TLS 1.3 judges our certificate after the client has finished the handshake: its refusal is an alert in front of the
//! first reply. The driver would report no more than a broken connection, and a write that fails before the alert was read would hide
//! it altogether. So the reason is left in a slot at the first error, and a failed write looks for what the server said last.
//! Limits: progress on a slow link shows in whole TLS records, of 16 KiB at most.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client;

use super::fault::{Fault, FaultSlot};

/// Room for what is read while looking for an alert; its content is of no use any more.
const LAST_WORDS: usize = 512;

/// A client's stream, its handshake done.
pub(in super::super) struct TlsStream {
    inner: client::TlsStream<TcpStream>,
    fault: FaultSlot,
}

impl TlsStream {
    pub(super) fn new(inner: client::TlsStream<TcpStream>) -> Self {
        Self { inner, fault: FaultSlot::default() }
    }

    /// Where the reason of a failure will be found, also when the stream is gone.
    pub(in super::super) fn fault(&self) -> FaultSlot {
        self.fault.clone()
    }

    fn note<T>(&self, polled: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = polled
            && let Some(fault) = Fault::of(error)
        {
            let _ = self.fault.set(fault);
        }
    }

    /// After a failed write: what the server said before it closed.
    fn note_last_words<T>(&mut self, context: &mut Context<'_>, written: &Poll<io::Result<T>>) {
        self.note(written);
        if matches!(written, Poll::Ready(Err(_))) && self.fault.get().is_none() {
            let mut room = [0; LAST_WORDS];
            let heard = Pin::new(&mut self.inner).poll_read(context, &mut ReadBuf::new(&mut room));
            self.note(&heard);
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.note(&polled);
        polled
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note_last_words(cx, &polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.note_last_words(cx, &polled);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
