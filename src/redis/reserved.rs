//! What of a caller's command reaches for something of the service's own: a key, a pattern of keys, a channel, a function.
//!
//! The service keeps its records in the callers' database and its code beside theirs (D14), so a name is all that parts them. Keys
//! begin with [`RESERVED`], channels too, functions and libraries with [`FUNCTIONS`]; Redis compares names of functions without
//! regard to case, so they are compared so here. Root is a caller like any other.
//! Limits: a script names keys while it runs; its scope is the guard. A library may put a name of ours together while it is loaded,
//! which no look at its code can tell: whoever finds ours taken when it loads its own removes that library
//! (`functions/migrations.rs`). Until then its function stands under our name.

use super::catalogue::{self, Keys, Spec};

/// Prefix of every key the service itself writes into the data database. Callers cannot name keys under it (D14).
pub const RESERVED: &[u8] = b"collective:";

/// Prefix of the service's function libraries and of every function in them; the number of the version follows.
const FUNCTIONS: &[u8] = b"collective_v";

/// What of the service's own a command reaches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It names a key.
    Key,
    /// It looks into keys by a pattern that may become one.
    Pattern,
    /// It publishes to a channel.
    Channel,
    /// It calls, replaces or removes a function.
    Function,
}

/// What this call reaches for, if anything.
pub(super) fn reaches_for(spec: &Spec, arguments: &[&[u8]]) -> Option<Reserved> {
    match spec.keys {
        Keys::None => without_keys(spec, arguments),
        _ => {
            // Where keys cannot be told from the arguments (scripts), the scope is the guard.
            let mut positions = Vec::new();
            let _ = catalogue::key_positions(spec, arguments, &mut positions);
            if positions.iter().any(|at| arguments.get(*at).is_some_and(|key| key.starts_with(RESERVED))) {
                return Some(Reserved::Key);
            }
            with_keys(spec, arguments)
        }
    }
}

fn without_keys(spec: &Spec, arguments: &[&[u8]]) -> Option<Reserved> {
    match spec.name {
        "FUNCTION|LOAD" => arguments.last().is_some_and(|source| may_be_ours(source)).then_some(Reserved::Function),
        "FUNCTION|DELETE" => arguments.get(2).is_some_and(|name| is_ours(name)).then_some(Reserved::Function),
        _ => {
            let mut positions = Vec::new();
            let _ = catalogue::channel_positions(spec, arguments, &mut positions);
            let ours = positions.iter().any(|at| arguments.get(*at).is_some_and(|name| name.starts_with(RESERVED)));
            ours.then_some(Reserved::Channel)
        }
    }
}

fn with_keys(spec: &Spec, arguments: &[&[u8]]) -> Option<Reserved> {
    match spec.name {
        "FCALL" | "FCALL_RO" => arguments.get(1).is_some_and(|name| is_ours(name)).then_some(Reserved::Function),
        "SORT" | "SORT_RO" => {
            let mut ours = false;
            catalogue::sort_patterns(arguments, &mut |pattern| ours |= may_become_ours(pattern));
            ours.then_some(Reserved::Pattern)
        }
        _ => None,
    }
}

/// Whether a pattern may stand for a key of ours: Redis puts an element in the place of the first `*`, so what is in front of it
/// is what all those keys begin with. Without a star it stands for no key.
fn may_become_ours(pattern: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else { return false };
    let beginning = &pattern[..star];
    beginning.starts_with(RESERVED) || RESERVED.starts_with(beginning)
}

fn is_ours(name: &[u8]) -> bool {
    let Some((start, rest)) = name.split_at_checked(FUNCTIONS.len()) else { return false };
    rest.first().is_some_and(u8::is_ascii_digit) && start.eq_ignore_ascii_case(FUNCTIONS)
}

/// A library of that name, or one that registers functions under ours: either needs the word somewhere. In its first line Redis
/// decodes what is quoted, so there a name can be written that nobody sees; no library's name needs it.
fn may_be_ours(source: &[u8]) -> bool {
    let first_line = source.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first_line.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\'))
        || source.windows(FUNCTIONS.len() + 1).any(is_ours)
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;

    fn reached(call: &[&str]) -> Option<Reserved> {
        let command = Command::of(&call.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        reaches_for(command.spec(), &command.arguments())
    }

    fn sorted_by(pattern: &str) -> Option<Reserved> {
        reached(&["SORT", "l", "LIMIT", "0", "1", "BY", "w_*", "GET", pattern])
    }

    #[test]
    fn a_pattern_is_ours_when_its_beginning_leads_to_our_keys() {
        for pattern in
            ["*", "c*", "collective:*", "collective:lease:*->token", "collective*x*", "*->x", "collective:x*"]
        {
            assert_eq!(sorted_by(pattern), Some(Reserved::Pattern), "{pattern}");
            assert_eq!(reached(&["sort_ro", "l", "by", pattern]), Some(Reserved::Pattern), "{pattern}");
        }
        for pattern in ["#", "w_*", "colt*", "Collective:*", "collective:x", "collectives*", "x*collective:*"] {
            assert_eq!(sorted_by(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn keys_channels_and_functions_are_told_apart() {
        assert_eq!(reached(&["GET", "collective:x"]), Some(Reserved::Key));
        assert_eq!(reached(&["EVAL", "x", "1", "collective:x"]), Some(Reserved::Key));
        assert_eq!(reached(&["SORT", "l", "GET", "c*", "STORE", "collective:x"]), Some(Reserved::Key));
        for publish in ["publish", "SPUBLISH"] {
            assert_eq!(reached(&[publish, "collective:x", "m"]), Some(Reserved::Channel));
            assert_eq!(reached(&[publish, "collective", "collective:x"]), None);
        }
        for call in [
            &["FUNCTION", "DELETE", "collective_v1"][..],
            &["FUNCTION", "LOAD", "#!lua name=Collective_v9\n"],
            &["function", "load", "replace", "#!lua name=a\nredis.register_function('COLLECTIVE_V1_x', f)"],
            // Redis decodes quoted words of the first line.
            &["FUNCTION", "LOAD", "REPLACE", "#!lua name=\"\\x63ollective_v1\"\nredis.register_function('x', f)"],
            &["FUNCTION", "LOAD", "#!lua \"name=\\x63ollective_v1\""],
            &["FUNCTION", "LOAD", "#!lua name='mine'\n"],
            &["FCALL", "collective_v1_command", "0"],
            &["fcall_ro", "COLLECTIVE_v1_command", "0"],
        ] {
            assert_eq!(reached(call), Some(Reserved::Function), "{call:?}");
        }
        for call in [
            &["FUNCTION", "DELETE", "collective"][..],
            &["FUNCTION", "LOAD", "#!lua name=collector\n"],
            &["FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('mine', function() return \"\\n\" end)"],
            &["FUNCTION", "LOAD", "#!lua name=collective_votes\nredis.register_function('collective_vote', f)"],
            &["FUNCTION", "DELETE", "collective_votes"],
            &["FCALL", "collective_votes", "0"],
            &["FCALL", "mine", "0", "collective_v1"],
            &["SET", "collective_v1", "x"],
            &["PING", "collective:x"],
        ] {
            assert_eq!(reached(call), None, "{call:?}");
        }
    }
}
