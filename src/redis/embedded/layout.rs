//! Where the embedded server's things are, and the settings file that tells it so.
//!
//! The settings are written anew at every start, so a new version of this program brings its own. The password is in
//! the file (0600), never on the command line, where every user of the machine could read it.
//!
//! `appendfsync always` because an acknowledged write must survive `kill -9` of both of us; `noeviction` because a
//! lease, a counter or a credential that vanishes silently is worse than an error. Limits: the log is not rotated while the
//! server runs (at this level it writes a few lines per rewrite of the append-only file), only before a start.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::telemetry::Secret;

/// The longest path a unix socket address can carry, without its closing zero.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The files of one embedded server, all absolute.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Where the server works and keeps its append-only file.
    pub(super) data: PathBuf,
    /// The settings file.
    pub(super) settings: PathBuf,
    /// The unix socket.
    pub(super) socket: PathBuf,
    /// Locked by the server process itself, through an inherited descriptor.
    pub(super) lock: PathBuf,
    /// Written by the server.
    pub(super) pid_file: PathBuf,
    /// Written by the server, and by the loader when the server cannot even start.
    pub(super) log: PathBuf,
}

impl Layout {
    /// The layout inside a data directory.
    pub(super) fn within(data_dir: &Path) -> Self {
        Self {
            data: data_dir.join("redis"),
            settings: data_dir.join("redis.conf"),
            socket: data_dir.join("redis.sock"),
            lock: data_dir.join("redis.lock"),
            pid_file: data_dir.join("redis.pid"),
            log: data_dir.join("redis.log"),
        }
    }

    /// The content of the settings file. The password is that of `default`; `user_line` is the user the service signs in as.
    pub(super) fn settings_text(&self, password: &Secret, user_line: &str) -> Vec<u8> {
        let mut text = Vec::from(SETTINGS);
        let mut line = |directive: &str, value: &[u8]| {
            text.extend_from_slice(directive.as_bytes());
            text.push(b' ');
            quote(value, &mut text);
            text.push(b'\n');
        };
        line("unixsocket", self.socket.as_os_str().as_bytes());
        line("dir", self.data.as_os_str().as_bytes());
        line("pidfile", self.pid_file.as_os_str().as_bytes());
        line("logfile", self.log.as_os_str().as_bytes());
        line("requirepass", password.expose().as_bytes());
        text.extend_from_slice(user_line.as_bytes());
        text.push(b'\n');
        text
    }
}

const SETTINGS: &str = "\
# Written by collective at every start: changes made here are lost.
port 0
unixsocketperm 700
protected-mode yes
daemonize no
supervised no
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
save \"\"
maxmemory-policy noeviction
loglevel notice
";

/// Redis' own quoting: any byte can be written, so no path can break out of its line.
fn quote(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            // Writing to a vector cannot fail.
            _ => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_break_out_of_its_line() {
        let mut out = Vec::new();
        quote("/tmp/a \"b\\\nport 1/é".as_bytes(), &mut out);
        assert_eq!(out, br#""/tmp/a \"b\\\x0aport 1/\xc3\xa9""#);
    }

    #[test]
    fn the_settings_open_no_port_and_sync_every_write() {
        let layout = Layout::within(Path::new("/data"));
        let text = String::from_utf8(layout.settings_text(&Secret::from("p".repeat(43)), "user it on")).expect("text");
        for line in [
            "port 0",
            "appendonly yes",
            "appendfsync always",
            "maxmemory-policy noeviction",
            "unixsocket \"/data/redis.sock\"",
            "user it on",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
    }
}
