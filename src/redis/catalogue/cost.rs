//! What a call may cost by its arguments alone: whether it is heavy, and whether it is more than anyone may ask for.
//!
//! Most commands cost what the data makes them cost, and their row says so. A few do as much as a number among their arguments
//! tells them, or name one small key many times; since Redis does one thing at a time, such a number is an outage for everyone in the
//! hands of whoever may send it. Where nobody needs more, it is bounded; where somebody may, the call is heavy.
//! Limits: what is no number is Redis' to refuse. Nothing here bounds a pipeline of many calls that each pass.

use super::refine::{Refusal, Rule, is_word_at, number};
use super::row::{Spec, Weight};
use super::{Arguments, is_word};

/// A scan that asks for more than this at once is heavy, and so is a choice; with repetitions no choice may be larger.
pub const SCANS_MUCH: i64 = 1000;

/// A call that merges more keys than this is heavy: some 30 microseconds each.
const MERGES_MUCH: usize = 1000;

/// Most keys one call may merge: Redis is at it for some 150 milliseconds, well below the time of one attempt.
pub const MERGED_MOST: usize = 5000;

/// A call that may make a value as long as this is heavy: clearing so many bytes takes some 50 milliseconds.
const GROWS_MUCH_BYTES: u64 = 64 * 1024 * 1024;

/// How much this very call may cost.
pub fn weight_of(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Weight {
    let heavy = match spec.rule {
        Rule::Scan { options } => scans_much(args, options),
        Rule::Choice => number(args, 2).is_some_and(|count| count > SCANS_MUCH),
        Rule::Merge => args.count() > 1 + MERGES_MUCH,
        Rule::Samples => samples_much(args),
        Rule::Offset { unit } => number(args, 2).is_some_and(|offset| grows_much(offset, unit)),
        Rule::BitField => bit_field_grows_much(args),
        _ => false,
    };
    if heavy { Weight::Heavy } else { spec.weight }
}

/// Whether the weight of this row's calls depends on their arguments.
pub(super) fn varies(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::Scan { .. } | Rule::Choice | Rule::Merge | Rule::Samples | Rule::Offset { .. } | Rule::BitField
    )
}

