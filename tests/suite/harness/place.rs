//! Where the harness lets its servers write: in memory, where there is enough of it.
//!
//! Why so: a Redis that writes every command to disk answers when the disk does. One that others keep busy, with a build or with the
//! tests beside, would decide what callers are told. No test is about disks. Limits: `/dev/shm` with a gibibyte free, else the usual
//! place for temporary files.

use std::path::PathBuf;

use rustix::fs::{Access, access, statvfs};
use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";
const ENOUGH: u64 = 1 << 30;

/// A directory of its own, gone when it is dropped.
pub fn directory(prefix: &str) -> TempDir {
    let place = if memory_has_room() { PathBuf::from(MEMORY) } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix(prefix).tempdir_in(place).expect("a directory")
}

fn memory_has_room() -> bool {
    access(MEMORY, Access::WRITE_OK).is_ok()
        && statvfs(MEMORY).is_ok_and(|memory| memory.f_bavail * memory.f_frsize >= ENOUGH)
}
