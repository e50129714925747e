//! Detectors that see an outage before a ratio can.
//!
//! At 20 requests a second a ratio over a window needs seconds to gather evidence. Two signs are
//! stronger than any ratio: connects that fail in a row, and silence, where a request waits and not one
//! byte arrives on any connection. A row of failed *commands* is no such sign: one lost connection
//! fails many commands at once. A third sign tells an outage that ends by being told to: everyone is
//! answered that the server is busy, for longer than anything useful takes. And one that silence may
//! be our own: whoever was not run himself has heard nothing, and that proves nothing.
//!
//! Limits: detectors only say what they see. Tripping the breakers is the caller's step.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::moment::Moment;

/// Counts connects that failed one after the other.
#[derive(Debug)]
pub struct ConnectDetector {
    threshold: u32,
    consecutive: AtomicU32,
}

impl ConnectDetector {
    /// A detector that speaks up from `threshold` failures in a row on.
    pub fn new(threshold: u32) -> Self {
        Self { threshold, consecutive: AtomicU32::new(0) }
    }

    /// A connect failed. True when the threshold is reached, and on every further failure: a breaker
    /// that closed meanwhile must open again.
    pub fn failed(&self) -> bool {
        let before = self
            .consecutive
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_add(1))
            .unwrap_or(u32::MAX);
        before.saturating_add(1) >= self.threshold
    }

    /// A connect succeeded: the row is broken.
    pub fn succeeded(&self) {
        self.consecutive.store(0, Ordering::Relaxed);
    }

    /// Failures since the last success.
    pub fn consecutive(&self) -> u32 {
        self.consecutive.load(Ordering::Relaxed)
    }
}

/// What one connection shows of itself.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// When the oldest request still without an answer was sent; none when all are answered.
    pub unanswered_since: Option<Moment>,
    /// When the last byte arrived; none when there never was one.
    pub last_read: Option<Moment>,
}

impl Activity {
    /// The same with all waiting counted from `moment` on.
    pub fn since(self, moment: Moment) -> Self {
        Self { unanswered_since: self.unanswered_since.map(|since| since.max(moment)), ..self }
    }
}

/// Recognises an endpoint that took requests and fell silent.
#[derive(Copy, Clone, Debug)]
pub struct StallDetector {
    /// How long both the wait and the silence must last.
    pub threshold: Duration,
}

impl StallDetector {
    /// Whether some request has waited for the threshold while nothing arrived on *any* of the
    /// endpoint's connections for as long. Bytes are progress, so a long transfer is no stall.
    pub fn stalled(&self, now: Moment, connections: impl Iterator<Item = Activity>) -> bool {
        let lasts = |since: Moment| now.saturating_since(since) >= self.threshold;
        let mut waiting = false;
        for connection in connections {
            if connection.last_read.is_some_and(|read| !lasts(read)) {
                return false;
            }
            waiting |= connection.unanswered_since.is_some_and(lasts);
        }
        waiting
    }
}

/// Recognises that we were paused ourselves: stopped, or left without a processor, or the whole machine was.
///
/// What came meanwhile lies unread in our own sockets, and what was sent before may not have been read by the server either,
/// which was perhaps paused with us. So silence counts from then on.
#[derive(Debug)]
pub struct PauseDetector {
    /// A look that comes so late tells of a pause.
    threshold: Duration,
    last: Moment,
    resumed: Moment,
}

impl PauseDetector {
    /// A detector that is asked more often than each `threshold`, for the first time after `now`.
    pub fn new(threshold: Duration, now: Moment) -> Self {
        Self { threshold, last: now, resumed: now }
    }

    /// One look: since when we have run without a pause.
    pub fn look(&mut self, now: Moment) -> Moment {
        if now.saturating_since(self.last) > self.threshold {
            self.resumed = now;
        }
        self.last = now;
        self.resumed
    }
}

/// Recognises a server that has nothing to say but that it is busy.
#[derive(Debug)]
pub struct BusyDetector {
    threshold: Duration,
    gap: Duration,
    /// When it was first said and when last; none while the server serves.
    said: Mutex<Option<(Moment, Moment)>>,
}

impl BusyDetector {
    /// A detector that speaks up once it was said for `threshold`; two that lie further apart than `gap` have nothing to do with
    /// each other.
    pub fn new(threshold: Duration, gap: Duration) -> Self {
        Self { threshold, gap, said: Mutex::new(None) }
    }

    /// The server said that it is busy.
    pub fn busy(&self, now: Moment) {
        self.with(|said| {
            let since =
                said.filter(|(_, last)| now.saturating_since(*last) <= self.gap).map_or(now, |(since, _)| since);
            *said = Some((since, now));
        });
    }

    /// The server served somebody, or is gone.
    pub fn over(&self) {
        self.with(|said| *said = None);
    }

    /// Whether it has been saying so for the threshold, and still does.
    pub fn lasts(&self, now: Moment) -> bool {
        self.with(|said| {
            said.is_some_and(|(since, last)| {
                last.saturating_since(since) >= self.threshold && now.saturating_since(last) <= self.gap
            })
        })
    }

    /// A poisoned lock only says that a thread panicked beside two numbers; they are whole.
    fn with<T>(&self, look: impl FnOnce(&mut Option<(Moment, Moment)>) -> T) -> T {
        look(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STALL: StallDetector = StallDetector { threshold: Duration::from_millis(400) };

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1_000)
    }

