//! The bound on the reply to one command: `limits.reply`.
//!
//! The hosted service bounds a command in both directions, and so does this one: a value that somebody let grow for a year must
//! not take this process' memory several times over when it is written as JSON. The command has run when its reply is refused, so
//! the outcome is told: a write was executed. Limits: the reply has been read from Redis by then.

use crate::redis::catalogue::Class;
use crate::redis::{Judge, Outcome, Reply};

/// The text and the outcome for a reply over `limit` bytes; `None` if it may pass.
pub(super) fn refusal(reply: &Reply, judge: Judge, limit: usize) -> Option<(String, Outcome)> {
    let bytes = bytes(reply);
    if bytes <= limit {
        return None;
    }
    let outcome = if judge.spec().class == Class::Read { Outcome::NotExecuted } else { Outcome::Executed };
    let text =
        format!("ERR max request size exceeded. Limit: {limit} bytes, Actual: {bytes} bytes (the command's reply)");
    Some((text, outcome))
}

/// Bytes of all strings in a reply. The driver nests a hundred levels at most.
fn bytes(reply: &Reply) -> usize {
    match reply {
        Reply::BulkString(data) => data.len(),
        Reply::SimpleString(text) => text.len(),
        Reply::Array(items) => items.iter().map(bytes).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Command;

    #[test]
    fn a_reply_at_the_limit_passes_and_one_byte_more_does_not() {
        let reply =
            Reply::Array(vec![Reply::BulkString(vec![b'x'; 6]), Reply::Array(vec![Reply::BulkString(vec![b'y'; 4])])]);
        let judge = Command::of(&[b"MGET", b"a"]).judge();
        assert_eq!(refusal(&reply, judge, 10), None);
        assert_eq!(refusal(&reply, judge, 9).map(|(_, outcome)| outcome), Some(Outcome::NotExecuted));
        let popped = Command::of(&[b"GETDEL", b"a"]).judge();
        assert_eq!(refusal(&reply, popped, 9).map(|(_, outcome)| outcome), Some(Outcome::Executed));
    }
}
