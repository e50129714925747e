//! Header sets: a short one on every answer, the full one on HTML.
//!
//! Nothing here may be stored (the state of a minute ago is a lie) or sniffed. Documents for machines may load
//! nothing at all; the page may load its own style sheet and its icon, listen to this listener's events, and run the one
//! script that it was built with, known by its hash. That script may not make markup out of text (trusted types: none).

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::DefaultHeaders;

/// Features of a browser that a page could ask for and this one never does.
const NO_FEATURES: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
                           magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

/// What the page carries beyond the short set, without its policy.
pub(super) const HTML: [(&str, &str); 6] = [
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", NO_FEATURES),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// What the page carries beyond the short set; `script` is the source expression of its script.
pub(super) fn html(script: &str) -> impl Iterator<Item = (&'static str, String)> {
    let policy = format!(
        "default-src 'none'; script-src '{script}'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let others = HTML.into_iter().map(|(name, value)| (name, value.to_owned()));
    std::iter::once((CONTENT_SECURITY_POLICY.as_str(), policy)).chain(others)
}

/// The short set, added to every answer that does not set these itself.
pub(super) fn every_answer() -> DefaultHeaders {
    const PAIRS: [(HeaderName, &str); 3] = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    PAIRS.into_iter().fold(DefaultHeaders::new(), |headers, pair| headers.add(pair))
}
