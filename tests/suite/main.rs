//! Integration tests: the built program against a real Redis, with real faults in between.
#![allow(clippy::disallowed_methods, reason = "tests measure real time and start real processes")]

mod authentication;
mod bad_input;
mod catalogue;
mod classes;
mod configuration;
mod connections;
mod counters;
mod departed;
mod dialect;
mod dialect_paths;
mod drain;
mod embedded;
mod fence;
mod foreign_bytes;
mod freeze;
mod fuzz_bodies;
mod harness;
mod harness_works;
mod keys;
mod kills;
mod ledger;
mod links;
mod logs;
mod losses;
mod outcomes;
mod problems;
mod promises;
mod readme;
mod scripts;
mod secrets;
mod stale;
mod steady;
mod subscribe;
mod tokens;
mod transactions;
