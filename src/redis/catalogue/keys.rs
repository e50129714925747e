//! Where the keys and channels of a call are.
//!
//! Confinement rests on this: a caller who may touch only some keys may run only calls whose every key is named here.
//! So whatever cannot be read with certainty is an error, never an empty list, and the options are walked the way
//! Redis walks them. Two things stay outside: a script may touch keys that it does not declare (its scope is the
//! guard), and a malformed call is left for Redis to refuse.

use super::row::{Keys, Spec, Special};
use super::{Arguments, is_word};

/// The call touches or reveals keys (or channels) that its arguments do not name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct KeysUnknown;

impl std::fmt::Display for KeysUnknown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the keys of this command cannot be told from its arguments")
    }
}

impl std::error::Error for KeysUnknown {}

/// Appends the positions of the keys of this call to `out`, in the order Redis reports them.
///
/// On an error `out` may hold some positions already; they are not all of them.
pub fn key_positions(spec: &Spec, args: &(impl Arguments + ?Sized), out: &mut Vec<usize>) -> Result<(), KeysUnknown> {
    each(spec, args, &mut |position| out.push(position))
}

/// Appends the positions of the channels of this call to `out`.
///
/// `PUBSUB CHANNELS` lists channels of everyone, so it is an error.
pub fn channel_positions(
    spec: &Spec,
    args: &(impl Arguments + ?Sized),
    out: &mut Vec<usize>,
) -> Result<(), KeysUnknown> {
    match spec.name {
        "PUBLISH" | "SPUBLISH" => out.extend((args.count() > 1).then_some(1)),
        "PUBSUB|NUMSUB" | "PUBSUB|SHARDNUMSUB" => out.extend(2..args.count()),
        "SUBSCRIBE" | "UNSUBSCRIBE" | "SSUBSCRIBE" | "SUNSUBSCRIBE" => out.extend(1..args.count()),
        "PSUBSCRIBE" | "PUNSUBSCRIBE" | "PUBSUB" | "PUBSUB|CHANNELS" | "PUBSUB|SHARDCHANNELS" | "" => {
            return Err(KeysUnknown);
        }
        _ => {}
    }
    Ok(())
}

/// Calls `visit` with each key position, without allocating.
pub(super) fn each(
    spec: &Spec,
    args: &(impl Arguments + ?Sized),
    visit: &mut impl FnMut(usize),
) -> Result<(), KeysUnknown> {
    match spec.keys {
        Keys::None => Ok(()),
        Keys::Unknown => Err(KeysUnknown),
        Keys::At { first, last, step } => {
            range(args.count(), first, last, step, visit);
            Ok(())
        }
        Keys::Count { at, first } => counted(args, at, first, 1, visit),
        Keys::Special(special) => specially(special, args, visit),
    }
}

fn specially(
    special: Special,
    args: &(impl Arguments + ?Sized),
    visit: &mut impl FnMut(usize),
) -> Result<(), KeysUnknown> {
    match special {
        Special::DestinationAndCount => {
            visit(1);
            counted(args, 2, 3, 1, visit)
        }
        Special::CountedPairs => counted(args, 1, 2, 2, visit),
        Special::Streams => streams(args, visit),
        Special::Sort => sort(args, visit),
        Special::GeoRadius { options } => {
            geo_radius(args, options, visit);
            Ok(())
        }
        Special::Migrate => {
            migrate(args, visit);
            Ok(())
        }
    }
}

fn range(count: usize, first: usize, last: isize, step: usize, visit: &mut impl FnMut(usize)) {
    let end = match usize::try_from(last) {
        Ok(last) => (last + 1).min(count),
        Err(_) => (count + 1).saturating_sub(last.unsigned_abs()),
    };
    (first..end).step_by(step).for_each(visit);
}

fn counted(
    args: &(impl Arguments + ?Sized),
    at: usize,
    first: usize,
    step: usize,
    visit: &mut impl FnMut(usize),
) -> Result<(), KeysUnknown> {
    let number = args.at(at).and_then(|digits| std::str::from_utf8(digits).ok());
    let keys: usize = number.and_then(|digits| digits.parse().ok()).ok_or(KeysUnknown)?;
    let room = args.count().saturating_sub(first).div_ceil(step);
    if keys > room {
        return Err(KeysUnknown);
    }
    (0..keys).map(|key| first + key * step).for_each(visit);
    Ok(())
}

