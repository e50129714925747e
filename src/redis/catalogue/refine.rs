//! What the arguments change: the retry class of a call, and whether it may run at all. What it may cost is told in `cost`.
//!
//! A row of the table carries at most one [`Rule`], so the common command costs one comparison. Where an option is not
//! understood the answer is the cautious one: nothing becomes safe to repeat by being unknown. Words that happen to be
//! values (a member called `NX`) may make a call look conditional; that only forbids a retry.

use super::keys::{any_word, each, geo_destinations, sort_options, stream_options};
use super::row::{Access, Class, Keys, Spec, Special};
use super::{Arguments, cost, is_word};

/// Options of the `EXPIRE` family.
pub(super) const EXPIRY_CONDITIONS: Condition = Condition { from: 3, words: &["NX", "XX", "GT", "LT"] };
/// Options of `GEOADD`.
pub(super) const MEMBER_CONDITIONS: Condition = Condition { from: 2, words: &["NX", "XX"] };
/// Options of `HSETEX`.
pub(super) const FIELD_CONDITIONS: Condition = Condition { from: 2, words: &["FNX", "FXX"] };
/// Options of `MSETEX`.
pub(super) const KEY_CONDITIONS: Condition = Condition { from: 4, words: &["NX", "XX"] };

/// Words that make a command conditional, and the first position they may stand at.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    from: usize,
    words: &'static [&'static str],
}

/// How the arguments of a command change its class.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// They do not.
    Fixed,
    /// Any of these words makes it conditional.
    ConditionalWith(Condition),
    /// `SET`: plain or with an expiry it is idempotent; `NX XX GET IF…` make it conditional.
    Set,
    /// `LREM key 0 value` removes all there are, so only its reply differs.
    ListRemove,
    /// `ZADD`: `INCR` counts, `NX XX GT LT` are conditions.
    SortedSetAdd,
    /// `COPY` overwrites with `REPLACE`, and may not leave the database.
    Copy,
    /// `RESTORE` overwrites with `REPLACE`.
    Restore,
    /// `SORT` reads unless it stores.
    Sort,
    /// A stored result that is also a source changes with every run.
    StoreInto,
    /// `GEORADIUS` reads unless it stores.
    GeoRadius,
    /// `BITFIELD` with `GET` only.
    BitField,
    /// `XTRIM` with `~` or `LIMIT` removes what it likes.
    StreamTrim,
    /// `XGROUP SETID … $` moves with the stream.
    GroupPosition,
    /// `XREAD` and `XREADGROUP` with `BLOCK`.
    StreamRead,
    /// `TS.READ` with `BLOCK`.
    SeriesRead,
    /// `FUNCTION LOAD` overwrites with `REPLACE`.
    FunctionLoad,
    /// `JSON.DEL` and `JSON.CLEAR` through an index, filter or recursive path may hit another element next time.
    JsonDelete,
    /// The same for `JSON.SET` and `JSON.MERGE`, which also know `NX` and `XX`.
    JsonWrite,
    /// A search that leaves a cursor behind.
    Aggregate,
    /// `FT.SUGADD … INCR` counts.
    Suggest,
    /// `SCAN` and its like read as much as `COUNT` says: their class stays, their weight does not.
    Scan {
        /// Position of the first option.
        options: usize,
    },
    /// `SRANDMEMBER` and its like: a count below zero allows repetitions, so it alone decides how many are chosen.
    Choice,
    /// `PFCOUNT` and `PFMERGE` merge every key they name, the same one again and again if need be.
    Merge,
    /// `MEMORY USAGE … SAMPLES` looks at as many elements as it says; 0 is all of them.
    Samples,
    /// A value becomes as long as the offset at position 2 says, which is in units of so many bits.
    Offset {
        /// Bits.
        unit: u64,
    },
}

