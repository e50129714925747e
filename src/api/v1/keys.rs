//! `/v1/keys/{key}`: store, read, inspect and remove one plain Redis string.
//!
//! `{key}` is everything after the prefix, percent-decoded once, slashes included; `/v1/keys?key_base64url=…` is the same resource
//! and names what no path can. Content goes in and comes out as bytes; a reader who asks for JSON gets the same bytes as JSON if
//! they are. Limits: the lifetime is told on HEAD alone, where it costs nothing more; ranges are not served; content over `limits.reply`,
//! which only others than we can have stored, is refused once it has been read.

pub(super) mod docs;

use std::borrow::Cow;
use std::time::Duration;

use actix_web::guard::{self, GuardContext};
use actix_web::http::header::{self, Accept, Header, HeaderName, HeaderValue, Quality};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use utoipa::IntoParams;
use validator::Validate;

use super::super::{body, path};
use super::{Caller, conditions, fence, listing, query, wrong_method};
use crate::api::problem::{Code, Problem};
use crate::api::stale::{self, Recall, aged};
use crate::redis::catalogue::Lane;
use crate::resources::keys::{ETag, Guard, Keys, Lifetime, Verdict};
use crate::resources::{Conditions, Failure, Found};
use crate::security::{ReadKeys, WriteKeys};

const PREFIX: &str = "/v1/keys/";
/// The parameter that names a key no path can name.
const NAME: &str = "key_base64url";
const ALLOW: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
/// Remaining lifetime in milliseconds, on HEAD; absent when the key lives for ever.
const TTL: HeaderName = HeaderName::from_static("collective-ttl-ms");
/// A hundred years: longer is a mistake, and Redis counts in signed milliseconds.
const TTL_MAX: u64 = 3_153_600_000;
/// Base64 for URLs (RFC 4648 §5), with its padding or without.
pub const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Mounts the resource.
pub fn configure(app: &mut web::ServiceConfig) {
    let wrong_method = || web::to(async |request: HttpRequest| wrong_method(&request, ALLOW));
    app.service(
        web::resource("/keys")
            .route(web::get().guard(guard::fn_guard(names_a_key)).to(get))
            .route(web::head().guard(guard::fn_guard(names_a_key)).to(head))
            .route(web::get().to(listing::list))
            .route(web::head().to(listing::list))
            .route(web::put().to(put))
            .route(web::delete().to(delete))
            .default_service(wrong_method()),
    );
    app.service(
        web::resource("/keys/{key:.*}")
            .route(web::get().to(get))
            .route(web::head().to(head))
            .route(web::put().to(put))
            .route(web::delete().to(delete))
            .default_service(wrong_method()),
    );
}

/// Whether a request for `/v1/keys` is about one key and not about the list.
fn names_a_key(context: &GuardContext<'_>) -> bool {
    context.head().uri.query().is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some(NAME)))
}

/// The query of a `PUT`.
#[derive(Debug, Default, Deserialize, IntoParams, Validate)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "one_lifetime"))]
struct PutQuery {
    /// Lifetime; for ever when absent.
    #[validate(range(min = 1, max = TTL_MAX, message = "must be a whole number of seconds from 1 to 3153600000"))]
    #[param(minimum = 1, maximum = 3_153_600_000_u64)]
    ttl_seconds: Option<u64>,
    /// Keeps the lifetime the key has; not together with `ttl_seconds`.
    #[serde(default)]
    keep_ttl: bool,
    /// The key, where the path names none.
    #[param(ignore)]
    key_base64url: Option<String>,
}

fn one_lifetime(query: &PutQuery) -> Result<(), validator::ValidationError> {
    if query.keep_ttl && query.ttl_seconds.is_some() {
        return Err(validator::ValidationError::new("lifetime")
            .with_message("ttl_seconds sets a lifetime and keep_ttl keeps the old one: give one of them".into()));
    }
    Ok(())
}

impl PutQuery {
    fn lifetime(&self) -> Lifetime {
        match self.ttl_seconds {
            Some(seconds) => Lifetime::For(Duration::from_secs(seconds)),
            None if self.keep_ttl => Lifetime::Kept,
            None => Lifetime::Forever,
        }
    }
}

/// The query of every other method.
#[derive(Debug, Default, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct NameQuery {
    key_base64url: Option<String>,
}

