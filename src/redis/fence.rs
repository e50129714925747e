//! The fence: making sure that an abandoned write has run or never will, before anyone relies on either (D2).
//!
//! Closing a socket does not cancel what is already on its way: measured, an abandoned command ran in 69 of 70 trials after a
//! read-back had said "not there". `CLIENT KILL ID <old>` does: Redis runs commands one at a time, so once the kill is
//! answered, everything that connection carried has been executed or will be thrown away. Client ids start again when a server
//! restarts; a different `run_id` on a later connection means the old process is gone and its connections with it, so nothing
//! is killed. Limits: needs the right `+client|kill`; without it (or without INFO) an ambiguous write stays `unknown`. Behind an
//! address that moves from a frozen server to another, the old one may still run what it has read.

use std::sync::Arc;

use redis_rs::Value;

use super::connector::{Connection, words};
use super::endpoint::Endpoint;
use super::error::{Meaning, meaning};
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

impl Fence {
    /// A word for traces.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stands => "stands",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Fences `old` through `over`. Never returns early on a frozen server: the caller bounds it in time.
pub(super) async fn fence(old: &Link, over: &Connection) -> Fence {
    if old.is_fenced() || gone_with_its_server(old, &over.link) {
        return Fence::Stands;
    }
    if old.server_run != over.link.server_run || old.server_run.is_empty() {
        // Whose id that is now cannot be told: killing it could hit a stranger.
        return Fence::Refused;
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
        Ok(Value::ServerError(error)) if meaning(error.code()) != Meaning::Unavailable => {
            tracing::warn!(
                code = error.code(),
                "Redis refused CLIENT KILL: ambiguous writes stay unknown; grant +client|kill"
            );
            Fence::Refused
        }
        // Busy or loading: it will say later.
        Ok(_) | Err(_) => Fence::Unanswered,
    }
}

/// Fences every connection that died with writes in flight, all at once. What cannot be paid now stays owed; what the server
/// refuses is forgotten (those writes were answered `unknown`).
pub(super) async fn pay_debts(endpoint: &Endpoint, over: &Connection) {
    let mut owed = Debts { endpoint, links: endpoint.take_unfenced() };
    // One connection keeps the order, so these travel as one pipeline.
    let kills = owed.links.iter().map(|link| fence(link, over));
    let mut results = futures_util::future::join_all(kills).await.into_iter();
    owed.links.retain(|_| results.next() == Some(Fence::Unanswered));
}

/// Two known and different lives of a server, the new one begun later.
fn gone_with_its_server(old: &Link, new: &Link) -> bool {
    let known = !old.server_run.is_empty() && !new.server_run.is_empty();
    known && old.server_run != new.server_run && new.born > old.born
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
