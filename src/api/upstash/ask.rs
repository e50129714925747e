//! What every call of the dialect brings: a caller, a deadline, an encoding, a body.
//!
//! Who asks is settled before anything is read. The token may stand in the query as `_token`, here and nowhere else; the header
//! wins if there are both. The content type is ignored: what users paste from documentation carries any. Limits: of the response
//! formats only JSON is made.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use actix_web::web::{Bytes, Data, Payload};

use super::super::caller::Allowance;
use super::super::{Worker, body, caller};
use super::arguments::{Limits, Sink};
use super::error::DialectError;
use super::path;
use super::reply::Encoding;
use crate::redis::catalogue::Class;
use crate::redis::{Command, CommandBuilder};
use crate::resilience::Deadline;
use crate::security::{Principal, SendCommands};

const ENCODING: HeaderName = HeaderName::from_static("upstash-encoding");
const RETRY: HeaderName = HeaderName::from_static("collective-retry");
const FORMAT: HeaderName = HeaderName::from_static("upstash-response-format");

/// A caller who is known and may send commands; nothing of the request's body has been read.
pub(super) struct Visitor {
    pub(super) principal: Principal,
    pub(super) allowance: Allowance,
    pub(super) worker: Data<Worker>,
}

/// A visitor with all he brought.
pub(super) struct Ask {
    pub(super) visitor: Visitor,
    pub(super) deadline: Deadline,
    pub(super) encoding: Encoding,
    pub(super) retry: Retry,
    pub(super) body: Bytes,
}

/// What the caller wants of a write whose reply was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Retry {
    /// The truth about it.
    #[default]
    Safe,
    /// Its effect, whatever the reply says that a repetition gets (D3).
    State,
}

impl Retry {
    /// The command, sent again as a write with a stable reply is if its caller only wants its effect and twice in a row leaves the
    /// same. What counts or decides by what it finds is never sent again, whatever the caller wants.
    pub(super) fn allow(self, command: Command) -> Command {
        match (self, command.class()) {
            (Self::State, Class::Unstable) => command.with_class(Class::Idempotent),
            _ => command,
        }
    }
}

/// Which response formats a route knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Formats {
    /// JSON; a wish for `resp2` is refused.
    JsonOnWish,
    /// JSON whatever is wished, as the hosted service does for transactions.
    JsonAlways,
}

impl Visitor {
    /// Asks who this is.
    pub(super) fn identify(request: &HttpRequest) -> Result<Self, DialectError> {
        let token = request.uri().query().and_then(path::token);
        let caller = caller::Caller::<SendCommands>::identify(request, token.as_deref())?;
        let caller::Caller { authorized, allowance, worker } = caller;
        Ok(Self { principal: authorized.principal(), allowance, worker })
    }

    /// Reads the rest of the request.
    pub(super) async fn read(
        self,
        request: &HttpRequest,
        payload: &mut Payload,
        formats: Formats,
    ) -> Result<Ask, DialectError> {
        let encoding = encoding(request)?;
        check_format(request, formats)?;
        let retry = retry(request)?;
        let settings = &self.worker.shared.settings;
        let read = body::read(request, payload, settings.body_bytes, settings.body_timeout, self.allowance);
        let (body, deadline) = read.await?;
        Ok(Ask { visitor: self, deadline, encoding, retry, body })
    }

    /// The bounds on what a body may hold.
    pub(super) fn limits(&self) -> Limits {
        let settings = &self.worker.shared.settings;
        Limits {
            argument_bytes: settings.argument_bytes,
            arguments: settings.arguments,
            commands: settings.batch_commands,
        }
    }
}

fn encoding(request: &HttpRequest) -> Result<Encoding, DialectError> {
    match caller::single(request, &ENCODING, "Upstash-Encoding")? {
        None => Ok(Encoding::Text),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"base64") => Ok(Encoding::Base64),
        Some(_) => Err(DialectError::bad_header("ERR Upstash-Encoding must be base64, or absent")),
    }
}

fn retry(request: &HttpRequest) -> Result<Retry, DialectError> {
    match caller::single(request, &RETRY, "Collective-Retry")? {
        None => Ok(Retry::Safe),
        Some(value) if value.as_bytes() == b"state" => Ok(Retry::State),
        Some(_) => Err(DialectError::bad_header(
            "ERR Collective-Retry must be state, or absent: with it, a write that leaves the same state twice in a row is sent again when its reply is lost",
        )),
    }
}

fn check_format(request: &HttpRequest, formats: Formats) -> Result<(), DialectError> {
    let wished = caller::single(request, &FORMAT, "Upstash-Response-Format")?;
    let Some(wished) = wished else { return Ok(()) };
    let wished = wished.as_bytes();
    if wished.eq_ignore_ascii_case(b"json") {
        return Ok(());
    }
    match (wished.eq_ignore_ascii_case(b"resp2"), formats) {
        (true, Formats::JsonAlways) => Ok(()),
        (true, Formats::JsonOnWish) => Err(DialectError::bad_header(
            "ERR Upstash-Response-Format: resp2 is not available here: answers are JSON, with Upstash-Encoding: base64 for bytes",
        )),
        (false, _) => Err(DialectError::bad_header("ERR Upstash-Response-Format must be json, or absent")),
    }
}

/// Builds one command as its arguments are parsed.
#[derive(Default)]
pub(super) struct Builder(Option<CommandBuilder>);

/// Room for a usual command; longer ones grow.
const USUAL_ARGUMENTS: usize = 4;
const USUAL_BYTES: usize = 64;

impl Builder {
    pub(super) fn take(&mut self) -> Command {
        self.0.take().unwrap_or_else(|| CommandBuilder::with_capacity(0, 0)).finish()
    }
}

impl Sink for Builder {
    fn argument(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_with(|| CommandBuilder::with_capacity(USUAL_ARGUMENTS, USUAL_BYTES)).push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_same_state_twice_in_a_row_is_sent_again_for_it() {
        let class = |retry: Retry, call: &str| {
            let words: Vec<&[u8]> = call.split(' ').map(str::as_bytes).collect();
            retry.allow(Command::of(&words)).class()
        };
        for call in ["DEL k", "SADD s a", "EXPIRE k 10", "LREM k 0 v", "COPY a b REPLACE", "ZADD z 1 m"] {
            assert_eq!(class(Retry::State, call), Class::Idempotent, "{call}");
            assert_eq!(class(Retry::Safe, call), Class::Unstable, "{call}");
        }
        for call in [
            "GET k",
            "SET k v",
            "INCR n",
            "SET k v NX",
            "EXPIRE k 10 NX",
            "LREM k 1 v",
            "EVAL x 0",
            "FLUSHDB",
            "NOSUCH",
        ] {
            assert_eq!(class(Retry::State, call), class(Retry::Safe, call), "{call}");
        }
    }
}
