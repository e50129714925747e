//! What a subscribed connection says: RESP2 frames, as far as Publish/Subscribe uses them.
//!
//! Our own decoder, because the driver's subscriber puts every message into a queue without an end: a flood would grow our memory
//! instead of filling the socket, where Redis sees it and draws its own limits. A frame that is not complete yet costs one
//! look at its headers; bulk strings are skipped by their length, never searched. Limits: flat arrays only, at most
//! [`LONGEST_ARRAY`] members; a message is held in memory whole.

use bytes::{Buf, Bytes, BytesMut};
use redis_rs::{ServerError, Value};

/// Publish/Subscribe frames have four members at most; `CLIENT ID` and the like have none.
const LONGEST_ARRAY: usize = 8;
/// Redis' own bound on a bulk string (`proto-max-bulk-len`), by default.
const LONGEST_BULK: usize = 512 << 20;
/// Headers are a type byte and digits, errors and states one sentence.
const LONGEST_LINE: usize = 64 << 10;

/// One thing Redis said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    /// A message on a channel that is subscribed to by its name.
    Message { channel: Bytes, payload: Bytes },
    /// A message on a channel that matches a pattern.
    PatternMessage { pattern: Bytes, channel: Bytes, payload: Bytes },
    /// A definite answer to the oldest command that has none yet.
    Done,
    /// Redis' refusal of the oldest command that has no answer yet.
    Refused(ServerError),
}

/// The stream is not what Redis would send; nothing behind this can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes the first whole frame from `buffer`; `None` when it is not all there yet.
pub(super) fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let mut reader = Reader { bytes: buffer, at: 0 };
    let Some(frame) = reader.frame()? else {
        // The rest of a long frame arrives in one piece of memory.
        let missing = reader.at.saturating_sub(buffer.len());
        buffer.reserve(missing.min(LONGEST_BULK));
        return Ok(None);
    };
    let read = reader.at;
    buffer.advance(read);
    Ok(Some(frame))
}

/// Reads along a buffer without consuming it. `at` may point behind its end: that is how much a frame still needs.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn frame(&mut self) -> Result<Option<Frame>, Malformed> {
        let start = self.at;
        let Some((kind, rest)) = self.line()? else { return Ok(None) };
        match kind {
            b'+' | b':' => Ok(Some(Frame::Done)),
            b'-' => refusal(&self.bytes[start..self.at]).map(Some),
            b'$' => Ok(self.bulk_body(rest)?.map(|_| Frame::Done)),
            b'*' => self.array(number(rest)?),
            _ => Err(Malformed),
        }
    }

    fn array(&mut self, members: usize) -> Result<Option<Frame>, Malformed> {
        if !(1..=LONGEST_ARRAY).contains(&members) {
            return Err(Malformed);
        }
        let mut parts = [&b""[..]; LONGEST_ARRAY];
        for part in parts.iter_mut().take(members) {
            match self.member()? {
                Some(bytes) => *part = bytes,
                None => return Ok(None),
            }
        }
        let owned = Bytes::copy_from_slice;
        match &parts[..members] {
            [b"message", channel, payload] => {
                Ok(Some(Frame::Message { channel: owned(channel), payload: owned(payload) }))
            }
            [b"pmessage", pattern, channel, payload] => Ok(Some(Frame::PatternMessage {
                pattern: owned(pattern),
                channel: owned(channel),
                payload: owned(payload),
            })),
            [b"subscribe" | b"unsubscribe" | b"psubscribe" | b"punsubscribe", ..] | [b"pong", ..] => {
                Ok(Some(Frame::Done))
            }
            _ => Err(Malformed),
        }
    }

    /// One member of an array, as bytes; an absent one (`$-1`) is empty.
    fn member(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let Some((kind, rest)) = self.line()? else { return Ok(None) };
        match kind {
            b':' | b'+' => Ok(Some(rest)),
            b'$' => self.bulk_body(rest),
            _ => Err(Malformed),
        }
    }

    fn bulk_body(&mut self, length: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
        if length == b"-1" {
            return Ok(Some(b""));
        }
        let length = number(length)?;
        if length > LONGEST_BULK {
            return Err(Malformed);
        }
        let (start, end) = (self.at, self.at + length);
        self.at = end + 2;
        match self.bytes.get(end..self.at) {
            None => Ok(None),
            Some(b"\r\n") => Ok(self.bytes.get(start..end)),
            Some(_) => Err(Malformed),
        }
    }

    /// The next line without its end: type byte and the rest.
    fn line(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let window = &rest[..rest.len().min(LONGEST_LINE)];
        let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
            return if rest.len() > LONGEST_LINE { Err(Malformed) } else { Ok(None) };
        };
        self.at += end + 2;
        let (kind, text) = rest[..end].split_first().ok_or(Malformed)?;
        Ok(Some((*kind, text)))
    }
}

/// An error, read by the driver so that it looks like any other.
fn refusal(line: &[u8]) -> Result<Frame, Malformed> {
    match redis_rs::parse_redis_value(line) {
        Ok(Value::ServerError(error)) => Ok(Frame::Refused(error)),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

fn number(digits: &[u8]) -> Result<usize, Malformed> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn whole(bytes: &[u8]) -> Result<Option<Frame>, Malformed> {
        decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn confirmations_pongs_and_plain_answers_answer_the_oldest_command() {
        for text in
            ["*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "+PONG\r\n", ":7\r\n"]
        {
            assert_eq!(whole(text.as_bytes()), Ok(Some(Frame::Done)), "{text:?}");
        }
        // Unsubscribing from all when there is nothing names no channel.
        assert_eq!(whole(b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"), Ok(Some(Frame::Done)));
    }

    #[test]
    fn a_refusal_is_kept_word_by_word() {
        let Ok(Some(Frame::Refused(error))) = whole(b"-NOPERM this user has no permissions\r\n") else {
            panic!("no refusal")
        };
        assert_eq!((error.code(), error.details()), ("NOPERM", Some("this user has no permissions")));
    }

    #[test]
    fn what_redis_would_never_send_is_malformed() {
        for text in ["!x\r\n", "*0\r\n", "*9\r\n", "*1\r\n$x\r\n", "*1\r\n$3\r\nabcde", "*1\r\n$5\r\nhello\r\n", "\r\n"]
        {
            assert_eq!(whole(text.as_bytes()), Err(Malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_bytes_arrive(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..300)), 1..6),
            piece in 1_usize..40,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|(c, p)| encode(&[b"message", c, p])).collect();
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(piece) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decode(&mut buffer).expect("well formed") {
                    seen.push(frame);
                }
            }
            let expected: Vec<_> = messages
                .iter()
                .map(|(c, p)| Frame::Message { channel: Bytes::copy_from_slice(c), payload: Bytes::copy_from_slice(p) })
                .collect();
            prop_assert_eq!(seen, expected);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = whole(&bytes);
        }
    }
}
