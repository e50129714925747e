//! The label values: every one is a variant of a small enum, so that no key, token or address can become one.
//!
//! A variant is its own array index (recording needs no look-up) and its word on the wire. Both come from one list.

/// Declares a label: an enum, its words, and the index of each.
macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The words of [`Self::ALL`].
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in the metrics.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            #[inline]
            pub(super) const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// The template of the route that answered, never the path that was asked for.
    Route {
        /// The listing.
        Keys = "/v1/keys",
        /// One key.
        Key = "/v1/keys/{key}",
        /// One counter.
        Counter = "/v1/counters/{name}",
        /// A counter's increment.
        CounterIncrement = "/v1/counters/{name}/increment",
        /// One limiter.
        Limiter = "/v1/limiters/{name}",
        /// A take from a limiter.
        LimiterTake = "/v1/limiters/{name}/take",
        /// What became of a request.
        Operation = "/v1/operations/{key}",
        /// One lease.
        Lease = "/v1/leases/{name}",
        /// A lease's renewal.
        LeaseRenewal = "/v1/leases/{name}/renew",
        /// One room.
        Presence = "/v1/presence/{room}",
        /// One member of a room.
        PresenceMember = "/v1/presence/{room}/{member}",
        /// One command in the body.
        CommandBody = "/",
        /// A list of commands.
        Pipeline = "/pipeline",
        /// A transaction.
        MultiExec = "/multi-exec",
        /// A stream of one channel's messages.
        Subscribe = "/subscribe/{channel}",
        /// A stream of the messages on all channels that match.
        PatternSubscribe = "/psubscribe/{pattern}",
        /// One command in the path.
        CommandPath = "/{command}",
        /// Whatever no route claimed.
        Unmatched = "unmatched",
    }
}

impl Route {
    /// The methods a route is made for: their series exist from the start, those of others once they occur.
    pub(super) const fn usual_methods(self) -> &'static [Method] {
        match self {
            Self::Keys | Self::Operation => &[Method::Get],
            Self::Key => &[Method::Get, Method::Head, Method::Put, Method::Delete],
            Self::Counter | Self::Limiter => &[Method::Get, Method::Head, Method::Delete],
            Self::Lease => &[Method::Get, Method::Head, Method::Post, Method::Delete],
            Self::Presence => &[Method::Get, Method::Head],
            Self::PresenceMember => &[Method::Put, Method::Delete],
            Self::CounterIncrement
            | Self::LeaseRenewal
            | Self::LimiterTake
            | Self::CommandBody
            | Self::Pipeline
            | Self::MultiExec => &[Method::Post],
            Self::Subscribe | Self::PatternSubscribe | Self::CommandPath => &[Method::Get, Method::Post],
            Self::Unmatched => &[Method::Get],
        }
    }
}

label! {
    /// The request method.
    Method {
        /// GET
        Get = "GET",
        /// HEAD
        Head = "HEAD",
        /// PUT
        Put = "PUT",
        /// POST
        Post = "POST",
        /// DELETE
        Delete = "DELETE",
        /// OPTIONS
        Options = "OPTIONS",
        /// Any other word a caller may have invented.
        Other = "other",
    }
}

