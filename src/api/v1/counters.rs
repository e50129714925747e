//! `/v1/counters/{name}`: exact 64-bit counters. Increment, read, delete.
//!
//! `{name}` is everything after the prefix, percent-decoded once; on `POST` the last segment is the verb `increment`.
//! Limits: a value is one JSON number; readers that count in floats must read numbers beyond 2^53 as text.

pub(super) mod docs;

use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::super::idempotency::{self, RouteClass};
use super::super::{body, path};
use super::{Caller, fence, json, wrong_method};
use crate::api::problem::{Code, Problem};
use crate::api::stale::{self, Recall};
use crate::redis::catalogue::Lane;
use crate::resources::counters::{Bound, Counted, Counters, Increment, OnLimit};
use crate::resources::{Failure, FailureKind};
use crate::security::{ReadCounters, WriteCounters};

const PREFIX: &str = "/v1/counters/";
const VERB: &str = "/increment";
const ALLOW: &str = "GET, HEAD, DELETE, POST, OPTIONS";
/// A step and two braces fit many times; a larger body is no increment.
const BODY_BYTES: usize = 4096;
/// A hundred years: longer is a mistake.
const TTL_MAX: u64 = 3_153_600_000;

/// Mounts the resource.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/counters/{name:.*}")
            .route(web::get().to(get))
            .route(web::head().to(get))
            .route(web::post().to(increment))
            .route(web::delete().to(delete))
            .default_service(web::to(async |request: HttpRequest| wrong_method(&request, ALLOW))),
    );
}

/// The body of an increment.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[schema(as = Increment)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "min_below_max"))]
struct Body {
    /// How much is added; negative counts down.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    #[validate(custom(function = "not_zero"))]
    by: i64,
    /// The least value a step down may lead to.
    #[schema(minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    min: Option<i64>,
    /// The greatest value a step up may lead to.
    #[schema(minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    max: Option<i64>,
    /// What a step beyond a bound does: nothing, or it stops at the bound.
    #[serde(default)]
    on_limit: Limit,
    /// Lifetime of a counter that this increment creates; later increments do not move it.
    #[validate(range(min = 1, max = TTL_MAX, message = "must be a whole number of seconds from 1 to 3153600000"))]
    #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
    ttl_seconds: Option<u64>,
}

/// What a step beyond a bound does.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[schema(as = OnLimit)]
#[serde(rename_all = "lowercase")]
enum Limit {
    #[default]
    Refuse,
    Clamp,
}

impl Default for Body {
    fn default() -> Self {
        Self { by: one(), min: None, max: None, on_limit: Limit::default(), ttl_seconds: None }
    }
}

impl Body {
    fn step(&self) -> Increment {
        Increment {
            by: self.by,
            min: self.min,
            max: self.max,
            on_limit: match self.on_limit {
                Limit::Refuse => OnLimit::Refuse,
                Limit::Clamp => OnLimit::Clamp,
            },
            ttl: self.ttl_seconds.map(Duration::from_secs),
            fence: None,
        }
    }
}

fn one() -> i64 {
    1
}

fn not_zero(by: i64) -> Result<(), validator::ValidationError> {
    if by == 0 {
        return Err(validator::ValidationError::new("zero")
            .with_message("must not be 0: read the counter with GET instead".into()));
    }
    Ok(())
}

fn min_below_max(body: &Body) -> Result<(), validator::ValidationError> {
    match (body.min, body.max) {
        (Some(min), Some(max)) if min > max => {
            Err(validator::ValidationError::new("bounds").with_message("min must not be greater than max".into()))
        }
        _ => Ok(()),
    }
}

/// A counter's state.
#[derive(Serialize, ToSchema)]
struct Counter {
    /// What it is at now.
    value: i64,
    /// There, and true, if the step was cut at its bound.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clamped: bool,
}

async fn increment(
    caller: Caller<WriteCounters>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let worker = &caller.0.worker;
    let fence = fence::of(&request).map_err(at)?;
    let raw = path::after(&request, PREFIX).strip_suffix(VERB);
    let raw = raw.ok_or_else(|| at(Problem::new(Code::NotFound, "POST goes to /v1/counters/{name}/increment")))?;
    let name = path::decode(raw).map_err(|bad| at(bad.into()))?;
    let timeout = worker.shared.settings.body_timeout;
    let read = body::read(&request, &mut payload, BODY_BYTES, timeout, caller.0.allowance);
    let (body, deadline) = read.await.map_err(|error| at(error.into()))?;
    let step = if body.is_empty() { Body::default() } else { json::<Body>(&body).map_err(at)? }.step();
    let step = Increment { fence, ..step };
    let principal = caller.0.authorized.principal();
    let once = idempotency::once(&request, principal, RouteClass::Resources, &body).map_err(|bad| at(bad.into()))?;
    let counters = Counters::new(&worker.gateway, &worker.names);
    let counted = counters.increment(&name, &step, once.as_ref(), deadline).await;
    let counted = counted.map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?;
    let answer = told(counted.value).map_err(|problem| problem.after(counted.attempts));
    idempotency::marked_answer(answer, counted.replayed).map_err(at)
}

/// The answer to an increment that was decided.
pub(super) fn told(counted: Counted) -> Result<HttpResponse, Problem> {
    match counted {
        Counted::Stepped(value) => Ok(HttpResponse::Ok().json(Counter { value, clamped: false })),
        Counted::Clamped(value) => Ok(HttpResponse::Ok().json(Counter { value, clamped: true })),
        Counted::Refused(bound, value) => Err(refused(bound, value)),
        Counted::OutOfRange => Err(Problem::of_failure(&Failure::decided(FailureKind::OutOfRange), Lane::Write)),
        Counted::WrongType => Err(Problem::of_failure(&Failure::decided(FailureKind::WrongType), Lane::Write)),
        Counted::Fenced => Err(Problem::of_failure(&Failure::decided(FailureKind::Fenced), Lane::Write)),
    }
}

fn refused(bound: Bound, value: i64) -> Problem {
    let bound = match bound {
        Bound::Min => "min",
        Bound::Max => "max",
    };
    let detail = format!("the counter is at {value}, and the step would go beyond {bound}; nothing was changed");
    Problem::decided(Code::LimitReached, detail, 1).with_member("value", value)
}

async fn get(caller: Caller<ReadCounters>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let name = path::decode(path::after(&request, PREFIX)).map_err(|bad| at(bad.into()))?;
    let counters = Counters::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let recall = Recall::of_name(&request, &caller.0, "GET /v1/counters", &name);
    let (found, age) =
        stale::read(recall, counters.read(&name, caller.0.allowance.without_body())).await.map_err(at)?;
    let missing = || Problem::decided(Code::NotFound, "there is no such counter", found.attempts);
    let value = found.value.ok_or_else(|| at(missing()))?;
    Ok(stale::aged(HttpResponse::Ok().json(Counter { value, clamped: false }), age))
}

async fn delete(caller: Caller<WriteCounters>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let name = path::decode(path::after(&request, PREFIX)).map_err(|bad| at(bad.into()))?;
    let counters = Counters::new(&caller.0.worker.gateway, &caller.0.worker.names);
    counters
        .delete(&name, fence::of(&request).map_err(at)?, caller.0.allowance.without_body())
        .await
        .map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?;
    Ok(HttpResponse::NoContent().finish())
}
