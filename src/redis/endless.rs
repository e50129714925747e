//! Ending a script that keeps the server from everyone.
//!
//! Redis runs one script or function at a time and nothing beside it. One without end is an outage for all, and its author cannot
//! end it: the lanes are open by then and refuse him `SCRIPT KILL` like everything else. Redis itself says nothing for
//! `busy-reply-threshold` (5 s), then answers `BUSY` to all but that command. When it has done so for [`PATIENCE`], the keeper says
//! it, on a connection that asks nothing else: the usual greeting would be answered `BUSY`, too.
//!
//! What has written is never ended: Redis refuses, because half of it would stay. Then the log says what is left to do.
//! Limits: whose script it is cannot be seen, so one that an operator runs beside the service is ended as well; a command of a module
//! that does not end cannot be ended by anybody; a server whose `busy-reply-threshold` is 0 never says that it is busy.

use std::time::Duration;

use redis_rs::Value;

use super::connector::{self, ConnectError};
use super::endpoint::Endpoint;

/// How long the server may say that it is busy: as long again as a usual caller waits for his answer, and that beside the seconds
/// for which Redis has said nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Connects and probes come at least once a second; what lies further apart than a few of them is another outage.
pub(super) const GAP: Duration = Duration::from_secs(3);

/// The code for what has written.
const UNKILLABLE: &str = "UNKILLABLE";

/// What became of the script when it was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is over.
    Ended,
    /// It has written, or may not be ended by us.
    Impossible,
    /// The server did not answer as one that runs a script.
    Unclear,
}

/// What the log was told of one outage: it hears of each ending once.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Ending>);

impl Told {
    /// Whether it has not been told so last. An answer that did not come takes nothing back.
    fn is_news(&mut self, ending: Ending) -> bool {
        ending == Ending::Unclear || self.0.replace(ending) != Some(ending)
    }
}

/// Tells the server to end what it runs, and the log how that went if that is news.
pub(super) async fn end(endpoint: &Endpoint, told: &mut Told) -> Ending {
    let ask = async |kind| {
        let answer = connector::say(endpoint.address(), endpoint.settings.connect_timeout, &[kind, "KILL"]).await;
        Finding::of(kind, &answer)
    };
    let mut found = ask("SCRIPT").await;
    if !found.settles() {
        found = found.or(ask("FUNCTION").await);
    }
    if told.is_news(found.ending) {
        found.tell();
    }
    found.ending
}

/// What one of the two commands was answered.
struct Finding {
    kind: &'static str,
    ending: Ending,
    code: String,
}

impl Finding {
    fn of(kind: &'static str, answer: &Result<Value, ConnectError>) -> Self {
        let (ending, code) = judge(answer);
        Self { kind, ending, code }
    }

    /// Whether the other command need not be tried. Who may not use the one may still use the other.
    fn settles(&self) -> bool {
        self.ending == Ending::Ended || self.code == UNKILLABLE
    }

    /// The one that says more.
    fn or(self, later: Self) -> Self {
        if later.ending == Ending::Unclear { self } else { later }
    }

    fn tell(&self) {
        let Self { kind, ending, code } = self;
        match ending {
            Ending::Ended => tracing::warn!(kind, "a script kept Redis from everyone and was ended"),
            Ending::Impossible => tracing::error!(
                kind,
                code,
                "a script keeps Redis from everyone and cannot be ended: it has written, or this user may not end it. Wait for it, or \
                 stop the server with SHUTDOWN NOSAVE, which loses what is not on disk"
            ),
            Ending::Unclear => tracing::debug!(kind, code, "what keeps Redis busy was not ended"),
        }
    }
}

/// What an answer to `SCRIPT KILL` or `FUNCTION KILL` means, and its code. The wrong one of the two is answered `BUSY`.
fn judge(answer: &Result<Value, ConnectError>) -> (Ending, String) {
    match answer {
        Ok(Value::Okay) => (Ending::Ended, "OK".to_owned()),
        Ok(Value::ServerError(error)) if matches!(error.code(), UNKILLABLE | "NOPERM") => {
            (Ending::Impossible, error.code().to_owned())
        }
        Ok(Value::ServerError(error)) => (Ending::Unclear, error.code().to_owned()),
        Ok(_) => (Ending::Unclear, "unreadable".to_owned()),
        Err(error) => (Ending::Unclear, error.reason()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str) -> Ending {
        judge(&Ok(redis_rs::parse_redis_value(line.as_bytes()).expect("a frame"))).0
    }

    #[test]
    fn only_what_redis_says_decides_what_became_of_it() {
        assert_eq!(judged("+OK\r\n"), Ending::Ended);
        assert_eq!(judged("-UNKILLABLE Sorry the script already executed write commands\r\n"), Ending::Impossible);
        assert_eq!(
            judged("-NOPERM this user has no permissions to run the 'script|kill' command\r\n"),
            Ending::Impossible
        );
        for line in
            ["-BUSY Redis is busy running a script.\r\n", "-NOTBUSY No scripts in execution right now.\r\n", ":1\r\n"]
        {
            assert_eq!(judged(line), Ending::Unclear, "{line}");
        }
        assert_eq!(judge(&Err(ConnectError::TimedOut(PATIENCE))).0, Ending::Unclear);
    }

    #[test]
    fn the_log_hears_of_an_ending_once_though_an_answer_is_missing_in_between() {
        let mut told = Told::default();
        for (ending, is_news) in [
            (Ending::Unclear, true),
            (Ending::Impossible, true),
            (Ending::Impossible, false),
            (Ending::Unclear, true),
            (Ending::Impossible, false),
            (Ending::Ended, true),
        ] {
            assert_eq!(told.is_news(ending), is_news, "{ending:?}");
        }
    }

    #[test]
    fn who_may_not_end_scripts_may_still_end_functions() {
        let found =
            |line: &str| Finding::of("SCRIPT", &Ok(redis_rs::parse_redis_value(line.as_bytes()).expect("a frame")));
        let [forbidden, busy] = ["-NOPERM this user\r\n", "-BUSY Redis is busy\r\n"];
        assert!(!found(forbidden).settles() && !found(busy).settles());
        assert!(found("+OK\r\n").settles() && found("-UNKILLABLE Sorry\r\n").settles());
        for (first, second, ending) in [
            (forbidden, "+OK\r\n", Ending::Ended),
            (forbidden, busy, Ending::Impossible),
            (busy, forbidden, Ending::Impossible),
            (busy, busy, Ending::Unclear),
        ] {
            assert_eq!(found(first).or(found(second)).ending, ending, "{first} {second}");
        }
    }
}
