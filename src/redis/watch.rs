//! Waiting for one reply: two bounds, a slow call counted while it is still in flight, and what excuses a late reply.
//!
//! One timer serves both bounds: it first marks the call as slow, then ends it. A heavy command is slow by nature and a long
//! transfer is progress (D6), so neither counts against the server; whether it stalls is the stall detector's to say. Nor does what
//! is noticed long after its time: then this process was paused, and would have been as late with a reply that came at once.
//! Limits: bytes are counted per connection, so a small reply behind a large one is excused with it.

use std::pin::Pin;
use std::time::Duration;

use redis_rs::RedisResult;
use tokio::time::Sleep;

use super::catalogue::Weight;
use super::link::Traffic;
use super::settings::Settings;
use super::timers::Timers;
use crate::resilience::breaker::{Admission, Verdict};
use crate::resilience::{Deadline, Moment};
use crate::telemetry::clock;

/// Bytes that arrived on the connection during one attempt from which on its lateness says nothing of the server: small replies
/// do not add up to this in 400 ms.
const LONG_TRANSFER: u64 = 4 * 1024 * 1024;
/// After a timeout the driver gets this long to hand over a reply that already lies in our own socket.
const GRACE: Duration = Duration::from_millis(2);
/// A timer that fires so long after its time, or would have, tells of a pause of our own.
const OVERSLEPT: Duration = Duration::from_millis(50);
/// And after a pause of our own it gets so long: whoever is to hand it over was paused as well, and others come first.
const GRACE_AFTER_PAUSE: Duration = Duration::from_millis(50);

/// How waiting for a reply ended.
pub(super) enum Waited<R> {
    Reply(RedisResult<R>),
    TimedOut,
    CallerExpired,
}

/// One wait, with the breaker's admission for it.
pub(super) struct Watch<'a> {
    admission: Admission<'a>,
    traffic: &'a Traffic,
    bytes_before: u64,
    heavy: bool,
    slow_after: Option<Duration>,
    sent_at: Moment,
    /// When the timer is to fire next.
    due: Moment,
    limit: Duration,
    cut_by_caller: bool,
    /// Whether this process was paused meanwhile.
    paused: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        settings: &Settings,
        admission: Admission<'a>,
        traffic: &'a Traffic,
        weight: Weight,
        sent_at: Moment,
        deadline: Deadline,
    ) -> Self {
        let remaining = deadline.remaining(sent_at);
        let heavy = weight == Weight::Heavy;
        let limit = if heavy { remaining } else { remaining.min(settings.attempt_timeout) };
        let slow_after = (!heavy).then_some(settings.breaker.slow_call_after).filter(|after| *after < limit);
        let cut_by_caller = remaining < settings.attempt_timeout;
        let bytes_before = traffic.bytes_read();
        let due = sent_at + slow_after.unwrap_or(limit);
        Self { admission, traffic, bytes_before, heavy, slow_after, sent_at, due, limit, cut_by_caller, paused: false }
    }

    /// Waits until the reply is there or a bound is reached.
    pub(super) async fn wait<R>(
        &mut self,
        reply: Pin<&mut impl Future<Output = RedisResult<R>>>,
        timers: &Timers,
    ) -> Waited<R> {
        let mut timer = timers.take(self.slow_after.unwrap_or(self.limit));
        let waited = self.wait_by(reply, timer.as_mut()).await;
        timers.give_back(timer);
        waited
    }

    async fn wait_by<R>(
        &mut self,
        mut reply: Pin<&mut impl Future<Output = RedisResult<R>>>,
        mut timer: Pin<&mut Sleep>,
    ) -> Waited<R> {
        loop {
            tokio::select! {
                biased;
                result = reply.as_mut() => return Waited::Reply(result),
                () = timer.as_mut() => match self.slow_after.take() {
                    Some(after) => {
                        self.slow_by_now(after);
                        let end = timer.deadline() + self.limit.saturating_sub(after);
                        timer.as_mut().reset(end);
                    }
                    None if self.cut_by_caller => return Waited::CallerExpired,
                    None => {
                        let grace = if self.overslept(clock::now()) { GRACE_AFTER_PAUSE } else { GRACE };
                        let late = Box::pin(tokio::time::timeout(grace, reply)).await;
                        return late.map_or(Waited::TimedOut, Waited::Reply);
                    }
                },
            }
        }
    }

    /// True if lateness says nothing of the server.
    pub(super) fn excused(&self, now: Moment) -> bool {
        self.heavy || self.overslept(now) || self.traffic.bytes_read() - self.bytes_before >= LONG_TRANSFER
    }

    /// Whether this process was paused meanwhile: a thread that runs hears its timers in time.
    fn overslept(&self, now: Moment) -> bool {
        self.paused || now.saturating_since(self.due) > OVERSLEPT
    }

    /// Tells the breaker how the call ended.
    pub(super) fn finish(self, verdict: Verdict, now: Moment) {
        let excused = self.excused(now);
        let admission = if excused { self.admission.untimed() } else { self.admission };
        admission.finish(verdict, now);
    }

    /// The first of the two bounds is reached; the timer is set to the second.
    fn slow_by_now(&mut self, after: Duration) {
        let now = clock::now();
        self.paused = self.overslept(now);
        if !self.excused(now) {
            self.admission.slow(self.sent_at + after);
        }
        self.due = self.sent_at + self.limit;
    }
}
