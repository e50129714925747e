//! Header sets: a short one on every answer, the full one on HTML.
//!
//! Nothing here may be stored (the state of a minute ago is a lie) or sniffed. Documents for machines may load
//! nothing at all; the page may load its own style sheet and its icon, and run no script.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::DefaultHeaders;

/// Policy of the page: no script, no frame, no form; its style sheet, and its icon from a `data:` address.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

/// Features of a browser that a page could ask for and this one never does.
const NO_FEATURES: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
                           magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

/// What the page carries beyond the short set.
pub(super) const HTML: [(&str, &str); 7] = [
    ("content-security-policy", PAGE_POLICY),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", NO_FEATURES),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// The short set, added to every answer that does not set these itself.
pub(super) fn every_answer() -> DefaultHeaders {
    const PAIRS: [(HeaderName, &str); 3] = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    PAIRS.into_iter().fold(DefaultHeaders::new(), |headers, pair| headers.add(pair))
}
