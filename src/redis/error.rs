//! What can go wrong between us and Redis, whose fault it is, and, above all, whether it may have happened.
//!
//! The driver returns one error for "never sent" and for "sent, reply lost"; only the place of failure tells them apart. So every
//! error here is born where that is known, with its [`Outcome`] (D1). Replies that are Redis' own error are not errors of this
//! type: they are definite answers, and [`Judge`] says what each is worth to the call it answers. The matches have no wildcard on purpose.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis_rs::ServerError;

use super::catalogue::{Arguments, Class, Lane, Spec};
use super::link::Link;

/// Whether a call took effect. Only ever gets worse over the attempts of one call, unless a later attempt succeeds (D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It changed nothing and never will: anyone may send it again.
    NotExecuted,
    /// Redis answered definitely, after effects (an error inside a script or a transaction).
    Executed,
    /// It may have taken effect, or may yet.
    Unknown,
}

impl Outcome {
    /// The word used in the `outcome` member and the `Collective-Outcome` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotExecuted => "not_executed",
            Self::Executed => "executed",
            Self::Unknown => "unknown",
        }
    }
}

/// What stopped a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The lane's breaker refuses calls: Redis was seen to be down.
    BreakerOpen(Lane),
    /// Too many calls in flight and waiting: shed before sending.
    Overloaded,
    /// The caller's deadline passed.
    DeadlinePassed,
    /// No connection could be had.
    ConnectFailed,
    /// No reply within the attempt timeout, on the last attempt allowed.
    NoReply,
    /// The connection died after the command was handed to it.
    ConnectionLost,
}

impl ErrorKind {
    /// A short word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen(_) => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::DeadlinePassed => "deadline_passed",
            Self::ConnectFailed => "connect_failed",
            Self::NoReply => "no_reply",
            Self::ConnectionLost => "connection_lost",
        }
    }
}

/// A call that did not get a definite answer from Redis.
#[derive(Clone)]
pub struct Error {
    /// What stopped it.
    pub kind: ErrorKind,
    /// The worst over all attempts.
    pub outcome: Outcome,
    /// How many attempts were handed to a connection.
    pub attempts: u32,
    /// When it is worth asking again, where the one who said no knows.
    pub retry_after: Option<Duration>,
    /// The connection an ambiguous write went down, for [`super::Gateway::fence`].
    pub suspect: Option<Suspect>,
}

impl Error {
    pub(super) fn new(kind: ErrorKind) -> Self {
        Self { kind, outcome: Outcome::NotExecuted, attempts: 0, retry_after: None, suspect: None }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} attempts, outcome {}", self.kind.as_str(), self.attempts, self.outcome.as_str())
    }
}

impl std::error::Error for Error {}

/// A connection that may still carry an abandoned write.
#[derive(Clone)]
pub struct Suspect(pub(super) Arc<Link>);

impl fmt::Debug for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suspect(client {})", self.0.client_id)
    }
}

/// What one of Redis' own error replies is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The server is healthy; the caller asked for something it cannot have.
    Caller,
    /// Refused before execution because the server cannot serve now (LOADING, READONLY …): worth a retry, a breaker failure.
    Unavailable,
    /// Refused before execution for want of memory (OOM): fast and definite, breaker-neutral (D9).
    OutOfMemory,
    /// Refused before execution by a durability rule (MISCONF, NOREPLICAS): fast and definite, breaker-neutral.
    Undurable,
    /// The gateway's own identity lacks a right on the server: neutral, an operator's alarm.
    Forbidden,
}

/// An error that Redis told in other ways than an error line: `CODE text`.
pub fn server_error(line: &str) -> Option<ServerError> {
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    match redis_rs::parse_redis_value(format!("-{plain}\r\n").as_bytes()) {
        Ok(redis_rs::Value::ServerError(error)) => Some(error),
        _ => None,
    }
}

/// Classifies a Redis error reply by its code. Unknown codes are the caller's: a healthy server said them.
pub fn meaning(code: &str) -> Meaning {
    match code {
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "READONLY" | "BUSY" => Meaning::Unavailable,
        "OOM" => Meaning::OutOfMemory,
        "MISCONF" | "NOREPLICAS" => Meaning::Undurable,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Meaning::Forbidden,
        _ => Meaning::Caller,
    }
}

/// What error replies to one call are worth.
///
/// Redis refuses a plain command before running it, and says why in a code of its own. Where a call runs *code* (a script, a
/// function, a command we do not know), the line is the code's: it may say anything, after any effect. So such a call
///
/// - is never sent again for what it answered, and never a breaker's failure: whoever writes scripts must not steer either;
/// - was `executed`, unless the line is one that Redis says before the first line of code and that no command called by a
///   script is answered with. `OOM`, `READONLY` or `value is not an integer` may be what the code's second call met, while its
///   first one wrote.
///
/// Limits: code that makes up one of those very sentences tells a lie about itself, and is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judge {
    spec: &'static Spec,
    /// The number of keys is none: Redis refuses the call and has not looked at the code.
    miscounted: bool,
    /// The code is this service's.
    ours: bool,
}

