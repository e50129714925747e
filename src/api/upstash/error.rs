//! How the dialect fails: `{"error":"…"}`, the status the SDKs expect, and the truth about the outcome in a header.
//!
//! Redis' own errors are passed on verbatim (control characters stripped): SDKs match on their texts. Our own begin with a word
//! in capitals as Redis' do. The body is JSON also for 5xx: an SDK that finds none raises something unreadable.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};

use super::super::body::BodyError;
use super::super::caller::TurnedAway;
use super::super::envelope::OUTCOME;
use super::super::idempotency;
use super::super::problem::{CHALLENGE, Code, failure_code, failure_detail, gateway_code, outcome_of, whole_seconds};
use super::super::report::Failed;
use super::arguments::{ArgumentError, StatusHint};
use super::{JSON, reply};
use crate::redis::catalogue::{self, Lane};
use crate::redis::{self, Command, ErrorKind, Meaning, Objection, Outcome, Reserved, ServerError, meaning};
use crate::resources::Failure;
use crate::security::{Principal, Unauthenticated};

/// A failed call of the dialect.
#[derive(Clone, Debug)]
pub struct DialectError {
    status: StatusCode,
    text: String,
    outcome: Option<Outcome>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    /// For the log; the dialect itself has no codes. Set where the status is 5xx.
    code: Option<Code>,
    attempts: Option<u32>,
}

/// Why one command was refused before Redis was asked, in the words its caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The text of the `error` member.
    pub text: String,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nobody may send this.
    Bad,
    /// It is too large.
    TooLarge,
    /// It reaches for something of the service's own.
    Reserved,
    /// The caller lacks a right.
    Forbidden,
}

/// Lets a command pass, or says why it must not be sent for this caller.
pub fn check(command: &Command, principal: Principal) -> Result<(), Refusal> {
    if let Some(objection) = command.objection() {
        let fault = match objection {
            Objection::Reserved(_) | Objection::Refused(catalogue::Refusal::Functions) => Fault::Reserved,
            Objection::NotAName | Objection::Refused(_) => Fault::Bad,
        };
        return Err(Refusal { text: objection_text(objection, command), fault });
    }
    if principal.may_run(command) { Ok(()) } else { Err(Refusal { text: denial(command), fault: Fault::Forbidden }) }
}

/// The documented text, with the command's name as Redis writes it.
fn denial(command: &Command) -> String {
    const LONGEST: usize = 64;
    let arguments = command.arguments();
    let name = String::from_utf8_lossy(arguments.first().copied().unwrap_or_default());
    let name: String = name.chars().filter(|c| !c.is_control()).take(LONGEST).flat_map(char::to_lowercase).collect();
    format!("NOPERM this user has no permissions to run the '{name}' command or its subcommand")
}

