//! Single reads of the dialect that may be answered from memory while Redis does not answer (`api::stale`).
//!
//! What is remembered is the answer as it was written, so the encoding belongs to the question. Limits: plain reads that name their
//! keys; what a script read nobody knows, and a listing names keys that no write would take it away for.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderMap};
use actix_web::web::Bytes;

use super::ask::Ask;
use super::error::DialectError;
use super::reply::Encoding;
use super::success;
use crate::api::stale::{Kept, Recall};
use crate::redis::Command;
use crate::redis::catalogue::{self, Class};

/// Arguments beyond this in all are not remembered: they would cost more to tell apart than their answer is worth.
const CALL_BYTES: usize = 64 * 1024;

/// Whether the caller takes an old answer to this command. To be asked before Redis is.
pub(super) fn recall<'a>(command: &Command, ask: &'a Ask, headers: &HeaderMap) -> Option<Recall<'a>> {
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
    let encoding: &[u8] = if ask.encoding == Encoding::Base64 { b"base64" } else { b"text" };
    // The name as the catalogue writes it: `get` and `GET` are one command.
    let mut call = vec![encoding, command.spec().name.as_bytes()];
    call.extend_from_slice(arguments.get(1..)?);
    Recall::of(headers, &ask.visitor.worker.shared, &ask.visitor.principal, &call, &keys)
}

/// Remembers an answer, or finds one for a failure to get one.
pub(super) fn settle(recall: Recall<'_>, told: Result<Vec<u8>, DialectError>) -> Result<HttpResponse, DialectError> {
    let error = match told {
        Ok(out) => {
            let out = Bytes::from(out);
            recall.keep(Kept::Bytes(out.clone()));
            return Ok(success(out));
        }
        Err(error) => error,
    };
    let Some(failed) = error.failed() else {
        recall.forget();
        return Err(error);
    };
    let kept = recall.instead_of(failed, |kept, _| if let Kept::Bytes(out) = kept { Some(out) } else { None });
    let (out, age) = kept.ok_or(error)?;
    let mut response = success(out);
    age.mark(response.headers_mut());
    Ok(response)
}
