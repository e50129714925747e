//! The metrics of the service: one table of names, recording without locks, Prometheus text on demand.
//!
//! [`Metrics`] is made once and shared. Its handles are resolved before the first request: recording is an addition
//! at a computed index ([`cells`]). All label sets exist from the start, because an alert cannot see a rate that
//! begins with its first event; the exception, HTTP status combinations, is explained in [`http`].
//!
//! - [`mod@table`]: name, kind, unit, labels and help of every family; `docs/metrics.md`
//! - `labels`: the values labels can take
//! - `http`, `redis`, `breakers`, `values`, `build`, `process`: the parts
//! - `cells`, `durations`, `export`: how numbers are kept, and how the `prometheus` crate gets to see them

mod breakers;
mod build;
mod cells;
mod durations;
mod export;
#[cfg(test)]
mod exposition;
mod http;
mod labels;
mod process;
mod redis;
pub mod table;
mod values;

use std::sync::Arc;

use prometheus::{Registry, TextEncoder};

pub use breakers::{BreakerSource, Transitions};
pub use build::Build;
pub use http::{HttpMetrics, HttpTotals};
pub use labels::{
    CommandOutcome, HeadReason, Lane, LifePhase, LimiterDecision, Method, PoolState, RejectReason, RetryOutcome, Route,
    ShedReason, SpanDrop, StreamCut,
};
pub use redis::RedisMetrics;
pub use table::markdown;
pub use values::{Counter, Gauge};

use breakers::BreakerMetrics;
use export::{Export, Registered};
use process::ProcessMetrics;
use values::{Counters, Gauges};

use super::{BreakerLog, Diary};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything the service counts.
pub struct Metrics {
    /// Requests on the public listener.
    pub http: Arc<HttpMetrics>,
    /// Attempts at Redis and retry decisions.
    pub redis: Arc<RedisMetrics>,
    /// Requests being worked on.
    pub inflight: Gauge,
    /// Connections of callers that are open.
    pub connections_open: Gauge,
    /// Connections of callers that were given a place.
    pub connections_accepted: Counter,
    /// Reads answered from memory.
    pub stale_served: Counter,
    /// Tokens in the retry budget; give it a sampler.
    pub retry_budget_tokens: Gauge,
    /// Audit records on disk.
    pub audit_spooled: Gauge,
    /// Audit records lost.
    pub audit_dropped: Counter,
    /// Streams that are open; give it a sampler.
    pub streams_open: Gauge,
    /// The last transitions of the breakers, for people.
    pub diary: Arc<Diary>,
    /// Holes told to readers of streams.
    pub streams_discontinuities: Counter,
    /// Subscriptions that Redis holds for us; give it a sampler.
    pub subscriptions: Gauge,
    /// Spans that the receiver of traces took.
    pub spans_exported: Counter,
    spans_dropped: Arc<Counters>,
    /// Instances that use this Redis; give it a sampler.
    pub instances: Gauge,
    limiter_takes: Arc<Counters>,
    streams_cut: Arc<Counters>,
    phases: Arc<Gauges>,
    pool: Arc<Gauges>,
    shed: Arc<Counters>,
    connections_rejected: Arc<Counters>,
    heads_refused: Arc<Counters>,
    breakers: Arc<BreakerMetrics>,
    registry: Registry,
}

