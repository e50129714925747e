//! The memory of answers: its bounds one by one, and the one thing that must not happen, over random interleavings and threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::shelf::{ANSWERS_OF_A_KEY, KEY_BYTES, PLACE_BYTES};
use super::*;

const COST: usize = PLACE_BYTES + KEY_BYTES;
const HOUR: Duration = Duration::from_secs(3600);

fn answers(places: usize, answer_bytes: usize) -> Answers<u64> {
    Answers::new(Limits { bytes: places * (COST + answer_bytes), answer_bytes }, Interest::default())
}

fn question(asker: u8, call: u64) -> Question {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&call.to_be_bytes());
    Question { asker: [asker; 32], call: digest }
}

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

/// Keeps `value` as the answer to `question` about `key`, asked at `when`.
fn keep(answers: &Answers<u64>, question: Question, key: &[u8], value: u64, when: u64) {
    let asked = answers.ask(question, &[key], at(when)).expect("it may be kept");
    asked.keep(value, answers.limits.answer_bytes);
    answers.shelf().assert_invariants();
}

fn recall(answers: &Answers<u64>, question: Question, within: u64, now: u64) -> Option<(u64, u64)> {
    let asked = answers.ask(question, &[b"k"], at(now)).expect("memory is on");
    let (value, age) = asked.recall(Duration::from_secs(within), at(now))?;
    Some((value, age.as_secs()))
}

#[test]
fn an_answer_is_told_up_to_the_age_its_reader_allows() {
    let answers = answers(4, 10);
    keep(&answers, question(1, 1), b"k", 7, 100);
    assert_eq!(recall(&answers, question(1, 1), 5, 105), Some((7, 5)));
    assert_eq!(recall(&answers, question(1, 1), 5, 106), None);
    assert_eq!(recall(&answers, question(1, 1), 6, 106), Some((7, 6)), "another reader may allow more");
}

#[test]
fn nobody_is_told_anothers_answer() {
    let answers = answers(4, 10);
    keep(&answers, question(1, 1), b"k", 7, 1);
    assert_eq!(recall(&answers, question(2, 1), 60, 1), None);
    assert_eq!(recall(&answers, question(1, 2), 60, 1), None);
}

#[test]
fn the_answer_asked_for_last_is_the_one_that_stays() {
    let answers = answers(4, 10);
    let early = answers.ask(question(1, 1), &[b"k"], at(1)).expect("it may be kept");
    keep(&answers, question(1, 1), b"k", 2, 2);
    early.keep(1, 10);
    assert_eq!(recall(&answers, question(1, 1), 60, 2), Some((2, 0)));
}

#[test]
fn a_write_takes_away_the_answers_of_its_key_and_no_others() {
    let answers = answers(8, 10);
    keep(&answers, question(1, 1), b"k", 7, 1);
    keep(&answers, question(2, 1), b"k", 8, 1);
    keep(&answers, question(1, 2), b"other", 9, 1);
    let many = answers.ask(question(1, 3), &[b"other", b"k", b"k"], at(1)).expect("it may be kept");
    many.keep(10, 10);
    answers.wrote(Touched::Key(b"k"));
    answers.shelf().assert_invariants();
    for gone in [question(1, 1), question(2, 1), question(1, 3)] {
        assert_eq!(recall(&answers, gone, 60, 1), None);
    }
    assert_eq!(recall(&answers, question(1, 2), 60, 1), Some((9, 0)));
    answers.wrote(Touched::Everything);
    assert_eq!((recall(&answers, question(1, 2), 60, 1), answers.bytes()), (None, 0));
}

#[test]
fn an_answer_that_a_write_overtook_is_not_kept() {
    for touched in [Touched::Key(b"k"), Touched::Everything] {
        let answers = answers(8, 10);
        let asked = answers.ask(question(1, 1), &[b"a", b"k"], at(1)).expect("it may be kept");
        answers.wrote(touched);
        asked.keep(7, 10);
        assert_eq!(recall(&answers, question(1, 1), 60, 1), None, "{touched:?}");
        keep(&answers, question(1, 1), b"k", 8, 2);
        assert_eq!(recall(&answers, question(1, 1), 60, 2), Some((8, 0)), "what was asked for afterwards is");
    }
}

