//! One atomic step in Redis, and the record that makes it happen once.
//!
//! A call under a record is remembered by Redis in the same unit as its effect, so it may be sent again after any ambiguous end:
//! the second arrival gets the first one's answer. The record is the caller's (`Idempotency-Key`, kept for a day), or one
//! of our own for this call alone, kept a little longer than any request lives: so a conditional write that was applied is told from
//! one that came too late. Limits: without a record a call is as repeatable as its class says.

use std::fmt::Write;
use std::time::Duration;

use super::{Failure, FailureKind};
use crate::redis::catalogue::Class;
use crate::redis::functions::FunctionCall;
use crate::redis::{Gateway, Outcome, Reply, ServerError};
use crate::resilience::Deadline;

/// How long a caller's record is kept (D17).
pub(super) const CALLERS_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long our own is kept: twice the longest deadline a caller may ask for.
const OWN_LIFETIME: Duration = Duration::from_secs(60);

/// The record of one request.
#[derive(Clone, Debug)]
pub struct Once {
    record: Vec<u8>,
    fingerprint: String,
    lifetime: Duration,
    /// Whether nobody but us knows the record.
    own: bool,
}

impl Once {
    /// A caller's record. `name` is the pseudonym of his key, `fingerprint` that of his request.
    pub fn for_caller(name: &[u8; 32], fingerprint: &[u8; 32]) -> Self {
        let fingerprint = hexadecimal(fingerprint);
        Self { record: record_key(name), fingerprint, lifetime: CALLERS_LIFETIME, own: false }
    }

    /// A record of our own, for one call alone.
    pub fn for_this_call() -> Self {
        let nonce = [fastrand::u64(..), fastrand::u64(..)].map(u64::to_be_bytes).concat();
        let record = format!("collective:attempt:{}", hexadecimal(&nonce)).into_bytes();
        Self { record, fingerprint: "own".to_owned(), lifetime: OWN_LIFETIME, own: true }
    }

    /// Whether no request but this one can have it.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    /// The record's key.
    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    /// The same, kept for another while: for calls so frequent that their records would crowd the memory of Redis.
    pub(super) fn kept_for(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }
}

/// The key of a caller's record.
pub(super) fn record_key(name: &[u8; 32]) -> Vec<u8> {
    format!("collective:idempotency:{}", hexadecimal(name)).into_bytes()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

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
        self.decide_by(self.call(), gateway, deadline).await
    }

    /// The same for what may rightly take long.
    pub(super) async fn decide_slowly(
        &self,
        gateway: &Gateway,
        deadline: Deadline,
    ) -> Result<Decided<Decision>, Failure> {
        self.decide_by(self.call().heavy(), gateway, deadline).await
    }

    async fn decide_by(
        &self,
        call: FunctionCall,
        gateway: &Gateway,
        deadline: Deadline,
    ) -> Result<Decided<Decision>, Failure> {
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
            b"replayed" => self.once.is_some_and(|once| !once.own),
            b"mismatch" => return Err(refused(FailureKind::OtherRequest, attempts)),
            b"settled" => return Err(refused(FailureKind::Settled, attempts)),
            _ => return Err(Failure::unexpected(attempts)),
        };
        match parts.next() {
            Some(Reply::Array(parts)) => Ok(Decided { value: Decision { parts, attempts }, replayed, attempts }),
            _ => Err(Failure::unexpected(attempts)),
        }
    }

    fn call(&self) -> FunctionCall {
        let mut keys = self.keys.to_vec();
        let lifetime = self.once.map_or_else(String::new, |once| once.lifetime.as_millis().to_string());
        let mut arguments: Vec<&[u8]> = Vec::with_capacity(self.arguments.len() + 2);
        arguments.push(self.once.map_or(b"", |once| once.fingerprint.as_bytes()));
        arguments.push(lifetime.as_bytes());
        arguments.extend_from_slice(self.arguments);
        keys.extend(self.once.map(|once| once.record.as_slice()));
        let class = if self.once.is_some() { Class::Idempotent } else { self.class };
        FunctionCall::new(self.function, &keys, &arguments, class)
    }
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
