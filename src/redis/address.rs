//! Where Redis is and who we say we are.
//!
//! Made from parts that the configuration has checked already. The password sits inside the driver's own type, which shows it to
//! nobody. Limits: one endpoint; topologies come with their own address lists.

use std::path::PathBuf;
use std::sync::Arc;

use redis_rs::{ProtocolVersion, RedisConnectionInfo};

use super::lookup::Host;
use super::tls::Tls;
use crate::telemetry::Secret;

/// A Redis server's place on the network or in the file system, with the identity to present there.
#[derive(Clone)]
pub struct Address {
    pub(super) place: Place,
    pub(super) identity: RedisConnectionInfo,
}

/// The transport part of an address.
#[derive(Clone)]
pub(super) enum Place {
    /// Within TLS if there is a [`Tls`].
    Tcp {
        host: Arc<Host>,
        tls: Option<Arc<Tls>>,
    },
    Unix(PathBuf),
}

impl Address {
    /// A server that listens on TCP.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::at(Place::Tcp { host: Arc::new(Host::new(host.into(), port)), tls: None })
    }

    /// A server that listens on TCP and is spoken to within TLS.
    pub fn tls(host: impl Into<String>, port: u16, tls: Tls) -> Self {
        Self::at(Place::Tcp { host: Arc::new(Host::new(host.into(), port)), tls: Some(Arc::new(tls)) })
    }

    /// A server that listens on a unix socket.
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Self::at(Place::Unix(socket.into()))
    }

    /// Signs in with these; without a user name as the server's default user.
    pub fn with_credentials(mut self, username: Option<&str>, password: Option<&Secret>) -> Self {
        if let Some(username) = username {
            self.identity = self.identity.set_username(username);
        }
        if let Some(password) = password {
            self.identity = self.identity.set_password(password.expose());
        }
        self
    }

    /// Selects this logical database.
    pub fn with_database(mut self, database: u32) -> Self {
        self.identity = self.identity.set_db(i64::from(database));
        self
    }

    fn at(place: Place) -> Self {
        // RESP2: the shapes both dialects promise, and what the gateway's proofs were made on (D12).
        let identity = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        Self { place, identity }
    }
}
