//! `Idempotency-Key`: a caller's name for one request, so that sending it again has no second effect (D17).
//!
//! The key is kept in Redis under a pseudonym of caller and key, with a fingerprint of path and body: the same key with another
//! request is a mistake that must not pass for a repetition. Limits: a key is 1 to 255 printable characters; the quotes
//! that a structured field has around it are taken off, so both spellings are one key.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use sha2::{Digest, Sha256};

use super::caller::{self, IDEMPOTENCY_KEY, TurnedAway};
use super::problem::{Mistake, Problem};
use crate::resources::Once;
use crate::security::Principal;

/// On answers that an earlier request with the same key had decided.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const LENGTH: usize = 255;

/// What the same key may not be shared between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteClass {
    /// `POST` below `/v1`.
    Resources,
    /// `POST /` of the command dialect.
    Commands,
}

impl RouteClass {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Resources, Self::Commands];

    fn purpose(self) -> &'static str {
        match self {
            Self::Resources => "idempotency /v1",
            Self::Commands => "idempotency commands",
        }
    }
}

/// Why a key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// It is there more than once.
    Repeated,
    /// It is empty, too long, or not printable.
    Malformed,
}

/// The rule a key must keep.
pub const RULE: &str = "must be 1 to 255 printable ASCII characters without spaces";

impl From<BadKey> for Problem {
    fn from(bad: BadKey) -> Self {
        match bad {
            BadKey::Repeated => TurnedAway::Repeated("Idempotency-Key").into(),
            BadKey::Malformed => {
                Self::invalid(vec![Mistake { pointer: "Idempotency-Key".to_owned(), detail: RULE.to_owned() }])
            }
        }
    }
}

/// The record of this request, if it brings a key.
pub fn once(
    request: &HttpRequest,
    principal: Principal,
    class: RouteClass,
    body: &[u8],
) -> Result<Option<Once>, BadKey> {
    let value = caller::single(request, &IDEMPOTENCY_KEY, "Idempotency-Key").map_err(|_| BadKey::Repeated)?;
    let Some(value) = value else { return Ok(None) };
    let name = record_name(principal, class, value.as_bytes())?;
    let mut fingerprint = Sha256::new();
    for part in [request.method().as_str().as_bytes(), b" ", request.uri().path().as_bytes(), b"\n", body] {
        fingerprint.update(part);
    }
    Ok(Some(Once::for_caller(&name, &fingerprint.finalize().into())))
}

/// The pseudonym under which a caller's key is remembered.
pub fn record_name(principal: Principal, class: RouteClass, key: &[u8]) -> Result<[u8; 32], BadKey> {
    let bare = key.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(key);
    let well_formed = (1..=LENGTH).contains(&bare.len()) && bare.iter().all(u8::is_ascii_graphic);
    if well_formed { Ok(principal.pseudonym(class.purpose(), bare)) } else { Err(BadKey::Malformed) }
}

/// Marks an answer that is a repetition.
pub fn mark(response: &mut HttpResponseBuilder, replayed: bool) {
    if replayed {
        response.insert_header((REPLAYED, HeaderValue::from_static("true")));
    }
}

/// Marks a refusal that is a repetition.
pub fn marked(problem: Problem, replayed: bool) -> Problem {
    if replayed { problem.with_header(REPLAYED, HeaderValue::from_static("true")) } else { problem }
}

/// Marks either.
pub fn marked_answer(answer: Result<HttpResponse, Problem>, replayed: bool) -> Result<HttpResponse, Problem> {
    let mut answer = answer.map_err(|problem| marked(problem, replayed))?;
    if replayed {
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}
