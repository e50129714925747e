//! One command, in the body of `POST /` or in the path.
//!
//! Both forms become the same [`Command`] and meet the same checks. Limits: a `HEAD` runs the command as `GET` does and leaves the
//! body out; whoever does not want that asks for `/`. A read may be answered from memory while Redis does not answer (`api::stale`).

use actix_web::http::header::{CACHE_CONTROL, HeaderMap};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::adapt::{Adapted, Telling, adapt};
use super::ask::{Ask, Builder, Formats, Visitor};
use super::error::{DialectError, check};
use super::reply::Encoding;
use super::{arguments, path, reply, size, success, typed_scan};
use crate::api::Shared;
use crate::api::stale::{Kept, Recall};
use crate::redis::catalogue::{self, Class};
use crate::redis::{Command, Reply};
use crate::security::Principal;

/// `POST /`: one command as a JSON array.
pub(super) async fn in_body(
    visitor: Visitor,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<HttpResponse, DialectError> {
    let ask = visitor.read(request, payload, Formats::JsonOnWish).await?;
    let mut builder = Builder::default();
    arguments::parse_command(&ask.body, &ask.visitor.limits(), &mut builder)?;
    answer(builder.take(), &ask, request.headers()).await
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

async fn answer(command: Command, ask: &Ask, headers: &HeaderMap) -> Result<HttpResponse, DialectError> {
    let Ask { visitor: Visitor { principal, worker, .. }, encoding, .. } = ask;
    check(&command, *principal)?;
    let adapted = adapt(command, &worker.shared.scripts);
    let recall = recall(&adapted.command, *principal, headers, &worker.shared, *encoding);
    let told = reply_to(&adapted, ask).await;
    let Some(recall) = recall else { return Ok(success(told?)) };
    match told {
        Ok(out) => {
            // Shared with the memory: copied once less.
            let out = Bytes::from(out);
            recall.keep(Kept::Bytes(out.clone()));
            Ok(success(out))
        }
        Err(error) => from_memory(recall, error),
    }
}

/// What was told last, if the failure is one to get an answer.
fn from_memory(recall: Recall<'_>, error: DialectError) -> Result<HttpResponse, DialectError> {
    let Some(failed) = error.failed() else {
        recall.forget();
        return Err(error);
    };
    let told = recall.instead_of(failed, |kept, _| if let Kept::Bytes(out) = kept { Some(out) } else { None });
    let (out, age) = told.ok_or(error)?;
    let mut response = success(out);
    age.mark(response.headers_mut());
    Ok(response)
}

/// Runs the command and writes its answer.
async fn reply_to(adapted: &Adapted, ask: &Ask) -> Result<Vec<u8>, DialectError> {
    let Adapted { command, telling } = adapted;
    let Ask { visitor: Visitor { worker, .. }, deadline, encoding, .. } = ask;
    let lane = command.spec().lane;
    let unanswered = |error| DialectError::of_gateway(&error, lane);
    let mut reply = worker.gateway.run(command, *deadline).await.map_err(unanswered)?.reply;
    match telling {
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
    reply::write_result(&mut out, &reply, *encoding);
    Ok(out)
}

/// Arguments beyond this in all are not remembered: they would cost more to tell apart than their answer is worth.
const CALL_BYTES: usize = 64 * 1024;

/// Whether the caller takes an old answer to this command: a plain read that says which keys it reads.
fn recall<'a>(
    command: &Command,
    principal: Principal,
    headers: &HeaderMap,
    shared: &'a Shared,
    encoding: Encoding,
) -> Option<Recall<'a>> {
    if command.class() != Class::Read || command.judge().runs_code() || !headers.contains_key(CACHE_CONTROL) {
        return None;
    }
    let arguments = command.arguments();
    if arguments.iter().map(|argument| argument.len()).sum::<usize>() > CALL_BYTES {
        return None;
    }
    let mut positions = Vec::new();
    catalogue::key_positions(command.spec(), &arguments, &mut positions).ok()?;
    let keys: Vec<&[u8]> = positions.iter().filter_map(|at| arguments.get(*at).copied()).collect();
    let encoding: &[u8] = if encoding == Encoding::Base64 { b"base64" } else { b"text" };
    // The name as the catalogue writes it: `get` and `GET` are one command.
    let mut call = vec![encoding, command.spec().name.as_bytes()];
    call.extend_from_slice(arguments.get(1..)?);
    Recall::of(headers, shared, &principal, &call, &keys)
}
