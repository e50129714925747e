//! Attempts at Redis and the decisions after failed ones, by lane and outcome. All label sets exist from the start.

use std::time::Duration;

use super::cells::Cells;
use super::durations::Durations;
use super::export::{Export, Samples};
use super::labels::{CommandOutcome, Lane, RetryOutcome};
use super::table::{Family, REDIS_DURATION, REDIS_RETRIES};

/// What the gateway records.
pub struct RedisMetrics {
    durations: Durations,
    retries: Cells,
}

impl RedisMetrics {
    pub(super) fn new() -> Self {
        let lanes = Lane::ALL.len();
        Self {
            durations: Durations::new(&REDIS_DURATION, lanes * CommandOutcome::ALL.len()),
            retries: Cells::new(lanes * RetryOutcome::ALL.len()),
        }
    }

    /// Records one attempt, from hand-off to its end.
    #[inline]
    pub fn observe(&self, lane: Lane, outcome: CommandOutcome, duration: Duration) {
        self.durations.observe(attempt_row(lane, outcome), duration);
    }

    /// Records what was decided after a failed attempt.
    #[inline]
    pub fn retry(&self, lane: Lane, outcome: RetryOutcome) {
        self.retries.add(retry_row(lane, outcome), 1);
    }
}

impl Export for RedisMetrics {
    fn families(&self) -> Vec<&'static Family> {
        vec![&REDIS_DURATION, &REDIS_RETRIES]
    }

    fn read(&self) -> Vec<Samples> {
        let (mut durations, mut retries) = (Samples::of(&REDIS_DURATION), Samples::of(&REDIS_RETRIES));
        for &lane in Lane::ALL {
            for &outcome in CommandOutcome::ALL {
                let labels = [lane.word(), outcome.word()];
                durations.add_distribution(&labels, &self.durations.read(attempt_row(lane, outcome)));
            }
            for &outcome in RetryOutcome::ALL {
                retries.add(&[lane.word(), outcome.word()], self.retries.total(retry_row(lane, outcome)) as f64);
            }
        }
        vec![durations, retries]
    }
}

#[inline]
const fn attempt_row(lane: Lane, outcome: CommandOutcome) -> usize {
    lane.index() * CommandOutcome::ALL.len() + outcome.index()
}

#[inline]
const fn retry_row(lane: Lane, outcome: RetryOutcome) -> usize {
    lane.index() * RetryOutcome::ALL.len() + outcome.index()
}
