//! Spans on their way from the workers to the exporter: bounded, never waited for, never waking anybody.
//!
//! A worker puts a span in and goes on; when there is no room the span is lost and counted. The exporter looks in from time to
//! time, so that no request pays for waking another thread.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::span::Record;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::SpanDrop;

/// The workers' end.
pub(super) struct Queue {
    sender: Sender<Box<Record>>,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// Both ends of a queue for `spans` spans.
    pub(super) fn new(spans: usize, metrics: Arc<Metrics>) -> (Arc<Self>, Receiver<Box<Record>>) {
        let (sender, receiver) = mpsc::channel(spans.max(1));
        (Arc::new(Self { sender, metrics }), receiver)
    }

    /// Puts a finished span in, or counts its loss.
    pub(super) fn push(&self, record: Box<Record>) {
        if self.sender.try_send(record).is_err() {
            self.metrics.spans_dropped(SpanDrop::QueueFull, 1);
        }
    }
}
