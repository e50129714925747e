//! What operators see: the state of all rooms, read from memory.
//!
//! Limits: one endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::api;
use crate::api::acceptor::census::Census;
use crate::api::bodies::Bodies;
use crate::config::Settings;
use crate::ops::{BreakerStatus, Facts, Limit, OpsView, Phase, RedisStatus, StatusDocument};
use crate::redis::Endpoint;
use crate::resilience::{Moment, Snapshot};
use crate::telemetry::Metrics;
use crate::telemetry::clock;
use crate::telemetry::diary::Entry;
use crate::telemetry::metrics::{BreakerSource, HttpTotals, LifePhase, PoolState};

/// The operators' view of this process.
pub(super) struct View {
    phase: Arc<AtomicU8>,
    endpoint: Arc<Endpoint>,
    metrics: Arc<Metrics>,
    topology: &'static str,
    limits: api::Settings,
    census: Arc<Census>,
    bodies: Arc<Bodies>,
    stale: Arc<api::stale::Answers>,
}

impl View {
    /// A view of a service that is starting.
    pub(super) fn new(settings: &Settings, shared: &api::Shared, endpoint: Arc<Endpoint>) -> Arc<Self> {
        let metrics = shared.metrics.clone();
        metrics.watch_breakers(Arc::new(Breakers(endpoint.clone())));
        let sample = |read: fn(&Endpoint) -> f64| {
            let endpoint = endpoint.clone();
            move || read(&endpoint)
        };
        metrics.retry_budget_tokens.sample(sample(|endpoint| endpoint.reading(clock::now()).retry_tokens));
        metrics.inflight.sample(sample(|endpoint| endpoint.reading(clock::now()).in_flight as f64));
        metrics.streams_open.sample(sample(|endpoint| endpoint.subscriptions().streams() as f64));
        metrics.instances.sample(sample(|endpoint| endpoint.instances() as f64));
        metrics.subscriptions.sample(sample(|endpoint| endpoint.subscriptions().held() as f64));
        metrics
            .pool_connections(PoolState::Open)
            .sample(sample(|endpoint| endpoint.reading(clock::now()).connections as f64));
        let phase = Arc::new(AtomicU8::new(Phase::Starting as u8));
        show_phase(&metrics, &phase);
        Arc::new(Self {
            phase,
            endpoint,
            metrics,
            topology: settings.redis.topology.as_str(),
            limits: shared.settings.clone(),
            census: shared.census.clone(),
            bodies: shared.bodies.clone(),
            stale: shared.stale.clone(),
        })
    }

    /// Moves the service on in its life.
    pub(super) fn enter(&self, phase: Phase) {
        tracing::info!(phase = phase.as_str(), "phase");
        self.phase.store(phase as u8, Ordering::Release);
    }
}

impl OpsView for View {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Ready as u8 => Phase::Ready,
            phase if phase == Phase::Draining as u8 => Phase::Draining,
            _ => Phase::Starting,
        }
    }

    fn status(&self) -> StatusDocument {
        let now = clock::now();
        let reading = self.endpoint.reading(now);
        let bound = |used: Option<usize>, max: usize| Limit { used: used.map(|used| used as u64), max: max as u64 };
        let limits = BTreeMap::from([
            ("body_bytes", bound(None, self.limits.body_bytes)),
            ("bodies_bytes", bound(Some(self.bodies.held()), self.bodies.limit())),
            ("argument_bytes", bound(None, self.limits.argument_bytes)),
            ("arguments", bound(None, self.limits.arguments)),
            ("reply_bytes", bound(None, self.limits.reply_bytes)),
            ("batch_commands", bound(None, self.limits.batch_commands)),
            ("connections", bound(Some(self.census.open()), self.census.limits().total)),
            ("redis_in_flight", bound(Some(reading.in_flight), reading.in_flight_limit)),
            (
                "streams",
                bound(Some(self.endpoint.subscriptions().streams()), self.endpoint.subscriptions().streams_max()),
            ),
            ("stale_bytes", bound(Some(self.stale.bytes()), self.stale.bytes_limit())),
            ("redis_waiting", bound(Some(reading.waiting), reading.waiting_limit)),
        ]);
        StatusDocument::assess(Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: self.phase(),
            uptime: clock::uptime(),
            redis: RedisStatus {
                topology: self.topology.to_owned(),
                reachable: reading.reachable,
                latency_ms: reading.latency.map(|latency| latency.as_secs_f64() * 1000.0),
                server_version: reading.server_version,
                last_error: reading.last_error,
            },
            functions: self.endpoint.functions_in_place(),
            redis_connections: reading.connections as u64,
            breakers: reading.breakers.iter().map(|snapshot| BreakerStatus::of(snapshot, now)).collect(),
            limits,
            wall_millis: clock::wall_millis(),
        })
    }

    fn traffic(&self) -> HttpTotals {
        self.metrics.http.totals()
    }

    fn transitions(&self) -> Vec<Entry> {
        self.metrics.diary.read()
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

/// Every phase as a metric, so that a service stuck in one can be alerted about.
fn show_phase(metrics: &Metrics, phase: &Arc<AtomicU8>) {
    let phases = [
        (LifePhase::Starting, Phase::Starting),
        (LifePhase::Ready, Phase::Ready),
        (LifePhase::Draining, Phase::Draining),
    ];
    for (word, of) in phases {
        let phase = phase.clone();
        metrics.phase(word).sample(move || f64::from(phase.load(Ordering::Acquire) == of as u8));
    }
}

/// The endpoint's breakers as the metrics read them.
struct Breakers(Arc<Endpoint>);

impl BreakerSource for Breakers {
    fn breakers(&self, now: Moment) -> Vec<Snapshot> {
        self.0.lanes().map(|lane| lane.snapshot(now)).into()
    }
}
