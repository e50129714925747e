//! The registry against a Redis of paper: one that answers in order and forgets everything when the connection is lost.

use std::collections::HashSet;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::super::mailbox::Bounds;
use super::*;

const BOUNDS: Bounds = Bounds { messages: 10_000, bytes: 1 << 20 };

fn channel(name: &'static str) -> Topic {
    Topic::Channel(Bytes::from_static(name.as_bytes()))
}

fn message(channel: &'static str, payload: &str) -> Arc<Message> {
    Message::new(Bytes::from_static(channel.as_bytes()), Bytes::copy_from_slice(payload.as_bytes()))
}

fn refusal(line: &str) -> Option<ServerError> {
    match redis_rs::parse_redis_value(line.as_bytes()) {
        Ok(redis_rs::Value::ServerError(error)) => Some(error),
        other => panic!("{other:?}"),
    }
}

/// What a reader has seen so far, as words.
fn seen(mailbox: &Mailbox) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        match mailbox.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return words,
            Poll::Ready(Ok(StreamEvent::Confirmed)) => words.push("confirmed".into()),
            Poll::Ready(Ok(StreamEvent::Discontinuity)) => words.push("discontinuity".into()),
            Poll::Ready(Ok(StreamEvent::Message(message))) => {
                words.push(String::from_utf8_lossy(&message.payload).into_owned());
            }
            Poll::Ready(Err(end)) => {
                words.push(format!("{end:?}"));
                return words;
            }
        }
    }
}

fn join(registry: &mut Registry, topic: &Topic) -> (u64, Arc<Mailbox>) {
    let mailbox = Mailbox::new(BOUNDS);
    (registry.join(topic, mailbox.clone()), mailbox)
}

fn answer(registry: &mut Registry) -> Consequence {
    registry.answered(None).expect("a question is open")
}

#[test]
fn many_readers_of_one_channel_cost_one_question() {
    let (mut registry, topic) = (Registry::default(), channel("c"));
    let readers: Vec<_> = (0..1000).map(|_| join(&mut registry, &topic).1).collect();
    assert_eq!(registry.questions(), [Question::Subscribe(topic.clone())]);
    answer(&mut registry);
    registry.deliver(&topic, &message("c", "hello"));
    for reader in readers {
        assert_eq!(seen(&reader), ["confirmed", "hello"]);
    }
    assert_eq!((registry.held(), registry.questions()), (1, vec![]));
}

#[test]
fn nobody_is_confirmed_before_redis_has_answered() {
    let (mut registry, topic) = (Registry::default(), channel("c"));
    let (_, early) = join(&mut registry, &topic);
    registry.questions();
    assert!(seen(&early).is_empty());
    answer(&mut registry);
    let (_, late) = join(&mut registry, &topic);
    assert_eq!((seen(&early), seen(&late)), (vec!["confirmed".into()], vec!["confirmed".to_owned()]));
}

#[test]
fn the_last_to_leave_ends_the_subscription() {
    let (mut registry, topic) = (Registry::default(), channel("c"));
    let (first, _) = join(&mut registry, &topic);
    let (second, _) = join(&mut registry, &topic);
    registry.questions();
    answer(&mut registry);
    registry.leave(&topic, first);
    assert_eq!(registry.questions(), []);
    registry.leave(&topic, second);
    assert_eq!(registry.questions(), [Question::Unsubscribe(topic)]);
    answer(&mut registry);
    assert!(registry.topics.is_empty());
}

#[test]
fn a_newcomer_sees_nothing_of_the_subscription_before_his_own() {
    let (mut registry, topic) = (Registry::default(), channel("c"));
    let (first, _) = join(&mut registry, &topic);
    registry.questions();
    answer(&mut registry);
    registry.leave(&topic, first);
    registry.questions();
    let (_, newcomer) = join(&mut registry, &topic);
    assert_eq!(registry.questions(), [Question::Subscribe(topic.clone())]);
    registry.deliver(&topic, &message("c", "of the former subscription"));
    answer(&mut registry);
    assert!(seen(&newcomer).is_empty(), "that answer was the unsubscription's");
    answer(&mut registry);
    assert_eq!(seen(&newcomer), ["confirmed"]);
}

#[test]
fn after_a_loss_readers_are_told_of_the_hole_once_the_subscription_is_back() {
    let (mut registry, topic) = (Registry::default(), channel("c"));
    let (_, reader) = join(&mut registry, &topic);
    registry.questions();
    answer(&mut registry);
    registry.lost();
    registry.questions();
    registry.lost();
    assert_eq!(seen(&reader), ["confirmed"], "the hole is still open");
    let (_, newcomer) = join(&mut registry, &topic);
    assert_eq!(registry.questions(), [Question::Subscribe(topic.clone())]);
    assert_eq!(answer(&mut registry).discontinuities, 1);
    assert_eq!((seen(&reader), seen(&newcomer)), (vec!["discontinuity".into()], vec!["confirmed".to_owned()]));
}

#[test]
fn a_refusal_ends_all_readers_with_its_words() {
    let (mut registry, topic) = (Registry::default(), channel("c"));
    let (_, reader) = join(&mut registry, &topic);
    registry.questions();
    let consequence = registry.answered(refusal("-NOPERM no\r\n")).expect("a question is open");
    assert_eq!(consequence, Consequence::default(), "a newcomer is answered, not cut");
    assert!(seen(&reader)[0].starts_with("Refused"));
    assert!(registry.topics.is_empty());
}

