//! The one table of configuration keys.
//!
//! Why one: the loader's checks, the messages, the environment names, `docs/configuration.md` and
//! `deploy/config.example.toml` are all derived from these rows, so none of them can say something else. Each
//! default carries its reason. Limits: rules between two keys are in `rules.rs`.

use std::time::Duration;

use super::kind::Kind;

/// Every environment variable of the service starts with this.
pub const ENVIRONMENT_PREFIX: &str = "COLLECTIVE_";

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Dotted path, such as `redis.acquire_timeout`.
    pub path: &'static str,
    /// Type, unit and bounds.
    pub kind: Kind,
    /// The default as it would be written; `None` = unset.
    pub default: Option<&'static str>,
    /// What it means.
    pub meaning: &'static str,
    /// Why the default is what it is (or what happens while it is unset).
    pub why: &'static str,
}

impl Key {
    /// Name of the environment variable: `server.bind` → `COLLECTIVE_SERVER__BIND`.
    pub fn environment(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.path.to_uppercase().replace('.', "__"))
    }

    /// The section (`redis`, or `redis.tls` within it) and the name within it; the section is empty for a top-level key.
    pub fn section_and_name(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('.').unwrap_or(("", self.path))
    }
}

/// The row of a path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

const fn key(path: &'static str, kind: Kind, default: &'static str, meaning: &'static str, why: &'static str) -> Key {
    Key { path, kind, default: Some(default), meaning, why }
}

const fn unset(path: &'static str, kind: Kind, meaning: &'static str, why: &'static str) -> Key {
    Key { path, kind, default: None, meaning, why }
}

const fn count(least: u64, most: u64) -> Kind {
    Kind::Count { least, most }
}

const fn duration(least: Duration, most: Duration) -> Kind {
    Kind::Duration { least, most }
}

const fn size(least: u64, most: u64) -> Kind {
    Kind::Size { least, most }
}

