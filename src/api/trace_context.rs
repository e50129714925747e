//! W3C trace context: the caller's trace, into which our spans and the trace ids of our log lines belong, and ours on the way out.
//!
//! Only version `00` is understood and only exactly as <https://www.w3.org/TR/trace-context/> spells it (lower case, ids that are
//! not all zeros, one header); anything else means, as that text demands, a trace that starts anew. `tracestate` is read only
//! beside a valid `traceparent`, and only up to the length that must be handed on. What the caller says of sampling is a wish:
//! see `telemetry::traces`. An answer to a request that is recorded carries `traceresponse`, so that a caller without a trace of
//! his own can find it. Limits: nothing is handed on to Redis, which takes no trace headers.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::traces::{Parent, RequestSpan, SpanId, TraceId};

/// Where the caller says which trace his request belongs to.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems on the way wrote down for themselves.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Where we say in which trace a request was recorded.
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// `00-` trace id `-` parent id `-` flags: 2 + 32 + 16 + 2 digits and three hyphens.
const LENGTH: usize = 55;
/// Of the flags, the one that says that the caller records his span.
const SAMPLED: u8 = 1;
/// The longest `tracestate` that is handed on: what the recommendation asks for.
const STATE_LENGTH: usize = 512;

/// The caller's span, if the request came with a valid one.
pub fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut values = headers.get_all(&TRACEPARENT);
    let only = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let parent = parse(only.to_str().ok()?)?;
    Some(Parent { state: state(headers), ..parent })
}

/// Says in which trace the request was recorded.
pub fn respond(headers: &mut HeaderMap, span: &RequestSpan) {
    if let Ok(value) = HeaderValue::from_str(&format!("00-{}-{}-01", span.trace(), span.id())) {
        headers.insert(TRACERESPONSE, value);
    }
}

fn parse(traceparent: &str) -> Option<Parent> {
    if traceparent.len() != LENGTH {
        return None;
    }
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = parts.next().is_none()
        && version == "00"
        && (trace.len(), span.len(), flags.len()) == (32, 16, 2)
        && [trace, span, flags].into_iter().flat_map(str::bytes).all(is_digit);
    if !well_formed {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0;
    let trace = TraceId::new(u128::from_str_radix(trace, 16).ok()?)?;
    Some(Parent { trace, span: SpanId::new(u64::from_str_radix(span, 16).ok()?)?, sampled, state: None })
}

/// All `tracestate` fields as one list, as the recommendation asks; nothing if there is more than must be handed on.
fn state(headers: &HeaderMap) -> Option<std::sync::Arc<str>> {
    let mut list = String::new();
    for value in headers.get_all(&TRACESTATE) {
        let text = value.to_str().ok()?;
        if list.len() + text.len() >= STATE_LENGTH {
            return None;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(text);
    }
    (!list.is_empty()).then(|| list.into())
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the recommendation.
    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_gives_trace_span_and_flag() {
        let parent = parse(VALID).expect("the example is valid");
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span.to_string().as_str(), parent.sampled), ("00f067aa0ba902b7", true));
        for (flags, sampled) in [("00", false), ("ff", true), ("02", false), ("03", true)] {
            let parent = parse(&VALID.replace("-01", &format!("-{flags}"))).expect("any flags are valid");
            assert_eq!(parent.sampled, sampled, "{flags}");
        }
    }

    #[test]
    fn anything_else_starts_anew() {
        for invalid in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn two_headers_are_as_good_as_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(parent(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(parent(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert_eq!(parent(&headers), None);
    }

    #[test]
    fn a_tracestate_counts_only_beside_its_traceparent_and_is_bounded() {
        let mut headers = HeaderMap::new();
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(parent(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        let state = |headers: &HeaderMap| parent(headers).and_then(|parent| parent.state);
        assert_eq!(state(&headers).as_deref(), Some("a=1,b=2"));
        let long = HeaderValue::from_str(&format!("c={}", "x".repeat(STATE_LENGTH))).expect("a long header");
        headers.append(TRACESTATE, long);
        assert_eq!(state(&headers), None);
    }
}
