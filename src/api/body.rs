//! Reading a request's body within a size and a time.
//!
//! With the body comes the deadline of the rest, because the default one starts when the request is complete. A body that fits one
//! network read is handed on without a copy, which is nearly every body. A large one takes its bytes out of the account of all bodies
//! (`bodies.rs`) as they arrive, and is refused where there is no room. What is only declared takes none: who announces a body and sends
//! nothing would keep everyone else's out. Limits: what is declared too large, or too large now, is refused before it is read; what
//! still had room then is refused where it finds none any more.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Bytes, BytesMut, Data, Payload};
use actix_web::{HttpRequest, http::header};
use futures_util::StreamExt;

use super::Worker;
use super::acceptor::conversation::Conversation;
use super::bodies::{Bodies, Full, Hold, SMALL};
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
    /// Bodies hold all they may hold at this moment.
    NoRoom {
        /// When to ask again.
        retry_after: Duration,
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
    let declared = declared(request);
    if declared.is_some_and(|declared| declared > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    let mut room = Room { request, hold: None };
    room.look(declared.unwrap_or_default())?;
    let within = allowance.for_body(timeout, clock::now());
    let whole = whole(payload, limit, declared.unwrap_or(limit), &mut room);
    let body = tokio::time::timeout(within, whole).await.unwrap_or(Err(BodyError::TooSlow(within)))?;
    let body = match room.hold {
        None => body,
        Some(hold) => hold.within(body),
    };
    if let Some(conversation) = request.conn_data::<Rc<Conversation>>() {
        conversation.body_ended();
    }
    Ok((body, allowance.with_body(clock::now())))
}

type Chunk = Result<Bytes, actix_web::error::PayloadError>;

async fn whole(payload: &mut Payload, limit: usize, most: usize, room: &mut Room<'_>) -> Result<Bytes, BodyError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = checked(first, 0, limit)?;
    room.for_bytes(first.len())?;
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut whole = BytesMut::new();
    append(&mut whole, &first, most);
    drop(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        let chunk = checked(chunk, whole.len(), limit)?;
        room.for_bytes(whole.len() + chunk.len())?;
        append(&mut whole, &chunk, most);
        next = payload.next().await;
    }
    Ok(whole.freeze())
}

/// Its memory doubles as it fills, so that little is moved, and is never more than it can come to need.
fn append(whole: &mut BytesMut, chunk: &[u8], most: usize) {
    let needed = whole.len() + chunk.len();
    if needed > whole.capacity() {
        let mut larger = BytesMut::with_capacity(needed.max(most.min(2 * needed)));
        larger.extend_from_slice(whole);
        *whole = larger;
    }
    whole.extend_from_slice(chunk);
}

/// The room of a body among all bodies; a small one needs none.
struct Room<'a> {
    request: &'a HttpRequest,
    hold: Option<Hold>,
}

impl Room<'_> {
    /// Whether there is room for `bytes` at this moment; none is taken.
    fn look(&self, bytes: usize) -> Result<(), BodyError> {
        match self.bodies() {
            Some(bodies) if bytes > SMALL => Ok(bodies.look(bytes)?),
            _ => Ok(()),
        }
    }

    /// Sees to it that there is room for `bytes` in all.
    fn for_bytes(&mut self, bytes: usize) -> Result<(), BodyError> {
        if bytes <= SMALL {
            return Ok(());
        }
        if let Some(hold) = &mut self.hold {
            return Ok(hold.grow_to(bytes)?);
        }
        self.hold = self.bodies().map(|bodies| bodies.hold(bytes)).transpose()?;
        Ok(())
    }

    fn bodies(&self) -> Option<Arc<Bodies>> {
        self.request.app_data::<Data<Worker>>().map(|worker| worker.shared.bodies.clone())
    }
}

impl From<Full> for BodyError {
    fn from(full: Full) -> Self {
        Self::NoRoom { retry_after: full.retry_after }
    }
}

fn checked(chunk: Chunk, so_far: usize, limit: usize) -> Result<Bytes, BodyError> {
    let chunk = chunk.map_err(|_| BodyError::Broken)?;
    if so_far + chunk.len() > limit { Err(BodyError::TooLarge { limit }) } else { Ok(chunk) }
}

fn declared(request: &HttpRequest) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
