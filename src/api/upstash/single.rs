//! One command, in the body of `POST /` or in the path.
//!
//! Both forms become the same [`Command`] and meet the same checks. Limits: a `HEAD` runs the command as `GET` does and leaves the
//! body out; whoever does not want that asks for `/`.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::adapt::{Adapted, Telling, adapt};
use super::ask::{Ask, Builder, Formats, Visitor};
use super::error::{DialectError, check};
use super::{arguments, path, reply, size, success, typed_scan};
use crate::redis::{Command, Reply};

/// `POST /`: one command as a JSON array.
pub(super) async fn in_body(
    visitor: Visitor,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<HttpResponse, DialectError> {
    let ask = visitor.read(request, payload, Formats::JsonOnWish).await?;
    let mut builder = Builder::default();
    arguments::parse_command(&ask.body, &ask.visitor.limits(), &mut builder)?;
    answer(builder.take(), &ask).await
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
    answer(builder.take(), &ask).await
}

async fn answer(command: Command, ask: &Ask) -> Result<HttpResponse, DialectError> {
    let Ask { visitor: Visitor { principal, worker, .. }, deadline, .. } = ask;
    check(&command, *principal)?;
    let Adapted { command, telling } = adapt(command, &worker.shared.scripts);
    let lane = command.spec().lane;
    let unanswered = |error| DialectError::of_gateway(&error, lane);
    let mut reply = worker.gateway.run(&command, *deadline).await.map_err(unanswered)?.reply;
    match &telling {
        Telling::Verbatim => {}
        Telling::TypedScan => {
            typed_scan::add_types(vec![&mut reply], &worker.gateway, *deadline).await.map_err(unanswered)?;
        }
        other => other.tell(&mut reply),
    }
    if let Reply::ServerError(error) = &reply {
        return Err(DialectError::of_redis(error, command.judge().outcome(error)));
    }
    if let Some((text, outcome)) = size::refusal(&reply, command.judge(), worker.shared.settings.reply_bytes) {
        return Err(DialectError::reply_too_large(text, outcome));
    }
    let mut out = Vec::with_capacity(64);
    reply::write_result(&mut out, &reply, ask.encoding);
    Ok(success(out))
}
