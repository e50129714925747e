//! Histograms of durations: one row of bucket counts and a sum for each label set, in counting cells.
//!
//! Recording is a short scan over at most a dozen bounds and two additions. The number of observations is the sum of
//! the buckets, so it can never disagree with them.

use std::time::Duration;

use super::cells::Cells;
use super::export::Distribution;
use super::table::{Family, Kind};

/// Longest duration taken at face value, so that no clock error can spoil a sum of nanoseconds in 64 bits.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Rows start on a cache line of their own.
const ALIGN: usize = 8;

pub(super) struct Durations {
    bounds: &'static [u64],
    /// Cells of one row: the buckets, one above the last bound, the sum in nanoseconds, padding.
    stride: usize,
    cells: Cells,
}

impl Durations {
    /// `rows` histograms with the bounds of `family`.
    pub(super) fn new(family: &Family, rows: usize) -> Self {
        let bounds = match family.kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        };
        let stride = (bounds.len() + 2).next_multiple_of(ALIGN);
        Self { bounds, stride, cells: Cells::new(rows * stride) }
    }

    #[inline]
    pub(super) fn observe(&self, row: usize, duration: Duration) {
        let nanos = duration.min(LONGEST).as_nanos() as u64;
        let bucket = self.bounds.iter().position(|bound| nanos <= bound * 1000).unwrap_or(self.bounds.len());
        self.cells.add(row * self.stride + bucket, 1);
        self.cells.add(row * self.stride + self.bounds.len() + 1, nanos);
    }

    pub(super) fn read(&self, row: usize) -> Distribution {
        let first = row * self.stride;
        let counts = (first..=first + self.bounds.len()).map(|cell| self.cells.total(cell)).collect();
        let nanos = self.cells.total(first + self.bounds.len() + 1);
        Distribution { counts, sum: nanos as f64 / 1e9 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::HTTP_DURATION;
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_to_that_bound() {
        let durations = Durations::new(&HTTP_DURATION, 2);
        durations.observe(1, Duration::from_micros(500));
        durations.observe(1, Duration::from_nanos(500_001));
        durations.observe(1, Duration::from_secs(5));
        durations.observe(1, Duration::from_secs(6));
        let read = durations.read(1);
        assert_eq!((read.counts[0], read.counts[1]), (1, 1));
        assert_eq!((read.counts[12], read.counts[13]), (1, 1));
        assert!((read.sum - 11.001_000_001).abs() < 1e-9);
        assert!(durations.read(0).counts.iter().all(|count| *count == 0));
    }

    #[test]
    fn an_absurd_duration_cannot_spoil_the_sum() {
        let durations = Durations::new(&HTTP_DURATION, 1);
        durations.observe(0, Duration::MAX);
        assert_eq!(durations.read(0).sum, 86_400.0);
    }
}
