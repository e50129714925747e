//! The gateway: the only way to Redis. Guards in the order of D10, retries by class and delivery, and a truthful end.
//!
//! deadline → a look at the breaker → bulkhead (and another look) → attempts, each: breaker, connection, fence, send, wait.
//!
//! What may be tried again (D3): anything that was not sent, or that Redis refused before running it; after an ambiguous end
//! only reads, and idempotent writes whose reply is stable, these behind a fence or on the very connection that carries the
//! first attempt. Every retry is paid from the budget and none starts after the deadline. The outcome is sticky (D1): once an
//! attempt of a write ended ambiguously, only a later success lifts `unknown`.
//!
//! Limits: one `Gateway` per worker thread, made on that thread's runtime; its futures must be polled there.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Cargo, End, Origin, Past};
use super::catalogue::{Class, Lane, Weight};
use super::command::{Batch, Command};
use super::endpoint::Endpoint;
use super::error::{Error, ErrorKind, Meaning, Outcome, Suspect};
use super::fence::{Fence, fence};
use super::pool::WorkerPool;
use super::spans;
use super::subscriptions::{NoStream, Subscription, Topic};
use super::timers::Timers;
use super::transaction::{Ending, Transaction};
use super::{Answer, Reply};
use crate::resilience::bulkhead::{Bulkhead, Slot};
use crate::resilience::{Deadline, breaker};
use crate::telemetry::clock;
use crate::telemetry::metrics::{RetryOutcome, ShedReason};
use crate::telemetry::traces::OperationSpan;

/// Retry-After of a shed call, before jitter: about the time a full queue takes to drain.
const SHED_RETRY: Duration = Duration::from_secs(1);

/// One worker's door to Redis.
pub struct Gateway {
    endpoint: Arc<Endpoint>,
    pool: WorkerPool,
    timers: Timers,
    light: Arc<Bulkhead>,
    heavy: Arc<Bulkhead>,
}

