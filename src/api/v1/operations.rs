//! `/v1/operations/{key}`: what became of the request that had this Idempotency-Key.
//!
//! `executed` with the answer it got, or would have got; or `not_executed`, and then a late arrival is refused: asking settles it. A
//! caller sees his own keys only, since their records bear his pseudonym. Limits: a key that was used under `/v1` and for a command
//! names two requests; `/v1` is told first.

pub(super) mod docs;

use actix_web::body::to_bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::idempotency::{self, RouteClass};
use super::super::{path, upstash};
use super::{Caller, counters, leases, wrong_method};
use crate::api::problem::{Code, Problem};
use crate::redis::catalogue::Lane;
use crate::resources::counters::Counted;
use crate::resources::leases::{Acquired, Renewed};
use crate::resources::operations::{self, Operation};
use crate::resources::{Decision, commands, limiters};
use crate::security::SettleOperations;

const PREFIX: &str = "/v1/operations/";
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// Mounts the resource.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/operations/{key:.*}")
            .route(web::get().to(get))
            .route(web::head().to(get))
            .default_service(web::to(async |request: HttpRequest| wrong_method(&request, ALLOW))),
    );
}

/// What became of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation)]
struct Told {
    /// `executed` or `not_executed`.
    outcome: &'static str,
    /// The answer it got, or would have got.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Answer>,
}

/// An answer that was remembered.
#[derive(Serialize, ToSchema)]
#[schema(as = RememberedAnswer)]
struct Answer {
    status: u16,
    /// As it was answered; of a lease only what stays true.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
}

async fn get(caller: Caller<SettleOperations>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let key = path::decode(path::after(&request, PREFIX)).map_err(|bad| at(bad.into()))?;
    let principal = caller.0.authorized.principal();
    let name = |class| idempotency::record_name(principal, class, &key).map_err(|bad| at(bad.into()));
    let names = RouteClass::ALL.map(name);
    let [resources, commands] = names;
    let names = [resources?, commands?];
    let deadline = caller.0.allowance.without_body();
    let settled =
        operations::settle(&caller.0.worker.gateway, &names, &caller.0.worker.shared.operations, deadline).await;
    let told = match settled.map_err(|f| at(Problem::of_failure(&f, Lane::Write)))? {
        Operation::NotExecuted => Told { outcome: "not_executed", reply: None },
        Operation::Executed { function, decision } => {
            let answer = remembered(&function, decision, &request).await;
            let unreadable = || Problem::new(Code::Internal, "what was remembered cannot be read");
            Told { outcome: "executed", reply: Some(answer.ok_or_else(|| at(unreadable()))?) }
        }
    };
    Ok(HttpResponse::Ok().json(told))
}

/// The answer that this decision of a function was, or would have been.
async fn remembered(function: &str, mut decision: Decision, request: &HttpRequest) -> Option<Answer> {
    let response = match function {
        Counted::FUNCTION => answered(counters::told(Counted::of(&decision).ok()?), request),
        Acquired::FUNCTION => answered(leases::acquisition_told(&Acquired::of(&decision).ok()?), request),
        Renewed::FUNCTION => answered(leases::renewal_told(&Renewed::of(&decision).ok()?), request),
        limiters::FUNCTION => answered(super::limiters::told(&decision), request),
        commands::FUNCTION => upstash::told_later(&commands::reply_of(&mut decision).ok()?),
        _ => return None,
    };
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body()).await.ok()?;
    let body = serde_json::from_slice(&body).ok()?;
    Some(Answer { status, body })
}

fn answered(told: Result<HttpResponse, Problem>, request: &HttpRequest) -> HttpResponse {
    use actix_web::ResponseError;
    told.unwrap_or_else(|problem| problem.at(request).error_response())
}
