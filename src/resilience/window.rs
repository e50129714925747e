//! Calls of the last seconds, counted exactly in time buckets.
//!
//! Buckets instead of a moving average: an average weighted by arrival time lets a tight burst of
//! failures carry almost no weight, and a total outage hides in it.
//!
//! Recording is a load and an add. Calls and failures share one atomic, so no reader ever sees more
//! failures than calls. Only the first call in a new bucket takes a lock, to empty what the bucket held
//! one window ago.
//!
//! Limits: the window moves by whole buckets, so it covers between `length - length / buckets` and
//! `length`. A thread that is suspended between the load and the add for a whole window, or across a
//! `clear`, adds its one call where it no longer belongs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::moment::{Moment, micros};

/// One call, in the word that also holds the failures.
const CALL: u64 = 1 << 32;
/// One failure; the lower half, four billion per bucket.
const FAILURE: u64 = 1;

/// What happened within the window.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls counted.
    pub calls: u64,
    /// Calls among them that failed.
    pub failures: u64,
    /// Calls among them that were slow.
    pub slow: u64,
}

impl Totals {
    /// Failures per call, 0 to 1; 0 without calls.
    pub fn failure_ratio(&self) -> f64 {
        ratio(self.failures, self.calls)
    }

    /// Slow calls per call, 0 to 1; 0 without calls.
    pub fn slow_ratio(&self) -> f64 {
        ratio(self.slow, self.calls)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A sliding window of calls.
#[derive(Debug)]
pub struct Window {
    buckets: Box<[Bucket]>,
    bucket_micros: u64,
    emptying: Mutex<()>,
}

/// The calls of one tick. Ticks number all buckets there ever were; each slot is used again.
#[derive(Debug, Default)]
struct Bucket {
    tick: AtomicU64,
    calls_and_failures: AtomicU64,
    slow: AtomicU64,
}

impl Window {
    /// A window of this length in this many buckets (at least one, each at least a microsecond).
    pub fn new(length: Duration, buckets: usize) -> Self {
        let buckets = buckets.max(1);
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            bucket_micros: (micros(length) / buckets as u64).max(1),
            emptying: Mutex::new(()),
        }
    }

    /// Counts a call that succeeded.
    pub fn record_success(&self, now: Moment) {
        self.record(now, CALL, 0);
    }

    /// Counts a call that failed.
    pub fn record_failure(&self, now: Moment) {
        self.record(now, CALL | FAILURE, 0);
    }

    /// Counts a call that is slow, finished or not.
    pub fn record_slow(&self, now: Moment) {
        self.record(now, CALL, 1);
    }

    /// Turns a call counted as slow at `marked` into a failure as well, where it was counted: added to
    /// a later bucket it would outlive its call. A call the window has forgotten is counted anew.
    pub fn record_slow_failed(&self, marked: Moment, now: Moment) {
        let oldest = self.tick(now).saturating_sub(self.buckets.len() as u64 - 1);
        let tick = self.tick(marked);
        match self.bucket(tick).filter(|_| tick >= oldest) {
            Some(bucket) => bucket.add(FAILURE, 0),
            None => self.record_failure(now),
        }
    }

    /// What the window holds now.
    pub fn totals(&self, now: Moment) -> Totals {
        let mut totals = Totals::default();
        let (now, length) = (self.tick(now), self.buckets.len() as u64);
        for bucket in &self.buckets {
            // A tick past `now` counts: another thread's clock reading is a little newer than ours.
            if bucket.tick.load(Ordering::Acquire).saturating_add(length) > now {
                bucket.add_to(&mut totals);
            }
        }
        totals
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let _emptying = self.emptying.lock().unwrap_or_else(PoisonError::into_inner);
        self.buckets.iter().for_each(Bucket::empty);
    }

    fn record(&self, now: Moment, calls_and_failures: u64, slow: u64) {
        // None: the call ended a whole window ago, nobody asks for it any more.
        if let Some(bucket) = self.bucket(self.tick(now)) {
            bucket.add(calls_and_failures, slow);
        }
    }

    fn tick(&self, moment: Moment) -> u64 {
        moment.as_micros() / self.bucket_micros
    }

    /// The bucket of this tick; none when its slot already serves a later one.
    fn bucket(&self, tick: u64) -> Option<&Bucket> {
        let bucket = &self.buckets[(tick % self.buckets.len() as u64) as usize];
        let mut held = bucket.tick.load(Ordering::Acquire);
        if held < tick {
            held = self.turn(bucket, tick);
        }
        (held == tick).then_some(bucket)
    }

    #[cold]
    fn turn(&self, bucket: &Bucket, tick: u64) -> u64 {
        let _emptying = self.emptying.lock().unwrap_or_else(PoisonError::into_inner);
        let held = bucket.tick.load(Ordering::Relaxed);
        if held >= tick {
            return held;
        }
        bucket.empty();
        // Released after the emptying: who sees the tick adds to an empty bucket.
        bucket.tick.store(tick, Ordering::Release);
        tick
    }
}

impl Bucket {
    fn add(&self, calls_and_failures: u64, slow: u64) {
        self.calls_and_failures.fetch_add(calls_and_failures, Ordering::Relaxed);
        if slow > 0 {
            self.slow.fetch_add(slow, Ordering::Relaxed);
        }
    }

