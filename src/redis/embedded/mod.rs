//! The Redis that comes with us: a private `redis-server` (or `valkey-server`) when no `redis.url` is given.
//!
//! It listens on a unix socket in the data directory only, asks for a generated password, syncs every write, and is
//! supervised: restarted when it dies, adopted when it outlived us, ended when we end. On one data directory there is
//! never a second one.
//!
//! - `data_dir`      the directory, its lock, its secrets          - `child`     start, adopt, watch, end
//! - `private_file`  files for the owner only                      - `occupancy` who has the data now
//! - `layout`        where things are, the settings file           - `greeting`  is a server there, is it ours
//! - `program`       which server program                          - `process`   a process that is not our child
//! - `log_tail`      a server's last words                         - `rights`    what the service may do there
//!
//! The supervisor talks to the server itself, three commands, outside the gateway: it must know whether there is a server
//! before a gateway can exist, and it must not depend on a breaker that is open because the server is being restarted.
//! It never touches data.
//!
//! Limits: unix only; the full protection against a second server needs Linux (`/proc`, `flock` inherited by the
//! server).

mod child;
mod data_dir;
mod greeting;
mod layout;
mod log_tail;
mod occupancy;
mod private_file;
mod process;
mod program;
mod rights;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use data_dir::{DataDir, DataDirError};

use self::child::Supervisor;
use self::data_dir::{Hold, own_directory, resolved, resolved_if_there};
use self::layout::{Layout, SOCKET_PATH_BYTES_MAX};
use crate::redis::catalogue::SERVICE_USER;
use crate::telemetry::Secret;

/// A server that is ready to be supervised: program found, password and settings written, nothing started.
pub struct Embedded {
    layout: Layout,
    program: PathBuf,
    /// Its major version, if it told one.
    major: Option<u32>,
    password: Secret,
    /// Two instances on one directory would fight over one server, so the lock lives as long as the supervision.
    _hold: Arc<Hold>,
}

impl Embedded {
    /// Prepares a server in the data directory, with the program found on the given search path (the value of `PATH`;
    /// it enters as a value because only the configuration reads the environment).
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn prepare(dir: &DataDir, search_path: &OsStr) -> Result<Self, EmbeddedError> {
        let mut layout = Layout::within(dir.path());
        check_socket_path(&layout.socket)?;
        let program = program::find(search_path).ok_or(EmbeddedError::NoProgram)?;
        let password = dir.secret("redis-password")?;
        layout.data = private_directory(&layout.data)?;
        layout.log = resolved_if_there(layout.log)?;
        let major = program::major_version(&program);
        if !rights::takes_list(major) {
            tracing::warn!(major, "the embedded Redis is older than 7.0: callers' scripts may do everything there");
        }
        private_file::write(&layout.settings, &layout.settings_text(&password, &rights::user_line(&password, major)))
            .map_err(|source| DataDirError::io("write", &layout.settings, source))?;
        Ok(Self { layout, program, major, password, _hold: dir.hold() })
    }

    /// The socket the server listens on, absolute.
    pub fn socket_path(&self) -> &Path {
        &self.layout.socket
    }

    /// The user to sign in as.
    pub fn user(&self) -> &'static str {
        SERVICE_USER
    }

    /// That user's password.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// Keeps one server running until `stop` is ready, then ends it (at most about ten seconds) and returns. What
    /// happens is logged and told to `events`.
    ///
    /// Needs a runtime with I/O and time. Dropped before it returned, it sends the server SIGTERM and does not wait; a
    /// later supervision of the same directory waits for that server's end, or adopts it.
    pub async fn supervise(self, stop: impl Future<Output = ()>, events: impl Fn(EmbeddedEvent)) {
        let mut supervisor = Supervisor::new(self, events);
        tokio::select! {
            biased;
            () = stop => {}
            never = supervisor.serve() => match never {},
        }
        supervisor.shut_down().await;
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("program", &self.program)
            .field("socket", &self.layout.socket)
            .finish_non_exhaustive()
    }
}

/// What happened to the embedded server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddedEvent {
    /// A server was started; it may still be reading its data.
    Started {
        /// Its process.
        pid: u32,
    },
    /// A server that outlived an earlier instance was taken over.
    Adopted {
        /// Its process.
        pid: u32,
    },
    /// The server answers.
    Ready {
        /// The process that listens, where the system tells.
        pid: Option<u32>,
    },
    /// An earlier server has the data and cannot be adopted yet; nothing is started beside it.
    Waiting {
        /// Its process, when known.
        pid: Option<u32>,
        /// What stands in the way.
        reason: &'static str,
    },
    /// The server ended, or could not be started; the next attempt follows.
    Down {
        /// The process that ended.
        pid: Option<u32>,
        /// How it ended, or why it did not start.
        reason: String,
        /// The last lines it wrote to its log.
        log_tail: Vec<String>,
        /// The wait before the next attempt.
        retry_in: Duration,
    },
    /// The server was ended because we end.
    Stopped,
}

impl EmbeddedEvent {
    /// One log record per event; the only place that logs them.
    fn log(&self) {
        match self {
            Self::Started { pid } => tracing::info!(pid, "embedded Redis started"),
            Self::Adopted { pid } => tracing::info!(pid, "embedded Redis of an earlier run adopted"),
            Self::Ready { pid } => tracing::info!(pid, "embedded Redis answers"),
            Self::Waiting { pid, reason } => {
                tracing::warn!(pid, reason, "an earlier embedded Redis has the data: waiting for it")
            }
            Self::Down { pid, reason, log_tail, retry_in } => tracing::error!(
                pid,
                reason,
                log = log_tail.join(" | "),
                retry_in_ms = retry_in.as_millis() as u64,
                "embedded Redis is down"
            ),
            Self::Stopped => tracing::info!("embedded Redis stopped"),
        }
    }
}

/// Why no embedded server can be prepared. Texts name the way out.
#[derive(Debug)]
pub enum EmbeddedError {
    /// Neither `redis-server` nor `valkey-server` is on the search path.
    NoProgram,
    /// The socket's path does not fit into a unix socket address.
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The data directory refused.
    DataDir(DataDirError),
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram => f.write_str(
                "no redis-server or valkey-server on PATH: install one (apt-get install redis-server, dnf install valkey, \
                 apk add valkey, brew install redis), or set redis.url (COLLECTIVE_REDIS__URL) to a Redis of your own",
            ),
            Self::SocketPathTooLong { path } => write!(
                f,
                "the socket path {} has {} bytes, and a unix socket takes {SOCKET_PATH_BYTES_MAX}: set data_dir \
                 (COLLECTIVE_DATA_DIR) to a shorter path",
                path.display(),
                path.as_os_str().len()
            ),
            Self::DataDir(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for EmbeddedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DataDir(source) => source.source(),
            Self::NoProgram | Self::SocketPathTooLong { .. } => None,
        }
    }
}

impl From<DataDirError> for EmbeddedError {
    fn from(error: DataDirError) -> Self {
        Self::DataDir(error)
    }
}

fn check_socket_path(path: &Path) -> Result<(), EmbeddedError> {
    let fits = path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX;
    if fits { Ok(()) } else { Err(EmbeddedError::SocketPathTooLong { path: path.to_owned() }) }
}

/// The directory as the kernel will name it, behind a link of ours if there is one.
fn private_directory(path: &Path) -> Result<PathBuf, DataDirError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DataDirError::io("create", path, source))?;
    let path = resolved(path)?;
    own_directory(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o700))
        .map_err(|source| DataDirError::io("close to other users (chmod 700)", &path, source))?;
    Ok(path)
}