impl DialectError {
    /// Where the failure is not the caller's the outcome is told (D1): nothing executed, unless whoever makes it knows better.
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let outcome = status.is_server_error().then_some(Outcome::NotExecuted);
        Self { status, text: text.into(), outcome, retry_after: None, allow: None, code: None, attempts: None }
    }

    /// What is refused on both surfaces alike, in this one's words.
    pub fn of_code(code: Code, detail: &str, allow: Option<&'static str>) -> Self {
        let status = StatusCode::from_u16(code.row().status).unwrap_or(StatusCode::BAD_REQUEST);
        let told = status.is_server_error().then_some(code);
        Self { allow, code: told, outcome: outcome_of(code), ..Self::new(status, format!("ERR {detail}")) }
    }

    /// Refused before Redis was asked.
    fn not_executed(status: StatusCode, text: impl Into<String>) -> Self {
        Self { outcome: Some(Outcome::NotExecuted), ..Self::new(status, text) }
    }

    /// A header with a value that is not understood.
    pub fn bad_header(text: &str) -> Self {
        Self::not_executed(StatusCode::BAD_REQUEST, text)
    }

    /// A transaction with an item that was refused. A key of the service's own is a mistake in the request, like the others (400);
    /// a right that is missing is not.
    pub fn discarded(refusal: &Refusal) -> Self {
        let status = match refusal.fault {
            Fault::Bad | Fault::Reserved => StatusCode::BAD_REQUEST,
            Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::Forbidden => StatusCode::FORBIDDEN,
        };
        Self::not_executed(status, refusal.text.clone())
    }

    /// The command has run, and its reply is over the limit.
    pub fn reply_too_large(text: String, outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, text) }
    }

    /// Redis took the commands of a transaction one by one, because it would not begin one.
    pub fn scattered(refusal: &ServerError) -> Self {
        let why = reply::error_text(refusal.code(), refusal.details());
        let text =
            format!("ERR the commands ran one by one and not as a transaction, which Redis refused to begin: {why}");
        Self { outcome: Some(Outcome::Executed), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, text) }
    }

    /// Redis answered EXEC with something no transaction ends with.
    pub fn unreadable() -> Self {
        let text = "ERR Redis gave the transaction an answer that cannot be read: it may have been executed";
        Self { outcome: Some(Outcome::Unknown), ..Self::new(StatusCode::GATEWAY_TIMEOUT, text) }
    }

    /// A key that would make a call happen once, where none is honoured (D17).
    pub fn idempotency_key() -> Self {
        let text =
            "ERR Idempotency-Key is not available on this route: it works on POST / with one command, and below /v1";
        Self::not_executed(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    /// A command that cannot be made to happen once.
    pub fn not_repeatable(command: &Command) -> Self {
        let name = command.spec().name;
        let text = format!(
            "ERR Idempotency-Key is not available for '{name}': it works for writes whose keys stand at fixed places"
        );
        Self::not_executed(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    /// A key that is none.
    pub fn bad_idempotency_key() -> Self {
        let text = format!("ERR Idempotency-Key {}, and there once", idempotency::RULE);
        Self::not_executed(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    /// A call of a resource failed.
    pub fn of_failure(failure: &Failure) -> Self {
        let code = failure_code(failure, Lane::Write);
        let status = StatusCode::from_u16(code.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            outcome: Some(failure.outcome),
            retry_after: failure.retry_after,
            code: status.is_server_error().then_some(code),
            attempts: Some(failure.attempts),
            ..Self::new(status, format!("{} {}", word(code), failure_detail(failure)))
        }
    }

    /// A method the route does not have; `allow` lists those it has.
    pub fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("ERR this endpoint takes {allow}"))
        }
    }

    /// `/monitor`, left out on purpose.
    pub fn monitor() -> Self {
        let text = "ERR MONITOR is not available: it would show every caller's keys and values to one of them";
        Self::not_executed(StatusCode::BAD_REQUEST, text)
    }

    /// A channel of the service's own.
    pub fn reserved_channel() -> Self {
        Self::not_executed(StatusCode::FORBIDDEN, RESERVED_CHANNEL)
    }

    /// Turned away for want of room, or of time to live; worth asking again.
    pub fn shed(text: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            code: Some(Code::Overloaded),
            ..Self::not_executed(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }

    /// The gateway got no definite answer.
    pub fn of_gateway(error: &redis::Error, lane: Lane) -> Self {
        let code = gateway_code(error.kind, error.outcome, Some(lane));
        let status = StatusCode::from_u16(code.row().status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self {
            outcome: Some(error.outcome),
            retry_after: error.retry_after,
            code: Some(code),
            attempts: Some(error.attempts),
            ..Self::new(status, gateway_text(error))
        }
    }

    /// Redis answered with an error of its own.
    pub fn of_redis(error: &ServerError, outcome: Outcome) -> Self {
        // What ran is no trouble of the server's, whatever a script says of it.
        let meaning = if outcome == Outcome::NotExecuted { meaning(redis::cause(error)) } else { Meaning::Caller };
        let (status, code) = match meaning {
            Meaning::Caller | Meaning::Forbidden => (StatusCode::BAD_REQUEST, None),
            Meaning::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Some(Code::RedisUnavailable)),
            Meaning::Undurable => (StatusCode::SERVICE_UNAVAILABLE, Some(Code::NotDurable)),
            Meaning::OutOfMemory => (StatusCode::INSUFFICIENT_STORAGE, Some(Code::OutOfMemory)),
        };
        Self { outcome: Some(outcome), code, ..Self::new(status, reply::error_text(error.code(), error.details())) }
    }

    /// What the log says of it.
    pub fn failed(&self) -> Option<Failed> {
        self.code.map(|code| Failed { code, outcome: self.outcome, attempts: self.attempts })
    }
}

/// How the text begins.
fn word(code: Code) -> &'static str {
    match code {
        Code::CircuitOpen | Code::RedisUnreachable | Code::RedisUnavailable | Code::FunctionsMissing => "UNAVAILABLE",
        Code::Overloaded => "OVERLOADED",
        Code::OutcomeUnknown | Code::DeadlineExceeded => "TIMEOUT",
        _ => "ERR",
    }
}

const RESERVED_CHANNEL: &str =
    "NOPERM channels that begin with 'collective:' belong to the service: choose another name";

/// The documented texts for what is not allowed.
fn objection_text(objection: Objection, command: &Command) -> String {
    let name = command.spec().name;
    let (command, subcommand) = name.split_once('|').unwrap_or((name, ""));
    match objection {
        Objection::NotAName => {
            "ERR a command's name, and its subcommand's, is printable ASCII without spaces: send each argument by itself"
                .to_owned()
        }
        Objection::Reserved(what) => reserved_text(what).to_owned(),
        Objection::Refused(catalogue::Refusal::SharedConnection) => {
            format!("ERR Command \"{command}\" is not allowed in REST or it has a special context path")
        }
        Objection::Refused(reason @ catalogue::Refusal::Functions) => {
            format!("NOPERM {command} {subcommand} is not available: {}", reason.as_str())
        }
        Objection::Refused(reason @ (catalogue::Refusal::Repetitions | catalogue::Refusal::Merges)) => {
            format!("ERR '{command}' asks for too much: {}", reason.as_str())
        }
        Objection::Refused(reason) => {
            let space = if subcommand.is_empty() { "" } else { " " };
            format!("ERR Command is not available: '{command}{space}{subcommand}': {}", reason.as_str())
        }
    }
}

fn reserved_text(what: Reserved) -> &'static str {
    match what {
        Reserved::Key => "NOPERM keys that begin with 'collective:' belong to the service: choose another name",
        Reserved::Pattern => {
            "NOPERM keys that begin with 'collective:' belong to the service, and this pattern may become one: let it begin otherwise"
        }
        Reserved::Channel => RESERVED_CHANNEL,
        Reserved::Function => {
            "NOPERM functions and libraries that begin with 'collective_v' and a number belong to the service: choose another name, and \
             write a library's without quotes or backslashes"
        }
    }
}

fn gateway_text(error: &redis::Error) -> String {
    let happened = match error.outcome {
        Outcome::NotExecuted => "the command was not executed",
        Outcome::Executed => "part of the command may have been executed",
        Outcome::Unknown => "no reply came after sending: the command may have been executed, or may yet be",
    };
    match error.kind {
        ErrorKind::BreakerOpen(_) => format!("UNAVAILABLE Redis is down, its circuit breaker is open; {happened}"),
        ErrorKind::Overloaded => format!("OVERLOADED too many requests are in flight; {happened}"),
        ErrorKind::DeadlinePassed => format!("TIMEOUT the request's deadline passed; {happened}"),
        ErrorKind::ConnectFailed => format!("UNAVAILABLE no connection to Redis; {happened}"),
        ErrorKind::NoReply => format!("TIMEOUT Redis did not reply in time; {happened}"),
        ErrorKind::ConnectionLost => format!("UNAVAILABLE the connection to Redis was lost; {happened}"),
    }
}

impl fmt::Display for DialectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ResponseError for DialectError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut out = Vec::with_capacity(self.text.len() + 16);
        reply::write_error(&mut out, &self.text);
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, JSON));
        if let Some(outcome) = self.outcome {
            response.insert_header((OUTCOME, HeaderValue::from_static(outcome.as_str())));
        }
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait))));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header(CHALLENGE);
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, HeaderValue::from_static(allow)));
        }
        response.body(out)
    }
}

