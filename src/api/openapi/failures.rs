//! Failures of operations, made from the one table of codes.
//!
//! An operation names the codes it can fail with; here they become one response for each status, with the codes that status can
//! carry and an example of each. Limits: the command dialect has no codes, so of its failures only statuses are told.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ComponentsBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::entry::{Entry, Shape};
use super::headers;
use crate::api::problem::{self, Code};

/// What every operation can answer: before its path is looked at, or because the service is at fault.
pub const GENERAL: &[Code] = &[
    Code::MalformedRequest,
    Code::RequestTimeout,
    Code::UriTooLong,
    Code::HeadTooLarge,
    Code::Internal,
    Code::TooManyConnections,
];

/// What a method or a page gets that no operation here describes: other methods, and preflights of pages that are not listed.
pub const ELSEWHERE: &[Code] = &[Code::MethodNotAllowed, Code::OriginNotAllowed];

/// What every operation answers that asks who is calling.
const CALLER: &[Code] = &[Code::Unauthenticated, Code::Forbidden, Code::InvalidRequest];

/// A name in the path.
pub const NAMED: &[Code] = &[Code::InvalidPath];

/// `GET`, `HEAD` and `DELETE`: no body, and no Idempotency-Key.
pub const BODILESS: &[Code] = &[Code::UnexpectedBody, Code::InvalidValue];

/// A JSON body.
pub const BODY: &[Code] = &[Code::InvalidJson, Code::InvalidValue, Code::PayloadTooLarge];

/// Reads from Redis.
pub const READS: &[Code] = &[
    Code::CircuitOpen,
    Code::Overloaded,
    Code::RedisUnreachable,
    Code::RedisUnavailable,
    Code::GatewayForbidden,
    Code::DeadlineExceeded,
];

/// Writes to Redis.
pub const WRITES: &[Code] = &[
    Code::CircuitOpen,
    Code::Overloaded,
    Code::RedisUnreachable,
    Code::RedisUnavailable,
    Code::NotDurable,
    Code::GatewayForbidden,
    Code::OutcomeUnknown,
    Code::OutOfMemory,
];

/// Calls that happen in one piece inside Redis.
pub const ATOMIC: &[Code] = &[Code::FunctionsUnsupported, Code::FunctionsMissing];

/// `POST` with an Idempotency-Key.
pub const ONCE: &[Code] = &[Code::KeyReused, Code::KeySettled];

/// Statuses of the command dialect beyond those of every operation: Redis' answers and the gateway's.
const COMMAND_STATUSES: &[u16] = &[400, 401, 403, 413, 422, 503, 504, 507];

/// The codes an operation can answer with, those of every operation included, in the table's order.
pub fn codes_of(entry: &Entry) -> Vec<Code> {
    let caller = if entry.is_public { &[][..] } else { CALLER };
    let can = |code: &&Code| [GENERAL, caller, &entry.codes].iter().any(|list| list.contains(code));
    Code::ALL.iter().filter(can).copied().collect()
}

/// Failures as they are referred to, and the responses that are referred to.
#[derive(Default)]
pub struct Failures {
    responses: BTreeMap<String, Response>,
}

impl Failures {
    /// The failures of an operation, by status.
    pub fn of(&mut self, entry: &Entry) -> Vec<(u16, Ref)> {
        let codes = codes_of(entry);
        match entry.shape {
            Shape::Documents => self.documents(&codes),
            Shape::Commands => self.commands(&codes),
        }
    }

    fn documents(&mut self, codes: &[Code]) -> Vec<(u16, Ref)> {
        let groups = codes.chunk_by(|one, other| one.row().status == other.row().status);
        groups.map(|group| (group[0].row().status, self.refer(name(group), || document(group)))).collect()
    }

    fn commands(&mut self, codes: &[Code]) -> Vec<(u16, Ref)> {
        let mut statuses: Vec<u16> = codes.iter().map(|code| code.row().status).collect();
        statuses.extend(COMMAND_STATUSES);
        statuses.sort_unstable();
        statuses.dedup();
        statuses
            .into_iter()
            .map(|status| (status, self.refer(format!("command-{status}"), || command(status))))
            .collect()
    }

    fn refer(&mut self, name: String, response: impl FnOnce() -> Response) -> Ref {
        let reference = Ref::from_response_name(&name);
        self.responses.entry(name).or_insert_with(response);
        reference
    }

