//! What passed: counts by command name, a short history, the faults that struck.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// Commands a client sends on its own account when it connects.
pub const HANDSHAKE: &[&str] = &["AUTH", "HELLO", "CLIENT", "INFO", "SELECT"];

/// The name under which the service's own traffic (probes, migrations) is counted, so that
/// `count("SET")` is the callers' own. No command of Redis has this name.
pub const PROBE: &str = "PROBE";

/// How the keys and the library begin that only the service itself names.
const OWN: [&[u8]; 5] = [
    b"collective:probe:",
    b"collective:migrations",
    b"collective:instances",
    b"#!lua name=collective_v1",
    b"collective_v1\0",
];

/// How many arguments are looked at.
const LOOKED_AT: usize = 5;

/// How many requests the history keeps.
const HISTORY: usize = 10_000;

/// One request, as far as anyone here cares.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The command name in capitals.
    pub name: String,
    /// The name, or [`PROBE`].
    pub counted_as: String,
    /// Name and first argument, for people.
    pub line: String,
}

impl Request {
    pub fn new(arguments: &[Vec<u8>]) -> Request {
        let text = |at: usize| arguments.get(at).map(|bytes| String::from_utf8_lossy(bytes));
        let name = text(0).unwrap_or_default().to_ascii_uppercase();
        let first: String = text(1).unwrap_or_default().chars().take(80).collect();
        let is_own = |argument: &Vec<u8>| OWN.iter().any(|own| [argument.as_slice(), b"\0"].concat().starts_with(own));
        let probe = arguments.iter().take(LOOKED_AT).any(is_own);
        Request {
            counted_as: if probe { PROBE.to_owned() } else { name.clone() },
            line: format!("{name} {first}").trim_end().to_owned(),
            name,
        }
    }
}

/// How often each fault of single commands struck, and a black hole.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Replies dropped together with their connection.
    pub replies_lost: u64,
    /// Connections closed instead of forwarding a request.
    pub requests_lost: u64,
    /// Replies of which half was forwarded.
    pub halves: u64,
    /// Parcels that a black hole swallowed.
    pub swallowed: u64,
}

#[derive(Default)]
pub(super) struct Traffic {
    passed: Mutex<Passed>,
}

#[derive(Default)]
struct Passed {
    counts: BTreeMap<String, u64>,
    history: VecDeque<(u64, String)>,
    injected: Injected,
}

impl Traffic {
    pub fn forwarded(&self, connection: u64, request: &Request) {
        self.change(|passed| {
            match passed.counts.get_mut(&request.counted_as) {
                Some(count) => *count += 1,
                None => drop(passed.counts.insert(request.counted_as.clone(), 1)),
            }
            if passed.history.len() == HISTORY {
                passed.history.pop_front();
            }
            passed.history.push_back((connection, request.line.clone()));
        });
    }

    pub fn injected_one(&self, field: impl FnOnce(&mut Injected) -> &mut u64) {
        self.change(|passed| *field(&mut passed.injected) += 1);
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.change(|passed| passed.counts.clone())
    }

    pub fn history(&self) -> Vec<(u64, String)> {
        self.change(|passed| passed.history.iter().cloned().collect())
    }

    pub fn injected(&self) -> Injected {
        self.change(|passed| passed.injected)
    }

    pub fn reset(&self) {
        self.change(|passed| *passed = Passed::default());
    }

    fn change<T>(&self, change: impl FnOnce(&mut Passed) -> T) -> T {
        change(&mut self.passed.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
