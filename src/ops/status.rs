//! The health document: `/status`, shaped after draft-inadarei-api-health-check-06.
//!
//! One function decides what the state adds up to ([`StatusDocument::assess`]): *pass* when Redis is reachable and
//! every breaker is closed, *warn* when something is degraded but requests are served, *fail* while the service is
//! starting or draining. An outage of Redis is therefore never *fail*: the service still answers, and says so.
//!
//! Limit: addresses are no part of it. Redis is named by topology, breakers by alias.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::resilience::{Moment, Snapshot, State};
use crate::telemetry::clock;

use super::routes::View;

mod checks;

pub use checks::{Check, Observed};

/// Content type of health documents.
pub(super) const HEALTH_JSON: &str = "application/health+json";

/// What a state adds up to.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is well.
    Pass,
    /// Degraded, but served.
    Warn,
    /// Nothing is served: starting or draining.
    Fail,
}

/// Where the service is in its life.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not yet serving.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what is under way, taking nothing new.
    Draining,
}

/// Redis as the service last saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RedisStatus {
    /// `embedded`, `standalone`, `sentinel` or `cluster`.
    pub topology: String,
    /// Whether Redis answers.
    pub reachable: bool,
    /// The last round trip that was measured, milliseconds.
    pub latency_ms: Option<f64>,
    /// The version Redis told, once it has.
    pub server_version: Option<String>,
    /// Why it does not answer, in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// One breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerStatus {
    /// `redis.read` and the like; never an address.
    pub name: String,
    /// `closed`, `open`, `half_open`, `forced_open` or `disabled`.
    pub state: &'static str,
    /// When it entered that state, RFC 3339.
    pub since: String,
    /// The same in milliseconds since 1970, for the page.
    #[serde(skip)]
    pub since_millis: u64,
    /// How long callers are told to wait.
    pub retry_after_ms: Option<u64>,
    /// Calls in the window.
    pub calls: u64,
    /// Failed calls in the window.
    pub failures: u64,
    /// Their share, 0 to 1.
    pub failure_ratio: f64,
    /// Share of slow calls in the window, 0 to 1.
    pub slow_ratio: f64,
    /// Calls refused since start.
    pub rejected_total: u64,
    /// Openings since start.
    pub opened_total: u64,
}

/// Something bounded.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// How much of it is used now, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// The bound.
    pub max: u64,
}

/// What the document is made from.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The service's version.
    pub version: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// How long it has run.
    pub uptime: Duration,
    /// Redis.
    pub redis: RedisStatus,
    /// Open connections to Redis.
    pub redis_connections: u64,
    /// Whether the functions of `/v1` are in Redis; not yet, or why not.
    pub functions: Result<bool, String>,
    /// All breakers.
    pub breakers: Vec<BreakerStatus>,
    /// Everything bounded that an operator may run into, by name with its unit last (`body_bytes`).
    pub limits: BTreeMap<&'static str, Limit>,
    /// When these facts were gathered, milliseconds since 1970.
    pub wall_millis: u64,
}

/// The health document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusDocument {
    /// What it all adds up to.
    pub status: Health,
    /// The service's version.
    pub version: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whole seconds since start.
    pub uptime_seconds: u64,
    /// Redis.
    pub redis: RedisStatus,
    /// All breakers.
    pub breakers: Vec<BreakerStatus>,
    /// Everything bounded.
    pub limits: BTreeMap<&'static str, Limit>,
    /// The same as a health+json reader expects it.
    pub checks: BTreeMap<String, Vec<Check>>,
    /// For the page; `checks` carry it on the wire.
    #[serde(skip)]
    pub time: String,
    /// The same in milliseconds since 1970.
    #[serde(skip)]
    pub wall_millis: u64,
}