/// The part of `XREAD` and `XREADGROUP` in front of the keys.
pub(super) struct StreamOptions {
    /// Position of the word `STREAMS`; absent when an option was not understood.
    pub(super) streams: Option<usize>,
    /// `BLOCK` was given, or may have been: an unknown option hides whatever follows.
    pub(super) block: bool,
}

/// Walks the options as Redis does: a group may be called `STREAMS`, so looking for the word is not enough.
pub(super) fn stream_options(args: &(impl Arguments + ?Sized)) -> StreamOptions {
    let (mut at, mut block) = (1, false);
    while let Some(word) = args.at(at) {
        if is_word(word, "STREAMS") {
            return StreamOptions { streams: Some(at), block };
        }
        at += match () {
            () if is_word(word, "BLOCK") => {
                block = true;
                2
            }
            () if ["COUNT", "CLAIM", "MAXCOUNT", "MAXSIZE"].iter().any(|known| is_word(word, known)) => 2,
            () if is_word(word, "GROUP") => 3,
            () if is_word(word, "NOACK") => 1,
            () => {
                let block = block || any_word(args, at, "BLOCK");
                return StreamOptions { streams: None, block };
            }
        };
    }
    StreamOptions { streams: None, block }
}

fn streams(args: &(impl Arguments + ?Sized), visit: &mut impl FnMut(usize)) -> Result<(), KeysUnknown> {
    let first = stream_options(args).streams.ok_or(KeysUnknown)? + 1;
    let rest = args.count() - first;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(KeysUnknown);
    }
    (first..first + rest / 2).for_each(visit);
    Ok(())
}

/// The parts of `SORT` that concern keys.
#[derive(Default)]
pub(super) struct SortOptions {
    /// Position of the last destination, the one that counts.
    pub(super) destination: Option<usize>,
    /// `BY` or `GET` looks into other keys.
    pub(super) patterns: bool,
    /// Positions of what stands behind `BY` and `GET`.
    pattern_positions: Vec<usize>,
    /// An option was not understood.
    pub(super) unknown: bool,
}

/// Calls `visit` with each pattern behind `BY` or `GET` of a `SORT` or `SORT_RO`.
pub fn sort_patterns(args: &(impl Arguments + ?Sized), visit: &mut impl FnMut(&[u8])) {
    for at in sort_options(args).pattern_positions {
        args.at(at).into_iter().for_each(&mut *visit);
    }
}

/// Walks the options of `SORT` and `SORT_RO`.
pub(super) fn sort_options(args: &(impl Arguments + ?Sized)) -> SortOptions {
    let mut found = SortOptions::default();
    let mut at = 2;
    while let Some(word) = args.at(at) {
        at += match () {
            () if ["ASC", "DESC", "ALPHA"].iter().any(|known| is_word(word, known)) => 1,
            () if is_word(word, "LIMIT") => 3,
            () if is_word(word, "STORE") => {
                found.destination = Some(at + 1);
                2
            }
            () if is_word(word, "BY") => {
                found.pattern_positions.push(at + 1);
                found.patterns |= args.at(at + 1).is_some_and(|pattern| pattern.contains(&b'*'));
                2
            }
            () if is_word(word, "GET") => {
                found.pattern_positions.push(at + 1);
                found.patterns |= args.at(at + 1) != Some(b"#");
                2
            }
            () => {
                found.unknown = true;
                1
            }
        };
    }
    found
}

fn sort(args: &(impl Arguments + ?Sized), visit: &mut impl FnMut(usize)) -> Result<(), KeysUnknown> {
    let options = sort_options(args);
    range(args.count(), 1, 1, 1, visit);
    options.destination.filter(|at| *at < args.count()).into_iter().for_each(visit);
    if options.patterns || options.unknown { Err(KeysUnknown) } else { Ok(()) }
}

/// Positions of the destinations of `GEORADIUS … STORE key STOREDIST key`.
pub(super) fn geo_destinations(args: &(impl Arguments + ?Sized), options: usize) -> impl Iterator<Item = usize> + '_ {
    let stores = |at: &usize| args.at(*at).is_some_and(|word| is_word(word, "STORE") || is_word(word, "STOREDIST"));
    (options..args.count().saturating_sub(1)).filter(stores).map(|at| at + 1)
}

fn geo_radius(args: &(impl Arguments + ?Sized), options: usize, visit: &mut impl FnMut(usize)) {
    range(args.count(), 1, 1, 1, visit);
    geo_destinations(args, options).for_each(visit);
}

