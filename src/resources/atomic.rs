//! One atomic step in Redis, and the record that makes it happen once.
//!
//! A call under a record ([`Once`]) is remembered by Redis in the same unit as its effect, so it may be sent again after any
//! ambiguous end: the second arrival gets the first one's answer. So a conditional write that was applied is told from one that came
//! too late. Limits: without a record a call is as repeatable as its class says.

use super::once::{LATEST, Once};
use super::{Failure, FailureKind};
use crate::redis::catalogue::Class;
use crate::redis::functions::FunctionCall;
use crate::redis::{ErrorKind, Gateway, Outcome, Reply, ServerError};
use crate::resilience::Deadline;
use crate::telemetry::clock;

/// What Redis decided.
#[derive(Debug)]
pub struct Decided<T> {
    /// The decision.
    pub value: T,
    /// True if it was made by an earlier request with the same key; never under a record of our own.
    pub replayed: bool,
    /// Attempts handed to Redis.
    pub attempts: u32,
}

impl<T> Decided<T> {
    /// The same decision in other words.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Decided<U> {
        Decided { value: change(self.value), replayed: self.replayed, attempts: self.attempts }
    }
}

/// A function to be called, with everything it needs.
pub(super) struct Step<'a> {
    /// Its name without the library's prefix.
    pub(super) function: &'static str,
    pub(super) keys: &'a [&'a [u8]],
    pub(super) arguments: &'a [&'a [u8]],
    /// How repeatable it is without a record.
    pub(super) class: Class,
    pub(super) once: Option<&'a Once>,
}

impl Step<'_> {
    /// Runs it. The decision is the function's reply, a list that begins with a word.
    pub(super) async fn decide(&self, gateway: &Gateway, deadline: Deadline) -> Result<Decided<Decision>, Failure> {
        self.decide_as(|call| call, gateway, deadline).await
    }

    /// The same for what may rightly take long.
    pub(super) async fn decide_slowly(
        &self,
        gateway: &Gateway,
        deadline: Deadline,
    ) -> Result<Decided<Decision>, Failure> {
        self.decide_as(FunctionCall::heavy, gateway, deadline).await
    }

    async fn decide_as(
        &self,
        kind: impl Fn(FunctionCall) -> FunctionCall,
        gateway: &Gateway,
        deadline: Deadline,
    ) -> Result<Decided<Decision>, Failure> {
        let not_after = self.not_after(gateway, deadline);
        match self.run(kind(self.call(deadline, not_after)), gateway, deadline).await? {
            Ran::Decided(decided) => Ok(decided),
            // The only arrival, and before its deadline: it is the server's clock that was set. Nothing was done and nothing is
            // on its way, so the same may be asked without a bound.
            Ran::Late { attempts: 1 } => match self.run(kind(self.call(deadline, None)), gateway, deadline).await? {
                Ran::Decided(decided) => Ok(decided),
                Ran::Late { attempts } => Err(Failure::unexpected(attempts)),
            },
            // An earlier arrival may have had its effect, so long ago that its record has gone.
            Ran::Late { attempts } => Err(late(attempts)),
        }
    }

    async fn run(&self, call: FunctionCall, gateway: &Gateway, deadline: Deadline) -> Result<Ran, Failure> {
        let answer = gateway.call(&call, deadline).await?;
        let attempts = answer.attempts;
        let parts = match answer.reply {
            Reply::Array(parts) => parts,
            Reply::ServerError(error) => return Err(stopped(&call, &error, attempts)),
            _ => return Err(Failure::unexpected(attempts)),
        };
        let mut parts = parts.into_iter();
        let how = parts.next().and_then(bytes).unwrap_or_default();
        let replayed = match how.as_slice() {
            b"done" => false,
            // What an earlier attempt of this very call had decided is news to its caller.
            b"replayed" => self.once.is_some_and(|once| !once.is_own()),
            b"mismatch" => return Err(refused(FailureKind::OtherRequest, attempts)),
            b"settled" => return Err(refused(FailureKind::Settled, attempts)),
            b"late" => return Ok(Ran::Late { attempts }),
            _ => return Err(Failure::unexpected(attempts)),
        };
        match parts.next() {
            Some(Reply::Array(parts)) => {
                Ok(Ran::Decided(Decided { value: Decision { parts, attempts }, replayed, attempts }))
            }
            _ => Err(Failure::unexpected(attempts)),
        }
    }

    /// From when on Redis must not run it any more, in µs of Redis' clock.
    fn not_after(&self, gateway: &Gateway, deadline: Deadline) -> Option<u64> {
        self.once.filter(|once| once.is_own())?;
        let now = clock::now();
        gateway.endpoint().time_at(now + deadline.remaining(now) + LATEST)
    }

    fn call(&self, deadline: Deadline, not_after: Option<u64>) -> FunctionCall {
        let remaining = deadline.remaining(clock::now());
        let lifetime = self.once.map_or_else(String::new, |once| once.lifetime(remaining).as_millis().to_string());
        let not_after = not_after.map_or_else(String::new, |micros| micros.to_string());
        let mut arguments: Vec<&[u8]> = Vec::with_capacity(self.arguments.len() + 3);
        arguments.push(self.once.map_or(b"", |once| once.fingerprint().as_bytes()));
        arguments.extend([lifetime.as_bytes(), not_after.as_bytes()]);
        arguments.extend_from_slice(self.arguments);
        let mut keys = self.keys.to_vec();
        keys.extend(self.once.map(Once::record));
        let class = if self.once.is_some() { Class::Idempotent } else { self.class };
        FunctionCall::new(self.function, &keys, &arguments, class)
    }
}

