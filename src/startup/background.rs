//! The background thread: the keeper of the endpoint, that of its subscriptions, the migrations, the exporter of traces,
//! what limiters owe Redis, and the supervisor of the embedded server.
//!
//! A thread and a runtime of its own, so that no amount of traffic delays the discovery of an outage or of its end. It is told
//! to stop after the workers have stopped: the last requests still need a keeper and a server. Limits: a panic in here ends the
//! thread and is reported by [`Background::stop`].

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::redis::embedded::{Embedded, EmbeddedEvent};
use crate::redis::functions::Obstacle;
use crate::redis::{Endpoint, Gateway, Keeper, SubscriptionKeeper};
use crate::resilience::Deadline;
use crate::resources::limiters::memory::Memory;
use crate::resources::limiters::settlement;
use crate::telemetry::clock;
use crate::telemetry::traces::Exporter;

/// How long it may take to tell Redis what one limiter granted alone.
const SETTLEMENT_PATIENCE: Duration = Duration::from_secs(2);
/// How long one try at the migrations may take: longer than a dead replica's lock lasts.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

/// The running thread.
pub(super) struct Background {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Background {
    /// Starts the thread. `ready` is told once when the embedded server first answers; at once when there is none. The exporter
    /// gets the time beside it to send what is left in the end.
    pub(super) fn start(
        endpoint: Arc<Endpoint>,
        limiters: Arc<Memory>,
        embedded: Option<Embedded>,
        exporting: Option<(Exporter, Duration)>,
        ready: oneshot::Sender<()>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("background".into()).spawn(move || {
            runtime.block_on(async {
                let exporting = exporting.map(|(exporter, limit)| (exporter.start(), limit));
                work(endpoint, limiters, embedded, ready, stopped).await;
                if let Some((exporting, limit)) = exporting {
                    exporting.finish(limit).await;
                }
            });
            // A receiver's name may still be looked up, and nobody is to wait for that.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops everything and waits for it; the embedded server is given time to end cleanly.
    pub(super) fn stop(self) -> io::Result<()> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| io::Error::other("the background thread panicked"))
    }
}

async fn work(
    endpoint: Arc<Endpoint>,
    limiters: Arc<Memory>,
    embedded: Option<Embedded>,
    ready: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
) {
    // From the system: two instances of one name would be counted as one.
    let instance = format!("{:016x}", getrandom::u64().unwrap_or_else(|_| fastrand::u64(..)));
    let subscriptions = SubscriptionKeeper::new(endpoint.clone());
    // A task of its own: a flood of messages takes turns with the keeper instead of a share of its turns. Ends with the runtime.
    tokio::spawn(async move { subscriptions.run().await });
    let settling = settlement::run(endpoint.clone(), limiters, SETTLEMENT_PATIENCE);
    let migrating = put_functions_in_place(endpoint.clone());
    let keeper = Keeper::new(endpoint, &instance);
    let keeper = async {
        tokio::join!(keeper.run(), migrating, settling);
    };
    let Some(embedded) = embedded else {
        let _ = ready.send(());
        tokio::select! {
            _ = stopped => {}
            () = keeper => {}
        }
        return;
    };
    let first = std::cell::Cell::new(Some(ready));
    let (answering, answers) = tokio::sync::watch::channel(false);
    let on_event = |event: EmbeddedEvent| {
        if matches!(event, EmbeddedEvent::Ready { .. }) {
            answering.send_replace(true);
            if let Some(ready) = first.take() {
                let _ = ready.send(());
            }
        }
    };
    let keep = async {
        // Asking a server that has not opened its socket yet would only open the breakers.
        let mut answers = answers;
        let _ = tokio::time::timeout(super::lifecycle::EMBEDDED_PATIENCE, answers.wait_for(|answers| *answers)).await;
        keeper.await;
    };
    let stopped = async {
        let _ = stopped.await;
    };
    tokio::select! {
        () = embedded.supervise(stopped, on_event) => {}
        () = keep => {}
    }
}

/// Applies the migrations as soon as Redis answers: their absence delays no start, and an outage only them. Later losses are found by
/// whoever calls a function.
async fn put_functions_in_place(endpoint: Arc<Endpoint>) {
    let gateway = Gateway::new(endpoint);
    loop {
        let deadline = Deadline::after(clock::now(), MIGRATION_PATIENCE);
        match gateway.put_in_place(None, deadline).await {
            Ok(()) => return,
            Err(Obstacle::Unsupported) => return,
            Err(_) => tokio::time::sleep(MIGRATION_PAUSE).await,
        }
    }
}
