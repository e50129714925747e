//! The bounds on the reply to one command: `limits.reply` bytes, and how deep it may be nested.
//!
//! The hosted service bounds a command in both directions, and so does this one: a value that somebody let grow for a year must
//! not take this process' memory several times over when it is written as JSON. The command has run when its reply is refused, so
//! the outcome is told: a write was executed. Of a reply that is nested too deep the driver could read nothing, so it was cut on its way
//! in (`redis/sanitize.rs`), and is refused here. Limits: the reply has been read from Redis by then.

use crate::redis::catalogue::Class;
use crate::redis::{DEEPEST_REPLY, Judge, Outcome, Reply};

/// The text and the outcome for a reply over `limit` bytes, or nested too deep; `None` if it may pass.
pub(super) fn refusal(reply: &Reply, judge: Judge, limit: usize) -> Option<(String, Outcome)> {
    let Extent { bytes, levels } = extent(reply);
    let text = if bytes > limit {
        format!("ERR max request size exceeded. Limit: {limit} bytes, Actual: {bytes} bytes (the command's reply)")
    } else if levels > DEEPEST_REPLY {
        format!(
            "ERR the command's reply is nested too deep: it may have {DEEPEST_REPLY} levels of arrays. Let it answer flatter"
        )
    } else {
        return None;
    };
    let outcome = if judge.spec().class == Class::Read { Outcome::NotExecuted } else { Outcome::Executed };
    Some((text, outcome))
}

/// How large a reply is.
#[derive(Default)]
struct Extent {
    /// Bytes of all strings in it.
    bytes: usize,
    /// Arrays in arrays.
    levels: usize,
}

/// The driver nests a hundred levels at most.
fn extent(reply: &Reply) -> Extent {
    let flat = |bytes| Extent { bytes, levels: 0 };
    match reply {
        Reply::BulkString(data) => flat(data.len()),
        Reply::SimpleString(text) => flat(text.len()),
        Reply::Array(items) => {
            let inner = items.iter().map(extent).fold(Extent::default(), |sum, item| Extent {
                bytes: sum.bytes + item.bytes,
                levels: sum.levels.max(item.levels),
            });
            Extent { levels: inner.levels + 1, ..inner }
        }
        _ => flat(0),
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

    #[test]
    fn a_reply_nested_as_deep_as_allowed_passes_and_one_level_more_does_not() {
        let deepest = (1..DEEPEST_REPLY).fold(Reply::Array(vec![]), |inner, _| Reply::Array(vec![inner]));
        let judge = Command::of(&[b"EVAL", b"x", b"0"]).judge();
        assert_eq!(refusal(&deepest, judge, 10), None);
        let deeper = Reply::Array(vec![Reply::Nil, deepest]);
        assert_eq!(refusal(&deeper, judge, 10).map(|(_, outcome)| outcome), Some(Outcome::Executed));
    }
}
