//! `SCAN … WITHTYPE`: the hosted service answers each key with its type behind it; Redis knows no such option.
//!
//! The word is taken off the command, and the types of all keys found are asked in one more round trip (in batches, where there are many), so the answer is
//! `[cursor, [key, type, key, type, …]]`. Limits: the types are read after the scan (in a transaction: after it), so a key that went
//! away meanwhile has the type `none`.

use crate::redis::catalogue::SCANS_MUCH;
use crate::redis::{Batch, Command, Error, Gateway, HEAVY_COMMANDS, Reply};
use crate::resilience::Deadline;

/// The command without the word, if it stands where an option does; a pattern of that name is a pattern. `COUNT` is a hint, and is
/// brought down to what can be typed in one go: the caller's cursor gets to the rest.
pub(super) fn without_the_word(command: &Command) -> Option<Command> {
    let mut arguments = command.arguments();
    // MATCH, COUNT and TYPE have a value each; what Redis does not know it refuses itself.
    let word = (2..arguments.len()).step_by(2).find(|at| is(arguments[*at], b"WITHTYPE"))?;
    arguments.remove(word);
    for value in (3..arguments.len()).step_by(2) {
        let too_many = str::from_utf8(arguments[value])
            .is_ok_and(|digits| digits.parse().is_ok_and(|count: i64| count > SCANS_MUCH));
        if too_many && is(arguments[value - 1], b"COUNT") {
            arguments[value] = MOST;
        }
    }
    Some(Command::of(&arguments))
}

/// [`SCANS_MUCH`] in digits.
const MOST: &[u8] = b"1000";

/// Redis reads a word up to a zero byte.
fn is(argument: &[u8], word: &[u8]) -> bool {
    argument.split(|byte| *byte == 0).next().is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Puts behind each key in each of these replies the key's type. Replies that are errors stay.
pub(super) async fn add_types(mut scans: Vec<&mut Reply>, gateway: &Gateway, deadline: Deadline) -> Result<(), Error> {
    let mut types = Vec::new();
    {
        let found = scans.iter_mut().filter_map(|scan| keys(scan)).flat_map(|keys| keys.iter());
        let mut found =
            found.filter_map(|key| if let Reply::BulkString(key) = key { Some(key) } else { None }).peekable();
        // One scan fits in one batch; a list of scans asks batch after batch, until its deadline.
        while found.peek().is_some() {
            let mut questions = Batch::default();
            found.by_ref().take(HEAVY_COMMANDS).for_each(|key| questions.push(Command::of(&[b"TYPE", key])));
            types.append(&mut gateway.run_batch(&questions, deadline).await?.reply);
        }
    }
    let mut types = types.into_iter();
    for keys in scans.iter_mut().filter_map(|scan| keys(scan)) {
        let bare = std::mem::take(keys);
        keys.reserve(bare.len() * 2);
        for key in bare {
            let kind = if matches!(key, Reply::BulkString(_)) { types.next() } else { None };
            keys.extend([key, kind.unwrap_or(Reply::Nil)]);
        }
    }
    Ok(())
}

/// What is said in the place of a scan whose types could not be had.
pub(super) fn failure_text(error: &Error) -> String {
    format!("UNAVAILABLE the types of the keys could not be read: {}; nothing was changed by it", error.kind.as_str())
}

/// The keys of a scan's reply.
fn keys(scan: &mut Reply) -> Option<&mut Vec<Reply>> {
    match scan {
        Reply::Array(parts) => match parts.as_mut_slice() {
            [_, Reply::Array(keys)] => Some(keys),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(call: &str) -> Option<String> {
        let words: Vec<&[u8]> = call.split(' ').map(str::as_bytes).collect();
        let command = without_the_word(&Command::of(&words))?;
        Some(String::from_utf8_lossy(&command.arguments().join(&b' ')).into_owned())
    }

    #[test]
    fn the_word_is_taken_off_only_where_an_option_stands() {
        assert_eq!(stripped("scan 0 withtype").as_deref(), Some("scan 0"));
        assert_eq!(stripped("scan 0 match a* WITHTYPE count 5").as_deref(), Some("scan 0 match a* count 5"));
        assert_eq!(stripped("scan 0 match withtype"), None);
        assert_eq!(stripped("scan 0 match withtype withtype").as_deref(), Some("scan 0 match withtype"));
        assert_eq!(stripped("scan 0"), None);
    }

    #[test]
    fn no_scan_brings_more_keys_than_are_typed_in_one_go() {
        assert_eq!(MOST, SCANS_MUCH.to_string().as_bytes());
        let stripped = |call| stripped(call).expect("it has the word");
        assert_eq!(stripped("scan 0 count 1000000 withtype"), "scan 0 count 1000");
        assert_eq!(stripped("scan 0 withtype match 5000 COUNT 1001"), "scan 0 match 5000 COUNT 1000");
        assert_eq!(stripped("scan 0 count 10 withtype count x"), "scan 0 count 10 count x");
    }
}
