//! Any single command as an effect that happens once, under a caller's record.
//!
//! The command runs inside a function, together with its record. Lua would round integers beyond 2^53, so those that count read
//! the exact number back as text. Limits: commands whose keys stand at fixed places and whose reply a function can pass on
//! ([`may_run_once`]), of at most [`WORDS`] words; everything else is refused before it is sent.

use super::atomic::{Decided, Decision, Step};
use super::once::Once;
use super::{Failure, FailureKind};
use crate::redis::catalogue::{self, Class, Keys, Spec};
use crate::redis::{self, Command, Gateway, Reply};
use crate::resilience::Deadline;

/// The function's name, under which its decisions are remembered.
pub const FUNCTION: &str = "command";

/// Commands whose reply holds integers that no function can pass on exactly: fields of 64 bits, counters whose function knows no way
/// to read the number back, places in an array, and times, which may be in nanoseconds.
const INEXACT: [&str; 8] = ["BITFIELD", "INCREX", "ARINSERT", "ARRING", "TS.ADD", "TS.MADD", "TS.INCRBY", "TS.DECRBY"];

/// Most words of a command: Lua hands a call at most 8000 values.
const WORDS: usize = 7500;

/// Whether a command of this row can be made to happen once.
pub fn may_run_once(spec: &Spec) -> bool {
    let fixed = matches!(spec.keys, Keys::At { .. });
    let plain = !spec.code && !spec.flags.contains(&"noscript") && !INEXACT.contains(&spec.name);
    fixed && plain && spec.class != Class::Read
}

/// Runs the command once. Redis' own error is a decision like any other.
pub async fn run_once(
    gateway: &Gateway,
    command: &Command,
    once: &Once,
    deadline: Deadline,
) -> Result<Decided<Reply>, Failure> {
    let words = command.arguments();
    let mut places = Vec::new();
    let known = catalogue::key_positions(command.spec(), words.as_slice(), &mut places).is_ok();
    if !known || words.len() > WORDS {
        return Err(Failure::before_sending(FailureKind::NotRepeatable));
    }
    let keys: Vec<&[u8]> = places.iter().filter_map(|place| words.get(*place).copied()).collect();
    let name = words.first().copied().unwrap_or_default().to_ascii_uppercase();
    let mut arguments: Vec<&[u8]> = vec![&name];
    arguments.extend_from_slice(words.get(1..).unwrap_or_default());
    let class = Class::NonIdempotent;
    let step = Step { function: FUNCTION, keys: &keys, arguments: &arguments, class, once: Some(once) };
    let mut decided = if command.is_heavy() {
        step.decide_slowly(gateway, deadline).await?
    } else {
        step.decide(gateway, deadline).await?
    };
    let reply = reply_of(&mut decided.value)?;
    Ok(decided.map(|_| reply))
}

/// The reply that a decision of the function stands for.
pub fn reply_of(decision: &mut Decision) -> Result<Reply, Failure> {
    match decision.word() {
        b"plain" => decision.take(1).ok_or_else(|| decision.unreadable()),
        b"exact" => Ok(Reply::Int(decision.number(1)?)),
        b"error" => {
            let text = String::from_utf8_lossy(decision.bytes(1).unwrap_or_default()).into_owned();
            redis::server_error(&text).map(Reply::ServerError).ok_or_else(|| decision.unreadable())
        }
        _ => Err(decision.unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> &'static Spec {
        catalogue::find(&[name.as_bytes()][..])
    }

    #[test]
    fn what_answers_with_a_number_no_function_can_pass_on_is_refused() {
        for name in INEXACT {
            assert_eq!(row(name).name, name);
            assert!(!may_run_once(row(name)), "{name}");
        }
        // Those that count and may run have their number read back by `migrations/0004_operations.lua`.
        for name in ["INCR", "INCRBY", "DECR", "DECRBY", "HINCRBY"] {
            assert!(may_run_once(row(name)), "{name}");
        }
        for name in ["SET", "LPUSH", "SADD", "DEL", "XADD", "ZINCRBY", "INCRBYFLOAT"] {
            assert!(may_run_once(row(name)), "{name}");
        }
    }

    #[test]
    fn reads_code_and_what_names_no_key_at_a_fixed_place_are_refused() {
        for name in ["GET", "EVAL", "XREADGROUP", "PUBLISH", "NOSUCH", "ZUNIONSTORE"] {
            assert!(!may_run_once(row(name)), "{name}");
        }
    }
}
