//! `SCAN … WITHTYPE`: the hosted service answers each key with its type behind it; Redis knows no such option.
//!
//! The word is taken off the command, and the types of all keys found are asked in one more round trip, so the answer is
//! `[cursor, [key, type, key, type, …]]`. Limits: the types are read after the scan (in a transaction: after it), so a key that went
//! away meanwhile has the type `none`.

use crate::redis::{Batch, Command, Error, Gateway, Reply};
use crate::resilience::Deadline;

/// The command without the word, if it stands where an option does; a pattern of that name is a pattern.
pub(super) fn without_the_word(command: &Command) -> Option<Command> {
    let mut arguments = command.arguments();
    let mut at = 2;
    while let Some(word) = arguments.get(at) {
        if word.eq_ignore_ascii_case(b"WITHTYPE") {
            arguments.remove(at);
            return Some(Command::of(&arguments));
        }
        // MATCH, COUNT and TYPE have a value each; what Redis does not know it refuses itself.
        at += 2;
    }
    None
}

/// Puts behind each key in each of these replies the key's type. Replies that are errors stay.
pub(super) async fn add_types(mut scans: Vec<&mut Reply>, gateway: &Gateway, deadline: Deadline) -> Result<(), Error> {
    let mut questions = Batch::default();
    for key in scans.iter_mut().filter_map(|scan| keys(scan)).flat_map(|keys| keys.iter()) {
        if let Reply::BulkString(key) = key {
            questions.push(Command::of(&[b"TYPE", key]));
        }
    }
    if questions.is_empty() {
        return Ok(());
    }
    let mut types = gateway.run_batch(&questions, deadline).await?.reply.into_iter();
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
}