impl Metrics {
    /// All families of the table, at zero.
    ///
    /// # Errors
    /// When the table itself is wrong (an invalid name, one family twice): a mistake in this crate, never of its input.
    pub fn new(build: Build) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let single_gauge = |family| register(&registry, Gauges::new(family)).map(|gauges| gauges.handle(0));
        let single_counter = |family| register(&registry, Counters::new(family)).map(|counters| counters.handle(0));
        register(&registry, Arc::new(build))?;
        register(&registry, Arc::new(ProcessMetrics::new()))?;
        Ok(Self {
            http: register(&registry, Arc::new(HttpMetrics::new()))?,
            redis: register(&registry, Arc::new(RedisMetrics::new()))?,
            inflight: single_gauge(&table::INFLIGHT)?,
            connections_open: single_gauge(&table::CONNECTIONS_OPEN)?,
            connections_accepted: single_counter(&table::CONNECTIONS_ACCEPTED)?,
            connections_rejected: register(&registry, Counters::new(&table::CONNECTIONS_REJECTED))?,
            heads_refused: register(&registry, Counters::new(&table::HEADS_REFUSED))?,
            stale_served: single_counter(&table::STALE_SERVED)?,
            retry_budget_tokens: single_gauge(&table::RETRY_BUDGET)?,
            audit_spooled: single_gauge(&table::AUDIT_SPOOLED)?,
            audit_dropped: single_counter(&table::AUDIT_DROPPED)?,
            streams_open: single_gauge(&table::STREAMS_OPEN)?,
            streams_discontinuities: single_counter(&table::STREAMS_DISCONTINUITIES)?,
            subscriptions: single_gauge(&table::SUBSCRIPTIONS)?,
            spans_exported: single_counter(&table::TRACES_EXPORTED)?,
            spans_dropped: register(&registry, Counters::new(&table::TRACES_DROPPED))?,
            instances: single_gauge(&table::INSTANCES)?,
            limiter_takes: register(&registry, Counters::new(&table::LIMITER_TAKES))?,
            streams_cut: register(&registry, Counters::new(&table::STREAMS_CUT))?,
            phases: register(&registry, Gauges::new(&table::PHASE))?,
            pool: register(&registry, Gauges::new(&table::POOL_CONNECTIONS))?,
            shed: register(&registry, Counters::new(&table::SHED))?,
            diary: Arc::default(),
            breakers: register(&registry, Arc::new(BreakerMetrics::default()))?,
            registry,
        })
    }

    /// Counts one request or connection turned away.
    #[inline]
    pub fn shed(&self, reason: ShedReason) {
        self.shed.increment(reason.index());
    }

    /// Counts spans that were recorded and not exported.
    pub fn spans_dropped(&self, reason: SpanDrop, spans: u64) {
        self.spans_dropped.handle(reason.index()).add(spans);
    }

    /// Counts streams ended before their readers left.
    pub fn stream_cut(&self, reason: StreamCut, streams: u64) {
        self.streams_cut.handle(reason.index()).add(streams);
    }

    /// Counts one take from a limiter.
    pub fn limiter_take(&self, decision: LimiterDecision) {
        self.limiter_takes.increment(decision.index());
    }

    /// Counts one connection turned away.
    pub fn connection_rejected(&self, reason: RejectReason) {
        self.connections_rejected.increment(reason.index());
        self.shed(ShedReason::Connections);
    }

    /// Counts one request refused for its head.
    pub fn head_refused(&self, reason: HeadReason) {
        self.heads_refused.increment(reason.index());
    }

    /// The gauge of one phase of life; give it a sampler.
    pub fn phase(&self, phase: LifePhase) -> Gauge {
        self.phases.handle(phase.index())
    }

    /// The gauge of connections in one state.
    pub fn pool_connections(&self, state: PoolState) -> Gauge {
        self.pool.handle(state.index())
    }

    /// Shows the breakers of `source` from the next scrape on.
    pub fn watch_breakers(&self, source: Arc<dyn BreakerSource>) {
        self.breakers.watch(source);
    }

    /// The observer to give to every breaker: it logs transitions and counts them here.
    pub fn breaker_log(&self) -> BreakerLog {
        BreakerLog::new(Arc::clone(&self.breakers.transitions), Arc::clone(&self.diary))
    }

    /// All families with at least one sample, as Prometheus text ([`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics could not be written");
            String::new()
        })
    }
}

fn register<T: Export>(registry: &Registry, part: Arc<T>) -> prometheus::Result<Arc<T>> {
    registry.register(Box::new(Registered::new(Arc::clone(&part))?))?;
    Ok(part)
}

#[cfg(test)]
mod tests;
