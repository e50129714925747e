//! `/v1/limiters/{name}`: take, look without taking, forget.
//!
//! A refusal is data: 200 with `allowed: false`. 429 would say that the service limits its caller, which it does not. `decided_by`
//! tells who decided: `redis`, or by the caller's own `on_outage`, when Redis could not, `local` (this instance with its share) or
//! `open` (granted unseen); then `outcome` tells whether Redis may have charged it all the same. `{name}` is everything after the
//! prefix, percent-decoded once; on `POST` the last segment is the verb `take`. Limits: waits are rounded up to milliseconds.

pub(super) mod docs;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use super::super::idempotency::{self, RouteClass};
use super::super::{body, duration, path};
use super::{Caller, json, query, wrong_method};
use crate::api::Worker;
use crate::api::problem::{Code, Mistake, Problem};
use crate::redis::catalogue::Lane;
use crate::resources::limiters::policy::{FILLING_MAX, PER, Policy, TOKENS_MAX};
use crate::resources::limiters::{Absence, Limiters, OnOutage, Ruling, Standing, Take, Taken};
use crate::security::{ReadLimiters, WriteLimiters};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::LimiterDecision;

const PREFIX: &str = "/v1/limiters/";
const VERB: &str = "/take";
const ALLOW: &str = "GET, HEAD, DELETE, POST, OPTIONS";
/// A handful of numbers fits many times.
const BODY_BYTES: usize = 4096;
/// When to ask again if nobody knows: about the time breakers wait.
const UNKNOWN_WAIT: Duration = Duration::from_secs(1);

const TOKENS: &str = "must be a whole number from 1 to 1000000000";
const _: () = assert!(TOKENS_MAX == 1_000_000_000, "the rule says so");

/// Mounts the resource.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/limiters/{name:.*}")
            .route(web::get().to(get))
            .route(web::head().to(get))
            .route(web::post().to(take))
            .route(web::delete().to(delete))
            .default_service(web::to(async |request: HttpRequest| wrong_method(&request, ALLOW))),
    );
}

/// The body of a take.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[schema(as = Take)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "sound"))]
struct Body {
    /// The largest burst.
    #[validate(custom(function = "tokens"))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    capacity: u64,
    /// Tokens that come back in each `per`.
    #[validate(custom(function = "tokens"))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    refill: u64,
    /// A duration with its unit, from 1ms to 744h.
    #[validate(custom(function = "period"))]
    #[schema(value_type = String, pattern = "^[0-9]{1,10}(ms|s|m|h)$")]
    per: Period,
    /// Tokens wanted: all or none.
    #[serde(default = "one")]
    #[validate(custom(function = "charge"))]
    #[schema(minimum = 1, maximum = 1_000_000_000, default = 1)]
    cost: u64,
    /// What decides when Redis cannot.
    #[serde(default)]
    on_outage: Fallback,
}

/// What decides when Redis cannot.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[schema(as = OnOutage)]
#[serde(rename_all = "lowercase")]
enum Fallback {
    #[default]
    Closed,
    Open,
    Local,
}

/// The query of a look: the numbers of a take, or none for those of the last one.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "whole"))]
struct Numbers {
    /// The largest burst; with `refill` and `per`, or none of the three.
    #[validate(custom(function = "tokens"))]
    #[param(minimum = 1, maximum = 1_000_000_000)]
    capacity: Option<u64>,
    /// Tokens that come back in each `per`.
    #[validate(custom(function = "tokens"))]
    #[param(minimum = 1, maximum = 1_000_000_000)]
    refill: Option<u64>,
    /// A duration with its unit, from 1ms to 744h.
    #[validate(custom(function = "period"))]
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,10}(ms|s|m|h)$")]
    per: Option<Period>,
    /// Tokens that are asked about.
    #[serde(default = "one")]
    #[validate(custom(function = "charge"))]
    #[param(minimum = 1, maximum = 1_000_000_000, default = 1)]
    cost: u64,
}

const NEVER: &str = "it could never be allowed";

fn one() -> u64 {
    1
}

/// A duration as text; a bare number is told the rule.
#[derive(Debug, Serialize)]
struct Period(String);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`per` as text with its unit of ms, s, m or h, for example \"1s\" or \"500ms\"")
    }

    fn visit_str<E>(self, text: &str) -> Result<Period, E> {
        Ok(Period(text.to_owned()))
    }
}

impl Period {
    fn duration(&self) -> Option<Duration> {
        duration::read(&self.0).filter(|per| PER.contains(per))
    }
}

