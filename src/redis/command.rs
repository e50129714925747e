//! Commands and batches on their way to Redis, with everything the gateway must know of them.
//!
//! A command is built argument by argument straight into the driver's own buffer, so that a caller's bytes are copied once. What
//! it is (lane, retry class, weight) is read off the catalogue when it is finished; a resource may declare a better class where
//! its reply is stable although Redis' is not (`DELETE /v1/keys` ignores the count of `DEL`).
//! Limits: arguments are bytes; nothing here is ever parsed as RESP, so no argument can become two.

use redis_rs::aio::MultiplexedConnection;
use redis_rs::{Arg, Cmd, Pipeline, RedisResult};

use super::Reply;
use super::attempt::Cargo;
use super::catalogue::{self, Class, Lane, Refusal, Spec, Weight};
use super::error::{Judge, Meaning, Outcome, meaning};
use super::reserved::{self, Reserved};
use super::spans;
use super::writes::{Touched, touched_by, touched_in};
use crate::telemetry::traces::Name;

/// Arguments longer than this in total travel on the connection for heavy commands, so that they delay no small one.
pub const HEAVY_BYTES: usize = 1024 * 1024;

/// More commands than this in one batch likewise: Redis runs them in one go, and whoever shares the connection waits for all replies.
pub const HEAVY_COMMANDS: usize = 1000;

/// One command, complete and classified.
pub struct Command {
    pub(super) cmd: Cmd,
    judge: Judge,
    class: Class,
    heavy: bool,
    bytes: usize,
}

/// Why a caller's command must not be sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// Its name, or its subcommand's, is no name: other bytes than printable ASCII.
    NotAName,
    /// The catalogue forbids it.
    Refused(Refusal),
    /// It reaches for something of the service's own (D14).
    Reserved(Reserved),
}

/// A command being built.
pub struct CommandBuilder {
    cmd: Cmd,
    count: usize,
    bytes: usize,
}

impl CommandBuilder {
    /// Room for `arguments` arguments of `bytes` in all; both are hints.
    pub fn with_capacity(arguments: usize, bytes: usize) -> Self {
        Self { cmd: Cmd::with_capacity(arguments, bytes), count: 0, bytes: 0 }
    }

    /// Appends one argument; the first is the command's name.
    pub fn push(&mut self, argument: &[u8]) {
        self.cmd.arg(argument);
        self.count += 1;
        self.bytes += argument.len();
    }

    /// How many arguments there are, the name included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True while not even the name is known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Classifies the command by the catalogue.
    pub fn finish(self) -> Command {
        let (judge, class, apart) = {
            let list = ArgumentList::of(&self.cmd);
            let arguments = list.as_slice();
            let spec = catalogue::find(arguments);
            let much = catalogue::weight_of(spec, arguments) == Weight::Heavy;
            let apart = much || quotes_what_breaks(spec, arguments);
            (Judge::of(spec, arguments), catalogue::class_of(spec, arguments), apart)
        };
        let heavy = apart || self.bytes > HEAVY_BYTES;
        Command { cmd: self.cmd, judge, class, heavy, bytes: self.bytes }
    }
}

impl Command {
    /// A command from its arguments, the name first.
    pub fn of(arguments: &[&[u8]]) -> Self {
        let mut builder =
            CommandBuilder::with_capacity(arguments.len(), arguments.iter().map(|bytes| bytes.len()).sum());
        for argument in arguments {
            builder.push(argument);
        }
        builder.finish()
    }

    /// Declares the retry class of what the caller sees, where it is better (or worse) than the command's own.
    pub fn with_class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Declares a command light that the catalogue calls heavy for what others may do with it. Its size still counts.
    pub(super) fn light(mut self) -> Self {
        self.heavy = self.bytes > HEAVY_BYTES;
        self
    }

    /// Declares a command heavy for what it carries.
    pub(super) fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    /// Declares that the code it runs is ours: what Redis answers instead of running it is believed.
    pub(super) fn of_our_own(mut self) -> Self {
        self.judge = self.judge.of_our_own();
        self
    }

