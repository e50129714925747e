//! The operator's will: forced open, disabled, and the way back.

use super::*;

#[test]
fn forced_open_refuses_everything_and_is_never_probed() {
    let (breaker, log) = breaker(exact());
    breaker.override_state(Override::ForcedOpen, at(2_000));
    for now in [2_000, 100_000] {
        let refused = breaker.admit(at(now)).unwrap_err();
        assert_eq!(refused, Refused { state: State::ForcedOpen, retry_after: Duration::from_secs(1) });
        assert!(breaker.start_probing(at(now)).is_none());
        assert!(!breaker.trip(Cause::Stall, at(now)));
    }
    assert_eq!(breaker.probe_due_at(), None);
    assert_eq!(breaker.snapshot(at(2_000)).opened_total, 0);
    assert_eq!(log.events(), [(State::Closed, State::ForcedOpen, Cause::Operator)]);
}

#[test]
fn disabled_admits_everything_counts_it_and_never_trips() {
    let (breaker, _) = breaker(exact());
    breaker.override_state(Override::Disabled, at(2_000));
    calls(&breaker, 100, Verdict::Failure, at(2_000));
    assert!(!breaker.trip(Cause::Connect, at(2_000)));
    let snapshot = breaker.snapshot(at(2_000));
    assert_eq!((snapshot.state, snapshot.calls, snapshot.failure_ratio), (State::Disabled, 100, 1.0));
    assert_eq!(snapshot.retry_after, None);
}

#[test]
fn returning_to_automatic_closes_with_a_fresh_window_whatever_was_before() {
    type Prepare = fn(&Breaker);
    let before: [Prepare; 3] = [
        |_| {},
        |breaker| {
            breaker.trip(Cause::Stall, at(1_500));
        },
        |breaker| {
            breaker.trip(Cause::Stall, at(1_500));
            std::mem::forget(breaker.start_probing(at(2_000)));
            assert_eq!(breaker.state(), State::HalfOpen);
        },
    ];
    for prepare in before {
        for wanted in [Override::ForcedOpen, Override::Disabled] {
            let (breaker, log) = breaker(exact());
            prepare(&breaker);
            breaker.override_state(wanted, at(2_000));
            breaker.window.record_failure(at(2_000));
            breaker.override_state(Override::Automatic, at(3_000));
            let snapshot = breaker.snapshot(at(3_000));
            assert_eq!((snapshot.state, snapshot.calls, snapshot.since), (State::Closed, 0, at(3_000)));
            assert_eq!(log.assert_is_a_walk(), State::Closed);
            breaker.assert_invariants(at(3_000));
            // And the engine works as on the first day.
            assert!(breaker.trip(Cause::Stall, at(3_000)));
            assert_eq!(breaker.probe_due_at(), Some(at(3_500)));
            recover(&breaker, at(3_500));
            breaker.assert_invariants(at(3_500));
        }
    }
}

#[test]
fn overrides_replace_each_other_and_repeating_one_changes_nothing() {
    let (breaker, log) = breaker(exact());
    breaker.override_state(Override::Automatic, at(2_000));
    assert!(log.events().is_empty());
    for wanted in [Override::ForcedOpen, Override::ForcedOpen, Override::Disabled, Override::Disabled] {
        breaker.override_state(wanted, at(2_000));
    }
    assert_eq!(
        log.events(),
        [(State::Closed, State::ForcedOpen, Cause::Operator), (State::ForcedOpen, State::Disabled, Cause::Operator),]
    );
}

#[test]
fn automatic_on_an_open_breaker_leaves_it_open() {
    let (breaker, _) = opened();
    let generation = breaker.generation();
    breaker.override_state(Override::Automatic, at(2_100));
    assert_eq!((breaker.state(), breaker.generation()), (State::Open, generation));
}

#[test]
fn results_from_under_an_override_are_late_after_it() {
    let (breaker, _) = breaker(exact());
    breaker.override_state(Override::Disabled, at(2_000));
    let old: Vec<_> = (0..30).map(|_| breaker.admit(at(2_000)).unwrap()).collect();
    breaker.override_state(Override::Automatic, at(2_100));
    old.into_iter().for_each(|admission| admission.finish(Verdict::Failure, at(2_200)));
    let snapshot = breaker.snapshot(at(2_200));
    assert_eq!((snapshot.state, snapshot.calls, snapshot.outcomes.late), (State::Closed, 0, 30));
}

#[test]
fn a_prober_overridden_by_the_operator_has_no_say_any_more() {
    for wanted in [Override::ForcedOpen, Override::Disabled] {
        let (breaker, _) = opened();
        let mut probing = breaker.start_probing(at(2_500)).unwrap();
        breaker.override_state(wanted, at(2_600));
        let state = breaker.state();
        assert!(!probing.is_current());
        assert_eq!(probing.passed(at(2_700)), Progress::Closed);
        drop(probing);
        assert_eq!(breaker.state(), state);
    }
}
