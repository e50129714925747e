//! The command dialect: the wire protocol of the Upstash SDKs, on the same keys as `/v1`.
//!
//! `POST /` sends one command, `POST /pipeline` a list of them down one connection in one round trip (D4), `POST /multi-exec` the
//! same as one transaction, and every other path is a command itself. SDKs use the pipeline even for a single command. Bodies are
//! parsed straight into commands and replies written straight into the response. What is refused here (blocked commands, the
//! service's own keys, a missing right, a bad argument) is refused per item and never reaches Redis.
//!
//! | file | its one job |
//! |---|---|
//! | `ask` | who asks, until when, in which encoding, with which body |
//! | `single`, `list` | one command; a pipeline or a transaction |
//! | `arguments`, `path` | bytes of a request into arguments |
//! | `adapt`, `scripts`, `typed_scan` | what the hosted service does otherwise than Redis |
//! | `stale` | reads from memory while Redis does not answer |
//! | `subscribe` | streams of messages |
//! | `reply`, `error`, `sync` | answers |
//!
//! Limits: `/monitor` and the `resp2` format are left out on purpose.

mod adapt;
pub mod arguments;
mod ask;
pub mod docs;
pub mod error;
mod list;
mod openapi;
pub mod path;
pub mod reply;
mod scan;
pub mod scripts;
mod single;
mod size;
mod stale;
mod subscribe;
mod sync;
mod typed_scan;

use actix_web::body::MessageBody;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use self::ask::Visitor;
use self::error::DialectError;
pub use self::openapi::{CommandError, entries};
use self::path::Route;
use super::caller::IDEMPOTENCY_KEY;
use crate::redis::{Outcome, Reply};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Methods of a command in the path.
const ALLOW: &str = "GET, HEAD, POST, PUT, OPTIONS";
/// Methods of a route whose commands are in the body.
const ALLOW_BODY: &str = "POST, PUT, HEAD, OPTIONS";
/// Methods of a stream.
const ALLOW_STREAM: &str = "GET, POST, OPTIONS";

/// Mounts the dialect on everything that is left.
pub fn configure(app: &mut web::ServiceConfig) {
    app.default_service(web::to(dispatch));
}

/// Tells the routes apart by the raw path: the framework's router would decode it, and then `%2F` is a slash.
async fn dispatch(request: HttpRequest, mut payload: Payload) -> Result<HttpResponse, DialectError> {
    let route = path::route(request.uri().path());
    if request.method() == Method::OPTIONS {
        // Whoever asks what there is has no credentials yet. A preflight is answered before it comes here (`cross_origin.rs`).
        return Ok(HttpResponse::Ok().insert_header((header::ALLOW, allowed(route))).finish());
    }
    let visitor = Visitor::identify(&request)?;
    if let Some(answer) = without_commands(request.method(), route)? {
        return Ok(answer);
    }
    if route != Route::Root && request.headers().contains_key(&IDEMPOTENCY_KEY) {
        return Err(DialectError::idempotency_key());
    }
    match route {
        Route::Root => single::in_body(visitor, &request, &mut payload).await,
        Route::Pipeline => list::pipeline(visitor, &request, &mut payload).await,
        Route::MultiExec => list::transaction(visitor, &request, &mut payload).await,
        Route::Command(command) => single::in_path(command, visitor, &request, &mut payload).await,
        Route::Subscribe(_) | Route::PatternSubscribe(_) => {
            subscribe::stream(route, visitor, &request, &mut payload).await
        }
        Route::Monitor => Err(DialectError::monitor()),
    }
}

/// The answer to a method that brings no commands: a refusal, or, to `HEAD` where they would be in the body, that the token is good.
fn without_commands(method: &Method, route: Route<'_>) -> Result<Option<HttpResponse>, DialectError> {
    if matches!(route, Route::Subscribe(_) | Route::PatternSubscribe(_)) {
        let has = matches!(*method, Method::GET | Method::POST);
        return if has { Ok(None) } else { Err(DialectError::method(allowed(route))) };
    }
    let in_body = commands_in_body(route);
    match *method {
        Method::POST | Method::PUT => Ok(None),
        Method::HEAD if in_body => Ok(Some(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).finish())),
        Method::GET | Method::HEAD if !in_body => Ok(None),
        _ => Err(DialectError::method(allowed(route))),
    }
}

fn commands_in_body(route: Route<'_>) -> bool {
    matches!(route, Route::Root | Route::Pipeline | Route::MultiExec)
}

/// The methods of a route.
fn allowed(route: Route<'_>) -> &'static str {
    match route {
        Route::Root | Route::Pipeline | Route::MultiExec => ALLOW_BODY,
        Route::Subscribe(_) | Route::PatternSubscribe(_) => ALLOW_STREAM,
        Route::Monitor | Route::Command(_) => ALLOW,
    }
}

/// The answer that a remembered reply was, or would have been.
pub fn told_later(reply: &Reply) -> HttpResponse {
    if let Reply::ServerError(error) = reply {
        return DialectError::of_redis(error, Outcome::NotExecuted).error_response();
    }
    let mut out = Vec::with_capacity(64);
    reply::write_result(&mut out, reply, reply::Encoding::Text);
    success(out)
}

fn success(out: impl MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).insert_header((sync::TOKEN, sync::fresh())).body(out)
}
