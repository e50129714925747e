//! What every request and every answer has: an id, a start time, the standard headers, a place in the metrics.
//!
//! One small middleware instead of a stack of five: at this size each layer's boxed future would be felt. Headers are static
//! values, the id is made from a per-thread counter. What no route may see is refused here (`surface.rs`), before anything looks
//! at it. Limits: what the parser refuses does not pass here: the acceptor answers it, with the same headers; and of requests sent
//! without waiting (pipelining), one that a HEAD follows closely may lose its body to it.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BodyStream, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, web};

use futures_util::stream;

use super::acceptor::conversation::{Conversation, Turn, while_there};
use super::surface::{self, Surface};
use super::upstash::path as dialect;
use super::{Worker, report, trace_context};
use crate::redis::Outcome;
use crate::resilience::Moment;
use crate::telemetry::clock;
use crate::telemetry::metrics::{Method, Route};
use crate::telemetry::traces::{Answered, RequestSpan, TraceId};

/// The request id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Whether a call that did not succeed took effect.
pub const OUTCOME: HeaderName = HeaderName::from_static("collective-outcome");
/// Longest id taken over from a caller.
const ID_LENGTH: usize = 64;

/// Known of a request before anything else.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The caller's id if it was well formed, else ours.
    pub id: HeaderValue,
    /// When the head was read.
    pub at: Moment,
}

impl Arrival {
    /// The arrival of `request`; a request that did not pass the envelope arrives now.
    pub fn of(request: &HttpRequest) -> Self {
        // Requests of one connection are served one after the other, so the conversation's is this one's.
        let known = request.conn_data::<Rc<Conversation>>().and_then(|conversation| conversation.arrival());
        known.unwrap_or_else(|| Self { id: own_id(), at: clock::now() })
    }

