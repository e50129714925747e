//! Cross-origin use by browsers (CORS): which pages of other origins may read our answers (D25).
//!
//! Off unless `cors.allowed_origins` names somebody; then the middleware of actix-cors stands inside the envelope, so that also
//! what it answers itself (preflights, before anybody's credential is asked for) has an id, the standard headers and a place in
//! the metrics. Never with credentials of the browser's own: a page presents the token it was given, and a cookie means nothing
//! here. An unknown origin is served all the same, without the header: CORS is the browser's rule about who may read, and a
//! token is what decides here who may act. Limits: where no head was read, the acceptor knows no origin, so its refusals can be
//! read across origins only if there is one answer for all of them ([`Policy::for_everyone`]).

use std::time::Duration;

use actix_cors::{Cors, CorsError};
use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Condition;
use actix_web::{HttpRequest, web};

use super::Worker;
use super::problem::Code;

/// What a page may ask with: the methods of both surfaces.
const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];

/// What a page may send: the headers of the published SDKs, our own, and those of W3C trace context.
const REQUEST_HEADERS: [&str; 23] = [
    "accept",
    "authorization",
    "cache-control",
    "collective-fence",
    "collective-retry",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "pragma",
    "traceparent",
    "tracestate",
    "upstash-encoding",
    "upstash-response-format",
    "upstash-sync-token",
    "upstash-telemetry-platform",
    "upstash-telemetry-retry",
    "upstash-telemetry-runtime",
    "upstash-telemetry-sdk",
    "x-request-id",
    "x-request-timeout-ms",
];

/// What a page may read beyond what browsers always show.
const RESPONSE_HEADERS: &str = "Age, Allow, Cache-Status, Collective-Outcome, Collective-TTL-Ms, ETag, Idempotency-Replayed, \
                                Location, RateLimit, RateLimit-Policy, Retry-After, Upstash-Sync-Token, WWW-Authenticate, \
                                X-Request-Id, traceresponse";

/// Who may read our answers from a page of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every page there is. Whoever has a token may use it from anywhere.
    Any,
    /// These, byte for byte as a browser writes them.
    Listed(Vec<HeaderValue>),
}

/// Cross-origin use, once it is switched on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whose pages.
    pub origins: Origins,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
}

impl Policy {
    /// What `Access-Control-Allow-Origin` says to a request from `origin`.
    fn allows(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let origin = origin?;
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(list) => list.iter().find(|listed| *listed == origin).cloned(),
        }
    }

    /// The headers of an answer that is the same for every origin, if there is one.
    pub fn for_everyone(&self) -> Option<HeaderValue> {
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(list) if list.len() == 1 => list.first().cloned(),
            Origins::Listed(_) => None,
        }
    }

    fn middleware(&self) -> Cors {
        let cors = Cors::default()
            .allowed_methods(METHODS)
            .allowed_headers(REQUEST_HEADERS)
            .expose_headers(RESPONSE_HEADERS.split(", "))
            .max_age(usize::try_from(self.max_age.as_secs()).unwrap_or(usize::MAX));
        match &self.origins {
            Origins::Any => cors.allow_any_origin().send_wildcard(),
            Origins::Listed(list) => {
                list.iter().filter_map(|origin| origin.to_str().ok()).fold(cors, Cors::allowed_origin)
            }
        }
    }
}

/// The middleware, which is not there at all while cross-origin use is off.
pub fn middleware(policy: Option<&Policy>) -> Condition<Cors> {
    Condition::new(policy.is_some(), policy.map(Policy::middleware).unwrap_or_default())
}

/// The header with the names that a page may read.
pub fn exposed() -> (HeaderName, HeaderValue) {
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS))
}

/// Lets a page read a refusal that did not pass the middleware.
pub fn mark(request: &HttpRequest, headers: &mut HeaderMap) {
    let worker = request.app_data::<web::Data<Worker>>();
    let Some(policy) = worker.and_then(|worker| worker.shared.settings.cross_origin.as_ref()) else { return };
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(allowed) = policy.allows(request.headers().get(header::ORIGIN)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        let (name, value) = exposed();
        headers.insert(name, value);
    }
}

/// What to say of a preflight that the middleware refused; `None` if this is no such answer.
pub fn refused<B: MessageBody>(response: &ServiceResponse<B>) -> Option<(Code, &'static str)> {
    Some(match response.response().error()?.as_error::<CorsError>()? {
        CorsError::OriginNotAllowed => {
            (Code::OriginNotAllowed, "this origin is not among those of cors.allowed_origins")
        }
        CorsError::MissingOrigin => {
            (Code::InvalidRequest, "a preflight names its page in Origin, and this one does not")
        }
        CorsError::MethodNotAllowed => {
            (Code::InvalidRequest, "Access-Control-Request-Method must be GET, HEAD, POST, PUT or DELETE")
        }
        CorsError::HeadersNotAllowed => {
            (Code::InvalidRequest, "Access-Control-Request-Headers names a header that no call of this service takes")
        }
        _ => (Code::InvalidRequest, "the preflight's own headers cannot be read"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(origins: &[&'static str]) -> Policy {
        let origins = origins.iter().map(|origin| HeaderValue::from_static(origin)).collect();
        Policy { origins: Origins::Listed(origins), max_age: Duration::from_secs(60) }
    }

    #[test]
    fn an_origin_is_allowed_byte_for_byte_or_not_at_all() {
        let policy = listed(&["https://app.example", "http://localhost:3000"]);
        let asks = |origin: &'static str| policy.allows(Some(&HeaderValue::from_static(origin)));
        assert_eq!(asks("https://app.example"), Some(HeaderValue::from_static("https://app.example")));
        for stranger in [
            "https://app.example.evil",
            "https://evil-app.example",
            "https://sub.app.example",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.",
            "https://app.example/",
            "HTTPS://app.example",
            "null",
            "*",
            "",
        ] {
            assert_eq!(asks(stranger), None, "{stranger}");
        }
        assert_eq!(policy.allows(None), None);
    }

    #[test]
    fn an_answer_for_everyone_exists_for_one_origin_or_for_all() {
        assert_eq!(listed(&["https://a.example"]).for_everyone(), Some(HeaderValue::from_static("https://a.example")));
        assert_eq!(listed(&["https://a.example", "https://b.example"]).for_everyone(), None);
        let any = Policy { origins: Origins::Any, max_age: Duration::ZERO };
        assert_eq!(any.for_everyone(), Some(HeaderValue::from_static("*")));
    }
}
