//! A bulkhead: so many calls in flight, so many waiting, the rest is refused at once.
//!
//! The queue is bounded because an unbounded one turns overload into waiting that nobody survives. It
//! is first come, first served from the moment of [`Bulkhead::enqueue`], and a freed slot is handed to
//! the first in line, never put back for newcomers to snatch. How long to wait is the caller's timer;
//! dropping the [`Waiting`] leaves the line.
//!
//! Both counts live in one atomic word. Entering and leaving without a queue is one compare-and-swap;
//! the lock is taken only while somebody waits.
//!
//! Limits: 2^32 - 1 slots and as many places in line; at least one slot.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One waiter, in the word whose lower half counts the calls in flight.
const WAITER: u64 = 1 << 32;

/// Bounds calls in flight and calls waiting.
#[derive(Debug)]
pub struct Bulkhead {
    limit: u64,
    queue: u64,
    /// Waiting in the upper half, in flight in the lower. Somebody waits only while all slots are
    /// taken. The upper half changes only under the lock of `line`.
    counts: AtomicU64,
    line: Mutex<Line>,
}

/// Who waits, by ticket. A waiter whose ticket is gone owns a slot.
#[derive(Debug, Default)]
struct Line {
    next_ticket: u64,
    waiters: BTreeMap<u64, Option<Waker>>,
}

/// The line is at its bound; the call should be refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Full;

impl Bulkhead {
    /// A bulkhead for `limit` calls in flight (at least 1) and `queue` waiting.
    pub fn new(limit: usize, queue: usize) -> Self {
        let bounded = |count: usize| u64::from(u32::try_from(count).unwrap_or(u32::MAX));
        Self { limit: bounded(limit).max(1), queue: bounded(queue), counts: AtomicU64::new(0), line: Mutex::default() }
    }

    /// A slot, if one is free and nobody waits for it. Never blocks.
    pub fn try_enter(&self) -> Option<Slot<'_>> {
        let mut counts = self.counts.load(Ordering::Relaxed);
        // Somebody waiting puts the word far above any limit.
        while counts < self.limit {
            match self.replace(counts, counts + 1) {
                Ok(()) => return Some(Slot { bulkhead: self }),
                Err(actual) => counts = actual,
            }
        }
        None
    }

    /// A place in line (or, if there is none to wait for, a slot that is ready at the first poll).
    pub fn enqueue(&self) -> Result<Waiting<'_>, Full> {
        let mut line = self.lock();
        let mut counts = self.counts.load(Ordering::Relaxed);
        loop {
            let place = if counts < self.limit { 1 } else { WAITER };
            if place == WAITER && counts / WAITER >= self.queue {
                return Err(Full);
            }
            match self.replace(counts, counts + place) {
                Ok(()) if place == WAITER => break,
                Ok(()) => return Ok(Waiting { bulkhead: self, stage: Stage::Entered }),
                Err(actual) => counts = actual,
            }
        }
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        line.waiters.insert(ticket, None);
        Ok(Waiting { bulkhead: self, stage: Stage::InLine(ticket) })
    }

    /// Slots taken now, including those handed to a waiter that has not looked yet.
    pub fn in_flight(&self) -> usize {
        (self.counts.load(Ordering::Relaxed) % WAITER) as usize
    }

    /// Callers in line now.
    pub fn waiting(&self) -> usize {
        (self.counts.load(Ordering::Relaxed) / WAITER) as usize
    }

    /// The bound on calls in flight.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Gives a slot back: to the first in line, else to the count.
    fn leave(&self) {
        loop {
            let counts = self.counts.load(Ordering::Relaxed);
            debug_assert!(self.in_flight() > 0, "a slot is given back once");
            if counts < WAITER {
                if self.replace(counts, counts - 1).is_ok() {
                    return;
                }
            } else if self.hand_over() {
                return;
            }
        }
    }

    /// Makes the first in line owner of a slot; false when the line has emptied meanwhile.
    fn hand_over(&self) -> bool {
        let first = {
            let mut line = self.lock();
            let first = line.waiters.pop_first();
            if first.is_some() {
                self.counts.fetch_sub(WAITER, Ordering::AcqRel);
            }
            first
        };
        // Woken after unlocking: a waker is foreign code.
        first.map(|(_, waker)| waker.map(Waker::wake)).is_some()
    }

    // Acquire and release: what one call did in its slot is seen by the next one in it.
    fn replace(&self, counts: u64, next: u64) -> Result<(), u64> {
        self.counts.compare_exchange_weak(counts, next, Ordering::AcqRel, Ordering::Relaxed).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to have one call in flight; given back on drop.
#[derive(Debug)]
#[must_use = "dropping a slot gives it back"]
pub struct Slot<'a> {
    bulkhead: &'a Bulkhead,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.bulkhead.leave();
    }
}

/// A place in line. Resolves to a slot; dropping it leaves the line, and passes on a slot that had
/// already been handed to it.
#[derive(Debug)]
#[must_use = "dropping a place in line gives it up"]
pub struct Waiting<'a> {
    bulkhead: &'a Bulkhead,
    stage: Stage,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Still in line, or at the head of it and handed a slot that is not collected yet.
    InLine(u64),
    /// There was no line: a slot is ours.
    Entered,
    /// The slot was collected.
    Done,
}

impl<'a> Future for Waiting<'a> {
    type Output = Slot<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Slot<'a>> {
        let bulkhead = self.bulkhead;
        if let Stage::InLine(ticket) = self.stage
            && let Some(waker) = bulkhead.lock().waiters.get_mut(&ticket)
        {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        match mem::replace(&mut self.stage, Stage::Done) {
            // Waiting for ever instead of panicking: the contract of `Future` leaves it open.
            Stage::Done => Poll::Pending,
            Stage::InLine(_) | Stage::Entered => Poll::Ready(Slot { bulkhead }),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        match self.stage {
            Stage::Done => {}
            Stage::Entered => self.bulkhead.leave(),
            Stage::InLine(ticket) => {
                let mut line = self.bulkhead.lock();
                let left = line.waiters.remove(&ticket).is_some();
                if left {
                    self.bulkhead.counts.fetch_sub(WAITER, Ordering::AcqRel);
                }
                drop(line);
                if !left {
                    self.bulkhead.leave();
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "bulkhead_tests.rs"]
mod tests;
