//! Acquisitions of leases whose end nobody knows are taken back, so that no name is held by nobody for its whole time.
//!
//! That is so when the answer stayed ambiguous (the caller is told `unknown`), and when the caller left before there was one. A
//! [`Guard`] stands over each acquisition; dropped without a word it hands the attempt to a task of this worker, which withdraws
//! one after the other over this worker's gateway, as soon as Redis can be reached. Limits: at most [`MOST`] are waiting; what
//! comes on top, or is waiting when the process ends, ends with the lease's own time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use actix_web::web;
use tokio::sync::Notify;

use super::Worker;
use crate::resilience::{Backoff, Deadline};
use crate::resources::leases::{Attempt, Leases, WITHDRAWN_LIFETIME};
use crate::telemetry::clock;

/// The most that wait on one worker. A second of a frozen Redis leaves fewer: its breaker opens.
const MOST: usize = 1024;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// After failed tries. While the breaker refuses, a try costs Redis nothing.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(250) };
/// How much longer than the lease would have lasted it is tried: an attempt may be run a little late.
const GRACE: Duration = Duration::from_secs(60);

/// What one worker has to take back.
#[derive(Default)]
pub struct Withdrawals {
    owed: RefCell<VecDeque<Owed>>,
    bell: Notify,
    attended: Cell<bool>,
}

struct Owed {
    attempt: Attempt,
    /// When it is no longer worth it.
    until: Deadline,
}

impl Withdrawals {
    fn owe(&self, owed: Owed) {
        let mut waiting = self.owed.borrow_mut();
        if waiting.len() < MOST {
            waiting.push_back(owed);
            self.bell.notify_one();
        } else {
            tracing::warn!(waiting = MOST, "too many leases to withdraw: one is left to end by itself");
        }
    }

    fn next(&self) -> Option<Owed> {
        self.owed.borrow_mut().pop_front()
    }
}

/// Stands over one acquisition until its end is known.
pub struct Guard {
    worker: web::Data<Worker>,
    attempt: Option<Attempt>,
    ttl: Duration,
    deadline: Deadline,
}

impl Guard {
    /// Guards `attempt` at a lease of this length, which ends with `deadline`, if it may be withdrawn at all.
    pub fn over(worker: &web::Data<Worker>, attempt: &Attempt, ttl: Duration, deadline: Deadline) -> Self {
        // Here and not when the guard falls: that may be while the runtime is being taken down.
        if !worker.withdrawals.attended.replace(true) {
            actix_web::rt::spawn(withdraw_all(worker.clone()));
        }
        Self { worker: worker.clone(), attempt: attempt.is_withdrawable().then(|| attempt.clone()), ttl, deadline }
    }

    /// The end is known.
    pub fn dismiss(mut self) {
        self.attempt = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            let now = clock::now();
            // Where the server's time is known, nothing is run much later than its deadline.
            let late = if self.worker.gateway.endpoint().time_at(now).is_some() { GRACE } else { WITHDRAWN_LIFETIME };
            let until = Deadline::after(now, self.deadline.remaining(now) + self.ttl + late);
            self.worker.withdrawals.owe(Owed { attempt, until });
        }
    }
}

/// Works for as long as the worker lives.
async fn withdraw_all(worker: web::Data<Worker>) {
    let withdrawals = &worker.withdrawals;
    let leases = Leases::new(&worker.gateway, &worker.names, &worker.shared.highest_token);
    let mut failures = 0;
    loop {
        let Some(owed) = withdrawals.next() else {
            withdrawals.bell.notified().await;
            continue;
        };
        let now = clock::now();
        if owed.until.passed(now) {
            continue;
        }
        if leases.withdraw(&owed.attempt, Deadline::after(now, PATIENCE)).await.is_ok() {
            failures = 0;
            continue;
        }
        withdrawals.owe(owed);
        tokio::time::sleep(BACKOFF.delay(failures, (1.0 + fastrand::f64()) / 2.0)).await;
        failures = failures.saturating_add(1);
    }
}
