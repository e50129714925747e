//! Local decisions on hand-driven time: shares, debts, and what three instances grant together.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TEN: Policy = Policy { capacity: 10, refill: 10, per: SECOND };

fn at(micros: u64) -> Moment {
    Moment::from_micros(1_000_000 + micros)
}

fn grants(memory: &Memory, policy: Policy, instances: u64, tries: u64, now: Moment) -> u64 {
    (0..tries).map(|_| u64::from(memory.take(b"x", policy, 1, instances, true, now).allowed)).sum()
}

#[test]
fn an_unknown_limiter_starts_with_its_share() {
    for (instances, share) in [(1, 10), (2, 5), (3, 3), (10, 1), (11, 0)] {
        assert_eq!(grants(&Memory::new(1 << 20), TEN, instances, 20, at(0)), share, "{instances}");
    }
}

#[test]
fn the_last_answer_of_redis_is_where_it_starts() {
    let memory = Memory::new(1 << 20);
    memory.keep(b"x", TEN, TEN.tokens(10), at(0));
    assert_eq!(grants(&memory, TEN, 2, 20, at(0)), 0, "all was taken");
    assert_eq!(grants(&memory, TEN, 2, 20, at(400_000)), 2, "four came back for both");
    let verdict = memory.take(b"x", TEN, 1, 2, true, at(400_000));
    assert_eq!((verdict.allowed, verdict.remaining), (false, 0));
    assert_eq!(verdict.retry_after, Some(Duration::from_millis(200)), "an instance of two waits twice as long");
}

#[test]
fn a_cost_above_the_share_is_never_granted_and_says_so() {
    let memory = Memory::new(1 << 20);
    let verdict = memory.take(b"x", TEN, 6, 2, true, at(0));
    assert_eq!((verdict.allowed, verdict.retry_after, verdict.remaining), (false, None, 5));
    assert!(memory.take(b"x", TEN, 5, 2, true, at(0)).allowed);
}

#[test]
fn what_was_granted_is_told_once_without_what_came_back_meanwhile() {
    let memory = Memory::new(1 << 20);
    memory.keep(b"x", TEN, TEN.tokens(4), at(0));
    assert_eq!(grants(&memory, TEN, 2, 20, at(0)), 3);
    let debts = memory.collect(9, at(0));
    assert_eq!(debts, [Debt { name: b"x"[..].into(), policy: TEN, tokens: 3 }]);
    assert_eq!(memory.collect(9, at(0)), []);
    assert_eq!(grants(&memory, TEN, 2, 20, at(0)), 0, "and what is being told still counts");
    memory.conclude(&debts[0], Told::No, at(0));
    assert_eq!(memory.owed(b"x", at(0)), Some(debts[0].clone()), "what could not be told is still owed");
    memory.conclude(&debts[0], Told::No, at(0));
    // By now the four of before are back, and two of the six that both instances are counted for.
    let debts = memory.collect(9, at(600_000));
    assert_eq!(debts[0].tokens, 2);
    memory.conclude(&debts[0], Told::No, at(600_000));
    assert_eq!(memory.collect(9, at(9_000_000)), []);
}

#[test]
fn what_redis_may_know_is_counted_here_and_not_told() {
    let memory = Memory::new(1 << 20);
    assert!(memory.take(b"x", TEN, 10, 1, false, at(0)).allowed);
    assert!(!memory.take(b"x", TEN, 1, 1, false, at(0)).allowed);
    assert_eq!(memory.collect(9, at(0)), []);
}

#[test]
fn an_answer_of_redis_does_not_wipe_out_what_it_has_not_been_told() {
    let memory = Memory::new(1 << 20);
    assert_eq!(grants(&memory, TEN, 1, 4, at(0)), 4);
    memory.keep(b"x", TEN, TEN.tokens(1), at(0));
    let debts = memory.collect(9, at(0));
    assert_eq!(debts[0].tokens, 4);
    memory.conclude(&debts[0], Told::Perhaps, at(0));
    memory.keep(b"x", TEN, TEN.tokens(5), at(0));
    assert_eq!(grants(&memory, TEN, 1, 20, at(0)), 5, "and then Redis' word is all there is");
}

#[test]
fn what_may_have_been_told_is_not_told_again_and_still_counts() {
    let memory = Memory::new(1 << 20);
    assert_eq!(grants(&memory, TEN, 2, 20, at(0)), 5);
    let debt = memory.owed(b"x", at(0)).expect("five are owed");
    memory.conclude(&debt, Told::Perhaps, at(0));
    assert_eq!((memory.owed(b"x", at(0)), grants(&memory, TEN, 2, 20, at(0))), (None, 0));
}

#[test]
fn names_without_end_do_not_fill_the_memory() {
    let memory = Memory::new(1 << 20);
    for number in 0..100_000_u64 {
        memory.take(&number.to_be_bytes(), TEN, 1, 1, true, at(0));
    }
    let entries_of = |shard: &Shard| shard.young.len() + shard.old.len();
    let entries: usize = memory.shards.iter().map(|shard| entries_of(&lock(shard))).sum();
    assert!(entries * OVERHEAD <= 1 << 20, "{entries}");
    assert!(entries * OVERHEAD > 1 << 18, "it is used, too: {entries}");
}

proptest! {
    /// Three instances that hear nothing of each other, at random times, with random costs.
    #[test]
    fn three_instances_alone_stay_within_the_bound_of_one(
        capacity in 1..50_u64, refill in 1..50_u64, spent in 0..50_u64,
        takes in prop::collection::vec((0..3_usize, 0..300_000_u64, 1..4_u64), 1..300),
    ) {
        let policy = Policy { capacity, refill, per: SECOND };
        let instances: Vec<Memory> = (0..3).map(|_| Memory::new(1 << 20)).collect();
        let spent = spent.min(capacity);
        instances.iter().for_each(|memory| memory.keep(b"x", policy, policy.tokens(spent), at(0)));
        let (mut now, mut granted) = (0, 0);
        for (instance, pause, cost) in takes {
            now += pause;
            if instances[instance].take(b"x", policy, cost, 3, true, at(now)).allowed {
                granted += cost;
            }
            let refilled = u128::from(refill) * u128::from(now) / 1_000_000;
            prop_assert!(u128::from(granted) <= u128::from(capacity - spent) + refilled, "{granted} by {now} us");
        }
    }
}
