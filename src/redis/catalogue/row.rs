//! One row of the catalogue and the words rows are written with.
//!
//! A row reads like a sentence: `once("INCR", 2, KEY, flags!(write denyoom fast), "1.0.0")`. The constructor says what
//! a lost reply means for the command (its [`Class`]), and the lane follows from it; what is unusual is added behind
//! (`.heavy()`, `.never()`). Everything here is `const`, so the whole table is laid out at compile time.

use super::refine::Rule;

/// The breaker a command is accounted under. It never decides the connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Commands that only read.
    Read,
    /// Everything else: writes, scripts, publishing, administration.
    Write,
}

impl Lane {
    /// The lane as metrics and documents write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Lane::Read => "read",
            Lane::Write => "write",
        }
    }
}

/// What may be done when a command was sent and its reply never came.
///
/// Only [`Class::Read`] and [`Class::Idempotent`] may be sent again without being asked to.
///
/// A repetition comes later than the first run, and others may have written in between. So it is not enough that a write twice in a
/// row is the same as once. An [`Class::Idempotent`] one is *absorbing*: what it leaves in the places it writes, and what it answers,
/// does not depend on what they held, so a run, anybody's writes and a second run leave what those writes and one run would.
/// `SET` is. `LSET key 0 value` is not: after a push in between it overwrites another element than before, and both are lost. Results
/// computed from other keys (`SUNIONSTORE`) are those of the later run.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Changes nothing: may always be sent again.
    Read,
    /// The same state and the same reply when it runs again, whatever was written in between.
    Idempotent,
    /// The same state when it runs twice in a row, but the second reply may differ (`DEL` answers 0), or others' writes in between
    /// show in the result (`PFMERGE`).
    Unstable,
    /// Decides by what it finds, so a repetition would contradict its own first answer (`SET … NX`).
    Conditional,
    /// Every run counts (`INCR`), or nobody has shown that it does not.
    NonIdempotent,
    /// Waits in Redis for something to happen, and stalls a shared connection meanwhile.
    Blocking,
    /// Changes the connection it runs on, which other callers share.
    ConnectionState,
    /// Changes the server itself.
    Admin,
}

impl Class {
    /// The class in the words the documents use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Idempotent => "idempotent",
            Class::Unstable => "idempotent, reply may differ",
            Class::Conditional => "conditional",
            Class::NonIdempotent => "non-idempotent",
            Class::Blocking => "blocking",
            Class::ConnectionState => "connection state",
            Class::Admin => "administration",
        }
    }
}

/// How much one call may cost Redis and the connection it shares.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Bounded work, or work bounded by what the caller sent.
    Light,
    /// O(N) over data of any size, or a script: a connection of its own, outside the slow-call statistics.
    Heavy,
}

impl Weight {
    /// The weight as documents write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Weight::Light => "light",
            Weight::Heavy => "heavy",
        }
    }
}

/// Who may run a command.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone whose credentials reach the keys.
    Open,
    /// Holders of this scope; the root token has every scope.
    Scope(&'static str),
    /// Nobody: it would break a shared connection or the server.
    Never,
}

/// Where the keys are among the arguments; position 0 is the command's name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The command touches no key.
    None,
    /// Every `step`th argument from `first` to `last`; a negative `last` counts from the end (-1 is the last argument).
    At {
        /// Position of the first key.
        first: usize,
        /// Position of the last key.
        last: isize,
        /// Distance between two keys.
        step: usize,
    },
    /// As many keys as the argument at `at` says, from `first` on.
    Count {
        /// Position of the number of keys.
        at: usize,
        /// Position of the first key.
        first: usize,
    },
    /// A layout that only this command has.
    Special(Special),
    /// It touches or reveals keys that it does not name (`SCAN`, `FT.SEARCH`, anything unknown).
    Unknown,
}

/// Key layouts that no pattern covers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Special {
    /// `ZUNIONSTORE destination numkeys key …`
    DestinationAndCount,
    /// `MSETEX numkeys key value key value …`
    CountedPairs,
    /// `XREAD … STREAMS key … id …`
    Streams,
    /// `SORT key … STORE destination`, where `BY` and `GET` patterns name keys nobody can list beforehand.
    Sort,
    /// `GEORADIUS key … STORE destination`, with options from this position on.
    GeoRadius {
        /// Position of the first option.
        options: usize,
    },
    /// `MIGRATE host port key …` or `MIGRATE host port "" … KEYS key …`
    Migrate,
}

/// One command or subcommand: everything the service knows about it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Upper case; a subcommand behind its container: `CLIENT|KILL`.
    pub name: &'static str,
    /// Number of arguments including the name (and the subcommand); negative: at least so many.
    pub arity: i16,
    /// Breaker accounting.
    pub lane: Lane,
    /// Retry class of the plain form; ask [`class_of`](super::class_of) when the arguments are at hand.
    pub class: Class,
    /// Cost class.
    pub weight: Weight,
    /// Who may run it; ask [`refusal`](super::refusal) as well, since arguments can forbid a call.
    pub access: Access,
    /// Where its keys are.
    pub keys: Keys,
    /// Redis' own command flags.
    pub flags: &'static [&'static str],
    /// The version it appeared in: of Redis, of Valkey for its own commands, of the module for module commands.
    pub since: &'static str,
    /// It has subcommands; this row then stands for any subcommand not in the table.
    pub container: bool,
    /// It runs code that we do not know: what it answers, errors included, may be anything, after any effect.
    pub code: bool,
    /// Redis quotes its arguments in error lines, byte for byte: a line that is no UTF-8 costs the connection it comes over.
    pub quotes: bool,
    /// How its arguments change the class.
    pub rule: Rule,
}

