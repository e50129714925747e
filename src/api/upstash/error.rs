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
use super::super::problem::{Code, gateway_code, whole_seconds};
use super::arguments::{ArgumentError, StatusHint};
use super::{JSON, reply};
use crate::redis::catalogue::{Lane, Refusal};
use crate::redis::{self, Command, ErrorKind, Meaning, Objection, Outcome, ServerError, meaning};
use crate::security::Unauthenticated;

/// A failed call of the dialect.
#[derive(Clone, Debug)]
pub struct DialectError {
    status: StatusCode,
    text: String,
    outcome: Option<Outcome>,
    retry_after: Option<Duration>,
    allow: &'static str,
}

/// The methods of the two endpoints that take commands in a body.
pub(super) const ALLOW: &str = "POST, PUT, OPTIONS";

impl DialectError {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), outcome: None, retry_after: None, allow: ALLOW }
    }

    /// What is refused on both surfaces alike, in this one's words.
    pub fn of_code(code: Code, detail: &str, allow: Option<&'static str>) -> Self {
        let status = StatusCode::from_u16(code.row().status).unwrap_or(StatusCode::BAD_REQUEST);
        Self { allow: allow.unwrap_or(ALLOW), ..Self::new(status, format!("ERR {detail}")) }
    }

    /// Refused before Redis was asked.
    pub fn refused(text: String) -> Self {
        let status = if text.starts_with("NOPERM") { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        Self { outcome: Some(Outcome::NotExecuted), ..Self::new(status, text) }
    }

    /// A route with other methods.
    pub fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "ERR this endpoint takes POST")
    }

    /// A part of the dialect that is not there.
    pub fn not_built() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ERR this endpoint is not available: send one command as a JSON array to POST /, several to POST /pipeline",
        )
    }

    /// The gateway got no definite answer.
    pub fn of_gateway(error: &redis::Error, lane: Lane) -> Self {
        let status = gateway_code(error.kind, error.outcome, Some(lane)).row().status;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self { outcome: Some(error.outcome), retry_after: error.retry_after, ..Self::new(status, gateway_text(error)) }
    }

    /// Redis answered with an error of its own.
    pub fn of_redis(error: &ServerError, outcome: Outcome) -> Self {
        let status = match meaning(error.code()) {
            Meaning::Caller | Meaning::Forbidden => StatusCode::BAD_REQUEST,
            Meaning::Unavailable | Meaning::Undurable => StatusCode::SERVICE_UNAVAILABLE,
            Meaning::OutOfMemory => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self { outcome: Some(outcome), ..Self::new(status, reply::error_text(error.code(), error.details())) }
    }
}

/// Whether the command that was answered with `error` changed anything.
pub fn outcome_of_reply(error: &ServerError, command: &Command) -> Outcome {
    redis::outcome_of(error, command.spec())
}

/// The documented texts for what is not allowed.
pub fn objection_text(objection: Objection, command: &Command) -> String {
    let name = command.spec().name;
    let (command, subcommand) = name.split_once('|').unwrap_or((name, ""));
    match objection {
        Objection::ReservedKey => {
            "NOPERM keys that begin with 'collective:' belong to the service: choose another name".to_owned()
        }
        Objection::Refused(Refusal::SharedConnection) => {
            format!("ERR Command \"{command}\" is not allowed in REST or it has a special context path")
        }
        Objection::Refused(reason) => {
            let space = if subcommand.is_empty() { "" } else { " " };
            format!("ERR Command is not available: '{command}{space}{subcommand}': {}", reason.as_str())
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
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.insert_header((header::ALLOW, HeaderValue::from_static(self.allow)));
        }
        response.body(out)
    }
}

impl From<ArgumentError> for DialectError {
    fn from(error: ArgumentError) -> Self {
        let status = match error.status {
            StatusHint::BadRequest => StatusCode::BAD_REQUEST,
            StatusHint::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self { outcome: Some(Outcome::NotExecuted), ..Self::new(status, error.message) }
    }
}

impl From<BodyError> for DialectError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("ERR the request body may have {limit} bytes at most"))
            }
            BodyError::TooSlow(within) => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("ERR the request body did not arrive within {} s", within.as_secs()),
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
