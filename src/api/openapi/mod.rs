//! The OpenAPI document of the public listener: `/openapi.json`, `collective openapi`, `docs/openapi.json`, and the page `/docs`.
//!
//! Made once from the types that read and write bodies, the table of codes, and the entries beside the handlers. It is the same at
//! every instance and holds nobody's data, so it is public, as the pages under `/problems` are: whoever writes a client has no
//! token yet. Limits: a name with slashes is one percent-encoded segment here, because OpenAPI has no other; the operator's
//! listener is no part of it.

pub mod entry;
pub mod failures;
pub mod headers;
mod page;
mod pages;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::info::{InfoBuilder, LicenseBuilder};
use utoipa::openapi::path::{PathItem, PathsBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, OpenApi, OpenApiBuilder};

use self::entry::Entry;
use self::failures::Failures;
use super::problem::{self, Problem};
use super::{upstash, v1};

const ALLOW: &str = "GET, HEAD, OPTIONS";
const BEARER: &str = "bearer";

/// The document as text, with a line feed at its end.
pub static TEXT: LazyLock<String> = LazyLock::new(|| {
    // By way of a value: its members are sorted, so that the same table makes the same text.
    let document = serde_json::to_value(document()).unwrap_or_default();
    format!("{document:#}\n")
});

const ABOUT: &str = "\
Shared state over HTTP that stays up when Redis does not.

**`/v1`** are designed resources: keys, counters, leases, limiters, presence, operations. Every failure is a problem document (RFC 9457) \
whose `code` is one of those listed with the operation, and whose `type` leads to a page about it on this server. Everything else is the \
**command dialect**, the wire protocol of the Upstash REST API, whose failures are `{\"error\": \"...\"}`.

`outcome` (and the header `Collective-Outcome`) is the word to act on: *not_executed* changed nothing and never will, so anyone may send it \
again; *unknown* may have happened, or may yet; *executed* is a definite answer after effects.

Names in paths are percent-encoded, slashes included. A path's other methods answer 405 (`method_not_allowed`) with `Allow`; a preflight \
of a page whose origin is not listed answers 403 (`origin_not_allowed`). Whole numbers have up to 64 bits: readers that count in floats must \
take care beyond 2^53.

Examples are executed against the service in the order of `x-order` by its tests.";

const TAGS: &[(&str, &str)] = &[
    ("keys", "One key is one plain Redis string: bytes in, bytes out, with a strong `ETag` and compare-and-set."),
    ("counters", "Exact 64-bit counters with bounds."),
    ("leases", "Who may work: leases with fencing tokens that only rise."),
    ("limiters", "Token buckets: a refusal is data, not an error."),
    ("presence", "How many are there. Members are anonymous and not kept."),
    ("operations", "What became of a request that had an Idempotency-Key."),
    ("commands", "The command dialect: any Redis command, as the Upstash SDKs send it."),
    ("about", "What needs no token: this document, the problems, whom to tell about a weakness."),
];

/// Mounts the document and its page.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(web::scope("/openapi.json").default_service(web::to(serve)));
    page::configure(app);
}

async fn serve(request: HttpRequest) -> Result<HttpResponse, Problem> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    if request.uri().path() != "/openapi.json" {
        return Err(page::nothing().at(&request));
    }
    match *request.method() {
        Method::GET | Method::HEAD => {
            Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).body(TEXT.as_str()))
        }
        _ => page::other_method(&request),
    }
}

/// Everything described, in the order it is told.
fn entries() -> Vec<Entry> {
    [v1::entries(), upstash::entries(), pages::entries()].concat()
}

fn document() -> OpenApi {
    let entries = entries();
    let mut failures = Failures::default();
    let mut paths: BTreeMap<&str, PathItem> = BTreeMap::new();
    for entry in &entries {
        let operation = entry.build(failures.of(entry));
        paths.entry(entry.path).or_default().merge_operations(PathItem::new(entry.method.clone(), operation));
    }
    let paths = paths.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));
    let tags = TAGS.iter().map(|(name, about)| TagBuilder::new().name(*name).description(Some(*about)).build());
    let general: Vec<&str> = failures::GENERAL.iter().chain(failures::ELSEWHERE).map(|code| code.row().code).collect();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("The Collective")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(ABOUT))
                .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
                .extensions(Some(ExtensionsBuilder::new().add("x-general-problems", general).build())),
        )
        .servers(Some([ServerBuilder::new().url("/").description(Some("Where this document came from")).build()]))
        .paths(paths)
        .tags(Some(tags))
        .components(Some(components(&entries, failures).build()))
        .security(Some([SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]))
        .build()
}

fn components(entries: &[Entry], failures: Failures) -> ComponentsBuilder {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token the operator gave out."));
    let schemas = entries.iter().flat_map(|entry| entry.schemas.iter().cloned());
    let components = ComponentsBuilder::new()
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()))
        .schemas_from_iter(problem::schemas())
        .schema_from::<upstash::CommandError>()
        .schemas_from_iter(schemas);
    failures.describe(headers::describe(components))
}

#[cfg(test)]
mod tests;
