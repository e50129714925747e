//! The numbers the redis room runs on. Defaults and their reasons stand in the configuration table; this is their typed form.

use std::time::Duration;

use crate::resilience::RetryPolicy;
use crate::resilience::breaker;

/// Settings of one endpoint and of each worker's connections to it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Operator-given name in front of `.read` and `.write`; never an address.
    pub alias: String,
    /// Connections for light commands, per worker.
    pub connections_per_worker: u32,
    /// Calls in flight on each of them.
    pub in_flight_per_connection: usize,
    /// Calls that may wait for a place, per worker.
    pub queue: usize,
    /// The longest wait for a place or a connection.
    pub acquire_timeout: Duration,
    /// Transport and handshake together.
    pub connect_timeout: Duration,
    /// Connections older than this are replaced when idle; `None` keeps them.
    pub max_connection_age: Option<Duration>,
    /// The longest wait for a reply to one attempt of a light command.
    pub attempt_timeout: Duration,
    /// Attempts and backoff.
    pub retry: RetryPolicy,
    /// Retries earned per call.
    pub budget_ratio: f64,
    /// The most retries that can be saved up.
    pub budget_tokens: u32,
    /// Both breakers.
    pub breaker: breaker::Settings,
    /// The longest wait for a probe, its connect included.
    pub probe_timeout: Duration,
    /// Silence on every connection while a request waits that means the server has stalled.
    pub stall_after: Duration,
    /// Failed connects in a row that open every lane.
    pub connect_failures: u32,
    /// Subscriptions.
    pub streams: StreamSettings,
}

/// What bounds subscriptions.
#[derive(Clone, Copy, Debug)]
pub struct StreamSettings {
    /// Open streams of this process.
    pub max: usize,
    /// Messages that may wait for one reader.
    pub buffer_messages: usize,
    /// Bytes that may wait for one reader.
    pub buffer_bytes: usize,
}
