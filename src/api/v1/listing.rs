//! `GET /v1/keys`: the names of the keys there are, page by page.
//!
//! `keys` holds every name that can stand in a path, as text; the others (`.`, `..`, the empty one, and what is no UTF-8) are in
//! `keys_base64url`, so that each name given is one that can be asked for. The cursor is opaque and belongs to its prefix. A page is
//! cut where time runs out, so there is no 504. Limits: names come in no order and may come twice; a page may be empty though more
//! follow (`complete` says when it is over); counters are keys, too. A read-only token may not list (it reads what it can name).

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use base64::engine::Engine;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::super::path;
use super::keys::BASE64URL;
use super::{Caller, query};
use crate::api::problem::{Code, Problem};
use crate::redis::catalogue::Lane;
use crate::resources::keys::Keys;
use crate::resources::listing::{Page, Place};
use crate::security::ListKeys;

/// Names on a page unless the caller says how many.
const LIMIT: u16 = 100;

/// The query of a listing.
#[derive(Debug, Default, Deserialize, IntoParams, Validate)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// What the names begin with. Looked at in the raw query, because a prefix may be any bytes.
    #[serde(default, rename = "prefix")]
    #[param(rename = "prefix")]
    _prefix: String,
    /// Where the page begins: what the page before gave.
    cursor: Option<String>,
    /// Most names on the page.
    #[validate(range(min = 1, max = 1000, message = "must be a whole number from 1 to 1000"))]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// A page as it is answered.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyPage)]
pub(super) struct Answer {
    /// Names that can stand in a path.
    keys: Vec<String>,
    /// Names that cannot, for `key_base64url`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    keys_base64url: Vec<String>,
    /// Where the next page begins; null if there is none.
    #[schema(required)]
    cursor: Option<String>,
    /// True if there is no next page.
    complete: bool,
}

/// Answers a page.
pub async fn list(caller: Caller<ListKeys>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let query = query::<ListQuery>(&request).map_err(at)?;
    let prefix = prefix(request.query_string()).map_err(at)?;
    let place = match query.cursor {
        None => Place::default(),
        Some(text) => place(&text, &prefix).ok_or_else(|| at(Problem::new(Code::InvalidRequest, BAD_CURSOR)))?,
    };
    let keys = Keys::new(&caller.0.worker.gateway, &caller.0.worker.names);
    let limit = usize::from(query.limit.unwrap_or(LIMIT));
    let page = keys.list(&prefix, place, limit, caller.0.allowance.without_body()).await;
    // Not one look was possible in the time: that is Redis not answering, not a page that took too long.
    let page = page.map_err(|failure| at(Problem::of_failure(&failure, Lane::Write)))?;
    let body = serde_json::to_vec(&answer(page, &prefix)).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, json)).body(body))
}

const BAD_CURSOR: &str = "the query parameter cursor must be the cursor of a page with the same prefix, unchanged: leave it away to begin \
                          anew";

fn place(text: &str, prefix: &[u8]) -> Option<Place> {
    BASE64URL.decode(text).ok().and_then(|bytes| Place::of_bytes(&bytes, prefix))
}

/// The bytes of `prefix=`, where a plus is a space as forms have it. The query has been read before, so it is there once at most.
fn prefix(query: &str) -> Result<Vec<u8>, Problem> {
    let is_prefix = |name: &str| path::decode(name).is_ok_and(|name| name.as_ref() == b"prefix");
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = pairs.into_iter().find_map(|(name, value)| is_prefix(name).then_some(value)).unwrap_or_default();
    let spaced = value.replace('+', " ");
    let decoded = path::decode(&spaced).map_err(|_| Problem::new(Code::InvalidRequest, BAD_PREFIX))?;
    Ok(decoded.into_owned())
}

const BAD_PREFIX: &str = "the query parameter prefix has a % that is not followed by two hexadecimal digits";

fn answer(page: Page, prefix: &[u8]) -> Answer {
    let (mut keys, mut keys_base64url) = (Vec::new(), Vec::new());
    for name in page.names {
        match String::from_utf8(name) {
            Ok(name) if !matches!(name.as_str(), "" | "." | "..") => keys.push(name),
            Ok(name) => keys_base64url.push(BASE64URL.encode(name)),
            Err(error) => keys_base64url.push(BASE64URL.encode(error.as_bytes())),
        }
    }
    let cursor = page.next.map(|place| BASE64URL.encode(place.to_bytes(prefix)));
    Answer { keys, keys_base64url, complete: cursor.is_none(), cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_bytes() {
        for (query, bytes) in [
            ("", &b""[..]),
            ("prefix=", b""),
            ("limit=5&prefix=a%2Fb+c", b"a/b c"),
            ("prefix=%ff%00&cursor=x", b"\xff\0"),
            ("pre%66ix=a", b"a"),
            ("prefix=gr%C3%BC", "gr\u{fc}".as_bytes()),
        ] {
            assert_eq!(prefix(query).expect("a prefix"), bytes, "{query}");
        }
        assert!(prefix("prefix=%f").is_err());
    }

    #[test]
    fn every_name_is_given_so_that_it_can_be_asked_for() {
        let names = [&b"plain"[..], b"", b".", b"..", b"\xff", "gr\u{fc}n".as_bytes(), b"../a"];
        let page = Page { names: names.iter().map(|name| name.to_vec()).collect(), next: None };
        let answer = answer(page, b"");
        assert_eq!(answer.keys, ["plain", "gr\u{fc}n", "../a"]);
        assert_eq!(answer.keys_base64url, ["", "Lg", "Li4", "_w"]);
        assert!(answer.complete);
    }
}
