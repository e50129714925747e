//! Redis replies → JSON answers of the command dialect.
//!
//! A reply is written straight into the response body, without a JSON tree in between: `{"result":…}` for a value,
//! `{"error":"…"}` for an error, never both keys and never a third. The shapes are those of RESP2, because the official
//! SDKs break on anything else: no JSON booleans (`1` and `0`), no floats (strings), no objects (flat arrays).
//!
//! With [`Encoding::Base64`] every string is encoded, at any depth, with one exception: the *status* `OK` as the whole
//! result. An `"OK"` inside an array must be encoded (a JavaScript SDK would decode a raw one to garbage), so must a stored
//! value that happens to be `OK`. The text of a top-level error never is. With [`Encoding::Text`] bytes that are not
//! UTF-8 become U+FFFD.
//!
//! Limits: replies nested deeper than [`MAX_DEPTH`] are answered with an error. Knows nothing of HTTP.

mod measure;
#[cfg(test)]
mod tests;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) use self::measure::written_bytes;
use crate::api::upstash::scan;
use crate::redis::Reply;

/// The deepest nesting that is written. The driver refuses replies beyond 100 levels, so this is only reached
/// if that changes; it keeps the recursion below bounded whatever hands us the value.
pub const MAX_DEPTH: usize = 128;

/// What `OK` as the whole result looks like, in both encodings.
const OK: &[u8] = br#"{"result":"OK"}"#;

/// How strings are written: the request header `Upstash-Encoding` decides.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As JSON text, lossy where the bytes are not UTF-8.
    #[default]
    Text,
    /// As standard base64 with padding, byte for byte.
    Base64,
}

/// Appends `{"result":…}`, or `{"error":"…"}` for an error reply.
pub fn write_result(out: &mut Vec<u8>, reply: &Reply, encoding: Encoding) {
    let start = out.len();
    if let Err(Unwritable(why)) = try_result(out, reply, encoding) {
        out.truncate(start);
        write_error(out, why);
    }
}

/// Appends `{"error":"…"}`. The text is never encoded.
pub fn write_error(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(br#"{"error":"#);
    write_text(out, text.as_bytes());
    out.push(b'}');
}

/// The answer to `/pipeline` and `/multi-exec` as it is written: one object per command, in order. Each item's result counts as a
/// top-level one. For a transaction the items are the elements of the reply to EXEC.
pub struct List {
    out: Vec<u8>,
    encoding: Encoding,
}

impl List {
    /// A list of about `items` items.
    pub fn of(items: usize, encoding: Encoding) -> Self {
        let mut out = Vec::with_capacity(2 + 32 * items);
        out.push(b'[');
        Self { out, encoding }
    }

    /// What Redis answered; an error reply is welcome.
    pub fn reply(&mut self, reply: &Reply) {
        self.separate();
        write_result(&mut self.out, reply, self.encoding);
    }

    /// The text of an error in the place of a reply.
    pub fn error(&mut self, text: &str) {
        self.separate();
        write_error(&mut self.out, text);
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// The whole.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.push(b']');
        self.out
    }

    fn separate(&mut self) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
    }
}

/// The text of an error reply as Redis sent it, `CODE message`, without control characters.
///
/// Takes the two halves into which the driver splits the text at its first space, so that it serves the driver's error
/// *values* and its error *type* alike. The driver's own `Display` writes other words and must not be used.
pub fn error_text(code: &str, details: Option<&str>) -> String {
    let space = details.map(|_| " ");
    [Some(code), space, details]
        .into_iter()
        .flatten()
        .flat_map(str::chars)
        .filter(|character| !character.is_control())
        .collect()
}