impl Spec {
    const fn new(
        name: &'static str,
        arity: i16,
        class: Class,
        keys: Keys,
        flags: &'static [&'static str],
        since: &'static str,
    ) -> Self {
        let lane = if matches!(class, Class::Read) { Lane::Read } else { Lane::Write };
        let (weight, access, rule) = (Weight::Light, Access::Open, Rule::Fixed);
        Self {
            name,
            arity,
            lane,
            class,
            weight,
            access,
            keys,
            flags,
            since,
            container: false,
            code: false,
            quotes: false,
            rule,
        }
    }

    pub(super) const fn heavy(self) -> Self {
        Self { weight: Weight::Heavy, ..self }
    }

    pub(super) const fn never(self) -> Self {
        Self { access: Access::Never, ..self }
    }

    pub(super) const fn scope(self, scope: &'static str) -> Self {
        Self { access: Access::Scope(scope), ..self }
    }

    pub(super) const fn container(self) -> Self {
        Self { container: true, ..self }
    }

    pub(super) const fn code(self) -> Self {
        Self { code: true, ..self }
    }

    pub(super) const fn quotes(self) -> Self {
        Self { quotes: true, ..self }
    }

    pub(super) const fn by(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }
}

/// What is assumed of a command that is not in the table: the worst, except that Redis may be asked.
pub static UNKNOWN: Spec = BLANK.heavy().code().quotes();

/// A value to fill arrays with, and what [`UNKNOWN`] begins with.
pub(super) const BLANK: Spec = once("", -1, Keys::Unknown, &[], "");

macro_rules! constructors {
    ($($(#[$doc:meta])* $function:ident = $class:ident;)*) => {$(
        $(#[$doc])*
        pub(super) const fn $function(
            name: &'static str,
            arity: i16,
            keys: Keys,
            flags: &'static [&'static str],
            since: &'static str,
        ) -> Spec {
            Spec::new(name, arity, Class::$class, keys, flags, since)
        }
    )*};
}

constructors! {
    /// Changes nothing.
    read = Read;
    /// An absorbing write: state and reply depend on nothing it replaces.
    stable = Idempotent;
    /// The same twice in a row, but not its reply, or not with others' writes in between.
    unstable = Unstable;
    /// Depends on what it finds, or consumes it.
    conditional = Conditional;
    /// May run once only.
    once = NonIdempotent;
    /// Waits in Redis.
    blocking = Blocking;
    /// Changes its connection.
    session = ConnectionState;
    /// Changes the server.
    admin = Admin;
}

macro_rules! flags {
    ($($flag:ident)*) => { &[$(stringify!($flag)),*] };
}
pub(super) use flags;

pub(super) const NONE: Keys = Keys::None;
pub(super) const UNKNOWN_KEYS: Keys = Keys::Unknown;
/// `GET key`
pub(super) const KEY: Keys = Keys::At { first: 1, last: 1, step: 1 };
/// `OBJECT ENCODING key`
pub(super) const SECOND: Keys = Keys::At { first: 2, last: 2, step: 1 };
/// `RENAME key newkey`
pub(super) const TWO: Keys = Keys::At { first: 1, last: 2, step: 1 };
/// `DEL key …`
pub(super) const ALL: Keys = Keys::At { first: 1, last: -1, step: 1 };
/// `BLPOP key … timeout`
pub(super) const ALL_BUT_LAST: Keys = Keys::At { first: 1, last: -2, step: 1 };
/// `BITOP operation destination key …`
pub(super) const FROM_SECOND: Keys = Keys::At { first: 2, last: -1, step: 1 };
/// `MSET key value …`
pub(super) const PAIRS: Keys = Keys::At { first: 1, last: -1, step: 2 };
/// `TS.MADD key timestamp value …`
pub(super) const TRIPLES: Keys = Keys::At { first: 1, last: -1, step: 3 };
/// `LMPOP numkeys key …`
pub(super) const COUNT_1: Keys = Keys::Count { at: 1, first: 2 };
/// `EVAL script numkeys key …`
pub(super) const COUNT_2: Keys = Keys::Count { at: 2, first: 3 };
pub(super) const DEST_COUNT: Keys = Keys::Special(Special::DestinationAndCount);
pub(super) const COUNTED_PAIRS: Keys = Keys::Special(Special::CountedPairs);
pub(super) const STREAMS: Keys = Keys::Special(Special::Streams);
pub(super) const SORT: Keys = Keys::Special(Special::Sort);
pub(super) const GEORADIUS: Keys = Keys::Special(Special::GeoRadius { options: 6 });
pub(super) const GEORADIUSBYMEMBER: Keys = Keys::Special(Special::GeoRadius { options: 5 });
pub(super) const MIGRATE: Keys = Keys::Special(Special::Migrate);