    fn empty(&self) {
        self.calls_and_failures.store(0, Ordering::Relaxed);
        self.slow.store(0, Ordering::Relaxed);
    }

    fn add_to(&self, totals: &mut Totals) {
        let word = self.calls_and_failures.load(Ordering::Relaxed);
        let (calls, failures) = (word / CALL, word % CALL);
        totals.calls += calls;
        // `min`: the slow count and a failure amended late are separate adds, which an emptying
        // may split.
        totals.failures += failures.min(calls);
        totals.slow += self.slow.load(Ordering::Relaxed).min(calls);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1_000)
    }

    fn totals(calls: u64, failures: u64, slow: u64) -> Totals {
        Totals { calls, failures, slow }
    }

    #[test]
    fn every_record_is_a_call_and_some_are_more() {
        let window = Window::new(Duration::from_secs(10), 10);
        window.record_success(at(1_000));
        window.record_failure(at(1_000));
        window.record_slow(at(1_000));
        assert_eq!(window.totals(at(1_000)), totals(3, 1, 1));
    }

    #[test]
    fn a_call_leaves_with_its_bucket_and_no_sooner() {
        let window = Window::new(Duration::from_secs(10), 10);
        window.record_failure(at(1_999));
        assert_eq!(window.totals(at(10_999)), totals(1, 1, 0));
        assert_eq!(window.totals(at(11_000)), Totals::default());
    }

    #[test]
    fn a_bucket_used_again_starts_empty() {
        let window = Window::new(Duration::from_secs(10), 10);
        window.record_failure(at(1_000));
        window.record_success(at(11_000));
        assert_eq!(window.totals(at(11_000)), totals(1, 0, 0));
    }

    #[test]
    fn a_call_older_than_the_window_is_not_counted() {
        let window = Window::new(Duration::from_secs(10), 10);
        window.record_success(at(11_000));
        window.record_failure(at(1_000));
        assert_eq!(window.totals(at(11_000)), totals(1, 0, 0));
    }

    #[test]
    fn clearing_forgets_everything() {
        let window = Window::new(Duration::from_secs(10), 10);
        window.record_slow(at(1_000));
        window.record_failure(at(2_000));
        window.clear();
        assert_eq!(window.totals(at(2_000)), Totals::default());
        window.record_failure(at(2_000));
        assert_eq!(window.totals(at(2_000)), totals(1, 1, 0));
    }

    #[test]
    fn a_slow_call_that_fails_is_one_call_and_leaves_as_one() {
        let window = Window::new(Duration::from_secs(10), 10);
        window.record_slow(at(1_000));
        window.record_slow_failed(at(1_000), at(3_000));
        assert_eq!(window.totals(at(3_000)), totals(1, 1, 1));
        assert_eq!(window.totals(at(11_000)), Totals::default());
    }

    #[test]
    fn a_slow_call_that_fails_after_the_window_forgot_it_is_counted_anew() {
        let window = Window::new(Duration::from_secs(10), 10);
        window.record_slow(at(1_000));
        window.record_slow_failed(at(1_000), at(11_000));
        assert_eq!(window.totals(at(11_000)), totals(1, 1, 0));
    }