/// Why a call must not be sent, whoever asks.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It would wait in Redis, and everyone behind it on the shared connection with it.
    Blocking,
    /// It would change the connection other callers share.
    SharedConnection,
    /// It would change or reveal the server itself.
    Server,
    /// It would reach into another logical database.
    OtherDatabase,
    /// It would replace or remove the functions that the service itself runs.
    Functions,
    /// It would choose more than [`super::SCANS_MUCH`] times, repetitions included.
    Repetitions,
    /// It would merge more than [`super::MERGED_MOST`] keys.
    Merges,
}

impl Refusal {
    /// The reason in one clause, for documents and for `/v1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Blocking => "it waits inside Redis and would stall every caller on the same connection",
            Refusal::SharedConnection => "it changes a connection that other callers share",
            Refusal::Server => "it concerns the Redis server itself",
            Refusal::OtherDatabase => "it reaches into another logical database",
            Refusal::Functions => {
                "it would take the service's own functions along: use FUNCTION LOAD and FUNCTION DELETE, one library at a time"
            }
            Refusal::Repetitions => {
                "a count may not be below -1000, since all that is repeated is made while everyone waits: ask for fewer at a time"
            }
            Refusal::Merges => {
                "it may name 5000 keys at most, since all are merged while everyone waits: merge them with PFMERGE in several calls"
            }
        }
    }
}

