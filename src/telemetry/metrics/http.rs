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
use super::table::{Family, HTTP_DURATION, HTTP_REQUESTS};

/// Statuses whose series exist from the start for a route's usual methods: a rate needs a zero to rise from.
const FROM_THE_START: [u16; 4] = [200, 500, 503, 504];

/// What is recorded for each request.
pub struct HttpMetrics {
    requests: Cells,
    durations: Durations,
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
