//! JSON request bodies of the command dialect → Redis arguments.
//!
//! `POST /` carries `["SET","key","value"]`, `POST /pipeline` and `POST /multi-exec` an array of those. The body is read
//! once, left to right, and every argument is handed to a [`Sink`] the moment it is complete: there is no document tree,
//! and a string without escapes is a slice of the body. That is why this is not `serde_json`, which also refuses what
//! SDKs do send (lone surrogates) and rewrites what must stay verbatim (`1e+21`, `1.0`).
//!
//! What becomes of a value: a string gives its UTF-8 bytes; a number its literal text; `true` and `false` those words.
//! `null`, an array or an object in the place of an argument refuses *that command*: in a batch the others still run.
//! JSON that is not JSON refuses the whole body, because after the mistake nobody can tell where a command ends.
//!
//! Lenient where a caller's data would otherwise be lost: a lone surrogate becomes U+FFFD, a raw control character or an
//! invalid UTF-8 byte inside a string is kept as it is. Strict elsewhere: no trailing comma, nothing after the array.
//!
//! Limits: [`Limits`] bounds one argument and one batch; the body itself is bounded by the HTTP layer before it comes
//! here. Nothing recurses. Memory beyond the body: one buffer for the longest escaped string, and one byte per level of
//! a nested value that is being skipped.

mod json;

#[cfg(test)]
mod tests;

use std::fmt;

use json::{Cursor, Syntax, Value};

const COMMAND_EXAMPLE: &str = r#"["SET","key","value"]"#;
const BATCH_EXAMPLE: &str = r#"[["SET","key","value"],["GET","key"]]"#;

/// Takes the arguments of one command, the command name first.
///
/// When parsing ends with an error, what the sink was given is to be thrown away.
pub trait Sink {
    /// One complete argument. The bytes are only lent.
    fn argument(&mut self, bytes: &[u8]);
}

/// Takes the commands of a batch, in order: each `begin` is answered by exactly one `end` or `refuse`.
pub trait BatchSink: Sink {
    /// A new command starts; the arguments that follow are its own.
    fn begin(&mut self);
    /// The command is complete and has at least a name.
    fn end(&mut self);
    /// The command must not run: forget its arguments and answer `error` in its place.
    fn refuse(&mut self, error: ArgumentError);
}

/// Bounds on what a body may ask for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest argument that is accepted, in bytes after decoding.
    pub argument_bytes: usize,
    /// The most arguments that one command may have, its name included.
    pub arguments: usize,
    /// The most commands that one batch may hold.
    pub commands: usize,
}

/// A batch may have this many times the arguments of one command in all: every one of [`Limits::commands`] commands at its default may
/// be a hundred words long, and yet none of the bounds can be got around by many commands.
const IN_ALL: usize = 10;

/// Which 4xx status suits an [`ArgumentError`]. Only a hint: an error of one batch item travels inside a 200.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum StatusHint {
    /// 400
    BadRequest,
    /// 413
    TooLarge,
}

/// Why a command, or a whole body, was refused before Redis was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentError {
    /// The status for an answer that consists of this error alone.
    pub status: StatusHint,
    /// The text of the `error` member. Never quotes a key or a value.
    pub message: String,
}

