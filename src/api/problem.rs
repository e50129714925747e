//! Problem documents (RFC 9457): the one table of codes of `/v1`, and the one place where a failure becomes an answer.
//!
//! Each code says what happened and the way out; `docs/errors.md` is printed from the same table. `outcome` is the word to act
//! on: `not_executed` may be sent again by anyone, `unknown` may not. Limits: the document names the thing, the rule and the way
//! out, never a text from Redis or the driver.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;

use super::body::BodyError;
use super::caller::TurnedAway;
use super::envelope::{Arrival, OUTCOME};
use super::path::BadPercent;
use super::report::Failed;
use crate::redis::catalogue::Lane;
use crate::redis::{ErrorKind, Outcome};
use crate::resources::{Failure, FailureKind};

/// One row of the table.
pub struct Row {
    /// The stable word clients branch on.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The title.
    pub title: &'static str,
    /// What the caller can do.
    pub way_out: &'static str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $title:literal, $way_out:literal;)+) => {
        /// Every way a `/v1` request can fail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// The whole table, in the order of statuses.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code's row.
            pub const fn row(self) -> Row {
                match self { $(Self::$variant => Row { code: $code, status: $status, title: $title, way_out: $way_out },)+ }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    InvalidJson = "invalid_json", 400, "The body is not valid JSON", "Correct the body at the place named.";
    /// The head or its framing cannot be understood.
    MalformedRequest = "malformed_request", 400, "The request is not valid HTTP", "Use an HTTP/1.1 client library.";
    /// A query parameter or header is wrong.
    InvalidRequest = "invalid_request", 400, "The request is not understood", "Correct the parameter or header named.";
    /// A percent sequence in the path is wrong.
    InvalidPath = "invalid_path", 400, "The path is not validly percent-encoded", "Encode each byte of the name as %XX.";
    /// No or a wrong credential.
    Unauthenticated = "unauthenticated", 401, "Who is calling is not known", "Send Authorization: Bearer <token> with a valid token.";
    /// A scope is missing.
    Forbidden = "forbidden", 403, "The caller may not do this", "Use a credential with the scope named.";
    /// The name belongs to the service.
    ReservedName = "reserved_name", 403, "The name belongs to the service", "Choose a name that does not begin with collective:.";
    /// No such resource or route.
    NotFound = "not_found", 404, "There is nothing of that name", "Check the name; create it first.";
    /// The route has other methods.
    MethodNotAllowed = "method_not_allowed", 405, "The resource does not take this method", "Use a method of the Allow header.";
    /// The content is not JSON though only JSON was accepted.
    NotAcceptable = "not_acceptable", 406, "The content is not of an accepted type", "Accept application/octet-stream.";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", 408, "The request did not arrive in time", "Send the request without long pauses.";
    /// The name holds another type.
    WrongType = "wrong_type", 409, "The name holds another type of value", "Use the command dialect for it, or another name.";
    /// Beyond 64 bits.
    OutOfRange = "out_of_range", 409, "The result does not fit a signed 64-bit integer", "Use a smaller step or delete the counter.";
    /// The body is too large.
    PayloadTooLarge = "payload_too_large", 413, "The body is too large", "Send less, in several requests.";
    /// The request line is too long.
    UriTooLong = "uri_too_long", 414, "The request line is too long", "Name the thing shorter, or send it in the body.";
    /// Well formed, but a value is against the rules.
    InvalidValue = "invalid_value", 422, "A value is against the rules", "Correct the members listed in errors.";
    /// Too many or too large header fields.
    HeadTooLarge = "head_too_large", 431, "The request head is too large", "Send fewer or shorter header fields.";
    /// Our mistake.
    Internal = "internal", 500, "The service made a mistake", "Report it with the request id.";
    /// The breaker is open.
    CircuitOpen = "circuit_open", 503, "Redis is down: the circuit breaker is open", "Send it again after Retry-After seconds.";
    /// Shed.
    Overloaded = "overloaded", 503, "Too many requests are in flight", "Send it again after Retry-After seconds.";
    /// No place for the connection.
    TooManyConnections = "too_many_connections", 503, "Too many connections are open", "Use the connections you have, or come back after Retry-After seconds.";
    /// No connection, or none that lived.
    RedisUnreachable = "redis_unreachable", 503, "Redis did not answer", "Send it again.";
    /// Redis said that it cannot serve.
    RedisUnavailable = "redis_unavailable", 503, "Redis cannot serve at the moment", "Send it again shortly.";
    /// Redis refused for durability's sake.
    NotDurable = "not_durable", 503, "Redis cannot make writes durable at the moment", "An operator must look at Redis' disk or replicas.";
    /// Our own user lacks a right.
    GatewayForbidden = "gateway_forbidden", 503, "The service's Redis user lacks a right", "An operator must extend its ACL.";
    /// It may have happened.
    OutcomeUnknown = "outcome_unknown", 504, "The write may have happened", "Read before writing again.";
    /// The deadline passed.
    DeadlineExceeded = "deadline_exceeded", 504, "The read did not finish by its deadline", "Allow more time with X-Request-Timeout-Ms.";
    /// Redis is full.
    OutOfMemory = "out_of_memory", 507, "Redis is out of memory", "Delete something, or an operator must give it more.";
}

/// A failure on its way to the caller.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    outcome: Option<Outcome>,
    attempts: Option<u32>,
    retry_after: Option<Duration>,
    errors: Vec<Mistake>,
    allow: Option<&'static str>,
    request_id: String,
    instance: String,
}

