//! How many files this process may have open, and what that leaves for callers.
//!
//! A connection is an open file, and so is everything else. Many systems begin with a limit of 1024, a tenth of `limits.connections`;
//! whoever is past it cannot accept anybody, the probes included, and nothing says why. So the limit is raised as far as is needed and
//! allowed, and where that is not far enough fewer callers are let in, who are then told so, and the rest keeps working.
//!
//! Limits: what others in this process open is estimated ([`Needs`]); the limit of the whole system is not looked at.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::api::acceptor::census::{LEAVES, Limits};
use crate::ops::MAX_CONNECTIONS;

/// Files besides connections: the log, the listeners, the data directory, a look-up of a name, and twice as many for what was forgotten
/// here.
const RESERVE: usize = 64;
/// Files of a worker besides its connections: its events, what wakes it, its listener, and the knock at the door it
/// gets when the service stops, which has two ends.
const A_WORKER: usize = 5;
/// Where there are few, operators and the refused get this share each: most belong to callers.
const SHARE: usize = 8;
/// And no less than this: a probe, a scraper and a person.
const LEAST: usize = 8;

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Connections of callers.
    pub(super) callers: Limits,
    /// Connections to Redis, of all workers, the keeper and the subscriptions.
    pub(super) redis: usize,
    /// Workers.
    pub(super) workers: usize,
}

/// What is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Connections of callers.
    pub(super) callers: Limits,
    /// Connections of operators.
    pub(super) operators: usize,
}

impl Needs {
    fn files(&self) -> usize {
        self.callers.total + LEAVES + MAX_CONNECTIONS + self.redis + self.besides()
    }

    fn besides(&self) -> usize {
        RESERVE + A_WORKER * self.workers
    }

    /// What fits into `files` open ones.
    fn within(&self, files: usize) -> Plan {
        if self.files() <= files {
            return Plan { callers: self.callers, operators: MAX_CONNECTIONS };
        }
        let operators = (files / SHARE).clamp(LEAST, MAX_CONNECTIONS);
        let refused = (files / SHARE).clamp(LEAST, LEAVES);
        let total =
            files.saturating_sub(operators + refused + self.redis + self.besides()).max(1).min(self.callers.total);
        Plan { callers: Limits { total, per_address: self.callers.per_address.min(total), refused }, operators }
    }
}

/// Raises the limit as far as is needed and allowed, and says what fits. Warns where that is less than configured.
pub(super) fn plan(needs: Needs) -> Plan {
    let files = raised(needs.files());
    let plan = needs.within(files);
    if plan.callers.total < needs.callers.total {
        tracing::warn!(
            open_files_max = files,
            open_files_needed = needs.files(),
            connections = plan.callers.total,
            configured = needs.callers.total,
            "the system allows fewer open files than limits.connections needs: fewer connections are taken. Raise the hard limit \
             (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of a container) or lower limits.connections"
        );
    }
    plan
}

/// The limit in force, raised to `wanted` where the hard one allows it. It is never lowered.
fn raised(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    let Some(before) = current.filter(|current| *current < wanted) else { return files(current) };
    let next = maximum.map_or(wanted, |maximum| wanted.min(maximum)).max(before);
    match setrlimit(Resource::Nofile, Rlimit { current: Some(next), maximum }) {
        Ok(()) => files(Some(next)),
        Err(error) => {
            tracing::warn!(%error, "could not raise the limit on open files");
            files(Some(before))
        }
    }
}

fn files(limit: Option<u64>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs =
        Needs { callers: Limits { total: 10_000, per_address: 1024, refused: LEAVES }, redis: 12, workers: 2 };

    #[test]
    fn what_fits_is_as_configured_and_one_file_less_is_not() {
        let plan = NEEDS.within(NEEDS.files());
        assert_eq!((plan.callers.total, plan.callers.per_address, plan.operators), (10_000, 1024, MAX_CONNECTIONS));
        assert!(NEEDS.within(NEEDS.files() - 1).callers.total < 10_000);
    }

    #[test]
    fn many_workers_need_files_of_their_own() {
        let many = Needs { workers: 128, ..NEEDS };
        assert_eq!(many.files() - NEEDS.files(), 126 * A_WORKER);
        assert!(many.within(1024).callers.total < NEEDS.within(1024).callers.total);
    }

    #[test]
    fn whatever_the_limit_is_all_together_fit_and_somebody_is_let_in() {
        for files in (128..12_000).step_by(7) {
            let Plan { callers, operators } = NEEDS.within(files);
            let together = callers.total + callers.refused + operators + NEEDS.redis + NEEDS.besides();
            assert!(together <= files, "{files}: {together}");
            assert!(callers.per_address <= callers.total && operators >= LEAST && callers.total >= 1, "{files}");
        }
        assert_eq!(NEEDS.within(1).callers.total, 1, "too few for anything, and still no panic");
    }
}