impl From<ArgumentError> for Refusal {
    fn from(error: ArgumentError) -> Self {
        let fault = match error.status {
            StatusHint::BadRequest => Fault::Bad,
            StatusHint::TooLarge => Fault::TooLarge,
        };
        Self { text: error.message, fault }
    }
}

impl From<Refusal> for DialectError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.fault {
            Fault::Bad => StatusCode::BAD_REQUEST,
            Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::Reserved | Fault::Forbidden => StatusCode::FORBIDDEN,
        };
        Self::not_executed(status, refusal.text)
    }
}

impl From<ArgumentError> for DialectError {
    fn from(error: ArgumentError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<BodyError> for DialectError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("ERR the request body may have {limit} bytes at most"))
            }
            BodyError::NoRoom { retry_after } => {
                let text = "OVERLOADED request bodies hold all the memory they may hold; the command was not executed";
                Self::shed(text, retry_after)
            }
            BodyError::TooSlow(within) => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("ERR the request body did not arrive within {} ms", within.as_millis()),
            ),
            BodyError::Broken => Self::new(StatusCode::BAD_REQUEST, "ERR the request body ended early"),
        }
    }
}

impl From<TurnedAway> for DialectError {
    fn from(reason: TurnedAway) -> Self {
        match reason {
            TurnedAway::Unauthenticated(Unauthenticated::Missing | Unauthenticated::Wrong) => {
                Self::new(StatusCode::UNAUTHORIZED, "WRONGPASS invalid or missing auth token")
            }
            TurnedAway::Forbidden(forbidden) => {
                Self::new(StatusCode::FORBIDDEN, format!("NOPERM this token lacks the scope '{}'", forbidden.scope))
            }
            TurnedAway::BadTimeout => Self::new(
                StatusCode::BAD_REQUEST,
                "ERR X-Request-Timeout-Ms must be a whole number of milliseconds, 1 or more",
            ),
            TurnedAway::Repeated(name) => {
                Self::new(StatusCode::BAD_REQUEST, format!("ERR {name} is there more than once: send it once"))
            }
            TurnedAway::Misassembled => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ERR the application has no state")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_that_is_not_the_callers_carries_the_outcome() {
        for code in Code::ALL {
            let response = DialectError::of_code(*code, "x", None).error_response();
            let told = response.headers().get(&OUTCOME).and_then(|value| value.to_str().ok());
            assert_eq!(told, outcome_of(*code).map(Outcome::as_str), "{}", code.row().code);
            assert_eq!(told.is_some(), response.status().is_server_error(), "{}", code.row().code);
        }
        let misassembled = DialectError::from(TurnedAway::Misassembled).error_response();
        assert_eq!(misassembled.headers().get(&OUTCOME).map(HeaderValue::as_bytes), Some(&b"not_executed"[..]));
    }
}
