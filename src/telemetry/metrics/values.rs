//! Single numbers: a [`Counter`] only rises, a [`Gauge`] moves both ways or is read elsewhere at scrape time.
//!
//! Handles are cheap to clone and point at their cell; adding takes no lock.

use std::sync::{Arc, Mutex, PoisonError};

use super::cells::Cells;
use super::export::{Export, Samples};
use super::table::Family;

/// One number that only rises.
#[derive(Clone)]
pub struct Counter {
    family: Arc<Counters>,
    row: usize,
}

impl Counter {
    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.family.cells.add(self.row, n);
    }
}

/// One number that rises and falls: what was added less what was taken away, plus what its samplers say.
#[derive(Clone)]
pub struct Gauge {
    family: Arc<Gauges>,
    row: usize,
}

impl Gauge {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.family.cells.add(self.row, n);
    }

    /// Takes `n` away; any thread may take away what another added.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.family.cells.add(self.row, n.wrapping_neg());
    }

    /// Asks `sampler` at every scrape and adds its answer. It must not block. There may be several.
    pub fn sample(&self, sampler: impl Fn() -> f64 + Send + Sync + 'static) {
        self.family.samplers().push((self.row, Box::new(sampler)));
    }
}

/// A counter family with at most one label.
pub(super) struct Counters {
    family: &'static Family,
    cells: Cells,
}

impl Counters {
    pub(super) fn new(family: &'static Family) -> Arc<Self> {
        Arc::new(Self { family, cells: Cells::new(rows(family)) })
    }

    pub(super) fn handle(self: &Arc<Self>, row: usize) -> Counter {
        Counter { family: Arc::clone(self), row }
    }

    #[inline]
    pub(super) fn increment(&self, row: usize) {
        self.cells.add(row, 1);
    }
}

impl Export for Counters {
    fn families(&self) -> Vec<&'static Family> {
        vec![self.family]
    }

    fn read(&self) -> Vec<Samples> {
        vec![read_rows(self.family, |row| self.cells.total(row) as f64)]
    }
}

type Sampler = (usize, Box<dyn Fn() -> f64 + Send + Sync>);

/// A gauge family with at most one label.
pub(super) struct Gauges {
    family: &'static Family,
    cells: Cells,
    samplers: Mutex<Vec<Sampler>>,
}

impl Gauges {
    pub(super) fn new(family: &'static Family) -> Arc<Self> {
        Arc::new(Self { family, cells: Cells::new(rows(family)), samplers: Mutex::default() })
    }

    pub(super) fn handle(self: &Arc<Self>, row: usize) -> Gauge {
        Gauge { family: Arc::clone(self), row }
    }

    fn samplers(&self) -> std::sync::MutexGuard<'_, Vec<Sampler>> {
        self.samplers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Export for Gauges {
    fn families(&self) -> Vec<&'static Family> {
        vec![self.family]
    }

    fn read(&self) -> Vec<Samples> {
        let samplers = self.samplers();
        vec![read_rows(self.family, |row| {
            let counted = self.cells.total(row).cast_signed() as f64;
            let sampled: f64 = samplers.iter().filter(|(of, _)| *of == row).map(|(_, sampler)| sampler()).sum();
            counted + sampled
        })]
    }
}

fn rows(family: &Family) -> usize {
    family.labels.first().map_or(1, |(_, values)| values.len())
}

fn read_rows(family: &'static Family, value: impl Fn(usize) -> f64) -> Samples {
    let mut samples = Samples::of(family);
    match family.labels.first() {
        None => samples.add(&[], value(0)),
        Some((_, words)) => words.iter().enumerate().for_each(|(row, word)| samples.add(&[word], value(row))),
    }
    samples
}
