//! Reading where traces go: the rules are those of `telemetry::traces`, the words are for whoever mends a configuration.
//!
//! Limits: one value at a time; whether headers have a receiver is a rule of `rules.rs`.

use ::config::ValueKind;

use super::mistake::Complaint;
use crate::telemetry::traces::{Headers, Receiver};

pub(super) fn read_receiver(text: &str) -> Result<ValueKind, Complaint> {
    Receiver::parse(text).map(|_| text.into()).map_err(|fault| {
        Complaint::new(
            fault,
            "write http://host:port of an OTLP/HTTP receiver (usually port 4318); credentials belong in traces.headers_file",
        )
    })
}

pub(super) fn read_headers(text: &str) -> Result<ValueKind, Complaint> {
    Headers::parse(text).map(|_| text.into()).map_err(|fault| {
        Complaint::new(fault, "write name=value,name=value (the value is not shown: it may hold a token)")
    })
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;

    #[test]
    fn a_receiver_is_refused_with_its_reason_and_headers_are_never_repeated() {
        assert!(Kind::TraceReceiver.read_text("http://collector:4318").is_ok());
        assert!(Kind::TraceReceiver.read_text("https://collector:4318").unwrap_err().rule.contains("TLS"));
        assert!(Kind::TraceHeaders.read_text("authorization=Bearer hunter2").is_ok());
        let complaint = Kind::TraceHeaders.read_text("hunter2").unwrap_err();
        assert!(!format!("{}{}", complaint.rule, complaint.way_out).contains("hunter2"));
    }
}
