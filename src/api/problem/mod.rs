//! Problem documents (RFC 9457): the one place where a failure becomes an answer.
//!
//! The codes are rows of [`table`]; [`pages`] serves one page for each, which the `type` of every document points to. `outcome`
//! is the word to act on: `not_executed` may be sent again by anyone, `unknown` may not. Limits: the document names the thing,
//! the rule and the way out, never a text from Redis or the driver.

pub mod pages;
pub mod table;

pub use pages::markdown;
pub use table::{Again, Code, Row};

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::body::BodyError;
use super::caller::TurnedAway;
use super::envelope::{Arrival, OUTCOME};
use super::path::BadPercent;
use super::report::Failed;
use crate::redis::catalogue::Lane;
use crate::redis::{ErrorKind, Outcome};
use crate::resources::{Failure, FailureKind};

/// What every 401 asks for (RFC 9110).
pub const CHALLENGE: (HeaderName, HeaderValue) =
    (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"collective\""));

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
    /// Members beyond the standard ones.
    members: serde_json::Map<String, serde_json::Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    request_id: String,
    instance: String,
}

/// One value that is against the rules.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Mistake {
    /// JSON Pointer to the member, or the parameter's name.
    pub pointer: String,
    /// The rule.
    pub detail: String,
}

/// The document's members, in the order they are written.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'a> {
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
    #[serde(flatten)]
    #[schema(value_type = Members)]
    members: &'a serde_json::Map<String, serde_json::Value>,
}

/// Members that only some codes have.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is described, and never made: members are added by their names")]
struct Members {
    /// How long the lease is held still, unless it is renewed or released (`lease_held`).
    retry_after_ms: Option<u64>,
    /// What the counter is at (`limit_reached`).
    value: Option<i64>,
}

impl Problem {
    /// A problem of `code`; `detail` says what was wrong with this very request. Where the failure is not the caller's the outcome
    /// is told (D1): that of the code, and nothing executed unless whoever makes the problem knows better.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            outcome: outcome_of(code),
            attempts: None,
            retry_after: None,
            errors: Vec::new(),
            allow: None,
            members: serde_json::Map::new(),
            headers: Vec::new(),
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

    /// A refusal that Redis decided: it answered, in so many attempts, and nothing was changed.
    pub fn decided(code: Code, detail: impl Into<Cow<'static, str>>, attempts: u32) -> Self {
        Self { outcome: Some(Outcome::NotExecuted), attempts: Some(attempts), ..Self::new(code, detail) }
    }

    /// Adds a member of its own, for what a program needs beyond the sentence.
    pub fn with_member(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says how many attempts it took.
    pub fn after(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Adds a header field.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Binds the problem to the request it answers.
    pub fn at(mut self, request: &HttpRequest) -> Self {
        self.request_id = Arrival::of(request).id().to_owned();
        self.instance = request.uri().path().to_owned();
        self
    }

    /// What a problem of `code` usually looks like: the example of its page.
    fn example(code: Code) -> Self {
        let row = code.row();
        let on_a_counter =
            matches!(code, Code::InvalidJson | Code::InvalidValue | Code::OutOfRange | Code::LimitReached);
        let refused = matches!(code, Code::CircuitOpen | Code::Overloaded | Code::TooManyConnections);
        let errors = match code {
            Code::InvalidValue => {
                let detail = "must not be 0: read the counter with GET instead".to_owned();
                vec![Mistake { pointer: "/by".to_owned(), detail }]
            }
            _ => Vec::new(),
        };
        let instance = match code {
            Code::LeaseHeld => "/v1/leases/jobs",
            _ if on_a_counter => "/v1/counters/visits/increment",
            _ => "/v1/keys/greeting",
        };
        let members = (code == Code::LeaseHeld).then(|| ("retry_after_ms".to_owned(), 29_500.into()));
        Self {
            outcome: row.outcome,
            attempts: row.outcome.map(|_| u32::from(!refused)),
            members: members.into_iter().collect(),
            errors,
            request_id: "5b8d1c2f0a9e4d37-0000002a".to_owned(),
            instance: instance.to_owned(),
            ..Self::new(code, row.detail)
        }
    }

    fn document(&self) -> Document<'_> {
        let row = self.code.row();
        Document {
            r#type: format!("{}{}", pages::PREFIX, row.code),
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
            members: &self.members,
        }
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
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")));
        if let Some(outcome) = self.outcome {
            response.insert_header((OUTCOME, HeaderValue::from_static(outcome.as_str())));
        }
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait))));
        }
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, HeaderValue::from_static(allow)));
        }
        if self.code == Code::Unauthenticated {
            response.insert_header(CHALLENGE);
        }
        // Plain strings and numbers always serialise.
        response.body(serde_json::to_vec(&self.document()).unwrap_or_default())
    }
}

