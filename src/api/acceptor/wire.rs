//! The stream under actix-http: a TCP stream that reports what moves and keeps one thing back.
//!
//! A head that cannot be parsed makes actix-http write an answer of its own, `400` or `431` with no body and none of our headers,
//! and then end with an error; there is no hook to change that answer. But its form is known: a status line, `content-length: 0`
//! and a date, with nothing between them, where each of our answers has its headers. So bytes that *end* in such an answer are
//! kept back until the next thing happens. If the framework lets the stream go, they were its last words and something better
//! can be said. If it reads, writes or shuts down, they were bytes of ours that happen to look alike (a stored value, say), and
//! they go out unchanged. Limits: were the framework to change that form, its bare answer would go out again, and the test
//! `what_the_parser_refuses_wears_our_clothes` would fail.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conversation::{Conversation, Returned};

/// The stream. Gives the TCP stream back to the conversation when it is dropped.
pub(super) struct Wire {
    /// There until the drop.
    stream: Option<TcpStream>,
    held: Vec<u8>,
    conversation: Rc<Conversation>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, conversation: Rc<Conversation>) -> Self {
        Self { stream: Some(stream), held: Vec::new(), conversation }
    }

    pub(super) fn conversation(&self) -> Rc<Conversation> {
        self.conversation.clone()
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// What was kept back is ours after all.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let written = self.stream()?.poll_write(cx, &held);
            self.held = held;
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty()
            && let Poll::Ready(Err(error)) = self.poll_release(cx)
        {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        let polled = self.stream()?.poll_read(cx, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.conversation.received(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.held.is_empty() {
            ready!(self.poll_release(cx))?;
        }
        let kept = bare_answer_at_end(bytes);
        let ours = bytes.len() - kept;
        if ours == 0 && kept > 0 {
            self.held.extend_from_slice(bytes);
            self.conversation.sent(0, 0);
            return Poll::Ready(Ok(kept));
        }
        let polled = self.stream()?.poll_write(cx, &bytes[..ours]);
        let written = if let Poll::Ready(Ok(written)) = polled { written } else { 0 };
        self.conversation.sent(written, bytes.len());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            // One more turn shows whether these were last words.
            cx.waker().wake_by_ref();
        }
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        self.stream()?.poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.conversation.give_back(Returned { stream, silenced: !self.held.is_empty() });
        }
    }
}

/// Length of the framework's own bodiless answer at the end of `bytes`; 0 when there is none.
fn bare_answer_at_end(bytes: &[u8]) -> usize {
    bare_answer(bytes).map_or(0, |start| bytes.len() - start)
}

fn bare_answer(bytes: &[u8]) -> Option<usize> {
    const DATE: usize = "date: Sun, 06 Nov 1994 08:49:37".len();
    /// Longer than any status line of an answer that the framework gives by itself.
    const STATUS_LINE: usize = 64;
    let rest = bytes.strip_suffix(b" GMT\r\n\r\n")?;
    let (rest, date) = rest.split_at_checked(rest.len().checked_sub(DATE)?)?;
    if !date.starts_with(b"date: ") {
        return None;
    }
    let rest = rest.strip_suffix(b"connection: close\r\n").unwrap_or(rest);
    let rest = rest.strip_suffix(b"connection: keep-alive\r\n").unwrap_or(rest);
    let rest = rest.strip_suffix(b"\r\ncontent-length: 0\r\n")?;
    let window = rest.len().saturating_sub(STATUS_LINE);
    let start = window + rest[window..].windows(7).rposition(|word| word == b"HTTP/1.")?;
    let status = rest[start..].get(9..12)?;
    matches!(status, b"400" | b"431" | b"500").then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

    #[test]
    fn the_frameworks_own_answer_is_known_alone_and_behind_others() {
        assert_eq!(bare_answer_at_end(BARE.as_bytes()), BARE.len());
        let behind = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx{BARE}");
        assert_eq!(bare_answer_at_end(behind.as_bytes()), BARE.len());
    }

    #[test]
    fn our_own_answers_are_not_taken_for_it() {
        let created = BARE.replace("date:", "x-request-id: 1\r\ndate:");
        let with_body = BARE.replace("length: 0", "length: 1") + "x";
        for ours in [created.as_str(), with_body.as_str(), "", "\r\n\r\n", " GMT\r\n\r\n"] {
            assert_eq!(bare_answer_at_end(ours.as_bytes()), 0, "{ours}");
        }
    }
}
