//! The members of `checks`: the same facts again, as readers of health+json expect them.
//!
//! Names are `component:measurement` as the draft asks; a check that is not *pass* says why in `output`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{BreakerStatus, Facts, Health};

/// One entry of `checks`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at.
    pub component_id: String,
    /// `datastore` or `component`.
    pub component_type: &'static str,
    /// What was seen, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_value: Option<Observed>,
    /// Its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_unit: Option<&'static str>,
    /// What it means.
    pub status: Health,
    /// When it was seen, RFC 3339.
    pub time: String,
    /// Why it is not *pass*.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// A value in a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Observed {
    /// A measured number.
    Number(f64),
    /// A count.
    Count(u64),
    /// A word.
    Word(&'static str),
}

/// All checks, seen at `time`.
pub(super) fn of(facts: &Facts, time: &str) -> BTreeMap<String, Vec<Check>> {
    let redis = &facts.redis;
    let (status, silence) = verdict(redis.reachable, "Redis does not answer");
    let output = silence.map(|silence| match &redis.last_error {
        Some(reason) => format!("{silence}: {reason}"),
        None => silence,
    });
    let datastore = |observed_value, observed_unit| Check {
        component_id: "redis".to_owned(),
        component_type: "datastore",
        observed_value,
        observed_unit,
        status,
        time: time.to_owned(),
        output: output.clone(),
    };
    let latency = datastore(redis.latency_ms.map(Observed::Number), redis.latency_ms.map(|_| "ms"));
    let connections = datastore(Some(Observed::Count(facts.redis_connections)), None);
    let mut checks = BTreeMap::from([
        ("redis:migrations".to_owned(), vec![migrations(facts, time)]),
        ("redis:responseTime".to_owned(), vec![latency]),
        ("redis:connections".to_owned(), vec![connections]),
    ]);
    for breaker in &facts.breakers {
        checks.insert(format!("{}:breakerState", breaker.name), vec![breaker_check(breaker, time)]);
    }
    checks
}

fn migrations(facts: &Facts, time: &str) -> Check {
    let (status, output) = match &facts.functions {
        Ok(true) => (Health::Pass, None),
        Ok(false) => (Health::Pass, Some("the functions of /v1 are being put in place".to_owned())),
        Err(reason) => (Health::Warn, Some(reason.clone())),
    };
    Check {
        component_id: "redis".to_owned(),
        component_type: "datastore",
        observed_value: None,
        observed_unit: None,
        status,
        time: time.to_owned(),
        output,
    }
}

fn breaker_check(breaker: &BreakerStatus, time: &str) -> Check {
    let (status, output) = verdict(breaker.is_closed(), "the breaker is not closed");
    Check {
        component_id: breaker.name.clone(),
        component_type: "component",
        observed_value: Some(Observed::Word(breaker.state)),
        observed_unit: None,
        status,
        time: time.to_owned(),
        output,
    }
}

fn verdict(fine: bool, otherwise: &'static str) -> (Health, Option<String>) {
    if fine { (Health::Pass, None) } else { (Health::Warn, Some(otherwise.to_owned())) }
}
