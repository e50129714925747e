//! Four threads on one breaker: nothing is lost, nothing is out of order, nothing is stuck.

use std::hint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

const THREADS: u64 = 4;
const ROUNDS: u32 = 20_000;
/// How often two probers ask at once.
const ASKED: u64 = 5_000;

/// What one thread did.
#[derive(Default)]
struct Tally {
    admitted: u64,
    refused: u64,
}

/// One thread's work: calls that mostly fail, some held across transitions, detectors and probers.
fn hammer(breaker: &Breaker, clock: &AtomicU64, seed: u64) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    let mut held = Vec::new();
    for _ in 0..ROUNDS {
        let now = Moment::from_micros(clock.fetch_add(random.u64(0..2_000), Ordering::Relaxed));
        match breaker.admit(now) {
            Ok(admission) => {
                tally.admitted += 1;
                held.push(admission);
            }
            Err(refused) => {
                assert!(refused.retry_after > Duration::ZERO);
                tally.refused += 1;
            }
        }
        if held.len() > random.usize(0..8) {
            let mut admission = held.swap_remove(random.usize(0..held.len()));
            match random.u32(0..10) {
                0 => drop(admission),
                1 => admission.slow(now),
                2..6 => admission.finish(Verdict::Success, now),
                _ => admission.finish(Verdict::Failure, now),
            }
        }
        if random.u32(0..2_000) == 0 {
            breaker.trip(Cause::Connect, now);
        }
        if let Some(probing) = breaker.start_probing(now) {
            probe(probing, &mut random, now);
        }
        let snapshot = breaker.snapshot(now);
        assert!(snapshot.failures <= snapshot.calls);
    }
    tally
}

fn probe(mut probing: Probing<'_>, random: &mut fastrand::Rng, now: Moment) {
    match random.u32(0..8) {
        0 => probing.failed(now),
        1 => drop(probing),
        2 => std::mem::forget(probing),
        _ => while probing.passed(now) == Progress::More {},
    }
}

#[test]
fn four_threads_lose_no_call_and_break_no_order() {
    let settings = Settings {
        open_wait: Duration::from_millis(20),
        open_wait_max: Duration::from_millis(40),
        half_open_max: Duration::from_millis(50),
        ..Settings::default()
    };
    let (breaker, log) = breaker(settings);
    let clock = AtomicU64::new(1_000_000);
    let total = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| {
                let (breaker, clock) = (&breaker, &clock);
                scope.spawn(move || hammer(breaker, clock, seed))
            })
            .collect();
        // Without an operator the test would not see overrides race with probes.
        for _ in 0..200 {
            let now = Moment::from_micros(clock.load(Ordering::Relaxed));
            breaker.override_state(Override::ForcedOpen, now);
            breaker.override_state(Override::Automatic, now);
            thread::yield_now();
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Tally::default(), |sum, tally| Tally {
            admitted: sum.admitted + tally.admitted,
            refused: sum.refused + tally.refused,
        })
    });

    let now = Moment::from_micros(clock.into_inner());
    breaker.assert_invariants(now);
    let snapshot = breaker.snapshot(now);
    let Outcomes { success, failure, ignored, late, rejected, .. } = snapshot.outcomes;
    assert_eq!(success + failure + ignored + late, total.admitted);
    assert_eq!(rejected, total.refused);
    assert_eq!(log.assert_is_a_walk(), snapshot.state);
    let openings = log.events().iter().filter(|event| event.1 == State::Open).count();
    assert_eq!(snapshot.opened_total, openings as u64);
    assert!(openings > 10, "the test opened it {openings} times only");

    if let Some(due) = breaker.probe_due_at() {
        recover(&breaker, due);
    }
    assert_eq!(breaker.state(), State::Closed);
}

/// Waits for the others without sleeping: a barrier would wake them microseconds apart.
fn meet(arrived: &AtomicU64, expected: u64) {
    arrived.fetch_add(1, Ordering::AcqRel);
    for spin in 1_u64.. {
        if arrived.load(Ordering::Acquire) >= expected {
            return;
        }
        if spin.is_multiple_of(1_000) {
            thread::yield_now();
        }
        hint::spin_loop();
    }
}

#[test]
fn of_probers_that_ask_at_the_same_moment_one_probes() {
    let (breaker, _) = opened();
    let arrived = AtomicU64::new(0);
    let ask = || {
        let mut rights = Vec::new();
        for round in 0..ASKED {
            // Both ask for the take-over of the same half-open period.
            meet(&arrived, 2 * (round + 1));
            rights.extend(breaker.start_probing(at(2_500 + round * 2_000)));
        }
        rights
    };
    let (one, other) = thread::scope(|scope| {
        let (one, other) = (scope.spawn(ask), scope.spawn(ask));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!((one.len() + other.len()) as u64, ASKED);
    assert_eq!(one.iter().chain(&other).filter(|probing| probing.is_current()).count(), 1);
}
