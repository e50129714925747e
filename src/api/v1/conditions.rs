//! `If-Match` and `If-None-Match` of a request (RFC 9110 §13.1), read strictly: a condition that is misread is worse than none.
//!
//! `If-Match` compares strongly, so a weak tag never matches; `If-None-Match` compares weakly, so that a cache that was given a weak
//! copy of a tag by a proxy still gets its 304. Limits: nothing here has a date, so `If-Modified-Since` is ignored, as §13.1.3 demands;
//! `If-Unmodified-Since` is refused (`mod.rs`), because ignoring it would make the write its author wanted to prevent.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, body};

use super::keys::tag;
use crate::api::problem::{Code, Problem};
use crate::resources::keys::ETag;
use crate::resources::{Conditions, Tags};

/// The conditions of this request.
pub fn of(request: &HttpRequest) -> Result<Conditions, Problem> {
    let field = |name: &HeaderName, spelled, weak| {
        let mut lines = request.headers().get_all(name).map(HeaderValue::as_bytes).peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let value = lines.collect::<Vec<_>>().join(&b","[..]);
        read(&value, weak).map(Some).ok_or_else(|| malformed(spelled))
    };
    Ok(Conditions {
        if_match: field(&header::IF_MATCH, "If-Match", false)?,
        if_none_match: field(&header::IF_NONE_MATCH, "If-None-Match", true)?,
    })
}

fn malformed(name: &str) -> Problem {
    let rule = "must be * alone, or entity tags with commas between them, each in double quotes: \"…\" or W/\"…\"";
    Problem::new(Code::InvalidRequest, format!("{name} {rule}"))
}

/// The set of contents a field names. `weak`: whether weak tags count.
fn read(value: &[u8], weak: bool) -> Option<Tags> {
    if value.trim_ascii() == b"*" {
        return Some(Tags::Any);
    }
    let (mut tags, mut rest, mut found) = (Vec::new(), value.trim_ascii(), false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let is_weak = rest.starts_with(b"W/");
        let quoted = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"")?;
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (&quoted[..end], quoted[end + 1..].trim_ascii_start());
        let well_formed = opaque.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        if !well_formed || !(after.is_empty() || after.starts_with(b",")) {
            return None;
        }
        tags.extend(ETag::of_digits(opaque).filter(|_| weak || !is_weak));
        (rest, found) = (after, true);
    }
    found.then_some(Tags::Listed(tags))
}

/// The answer to a read whose condition does not hold; `None` if the content is to be sent.
pub fn of_read(conditions: &Conditions, current: &ETag, attempts: u32) -> Result<Option<HttpResponse>, Problem> {
    if conditions.if_match.as_ref().is_some_and(|tags| !tags.names(current)) {
        return Err(unmet(conditions, Some(current), attempts));
    }
    if conditions.if_none_match.as_ref().is_some_and(|tags| tags.names(current)) {
        let mut response = HttpResponse::NotModified();
        return Ok(Some(response.insert_header((header::ETAG, tag(current))).body(body::None::new())));
    }
    Ok(None)
}

/// A condition does not hold for what is stored.
pub fn unmet(conditions: &Conditions, current: Option<&ETag>, attempts: u32) -> Problem {
    let matched = current.is_some_and(|tag| conditions.if_match.as_ref().is_none_or(|tags| tags.names(tag)));
    let detail = match current {
        None => "there is no such key, and If-Match wants one; nothing was changed",
        Some(_) if matched => "what is stored is what If-None-Match excludes; nothing was changed",
        Some(_) => "what is stored is not what If-Match names; nothing was changed",
    };
    let problem = Problem::decided(Code::PreconditionFailed, detail, attempts);
    match current {
        Some(current) => problem.with_header(header::ETAG, tag(current)),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "\"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\"";

    fn tags(value: &str, weak: bool) -> Option<usize> {
        read(value.as_bytes(), weak).map(|tags| match tags {
            Tags::Any => usize::MAX,
            Tags::Listed(tags) => tags.len(),
        })
    }

    #[test]
    fn a_condition_is_a_star_or_a_list_of_tags() {
        for star in ["*", " * "] {
            assert_eq!(tags(star, false), Some(usize::MAX));
        }
        for list in [
            HELLO.to_owned(),
            format!("\"x\", {HELLO}"),
            format!(" ,,{HELLO} , , \"\""),
            format!("\"a,b\",{HELLO}"),
            format!("\"\u{e9}\",{HELLO},W/\"weak\""),
        ] {
            assert_eq!(tags(&list, false), Some(1), "{list}");
        }
        assert_eq!(tags("\"other\"", false), Some(0));
        for bad in [
            "",
            " ",
            ",",
            "hello",
            "*,*",
            "* , \"a\"",
            "\"a\" \"b\"",
            "\"a",
            "a\"",
            "w/\"a\"",
            "W/ \"a\"",
            "\"a b\"",
            "''",
        ] {
            assert_eq!(tags(bad, false), None, "{bad:?}");
        }
    }

    #[test]
    fn a_weak_tag_matches_only_where_weakness_does_no_harm() {
        let weak = format!("W/{HELLO}");
        assert_eq!((tags(&weak, false), tags(&weak, true)), (Some(0), Some(1)));
    }
}
