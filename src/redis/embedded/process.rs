//! A process that may not be our child: is it still the same one, and telling it to end.
//!
//! A process id is reused, so a process is known by its id *and* its time of birth (`/proc/<pid>/stat`); a zombie
//! counts as gone. It is polled, because only a parent can wait. Limits: without `/proc` (other systems than Linux) the
//! id alone counts, and [`Process::works_in`] knows nothing.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

/// How soon the end of a process that is not our child is noticed.
const POLL: Duration = Duration::from_millis(100);

/// One incarnation of a process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: Pid,
    born: Option<u64>,
}

impl Process {
    /// The living process with this id.
    pub(super) fn find(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let process = Self { pid, born: read_stat(pid).map(|stat| stat.born) };
        process.alive().then_some(process)
    }

    /// The process id.
    pub(super) fn pid(self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it still runs (or is stopped), and its id was not given to another.
    pub(super) fn alive(self) -> bool {
        match read_stat(self.pid) {
            Some(stat) => !stat.ended && self.born.is_none_or(|born| born == stat.born),
            None => rustix::process::test_kill_process(self.pid) != Err(Errno::SRCH),
        }
    }

    /// Whether its working directory is this one.
    pub(super) fn works_in(self, directory: &Path) -> bool {
        std::fs::read_link(format!("/proc/{}/cwd", self.pid.as_raw_nonzero())).is_ok_and(|cwd| cwd == directory)
    }

    /// Sends a signal, unless the process is gone already.
    pub(super) fn signal(self, signal: Signal) {
        if self.alive()
            && let Err(error) = rustix::process::kill_process(self.pid, signal)
            && error != Errno::SRCH
        {
            tracing::warn!(pid = self.pid(), %error, "could not signal the embedded Redis");
        }
    }

    /// Kills what a leader left behind in its process group. Only for a leader that is known to be gone while something
    /// still holds its lock: as long as a member of the group lives, the kernel gives the number to nobody else.
    pub(super) fn kill_group_left_by(leader: u32) {
        if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
            // Nobody left is the common case and the wish.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits for its end.
    pub(super) async fn gone(self) {
        while self.alive() {
            tokio::time::sleep(POLL).await;
        }
    }
}

struct Stat {
    ended: bool,
    born: u64,
}

#[cfg(target_os = "linux")]
fn read_stat(pid: Pid) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

#[cfg(not(target_os = "linux"))]
fn read_stat(_: Pid) -> Option<Stat> {
    None
}

/// proc(5): `pid (name) state …`, the start time is field 22. The name may hold spaces and brackets, so count
/// from its end.
#[cfg(any(target_os = "linux", test))]
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let born = fields.nth(18)?.parse().ok()?;
    Some(Stat { ended: matches!(state, "Z" | "X" | "x"), born })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = parse_stat("7 (a) Z) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9").expect("parsed");
        assert!(!stat.ended);
        assert_eq!(stat.born, 4711);
    }

    #[test]
    fn a_reused_process_id_is_another_process() {
        let own = Process::find(std::process::id()).expect("we are alive");
        assert!(own.alive());
        let earlier = Process { born: own.born.map(|born| born.wrapping_sub(1)), ..own };
        assert_eq!(earlier.alive(), own.born.is_none());
    }

    #[tokio::test]
    async fn an_ended_child_is_gone_before_anybody_has_waited_for_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let process = Process::find(child.id()).expect("alive");
        child.kill().expect("kill");
        if cfg!(target_os = "linux") {
            tokio::time::timeout(Duration::from_secs(5), process.gone()).await.expect("a zombie counts as gone");
        }
        child.wait().expect("wait");
    }
}