/// More than anyone may ask for.
pub(super) fn excess(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Option<Refusal> {
    match spec.rule {
        Rule::Choice if number(args, 2).is_some_and(|count| count < -SCANS_MUCH) => Some(Refusal::Repetitions),
        Rule::Merge if args.count() > 1 + MERGED_MOST => Some(Refusal::Merges),
        _ => None,
    }
}

fn scans_much(args: &(impl Arguments + ?Sized), options: usize) -> bool {
    let counts = (options + 1..args.count()).filter(|at| is_word_at(args, at - 1, "COUNT"));
    // What is no number is Redis' to refuse.
    counts.into_iter().any(|at| number(args, at).is_none_or(|count| count > SCANS_MUCH))
}

fn samples_much(args: &(impl Arguments + ?Sized)) -> bool {
    let samples = (4..args.count()).filter(|at| is_word_at(args, at - 1, "SAMPLES"));
    samples.into_iter().any(|at| number(args, at).is_none_or(|count| count == 0 || count > SCANS_MUCH))
}

fn grows_much(offset: i64, unit: u64) -> bool {
    u64::try_from(offset).is_ok_and(|offset| offset.saturating_mul(unit) / 8 >= GROWS_MUCH_BYTES)
}

/// Walks `GET type offset`, `SET type offset value`, `INCRBY type offset increment` and `OVERFLOW way`, as Redis does.
fn bit_field_grows_much(args: &(impl Arguments + ?Sized)) -> bool {
    let mut at = 2;
    while let Some(word) = args.at(at) {
        at += match () {
            () if is_word(word, "OVERFLOW") => 2,
            () if is_word(word, "GET") => 3,
            () if reaches_far(args.at(at + 1), args.at(at + 2)) => return true,
            () => 4,
        };
    }
    false
}

/// An offset is in bits, or behind `#` in fields of the type's width: `u8`, `i16`.
fn reaches_far(kind: Option<&[u8]>, offset: Option<&[u8]>) -> bool {
    let read = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<i64>().ok();
    let width = kind.and_then(|kind| read(kind.get(1..)?)).and_then(|width| u64::try_from(width).ok()).unwrap_or(1);
    let (digits, unit) = match offset.unwrap_or_default() {
        [b'#', digits @ ..] => (digits, width),
        digits => (digits, 1),
    };
    read(digits).is_some_and(|offset| grows_much(offset, unit))
}

#[cfg(test)]
mod tests {
    use super::super::{find, refusal, words};
    use super::*;

    #[track_caller]
    fn weigh(expected: Weight, calls: &[&str]) {
        for call in calls {
            let args = words(call);
            assert_eq!(weight_of(find(&args), &args), expected, "{call}");
        }
    }

    #[test]
    fn what_a_number_makes_large_is_heavy() {
        weigh(
            Weight::Heavy,
            &[
                "srandmember s 1001",
                "vrandmember v 1001",
                "memory usage k samples 0",
                "MEMORY USAGE k SAMPLES 1001",
                "xautoclaim k g c 0 0-0 count 1001",
                "setbit k 4294967295 1",
                "setrange k 67108864 x",
                "bitfield k set u8 4294967295 1",
                "bitfield k get u8 0 overflow sat incrby i16 #33554432 1",
            ],
        );
        weigh(
            Weight::Light,
            &[
                "srandmember s",
                "srandmember s 1000",
                "srandmember s -1000",
                "srandmember s x",
                "memory usage k",
                "memory usage k samples 5",
                "xautoclaim k g c 0 0-0 count 1000",
                "setbit k 20000000 1",
                "setrange k 1048576 x",
                "setrange k -1 x",
                "bitfield k set u32 0 4294967295",
                "bitfield k get u8 4294967295 set u8 #100 1",
                "bitfield k frobnicate",
            ],
        );
    }

    #[test]
    fn many_keys_to_merge_are_heavy_and_too_many_are_refused() {
        let mut args = vec![b"PFCOUNT".to_vec(); 1 + MERGES_MUCH];
        assert_eq!(weight_of(find(&args), &args), Weight::Light);
        args.push(b"k".to_vec());
        assert_eq!(weight_of(find(&args), &args), Weight::Heavy);
        args.resize(1 + MERGED_MOST, b"k".to_vec());
        assert_eq!(refusal(find(&args), &args), None);
        args.push(b"k".to_vec());
        assert_eq!(refusal(find(&args), &args), Some(Refusal::Merges));
    }

    #[test]
    fn no_command_that_merges_is_a_way_around_the_bound() {
        for name in ["PFCOUNT", "pfmerge"] {
            let mut args = vec![name.as_bytes().to_vec(); 1 + MERGED_MOST];
            assert_eq!(refusal(find(&args), &args), None, "{name}");
            args.push(b"k".to_vec());
            assert_eq!(refusal(find(&args), &args), Some(Refusal::Merges), "{name}");
        }
        assert!(Refusal::Merges.as_str().contains("in several calls"));
    }

    #[test]
    fn what_nobody_knows_is_heavy() {
        weigh(Weight::Heavy, &["module.command k", "frobnicate"]);
    }

    #[test]
    fn repetitions_are_bounded_wherever_they_can_be_asked_for() {
        for name in ["srandmember", "HRANDFIELD", "zrandmember", "vrandmember"] {
            for (count, refused) in [("-1000", None), ("-1001", Some(Refusal::Repetitions)), ("3000000", None)] {
                let args = words(&format!("{name} k {count} withvalues"));
                assert_eq!(refusal(find(&args), &args), refused, "{name} {count}");
            }
        }
        assert!(Refusal::Repetitions.as_str().contains(&format!("-{SCANS_MUCH}")));
        assert!(Refusal::Merges.as_str().contains(&MERGED_MOST.to_string()));
    }
}
