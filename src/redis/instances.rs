//! How many instances of this service use the same Redis: each announces itself with its keeper's heartbeat, and is told the number.
//!
//! What one instance decides alone while Redis is away is divided by this number, so it errs upwards: it rises at once and falls only
//! after answers have been lower for as long as an announcement lives. A Redis that comes back empty, or full of announcements that
//! ran out meanwhile, therefore makes nobody believe to be alone. Limits: before the first answer an instance knows of itself only;
//! one that dies is counted for [`LIFETIME`] more, and then some.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis_rs::{Cmd, Value};

use super::connector::words;
use crate::resilience::Moment;

/// The sorted set of announcements: instance by µs of Redis' clock.
const CENSUS: &str = "collective:instances";
/// The function that announces (`migrations/`).
const FUNCTION: &str = "collective_v1_instance_announce";
/// Between two announcements: a newcomer is known to all within this time.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one counts: a few may be lost on the way.
const LIFETIME: Duration = Duration::from_secs(10);

const _: () = assert!(LIFETIME.as_secs() >= 4 * PAUSE.as_secs(), "an instance that lives is not forgotten");

/// What this instance knows of the number.
#[derive(Default)]
pub(super) struct Instances {
    known: AtomicU64,
    talk: Mutex<Talk>,
}

/// What was heard last.
#[derive(Default)]
struct Talk {
    answered_at: Option<Moment>,
    /// Since when all answers were below what is known, and the highest of them.
    lower: Option<(Moment, u64)>,
}

/// The announcement of `instance`.
pub(super) fn announcement(instance: &str) -> Cmd {
    let lifetime_us = LIFETIME.as_micros().to_string();
    words(&["FCALL", FUNCTION, "1", CENSUS, "", "", "", instance, &lifetime_us])
}

impl Instances {
    /// How many there are; at least this one.
    pub(super) fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed).max(1)
    }

    /// Whether it is time to announce: after a while, or as soon as possible when the last announcement was not answered.
    pub(super) fn due(&self, now: Moment) -> bool {
        let talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        talk.answered_at.is_none_or(|at| now.saturating_since(at) >= PAUSE)
    }

    /// Takes note of the answer to an announcement, if there was one.
    pub(super) fn heard(&self, reply: Option<&Value>, now: Moment) {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(told) = reply.and_then(number) else {
            *talk = Talk::default();
            return;
        };
        talk.answered_at = Some(now);
        let known = self.known();
        if told >= known {
            talk.lower = None;
            self.known.store(told, Ordering::Relaxed);
            return;
        }
        let (since, highest) = talk.lower.unwrap_or((now, told));
        let highest = highest.max(told);
        if now.saturating_since(since) < LIFETIME {
            talk.lower = Some((since, highest));
        } else {
            talk.lower = None;
            self.known.store(highest, Ordering::Relaxed);
        }
    }
}

/// The number in `done (ok <number>)`.
fn number(reply: &Value) -> Option<u64> {
    let Value::Array(parts) = reply else { return None };
    let Some(Value::Array(parts)) = parts.get(1) else { return None };
    match parts.as_slice() {
        [Value::BulkString(word), Value::BulkString(count)] if word == b"ok" => {
            std::str::from_utf8(count).ok()?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(count: u64) -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Array(vec![text("done"), Value::Array(vec![text("ok"), text(&count.to_string())])])
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(1_000_000 * (seconds + 1))
    }

    #[test]
    fn the_number_rises_at_once_and_falls_late() {
        let instances = Instances::default();
        assert_eq!(instances.known(), 1);
        instances.heard(Some(&told(3)), at(0));
        assert_eq!(instances.known(), 3);
        for second in [2, 4, 6, 8, 10] {
            instances.heard(Some(&told(1 + second % 2)), at(second));
            assert_eq!(instances.known(), 3, "{second}");
        }
        instances.heard(Some(&told(2)), at(12));
        assert_eq!(instances.known(), 2, "the highest that was heard meanwhile");
    }

    #[test]
    fn an_outage_changes_nothing_and_a_return_is_no_fall() {
        let instances = Instances::default();
        instances.heard(Some(&told(3)), at(0));
        instances.heard(Some(&told(1)), at(2));
        instances.heard(None, at(4));
        assert!(instances.due(at(4)), "it is tried again at once");
        instances.heard(Some(&told(1)), at(60));
        assert_eq!(instances.known(), 3, "the others had no time to come back");
        assert!(!instances.due(at(61)));
        instances.heard(Some(&told(3)), at(62));
        assert_eq!(instances.known(), 3);
    }

    #[test]
    fn what_cannot_be_read_is_no_answer() {
        let instances = Instances::default();
        instances.heard(Some(&told(2)), at(0));
        for reply in [Value::Nil, Value::Int(7), Value::Array(vec![]), Value::Array(vec![Value::Nil, Value::Nil])] {
            instances.heard(Some(&reply), at(20));
        }
        assert_eq!(instances.known(), 2);
    }
}
