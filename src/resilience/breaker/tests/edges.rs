//! Closed and open: what opens a breaker, what an open one does, and what never counts.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

#[test]
fn a_new_breaker_is_closed_and_admits() {
    let (breaker, log) = breaker(exact());
    assert_eq!((breaker.name(), breaker.state()), ("test", State::Closed));
    assert!(!breaker.refusing());
    assert_eq!(breaker.probe_due_at(), None);
    call(&breaker, Verdict::Success, at(1_000));
    assert!(log.events().is_empty());
    breaker.assert_invariants(at(1_000));
}

#[test]
fn too_few_calls_open_nothing_and_the_first_sufficient_failure_does() {
    let (breaker, log) = breaker(exact());
    calls(&breaker, 19, Verdict::Failure, at(2_000));
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Verdict::Failure, at(2_000));
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(log.events(), [(State::Closed, State::Open, Cause::FailureRatio)]);
    breaker.assert_invariants(at(2_000));
}

#[test]
fn half_of_the_calls_failing_opens_and_less_does_not() {
    let (breaker, _) = breaker(exact());
    calls(&breaker, 11, Verdict::Success, at(2_000));
    calls(&breaker, 10, Verdict::Failure, at(2_000));
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Verdict::Failure, at(2_000));
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_success_never_opens() {
    let (breaker, _) = breaker(exact());
    calls(&breaker, 15, Verdict::Failure, at(2_000));
    calls(&breaker, 5, Verdict::Success, at(2_000));
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Verdict::Failure, at(2_000));
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn failures_that_left_the_window_do_not_count() {
    let (breaker, _) = breaker(exact());
    calls(&breaker, 19, Verdict::Failure, at(2_000));
    call(&breaker, Verdict::Failure, at(12_000));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot(at(12_000)).failures, 1);
}

#[test]
fn a_detector_opens_at_once_and_is_told_whether_it_did() {
    for cause in [Cause::Stall, Cause::Connect] {
        let (breaker, log) = breaker(exact());
        assert!(breaker.trip(cause, at(2_000)));
        assert!(!breaker.trip(cause, at(2_000)));
        assert_eq!(log.events(), [(State::Closed, State::Open, cause)]);
        assert_eq!(breaker.snapshot(at(2_000)).opened_total, 1);
    }
}

#[test]
fn an_open_breaker_refuses_and_says_exactly_how_long() {
    let (breaker, _) = opened();
    for (now, left) in [(2_000, 500), (2_100, 400), (2_499, 1)] {
        let refused = breaker.admit(at(now)).unwrap_err();
        assert_eq!(refused, Refused { state: State::Open, retry_after: Duration::from_millis(left) });
    }
    assert_eq!(breaker.probe_due_at(), Some(at(2_500)));
}

#[test]
fn an_open_breaker_stays_open_until_somebody_probes() {
    let (breaker, log) = opened();
    let refused = breaker.admit(at(3_600_000)).unwrap_err();
    assert_eq!(refused, Refused { state: State::Open, retry_after: SOONEST });
    assert_eq!(log.events().len(), 1);
}

#[test]
fn a_refused_call_is_no_call() {
    let (breaker, _) = opened();
    let before = breaker.snapshot(at(2_100));
    for _ in 0..5 {
        assert!(breaker.admit(at(2_100)).is_err());
    }
    let after = breaker.snapshot(at(2_100));
    assert_eq!((after.calls, after.rejected_total), (before.calls, 5));
    assert_eq!(after.outcomes, Outcomes { rejected: 5, ..before.outcomes });
}

#[test]
fn a_late_result_of_an_older_generation_changes_nothing() {
    let (breaker, log) = breaker(exact());
    let old: Vec<_> = (0..30).map(|_| breaker.admit(at(1_500)).unwrap()).collect();
    breaker.trip(Cause::Stall, at(2_000));
    recover(&breaker, at(2_500));
    let events = log.events();
    for (mut admission, verdict) in old.into_iter().zip([Verdict::Failure, Verdict::Success].into_iter().cycle()) {
        admission.slow(at(3_000));
        admission.finish(verdict, at(3_000));
    }
    let snapshot = breaker.snapshot(at(3_000));
    assert_eq!((snapshot.state, snapshot.calls), (State::Closed, 0));
    assert_eq!(snapshot.outcomes, Outcomes { late: 30, ..Outcomes::default() });
    assert_eq!(log.events(), events);
}

