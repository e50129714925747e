//! Slow calls: seen in flight and on finish, once each, and never against the caller's wish.

use super::*;

const SLOW: u64 = 300;

#[test]
fn slow_calls_count_while_still_in_flight() {
    let (breaker, log) = breaker(exact());
    let mut hanging: Vec<_> = (0..20).map(|_| breaker.admit(at(2_000)).unwrap()).collect();
    for admission in &mut hanging[..19] {
        admission.slow(at(2_000 + SLOW));
    }
    assert_eq!(breaker.snapshot(at(2_300)).calls, 19);
    assert_eq!(breaker.state(), State::Closed);
    hanging[19].slow(at(2_000 + SLOW));
    assert_eq!(log.events(), [(State::Closed, State::Open, Cause::SlowRatio)]);
    drop(hanging);
    let outcomes = breaker.snapshot(at(2_300)).outcomes;
    assert_eq!((outcomes.slow, outcomes.late), (20, 20));
    breaker.assert_invariants(at(2_300));
}

#[test]
fn a_call_is_slow_from_the_threshold_on_and_counts_once() {
    let (breaker, _) = breaker(exact());
    let mut admission = breaker.admit(at(2_000)).unwrap();
    admission.slow(Moment::from_micros(2_299_999));
    assert_eq!(breaker.snapshot(at(2_300)).outcomes.slow, 0);
    admission.slow(at(2_300));
    admission.slow(at(2_400));
    admission.finish(Verdict::Success, at(2_500));
    let snapshot = breaker.snapshot(at(2_500));
    assert_eq!((snapshot.calls, snapshot.slow_ratio), (1, 1.0));
    assert_eq!(snapshot.outcomes, Outcomes { success: 1, slow: 1, ..Outcomes::default() });
}

#[test]
fn a_success_that_took_too_long_is_slow_without_being_told() {
    let (breaker, log) = breaker(exact());
    for _ in 0..2 {
        calls(&breaker, 1, Verdict::Success, at(2_000));
    }
    for _ in 0..18 {
        breaker.admit(at(2_000)).unwrap().finish(Verdict::Success, at(2_000 + SLOW));
    }
    assert_eq!(log.events(), [(State::Closed, State::Open, Cause::SlowRatio)]);
    let outcomes = breaker.snapshot(at(2_300)).outcomes;
    assert_eq!((outcomes.success, outcomes.slow), (20, 18));
}

#[test]
fn a_slow_call_that_fails_is_one_call() {
    let (breaker, _) = breaker(exact());
    let mut admission = breaker.admit(at(2_000)).unwrap();
    admission.slow(at(2_300));
    admission.finish(Verdict::Failure, at(2_400));
    let snapshot = breaker.snapshot(at(2_400));
    assert_eq!((snapshot.calls, snapshot.failures, snapshot.slow_ratio), (1, 1, 1.0));
}

#[test]
fn a_slow_call_whose_caller_leaves_stays_slow() {
    let (breaker, _) = breaker(exact());
    let mut admission = breaker.admit(at(2_000)).unwrap();
    admission.slow(at(2_300));
    drop(admission);
    let snapshot = breaker.snapshot(at(2_300));
    assert_eq!((snapshot.calls, snapshot.failures, snapshot.slow_ratio), (1, 0, 1.0));
    assert_eq!(snapshot.outcomes, Outcomes { ignored: 1, slow: 1, ..Outcomes::default() });
}

#[test]
fn an_untimed_call_is_never_slow() {
    let (breaker, _) = breaker(exact());
    for _ in 0..30 {
        let mut admission = breaker.admit(at(2_000)).unwrap().untimed();
        admission.slow(at(5_000));
        admission.finish(Verdict::Success, at(5_000));
    }
    let snapshot = breaker.snapshot(at(5_000));
    assert_eq!((snapshot.state, snapshot.calls, snapshot.outcomes.slow), (State::Closed, 30, 0));
}