impl ArgumentError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusHint::BadRequest, message: message.into() }
    }

    fn too_large(message: String) -> Self {
        Self { status: StatusHint::TooLarge, message }
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ArgumentError {}

impl Limits {
    /// Lets an argument of `bytes` pass, or says that it is too long: 413.
    pub(super) fn check_argument(&self, bytes: &[u8]) -> Result<(), ArgumentError> {
        let (limit, actual) = (self.argument_bytes, bytes.len());
        if actual <= limit {
            return Ok(());
        }
        Err(ArgumentError::too_large(format!(
            "ERR max request size exceeded. Limit: {limit} bytes, Actual: {actual} bytes."
        )))
    }
}

/// Reads the body of `POST /`: one array, one command.
///
/// Malformed JSON is reported before a refused argument, wherever the two stand. The sink has seen a whole command
/// only when the result is `Ok`.
pub fn parse_command<S: Sink + ?Sized>(body: &[u8], limits: &Limits, sink: &mut S) -> Result<(), ArgumentError> {
    let mut cursor = Cursor::new(body);
    open_body(&mut cursor, COMMAND_EXAMPLE)?;
    let read = command(&mut cursor, &mut Vec::new(), limits, sink)?;
    cursor.end()?;
    read.refused.map_or(Ok(()), Err)
}

/// Reads the body of `POST /pipeline` and `POST /multi-exec`: an array of commands.
///
/// An `Err` is about the body as a whole: not JSON, an item that is not an array, no command at all, too many. What is
/// wrong with one command is given to [`BatchSink::refuse`] for that command.
pub fn parse_batch<S: BatchSink + ?Sized>(body: &[u8], limits: &Limits, sink: &mut S) -> Result<(), ArgumentError> {
    let mut cursor = Cursor::new(body);
    open_body(&mut cursor, BATCH_EXAMPLE)?;
    let mut scratch = Vec::new();
    let mut commands = 0;
    let mut arguments = 0;
    let in_all = limits.arguments.saturating_mul(IN_ALL);
    while cursor.next_element(commands == 0)? {
        if commands == limits.commands {
            return Err(too_many_commands(limits.commands));
        }
        open_item(&mut cursor, commands)?;
        sink.begin();
        let read = command(&mut cursor, &mut scratch, limits, sink)?;
        match read.refused {
            None => sink.end(),
            Some(error) => sink.refuse(error),
        }
        commands += 1;
        arguments += read.given;
        if arguments > in_all {
            return Err(too_many_arguments(in_all, "all commands of one batch together", "batches"));
        }
    }
    cursor.end()?;
    if commands == 0 {
        return Err(ArgumentError::bad_request("ERR empty pipeline request"));
    }
    Ok(())
}

/// A command that was read to its end.
struct Read {
    /// Arguments that were given to the sink.
    given: usize,
    refused: Option<ArgumentError>,
}

/// Reads one command, its `[` already taken. Always reads to its end, so that the next one can be found;
/// the first reason to refuse it is returned, and nothing is given to the sink after that.
fn command<S: Sink + ?Sized>(
    cursor: &mut Cursor<'_>,
    scratch: &mut Vec<u8>,
    limits: &Limits,
    sink: &mut S,
) -> Result<Read, Syntax> {
    let mut refused = None;
    let mut given = 0;
    let mut first = true;
    while cursor.next_element(first)? {
        let value = cursor.value(scratch)?;
        if refused.is_none() {
            match argument(value, first, limits) {
                Ok(_) if given == limits.arguments => {
                    refused = Some(too_many_arguments(limits.arguments, "one command", "commands"));
                }
                Ok(bytes) => {
                    sink.argument(bytes);
                    given += 1;
                }
                Err(error) => refused = Some(error),
            }
        }
        first = false;
    }
    if first {
        refused = Some(ArgumentError::bad_request("ERR empty command"));
    }
    Ok(Read { given, refused })
}

fn argument<'a>(value: Value<'a>, is_name: bool, limits: &Limits) -> Result<&'a [u8], ArgumentError> {
    let refusal = match value {
        Value::Scalar(b"") if is_name => "ERR Command is not available: ''",
        Value::Scalar(bytes) => return limits.check_argument(bytes).map(|()| bytes),
        // Texts of the hosted service; users search for them.
        Value::Null => "ERR null args are not supported",
        Value::Array => "ERR unsupported arg type: \"[\": json.Delim",
        Value::Object => "ERR unsupported arg type: \"{\": json.Delim",
    };
    Err(ArgumentError::bad_request(refusal))
}

fn open_body(cursor: &mut Cursor<'_>, example: &str) -> Result<(), ArgumentError> {
    if cursor.open_array() {
        return Ok(());
    }
    Err(ArgumentError::bad_request(if cursor.at_end() {
        format!("ERR the request body is empty: expected a JSON array such as {example}")
    } else {
        format!("ERR expected JSON array such as {example}")
    }))
}

fn open_item(cursor: &mut Cursor<'_>, index: usize) -> Result<(), ArgumentError> {
    if cursor.open_array() {
        return Ok(());
    }
    if cursor.at_end() {
        return Err(Syntax::ends_early(cursor.position()).into());
    }
    Err(ArgumentError::bad_request(format!(
        "ERR expected JSON array for command {index} of the batch (byte {at}), such as {COMMAND_EXAMPLE}",
        at = cursor.position(),
    )))
}

fn too_many_commands(limit: usize) -> ArgumentError {
    ArgumentError::too_large(format!(
        "ERR max commands in one batch exceeded. Limit: {limit} commands. Send several smaller batches"
    ))
}

fn too_many_arguments(limit: usize, of: &str, smaller: &str) -> ArgumentError {
    ArgumentError::too_large(format!(
        "ERR max arguments of {of} exceeded. Limit: {limit} arguments. Send several smaller {smaller}"
    ))
}

impl From<Syntax> for ArgumentError {
    fn from(syntax: Syntax) -> Self {
        Self::bad_request(format!("ERR malformed JSON at byte {at}: {what}", at = syntax.at, what = syntax.what))
    }
}