impl Method {
    /// The label of a method as written in the request line (methods are case-sensitive).
    pub fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

label! {
    /// Which breaker lane a command counts for.
    Lane {
        /// Commands that only read.
        Read = "read",
        /// Commands that may write.
        Write = "write",
    }
}

label! {
    /// How one attempt at Redis ended.
    CommandOutcome {
        /// Redis answered, and not with an error.
        Ok = "ok",
        /// Redis answered with an error.
        ServerError = "server_error",
        /// No answer within the attempt's time.
        Timeout = "timeout",
        /// The connection ended before the answer.
        ConnectionLost = "connection_lost",
        /// The caller went away first.
        Cancelled = "cancelled",
    }
}

label! {
    /// What was decided after an attempt failed.
    RetryOutcome {
        /// Another attempt was made.
        Retried = "retried",
        /// None: the retry budget was empty.
        BudgetExhausted = "budget_exhausted",
        /// None: a second effect could not be ruled out.
        NotIdempotent = "not_idempotent",
        /// None: the caller's deadline left no room.
        Deadline = "deadline",
        /// None: all attempts were used.
        AttemptsExhausted = "attempts_exhausted",
    }
}

label! {
    /// Who decided a take from a limiter, and how.
    LimiterDecision {
        /// Redis granted it.
        RedisAllowed = "redis_allowed",
        /// Redis refused it.
        RedisRefused = "redis_refused",
        /// This instance granted it alone.
        LocalAllowed = "local_allowed",
        /// This instance refused it alone.
        LocalRefused = "local_refused",
        /// Granted because Redis did not decide.
        Open = "open",
        /// Failed because Redis did not decide.
        Closed = "closed",
    }
}

label! {
    /// Why a connection was turned away.
    RejectReason {
        /// As many as allowed in all.
        Total = "total",
        /// As many as allowed from its address.
        Address = "address",
    }
}

label! {
    /// Why a request was refused for its head.
    HeadReason {
        /// Not HTTP, or framed ambiguously.
        Malformed = "malformed",
        /// It did not arrive in time.
        Overdue = "overdue",
        /// Too many bytes or fields.
        TooLarge = "too_large",
        /// Too long a request line.
        UriTooLong = "uri_too_long",
        /// Anything else.
        Other = "other",
    }
}

label! {
    /// Why a request was turned away before Redis was asked.
    ShedReason {
        /// The breaker of its lane refuses.
        BreakerOpen = "breaker_open",
        /// As many in flight and waiting as allowed.
        BulkheadFull = "bulkhead_full",
        /// It waited for its turn too long.
        QueueTimeout = "queue_timeout",
        /// The service is stopping.
        Draining = "draining",
        /// As many connections as allowed.
        Connections = "connections",
        /// As many streams as allowed.
        Streams = "streams",
        /// As many bytes of request bodies as allowed.
        Bodies = "bodies",
    }
}

label! {
    /// Why a stream was ended before its reader left.
    StreamCut {
        /// The reader takes messages more slowly than they come.
        SlowReader = "slow_reader",
        /// Redis refused to renew the subscription.
        Refused = "refused",
        /// The service is stopping.
        Draining = "draining",
    }
}

label! {
    /// Why a span was not exported.
    SpanDrop {
        /// More spans ended than were sent.
        QueueFull = "queue_full",
        /// The receiver did not take it, or could not be reached.
        NotAccepted = "not_accepted",
        /// The service stopped before it was sent.
        Stopped = "stopped",
    }
}

label! {
    /// Where the service is in its life.
    LifePhase {
        /// Not yet serving.
        Starting = "starting",
        /// Serving.
        Ready = "ready",
        /// Finishing, taking nothing new.
        Draining = "draining",
    }
}

label! {
    /// What a Redis connection is doing.
    PoolState {
        /// Established.
        Open = "open",
        /// Being made.
        Connecting = "connecting",
    }
}

/// Every status code this service answers with, and one word for the rest.
pub(super) const STATUSES: &[&str] = &[
    "200", "201", "204", "304", "308", "400", "401", "403", "404", "405", "406", "408", "409", "412", "413", "414",
    "422", "429", "431", "500", "501", "503", "504", "507", "other",
];

/// Index of a status code in [`STATUSES`].
#[inline]
pub(super) fn status_index(status: u16) -> usize {
    STATUS_INDEX.get(usize::from(status)).map_or(STATUSES.len() - 1, |index| usize::from(*index))
}

/// Status code to index, computed from the words: one load instead of a search.
static STATUS_INDEX: [u8; 600] = {
    let other = STATUSES.len() - 1;
    let mut table = [other as u8; 600];
    let mut index = 0;
    while index < other {
        let digits = STATUSES[index].as_bytes();
        let code = (digits[0] - b'0') as usize * 100 + (digits[1] - b'0') as usize * 10 + (digits[2] - b'0') as usize;
        table[code] = index as u8;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_finds_its_own_word_and_strangers_share_one() {
        for word in &STATUSES[..STATUSES.len() - 1] {
            let code = word.parse().expect("a number");
            assert_eq!(STATUSES[status_index(code)], *word);
        }
        for stranger in [0, 100, 199, 302, 418, 502, 599, 600, u16::MAX] {
            assert_eq!(STATUSES[status_index(stranger)], "other");
        }
    }

    #[test]
    fn a_variant_is_the_index_of_its_word() {
        for (index, route) in Route::ALL.iter().enumerate() {
            assert_eq!((route.index(), route.word()), (index, Route::WORDS[index]));
        }
    }

    #[test]
    fn an_invented_method_shares_one_label() {
        assert_eq!(Method::of("DELETE"), Method::Delete);
        assert_eq!(Method::of("BREW"), Method::Other);
        assert_eq!(Method::of("get"), Method::Other);
    }
}
