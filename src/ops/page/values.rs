//! Everything the page shows, by name: the same list fills the page and goes over `/events`.
//!
//! Limits: the list of changes has [`CHANGES`] places; empty ones are hidden.

use std::collections::BTreeMap;
use std::time::Duration;

use super::words::{self, verdict};
use super::{chart, id};
use crate::ops::live::history::{History, Pace, Sample};
use crate::ops::status::{BreakerStatus, Health, Limit, Phase, StatusDocument};
use crate::resilience::{Moment, State};
use crate::telemetry::clock;
use crate::telemetry::diary::Entry;

/// Changes shown.
const CHANGES: usize = 8;

/// A curve of traffic is never scaled to less than this peak: one request must not look like a flood.
const LOWEST_PEAK: f64 = 5.0;

/// Rows of a breaker's strip, in its 24 units of height: what refuses is tall, what passes is a thin line.
const THIN: (usize, usize) = (10, 14);
const HALF: (usize, usize) = (6, 18);
const TALL: (usize, usize) = (1, 23);

type Named = (&'static str, String);

/// See the head of this file.
pub(in crate::ops) struct Values {
    pub(super) page: Vec<Named>,
    pub(super) breakers: Vec<Vec<Named>>,
    pub(super) entries: Vec<Vec<Named>>,
    pub(super) limits: Vec<Vec<Named>>,
}

impl Values {
    /// The values of one moment.
    pub fn of(document: &StatusDocument, history: &History, transitions: &[Entry], now: Moment) -> Self {
        let mut page = state(document);
        page.extend(traffic(history));
        page.push(("no_entries_class", if transitions.is_empty() { "quiet" } else { "empty" }.to_owned()));
        let breakers = document.breakers.iter().enumerate();
        Self {
            page,
            breakers: breakers
                .map(|(n, breaker)| {
                    let mut values = breaker_values(n, breaker, history);
                    values.extend(lasting(breaker, document.wall_millis, transitions, now));
                    values
                })
                .collect(),
            entries: (0..CHANGES).map(|n| entry(transitions.get(n), now)).collect(),
            limits: limits(document),
        }
    }

    /// All of them as one JSON object; those of the second breaker begin with `b1_`, and so on.
    pub fn json(&self) -> String {
        let mut all: BTreeMap<String, &str> =
            self.page.iter().map(|(name, value)| ((*name).to_owned(), value.as_str())).collect();
        for (letter, rows) in [('b', &self.breakers), ('e', &self.entries), ('l', &self.limits)] {
            for (n, row) in rows.iter().enumerate() {
                all.extend(row.iter().map(|(name, value)| (format!("{letter}{n}_{name}"), value.as_str())));
            }
        }
        serde_json::to_string(&all).expect("a map from text to text is always JSON")
    }
}

fn state(document: &StatusDocument) -> Vec<Named> {
    let (headline, explanation) = verdict(document);
    let (redis, health) = (&document.redis, document.status.as_str());
    let redis_word = if redis.reachable { "reachable" } else { "not reachable" };
    vec![
        ("page", id(document)),
        ("title", format!("{headline} · The Collective")),
        ("icon", icon(document.status).to_owned()),
        ("sign", format!("#sign-{health}")),
        ("verdict_class", format!("verdict {health}")),
        ("headline", headline.to_owned()),
        ("explanation", explanation),
        ("announcement", words::announcement(document)),
        ("version", document.version.clone()),
        ("phase", phase(document.phase).to_owned()),
        ("uptime", words::age(document.uptime_seconds)),
        ("time", document.time.clone()),
        ("clock", words::moment(&document.time)),
        ("redis_class", if redis.reachable { "pass" } else { "fail" }.to_owned()),
        ("redis_word", redis_word.to_owned()),
        ("topology", redis.topology.clone()),
        ("latency", words::round_trip(redis)),
        ("server_version", redis.server_version.clone().unwrap_or_else(|| "version not known yet".to_owned())),
    ]
}

fn traffic(history: &History) -> Vec<Named> {
    let recent = history.recent();
    let paces = || history.samples().map(|sample| &sample.pace);
    let peak = paces().map(|pace| pace.requests).fold(LOWEST_PEAK, f64::max);
    let said = |duration: Option<Duration>| duration.map_or_else(|| "–".to_owned(), words::duration);
    let requests: Vec<f64> = paces().map(|pace| pace.requests).collect();
    let failed: Vec<f64> = paces().map(|pace| pace.failed).collect();
    vec![
        ("peak", format!("peak {}", words::rate(paces().map(|pace| pace.requests).fold(0.0, f64::max)))),
        ("rate", words::rate(recent.requests)),
        ("failed", failures(&recent)),
        ("failed_class", if recent.failed > 0.0 { "fail" } else { "quiet" }.to_owned()),
        ("all_area", chart::area(requests.iter().copied(), peak)),
        ("all_line", chart::line(requests.iter().copied(), peak)),
        ("lost_area", chart::area(failed.iter().copied(), peak)),
        ("median", said(recent.median)),
        ("slow", format!("p99 {}", said(recent.slow))),
        ("median_line", chart::durations(paces().map(|pace| pace.median))),
        ("slow_line", chart::durations(paces().map(|pace| pace.slow))),
        ("level_1ms", chart::level(Duration::from_millis(1))),
        ("level_100ms", chart::level(Duration::from_millis(100))),
    ]
}

fn failures(pace: &Pace) -> String {
    if pace.requests <= 0.0 {
        return "no traffic".to_owned();
    }
    let word = if pace.refused >= pace.failed && pace.failed > 0.0 { "refused" } else { "failed" };
    format!("{} {word}", words::percent(pace.failed / pace.requests))
}

fn breaker_values(n: usize, breaker: &BreakerStatus, history: &History) -> Vec<Named> {
    let mood = words::mood(breaker.state);
    let class = format!("{mood} {}", breaker.state);
    let row = |states: &'static [&'static str], (top, bottom)| {
        chart::boxes(seconds(n, history).map(move |state| states.contains(&state)), top, bottom)
    };
    let refused = seconds(n, history).filter(|state| !matches!(*state, "closed" | "disabled")).count();
    vec![
        ("name", breaker.name.clone()),
        ("word", words::state(breaker.state)),
        ("mood", mood.to_owned()),
        ("card", format!("card breaker {class}")),
        ("class", class),
        ("wait", breaker.retry_after_ms.map_or_else(|| "not at all".to_owned(), |millis| format!("{millis} ms"))),
        ("calls", words::grouped(breaker.calls)),
        ("failures", words::percent(breaker.failure_ratio)),
        ("slow", words::percent(breaker.slow_ratio)),
        ("rejected", words::grouped(breaker.rejected_total)),
        ("opened", words::grouped(breaker.opened_total)),
        ("refused_for", if refused == 0 { String::new() } else { format!("refused {}", words::age(refused as u64)) }),
        ("passes", row(&["closed"], THIN)),
        ("bypassed", row(&["disabled"], HALF)),
        ("probes", row(&["half_open"], HALF)),
        ("refuses", row(&["open", "forced_open"], TALL)),
    ]
}