/// The document's members and what they are made of, for the OpenAPI document.
pub fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![("Problem".to_owned(), Document::schema())];
    Document::schemas(&mut schemas);
    schemas
}

/// The example of a code's page.
pub fn example(code: Code) -> serde_json::Value {
    serde_json::to_value(Problem::example(code).document()).unwrap_or_default()
}

/// What a failure of this code tells of the outcome when nothing more is known: every answer of 5xx carries the word.
pub fn outcome_of(code: Code) -> Option<Outcome> {
    let row = code.row();
    (row.status >= 500).then(|| row.outcome.unwrap_or(Outcome::NotExecuted))
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
        Self {
            outcome: Some(failure.outcome),
            attempts: Some(failure.attempts),
            retry_after: failure.retry_after,
            ..Self::new(failure_code(failure, lane), failure_detail(failure))
        }
    }
}

/// The code of a resource's failure.
pub fn failure_code(failure: &Failure, lane: Lane) -> Code {
    match failure.kind {
        FailureKind::Gateway(kind) => gateway_code(kind, failure.outcome, Some(lane)),
        FailureKind::WrongType => Code::WrongType,
        FailureKind::OutOfRange => Code::OutOfRange,
        FailureKind::Reserved => Code::ReservedName,
        FailureKind::Fenced => Code::Fenced,
        FailureKind::Unavailable => Code::RedisUnavailable,
        FailureKind::OutOfMemory => Code::OutOfMemory,
        FailureKind::Undurable => Code::NotDurable,
        FailureKind::Forbidden => Code::GatewayForbidden,
        FailureKind::NotRepeatable => Code::InvalidValue,
        FailureKind::OtherRequest => Code::KeyReused,
        FailureKind::Settled => Code::KeySettled,
        FailureKind::FunctionsUnsupported => Code::FunctionsUnsupported,
        FailureKind::FunctionsMissing => Code::FunctionsMissing,
        FailureKind::UnexpectedReply => Code::Internal,
    }
}

/// What to say of a resource's failure.
pub fn failure_detail(failure: &Failure) -> Cow<'static, str> {
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
        FailureKind::Fenced => "a newer fencing token of that lease is known",
        FailureKind::Unavailable => "Redis is loading its data, read-only, or busy",
        FailureKind::OutOfMemory => "Redis refuses writes that need memory",
        FailureKind::Undurable => "Redis refuses writes it could not keep",
        FailureKind::Forbidden => "Redis denies this command to the service's own user",
        FailureKind::NotRepeatable => "this command cannot be made to happen once",
        FailureKind::OtherRequest => "this Idempotency-Key came with another request before",
        FailureKind::Settled => "this Idempotency-Key was settled as not executed",
        FailureKind::FunctionsUnsupported => "this call needs the functions of Redis 7.0 or later",
        FailureKind::FunctionsMissing => "the functions of this call are not in place in Redis",
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
            TurnedAway::Repeated(name) => {
                Self::new(Code::InvalidRequest, format!("{name} is there more than once: send it once"))
            }
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
            BodyError::NoRoom { retry_after } => Self {
                outcome: Some(Outcome::NotExecuted),
                retry_after: Some(retry_after),
                ..Self::new(Code::Overloaded, "request bodies hold all the memory they may hold; nothing was changed")
            },
            BodyError::TooSlow(within) => {
                Self::new(Code::RequestTimeout, format!("the body did not arrive within {} ms", within.as_millis()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_documents_agree_on_sending_it_again() {
        for code in Code::ALL {
            let row = code.row();
            assert_eq!(Problem::example(*code).retryable(), row.again == Again::Safely, "{}", row.code);
        }
    }

    #[test]
    fn every_failure_that_is_not_the_callers_carries_the_outcome() {
        for code in Code::ALL {
            let problem = Problem::new(*code, "x");
            let told = problem.error_response().headers().contains_key(&OUTCOME);
            assert_eq!(told, problem.status_code().is_server_error(), "{}", code.row().code);
            assert!(
                code.row().outcome.is_none() || !told || problem.outcome == code.row().outcome,
                "{}",
                code.row().code
            );
        }
        assert_eq!(Problem::new(Code::Internal, "x").outcome, Some(Outcome::NotExecuted));
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
