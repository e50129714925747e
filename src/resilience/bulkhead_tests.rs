//! Tests of the bulkhead: bounds, order, and waiters that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::thread;

use proptest::prelude::*;

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn look<'a>(waiting: &mut Waiting<'a>) -> Option<Slot<'a>> {
    poll(waiting, &Arc::new(Bell::default()))
}

fn poll<'a>(waiting: &mut Waiting<'a>, bell: &Arc<Bell>) -> Option<Slot<'a>> {
    let waker = Waker::from(Arc::clone(bell));
    match Pin::new(waiting).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(slot) => Some(slot),
        Poll::Pending => None,
    }
}

impl Bulkhead {
    fn assert_invariants(&self) {
        assert!(self.in_flight() <= self.limit(), "more in flight than the limit");
        assert!(self.waiting() as u64 <= self.queue, "more waiting than the queue");
        assert!(self.waiting() == 0 || self.in_flight() == self.limit(), "somebody waits beside a free slot");
        assert_eq!(self.waiting(), self.lock().waiters.len(), "the line and its count differ");
    }
}

#[test]
fn the_limit_can_be_reached_and_not_passed() {
    let bulkhead = Bulkhead::new(2, 0);
    let slots: Vec<_> = (0..2).map(|_| bulkhead.try_enter().expect("a free slot")).collect();
    assert!(bulkhead.try_enter().is_none());
    assert_eq!(bulkhead.enqueue().err(), Some(Full));
    drop(slots);
    assert_eq!(bulkhead.in_flight(), 0);
    assert!(bulkhead.try_enter().is_some());
}

#[test]
fn the_line_can_be_filled_and_no_further() {
    let bulkhead = Bulkhead::new(1, 2);
    let _slot = bulkhead.try_enter();
    let line = (bulkhead.enqueue().unwrap(), bulkhead.enqueue().unwrap());
    assert_eq!(bulkhead.waiting(), 2);
    assert_eq!(bulkhead.enqueue().err(), Some(Full));
    drop(line);
    assert_eq!(bulkhead.waiting(), 0);
}

#[test]
fn without_a_line_a_slot_is_ready_at_the_first_look() {
    let bulkhead = Bulkhead::new(1, 0);
    let mut waiting = bulkhead.enqueue().unwrap();
    assert_eq!(bulkhead.in_flight(), 1);
    let slot = look(&mut waiting);
    assert!(slot.is_some());
    drop(waiting);
    assert_eq!(bulkhead.in_flight(), 1);
    drop(slot);
    assert_eq!(bulkhead.in_flight(), 0);
}

#[test]
fn first_come_is_first_served_whoever_looks_first() {
    let bulkhead = Bulkhead::new(1, 3);
    let slot = bulkhead.try_enter();
    let mut first = bulkhead.enqueue().unwrap();
    let mut second = bulkhead.enqueue().unwrap();
    assert!(look(&mut second).is_none());
    drop(slot);
    assert!(look(&mut second).is_none());
    let slot = look(&mut first);
    assert!(slot.is_some());
    drop(slot);
    assert!(look(&mut second).is_some());
}

#[test]
fn a_newcomer_does_not_snatch_a_handed_over_slot() {
    let bulkhead = Bulkhead::new(1, 1);
    let slot = bulkhead.try_enter();
    let mut waiting = bulkhead.enqueue().unwrap();
    drop(slot);
    assert!(bulkhead.try_enter().is_none());
    assert!(look(&mut waiting).is_some());
}

#[test]
fn the_one_served_is_woken_and_nobody_else() {
    let bulkhead = Bulkhead::new(1, 2);
    let slot = bulkhead.try_enter();
    let (bell, other) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    let mut first = bulkhead.enqueue().unwrap();
    let mut second = bulkhead.enqueue().unwrap();
    assert!(poll(&mut first, &other).is_none());
    // The last waker counts: a future may move between tasks.
    assert!(poll(&mut first, &bell).is_none());
    assert!(poll(&mut second, &other).is_none());
    drop(slot);
    assert_eq!((bell.rung(), other.rung()), (1, 0));
}

