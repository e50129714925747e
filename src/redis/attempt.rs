//! One attempt: ask the breaker, get a connection, fence what went before, send, wait, and say truthfully how it ended.
//!
//! Everything that can be known of an ambiguous end is known here and nowhere else: whether the command was handed over, over
//! which connection, and whether that connection still lives. The breaker learns of each attempt once: our own timeout and a
//! lost connection (its first victim only) are failures, a departed caller or his own short deadline is ignored (D5, D6).
//! Limits: a caller who leaves drops this future; what was not yet written is then skipped by the driver.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis_rs::RedisResult;
use redis_rs::aio::MultiplexedConnection;

use super::catalogue::{Class, Lane, Weight};
use super::connector::Connection;
use super::endpoint::Endpoint;
use super::error::{ErrorKind, Meaning, Outcome};
use super::fence::{Fence, fence};
use super::link::Link;
use super::pool::WorkerPool;
use super::timers::Timers;
use super::watch::{Waited, Watch};
use super::writes::Touched;
use crate::resilience::breaker::{Admission, Refused, Verdict};
use crate::resilience::{Deadline, Moment};
use crate::telemetry::clock;
use crate::telemetry::metrics::CommandOutcome;
use crate::telemetry::traces::Name;

/// What can be sent: a command or a batch.
pub(super) trait Cargo {
    /// One reply, or one per command.
    type Reply;

    fn lane(&self) -> Lane;
    fn class(&self) -> Class;
    fn weight(&self) -> Weight;
    fn send(&self, handle: &mut MultiplexedConnection) -> impl Future<Output = RedisResult<Self::Reply>>;
    /// What it is called in traces.
    fn name(&self) -> Name;
    /// Whether a definite answer came after effects, and the code of Redis' own error: asked only for traces.
    fn told(&self, reply: &Self::Reply) -> (Outcome, Option<&'static str>);
    /// What a definite answer says of the server; `None` for a success.
    fn meaning(&self, reply: &Self::Reply) -> Option<Meaning>;
    /// Whether a write with this answer may have changed anything.
    fn changed(&self, reply: &Self::Reply) -> bool;
    /// Names what it touches, if it is a write.
    fn touched(&self, tell: &mut dyn FnMut(Touched<'_>));
}

/// What earlier attempts of the same call left behind.
#[derive(Default)]
pub(super) struct Past {
    /// The connection to stay on: it lives, and a retry behind the abandoned command keeps their order.
    pub(super) stay_on: Option<Connection>,
    /// The connection that died with our write in flight.
    pub(super) suspect: Option<Arc<Link>>,
    /// What became of the fence before the last attempt, if one was owed.
    pub(super) fence: Option<Fence>,
}

/// How an attempt ended without an answer.
pub(super) enum End {
    /// The breaker said no; nothing was sent.
    Refused(Refused),
    /// Nothing was sent for want of a connection, or of time.
    NotSent(ErrorKind),
    /// The fence before a retry could not be put up; this attempt sent nothing, the one before is still ambiguous.
    Unfenced(Fence),
    /// Handed over, no reply within the attempt timeout; the connection lives.
    Silent(Connection),
    /// Handed over, no reply before the caller's deadline; the connection lives.
    Expired(Connection),
    /// Handed over, then the connection died.
    Lost(Arc<Link>),
}

impl End {
    /// A word for traces; those of [`ErrorKind`] where they mean the same.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "breaker_open",
            Self::NotSent(kind) => kind.as_str(),
            Self::Unfenced(_) => "unfenced",
            Self::Silent(_) => ErrorKind::NoReply.as_str(),
            Self::Expired(_) => ErrorKind::DeadlinePassed.as_str(),
            Self::Lost(_) => ErrorKind::ConnectionLost.as_str(),
        }
    }
}

/// Where attempts are made from.
pub(super) struct Origin<'a> {
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) pool: &'a WorkerPool,
    pub(super) timers: &'a Timers,
}