#[test]
fn a_late_success_does_not_close_and_a_late_failure_does_not_reopen() {
    let (breaker, _) = breaker(exact());
    let (first, second, third) =
        (breaker.admit(at(1_500)).unwrap(), breaker.admit(at(1_500)).unwrap(), breaker.admit(at(1_500)).unwrap());
    breaker.trip(Cause::Stall, at(2_000));
    first.finish(Verdict::Success, at(2_100));
    assert_eq!(breaker.state(), State::Open);
    let _probing = breaker.start_probing(at(2_500));
    second.finish(Verdict::Failure, at(2_600));
    third.finish(Verdict::Success, at(2_600));
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.assert_invariants(at(2_600));
}

#[test]
fn a_cancelled_call_is_ignored() {
    let (breaker, _) = breaker(exact());
    for _ in 0..30 {
        drop(breaker.admit(at(2_000)).unwrap());
    }
    let snapshot = breaker.snapshot(at(2_000));
    assert_eq!((snapshot.state, snapshot.calls), (State::Closed, 0));
    assert_eq!(snapshot.outcomes, Outcomes { ignored: 30, ..Outcomes::default() });
}

#[test]
fn an_ignored_verdict_touches_no_window() {
    let (breaker, _) = breaker(exact());
    calls(&breaker, 30, Verdict::Ignored, at(2_000));
    let snapshot = breaker.snapshot(at(2_000));
    assert_eq!((snapshot.state, snapshot.calls, snapshot.outcomes.ignored), (State::Closed, 0, 30));
}

#[test]
fn a_panicking_call_counts_as_failure() {
    let (breaker, _) = breaker(exact());
    for _ in 0..19 {
        drop_in_panic(breaker.admit(at(2_000)).unwrap());
    }
    assert_eq!(breaker.snapshot(at(2_000)).failures, 19);
    drop_in_panic(breaker.admit(at(2_000)).unwrap());
    assert_eq!((breaker.state(), breaker.snapshot(at(2_000)).outcomes.failure), (State::Open, 20));
}

#[test]
fn opening_clears_the_window_and_so_does_closing() {
    let (breaker, _) = breaker(exact());
    calls(&breaker, 20, Verdict::Failure, at(2_000));
    assert_eq!((breaker.state(), breaker.snapshot(at(2_000)).calls), (State::Open, 0));
    // Slipped in between the look at the word and the transition.
    breaker.window.record_failure(at(2_000));
    recover(&breaker, at(2_500));
    assert_eq!(breaker.snapshot(at(2_500)).calls, 0);
}

#[test]
fn opening_again_soon_after_closing_waits_longer_and_after_a_stable_time_does_not() {
    let (breaker, _) = opened();
    recover(&breaker, at(2_500));
    breaker.trip(Cause::Stall, at(3_000));
    assert_eq!(breaker.probe_due_at(), Some(at(4_000)));
    recover(&breaker, at(4_000));
    breaker.trip(Cause::Stall, at(14_000));
    assert_eq!(breaker.probe_due_at(), Some(at(14_500)));
}