/// One value that is against the rules.
#[derive(Clone, Debug, Serialize)]
pub struct Mistake {
    /// JSON Pointer to the member, or the parameter's name.
    pub pointer: String,
    /// The rule.
    pub detail: String,
}

/// The document's members, in the order they are written.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Mistake],
}

impl Problem {
    /// A problem of `code`; `detail` says what was wrong with this very request.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            outcome: None,
            attempts: None,
            retry_after: None,
            errors: Vec::new(),
            allow: None,
            request_id: String::new(),
            instance: String::new(),
        }
    }

    /// Values against the rules.
    pub fn invalid(errors: Vec<Mistake>) -> Self {
        Self { errors, ..Self::new(Code::InvalidValue, "one or more values are against the rules: see errors") }
    }

    /// A method the resource does not have; `allow` lists those it has.
    pub fn method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, format!("this resource takes {allow}")) }
    }

    /// Binds the problem to the request it answers.
    pub fn at(mut self, request: &HttpRequest) -> Self {
        self.request_id = Arrival::of(request).id().to_owned();
        self.instance = request.uri().path().to_owned();
        self
    }

    /// What the log says of it.
    pub fn failed(&self) -> Failed {
        Failed { code: self.code, outcome: self.outcome, attempts: self.attempts }
    }

    fn retryable(&self) -> bool {
        match self.outcome {
            Some(Outcome::NotExecuted) => matches!(self.code.row().status, 503 | 504),
            Some(Outcome::Unknown | Outcome::Executed) => false,
            None => self.code.row().status == 408,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.row().code, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let row = self.code.row();
        let document = Document {
            r#type: format!("/problems/{}", row.code),
            title: row.title,
            status: row.status,
            detail: &self.detail,
            instance: &self.instance,
            code: row.code,
            request_id: &self.request_id,
            outcome: self.outcome.map(Outcome::as_str),
            retryable: self.retryable(),
            attempts: self.attempts,
            errors: &self.errors,
        };
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")));
        if let Some(outcome) = self.outcome {
            response.insert_header((OUTCOME, HeaderValue::from_static(outcome.as_str())));
        }
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait))));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, HeaderValue::from_static(allow)));
        }
        if self.code == Code::Unauthenticated {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"collective\"")));
        }
        // Plain strings and numbers always serialise.
        response.body(serde_json::to_vec(&document).unwrap_or_default())
    }
}

/// Retry-After has whole seconds: rounded up, so that nobody comes too early.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The status of a call the gateway could not finish (D1): 504 is `unknown` or a read past its deadline, else 503.
pub fn gateway_code(kind: ErrorKind, outcome: Outcome, lane: Option<Lane>) -> Code {
    match (outcome, kind) {
        (Outcome::Unknown | Outcome::Executed, _) => Code::OutcomeUnknown,
        (Outcome::NotExecuted, ErrorKind::BreakerOpen(_)) => Code::CircuitOpen,
        (Outcome::NotExecuted, ErrorKind::Overloaded) => Code::Overloaded,
        (Outcome::NotExecuted, ErrorKind::DeadlinePassed) if lane == Some(Lane::Read) => Code::DeadlineExceeded,
        (
            Outcome::NotExecuted,
            ErrorKind::DeadlinePassed | ErrorKind::ConnectFailed | ErrorKind::NoReply | ErrorKind::ConnectionLost,
        ) => Code::RedisUnreachable,
    }
}

impl Problem {
    /// A failed call of a resource; `lane` tells reads from writes, whose deadlines mean different things.
    pub fn of_failure(failure: &Failure, lane: Lane) -> Self {
        let code = match failure.kind {
            FailureKind::Gateway(kind) => gateway_code(kind, failure.outcome, Some(lane)),
            FailureKind::WrongType => Code::WrongType,
            FailureKind::OutOfRange => Code::OutOfRange,
            FailureKind::Reserved => Code::ReservedName,
            FailureKind::Unavailable => Code::RedisUnavailable,
            FailureKind::OutOfMemory => Code::OutOfMemory,
            FailureKind::Undurable => Code::NotDurable,
            FailureKind::Forbidden => Code::GatewayForbidden,
            FailureKind::UnexpectedReply => Code::Internal,
        };
        Self {
            outcome: Some(failure.outcome),
            attempts: Some(failure.attempts),
            retry_after: failure.retry_after,
            ..Self::new(code, detail_of(failure))
        }
    }
}

