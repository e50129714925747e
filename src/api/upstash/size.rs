//! The bounds on what is told of the replies to one request: `limits.reply`, and how deep one may be nested.
//!
//! Measured is the JSON that would be written: a zero byte takes six bytes there, and a list of harmless replies adds up. Whatever is
//! over is not written at all, so that nobody's values take this process' memory several times over. The command has run when its
//! reply is refused, so the outcome is told: a write was executed. In a list the sum bounds what reads are told, which can be asked for
//! again; what another command answered (`LPOP`) may be nowhere else any more, so each of those has the whole bound for itself. Of
//! a reply that is nested too deep the driver could read nothing, so it was cut on its way in (`redis/sanitize.rs`), and is refused here.
//! Limits: the reply has been read from Redis by then; what a list of pops is told in all is bounded by what it may pop.

use super::reply::{Encoding, written_bytes};
use crate::redis::catalogue::Class;
use crate::redis::{DEEPEST_REPLY, Outcome, Reply};

/// The text and the outcome for a reply over `limit` bytes, or nested too deep; `None` if it may pass.
pub(super) fn refusal(reply: &Reply, class: Class, encoding: Encoding, limit: usize) -> Option<(String, Outcome)> {
    if levels(reply) > DEEPEST_REPLY {
        return Some((too_deep(), outcome(class)));
    }
    let bytes = over(reply, encoding, limit)?;
    let text =
        format!("ERR max request size exceeded. Limit: {limit} bytes, Actual: {bytes} bytes (the command's reply)");
    Some((text, outcome(class)))
}

/// The same for a reply in a list, of whose `limit` bytes `taken` are taken by the replies before it. They count for a read alone.
pub(super) fn refusal_in_list(
    reply: &Reply,
    class: Class,
    encoding: Encoding,
    limit: usize,
    taken: usize,
) -> Option<(String, Outcome)> {
    if levels(reply) > DEEPEST_REPLY {
        return Some((too_deep(), outcome(class)));
    }
    let taken = if class == Class::Read { taken } else { 0 };
    let bytes = over(reply, encoding, limit.saturating_sub(taken))?;
    if bytes > limit {
        return refusal(reply, class, encoding, limit);
    }
    let text = format!(
        "ERR max request size exceeded. Limit: {limit} bytes for all replies of a request, Actual: {bytes} bytes (the command's \
         reply) after {taken} bytes of those before it: ask for it in a request of its own"
    );
    Some((text, outcome(class)))
}

fn too_deep() -> String {
    format!(
        "ERR the command's reply is nested too deep: it may have {DEEPEST_REPLY} levels of arrays. Let it answer flatter"
    )
}

