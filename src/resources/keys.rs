//! Keys: plain Redis strings with a strong content tag.
//!
//! A plain write is `SET … GET` or `GETDEL` instead of `SET` and `DEL`: both refuse a key of another type and leave it untouched, and
//! the first tells whether the key was created, all in one atomic command. To this resource's callers the replies are stable (a
//! `PUT` ends with the content in place, a `DELETE` with the key gone), so both are retried as idempotent, behind a fence.
//!
//! A write under a condition or a fencing token is one function (`migrations/0006_keys.lua`) under a record of its own, so it is
//! sent again after an ambiguous end and learns what Redis decided the first time: nobody is told that his own write came too late.
//! Limits: after a retried plain `PUT` "created" may be told as "replaced", and the old value comes over the wire; a comparison
//! costs Redis the SHA-1 of what is stored.

use std::time::Duration;

use sha1::{Digest, Sha1};

use super::atomic::{Decided, Decision, Step};
use super::conditions::words;
use super::once::Once;
use super::{Conditions, Failure, FailureKind, Fence, Found, Namespace, fenced};
use crate::redis::catalogue::Class;
use crate::redis::functions::{CallError, FunctionCall};
use crate::redis::{Batch, Command, CommandBuilder, Gateway, Reply};
use crate::resilience::Deadline;

/// Keys of one name space.
pub struct Keys<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) names: &'a Namespace,
}

/// A strong entity tag: the SHA-1 of the content in hexadecimal, in quotes. The same content has the same tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// The tag of `content`.
    pub fn of(content: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(42);
        text.push('"');
        for byte in Sha1::digest(content) {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        text.push('"');
        Self(text)
    }

    /// The tag with these digits, if some content can have it: 40 of them, lower case.
    pub fn of_digits(digits: &[u8]) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let text = std::str::from_utf8(digits).ok().filter(|_| digits.len() == 40 && digits.iter().all(is_digit))?;
        Some(Self(format!("\"{text}\"")))
    }

    /// With its quotes, as the header has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without its quotes.
    pub fn digits(&self) -> &str {
        self.0.trim_matches('"')
    }
}

/// What a `PUT` does to the key's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It lives for ever, also if it was to end before.
    Forever,
    /// It lives this long from now on.
    For(Duration),
    /// It keeps the lifetime it has; a new key lives for ever.
    Kept,
}

/// What a write is bound to.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Conditions on what is stored.
    pub conditions: Conditions,
    /// The lease it is made under.
    pub fence: Option<Fence>,
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It was made.
    Applied(T),
    /// A condition does not hold: nothing was changed. The tag of what is there, if there is anything.
    Unmet(Option<ETag>),
}

/// What a `PUT` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Tag of the new content.
    pub etag: ETag,
    /// True if there was no such key before.
    pub created: bool,
}

/// What is known of a key without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Tag of the content.
    pub etag: ETag,
    /// Length of the content in bytes.
    pub length: usize,
    /// Remaining lifetime; `None` = for ever.
    pub ttl: Option<Duration>,
}

impl<T> Verdict<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Self::Applied(done) => Verdict::Applied(change(done)),
            Self::Unmet(tag) => Verdict::Unmet(tag),
        }
    }
}

impl Guard {
    fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.fence.is_none()
    }
}

impl<'a> Keys<'a> {
    /// Keys of `names`, reached through `gateway`.
    pub fn new(gateway: &'a Gateway, names: &'a Namespace) -> Self {
        Self { gateway, names }
    }

    /// Stores `content` in place of what was there before (a string, or nothing), if `guard` allows it.
    pub async fn put(
        &self,
        name: &[u8],
        content: &[u8],
        lifetime: Lifetime,
        guard: &Guard,
        deadline: Deadline,
    ) -> Result<Decided<Verdict<Written>>, Failure> {
        let key = self.names.key(name)?;
        // A lifetime kept twice is not kept once: in between the key may have ended, and would begin again for ever.
        let verdict = if guard.is_empty() && lifetime != Lifetime::Kept {
            self.set(key, content, lifetime, deadline).await?
        } else {
            self.guarded("key_put", key, guard, &[content, &lifetime.word()], deadline).await?
        };
        let written = |done| Written { etag: ETag::of(content), created: done == Done::Created };
        Ok(verdict.map(|verdict| verdict.map(written)))
    }

