//! Which faults are on, and which commands they are about.
//!
//! Why one plain struct: connections watch it as a whole, so every decision of one connection
//! sees one consistent set of faults.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::traffic::{HANDSHAKE, PROBE, Request};

/// All faults. The default is a healthy network.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub refusing: bool,
    pub frozen: bool,
    pub black_hole: bool,
    pub delay: Duration,
    pub reply_loss: f64,
    pub request_loss: f64,
    pub half_frame: f64,
    /// The next reply is lost, and with it this wish.
    pub next_reply_lost: AtomicBool,
    /// Connections with a smaller number hold requests.
    pub requests_held_below: u64,
    /// Connections with a smaller number hold replies.
    pub replies_held_below: u64,
    pub filter: Filter,
}

impl Faults {
    pub fn heal(&mut self) {
        let filter = std::mem::take(&mut self.filter);
        *self = Faults { filter, ..Faults::default() };
    }

    pub fn release(&mut self) {
        self.requests_held_below = 0;
        self.replies_held_below = 0;
    }

    /// Whether bytes move at all: a hole swallows them only after they have moved.
    pub fn flows(&self) -> bool {
        !self.frozen
    }
}

/// Which commands the faults of single commands are about.
#[derive(Debug)]
pub(super) struct Filter {
    pub only: Option<HashSet<String>>,
    pub spared: HashSet<String>,
    pub spare_probes: bool,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { only: None, spared: HANDSHAKE.iter().map(|name| (*name).to_owned()).collect(), spare_probes: true }
    }
}

impl Filter {
    pub fn concerns(&self, request: &Request) -> bool {
        if request.counted_as == PROBE && self.spare_probes {
            return false;
        }
        let named = |only: &HashSet<String>| only.contains(&request.name) || only.contains(&request.line);
        let chosen = self.only.as_ref().is_none_or(named);
        chosen && !self.spared.contains(&request.name)
    }
}
