//! How the page says numbers, times and states: short, with their unit, in the words of the house.

use std::time::Duration;

use crate::ops::status::{Health, Limit, Phase, RedisStatus, StatusDocument};
use crate::resilience::{Cause, State};
use crate::telemetry::diary::Entry;

/// What to tell somebody who has three seconds, and somebody who has ten.
pub(super) fn verdict(document: &StatusDocument) -> (&'static str, String) {
    match (document.phase, document.status) {
        (Phase::Starting, _) => ("Starting", "Not serving yet.".to_owned()),
        (Phase::Draining, _) => ("Draining", "Finishing what is under way, taking nothing new.".to_owned()),
        (Phase::Ready, Health::Pass) => ("Healthy", "Redis answers and every breaker is closed.".to_owned()),
        (Phase::Ready, Health::Warn | Health::Fail) if refuses_everything(document) => {
            ("Degraded, refusing calls", degraded(document))
        }
        (Phase::Ready, Health::Warn | Health::Fail) => ("Degraded, still serving", degraded(document)),
    }
}

fn refuses_everything(document: &StatusDocument) -> bool {
    let refusing = State::ALL.into_iter().filter(|state| state.refuses()).map(State::as_str);
    let refusing: Vec<_> = refusing.collect();
    !document.breakers.is_empty() && document.breakers.iter().all(|breaker| refusing.contains(&breaker.state))
}

fn degraded(document: &StatusDocument) -> String {
    let redis = (!document.redis.reachable).then(|| match &document.redis.last_error {
        Some(reason) => format!("Redis does not answer: {reason}."),
        None => "Redis does not answer.".to_owned(),
    });
    redis.into_iter().chain(unclosed(document)).collect::<Vec<_>>().join(" ")
}

/// What a screen reader is told when it changes: states, never the numbers that move every second.
pub(super) fn announcement(document: &StatusDocument) -> String {
    let (headline, _) = verdict(document);
    std::iter::once(format!("{headline}.")).chain(unclosed(document)).collect::<Vec<_>>().join(" ")
}

fn unclosed(document: &StatusDocument) -> impl Iterator<Item = String> {
    let breakers = document.breakers.iter().filter(|breaker| !breaker.is_closed());
    breakers.map(|breaker| format!("{} is {}.", breaker.name, state(breaker.state)))
}

/// The colour of a breaker state; the shape and the word say the same.
pub(super) fn mood(state: &str) -> &'static str {
    match state {
        "closed" => "pass",
        "open" | "forced_open" => "fail",
        _ => "warn",
    }
}

/// The word of a state as people write it.
pub(super) fn state(state: &str) -> String {
    state.replace('_', "-")
}

/// What happened, for the list of changes.
pub(super) fn change(entry: &Entry) -> String {
    let to = state(entry.to.as_str());
    match (entry.cause, entry.failed_probes) {
        (Cause::ProbeDue | Cause::ProbeFailed, 0) => "being probed".to_owned(),
        (Cause::ProbeDue | Cause::ProbeFailed, 1) => "probed once in vain".to_owned(),
        (Cause::ProbeDue | Cause::ProbeFailed, probes) => format!("probed {probes} times in vain"),
        (Cause::ProbesPassed, _) => format!("{to}: probes passed"),
        (Cause::FailureRatio, _) => format!("{to}: too many calls failed"),
        (Cause::SlowRatio, _) => format!("{to}: too many calls were slow"),
        (Cause::Stall, _) => format!("{to}: Redis fell silent"),
        (Cause::Connect, _) => format!("{to}: Redis cannot be connected to"),
        (Cause::Operator, _) => format!("{to}: by the operator"),
    }
}

/// The sign of an entry in the list of changes.
pub(super) fn change_mood(entry: &Entry) -> &'static str {
    match entry.to {
        _ if entry.is_probing() => "warn",
        State::Closed => "pass",
        State::Open | State::ForcedOpen => "fail",
        State::HalfOpen | State::Disabled => "warn",
    }
}

