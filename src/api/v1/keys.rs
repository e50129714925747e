//! `/v1/keys/{key}`: store, read, inspect and remove one plain Redis string.
//!
//! `{key}` is everything after the prefix, percent-decoded once, slashes included. Content goes in and comes out as bytes; a
//! reader who asks for JSON gets the same bytes as JSON if they are. Limits: no listing yet, and no
//! conditional requests, which are refused (`mod.rs`).

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use validator::Validate;

use super::super::{body, path};
use super::{Caller, query, wrong_method};
use crate::api::problem::{Code, Problem};
use crate::api::stale::{self, Recall};
use crate::redis::catalogue::Lane;
use crate::resources::keys::{ETag, Keys};
use crate::security::{ReadKeys, WriteKeys};

const PREFIX: &str = "/v1/keys/";
const ALLOW: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
/// Remaining lifetime in milliseconds, on HEAD; absent when the key lives for ever.
const TTL: HeaderName = HeaderName::from_static("collective-ttl-ms");
/// A hundred years: longer is a mistake, and Redis counts in signed milliseconds.
const TTL_MAX: u64 = 3_153_600_000;

/// Mounts the resource.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/keys/{key:.*}")
            .route(web::get().to(get))
            .route(web::head().to(head))
            .route(web::put().to(put))
            .route(web::delete().to(delete))
            .default_service(web::to(async |request: HttpRequest| wrong_method(&request, ALLOW))),
    );
}

/// The query of a `PUT`.
#[derive(Debug, Default, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct PutQuery {
    /// Lifetime; for ever when absent.
    #[validate(range(min = 1, max = TTL_MAX, message = "must be a whole number of seconds from 1 to 3153600000"))]
    ttl_seconds: Option<u64>,
}

async fn put(caller: Caller<WriteKeys>, request: HttpRequest, mut payload: Payload) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let worker = &caller.0.worker;
    let settings = &worker.shared.settings;
    let key = key(&request).map_err(at)?;
    let ttl = match request.query_string() {
        "" => None,
        _ => query::<PutQuery>(&request).map_err(at)?.ttl_seconds.map(Duration::from_secs),
    };
    let read = body::read(&request, &mut payload, settings.body_bytes, settings.body_timeout, caller.0.allowance);
    let (content, deadline) = read.await.map_err(|e| at(e.into()))?;
    let keys = Keys::new(&worker.gateway, &worker.names);
    let written =
        keys.put(&key, &content, ttl, deadline).await.map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?;
    let mut response = if written.created { HttpResponse::Created() } else { HttpResponse::NoContent() };
    Ok(response.insert_header((header::ETAG, tag(&written.etag))).finish())
}

async fn get(caller: Caller<ReadKeys>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let key = key(&request).map_err(at)?;
    let keys = Keys::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let recall = Recall::of_name(&request, &caller.0, "GET /v1/keys", &key);
    let (found, age) = stale::read(recall, keys.get(&key, caller.0.allowance.without_body())).await.map_err(at)?;
    let content = found.value.ok_or_else(|| at(missing(found.attempts)))?;
    let unacceptable = || Problem::decided(Code::NotAcceptable, UNACCEPTABLE, found.attempts);
    let media_type = media_type(&request, &content).ok_or_else(|| at(unacceptable()))?;
    let etag = tag(&ETag::of(&content));
    let mut response = HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::ETAG, etag))
        .body(content);
    age.inspect(|age| age.mark(response.headers_mut()));
    Ok(response)
}

async fn head(caller: Caller<ReadKeys>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let key = key(&request).map_err(at)?;
    let keys = Keys::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let recall = Recall::of_name(&request, &caller.0, "HEAD /v1/keys", &key);
    let inspected = keys.inspect(&key, caller.0.allowance.without_body());
    let (found, age) = stale::read(recall, inspected).await.map_err(at)?;
    let facts = found.value.ok_or_else(|| at(missing(found.attempts)))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, BYTES)).insert_header((header::ETAG, tag(&facts.etag)));
    if let Some(ttl) = facts.ttl {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        response.insert_header((TTL, HeaderValue::from(millis)));
    }
    response.no_chunking(facts.length as u64);
    let nothing = futures_util::stream::empty::<Result<_, std::io::Error>>();
    let mut response = response.body(actix_web::body::SizedStream::new(facts.length as u64, nothing));
    age.inspect(|age| age.mark(response.headers_mut()));
    Ok(response.map_into_boxed_body())
}

async fn delete(caller: Caller<WriteKeys>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let key = key(&request).map_err(at)?;
    let keys = Keys::new(&caller.0.worker.gateway, &caller.0.worker.names);
    keys.delete(&key, caller.0.allowance.without_body()).await.map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?;
    Ok(HttpResponse::NoContent().finish())
}

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const UNACCEPTABLE: &str = "the content is not JSON, and nothing but JSON was accepted";

/// Bytes by default; JSON where the reader asks for it and the content is. `None` if he takes JSON only and it is not.
fn media_type(request: &HttpRequest, content: &[u8]) -> Option<HeaderValue> {
    let Some(accept) = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()) else {
        return Some(BYTES);
    };
    let offers = |wanted: &str| {
        let ranges = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        ranges.into_iter().any(|range| range.eq_ignore_ascii_case(wanted))
    };
    let bytes_will_do = offers("*/*") || offers("application/*") || offers("application/octet-stream");
    if !offers("application/json") {
        return Some(BYTES);
    }
    if is_json(content) { Some(JSON) } else { bytes_will_do.then_some(BYTES) }
}

/// JSON is UTF-8 (RFC 8259), which a reader that skips strings does not look at.
fn is_json(content: &[u8]) -> bool {
    str::from_utf8(content).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

fn missing(attempts: u32) -> Problem {
    Problem::decided(Code::NotFound, "there is no such key", attempts)
}

/// The name in the path. The empty one is not in it: whoever drops a slash at the end would mean another resource.
fn key(request: &HttpRequest) -> Result<Cow<'_, [u8]>, Problem> {
    let key = path::decode(path::after(request, PREFIX))?;
    if key.is_empty() {
        return Err(Problem::new(Code::InvalidPath, NO_NAME));
    }
    Ok(key)
}

/// `key_base64url` is the only way to name it (product contract), and is not built.
const NO_NAME: &str =
    "the empty key cannot be named in the path; /v1/keys?key_base64url= will name it, and is not built yet";

/// Hexadecimal digits in quotes are always a valid header value.
fn tag(etag: &ETag) -> HeaderValue {
    HeaderValue::from_str(etag.as_str()).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