    /// Everything referred to, and what is met where no operation is described, as components.
    pub fn describe(mut self, components: ComponentsBuilder) -> ComponentsBuilder {
        self.documents(ELSEWHERE);
        let components = Code::ALL.iter().fold(components, |components, code| {
            let example = ExampleBuilder::new().summary(code.row().title).value(Some(problem::example(*code)));
            components.example(code.row().code, example.build())
        });
        components.responses_from_iter(self.responses)
    }
}

/// A set of codes has one name wherever it is met.
fn name(group: &[Code]) -> String {
    group.iter().map(|code| code.row().code).collect::<Vec<_>>().join(".")
}

fn document(group: &[Code]) -> Response {
    let words: Vec<&str> = group.iter().map(|code| code.row().code).collect();
    let only = ObjectBuilder::new()
        .property("code", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.clone())))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([group[0].row().status])));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(only);
    let examples =
        words.iter().map(|word| (*word, RefOr::<Example>::Ref(Ref::new(format!("#/components/examples/{word}")))));
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    let response = ResponseBuilder::new().description(meanings(group)).content("application/problem+json", content);
    headers::add(response, &fields(group)).build()
}

fn meanings(group: &[Code]) -> String {
    let lines =
        group.iter().map(|code| code.row()).map(|row| format!("- `{}`: {}. {}", row.code, row.title, row.way_out));
    lines.collect::<Vec<_>>().join("\n")
}

/// The fields that problems of these codes can carry.
fn fields(group: &[Code]) -> Vec<&'static str> {
    let any = |holds: fn(&Code) -> bool| group.iter().any(holds);
    let fields = [
        ("Collective-Outcome", any(|code| code.row().outcome.is_some())),
        ("Retry-After", any(|code| code.row().status == 503 || *code == Code::LeaseHeld)),
        ("Idempotency-Replayed", any(|code| code.row().status == 409)),
        ("ETag", any(|code| *code == Code::PreconditionFailed)),
        ("WWW-Authenticate", any(|code| *code == Code::Unauthenticated)),
        ("Allow", any(|code| *code == Code::MethodNotAllowed)),
    ];
    fields.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

fn command(status: u16) -> Response {
    let (about, text) = told(status);
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("CommandError")));
    let example: Value = json!({ "error": text });
    let response =
        ResponseBuilder::new().description(about).content("application/json", content.example(Some(example)).build());
    let mut fields = vec!["Collective-Outcome"];
    fields.extend(match status {
        401 => Some("WWW-Authenticate"),
        503 => Some("Retry-After"),
        _ => None,
    });
    headers::add(response, &fields).build()
}

/// What a status means in the dialect, and a text that comes with it.
fn told(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => (
            "Redis refused the command, in its own words, or it is none",
            "ERR wrong number of arguments for 'get' command",
        ),
        401 => ("No valid token", "WRONGPASS invalid or missing auth token"),
        403 => (
            "The token may not do this",
            "NOPERM keys that begin with 'collective:' belong to the service: choose another name",
        ),
        408 => ("The request did not arrive in time", "ERR the request body did not arrive within 10000 ms"),
        409 => (
            "The request was settled as not executed, by asking under /v1/operations",
            "ERR this Idempotency-Key was settled as not executed; nothing was changed",
        ),
        413 => (
            "Too large: the body, an argument, the batch, or the reply",
            "ERR the request body may have 16777216 bytes at most",
        ),
        414 => ("Path and query are too long", "ERR path and query have 9001 bytes, and may have 8192"),
        422 => (
            "An Idempotency-Key that cannot be honoured",
            "ERR Idempotency-Key is not available on this route: it works on POST / with one command, and below /v1",
        ),
        431 => ("The head is too large", "ERR the head has 70 fields, and may have 64"),
        500 => ("The service made a mistake", "ERR the application has no state"),
        501 => (
            "This Redis cannot run the call",
            "ERR this call needs the functions of Redis 7.0 or later; nothing was changed",
        ),
        503 => (
            "Redis is down or the service is full; nothing was changed",
            "UNAVAILABLE Redis is down, its circuit breaker is open; the command was not executed",
        ),
        504 => (
            "A write may have happened, or a read passed its deadline",
            "UNAVAILABLE the connection to Redis was lost; no reply came after sending: the command may have been executed, or may yet be",
        ),
        507 => ("Redis is out of memory", "OOM command not allowed when used memory > 'maxmemory'."),
        _ => ("Refused", "ERR refused"),
    }
}
