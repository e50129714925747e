//! Integration tests: the built program against a real Redis, with real faults in between.
#![allow(clippy::disallowed_methods, reason = "tests measure real time and start real processes")]

mod catalogue;
mod embedded;
mod fence;
mod freeze;
mod harness;
mod harness_works;
mod kills;
mod ledger;
mod losses;
mod steady;