impl Judge {
    /// The judge of this call.
    pub(super) fn of(spec: &'static Spec, args: &(impl Arguments + ?Sized)) -> Self {
        Self { spec, miscounted: spec.code && miscounted(args), ours: false }
    }

    /// The judge of a call that runs code of this service. It raises nothing itself, and writes nothing before a call that Redis
    /// may refuse for its own state; so what it refuses for, it refuses before the first effect.
    pub(super) fn of_our_own(self) -> Self {
        Self { ours: true, ..self }
    }

    /// The catalogue's row of the call.
    pub fn spec(self) -> &'static Spec {
        self.spec
    }

    /// Whether the call runs code that may answer anything.
    pub fn runs_code(self) -> bool {
        self.spec.code
    }

    /// Whether that code is a stranger's: which keys it touches, declared or not, nobody knows.
    pub fn runs_foreign_code(self) -> bool {
        self.spec.code && !self.ours
    }

    /// What the reply says of the server.
    pub fn meaning(self, error: &ServerError) -> Meaning {
        if self.spec.code && !self.ours { Meaning::Caller } else { meaning(error.code()) }
    }

    /// Whether the call changed anything.
    pub fn outcome(self, error: &ServerError) -> Outcome {
        let may_write = self.spec.code && self.spec.class != Class::Read;
        let refused = self.ours && meaning(error.code()) != Meaning::Caller;
        if may_write && !refused && !self.precedes_the_code(error) { Outcome::Executed } else { Outcome::NotExecuted }
    }

    fn precedes_the_code(self, error: &ServerError) -> bool {
        let text = error.details().unwrap_or_default();
        match error.code() {
            "ERR" => {
                REFUSALS.contains(&text)
                    || COMPLAINTS.iter().any(|start| text.starts_with(start))
                    || self.miscounted && MISCOUNTS.contains(&text)
                    || text == format!("wrong number of arguments for '{}' command", self.name())
            }
            "NOPERM" => {
                KEY_DENIALS.contains(&text)
                    || text.ends_with(&format!("has no permissions to run the '{}' command", self.name()))
            }
            code => SENTENCES.contains(&(code, without_the_name(text))),
        }
    }

    fn name(self) -> String {
        self.spec.name.to_lowercase()
    }
}

