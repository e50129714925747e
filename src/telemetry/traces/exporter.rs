//! The exporter: takes finished spans from the queue and sends them in batches, on the background runtime.
//!
//! Its trouble is nobody else's: a receiver that hangs holds up this task alone, the queue fills, and what does not fit is
//! counted by whoever could not put it in. A batch is sent once; a lost batch is counted, and the log tells of the first of a row
//! and of the end of it. Limits: spans that are being sent when the time for the last of them is over may have arrived, and are
//! counted as lost all the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::otlp::Outlet;
use super::span::Record;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::SpanDrop;

/// How often the queue is looked into.
const EVERY: Duration = Duration::from_millis(200);
/// Spans in one request to the receiver: about 200 KiB.
const BATCH: usize = 512;

/// The task that sends spans.
pub struct Exporter {
    spans: mpsc::Receiver<Box<Record>>,
    outlet: Outlet,
    metrics: Arc<Metrics>,
    in_flight: usize,
    failing: bool,
}

impl Exporter {
    pub(super) fn new(spans: mpsc::Receiver<Box<Record>>, outlet: Outlet, metrics: Arc<Metrics>) -> Self {
        Self { spans, outlet, metrics, in_flight: 0, failing: false }
    }

    /// Starts it on the current runtime.
    pub fn start(self) -> Exporting {
        let (stop, stopped) = oneshot::channel();
        Exporting { stop, task: tokio::spawn(self.run(stopped)) }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                _ = &mut stopped => stopping = true,
                () = tokio::time::sleep(EVERY) => {}
            }
            // Not raced against the stop: a batch that is half sent would be lost.
            while let Some(batch) = self.next_batch() {
                self.send(batch).await;
            }
        }
    }

    fn next_batch(&mut self) -> Option<Vec<Record>> {
        let batch: Vec<_> =
            std::iter::from_fn(|| self.spans.try_recv().ok().map(|record| *record)).take(BATCH).collect();
        self.in_flight = batch.len();
        (!batch.is_empty()).then_some(batch)
    }

    async fn send(&mut self, batch: Vec<Record>) {
        let spans = batch.len() as u64;
        match self.outlet.send(batch).await {
            Ok(()) => {
                self.metrics.spans_exported.add(spans);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("traces are exported again");
                }
            }
            Err(reason) => {
                self.metrics.spans_dropped(SpanDrop::NotAccepted, spans);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(reason, "traces cannot be exported: spans are dropped and counted");
                }
            }
        }
        self.in_flight = 0;
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let left = self.spans.len() + self.in_flight;
        if left > 0 {
            self.metrics.spans_dropped(SpanDrop::Stopped, left as u64);
            tracing::warn!(spans = left, "stopping before all traces were exported");
        }
    }
}

/// The running exporter.
pub struct Exporting {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Exporting {
    /// Sends what is left, for at most `limit`.
    pub async fn finish(mut self, limit: Duration) {
        let _ = self.stop.send(());
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
        }
    }
}
