//! Requests as bytes, answers as they came, and what every refusal must look like.
//!
//! A client library would correct or refuse most of what is sent here. Limits: one request a connection, which asks the server to
//! close it, so that the end of an answer is the end of the stream.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::raw_http;

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The status; 0 if nothing came that looks like HTTP.
    pub status: u16,
    /// The fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// All that followed the head.
    pub body: Vec<u8>,
}

impl Heard {
    /// The first answer in `bytes`, and everything after its head as its body.
    pub fn parse(bytes: &[u8]) -> Heard {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.strip_prefix("HTTP/1.1 ").or(head.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let fields = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Heard { status, fields, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
    }

    /// A field's value; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer to a head that nobody could read, for whichever surface was meant: a problem with the dialect's member in it.
    pub fn is_for_both_surfaces(&self) -> bool {
        let json = self.json();
        let unread = ["malformed_request", "request_timeout", "head_too_large", "uri_too_long"];
        self.field("content-type") == "application/problem+json"
            && json["error"].is_string()
            && json["code"].as_str().is_some_and(|code| unread.contains(&code))
            && json["status"] == self.status
    }

    /// What is wrong with this answer to whatever was asked at `target`, if anything: no answer, a 5xx, an error in the wrong
    /// shape, a standard header missing.
    pub fn fault(&self, target: &str) -> Option<String> {
        if !(200..500).contains(&self.status) {
            return Some(format!("status {}", self.status));
        }
        if self.status < 400 {
            return None;
        }
        let json = self.json();
        let documents = ["v1", "docs", "openapi.json", "problems", ".well-known"];
        let first = target.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
        let shaped = if target.starts_with('/') && !target.starts_with("//") && documents.contains(&first) {
            let code = json["code"].as_str().unwrap_or_default();
            self.field("content-type") == "application/problem+json"
                && json["type"] == format!("/problems/{code}")
                && json["status"] == self.status
                && json["request_id"] == self.field("x-request-id")
                && ["title", "detail", "instance"].iter().all(|member| json[member].is_string())
        } else {
            let members = json.as_object().map_or(0, serde_json::Map::len);
            self.field("content-type") == "application/json" && json["error"].is_string() && members == 1
        };
        let dressed = self.field("cache-control") == "no-store"
            && self.field("x-content-type-options") == "nosniff"
            && self.field("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
            && !self.field("x-request-id").is_empty();
        let allowed = self.status != 405 || !self.field("allow").is_empty();
        (!shaped || !dressed || !allowed).then(|| format!("shape {shaped}, headers {dressed}, Allow {allowed}"))
    }
}

/// A request with token and `Connection: close`, each line of `fields` ended by `\r\n`.
pub fn request(line: impl AsRef<[u8]>, fields: &str, body: &[u8]) -> Vec<u8> {
    stranger(line, &format!("Authorization: Bearer {ROOT_TOKEN}\r\n{fields}"), body)
}

/// As [`request`], without a token.
pub fn stranger(line: impl AsRef<[u8]>, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    [line.as_ref(), head.as_bytes(), body].concat()
}

/// A request with a body of known length.
pub fn with_body(line: &str, body: &[u8]) -> Vec<u8> {
    request(line, &format!("Content-Length: {}\r\n", body.len()), body)
}

/// Sends `bytes` whole, as a plain client does, then reads the answer.
pub async fn hear(address: SocketAddr, bytes: &[u8]) -> Heard {
    Heard::parse(&raw_http(address, bytes).await.unwrap_or_default())
}

/// The target of a request line as text.
pub fn target_of(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    String::from_utf8_lossy(target).into_owned()
}

/// Asserts that the answer to `bytes` has `status` and is well formed.
#[track_caller]
pub fn assert_clear(heard: &Heard, bytes: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    assert_eq!(heard.status, status, "{shown}\n{}", heard.text());
    assert_eq!(heard.fault(&target_of(bytes)), None, "{shown}\n{heard:?}");
}
