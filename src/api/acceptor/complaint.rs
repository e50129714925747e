//! The answers given where no request was understood: no place, or a head that cannot be read.
//!
//! Nobody knows which of the two surfaces the caller meant (a head that could be read is refused in its surface's own shape, by
//! `surface.rs`), so the document is a problem document (RFC 9457) that also has
//! the member `error` which SDKs of the command dialect read. It carries the same headers as every other answer. Limits: it
//! always ends its connection.

use std::time::{Duration, UNIX_EPOCH};

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue, HttpDate};
use serde::Serialize;

use crate::api::cross_origin;
use crate::api::envelope::{self, OUTCOME, REQUEST_ID};
use crate::api::problem::{Again, Code, Row};
use crate::redis::Outcome;
use crate::telemetry::clock;
use crate::telemetry::metrics::HeadReason;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// No place for the connection.
    TooManyConnections,
    /// Not HTTP, or framed in a way that two readers could understand differently.
    Malformed,
    /// The head did not arrive in time.
    HeadOverdue,
    /// More bytes or fields than a head may have.
    HeadTooLarge,
    /// The request line alone is larger than a head may be.
    UriTooLong,
    /// Our mistake.
    Internal,
}

impl From<Complaint> for HeadReason {
    fn from(complaint: Complaint) -> Self {
        match complaint {
            Complaint::Malformed => Self::Malformed,
            Complaint::HeadOverdue => Self::Overdue,
            Complaint::HeadTooLarge => Self::TooLarge,
            Complaint::UriTooLong => Self::UriTooLong,
            Complaint::TooManyConnections | Complaint::Internal => Self::Other,
        }
    }
}

/// The document: a problem that also reads as an error of the command dialect.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    retryable: bool,
    error: String,
}

impl Complaint {
    /// The whole answer as bytes, for a connection that ends with it; pages of `allow_origin` may read it.
    pub(super) fn on_the_wire(self, allow_origin: Option<&HeaderValue>) -> Vec<u8> {
        let id = envelope::own_id();
        let id_text = id.to_str().unwrap_or_default();
        let body = self.document(id_text);
        let status = self.status();
        let mut out = Vec::with_capacity(1024);
        let line = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
        out.extend_from_slice(line.as_bytes());
        let date = HttpDate::from(UNIX_EPOCH + Duration::from_millis(clock::wall_millis())).to_string();
        let length = body.len().to_string();
        let framing = [("content-length", length.as_str()), ("connection", "close"), ("date", &date)];
        framing.into_iter().for_each(|(name, value)| put(&mut out, name, value.as_bytes()));
        put(&mut out, REQUEST_ID.as_str(), id_text.as_bytes());
        let cors =
            allow_origin.map(|origin| [(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()), cross_origin::exposed()]);
        let headers =
            self.own_headers().into_iter().chain(envelope::STANDARD_HEADERS).chain(cors.into_iter().flatten());
        headers.for_each(|(name, value)| put(&mut out, name.as_str(), value.as_bytes()));
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
        out
    }

    fn code(self) -> Code {
        match self {
            Self::TooManyConnections => Code::TooManyConnections,
            Self::Malformed => Code::MalformedRequest,
            Self::HeadOverdue => Code::RequestTimeout,
            Self::HeadTooLarge => Code::HeadTooLarge,
            Self::UriTooLong => Code::UriTooLong,
            Self::Internal => Code::Internal,
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::TooManyConnections => "as many connections are open as may be, in all or from this address",
            Self::Malformed => {
                "the request is not HTTP/1.1 as RFC 9112 has it: its request line, a field or its framing"
            }
            Self::HeadOverdue => "the request line and the header fields did not arrive in time",
            Self::HeadTooLarge => "the header fields are more, or larger, than this service takes",
            Self::UriTooLong => "the request line is larger than a whole request head may be",
            Self::Internal => "the connection came into a state it must not have",
        }
    }

    fn status(self) -> StatusCode {
        StatusCode::from_u16(self.code().row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether the status asks for the word.
    fn outcome(self) -> Option<&'static str> {
        self.status().is_server_error().then_some(Outcome::NotExecuted.as_str())
    }

    fn own_headers(self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        headers.extend(self.outcome().map(|word| (OUTCOME, HeaderValue::from_static(word))));
        if self == Self::TooManyConnections {
            // Jittered, so that everyone turned away now does not come back together.
            headers.push((header::RETRY_AFTER, HeaderValue::from(fastrand::u16(1..=3))));
        }
        headers
    }

    fn document(self, request_id: &str) -> Vec<u8> {
        let Row { code, status, title, again, .. } = self.code().row();
        let document = Document {
            r#type: format!("/problems/{code}"),
            title,
            status,
            detail: self.detail(),
            instance: "",
            code,
            request_id,
            outcome: self.outcome(),
            retryable: again == Again::Safely,
            error: format!("ERR {}", self.detail()),
        };
        // Plain strings and numbers always serialise.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
