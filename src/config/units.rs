//! Durations and sizes as people write them: `250ms`, `2s`, `5m`, `1h`; `16KiB`, `16MiB`, `1GiB`.
//!
//! Why a unit is demanded: a bare `10` has been read as seconds by one author and milliseconds by the next, in
//! outages (style: units are part of the name or the type). A size may be bare, since bytes is its only base unit;
//! `MB` is refused because half the world means 10⁶ and the other half 2²⁰. Limits: one number and one unit, no
//! fractions, no sums.

use std::time::Duration;

use super::mistake::{Complaint, quoted};

/// Duration units, longest first for rendering: suffix and milliseconds in one.
const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Size units, longest first for rendering: suffix and bytes in one.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `250ms`, `2s`, `5m` or `1h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Complaint> {
    let (digits, unit) = split(text);
    if digits.is_empty() {
        return Err(not_a_duration(text));
    }
    if unit.is_empty() {
        return Err(bare_duration(text));
    }
    let factor = DURATIONS.iter().find(|(suffix, _)| *suffix == unit).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| not_a_duration(text))?;
    let number: u64 = digits.parse().map_err(|_| not_a_duration(text))?;
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| not_a_duration(text))
}

/// What to say about a duration without a unit.
pub(super) fn bare_duration(text: &str) -> Complaint {
    let example: String = text.chars().take(12).collect();
    Complaint::new(
        format!("{} is a bare number where a duration is needed", quoted(text)),
        format!("write the unit, for example `{example}ms` or `{example}s`"),
    )
}

/// Reads `16MiB`, `512KiB`, `100B`, or bytes as a bare integer.
pub(super) fn parse_size(text: &str) -> Result<u64, Complaint> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "" => Some(1),
        _ => SIZES.iter().find(|(suffix, _)| *suffix == unit).map(|(_, factor)| *factor),
    };
    let number = digits.parse::<u64>().ok();
    number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor)).ok_or_else(|| not_a_size(text))
}

/// The shortest exact way to write a duration; `0s` for none.
pub(super) fn render_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 { "0s".to_owned() } else { render(millis, &DURATIONS) }
}

/// The shortest exact way to write a size.
pub(super) fn render_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { render(bytes, &SIZES) }
}

fn render(amount: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    exact.map_or_else(|| amount.to_string(), |(suffix, factor)| format!("{}{suffix}", amount / factor))
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn not_a_duration(text: &str) -> Complaint {
    Complaint::new(
        format!("{} is not a duration", quoted(text)),
        "write a whole number and one unit of ms, s, m, h, for example `250ms` or `2s`",
    )
}

fn not_a_size(text: &str) -> Complaint {
    Complaint::new(
        format!("{} is not a size", quoted(text)),
        "write a whole number and one unit of B, KiB, MiB, GiB, for example `16MiB`, or bytes as a bare number",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, millis) in [("250ms", 250), ("2s", 2_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn bare_numbers_fractions_and_sums_are_no_durations() {
        assert!(parse_duration("250").unwrap_err().rule.contains("bare number"));
        for text in
            ["", "ms", "1.5s", "1m30s", "-1s", "2 s", "2S", "1d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse_duration(text).unwrap_err().rule.contains("not a duration"), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_a_binary_unit_or_as_bytes() {
        for (text, bytes) in [("16MiB", 16 << 20), ("1GiB", 1 << 30), ("2KiB", 2048), ("7B", 7), ("1000", 1000)] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "MiB", "16MB", "16M", "16 MiB", "1.5MiB", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_rendered_reads_back() {
        for text in ["250ms", "75s", "30m", "24h", "0s"] {
            assert_eq!(
                parse_duration(&render_duration(parse_duration(text).unwrap())).unwrap(),
                parse_duration(text).unwrap()
            );
        }
        assert_eq!(render_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(render_size(16 << 20), "16MiB");
        assert_eq!(render_size(1000), "1000B");
    }
}