#[test]
fn every_opening_wakes_those_who_wait_for_it_and_a_closing_does_not() {
    fn ready(future: std::pin::Pin<&mut Notified<'_>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }
    let (breaker, _) = breaker(exact());

    let (mut polled, unpolled) = (pin!(breaker.opened()), breaker.opened());
    assert!(!ready(polled.as_mut()));
    breaker.trip(Cause::Stall, at(2_000));
    assert!(ready(polled));
    assert!(ready(pin!(unpolled)));

    let mut waiting = pin!(breaker.opened());
    breaker.start_probing(at(2_500)).unwrap().failed(at(2_500));
    assert!(ready(waiting.as_mut()));

    let mut waiting = pin!(breaker.opened());
    recover(&breaker, at(3_000));
    breaker.override_state(Override::Disabled, at(3_000));
    assert!(!ready(waiting.as_mut()));
    breaker.override_state(Override::ForcedOpen, at(3_000));
    assert!(ready(waiting.as_mut()));
}

#[test]
fn a_snapshot_tells_state_figures_and_totals() {
    let (breaker, _) = breaker(exact());
    calls(&breaker, 3, Verdict::Success, at(1_500));
    call(&breaker, Verdict::Failure, at(1_500));
    let closed = breaker.snapshot(at(1_600));
    assert_eq!((closed.name, closed.state, closed.since, closed.retry_after), ("test", State::Closed, at(1_000), None));
    assert_eq!((closed.calls, closed.failures, closed.failure_ratio, closed.slow_ratio), (4, 1, 0.25, 0.0));
    assert_eq!((closed.rejected_total, closed.opened_total), (0, 0));

    breaker.trip(Cause::Stall, at(2_000));
    assert!(breaker.admit(at(2_100)).is_err());
    let open = breaker.snapshot(at(2_100));
    assert_eq!((open.state, open.since, open.retry_after), (State::Open, at(2_000), Some(Duration::from_millis(400))));
    assert_eq!((open.calls, open.failure_ratio, open.rejected_total, open.opened_total), (0, 0.0, 1, 1));
}

#[test]
fn an_observer_may_read_the_breaker_and_finds_the_new_state() {
    #[derive(Default)]
    struct Reader {
        breaker: Mutex<Option<std::sync::Weak<Breaker>>>,
        seen: Mutex<Vec<State>>,
    }
    impl Observer for Reader {
        fn breaker_transition(&self, _: &'static str, _: State, to: State, _: Cause) {
            let breaker = self.breaker.lock().unwrap().as_ref().and_then(std::sync::Weak::upgrade).unwrap();
            assert_eq!(breaker.snapshot(at(2_000)).state, to);
            self.seen.lock().unwrap().push(breaker.state());
        }
    }
    let reader = Arc::new(Reader::default());
    let breaker = Arc::new(Breaker::new("test", exact(), reader.clone(), at(1_000)));
    *reader.breaker.lock().unwrap() = Some(Arc::downgrade(&breaker));
    breaker.trip(Cause::Stall, at(2_000));
    recover(&breaker, at(2_500));
    assert_eq!(*reader.seen.lock().unwrap(), [State::Open, State::HalfOpen, State::Closed]);
}

#[test]
fn a_panicking_observer_leaves_a_sound_breaker() {
    struct Clumsy;
    impl Observer for Clumsy {
        fn breaker_transition(&self, _: &'static str, _: State, to: State, _: Cause) {
            if to == State::Open {
                panic::resume_unwind(Box::new("planned"));
            }
        }
    }
    let breaker = Breaker::new("test", exact(), Arc::new(Clumsy), at(1_000));
    assert!(panic::catch_unwind(AssertUnwindSafe(|| breaker.trip(Cause::Stall, at(2_000)))).is_err());
    breaker.assert_invariants(at(2_000));
    recover(&breaker, at(2_500));
}

#[test]
fn senseless_settings_still_make_a_breaker_that_opens_and_closes() {
    for wait in [Duration::ZERO, Duration::MAX] {
        let (breaker, _) = breaker(Settings {
            window: wait,
            buckets: 0,
            minimum_calls: 0,
            failure_ratio: 0.0,
            slow_call_after: Duration::MAX,
            slow_ratio: f64::NAN,
            open_wait: wait,
            open_wait_max: wait,
            stable_after: wait,
            jitter: f64::NAN,
            probes_to_close: 0,
            half_open_max: wait,
            seed: 0,
        });
        call(&breaker, Verdict::Success, at(2_000));
        assert_eq!(breaker.state(), State::Closed);
        call(&breaker, Verdict::Failure, at(2_000));
        assert_eq!(breaker.state(), State::Open);
        breaker.assert_invariants(at(2_000));
        recover(&breaker, breaker.probe_due_at().unwrap());
    }
}

#[test]
fn words_are_spelled_as_reports_expect() {
    assert_eq!(State::ALL.map(State::as_str), ["closed", "open", "half_open", "forced_open", "disabled"]);
    assert_eq!(Cause::ProbesPassed.as_str(), "probes_passed");
    assert_eq!(Override::Automatic.as_str(), "automatic");
}
