//! A transaction: MULTI, the caller's commands, EXEC, written as one piece down one connection.
//!
//! The connection is shared with other callers, so nothing of theirs may come between MULTI and EXEC: the driver writes a
//! pipeline as one message, and Redis runs one connection's commands in their order. All raw replies are kept (the driver's own
//! transaction mode folds queue-time errors away), because the caller is owed the reason why his transaction was discarded.
//! Retries and lanes are those of a batch: the worst command decides, and only a transaction of reads may be sent again (D4).
//! Limits: no WATCH, which would need a connection for one caller alone.

use redis_rs::aio::MultiplexedConnection;
use redis_rs::{RedisResult, ServerError};

use super::Reply;
use super::attempt::Cargo;
use super::catalogue::{Class, Lane, Weight};
use super::command::{Batch, Command};
use super::connector::words;
use super::error::{Judge, Meaning, Outcome, meaning};
use super::spans;
use super::writes::{Touched, touched_in};
use crate::telemetry::traces::Name;

/// Commands that run all together or not at all.
pub struct Transaction {
    batch: Batch,
    /// Replies expected: one a command, one for MULTI, one for EXEC.
    replies: usize,
}

/// How a transaction ended.
#[derive(Debug)]
pub enum Ending {
    /// It ran. One reply a command, which may be an error: the others took effect all the same.
    Executed(Vec<Reply>),
    /// Redis refused to queue a command, or to run what was queued: nothing ran. The first reason it gave.
    Discarded(ServerError),
    /// Redis would not begin a transaction but took commands of it: they ran one by one.
    Scattered(ServerError),
    /// Redis gave EXEC a reply that no transaction has.
    Unreadable,
}

impl Transaction {
    /// An empty transaction.
    pub fn new() -> Self {
        let mut batch = Batch::default();
        batch.pipeline.add_command(words(&["MULTI"]));
        Self { batch, replies: 1 }
    }

    /// Appends a command.
    pub fn push(&mut self, command: Command) {
        self.batch.push(command);
        self.replies += 1;
    }

    /// The lane of its worst command.
    pub fn lane(&self) -> Lane {
        self.batch.lane()
    }

    /// How many commands it carries.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// True when nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Closes it: from here on it can only be sent.
    pub(super) fn sealed(mut self) -> Sealed {
        self.batch.pipeline.add_command(words(&["EXEC"]));
        Sealed { batch: self.batch, replies: self.replies + 1 }
    }
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

/// A transaction that ends with EXEC.
pub(super) struct Sealed {
    batch: Batch,
    replies: usize,
}

impl Cargo for Sealed {
    type Reply = Ending;

    fn lane(&self) -> Lane {
        self.batch.lane()
    }

    fn class(&self) -> Class {
        Cargo::class(&self.batch)
    }

    fn weight(&self) -> Weight {
        Cargo::weight(&self.batch)
    }

    async fn send(&self, handle: &mut MultiplexedConnection) -> RedisResult<Ending> {
        let replies = handle.send_packed_commands(&self.batch.pipeline, 0, self.replies).await?;
        Ok(Ending::of(replies, &self.batch.code))
    }

    fn name(&self) -> Name {
        Name { name: "MULTI", batch: Some(self.batch.len()) }
    }

    fn told(&self, ending: &Ending) -> (Outcome, Option<&'static str>) {
        match ending {
            Ending::Executed(_) => spans::EXECUTED,
            Ending::Discarded(error) => (Outcome::NotExecuted, Some(spans::code(error))),
            Ending::Scattered(error) => (Outcome::Unknown, Some(spans::code(error))),
            Ending::Unreadable => (Outcome::Unknown, None),
        }
    }

    fn meaning(&self, ending: &Ending) -> Option<Meaning> {
        match ending {
            Ending::Executed(_) => None,
            Ending::Discarded(error) => Some(meaning(cause(error))),
            // Neither says anything of the server's health, and neither may be tried again.
            Ending::Scattered(_) | Ending::Unreadable => Some(Meaning::Forbidden),
        }
    }

    fn changed(&self, ending: &Ending) -> bool {
        !matches!(ending, Ending::Discarded(_))
    }

