//! From settings to parts: listeners bound, token and Redis address settled, shared state made. Nothing runs yet.
//!
//! What can be refused is refused here, in the order that touches least: Redis' address, data directory, ports. Limits: the
//! settings have been validated; what fails here is the world (a taken port, a directory without rights).

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use super::descriptors::{self, Needs};
use super::{public, traces};
use crate::api::acceptor::census::{self, Census};
use crate::api::bodies::Bodies;
use crate::api::cross_origin::Origins;
use crate::cli::{EXIT_CONFIGURATION, EXIT_FAILURE};
use crate::config::{self, SecretPlace, Settings};
use crate::redis::embedded::{DataDir, Embedded};
use crate::redis::{self, Address, Endpoint, Tls};
use crate::resilience::{Backoff, Observer, RetryPolicy, breaker};
use crate::resources::limiters::memory::Memory;
use crate::resources::stale::Limits;
use crate::security::{Authenticator, StaticTokens};
use crate::telemetry::logs::LogConfig;
use crate::telemetry::metrics::Build;
use crate::telemetry::traces::Exporter;
use crate::telemetry::{Metrics, Secret};
use crate::{api, resilience};

/// Connections the kernel may hold for us while all workers are busy.
const BACKLOG: i32 = 1024;

/// Everything made, nothing started.
pub(super) struct Built {
    pub(super) settings: Settings,
    pub(super) public: TcpListener,
    pub(super) ops: TcpListener,
    /// Connections of operators.
    pub(super) operators: usize,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) shared: Arc<api::Shared>,
    pub(super) embedded: Option<Embedded>,
    /// Where the root token can be read.
    pub(super) token: SecretPlace,
    /// The way out for traces, where there is one.
    pub(super) exporter: Option<Exporter>,
    /// Held for life: the lock on the directory.
    pub(super) _data_dir: Option<DataDir>,
}

/// Why nothing could be built.
#[derive(Debug)]
pub(super) enum BuildError {
    /// The configuration asks for what cannot be.
    Refused(String),
    /// The world said no.
    Failed(String),
}

impl BuildError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => EXIT_CONFIGURATION,
            Self::Failed(_) => EXIT_FAILURE,
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl Built {
    pub(super) fn new(settings: Settings, token: Option<SecretPlace>) -> Result<Self, BuildError> {
        let needs_data_dir = settings.redis.url.is_none() || settings.auth.root_token.is_none();
        let data_dir = match needs_data_dir {
            true => Some(DataDir::open(&settings.data_dir).map_err(|error| BuildError::Failed(error.to_string()))?),
            false => None,
        };
        let embedded = match (&settings.redis.url, &data_dir) {
            (None, Some(dir)) => Some(embedded(dir)?),
            _ => None,
        };
        let address = address(&settings, embedded.as_ref())?;
        let trace_settings = traces::settings(&settings, embedded.as_ref());
        let (root_token, token) = root_token(&settings, token, data_dir.as_ref())?;
        let public = listen(settings.server.bind, "server.bind")?;
        limit_unread(&public, settings.server.client_write_timeout);
        let ops = listen(settings.ops.bind, "ops.bind")?;
        let metrics = metrics()?;
        let (traces, exporter) = traces::build(trace_settings, &metrics)?;
        let endpoint = watched(address, &settings, &metrics);
        let plan = descriptors::plan(needs(&settings));
        let shared = Arc::new(api::Shared {
            settings: api_settings(&settings),
            authenticator: Authenticator::new(root_token, static_tokens(&settings)),
            metrics: metrics.clone(),
            bodies: Bodies::new(settings.limits.bodies, metrics.clone()),
            census: Census::new(plan.callers, metrics.clone()),
            traces,
            failures: api::report::FailureLog::default(),
            limiters: Arc::new(Memory::new(settings.limiters.memory)),
            scripts: api::upstash::scripts::Scripts::default(),
            stale: stale(&settings, &endpoint),
            operations: Default::default(),
            highest_token: Default::default(),
        });
        let operators = plan.operators;
        Ok(Self { settings, public, ops, operators, endpoint, shared, embedded, token, exporter, _data_dir: data_dir })
    }
}

/// The endpoint alone, for verbs that talk to a Redis and serve nobody.
pub(super) fn endpoint(settings: &Settings) -> Result<Arc<Endpoint>, BuildError> {
    Ok(watched(address(settings, None)?, settings, &metrics()?))
}