    /// The catalogue's row.
    pub fn spec(&self) -> &'static Spec {
        self.judge.spec()
    }

    /// What error replies to it are worth.
    pub fn judge(&self) -> Judge {
        self.judge
    }

    /// Whether it travels on a connection for heavy commands.
    pub fn is_heavy(&self) -> bool {
        self.heavy
    }

    /// The retry class of this very call.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its arguments, the name first.
    pub fn arguments(&self) -> Vec<&[u8]> {
        ArgumentList::of(&self.cmd).as_slice().to_vec()
    }

    /// What speaks against sending this command for a caller, scopes aside.
    pub fn objection(&self) -> Option<Objection> {
        let list = ArgumentList::of(&self.cmd);
        let arguments = list.as_slice();
        if !catalogue::names_are_plain(self.spec(), arguments) {
            return Some(Objection::NotAName);
        }
        if let Some(refusal) = catalogue::refusal(self.spec(), arguments) {
            return Some(Objection::Refused(refusal));
        }
        reserved::reaches_for(self.spec(), arguments).map(Objection::Reserved)
    }
}

/// True if Redis might quote these arguments in an error line that is then no valid UTF-8 (it also cuts long ones in the middle
/// of a character): the driver gives up a connection over such a line. Those calls travel on the connection for heavy commands,
/// where they can only disturb their like. Who quotes: commands that the catalogue says so of, unknown commands and
/// subcommands, which is also what a newer command is to an older server, and modules.
fn quotes_what_breaks(spec: &Spec, arguments: &[&[u8]]) -> bool {
    let may_be_unknown = spec.container || spec.name.contains(['.', '|']) || newer_than_oldest(spec.since);
    (spec.quotes || may_be_unknown) && arguments.iter().any(|argument| !argument.is_ascii())
}

/// True for commands that the oldest server we serve (6.2) does not have.
fn newer_than_oldest(since: &str) -> bool {
    let mut numbers = since.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) > (6, 2)
}

/// Several commands that go down one connection in order (D4).
#[derive(Default)]
pub struct Batch {
    pub(super) pipeline: Pipeline,
    commands: usize,
    bytes: usize,
    lane: Option<Lane>,
    class: Option<Class>,
    heavy: bool,
    /// The commands that run code, by their place in order: what they answer says nothing of the server.
    pub(super) code: Vec<(usize, Judge)>,
}

impl Batch {
    /// Room for `commands` commands.
    pub fn with_capacity(commands: usize) -> Self {
        Self { pipeline: Pipeline::with_capacity(commands), ..Self::default() }
    }

    /// Appends a command: the batch takes on the worst of each property.
    pub fn push(&mut self, command: Command) {
        self.lane = Some(match (self.lane, command.lane()) {
            (None | Some(Lane::Read), Lane::Read) => Lane::Read,
            _ => Lane::Write,
        });
        // A lost reply loses the replies of all: only a batch of reads may be sent again (D4).
        self.class = Some(match (self.class, command.class) {
            (None | Some(Class::Read), Class::Read) => Class::Read,
            _ => Class::NonIdempotent,
        });
        self.heavy |= command.heavy;
        self.bytes += command.bytes;
        if command.judge.runs_code() {
            self.code.push((self.commands, command.judge));
        }
        self.commands += 1;
        self.pipeline.add_command(command.cmd);
    }

    /// The lane of its worst command.
    pub fn lane(&self) -> Lane {
        self.lane.unwrap_or(Lane::Write)
    }

    /// How many commands it carries.
    pub fn len(&self) -> usize {
        self.commands
    }

    /// True when nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }
}

impl Cargo for Command {
    type Reply = Reply;

    fn lane(&self) -> Lane {
        self.spec().lane
    }

    fn class(&self) -> Class {
        self.class
    }

    fn weight(&self) -> Weight {
        if self.is_heavy() { Weight::Heavy } else { Weight::Light }
    }

    async fn send(&self, handle: &mut MultiplexedConnection) -> RedisResult<Reply> {
        handle.send_packed_command(&self.cmd).await
    }

    /// From the catalogue: a name it does not know is the caller's text.
    fn name(&self) -> Name {
        let name = if self.spec().name.is_empty() { "unknown" } else { self.spec().name };
        Name { name, batch: None }
    }

    fn told(&self, reply: &Reply) -> (Outcome, Option<&'static str>) {
        match reply {
            Reply::ServerError(error) => (self.judge.outcome(error), Some(spans::code(error))),
            _ => spans::EXECUTED,
        }
    }

    fn meaning(&self, reply: &Reply) -> Option<Meaning> {
        match reply {
            Reply::ServerError(error) => Some(self.judge.meaning(error)),
            _ => None,
        }
    }

    fn changed(&self, reply: &Reply) -> bool {
        !matches!(reply, Reply::ServerError(error) if self.judge.outcome(error) == Outcome::NotExecuted)
    }

