//! What the service says about itself: metrics, logs, traces, the time, and what must never be said.
//!
//! The room knows `resilience` (it implements its `Observer` and reads breaker snapshots) and nothing else of
//! this crate, so that every other room can report to it.
//!
//! - [`clock`]: the only place that reads a clock
//! - [`metrics`]: one table of names, lock-free recording, Prometheus text
//! - [`breaker_log`]: breaker transitions, counted and logged once
//! - [`traces`]: spans of requests and of operations at Redis, sent to an OTLP receiver
//! - [`diary`]: the last of them, for people
//! - [`logs`], [`panics`]: log lines on standard error, a panic's among them
//! - [`secret`], [`mod@display_url`]: values that cannot be printed by accident

pub mod breaker_log;
pub mod clock;
pub mod diary;
pub mod display_url;
pub mod logs;
pub mod metrics;
pub mod panics;
pub mod secret;
pub mod traces;

pub use breaker_log::BreakerLog;
pub use diary::Diary;
pub use display_url::display_url;
pub use metrics::Metrics;
pub use secret::Secret;
