//! How many bytes a reply takes when it is written, found out without writing it.
//!
//! Only asked about replies that may be over `limits.reply`. Limits: it follows [`write_result`] step by step and
//! must be changed with it; `a_reply_is_as_long_as_it_is_measured` holds the two together.

use super::{Encoding, write_result};
use crate::redis::Reply;

/// Length of what [`write_result`] would append.
pub(in super::super) fn written_bytes(reply: &Reply, encoding: Encoding) -> usize {
    match reply {
        Reply::BulkString(_) | Reply::Array(_) => br#"{"result":}"#.len() + value(reply, encoding),
        // The others are a line at most.
        short => alone(short, encoding),
    }
}

fn alone(reply: &Reply, encoding: Encoding) -> usize {
    let mut out = Vec::new();
    write_result(&mut out, reply, encoding);
    out.len()
}

fn value(reply: &Reply, encoding: Encoding) -> usize {
    match reply {
        Reply::BulkString(bytes) => string(bytes, encoding),
        Reply::SimpleString(status) => string(status.as_bytes(), encoding),
        Reply::Okay => string(b"OK", encoding),
        Reply::Array(items) | Reply::Set(items) => {
            let commas = items.len().saturating_sub(1);
            2 + commas + items.iter().map(|item| value(item, encoding)).sum::<usize>()
        }
        Reply::Attribute { data, .. } => value(data, encoding),
        // Inside an array errors are strings; as the whole result they are not.
        Reply::ServerError(error) => string(super::error_text(error.code(), error.details()).as_bytes(), encoding),
        other => alone(other, encoding) - br#"{"result":}"#.len(),
    }
}

fn string(bytes: &[u8], encoding: Encoding) -> usize {
    2 + match encoding {
        Encoding::Base64 => bytes.len().div_ceil(3) * 4,
        Encoding::Text => bytes.utf8_chunks().map(|chunk| escaped(chunk.valid()) + lossy(chunk.invalid())).sum(),
    }
}

fn escaped(text: &str) -> usize {
    let extra = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.bytes().map(|byte| 1 + extra(byte)).sum()
}

fn lossy(invalid: &[u8]) -> usize {
    if invalid.is_empty() { 0 } else { char::REPLACEMENT_CHARACTER.len_utf8() }
}
