//! The fence: making sure that an abandoned write has run or never will, before anyone relies on either (D2).
//!
//! Closing a socket does not cancel what is already on its way: measured, an abandoned command ran in 69 of 70 trials after a
//! read-back had said "not there". `CLIENT KILL ID <old>` does: Redis runs commands one at a time, so once the kill is
//! answered, everything that connection carried has been executed or will be thrown away. Client ids start again when a server
//! restarts; a different `run_id` means the old process is gone and its connections with it, so nothing is killed.
//! Limits: needs the right `+client|kill`; without it (or without INFO) an ambiguous write stays `unknown`.

use std::sync::Arc;

use redis_rs::Value;

use super::connector::{Connection, words};
use super::endpoint::Endpoint;
use super::link::Link;

/// What became of a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// Nothing sent over the old connection can run any more.
    Stands,
    /// The server will not let us: asking again is pointless.
    Refused,
    /// The kill itself got no answer.
    Unanswered,
}

/// Fences `old` through `over`. Never returns early on a frozen server: the caller bounds it in time.
pub(super) async fn fence(old: &Link, over: &Connection) -> Fence {
    if old.is_fenced() || gone_with_its_server(old, &over.link) {
        return Fence::Stands;
    }
    let id = old.client_id.to_string();
    let kill = words(&["CLIENT", "KILL", "ID", &id]);
    let mut handle = over.handle.clone();
    match handle.send_packed_command(&kill).await {
        // 0: the server had closed it already, which settles it as well.
        Ok(Value::Int(_)) => {
            old.mark_fenced();
            Fence::Stands
        }
        Ok(Value::ServerError(error)) => {
            tracing::warn!(
                code = error.code(),
                "Redis refused CLIENT KILL: ambiguous writes stay unknown; grant +client|kill"
            );
            Fence::Refused
        }
        Ok(_) | Err(_) => Fence::Unanswered,
    }
}

/// Fences every connection that died with writes in flight. What cannot be paid now stays owed; what the server refuses is
/// forgotten (those writes were answered `unknown`).
pub(super) async fn pay_debts(endpoint: &Endpoint, over: &Connection) {
    let mut owed = Debts { endpoint, links: endpoint.take_unfenced() };
    while let Some(link) = owed.links.last() {
        match fence(link, over).await {
            Fence::Stands | Fence::Refused => drop(owed.links.pop()),
            Fence::Unanswered => break,
        }
    }
}

/// Two known and different lives of a server.
fn gone_with_its_server(old: &Link, new: &Link) -> bool {
    !old.server_run.is_empty() && !new.server_run.is_empty() && old.server_run != new.server_run
}

/// Debts taken to be paid; returned when the payer is cancelled or fails.
struct Debts<'a> {
    endpoint: &'a Endpoint,
    links: Vec<Arc<Link>>,
}

impl Drop for Debts<'_> {
    fn drop(&mut self) {
        for link in self.links.drain(..) {
            self.endpoint.owe_fence(link);
        }
    }
}
