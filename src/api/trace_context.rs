//! W3C trace context: the caller's trace id, so that our log lines can be found from his trace.
//!
//! Read only when a line is written, never on the way to a success. Only version `00` is understood and only exactly as
//! <https://www.w3.org/TR/trace-context/> spells it (lower case, ids that are not all zeros, one header); anything else means,
//! as that text demands, a trace that starts anew, which here is no trace id at all. Limits: no spans are made and nothing is
//! passed on, since Redis takes no trace headers; `tracestate` and the sampling flag are not read.

use actix_web::http::header::{HeaderMap, HeaderName};

/// Where the caller says which trace his request belongs to.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `00-` trace id `-` parent id `-` flags: 2 + 32 + 16 + 2 digits and three hyphens.
const LENGTH: usize = 55;

/// The trace id of a request, 32 lower-case hexadecimal digits, if it came with a valid one.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(&TRACEPARENT);
    let only = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse(only.to_str().ok()?)
}

fn parse(traceparent: &str) -> Option<&str> {
    if traceparent.len() != LENGTH {
        return None;
    }
    let mut parts = traceparent.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = parts.next().is_none()
        && version == "00"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && flags.len() == 2
        && flags.bytes().all(is_digit);
    well_formed.then_some(trace)
}

fn is_id(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(is_digit) && text.bytes().any(|digit| digit != b'0')
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    /// The example of the recommendation.
    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_gives_its_trace_id() {
        assert_eq!(parse(VALID), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff").is_some());
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
        assert_eq!(trace_id(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(trace_id(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert_eq!(trace_id(&headers), None);
    }
}
