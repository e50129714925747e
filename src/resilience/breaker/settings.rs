//! The numbers of a breaker, their defaults and their ranges.
//!
//! The configuration refuses nonsense with a message. The ranges here are the floor under it: they
//! keep a breaker that was built with nonsense from dividing by zero, from never probing again and from
//! never closing.

use std::time::Duration;

/// The shortest wait of any kind: a breaker must not spin.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// The longest wait of any kind: a mistyped setting must not open a breaker for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// The numbers of a breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How far back calls are counted.
    pub window: Duration,
    /// Parts the window moves by; at least 1.
    pub buckets: usize,
    /// Calls the window must hold before a ratio means anything; at least 1.
    pub minimum_calls: u32,
    /// Share of failures, 0 to 1, that opens.
    pub failure_ratio: f64,
    /// From this duration on a call is slow.
    pub slow_call_after: Duration,
    /// Share of slow calls, 0 to 1, that opens.
    pub slow_ratio: f64,
    /// Wait in open before the first probe, and between failed probes; 1 ms to `open_wait_max`.
    pub open_wait: Duration,
    /// Bound of every such wait, jitter included; 1 ms to 1 h.
    pub open_wait_max: Duration,
    /// Closed for this long, an opening is a new story and starts with `open_wait` again.
    pub stable_after: Duration,
    /// Share, 0 to 1, by which waits vary either way.
    pub jitter: f64,
    /// Probes that must pass, one after the other, to close; at least 1.
    pub probes_to_close: u32,
    /// How long a prober may take before another may take over; 1 ms to 1 h.
    pub half_open_max: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            buckets: 10,
            minimum_calls: 20,
            failure_ratio: 0.5,
            slow_call_after: Duration::from_millis(300),
            // High, because slow is not broken: only when nearly everything is slow is refusing kinder.
            slow_ratio: 0.9,
            open_wait: Duration::from_millis(500),
            open_wait_max: Duration::from_secs(1),
            stable_after: Duration::from_secs(10),
            jitter: 0.1,
            probes_to_close: 3,
            half_open_max: Duration::from_secs(2),
            seed: 0,
        }
    }
}

impl Settings {
    /// The same numbers, each brought into its range. A ratio that is no number never opens.
    pub(super) fn in_range(self) -> Self {
        let open_wait_max = self.open_wait_max.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        Self {
            buckets: self.buckets.max(1),
            minimum_calls: self.minimum_calls.max(1),
            open_wait: self.open_wait.clamp(SHORTEST_WAIT, open_wait_max),
            open_wait_max,
            jitter: if self.jitter.is_nan() { 0.0 } else { self.jitter.clamp(0.0, 1.0) },
            probes_to_close: self.probes_to_close.max(1),
            half_open_max: self.half_open_max.clamp(SHORTEST_WAIT, LONGEST_WAIT),
            ..self
        }
    }
}
