//! Each worker's own connections, kept by bb8 and lent as clones.
//!
//! Measured: one pool per worker whose multiplexed handles are cloned and whose slot is given back at once costs 14.2 µs a
//! request, a shared pool with exclusive check-out 28.4 µs (`ARCHITECTURE.md`). Light and heavy commands have connections of
//! their own, so that an O(N) command delays no GET behind it. `test_on_check_out` stays on with an `is_valid` that reads two
//! fields: with it off, bb8 hands out dead handles after every loss. Limits: bb8 hides why it could not connect and does not
//! wake its waiters on failure, so waiting is raced against [`Endpoint::connect_failure`] by the gateway.

use std::sync::Arc;

use bb8_redis::bb8;

use super::catalogue::Weight;
use super::connector::{ConnectError, Connection};
use super::endpoint::Endpoint;
use crate::telemetry::clock;

/// One worker's connections to one endpoint.
pub(super) struct WorkerPool {
    light: bb8::Pool<Manager>,
    heavy: bb8::Pool<Manager>,
}

impl WorkerPool {
    /// Connects lazily. Must be called on the worker's own runtime: the drivers run where the pool was made.
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        let settings = &endpoint.settings;
        let pool = |size: u32| {
            bb8::Pool::builder()
                .max_size(size)
                .min_idle(Some(0))
                .max_lifetime(None)
                .idle_timeout(None)
                .test_on_check_out(true)
                .retry_connection(false)
                .connection_timeout(settings.acquire_timeout)
                .build_unchecked(Manager { endpoint: endpoint.clone() })
        };
        Self { light: pool(settings.connections_per_worker), heavy: pool(1) }
    }

    /// A clone of a living connection; waits for one at most the acquire timeout. `None` when none came.
    pub(super) async fn check_out(&self, weight: Weight) -> Option<Connection> {
        let pool = match weight {
            Weight::Light => &self.light,
            Weight::Heavy => &self.heavy,
        };
        let pooled = pool.get().await.ok()?;
        Some(Connection::clone(&pooled))
    }
}

/// bb8's way to make and judge connections.
struct Manager {
    endpoint: Arc<Endpoint>,
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Connection, ConnectError> {
        self.endpoint.reconnect().await
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let too_old = match self.endpoint.settings.max_connection_age {
            Some(age) => clock::now().saturating_since(connection.link.born) > age,
            None => false,
        };
        if too_old || connection.link.is_dead() { Err(ConnectError::Stale) } else { Ok(()) }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.link.is_dead()
    }
}
