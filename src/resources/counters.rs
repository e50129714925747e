//! Counters: one integer string each, exact over the whole signed 64-bit range.
//!
//! `INCRBY` answers with the exact integer; no script and no floating point is on the way. An increment is not idempotent: after
//! an ambiguous end it is never sent again, the caller is told `unknown` (D3).
//! Limits: bounds, `on_limit`, lifetimes and idempotency keys are not built yet.

use super::{Failure, FailureKind, Found, Namespace};
use crate::redis::catalogue::Class;
use crate::redis::{Command, Gateway, Reply};
use crate::resilience::Deadline;

/// Counters of one name space.
pub struct Counters<'a> {
    gateway: &'a Gateway,
    names: &'a Namespace,
}

impl<'a> Counters<'a> {
    /// Counters of `names`, reached through `gateway`.
    pub fn new(gateway: &'a Gateway, names: &'a Namespace) -> Self {
        Self { gateway, names }
    }

    /// Adds `by` and returns the new value. A counter that does not exist starts at 0.
    pub async fn increment(&self, name: &[u8], by: i64, deadline: Deadline) -> Result<i64, Failure> {
        let command = Command::of(&[b"INCRBY", self.names.key(name)?, by.to_string().as_bytes()]);
        let answer = self.gateway.run(&command, deadline).await?;
        match answer.reply {
            Reply::Int(value) => Ok(value),
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }

    /// The value; nothing when there is no such counter.
    pub async fn read(&self, name: &[u8], deadline: Deadline) -> Result<Found<i64>, Failure> {
        let answer = self.gateway.run(&Command::of(&[b"GET", self.names.key(name)?]), deadline).await?;
        match answer.reply {
            Reply::Nil => Ok(Found { value: None, attempts: answer.attempts }),
            Reply::BulkString(text) => match str::from_utf8(&text).ok().and_then(|text| text.parse().ok()) {
                Some(value) => Ok(Found { value: Some(value), attempts: answer.attempts }),
                None => Err(Failure { attempts: answer.attempts, ..Failure::before_sending(FailureKind::WrongType) }),
            },
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }

    /// Removes the counter; fine if there is none. A string that is no integer is still a string: it goes as well.
    pub async fn delete(&self, name: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let command = Command::of(&[b"GETDEL", self.names.key(name)?]).with_class(Class::Idempotent);
        let answer = self.gateway.run(&command, deadline).await?;
        match answer.reply {
            Reply::Nil | Reply::BulkString(_) => Ok(()),
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }
}
