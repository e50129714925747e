//! What two or more settings owe each other.
//!
//! Why a table: each rule answers a failure others had (a breaker window shorter than the timeout counts nothing; a
//! wait for a connection as long as the request leaves no time for the request), and the reason must reach the
//! operator with the refusal. The reference page prints the same rows. Limits: a rule is asked only when all its keys
//! are valid on their own, so that one mistake is not reported twice.

use std::net::SocketAddr;
use std::time::Duration;

use super::origin::ANY;
use super::redis_url::{Address, RedisUrl, SOCKET_PATH_BYTES};
use super::settings::{RedisTls, Settings};
use super::strength::weakness;
use crate::security::TokenDigest;
use crate::telemetry::Secret;

/// Longest time a breaker may stay half-open before its probes are started anew; all probes must fit.
const HALF_OPEN: Duration = Duration::from_secs(2);

/// Fewest characters of a Redis password beyond loopback: Redis answers a million guesses a second.
const PASSWORD_CHARACTERS: usize = 16;

/// Retries per request up to which the load on a degraded Redis stays within the promised 1.2 times.
const PROMISED_BUDGET_RATIO: f64 = 0.2;

/// One rule between keys.
pub(super) struct Rule {
    /// The keys it is about.
    pub(super) keys: &'static [&'static str],
    /// The rule as a sentence.
    pub(super) text: &'static str,
    /// What goes wrong otherwise.
    pub(super) why: &'static str,
    /// What to do.
    pub(super) way_out: &'static str,
    /// True when the settings obey it.
    pub(super) holds: fn(&Settings) -> bool,
}

