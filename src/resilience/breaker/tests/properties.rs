//! Random histories of one breaker, checked after every step.

use std::collections::HashMap;
use std::mem;

use proptest::prelude::*;

use super::*;

#[derive(Copy, Clone, Debug)]
enum Step {
    Admit,
    Finish(usize, Verdict),
    Slow(usize),
    Cancel(usize),
    Panic(usize),
    Trip,
    StartProbing,
    Pass(usize),
    Fail(usize),
    DropProbing(usize),
    LeakProbing(usize),
    Command(Override),
    Advance(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Step::*;
    let verdict = prop_oneof![
        2 => Just(Verdict::Success),
        4 => Just(Verdict::Failure),
        1 => Just(Verdict::Ignored),
    ];
    let step = prop_oneof![
        12 => Just(Admit),
        8 => (any::<usize>(), verdict).prop_map(|(which, verdict)| Finish(which, verdict)),
        3 => any::<usize>().prop_map(Slow),
        1 => any::<usize>().prop_map(Cancel),
        1 => any::<usize>().prop_map(Panic),
        1 => Just(Trip),
        5 => Just(StartProbing),
        6 => any::<usize>().prop_map(Pass),
        1 => any::<usize>().prop_map(Fail),
        1 => any::<usize>().prop_map(DropProbing),
        1 => any::<usize>().prop_map(LeakProbing),
        1 => prop_oneof![
            2 => Just(Override::Automatic),
            1 => Just(Override::ForcedOpen),
            1 => Just(Override::Disabled),
        ].prop_map(Command),
        6 => (0..400_u64).prop_map(Advance),
        2 => (0..3_000_u64).prop_map(Advance),
    ];
    proptest::collection::vec(step, 1..250)
}

/// A breaker under test with everything its callers and probers hold, oldest first.
struct History<'a> {
    breaker: &'a Breaker,
    log: &'a Log,
    now: Moment,
    calls: Vec<(Admission<'a>, u64, Moment)>,
    probings: Vec<(Probing<'a>, u64)>,
    probes: HashMap<u64, u32>,
    expected: Outcomes,
}

impl<'a> History<'a> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Admit => self.admit(),
            Step::Finish(which, verdict) => {
                let now = self.now;
                self.end_call(which, verdict, Some(now), |admission| admission.finish(verdict, now));
            }
            Step::Cancel(which) => self.end_call(which, Verdict::Ignored, None, drop),
            Step::Panic(which) => self.end_call(which, Verdict::Failure, None, drop_in_panic),
            Step::Slow(which) => self.slow(which),
            Step::Trip => {
                let closed = self.breaker.state() == State::Closed;
                assert_eq!(self.breaker.trip(Cause::Stall, self.now), closed);
            }
            Step::StartProbing => self.start_probing(),
            Step::Pass(which) => self.pass(which),
            Step::Fail(which) => {
                let now = self.now;
                self.end_probing(which, State::Open, |probing| probing.failed(now));
            }
            Step::DropProbing(which) => self.end_probing(which, State::Open, drop),
            Step::LeakProbing(which) => self.end_probing(which, State::HalfOpen, mem::forget),
            Step::Command(wanted) => self.override_state(wanted),
            Step::Advance(millis) => self.now = self.now + Duration::from_millis(millis),
        }
        self.check();
    }

    fn check(&self) {
        self.breaker.assert_invariants(self.now);
        let snapshot = self.breaker.snapshot(self.now);
        // Slow calls are left to the window's model: which call is slow depends on its age.
        let expected = Outcomes { slow: snapshot.outcomes.slow, ..self.expected };
        assert_eq!(snapshot.outcomes, expected);
        assert_eq!(snapshot.rejected_total, self.expected.rejected);
        assert_eq!(self.log.assert_is_a_walk(), snapshot.state);
        let openings = self.log.events().iter().filter(|event| event.1 == State::Open).count();
        assert_eq!(snapshot.opened_total, openings as u64);
    }

    fn admit(&mut self) {
        let before = self.breaker.snapshot(self.now);
        match self.breaker.admit(self.now) {
            Ok(admission) => {
                assert!(!before.state.refuses(), "admitted while {:?}", before.state);
                self.calls.push((admission, self.breaker.generation(), self.now));
            }
            Err(refused) => {
                assert!(before.state.refuses());
                assert_eq!(refused.state, before.state);
                assert!(refused.retry_after > Duration::ZERO);
                assert!(refused.retry_after <= self.breaker.settings.open_wait_max);
                self.expected.rejected += 1;
            }
        }
        let after = self.breaker.snapshot(self.now);
        assert_eq!((after.state, after.calls), (before.state, before.calls), "asking changes nothing");
    }

    /// `at` is when it ends; without, the breaker knows of its admission only and judges by the window of that moment.
    fn end_call(&mut self, which: usize, verdict: Verdict, at: Option<Moment>, end: impl FnOnce(Admission<'a>)) {
        let Some((admission, generation, admitted)) = take(&mut self.calls, which) else { return };
        let stale = generation != self.breaker.generation();
        let before = self.breaker.snapshot(self.now);
        end(admission);
        let after = self.breaker.snapshot(self.now);
        if stale {
            self.expected.late += 1;
            let late = Outcomes { late: before.outcomes.late + 1, ..before.outcomes };
            assert_eq!(after, Snapshot { outcomes: late, ..before });
            return;
        }
        match verdict {
            Verdict::Success => self.expected.success += 1,
            Verdict::Failure => self.expected.failure += 1,
            Verdict::Ignored => self.expected.ignored += 1,
        }
        assert!(after.calls <= before.calls + 1);
        self.assert_tripped_iff_due(verdict == Verdict::Failure, at.unwrap_or(admitted));
    }

    fn slow(&mut self, which: usize) {
        let now = self.now;
        let Some(index) = pick(which, self.calls.len()) else { return };
        let (admission, generation, _) = &mut self.calls[index];
        let stale = *generation != self.breaker.generation();
        let before = self.breaker.snapshot(now);
        admission.slow(now);
        let after = self.breaker.snapshot(now);
        if stale {
            assert_eq!(after, before);
        }
        let once = self.breaker.snapshot(now);
        self.calls[index].0.slow(now);
        assert_eq!(self.breaker.snapshot(now), once, "slow counts once");
    }

    /// After a failure the breaker is not closed over a full and failing window; after opening the
    /// window is empty.
    fn assert_tripped_iff_due(&self, failed: bool, judged: Moment) {
        let (snapshot, settings) = (self.breaker.snapshot(judged), &self.breaker.settings);
        match snapshot.state {
            State::Closed if failed => {
                let enough = snapshot.calls >= u64::from(settings.minimum_calls);
                assert!(!enough || snapshot.failure_ratio < settings.failure_ratio);
            }
            State::Open => assert_eq!(snapshot.calls, 0),
            _ => {}
        }
    }

    fn start_probing(&mut self) {
        let due = self.breaker.probe_due_at().is_some_and(|due| due <= self.now);
        let before = self.breaker.generation();
        match self.breaker.start_probing(self.now) {
            Some(probing) => {
                assert!(due && self.breaker.state() == State::HalfOpen);
                assert_eq!(self.breaker.generation(), before + 1);
                self.probings.push((probing, before + 1));
            }
            None => assert!(!due, "a due probe was refused"),
        }
    }

    fn pass(&mut self, which: usize) {
        let Some(index) = pick(which, self.probings.len()) else { return };
        let (probing, generation) = &mut self.probings[index];
        let stale = *generation != self.breaker.generation();
        assert_eq!(probing.is_current(), !stale);
        let before = self.breaker.snapshot(self.now);
        let progress = probing.passed(self.now);
        if stale {
            assert_eq!(progress, Progress::Closed);
            assert_eq!(self.breaker.snapshot(self.now), before);
            return;
        }
        let passed = self.probes.entry(*generation).or_default();
        *passed += 1;
        let needed = self.breaker.settings.probes_to_close;
        assert!(*passed <= needed, "more probes than configured");
        assert_eq!(progress == Progress::Closed, *passed == needed);
        let expected = if *passed == needed { State::Closed } else { State::HalfOpen };
        assert_eq!(self.breaker.state(), expected);
    }

    fn end_probing(&mut self, which: usize, expected: State, end: impl FnOnce(Probing<'a>)) {
        let Some((probing, generation)) = take(&mut self.probings, which) else { return };
        let stale = generation != self.breaker.generation();
        let before = self.breaker.snapshot(self.now);
        end(probing);
        if stale {
            assert_eq!(self.breaker.snapshot(self.now), before);
        } else {
            assert_eq!(self.breaker.state(), expected);
        }
    }

    fn override_state(&mut self, wanted: Override) {
        let before = self.breaker.snapshot(self.now);
        self.breaker.override_state(wanted, self.now);
        let expected = match (wanted, before.state) {
            (Override::ForcedOpen, _) => State::ForcedOpen,
            (Override::Disabled, _) => State::Disabled,
            (Override::Automatic, State::ForcedOpen | State::Disabled) => State::Closed,
            (Override::Automatic, state) => state,
        };
        let after = self.breaker.snapshot(self.now);
        assert_eq!(after.state, expected);
        if before.state != State::Closed && expected == State::Closed {
            assert_eq!(after.calls, 0, "a fresh window");
        }
    }

    /// Whatever happened, and whoever forgot to report: once probes pass, the breaker is closed.
    fn assert_not_wedged(mut self) {
        self.probings.drain(..).for_each(|(probing, _)| mem::forget(probing));
        self.breaker.override_state(Override::Automatic, self.now);
        if let Some(due) = self.breaker.probe_due_at() {
            recover(self.breaker, due.max(self.now));
        }
        assert_eq!(self.breaker.state(), State::Closed);
    }
}

fn pick(which: usize, len: usize) -> Option<usize> {
    (len > 0).then(|| which % len)
}

fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    pick(which, from.len()).map(|index| from.remove(index))
}

proptest! {
    #[test]
    fn any_history_keeps_the_invariants_and_wedges_nothing(
        steps in steps(),
        seed in any::<u64>(),
        jitter in 0.0..=1.0_f64,
        minimum_calls in 1..6_u32,
        probes_to_close in 1..4_u32,
    ) {
        let settings = Settings { minimum_calls, probes_to_close, jitter, seed, ..Settings::default() };
        let (breaker, log) = breaker(settings);
        let mut history = History {
            breaker: &breaker,
            log: &log,
            now: at(1_000),
            calls: Vec::new(),
            probings: Vec::new(),
            probes: HashMap::new(),
            expected: Outcomes::default(),
        };
        for step in steps {
            history.step(step);
        }
        history.assert_not_wedged();
    }
}