/// What Redis says when it cannot serve, word for word: nothing that a script calls is answered so.
const SENTENCES: [(&str, &str); 9] = [
    ("LOADING", "is loading the dataset in memory"),
    ("BUSY", "is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
    ("BUSY", "is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."),
    ("BUSY", "is busy running a module command."),
    ("MASTERDOWN", "Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
    ("NOSCRIPT", "No matching script. Please use EVAL."),
    ("NOAUTH", "Authentication required."),
    ("OOM", "allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"),
    ("READONLY", "Can not run script with write flag on readonly replica."),
];

/// The same behind `ERR`.
const REFUSALS: [&str; 3] =
    ["Function not found", "Invalid script shebang", "Can not run script on cluster, 'no-cluster' flag is set."];

/// How Redis begins to complain about a script's text, or about a command it does not know.
const COMPLAINTS: [&str; 5] = [
    "Error compiling script (new function): ",
    "Unexpected flag in script shebang: ",
    "Unexpected engine in script shebang: ",
    "Unknown lua shebang option: ",
    "unknown command ",
];

/// What it says of a number of keys. `INCR` says the first as well, also when a script calls it.
const MISCOUNTS: [&str; 4] = [
    "value is not an integer or out of range",
    "Number of keys can't be greater than number of args",
    "Number of keys can't be negative",
    "Bad number of keys provided",
];

/// What it says of keys its user may not touch. To a script it says that the *script* may not.
const KEY_DENIALS: [&str; 2] =
    ["this user has no permissions to access one of the keys used as arguments", "No permissions to access a key"];

/// Servers put their own name into some sentences.
fn without_the_name(text: &str) -> &str {
    ["Redis ", "Valkey "].iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text)
}

/// Whether `EVAL code numkeys key …` names a number of keys that Redis refuses: it reads plain decimal digits only.
fn miscounted(args: &(impl Arguments + ?Sized)) -> bool {
    let Some(text) = args.at(2).and_then(|digits| std::str::from_utf8(digits).ok()) else { return true };
    let read = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    let room = args.count().saturating_sub(3);
    read.and_then(|keys| usize::try_from(keys).ok()).is_none_or(|keys| keys > room)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue;
    use super::*;

    #[test]
    fn unknown_is_the_worst_outcome() {
        assert!(Outcome::Unknown > Outcome::Executed && Outcome::Executed > Outcome::NotExecuted);
    }

    fn error(line: &str) -> ServerError {
        match redis_rs::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(redis_rs::Value::ServerError(error)) => error,
            other => panic!("no error line: {other:?}"),
        }
    }

    fn judge(call: &[&str]) -> Judge {
        Judge::of(catalogue::find(call), call)
    }

    #[track_caller]
    fn outcomes(expected: Outcome, cases: &[(&[&str], &str)]) {
        for (call, line) in cases {
            assert_eq!(judge(call).outcome(&error(line)), expected, "{call:?}: {line}");
        }
    }

    #[test]
    fn what_redis_says_before_the_first_line_of_code_ran_nothing() {
        let eval: &[&str] = &["EVAL", "return 1", "0"];
        outcomes(
            Outcome::NotExecuted,
            &[
                (eval, "LOADING Redis is loading the dataset in memory"),
                (eval, "LOADING Valkey is loading the dataset in memory"),
                (eval, "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
                (eval, "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."),
                (eval, "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
                (eval, "ERR Error compiling script (new function): user_script:1: '=' expected near '<eof>'"),
                (eval, "ERR unknown command 'EVAL', with args beginning with: 'return 1' '0' "),
                (eval, "NOPERM this user has no permissions to run the 'eval' command"),
                (&["EVAL", "return 1"], "ERR wrong number of arguments for 'eval' command"),
                (&["EVALSHA", "x", "0"], "NOSCRIPT No matching script. Please use EVAL."),
                (&["FCALL", "f", "0"], "ERR Function not found"),
                (&["EVAL", "return 1", "x"], "ERR value is not an integer or out of range"),
                (&["EVAL", "return 1", "+1", "k"], "ERR value is not an integer or out of range"),
                (&["EVAL", "return 1", "2", "k"], "ERR Number of keys can't be greater than number of args"),
                (&["FCALL", "f", "x"], "ERR Bad number of keys provided"),
                (&["NOSUCH", "k"], "ERR unknown command 'NOSUCH', with args beginning with: 'k' "),
                (&["EVAL_RO", "return 1", "0"], "BUSY seat is taken"),
                (&["INCR", "k"], "ERR value is not an integer or out of range"),
            ],
        );
    }

    #[test]
    fn whatever_code_may_have_said_was_executed() {
        let eval: &[&str] = &["EVAL", "return 1", "1", "k"];
        outcomes(
            Outcome::Executed,
            &[
                (eval, "BUSY seat is taken"),
                (eval, "LOADING x script: 0f0f46e5, on @user_script:1."),
                (eval, "LOADING"),
                (eval, "TRYAGAIN x"),
                (eval, "READONLY You can't write against a read only replica."),
                (eval, "OOM command not allowed when used memory > 'maxmemory'."),
                (eval, "MISCONF Redis is configured to save RDB snapshots"),
                (eval, "NOREPLICAS Not enough good replicas to write."),
                (eval, "NOSCRIPT of mine"),
                (eval, "NOPERM you may not"),
                (eval, "NOPERM ACL failure in script: User u has no permissions to run the 'get' command"),
                (eval, "ERR value is not an integer or out of range"),
                (eval, "ERR Number of keys can't be negative"),
                (eval, "ERR wrong number of arguments for 'get' command"),
                (eval, "WRONGTYPE Operation against a key holding the wrong kind of value"),
                (&["EVALSHA", "x", "0"], "ERR value is not an integer or out of range"),
                (&["FCALL", "f", "0"], "BUSY seat is taken"),
                (&["NOSUCH", "k"], "TRYAGAIN x"),
                (&["NOSUCH", "k"], "READONLY You can't write against a read only replica."),
            ],
        );
    }

    #[test]
    fn no_answer_of_code_is_worth_another_attempt() {
        let loading = error("LOADING Redis is loading the dataset in memory");
        for call in [&["EVAL", "x", "0"][..], &["FCALL", "f", "0"], &["EVALSHA_RO", "x", "0"], &["NOSUCH"]] {
            assert_eq!(judge(call).meaning(&loading), Meaning::Caller, "{call:?}");
        }
        assert_eq!(judge(&["GET", "k"]).meaning(&loading), Meaning::Unavailable);
    }

    #[test]
    fn callers_mistakes_say_nothing_about_the_server() {
        for code in ["ERR", "WRONGTYPE", "NOSCRIPT", "EXECABORT", "CROSSSLOT", "NOVELTY"] {
            assert_eq!(meaning(code), Meaning::Caller, "{code}");
        }
        assert_eq!(meaning("LOADING"), Meaning::Unavailable);
    }
}
