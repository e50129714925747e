//! The harness proves itself: a fault that is not injected makes every test above it worthless.
//!
//! What: each promise of `harness/` that other tests lean on, against a real Redis.
//!
//! Why so: before a test says "the product survives a lost reply", somebody must have seen the
//! reply get lost, the command be executed, and exactly once.

mod http;
mod proxy;
mod redis;
mod resp;
mod waiting;

use std::time::Duration;

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(5);

/// Long enough for loopback traffic to pass if it could.
const A_WHILE: Duration = Duration::from_millis(60);
