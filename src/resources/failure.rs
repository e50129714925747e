//! How a resource's call fails, in the resource's own terms, with the outcome the gateway knows.
//!
//! Redis' error replies get their meaning here, once; their text is never passed on, since a script or a proxy may have put
//! anything into it. Limits: no wildcard over our own kinds, so that a new kind cannot be forgotten by the surface.

use std::time::Duration;

use crate::redis::functions::{CallError, Obstacle};
use crate::redis::{self, ErrorKind, Meaning, Outcome, Reply, ServerError};

/// A call that did not succeed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What stopped it.
    pub kind: FailureKind,
    /// Whether it took effect.
    pub outcome: Outcome,
    /// Attempts handed to Redis.
    pub attempts: u32,
    /// When asking again is worth it, if known.
    pub retry_after: Option<Duration>,
}

/// What stopped a resource's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The gateway got no definite answer.
    Gateway(ErrorKind),
    /// The name holds another type of value than the resource's.
    WrongType,
    /// The result does not fit a signed 64-bit integer.
    OutOfRange,
    /// The name belongs to the service.
    Reserved,
    /// A newer fencing token of the write's lease is known.
    Fenced,
    /// Redis cannot serve now and said so.
    Unavailable,
    /// Redis is out of memory.
    OutOfMemory,
    /// Redis' durability rule refused the write.
    Undurable,
    /// The gateway's own Redis user may not do this.
    Forbidden,
    /// The same Idempotency-Key came with another request before.
    OtherRequest,
    /// The command cannot be made to happen once.
    NotRepeatable,
    /// The Idempotency-Key was settled as not executed.
    Settled,
    /// This Redis has no functions.
    FunctionsUnsupported,
    /// The functions are not in place.
    FunctionsMissing,
    /// Redis answered with something the resource cannot read: a bug in us or a server that is not Redis.
    UnexpectedReply,
}

impl Failure {
    /// A failure before anything was sent.
    pub fn before_sending(kind: FailureKind) -> Self {
        Self { kind, outcome: Outcome::NotExecuted, attempts: 0, retry_after: None }
    }

    /// A refusal that a function decided, in one attempt.
    pub fn decided(kind: FailureKind) -> Self {
        Self { attempts: 1, ..Self::before_sending(kind) }
    }

    /// A definite refusal by Redis, which ran nothing.
    pub(super) fn refused(error: &ServerError, attempts: u32) -> Self {
        let kind = match redis::meaning(error.code()) {
            Meaning::Unavailable => FailureKind::Unavailable,
            Meaning::OutOfMemory => FailureKind::OutOfMemory,
            Meaning::Undurable => FailureKind::Undurable,
            Meaning::Forbidden => FailureKind::Forbidden,
            Meaning::Caller if error.code() == "WRONGTYPE" => FailureKind::WrongType,
            Meaning::Caller => match error.details() {
                Some(text) if text.contains("overflow") => FailureKind::OutOfRange,
                Some(text) if text.contains("not an integer") => FailureKind::WrongType,
                _ => FailureKind::UnexpectedReply,
            },
        };
        Self { kind, outcome: Outcome::NotExecuted, attempts, retry_after: None }
    }

    /// A reply of a shape that cannot be.
    pub(super) fn unexpected(attempts: u32) -> Self {
        Self { kind: FailureKind::UnexpectedReply, outcome: Outcome::Executed, attempts, retry_after: None }
    }

    /// Sorts a reply that is not the expected one.
    pub(super) fn of_reply(reply: &Reply, attempts: u32) -> Self {
        match reply {
            Reply::ServerError(error) => Self::refused(error, attempts),
            _ => Self::unexpected(attempts),
        }
    }
}

impl From<redis::Error> for Failure {
    fn from(error: redis::Error) -> Self {
        Self {
            kind: FailureKind::Gateway(error.kind),
            outcome: error.outcome,
            attempts: error.attempts,
            retry_after: error.retry_after,
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Gateway(error) => error.into(),
            CallError::NotInPlace { obstacle: Obstacle::Gateway(error), attempts } => {
                Self { attempts: attempts + error.attempts, outcome: Outcome::NotExecuted, ..error.into() }
            }
            CallError::NotInPlace { obstacle: Obstacle::Unsupported, attempts } => {
                Self { attempts, ..Self::before_sending(FailureKind::FunctionsUnsupported) }
            }
            CallError::NotInPlace { obstacle: Obstacle::Unavailable(_), attempts } => {
                Self { attempts, ..Self::before_sending(FailureKind::Unavailable) }
            }
            CallError::NotInPlace { obstacle: Obstacle::Busy | Obstacle::Refused(_), attempts } => {
                Self { attempts, ..Self::before_sending(FailureKind::FunctionsMissing) }
            }
        }
    }
}

impl From<super::Reserved> for Failure {
    fn from(_: super::Reserved) -> Self {
        Self::before_sending(FailureKind::Reserved)
    }
}
