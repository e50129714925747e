//! Integration tests: the built program against a real Redis, with real faults in between.

mod harness;
mod harness_works;