    fn touched(&self, tell: &mut dyn FnMut(Touched<'_>)) {
        let list = ArgumentList::of(&self.cmd);
        touched_by(self.spec(), list.as_slice(), self.judge.runs_foreign_code(), tell);
    }
}

impl Cargo for Batch {
    type Reply = Vec<Reply>;

    fn lane(&self) -> Lane {
        Self::lane(self)
    }

    fn class(&self) -> Class {
        self.class.unwrap_or(Class::NonIdempotent)
    }

    fn weight(&self) -> Weight {
        if self.heavy || self.bytes > HEAVY_BYTES || self.commands > HEAVY_COMMANDS {
            Weight::Heavy
        } else {
            Weight::Light
        }
    }

    async fn send(&self, handle: &mut MultiplexedConnection) -> RedisResult<Vec<Reply>> {
        handle.send_packed_commands(&self.pipeline, 0, self.commands).await
    }

    fn name(&self) -> Name {
        Name { name: "PIPELINE", batch: Some(self.commands) }
    }

    /// Each reply has an outcome of its own; the batch as a whole was answered, unless all of it was refused.
    fn told(&self, replies: &Vec<Reply>) -> (Outcome, Option<&'static str>) {
        match (self.meaning(replies), replies.first()) {
            (Some(_), Some(Reply::ServerError(error))) => (Outcome::NotExecuted, Some(spans::code(error))),
            _ => spans::EXECUTED,
        }
    }

    /// A batch is refused only when every command in it was: then, and only then, nothing of it has run. Of code that cannot
    /// be told.
    fn meaning(&self, replies: &Vec<Reply>) -> Option<Meaning> {
        let all_unavailable = self.code.is_empty()
            && !replies.is_empty()
            && replies.iter().all(
                |reply| matches!(reply, Reply::ServerError(error) if meaning(error.code()) == Meaning::Unavailable),
            );
        all_unavailable.then_some(Meaning::Unavailable)
    }

    fn changed(&self, replies: &Vec<Reply>) -> bool {
        !self.code.is_empty() || replies.iter().any(|reply| !matches!(reply, Reply::ServerError(_)))
    }

