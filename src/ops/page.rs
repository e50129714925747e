//! The state at a glance, for people: one page, rendered on the server, true for the moment it was asked for.
//!
//! It needs no script and loads nothing but its style sheet from this listener. A state is always a word, a shape and
//! a colour together. Every value is escaped on its way into the page ([`fill`] has no other way in for text).
//!
//! Limit: a snapshot. It does not refresh itself; it says when it was taken and links to itself.

mod template;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use actix_web::{HttpResponse, web};
use sha1::{Digest, Sha1};

use super::headers;
use super::routes::View;
use super::status::{BreakerStatus, Health, Limit, Phase, RedisStatus, StatusDocument};
use template::{Value, fill};

const PAGE: &str = include_str!("page/page.html");
const BREAKER: &str = include_str!("page/breaker.html");
const LIMIT: &str = include_str!("page/limit.html");
const STYLE: &str = include_str!("page/page.css");

/// The style sheet's path holds a hash of its content, so that a new build can never wear an old dress.
static STYLE_PATH: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha1::digest(STYLE.as_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("/assets/page-{hash}.css")
});

/// The page as it stands now.
pub(super) async fn answer(view: web::Data<View>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    for pair in headers::HTML {
        answer.insert_header(pair);
    }
    answer.content_type("text/html; charset=utf-8").body(render(&view.status()))
}

/// Where the style sheet is served.
pub(super) fn style_path() -> &'static str {
    &STYLE_PATH
}

/// The style sheet.
pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}

fn render(document: &StatusDocument) -> String {
    let (headline, explanation) = verdict(document);
    let redis = &document.redis;
    fill(
        PAGE,
        &[
            ("style", Value::Text(style_path())),
            ("health", Value::Text(document.status.as_str())),
            ("icon", Value::Text(icon(document.status))),
            ("headline", Value::Text(headline)),
            ("explanation", Value::Text(&explanation)),
            ("version", Value::Text(&document.version)),
            ("phase", Value::Text(document.phase.as_str())),
            ("uptime", Value::Text(&uptime(document.uptime_seconds))),
            ("time", Value::Text(&document.time)),
            ("redis_health", Value::Text(if redis.reachable { "pass" } else { "warn" })),
            ("redis_word", Value::Text(if redis.reachable { "reachable" } else { "not reachable" })),
            ("topology", Value::Text(&redis.topology)),
            ("latency", Value::Text(&latency(redis))),
            ("server_version", Value::Text(redis.server_version.as_deref().unwrap_or("not known yet"))),
            ("breakers", Value::Markup(&each(&document.breakers, "No breakers.", breaker))),
            ("limits", Value::Markup(&each(&document.limits, "No limits.", |(name, bound)| limit(name, bound)))),
        ],
    )
}

/// What to tell somebody who has three seconds, and somebody who has ten.
fn verdict(document: &StatusDocument) -> (&'static str, String) {
    match (document.phase, document.status) {
        (Phase::Starting, _) => ("Starting", "Not serving yet.".to_owned()),
        (Phase::Draining, _) => ("Draining", "Finishing what is under way, taking nothing new.".to_owned()),
        (Phase::Ready, Health::Pass) => ("Healthy", "Redis answers and every breaker is closed.".to_owned()),
        (Phase::Ready, Health::Warn | Health::Fail) => ("Degraded, still serving", degraded(document)),
    }
}

fn degraded(document: &StatusDocument) -> String {
    let redis = (!document.redis.reachable).then(|| match &document.redis.last_error {
        Some(reason) => format!("Redis does not answer: {reason}."),
        None => "Redis does not answer.".to_owned(),
    });
    let breakers = document.breakers.iter().filter(|breaker| !breaker.is_closed());
    let breakers = breakers.map(|breaker| format!("{} is {}.", breaker.name, word(breaker.state)));
    redis.into_iter().chain(breakers).collect::<Vec<_>>().join(" ")
}

fn breaker(breaker: &BreakerStatus) -> String {
    let wait = breaker.retry_after_ms.map_or_else(|| "none".to_owned(), |millis| format!("{millis} ms"));
    fill(
        BREAKER,
        &[
            ("name", Value::Text(&breaker.name)),
            ("state", Value::Text(breaker.state)),
            ("word", Value::Text(&word(breaker.state))),
            ("health", Value::Text(mood(breaker.state))),
            ("since", Value::Text(&breaker.since)),
            ("wait", Value::Text(&wait)),
            ("calls", Value::Text(&breaker.calls.to_string())),
            ("failures", Value::Text(&breaker.failures.to_string())),
            ("failure_ratio", Value::Text(&percent(breaker.failure_ratio))),
            ("slow_ratio", Value::Text(&percent(breaker.slow_ratio))),
            ("rejected", Value::Text(&breaker.rejected_total.to_string())),
            ("opened", Value::Text(&breaker.opened_total.to_string())),
        ],
    )
}

fn limit(name: &str, limit: &Limit) -> String {
    let bound = limit.used.map_or_else(|| format!("at most {}", limit.max), |used| format!("{used} of {}", limit.max));
    fill(LIMIT, &[("name", Value::Text(&name.replace('_', " "))), ("bound", Value::Text(&bound))])
}

fn each<T>(items: impl IntoIterator<Item = T>, none: &str, row: impl Fn(T) -> String) -> String {
    let rows: String = items.into_iter().map(row).collect();
    if rows.is_empty() { format!("<p>{none}</p>") } else { rows }
}

/// The colour of a breaker state; the shape and the word say the same.
fn mood(state: &str) -> &'static str {
    match state {
        "closed" => "pass",
        "open" | "forced_open" => "fail",
        _ => "warn",
    }
}

/// The word of a state as people write it.
fn word(state: &str) -> String {
    state.replace('_', "-")
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

fn latency(redis: &RedisStatus) -> String {
    match redis.latency_ms {
        Some(millis) => format!("{millis:.2} ms"),
        None if redis.reachable => "not measured yet".to_owned(),
        None => "no answer".to_owned(),
    }
}

/// The two largest units that say something: `3 d 4 h`, `2 min 5 s`.
fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

/// The tab's icon: a circle, a triangle or a square, like the sign on the page.
fn icon(health: Health) -> &'static str {
    match health {
        Health::Pass => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%232e7d4f'/%3E%3C/svg%3E"
        }
        Health::Warn => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M8 1 15 15H1z' fill='%23b7791f'/%3E%3C/svg%3E"
        }
        Health::Fail => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 2h12v12H2z' fill='%23b3372f'/%3E%3C/svg%3E"
        }
    }
}