/// All rules, in the order in which broken ones are reported.
pub(super) static RULES: &[Rule] = &[
    Rule {
        keys: &["server.bind", "ops.bind"],
        text: "`server.bind` and `ops.bind` must not share a port",
        why: "the operator listener is never on the public port",
        way_out: "give ops.bind a port of its own",
        holds: |s| !overlap(s.server.bind, s.ops.bind),
    },
    Rule {
        keys: &["redis.url", "redis.password"],
        text: "`redis.password` needs `redis.url`",
        why: "without a URL an embedded Redis is started, which makes its own password, and the one given would be unused",
        way_out: "set redis.url, or remove the password",
        holds: |s| s.redis.url.is_some() || s.redis.password.is_none(),
    },
    Rule {
        keys: &["redis.url", "redis.username"],
        text: "`redis.username` needs `redis.url`",
        why: "without a URL an embedded Redis is started, and the name given would be unused",
        way_out: "set redis.url, or remove redis.username",
        holds: |s| s.redis.url.is_some() || s.redis.username.is_none(),
    },
    Rule {
        keys: &["redis.password", "redis.url"],
        text: "the password must be given once, in `redis.url` or in `redis.password`",
        why: "which of two different ones is meant cannot be known",
        way_out: "remove it from redis.url",
        holds: |s| s.redis.password.is_none() || url(s).is_none_or(|url| url.password.is_none()),
    },
    Rule {
        keys: &["redis.username", "redis.url"],
        text: "the user must be given once, in `redis.url` or in `redis.username`",
        why: "which of two different ones is meant cannot be known",
        way_out: "remove it from redis.url",
        holds: |s| s.redis.username.is_none() || url(s).is_none_or(|url| url.username.is_none()),
    },
    Rule {
        keys: &["redis.tls.ca_file", "redis.tls.cert_file", "redis.tls.key_file", "redis.url"],
        text: "the keys `redis.tls.*` need `rediss://` in `redis.url`",
        why: "TLS was meant and plain text would be spoken",
        way_out: "write rediss:// in redis.url, or remove them",
        holds: |s| uses_tls(s) || !has_tls_files(&s.redis.tls),
    },
    Rule {
        keys: &["redis.tls.cert_file", "redis.tls.key_file"],
        text: "`redis.tls.cert_file` and `redis.tls.key_file` must be given together",
        why: "a certificate without its key proves nothing, nor does a key without its certificate",
        way_out: "give both, or neither",
        holds: |s| s.redis.tls.cert_file.is_some() == s.redis.tls.key_file.is_some(),
    },
    Rule {
        keys: &["redis.url", "redis.allow_insecure"],
        text: "a Redis beyond loopback must be reached over TLS (`rediss://`)",
        why: "whoever shares the network would read every value and the password",
        way_out: "write rediss:// (deploy/redis/README.md says how), or use a unix socket or loopback; or accept the risk with redis.allow_insecure = true",
        holds: |s| !is_guarded(s) || uses_tls(s),
    },
    Rule {
        keys: &["redis.url", "redis.password", "redis.allow_insecure"],
        text: "a Redis beyond loopback must have a password",
        why: "whoever reaches it could read and change everything",
        way_out: "set requirepass or an ACL user in Redis and give redis.password_file; or accept the risk with redis.allow_insecure = true",
        holds: |s| !is_guarded(s) || password(s).is_some(),
    },
    Rule {
        keys: &["redis.url", "redis.password", "redis.allow_insecure"],
        text: "the password of a Redis beyond loopback must have 16 characters and not be a well-known one",
        why: "Redis answers a million guesses a second",
        way_out: "make a new one (openssl rand -hex 32); or accept the risk with redis.allow_insecure = true",
        holds: |s| !is_guarded(s) || password(s).is_none_or(is_strong),
    },
    Rule {
        keys: &["data_dir", "redis.url"],
        text: "`data_dir` must leave room for the socket `redis.sock` in 107 bytes while `redis.url` is unset",
        why: "the embedded Redis listens there, and no unix socket can have a longer path (counted from the root)",
        way_out: "choose a shorter data_dir, or set redis.url",
        holds: |s| s.redis.url.is_some() || s.embedded_socket().as_os_str().len() <= SOCKET_PATH_BYTES,
    },
    Rule {
        keys: &["auth.full_token_sha256", "auth.read_only_token_sha256"],
        text: "`auth.full_token_sha256` and `auth.read_only_token_sha256` must not share a token",
        why: "what its holder may do could not be known",
        way_out: "remove it from one of the two",
        holds: |s| !share(s.auth.full_token_sha256.as_deref(), s.auth.read_only_token_sha256.as_deref()),
    },
    Rule {
        keys: &["traces.headers", "traces.endpoint"],
        text: "`traces.headers` needs `traces.endpoint`",
        why: "without a receiver nothing is sent, and the token in them would be kept for nothing",
        way_out: "set traces.endpoint, or remove the headers",
        holds: |s| s.traces.endpoint.is_some() || s.traces.headers.is_none(),
    },
    Rule {
        keys: &["redis.acquire_timeout", "requests.timeout"],
        text: "`redis.acquire_timeout` must be shorter than `requests.timeout`",
        why: "a request that waited its whole deadline for a connection has no time left to use it",
        way_out: "lower redis.acquire_timeout or raise requests.timeout",
        holds: |s| s.redis.acquire_timeout < s.requests.timeout,
    },
    Rule {
        keys: &["requests.timeout", "requests.timeout_max"],
        text: "`requests.timeout` must not exceed `requests.timeout_max`",
        why: "the default deadline would be one that no caller may ask for",
        way_out: "lower requests.timeout or raise requests.timeout_max",
        holds: |s| s.requests.timeout <= s.requests.timeout_max,
    },
    Rule {
        keys: &["attempt.timeout", "requests.timeout"],
        text: "`attempt.timeout` must not exceed `requests.timeout`",
        why: "every request would end before its first attempt could fail, and a dead Redis would go unnoticed",
        way_out: "lower attempt.timeout or raise requests.timeout",
        holds: |s| s.attempt.timeout <= s.requests.timeout,
    },
    Rule {
        keys: &["retry.attempts", "attempt.timeout", "retry.backoff_max", "requests.timeout"],
        text: "all `retry.attempts` of `attempt.timeout` each, with waits of `retry.backoff_max` between them, must fit in `requests.timeout`",
        why: "the last attempt could never finish",
        way_out: "lower retry.attempts, attempt.timeout or retry.backoff_max, or raise requests.timeout",
        holds: attempts_fit,
    },
    Rule {
        keys: &["retry.backoff_base", "retry.backoff_max"],
        text: "`retry.backoff_base` must not exceed `retry.backoff_max`",
        why: "the first wait would already be longer than the longest",
        way_out: "lower retry.backoff_base or raise retry.backoff_max",
        holds: |s| s.retry.backoff_base <= s.retry.backoff_max,
    },
    Rule {
        keys: &["breaker.window", "attempt.timeout"],
        text: "`breaker.window` must be at least twice `attempt.timeout`",
        why: "calls that time out would leave the window as they enter it, and nothing would be counted",
        way_out: "raise breaker.window or lower attempt.timeout",
        holds: |s| s.breaker.window >= s.attempt.timeout * 2,
    },
    Rule {
        keys: &["breaker.slow_call_after", "attempt.timeout"],
        text: "`breaker.slow_call_after` must be shorter than `attempt.timeout`",
        why: "a call would fail before it could count as slow",
        way_out: "lower breaker.slow_call_after or raise attempt.timeout",
        holds: |s| s.breaker.slow_call_after < s.attempt.timeout,
    },
    Rule {
        keys: &["breaker.slow_call_after", "breaker.stall_after"],
        text: "`breaker.slow_call_after` must not exceed `breaker.stall_after`",
        why: "a call that is not even slow would open all lanes as a stall",
        way_out: "lower breaker.slow_call_after or raise breaker.stall_after",
        holds: |s| s.breaker.slow_call_after <= s.breaker.stall_after,
    },
    Rule {
        keys: &["breaker.open_wait", "breaker.probe_timeout"],
        text: "`breaker.open_wait` must be at least twice `breaker.probe_timeout`",
        why: "probes of one round would run into the next",
        way_out: "raise breaker.open_wait or lower breaker.probe_timeout",
        holds: |s| s.breaker.open_wait >= s.breaker.probe_timeout * 2,
    },
    Rule {
        keys: &["breaker.open_wait", "breaker.open_wait_max"],
        text: "`breaker.open_wait` must not exceed `breaker.open_wait_max`",
        why: "the first wait would already be longer than the longest",
        way_out: "lower breaker.open_wait or raise breaker.open_wait_max",
        holds: |s| s.breaker.open_wait <= s.breaker.open_wait_max,
    },
    Rule {
        keys: &["breaker.probes_to_close", "breaker.probe_timeout"],
        text: "`breaker.probes_to_close` probes of `breaker.probe_timeout` each must fit in 2s",
        why: "a half-open breaker starts over after that time, and would never close",
        way_out: "lower breaker.probes_to_close or breaker.probe_timeout",
        holds: |s| s.breaker.probe_timeout * s.breaker.probes_to_close <= HALF_OPEN,
    },
    Rule {
        keys: &["limits.argument", "limits.body"],
        text: "`limits.argument` must not exceed `limits.body`",
        why: "no request could carry the argument it is promised",
        way_out: "lower limits.argument or raise limits.body",
        holds: |s| s.limits.argument <= s.limits.body,
    },
    Rule {
        keys: &["limits.body", "limits.bodies"],
        text: "`limits.body` must not exceed `limits.bodies`",
        why: "a body of the largest size would be refused however idle the service is",
        way_out: "lower limits.body or raise limits.bodies",
        holds: |s| s.limits.body <= s.limits.bodies,
    },
    Rule {
        keys: &["limits.connections_per_address", "limits.connections"],
        text: "`limits.connections_per_address` must not exceed `limits.connections`",
        why: "one address could take every connection and the limit per address would never speak",
        way_out: "lower limits.connections_per_address or raise limits.connections",
        holds: |s| s.limits.connections_per_address <= s.limits.connections,
    },
];

