//! Scripts with flags that only the hosted service knows, sent to Redis without them and known by their own names all the same.
//!
//! The official rate limiter begins every script with `#!lua flags=allow-key-locking`, which Redis refuses as an unexpected flag.
//! The flag only tells the hosted service how to lock, so it is taken off. When no other flag remains the whole line becomes an
//! empty one: line numbers stay, and `EVAL_RO` and servers before 7.0, which know no such line, accept the script.
//!
//! SDKs know a script by the SHA-1 of *their* text. So the pair of names is remembered when a script is rewritten, and a later
//! `EVALSHA` or `SCRIPT EXISTS` is asked under the name Redis has; `SCRIPT LOAD` answers with the caller's.
//!
//! Limits: a flag we have never heard of is left for Redis to refuse (it may be a misspelt `no-writes`, or newer than we are). The
//! memory holds [`REMEMBERED`] pairs and is this process's own: after a restart, or at another instance, `EVALSHA` answers
//! `NOSCRIPT` and the SDK sends the text again, as it does after a restart of Redis.

mod library;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use sha1::{Digest, Sha1};

pub use library::without_foreign_function_flags;

/// Flags of the hosted service that mean nothing to Redis.
pub(super) const FOREIGN_FLAGS: [&str; 1] = ["allow-key-locking"];

/// Pairs of names kept: an application has a few dozen scripts, and a forgotten one costs one more round trip.
pub const REMEMBERED: usize = 1024;

/// The SHA-1 of a script's text.
type Name = [u8; 20];

/// A script in the form that is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The text without foreign flags.
    pub source: Vec<u8>,
    /// The name of the text as the caller wrote it, in hexadecimal digits.
    pub original_name: String,
}

/// Scripts that were sent in another form than they came in. One for all workers.
#[derive(Default)]
pub struct Scripts {
    /// Spares everyone the lock who never met a foreign flag.
    any: AtomicBool,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    names: HashMap<Name, Name>,
    /// Oldest first.
    order: VecDeque<Name>,
}

impl Scripts {
    /// The script without foreign flags, its names remembered; `None` if there is nothing to take off.
    pub fn rewrite(&self, source: &[u8]) -> Option<Rewritten> {
        let rewritten = without_foreign_flags(source)?;
        let original = Sha1::digest(source).into();
        self.remember(original, Sha1::digest(&rewritten).into());
        Some(Rewritten { source: rewritten, original_name: digits(&original) })
    }

    /// The name Redis has for the script the caller knows by this one; `None` if it is the same.
    pub fn sent_as(&self, name: &[u8]) -> Option<String> {
        let name = parse(name)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.names.get(&name).map(digits)
    }

    /// True while nothing was ever rewritten.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    fn remember(&self, original: Name, sent: Name) {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.names.contains_key(&original) {
                return;
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.names.insert(original, sent).is_none() {
            known.order.push_back(original);
        }
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.names.remove(&oldest);
        }
        self.any.store(true, Ordering::Release);
    }
}

/// Takes foreign flags off the first line, `#!lua flags=a,b`. `None` if there are none, or the line is not of that form.
fn without_foreign_flags(source: &[u8]) -> Option<Vec<u8>> {
    let end = source.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = source.split_at(end);
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    if words.next()? != "#!lua" {
        return None;
    }
    let (mut kept, mut changed) = (String::new(), false);
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else {
            kept.push(' ');
            kept.push_str(word);
            continue;
        };
        let native: Vec<&str> = flags.split(',').filter(|flag| !FOREIGN_FLAGS.contains(flag)).collect();
        changed |= native.len() < flags.split(',').count();
        if !native.is_empty() {
            kept.push_str(" flags=");
            kept.push_str(&native.join(","));
        }
    }
    let shebang = if kept.is_empty() { "" } else { "#!lua" };
    changed.then(|| [shebang.as_bytes(), kept.as_bytes(), rest].concat())
}

fn digits(name: &Name) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    name.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(HEX[usize::from(digit)])).collect()
}

/// Redis takes the digits in either case.
fn parse(digits: &[u8]) -> Option<Name> {
    if digits.len() != 40 {
        return None;
    }
    let mut name = [0; 20];
    for (byte, pair) in name.iter_mut().zip(digits.as_chunks::<2>().0) {
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(source: &str) -> Option<String> {
        without_foreign_flags(source.as_bytes()).map(|source| String::from_utf8(source).expect("it was text"))
    }

    #[test]
    fn a_foreign_flag_alone_takes_the_line_with_it() {
        assert_eq!(clean("#!lua flags=allow-key-locking\nreturn 1").as_deref(), Some("\nreturn 1"));
        assert_eq!(clean("#!lua  flags=allow-key-locking \r\nreturn 1").as_deref(), Some("\nreturn 1"));
    }

    #[test]
    fn native_flags_stay_in_their_order() {
        let cleaned = "#!lua flags=no-writes,allow-stale\nreturn 1";
        for source in [
            "#!lua flags=no-writes,allow-key-locking,allow-stale\nreturn 1",
            "#!lua flags=allow-key-locking,no-writes,allow-stale\nreturn 1",
            "#!lua flags=no-writes,allow-stale,allow-key-locking\nreturn 1",
        ] {
            assert_eq!(clean(source).as_deref(), Some(cleaned));
        }
    }

    #[test]
    fn what_holds_no_foreign_flag_is_left_to_redis() {
        for source in [
            "return 1",
            "",
            "#!lua\nreturn 1",
            "#!lua flags=no-writes\nreturn 1",
            "#!lua flags=no-wirtes\nreturn 1",
            "#!lua flags=allow-key-locking",
            "-- #!lua flags=allow-key-locking\nreturn 1",
            "#!js flags=allow-key-locking\nreturn 1",
        ] {
            assert_eq!(clean(source), None, "{source}");
        }
    }

    #[test]
    fn a_script_is_known_by_both_names() {
        let scripts = Scripts::default();
        assert!(scripts.is_empty());
        let source = b"#!lua flags=allow-key-locking\nreturn 1";
        let rewritten = scripts.rewrite(source).expect("a foreign flag");
        let sent = digits(&Sha1::digest(&rewritten.source).into());
        assert_eq!(scripts.sent_as(rewritten.original_name.as_bytes()), Some(sent.clone()));
        assert_eq!(scripts.sent_as(rewritten.original_name.to_uppercase().as_bytes()), Some(sent.clone()));
        assert_eq!(scripts.sent_as(sent.as_bytes()), None);
        assert_eq!(scripts.sent_as(b"no name"), None);
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let scripts = Scripts::default();
        let name = |number: usize| {
            let source = format!("#!lua flags=allow-key-locking\nreturn {number}");
            scripts.rewrite(source.as_bytes()).expect("a foreign flag").original_name
        };
        let names: Vec<String> = (0..=REMEMBERED).map(name).collect();
        assert_eq!(scripts.sent_as(names[0].as_bytes()), None);
        assert!(names[1..].iter().all(|name| scripts.sent_as(name.as_bytes()).is_some()));
        assert_eq!(scripts.known.read().expect("no thread panicked").names.len(), REMEMBERED);
    }
}
