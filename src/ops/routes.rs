//! Which path answers what. Every path takes GET and HEAD; the rest is a problem document.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_LENGTH};
use actix_web::{Handler, HttpRequest, HttpResponse, Resource, guard, web};
use serde::Serialize;

use super::live::{Live, events};
use super::{OpsView, page, probes, status};
use crate::telemetry::metrics;

/// The rest of the service, as handlers get it.
pub(super) type View = dyn OpsView;

/// Largest request body that is let pass unread. Nothing here takes a body; a kilobyte forgives odd clients.
pub(super) const BODY_LIMIT_BYTES: u64 = 1024;

/// All routes of the operator listener.
pub(super) fn configure(service: &mut web::ServiceConfig, live: Arc<Live>, view: Arc<View>) {
    service
        .app_data(web::Data::from(view))
        .app_data(web::Data::from(live))
        .service(read_only("/livez", probes::live))
        .service(read_only("/readyz", probes::ready))
        .service(read_only("/startupz", probes::started))
        .service(read_only("/status", status::answer))
        .service(read_only("/metrics", scrape))
        .service(read_only("/events", events::answer))
        .service(read_only("/", page::answer))
        .service(read_only(page::style_path(), page::style))
        .default_service(web::to(not_found));
}

async fn scrape(view: web::Data<View>) -> HttpResponse {
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(view.metrics())
}

fn read_only<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output = HttpResponse>,
    Args: actix_web::FromRequest + 'static,
{
    let reading = guard::Any(guard::Get()).or(guard::Head());
    web::resource(path)
        .route(web::route().guard(guard::fn_guard(body_too_large)).to(too_large))
        .route(web::route().guard(reading).to(handler))
        .default_service(web::to(wrong_method))
}

fn body_too_large(context: &guard::GuardContext<'_>) -> bool {
    let announced = context.head().headers().get(CONTENT_LENGTH);
    let length = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > BODY_LIMIT_BYTES)
}

/// An RFC 9457 problem document.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
    instance: &'a str,
    code: &'static str,
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    let detail = "The operator listener has /, /events, /status, /metrics, /livez, /readyz and /startupz.";
    problem(&request, StatusCode::NOT_FOUND, "Not found", "not_found", detail)
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let detail = "The operator listener is for reading: use GET or HEAD.";
    let mut answer =
        problem(&request, StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "method_not_allowed", detail);
    answer.headers_mut().insert(ALLOW, actix_web::http::header::HeaderValue::from_static("GET, HEAD"));
    answer
}

async fn too_large(request: HttpRequest) -> HttpResponse {
    let detail = "The operator listener takes no request bodies.";
    problem(&request, StatusCode::PAYLOAD_TOO_LARGE, "Body too large", "body_too_large", detail)
}

/// A problem document of this listener.
pub(super) fn problem(
    request: &HttpRequest,
    status: StatusCode,
    title: &'static str,
    code: &'static str,
    detail: &'static str,
) -> HttpResponse {
    let instance = request.uri().path();
    let document = Problem { r#type: "about:blank", title, status: status.as_u16(), detail, instance, code };
    HttpResponse::build(status).content_type("application/problem+json").json(document)
}