#[test]
fn what_was_told_otherwise_or_is_too_large_is_forgotten() {
    let answers = answers(8, 10);
    for end in [|asked: Asked<'_, u64>| asked.forget(), |asked: Asked<'_, u64>| asked.keep(8, 11)] {
        keep(&answers, question(1, 1), b"k", 7, 1);
        end(answers.ask(question(1, 1), &[b"k"], at(2)).expect("it may be kept"));
        assert_eq!(recall(&answers, question(1, 1), 60, 2), None);
    }
    keep(&answers, question(1, 1), b"k", 7, 3);
    drop(answers.ask(question(1, 1), &[b"k"], at(4)));
    assert_eq!(recall(&answers, question(1, 1), 60, 4), Some((7, 1)), "a reader who left has learned nothing");
}

#[test]
fn an_asker_who_may_not_ask_any_more_leaves_nothing() {
    let answers = answers(8, 10);
    keep(&answers, question(1, 1), b"k", 7, 1);
    keep(&answers, question(2, 1), b"k", 8, 1);
    answers.purge(&[1; 32]);
    answers.shelf().assert_invariants();
    assert_eq!(recall(&answers, question(1, 1), 60, 1), None);
    assert_eq!(recall(&answers, question(2, 1), 60, 1), Some((8, 0)));
}

#[test]
fn the_answer_given_longest_ago_makes_room() {
    let answers = answers(3, 10);
    for call in 0..3 {
        keep(&answers, question(1, call), &call.to_be_bytes(), call, call);
    }
    keep(&answers, question(1, 0), &0u64.to_be_bytes(), 100, 3);
    keep(&answers, question(1, 3), &3u64.to_be_bytes(), 3, 4);
    assert_eq!(recall(&answers, question(1, 0), 60, 5), Some((100, 2)), "it was told again");
    assert_eq!(recall(&answers, question(1, 1), 60, 5), None);
    assert_eq!(recall(&answers, question(1, 2), 60, 5), Some((2, 3)));
    assert_eq!(answers.bytes(), answers.bytes_limit(), "at the limit, and not beyond");
}

#[test]
fn bounds_hold_at_the_limit_and_one_beyond() {
    let answers = Answers::new(Limits { bytes: 10 << 20, answer_bytes: 10 }, Interest::default());
    for call in 0..=ANSWERS_OF_A_KEY as u64 {
        keep(&answers, question(1, call), b"k", call, 1);
    }
    assert_eq!(recall(&answers, question(1, ANSWERS_OF_A_KEY as u64 - 1), 60, 1), Some((1023, 0)));
    assert_eq!(recall(&answers, question(1, ANSWERS_OF_A_KEY as u64), 60, 1), None, "one key has so many and no more");

    let keys = vec![&b"k"[..]; KEYS_MOST + 1];
    assert!(answers.ask(question(1, 1), &keys[1..], at(1)).is_some());
    assert!(answers.ask(question(1, 1), &keys, at(1)).is_none());
    assert!(answers.ask(question(1, 1), &[], at(1)).is_none(), "what names no key could never be taken away");
    let off = Answers::<u64>::new(Limits { bytes: 0, answer_bytes: 10 }, Interest::default());
    assert!(off.ask(question(1, 1), &[b"k"], at(1)).is_none());
}

#[test]
fn interest_is_there_while_something_is_asked_or_kept_and_no_longer() {
    let interest = Interest::default();
    let answers = Answers::new(Limits { bytes: 2 * (COST + 10), answer_bytes: 10 }, interest.clone());
    assert!(!interest.any());
    let asked = answers.ask(question(1, 1), &[b"k"], at(1)).expect("it may be kept");
    assert!(interest.any());
    drop(asked);
    assert!(!interest.any());
    for call in 0..5 {
        keep(&answers, question(1, call), b"k", call, call);
        assert!(interest.any());
    }
    keep(&answers, question(1, 4), b"k", 5, 5);
    answers.ask(question(1, 4), &[b"k"], at(6)).expect("it may be kept").forget();
    assert!(interest.any(), "one is left");
    answers.wrote(Touched::Key(b"k"));
    assert!(!interest.any());
}

/// What can happen next in the driven world: readers and writers of a few keys, each in three steps.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(usize),
    AnswerReader(usize),
    Keep(usize),
    Leave(usize),
    Write(usize),
    ExecuteWrite(usize),
    EndWrite(usize, bool),
    Recall(usize),
}

