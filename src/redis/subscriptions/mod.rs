//! Subscriptions: any number of readers, one subscription a channel, one connection for all.
//!
//! A subscribed connection can do nothing else, so giving each reader one of his own would cost Redis a client a reader. Here a
//! reader joins a [`Topic`] in memory; the [`SubscriptionKeeper`], on the background runtime, tells Redis about the first reader
//! of a topic and the last. A message is read from the socket once and handed to every reader's mailbox as one shared value.
//!
//! After a loss of Redis the readers stay. When the subscription stands again each is told of the hole
//! ([`StreamEvent::Discontinuity`]): only then, because a reader who fetches what he missed any earlier would miss some of it.
//!
//! | file | its one job |
//! |---|---|
//! | `registry` | who reads what, what Redis has been asked; pure |
//! | `mailbox` | one reader's bounded queue |
//! | `keeper` | the task that holds the connection |
//! | `line`, `wire` | that connection, and what is said on it |
//!
//! Limits: Redis keeps no messages, so what is published during a hole is lost and cannot be counted. One keeper an endpoint: a
//! flood of messages is bounded by what one thread can hand out, and Redis cuts a connection that falls too far behind.

mod keeper;
mod line;
mod mailbox;
mod registry;
mod wire;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use redis_rs::ServerError;
use tokio::sync::Notify;

use super::error::Error;
use super::settings::StreamSettings;
use crate::telemetry::metrics::{Metrics, ShedReason, StreamCut};

pub use keeper::SubscriptionKeeper;
pub(super) use line::{Line, connect};
use mailbox::{Bounds, Mailbox};
pub use mailbox::{Message, StreamEnd, StreamEvent};
use registry::Registry;
pub use registry::Topic;

/// When to ask again for a stream that was refused for want of room: streams are long-lived, places come free slowly.
const ROOM_RETRY: Duration = Duration::from_secs(5);
/// When to ask again while this instance stops: about the time balancers need to notice.
const DRAIN_RETRY: Duration = Duration::from_secs(1);

/// Why there is no stream. In every case nothing was changed.
#[derive(Debug)]
pub enum NoStream {
    /// No definite answer of Redis.
    Gateway(Error),
    /// Redis refuses the subscription.
    Redis(ServerError),
    /// As many streams as allowed are open.
    Full {
        /// How many that is.
        max: usize,
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// The service is stopping.
    Draining {
        /// When another instance, or the next life of this one, may answer.
        retry_after: Duration,
    },
}

impl From<Error> for NoStream {
    fn from(error: Error) -> Self {
        Self::Gateway(error)
    }
}

/// The subscriptions of one endpoint, shared by all workers and the keeper.
pub struct Subscriptions {
    settings: StreamSettings,
    metrics: Arc<Metrics>,
    streams: AtomicUsize,
    closed: AtomicBool,
    registry: Mutex<Registry>,
    /// Tells the keeper that Redis may have to be told something.
    changed: Notify,
}

impl Subscriptions {
    pub(super) fn new(settings: StreamSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            metrics,
            streams: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            registry: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Streams that are open: those whose readers have not left, cut ones included.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Streams that may be open.
    pub fn streams_max(&self) -> usize {
        self.settings.max
    }

    /// Subscriptions that Redis holds for us.
    pub fn held(&self) -> usize {
        self.registry().held()
    }

    /// Ends all streams and refuses new ones: a drain must not wait for readers who never mean to leave.
    pub fn close(&self) {
        // Under the lock, so that nobody joins between the two.
        let mut registry = self.registry();
        self.closed.store(true, Ordering::Relaxed);
        let ended = registry.end_all(&StreamEnd::Draining);
        drop(registry);
        self.count_cuts(StreamCut::Draining, ended);
    }

    /// A reader of `topic`, confirmed or not.
    pub(super) fn join(self: &Arc<Self>, topic: Topic) -> Result<Subscription, NoStream> {
        let max = self.settings.max;
        let room = |open: usize| (open < max).then_some(open + 1);
        if self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            self.metrics.shed(ShedReason::Streams);
            let retry_after = ROOM_RETRY.mul_f64(1.0 + fastrand::f64());
            return Err(NoStream::Full { max, retry_after });
        }
        let bounds = Bounds { messages: self.settings.buffer_messages, bytes: self.settings.buffer_bytes };
        let mailbox = Mailbox::new(bounds);
        let mut registry = self.registry();
        if self.closed.load(Ordering::Relaxed) {
            drop(registry);
            self.streams.fetch_sub(1, Ordering::Relaxed);
            self.metrics.shed(ShedReason::Draining);
            return Err(NoStream::Draining { retry_after: DRAIN_RETRY });
        }
        let reader = registry.join(&topic, mailbox.clone());
        drop(registry);
        self.changed.notify_one();
        Ok(Subscription { subscriptions: self.clone(), topic, reader, mailbox })
    }

    fn leave(&self, topic: &Topic, reader: u64) {
        self.registry().leave(topic, reader);
        self.streams.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn count_cuts(&self, reason: StreamCut, streams: usize) {
        if streams > 0 {
            self.metrics.stream_cut(reason, streams as u64);
        }
    }

    /// A poisoned lock would mean a panic amid plain map operations; readers are better served by what is there.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader's subscription. Dropping it leaves; the last to leave a topic ends the subscription at Redis.
pub struct Subscription {
    subscriptions: Arc<Subscriptions>,
    topic: Topic,
    reader: u64,
    mailbox: Arc<Mailbox>,
}

impl Subscription {
    /// What is subscribed to.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The next event, or why there will be none.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<StreamEvent, StreamEnd>> {
        self.mailbox.poll_next(context)
    }

    /// Resolves when Redis has confirmed the subscription. To be awaited once, before anything is read.
    pub(super) async fn confirmed(&mut self) -> Result<(), NoStream> {
        match poll_fn(|context| self.poll_next(context)).await {
            Ok(StreamEvent::Confirmed | StreamEvent::Message(_) | StreamEvent::Discontinuity) => Ok(()),
            Err(StreamEnd::Refused(error)) => Err(NoStream::Redis(error)),
            Err(StreamEnd::Draining | StreamEnd::SlowReader) => Err(NoStream::Draining { retry_after: DRAIN_RETRY }),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscriptions.leave(&self.topic, self.reader);
    }
}
