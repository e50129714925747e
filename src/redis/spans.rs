//! What the gateway tells the span of a call, in static words: how each attempt went and how the call ended.
//!
//! Asked only for calls that are recorded. Limits: Redis' own error is told by its code, and only if it is one of Redis' own:
//! what a script makes up may quote a caller's data.

use super::attempt::{self, Cargo};
use super::error::{Error, Outcome};
use super::fence::Fence;
use super::subscriptions::{NoStream, Subscription, Topic};
use super::{Answer, ServerError};
use crate::telemetry::traces::{Attempt, End, Name};

/// Codes of Redis itself.
const CODES: [&str; 27] = [
    "ASK",
    "BUSY",
    "BUSYGROUP",
    "BUSYKEY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "DENIED",
    "ERR",
    "EXECABORT",
    "INPROG",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOGROUP",
    "NOPERM",
    "NOPROTO",
    "NOREPLICAS",
    "NOSCRIPT",
    "NOTBUSY",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
    "WRONGPASS",
    "WRONGTYPE",
];

/// How an attempt went. `fence` is what became of the one before it, if one was owed.
pub(super) fn attempt<C: Cargo>(cargo: &C, end: &Result<C::Reply, attempt::End>, fence: Option<Fence>) -> Attempt {
    let verdict = match end {
        Ok(reply) if cargo.meaning(reply).is_some() => "server_error",
        Ok(_) => "ok",
        Err(end) => end.as_str(),
    };
    Attempt { verdict, fence: fence.map(Fence::as_str) }
}

/// How a call ended.
pub(super) fn end<C: Cargo>(cargo: &C, result: &Result<Answer<C::Reply>, Error>) -> End {
    match result {
        Ok(answer) => {
            let (outcome, code) = cargo.told(&answer.reply);
            End { outcome: outcome.as_str(), error: None, code }
        }
        Err(error) => End { outcome: error.outcome.as_str(), error: Some(error.kind.as_str()), code: None },
    }
}

/// What a subscription is called.
pub(super) fn subscribing(topic: &Topic) -> Name {
    let name = match topic {
        Topic::Channel(_) => "SUBSCRIBE",
        Topic::Pattern(_) => "PSUBSCRIBE",
    };
    Name { name, batch: None }
}

/// How the wait for a subscription ended. It changes nothing, so one that failed was not executed.
pub(super) fn subscribed(opened: &Result<Subscription, NoStream>) -> End {
    let failed = |error| End { outcome: Outcome::NotExecuted.as_str(), error, code: None };
    match opened {
        Ok(_) => End { outcome: Outcome::Executed.as_str(), error: None, code: None },
        Err(NoStream::Gateway(error)) => failed(Some(error.kind.as_str())),
        Err(NoStream::Redis(error)) => End { code: Some(code(error)), ..failed(None) },
        Err(NoStream::Full { .. }) => failed(Some("full")),
        Err(NoStream::Draining { .. }) => failed(Some("draining")),
    }
}

/// The code of Redis' own error as a static word.
pub(super) fn code(error: &ServerError) -> &'static str {
    let known = CODES.iter().find(|code| **code == error.code());
    known.copied().unwrap_or("other")
}

/// A plain answer.
pub(super) const EXECUTED: (Outcome, Option<&'static str>) = (Outcome::Executed, None);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Reply;

    fn word(line: &str) -> &'static str {
        match redis_rs::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Reply::ServerError(error)) => code(&error),
            other => panic!("an error line is an error: {other:?}"),
        }
    }

    #[test]
    fn a_code_that_somebody_made_up_is_not_repeated() {
        assert_eq!(word("WRONGTYPE Operation against a key"), "WRONGTYPE");
        assert_eq!(word("ERR value is not an integer"), "ERR");
        assert_eq!(word("customer-4711 is not known"), "other");
    }
}