fn detail_of(failure: &Failure) -> Cow<'static, str> {
    let happened = match failure.outcome {
        Outcome::NotExecuted => "nothing was changed",
        Outcome::Executed => "part of it may have taken effect before the error",
        Outcome::Unknown => "it was sent and no reply came: it may have taken effect, or may yet",
    };
    let reason = match failure.kind {
        FailureKind::Gateway(ErrorKind::BreakerOpen(Lane::Read)) => {
            "reads are refused until Redis answers probes again"
        }
        FailureKind::Gateway(ErrorKind::BreakerOpen(Lane::Write)) => {
            "writes are refused until Redis answers probes again"
        }
        FailureKind::Gateway(ErrorKind::Overloaded) => "the bound on requests in flight and waiting is reached",
        FailureKind::Gateway(ErrorKind::DeadlinePassed) => "the request's deadline passed",
        FailureKind::Gateway(ErrorKind::ConnectFailed) => "no connection to Redis could be made",
        FailureKind::Gateway(ErrorKind::NoReply) => "Redis did not reply within the attempt timeout",
        FailureKind::Gateway(ErrorKind::ConnectionLost) => "the connection to Redis was lost",
        FailureKind::WrongType => "the name holds a value this resource cannot handle, and it was left untouched",
        FailureKind::OutOfRange => "the counter keeps its value",
        FailureKind::Reserved => "names that begin with collective: are the service's own",
        FailureKind::Unavailable => "Redis is loading its data, read-only, or busy",
        FailureKind::OutOfMemory => "Redis refuses writes that need memory",
        FailureKind::Undurable => "Redis refuses writes it could not keep",
        FailureKind::Forbidden => "Redis denies this command to the service's own user",
        FailureKind::UnexpectedReply => "Redis gave a reply that this resource cannot read",
    };
    format!("{reason}; {happened}").into()
}

impl From<TurnedAway> for Problem {
    fn from(reason: TurnedAway) -> Self {
        match reason {
            TurnedAway::Unauthenticated(_) => Self::new(Code::Unauthenticated, "no valid token was presented"),
            TurnedAway::Forbidden(forbidden) => {
                Self::new(Code::Forbidden, format!("this needs the scope {}", forbidden.scope))
            }
            TurnedAway::BadTimeout => Self::new(
                Code::InvalidRequest,
                "X-Request-Timeout-Ms must be a whole number of milliseconds, 1 or more",
            ),
            TurnedAway::Misassembled => Self::new(Code::Internal, "the application has no state"),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => {
                Self::new(Code::PayloadTooLarge, format!("the body may have {limit} bytes at most"))
            }
            BodyError::TooSlow(within) => {
                Self::new(Code::RequestTimeout, format!("the body did not arrive within {} s", within.as_secs()))
            }
            BodyError::Broken => Self::new(Code::InvalidRequest, "the body ended early or its framing is wrong"),
        }
    }
}

impl From<BadPercent> for Problem {
    fn from(bad: BadPercent) -> Self {
        Self::new(
            Code::InvalidPath,
            format!("the % at byte {} of the name is not followed by two hexadecimal digits", bad.offset),
        )
    }
}

/// `docs/errors.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Errors of `/v1`\n\nEvery failure is a problem document (RFC 9457, `application/problem+json`) with the members `type`, `title`, \
         `status`, `detail`, `instance`, `code`, `request_id`, `retryable`, and, where Redis is concerned, `outcome` and \
         `attempts`. The header `Collective-Outcome` repeats `outcome`; `Retry-After` is computed, in whole seconds rounded up.\n\n\
         `not_executed`: it changed nothing and never will, anyone may send it again. `unknown`: it may have happened. \
         `executed`: Redis answered definitely after effects.\n\n| code | status | what happened | way out |\n|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let row = code.row();
        page.push_str(&format!("| `{}` | {} | {} | {} |\n", row.code, row.status, row.title, row.way_out));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ordered_by_status() {
        let rows: Vec<Row> = Code::ALL.iter().map(|code| code.row()).collect();
        assert!(rows.is_sorted_by_key(|row| row.status));
        for (index, row) in rows.iter().enumerate() {
            assert!(rows[..index].iter().all(|other| other.code != row.code), "{} twice", row.code);
        }
    }

    #[test]
    fn unknown_is_504_and_never_retryable() {
        let failure = Failure {
            kind: FailureKind::Gateway(ErrorKind::ConnectionLost),
            outcome: Outcome::Unknown,
            attempts: 1,
            retry_after: None,
        };
        let problem = Problem::of_failure(&failure, Lane::Write);
        assert_eq!(problem.status_code(), StatusCode::GATEWAY_TIMEOUT);
        assert!(!problem.retryable());
    }

    #[test]
    fn retry_after_is_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1000)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
    }
}