    fn touched(&self, tell: &mut dyn FnMut(Touched<'_>)) {
        touched_in(&self.batch.pipeline, tell);
    }
}

impl Ending {
    /// `code` are the commands that run code, by place: outside a transaction their errors may come after effects.
    fn of(mut replies: Vec<Reply>, code: &[(usize, Judge)]) -> Self {
        let exec = replies.pop();
        let mut replies = replies.into_iter();
        let queued = |reply: &Reply| matches!(reply, Reply::SimpleString(status) if status == "QUEUED");
        if let Some(Reply::ServerError(refusal)) = replies.next() {
            // Each command answered for itself: with refusals only (a user without any right), nothing ran.
            let ran = replies.enumerate().any(|(at, reply)| has_run(&reply, at, code));
            return if ran { Self::Scattered(refusal) } else { Self::Discarded(refusal) };
        }
        match exec {
            Some(Reply::Array(results)) => Self::Executed(results),
            Some(Reply::ServerError(abort)) => {
                let first = replies.find(|reply| !queued(reply));
                Self::Discarded(match first {
                    Some(Reply::ServerError(error)) => error,
                    _ => abort,
                })
            }
            _ => Self::Unreadable,
        }
    }
}

/// Whether the command at this place, which answered for itself, may have changed anything.
fn has_run(reply: &Reply, at: usize, code: &[(usize, Judge)]) -> bool {
    let Reply::ServerError(error) = reply else { return true };
    let found = code.binary_search_by_key(&at, |(place, _)| *place).ok();
    found.is_some_and(|found| code[found].1.outcome(error) != Outcome::NotExecuted)
}

/// The code that tells why: `EXECABORT Transaction discarded because of: OOM …` was discarded for `OOM`.
pub fn cause(error: &ServerError) -> &str {
    const BECAUSE: &str = "because of: ";
    let inner = error.details().filter(|_| error.code() == "EXECABORT").and_then(|text| text.split_once(BECAUSE));
    inner.and_then(|(_, reason)| reason.split_whitespace().next()).unwrap_or(error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok() -> Reply {
        Reply::Okay
    }

    fn queued() -> Reply {
        Reply::SimpleString("QUEUED".to_owned())
    }

    fn error(line: &str) -> Reply {
        redis_rs::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error line is a value")
    }

    #[test]
    fn the_first_queue_time_error_is_the_reason() {
        let replies = vec![
            ok(),
            queued(),
            error("ERR wrong number of arguments for 'get' command"),
            error("EXECABORT Transaction discarded because of previous errors."),
        ];
        let Ending::Discarded(reason) = Ending::of(replies, &[]) else { panic!("it was discarded") };
        assert_eq!(reason.details(), Some("wrong number of arguments for 'get' command"));
    }

    #[test]
    fn an_abort_of_its_own_tells_its_cause() {
        let abort = error("EXECABORT Transaction discarded because of: OOM command not allowed");
        let Ending::Discarded(reason) = Ending::of(vec![ok(), queued(), abort], &[]) else {
            panic!("it was discarded")
        };
        assert_eq!(cause(&reason), "OOM");
    }

    #[test]
    fn commands_without_a_transaction_around_them_are_told_apart() {
        let no = || error("NOPERM this user has no permissions to run the 'multi' command");
        let ending = Ending::of(vec![no(), ok(), error("ERR EXEC without MULTI")], &[]);
        assert!(matches!(ending, Ending::Scattered(_)), "{ending:?}");
        let ending = Ending::of(vec![no(), no(), no()], &[]);
        assert!(matches!(ending, Ending::Discarded(_)), "{ending:?}");
    }

    #[test]
    fn an_error_of_code_outside_its_transaction_came_after_effects() {
        let no = || error("NOPERM this user has no permissions to run the 'multi' command");
        let mut transaction = Transaction::new();
        transaction.push(Command::of(&[b"GET", b"a"]));
        transaction.push(Command::of(&[b"EVAL", b"x", b"0"]));
        let code = &transaction.batch.code;
        let ending = Ending::of(vec![no(), no(), error("BUSY seat is taken"), error("ERR EXEC without MULTI")], code);
        assert!(matches!(ending, Ending::Scattered(_)), "{ending:?}");
        let refused = error("NOPERM this user has no permissions to run the 'eval' command");
        let ending = Ending::of(vec![no(), no(), refused, no()], code);
        assert!(matches!(ending, Ending::Discarded(_)), "{ending:?}");
    }

    #[test]
    fn results_may_hold_errors_and_are_results_all_the_same() {
        let results = vec![Reply::Int(1), error("WRONGTYPE Operation")];
        let ending = Ending::of(vec![ok(), queued(), queued(), Reply::Array(results)], &[]);
        assert!(matches!(ending, Ending::Executed(results) if results.len() == 2));
    }

    #[test]
    fn a_transaction_is_as_bad_as_its_worst_command() {
        let mut transaction = Transaction::new();
        transaction.push(Command::of(&[b"GET", b"a"]));
        assert_eq!((transaction.lane(), transaction.len()), (Lane::Read, 1));
        transaction.push(Command::of(&[b"SET", b"a", b"1"]));
        let sealed = transaction.sealed();
        assert_eq!((Cargo::lane(&sealed), Cargo::class(&sealed)), (Lane::Write, Class::NonIdempotent));
        assert_eq!(sealed.replies, 4);
    }
}