    fn touched(&self, tell: &mut dyn FnMut(Touched<'_>)) {
        touched_in(&self.pipeline, tell);
    }
}

/// Arguments side by side, each found at once: the driver's own list can only be walked.
enum ArgumentList<'a> {
    Few([&'a [u8]; FEW], usize),
    Many(Vec<&'a [u8]>),
}

/// Nearly every command has no more arguments than this; the list then needs no allocation.
const FEW: usize = 8;

impl<'a> ArgumentList<'a> {
    fn of(cmd: &'a Cmd) -> Self {
        let arguments = cmd.args_iter().map(|argument| match argument {
            Arg::Simple(bytes) => bytes,
            // SCAN cursors the driver manages; we never make them.
            _ => &[][..],
        });
        if arguments.len() > FEW {
            return Self::Many(arguments.collect());
        }
        let (mut few, count) = ([&[][..]; FEW], arguments.len());
        few.iter_mut().zip(arguments).for_each(|(slot, argument)| *slot = argument);
        Self::Few(few, count)
    }

    fn as_slice(&self) -> &[&'a [u8]] {
        match self {
            Self::Few(few, count) => &few[..*count],
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_as_bad_as_its_worst_command() {
        let mut batch = Batch::with_capacity(2);
        batch.push(Command::of(&[b"GET", b"a"]));
        assert_eq!((Cargo::lane(&batch), Cargo::class(&batch)), (Lane::Read, Class::Read));
        batch.push(Command::of(&[b"SET", b"a", b"1"]));
        assert_eq!((Cargo::lane(&batch), Cargo::class(&batch)), (Lane::Write, Class::NonIdempotent));
    }

    #[test]
    fn large_batches_are_heavy() {
        let mut batch = Batch::default();
        for _ in 0..HEAVY_COMMANDS {
            batch.push(Command::of(&[b"GET", b"k"]));
        }
        assert_eq!(Cargo::weight(&batch), Weight::Light);
        batch.push(Command::of(&[b"GET", b"k"]));
        assert_eq!(Cargo::weight(&batch), Weight::Heavy);
        let half = vec![b'x'; HEAVY_BYTES / 2];
        let mut batch = Batch::default();
        batch.push(Command::of(&[b"SET", b"k", &half]));
        assert_eq!(Cargo::weight(&batch), Weight::Light);
        batch.push(Command::of(&[b"SET", b"k", &half]));
        assert_eq!(Cargo::weight(&batch), Weight::Heavy);
    }

    #[test]
    fn a_scan_that_asks_for_much_is_heavy() {
        for (call, weight) in [
            (&["SCAN", "0"][..], Weight::Light),
            (&["SCAN", "0", "COUNT", "1000"], Weight::Light),
            (&["SCAN", "0", "MATCH", "a*", "count", "1001"], Weight::Heavy),
            (&["SCAN", "0", "COUNT\0", "1001"], Weight::Heavy),
            (&["SCAN", "0", "COUNT", "1", "COUNT", "99999999999999999999"], Weight::Heavy),
            (&["HSCAN", "k", "0", "COUNT", "1000000"], Weight::Heavy),
            (&["SCAN", "0", "MATCH", "count"], Weight::Light),
        ] {
            let words: Vec<&[u8]> = call.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(Cargo::weight(&Command::of(&words)), weight, "{call:?}");
        }
    }

    #[test]
    fn large_values_are_heavy() {
        let value = vec![b'x'; HEAVY_BYTES];
        assert_eq!(Cargo::weight(&Command::of(&[b"SET", b"k", &value])), Weight::Heavy);
        assert_eq!(Cargo::weight(&Command::of(&[b"SET", b"k", b"v"])), Weight::Light);
    }
    /// Calls whose words are in capitals: none may be sent, or none may be sent again.
    const FORBIDDEN: [&str; 14] = [
        "BLPOP k 0",
        "CLIENT KILL id 1",
        "CONFIG SET a b",
        "SELECT 1",
        "MULTI",
        "COPY a b DB 1",
        "COPY a b REPLACE DB 1",
        "XREAD BLOCK 0 STREAMS a 0",
        "XREAD COUNT 1 BLOCK 0 STREAMS a 0",
        "XREADGROUP GROUP g c NOACK BLOCK 0 STREAMS a >",
        "GEORADIUS a 0 0 1 m STORE collective:mine",
        "GEORADIUSBYMEMBER a m 1 m STOREDIST collective:mine",
        "SORT a LIMIT 0 1 BY x_* STORE collective:mine",
        "XREAD COUNT 1 STREAMS collective:mine 0",
    ];
    const ONCE: [&str; 19] = [
        "INCR n",
        "EVAL script 0",
        "SET k v NX",
        "SET k v EX 10 XX",
        "SET k v KEEPTTL GET",
        "ZADD k INCR 1 m",
        "ZADD k CH NX 1 m",
        "EXPIRE k 10 NX",
        "GEOADD k NX 1 1 m",
        "SORT a STORE a",
        "SORT a BY w_* ALPHA STORE d",
        "GEORADIUS a 0 0 1 m STORE a",
        "BITFIELD k OVERFLOW FAIL INCRBY u8 0 1",
        "XTRIM k MAXLEN ~ 5",
        "XTRIM k MAXLEN = 5 LIMIT 1",
        "XGROUP SETID k g $",
        "FT.AGGREGATE i q WITHCURSOR",
        "FT.SUGADD k s 1 INCR",
        "JSON.SET k $ 1 NX",
    ];

    fn may_be_sent_again(command: &Command) -> bool {
        matches!(command.class(), Class::Read | Class::Idempotent)
    }

    fn of_words(words: &[Vec<u8>]) -> Command {
        Command::of(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_forbidden_is_forbidden_and_what_runs_once_runs_once() {
        let words = |call: &str| call.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        for call in FORBIDDEN {
            assert!(of_words(&words(call)).objection().is_some(), "{call}");
        }
        for call in ONCE {
            assert!(!may_be_sent_again(&of_words(&words(call))), "{call}");
        }
    }

    proptest! {
        #[test]
        fn bytes_behind_a_zero_byte_make_nothing_allowed_and_nothing_repeatable(
            call in prop::sample::select(FORBIDDEN.iter().chain(&ONCE).copied().collect::<Vec<_>>()),
            marked in prop::collection::vec(any::<bool>(), 10),
            tails in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 10),
        ) {
            let is_word = |word: &str| word == "$" || word == "~" || word.starts_with(|first: char| first.is_ascii_uppercase());
            let words: Vec<Vec<u8>> = call.split(' ').enumerate().map(|(at, word)| {
                let mut bytes = word.as_bytes().to_vec();
                if marked[at] && is_word(word) {
                    bytes.push(0);
                    bytes.extend_from_slice(&tails[at]);
                }
                bytes
            }).collect();
            let command = of_words(&words);
            if FORBIDDEN.contains(&call) {
                prop_assert!(command.objection().is_some());
            } else {
                prop_assert!(command.objection().is_some() || !may_be_sent_again(&command));
            }
        }
    }
}