#[test]
fn a_cancelled_waiter_leaves_the_line_to_the_next() {
    let bulkhead = Bulkhead::new(1, 2);
    let slot = bulkhead.try_enter();
    let first = bulkhead.enqueue().unwrap();
    let mut second = bulkhead.enqueue().unwrap();
    drop(first);
    drop(slot);
    assert!(look(&mut second).is_some());
}

#[test]
fn a_waiter_cancelled_after_being_served_passes_its_slot_on() {
    let bulkhead = Bulkhead::new(1, 2);
    let bell = Arc::new(Bell::default());
    let slot = bulkhead.try_enter();
    let first = bulkhead.enqueue().unwrap();
    let mut second = bulkhead.enqueue().unwrap();
    assert!(poll(&mut second, &bell).is_none());
    drop(slot);
    drop(first);
    assert_eq!(bell.rung(), 1);
    let slot = look(&mut second);
    assert!(slot.is_some());
    drop(slot);
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
}

#[test]
fn a_limit_of_zero_is_one() {
    let bulkhead = Bulkhead::new(0, 0);
    assert_eq!(bulkhead.limit(), 1);
    assert!(bulkhead.try_enter().is_some());
}

#[test]
fn threads_never_exceed_the_limit_and_leave_nothing_behind() {
    let bulkhead = Bulkhead::new(2, 2);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (bulkhead, inside) = (&bulkhead, &inside);
            scope.spawn(move || {
                for round in 0..5_000 {
                    let slot = bulkhead.try_enter().or_else(|| {
                        let mut waiting = bulkhead.enqueue().ok()?;
                        // Every third gives up after one look; it may have been served meanwhile.
                        let patience = if (round + worker) % 3 == 0 { 1 } else { 100_000 };
                        (0..patience).find_map(|_| {
                            thread::yield_now();
                            look(&mut waiting)
                        })
                    });
                    if let Some(slot) = slot {
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(slot);
                    }
                }
            });
        }
    });
    bulkhead.assert_invariants();
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
}

#[derive(Copy, Clone, Debug)]
enum Step {
    TryEnter,
    Enqueue,
    Poll(usize),
    Leave(usize),
    Cancel(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::TryEnter),
        Just(Step::Enqueue),
        any::<usize>().prop_map(Step::Poll),
        any::<usize>().prop_map(Step::Leave),
        any::<usize>().prop_map(Step::Cancel),
    ];
    proptest::collection::vec(step, 1..200)
}

fn pick(which: usize, len: usize) -> Option<usize> {
    (len > 0).then(|| which % len)
}

proptest! {
    #[test]
    fn the_bounds_hold_and_the_line_keeps_its_order(
        limit in 1..4_usize,
        queue in 0..4_usize,
        steps in steps(),
    ) {
        let bulkhead = Bulkhead::new(limit, queue);
        let mut slots = Vec::new();
        // In order of arrival: those served and not collected are always at the front.
        let mut line: Vec<Waiting<'_>> = Vec::new();
        for step in steps {
            let served = line.len() - bulkhead.waiting();
            match step {
                Step::TryEnter => {
                    let free = slots.len() + served < limit;
                    let slot = bulkhead.try_enter();
                    prop_assert_eq!(slot.is_some(), free);
                    slots.extend(slot);
                }
                Step::Enqueue => match bulkhead.enqueue() {
                    Ok(waiting) => {
                        // A slot without waiting belongs before those in line: there are none then.
                        line.push(waiting);
                    }
                    Err(Full) => prop_assert_eq!(bulkhead.waiting(), queue),
                },
                Step::Poll(which) => if let Some(index) = pick(which, line.len()) {
                    let slot = look(&mut line[index]);
                    prop_assert_eq!(slot.is_some(), index < served, "served out of order");
                    if slot.is_some() {
                        drop(line.remove(index));
                        slots.extend(slot);
                    }
                },
                Step::Leave(which) => if let Some(index) = pick(which, slots.len()) {
                    drop(slots.swap_remove(index));
                },
                Step::Cancel(which) => if let Some(index) = pick(which, line.len()) {
                    drop(line.remove(index));
                },
            }
            bulkhead.assert_invariants();
            let served = line.len() - bulkhead.waiting();
            prop_assert_eq!(bulkhead.in_flight(), slots.len() + served);
        }
        line.clear();
        slots.clear();
        prop_assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
    }
}