fn step() -> impl Strategy<Value = Step> {
    (0..8usize, 0..4usize, any::<bool>()).prop_map(|(kind, who, everything)| match kind {
        0 => Step::Ask(who),
        1 => Step::AnswerReader(who),
        2 => Step::Keep(who),
        3 => Step::Leave(who),
        4 => Step::Write(who),
        5 => Step::ExecuteWrite(who),
        6 => Step::EndWrite(who, everything),
        _ => Step::Recall(who),
    })
}

/// Redis holds a version for each of two keys; reader and writer number `who` use key `who % 2`.
#[derive(Default)]
struct World<'a> {
    versions: [u64; 2],
    /// What writers were told has happened.
    told: [u64; 2],
    readers: BTreeMap<usize, (Asked<'a, u64>, Option<u64>)>,
    /// A write under way, with its version once Redis has run it.
    writers: BTreeMap<usize, Option<u64>>,
    now: u64,
}

const NAMES: [&[u8]; 2] = [b"a", b"b"];

impl<'a> World<'a> {
    fn take(&mut self, answers: &'a Answers<u64>, interest: &Interest, step: Step) {
        self.now += 1;
        match step {
            Step::Ask(who) => {
                let asked = answers.ask(question(0, who as u64 % 2), &[NAMES[who % 2]], at(self.now));
                self.readers.insert(who, (asked.expect("it may be kept"), None));
            }
            Step::AnswerReader(who) => {
                if let Some((_, answer)) = self.readers.get_mut(&who) {
                    *answer = Some(self.versions[who % 2]);
                }
            }
            Step::Keep(who) => {
                if let Some((asked, Some(answer))) = self.readers.remove(&who) {
                    asked.keep(answer, 1);
                }
            }
            Step::Leave(who) => drop(self.readers.remove(&who)),
            Step::Write(who) => drop(self.writers.entry(who).or_insert(None)),
            Step::ExecuteWrite(who) => {
                if let Some(version @ None) = self.writers.get_mut(&who) {
                    self.versions[who % 2] += 1;
                    *version = Some(self.versions[who % 2]);
                }
            }
            Step::EndWrite(who, everything) => {
                if let Some(Some(version)) = self.writers.remove(&who) {
                    // As the gateway does: it looks whether anybody is interested, then tells, then answers.
                    if interest.any() {
                        answers.wrote(if everything { Touched::Everything } else { Touched::Key(NAMES[who % 2]) });
                    }
                    self.told[who % 2] = self.told[who % 2].max(version);
                }
            }
            Step::Recall(who) => {
                let key = who % 2;
                let asked = answers.ask(question(0, key as u64), &[NAMES[key]], at(self.now)).expect("memory is on");
                if let Some((version, _)) = asked.recall(HOUR, at(self.now)) {
                    assert!(version >= self.told[key], "version {version} came back after {} was told", self.told[key]);
                }
            }
        }
        answers.shelf().assert_invariants();
    }
}

proptest! {
    #[test]
    fn no_answer_outlives_a_write_that_was_told(steps in prop::collection::vec(step(), 0..200), places in 1..3usize) {
        let interest = Interest::default();
        let answers = Answers::new(Limits { bytes: places * (COST + 1), answer_bytes: 1 }, interest.clone());
        let mut world = World::default();
        steps.into_iter().for_each(|step| world.take(&answers, &interest, step));
        drop(world);
        answers.wrote(Touched::Everything);
        prop_assert!(!interest.any(), "interest is left of nothing");
    }
}

#[test]
fn no_answer_outlives_a_write_that_was_told_with_real_threads() {
    const ROUNDS: u64 = 20_000;
    let interest = Interest::default();
    let answers = Arc::new(Answers::new(Limits { bytes: 4 * (COST + 1), answer_bytes: 1 }, interest.clone()));
    let (redis, told) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let asked = answers.ask(question(0, 0), &[b"k"], at(1)).expect("it may be kept");
                    if round % 3 == 0 {
                        let floor = told.load(Ordering::SeqCst);
                        let kept = asked.recall(HOUR, at(1));
                        assert!(kept.is_none_or(|(version, _)| version >= floor));
                    } else {
                        let answer = redis.load(Ordering::SeqCst);
                        asked.keep(answer, 1);
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                let version = redis.fetch_add(1, Ordering::SeqCst) + 1;
                if interest.any() {
                    answers.wrote(Touched::Key(b"k"));
                }
                told.store(version, Ordering::SeqCst);
            }
        });
    });
}
