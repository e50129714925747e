//! The harness: real servers, real sockets, faults that read as sentences.
//!
//! What is in it:
//! - [`redis`]: one real `redis-server` per test, which can be frozen, killed and restarted;
//! - [`pair`]: a primary and its replica behind an address that moves;
//! - [`place`]: where all of them may write;
//! - [`proxy`]: a TCP proxy in front of it that loses, delays, holds and cuts on demand;
//! - [`certificates`]: an authority and what it signs, for Redis within TLS;
//! - [`elder`]: a Redis that says it is older than it is;
//! - [`app`]: the built binary as a child process;
//! - [`deployed`]: the same servers started from `deploy/redis`, when the suite is told so;
//! - [`described`]: what `docs/openapi.json` says of each answer, and requests by its examples;
//! - [`balancer`]: follows the readiness of several of them;
//! - [`client`]: a typed HTTP client for it, and raw sockets for what no client would send;
//! - [`collector`]: a receiver of traces, which can hang or refuse;
//! - [`events`]: a reader of server-sent events;
//! - [`eventually`]: waiting for a condition instead of sleeping for a guess;
//! - [`pauses`]: for how long the machine stood still while something was timed;
//! - [`resp`]: the few lines of the Redis protocol the first two need.
//!
//! Why so: a test of fault tolerance proves nothing against a mock. Every test owns its servers,
//! its ports and its directories, so that tests run in parallel and in any order, and nothing
//! here goes through the code under test: a bug in the product cannot hide itself.
//!
//! Limits: Linux only (signals, `/proc`), loopback only. Children die when their handle is
//! dropped; if the test binary itself is killed with SIGKILL, its children outlive it.
#![allow(dead_code, unused_imports, reason = "a harness offers more than the tests of one day use")]

pub mod app;
pub mod balancer;
pub mod certificates;
pub mod client;
pub mod collector;
pub mod deployed;
pub mod described;
pub mod elder;
pub mod events;
pub mod eventually;
pub mod pair;
pub mod pauses;
pub mod place;
pub mod proxy;
pub mod redis;
pub mod resp;

pub use app::{App, Ended};
pub use balancer::Balancer;
pub use certificates::{Authority, Certificate};
pub use client::{Answer, Client, raw_http, raw_http_then_hang_up};
pub use collector::{Collector, Manner};
pub use elder::Elder;
pub use events::{Events, Next};
pub use eventually::{eventually, eventually_within};
pub use pair::Pair;
pub use pauses::Pauses;
pub use proxy::Proxy;
pub use redis::{Options, Redis};
pub use resp::{Connection, Reply};

/// How often tests that can go on for longer do so: `COLLECTIVE_TEST_ROUNDS`, as `make chaos` sets it, or once.
pub fn rounds() -> usize {
    std::env::var("COLLECTIVE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A small random generator whose whole future is decided by `seed`. The seed is printed, so a
/// failed test shows it (the test runner swallows the line when the test passes).
pub fn seeded(seed: u64) -> fastrand::Rng {
    println!("random seed {seed}");
    fastrand::Rng::with_seed(seed)
}

/// The last `lines` lines of a log: what a failed test prints.
fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
