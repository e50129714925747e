//! Counting cells: a row of numbers that many threads add to without meeting.
//!
//! One shared atomic per number would make every worker wait for the cache line of every other. So each thread adds
//! to one of a few copies of the row, each on cache lines of its own, and a scrape adds the copies up. Adding is one
//! relaxed `fetch_add` at a computed index: no lock, no hash, no allocation.
//!
//! Limits: a reading is not a snapshot across cells (numbers may run a few events ahead of each other), and more
//! threads than copies share one, which costs time, never a count.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Copies of the row. Workers are few (one a core); beyond eight, sharing costs little and memory would cost more.
const COPIES: usize = 8;

/// Numbers on one cache line.
const PER_LINE: usize = 8;

#[derive(Default)]
#[repr(align(64))]
struct Line([AtomicU64; PER_LINE]);

const _: () = assert!(size_of::<Line>() == 64);

/// A row of counters, all zero at first.
pub(super) struct Cells {
    lines: Box<[Line]>,
    lines_per_copy: usize,
}

impl Cells {
    pub(super) fn new(length: usize) -> Self {
        let lines_per_copy = length.div_ceil(PER_LINE);
        let lines = (0..lines_per_copy * COPIES).map(|_| Line::default()).collect();
        Self { lines, lines_per_copy }
    }

    /// Adds to the number at `index`; wraps, so that adding `n.wrapping_neg()` subtracts.
    #[inline]
    pub(super) fn add(&self, index: usize, n: u64) {
        self.cell(own_copy(), index).fetch_add(n, Ordering::Relaxed);
    }

    /// The number at `index`: the wrapping sum over all copies.
    pub(super) fn total(&self, index: usize) -> u64 {
        (0..COPIES).map(|copy| self.cell(copy, index).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    #[inline]
    fn cell(&self, copy: usize, index: usize) -> &AtomicU64 {
        debug_assert!(index / PER_LINE < self.lines_per_copy, "cell {index} is outside its row");
        &self.lines[copy * self.lines_per_copy + index / PER_LINE].0[index % PER_LINE]
    }
}

/// The copy this thread adds to: handed out in turn, kept for the life of the thread.
#[inline]
fn own_copy() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % COPIES);
    OWN.with(|own| *own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_lost_between_more_threads_than_copies() {
        let cells = Cells::new(11);
        std::thread::scope(|scope| {
            for _ in 0..COPIES * 2 {
                scope.spawn(|| (0..1000).for_each(|n| cells.add(n % 11, 1)));
            }
        });
        let sum: u64 = (0..11).map(|index| cells.total(index)).sum();
        assert_eq!(sum, COPIES as u64 * 2 * 1000);
    }

    #[test]
    fn one_thread_may_take_away_what_another_added() {
        let cells = Cells::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| cells.add(0, 3));
            scope.spawn(|| cells.add(0, 2u64.wrapping_neg()));
        });
        assert_eq!(cells.total(0), 1);
    }
}
