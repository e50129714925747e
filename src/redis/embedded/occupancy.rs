//! Who has the data: asked before every start, so that never two servers write one append-only file.
//!
//! Three witnesses, because each alone can be silent:
//! - the **lock** on `redis.lock`. The server inherits it as its standard input and so holds it until its last process
//!   is gone, frozen or not, whatever becomes of us. Whoever gets this lock knows that no server of ours runs.
//! - the **socket**, which also betrays a server somebody started by hand with our settings. Peer credentials name its
//!   process.
//! - the **pid file**, believed only when that process lives and works in our data directory; for a server whose socket
//!   file was deleted.
//!
//! Limits: a server started by hand *while* ours runs is not seen before the next start.

use std::fs::{self, File};
use std::io;

use super::data_dir::{open_lock_file, try_lock};
use super::greeting::{Greeting, Word, greet};
use super::layout::Layout;
use super::process::Process;
use crate::telemetry::Secret;

/// What the witnesses said.
#[derive(Debug)]
pub(super) enum Occupancy {
    /// Nobody has the data; the lock is ours to hand to a new server.
    Free(File),
    /// A server has it.
    Taken {
        /// Its process, when known.
        by: Option<Process>,
        /// What it said; `None` when nobody listens on the socket.
        word: Option<Word>,
    },
}

/// Hears the witnesses. Takes about a second at most, when the holder is frozen.
pub(super) async fn look(layout: &Layout, password: &Secret) -> io::Result<Occupancy> {
    let lock = free_lock(layout)?;
    match (greet(&layout.socket, password).await, lock) {
        (Greeting::Present { pid, word }, _) => {
            let by = pid.and_then(Process::find).or_else(|| noted(layout));
            Ok(Occupancy::Taken { by, word: Some(word) })
        }
        (Greeting::Absent, None) => Ok(Occupancy::Taken { by: noted(layout), word: None }),
        (Greeting::Absent, Some(lock)) => Ok(match noted(layout) {
            Some(process) => Occupancy::Taken { by: Some(process), word: None },
            None => Occupancy::Free(lock),
        }),
    }
}

/// The lock, when nobody holds it.
pub(super) fn free_lock(layout: &Layout) -> io::Result<Option<File>> {
    let file = open_lock_file(&layout.lock).map_err(io::Error::other)?;
    Ok(try_lock(&file)?.then_some(file))
}

fn noted(layout: &Layout) -> Option<Process> {
    let pid = fs::read_to_string(&layout.pid_file).ok()?.trim().parse().ok()?;
    Process::find(pid).filter(|process| process.works_in(&layout.data))
}