/// Since when it is so. Probing an open breaker turns it half-open and back again and again; for people the outage began
/// when it last left closed.
fn lasting(breaker: &BreakerStatus, wall_millis: u64, transitions: &[Entry], now: Moment) -> [Named; 2] {
    let refuses = [State::Open, State::HalfOpen].iter().any(|state| state.as_str() == breaker.state);
    let mut openings = transitions.iter().filter(|entry| entry.name == breaker.name && entry.from == State::Closed);
    let began = match openings.next() {
        Some(opening) if refuses => clock::wall_millis_at(opening.at, now),
        _ => breaker.since_millis,
    };
    let age = wall_millis.saturating_sub(began) / 1000;
    [("since", clock::rfc3339(began)), ("age", words::age(age))]
}

/// The worst state of one breaker in each second that is remembered.
fn seconds(breaker: usize, history: &History) -> impl ExactSizeIterator<Item = &'static str> {
    let of = move |sample: &Sample| sample.states.get(breaker).copied().unwrap_or("closed");
    history.samples().map(of)
}

fn entry(entry: Option<&Entry>, now: Moment) -> Vec<Named> {
    let Some(entry) = entry else {
        let nothing = |name| (name, String::new());
        return vec![("class", "empty".to_owned()), nothing("at"), nothing("clock"), nothing("name"), nothing("what")];
    };
    let at = clock::rfc3339(clock::wall_millis_at(entry.at, now));
    let time_of_day = at.get(11..19).unwrap_or_default().to_owned();
    vec![
        ("class", words::change_mood(entry).to_owned()),
        ("at", at),
        ("clock", time_of_day),
        ("name", entry.name.to_owned()),
        ("what", words::change(entry)),
    ]
}

/// What fills up comes first; plain bounds follow.
fn limits(document: &StatusDocument) -> Vec<Vec<Named>> {
    let (moving, fixed): (Vec<_>, Vec<_>) = document.limits.iter().partition(|(_, bound)| bound.used.is_some());
    moving.into_iter().chain(fixed).map(|(name, bound)| limit(name, bound)).collect()
}

fn limit(name: &str, limit: &Limit) -> Vec<Named> {
    let (name, bound) = words::bound(name, limit);
    let (track, used) = match limit.used {
        Some(used) => ("M0 2h100".to_owned(), used as f64 * 100.0 / limit.max.max(1) as f64),
        None => (String::new(), 0.0),
    };
    let used = if used > 0.0 { format!("M0 2h{:.1}", used.clamp(0.5, 100.0)) } else { String::new() };
    vec![("name", name), ("bound", bound), ("track", track), ("used", used)]
}

fn phase(phase: Phase) -> &'static str {
    phase.as_str()
}

/// The tab's icon: a circle, a triangle or a square, like the sign on the page.
fn icon(health: Health) -> &'static str {
    match health {
        Health::Pass => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%232e7d4f'/%3E%3C/svg%3E"
        }
        Health::Warn => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M8 1 15 15H1z' fill='%23b7791f'/%3E%3C/svg%3E"
        }
        Health::Fail => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 2h12v12H2z' fill='%23b3372f'/%3E%3C/svg%3E"
        }
    }
}
