//! The record of one request: what makes it happen once, however often it arrives.
//!
//! A record is the caller's (`Idempotency-Key`, kept for a day) or one of our own for one call alone. One of our own need not be
//! kept longer than the call may be run: Redis refuses an arrival that is later than that, so that one which lay in a frozen
//! server's socket until the record had gone does not have its effect a second time. Limits: where the server's time is not known
//! (a Redis user without the right to ask) nothing bounds an arrival but [`OWN_LIFETIME`].

use std::fmt::Write;
use std::time::Duration;

/// How long a caller's record is kept (D17).
pub(super) const CALLERS_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long our own is kept at least: twice the longest deadline that can be asked for by default.
const OWN_LIFETIME: Duration = Duration::from_secs(60);
/// How much longer than its deadline a call may still be run: it is on its way then, and nobody is told that it is not.
pub(super) const LATEST: Duration = Duration::from_secs(5);
/// How much longer than that its record is kept: what the server's time may be wrong by, and a server may pause between two commands.
const MARGIN: Duration = Duration::from_secs(5);

/// The record of one request.
#[derive(Clone, Debug)]
pub struct Once {
    record: Vec<u8>,
    fingerprint: String,
    kept: Kept,
}

/// For how long a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// A caller's, who may come again.
    Callers,
    /// Our own.
    Own,
    /// Our own, for calls so frequent that their records would crowd the memory of Redis.
    OwnBriefly,
}

impl Once {
    /// A caller's record. `name` is the pseudonym of his key, `fingerprint` that of his request.
    pub fn for_caller(name: &[u8; 32], fingerprint: &[u8; 32]) -> Self {
        Self { record: record_key(name), fingerprint: hexadecimal(fingerprint), kept: Kept::Callers }
    }

    /// A record of our own, for one call alone.
    pub fn for_this_call() -> Self {
        let record = format!("collective:attempt:{}", nonce()).into_bytes();
        Self { record, fingerprint: "own".to_owned(), kept: Kept::Own }
    }

    /// The same for frequent calls.
    pub fn briefly_for_this_call() -> Self {
        Self { kept: Kept::OwnBriefly, ..Self::for_this_call() }
    }

    /// Whether no request but this one can have it.
    pub(super) fn is_own(&self) -> bool {
        self.kept != Kept::Callers
    }

    /// The record's key.
    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    /// What tells this request from another under the same record.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How long it is kept, if its call has `remaining` until its deadline.
    pub(super) fn lifetime(&self, remaining: Duration) -> Duration {
        let needed = remaining + LATEST + MARGIN;
        match self.kept {
            Kept::Callers => CALLERS_LIFETIME,
            Kept::Own => needed.max(OWN_LIFETIME),
            Kept::OwnBriefly => needed,
        }
    }
}

/// The key of a caller's record.
pub(super) fn record_key(name: &[u8; 32]) -> Vec<u8> {
    format!("collective:idempotency:{}", hexadecimal(name)).into_bytes()
}

/// 128 bits that nobody else has, in hexadecimal. From the system, not from a generator of this process: one that was copied with its
/// process or its machine would go on alike in both, and the second call be told of the first one's effect.
pub(super) fn nonce() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // The system has none at all: still as good as unique.
        bytes.chunks_exact_mut(8).for_each(|half| half.copy_from_slice(&fastrand::u64(..).to_be_bytes()));
    }
    hexadecimal(&bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_outlives_whatever_may_still_be_run_under_it() {
        for seconds in [0, 2, 30, 300] {
            let remaining = Duration::from_secs(seconds);
            for once in [Once::for_this_call(), Once::briefly_for_this_call(), Once::for_caller(&[1; 32], &[2; 32])] {
                assert!(once.lifetime(remaining) > remaining + LATEST, "{once:?}");
            }
        }
        assert!(Once::briefly_for_this_call().lifetime(Duration::from_secs(2)) < OWN_LIFETIME);
    }

    #[test]
    fn no_two_calls_have_the_same_record() {
        let (one, other) = (Once::for_this_call(), Once::for_this_call());
        assert_ne!(one.record(), other.record());
        assert_eq!(one.record().len(), "collective:attempt:".len() + 32);
    }
}
