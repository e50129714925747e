//! HTTP for operators: probes, status, metrics, and one page for people, on a listener of its own.
//!
//! The room is blind to the rest of the service: it sees it through [`OpsView`]. It runs on its own thread with its
//! own runtime, so that overload on the public port can never fail a liveness probe, and it never asks Redis
//! anything: whatever it shows was learned by somebody else before.
//!
//! - `server`: the thread, its limits, [`spawn`] and [`OpsHandle`]
//! - `routes`: which path answers what; 404 and 405
//! - `probes`: `/livez`, `/readyz`, `/startupz`
//! - [`status`]: the health document and `/status`
//! - `page`: `/`, rendered on the server, the same values live
//! - `live`: what the page remembers, and `/events`
//! - `headers`: what every answer and every page carries
//!
//! Limit: there is no authentication here. The default bind is loopback; whoever widens it chooses who can look.

mod headers;
mod live;
mod page;
mod probes;
mod routes;
mod server;
pub mod status;

pub use server::{MAX_CONNECTIONS, OpsHandle, spawn};
pub use status::{BreakerStatus, Facts, Health, Limit, Phase, RedisStatus, StatusDocument};

use crate::telemetry::diary::Entry;
use crate::telemetry::metrics::HttpTotals;

/// What operators are shown. Every method answers from memory: it must neither block nor ask Redis.
pub trait OpsView: Send + Sync + 'static {
    /// Where the service is in its life.
    fn phase(&self) -> Phase;
    /// The whole state; [`StatusDocument::assess`] makes it from facts.
    fn status(&self) -> StatusDocument;
    /// Requests on the public listener since the start.
    fn traffic(&self) -> HttpTotals;
    /// The last transitions of the breakers, newest first.
    fn transitions(&self) -> Vec<Entry>;
    /// The metrics as Prometheus text.
    fn metrics(&self) -> String;
}

#[cfg(test)]
mod tests;