    fn connection(unanswered_since: Option<u64>, last_read: Option<u64>) -> Activity {
        Activity { unanswered_since: unanswered_since.map(at), last_read: last_read.map(at) }
    }

    fn stalled(now: u64, connections: &[Activity]) -> bool {
        STALL.stalled(at(now), connections.iter().copied())
    }

    #[test]
    fn the_third_failed_connect_in_a_row_is_reported_and_every_one_after_it() {
        let connects = ConnectDetector::new(3);
        assert_eq!(
            [connects.failed(), connects.failed(), connects.failed(), connects.failed()],
            [false, false, true, true]
        );
        assert_eq!(connects.consecutive(), 4);
    }

    #[test]
    fn busy_for_the_threshold_is_reported_until_somebody_is_served() {
        let busy = BusyDetector::new(Duration::from_secs(2), Duration::from_secs(3));
        assert!(!busy.lasts(at(0)));
        for millis in [0, 1_000, 1_999] {
            busy.busy(at(millis));
            assert!(!busy.lasts(at(millis)), "{millis}");
        }
        busy.busy(at(2_000));
        assert!(busy.lasts(at(2_000)) && busy.lasts(at(5_000)) && !busy.lasts(at(5_001)));
        busy.over();
        assert!(!busy.lasts(at(2_000)));
        busy.busy(at(6_000));
        assert!(!busy.lasts(at(6_000)), "the row begins anew");
    }

    #[test]
    fn two_that_lie_far_apart_are_no_row() {
        let busy = BusyDetector::new(Duration::from_secs(2), Duration::from_secs(3));
        busy.busy(at(0));
        busy.busy(at(3_001));
        assert!(!busy.lasts(at(3_001)));
        busy.busy(at(5_001));
        assert!(busy.lasts(at(5_001)));
    }

    #[test]
    fn a_successful_connect_breaks_the_row() {
        let connects = ConnectDetector::new(2);
        connects.failed();
        connects.succeeded();
        assert_eq!(connects.consecutive(), 0);
        assert!(!connects.failed());
        assert!(connects.failed());
    }

    #[test]
    fn an_endless_row_of_failed_connects_stays_reported() {
        let connects = ConnectDetector::new(3);
        connects.consecutive.store(u32::MAX, Ordering::Relaxed);
        assert!(connects.failed());
        assert_eq!(connects.consecutive(), u32::MAX);
    }

    #[test]
    fn a_request_unanswered_in_silence_is_a_stall_from_the_threshold_on() {
        let silent = [connection(Some(1_000), Some(900))];
        assert!(!stalled(1_399, &silent));
        assert!(stalled(1_400, &silent));
    }

    #[test]
    fn silence_without_a_request_is_idleness() {
        assert!(!stalled(9_000, &[connection(None, Some(1_000)), connection(None, None)]));
        assert!(!stalled(9_000, &[]));
    }

    #[test]
    fn silence_counts_from_the_end_of_a_pause_of_our_own() {
        let mut pauses = PauseDetector::new(Duration::from_millis(200), at(1_000));
        for (now, resumed) in [(1_020, 1_000), (1_220, 1_000), (1_421, 1_421), (1_621, 1_421), (1_822, 1_822)] {
            assert_eq!(pauses.look(at(now)), at(resumed), "{now}");
        }
        let waits = |now| stalled(now, &[connection(Some(1_000), Some(900)).since(at(1_822))]);
        assert!(!waits(2_221) && waits(2_222));
        assert!(
            stalled(2_400, &[connection(Some(2_000), None).since(at(1_822))]),
            "what was sent later waits from then on"
        );
    }

    #[test]
    fn bytes_on_another_connection_prove_the_endpoint_alive() {
        let frozen = connection(Some(1_000), None);
        assert!(stalled(2_000, &[frozen, connection(None, Some(1_500))]));
        assert!(!stalled(2_000, &[frozen, connection(None, Some(1_601))]));
        assert!(!stalled(2_000, &[connection(None, Some(1_601)), frozen]));
    }

    #[test]
    fn a_long_transfer_is_no_stall() {
        assert!(!stalled(5_000, &[connection(Some(1_000), Some(4_990))]));
    }

    proptest! {
        #[test]
        fn a_stall_needs_both_a_wait_and_silence_everywhere(
            now in 0..3_000_u64,
            connections in proptest::collection::vec(
                (proptest::option::of(0..3_000_u64), proptest::option::of(0..3_000_u64)), 0..5),
        ) {
            let activities: Vec<_> =
                connections.iter().map(|&(sent, read)| connection(sent, read)).collect();
            let waits = connections.iter().any(|c| c.0.is_some_and(|sent| sent + 400 <= now));
            let silent = connections.iter().all(|c| c.1.is_none_or(|read| read + 400 <= now));
            prop_assert_eq!(stalled(now, &activities), waits && silent);
        }

        #[test]
        fn the_row_of_failed_connects_is_counted_exactly(
            threshold in 1..6_u32,
            outcomes in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let connects = ConnectDetector::new(threshold);
            let mut row = 0;
            for success in outcomes {
                if success {
                    connects.succeeded();
                    row = 0;
                } else {
                    row += 1;
                    prop_assert_eq!(connects.failed(), row >= threshold);
                }
                prop_assert_eq!(connects.consecutive(), row);
            }
        }
    }
}