/// How a call ended that was answered.
enum Ran {
    Decided(Decided<Decision>),
    /// It arrived later than it was allowed to, and did nothing.
    Late {
        attempts: u32,
    },
}

fn late(attempts: u32) -> Failure {
    let kind = FailureKind::Gateway(ErrorKind::NoReply);
    Failure { outcome: Outcome::Unknown, attempts, ..Failure::before_sending(kind) }
}

/// A function's reply: a word and what belongs to it.
#[derive(Debug)]
pub struct Decision {
    parts: Vec<Reply>,
    attempts: u32,
}

impl Decision {
    /// The word it begins with.
    pub(super) fn word(&self) -> &[u8] {
        self.bytes(0).unwrap_or_default()
    }

    /// A decision that was remembered, or a reply of a function that only reads.
    pub(super) fn of(parts: Vec<Reply>, attempts: u32) -> Self {
        Self { parts, attempts }
    }

    /// How many attempts brought it here.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Takes the part at this place out, whatever it is.
    pub(super) fn take(&mut self, at: usize) -> Option<Reply> {
        self.parts.get_mut(at).map(|part| std::mem::replace(part, Reply::Nil))
    }

    /// The part at this place.
    pub(super) fn bytes(&self, at: usize) -> Option<&[u8]> {
        match self.parts.get(at) {
            Some(Reply::BulkString(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The whole number at this place, written as text.
    pub(super) fn number<N: std::str::FromStr>(&self, at: usize) -> Result<N, Failure> {
        let text = self.bytes(at).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(|text| text.parse().ok()).ok_or_else(|| Failure::unexpected(self.attempts))
    }

    /// The failure of a word that no function says.
    pub(super) fn unreadable(&self) -> Failure {
        Failure::unexpected(self.attempts)
    }
}

/// Redis refused the call, or stopped the function where it should not have had a reason to: then that may be half way.
fn stopped(call: &FunctionCall, error: &ServerError, attempts: u32) -> Failure {
    match Failure::refused(error, attempts) {
        failure @ Failure { kind: FailureKind::UnexpectedReply, .. } => {
            Failure { outcome: call.outcome(error), ..failure }
        }
        failure => failure,
    }
}

fn refused(kind: FailureKind, attempts: u32) -> Failure {
    Failure { kind, outcome: Outcome::NotExecuted, attempts, retry_after: None }
}

fn bytes(reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
