//! Each worker's own connections, kept by bb8 and lent as clones.
//!
//! Measured: one pool per worker whose multiplexed handles are cloned and whose slot is given back at once costs 14.2 µs a
//! request, a shared pool with exclusive check-out 28.4 µs (`ARCHITECTURE.md`). Light and heavy commands have connections of
//! their own, so that an O(N) command delays no GET behind it. `test_on_check_out` stays on with an `is_valid` that reads two
//! fields: with it off, bb8 hands out dead handles after every loss. While all connections live, clones of them are at hand here, in
//! turn, and bb8 is passed by: its lock, its timer and its clock cost a tenth of a GET. Limits: bb8 hides why it could not connect
//! and does not wake its waiters on failure, so waiting is raced against [`WorkerPool::connect_failure`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bb8_redis::bb8;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::catalogue::Weight;
use super::connector::{ConnectError, Connection};
use super::endpoint::Endpoint;
use crate::resilience::Moment;
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

    /// A clone of a living connection, if all of them live. Else it takes a [`check_out`](Self::check_out), which sees to what is
    /// missing.
    pub(super) fn at_hand(&self, weight: Weight, now: Moment) -> Option<Connection> {
        self.share(weight).at_hand(now)
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
    lent: Mutex<Lent>,
}

/// Clones of what the pool holds. Only its own worker looks here, so the lock is never waited for.
#[derive(Default)]
struct Lent {
    connections: Vec<Connection>,
    turn: usize,
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
        Self { pool, manager, size, lent: Mutex::default() }
    }

    fn at_hand(&self, now: Moment) -> Option<Connection> {
        let mut lent = self.lent();
        if lent.connections.len() < self.size as usize {
            return None;
        }
        lent.turn = (lent.turn + 1) % lent.connections.len();
        let connection = &lent.connections[lent.turn];
        if self.manager.is_usable(connection, now) {
            return Some(connection.clone());
        }
        let turn = lent.turn;
        lent.connections.remove(turn);
        None
    }

    fn lent(&self) -> MutexGuard<'_, Lent> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a clone at hand; true if all there can be are. The pool gives its connections in turn, so a few calls find them all.
    fn keep(&self, connection: &Connection) -> bool {
        let mut lent = self.lent();
        lent.connections.retain(|known| !known.link.is_dead());
        let known = lent.connections.iter().any(|known| Arc::ptr_eq(&known.link, &connection.link));
        if !known && lent.connections.len() < self.size as usize {
            lent.connections.push(connection.clone());
        }
        lent.connections.len() == self.size as usize
    }

    async fn check_out(&self) -> Option<Connection> {
        let connection = Connection::clone(&*self.pool.get().await.ok()?);
        // Until all are at hand: one filling may have met a failed connect, and nobody else would make up for it.
        if !self.keep(&connection) {
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

/// What the pool does not tell: that a connect failed; and whether somebody is filling it.
#[derive(Default)]
struct News {
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
    /// Alive, and not too old.
    fn is_usable(&self, connection: &Connection, now: Moment) -> bool {
        let too_old = |age| now.saturating_since(connection.link.born) > age;
        !connection.link.is_dead() && !self.endpoint.settings.max_connection_age.is_some_and(too_old)
    }

    async fn make(&self) -> Result<Connection, ConnectError> {
        match self.endpoint.reconnect().await {
            Ok(connection) => {
                if self.weight == Weight::Heavy {
                    connection.link.carries_heavy();
                }
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
        if !self.is_usable(connection, clock::now()) {
            return Err(ConnectError::Stale);
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.link.is_dead()
    }
}
