//! Waiting for something to become true.
//!
//! What: [`eventually`] polls a condition each 5 ms and panics, naming the waiting line, once a
//! limit has passed. It returns how long it took, so that a test can also assert a promise in
//! numbers.
//!
//! Why so: a fixed sleep is either too short on a busy machine or too long on every other one.
//!
//! Limits: a condition still running when the limit passes is dropped in the middle.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// How often the condition is asked.
const STEP: Duration = Duration::from_millis(5);

/// Waits until `condition` answers true and returns how long that took.
///
/// Panics after `limit`. The condition is asked at least once.
#[track_caller]
pub fn eventually(limit: Duration, condition: impl AsyncFnMut() -> bool) -> impl Future<Output = Duration> {
    let caller = Location::caller();
    async move {
        match poll(limit, condition).await {
            Ok(elapsed) => elapsed,
            Err(asked) => panic!("{caller}: the condition did not become true within {limit:?} (asked {asked} times)"),
        }
    }
}

/// As [`eventually`], but answers `None` instead of panicking: for tests that assert that
/// something does *not* happen.
pub async fn eventually_within(limit: Duration, condition: impl AsyncFnMut() -> bool) -> Option<Duration> {
    poll(limit, condition).await.ok()
}

/// The elapsed time, or how often the condition was asked in vain.
async fn poll(limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> Result<Duration, u32> {
    let start = Instant::now();
    let mut asked = 0;
    loop {
        let left = limit.saturating_sub(start.elapsed());
        asked += 1;
        // A zero timeout still polls once, so a condition that is ready at once always counts.
        if let Ok(true) = tokio::time::timeout(left, condition()).await {
            return Ok(start.elapsed());
        }
        if start.elapsed() >= limit {
            return Err(asked);
        }
        tokio::time::sleep(STEP).await;
    }
}
