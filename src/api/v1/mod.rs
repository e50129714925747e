//! `/v1`: designed resources, JSON and bytes in and out, problem documents for every failure.
//!
//! Names are taken from the raw path (`path.rs`), so a route claims everything below its prefix. Limits: what is not built yet
//! answers 404 as any unknown path (`surface.rs`).

mod conditions;
mod counters;
mod fence;
mod keys;
mod leases;
mod limiters;
mod listing;
mod operations;
mod presence;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{self, ALLOW, HeaderMap};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};

use super::openapi::entry::Entry;
use super::problem::{Code, Mistake, Problem};
use super::{caller, surface};
use crate::security::{Action, ListKeys, WriteCounters, WriteKeys};
use std::future::{Ready, ready};
use validator::ValidationErrors;

/// A caller of `/v1` who may do `A`. As an extractor it refuses with a problem document.
pub struct Caller<A: Action>(pub caller::Caller<A>);

impl<A: Action + 'static> FromRequest for Caller<A> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).map_err(|problem| problem.at(request)))
    }
}

/// Mounts the resources.
///
/// Within a scope, because its prefix is compared as text: paths of the dialect pay for no pattern of ours.
pub fn configure(app: &mut web::ServiceConfig) {
    let resources = web::scope("/v1")
        .configure(keys::configure)
        .configure(counters::configure)
        .configure(leases::configure)
        .configure(presence::configure)
        .configure(limiters::configure)
        .configure(operations::configure);
    app.service(resources.default_service(web::to(surface::nothing_here)));
}

/// Every operation of the resources, for the OpenAPI document.
pub fn entries() -> Vec<Entry> {
    let resources = [
        keys::docs::entries(),
        counters::docs::entries(),
        leases::docs::entries(),
        limiters::docs::entries(),
        presence::docs::entries(),
        operations::docs::entries(),
    ];
    resources.concat()
}

/// Who it is, and no body where none belongs; the question of who comes first.
fn identify<A: Action>(request: &HttpRequest) -> Result<Caller<A>, Problem> {
    let caller = caller::Caller::identify(request, None)?;
    let method = request.method();
    if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) && caller::declares_body(request) {
        let detail = format!("{method} takes no body here, and one was declared");
        return Err(Problem::new(Code::UnexpectedBody, detail));
    }
    refuse_unhonoured(A::SCOPE, method, request.headers())?;
    Ok(Caller(caller))
}

/// Headers that ask for protection there is not. Ignoring one would do what its author wanted to prevent.
fn refuse_unhonoured(scope: &str, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let unhonoured = [
        (header::IF_MATCH, "If-Match", scope.starts_with("keys:") && scope != ListKeys::SCOPE),
        (header::IF_NONE_MATCH, "If-None-Match", scope.starts_with("keys:") && scope != ListKeys::SCOPE),
        (header::IF_UNMODIFIED_SINCE, "If-Unmodified-Since", false),
        (fence::HEADER, fence::SPELLED, scope == WriteKeys::SCOPE || scope == WriteCounters::SCOPE),
    ];
    if let Some((_, name, _)) = unhonoured.iter().find(|(name, _, honoured)| !honoured && headers.contains_key(name)) {
        let detail = format!("{name} is not honoured here, and ignoring it would undo what it is for: leave it away");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    if *method != Method::POST && headers.contains_key(&caller::IDEMPOTENCY_KEY) {
        let detail = format!("is honoured on POST: {method} is repeatable as it is, so leave the header away");
        return Err(Problem::invalid(vec![Mistake { pointer: "Idempotency-Key".to_owned(), detail }]));
    }
    Ok(())
}

/// OPTIONS is told the methods there are, and every other method that it is none of them; strangers are told nothing.
fn wrong_method(request: &HttpRequest, allow: &'static str) -> Result<HttpResponse, Problem> {
    caller::known(request).map_err(|reason| Problem::from(reason).at(request))?;
    if request.method() == Method::OPTIONS {
        return Ok(HttpResponse::NoContent().insert_header((ALLOW, allow)).finish());
    }
    Err(Problem::method(allow).at(request))
}

/// Reads a query string into its type, naming what is wrong with it.
fn query<T: serde::de::DeserializeOwned + validator::Validate>(request: &HttpRequest) -> Result<T, Problem> {
    let query = web::Query::<T>::from_query(request.query_string())
        .map_err(|error| misread::<T>(request.query_string(), &error))?
        .into_inner();
    query.validate().map_err(|errors| Problem::invalid(mistakes(&errors, "")))?;
    Ok(query)
}

/// Names the parameter that is wrong: the reader tells what is wrong with it, and not which one it is.
fn misread<T: serde::de::DeserializeOwned>(text: &str, error: &actix_web::error::QueryPayloadError) -> Problem {
    let rule = match error {
        actix_web::error::QueryPayloadError::Deserialize(reason) => rule_of(&reason.to_string()),
        _ => "it cannot be read".to_owned(),
    };
    let culprit = text.split('&').find(|pair| web::Query::<T>::from_query(pair).is_err());
    let name = culprit.and_then(|pair| pair.split('=').next()).filter(|name| is_word(name));
    let place = name.map_or_else(|| "the query".to_owned(), |name| format!("the query parameter {name}"));
    Problem::new(Code::InvalidRequest, format!("{place} is not understood: {rule}"))
}

/// Reads a JSON body into its type, naming what is wrong with it.
fn json<T: serde::de::DeserializeOwned + validator::Validate>(body: &[u8]) -> Result<T, Problem> {
    // A derived reader takes `[5]` for an object whose first member is 5; nobody who wrote that meant it.
    if body.trim_ascii_start().starts_with(b"[") {
        let detail = "the body must be a JSON object, not an array".to_owned();
        return Err(Problem::invalid(vec![Mistake { pointer: String::new(), detail }]));
    }
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

/// Longest name of a caller's that is repeated to him.
const NAME_SHOWN: usize = 20;

/// Whether a name can be repeated: one short word, which no token, address or key is likely to be. An answer may end in somebody's
/// log, and what stands where a name should may be data.
fn is_word(name: &str) -> bool {
    (1..=NAME_SHOWN).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// The rule out of a decoder's message, without the value that broke it.
///
/// Serde's messages end in `, expected …`, which is ours alone; names of members are ours as well, but for the unknown one.
fn rule_of(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or_default();
    if message.starts_with("missing field `") || message.starts_with("duplicate field `") {
        return message.to_owned();
    }
    let what = match message.strip_prefix("unknown field `").map(|rest| rest.split('`').next().unwrap_or_default()) {
        Some(name) if is_word(name) => format!("`{name}` is not known"),
        Some(_) => "an unknown member was found".to_owned(),
        None => "a value does not fit".to_owned(),
    };
    match message.rsplit_once(", expected ").or(message.rsplit_once(", there are ")) {
        Some((_, expected)) => format!("{what}: expected {expected}"),
        None => what,
    }
}

/// The validator's findings as a flat list.
fn mistakes(errors: &ValidationErrors, before: &str) -> Vec<Mistake> {
    let fields = errors.field_errors();
    let mut list: Vec<Mistake> = fields
        .iter()
        .flat_map(|(field, errors)| errors.iter().map(move |error| (field, error)))
        .map(|(field, error)| Mistake {
            // A rule about several members is about none of them alone.
            pointer: if *field == "__all__" { String::new() } else { format!("{before}{field}") },
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
            r#"{"canary-7": 1}"#,
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
        assert!(refusal(r#"{"bi": 1}"#).contains("`bi` is not known: expected `by`"));
    }
}
