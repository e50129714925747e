//! From settings to tracing: what is recorded, where it goes, and what the Redis behind is called there.
//!
//! Limits: nothing is sent yet, and the receiver need not exist.

use std::sync::Arc;

use super::build::BuildError;
use crate::config::{self, Settings};
use crate::redis::embedded::Embedded;
use crate::telemetry::Metrics;
use crate::telemetry::traces::{self, Exporter, Server, Traces};

/// The settings of tracing, unless it is off.
pub(super) fn settings(settings: &Settings, embedded: Option<&Embedded>) -> Option<traces::Settings> {
    let traces = &settings.traces;
    Some(traces::Settings {
        receiver: traces.endpoint.clone()?,
        headers: traces.headers.clone().unwrap_or_default(),
        service_name: traces.service_name.clone(),
        sample_ratio: traces.sample_ratio,
        parents_per_second: traces.parents_per_second,
        timeout: traces.timeout,
        queue: traces.queue,
        server: server(settings, embedded),
    })
}

/// Both ends of tracing, or neither.
pub(super) fn build(
    settings: Option<traces::Settings>,
    metrics: &Arc<Metrics>,
) -> Result<(Option<Arc<Traces>>, Option<Exporter>), BuildError> {
    let Some(settings) = settings else { return Ok((None, None)) };
    let (traces, exporter) = Traces::new(&settings, metrics.clone())
        .map_err(|reason| BuildError::Refused(format!("traces.endpoint: the exporter refuses it: {reason}")))?;
    Ok((Some(traces), Some(exporter)))
}

fn server(settings: &Settings, embedded: Option<&Embedded>) -> Server {
    let socket = |path: &std::path::Path| (path.display().to_string(), None);
    let (address, port) = match (&settings.redis.url, embedded) {
        (Some(url), _) => match &url.address {
            config::Address::Tcp { host, port, .. } => (host.to_string(), Some(*port)),
            config::Address::Unix(path) => socket(path),
        },
        (None, Some(embedded)) => socket(embedded.socket_path()),
        (None, None) => (String::new(), None),
    };
    Server { address, port, database: settings.redis.url.as_ref().map_or(0, |url| url.database) }
}