/// The retry class of this very call.
pub fn class_of(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Class {
    match spec.rule {
        Rule::Fixed | Rule::Scan { .. } | Rule::Choice | Rule::Merge | Rule::Samples | Rule::Offset { .. } => {
            spec.class
        }
        Rule::ConditionalWith(Condition { from, words }) => {
            let conditional = (from..args.count()).any(|at| args.at(at).is_some_and(|word| is_any(word, words)));
            if conditional { Class::Conditional } else { spec.class }
        }
        Rule::Set => set(args),
        Rule::ListRemove => if_else(number(args, 2) == Some(0), Class::Unstable, spec.class),
        Rule::SortedSetAdd => sorted_set_add(spec, args),
        Rule::Copy => if_else(copy_replaces(args), Class::Unstable, spec.class),
        Rule::Restore => if_else(any_word(args, 4, "REPLACE"), Class::Idempotent, spec.class),
        Rule::Sort => sort(args),
        Rule::StoreInto => store_into(spec, args),
        Rule::GeoRadius => geo_radius(spec, args),
        Rule::BitField => bit_field(args),
        Rule::StreamTrim => stream_trim(spec, args),
        Rule::GroupPosition => if_else(is_word_at(args, 4, "$"), Class::NonIdempotent, spec.class),
        Rule::StreamRead => if_else(stream_options(args).block, Class::Blocking, spec.class),
        Rule::SeriesRead => if_else(any_word(args, 3, "BLOCK"), Class::Blocking, spec.class),
        Rule::FunctionLoad => if_else(any_word(args, 2, "REPLACE"), Class::Idempotent, spec.class),
        Rule::JsonDelete => if_else(wandering_path(args), Class::NonIdempotent, spec.class),
        Rule::JsonWrite => json_write(spec, args),
        Rule::Aggregate => if_else(any_word(args, 2, "WITHCURSOR"), Class::NonIdempotent, spec.class),
        Rule::Suggest => if_else(any_word(args, 4, "INCR"), Class::NonIdempotent, spec.class),
    }
}

/// Whether, and why, this call must not be sent at all. Scopes are not looked at.
pub fn refusal(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Option<Refusal> {
    if spec.access == Access::Never {
        return Some(reason(spec));
    }
    match spec.rule {
        Rule::StreamRead | Rule::SeriesRead if class_of(spec, args) == Class::Blocking => Some(Refusal::Blocking),
        Rule::Copy if copy_options(args).any(|word| is_word(word, "DB")) => Some(Refusal::OtherDatabase),
        _ => cost::excess(spec, args),
    }
}

/// The reason follows from the class; a data command that is never open (`MOVE`, `SWAPDB`) leaves the database.
fn reason(spec: &Spec) -> Refusal {
    match spec.class {
        Class::Admin if spec.name.starts_with("FUNCTION|") => Refusal::Functions,
        Class::Blocking => Refusal::Blocking,
        Class::ConnectionState => Refusal::SharedConnection,
        Class::Admin | Class::Read => Refusal::Server,
        Class::Idempotent | Class::Unstable | Class::Conditional | Class::NonIdempotent => Refusal::OtherDatabase,
    }
}

fn if_else(condition: bool, yes: Class, no: Class) -> Class {
    if condition { yes } else { no }
}

fn set(args: &(impl Arguments + ?Sized)) -> Class {
    let mut class = Class::Idempotent;
    let mut at = 3;
    while let Some(word) = args.at(at) {
        at += match () {
            () if is_any(word, &["EX", "PX", "EXAT", "PXAT"]) => 2,
            () if is_word(word, "KEEPTTL") => 1,
            () if is_any(word, &["NX", "XX", "GET"]) => {
                class = Class::Conditional;
                1
            }
            () if is_any(word, &["IFEQ", "IFNE", "IFDEQ", "IFDNE"]) => {
                class = Class::Conditional;
                2
            }
            () => return Class::NonIdempotent,
        };
    }
    class
}

fn sorted_set_add(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Class {
    let mut class = spec.class;
    for word in (2..).map_while(|at| args.at(at)) {
        match () {
            () if is_word(word, "INCR") => return Class::NonIdempotent,
            () if is_any(word, &["NX", "XX", "GT", "LT"]) => class = Class::Conditional,
            () if is_word(word, "CH") => {}
            () => break,
        }
    }
    class
}

/// The options of `COPY source destination …`; the number behind `DB` counts as one, which does no harm.
fn copy_options<A: Arguments + ?Sized>(args: &A) -> impl Iterator<Item = &[u8]> {
    (3..args.count()).filter_map(|at| args.at(at))
}

fn copy_replaces(args: &(impl Arguments + ?Sized)) -> bool {
    copy_options(args).any(|word| is_word(word, "REPLACE"))
}

fn sort(args: &(impl Arguments + ?Sized)) -> Class {
    let options = sort_options(args);
    match options.destination {
        _ if options.unknown => Class::NonIdempotent,
        None => Class::Read,
        // A pattern may read the destination itself, or an order that changes.
        Some(_) if options.patterns || any_word(args, 2, "BY") => Class::NonIdempotent,
        Some(at) if args.at(at) == args.at(1) => Class::NonIdempotent,
        Some(_) => Class::Idempotent,
    }
}

fn store_into(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Class {
    let mut destination = None;
    let mut among_sources = false;
    let known = each(spec, args, &mut |at| match destination {
        None => destination = args.at(at),
        Some(_) => among_sources |= args.at(at) == destination,
    });
    if_else(known.is_err() || among_sources, Class::NonIdempotent, spec.class)
}

fn geo_radius(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Class {
    let Keys::Special(Special::GeoRadius { options }) = spec.keys else {
        return spec.class;
    };
    let mut class = Class::Read;
    for at in geo_destinations(args, options) {
        if args.at(at) == args.at(1) {
            return Class::NonIdempotent;
        }
        class = Class::Idempotent;
    }
    class
}

fn bit_field(args: &(impl Arguments + ?Sized)) -> Class {
    let reads = (2..args.count()).step_by(3).all(|at| args.at(at).is_some_and(|word| is_word(word, "GET")));
    if_else(reads, Class::Read, Class::NonIdempotent)
}

fn stream_trim(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Class {
    let approximate = is_word_at(args, 3, "~") || any_word(args, 4, "LIMIT");
    if_else(approximate, Class::NonIdempotent, spec.class)
}

fn json_write(spec: &Spec, args: &(impl Arguments + ?Sized)) -> Class {
    if wandering_path(args) {
        return Class::NonIdempotent;
    }
    let conditional = any_word(args, 4, "NX") || any_word(args, 4, "XX");
    if_else(conditional, Class::Conditional, spec.class)
}

/// A path through an index, slice, filter or recursive step: removing or replacing moves what it matches.
fn wandering_path(args: &(impl Arguments + ?Sized)) -> bool {
    args.at(2).is_some_and(|path| path.contains(&b'[') || path.windows(2).any(|step| step == b".."))
}

fn is_any(word: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| is_word(word, known))
}

pub(super) fn is_word_at(args: &(impl Arguments + ?Sized), at: usize, word: &str) -> bool {
    args.at(at).is_some_and(|argument| is_word(argument, word))
}

pub(super) fn number(args: &(impl Arguments + ?Sized), at: usize) -> Option<i64> {
    std::str::from_utf8(args.at(at)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::{find, words};
    use super::Class::*;
    use super::*;

    fn class(call: &str) -> Class {
        let args = words(call);
        class_of(find(&args), &args)
    }

    fn refused(call: &str) -> Option<Refusal> {
        let args = words(call);
        refusal(find(&args), &args)
    }

    #[track_caller]
    fn all(expected: Class, calls: &[&str]) {
        for call in calls {
            assert_eq!(class(call), expected, "{call}");
        }
    }

    #[test]
    fn set_is_idempotent_until_it_asks_a_question() {
        all(Idempotent, &["set k v", "set k v ex 10", "SET k v KEEPTTL", "set k v pxat 1", "set k nx", "setex k 1 v"]);
        all(
            Conditional,
            &["set k v nx", "set k v XX", "set k v get", "set k v ex 1 nx", "set k v ifeq a", "set k v ifdne a"],
        );
        all(NonIdempotent, &["set k v frobnicate", "set k v nx frobnicate"]);
    }

    #[test]
    fn expiry_with_a_condition_is_conditional() {
        all(Unstable, &["expire k 10", "pexpireat k 10", "hexpire k 10 fields 1 f", "getex k", "getex k ex 1"]);
        all(
            Conditional,
            &["expire k 10 nx", "expireat k 10 GT", "hpexpire k 10 lt fields 1 f", "hsetex k fnx fields 1 f v"],
        );
        all(Conditional, &["msetex 1 k v xx", "hgetex k persist fields 1 f", "geoadd k nx 1 1 m"]);
    }

    #[test]
    fn positions_of_a_list_move_so_what_counts_them_runs_once() {
        all(NonIdempotent, &["lset k 0 v", "lset k -1 v", "ltrim k 0 9", "ltrim k -5 -1", "lrem k 1 v", "lrem k -1 v"]);
        all(Unstable, &["lrem k 0 v"]);
    }

    /// What is left must not depend on what was there: else a push between two runs is lost, or a bit of the past kept.
    #[test]
    fn only_what_absorbs_everything_before_it_is_idempotent() {
        all(
            Idempotent,
            &["set k v", "mset a 1 b 2", "hmset k f v", "psetex k 1 v", "bitop and d a b", "restore k 0 x replace"],
        );
        all(Unstable, &["setrange k 3 v", "pfmerge d a", "json.clear k $.a"]);
        all(NonIdempotent, &["json.clear k $.a[0]", "json.set k $.a[0] 1", "json.set k a[0] 1", "json.forget k $..a"]);
    }

    #[test]
    fn sorted_sets_count_with_incr() {
        all(Unstable, &["zadd k 1 m", "zadd k ch 1 m", "zadd k 1 incr"]);
        all(Conditional, &["zadd k nx 1 m", "zadd k gt ch 1 m"]);
        all(NonIdempotent, &["zadd k incr 1 m", "zadd k xx INCR 1 m"]);
    }

    #[test]
    fn a_result_stored_over_its_source_is_not_repeated() {
        all(
            Idempotent,
            &["sunionstore d a b", "zunionstore d 1 a", "bitop xor d a b", "zrangestore d s 0 1", "sort a store d"],
        );
        all(
            NonIdempotent,
            &[
                "sunionstore d a d",
                "zunionstore d 2 a d",
                "bitop xor d a d",
                "geosearchstore d d fromlonlat 0 0 byradius 1 m",
            ],
        );
        all(NonIdempotent, &["sort a store a", "sort a by w_* store d", "sort a frob", "zunionstore d x a"]);
        all(NonIdempotent, &["georadius a 0 0 1 m store a"]);
        all(Idempotent, &["georadius a 0 0 1 m store d", "georadiusbymember a m 1 m storedist d"]);
    }

    #[test]
    fn writes_that_only_read_are_reads() {
        all(
            Read,
            &[
                "sort a",
                "sort a by w_* get # desc",
                "georadius a 0 0 1 m asc",
                "bitfield k get u8 0 get u8 8",
                "xread streams a 0",
            ],
        );
        all(NonIdempotent, &["bitfield k get u8 0 incrby u8 0 1", "bitfield k overflow fail set u8 0 1"]);
    }

    #[test]
    fn overwriting_needs_the_word() {
        all(Conditional, &["copy a b", "restore k 0 x", "function load x"]);
        all(Unstable, &["copy a b replace"]);
        all(Idempotent, &["restore k 0 x replace", "function load replace x"]);
    }

    #[test]
    fn streams_and_documents() {
        all(
            Unstable,
            &["xtrim k maxlen 5", "xtrim k minid = 5", "xgroup setid k g 0", "json.set k $.a 1", "json.del k $.a"],
        );
        all(
            NonIdempotent,
            &["xtrim k maxlen ~ 5", "xgroup setid k g $", "json.del k $.a[0]", "json.merge k $..a 1", "xadd k * f v"],
        );
        all(Conditional, &["json.set k $ 1 nx"]);
        all(
            NonIdempotent,
            &["xreadgroup group g c streams a >", "ft.aggregate i * withcursor", "ft.sugadd k s 1 incr"],
        );
        all(
            Blocking,
            &["xread block 0 streams a $", "xreadgroup group g c block 0 streams a >", "ts.read k 0 block 1 1"],
        );
    }

    #[test]
    fn what_is_unknown_is_never_repeated() {
        all(NonIdempotent, &["nosuchcommand", "object frobnicate k", "", "incr k", "eval x 0", "publish c m"]);
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(refused("blpop k 0"), Some(Refusal::Blocking));
        assert_eq!(refused("xread block 0 streams a $"), Some(Refusal::Blocking));
        assert_eq!(refused("client kill id 1"), Some(Refusal::SharedConnection));
        assert_eq!(refused("client frobnicate"), Some(Refusal::SharedConnection));
        assert_eq!(refused("Select 1"), Some(Refusal::SharedConnection));
        assert_eq!(refused("debug sleep 1"), Some(Refusal::Server));
        assert_eq!(refused("config set a b"), Some(Refusal::Server));
        assert_eq!(refused("lolwut version 6 1000 1000"), Some(Refusal::Server));
        assert_eq!(refused("cluster reset"), Some(Refusal::Server));
        assert_eq!(refused("swapdb 0 1"), Some(Refusal::OtherDatabase));
        assert_eq!(refused("move k 1"), Some(Refusal::OtherDatabase));
        assert_eq!(refused("copy a b db 1"), Some(Refusal::OtherDatabase));
        assert_eq!(refused("copy a db replace"), None);
        assert_eq!(refused("function flush"), Some(Refusal::Functions));
        assert_eq!(refused("function restore x flush"), Some(Refusal::Functions));
        assert_eq!(refused("function kill"), None);
    }

    /// No server lists these words, so no table of one can remind us of them.
    #[test]
    fn what_redis_ends_a_connection_for_is_refused_in_any_case() {
        for call in ["post", "POST", "PoSt / HTTP/1.1", "host:", "Host: localhost", "HOST: x"] {
            assert_eq!(refused(call), Some(Refusal::SharedConnection), "{call}");
        }
        assert_eq!(refused("host x"), None);
    }

    #[test]
    fn what_is_open_or_needs_a_scope_is_not_refused() {
        for call in ["get k", "xread streams a 0", "memory usage k", "config get x", "flushall", "eval x 0", "nosuch"] {
            assert_eq!(refused(call), None, "{call}");
        }
    }
}