async fn put(caller: Caller<WriteKeys>, request: HttpRequest, mut payload: Payload) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let worker = &caller.0.worker;
    let settings = &worker.shared.settings;
    let query = match request.query_string() {
        "" => PutQuery::default(),
        _ => query::<PutQuery>(&request).map_err(at)?,
    };
    let key = key(&request, query.key_base64url.as_deref()).map_err(at)?;
    let guard = guard_of(&request).map_err(at)?;
    let read = body::read(&request, &mut payload, settings.body_bytes, settings.body_timeout, caller.0.allowance);
    let (content, deadline) = read.await.map_err(|e| at(e.into()))?;
    let keys = Keys::new(&worker.gateway, &worker.names);
    let decided = keys.put(&key, &content, query.lifetime(), &guard, deadline).await;
    let decided = decided.map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?;
    match decided.value {
        Verdict::Applied(written) => {
            let mut response = if written.created { HttpResponse::Created() } else { HttpResponse::NoContent() };
            Ok(response.insert_header((header::ETAG, tag(&written.etag))).finish())
        }
        Verdict::Unmet(current) => Err(at(conditions::unmet(&guard.conditions, current.as_ref(), decided.attempts))),
    }
}

/// What the write is bound to.
fn guard_of(request: &HttpRequest) -> Result<Guard, Problem> {
    Ok(Guard { conditions: conditions::of(request)?, fence: fence::of(request)? })
}

async fn get(caller: Caller<ReadKeys>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let key = named(&request).map_err(at)?;
    let conditions = conditions::of(&request).map_err(at)?;
    let keys = Keys::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let recall = recall(&caller, &request, &conditions, "GET /v1/keys", &key);
    let (found, age) = stale::read(recall, content(&keys, &key, &caller)).await.map_err(at)?;
    let content = found.value.ok_or_else(|| at(missing(found.attempts)))?;
    let limit = caller.0.worker.shared.settings.reply_bytes;
    if content.len() > limit {
        return Err(at(too_large(limit, content.len(), found.attempts)));
    }
    let unacceptable = || Problem::decided(Code::NotAcceptable, UNACCEPTABLE, found.attempts);
    let media_type = media_type(&request, &content).ok_or_else(|| at(unacceptable()))?;
    let etag = ETag::of(&content);
    if let Some(answer) = conditions::of_read(&conditions, &etag, found.attempts).map_err(at)? {
        return Ok(aged(answer, age));
    }
    let response = HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::ETAG, tag(&etag)))
        .body(content);
    Ok(aged(response, age))
}

/// What is stored, so that whoever remembers it shares it.
async fn content(keys: &Keys<'_>, key: &[u8], caller: &Caller<ReadKeys>) -> Result<Found<Bytes>, Failure> {
    let Found { value, attempts } = keys.get(key, caller.0.allowance.without_body()).await?;
    Ok(Found { value: value.map(Bytes::from), attempts })
}

async fn head(caller: Caller<ReadKeys>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let key = named(&request).map_err(at)?;
    let conditions = conditions::of(&request).map_err(at)?;
    let keys = Keys::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let recall = recall(&caller, &request, &conditions, "HEAD /v1/keys", &key);
    let inspected = keys.inspect(&key, caller.0.allowance.without_body());
    let (found, age) = stale::read(recall, inspected).await.map_err(at)?;
    let facts = found.value.ok_or_else(|| at(missing(found.attempts)))?;
    if let Some(answer) = conditions::of_read(&conditions, &facts.etag, found.attempts).map_err(at)? {
        return Ok(aged(answer, age));
    }
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, BYTES)).insert_header((header::ETAG, tag(&facts.etag)));
    if let Some(ttl) = facts.ttl {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        response.insert_header((TTL, HeaderValue::from(millis)));
    }
    response.no_chunking(facts.length as u64);
    let nothing = futures_util::stream::empty::<Result<_, std::io::Error>>();
    Ok(aged(response.body(actix_web::body::SizedStream::new(facts.length as u64, nothing)), age))
}

async fn delete(caller: Caller<WriteKeys>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let key = named(&request).map_err(at)?;
    let guard = guard_of(&request).map_err(at)?;
    let keys = Keys::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let decided = keys.delete(&key, &guard, caller.0.allowance.without_body()).await;
    let decided = decided.map_err(|f| at(Problem::of_failure(&f, Lane::Write)))?;
    match decided.value {
        Verdict::Applied(()) => Ok(HttpResponse::NoContent().finish()),
        Verdict::Unmet(current) => Err(at(conditions::unmet(&guard.conditions, current.as_ref(), decided.attempts))),
    }
}

