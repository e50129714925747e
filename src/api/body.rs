//! Reading a request's body within a size and a time.
//!
//! With the body comes the deadline of the rest, because the default one starts when the request is complete. A body that fits one
//! network read is handed on without a copy, which is nearly every body. Limits: what is declared too large is refused before it
//! is read; a chunked body is refused at the first byte over.

use std::time::Duration;

use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, http::header};
use futures_util::StreamExt;
use std::rc::Rc;

use super::acceptor::conversation::Conversation;
use super::caller::Allowance;
use crate::resilience::Deadline;
use crate::telemetry::clock;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Larger than the limit, in bytes.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It did not arrive in the time it had.
    TooSlow(Duration),
    /// The connection ended or the framing was wrong.
    Broken,
}

/// Reads the whole body of at most `limit` bytes, in at most `timeout` or what the caller allows, and says when its answer is due.
pub async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    timeout: Duration,
    allowance: Allowance,
) -> Result<(Bytes, Deadline), BodyError> {
    if declared(request).is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    let within = allowance.for_body(timeout, clock::now());
    let body = tokio::time::timeout(within, whole(payload, limit)).await.unwrap_or(Err(BodyError::TooSlow(within)))?;
    if let Some(conversation) = request.conn_data::<Rc<Conversation>>() {
        conversation.body_ended();
    }
    Ok((body, allowance.with_body(clock::now())))
}

type Chunk = Result<Bytes, actix_web::error::PayloadError>;

async fn whole(payload: &mut Payload, limit: usize) -> Result<Bytes, BodyError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = checked(first, 0, limit)?;
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut whole = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        let chunk = checked(chunk, whole.len(), limit)?;
        whole.extend_from_slice(&chunk);
        next = payload.next().await;
    }
    Ok(whole.freeze())
}

fn checked(chunk: Chunk, so_far: usize, limit: usize) -> Result<Bytes, BodyError> {
    let chunk = chunk.map_err(|_| BodyError::Broken)?;
    if so_far + chunk.len() > limit { Err(BodyError::TooLarge { limit }) } else { Ok(chunk) }
}

fn declared(request: &HttpRequest) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