/// A reply that has no JSON form, with the text to answer instead.
struct Unwritable(&'static str);

const TOO_DEEP: Unwritable =
    Unwritable("ERR the command was executed, but its reply is nested too deeply to be written as JSON");
const UNKNOWN_KIND: Unwritable =
    Unwritable("ERR the command was executed, but its reply is of a kind this gateway cannot write as JSON");

fn try_result(out: &mut Vec<u8>, reply: &Reply, encoding: Encoding) -> Result<(), Unwritable> {
    match reply {
        Reply::Okay => out.extend_from_slice(OK),
        Reply::SimpleString(status) if status == "OK" => out.extend_from_slice(OK),
        Reply::ServerError(error) => write_error(out, &error_text(error.code(), error.details())),
        // Attributes are notes beside a reply, not part of it; what they are attached to stays top-level.
        Reply::Attribute { data, .. } if !matches!(**data, Reply::Attribute { .. }) => {
            return try_result(out, data, encoding);
        }
        value => {
            out.extend_from_slice(br#"{"result":"#);
            write_value(out, value, encoding, 0)?;
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_value(out: &mut Vec<u8>, value: &Reply, encoding: Encoding, depth: usize) -> Result<(), Unwritable> {
    if depth > MAX_DEPTH {
        return Err(TOO_DEEP);
    }
    match value {
        Reply::Nil => out.extend_from_slice(b"null"),
        Reply::Int(number) => write_int(out, *number),
        Reply::Boolean(flag) => out.push(if *flag { b'1' } else { b'0' }),
        Reply::BulkString(bytes) => write_string(out, bytes, encoding),
        Reply::SimpleString(status) => write_string(out, status.as_bytes(), encoding),
        Reply::Okay => write_string(out, b"OK", encoding),
        Reply::VerbatimString { text, .. } => write_string(out, text.as_bytes(), encoding),
        Reply::BigNumber(digits) => write_string(out, digits, encoding),
        Reply::Double(number) => write_string(out, double_text(*number).as_bytes(), encoding),
        Reply::ServerError(error) => {
            let text = error_text(error.code(), error.details());
            write_string(out, text.as_bytes(), encoding);
        }
        Reply::Array(items) | Reply::Set(items) => {
            return write_array(out, None, items, encoding, depth);
        }
        Reply::Map(pairs) => {
            let flat = pairs.iter().flat_map(|(key, value)| [key, value]);
            return write_array(out, None, flat, encoding, depth);
        }
        Reply::Push { kind, data } => {
            return write_array(out, Some(&kind.to_string()), data, encoding, depth);
        }
        Reply::Attribute { data, .. } => return write_value(out, data, encoding, depth + 1),
        _ => return Err(UNKNOWN_KIND),
    }
    Ok(())
}

fn write_array<'a>(
    out: &mut Vec<u8>,
    head: Option<&str>,
    items: impl IntoIterator<Item = &'a Reply>,
    encoding: Encoding,
    depth: usize,
) -> Result<(), Unwritable> {
    out.push(b'[');
    let mut first = true;
    if let Some(head) = head {
        write_string(out, head.as_bytes(), encoding);
        first = false;
    }
    for item in items {
        if !first {
            out.push(b',');
        }
        first = false;
        write_value(out, item, encoding, depth + 1)?;
    }
    out.push(b']');
    Ok(())
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8], encoding: Encoding) {
    match encoding {
        Encoding::Text => write_text(out, bytes),
        Encoding::Base64 => write_base64(out, bytes),
    }
}

/// Encodes into the body itself: room for exactly the encoded length is made first.
fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let encoded = bytes.len().div_ceil(3) * 4;
    out.reserve(encoded + 2);
    out.push(b'"');
    let start = out.len();
    out.resize(start + encoded, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(encoded), "padded base64 has one length");
    out.push(b'"');
}

fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    match std::str::from_utf8(bytes) {
        Ok(text) => write_escaped(out, text),
        Err(_) => write_lossy(out, bytes),
    }
    out.push(b'"');
}

/// Replaces what `String::from_utf8_lossy` would, without its copy.
fn write_lossy(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        write_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(scan::until_escape_needed(rest));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else {
            return;
        };
        write_escape(out, byte);
        rest = after;
    }
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// All 64 bits as a JSON integer: rounding, if any, is the reader's.
fn write_int(out: &mut Vec<u8>, number: i64) {
    let written = write!(out, "{number}");
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

/// The shortest digits that read back to the same number, laid out as C's `%.17g`: what RESP2 clients of Redis are
/// used to. Connections speak RESP2, where Redis does this itself; here for a server that answers RESP3.
fn double_text(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "nan".to_owned()
    } else if number.is_infinite() || size == 0.0 || (1e-4..1e17).contains(&size) {
        number.to_string()
    } else {
        let text = format!("{number:e}");
        if size < 1.0 { text } else { text.replace('e', "e+") }
    }
}
