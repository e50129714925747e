//! The whole configuration as a typed tree: what every key of `keys.rs` becomes.
//!
//! Why plain structs: a room gets its own settings built from this by start-up, and must not know that files and
//! variables exist. Field names are key names, so that serde checks the two against each other (a row without a
//! field and a field without a row both fail `load`). Limits: values are valid one by one and against each other
//! only when they came out of [`super::load`]; defaults live in the table, hence no `Default` here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::redis_url::RedisUrl;
use crate::security::TokenDigest;
use crate::telemetry::Secret;
use crate::telemetry::traces::{Headers, Receiver};

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Public listener.
    pub server: Server,
    /// Operator listener.
    pub ops: Ops,
    /// Directory of the embedded Redis' data, spool files and the generated token.
    pub data_dir: PathBuf,
    /// Redis and the connections to it.
    pub redis: Redis,
    /// A caller's whole request.
    pub requests: Requests,
    /// One attempt at Redis.
    pub attempt: Attempt,
    /// Repeating attempts.
    pub retry: Retry,
    /// Circuit breakers, one per lane.
    pub breaker: Breaker,
    /// What bounds a caller.
    pub limits: Limits,
    /// Subscriptions of callers.
    pub streams: Streams,
    /// Answers told again while Redis does not answer.
    pub stale: Stale,
    /// Limiters while Redis is away.
    pub limiters: Limiters,
    /// Who may call.
    pub auth: Auth,
    /// Pages of other origins.
    pub cors: Cors,
    /// The log.
    pub log: Log,
    /// Traces.
    pub traces: Traces,
    /// Stopping.
    pub drain: Drain,
}

impl Settings {
    /// Where the embedded Redis listens: `data_dir/redis.sock`, made absolute.
    pub fn embedded_socket(&self) -> PathBuf {
        let socket = self.data_dir.join("redis.sock");
        std::path::absolute(&socket).unwrap_or(socket)
    }
}

/// `server.*`: the public listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address of the public listener.
    pub bind: SocketAddr,
    /// Worker threads; 0 = one per core.
    pub workers: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a request head may take to arrive.
    pub client_request_timeout: Duration,
    /// How long a closing connection may linger.
    pub client_disconnect_timeout: Duration,
    /// How long a caller may read nothing of what is sent to him.
    pub client_write_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// For whom the lines at the start are written.
    pub announce: Announce,
    /// Whom to tell about a weakness; `None` = nobody is named.
    pub security_contact: Option<String>,
    /// Where the security policy can be read; `None` = nowhere named.
    pub security_policy: Option<String>,
}

/// `ops.*`: the operator listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ops {
    /// Address of the operator listener.
    pub bind: SocketAddr,
}

/// `redis.*`: which Redis, and the connections to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// The Redis to use; `None` = start and supervise an embedded one.
    pub url: Option<RedisUrl>,
    /// User to sign in as, from here, from the file named by `redis.username_file`, or from the URL.
    pub username: Option<String>,
    /// Password, from here, from the file named by `redis.password_file`, or from the URL.
    pub password: Option<Secret>,
    /// Shape of the deployment behind the URL.
    pub topology: Topology,
    /// Name in front of breaker names, such as `redis` in `redis.read`.
    pub alias: String,
    /// Accept a Redis that is plain, without password or with a weak one beyond loopback.
    pub allow_insecure: bool,
    /// Connections each worker holds for light commands.
    pub connections_per_worker: usize,
    /// Requests in flight on one connection.
    pub in_flight_per_connection: usize,
    /// Requests waiting for a place, per worker.
    pub queue: usize,
    /// Longest wait for a place or a connection.
    pub acquire_timeout: Duration,
    /// Longest time to connect and sign in.
    pub connect_timeout: Duration,
    /// Age at which a connection is replaced; `None` (written `0s`) = never.
    pub max_connection_age: Option<Duration>,
    /// What `rediss://` needs.
    pub tls: RedisTls,
}

/// `redis.tls.*`: certificates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTls {
    /// CAs to trust; `None` = the system's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate; `None` = none is shown.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
}

/// `redis.topology`: the shapes that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// One server.
    Standalone,
}

impl Topology {
    /// The word used in the configuration and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
        }
    }
}

/// `requests.*`: a caller's whole request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Deadline of a request that names none.
    pub timeout: Duration,
    /// Longest deadline a caller may ask for.
    pub timeout_max: Duration,
}

/// `attempt.*`: one attempt at Redis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Longest wait for one reply.
    pub timeout: Duration,
}

