//! `/v1/leases/{name}`: acquire, renew, release, inspect.
//!
//! `{name}` is everything after the prefix, percent-decoded once, and text; on `POST` a last segment `renew` is the verb (a name
//! that ends so is written with `%2F`). The token is told to whoever acquires and to nobody else: `GET` shows who holds the
//! lease and for how long, since whoever could read a token might go on in another's name, which fencing is there to prevent.
//! Times are what was left when Redis answered: a holder counts from before he asked. Limits: who is owner is what the caller says.

pub(super) mod docs;

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use super::super::idempotency::{self, RouteClass};
use super::super::withdrawals::Guard;
use super::super::{body, path};
use super::{Caller, json, query, wrong_method};
use crate::api::problem::{Code, Problem, whole_seconds};
use crate::api::stale::{self, Recall};
use crate::redis::Outcome;
use crate::redis::catalogue::Lane;
use crate::resilience::Deadline;
use crate::resources::leases::{Acquired, Attempt, Grant, Leases, Released, Renewed, Wish};
use crate::resources::{Failure, Once};
use crate::security::{ReadLeases, WriteLeases};

const PREFIX: &str = "/v1/leases/";
const VERB: &str = "/renew";
const ALLOW: &str = "GET, HEAD, POST, DELETE, OPTIONS";
/// An owner fits many times, escaped as it may be; a larger body is no lease.
const BODY_BYTES: usize = 4096;
/// Shorter, and the way to Redis and back would be most of it.
const TTL_MIN: u64 = 100;
/// A day: whoever works longer renews.
const TTL_MAX: u64 = 86_400_000;
/// Longest name of an owner.
const OWNER_BYTES: usize = 256;

/// Mounts the resource.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/leases/{name:.*}")
            .route(web::get().to(inspect))
            .route(web::head().to(inspect))
            .route(web::post().to(post))
            .route(web::delete().to(release))
            .default_service(web::to(async |request: HttpRequest| wrong_method(&request, ALLOW))),
    );
}

/// The body of an acquisition.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct Acquisition {
    /// For how long.
    #[validate(range(min = TTL_MIN, max = TTL_MAX, message = "must be a whole number of milliseconds from 100 to 86400000"))]
    #[schema(minimum = 100, maximum = 86_400_000)]
    ttl_ms: u64,
    /// Who acquires: shown to others, and part of what a holder proves himself with.
    #[validate(custom(function = "owner_fits"))]
    #[schema(min_length = 1, max_length = 256)]
    owner: String,
    /// The token under which this owner holds the lease already, to acquire it anew under a higher one.
    #[schema(maximum = 18_446_744_073_709_551_615_u64)]
    token: Option<u64>,
}

/// The body of a renewal.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct Renewal {
    /// The token the lease was acquired under.
    #[schema(maximum = 18_446_744_073_709_551_615_u64)]
    token: u64,
    /// For how long from now.
    #[validate(range(min = TTL_MIN, max = TTL_MAX, message = "must be a whole number of milliseconds from 100 to 86400000"))]
    #[schema(minimum = 100, maximum = 86_400_000)]
    ttl_ms: u64,
}

/// The query of a release.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Release {
    /// The token the lease was acquired under.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    token: u64,
}

fn owner_fits(owner: &str) -> Result<(), ValidationError> {
    if (1..=OWNER_BYTES).contains(&owner.len()) {
        return Ok(());
    }
    Err(ValidationError::new("length").with_message("must have 1 to 256 bytes".into()))
}

/// A lease as its holder sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = HeldLease)]
struct Held<'a> {
    lease: &'a str,
    owner: &'a str,
    /// The fencing token: higher than any before it.
    token: u64,
    /// False only in a repeated answer, when what was given then is over.
    held: bool,
    /// What was left when Redis answered.
    expires_in_ms: u64,
}

