//! What every request and every answer has: an id, a start time, the standard headers, a place in the metrics.
//!
//! One small middleware instead of a stack of five: at this size each layer's boxed future would be felt. Headers are static
//! values, the id is made from a per-thread counter. A head that was understood but is larger than allowed is refused here, before
//! anything looks at it. Limits: what the parser refuses does not pass here: the acceptor answers it, with the same headers.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_http::ConnectionType;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};

use super::acceptor::complaint::Complaint;
use super::acceptor::conversation::{Conversation, Turn};
use super::upstash::path as dialect;
use super::{Worker, report};
use crate::resilience::Moment;
use crate::telemetry::clock;
use crate::telemetry::metrics::{Method, Route};

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
        request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self { id: own_id(), at: clock::now() })
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
    request.extensions_mut().insert(Arrival { id: id.clone(), at });
    let route = route(request.uri().path());
    let method = Method::of(request.method().as_str());
    let worker = request.app_data::<web::Data<Worker>>().cloned();
    let mut response = match worker.as_ref().and_then(|worker| objection(&request, worker)) {
        Some(complaint) => {
            if let Some(worker) = &worker {
                worker.shared.metrics.head_refused(complaint.into());
            }
            let answer = complaint.answer(id.to_str().unwrap_or_default(), request.uri().path());
            request.into_response(answer).map_into_right_body()
        }
        None => next.call(request).await?.map_into_left_body(),
    };
    dress(response.headers_mut(), id);
    // What is left of a body stands where the next head should: such a connection has no future.
    if conversation.is_some_and(|conversation| conversation.is_closing() || conversation.has_body_left()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    drop(turn);
    if let Some(worker) = worker {
        let elapsed: Duration = clock::now().saturating_since(at);
        worker.shared.metrics.http.observe(route, method, response.status().as_u16(), elapsed);
        if response.status().is_server_error() || tracing::enabled!(tracing::Level::DEBUG) {
            report::answered(&response, &worker.shared, report::Request { route, method, elapsed });
        }
    }
    Ok(response)
}

/// The headers every answer carries (D29), the request id aside.
pub const STANDARD_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

fn dress(headers: &mut header::HeaderMap, id: HeaderValue) {
    for (name, value) in STANDARD_HEADERS {
        headers.insert(name, value);
    }
    headers.insert(REQUEST_ID, id);
}

fn begin(conversation: &Rc<Conversation>, request: &mut ServiceRequest) -> Turn {
    conversation.begin(!matches!(request.parts_mut().1, Payload::None))
}

/// What the acceptor lets pass because the parser does: heads between our limits and the parser's.
fn objection(request: &ServiceRequest, worker: &Worker) -> Option<Complaint> {
    /// Colon, space and line end of a field.
    const PUNCTUATION: usize = 4;
    let settings = &worker.shared.settings;
    let line = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if line > settings.head_bytes {
        return Some(Complaint::UriTooLong);
    }
    let fields = request.headers().iter();
    let (count, bytes) = fields.fold((0, line), |(count, bytes), (name, value)| {
        (count + 1, bytes + name.as_str().len() + value.len() + PUNCTUATION)
    });
    let too_large = count > settings.head_fields || bytes > settings.head_bytes;
    too_large.then_some(Complaint::HeadTooLarge)
}

/// The route's template for metrics, from the path alone.
fn route(path: &str) -> Route {
    match path {
        "/v1/keys" => Route::Keys,
        _ if path.starts_with("/v1/keys/") => Route::Key,
        _ if path.starts_with("/v1/counters/") && path.ends_with("/increment") => Route::CounterIncrement,
        _ if path.starts_with("/v1/counters/") => Route::Counter,
        _ if path.starts_with("/v1/") => Route::Unmatched,
        // The dialect tells its own apart, forgiving the slashes and the case of careless SDKs.
        _ => match dialect::route(path) {
            dialect::Route::Root => Route::CommandBody,
            dialect::Route::Pipeline => Route::Pipeline,
            dialect::Route::MultiExec => Route::MultiExec,
            dialect::Route::Subscribe(_) => Route::Subscribe,
            dialect::Route::PatternSubscribe(_) => Route::PatternSubscribe,
            dialect::Route::Monitor | dialect::Route::Command(_) => Route::CommandPath,
        },
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
