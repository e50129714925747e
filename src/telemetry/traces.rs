//! Traces: a span for each request that is recorded and for each operation at Redis, sent to an OTLP receiver.
//!
//! [`Traces`] decides with which request a recording begins, which costs a request that is not recorded a header look-up and one
//! draw of chance, and nothing at all where traces are off. Spans end in a bounded queue; [`Exporter`] sends them from the
//! background runtime. Nothing here can delay or fail a request. Limits: no baggage; the process has one receiver.
//!
//! - `ids`: names of traces and spans
//! - `sampling`: which requests
//! - `span`: spans while they are being made
//! - `queue`, `exporter`: their way out
//! - `otlp`, `client`, `receiver`: the words of OpenTelemetry, HTTP, and where to

mod client;
mod exporter;
mod ids;
mod otlp;
mod queue;
mod receiver;
mod sampling;
mod span;

use std::sync::Arc;
use std::time::Duration;

pub use exporter::{Exporter, Exporting};
pub use ids::{Parent, SpanId, TraceId};
pub use receiver::{Headers, Receiver};
pub use span::{Answered, Attempt, End, Name, OperationSpan, RequestSpan};

use super::Metrics;
use super::metrics::{Method, Route};
use crate::resilience::Moment;
use otlp::Outlet;
use queue::Queue;
use sampling::Sampler;

/// What is recorded and where it goes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where spans are sent.
    pub receiver: Receiver,
    /// What is sent with them.
    pub headers: Headers,
    /// The name this service has in traces.
    pub service_name: String,
    /// Share of requests that are recorded, 0 to 1.
    pub sample_ratio: f64,
    /// Requests a second that are recorded because their callers' traces are.
    pub parents_per_second: u64,
    /// How long the receiver may take for one batch.
    pub timeout: Duration,
    /// Spans that may wait to be sent.
    pub queue: usize,
    /// The Redis that operations are done at.
    pub server: Server,
}

/// A Redis as spans name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host, or path of a unix socket.
    pub address: String,
    /// Port, where there is one.
    pub port: Option<u16>,
    /// The logical database.
    pub database: u32,
}

/// Begins spans. Shared by all workers.
pub struct Traces {
    sampler: Sampler,
    queue: Arc<Queue>,
}

impl Traces {
    /// Both ends of tracing; nothing is sent before the exporter is started.
    ///
    /// # Errors
    /// When the exporter's library does not accept the settings, with its reason.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<(Arc<Self>, Exporter), String> {
        let outlet = Outlet::new(settings)?;
        let (queue, spans) = Queue::new(settings.queue, metrics.clone());
        let sampler = Sampler::new(settings.sample_ratio, settings.parents_per_second);
        Ok((Arc::new(Self { sampler, queue }), Exporter::new(spans, outlet, metrics)))
    }

    /// The span of a request that arrived at `at`, if it is recorded.
    pub fn begin(&self, parent: Option<Parent>, method: Method, route: Route, at: Moment) -> Option<RequestSpan> {
        let recorded = self.sampler.records(parent.as_ref(), at, fastrand::f64());
        recorded.then(|| RequestSpan::new(&self.queue, parent, method, route, at))
    }
}
