//! Keys: plain Redis strings with a strong content tag.
//!
//! `SET … GET` and `GETDEL` instead of `SET` and `DEL`: both refuse a key of another type and leave it untouched, and the first
//! tells whether the key was created, all in one atomic command. To this resource's callers the replies are stable (a `PUT`
//! ends with the content in place, a `DELETE` with the key gone), so both are retried as idempotent, behind a fence.
//! Limits: after a retried `PUT` "created" may be told as "replaced"; both send the old value over the wire between Redis and
//! us. Conditional writes are not built yet.

use std::time::Duration;

use sha1::{Digest, Sha1};

use super::{Failure, Found, Namespace};
use crate::redis::catalogue::Class;
use crate::redis::{Batch, Command, CommandBuilder, Gateway, Reply};
use crate::resilience::Deadline;

/// Keys of one name space.
pub struct Keys<'a> {
    gateway: &'a Gateway,
    names: &'a Namespace,
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

    /// With its quotes, as the header has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a `PUT` did.
#[derive(Debug)]
pub struct Written {
    /// Tag of the new content.
    pub etag: ETag,
    /// True if there was no such key before.
    pub created: bool,
}

/// What is known of a key without its content.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Tag of the content.
    pub etag: ETag,
    /// Length of the content in bytes.
    pub length: usize,
    /// Remaining lifetime; `None` = for ever.
    pub ttl: Option<Duration>,
}

impl<'a> Keys<'a> {
    /// Keys of `names`, reached through `gateway`.
    pub fn new(gateway: &'a Gateway, names: &'a Namespace) -> Self {
        Self { gateway, names }
    }

    /// Stores `content`, for ever or for `ttl`, whatever was there before (a string, or nothing).
    pub async fn put(
        &self,
        name: &[u8],
        content: &[u8],
        ttl: Option<Duration>,
        deadline: Deadline,
    ) -> Result<Written, Failure> {
        let key = self.names.key(name)?;
        let mut set = CommandBuilder::with_capacity(6, key.len() + content.len() + 32);
        for argument in [b"SET", key, content, b"GET"] {
            set.push(argument);
        }
        if let Some(ttl) = ttl {
            set.push(b"PX");
            set.push(ttl.as_millis().to_string().as_bytes());
        }
        let answer = self.gateway.run(&set.finish().with_class(Class::Idempotent), deadline).await?;
        match answer.reply {
            Reply::Nil => Ok(Written { etag: ETag::of(content), created: true }),
            Reply::BulkString(_) => Ok(Written { etag: ETag::of(content), created: false }),
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

    /// Tag, length and remaining lifetime; nothing when there is no such key.
    pub async fn inspect(&self, name: &[u8], deadline: Deadline) -> Result<Found<Facts>, Failure> {
        let key = self.names.key(name)?;
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
            // -1: no expiry; -2: it expired between the two questions, which is as good as expiring just now.
            Reply::Int(millis) => u64::try_from(*millis).ok().map(Duration::from_millis),
            other => return Err(Failure::of_reply(other, answer.attempts)),
        };
        let facts = Facts { etag: ETag::of(content), length: content.len(), ttl };
        Ok(Found { value: Some(facts), attempts: answer.attempts })
    }

    /// Removes the key; fine if there is none.
    pub async fn delete(&self, name: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let command = Command::of(&[b"GETDEL", self.names.key(name)?]).with_class(Class::Idempotent);
        let answer = self.gateway.run(&command, deadline).await?;
        match answer.reply {
            Reply::Nil | Reply::BulkString(_) => Ok(()),
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_the_sha1_of_the_content() {
        assert_eq!(ETag::of(b"hello").as_str(), "\"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\"");
    }
}
