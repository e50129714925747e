//! Half-open: who probes, how often, and what becomes of a prober that does not answer.

use std::mem;

use super::*;

#[test]
fn probing_starts_when_the_open_wait_is_over_and_not_before() {
    let (breaker, log) = opened();
    let almost = Moment::from_micros(2_499_999);
    assert!(breaker.start_probing(almost).is_none());
    assert_eq!(breaker.state(), State::Open);
    let probing = breaker.start_probing(at(2_500));
    assert!(probing.is_some());
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(log.events().last(), Some(&(State::Open, State::HalfOpen, Cause::ProbeDue)));
    breaker.assert_invariants(at(2_500));
}

#[test]
fn a_closed_breaker_is_not_probed() {
    let (breaker, _) = breaker(exact());
    assert!(breaker.start_probing(at(9_000)).is_none());
}

#[test]
fn half_open_admits_no_caller_and_exactly_the_configured_probes() {
    let (breaker, log) = opened();
    let mut probing = breaker.start_probing(at(2_500)).unwrap();
    for probe in 1..=3 {
        let refused = breaker.admit(at(2_500)).unwrap_err();
        assert_eq!(refused, Refused { state: State::HalfOpen, retry_after: Duration::from_millis(500) });
        assert!(breaker.start_probing(at(2_500)).is_none(), "one prober at a time");
        let expected = if probe < 3 { Progress::More } else { Progress::Closed };
        assert_eq!(probing.passed(at(2_510)), expected);
    }
    assert!(!probing.is_current());
    assert_eq!(log.events().last(), Some(&(State::HalfOpen, State::Closed, Cause::ProbesPassed)));
    drop(probing);
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Verdict::Success, at(2_520));
    breaker.assert_invariants(at(2_520));
}

#[test]
fn a_probe_passed_after_closing_changes_nothing() {
    let (breaker, _) = opened();
    let mut probing = breaker.start_probing(at(2_500)).unwrap();
    while probing.passed(at(2_500)) == Progress::More {}
    let generation = breaker.generation();
    assert_eq!(probing.passed(at(2_500)), Progress::Closed);
    probing.failed(at(2_600));
    assert_eq!((breaker.state(), breaker.generation()), (State::Closed, generation));
}

#[test]
fn a_failed_probe_opens_again_for_the_plain_wait() {
    let (breaker, log) = opened();
    let mut now = 2_500;
    for _ in 0..10 {
        let mut probing = breaker.start_probing(at(now)).unwrap();
        assert_eq!(probing.passed(at(now + 10)), Progress::More);
        probing.failed(at(now + 20));
        assert_eq!(log.events().last(), Some(&(State::HalfOpen, State::Open, Cause::ProbeFailed)));
        assert_eq!(breaker.probe_due_at(), Some(at(now + 520)));
        now += 520;
        breaker.assert_invariants(at(now));
    }
    assert_eq!(breaker.snapshot(at(now)).opened_total, 11);
}

#[test]
fn passed_probes_of_an_earlier_half_open_do_not_count() {
    let (breaker, _) = opened();
    let mut probing = breaker.start_probing(at(2_500)).unwrap();
    assert_eq!(probing.passed(at(2_500)), Progress::More);
    assert_eq!(probing.passed(at(2_500)), Progress::More);
    probing.failed(at(2_500));
    let mut probing = breaker.start_probing(at(3_000)).unwrap();
    let progress = [probing.passed(at(3_000)), probing.passed(at(3_000)), probing.passed(at(3_000))];
    assert_eq!(progress, [Progress::More, Progress::More, Progress::Closed]);
}

#[test]
fn a_dropped_probing_has_failed_as_of_when_it_was_last_heard_of() {
    let (breaker, log) = opened();
    let mut probing = breaker.start_probing(at(2_500)).unwrap();
    assert_eq!(probing.passed(at(2_600)), Progress::More);
    drop(probing);
    assert_eq!(log.events().last(), Some(&(State::HalfOpen, State::Open, Cause::ProbeFailed)));
    assert_eq!(breaker.probe_due_at(), Some(at(3_100)));
    breaker.assert_invariants(at(2_600));
}

#[test]
fn a_prober_that_panics_has_failed() {
    let (breaker, _) = opened();
    drop_in_panic(breaker.start_probing(at(2_500)).unwrap());
    assert_eq!(breaker.state(), State::Open);
    recover(&breaker, at(3_000));
}

#[test]
fn a_leaked_probing_is_replaced_after_the_half_open_bound() {
    let (breaker, log) = opened();
    mem::forget(breaker.start_probing(at(2_500)).unwrap());
    assert_eq!(breaker.probe_due_at(), Some(at(4_500)));
    assert!(breaker.start_probing(at(4_499)).is_none());
    let events = log.events();
    let mut second = breaker.start_probing(at(4_500)).unwrap();
    assert_eq!(log.events(), events, "half-open to half-open is no transition");
    assert_eq!(breaker.snapshot(at(4_500)).since, at(2_500));
    while second.passed(at(4_600)) == Progress::More {}
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_replaced_prober_has_no_say_any_more() {
    let (breaker, _) = opened();
    let mut passing = breaker.start_probing(at(2_500)).unwrap();
    assert_eq!(passing.passed(at(2_500)), Progress::More);
    let failing = breaker.start_probing(at(4_500)).unwrap();
    let current = breaker.start_probing(at(6_500)).unwrap();
    assert!(!passing.is_current());
    assert_eq!(passing.passed(at(6_500)), Progress::Closed, "over, and nothing closed by it");
    failing.failed(at(6_500));
    drop(passing);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(current.is_current());
}

#[test]
fn a_detector_does_not_open_a_half_open_breaker() {
    let (breaker, _) = opened();
    let probing = breaker.start_probing(at(2_500)).unwrap();
    assert!(!breaker.trip(Cause::Stall, at(2_600)));
    assert!(probing.is_current());
}