impl Origin<'_> {
    /// One attempt. Redis' own error is an answer. Never later than `deadline`, never longer than the attempt timeout for light
    /// commands, but for a moment in which a reply that has arrived is handed over (`watch.rs`).
    pub(super) async fn attempt<C: Cargo>(
        &self,
        cargo: &C,
        deadline: Deadline,
        past: &mut Past,
    ) -> Result<C::Reply, End> {
        let now = clock::now();
        if deadline.passed(now) {
            return Err(End::NotSent(ErrorKind::DeadlinePassed));
        }
        let admission = match self.endpoint.lane(cargo.lane()).admit(now) {
            Ok(admission) => admission,
            Err(refused) => return Err(End::Refused(refused)),
        };
        let (connection, now) = match self.connection(cargo, deadline, past, now).await {
            Ok(found) => found,
            Err(reason) => {
                // No call was made, so it says nothing; failed connects have a detector of their own.
                admission.finish(Verdict::Ignored, clock::now());
                return Err(match reason {
                    NoConnection::Refused(refused) => End::Refused(refused),
                    NoConnection::Failed => End::NotSent(ErrorKind::ConnectFailed),
                    NoConnection::TooLate => End::NotSent(ErrorKind::DeadlinePassed),
                });
            }
        };
        let mut now = now;
        if let Some(suspect) = past.suspect.take_if(|suspect| !Arc::ptr_eq(suspect, &connection.link)) {
            let limit = self.limit(cargo.weight(), deadline);
            let fence = tokio::time::timeout(limit, fence(&suspect, &connection)).await.unwrap_or(Fence::Unanswered);
            now = clock::now();
            past.suspect = Some(suspect);
            past.fence = Some(fence);
            if fence != Fence::Stands {
                admission.finish(Verdict::Ignored, now);
                return Err(End::Unfenced(fence));
            }
        }
        if deadline.passed(now) {
            // Waiting for a connection or a fence took all the time there was: better nothing sent than something unknown.
            admission.finish(Verdict::Ignored, now);
            return Err(End::NotSent(ErrorKind::DeadlinePassed));
        }
        self.send(cargo, connection, admission, deadline, now).await
    }

    /// The connection of the last attempt if the order must be kept, else one from the pool, and the time by then.
    async fn connection<C: Cargo>(
        &self,
        cargo: &C,
        deadline: Deadline,
        past: &mut Past,
        now: Moment,
    ) -> Result<(Connection, Moment), NoConnection> {
        if let Some(connection) = past.stay_on.take() {
            if !connection.link.is_dead() {
                return Ok((connection, now));
            }
            past.suspect = Some(connection.link);
        }
        match self.pool.at_hand(cargo.weight(), now) {
            Some(connection) => Ok((connection, now)),
            // Rare, so it has its room on the heap and not in every call.
            None => {
                Box::pin(self.wait_for_connection(cargo, deadline)).await.map(|connection| (connection, clock::now()))
            }
        }
    }

    /// The wait ends early when the lane opens or a connect fails: neither leaves anything to wait for.
    async fn wait_for_connection<C: Cargo>(&self, cargo: &C, deadline: Deadline) -> Result<Connection, NoConnection> {
        let lane = self.endpoint.lane(cargo.lane());
        let mut check_out = pin!(self.pool.check_out(cargo.weight()));
        // Mostly there is one: look before arming three wake-ups.
        if let Some(connection) = check_out.as_mut().now_or_never() {
            return connection.ok_or(NoConnection::Failed);
        }
        let opened = lane.opened();
        if lane.refusing()
            && let Err(refused) = lane.admit(clock::now())
        {
            return Err(NoConnection::Refused(refused));
        }
        let wait = deadline.remaining(clock::now());
        tokio::select! {
            biased;
            connection = check_out => connection.ok_or(NoConnection::Failed),
            () = opened => Err(lane.admit(clock::now()).err().map_or(NoConnection::Failed, NoConnection::Refused)),
            () = self.pool.connect_failure(cargo.weight()) => Err(NoConnection::Failed),
            () = tokio::time::sleep(wait) => Err(NoConnection::TooLate),
        }
    }

    async fn send<C: Cargo>(
        &self,
        cargo: &C,
        connection: Connection,
        admission: Admission<'_>,
        deadline: Deadline,
        sent_at: Moment,
    ) -> Result<C::Reply, End> {
        let is_write = cargo.class() != Class::Read;
        let Connection { mut handle, link } = connection;
        if is_write {
            link.write_begins();
        }
        let mut watch =
            Watch::new(&self.endpoint.settings, admission, &link.traffic, cargo.weight(), sent_at, deadline);
        let ended = watch.wait(pin!(cargo.send(&mut handle)), self.timers).await;
        let now = clock::now();
        let elapsed = now.saturating_since(sent_at);
        match ended {
            Waited::Reply(Ok(reply)) => {
                if is_write {
                    link.write_settles();
                }
                let meaning = cargo.meaning(&reply);
                if meaning == Some(Meaning::Unavailable) {
                    // After a failover the old primary goes on refusing: the next attempt must not meet it over this connection.
                    link.retire();
                }
                watch.finish(verdict(meaning), now);
                self.observe(
                    cargo,
                    if meaning.is_none() { CommandOutcome::Ok } else { CommandOutcome::ServerError },
                    elapsed,
                );
                Ok(reply)
            }
            Waited::Reply(Err(error)) => {
                // Every error of the driver means that this connection is of no further use.
                link.give_up();
                // A reply it cannot read was said by a healthy server: a caller may provoke one, and must not steer the breaker.
                let first = link.is_first_victim();
                let server_failed = first && error.kind() != redis_rs::ErrorKind::Parse;
                watch.finish(if server_failed { Verdict::Failure } else { Verdict::Ignored }, now);
                self.observe(cargo, CommandOutcome::ConnectionLost, elapsed);
                Err(End::Lost(link))
            }
            Waited::TimedOut => {
                let verdict = if watch.excused(now) { Verdict::Ignored } else { Verdict::Failure };
                watch.finish(verdict, now);
                self.observe(cargo, CommandOutcome::Timeout, elapsed);
                let connection = Connection { handle, link };
                Err(if deadline.passed(now) { End::Expired(connection) } else { End::Silent(connection) })
            }
            Waited::CallerExpired => {
                watch.finish(Verdict::Ignored, now);
                self.observe(cargo, CommandOutcome::Timeout, elapsed);
                Err(End::Expired(Connection { handle, link }))
            }
        }
    }

    fn observe<C: Cargo>(&self, cargo: &C, outcome: CommandOutcome, elapsed: Duration) {
        self.endpoint.metrics.redis.observe(cargo.lane().into(), outcome, elapsed);
    }

    /// The time one attempt may take in all.
    fn limit(&self, weight: Weight, deadline: Deadline) -> Duration {
        let remaining = deadline.remaining(clock::now());
        match weight {
            Weight::Light => remaining.min(self.endpoint.settings.attempt_timeout),
            Weight::Heavy => remaining,
        }
    }
}

/// Why there was no connection to send on.
enum NoConnection {
    Refused(Refused),
    Failed,
    TooLate,
}

/// The breaker's view of a definite answer (D9).
fn verdict(meaning: Option<Meaning>) -> Verdict {
    match meaning {
        Some(Meaning::Unavailable) => Verdict::Failure,
        Some(Meaning::OutOfMemory | Meaning::Undurable | Meaning::Forbidden) => Verdict::Ignored,
        None | Some(Meaning::Caller) => Verdict::Success,
    }
}
