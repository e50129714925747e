//! TLS to Redis: whom we trust, who we are, and the handshake.
//!
//! The server's certificate is always verified, its chain and its name: there is no switch to leave that out. With a CA file only the
//! CAs in it are trusted, without one those of the system. The files are looked at before each connect and read anew when they have
//! changed, so that a certificate renewed on disk needs no restart; a new file that cannot be used leaves the old one in force.
//! Sessions are never resumed: a resumed one would skip the verification, and connects are rare.
//! Limits: TLS 1.2 and 1.3; no revocation lists. The system's CAs are read once.

mod fault;
mod files;
mod stream;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(super) use fault::{Fault, FaultSlot};
pub use files::{FileFault, TlsFiles, TlsRole};
pub(super) use stream::TlsStream;

use files::Stamps;

/// What a connection within TLS needs: the trusted CAs, our own certificate, the name to expect.
pub struct Tls {
    files: TlsFiles,
    name: ServerName<'static>,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ClientConfig>,
    stamps: Stamps,
}

/// Why no TLS can be had with these settings.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be used.
    File(FileFault),
    /// No certificate can bear the host's name.
    Name,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(fault) => write!(f, "{fault}"),
            Self::Name => f.write_str("the host is no name that a certificate can bear"),
        }
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// Reads the files for connections to `host`.
    ///
    /// # Errors
    /// A file that cannot be read or used, or a host that no certificate can name.
    pub fn load(host: &str, files: TlsFiles) -> Result<Self, TlsError> {
        let name = ServerName::try_from(host).map_err(|_| TlsError::Name)?.to_owned();
        let stamps = files.stamps();
        let config = files.read().map_err(TlsError::File)?;
        Ok(Self { files, name, current: Mutex::new(Current { config: Arc::new(config), stamps }) })
    }

    /// Everything that [`Tls::load`] could fail with, for those who want to hear it all at once.
    pub fn errors(host: &str, files: &TlsFiles) -> Vec<TlsError> {
        let name = ServerName::try_from(host).is_err().then_some(TlsError::Name);
        name.into_iter().chain(files.faults().into_iter().map(TlsError::File)).collect()
    }

    /// Shakes hands over a connected socket. The error is an [`io::Error`] that [`Fault::of`] can read.
    pub(super) async fn wrap(&self, socket: TcpStream) -> io::Result<TlsStream> {
        let connector = TlsConnector::from(self.config());
        Ok(TlsStream::new(connector.connect(self.name.clone(), socket).await?))
    }

    /// The configuration the files give now. Looking at them costs three calls of the system a connect.
    fn config(&self) -> Arc<ClientConfig> {
        let stamps = self.files.stamps();
        // A poisoned lock only says that a thread panicked between two assignments.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if stamps != current.stamps {
            current.stamps = stamps;
            match self.files.read() {
                Ok(config) => {
                    current.config = Arc::new(config);
                    tracing::info!("the TLS files for Redis have changed and were read anew");
                }
                Err(fault) => tracing::warn!(%fault, "changed TLS files for Redis: the former ones stay in force"),
            }
        }
        current.config.clone()
    }
}

#[cfg(test)]
mod tests;