    #[test]
    fn a_window_of_senseless_size_still_counts() {
        for (length, buckets) in [(Duration::ZERO, 0), (Duration::MAX, 1), (Duration::ZERO, 7)] {
            let window = Window::new(length, buckets);
            window.record_failure(at(5));
            assert_eq!(window.totals(at(5)), totals(1, 1, 0));
        }
    }

    #[test]
    fn a_failure_ratio_without_calls_is_zero() {
        assert_eq!(Totals::default().failure_ratio(), 0.0);
        assert_eq!(totals(4, 1, 2).failure_ratio(), 0.25);
        assert_eq!(totals(4, 1, 2).slow_ratio(), 0.5);
    }

    #[test]
    fn no_call_is_lost_between_threads() {
        let window = Window::new(Duration::from_secs(10), 10);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for step in 0..9_000 {
                        window.record_failure(at(step));
                        let totals = window.totals(at(step));
                        assert!(totals.failures <= totals.calls);
                    }
                });
            }
        });
        assert_eq!(window.totals(at(9_000)), totals(36_000, 36_000, 0));
    }

    #[derive(Copy, Clone, Debug)]
    enum Step {
        Success,
        Failure,
        Slow,
        /// The n-th slow call so far fails.
        SlowFails(usize),
        Clear,
        Advance(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Success),
            3 => Just(Step::Failure),
            3 => Just(Step::Slow),
            3 => any::<usize>().prop_map(Step::SlowFails),
            1 => Just(Step::Clear),
            5 => (0..900_u64).prop_map(Step::Advance),
            1 => (0..9_000_u64).prop_map(Step::Advance),
        ];
        proptest::collection::vec(step, 1..200)
    }

    /// The plainest window there is: a list of what was recorded when.
    #[derive(Default)]
    struct Model {
        records: Vec<(u64, Totals)>,
        slow: Vec<(u64, usize)>,
    }

    impl Model {
        fn record(&mut self, now: u64, record: Totals) {
            self.records.push((now, record));
        }

        fn holds(&self, then: u64, now: u64, bucket: u64, buckets: u64) -> bool {
            then / bucket + buckets > now / bucket
        }

        fn totals(&self, now: u64, bucket: u64, buckets: u64) -> Totals {
            let held = self.records.iter().filter(|r| self.holds(r.0, now, bucket, buckets));
            held.fold(Totals::default(), |sum, (_, record)| Totals {
                calls: sum.calls + record.calls,
                failures: sum.failures + record.failures,
                slow: sum.slow + record.slow,
            })
        }
    }

    proptest! {
        #[test]
        fn the_window_counts_what_a_list_of_all_calls_counts(
            steps in steps(),
            bucket in 1..500_u64,
            buckets in 1..12_u64,
        ) {
            let window = Window::new(Duration::from_millis(bucket * buckets), buckets as usize);
            let mut model = Model::default();
            let mut now = 1_000;
            for step in steps {
                match step {
                    Step::Success => {
                        window.record_success(at(now));
                        model.record(now, totals(1, 0, 0));
                    }
                    Step::Failure => {
                        window.record_failure(at(now));
                        model.record(now, totals(1, 1, 0));
                    }
                    Step::Slow => {
                        window.record_slow(at(now));
                        model.slow.push((now, model.records.len()));
                        model.record(now, totals(1, 0, 1));
                    }
                    Step::SlowFails(_) if model.slow.is_empty() => {}
                    Step::SlowFails(which) => {
                        let (marked, index) = model.slow.swap_remove(which % model.slow.len());
                        window.record_slow_failed(at(marked), at(now));
                        if model.holds(marked, now, bucket, buckets) {
                            model.records[index].1.failures = 1;
                        } else {
                            model.record(now, totals(1, 1, 0));
                        }
                    }
                    Step::Clear => {
                        window.clear();
                        model = Model::default();
                    }
                    Step::Advance(millis) => now += millis,
                }
                prop_assert_eq!(window.totals(at(now)), model.totals(now, bucket, buckets));
            }
        }
    }
}