/// A lease as everybody sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = SeenLease)]
struct Seen<'a> {
    lease: &'a str,
    owner: &'a str,
    expires_in_ms: u64,
}

/// A request with its body, as far as both verbs go.
struct Asked<'a> {
    caller: &'a Caller<WriteLeases>,
    lease: &'a str,
    body: &'a [u8],
    once: Option<Once>,
    deadline: Deadline,
}

async fn post(
    caller: Caller<WriteLeases>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let raw = path::after(&request, PREFIX);
    let (raw, renews) = raw.strip_suffix(VERB).map_or((raw, false), |lease| (lease, true));
    let lease = name(raw).map_err(at)?;
    let timeout = caller.0.worker.shared.settings.body_timeout;
    let read = body::read(&request, &mut payload, BODY_BYTES, timeout, caller.0.allowance);
    let (body, deadline) = read.await.map_err(|error| at(error.into()))?;
    let principal = caller.0.authorized.principal();
    let once = idempotency::once(&request, principal, RouteClass::Resources, &body).map_err(|bad| at(bad.into()))?;
    let asked = Asked { caller: &caller, lease: &lease, body: &body, once, deadline };
    let answered = if renews { renew(asked).await } else { acquire(asked).await };
    answered.map_err(at)
}

async fn acquire(asked: Asked<'_>) -> Result<HttpResponse, Problem> {
    let Acquisition { ttl_ms, owner, token } = json(asked.body)?;
    let worker = &asked.caller.0.worker;
    let wish = Wish { owner, ttl: Duration::from_millis(ttl_ms), token };
    let attempt = Attempt::new(&worker.names, asked.lease.as_bytes(), asked.once);
    // From here on the caller may leave at any moment, and what he asked for may be his or not.
    let guard = Guard::over(worker, &attempt, wish.ttl, asked.deadline);
    let leases = Leases::new(&worker.gateway, &worker.names, &worker.shared.highest_token);
    let acquired = leases.acquire(&attempt, &wish, asked.deadline).await;
    match &acquired {
        Ok(_) | Err(Failure { outcome: Outcome::NotExecuted, .. }) => guard.dismiss(),
        Err(_) => drop(guard),
    }
    let acquired = acquired.map_err(|failure| Problem::of_failure(&failure, Lane::Write))?;
    match acquired.value {
        Acquired::Granted(grant) => Ok(granted(asked.lease, &wish.owner, grant, acquired.replayed)),
        Acquired::Held(wait) => Err(idempotency::marked(held(wait, acquired.attempts), acquired.replayed)),
    }
}

