//! What time it is at the server, as well as it can be known here: learned with each heartbeat, never guessed.
//!
//! A call that must not be run later than some moment says so in the server's own time, since only the server knows when it runs
//! it. The two clocks are related by the last answer to `TIME`. An estimate errs upwards by the time that answer took, so that
//! nothing is ever called late that is not. Limits: a server whose clock was set, or another server, is known with the next
//! heartbeat; a server that may not be asked has no time here, and then nothing is said.

use std::sync::atomic::{AtomicI64, Ordering};

use redis_rs::Value;

use crate::resilience::Moment;

/// How far the server's clock (µs since 1970) is ahead of ours (µs of the process clock). Zero: not known.
#[derive(Default)]
pub(super) struct ServerTime {
    ahead: AtomicI64,
}

impl ServerTime {
    /// Takes note of an answer to `TIME` that was asked for at `asked`. What is no such answer says nothing.
    pub(super) fn heard(&self, reply: &Value, asked: Moment) {
        if let Some(ahead) = micros(reply).and_then(|server| server.checked_sub_unsigned(asked.as_micros())) {
            self.ahead.store(ahead, Ordering::Relaxed);
        }
    }

    /// The server's time at `moment`, in microseconds since 1970.
    pub(super) fn at(&self, moment: Moment) -> Option<u64> {
        match self.ahead.load(Ordering::Relaxed) {
            0 => None,
            ahead => moment.as_micros().checked_add_signed(ahead),
        }
    }
}

fn micros(reply: &Value) -> Option<i64> {
    let Value::Array(parts) = reply else { return None };
    let [seconds, micros] = parts.as_slice() else { return None };
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?)
}

fn number(part: &Value) -> Option<i64> {
    match part {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: &str, micros: &str) -> Value {
        Value::Array([seconds, micros].map(|text| Value::BulkString(text.as_bytes().to_vec())).into())
    }

    #[test]
    fn the_servers_clock_goes_on_between_two_answers() {
        let (clock, at) = (ServerTime::default(), Moment::from_micros);
        assert_eq!(clock.at(at(5_000_000)), None, "it was never asked");
        clock.heard(&time("1700000000", "250000"), at(2_000_000));
        assert_eq!(clock.at(at(2_000_000)), Some(1_700_000_000_250_000));
        assert_eq!(clock.at(at(5_500_000)), Some(1_700_000_003_750_000));
        clock.heard(&time("1600000000", "0"), at(6_000_000));
        assert_eq!(clock.at(at(6_000_000)), Some(1_600_000_000_000_000), "somebody set it");
    }

    #[test]
    fn what_is_no_time_changes_nothing() {
        let (clock, at) = (ServerTime::default(), Moment::from_micros);
        clock.heard(&time("1700000000", "0"), at(1_000_000));
        for reply in [
            Value::Nil,
            Value::Array(vec![]),
            Value::SimpleString("PONG".into()),
            time("x", "0"),
            time("9223372036854775807", "0"),
        ] {
            clock.heard(&reply, at(9_000_000));
        }
        assert_eq!(clock.at(at(1_000_000)), Some(1_700_000_000_000_000));
    }
}
