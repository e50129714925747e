//! The names of traces and spans, as W3C trace context and OTLP have them: 16 and 8 bytes, never all zeros.
//!
//! Ids of our own are random, not secret: they are made per thread without a system call. Limits: only what this room and the
//! reader of `traceparent` need.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

/// A trace: everything that happened for one call of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

/// One span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(NonZeroU64);

/// The span of the caller, in whose trace ours belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// His trace.
    pub trace: TraceId,
    /// His span.
    pub span: SpanId,
    /// Whether he says that he records it.
    pub sampled: bool,
    /// What tracing systems before us wrote into `tracestate`.
    pub state: Option<Arc<str>>,
}

impl TraceId {
    /// The id of these bits; none if all are zero.
    pub fn new(bits: u128) -> Option<Self> {
        NonZeroU128::new(bits).map(Self)
    }

    /// A new one.
    pub(super) fn random() -> Self {
        Self(NonZeroU128::new(fastrand::u128(..)).unwrap_or(NonZeroU128::MIN))
    }

    pub(super) fn bits(self) -> u128 {
        self.0.get()
    }
}

impl SpanId {
    /// The id of these bits; none if all are zero.
    pub fn new(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// A new one.
    pub(super) fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(..)).unwrap_or(NonZeroU64::MIN))
    }

    pub(super) fn bits(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_full_and_zero_is_none() {
        assert_eq!(TraceId::new(10).map(|id| id.to_string()), Some("0000000000000000000000000000000a".to_owned()));
        assert_eq!(SpanId::new(255).map(|id| id.to_string()), Some("00000000000000ff".to_owned()));
        assert_eq!((TraceId::new(0), SpanId::new(0)), (None, None));
        assert_ne!(TraceId::random(), TraceId::random());
    }
}