/// 201 for a lease that was free and 200 for one its owner held before, or that is over when the answer is told again.
fn granted(lease: &str, owner: &str, grant: Grant, replayed: bool) -> HttpResponse {
    let held = !grant.remaining.is_zero();
    let status = if grant.held_before || !held { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = HttpResponse::build(status);
    idempotency::mark(&mut response, replayed);
    response.json(Held { lease, owner, token: grant.token, held, expires_in_ms: millis(grant.remaining) })
}

async fn renew(asked: Asked<'_>) -> Result<HttpResponse, Problem> {
    let Renewal { token, ttl_ms } = json(asked.body)?;
    let worker = &asked.caller.0.worker;
    let leases = Leases::new(&worker.gateway, &worker.names, &worker.shared.highest_token);
    let (name, ttl) = (asked.lease.as_bytes(), Duration::from_millis(ttl_ms));
    let renewed = leases.renew(name, token, ttl, asked.once.as_ref(), asked.deadline).await;
    let renewed = renewed.map_err(|failure| Problem::of_failure(&failure, Lane::Write))?;
    let marked = |problem| idempotency::marked(problem, renewed.replayed);
    match renewed.value {
        Renewed::Prolonged { remaining, owner } => {
            let mut response = HttpResponse::Ok();
            idempotency::mark(&mut response, renewed.replayed);
            let (held, expires_in_ms) = (!remaining.is_zero(), millis(remaining));
            Ok(response.json(Held { lease: asked.lease, owner: &owner, token, held, expires_in_ms }))
        }
        Renewed::Held(wait) => Err(marked(held(wait, renewed.attempts))),
        Renewed::Free => Err(marked(free(renewed.attempts))),
    }
}

/// What is remembered of a lease: the token, not the time, which has gone on since. The same request under the same key is told
/// what is left.
#[derive(Serialize)]
struct Remembered {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
}

/// The answer to an acquisition that is asked about later.
pub(super) fn acquisition_told(acquired: &Acquired) -> Result<HttpResponse, Problem> {
    match acquired {
        Acquired::Granted(grant) => {
            let mut response = if grant.held_before { HttpResponse::Ok() } else { HttpResponse::Created() };
            Ok(response.json(Remembered { token: Some(grant.token) }))
        }
        Acquired::Held(wait) => Err(held(*wait, 1)),
    }
}

/// The answer to a renewal that is asked about later.
pub(super) fn renewal_told(renewed: &Renewed) -> Result<HttpResponse, Problem> {
    match renewed {
        Renewed::Prolonged { .. } => Ok(HttpResponse::Ok().json(Remembered { token: None })),
        Renewed::Held(wait) => Err(held(*wait, 1)),
        Renewed::Free => Err(free(1)),
    }
}

async fn release(caller: Caller<WriteLeases>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let worker = &caller.0.worker;
    let lease = name(path::after(&request, PREFIX)).map_err(at)?;
    let Release { token } = query(&request).map_err(at)?;
    let leases = Leases::new(&worker.gateway, &worker.names, &worker.shared.highest_token);
    let released = leases.release(lease.as_bytes(), token, caller.0.allowance.without_body()).await;
    let released = released.map_err(|failure| at(Problem::of_failure(&failure, Lane::Write)))?;
    match released.value {
        Released::Done => Ok(HttpResponse::NoContent().finish()),
        Released::Held(wait) => Err(at(held(wait, released.attempts))),
        Released::Free => Err(at(free(released.attempts))),
    }
}

async fn inspect(caller: Caller<ReadLeases>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let worker = &caller.0.worker;
    let lease = name(path::after(&request, PREFIX)).map_err(at)?;
    let leases = Leases::new(&worker.gateway, &worker.names, &worker.shared.highest_token);
    let recall =
        Recall::of_keys(&request, &caller.0, "GET /v1/leases", lease.as_bytes(), &[&leases.key(lease.as_bytes())]);
    let found = stale::read(recall, leases.inspect(lease.as_bytes(), caller.0.allowance.without_body()));
    let (found, age) = found.await.map_err(at)?;
    let holder = found.value.ok_or_else(|| at(free(found.attempts)))?;
    let seen = Seen { lease: &lease, owner: &holder.owner, expires_in_ms: millis(holder.remaining) };
    Ok(stale::aged(HttpResponse::Ok().json(seen), age))
}

/// Another holds it. Whoever waits as long as told does not come too early.
fn held(wait: Duration, attempts: u32) -> Problem {
    Problem::decided(Code::LeaseHeld, "the lease is held under another token; nothing was changed", attempts)
        .with_member("retry_after_ms", millis(wait))
        .with_header(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)))
}

fn free(attempts: u32) -> Problem {
    Problem::decided(
        Code::NotFound,
        "nobody holds this lease: it ran out, was released, or was never acquired",
        attempts,
    )
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The name in the path.
fn name(raw: &str) -> Result<Cow<'_, str>, Problem> {
    let bad = |rule: &'static str| Problem::new(Code::InvalidPath, rule);
    let text = match path::decode(raw)? {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    };
    let text = text.ok_or_else(|| bad("the name of a lease must be UTF-8 text"))?;
    if text.is_empty() { Err(bad("the name of a lease must not be empty: /v1/leases/{name}")) } else { Ok(text) }
}
