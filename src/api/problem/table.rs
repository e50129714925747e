//! The one table of codes: what happened, the way out, whether it may be sent again, and an example's detail.
//!
//! The answers, the pages under `/problems` and `docs/errors.md` are all made from these rows, so that none can say something
//! else. Limits: a row speaks of the code in general; what was wrong with one request is the `detail` of its document.

use crate::redis::Outcome;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The stable word clients branch on.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The title.
    pub title: &'static str,
    /// What happened, in a few sentences.
    pub happened: &'static str,
    /// What the caller can do.
    pub way_out: &'static str,
    /// Whether the same request may be sent again.
    pub again: Again,
    /// The outcome the document usually carries; `None` where Redis has no part in it.
    pub outcome: Option<Outcome>,
    /// The detail of the example.
    pub detail: &'static str,
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It would fail the same way.
    Corrected,
    /// By anyone, as it is.
    Safely,
    /// Nothing was changed, but it fails until the cause is gone.
    CauseGone,
    /// It may have happened.
    ReadFirst,
}

impl Again {
    /// The answer in a few words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Corrected => "Not as it is",
            Self::Safely => "Yes, as it is",
            Self::CauseGone => "Once the cause is gone",
            Self::ReadFirst => "Not blindly",
        }
    }

    /// The answer and its reason, in sentences.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Corrected => "The same request fails the same way. Nothing was changed: correct it, then send it.",
            Self::Safely => {
                "Nothing was changed and nothing will be. Wait as long as Retry-After says, if it is there; a client that \
                 tries again should wait longer each time."
            }
            Self::CauseGone => "Nothing was changed. The same request fails the same way until the cause is removed.",
            Self::ReadFirst => {
                "It may have taken effect, or may yet. Read what is stored now and decide; sending a write blindly may apply \
                 it twice."
            }
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident { $($field:ident: $value:expr,)+ })+) => {
        /// Every way a request can fail that is answered with a problem document.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// The whole table, in the order of statuses.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code's row.
            pub const fn row(self) -> Row {
                match self { $(Self::$variant => Row { $($field: $value,)+ },)+ }
            }
        }
    };
}

const NOT_EXECUTED: Option<Outcome> = Some(Outcome::NotExecuted);
const UNKNOWN: Option<Outcome> = Some(Outcome::Unknown);