fn migrate(args: &(impl Arguments + ?Sized), visit: &mut impl FnMut(usize)) {
    if args.at(3).is_some_and(|key| !key.is_empty()) {
        return visit(3);
    }
    let keyword = (6..args.count()).find(|at| args.at(*at).is_some_and(|word| is_word(word, "KEYS")));
    keyword.into_iter().flat_map(|at| at + 1..args.count()).for_each(visit);
}

/// Whether this word is among the arguments from `from` on.
pub(super) fn any_word(args: &(impl Arguments + ?Sized), from: usize, word: &str) -> bool {
    (from..args.count()).any(|at| args.at(at).is_some_and(|arg| is_word(arg, word)))
}

#[cfg(test)]
mod tests {
    use super::super::{find, words};
    use super::*;

    fn keys(call: &str) -> Result<Vec<String>, KeysUnknown> {
        let args = words(call);
        let mut positions = Vec::new();
        key_positions(find(&args), &args, &mut positions)?;
        Ok(positions.into_iter().map(|at| String::from_utf8_lossy(&args[at]).into_owned()).collect())
    }

    #[track_caller]
    fn names(call: &str, expected: &[&str]) {
        assert_eq!(keys(call).as_deref(), Ok(&expected.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()[..]));
    }

    #[test]
    fn keys_are_where_redis_says() {
        names("get a", &["a"]);
        names("mset a 1 b 2", &["a", "b"]);
        names("bitop and d a b", &["d", "a", "b"]);
        names("zunionstore d 2 a b weights 1 2", &["d", "a", "b"]);
        names("eval return 2 a b c", &["a", "b"]);
        names("eval return 0 c", &[]);
        names("msetex 2 a 1 b 2 ex 10", &["a", "b"]);
        names("json.mget a b $.x", &["a", "b"]);
        names("object encoding a", &["a"]);
        names("copy a b replace", &["a", "b"]);
        names("ping", &[]);
    }

    #[test]
    fn destinations_among_the_options_are_keys() {
        names("sort a limit 0 1 store d", &["a", "d"]);
        names("sort a by nosort get # store d", &["a", "d"]);
        names("georadius a 0 0 1 m store d", &["a", "d"]);
        names("georadiusbymember a m 1 m storedist d", &["a", "d"]);
        names("migrate h 1 a 0 1", &["a"]);
    }

    #[test]
    fn streams_follow_the_options_even_when_a_group_is_called_streams() {
        names("xread count 1 streams a b 0 0", &["a", "b"]);
        names("xreadgroup group streams c noack streams a >", &["a"]);
        assert!(stream_options(&words("xreadgroup group streams c block 0 streams a >")).block);
        assert!(!stream_options(&words("xreadgroup group block c streams a >")).block);
        assert!(!stream_options(&words("xread streams block 0")).block);
    }

    #[test]
    fn what_is_not_certain_is_an_error() {
        for call in [
            "scan 0",
            "keys *",
            "randomkey",
            "flushall",
            "info",
            "nosuchcommand a",
            "ft.search i q",
            "sort a by w_* asc",
            "sort a get x_*",
            "sort a frobnicate",
            "eval return x a",
            "eval return 3 a",
            "eval return",
            "zunionstore d 3 a b",
            "xread streams a",
            "xread frob streams a 0",
            "ts.mget filter a=b",
        ] {
            assert_eq!(keys(call), Err(KeysUnknown), "{call}");
        }
    }

    #[test]
    fn what_is_certain_is_named_even_beside_what_is_not() {
        let args = words("sort a by w_* get x_* store d");
        let mut positions = Vec::new();
        assert_eq!(key_positions(find(&args), &args, &mut positions), Err(KeysUnknown));
        assert_eq!(positions, [1, 7]);
    }

    #[test]
    fn a_call_without_its_keys_names_none() {
        for call in ["get", "mset", "blpop a", "sort", "json.mget a"] {
            names(call, &[]);
        }
    }

    #[test]
    fn channels_are_named_or_refused() {
        let channels = |call: &str| {
            let (args, mut out) = (words(call), Vec::new());
            channel_positions(find(&args), &args, &mut out).map(|()| out)
        };
        assert_eq!(channels("publish c m"), Ok(vec![1]));
        assert_eq!(channels("pubsub numsub a b"), Ok(vec![2, 3]));
        assert_eq!(channels("get a"), Ok(vec![]));
        assert_eq!(channels("pubsub channels"), Err(KeysUnknown));
        assert_eq!(channels("nosuchcommand c"), Err(KeysUnknown));
    }
}
