//! `/v1`: designed resources, JSON and bytes in and out, problem documents for every failure.
//!
//! Names are taken from the raw path (`path.rs`), so a route claims everything below its prefix. Limits: what is not built yet
//! answers 404 as any unknown path.

mod counters;
mod keys;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};

use super::caller;
use super::problem::{Code, Mistake, Problem};
use crate::security::Action;
use std::future::{Ready, ready};
use validator::ValidationErrors;

/// A caller of `/v1` who may do `A`. As an extractor it refuses with a problem document.
pub struct Caller<A: Action>(pub caller::Caller<A>);

impl<A: Action + 'static> FromRequest for Caller<A> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller::Caller::identify(request, None).map(Self).map_err(|reason| Problem::from(reason).at(request)))
    }
}

/// Mounts the resources.
pub fn configure(app: &mut web::ServiceConfig) {
    keys::configure(app);
    counters::configure(app);
    app.service(web::resource(["/v1", "/v1/{tail:.*}"]).to(nothing_here));
}

/// Whether a path is a page of the service, built or not: those are never commands of the dialect (D25).
pub(super) fn is_page(path: &str) -> bool {
    matches!(path, "/docs" | "/openapi.json")
        || ["/docs/", "/problems/", "/.well-known/"].iter().any(|page| path.starts_with(page))
}

/// The answer where there is no page.
pub(super) fn no_page(request: &HttpRequest) -> HttpResponse {
    Problem::new(Code::NotFound, "there is no such page").at(request).error_response()
}

async fn nothing_here(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::new(Code::NotFound, "there is no such resource under /v1").at(&request))
}

fn wrong_method(request: &HttpRequest, allow: &'static str) -> Result<HttpResponse, Problem> {
    Err(Problem::method(allow).at(request))
}

/// Reads a query string into its type, naming what is wrong with it.
fn query<T: serde::de::DeserializeOwned + validator::Validate>(request: &HttpRequest) -> Result<T, Problem> {
    let query = web::Query::<T>::from_query(request.query_string())
        .map_err(|error| {
            Problem::new(Code::InvalidRequest, format!("the query is not understood: {}", rule_of(&error.to_string())))
        })?
        .into_inner();
    query.validate().map_err(|errors| Problem::invalid(mistakes(&errors, "")))?;
    Ok(query)
}

/// Reads a JSON body into its type, naming what is wrong with it.
fn json<T: serde::de::DeserializeOwned + validator::Validate>(body: &[u8]) -> Result<T, Problem> {
    let value: T = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            let detail = format!("{} (line {}, column {})", rule_of(&error.to_string()), error.line(), error.column());
            Problem::invalid(vec![Mistake { pointer: String::new(), detail }])
        }
        _ => Problem::new(Code::InvalidJson, format!("the body is not valid JSON: {error}")),
    })?;
    value.validate().map_err(|errors| Problem::invalid(mistakes(&errors, "/")))?;
    Ok(value)
}

/// The rule out of a decoder's message, without the value that broke it: an answer may end in somebody's log.
///
/// Serde's messages end in `, expected …`, which is ours alone; names of members in the other two kinds are ours as well.
fn rule_of(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or_default();
    if message.starts_with("missing field `") || message.starts_with("duplicate field `") {
        return message.to_owned();
    }
    let what =
        if message.starts_with("unknown field") { "an unknown member was found" } else { "a value does not fit" };
    match message.rsplit_once(", expected ").or(message.rsplit_once(", there are ")) {
        Some((_, expected)) => format!("{what}: expected {expected}"),
        None => what.to_owned(),
    }
}

/// The validator's findings as a flat list.
fn mistakes(errors: &ValidationErrors, before: &str) -> Vec<Mistake> {
    let fields = errors.field_errors();
    let mut list: Vec<Mistake> = fields
        .iter()
        .flat_map(|(field, errors)| errors.iter().map(move |error| (field, error)))
        .map(|(field, error)| Mistake {
            pointer: format!("{before}{field}"),
            detail: error.message.as_deref().unwrap_or("is against its rule").to_owned(),
        })
        .collect();
    list.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, validator::Validate)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code, reason = "only decoding is looked at")]
        by: i64,
    }

    fn refusal(body: &str) -> String {
        format!("{:?}", json::<Sample>(body.as_bytes()).expect_err("it is refused"))
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        for body in [
            r#"{"by": "canary"}"#,
            r#"{"by": "x, expected canary"}"#,
            r#"{"by": "x at line canary, expected canary"}"#,
            r#"{"canary": 1}"#,
            r#"{"by": 1, "canary, expected canary": 1}"#,
            r#"{"by": 1, "by": "canary"}"#,
            r#"["canary"]"#,
            r#""canary""#,
            r#"{"by": canary}"#,
        ] {
            let told = refusal(body);
            assert!(!told.contains("canary"), "{body}: {told}");
        }
        assert!(refusal(r#"{"by": "x"}"#).contains("expected i64"));
        assert!(refusal("{}").contains("missing field `by`"));
        assert!(refusal(r#"{"bi": 1}"#).contains("expected `by`"));
    }
}
