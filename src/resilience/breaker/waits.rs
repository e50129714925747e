//! How long an opening lasts.
//!
//! The first wait is `open_wait`. Opening again without a stable closed period in between doubles it:
//! the other side flaps, and each trip costs callers failures. A failed probe does not: probes cost
//! callers nothing, and growth would only delay the recovery. Jitter keeps instances from probing in
//! step. No wait ever exceeds `open_wait_max`.

use std::time::Duration;

use super::super::moment::Moment;
use super::settings::{SHORTEST_WAIT, Settings};

/// The memory and the dice behind the waits.
pub(super) struct Waits {
    random: fastrand::Rng,
    /// Doublings in force.
    relapses: u32,
    /// When probes last closed the breaker.
    recovered: Option<Moment>,
}

impl Waits {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), relapses: 0, recovered: None }
    }

    /// The wait after a trip out of closed.
    pub(super) fn after_trip(&mut self, settings: &Settings, now: Moment) -> Duration {
        let relapse = self.recovered.is_some_and(|recovered| now.saturating_since(recovered) < settings.stable_after);
        self.relapses = if relapse { self.relapses.saturating_add(1) } else { 0 };
        let factor = 2_u32.checked_pow(self.relapses).unwrap_or(u32::MAX);
        self.jittered(settings.open_wait.saturating_mul(factor), settings)
    }

    /// The wait after a failed probe.
    pub(super) fn after_probe(&mut self, settings: &Settings) -> Duration {
        self.jittered(settings.open_wait, settings)
    }

    /// The breaker closed.
    pub(super) fn recovered(&mut self, now: Moment) {
        self.recovered = Some(now);
    }

    /// The operator took over: what was before says nothing about what comes.
    pub(super) fn forget(&mut self) {
        self.relapses = 0;
        self.recovered = None;
    }

    fn jittered(&mut self, wait: Duration, settings: &Settings) -> Duration {
        let swing = settings.jitter * (2.0 * self.random.f64() - 1.0);
        // Bounded before the multiplication too, which would panic near `Duration::MAX`.
        wait.min(settings.open_wait_max).mul_f64(1.0 + swing).clamp(SHORTEST_WAIT, settings.open_wait_max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(jitter: f64) -> Settings {
        Settings { jitter, open_wait_max: Duration::from_secs(3), ..Settings::default() }.in_range()
    }

    #[test]
    fn relapses_double_the_wait_up_to_its_bound_and_stability_resets_it() {
        let (settings, mut waits) = (settings(0.0), Waits::new(1));
        let mut now = Moment::from_micros(1);
        let mut trip = |pause: Duration| {
            waits.recovered(now);
            now = now + pause;
            waits.after_trip(&settings, now).as_millis()
        };
        let stable = Duration::from_secs(10);
        let flap = stable - Duration::from_micros(1);
        assert_eq!(
            [stable, flap, flap, flap, flap, stable, flap].map(&mut trip),
            [500, 1_000, 2_000, 3_000, 3_000, 500, 1_000]
        );
    }

    #[test]
    fn a_failed_probe_does_not_lengthen_the_wait() {
        let (settings, mut waits) = (settings(0.0), Waits::new(1));
        let now = Moment::from_micros(1);
        waits.recovered(now);
        assert_eq!(waits.after_trip(&settings, now), settings.open_wait * 2);
        for _ in 0..10 {
            assert_eq!(waits.after_probe(&settings), settings.open_wait);
        }
    }

    proptest! {
        #[test]
        fn jitter_stays_in_its_share_and_below_the_bound(seed in any::<u64>(), jitter in 0.0..=1.0) {
            let (settings, mut waits) = (settings(jitter), Waits::new(seed));
            let mut now = Moment::from_micros(1);
            for relapses in 0..5 {
                let wait = waits.after_trip(&settings, now).as_secs_f64();
                let plain = (0.5 * f64::from(1 << relapses)).min(3.0);
                prop_assert!(wait <= (plain * (1.0 + jitter)).min(3.0) + 1e-6);
                prop_assert!(wait >= plain * (1.0 - jitter) - 1e-6);
                waits.recovered(now);
                now = now + Duration::from_secs(1);
            }
        }
    }
}
