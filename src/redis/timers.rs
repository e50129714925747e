//! Timers that are used again, so that a call which is answered in time pays for none.
//!
//! To put a timer into the runtime's wheel and take it out again costs a call more than everything else the breaker does. Moving
//! one to a later time costs an atomic store: the wheel finds it where it was and puts it off. So a timer that was not needed is
//! kept as it is, and the next call moves it. One that nobody moves goes off and wakes, once, a task that has nothing to do.
//! Limits: one store a worker, whose runtime the timers belong to; more than [`SPARE`] are not kept.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// As many as a worker has calls in flight by default.
const SPARE: usize = 128;

/// A worker's spare timers.
#[derive(Default)]
pub(super) struct Timers(Mutex<Vec<Pin<Box<Sleep>>>>);

impl Timers {
    /// A timer that goes off after `wait`.
    pub(super) fn take(&self, wait: Duration) -> Pin<Box<Sleep>> {
        match self.spare().pop() {
            Some(mut timer) => {
                // A timer that is never looked at costs nothing but the reading of its clock, which is what is wanted here.
                timer.as_mut().reset(sleep(wait).deadline());
                timer
            }
            None => Box::pin(sleep(wait)),
        }
    }

    /// Keeps a timer for the next call. Whoever leaves before drops it, which is as well.
    pub(super) fn give_back(&self, timer: Pin<Box<Sleep>>) {
        let mut spare = self.spare();
        if spare.len() < SPARE {
            spare.push(timer);
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::telemetry::clock;

    #[tokio::test]
    async fn a_timer_used_again_goes_off_at_its_new_time_and_not_before() {
        let timers = Timers::default();
        for (wait, used) in [(60_000, false), (20, true), (10, true), (60_000, false)] {
            let wait = Duration::from_millis(wait);
            let began = clock::now();
            let mut timer = timers.take(wait);
            if used {
                timer.as_mut().await;
                assert!(clock::now().saturating_since(began) >= wait);
            } else {
                assert_eq!(timer.as_mut().now_or_never(), None);
            }
            timers.give_back(timer);
        }
        assert_eq!(timers.spare().len(), 1, "all of them were one");
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_kept() {
        let timers = Timers::default();
        let taken: Vec<_> = (0..SPARE + 5).map(|_| timers.take(Duration::from_secs(1))).collect();
        taken.into_iter().for_each(|timer| timers.give_back(timer));
        assert_eq!(timers.spare().len(), SPARE);
    }
}