/// What is allowed and still worth a line in the log.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.retry.budget_ratio > PROMISED_BUDGET_RATIO {
        warnings.push(format!(
            "retry.budget_ratio is {}: above 0.2 a degraded Redis may get more than the promised 1.2 times the load",
            settings.retry.budget_ratio
        ));
    }
    if settings.cors.allowed_origins.as_deref().is_some_and(|origins| origins.iter().any(|origin| origin == ANY)) {
        warnings.push(
            "cors.allowed_origins is *: a page of any origin that knows a token can use it from a browser".to_owned(),
        );
    }
    if let Some(url) = url(settings).filter(|url| !url.address.is_local() && settings.redis.allow_insecure) {
        let strong = password(settings).is_some_and(is_strong);
        if !strong || !uses_tls(settings) {
            warnings
                .push(format!("redis.allow_insecure is true: {url} is used without TLS or without a strong password"));
        }
    }
    if let Some(receiver) = settings.traces.endpoint.as_ref().filter(|receiver| !receiver.is_local())
        && settings.traces.headers.is_some()
    {
        warnings.push(format!("traces.headers are sent to {receiver} without TLS: run a collector on this machine"));
    }
    warnings
}

fn share(full: Option<&[TokenDigest]>, read_only: Option<&[TokenDigest]>) -> bool {
    let read_only = read_only.unwrap_or_default();
    full.unwrap_or_default().iter().any(|digest| read_only.contains(digest))
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_address
}

fn attempts_fit(settings: &Settings) -> bool {
    let attempts = settings.retry.attempts;
    let waits = settings.retry.backoff_max * attempts.saturating_sub(1);
    settings.attempt.timeout * attempts + waits <= settings.requests.timeout
}

fn url(settings: &Settings) -> Option<&RedisUrl> {
    settings.redis.url.as_ref()
}

fn uses_tls(settings: &Settings) -> bool {
    url(settings).is_some_and(|url| matches!(url.address, Address::Tcp { tls: true, .. }))
}

fn has_tls_files(tls: &RedisTls) -> bool {
    tls.ca_file.is_some() || tls.cert_file.is_some() || tls.key_file.is_some()
}

/// True when the rules for a Redis beyond loopback apply.
fn is_guarded(settings: &Settings) -> bool {
    !settings.redis.allow_insecure && url(settings).is_some_and(|url| !url.address.is_local())
}

fn password(settings: &Settings) -> Option<&Secret> {
    settings.redis.password.as_ref().or_else(|| url(settings)?.password.as_ref())
}

fn is_strong(password: &Secret) -> bool {
    weakness(password.expose(), PASSWORD_CHARACTERS).is_none()
}