/// Arrays in arrays. The driver nests a hundred levels at most.
fn levels(reply: &Reply) -> usize {
    match reply {
        Reply::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// The written size of a reply that has no room in `room` bytes.
fn over(reply: &Reply, encoding: Encoding, room: usize) -> Option<usize> {
    // Nearly every reply is far below: only for one that may be over is each byte looked at.
    if at_most(reply) <= room {
        return None;
    }
    Some(written_bytes(reply, encoding)).filter(|bytes| *bytes > room)
}

fn outcome(class: Class) -> Outcome {
    if class == Class::Read { Outcome::NotExecuted } else { Outcome::Executed }
}

/// No reply is written with more bytes than this. The driver nests a hundred levels at most.
fn at_most(reply: &Reply) -> usize {
    /// The longest escape of a byte.
    const ESCAPE: usize = 6;
    /// Around a string or in place of a number; longer than both.
    const FRAME: usize = 32;
    let strings = match reply {
        Reply::BulkString(data) => ESCAPE * data.len(),
        Reply::SimpleString(text) => ESCAPE * text.len(),
        Reply::Array(items) => items.iter().map(at_most).sum(),
        // Error lines are short, and RESP2 has nothing else: other kinds are measured.
        Reply::Nil | Reply::Int(_) | Reply::Okay => 0,
        _ => return usize::MAX / 2,
    };
    strings.saturating_add(FRAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::upstash::reply::write_result;
    use crate::redis::Command;

    #[test]
    fn a_reply_at_the_limit_passes_and_one_byte_more_does_not() {
        let reply =
            Reply::Array(vec![Reply::BulkString(vec![0; 6]), Reply::Array(vec![Reply::BulkString(vec![b'y'; 4])])]);
        let class = Command::of(&[b"MGET", b"a"]).class();
        for encoding in [Encoding::Text, Encoding::Base64] {
            let mut out = Vec::new();
            write_result(&mut out, &reply, encoding);
            assert_eq!(refusal(&reply, class, encoding, out.len()), None);
            let told = refusal(&reply, class, encoding, out.len() - 1).map(|(_, outcome)| outcome);
            assert_eq!(told, Some(Outcome::NotExecuted));
        }
        let popped = Command::of(&[b"GETDEL", b"a"]).class();
        let told = refusal(&reply, popped, Encoding::Text, 9).map(|(_, outcome)| outcome);
        assert_eq!(told, Some(Outcome::Executed));
    }

    #[test]
    fn in_a_list_what_was_told_before_counts() {
        let reply = Reply::BulkString(vec![b'x'; 10]);
        let class = Command::of(&[b"GET", b"a"]).class();
        let bytes = br#"{"result":"xxxxxxxxxx"}"#.len();
        assert_eq!(refusal_in_list(&reply, class, Encoding::Text, 100, 100 - bytes), None);
        let (text, outcome) = refusal_in_list(&reply, class, Encoding::Text, 100, 101 - bytes).expect("refused");
        assert!(text.contains("all replies") && outcome == Outcome::NotExecuted, "{text}");
    }

    #[test]
    fn what_a_list_took_away_has_the_whole_bound_for_itself() {
        let reply = Reply::BulkString(vec![b'x'; 10]);
        let bytes = br#"{"result":"xxxxxxxxxx"}"#.len();
        for call in [&[&b"LPOP"[..], b"a"][..], &[b"GETDEL", b"a"], &[b"EVAL", b"x", b"0"]] {
            let class = Command::of(call).class();
            assert_eq!(refusal_in_list(&reply, class, Encoding::Text, bytes, 1000), None);
            let (text, outcome) = refusal_in_list(&reply, class, Encoding::Text, bytes - 1, 0).expect("refused");
            assert!(!text.contains("request of its own") && outcome == Outcome::Executed, "{text}");
        }
    }

    #[test]
    fn the_call_and_not_its_name_says_what_was_done() {
        let reply = Reply::BulkString(vec![b'x'; 10]);
        for (call, outcome) in [
            (&[&b"SORT"[..], b"l"][..], Outcome::NotExecuted),
            (&[b"SORT", b"l", b"STORE", b"d"], Outcome::Executed),
            (&[b"BITFIELD", b"b", b"GET", b"u8", b"0"], Outcome::NotExecuted),
        ] {
            let told = refusal(&reply, Command::of(call).class(), Encoding::Text, 9).map(|(_, outcome)| outcome);
            assert_eq!(told, Some(outcome));
        }
    }

    #[test]
    fn nothing_is_written_with_more_bytes_than_estimated() {
        let strings = [vec![0; 9], vec![0xff; 9], b"\"\\\n".to_vec(), Vec::new()];
        let replies = strings.map(Reply::BulkString).into_iter().chain([Reply::Nil, Reply::Int(i64::MIN), Reply::Okay]);
        let all: Vec<Reply> = replies.collect();
        for reply in all.iter().chain([&Reply::Array(all.clone())]) {
            for encoding in [Encoding::Text, Encoding::Base64] {
                let written = written_bytes(reply, encoding);
                assert!(written <= at_most(reply), "{reply:?}: {written}");
            }
        }
    }

    #[test]
    fn a_reply_nested_as_deep_as_allowed_passes_and_one_level_more_does_not() {
        let deepest = (1..DEEPEST_REPLY).fold(Reply::Array(vec![]), |inner, _| Reply::Array(vec![inner]));
        let class = Command::of(&[b"EVAL", b"x", b"0"]).class();
        assert_eq!(refusal(&deepest, class, Encoding::Text, 10_000), None);
        let deeper = Reply::Array(vec![Reply::Nil, deepest]);
        for told in
            [refusal(&deeper, class, Encoding::Text, 10), refusal_in_list(&deeper, class, Encoding::Text, 10, 9)]
        {
            assert_eq!(told.map(|(_, outcome)| outcome), Some(Outcome::Executed));
        }
    }
}
