//! Durations in bodies and queries, written as in the configuration: a whole number and its unit, `250ms`, `2s`, `5m`, `1h`.
//!
//! Why text: a bare number is read as seconds by one author and as milliseconds by the next. Limits: one number, one unit, no
//! fractions, no sums, no days (which are not always 24 hours).

use std::time::Duration;

/// Units, longest first for writing: suffix and milliseconds in one.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration; `None` if it is none.
pub fn read(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = UNITS.iter().find(|(suffix, _)| *suffix == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor).map(Duration::from_millis)
}

/// The shortest exact way to write a duration of whole milliseconds.
pub fn write(duration: Duration) -> String {
    let millis = whole_millis(duration);
    let exact = UNITS.iter().find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor));
    exact.map_or_else(|| format!("{millis}ms"), |(suffix, factor)| format!("{}{suffix}", millis / factor))
}

/// Whole milliseconds, rounded up, so that nobody comes too early.
pub fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_one_number_and_one_unit() {
        for (text, millis) in [("250ms", 250), ("2s", 2_000), ("5m", 300_000), ("24h", 86_400_000), ("0s", 0)] {
            assert_eq!(read(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "1", "s", "1.5s", "-1s", "1 s", "1S", "1d", "1m30s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["1ms", "1500ms", "90s", "2m", "36h"] {
            assert_eq!(read(text).map(write).as_deref(), Some(text));
        }
        assert_eq!(whole_millis(Duration::from_micros(1001)), 2);
    }
}