/// The table. Keys of one section stand together; top-level keys come first, as TOML wants it.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key("data_dir", Kind::Directory, "./.collective",
        "Directory of the embedded Redis' data, spool files and the generated token; created with mode 0700.",
        "Beside the working directory, so that a first run needs no rights; not used when `redis.url`, `auth.root_token` and all secrets are set."),

    key("server.bind", Kind::Socket, "127.0.0.1:8080",
        "Address and port of the public listener. Port 0 takes a free one.",
        "Loopback: nothing is reachable from outside until somebody says so."),
    key("server.workers", count(0, 1024), "0",
        "Worker threads of the public listener; 0 means one per core.",
        "One per core is what the connections-per-worker design was measured with."),
    key("server.keep_alive", duration(s(1), s(3600)), "75s",
        "How long an idle connection is kept open, give or take half a second.",
        "Longer than the 60 s of common load balancers, so that the balancer closes first and no request meets a closing connection."),
    key("server.client_request_timeout", duration(ms(100), s(300)), "5s",
        "How long a request head may take to arrive.",
        "A head fits one packet; five seconds allow for retransmission and starve slow-header attacks."),
    key("server.client_disconnect_timeout", duration(ms(10), s(60)), "1s",
        "How long a closing connection may linger so that the client can read its answer.",
        "Without it an early 413 becomes a connection reset at the client."),
    key("server.client_write_timeout", duration(ms(100), s(600)), "30s",
        "How long a caller may leave sent bytes unacknowledged, or his window shut, before his connection is dropped.",
        "Whoever reads nothing for half a minute has gone or means harm; kept for ever, he would hold a place and a buffer."),
    key("server.body_timeout", duration(ms(100), s(300)), "10s",
        "How long a request body may take to arrive.",
        "16 MiB in 10 s is 13 Mbit/s; slower uploads of that size raise this value or send less."),
    key("server.announce", Kind::Choice { built: &["local", "container"], planned: &[] }, "local",
        "For whom the lines to paste at the start are written: `local`, a shell on this machine; `container`, one outside the container the service runs in.",
        "Files of this machine are what its shells can read. The standalone image sets `container`: there the token's file is out of reach."),
    unset("server.security_contact", Kind::Contact,
        "Whom to tell about a weakness, given out at `/.well-known/security.txt` (RFC 9116).",
        "Unset: that page is 404. A made-up address would swallow the one mail that matters."),

    unset("server.security_policy", Kind::Link,
        "Where the security policy can be read, given out beside the contact (`Policy` in `/.well-known/security.txt`).",
        "Unset: the file has no such line. Where a fork publishes its SECURITY.md only its operator knows."),

    key("ops.bind", Kind::Socket, "127.0.0.1:8081",
        "Address and port of the operator listener (probes, status, metrics). Never the public port.",
        "Loopback: status and metrics are for operators, not for callers."),

    unset("redis.url", Kind::RedisUrl,
        "The Redis to use; user and password stand in the URL or in the keys below.",
        "Unset: a private Redis is started and supervised under `data_dir`."),
    unset("redis.username", Kind::Username,
        "User to sign in to Redis as.",
        "Unset: Redis' own `default` user."),
    unset("redis.username_file", Kind::SecretFile { gives: "redis.username" },
        "File that holds `redis.username`; one trailing newline is cut off.",
        "Unset: no file is read. Made for mounted secrets that hold both."),
    unset("redis.password", Kind::Password,
        "Password of that user.",
        "Unset: the one in `redis.url`, if any."),
    unset("redis.password_file", Kind::SecretFile { gives: "redis.password" },
        "File that holds `redis.password`; one trailing newline is cut off.",
        "Unset: no file is read. Made for mounted secrets."),
    key("redis.topology", Kind::Choice { built: &["standalone"], planned: &["sentinel", "cluster"] }, "standalone",
        "Shape of the deployment behind `redis.url`.",
        "One server is the only shape that is built yet."),
    key("redis.alias", Kind::Alias, "redis",
        "Name of this Redis in breaker names and metrics (`redis.read`, `redis.write`), in place of its address.",
        "Dashboards and alerts are written against this name."),
    key("redis.allow_insecure", Kind::Flag, "false",
        "Accept a Redis beyond loopback that is reached without TLS, has no password or a weak one.",
        "Off: whoever shares the network would read every value."),
    key("redis.connections_per_worker", count(1, 64), "2",
        "Connections each worker holds for light commands; one more is kept for heavy ones.",
        "Requests are pipelined over them, so two keep a long reply from delaying all; more cost CPU and gain nothing measured."),
    key("redis.in_flight_per_connection", count(1, 10_000), "50",
        "Requests in flight on one connection.",
        "Enough to keep a connection busy at 1 ms round trips; a lost connection takes no more than these with it."),
    key("redis.queue", count(0, 1_000_000), "1000",
        "Requests waiting for a place in flight, per worker; one more is shed with 503.",
        "At 20 000 requests/s per worker it drains within 50 ms, well inside `redis.acquire_timeout`."),
    key("redis.acquire_timeout", duration(ms(1), s(10)), "250ms",
        "Longest wait for a place in flight and a connection.",
        "Whoever waited longer meets an overload that waiting makes worse; an early 503 leaves the caller time to act."),
    key("redis.connect_timeout", duration(ms(10), s(30)), "1s",
        "Longest time to connect and sign in.",
        "Covers one lost SYN on a near network."),
    key("redis.max_connection_age", Kind::DurationOrOff { least: s(10), most: s(86_400) }, "30m",
        "Age at which a connection is replaced; `0s` means never.",
        "Lets connections follow DNS changes and rebalanced proxies without a restart, at two connects per worker and half an hour."),

    unset("redis.tls.ca_file", Kind::File,
        "CA certificates in PEM that the certificate of a `rediss://` Redis must lead to; no other CA is trusted then.",
        "Unset: the CAs that this system trusts. The chain and the host name are verified in either case."),
    unset("redis.tls.cert_file", Kind::File,
        "Our own certificate in PEM, with those that lead to its CA behind it, for a Redis that asks for one.",
        "Unset: none is shown. All three files are read anew when they have changed, before the next connect."),
    unset("redis.tls.key_file", Kind::File,
        "Private key of that certificate in PEM, not encrypted.",
        "Unset: none. Needed with `redis.tls.cert_file`."),

    key("requests.timeout", duration(ms(10), s(300)), "2s",
        "Deadline of a request that names none in `X-Request-Timeout-Ms`.",
        "Three attempts with their waits fit, and a person still waits."),
    key("requests.timeout_max", duration(ms(10), s(300)), "30s",
        "Longest deadline a caller may ask for; more is cut to this.",
        "Common proxies give up after 30 to 60 s; nothing may wait longer than its reader."),

    key("attempt.timeout", duration(ms(10), s(60)), "400ms",
        "Longest wait for one reply of Redis.",
        "Hundreds of times a healthy round trip, and short enough for a frozen Redis to be noticed within a second."),

    key("retry.attempts", count(1, 10), "3",
        "Attempts per request, the first included. Only what may be repeated safely is.",
        "What two repetitions do not cure is an outage, and the breaker's affair."),
    key("retry.backoff_base", duration(ms(1), s(10)), "10ms",
        "Upper end of the first random wait before a repetition; it doubles each time.",
        "About the time a broken connection takes to be replaced."),
    key("retry.backoff_max", duration(ms(1), s(10)), "100ms",
        "Upper end of any wait before a repetition.",
        "More would spend the caller's deadline on waiting."),
    key("retry.budget_ratio", Kind::Ratio { least: 0.0, most: 1.0 }, "0.2",
        "Repetitions earned by each request; above 1.0 the budget would no longer bound anything.",
        "At most one repetition in five requests: a degraded Redis gets at most 1.2 times the load."),
    key("retry.budget_tokens", count(1, 100_000), "100",
        "Repetitions that can be saved up.",
        "One lost connection with all its requests in flight may be repeated at once; a longer outage may not."),

    key("breaker.window", duration(s(1), s(600)), "10s",
        "The past that the failure and slow ratios look at.",
        "Long enough for 20 calls at 2 requests/s; sudden outages are the stall and connect detectors' affair."),
    key("breaker.minimum_calls", count(1, 1_000_000), "20",
        "Calls in the window below which no ratio opens a breaker.",
        "Two failures of three calls are chance, ten of twenty are not."),
    key("breaker.failure_ratio", Kind::Ratio { least: 0.01, most: 1.0 }, "0.5",
        "Share of failed calls in the window that opens a breaker.",
        "Below one half, retries within budget still serve most callers."),
    key("breaker.slow_call_after", duration(ms(1), s(60)), "300ms",
        "Duration from which a call counts as slow, while it is still running.",
        "Below `attempt.timeout`, so that slowness is seen before it becomes failure."),
    key("breaker.slow_ratio", Kind::Ratio { least: 0.01, most: 1.0 }, "0.9",
        "Share of slow calls in the window that opens a breaker.",
        "A slow answer is still an answer: only when nearly all are slow is refusing better."),
    key("breaker.open_wait", duration(ms(50), s(60)), "500ms",
        "Wait between opening and the first probe, and between probes, give or take 10 %.",
        "Keeps recovery within 1.1 s of Redis' return, at two probes a second."),
    key("breaker.open_wait_max", duration(ms(50), s(300)), "1s",
        "Longest such wait after repeated openings.",
        "A flapping Redis is asked half as often, and recovery stays within its promise."),
    key("breaker.probe_timeout", duration(ms(10), s(10)), "200ms",
        "Longest wait for a probe's reply.",
        "A Redis that needs longer for one key would not serve callers in time either."),
    key("breaker.probes_to_close", count(1, 10), "3",
        "Probes in a row that must pass to close a breaker.",
        "One reply may be luck while a failover is under way; three cost a few milliseconds."),
    key("breaker.stall_after", duration(ms(50), s(60)), "400ms",
        "A request unanswered and no byte received on any connection for this long: Redis stands still, both lanes open.",
        "Half of the one second within which a frozen Redis is to be noticed."),
    key("breaker.connect_failures", count(1, 100), "3",
        "Failed connects in a row that open both lanes.",
        "One or two happen in any restart of a proxy; three are an outage."),

    key("limits.body", size(KIB, 512 * MIB), "16MiB",
        "Largest request body.",
        "One argument of the largest size with its JSON or base64 overhead."),
    key("limits.bodies", size(KIB, 64 * 1024 * MIB), "128MiB",
        "Request bodies over 16 KiB that are held at once, in all; one that does not fit is refused unread, with 503.",
        "Eight of the largest. A body takes about three times its size until it is answered: 384 MiB when all are there. Unset it \
         is never less than `limits.body`."),
    key("limits.argument", size(KIB, 512 * MIB), "10MiB",
        "Largest single command argument or value.",
        "A larger one holds up every other request on its connection."),
    key("limits.arguments", count(10_000, 10_000_000), "100000",
        "Arguments of one command; all commands of a list together may have ten times as many.",
        "About 5 MB here and as much in Redis, whatever few bytes they are: eight million in one body took 350 MB of each."),
    key("limits.reply", size(MIB, 512 * MIB), "64MiB",
        "Largest answer as it is written: the content of a key, a command's reply, and what the reads of a list are told in all.",
        "The largest argument, should each of its bytes take six in JSON. Large values are better read in ranges."),
    key("limits.batch_commands", count(1, 100_000), "10000",
        "Commands in one pipeline or transaction.",
        "About 10 ms of Redis' only thread; more would starve everybody else."),
    key("limits.connections", count(1, 1_000_000), "10000",
        "Open connections of all callers; one more is refused.",
        "About 130 MiB when all are idle. Where the system allows fewer open files, fewer are taken, with a warning at the start."),
    key("limits.connections_per_address", count(1, 1_000_000), "1024",
        "Open connections of one address; one more is refused.",
        "A tenth of all: no single address can take the service, and a NAT of ordinary size fits."),
    key("limits.head", size(KIB, MIB), "16KiB",
        "Largest request head (request line and fields).",
        "Twice what common proxies allow, so that long keys in paths fit."),
    key("limits.head_fields", count(8, 96), "64",
        "Fields in a request head; the HTTP parser itself ends at 96.",
        "Browsers and proxies together send about 40."),

    key("streams.max", count(0, 1_000_000), "10000",
        "Open streams (subscriptions of callers); one more is refused with 503.",
        "As many as connections: every stream is one, and each holds a few KiB while it reads along."),
    key("streams.heartbeat", duration(ms(10), s(3600)), "15s",
        "How often a comment line is sent on a stream.",
        "Common proxies end a connection that was silent for 30 to 60 s; two heartbeats fit."),
    key("streams.buffer", count(1, 1_000_000), "256",
        "Messages that may wait for one reader; whoever falls further behind is cut.",
        "A quarter of a second at 1 000 messages/s: longer than any hiccup of a network that keeps up on the whole."),
    key("streams.buffer_bytes", size(KIB, 512 * MIB), "4MiB",
        "Bytes that may wait for one reader; a single message always fits.",
        "256 messages of 16 KiB. Readers of one channel share what waits, so a slow thousand costs no more than one."),

    key("stale.max_bytes", size(0, 64 * 1024 * MIB), "64MiB",
        "Memory for answers that are told again while Redis does not answer, to callers who send `Cache-Control: stale-if-error`; `0B` means none.",
        "A hundred thousand small answers; the one given longest ago makes room."),
    key("stale.max_value_bytes", size(0, 512 * MIB), "256KiB",
        "Largest single answer that is remembered.",
        "256 answers of this size fit: no single caller of large values pushes everybody else's out."),
    key("limiters.memory", size(MIB, 4096 * MIB), "16MiB",
        "What is remembered of limiters that callers want decided locally while Redis is away.",
        "About 50 000 names; those not asked for longest are forgotten, and start again with their share."),
    key("limiters.instances", count(1, 1_000_000), "1",
        "The fewest instances a local decision counts; more are counted once Redis has told of them.",
        "An instance that never reached Redis knows of nobody else: where many are started together, write how many."),

    unset("auth.root_token", Kind::Token,
        "Bearer token with every scope; at least 32 characters. Exempt from rates, not from connection limits.",
        "Unset: one is generated in `data_dir/root-token`."),
    unset("auth.root_token_file", Kind::SecretFile { gives: "auth.root_token" },
        "File that holds `auth.root_token`; one trailing newline is cut off.",
        "Unset: no file is read. Made for mounted secrets."),
    unset("auth.full_token_sha256", Kind::TokenDigests,
        "SHA-256 of tokens that may send every command and use all of `/v1`'s data, but not administer the service or its Redis.",
        "Unset: there are none. A digest in a file is no credential; make the token itself with openssl rand -hex 32."),
    unset("auth.read_only_token_sha256", Kind::TokenDigests,
        "SHA-256 of tokens that may only read: no writes, no scripts, nothing that lists keys.",
        "Unset: there are none. For dashboards and browsers, whose tokens are soon known to many."),

    unset("cors.allowed_origins", Kind::Origins,
        "Origins whose pages may use this service from a browser (CORS), each as the browser writes it. `*` alone allows every page; the browser's own credentials (cookies) are never allowed.",
        "Unset: off, no page of another origin can read an answer. A token in a page is known to all its readers, so only who needs it should switch this on."),
    key("cors.max_age", duration(s(0), s(86_400)), "1h",
        "How long a browser may remember that an origin may ask (the answer to its preflight).",
        "Saves a round trip on nearly every call; Chromium itself remembers for two hours at most."),

    key("log.format", Kind::Choice { built: &["auto", "json", "pretty"], planned: &[] }, "auto",
        "Shape of the log: `json`, `pretty`, or `auto` (pretty on a terminal, JSON elsewhere).",
        "People get what people read, collectors what they parse."),
    key("log.level", Kind::LogLevel, "info",
        "`off`, `error`, `warn`, `info`, `debug`, `trace`, or comma-separated `target=level` directives. Dependencies speak from `warn` on; a directive opens them to `info`, below which they would quote callers.",
        "Life cycle and breaker transitions, nothing per request."),

    unset("traces.endpoint", Kind::TraceReceiver,
        "OTLP/HTTP receiver of traces; without a path, `/v1/traces` is meant.",
        "Unset: nothing is recorded, and a request pays nothing for it. TLS is a collector's affair: run one beside the service."),
    unset("traces.headers", Kind::TraceHeaders,
        "Headers sent with every batch of spans, such as `authorization=Bearer …`.",
        "Unset: none. Collectors beside the service ask for nothing."),
    unset("traces.headers_file", Kind::SecretFile { gives: "traces.headers" },
        "File that holds `traces.headers`; one trailing newline is cut off.",
        "Unset: no file is read. Made for mounted secrets."),
    key("traces.service_name", Kind::Alias, "collective",
        "`service.name` in traces.",
        "The name of the program; several deployments give themselves their own."),
    key("traces.sample_ratio", Kind::Ratio { least: 0.0, most: 1.0 }, "0.1",
        "Share of requests that are recorded. Whoever says in `traceparent` that his trace is not recorded is obeyed.",
        "One in ten shows what is usual, for a tenth of the cost."),
    key("traces.parents_per_second", count(0, 1_000_000), "100",
        "Requests a second that are recorded because `traceparent` says that their caller's trace is; beyond it `traces.sample_ratio` decides. 0 trusts nobody's flag.",
        "Enough for whole traces of any caller who samples; anybody can set the flag on every request."),
    key("traces.timeout", duration(ms(10), s(60)), "5s",
        "Longest wait for the receiver to take one batch.",
        "No request waits for it; meanwhile spans gather in the queue."),
    key("traces.queue", count(1, 1_000_000), "4096",
        "Spans that may wait to be sent; one more is dropped and counted.",
        "20 000 spans/s at five batches a second; full, it holds about 2 MiB."),

    key("drain.delay", duration(s(0), s(300)), "0s",
        "Wait between turning unready and closing the listener, so that balancers notice.",
        "A process on one machine has nobody to wait for; a Kubernetes overlay sets 5s."),
    key("drain.finish", duration(s(0), s(600)), "25s",
        "Time running requests get to finish.",
        "Below the 30 s after which Kubernetes kills."),
    key("drain.flush", duration(s(0), s(60)), "2s",
        "Time the last spans get to reach their receiver, once nobody is served any more.",
        "Ten times what a receiver needs; with the 25 s before it still below 30 s."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_unique_and_plain() {
        let unique: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
        assert_eq!(unique.len(), KEYS.len());
        for path in unique {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
            assert!(path.bytes().all(plain), "{path}");
            assert!(path.matches('.').count() <= 2 && !path.contains("__"), "{path}");
        }
    }

    #[test]
    fn every_key_is_documented_in_sentences() {
        for key in KEYS {
            assert!(key.meaning.ends_with('.') && key.why.ends_with('.'), "{}", key.path);
            assert!(!key.meaning.contains('|') && !key.why.contains('|'), "{} breaks the page's table", key.path);
        }
    }

    #[test]
    fn keys_of_one_section_stand_together() {
        let mut sections: Vec<_> = KEYS.iter().map(|key| key.section_and_name().0).collect();
        sections.dedup();
        assert_eq!(sections.len(), sections.iter().collect::<BTreeSet<_>>().len());
        assert_eq!(sections[0], "", "TOML wants top-level keys first");
    }

    #[test]
    fn environment_names_follow_the_path() {
        assert_eq!(find("server.bind").unwrap().environment(), "COLLECTIVE_SERVER__BIND");
        assert_eq!(find("data_dir").unwrap().environment(), "COLLECTIVE_DATA_DIR");
        assert_eq!(find("redis.tls.ca_file").unwrap().environment(), "COLLECTIVE_REDIS__TLS__CA_FILE");
    }

    #[test]
    fn every_default_obeys_its_own_bounds() {
        for key in KEYS {
            if let Some(default) = key.default {
                assert!(key.kind.read_text(default).is_ok(), "{}", key.path);
            }
        }
    }

    #[test]
    fn a_file_key_gives_a_key_that_is_never_shown() {
        for key in KEYS {
            if let Kind::SecretFile { gives } = key.kind {
                let guarded = |kind: Kind| kind.is_secret() || matches!(kind, Kind::Username);
                assert!(find(gives).is_some_and(|target| guarded(target.kind)), "{}", key.path);
                assert_eq!(key.path, format!("{gives}_file"));
            }
        }
    }
}
