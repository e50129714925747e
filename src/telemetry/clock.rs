//! The process clock: the only file that reads time.
//!
//! Decisions below this room take time as a value ([`Moment`]); this file makes those values from the monotonic
//! clock. The origin is process-wide and starts at one second, so that the number 0 stays free for "never" in
//! atomics. Wall-clock time exists for people and documents only: nothing is decided by it.

#![expect(clippy::disallowed_methods, reason = "the home of both clocks")]

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::resilience::Moment;

/// Where the monotonic clock starts: not at zero, which means "never" in the atomics of the breakers.
const FIRST: Duration = Duration::from_secs(1);

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The present moment on the monotonic clock, microseconds since [`start`] plus one second.
pub fn now() -> Moment {
    start() + ORIGIN.elapsed()
}

/// The moment of the first reading in this process.
pub fn start() -> Moment {
    Moment::default() + FIRST
}

/// How long ago the clock was read first, which `main` does at once: the uptime.
pub fn uptime() -> Duration {
    ORIGIN.elapsed()
}

/// Milliseconds since 1970-01-01 UTC, zero if the system clock stands before that.
pub fn wall_millis() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The wall-clock milliseconds of a past moment, as seen from `now`.
///
/// Follows the system clock as it stands today: if somebody set it in between, the answer moves with it.
pub fn wall_millis_at(past: Moment, now: Moment) -> u64 {
    let ago = u64::try_from(now.saturating_since(past).as_millis()).unwrap_or(u64::MAX);
    wall_millis().saturating_sub(ago)
}

/// Both clocks read together, to put many past moments on the wall without moving them against each other.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    now: Moment,
    wall: SystemTime,
}

impl Reading {
    /// Reads both clocks.
    pub fn take() -> Self {
        Self { now: now(), wall: SystemTime::now() }
    }

    /// A past moment on the wall. As with [`wall_millis_at`], the answer moves with the system clock.
    pub fn wall_at(self, past: Moment) -> SystemTime {
        self.wall.checked_sub(self.now.saturating_since(past)).unwrap_or(UNIX_EPOCH)
    }
}

/// Wall-clock milliseconds as RFC 3339 in UTC, `2026-02-28T23:59:59.250Z`.
pub fn rfc3339(wall_millis: u64) -> String {
    let (days, in_day) = (wall_millis / 86_400_000, wall_millis % 86_400_000);
    let (year, month, day) = civil_date(days);
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Days since 1970-01-01 as year, month, day of the Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`. Years start in March
/// there, so that the leap day is the last day of the year.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let days = days_since_1970 + DAYS_FROM_0000_03_01;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_stands_at_zero_and_never_goes_back() {
        let first = now();
        assert!(first >= start());
        assert!(first.as_micros() >= 1_000_000);
        assert!(now() >= first);
    }

    #[test]
    fn a_past_moment_is_that_much_earlier_on_the_wall() {
        let past = Moment::from_micros(5_000_000);
        let before = wall_millis();
        let at = wall_millis_at(past, past + Duration::from_millis(1500));
        assert!(at >= before - 1500 && at <= wall_millis() - 1500);
    }

    #[test]
    fn wall_time_is_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_772_323_199_250), "2026-02-28T23:59:59.250Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
