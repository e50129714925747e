//! `/v1/counters/{name}`: exact 64-bit counters. Increment, read, delete.
//!
//! `{name}` is everything after the prefix, percent-decoded once; on `POST` the last segment is the verb `increment`.
//! Limits: `by` is all an increment takes; bounds, lifetimes and idempotency keys are not built yet and refused by name.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::super::{body, path};
use super::{Caller, json, wrong_method};
use crate::api::problem::{Code, Problem};
use crate::redis::catalogue::Lane;
use crate::resources::counters::Counters;
use crate::security::{ReadCounters, WriteCounters};

const PREFIX: &str = "/v1/counters/";
const VERB: &str = "/increment";
const ALLOW: &str = "GET, HEAD, DELETE, POST, OPTIONS";
/// A step and two braces fit many times; a larger body is no increment.
const BODY_BYTES: usize = 4096;

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
#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Increment {
    /// How much is added; negative counts down.
    #[serde(default = "one")]
    #[validate(custom(function = "not_zero"))]
    by: i64,
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

/// A counter's state.
#[derive(Serialize)]
struct Counter {
    value: i64,
}

async fn increment(
    caller: Caller<WriteCounters>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let worker = &caller.0.worker;
    let raw = path::after(&request, PREFIX).strip_suffix(VERB);
    let raw = raw.ok_or_else(|| at(Problem::new(Code::NotFound, "POST goes to /v1/counters/{name}/increment")))?;
    let name = path::decode(raw).map_err(|bad| at(bad.into()))?;
    let timeout = worker.shared.settings.body_timeout;
    let read = body::read(&request, &mut payload, BODY_BYTES, timeout, caller.0.allowance);
    let (body, deadline) = read.await.map_err(|error| at(error.into()))?;
    let step = if body.is_empty() { Increment { by: one() } } else { json(&body).map_err(at)? };
    let counters = Counters::new(&worker.gateway, &worker.names);
    let value = counters.increment(&name, step.by, deadline).await;
    Ok(answer(value.map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?))
}

async fn get(caller: Caller<ReadCounters>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let name = path::decode(path::after(&request, PREFIX)).map_err(|bad| at(bad.into()))?;
    let counters = Counters::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let found = counters
        .read(&name, caller.0.allowance.without_body())
        .await
        .map_err(|f| at(Problem::of_failure(&f, Lane::Read)))?;
    let missing = || Problem::decided(Code::NotFound, "there is no such counter", found.attempts);
    Ok(answer(found.value.ok_or_else(|| at(missing()))?))
}

async fn delete(caller: Caller<WriteCounters>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let name = path::decode(path::after(&request, PREFIX)).map_err(|bad| at(bad.into()))?;
    let counters = Counters::new(&caller.0.worker.gateway, &caller.0.worker.names);
    counters
        .delete(&name, caller.0.allowance.without_body())
        .await
        .map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?;
    Ok(HttpResponse::NoContent().finish())
}

fn answer(value: i64) -> HttpResponse {
    HttpResponse::Ok().json(Counter { value })
}