fn metrics() -> Result<Arc<Metrics>, BuildError> {
    let metrics = Metrics::new(Build::current()).map_err(|error| BuildError::Failed(format!("metrics: {error}")))?;
    Ok(Arc::new(metrics))
}

fn watched(address: Address, settings: &Settings, metrics: &Arc<Metrics>) -> Arc<Endpoint> {
    let observer: Arc<dyn Observer> = Arc::new(metrics.breaker_log());
    Endpoint::new(address, redis_settings(settings), metrics.clone(), &observer)
}

#[expect(clippy::disallowed_methods, reason = "PATH is the system's, not a setting of ours")]
fn embedded(dir: &DataDir) -> Result<Embedded, BuildError> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    Embedded::prepare(dir, &search_path).map_err(|error| BuildError::Failed(error.to_string()))
}

fn address(settings: &Settings, embedded: Option<&Embedded>) -> Result<Address, BuildError> {
    let redis = &settings.redis;
    let Some(url) = &redis.url else {
        let embedded = embedded.ok_or_else(|| BuildError::Failed("no Redis to talk to".into()))?;
        return Ok(
            Address::unix(embedded.socket_path()).with_credentials(Some(embedded.user()), Some(embedded.password()))
        );
    };
    let address = match &url.address {
        config::Address::Unix(path) => Address::unix(path),
        config::Address::Tcp { host, port, tls: true } => {
            // Read before, with the rest of the configuration: only a file that has changed since is refused here.
            let tls = Tls::load(host, redis.tls.files())
                .map_err(|error| BuildError::Refused(format!("redis.tls: {error}")))?;
            Address::tls(host.as_str(), *port, tls)
        }
        config::Address::Tcp { host, port, tls: false } => Address::tcp(host.as_str(), *port),
    };
    Ok(address.with_credentials(redis.username.as_deref(), redis.password.as_ref()).with_database(url.database))
}

/// The root token, and where it can be read: where it was configured, or where it was made.
fn root_token(
    settings: &Settings,
    place: Option<SecretPlace>,
    dir: Option<&DataDir>,
) -> Result<(Secret, SecretPlace), BuildError> {
    match (settings.auth.root_token.clone().zip(place), dir) {
        (Some(configured), _) => Ok(configured),
        (None, Some(dir)) => {
            let token = dir.root_token().map_err(|error| BuildError::Failed(error.to_string()))?;
            Ok((token, SecretPlace::File(dir.root_token_path())))
        }
        (None, None) => Err(BuildError::Failed("no root token and no data_dir to make one in".into())),
    }
}

/// The root token of a service with these settings, without touching what it holds; nothing is made.
pub(super) fn root_token_in_force(settings: &Settings) -> Result<Secret, BuildError> {
    if let Some(token) = &settings.auth.root_token {
        return Ok(token.clone());
    }
    let kept = DataDir::kept_root_token(&settings.data_dir).map_err(|error| BuildError::Failed(error.to_string()))?;
    kept.ok_or_else(|| {
        let directory = settings.data_dir.display();
        BuildError::Failed(format!(
            "there is no root token in {directory} (data_dir) yet: start the service, it makes one"
        ))
    })
}

fn static_tokens(settings: &Settings) -> StaticTokens {
    let auth = &settings.auth;
    StaticTokens {
        full: auth.full_token_sha256.clone().unwrap_or_default(),
        read_only: auth.read_only_token_sha256.clone().unwrap_or_default(),
    }
}