/// Events a second: `0.4 /s`, `12 /s`, `3 400 /s`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0 /s".to_owned(),
        small if small < 9.95 => format!("{small:.1} /s"),
        rate => format!("{} /s", grouped(rate.round() as u64)),
    }
}

/// A whole number in groups of three, parted by a narrow space.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A share of one, in percent. A share that is not zero is not said to be.
pub(super) fn percent(ratio: f64) -> String {
    match ratio * 100.0 {
        0.0 => "0 %".to_owned(),
        small if small < 0.1 => "< 0.1 %".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// A short duration with two digits that count.
pub(super) fn duration(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        micros if micros < 0.0995 => format!("{:.0} µs", micros * 1000.0),
        millis if millis < 0.995 => format!("{millis:.2} ms"),
        millis if millis < 9.95 => format!("{millis:.1} ms"),
        millis if millis < 999.5 => format!("{millis:.0} ms"),
        millis => format!("{:.1} s", millis / 1000.0),
    }
}

/// The last measured round trip.
pub(super) fn round_trip(redis: &RedisStatus) -> String {
    match redis.latency_ms {
        Some(millis) => duration(Duration::from_secs_f64(millis.max(0.0) / 1000.0)),
        None if redis.reachable => "not measured yet".to_owned(),
        None => "no answer".to_owned(),
    }
}

/// The two largest units that say something: `3 d 4 h`, `2 min 5 s`.
pub(super) fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

/// An RFC 3339 time as people write it, to the second.
pub(super) fn moment(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => time.to_owned(),
    }
}

/// A bound; sizes in the unit people think in.
pub(super) fn bound(name: &str, limit: &Limit) -> (String, String) {
    let (name, amount): (String, fn(u64) -> String) = match name.strip_suffix("_bytes") {
        Some(what) => (what.replace('_', " "), size),
        None => (name.replace('_', " "), grouped),
    };
    let said = match limit.used {
        Some(used) => format!("{} of {}", amount(used), amount(limit.max)),
        None => format!("at most {}", amount(limit.max)),
    };
    (name, said)
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const KIB: u64 = 1 << 10;
    match bytes {
        bytes if bytes >= MIB && bytes % MIB == 0 => format!("{} MiB", grouped(bytes / MIB)),
        bytes if bytes >= KIB && bytes % KIB == 0 => format!("{} KiB", grouped(bytes / KIB)),
        bytes => format!("{} bytes", grouped(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_two_units() {
        assert_eq!(age(0), "0 s");
        assert_eq!(age(125), "2 min 5 s");
        assert_eq!(age(3 * 3600 + 59), "3 h 0 min");
        assert_eq!(age(3 * 86_400 + 4 * 3600), "3 d 4 h");
    }

    #[test]
    fn numbers_are_short_and_carry_their_unit() {
        assert_eq!((rate(0.0), rate(0.4), rate(3400.4)), ("0 /s".into(), "0.4 /s".into(), "3\u{202f}400 /s".into()));
        assert_eq!((percent(0.0), percent(0.0004), percent(0.5)), ("0 %".into(), "< 0.1 %".into(), "50 %".into()));
        assert_eq!(duration(Duration::from_micros(84)), "84 µs");
        assert_eq!(duration(Duration::from_micros(820)), "0.82 ms");
        assert_eq!(duration(Duration::from_millis(412)), "412 ms");
        assert_eq!(duration(Duration::from_secs(2)), "2.0 s");
    }

    #[test]
    fn limits_are_said_in_the_unit_people_think_in() {
        let limit = |used, max| Limit { used, max };
        assert_eq!(bound("body_bytes", &limit(None, 16 << 20)), ("body".into(), "at most 16 MiB".into()));
        assert_eq!(bound("connections", &limit(Some(3), 500)), ("connections".into(), "3 of 500".into()));
    }
}
