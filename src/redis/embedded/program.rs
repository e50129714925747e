//! Which server program to run: `redis-server`, else `valkey-server`, from the search path.
//!
//! Limits: the choice is made anew at every start. A data directory written by a newer Redis may be unreadable to the
//! other program; the server then says so in its log, which the supervisor passes on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::Access;

/// In order of preference. Both read the same settings.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// The first program of the table in any directory of the path (`PATH` syntax).
pub(super) fn find(path: &OsStr) -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|program| {
        std::env::split_paths(path)
            // A relative entry would run whatever lies in the working directory.
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(program))
            .find(|candidate| is_program(candidate))
    })
}

/// The major version of a server program, which it is asked for; `None` if it does not say.
pub(super) fn major_version(program: &Path) -> Option<u32> {
    let told = Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).output().ok()?;
    // `Redis server v=7.0.15 sha=…`, and Valkey likewise.
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    version.split('.').next()?.parse().ok()
}

fn is_program(candidate: &Path) -> bool {
    candidate.is_file() && rustix::fs::access(candidate, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn place(directory: &Path, program: &str, mode: u32) -> PathBuf {
        let path = directory.join(program);
        fs::write(&path, "").expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        path
    }

    #[test]
    fn either_program_is_found_and_redis_is_preferred() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().as_os_str();
        assert_eq!(find(path), None);
        let valkey = place(home.path(), "valkey-server", 0o755);
        assert_eq!(find(path), Some(valkey));
        let redis = place(home.path(), "redis-server", 0o755);
        assert_eq!(find(path), Some(redis));
    }

    #[test]
    fn a_program_is_asked_for_its_version() {
        let home = tempfile::tempdir().expect("temporary directory");
        for (told, major) in [
            ("Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", Some(6)),
            ("Valkey server v=8.1.0 sha=00000000:0", Some(8)),
            ("something else", None),
            ("v=x", None),
        ] {
            let path = place(home.path(), "redis-server", 0o755);
            fs::write(&path, format!("#!/bin/sh\necho '{told}'\n")).expect("write");
            assert_eq!(major_version(&path), major, "{told}");
        }
        assert_eq!(major_version(&home.path().join("none")), None);
    }

    #[test]
    fn a_file_that_cannot_be_run_is_passed_over() {
        let home = tempfile::tempdir().expect("temporary directory");
        place(home.path(), "redis-server", 0o644);
        assert_eq!(find(home.path().as_os_str()), None);
    }
}
