//! One command, in the body of `POST /` or in the path.
//!
//! Both forms become the same [`Command`] and meet the same checks. Limits: a `HEAD` runs the command as `GET` does and leaves the
//! body out; whoever does not want that asks for `/`. A read may be answered from memory while Redis does not answer (`stale`).

use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use super::adapt::{Adapted, Telling, adapt};
use super::ask::{Ask, Builder, Formats, Visitor};
use super::error::{DialectError, check};
use super::{arguments, path, reply, size, stale, success, typed_scan};
use crate::api::idempotency::{self, RouteClass};
use crate::redis::catalogue::Class;
use crate::redis::{Command, Reply};
use crate::resources::{Once, commands};

/// `POST /`: one command as a JSON array.
pub(super) async fn in_body(
    visitor: Visitor,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<HttpResponse, DialectError> {
    let ask = visitor.read(request, payload, Formats::JsonOnWish).await?;
    let mut builder = Builder::default();
    arguments::parse_command(&ask.body, &ask.visitor.limits(), &mut builder)?;
    let command = builder.take();
    let principal = ask.visitor.principal;
    match idempotency::once(request, principal, RouteClass::Commands, &ask.body) {
        Ok(None) => answer(command, &ask, request.headers()).await,
        // A read has no effect that could happen twice.
        Ok(Some(_)) if command.class() == Class::Read => answer(command, &ask, request.headers()).await,
        Ok(Some(once)) => answer_once(command, &once, &ask).await,
        Err(_) => Err(DialectError::bad_idempotency_key()),
    }
}

/// One command under an Idempotency-Key.
async fn answer_once(command: Command, once: &Once, ask: &Ask) -> Result<HttpResponse, DialectError> {
    let Ask { visitor: Visitor { principal, worker, .. }, deadline, .. } = ask;
    check(&command, *principal)?;
    if !commands::may_run_once(command.spec()) {
        return Err(DialectError::not_repeatable(&command));
    }
    let Adapted { command, telling } = adapt(command, &worker.shared.scripts);
    let decided = commands::run_once(&worker.gateway, &command, once, *deadline).await;
    let decided = decided.map_err(|failure| DialectError::of_failure(&failure))?;
    let mut reply = decided.value;
    telling.tell(&mut reply);
    // Redis' own error is as much an answer, and as much a repetition, as any other.
    let mut response = told(&reply, &command, ask).map(success).unwrap_or_else(|error| error.error_response());
    if decided.replayed {
        response.headers_mut().insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// `/{command}/{argument}/…`: one command in the path, its last arguments in body and query.
pub(super) async fn in_path(
    command: &str,
    visitor: Visitor,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<HttpResponse, DialectError> {
    let ask = visitor.read(request, payload, Formats::JsonOnWish).await?;
    let mut builder = Builder::default();
    path::parse_path(command, request.uri().query(), &ask.body, &ask.visitor.limits(), &mut builder)?;
    answer(builder.take(), &ask, request.headers()).await
}

/// Asks Redis, and memory if that fails and the caller allows it.
async fn answer(command: Command, ask: &Ask, headers: &HeaderMap) -> Result<HttpResponse, DialectError> {
    check(&command, ask.visitor.principal)?;
    let Adapted { command, telling } = adapt(command, &ask.visitor.worker.shared.scripts);
    let adapted = Adapted { command: ask.retry.allow(command), telling };
    let recall = stale::recall(&adapted.command, ask, headers);
    let told = run(&adapted, ask).await;
    match recall {
        None => told.map(success),
        Some(recall) => stale::settle(recall, told),
    }
}

async fn run(adapted: &Adapted, ask: &Ask) -> Result<Vec<u8>, DialectError> {
    let Adapted { command, telling } = adapted;
    let (gateway, deadline) = (&ask.visitor.worker.gateway, ask.deadline);
    let lane = command.spec().lane;
    let unanswered = |error| DialectError::of_gateway(&error, lane);
    let mut reply = gateway.run(command, deadline).await.map_err(unanswered)?.reply;
    match telling {
        Telling::Verbatim => {}
        Telling::TypedScan => {
            typed_scan::add_types(vec![&mut reply], gateway, deadline).await.map_err(unanswered)?;
        }
        other => other.tell(&mut reply),
    }
    told(&reply, command, ask)
}

/// The answer's body, or why it is none.
fn told(reply: &Reply, command: &Command, ask: &Ask) -> Result<Vec<u8>, DialectError> {
    if let Reply::ServerError(error) = reply {
        return Err(DialectError::of_redis(error, command.judge().outcome(error)));
    }
    let limit = ask.visitor.worker.shared.settings.reply_bytes;
    if let Some((text, outcome)) = size::refusal(reply, command.class(), ask.encoding, limit) {
        return Err(DialectError::reply_too_large(text, outcome));
    }
    let mut out = Vec::with_capacity(64);
    reply::write_result(&mut out, reply, ask.encoding);
    Ok(out)
}
