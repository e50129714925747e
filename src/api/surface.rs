//! Which of the two surfaces a path belongs to, and refusals in its shape for what no handler says (D25).
//!
//! A caller branches on the shape of an error, so it may not depend on which layer refused: what the framework says itself, what
//! is refused before routing and what a handler refuses all look alike. Limits: heads that the HTTP parser cannot read never come
//! here; the acceptor answers them.

use actix_http::ConnectionType;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use super::problem::{Code, Problem};
use super::upstash::error::DialectError;
use super::{Settings, Shared, caller, cross_origin, path};
use crate::telemetry::metrics::HeadReason;

/// Longest path and query together. Three times a long key; more belongs in a body.
pub const URI_BYTES: usize = 8192;
/// What a field costs beyond its name and value: a colon, a space and the line's end.
const FIELD_OVERHEAD: usize = 4;
/// What the request line costs beyond method and URI: two spaces, the version and the line's end.
const LINE_OVERHEAD: usize = 12;

/// A kind of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Problem documents.
    Documents,
    /// The command dialect: `{"error"}`.
    Commands,
}

impl Surface {
    /// The surface of a raw path.
    pub fn of(path: &str) -> Self {
        let first = path.strip_prefix('/').unwrap_or_default().split('/').next().unwrap_or_default();
        let first = path::decode(first).unwrap_or_default();
        match first.as_ref() {
            b"v1" | b"docs" | b"openapi.json" | b"problems" | b".well-known" => Self::Documents,
            _ => Self::Commands,
        }
    }

    /// The refusal of `request` in this surface's shape.
    fn refuse(self, request: &HttpRequest, refusal: Refusal) -> HttpResponse {
        let mut response = match self {
            Self::Documents => match refusal.allow {
                Some(allow) => Problem::method(allow).at(request).error_response(),
                None => Problem::new(refusal.code, refusal.detail).at(request).error_response(),
            },
            Self::Commands => DialectError::of_code(refusal.code, &refusal.detail, refusal.allow).error_response(),
        };
        cross_origin::mark(request, response.headers_mut());
        response
    }
}

/// What is refused on every surface alike.
struct Refusal {
    code: Code,
    detail: String,
    allow: Option<&'static str>,
}

impl Refusal {
    fn new(code: Code, detail: String) -> Self {
        Self { code, detail, allow: None }
    }
}

/// Refuses what no route may see: a head over its bounds, or a method that is none for a server of resources. The answer is the
/// connection's last, as it is for a head that cannot be read: what such a caller sends next is not worth waiting for.
pub fn admit(request: &ServiceRequest, shared: &Shared) -> Result<(), HttpResponse> {
    let checked = check_uri(request)
        .and_then(|uri| check_head(request, uri, &shared.settings))
        .and_then(|()| check_method(request));
    checked.map_err(|refusal| {
        match refusal.code {
            Code::UriTooLong => shared.metrics.head_refused(HeadReason::UriTooLong),
            Code::HeadTooLarge => shared.metrics.head_refused(HeadReason::TooLarge),
            _ => {}
        }
        let mut response = Surface::of(request.uri().path()).refuse(request.request(), refusal);
        response.head_mut().set_connection_type(ConnectionType::Close);
        response
    })
}

/// The length of path and query, if they may be as long.
fn check_uri(request: &ServiceRequest) -> Result<usize, Refusal> {
    let length = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if length <= URI_BYTES {
        return Ok(length);
    }
    Err(Refusal::new(Code::UriTooLong, format!("path and query have {length} bytes, and may have {URI_BYTES}")))
}

fn check_head(request: &ServiceRequest, uri: usize, settings: &Settings) -> Result<(), Refusal> {
    let (mut fields, mut bytes) = (0, request.method().as_str().len() + uri + LINE_OVERHEAD);
    for (name, value) in request.headers() {
        fields += 1;
        bytes += name.as_str().len() + value.len() + FIELD_OVERHEAD;
    }
    let (most_fields, most_bytes) = (settings.head_fields, settings.head_bytes);
    let detail = if fields > most_fields {
        format!("the head has {fields} fields, and may have {most_fields}")
    } else if bytes > most_bytes {
        format!("the head has {bytes} bytes, and may have {most_bytes}")
    } else {
        return Ok(());
    };
    Err(Refusal::new(Code::HeadTooLarge, detail))
}

/// CONNECT asks for a tunnel and TRACE for an echo of the caller's own credentials; there is neither, on any path.
fn check_method(request: &ServiceRequest) -> Result<(), Refusal> {
    if !matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Ok(());
    }
    let allow = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
    Err(Refusal { code: Code::MethodNotAllowed, detail: format!("this service takes {allow}"), allow: Some(allow) })
}

/// An error in no surface's shape, said again in the right one. `None` if the answer is well as it is.
pub fn reshape<B: MessageBody>(response: &ServiceResponse<B>) -> Option<HttpResponse> {
    let (request, status) = (response.request(), response.status());
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(header::CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes())) {
        return None;
    }
    let surface = Surface::of(request.uri().path());
    if let Some((code, detail)) = cross_origin::refused(response) {
        return Some(surface.refuse(request, Refusal::new(code, detail.to_owned())));
    }
    let code = Code::ALL.iter().copied().find(|code| code.row().status == status.as_u16());
    let code = code.unwrap_or(if status.is_client_error() { Code::InvalidRequest } else { Code::Internal });
    let detail = status.canonical_reason().unwrap_or("refused").to_ascii_lowercase();
    Some(surface.refuse(request, Refusal::new(code, detail)))
}

fn is_json(media_type: &[u8]) -> bool {
    media_type.starts_with(b"application/json") || media_type.starts_with(b"application/problem+json")
}

/// Whoever is not known learns nothing about what there is.
pub async fn nothing_here(request: HttpRequest) -> Result<HttpResponse, Problem> {
    caller::known(&request).map_err(|reason| Problem::from(reason).at(&request))?;
    Err(Problem::new(Code::NotFound, "there is no such resource").at(&request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_one_surface_however_it_is_spelled() {
        for path in ["/v1", "/v1/keys/a", "/%76%31/keys/a", "/docs", "/openapi.json", "/problems/x", "/.well-known/x"] {
            assert_eq!(Surface::of(path), Surface::Documents, "{path}");
        }
        for path in ["/", "", "*", "/v1x", "/V1", "/pipeline", "//v1", "/%v1", "/get/v1"] {
            assert_eq!(Surface::of(path), Surface::Commands, "{path}");
        }
    }
}