impl StatusDocument {
    /// Decides what the facts add up to.
    pub fn assess(facts: Facts) -> Self {
        let time = clock::rfc3339(facts.wall_millis);
        let calm = facts.redis.reachable && facts.breakers.iter().all(BreakerStatus::is_closed);
        // On their way is calm: they are put there within moments of Redis' first answer.
        let calm = calm && facts.functions.is_ok();
        let status = match facts.phase {
            Phase::Starting | Phase::Draining => Health::Fail,
            Phase::Ready if calm => Health::Pass,
            Phase::Ready => Health::Warn,
        };
        let checks = checks::of(&facts, &time);
        Self {
            status,
            version: facts.version,
            phase: facts.phase,
            uptime_seconds: facts.uptime.as_secs(),
            redis: facts.redis,
            breakers: facts.breakers,
            limits: facts.limits,
            checks,
            time,
            wall_millis: facts.wall_millis,
        }
    }
}

impl BreakerStatus {
    /// A breaker's snapshot, taken at `now`, in outside words.
    pub fn of(snapshot: &Snapshot, now: Moment) -> Self {
        let since_millis = clock::wall_millis_at(snapshot.since, now);
        Self {
            name: snapshot.name.to_owned(),
            state: snapshot.state.as_str(),
            since: clock::rfc3339(since_millis),
            since_millis,
            retry_after_ms: snapshot.retry_after.map(whole_millis),
            calls: snapshot.calls,
            failures: snapshot.failures,
            failure_ratio: snapshot.failure_ratio,
            slow_ratio: snapshot.slow_ratio,
            rejected_total: snapshot.rejected_total,
            opened_total: snapshot.opened_total,
        }
    }

    /// Whether calls pass as usual.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed.as_str()
    }
}

impl Health {
    /// The word in the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The status code of a health document: degraded is still served.
    pub(super) const fn http(self) -> StatusCode {
        match self {
            Self::Pass | Self::Warn => StatusCode::OK,
            Self::Fail => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Phase {
    /// The word in the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

pub(super) async fn answer(view: web::Data<View>) -> HttpResponse {
    let document = view.status();
    HttpResponse::build(document.status.http()).content_type(HEALTH_JSON).json(document)
}

/// Rounded up: whoever waits that long must not come too early.
fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::facts;

    #[test]
    fn closed_breakers_and_a_reachable_redis_pass() {
        assert_eq!(StatusDocument::assess(facts()).status, Health::Pass);
    }

    #[test]
    fn an_outage_of_redis_or_any_breaker_not_closed_warns() {
        let mut unreachable = facts();
        unreachable.redis.reachable = false;
        assert_eq!(StatusDocument::assess(unreachable).status, Health::Warn);
        for state in ["open", "half_open", "forced_open", "disabled"] {
            let mut refusing = facts();
            refusing.breakers[0].state = state;
            let document = StatusDocument::assess(refusing);
            assert_eq!(document.status, Health::Warn, "{state}");
            assert_eq!(document.checks["redis.read:breakerState"][0].status, Health::Warn);
            assert_eq!(document.checks["redis.write:breakerState"][0].status, Health::Pass);
        }
    }

    #[test]
    fn only_starting_and_draining_fail() {
        for phase in [Phase::Starting, Phase::Draining] {
            assert_eq!(StatusDocument::assess(Facts { phase, ..facts() }).status, Health::Fail);
        }
    }

    #[test]
    fn a_snapshot_keeps_its_numbers_and_its_wait_is_rounded_up() {
        let now = clock::now();
        let snapshot = Snapshot {
            name: "redis.write",
            state: State::Open,
            since: now,
            retry_after: Some(Duration::from_micros(499_001)),
            calls: 20,
            failures: 11,
            failure_ratio: 0.55,
            slow_ratio: 0.0,
            rejected_total: 3,
            opened_total: 1,
            outcomes: Default::default(),
        };
        let status = BreakerStatus::of(&snapshot, now);
        assert_eq!((status.state, status.retry_after_ms), ("open", Some(500)));
        assert_eq!((status.calls, status.failures, status.opened_total), (20, 11, 1));
    }
}
