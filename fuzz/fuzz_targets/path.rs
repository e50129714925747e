//! Any text as a request target: no panic, no argument over its limit, and no token among the arguments.
//!
//! `make fuzz` runs it; found inputs stay in `fuzz/artifacts`. The part before the first `?` is the path.
#![no_main]

use collective::api::upstash::arguments::{Limits, Sink};
use collective::api::upstash::path::{Route, channel, parse_path, route, token};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { argument_bytes: 64, arguments: 64, commands: 1 };

struct Judge(usize);

impl Sink for Judge {
    fn argument(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= LIMITS.argument_bytes, "an argument is longer than its limit");
        self.0 += 1;
    }
}

fuzz_target!(|input: (&str, &[u8])| {
    let (target, body) = input;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let credential = query.and_then(token);
    match route(path) {
        Route::Command(command) => {
            let mut judge = Judge(0);
            if parse_path(command, query, body, &LIMITS, &mut judge).is_ok() {
                assert!(judge.0 > 0, "a command has a name");
            }
        }
        Route::Subscribe(raw) | Route::PatternSubscribe(raw) => {
            if let Ok(name) = channel(raw) {
                assert!(name.len() <= raw.len(), "decoding makes nothing longer");
            }
        }
        Route::Root | Route::Pipeline | Route::MultiExec | Route::Monitor => {}
    }
    if let (Some(credential), Some(query)) = (credential, query) {
        assert!(credential.len() < query.len(), "a token is part of the query");
    }
});
