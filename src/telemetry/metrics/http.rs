//! Requests on the public listener: how many by method, route and status, and how long by route.
//!
//! Every combination has its cell, so recording is arithmetic on three small indices. All combinations would be more
//! than a thousand series, most of which can never occur; a scrape shows those that have occurred, and from the
//! start, at zero, the ones that alerts divide by.

use std::time::Duration;

use super::cells::Cells;
use super::durations::Durations;
use super::export::{Export, Samples};
use super::labels::{Method, Route, STATUSES, status_index};
use super::table::{Family, HTTP_DURATION, HTTP_REQUESTS, Kind};

/// Statuses whose series exist from the start for a route's usual methods: a rate needs a zero to rise from.
const FROM_THE_START: [u16; 4] = [200, 500, 503, 504];

/// What is recorded for each request.
pub struct HttpMetrics {
    requests: Cells,
    durations: Durations,
}

/// What was recorded since the start, all routes and methods together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpTotals {
    /// Requests answered.
    pub requests: u64,
    /// Of these, answered with a 5xx status; refusals are among them.
    pub failed: u64,
    /// Of these, answered with 503: nothing was done for the caller.
    pub refused: u64,
    /// Requests by duration: one count for each of [`HttpTotals::bounds`], then one for what took longer.
    pub durations: Vec<u64>,
}

impl HttpTotals {
    /// The upper bounds of `durations`, microseconds.
    pub fn bounds() -> &'static [u64] {
        match HTTP_DURATION.kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        }
    }
}

impl HttpMetrics {
    pub(super) fn new() -> Self {
        let requests = Cells::new(Route::ALL.len() * Method::ALL.len() * STATUSES.len());
        Self { requests, durations: Durations::new(&HTTP_DURATION, Route::ALL.len()) }
    }

    /// Records one answered request: three relaxed additions, no lock, no allocation.
    #[inline]
    pub fn observe(&self, route: Route, method: Method, status: u16, duration: Duration) {
        self.requests.add(cell(route, method, status_index(status)), 1);
        self.durations.observe(route.index(), duration);
    }

    /// What was recorded since the start.
    pub fn totals(&self) -> HttpTotals {
        let mut totals = HttpTotals { durations: vec![0; HttpTotals::bounds().len() + 1], ..HttpTotals::default() };
        for route in Route::ALL {
            let counts = self.durations.read(route.index()).counts;
            totals.durations.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
            for &method in Method::ALL {
                for (status, word) in STATUSES.iter().enumerate() {
                    let count = self.requests.total(cell(*route, method, status));
                    totals.requests += count;
                    totals.failed += if word.starts_with('5') { count } else { 0 };
                    totals.refused += if *word == "503" { count } else { 0 };
                }
            }
        }
        totals
    }

    fn read_requests(&self) -> Samples {
        let mut samples = Samples::of(&HTTP_REQUESTS);
        for &route in Route::ALL {
            for &method in Method::ALL {
                let usual = route.usual_methods().contains(&method);
                for (status, word) in STATUSES.iter().enumerate() {
                    let count = self.requests.total(cell(route, method, status));
                    let expected = usual && FROM_THE_START.iter().any(|code| status_index(*code) == status);
                    if count > 0 || expected {
                        samples.add(&[method.word(), route.word(), word], count as f64);
                    }
                }
            }
        }
        samples
    }

    fn read_durations(&self) -> Samples {
        let mut samples = Samples::of(&HTTP_DURATION);
        for route in Route::ALL {
            samples.add_distribution(&[route.word()], &self.durations.read(route.index()));
        }
        samples
    }
}

impl Export for HttpMetrics {
    fn families(&self) -> Vec<&'static Family> {
        vec![&HTTP_REQUESTS, &HTTP_DURATION]
    }

    fn read(&self) -> Vec<Samples> {
        vec![self.read_requests(), self.read_durations()]
    }
}

#[inline]
const fn cell(route: Route, method: Method, status: usize) -> usize {
    (route.index() * Method::ALL.len() + method.index()) * STATUSES.len() + status
}
