//! Integration tests: the built program against a real Redis, with real faults in between.

mod bad_input;
mod catalogue;
mod embedded;
mod fence;
mod freeze;
mod harness;
mod harness_works;
mod kills;
mod ledger;
mod losses;
mod problems;
mod steady;
