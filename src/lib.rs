//! The Collective: shared state over HTTP that stays up when Redis does not.
//!
//! The house, one line a room; who may enter whom is drawn in `ARCHITECTURE.md` and kept by `tests/architecture.rs`.
//!
//! - [`resilience`]: decisions about time and failure; pure
//! - [`telemetry`]: metrics, logs, clock, secrets
//! - [`redis`]: the only door to Redis
//! - [`security`]: who are you, may you
//! - [`resources`]: keys, counters, leases, limiters, presence
//! - [`api`]: HTTP for callers
//! - [`ops`]: HTTP for operators
//! - [`config`]: files and variables into one validated tree
//! - [`startup`]: build, bind, serve, drain
//! - [`cli`]: the command line

#![forbid(unsafe_code)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "one program, not a library: its pages are made with private items shown"
)]

pub mod api;
pub mod cli;
pub mod config;
pub mod ops;
pub mod redis;
pub mod resilience;
pub mod resources;
pub mod security;
pub mod startup;
pub mod telemetry;
