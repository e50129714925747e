//! Integration tests: the built program against a real Redis, with real faults in between.

mod catalogue;
mod configuration;
mod embedded;
mod fence;
mod freeze;
mod harness;
mod harness_works;
mod kills;
mod ledger;
mod logs;
mod losses;
mod promises;
mod readme;
mod secrets;
mod steady;