#[test]
fn a_refusal_to_renew_cuts_or_waits_by_what_it_says() {
    for (line, expected) in [
        ("-NOPERM no\r\n", Consequence { refused: 1, ..Consequence::default() }),
        ("-BUSY a script runs\r\n", Consequence { unwilling: true, ..Consequence::default() }),
    ] {
        let (mut registry, topic) = (Registry::default(), channel("c"));
        let (_, reader) = join(&mut registry, &topic);
        registry.questions();
        answer(&mut registry);
        registry.lost();
        registry.questions();
        assert_eq!(registry.answered(refusal(line)), Ok(expected));
        assert_eq!(seen(&reader).len(), 1 + expected.refused, "{line}");
    }
}

#[test]
fn an_answer_nobody_waits_for_is_noticed() {
    assert_eq!(Registry::default().answered(None), Err(Unasked));
}

#[test]
fn a_second_ping_waits_for_the_answer_to_the_first() {
    let mut registry = Registry::default();
    assert!(registry.ping() && !registry.ping());
    answer(&mut registry);
    assert!(registry.ping());
}

#[test]
fn a_slow_reader_is_cut_and_the_others_are_not_disturbed() {
    let (mut registry, topic) = (Registry::default(), channel("c"));
    let slow = Mailbox::new(Bounds { messages: 1, bytes: 100 });
    registry.join(&topic, slow.clone());
    let (_, quick) = join(&mut registry, &topic);
    registry.questions();
    answer(&mut registry);
    assert_eq!(registry.deliver(&topic, &message("c", "1")), 1);
    assert_eq!(registry.deliver(&topic, &message("c", "2")), 0);
    assert_eq!(
        (seen(&slow), seen(&quick)),
        (vec!["SlowReader".into()], vec!["confirmed".into(), "1".into(), "2".to_owned()])
    );
}

#[test]
fn patterns_show_nothing_of_the_services_own() {
    let (mut registry, topic) = (Registry::default(), Topic::Pattern(Bytes::from_static(b"*")));
    let (_, reader) = join(&mut registry, &topic);
    registry.questions();
    answer(&mut registry);
    for (channel, payload) in [
        ("collective:lease", "own channel"),
        ("__keyspace@0__:collective:lease:a", "set"),
        ("__keyevent@0__:set", "collective:lease:a"),
        ("__keyspace@0__:plain", "news of a plain key"),
        ("plain", "collective: in a payload"),
    ] {
        registry.deliver(&topic, &message(channel, payload));
    }
    assert_eq!(seen(&reader), ["confirmed", "news of a plain key", "collective: in a payload"]);
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
    Say,
    Answer,
    Publish(usize),
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Join),
        4 => (0..20_usize).prop_map(Step::Leave),
        6 => Just(Step::Say),
        6 => Just(Step::Answer),
        4 => (0..3_usize).prop_map(Step::Publish),
        1 => Just(Step::Lose),
    ]
}

/// The other end: reads questions in order, answers in order, sends messages in between.
#[derive(Default)]
struct PaperRedis {
    unread: VecDeque<Question>,
    subscribed: HashSet<Topic>,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

proptest! {
    #[test]
    fn in_any_order_of_events_redis_ends_up_with_what_readers_want(steps in prop::collection::vec(step(), 0..120)) {
        let mut registry = Registry::default();
        let mut redis = PaperRedis::default();
        let mut readers: Vec<(Topic, u64, Arc<Mailbox>, bool)> = Vec::new();
        let act = |registry: &mut Registry, redis: &mut PaperRedis, step: &Step| match step {
            Step::Say => redis.unread.extend(registry.questions()),
            Step::Answer => match redis.unread.pop_front() {
                Some(Question::Subscribe(topic)) => {
                    redis.subscribed.insert(topic);
                    registry.answered(None).map(drop).expect("asked");
                }
                Some(Question::Unsubscribe(topic)) => {
                    redis.subscribed.remove(&topic);
                    registry.answered(None).map(drop).expect("asked");
                }
                Some(Question::Ping) | None => {}
            },
            Step::Publish(which) => {
                let topic = channel(NAMES[*which]);
                if redis.subscribed.contains(&topic) {
                    registry.deliver(&topic, &message(NAMES[*which], "m"));
                }
            }
            Step::Lose => {
                *redis = PaperRedis::default();
                registry.lost();
            }
            Step::Join(_) | Step::Leave(_) => {}
        };
        for step in &steps {
            match step {
                Step::Join(which) => {
                    let topic = channel(NAMES[*which]);
                    let (id, mailbox) = join(&mut registry, &topic);
                    readers.push((topic, id, mailbox, false));
                }
                Step::Leave(which) if *which < readers.len() => {
                    let (topic, id, ..) = readers.swap_remove(*which);
                    registry.leave(&topic, id);
                }
                other => act(&mut registry, &mut redis, other),
            }
            for (_, _, mailbox, confirmed) in &mut readers {
                for word in seen(mailbox) {
                    prop_assert_eq!(word == "confirmed", !*confirmed, "the confirmation comes once, and first");
                    *confirmed = true;
                }
            }
        }
        redis.unread.extend(registry.questions());
        while !redis.unread.is_empty() {
            act(&mut registry, &mut redis, &Step::Answer);
        }
        let wanted: HashSet<Topic> = readers.iter().map(|(topic, ..)| topic.clone()).collect();
        prop_assert_eq!(&redis.subscribed, &wanted);
        prop_assert_eq!((registry.held(), registry.topics.len()), (wanted.len(), wanted.len()));
    }
}
