//! Each worker's own connections, kept by bb8 and lent as clones.
//!
//! Measured: one pool per worker whose multiplexed handles are cloned and whose slot is given back at once costs 14.2 µs a
//! request, a shared pool with exclusive check-out 28.4 µs (`ARCHITECTURE.md`). Light and heavy commands have connections of
//! their own, so that an O(N) command delays no GET behind it. `test_on_check_out` stays on with an `is_valid` that reads two
//! fields: with it off, bb8 hands out dead handles after every loss. Limits: bb8 hides why it could not connect and does not
//! wake its waiters on failure, so waiting is raced against [`WorkerPool::connect_failure`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bb8_redis::bb8;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::catalogue::Weight;
use super::connector::{ConnectError, Connection};
use super::endpoint::Endpoint;
use crate::telemetry::clock;

/// One worker's connections to one endpoint.
pub(super) struct WorkerPool {
    light: Share,
    heavy: Share,
}

impl WorkerPool {
    /// Connects lazily. Must be called on the worker's own runtime: the drivers run where the pool was made.
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        let light = Share::new(endpoint, Weight::Light, endpoint.settings.connections_per_worker);
        Self { light, heavy: Share::new(endpoint, Weight::Heavy, 1) }
    }

    /// A clone of a living connection; waits for one at most the acquire timeout. `None` when none came.
    pub(super) async fn check_out(&self, weight: Weight) -> Option<Connection> {
        self.share(weight).check_out().await
    }

    /// Resolves at the next failed connect of this share: whoever waits for it need not wait out its timeout.
    pub(super) fn connect_failure(&self, weight: Weight) -> Notified<'_> {
        self.share(weight).manager.news.connect_failed.notified()
    }

    fn share(&self, weight: Weight) -> &Share {
        match weight {
            Weight::Light => &self.light,
            Weight::Heavy => &self.heavy,
        }
    }
}

/// The connections for one weight of command.
struct Share {
    pool: bb8::Pool<Manager>,
    manager: Manager,
    size: u32,
    /// Births and deaths that have been answered by filling the pool.
    seen: AtomicU32,
}

impl Share {
    fn new(endpoint: &Arc<Endpoint>, weight: Weight, size: u32) -> Self {
        let manager = Manager { endpoint: endpoint.clone(), weight, news: Arc::default() };
        let pool = bb8::Pool::builder()
            .max_size(size)
            .min_idle(Some(0))
            .max_lifetime(None)
            .idle_timeout(None)
            .test_on_check_out(true)
            .retry_connection(false)
            .connection_timeout(endpoint.settings.acquire_timeout)
            .build_unchecked(manager.clone());
        Self { pool, manager, size, seen: AtomicU32::new(0) }
    }

    async fn check_out(&self) -> Option<Connection> {
        let connection = Connection::clone(&*self.pool.get().await.ok()?);
        let changes = self.manager.news.changes.load(Ordering::Relaxed);
        if changes != self.seen.swap(changes, Ordering::Relaxed) && self.size > 1 {
            self.fill();
        }
        Some(connection)
    }

    /// bb8 connects only when nothing is idle, and clones are given back at once: left alone, a pool that lost a connection
    /// would stay small. So what is missing is made here and added, while callers go on with what there is.
    fn fill(&self) {
        if self.manager.news.filling.swap(true, Ordering::Relaxed) {
            return;
        }
        let (pool, manager, size) = (self.pool.clone(), self.manager.clone(), self.size);
        tokio::spawn(async move {
            while pool.state().connections < size {
                let added = manager.make().await.is_ok_and(|connection| pool.add(connection).is_ok());
                if !added {
                    break;
                }
            }
            manager.news.filling.store(false, Ordering::Relaxed);
        });
    }
}

/// What the pool does not tell: births and deaths of connections, and connects that failed.
#[derive(Default)]
struct News {
    changes: AtomicU32,
    filling: AtomicBool,
    connect_failed: Notify,
}

/// bb8's way to make and judge connections.
#[derive(Clone)]
struct Manager {
    endpoint: Arc<Endpoint>,
    weight: Weight,
    news: Arc<News>,
}

impl Manager {
    async fn make(&self) -> Result<Connection, ConnectError> {
        match self.endpoint.reconnect().await {
            Ok(connection) => {
                if self.weight == Weight::Heavy {
                    connection.link.carries_heavy();
                }
                self.news.changes.fetch_add(1, Ordering::Relaxed);
                Ok(connection)
            }
            Err(error) => {
                self.news.connect_failed.notify_waiters();
                Err(error)
            }
        }
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Connection, ConnectError> {
        self.make().await
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let too_old = match self.endpoint.settings.max_connection_age {
            Some(age) => clock::now().saturating_since(connection.link.born) > age,
            None => false,
        };
        if too_old || connection.link.is_dead() {
            self.news.changes.fetch_add(1, Ordering::Relaxed);
            return Err(ConnectError::Stale);
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.link.is_dead()
    }
}
