//! A panic as a log line: where it happened, and nothing that could hold data.
//!
//! Rust's own hook prints the payload, and a payload made with `{value:?}` may hold a key, a value or a token; it also prints
//! plain text between the JSON lines. So the line names place and thread, and the message only if it is a literal of the source.
//! With `RUST_BACKTRACE=1` the functions on the way are added; they are names, not arguments. Limits: a panic before
//! [`install`] is printed by Rust; the log level `off` is obeyed here, too.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// From now on panics of this process are log lines.
pub fn install() {
    std::panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    // A formatted payload is a `String`.
    let literal = panic.payload().downcast_ref::<&'static str>().copied();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let place = place.as_deref().unwrap_or("an unknown place");
    tracing::error!(thread = thread.name(), literal, backtrace, "panicked at {place}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logs::tests::captured;

    /// What the hook logs of a panic. The hook is the process's; a thread that panics meanwhile is told in our words, too.
    fn logged(panics: impl FnOnce() + Send + 'static) -> serde_json::Value {
        let before = std::panic::take_hook();
        install();
        let thread = std::thread::Builder::new().name("doomed".to_owned());
        let lines = thread
            .spawn(|| captured(|| assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err())));
        let lines = lines.expect("a thread").join().expect("the panic was caught");
        std::panic::set_hook(before);
        lines.into_iter().next().expect("one line")
    }

    #[test]
    fn a_panic_names_its_place_and_keeps_its_data() {
        let canary = "canary".to_owned();
        let formatted = logged(move || panic!("unexpected value {canary:?}"));
        assert!(formatted["message"].as_str().is_some_and(|text| text.contains("panics.rs:")), "{formatted}");
        assert_eq!((formatted["level"].as_str(), formatted["thread"].as_str()), (Some("ERROR"), Some("doomed")));
        assert!(!formatted.to_string().contains("canary"), "{formatted}");
        assert_eq!(logged(|| panic!("the list is whole"))["literal"], "the list is whole");
    }
}
