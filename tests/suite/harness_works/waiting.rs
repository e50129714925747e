//! Waiting ends when it should.

use std::time::{Duration, Instant};

use crate::harness::{eventually, eventually_within};

use super::SOON;

#[tokio::test]
async fn it_returns_how_long_it_took() {
    let start = Instant::now();
    let mut asked = 0;
    let elapsed = eventually(SOON, async || {
        asked += 1;
        asked == 4
    })
    .await;
    assert!(elapsed >= Duration::from_millis(15) && elapsed <= start.elapsed());
}

#[tokio::test]
async fn a_plain_closure_with_an_async_block_will_do() {
    eventually(Duration::ZERO, || async { true }).await;
}

#[tokio::test]
#[should_panic(expected = "waiting.rs")]
async fn it_panics_after_the_limit_naming_the_line() {
    eventually(Duration::from_millis(20), || async { false }).await;
}

#[tokio::test]
async fn a_condition_that_hangs_cannot_hang_the_test() {
    let hung = eventually_within(Duration::from_millis(20), std::future::pending).await;
    assert!(hung.is_none());
}
