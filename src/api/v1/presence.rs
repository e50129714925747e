//! `/v1/presence/{room}` and `/v1/presence/{room}/{member}`: signs of life, leaving, and how many there are.
//!
//! `{room}` is the first segment after the prefix, `{member}` everything after it, slashes included; each percent-decoded once. A
//! member is any name the caller gives it; it is not kept (`resources::presence`), so there is no list of members and nothing
//! to ask about one. Limits: a sign of life is an hour long at most, and what a crowd costs is one sign of life each.

pub(super) mod docs;

use std::borrow::Cow;
use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::super::{body, path};
use super::{Caller, json, wrong_method};
use crate::api::problem::{Code, Problem};
use crate::api::stale::{self, Recall};
use crate::redis::catalogue::Lane;
use crate::resources::presence::{Presence, Room};
use crate::security::{ReadPresence, WritePresence};
use crate::telemetry::clock;

const PREFIX: &str = "/v1/presence/";
const ALLOW_ROOM: &str = "GET, HEAD, OPTIONS";
const ALLOW_MEMBER: &str = "PUT, DELETE, OPTIONS";
/// One number fits many times.
const BODY_BYTES: usize = 4096;
/// Whoever is silent for an hour is not present.
const TTL_MAX: u64 = 3600;

/// Mounts the resource.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/presence/{name:.*}")
            .route(web::get().to(look))
            .route(web::head().to(look))
            .route(web::put().to(beat))
            .route(web::delete().to(leave))
            .default_service(web::to(async |request: HttpRequest| other_method(&request))),
    );
}

/// The body of a sign of life.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct Beat {
    /// How long the member stays without another one.
    #[validate(range(min = 1, max = TTL_MAX, message = "must be a whole number of seconds from 1 to 3600"))]
    #[schema(minimum = 1, maximum = 3600)]
    ttl_seconds: u64,
}

/// A room.
#[derive(Serialize, ToSchema)]
#[schema(as = Room)]
struct Seen {
    /// Members that have given a sign of life.
    count: u64,
    peak: Peak,
}

/// The most that were present at once; times are null in a room nobody entered.
#[derive(Serialize, ToSchema)]
struct Peak {
    count: u64,
    /// When it was reached, as RFC 3339 has it.
    #[schema(required)]
    at: Option<String>,
    /// When the room was first entered.
    #[schema(required)]
    since: Option<String>,
}

impl From<Room> for Seen {
    fn from(room: Room) -> Self {
        let time = |since_1970: Duration| clock::rfc3339(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX));
        let peak = Peak { count: room.peak, at: room.peak_at.map(time), since: room.since.map(time) };
        Self { count: room.count, peak }
    }
}

async fn look(caller: Caller<ReadPresence>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let room = match place(&request).map_err(at)? {
        Place::Room(room) => room,
        Place::Member(..) => return Err(at(Problem::method(ALLOW_MEMBER))),
    };
    let worker = &caller.0.worker;
    let presence = Presence::new(&worker.gateway, &worker.names);
    let [members, record] = presence.keys(&room);
    let recall = Recall::of_keys(&request, &caller.0, "GET /v1/presence", &room, &[&members, &record]);
    let seen = stale::read(recall, presence.look(&room, caller.0.allowance.without_body()));
    let (found, age) = seen.await.map_err(at)?;
    // A room nobody entered is an empty one.
    Ok(stale::aged(HttpResponse::Ok().json(Seen::from(found.value.unwrap_or_default())), age))
}

async fn beat(
    caller: Caller<WritePresence>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let (room, member) = member(&request).map_err(at)?;
    let worker = &caller.0.worker;
    let timeout = worker.shared.settings.body_timeout;
    let read = body::read(&request, &mut payload, BODY_BYTES, timeout, caller.0.allowance);
    let (body, deadline) = read.await.map_err(|error| at(error.into()))?;
    let Beat { ttl_seconds } = json(&body).map_err(at)?;
    let presence = Presence::new(&worker.gateway, &worker.names);
    let noted = presence.beat(&room, &member, Duration::from_secs(ttl_seconds), deadline).await;
    noted.map_err(|failure| at(Problem::of_failure(&failure, Lane::Write)))?;
    Ok(HttpResponse::NoContent().finish())
}

async fn leave(caller: Caller<WritePresence>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let (room, member) = member(&request).map_err(at)?;
    let worker = &caller.0.worker;
    let presence = Presence::new(&worker.gateway, &worker.names);
    let left = presence.leave(&room, &member, caller.0.allowance.without_body()).await;
    left.map_err(|failure| at(Problem::of_failure(&failure, Lane::Write)))?;
    Ok(HttpResponse::NoContent().finish())
}

fn other_method(request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let has_member = path::after(request, PREFIX).contains('/');
    wrong_method(request, if has_member { ALLOW_MEMBER } else { ALLOW_ROOM })
}

/// What a path names.
enum Place<'a> {
    Room(Cow<'a, [u8]>),
    Member(Cow<'a, [u8]>, Cow<'a, [u8]>),
}

fn place(request: &HttpRequest) -> Result<Place<'_>, Problem> {
    let raw = path::after(request, PREFIX);
    let (room, member) = raw.split_once('/').map_or((raw, None), |(room, member)| (room, Some(member)));
    let room = path::decode(room)?;
    let member = member.map(path::decode).transpose()?;
    if room.is_empty() || member.as_ref().is_some_and(|member| member.is_empty()) {
        let rule = "neither the room nor the member may be empty: /v1/presence/{room}/{member}";
        return Err(Problem::new(Code::InvalidPath, rule));
    }
    Ok(match member {
        Some(member) => Place::Member(room, member),
        None => Place::Room(room),
    })
}

/// The bytes of a name.
type Name<'a> = Cow<'a, [u8]>;

fn member(request: &HttpRequest) -> Result<(Name<'_>, Name<'_>), Problem> {
    match place(request)? {
        Place::Member(room, member) => Ok((room, member)),
        Place::Room(_) => Err(Problem::method(ALLOW_ROOM)),
    }
}
