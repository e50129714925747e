//! The state at a glance, for people: one page, rendered on the server, kept true by events where scripts run.
//!
//! Without a script it is a snapshot, complete and true for the moment it was asked for. With one, the same values come
//! again over `/events` and go into the same places: an element names its values in `data-live`, so there is one
//! rendering, here, and the script knows nothing about breakers. It makes no elements and parses no markup.
//!
//! The page loads nothing but its style sheet from this listener; its one inline script is allowed by its hash. A state
//! is always a word, a shape and a colour together. Every value is escaped on its way in ([`fill`] has no other way for text).
//!
//! - `values`: what is shown, by name; `words`: how numbers and states are said; `chart`: curves; `template`: places
//!
//! Limit: breakers and limits have their places when the page is made; a page that does not fit any more loads itself anew.

mod chart;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod words;

use std::sync::LazyLock;

use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::headers;
use super::live::Live;
use super::status::StatusDocument;
use template::{Value, fill};
pub(super) use values::Values;

const PAGE: &str = include_str!("page/page.html");
const STRIP: &str = include_str!("page/strip.html");
const BREAKER: &str = include_str!("page/breaker.html");
const ENTRY: &str = include_str!("page/entry.html");
const LIMIT: &str = include_str!("page/limit.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The style sheet's path holds a hash of its content, so that a new build can never wear an old dress.
static STYLE_PATH: LazyLock<String> = LazyLock::new(|| format!("/assets/page-{}.css", fingerprint(&[STYLE])));

/// The policy's source expression for the one script.
static SCRIPT_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("sha256-{}", STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()))));

/// The page as it stands now.
pub(super) async fn answer(live: web::Data<Live>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    for pair in headers::html(&SCRIPT_SOURCE) {
        answer.insert_header(pair);
    }
    answer.content_type("text/html; charset=utf-8").body(live.page())
}

/// Where the style sheet is served.
pub(super) fn style_path() -> &'static str {
    &STYLE_PATH
}

/// The style sheet.
pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}

/// Names the page that fits the document's values: the templates and what there is to show.
pub(super) fn id(document: &StatusDocument) -> String {
    let breakers = document.breakers.iter().map(|breaker| breaker.name.as_str());
    let parts: Vec<&str> = [PAGE, STRIP, BREAKER, ENTRY, LIMIT, STYLE, SCRIPT]
        .into_iter()
        .chain(breakers)
        .chain(document.limits.keys().copied())
        .collect();
    fingerprint(&parts)
}

/// The page with these values in their places.
pub(super) fn render(values: &Values) -> String {
    let rows = |template: &str, rows: &[Vec<(&'static str, String)>]| -> String {
        let row = |(n, row): (usize, &Vec<(&'static str, String)>)| {
            let n = n.to_string();
            let mut places = texts(row);
            places.push(("n", Value::Text(&n)));
            fill(template, &places)
        };
        rows.iter().enumerate().map(row).collect()
    };
    let (strips, breakers) = (rows(STRIP, &values.breakers), rows(BREAKER, &values.breakers));
    let (entries, limits) = (rows(ENTRY, &values.entries), rows(LIMIT, &values.limits));
    let mut places = texts(&values.page);
    places.extend([
        ("style", Value::Text(style_path())),
        ("script", Value::Markup(SCRIPT)),
        ("strips", Value::Markup(&strips)),
        ("breakers", Value::Markup(&breakers)),
        ("entries", Value::Markup(&entries)),
        ("limits", Value::Markup(&limits)),
    ]);
    fill(PAGE, &places)
}

fn texts<'v>(values: &'v [(&'static str, String)]) -> Vec<(&'static str, Value<'v>)> {
    values.iter().map(|(name, value)| (*name, Value::Text(value))).collect()
}

fn fingerprint(parts: &[&str]) -> String {
    let mut digest = Sha1::new();
    parts.iter().for_each(|part| digest.update(part.as_bytes()));
    digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
