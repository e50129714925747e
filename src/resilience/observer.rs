//! What the room tells the outside.
//!
//! A trait with empty methods, so that telemetry can count and log without this room knowing it.
//!
//! Limits: methods run under the breaker's transition lock, which is what puts events in order. They
//! must be short, must not panic, and may *read* the breaker (`state`, `snapshot`, `refusing`) but not
//! steer it (`trip`, `start_probing`, `override_state`, finishing a call): that would wait for itself.

use super::breaker::{Cause, State};

/// Listens to what happens inside the room.
pub trait Observer: Send + Sync {
    /// A breaker went from one state to another; every event's `from` is the last one's `to`.
    fn breaker_transition(&self, name: &'static str, from: State, to: State, cause: Cause) {
        let _ = (name, from, to, cause);
    }
}

/// An observer that hears nothing.
#[derive(Copy, Clone, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
