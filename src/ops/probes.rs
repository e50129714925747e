//! The three probes. None looks at Redis, because restarting or unplugging us cures no outage of Redis.
//!
//! - `/livez`: 200 while this thread runs.
//! - `/readyz`: 200 while there is something to serve, degraded included; 503 only while starting or draining.
//! - `/startupz`: 503 until start-up has finished, then 200 for good.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::routes::View;
use super::status::{HEALTH_JSON, Health, Phase};

/// The shortest health document.
#[derive(Serialize)]
struct Probe {
    status: Health,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'static str>,
}

pub(super) async fn live() -> HttpResponse {
    answer(Health::Pass, None)
}

pub(super) async fn ready(view: web::Data<View>) -> HttpResponse {
    match view.phase() {
        Phase::Starting => answer(Health::Fail, Some("starting")),
        Phase::Draining => answer(Health::Fail, Some("draining")),
        // The phase may turn between two looks; the document has looked last and decides.
        Phase::Ready => answer(view.status().status, None),
    }
}

pub(super) async fn started(view: web::Data<View>) -> HttpResponse {
    match view.phase() {
        Phase::Starting => answer(Health::Fail, Some("starting")),
        Phase::Ready | Phase::Draining => answer(Health::Pass, None),
    }
}

fn answer(status: Health, output: Option<&'static str>) -> HttpResponse {
    HttpResponse::build(status.http()).content_type(HEALTH_JSON).json(Probe { status, output })
}