/// `retry.*`: repeating attempts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts per request, the first included.
    pub attempts: u32,
    /// Upper end of the first wait.
    pub backoff_base: Duration,
    /// Upper end of any wait.
    pub backoff_max: Duration,
    /// Retries earned per request.
    pub budget_ratio: f64,
    /// Retries that can be saved up.
    pub budget_tokens: u32,
}

/// `breaker.*`: circuit breakers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// The past that the ratios look at.
    pub window: Duration,
    /// Calls in the window below which no ratio opens.
    pub minimum_calls: u32,
    /// Share of failed calls that opens.
    pub failure_ratio: f64,
    /// Duration from which a call counts as slow.
    pub slow_call_after: Duration,
    /// Share of slow calls that opens.
    pub slow_ratio: f64,
    /// Wait between opening and the first probe.
    pub open_wait: Duration,
    /// Longest such wait after repeated openings.
    pub open_wait_max: Duration,
    /// Longest wait for a probe's reply.
    pub probe_timeout: Duration,
    /// Probes in a row that must pass to close.
    pub probes_to_close: u32,
    /// Silence with a request unanswered that counts as a stall.
    pub stall_after: Duration,
    /// Failed connects in a row that open.
    pub connect_failures: u32,
}

/// `limits.*`: what bounds a caller.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body.
    pub body: usize,
    /// Bytes of all large bodies that are held at once.
    pub bodies: usize,
    /// Bytes of one command argument or value.
    pub argument: usize,
    /// Arguments of one command.
    pub arguments: usize,
    /// Bytes of the answer to one request of the dialect, and of a key's content.
    pub reply: usize,
    /// Commands of one batch.
    pub batch_commands: usize,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one address.
    pub connections_per_address: usize,
    /// Bytes of a request head.
    pub head: usize,
    /// Fields of a request head.
    pub head_fields: usize,
}

/// `streams.*`: subscriptions of callers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// Open streams.
    pub max: usize,
    /// How often a comment line is sent on each.
    pub heartbeat: Duration,
    /// Messages that may wait for one reader.
    pub buffer: usize,
    /// Bytes that may wait for one reader.
    pub buffer_bytes: usize,
}

/// `stale.*`: answers told again while Redis does not answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stale {
    /// Bytes of all answers; 0 = none.
    pub max_bytes: usize,
    /// Bytes of one answer.
    pub max_value_bytes: usize,
}

/// `limiters.*`: limiters while Redis is away.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limiters {
    /// Bytes of memory for local decisions.
    pub memory: usize,
    /// The fewest instances a local decision counts.
    pub instances: u64,
}

/// `auth.*`: who may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Bearer token with every scope, from here or from the file named by `auth.root_token_file`; `None` = one is
    /// generated in `data_dir`.
    pub root_token: Option<Secret>,
    /// Digests of tokens for everything but administration.
    pub full_token_sha256: Option<Vec<TokenDigest>>,
    /// Digests of tokens that may only read.
    pub read_only_token_sha256: Option<Vec<TokenDigest>>,
}

/// `cors.*`: pages of other origins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins whose pages may read answers, or `*` alone; `None` = none.
    pub allowed_origins: Option<Vec<String>>,
    /// How long a browser may remember a preflight.
    pub max_age: Duration,
}

/// `log.*`: the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// Level, or comma-separated `target=level` directives.
    pub level: String,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// `traces.*`: what is recorded of requests, and where it is sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Where spans are sent; `None` = nothing is recorded.
    pub endpoint: Option<Receiver>,
    /// What is sent with them, from here or from the file named by `traces.headers_file`.
    pub headers: Option<Headers>,
    /// `service.name`.
    pub service_name: String,
    /// Share of requests that are recorded.
    pub sample_ratio: f64,
    /// Requests a second that are recorded because their callers' traces are.
    pub parents_per_second: u64,
    /// Longest wait for one batch to be taken.
    pub timeout: Duration,
    /// Spans that may wait.
    pub queue: usize,
}

/// `server.announce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Announce {
    /// Somebody at a shell of this machine.
    Local,
    /// Somebody outside the container the service runs in.
    Container,
}

/// `drain.*`: stopping.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Wait between turning unready and closing the listener.
    pub delay: Duration,
    /// Time running requests get to finish.
    pub finish: Duration,
    /// Time the last spans get.
    pub flush: Duration,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|_| serde::de::Error::custom("not the SHA-256 of a token"))
    }
}

impl<'de> Deserialize<'de> for Receiver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