/// `If-Match` asks what is there now: an old answer is none.
fn recall<'a>(
    caller: &'a Caller<ReadKeys>,
    request: &HttpRequest,
    conditions: &Conditions,
    call: &str,
    key: &[u8],
) -> Option<Recall<'a>> {
    if conditions.if_match.is_some() { None } else { Recall::of_name(request, &caller.0, call, key) }
}

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const UNACCEPTABLE: &str = "the content is not JSON, and nothing but JSON was accepted";

/// Bytes by default; JSON where the reader asks for it and the content is. `None` if he takes JSON only and it is not.
fn media_type(request: &HttpRequest, content: &[u8]) -> Option<HeaderValue> {
    if !request.headers().contains_key(header::ACCEPT) {
        return Some(BYTES);
    }
    // What cannot be read asks for nothing.
    let ranges = Accept::parse(request).map(|accept| accept.0).unwrap_or_default();
    let weight =
        |wanted: &str| ranges.iter().find(|range| range.item.essence_str() == wanted).map(|range| range.quality);
    // The range that names it most closely counts (RFC 9110, 12.5.1).
    let bytes = ["application/octet-stream", "application/*", "*/*"].into_iter().find_map(weight);
    match weight("application/json").filter(|json| *json > Quality::ZERO) {
        None => Some(BYTES),
        Some(json) if weight("application/octet-stream").is_some_and(|bytes| bytes > json) => Some(BYTES),
        Some(_) if is_json(content) => Some(JSON),
        Some(_) => bytes.filter(|bytes| *bytes > Quality::ZERO).map(|_| BYTES),
    }
}

/// JSON is UTF-8 (RFC 8259), which a reader that skips strings does not look at.
fn is_json(content: &[u8]) -> bool {
    str::from_utf8(content).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

fn missing(attempts: u32) -> Problem {
    Problem::decided(Code::NotFound, "there is no such key", attempts)
}

fn too_large(limit: usize, bytes: usize, attempts: u32) -> Problem {
    let detail = format!("the content has {bytes} bytes, and answers may have {limit}");
    Problem::decided(Code::ReplyTooLarge, detail, attempts)
}

/// The key of a request whose query can hold nothing else.
fn named(request: &HttpRequest) -> Result<Cow<'_, [u8]>, Problem> {
    match request.query_string() {
        "" => key(request, None),
        _ => key(request, query::<NameQuery>(request)?.key_base64url.as_deref()),
    }
}

/// The key a request names, in its path or in `key_base64url`. The empty one is not in a path: whoever drops a slash at the end
/// would mean another resource.
fn key<'a>(request: &'a HttpRequest, encoded: Option<&str>) -> Result<Cow<'a, [u8]>, Problem> {
    let in_path = request.match_info().get("key").is_some();
    match encoded {
        Some(_) if in_path => Err(Problem::new(Code::InvalidRequest, TWO_NAMES)),
        Some(encoded) => decoded(encoded).map(Cow::Owned),
        None if !in_path => Err(Problem::new(Code::InvalidRequest, NO_KEY)),
        None => match path::decode(path::after(request, PREFIX))? {
            key if key.is_empty() => Err(Problem::new(Code::InvalidPath, NO_NAME)),
            key => Ok(key),
        },
    }
}

fn decoded(encoded: &str) -> Result<Vec<u8>, Problem> {
    BASE64URL.decode(encoded).map_err(|_| Problem::new(Code::InvalidRequest, NO_BASE64URL))
}

const NO_NAME: &str = "the empty key cannot be named in the path: /v1/keys?key_base64url= names it";
const NO_KEY: &str = "no key is named: put it in the path, /v1/keys/{key}, or in the query parameter key_base64url";
const TWO_NAMES: &str = "the key is named in the path and in the query parameter key_base64url: name it once, in the path or as \
                         /v1/keys?key_base64url=…";
const NO_BASE64URL: &str = "the query parameter key_base64url must be base64url (RFC 4648: letters, digits, - and _, without padding \
                            or with =)";

/// Hexadecimal digits in quotes are always a valid header value.
pub fn tag(etag: &ETag) -> HeaderValue {
    HeaderValue::from_str(etag.as_str()).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
