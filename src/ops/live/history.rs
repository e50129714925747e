//! The last five minutes, a sample a second: traffic, latency, and the worst state each breaker was in.
//!
//! Made from running totals, so nothing on the request path pays for it. Rates of the charts are of one second; latency and
//! the numbers beside the charts are of the last five, because at one request a second a quantile of one second is noise.
//!
//! Limits: kept in memory, empty after a restart; quantiles are interpolated inside the buckets of the histogram.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ops::BreakerStatus;
use crate::resilience::{Moment, State};
use crate::telemetry::metrics::HttpTotals;

/// Samples kept: five minutes show how an incident began without scrolling.
pub(in crate::ops) const KEPT: usize = 300;

/// Seconds that the present numbers are taken over.
const RECENT: usize = 5;

/// A failing probe holds a breaker half-open for its timeout of 200 ms, and somewhat longer on a busy machine. Showing that
/// would make the page flicker twice a second through an outage, so half-open after open is shown once it has lasted longer;
/// together with the next look still well within the second in which a change must be on the page.
const FLICKER: Duration = Duration::from_millis(600);

/// One second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::ops) struct Sample {
    /// Requests and latency.
    pub pace: Pace,
    /// The worst state of each breaker during that second, in the order of the breakers.
    pub states: Vec<&'static str>,
}

/// Traffic over a short time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::ops) struct Pace {
    /// Requests answered a second.
    pub requests: f64,
    /// Of these, with a 5xx status.
    pub failed: f64,
    /// Of these, with 503.
    pub refused: f64,
    /// Half of the requests were faster; none without requests.
    pub median: Option<Duration>,
    /// 99 of 100 requests were faster.
    pub slow: Option<Duration>,
}

/// See the head of this file.
#[derive(Default)]
pub(in crate::ops) struct History {
    samples: VecDeque<Sample>,
    readings: VecDeque<(Moment, HttpTotals)>,
    breakers: Vec<Watched>,
}

/// What is remembered of one breaker between two looks.
#[derive(Clone)]
struct Watched {
    worst: &'static str,
    shown: &'static str,
    entered: Moment,
    state: &'static str,
}

impl History {
    /// Looks at the breakers; several times a second. Answers whether a state that is shown has changed.
    pub fn look(&mut self, now: Moment, breakers: &[BreakerStatus]) -> bool {
        let new = |state| Watched { worst: state, shown: state, entered: now, state };
        self.breakers.truncate(breakers.len());
        let known = self.breakers.len();
        self.breakers.extend(breakers[known..].iter().map(|breaker| new(breaker.state)));
        let mut changed = false;
        for (watched, breaker) in self.breakers.iter_mut().zip(breakers) {
            changed |= watched.look(now, breaker.state);
        }
        changed
    }

    /// The state to show of each breaker, in their order.
    pub fn shown(&self) -> impl Iterator<Item = &'static str> {
        self.breakers.iter().map(|watched| watched.shown)
    }

    /// Ends a second.
    pub fn sample(&mut self, now: Moment, totals: HttpTotals) {
        let second = self.readings.back().map(|last| Pace::between(last, &(now, totals.clone())));
        self.readings.push_back((now, totals));
        while self.readings.len() > RECENT + 1 {
            self.readings.pop_front();
        }
        let Some(second) = second else { return };
        let recent = self.recent();
        let pace = Pace { median: recent.median, slow: recent.slow, ..second };
        let states = self.breakers.iter_mut().map(Watched::end_second).collect();
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { pace, states });
    }

    /// Traffic over the last seconds.
    pub fn recent(&self) -> Pace {
        match (self.readings.front(), self.readings.back()) {
            (Some(first), Some(last)) => Pace::between(first, last),
            _ => Pace::default(),
        }
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.samples.iter()
    }
}

impl Watched {
    fn look(&mut self, now: Moment, state: &'static str) -> bool {
        if self.state != state {
            (self.state, self.entered) = (state, now);
        }
        self.worst = worse(self.worst, state);
        let flickers = self.shown == State::Open.as_str()
            && state == State::HalfOpen.as_str()
            && now.saturating_since(self.entered) < FLICKER;
        let before = self.shown;
        self.shown = if flickers { before } else { state };
        self.shown != before
    }

    fn end_second(&mut self) -> &'static str {
        std::mem::replace(&mut self.worst, self.state)
    }
}

impl Pace {
    fn between((begin, before): &(Moment, HttpTotals), (end, after): &(Moment, HttpTotals)) -> Self {
        let seconds = end.saturating_since(*begin).as_secs_f64();
        let rate = |after: u64, before: u64| match seconds > 0.0 {
            true => after.saturating_sub(before) as f64 / seconds,
            false => 0.0,
        };
        let counts: Vec<u64> = after
            .durations
            .iter()
            .enumerate()
            .map(|(bucket, count)| count.saturating_sub(before.durations.get(bucket).copied().unwrap_or(0)))
            .collect();
        Self {
            requests: rate(after.requests, before.requests),
            failed: rate(after.failed, before.failed),
            refused: rate(after.refused, before.refused),
            median: quantile(&counts, 0.5),
            slow: quantile(&counts, 0.99),
        }
    }
}

