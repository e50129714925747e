//! Counters: one integer string each, exact over the whole signed 64-bit range.
//!
//! A plain increment is `INCRBY`, whose answer is exact; bounds, a lifetime or an idempotency key make it one function
//! (`migrations/0002_counters.lua`), which keeps numbers as text. An increment is not idempotent: after an ambiguous end it is
//! sent again only under a record. Limits: a bound is the caller's, not the counter's: it is not stored.

use std::time::Duration;

use super::atomic::{Decided, Decision, Step};
use super::keys::{Guard, Keys};
use super::once::Once;
use super::{Failure, FailureKind, Fence, Found, Namespace, fenced};
use crate::redis::catalogue::Class;
use crate::redis::{Command, Gateway, Reply};
use crate::resilience::Deadline;

/// Counters of one name space.
pub struct Counters<'a> {
    gateway: &'a Gateway,
    names: &'a Namespace,
}

/// One increment.
#[derive(Clone, Debug)]
pub struct Increment {
    /// How much is added.
    pub by: i64,
    /// The least value a step down may lead to.
    pub min: Option<i64>,
    /// The greatest value a step up may lead to.
    pub max: Option<i64>,
    /// What a step beyond a bound does.
    pub on_limit: OnLimit,
    /// Lifetime of a counter that this increment creates.
    pub ttl: Option<Duration>,
    /// The lease it is made under.
    pub fence: Option<Fence>,
}

/// What a step beyond a bound does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// Nothing: the value is kept.
    Refuse,
    /// It stops at the bound.
    Clamp,
}

/// A bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The least value.
    Min,
    /// The greatest value.
    Max,
}

/// What an increment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The step was made.
    Stepped(i64),
    /// The step was cut at its bound.
    Clamped(i64),
    /// The step was refused, and the value kept.
    Refused(Bound, i64),
    /// The step would leave 64 bits; the value was kept.
    OutOfRange,
    /// The name holds something else.
    WrongType,
    /// A newer token of the lease it is made under is known.
    Fenced,
}

impl Counted {
    /// The function's name, under which its decisions are remembered.
    pub const FUNCTION: &'static str = "counter_increment";

    /// Reads a decision of the function.
    pub fn of(decision: &Decision) -> Result<Self, Failure> {
        match decision.word() {
            b"ok" => Ok(Self::Stepped(decision.number(1)?)),
            b"clamped" => Ok(Self::Clamped(decision.number(1)?)),
            b"min" => Ok(Self::Refused(Bound::Min, decision.number(1)?)),
            b"max" => Ok(Self::Refused(Bound::Max, decision.number(1)?)),
            b"overflow" => Ok(Self::OutOfRange),
            b"type" => Ok(Self::WrongType),
            b"fenced" => Ok(Self::Fenced),
            _ => Err(decision.unreadable()),
        }
    }
}

impl<'a> Counters<'a> {
    /// Counters of `names`, reached through `gateway`.
    pub fn new(gateway: &'a Gateway, names: &'a Namespace) -> Self {
        Self { gateway, names }
    }

    /// Takes one step. A counter that does not exist starts at 0.
    pub async fn increment(
        &self,
        name: &[u8],
        step: &Increment,
        once: Option<&Once>,
        deadline: Deadline,
    ) -> Result<Decided<Counted>, Failure> {
        let key = self.names.key(name)?;
        let bounded = step.min.is_some() || step.max.is_some() || step.ttl.is_some();
        let plain = !bounded && step.fence.is_none() && once.is_none();
        if plain { self.add(key, step.by, deadline).await } else { self.step(key, step, once, deadline).await }
    }

    async fn add(&self, key: &[u8], by: i64, deadline: Deadline) -> Result<Decided<Counted>, Failure> {
        let command = Command::of(&[b"INCRBY", key, by.to_string().as_bytes()]);
        let answer = self.gateway.run(&command, deadline).await?;
        let attempts = answer.attempts;
        match answer.reply {
            Reply::Int(value) => Ok(Decided { value: Counted::Stepped(value), replayed: false, attempts }),
            other => Err(Failure::of_reply(&other, attempts)),
        }
    }

    async fn step(
        &self,
        key: &[u8],
        step: &Increment,
        once: Option<&Once>,
        deadline: Deadline,
    ) -> Result<Decided<Counted>, Failure> {
        let text = |bound: Option<i64>| bound.map_or_else(String::new, |bound| bound.to_string());
        let (by, min, max) = (step.by.to_string(), text(step.min), text(step.max));
        let on_limit: &[u8] = if step.on_limit == OnLimit::Clamp { b"clamp" } else { b"refuse" };
        let ttl = step.ttl.map_or_else(String::new, |ttl| ttl.as_millis().to_string());
        let fence = step.fence.as_ref();
        let arguments = [fenced::token(fence), by.as_bytes(), min.as_bytes(), max.as_bytes(), on_limit, ttl.as_bytes()];
        let (keys, class) = (fenced::keys(key, fence), Class::NonIdempotent);
        let call = Step { function: Counted::FUNCTION, keys: &keys, arguments: &arguments, class, once };
        let decided = call.decide(self.gateway, deadline).await?;
        let value = Counted::of(&decided.value)?;
        Ok(decided.map(|_| value))
    }

    /// The value; nothing when there is no such counter.
    pub async fn read(&self, name: &[u8], deadline: Deadline) -> Result<Found<i64>, Failure> {
        let answer = self.gateway.run(&Command::of(&[b"GET", self.names.key(name)?]), deadline).await?;
        match answer.reply {
            Reply::Nil => Ok(Found { value: None, attempts: answer.attempts }),
            Reply::BulkString(text) => match integer(&text) {
                Some(value) => Ok(Found { value: Some(value), attempts: answer.attempts }),
                None => Err(Failure { attempts: answer.attempts, ..Failure::before_sending(FailureKind::WrongType) }),
            },
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }

    /// Removes the counter; fine if there is none. A string that is no integer is still a string: it goes as well.
    pub async fn delete(&self, name: &[u8], fence: Option<Fence>, deadline: Deadline) -> Result<(), Failure> {
        let guard = Guard { fence, ..Guard::default() };
        Keys::new(self.gateway, self.names).delete(name, &guard, deadline).await.map(|_| ())
    }
}

/// An integer as Redis writes and reads it: no plus sign, no leading zero.
fn integer(text: &[u8]) -> Option<i64> {
    let value: i64 = str::from_utf8(text).ok()?.parse().ok()?;
    (value.to_string().as_bytes() == text).then_some(value)
}