codes! {
    /// The body is not JSON.
    InvalidJson {
        code: "invalid_json", status: 400, outcome: None, again: Again::Corrected,
        title: "The body is not valid JSON",
        happened: "The body was read to the place where it stops being JSON. Nothing of it was used.",
        way_out: "Correct the body at the place named.",
        detail: "the body is not valid JSON: expected `,` or `}` at line 1 column 11",
    }
    /// The head or its framing cannot be understood.
    MalformedRequest {
        code: "malformed_request", status: 400, outcome: None, again: Again::Corrected,
        title: "The request is not valid HTTP",
        happened: "The request line, a header field or the framing of the body is not HTTP/1.1 as RFC 9112 has it, or two readers \
                   could understand it differently. The connection is closed after this answer.",
        way_out: "Use an HTTP/1.1 client library.",
        detail: "the request is not HTTP/1.1 as RFC 9112 has it: its request line, a field or its framing",
    }
    /// A query parameter or header is wrong.
    InvalidRequest {
        code: "invalid_request", status: 400, outcome: None, again: Again::Corrected,
        title: "The request is not understood",
        happened: "A query parameter, a header or the framing of the body is not what this resource takes. Parameters and \
                   members it does not know are refused, so that a misspelt one is not silently without effect.",
        way_out: "Correct the parameter or header named.",
        detail: "X-Request-Timeout-Ms must be a whole number of milliseconds, 1 or more",
    }
    /// A percent sequence in the path is wrong.
    InvalidPath {
        code: "invalid_path", status: 400, outcome: None, again: Again::Corrected,
        title: "The path holds no valid name",
        happened: "A name in a path is percent-decoded exactly once, and a % without two hexadecimal digits means nothing. The empty \
                   key cannot be named by a path: too many clients and proxies drop a slash at the end.",
        way_out: "Encode each byte of the name as %XX, a percent sign as %25, and give keys a name of at least one byte.",
        detail: "the % at byte 3 of the name is not followed by two hexadecimal digits",
    }
    /// A body where none belongs.
    UnexpectedBody {
        code: "unexpected_body", status: 400, outcome: None, again: Again::Corrected,
        title: "This method takes no body",
        happened: "GET, HEAD, DELETE and OPTIONS have no use for a body here. It is refused and not ignored: whoever sent one \
                   meant something by it, and intermediaries disagree about where such a request ends.",
        way_out: "Send it without a body, or use PUT or POST.",
        detail: "GET takes no body here, and one was declared",
    }
    /// No or a wrong credential.
    Unauthenticated {
        code: "unauthenticated", status: 401, outcome: None, again: Again::Corrected,
        title: "Who is calling is not known",
        happened: "There was no credential, or one that is nobody's. The two are not told apart, and the body was not read.",
        way_out: "Send Authorization: Bearer <token> with a valid token.",
        detail: "no valid token was presented",
    }
    /// A scope is missing.
    Forbidden {
        code: "forbidden", status: 403, outcome: None, again: Again::Corrected,
        title: "The caller may not do this",
        happened: "The credential is valid, and it does not have the scope that this call needs.",
        way_out: "Use a credential with the scope named.",
        detail: "this needs the scope keys:write",
    }
    /// A page of another origin that is not on the list.
    OriginNotAllowed {
        code: "origin_not_allowed", status: 403, outcome: None, again: Again::Corrected,
        title: "Pages of this origin may not ask",
        happened: "A browser asked, on behalf of a page from another origin, whether that page may call this service (a CORS \
                   preflight). The page's origin is not among those the operator has listed.",
        way_out: "Have the origin added to cors.allowed_origins exactly as the browser writes it, or call from a server.",
        detail: "this origin is not among those of cors.allowed_origins",
    }
    /// The name belongs to the service.
    ReservedName {
        code: "reserved_name", status: 403, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The name belongs to the service",
        happened: "Everything whose name begins with collective: is the service's own state. No caller may read or write it.",
        way_out: "Choose a name that does not begin with collective:.",
        detail: "names that begin with collective: are the service's own; nothing was changed",
    }
    /// No such resource or route.
    NotFound {
        code: "not_found", status: 404, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "There is nothing of that name",
        happened: "The path names no resource, or the resource it names does not exist (any more): it was never made, was \
                   deleted, or its lifetime is over.",
        way_out: "Check the name; create it first.",
        detail: "there is no such key",
    }
    /// The route has other methods.
    MethodNotAllowed {
        code: "method_not_allowed", status: 405, outcome: None, again: Again::Corrected,
        title: "The resource does not take this method",
        happened: "The path is right, the method is not. Methods are written in capitals: get is not GET.",
        way_out: "Use a method of the Allow header.",
        detail: "this resource takes GET, HEAD, PUT, DELETE, OPTIONS",
    }
    /// The content is not JSON though only JSON was accepted.
    NotAcceptable {
        code: "not_acceptable", status: 406, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The content is not of an accepted type",
        happened: "Only JSON was accepted, and the bytes stored under this key are not JSON.",
        way_out: "Accept application/octet-stream.",
        detail: "the content is not JSON, and nothing but JSON was accepted",
    }
    /// The request did not arrive in time.
    RequestTimeout {
        code: "request_timeout", status: 408, outcome: None, again: Again::Safely,
        title: "The request did not arrive in time",
        happened: "The head of the request, or its body, was not complete within the time it may take: that of the service, or the \
                   caller's own in X-Request-Timeout-Ms. Nothing of it was used.",
        way_out: "Send the request without long pauses.",
        detail: "the body did not arrive within 10000 ms",
    }
    /// The name holds another type.
    WrongType {
        code: "wrong_type", status: 409, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The name holds another type of value",
        happened: "Keys are strings and counters whole numbers. This name holds something else (a list, a set, a text where a \
                   number is needed), and it was left untouched.",
        way_out: "Use the command dialect for it, or another name.",
        detail: "the name holds a value this resource cannot handle, and it was left untouched; nothing was changed",
    }
    /// Beyond 64 bits.
    OutOfRange {
        code: "out_of_range", status: 409, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The result does not fit a signed 64-bit integer",
        happened: "Counters go from -9223372036854775808 to 9223372036854775807 and never wrap around. This one keeps its value.",
        way_out: "Use a smaller step or delete the counter.",
        detail: "the counter keeps its value; nothing was changed",
    }
    /// A counter's bound.
    LimitReached {
        code: "limit_reached", status: 409, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The step would go beyond its bound",
        happened: "The increment named a min or a max, and its result would be beyond it. The counter keeps its value, which is \
                   the document's member value.",
        way_out: "Take a smaller step, or ask for on_limit clamp.",
        detail: "the counter is at 10, and the step would go beyond max; nothing was changed",
    }
    /// Another holds the lease.
    LeaseHeld {
        code: "lease_held", status: 409, outcome: NOT_EXECUTED, again: Again::CauseGone,
        title: "The lease is held under another token",
        happened: "Somebody holds this lease, and the request did not show his token: it wanted to acquire what another has, or to \
                   renew or release what is not its sender's any more. retry_after_ms tells how long it is held, unless its holder \
                   renews or releases it.",
        way_out: "Acquire it after retry_after_ms, under a new Idempotency-Key if one is used; stop if you meant to hold it.",
        detail: "the lease is held under another token; nothing was changed",
    }
    /// The key was given up.
    KeySettled {
        code: "idempotency_key_settled", status: 409, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The Idempotency-Key was given up",
        happened: "Somebody asked under /v1/operations what became of this key, before its request arrived, and was told that it \
                   had not been executed. To keep that true the request is refused for as long as the key is remembered.",
        way_out: "Send it under a new Idempotency-Key.",
        detail: "this Idempotency-Key was settled as not executed; nothing was changed",
    }
    /// A newer token of the lease is known.
    Fenced {
        code: "fenced", status: 409, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "A newer holder of the lease is known",
        happened: "The write named a lease and a fencing token in Collective-Fence, and Redis has given out or seen a newer token of \
                   that lease: whoever sent this was deposed. Nothing was changed.",
        way_out: "Stop working under this lease. Acquire it again, read what is stored now, and decide anew.",
        detail: "a newer fencing token of that lease is known; nothing was changed",
    }
    /// A condition does not hold.
    PreconditionFailed {
        code: "precondition_failed", status: 412, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "A condition of the request does not hold",
        happened: "If-Match names none of what is stored now, or If-None-Match names it. The header ETag has the tag of what is \
                   stored; without that header there is no such key. Nothing was changed, and it was not the request's own \
                   earlier attempt that changed it.",
        way_out: "Read the key, decide anew, and send it with the new tag.",
        detail: "what is stored is not what If-Match names; nothing was changed",
    }
    /// The body is too large.
    PayloadTooLarge {
        code: "payload_too_large", status: 413, outcome: None, again: Again::Corrected,
        title: "The body is too large",
        happened: "The body is larger than this resource or the service takes. It was not read to its end, and the connection \
                   is closed after this answer.",
        way_out: "Send less, in several requests.",
        detail: "the body may have 16777216 bytes at most",
    }
    /// What would be answered is too large.
    ReplyTooLarge {
        code: "reply_too_large", status: 413, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The answer would be too large",
        happened: "What is stored is larger than an answer may be (limits.reply). It was read and let go of.",
        way_out: "Read it in ranges, with GETRANGE of the command dialect, or ask the operator to raise limits.reply.",
        detail: "the content has 209715200 bytes, and answers may have 67108864",
    }
    /// Path and query are too long.
    UriTooLong {
        code: "uri_too_long", status: 414, outcome: None, again: Again::Corrected,
        title: "The path and query are too long",
        happened: "Path and query together may have 8192 bytes. A percent-encoded byte counts three.",
        way_out: "Use a shorter name; send data in a body.",
        detail: "path and query have 9001 bytes, and may have 8192",
    }
    /// Well formed, but a value is against the rules.
    InvalidValue {
        code: "invalid_value", status: 422, outcome: None, again: Again::Corrected,
        title: "A value is against the rules",
        happened: "The request is well formed, and at least one value in it breaks a rule. All of them are listed at once.",
        way_out: "Correct the members listed in errors.",
        detail: "one or more values are against the rules: see errors",
    }
    /// The same key with another request.
    KeyReused {
        code: "idempotency_key_reused", status: 422, outcome: NOT_EXECUTED, again: Again::Corrected,
        title: "The Idempotency-Key belongs to another request",
        happened: "This key came with another path or body before. A key names one request, byte for byte, for 24 hours.",
        way_out: "Use a new key for a new request, and repeat a request as it was.",
        detail: "this Idempotency-Key came with another request before; nothing was changed",
    }
    /// The head is too large.
    HeadTooLarge {
        code: "head_too_large", status: 431, outcome: None, again: Again::Corrected,
        title: "The request's head is too large",
        happened: "The request line and the header fields together, or the number of fields, are over the service's bound. \
                   Cookies that a browser adds are the usual cause.",
        way_out: "Send fewer or shorter header fields.",
        detail: "the head has 70 fields, and may have 64",
    }
    /// Our mistake.
    Internal {
        code: "internal", status: 500, outcome: None, again: Again::ReadFirst,
        title: "The service made a mistake",
        happened: "Something that must not happen did. It is logged under the request id.",
        way_out: "Report it with the request id.",
        detail: "the application has no state",
    }
    /// The server is too old.
    FunctionsUnsupported {
        code: "functions_unsupported", status: 501, outcome: NOT_EXECUTED, again: Again::CauseGone,
        title: "This Redis cannot run the call",
        happened: "The call must happen in one piece inside Redis, as one of its functions, and this Redis is older than 7.0. Plain \
                   reads and writes, increments without bounds and the command dialect work.",
        way_out: "An operator must move to Redis 7.0, Valkey 7.2 or later.",
        detail: "this call needs the functions of Redis 7.0 or later; nothing was changed",
    }
    /// The breaker is open.
    CircuitOpen {
        code: "circuit_open", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "Redis is down: the circuit breaker is open",
        happened: "Redis failed often enough that asking it would only make callers wait. It is probed in the background, and \
                   the breaker closes by itself when it answers; no caller's request is used for that.",
        way_out: "Send it again after Retry-After seconds.",
        detail: "writes are refused until Redis answers probes again; nothing was changed",
    }
    /// Shed.
    Overloaded {
        code: "overloaded", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "Too many requests are in flight",
        happened: "The bound on requests in flight and waiting is reached, or that on the bytes of request bodies being held. Waiting \
                   longer would help nobody.",
        way_out: "Send it again after Retry-After seconds.",
        detail: "the bound on requests in flight and waiting is reached; nothing was changed",
    }
    /// No place for the connection.
    TooManyConnections {
        code: "too_many_connections", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "Too many connections are open",
        happened: "As many connections are open as may be, in all or from one address. The request was not read, and the \
                   connection is closed after this answer.",
        way_out: "Use the connections you have, or come back after Retry-After seconds.",
        detail: "as many connections are open as may be, in all or from this address",
    }
    /// No connection, or none that lived.
    RedisUnreachable {
        code: "redis_unreachable", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "Redis did not answer",
        happened: "No connection could be made, or the connection ended, or no reply came in time, and it is certain that nothing \
                   was changed.",
        way_out: "Send it again.",
        detail: "the connection to Redis was lost; nothing was changed",
    }
    /// Redis said that it cannot serve.
    RedisUnavailable {
        code: "redis_unavailable", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "Redis cannot serve at the moment",
        happened: "Redis answered that it is loading its data, is read-only, or is busy with a script.",
        way_out: "Send it again shortly.",
        detail: "Redis is loading its data, read-only, or busy; nothing was changed",
    }
    /// Redis refused for durability's sake.
    NotDurable {
        code: "not_durable", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "Redis cannot make writes durable at the moment",
        happened: "Redis refuses writes because it could not save them to disk or has too few replicas. Reads are served.",
        way_out: "An operator must look at Redis' disk or replicas.",
        detail: "Redis refuses writes it could not keep; nothing was changed",
    }
    /// Our own user lacks a right.
    GatewayForbidden {
        code: "gateway_forbidden", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "The service's Redis user lacks a right",
        happened: "Redis denies this command to the user the service signs in as. It is not the caller's credential.",
        way_out: "An operator must extend its ACL.",
        detail: "Redis denies this command to the service's own user; nothing was changed",
    }
    /// The migrations are not applied.
    FunctionsMissing {
        code: "functions_missing", status: 503, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "The functions of this call are not in Redis",
        happened: "The call must happen in one piece inside Redis, as a function that the service puts there itself. It is being put \
                   there at this moment, or could not be: then the log and /status say why.",
        way_out: "Send it again shortly; if it lasts, an operator must look at collective migrate --status.",
        detail: "the functions of this call are not in place in Redis; nothing was changed",
    }
    /// It may have happened.
    OutcomeUnknown {
        code: "outcome_unknown", status: 504, outcome: UNKNOWN, again: Again::ReadFirst,
        title: "The write may have happened",
        happened: "The write was sent to Redis and no reply came back. Whether it was applied cannot be told.",
        way_out: "Read before writing again.",
        detail: "the connection to Redis was lost; it was sent and no reply came: it may have taken effect, or may yet",
    }
    /// The deadline passed.
    DeadlineExceeded {
        code: "deadline_exceeded", status: 504, outcome: NOT_EXECUTED, again: Again::Safely,
        title: "The read did not finish by its deadline",
        happened: "The time this request had is over. Reads change nothing, so nothing was changed.",
        way_out: "Allow more time with X-Request-Timeout-Ms.",
        detail: "the request's deadline passed; nothing was changed",
    }
    /// Redis is full.
    OutOfMemory {
        code: "out_of_memory", status: 507, outcome: NOT_EXECUTED, again: Again::CauseGone,
        title: "Redis is out of memory",
        happened: "Redis reached its memory limit and refuses writes that need more. Reads and deletions work.",
        way_out: "Delete something, or an operator must give it more.",
        detail: "Redis refuses writes that need memory; nothing was changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ordered_by_status() {
        let rows: Vec<Row> = Code::ALL.iter().map(|code| code.row()).collect();
        assert!(rows.is_sorted_by_key(|row| row.status));
        for (index, row) in rows.iter().enumerate() {
            assert!(rows[..index].iter().all(|other| other.code != row.code), "{} twice", row.code);
        }
    }

    #[test]
    fn every_row_can_stand_in_a_path_and_in_a_markdown_table() {
        for row in Code::ALL.iter().map(|code| code.row()) {
            assert!(row.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", row.code);
            assert!(row.happened.ends_with('.') && row.way_out.ends_with('.'), "{}", row.code);
            assert!(!row.title.ends_with('.') && !row.detail.ends_with('.'), "{}", row.code);
            assert!([row.title, row.way_out].iter().all(|text| !text.contains('|')), "{}", row.code);
        }
    }
}