fn mistake(message: String) -> ValidationError {
    ValidationError::new("rule").with_message(message.into())
}

fn tokens(number: u64) -> Result<(), ValidationError> {
    if (1..=TOKENS_MAX).contains(&number) { Ok(()) } else { Err(mistake(TOKENS.to_owned())) }
}

fn charge(cost: u64) -> Result<(), ValidationError> {
    match cost {
        0 => Err(mistake("must not be 0: look at the limiter with GET instead".to_owned())),
        _ => tokens(cost),
    }
}

fn period(per: &Period) -> Result<(), ValidationError> {
    let rule = "must be a whole number and one unit of ms, s, m, h, for example \"1s\" or \"500ms\", from 1ms to 744h";
    per.duration().map(|_| ()).ok_or_else(|| mistake(rule.to_owned()))
}

fn sound(body: &Body) -> Result<(), ValidationError> {
    agree(body.capacity, body.refill, &body.per, body.cost)
}

fn whole(numbers: &Numbers) -> Result<(), ValidationError> {
    match (numbers.capacity, numbers.refill, &numbers.per) {
        (None, None, None) => Ok(()),
        (Some(capacity), Some(refill), Some(per)) => agree(capacity, refill, per, numbers.cost),
        _ => Err(mistake("capacity, refill and per belong together: give all three, or none of them".to_owned())),
    }
}

/// The rules about several numbers; one that is wrong by itself is told of by itself.
fn agree(capacity: u64, refill: u64, per: &Period, cost: u64) -> Result<(), ValidationError> {
    if cost > capacity {
        return Err(mistake(format!("cost must not be greater than capacity: {NEVER}")));
    }
    let Some(per) = per.duration().filter(|_| refill > 0) else { return Ok(()) };
    if (Policy { capacity, refill, per }).filling() > FILLING_MAX {
        let rule = "capacity / refill * per, the time from empty to full, must not be longer than 366 days (8784h)";
        return Err(mistake(rule.to_owned()));
    }
    Ok(())
}

impl Body {
    /// What was validated, in the resource's terms.
    fn take(&self) -> Take {
        // Validated: there is one.
        let per = self.per.duration().unwrap_or(*PER.start());
        Take {
            policy: Policy { capacity: self.capacity, refill: self.refill, per },
            cost: self.cost,
            on_outage: match self.on_outage {
                Fallback::Closed => OnOutage::Closed,
                Fallback::Open => OnOutage::Open,
                Fallback::Local => OnOutage::Local,
            },
        }
    }
}

impl Numbers {
    fn policy(&self) -> Option<Policy> {
        let per = self.per.as_ref()?.duration()?;
        Some(Policy { capacity: self.capacity?, refill: self.refill?, per })
    }
}

/// How a take was decided, or would be.
#[derive(Serialize, ToSchema)]
struct Decision {
    /// Whether all of `cost` was, or would be, granted.
    allowed: bool,
    /// Tokens that can be taken now; null if nobody knows.
    #[schema(required)]
    remaining: Option<u64>,
    /// 0 if it was allowed.
    retry_after_ms: u64,
    /// Until everything is refilled; null if nobody knows.
    #[schema(required)]
    reset_after_ms: Option<u64>,
    /// `redis`, `local` or `open`.
    decided_by: &'static str,
    /// Whether Redis may have charged what it did not decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

/// A limiter that was only looked at, and the numbers it was looked at by.
#[derive(Serialize, ToSchema)]
#[schema(as = Limiter)]
struct View {
    #[serde(flatten)]
    decision: Decision,
    capacity: u64,
    refill: u64,
    per: String,
}

impl Decision {
    fn of(ruling: &Ruling) -> Self {
        match ruling {
            Ruling::Redis(standing) => Self::by_redis(standing),
            Ruling::Local(verdict, absence) => Self {
                allowed: verdict.allowed,
                remaining: Some(verdict.remaining),
                retry_after_ms: duration::whole_millis(verdict.retry_after.unwrap_or_else(|| wait(absence))),
                reset_after_ms: Some(duration::whole_millis(verdict.reset_after)),
                decided_by: "local",
                outcome: Some(absence.outcome.as_str()),
            },
            Ruling::Open(absence) => Self {
                allowed: true,
                remaining: None,
                retry_after_ms: 0,
                reset_after_ms: None,
                decided_by: "open",
                outcome: Some(absence.outcome.as_str()),
            },
        }
    }

