//! Where the hosted service answers otherwise than Redis: a command is sent in another form, or its reply told in another.
//!
//! Commands are recognised by their catalogue row, so a usual command costs a few comparisons and nothing is copied. What is adapted
//! is listed in `docs.rs`, one row each. Limits: whatever is not listed there reaches Redis as it was written, and its answer
//! the caller likewise.

use super::scripts::{self, Scripts};
use super::typed_scan;
use crate::redis::{Command, Reply};

/// A command in the form it is sent in, and what to do with the reply.
pub(super) struct Adapted {
    pub(super) command: Command,
    pub(super) telling: Telling,
}

/// How a reply is told.
#[derive(Debug)]
pub(super) enum Telling {
    /// As Redis gave it.
    Verbatim,
    /// `COPY` of a key onto itself copies nothing: 0, where Redis has an error.
    NothingCopied,
    /// The caller's own name for the script that was loaded in another form.
    ScriptName(String),
    /// `SCAN … WITHTYPE`: each key with its type. Needs a second round trip, see [`typed_scan`].
    TypedScan,
}

/// Redis' answer to `COPY k k`, after its code.
const ONTO_ITSELF: &str = "source and destination objects are the same";

impl Telling {
    /// Changes a reply in place. A typed scan is not told here.
    pub(super) fn tell(&self, reply: &mut Reply) {
        match (self, &*reply) {
            (Self::NothingCopied, Reply::ServerError(error)) if error.details() == Some(ONTO_ITSELF) => {
                *reply = Reply::Int(0);
            }
            (Self::ScriptName(name), Reply::BulkString(_) | Reply::SimpleString(_)) => {
                *reply = Reply::BulkString(name.clone().into_bytes());
            }
            _ => {}
        }
    }
}

/// The form in which a caller's command is sent.
pub(super) fn adapt(command: Command, scripts: &Scripts) -> Adapted {
    match command.spec().name {
        "COPY" => Adapted { command, telling: Telling::NothingCopied },
        // There is one logical database for callers, and ours is none of theirs (D14).
        "FLUSHALL" => verbatim(with(&command, 0, b"FLUSHDB")),
        "SCAN" => match typed_scan::without_the_word(&command) {
            Some(command) => Adapted { command, telling: Telling::TypedScan },
            None => verbatim(command),
        },
        "EVAL" | "EVAL_RO" => script(command, 1, scripts, false),
        "SCRIPT|LOAD" => script(command, 2, scripts, true),
        "EVALSHA" | "EVALSHA_RO" => verbatim(names(command, 1..2, scripts)),
        "SCRIPT|EXISTS" => verbatim(names(command, 2..usize::MAX, scripts)),
        "FUNCTION|LOAD" => verbatim(library(command)),
        _ => verbatim(command),
    }
}

fn verbatim(command: Command) -> Adapted {
    Adapted { command, telling: Telling::Verbatim }
}

/// The source of a script without the flags Redis does not know.
fn script(command: Command, at: usize, scripts: &Scripts, loads: bool) -> Adapted {
    let rewritten = command.arguments().get(at).and_then(|source| scripts.rewrite(source));
    let Some(rewritten) = rewritten else { return verbatim(command) };
    let telling = if loads { Telling::ScriptName(rewritten.original_name) } else { Telling::Verbatim };
    Adapted { command: with(&command, at, &rewritten.source), telling }
}

/// The names under which Redis knows scripts that were rewritten. The command is built anew once, however many there are: a caller
/// may name as many as fit into a body.
fn names(command: Command, range: std::ops::Range<usize>, scripts: &Scripts) -> Command {
    if scripts.is_empty() {
        return command;
    }
    let arguments = command.arguments();
    let sent: Vec<Option<String>> =
        (0..arguments.len()).map(|at| range.contains(&at).then(|| scripts.sent_as(arguments[at])).flatten()).collect();
    if sent.iter().all(Option::is_none) {
        drop(arguments);
        return command;
    }
    let renamed = arguments.iter().zip(&sent).map(|(argument, name)| name.as_ref().map_or(*argument, String::as_bytes));
    Command::of(&renamed.collect::<Vec<_>>())
}

/// The source of a function library without the flags Redis does not know.
fn library(command: Command) -> Command {
    let arguments = command.arguments();
    let last = arguments.len().saturating_sub(1);
    match arguments.get(last).and_then(|source| scripts::without_foreign_function_flags(source)) {
        Some(source) => with(&command, last, &source),
        None => {
            drop(arguments);
            command
        }
    }
}

/// The command with another argument at `at`.
fn with(command: &Command, at: usize, argument: &[u8]) -> Command {
    let mut arguments = command.arguments();
    if let Some(place) = arguments.get_mut(at) {
        *place = argument;
    }
    Command::of(&arguments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(call: &[&str]) -> Vec<String> {
        let words: Vec<&[u8]> = call.iter().map(|word| word.as_bytes()).collect();
        let adapted = adapt(Command::of(&words), &Scripts::default());
        adapted.command.arguments().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn everything_is_flushed_within_the_callers_database() {
        assert_eq!(sent(&["flushall", "async"]), ["FLUSHDB", "async"]);
    }

    #[test]
    fn most_commands_are_sent_as_they_are() {
        for call in [&["get", "flushall"][..], &["EVAL", "return 1", "0"], &["scan", "0", "match", "withtype"]] {
            assert_eq!(sent(call), call);
        }
    }

    proptest! {
        #[test]
        fn every_name_of_a_rewritten_script_is_replaced_and_no_other(
            asked in prop::collection::vec(0_usize..4, 0..40),
            alone in any::<bool>(),
        ) {
            let scripts = Scripts::default();
            let source = |number: usize| format!("#!lua flags=allow-key-locking\nreturn {number}");
            let known: Vec<String> =
                (0..3).map(|number| scripts.rewrite(source(number).as_bytes()).expect("a flag").original_name).collect();
            let name = |choice: usize| known.get(choice).map_or("0123456789012345678901234567890123456789", String::as_str);
            let words: Vec<&str> = match alone {
                true => ["EVALSHA", name(0), "1"].into_iter().chain(asked.iter().map(|choice| name(*choice))).collect(),
                false => ["script", "exists"].into_iter().chain(asked.iter().map(|choice| name(*choice))).collect(),
            };
            let named = if alone { 1..2 } else { 2..words.len() };
            let expected: Vec<String> = words.iter().enumerate().map(|(at, word)| {
                let sent = scripts.sent_as(word.as_bytes()).filter(|_| named.contains(&at));
                sent.unwrap_or_else(|| (*word).to_owned())
            }).collect();
            let command = Command::of(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
            let adapted = adapt(command, &scripts).command;
            let sent: Vec<String> =
                adapted.arguments().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            prop_assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_library_is_rewritten_wherever_it_stands() {
        let source =
            "#!lua name=l\nredis.register_function{function_name='f', callback=f, flags={'allow-key-locking'}}";
        let clean = "#!lua name=l\nredis.register_function{function_name='f', callback=f, flags={}}";
        assert_eq!(sent(&["function", "load", source]), ["function", "load", clean]);
        assert_eq!(sent(&["function", "load", "replace", source]), ["function", "load", "replace", clean]);
    }
}