/// The more serious of two states; what refuses callers is more serious than what does not.
fn worse(one: &'static str, other: &'static str) -> &'static str {
    const MILDEST_FIRST: [State; 5] = [State::Closed, State::Disabled, State::HalfOpen, State::Open, State::ForcedOpen];
    let rank = |word| MILDEST_FIRST.iter().position(|state| state.as_str() == word);
    if rank(other) > rank(one) { other } else { one }
}

/// The duration below which the given share of requests stayed, linear inside its bucket as `histogram_quantile` has it.
fn quantile(counts: &[u64], share: f64) -> Option<Duration> {
    let bounds = HttpTotals::bounds();
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = share * all as f64;
    let mut below = 0.0;
    for (bucket, count) in counts.iter().map(|count| *count as f64).enumerate() {
        let Some(upper) = bounds.get(bucket) else { break };
        if count > 0.0 && below + count >= wanted {
            let lower = bucket.checked_sub(1).map_or(0, |bucket| bounds[bucket]);
            let inside = (wanted - below) / count;
            return Some(
                Duration::from_micros(lower).mul_f64(1.0 - inside) + Duration::from_micros(*upper).mul_f64(inside),
            );
        }
        below += count;
    }
    bounds.last().map(|longest| Duration::from_micros(*longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::facts;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(1_000_000 + millis * 1000)
    }

    fn totals(requests: u64, failed: u64, bucket: usize) -> HttpTotals {
        let mut durations = vec![0; HttpTotals::bounds().len() + 1];
        durations[bucket] = requests;
        HttpTotals { requests, failed, refused: failed, durations }
    }

    fn states(read: &'static str) -> Vec<BreakerStatus> {
        let mut breakers = facts().breakers;
        breakers[0].state = read;
        breakers
    }

    #[test]
    fn rates_are_of_one_second_and_the_present_of_five() {
        let mut history = History::default();
        history.look(at(0), &states("closed"));
        for second in 0..=10 {
            let requests = if second < 10 { second * 10 } else { 590 };
            history.sample(at(second * 1000), totals(requests, second, 0));
        }
        let samples: Vec<_> = history.samples().collect();
        assert_eq!(samples.len(), 10, "a rate needs two readings");
        assert_eq!((samples[8].pace.requests, samples[9].pace.requests), (10.0, 500.0));
        let recent = history.recent();
        assert_eq!((recent.requests, recent.failed), (108.0, 1.0));
    }

    #[test]
    fn without_requests_there_is_no_latency() {
        let mut history = History::default();
        history.sample(at(0), totals(7, 0, 3));
        history.sample(at(1000), totals(7, 0, 3));
        assert_eq!(history.recent().median, None);
        assert_eq!(history.samples().next().expect("a sample").pace.slow, None);
    }

    #[test]
    fn quantiles_are_interpolated_and_end_at_the_last_bound() {
        let mut counts = vec![0; HttpTotals::bounds().len() + 1];
        counts[1] = 100; // 0.5 ms to 1 ms
        assert_eq!(quantile(&counts, 0.5), Some(Duration::from_micros(750)));
        counts[13] = 1000;
        assert_eq!(quantile(&counts, 0.99), Some(Duration::from_secs(5)));
    }

    #[test]
    fn only_five_minutes_are_kept() {
        let mut history = History::default();
        (0..400).for_each(|second| history.sample(at(second * 1000), totals(second, 0, 0)));
        assert_eq!(history.samples().len(), KEPT);
    }

    #[test]
    fn a_failing_probe_does_not_flicker_and_a_lasting_half_open_shows() {
        let mut history = History::default();
        assert!(!history.look(at(0), &states("closed")));
        assert!(history.look(at(100), &states("open")));
        assert!(!history.look(at(600), &states("half_open")), "a probe has just begun");
        assert!(!history.look(at(800), &states("open")), "it failed");
        assert!(!history.look(at(1300), &states("half_open")));
        assert!(!history.look(at(1800), &states("half_open")));
        assert!(history.look(at(1900), &states("half_open")), "this one goes on");
        assert_eq!(history.shown().next(), Some("half_open"));
        assert!(history.look(at(2000), &states("closed")));
    }

    #[test]
    fn a_second_is_as_bad_as_its_worst_moment() {
        let mut history = History::default();
        history.sample(at(0), totals(0, 0, 0));
        for (millis, state) in [(100, "closed"), (200, "open"), (400, "half_open"), (600, "closed")] {
            history.look(at(millis), &states(state));
        }
        history.sample(at(1000), totals(0, 0, 0));
        history.look(at(1500), &states("closed"));
        history.sample(at(2000), totals(0, 0, 0));
        let worst: Vec<_> = history.samples().map(|sample| sample.states[0]).collect();
        assert_eq!(worst, ["open", "closed"]);
    }
}