    fn by_redis(standing: &Standing) -> Self {
        Self {
            allowed: standing.allowed,
            remaining: Some(standing.remaining),
            retry_after_ms: duration::whole_millis(standing.retry_after),
            reset_after_ms: Some(duration::whole_millis(standing.reset_after)),
            decided_by: "redis",
            outcome: None,
        }
    }
}

/// What this instance alone will never grant may be granted when Redis is back.
fn wait(absence: &Absence) -> Duration {
    absence.retry_after.unwrap_or(UNKNOWN_WAIT)
}

async fn take(
    caller: Caller<WriteLimiters>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let worker = &caller.0.worker;
    let raw = path::after(&request, PREFIX).strip_suffix(VERB);
    let raw = raw.ok_or_else(|| at(Problem::new(Code::NotFound, "POST goes to /v1/limiters/{name}/take")))?;
    let name = path::decode(raw).map_err(|bad| at(bad.into()))?;
    let timeout = worker.shared.settings.body_timeout;
    let read = body::read(&request, &mut payload, BODY_BYTES, timeout, caller.0.allowance);
    let (body, deadline) = read.await.map_err(|error| at(error.into()))?;
    let take = json::<Body>(&body).map_err(at)?.take();
    let principal = caller.0.authorized.principal();
    let once = idempotency::once(&request, principal, RouteClass::Resources, &body).map_err(|bad| at(bad.into()))?;
    let taken = limiters(worker).take(&name, &take, once.as_ref(), deadline).await;
    count(&worker.shared.metrics, taken.as_ref().ok());
    let taken = taken.map_err(|failure| at(Problem::of_failure(&failure, Lane::Write)))?;
    let answer = HttpResponse::Ok().json(Decision::of(&taken.ruling));
    idempotency::marked_answer(Ok(answer), taken.replayed).map_err(at)
}

/// The answer to a take that Redis decided, from what is remembered of it.
pub(super) fn told(decision: &crate::resources::Decision) -> Result<HttpResponse, Problem> {
    let standing = Standing::of(decision).map_err(|failure| Problem::of_failure(&failure, Lane::Write))?;
    Ok(HttpResponse::Ok().json(Decision::by_redis(&standing)))
}

fn count(metrics: &Arc<Metrics>, taken: Option<&Taken>) {
    metrics.limiter_take(match taken.map(|taken| &taken.ruling) {
        Some(Ruling::Redis(standing)) if standing.allowed => LimiterDecision::RedisAllowed,
        Some(Ruling::Redis(_)) => LimiterDecision::RedisRefused,
        Some(Ruling::Local(verdict, _)) if verdict.allowed => LimiterDecision::LocalAllowed,
        Some(Ruling::Local(..)) => LimiterDecision::LocalRefused,
        Some(Ruling::Open(_)) => LimiterDecision::Open,
        None => LimiterDecision::Closed,
    });
}

fn limiters(worker: &Worker) -> Limiters<'_> {
    Limiters::new(&worker.gateway, &worker.shared.limiters, worker.shared.settings.instances_min)
}

async fn get(caller: Caller<ReadLimiters>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let name = path::decode(path::after(&request, PREFIX)).map_err(|bad| at(bad.into()))?;
    let numbers = query::<Numbers>(&request).map_err(at)?;
    let found = limiters(&caller.0.worker)
        .peek(&name, numbers.policy().as_ref(), numbers.cost, caller.0.allowance.without_body())
        .await
        .map_err(|failure| at(Problem::of_failure(&failure, Lane::Read)))?;
    let missing = || Problem::decided(Code::NotFound, MISSING, found.attempts);
    let (standing, policy) = found.value.ok_or_else(|| at(missing()))?;
    if numbers.cost > policy.capacity {
        let detail = format!("cost must not be greater than capacity, which is {}: {NEVER}", policy.capacity);
        return Err(at(Problem::invalid(vec![Mistake { pointer: "cost".to_owned(), detail }])));
    }
    Ok(HttpResponse::Ok().json(View {
        decision: Decision::by_redis(&standing),
        capacity: policy.capacity,
        refill: policy.refill,
        per: duration::write(policy.per),
    }))
}

/// A limiter that is full is not kept, nor are its numbers.
const MISSING: &str = "nothing is taken from this limiter: it was never used, or is full again; ask with capacity, refill and per \
                       to see it by these numbers";

async fn delete(caller: Caller<WriteLimiters>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let name = path::decode(path::after(&request, PREFIX)).map_err(|bad| at(bad.into()))?;
    limiters(&caller.0.worker)
        .forget(&name, caller.0.allowance.without_body())
        .await
        .map_err(|failure| at(Problem::of_failure(&failure, Lane::Write)))?;
    Ok(HttpResponse::NoContent().finish())
}