impl Gateway {
    /// A door for the current thread's runtime. Connects on first use.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        let settings = &endpoint.settings;
        let per_connection = settings.in_flight_per_connection;
        let light = Arc::new(Bulkhead::new(per_connection * settings.connections_per_worker as usize, settings.queue));
        let heavy = Arc::new(Bulkhead::new(per_connection, settings.queue));
        endpoint.register(&light);
        endpoint.register(&heavy);
        Self { pool: WorkerPool::new(&endpoint), timers: Timers::default(), light, heavy, endpoint }
    }

    /// Sends one command. Redis' own errors come back as `Ok(Answer { reply: Reply::ServerError(..) })`.
    pub async fn run(&self, command: &Command, deadline: Deadline) -> Result<Answer<Reply>, Error> {
        self.guard(command, deadline).await
    }

    /// Sends a batch down one connection, in order. All replies or none (D4).
    pub async fn run_batch(&self, batch: &Batch, deadline: Deadline) -> Result<Answer<Vec<Reply>>, Error> {
        self.guard(batch, deadline).await
    }

    /// Runs commands all together or not at all, isolated from every other caller's.
    pub async fn run_transaction(&self, transaction: Transaction, deadline: Deadline) -> Result<Answer<Ending>, Error> {
        self.guard(&transaction.sealed(), deadline).await
    }

    /// Subscribes to a topic. What comes back has been confirmed by Redis. A subscription changes nothing, so whatever stops
    /// it is `not_executed`; an opening breaker ends the wait for the confirmation.
    pub async fn open_stream(&self, topic: Topic, deadline: Deadline) -> Result<Subscription, NoStream> {
        let span = OperationSpan::begin(|| spans::subscribing(&topic));
        let opened = self.subscribe(topic, deadline).await;
        span.finish(|| spans::subscribed(&opened));
        opened
    }

    async fn subscribe(&self, topic: Topic, deadline: Deadline) -> Result<Subscription, NoStream> {
        let lane = self.endpoint.lane(Lane::Read);
        let opened = lane.opened();
        if lane.refusing()
            && let Err(refused) = lane.admit(clock::now())
        {
            return Err(self.refused(Lane::Read, &refused).into());
        }
        let mut subscription = self.endpoint.subscriptions().join(topic)?;
        tokio::select! {
            biased;
            confirmed = subscription.confirmed() => confirmed.map(|()| subscription),
            () = opened => Err(match lane.admit(clock::now()) {
                Err(refused) => self.refused(Lane::Read, &refused).into(),
                Ok(_) => Error::new(ErrorKind::ConnectFailed).into(),
            }),
            () = tokio::time::sleep(deadline.remaining(clock::now())) => {
                Err(Error::new(ErrorKind::DeadlinePassed).into())
            }
        }
    }

    /// Settles an ambiguous write: gives its connection up and fences it over another. After `Ok` it has run or never will,
    /// and a read tells which.
    pub async fn fence(&self, suspect: &Suspect, deadline: Deadline) -> Result<(), Error> {
        suspect.0.give_up();
        let limit = deadline.remaining(clock::now());
        let work = async {
            let connection = self.pool.check_out(Weight::Light).await.ok_or(ErrorKind::ConnectFailed)?;
            match fence(&suspect.0, &connection).await {
                Fence::Stands => Ok(()),
                Fence::Refused | Fence::Unanswered => Err(ErrorKind::NoReply),
            }
        };
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(kind)) => Err(Error { outcome: Outcome::Unknown, ..Error::new(kind) }),
            Err(_) => Err(Error { outcome: Outcome::Unknown, ..Error::new(ErrorKind::DeadlinePassed) }),
        }
    }

    /// The endpoint behind this door.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    async fn guard<C: Cargo>(&self, cargo: &C, deadline: Deadline) -> Result<Answer<C::Reply>, Error> {
        let mut span = OperationSpan::begin(|| cargo.name());
        let result = self.guarded(cargo, deadline, &mut span).await;
        span.finish(|| spans::end(cargo, &result));
        result
    }

    async fn guarded<C: Cargo>(
        &self,
        cargo: &C,
        deadline: Deadline,
        span: &mut OperationSpan,
    ) -> Result<Answer<C::Reply>, Error> {
        let lane = self.endpoint.lane(cargo.lane());
        if lane.refusing()
            && let Err(refused) = lane.admit(clock::now())
        {
            return Err(self.refused(cargo.lane(), &refused));
        }
        let slot = self.enter(cargo, deadline).await?;
        // Only calls that get this far earn retries: an outage earns none.
        self.endpoint.budget.deposit();
        let (past, outcome) = (Past::default(), Outcome::NotExecuted);
        let call = Call { gateway: self, cargo, deadline, past, outcome, attempts: 0, span };
        let mut notice = self.endpoint.writes().notice(cargo);
        let result = call.run().await;
        notice.settle(&result);
        drop((slot, notice));
        result
    }

    /// A place in the bulkhead, after a bounded wait that an opening breaker ends.
    async fn enter<C: Cargo>(&self, cargo: &C, deadline: Deadline) -> Result<Slot<'_>, Error> {
        let bulkhead = match cargo.weight() {
            Weight::Light => &self.light,
            Weight::Heavy => &self.heavy,
        };
        if let Some(slot) = bulkhead.try_enter() {
            return Ok(slot);
        }
        let lane = self.endpoint.lane(cargo.lane());
        let opened = lane.opened();
        if lane.refusing()
            && let Err(refused) = lane.admit(clock::now())
        {
            return Err(self.refused(cargo.lane(), &refused));
        }
        let Ok(waiting) = bulkhead.enqueue() else { return Err(self.shed(ShedReason::BulkheadFull)) };
        let limit = deadline.remaining(clock::now()).min(self.endpoint.settings.acquire_timeout);
        tokio::select! {
            biased;
            slot = waiting => match lane.refusing().then(|| lane.admit(clock::now()).err()).flatten() {
                Some(refused) => Err(self.refused(cargo.lane(), &refused)),
                None => Ok(slot),
            },
            () = opened => match lane.admit(clock::now()) {
                Err(refused) => Err(self.refused(cargo.lane(), &refused)),
                Ok(_) => Err(self.shed(ShedReason::QueueTimeout)),
            },
            () = tokio::time::sleep(limit) => Err(self.shed(ShedReason::QueueTimeout)),
        }
    }

    fn refused(&self, lane: Lane, refused: &breaker::Refused) -> Error {
        self.endpoint.metrics.shed(ShedReason::BreakerOpen);
        Error { retry_after: Some(refused.retry_after), ..Error::new(ErrorKind::BreakerOpen(lane)) }
    }

    fn shed(&self, reason: ShedReason) -> Error {
        self.endpoint.metrics.shed(reason);
        // Jittered so that everyone shed now does not come back together.
        let wait = SHED_RETRY.mul_f64(1.0 + fastrand::f64());
        Error { retry_after: Some(wait), ..Error::new(ErrorKind::Overloaded) }
    }
}