    /// The id as text.
    pub fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

/// The middleware.
pub async fn wrap(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody + 'static>>, Error> {
    let at = clock::now();
    let conversation = request.conn_data::<Rc<Conversation>>().cloned();
    let turn = conversation.as_ref().map(|conversation| begin(conversation, &mut request));
    let id = request.headers().get(&REQUEST_ID).filter(|id| well_formed(id.as_bytes())).cloned().unwrap_or_else(own_id);
    if let Some(conversation) = &conversation {
        conversation.arrived(Arrival { id: id.clone(), at });
    }
    let route = route(request.uri().path());
    let method = Method::of(request.method().as_str());
    let worker = request.app_data::<web::Data<Worker>>().cloned();
    let span = worker.as_ref().and_then(|worker| {
        let parent = || trace_context::parent(request.headers());
        worker.shared.traces.as_ref().and_then(|traces| traces.begin(parent(), method, route, at))
    });
    let refused = worker.as_ref().map_or(Ok(()), |worker| surface::admit(&request, &worker.shared));
    let mut response = match refused {
        Ok(()) => shaped(within(span.as_ref(), while_there(conversation.as_deref(), next.call(request))).await?),
        Err(refusal) => request.into_response(refusal).map_into_right_body(),
    };
    if method == Method::Head {
        response = without_body(response);
    }
    dress(response.headers_mut(), id);
    // What is left of a body stands where the next head should: such a connection has no future.
    if conversation.is_some_and(|conversation| conversation.is_closing() || conversation.has_body_left()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    drop(turn);
    let trace = span.map(|span| close(span, &mut response));
    if let Some(worker) = worker {
        let elapsed: Duration = clock::now().saturating_since(at);
        worker.shared.metrics.http.observe(route, method, response.status().as_u16(), elapsed);
        if response.status().is_server_error() || tracing::enabled!(tracing::Level::DEBUG) {
            report::answered(&response, &worker.shared, report::Request { route, method, elapsed, trace });
        }
    }
    Ok(response)
}

/// Does the work, in the name of the request's span if it is recorded.
async fn within<F: Future>(span: Option<&RequestSpan>, work: F) -> F::Output {
    match span {
        None => work.await,
        Some(span) => span.around(work).await,
    }
}

/// Ends the request's span; the answer says where to find it.
#[cold]
fn close<B>(span: RequestSpan, response: &mut ServiceResponse<B>) -> TraceId {
    let (trace, status) = (span.trace(), response.status());
    trace_context::respond(response.headers_mut(), &span);
    let failed = report::failed(response);
    let code = failed.map_or("internal", |failed| failed.code.row().code);
    let outcome = failed.and_then(|failed| failed.outcome).map(Outcome::as_str);
    span.finish(Answered { status: status.as_u16(), error: status.is_server_error().then_some(code), outcome });
    trace
}

/// The answer, or if it is an error in nobody's shape the same in its surface's.
fn shaped<B: MessageBody>(response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B>> {
    match surface::reshape(&response) {
        None => response.map_into_left_body(),
        Some(other) => ServiceResponse::new(response.into_parts().0, other.map_into_right_body()),
    }
}

/// The answer to a HEAD: the length of the body, and no body.
///
/// The framework drops the body by what it knows of the request it *read* last, so a HEAD with another request close behind it
/// would bring one, and the caller would read it as the next answer. A stream without chunks is left alone by it.
fn without_body<B: MessageBody + 'static>(response: ServiceResponse<EitherBody<B>>) -> ServiceResponse<EitherBody<B>> {
    let empty = || BodyStream::new(stream::empty::<Result<web::Bytes, Infallible>>());
    response.map_body(|head, body| match body.size() {
        BodySize::Sized(length) if head.status != StatusCode::NO_CONTENT => {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            head.no_chunking(true);
            EitherBody::right(BoxBody::new(empty()))
        }
        _ => body,
    })
}

/// The headers every answer carries (D29), the request id aside.
pub const STANDARD_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

/// A page brings its own policy and may be kept where it says so: what is there stays.
fn dress(headers: &mut header::HeaderMap, id: HeaderValue) {
    for (name, value) in STANDARD_HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
    headers.insert(REQUEST_ID, id);
}

fn begin(conversation: &Rc<Conversation>, request: &mut ServiceRequest) -> Turn {
    conversation.begin(!matches!(request.parts_mut().1, Payload::None))
}

/// The route's template for metrics, from the path alone.
fn route(path: &str) -> Route {
    if let Some(below) = path.strip_prefix("/v1/") {
        return resource(below);
    }
    if Surface::of(path) == Surface::Documents {
        return Route::Unmatched;
    }
    // The dialect tells its own apart, forgiving the slashes and the case of careless SDKs.
    match dialect::route(path) {
        dialect::Route::Root => Route::CommandBody,
        dialect::Route::Pipeline => Route::Pipeline,
        dialect::Route::MultiExec => Route::MultiExec,
        dialect::Route::Subscribe(_) => Route::Subscribe,
        dialect::Route::PatternSubscribe(_) => Route::PatternSubscribe,
        dialect::Route::Monitor | dialect::Route::Command(_) => Route::CommandPath,
    }
}

/// The template of what is below `/v1/`: the resource, and the verb that a path ends with.
fn resource(below: &str) -> Route {
    let Some((resource, name)) = below.split_once('/') else {
        return if below == "keys" { Route::Keys } else { Route::Unmatched };
    };
    match resource {
        "keys" => Route::Key,
        "counters" if name.ends_with("/increment") => Route::CounterIncrement,
        "counters" => Route::Counter,
        "limiters" if name.ends_with("/take") => Route::LimiterTake,
        "limiters" => Route::Limiter,
        "operations" => Route::Operation,
        "leases" if name.ends_with("/renew") => Route::LeaseRenewal,
        "leases" => Route::Lease,
        "presence" if name.contains('/') => Route::PresenceMember,
        "presence" => Route::Presence,
        _ => Route::Unmatched,
    }
}

fn well_formed(id: &[u8]) -> bool {
    (1..=ID_LENGTH).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// A new id: 16 random digits of this thread and 8 that count.
pub fn own_id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    thread_local! {
        static THREAD: u64 = fastrand::u64(..);
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }
    let count = COUNT.get().wrapping_add(1);
    COUNT.set(count);
    let thread = THREAD.with(|thread| *thread);
    let digit = |word: u64, place: u32| HEX[(word >> (4 * place) & 15) as usize];
    let mut text = [b'-'; 25];
    for place in 0..16 {
        text[15 - place as usize] = digit(thread, place);
    }
    for place in 0..8 {
        text[24 - place as usize] = digit(u64::from(count), place);
    }
    // Hexadecimal digits and a hyphen are always a valid header value.
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let (first, second) = (own_id(), own_id());
        assert_ne!(first, second);
        assert!(well_formed(first.as_bytes()), "{first:?}");
        for bad in [&b""[..], b"a b", b"a\"b", &[b'a'; 65]] {
            assert!(!well_formed(bad));
        }
    }
}