fn listen(address: SocketAddr, key: &str) -> Result<TcpListener, BuildError> {
    let bind = || {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    bind().map_err(|error: std::io::Error| BuildError::Failed(format!("cannot listen on {address} ({key}): {error}")))
}

/// Drops callers who leave what is sent to them unread. Connections inherit it from their listener. The acceptor watches over
/// what waits here to be sent; this is about what the kernel has taken already, of which nobody here would hear again.
fn limit_unread(listener: &TcpListener, limit: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_user_timeout(Some(limit)) {
        tracing::warn!(%error, "server.client_write_timeout has no effect on this system");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (listener, limit);
}

/// The log's settings.
pub(super) fn log_config(log: &config::Log) -> LogConfig {
    use crate::telemetry::logs::LogFormat;
    let format = match log.format {
        config::LogFormat::Auto => LogFormat::Auto,
        config::LogFormat::Json => LogFormat::Json,
        config::LogFormat::Pretty => LogFormat::Pretty,
    };
    LogConfig { format, level: log.level.clone() }
}

fn api_settings(settings: &Settings) -> api::Settings {
    api::Settings {
        timeout: settings.requests.timeout,
        timeout_max: settings.requests.timeout_max,
        body_timeout: settings.server.body_timeout,
        head_bytes: settings.limits.head,
        head_fields: settings.limits.head_fields,
        body_bytes: settings.limits.body,
        argument_bytes: settings.limits.argument,
        arguments: settings.limits.arguments,
        reply_bytes: settings.limits.reply,
        batch_commands: settings.limits.batch_commands,
        security_contact: settings.server.security_contact.clone(),
        security_policy: settings.server.security_policy.clone(),
        heartbeat: settings.streams.heartbeat,
        cross_origin: cross_origin(&settings.cors),
        instances_min: settings.limiters.instances,
    }
}

/// The memory of answers, told of every write that goes through a gateway of this endpoint.
fn stale(settings: &Settings, endpoint: &Endpoint) -> Arc<api::stale::Answers> {
    let limits = Limits { bytes: settings.stale.max_bytes, answer_bytes: settings.stale.max_value_bytes };
    let answers = Arc::new(api::stale::Answers::new(limits, endpoint.writes().interest().clone()));
    endpoint.writes().tell(answers.clone());
    answers
}

/// The policy, if there is one. The table of keys has made sure that every origin can be a header.
fn cross_origin(cors: &config::Cors) -> Option<api::cross_origin::Policy> {
    let origins = match cors.allowed_origins.as_deref()? {
        [any] if any == config::ANY_ORIGIN => Origins::Any,
        list => Origins::Listed(list.iter().filter_map(|origin| origin.parse().ok()).collect()),
    };
    Some(api::cross_origin::Policy { origins, max_age: cors.max_age })
}

/// What is to be open at once.
fn needs(settings: &Settings) -> Needs {
    /// Three of the keeper, two of the subscriptions.
    const KEEPERS: usize = 5;
    let limits = &settings.limits;
    let (total, per_address) = (limits.connections, limits.connections_per_address);
    // Besides the light ones a heavy one, and each may be replaced while it still closes.
    let a_worker = 2 * (settings.redis.connections_per_worker + 1);
    let workers = public::workers(&settings.server);
    Needs {
        callers: census::Limits { total, per_address, refused: census::LEAVES },
        redis: workers * a_worker + KEEPERS,
        workers,
    }
}

fn redis_settings(settings: &Settings) -> redis::Settings {
    let (redis, breaker, retry) = (&settings.redis, &settings.breaker, &settings.retry);
    redis::Settings {
        alias: redis.alias.clone(),
        connections_per_worker: u32::try_from(redis.connections_per_worker).unwrap_or(u32::MAX),
        in_flight_per_connection: redis.in_flight_per_connection,
        queue: redis.queue,
        acquire_timeout: redis.acquire_timeout,
        connect_timeout: redis.connect_timeout,
        max_connection_age: redis.max_connection_age,
        attempt_timeout: settings.attempt.timeout,
        retry: RetryPolicy {
            attempts: retry.attempts,
            backoff: Backoff { base: retry.backoff_base, cap: retry.backoff_max },
        },
        budget_ratio: retry.budget_ratio,
        budget_tokens: retry.budget_tokens,
        breaker: breaker_settings(breaker),
        probe_timeout: breaker.probe_timeout,
        stall_after: breaker.stall_after,
        connect_failures: breaker.connect_failures,
        streams: redis::StreamSettings {
            max: settings.streams.max,
            buffer_messages: settings.streams.buffer,
            buffer_bytes: settings.streams.buffer_bytes,
        },
    }
}

fn breaker_settings(breaker: &config::Breaker) -> breaker::Settings {
    let defaults = resilience::breaker::Settings::default();
    breaker::Settings {
        window: breaker.window,
        minimum_calls: breaker.minimum_calls,
        failure_ratio: breaker.failure_ratio,
        slow_call_after: breaker.slow_call_after,
        slow_ratio: breaker.slow_ratio,
        open_wait: breaker.open_wait,
        open_wait_max: breaker.open_wait_max,
        probes_to_close: breaker.probes_to_close,
        // Longer than a whole round of probes can take: only a prober that vanished is overtaken.
        half_open_max: (breaker.probe_timeout * (breaker.probes_to_close + 1)).max(Duration::from_secs(2)),
        seed: fastrand::u64(..),
        ..defaults
    }
}
