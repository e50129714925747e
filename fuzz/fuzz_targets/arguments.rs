//! Any bytes as the body of `POST /` and of `POST /pipeline`: no panic, and what was promised of the answer holds.
//!
//! `make fuzz` runs it; found inputs stay in `fuzz/artifacts`. Limits: judges the parser alone, not what Redis makes of it.
#![no_main]

use collective::api::upstash::arguments::{ArgumentError, BatchSink, Limits, Sink, parse_batch, parse_command};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { argument_bytes: 64, arguments: 64, commands: 16 };

/// Holds the parser to its word: each command begun is ended or refused once, and nothing is longer than allowed.
#[derive(Default)]
struct Judge {
    open: bool,
    arguments: usize,
    commands: usize,
}

impl Sink for Judge {
    fn argument(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= LIMITS.argument_bytes, "an argument is longer than its limit");
        self.arguments += 1;
    }
}

impl BatchSink for Judge {
    fn begin(&mut self) {
        assert!(!self.open, "a command began inside another");
        (self.open, self.arguments) = (true, 0);
        self.commands += 1;
        assert!(self.commands <= LIMITS.commands, "more commands than allowed");
    }

    fn end(&mut self) {
        assert!(self.open && self.arguments > 0, "a command without a name was ended");
        self.open = false;
    }

    fn refuse(&mut self, error: ArgumentError) {
        assert!(self.open && !error.message.is_empty(), "refused without a reason");
        self.open = false;
    }
}

fuzz_target!(|body: &[u8]| {
    let mut single = Judge::default();
    if parse_command(body, &LIMITS, &mut single).is_ok() {
        assert!(single.arguments > 0, "an accepted command has a name");
    }
    let mut batch = Judge::default();
    if parse_batch(body, &LIMITS, &mut batch).is_ok() {
        assert!(!batch.open && batch.commands > 0, "an accepted batch is complete");
    }
});