/// One call with its history.
struct Call<'a, C: Cargo> {
    gateway: &'a Gateway,
    cargo: &'a C,
    deadline: Deadline,
    past: Past,
    outcome: Outcome,
    attempts: u32,
    span: &'a mut OperationSpan,
}

/// Why an attempt did not end the call well, and whether the same call may go out again.
struct Setback {
    kind: ErrorKind,
    retryable: bool,
    retry_after: Option<Duration>,
}

impl<C: Cargo> Call<'_, C> {
    async fn run(mut self) -> Result<Answer<C::Reply>, Error> {
        let endpoint = &self.gateway.endpoint;
        let origin = Origin { endpoint, pool: &self.gateway.pool, timers: &self.gateway.timers };
        let mut tries = 0;
        loop {
            let began = self.span.attempt_begins();
            let end = origin.attempt(self.cargo, self.deadline, &mut self.past).await;
            tries += 1;
            self.span.attempt_ended(began, tries, || spans::attempt(self.cargo, &end, self.past.fence.take()));
            let setback = match end {
                Ok(reply) => match self.answered(reply) {
                    Answered::Done(answer) => return Ok(answer),
                    Answered::Settled(error) => return Err(error),
                    Answered::Again(reply) => match self.may_retry(tries).await {
                        Ok(()) => continue,
                        Err(_) => return self.give_back(reply),
                    },
                },
                Err(end) => self.setback(end),
            };
            if !setback.retryable {
                self.note_not_retried(&setback);
                return Err(self.error(setback.kind, setback.retry_after));
            }
            if let Err(stop) = self.may_retry(tries).await {
                let (kind, retry_after) = stop.unwrap_or((setback.kind, setback.retry_after));
                return Err(self.error(kind, retry_after));
            }
        }
    }

    /// A definite answer: a refusal before execution may be worth another attempt, everything else ends the call.
    fn answered(&mut self, reply: C::Reply) -> Answered<C::Reply> {
        self.attempts += 1;
        match self.cargo.meaning(&reply) {
            Some(Meaning::Unavailable) => Answered::Again(reply),
            // The first attempt may have run although this one was refused: an error now is no answer to that (D1).
            Some(_) if self.outcome == Outcome::Unknown => Answered::Settled(self.error(ErrorKind::NoReply, None)),
            _ => Answered::Done(Answer { reply, attempts: self.attempts }),
        }
    }

    /// Redis refused and there is no attempt left: its own words are the answer, unless an earlier attempt is ambiguous.
    fn give_back(self, reply: C::Reply) -> Result<Answer<C::Reply>, Error> {
        match self.outcome {
            Outcome::Unknown => Err(self.error(ErrorKind::NoReply, None)),
            Outcome::NotExecuted | Outcome::Executed => Ok(Answer { reply, attempts: self.attempts }),
        }
    }

    /// Takes note of an attempt that got no answer.
    fn setback(&mut self, end: End) -> Setback {
        let plain = |kind, retryable| Setback { kind, retryable, retry_after: None };
        match end {
            End::Refused(refused) => {
                let error = self.gateway.refused(self.cargo.lane(), &refused);
                Setback { kind: error.kind, retryable: false, retry_after: error.retry_after }
            }
            End::NotSent(kind) => plain(kind, kind == ErrorKind::ConnectFailed),
            // What comes behind a fence may be sent again, so it may be tried again behind another; nothing was sent meanwhile.
            End::Unfenced(fence) => plain(ErrorKind::ConnectionLost, fence == Fence::Unanswered),
            End::Silent(connection) => {
                let retryable = self.ambiguous();
                if self.cargo.class() != Class::Read {
                    self.past.stay_on = Some(connection);
                }
                plain(ErrorKind::NoReply, retryable)
            }
            End::Expired(connection) => {
                self.ambiguous();
                self.past.stay_on = Some(connection);
                plain(ErrorKind::DeadlinePassed, false)
            }
            End::Lost(link) => {
                let retryable = self.ambiguous();
                if self.cargo.class() != Class::Read {
                    self.past.suspect = Some(link);
                }
                plain(ErrorKind::ConnectionLost, retryable)
            }
        }
    }

    /// An attempt was handed over and not answered. A failed read changed nothing; a write may have. True if the same command
    /// may be sent again (D3).
    fn ambiguous(&mut self) -> bool {
        self.attempts += 1;
        if self.cargo.class() != Class::Read {
            self.outcome = Outcome::Unknown;
        }
        matches!(self.cargo.class(), Class::Read | Class::Idempotent)
    }

    /// Waits out the backoff if attempts, budget and deadline allow one more. `Err` carries a better reason where there is one.
    async fn may_retry(&mut self, tries: u32) -> Result<(), Option<(ErrorKind, Option<Duration>)>> {
        let (gateway, cargo) = (self.gateway, self.cargo);
        let endpoint = &gateway.endpoint;
        let policy = &endpoint.settings.retry;
        if tries >= policy.attempts {
            self.note(RetryOutcome::AttemptsExhausted, None);
            return Err(None);
        }
        let lane = endpoint.lane(cargo.lane());
        let opened = lane.opened();
        let refusal = |now| lane.admit(now).err().map(|refused| gateway.refused(cargo.lane(), &refused));
        if lane.refusing()
            && let Some(error) = refusal(clock::now())
        {
            return Err(Some((error.kind, error.retry_after)));
        }
        let wait = policy.backoff.delay(tries - 1, fastrand::f64());
        if wait >= self.deadline.remaining(clock::now()) {
            self.note(RetryOutcome::Deadline, None);
            return Err(None);
        }
        if !endpoint.budget.try_withdraw() {
            self.note(RetryOutcome::BudgetExhausted, None);
            return Err(None);
        }
        self.note(RetryOutcome::Retried, Some(wait));
        tokio::select! {
            biased;
            () = opened => Err(refusal(clock::now()).map(|error| (error.kind, error.retry_after))),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    fn note(&mut self, outcome: RetryOutcome, backoff: Option<Duration>) {
        self.span.decided(outcome, backoff);
        self.gateway.endpoint.metrics.redis.retry(self.cargo.lane().into(), outcome);
    }

    fn note_not_retried(&mut self, setback: &Setback) {
        if matches!(setback.kind, ErrorKind::NoReply | ErrorKind::ConnectionLost) {
            self.note(RetryOutcome::NotIdempotent, None);
        }
    }

    fn error(&self, kind: ErrorKind, retry_after: Option<Duration>) -> Error {
        let link =
            self.past.suspect.clone().or_else(|| self.past.stay_on.as_ref().map(|connection| connection.link.clone()));
        let suspect = link.filter(|_| self.outcome == Outcome::Unknown).map(Suspect);
        Error { kind, outcome: self.outcome, attempts: self.attempts, retry_after, suspect }
    }
}

/// What a definite answer means for the call.
enum Answered<R> {
    Done(Answer<R>),
    Settled(Error),
    Again(R),
}
