//! `/.well-known/security.txt` (RFC 9116): whom to tell about a weakness.
//!
//! Public, and only there when the operator has named a contact: a made-up address would swallow the one mail that matters. The
//! date of expiry moves with the day, because the file is as fresh as the process that gives it. Limits: no signature, one contact, no key to encrypt with.

use actix_web::http::Method;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

use super::Worker;
use super::problem::{Code, Problem};
use crate::telemetry::clock;

const SECURITY: &str = "/.well-known/security.txt";
const ALLOW: &str = "GET, HEAD, OPTIONS";
const DAY_MILLIS: u64 = 86_400_000;
/// RFC 9116 recommends less than a year; half a year is checked twice before it is over.
const VALID_DAYS: u64 = 180;
const _: () = assert!(VALID_DAYS < 365);

/// Mounts the well-known places; those that do not exist are public, too.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(web::scope("/.well-known").default_service(web::to(serve)));
}

async fn serve(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, Problem> {
    let at = |problem: Problem| problem.at(&request);
    let contact = worker.shared.settings.security_contact.as_deref();
    let Some(contact) = contact.filter(|_| request.uri().path() == SECURITY) else {
        return Err(at(Problem::new(Code::NotFound, "there is no such well-known resource here")));
    };
    match *request.method() {
        Method::GET | Method::HEAD => {
            let policy = worker.shared.settings.security_policy.as_deref();
            let text = text(contact, policy, clock::wall_millis());
            Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
        }
        Method::OPTIONS => Ok(HttpResponse::NoContent().insert_header((header::ALLOW, ALLOW)).finish()),
        _ => Err(at(Problem::method(ALLOW))),
    }
}

fn text(contact: &str, policy: Option<&str>, now_millis: u64) -> String {
    let expires = clock::rfc3339((now_millis / DAY_MILLIS + VALID_DAYS) * DAY_MILLIS);
    let policy = policy.map(|link| format!("Policy: {link}\n")).unwrap_or_default();
    format!("Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n{policy}")
}

#[test]
fn the_text_expires_within_a_year_and_changes_once_a_day() {
    let noon = 1_767_268_800_000;
    let expected = "Contact: mailto:a@b.example\nExpires: 2026-06-30T00:00:00.000Z\nPreferred-Languages: en\n";
    assert_eq!(text("mailto:a@b.example", None, noon), expected);
    assert_eq!(text("mailto:a@b.example", None, noon + DAY_MILLIS / 3), expected);
}
