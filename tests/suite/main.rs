//! Integration tests: the built program against a real Redis, with real faults in between.

mod catalogue;
mod dialect_paths;
mod embedded;
mod fence;
mod freeze;
mod harness;
mod harness_works;
mod kills;
mod ledger;
mod losses;
mod scripts;
mod steady;
mod tokens;
mod transactions;
