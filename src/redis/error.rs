//! What can go wrong between us and Redis, whose fault it is, and, above all, whether it may have happened.
//!
//! The driver returns one error for "never sent" and for "sent, reply lost"; only the place of failure tells them apart. So every
//! error here is born where that is known, with its [`Outcome`] (D1). Replies that are Redis' own error are not errors of this
//! type: they are definite answers, and [`meaning`] says what each code is worth. The matches have no wildcard on purpose.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis_rs::ServerError;

use super::catalogue::{Class, Lane, Spec};
use super::link::Link;

/// Whether a call took effect. Only ever gets worse over the attempts of one call, unless a later attempt succeeds (D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It changed nothing and never will: anyone may send it again.
    NotExecuted,
    /// Redis answered definitely, after effects (an error inside a script or a transaction).
    Executed,
    /// It may have taken effect, or may yet.
    Unknown,
}

impl Outcome {
    /// The word used in the `outcome` member and the `Collective-Outcome` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotExecuted => "not_executed",
            Self::Executed => "executed",
            Self::Unknown => "unknown",
        }
    }
}

/// What stopped a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The lane's breaker refuses calls: Redis was seen to be down.
    BreakerOpen(Lane),
    /// Too many calls in flight and waiting: shed before sending.
    Overloaded,
    /// The caller's deadline passed.
    DeadlinePassed,
    /// No connection could be had.
    ConnectFailed,
    /// No reply within the attempt timeout, on the last attempt allowed.
    NoReply,
    /// The connection died after the command was handed to it.
    ConnectionLost,
}

impl ErrorKind {
    /// A short word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen(_) => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::DeadlinePassed => "deadline_passed",
            Self::ConnectFailed => "connect_failed",
            Self::NoReply => "no_reply",
            Self::ConnectionLost => "connection_lost",
        }
    }
}

/// A call that did not get a definite answer from Redis.
#[derive(Clone)]
pub struct Error {
    /// What stopped it.
    pub kind: ErrorKind,
    /// The worst over all attempts.
    pub outcome: Outcome,
    /// How many attempts were handed to a connection.
    pub attempts: u32,
    /// When it is worth asking again, where the one who said no knows.
    pub retry_after: Option<Duration>,
    /// The connection an ambiguous write went down, for [`super::Gateway::fence`].
    pub suspect: Option<Suspect>,
}

impl Error {
    pub(super) fn new(kind: ErrorKind) -> Self {
        Self { kind, outcome: Outcome::NotExecuted, attempts: 0, retry_after: None, suspect: None }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} attempts, outcome {}", self.kind.as_str(), self.attempts, self.outcome.as_str())
    }
}

impl std::error::Error for Error {}

/// A connection that may still carry an abandoned write.
#[derive(Clone)]
pub struct Suspect(pub(super) Arc<Link>);

impl fmt::Debug for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suspect(client {})", self.0.client_id)
    }
}

/// What one of Redis' own error replies is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The server is healthy; the caller asked for something it cannot have.
    Caller,
    /// Refused before execution because the server cannot serve now (LOADING, READONLY …): worth a retry, a breaker failure.
    Unavailable,
    /// Refused before execution for want of memory (OOM): fast and definite, breaker-neutral (D9).
    OutOfMemory,
    /// Refused before execution by a durability rule (MISCONF, NOREPLICAS): fast and definite, breaker-neutral.
    Undurable,
    /// The gateway's own identity lacks a right on the server: neutral, an operator's alarm.
    Forbidden,
}

/// Classifies a Redis error reply by its code. Unknown codes are the caller's: a healthy server said them.
pub fn meaning(code: &str) -> Meaning {
    match code {
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "READONLY" | "BUSY" => Meaning::Unavailable,
        "OOM" => Meaning::OutOfMemory,
        "MISCONF" | "NOREPLICAS" => Meaning::Undurable,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Meaning::Forbidden,
        _ => Meaning::Caller,
    }
}

/// Whether a call answered with this error reply changed anything.
///
/// Redis refuses a plain command before running it. A script runs until the line that fails, or to its end if it returns an
/// error itself, and what it wrote stays: unless the error is one that comes before the first line, the outcome is `executed`.
pub fn outcome_of(error: &ServerError, spec: &Spec) -> Outcome {
    let runs_code = spec.name.starts_with("EVAL") || spec.name.starts_with("FCALL");
    if runs_code && spec.class != Class::Read && !precedes_the_script(error) {
        Outcome::Executed
    } else {
        Outcome::NotExecuted
    }
}

/// True for the errors of `EVAL` and `FCALL` that Redis gives before the first line of code.
fn precedes_the_script(error: &ServerError) -> bool {
    const REFUSALS: [&str; 8] = [
        "Error compiling script",
        "wrong number of arguments",
        "value is not an integer",
        "Number of keys",
        "Bad number",
        "Function not found",
        "Unexpected flag",
        "Unexpected engine",
    ];
    let text = error.details().unwrap_or_default();
    // A refusal met by a command inside a script carries the script's name.
    let from_inside = text.contains("script:") || text.contains("user_function");
    match error.code() {
        "ERR" => REFUSALS.iter().any(|start| text.starts_with(start)),
        "NOSCRIPT" | "NOPERM" | "NOAUTH" | "OOM" | "LOADING" | "BUSY" | "READONLY" | "MISCONF" | "NOREPLICAS"
        | "MASTERDOWN" => !from_inside,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_the_worst_outcome() {
        assert!(Outcome::Unknown > Outcome::Executed && Outcome::Executed > Outcome::NotExecuted);
    }

    #[test]
    fn callers_mistakes_say_nothing_about_the_server() {
        for code in ["ERR", "WRONGTYPE", "NOSCRIPT", "EXECABORT", "CROSSSLOT", "NOVELTY"] {
            assert_eq!(meaning(code), Meaning::Caller, "{code}");
        }
        assert_eq!(meaning("LOADING"), Meaning::Unavailable);
    }
}