    async fn set(
        &self,
        key: &[u8],
        content: &[u8],
        lifetime: Lifetime,
        deadline: Deadline,
    ) -> Result<Decided<Verdict<Done>>, Failure> {
        let mut set = CommandBuilder::with_capacity(6, key.len() + content.len() + 32);
        for argument in [b"SET", key, content, b"GET"] {
            set.push(argument);
        }
        if let Lifetime::For(_) = lifetime {
            set.push(b"PX");
            set.push(&lifetime.word());
        }
        let answer = self.gateway.run(&set.finish().with_class(Class::Idempotent), deadline).await?;
        match answer.reply {
            Reply::Nil => Ok(plain(Done::Created, answer.attempts)),
            Reply::BulkString(_) => Ok(plain(Done::Replaced, answer.attempts)),
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }

    /// The content; nothing when there is no such key.
    pub async fn get(&self, name: &[u8], deadline: Deadline) -> Result<Found<Vec<u8>>, Failure> {
        let answer = self.gateway.run(&Command::of(&[b"GET", self.names.key(name)?]), deadline).await?;
        match answer.reply {
            Reply::Nil => Ok(Found { value: None, attempts: answer.attempts }),
            Reply::BulkString(content) => Ok(Found { value: Some(content), attempts: answer.attempts }),
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }

    /// Tag, length and remaining lifetime; nothing when there is no such key. The content stays in Redis where functions are.
    pub async fn inspect(&self, name: &[u8], deadline: Deadline) -> Result<Found<Facts>, Failure> {
        let key = self.names.key(name)?;
        let call = FunctionCall::new("key_facts", &[key], &[], Class::Read);
        let found = match self.gateway.call(&call, deadline).await {
            Ok(answer) => facts(answer.reply, answer.attempts),
            Err(CallError::NotInPlace { .. }) => return self.inspect_by_content(key, deadline).await,
            Err(CallError::Gateway(error)) => Err(error.into()),
        };
        match found {
            // Our user may not call functions, but perhaps read.
            Err(Failure { kind: FailureKind::Forbidden, .. }) => self.inspect_by_content(key, deadline).await,
            found => found,
        }
    }

    async fn inspect_by_content(&self, key: &[u8], deadline: Deadline) -> Result<Found<Facts>, Failure> {
        let mut questions = Batch::with_capacity(2);
        questions.push(Command::of(&[b"GET", key]));
        questions.push(Command::of(&[b"PTTL", key]));
        let answer = self.gateway.run_batch(&questions, deadline).await?;
        let [content, ttl] = answer.reply.as_slice() else { return Err(Failure::unexpected(answer.attempts)) };
        let content = match content {
            Reply::Nil => return Ok(Found { value: None, attempts: answer.attempts }),
            Reply::BulkString(content) => content,
            other => return Err(Failure::of_reply(other, answer.attempts)),
        };
        let ttl = match ttl {
            // -2: it expired between the two questions, which is as good as expiring just now.
            Reply::Int(millis) => lifetime_left(*millis),
            other => return Err(Failure::of_reply(other, answer.attempts)),
        };
        let facts = Facts { etag: ETag::of(content), length: content.len(), ttl };
        Ok(Found { value: Some(facts), attempts: answer.attempts })
    }

    /// Removes the key if `guard` allows it; fine if there is none.
    pub async fn delete(
        &self,
        name: &[u8],
        guard: &Guard,
        deadline: Deadline,
    ) -> Result<Decided<Verdict<()>>, Failure> {
        let key = self.names.key(name)?;
        if !guard.is_empty() {
            let verdict = self.guarded("key_delete", key, guard, &[], deadline).await?;
            return Ok(verdict.map(|verdict| verdict.map(|_| ())));
        }
        let command = Command::of(&[b"GETDEL", key]).with_class(Class::Idempotent);
        let answer = self.gateway.run(&command, deadline).await?;
        match answer.reply {
            Reply::Nil | Reply::BulkString(_) => Ok(plain((), answer.attempts)),
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }

    /// A write that Redis decides about, and decides once however often it has to be sent.
    async fn guarded(
        &self,
        function: &'static str,
        key: &[u8],
        guard: &Guard,
        rest: &[&[u8]],
        deadline: Deadline,
    ) -> Result<Decided<Verdict<Done>>, Failure> {
        let fence = guard.fence.as_ref();
        let if_match = words(guard.conditions.if_match.as_ref());
        let if_none_match = words(guard.conditions.if_none_match.as_ref());
        let mut arguments = vec![fenced::token(fence), if_match.as_bytes(), if_none_match.as_bytes()];
        arguments.extend_from_slice(rest);
        let (keys, once) = (fenced::keys(key, fence), Once::for_this_call());
        let (class, once) = (Class::Conditional, Some(&once));
        let call = Step { function, keys: &keys, arguments: &arguments, class, once };
        let Decided { value: decision, replayed, attempts } = call.decide(self.gateway, deadline).await?;
        Ok(Decided { value: verdict(&decision)?, replayed, attempts })
    }
}

/// What a write did to the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Created,
    Replaced,
    Gone,
}

impl Lifetime {
    /// As the functions and `PX` read it.
    fn word(self) -> Vec<u8> {
        match self {
            Self::Forever => Vec::new(),
            Self::For(ttl) => ttl.as_millis().to_string().into_bytes(),
            Self::Kept => b"keep".to_vec(),
        }
    }
}

fn plain<T>(done: T, attempts: u32) -> Decided<Verdict<T>> {
    Decided { value: Verdict::Applied(done), replayed: false, attempts }
}

fn verdict(decision: &Decision) -> Result<Verdict<Done>, Failure> {
    match decision.word() {
        b"created" => Ok(Verdict::Applied(Done::Created)),
        b"replaced" => Ok(Verdict::Applied(Done::Replaced)),
        b"gone" => Ok(Verdict::Applied(Done::Gone)),
        b"unmet" => Ok(Verdict::Unmet(decision.bytes(1).and_then(ETag::of_digits))),
        b"type" => Err(refused(decision, FailureKind::WrongType)),
        b"fenced" => Err(refused(decision, FailureKind::Fenced)),
        _ => Err(decision.unreadable()),
    }
}

fn refused(decision: &Decision, kind: FailureKind) -> Failure {
    Failure { attempts: decision.attempts(), ..Failure::before_sending(kind) }
}

/// Reads the answer of `key_facts`.
fn facts(reply: Reply, attempts: u32) -> Result<Found<Facts>, Failure> {
    let Reply::Array(parts) = reply else { return Err(Failure::of_reply(&reply, attempts)) };
    let part = |at: usize| match parts.get(at) {
        Some(Reply::BulkString(bytes)) => bytes.as_slice(),
        _ => b"",
    };
    let number = |at| std::str::from_utf8(part(at)).ok().and_then(|text| text.parse::<i64>().ok());
    let value = match part(0) {
        b"missing" => None,
        b"type" => return Err(Failure { attempts, ..Failure::before_sending(FailureKind::WrongType) }),
        b"facts" => match (ETag::of_digits(part(1)), number(2), number(3)) {
            (Some(etag), Some(length), Some(left)) => {
                Some(Facts { etag, length: usize::try_from(length).unwrap_or_default(), ttl: lifetime_left(left) })
            }
            _ => return Err(Failure::unexpected(attempts)),
        },
        _ => return Err(Failure::unexpected(attempts)),
    };
    Ok(Found { value, attempts })
}

/// What `PTTL` says: negative is for ever.
fn lifetime_left(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_the_sha1_of_the_content() {
        assert_eq!(ETag::of(b"hello").as_str(), "\"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\"");
    }

    #[test]
    fn a_tag_that_no_content_can_have_is_none() {
        let digits = ETag::of(b"hello").digits().to_owned();
        assert_eq!(ETag::of_digits(digits.as_bytes()), Some(ETag::of(b"hello")));
        for bad in ["", &digits[1..], &format!("{digits}0"), &digits.to_uppercase(), &digits.replace('a', "g")] {
            assert_eq!(ETag::of_digits(bad.as_bytes()), None, "{bad}");
        }
    }
}
