//! HTTP for callers: the designed resources under `/v1` and, on everything else, the command dialect.
//!
//! A connection passes the [`acceptor`], then a request passes [`mod@envelope`] (id, time, headers, metrics), an extractor that asks `security` who this is and sets the
//! deadline, and one handler that calls a resource or the gateway. Failures come back as small types of their rooms and become
//! an answer in exactly one place per surface: [`problem`] for `/v1`, `upstash::error` for the dialect (D25).
//! Limits: state is per worker ([`Worker`]), because the gateway's connections live on the worker's own runtime.

pub mod acceptor;
pub mod bodies;
pub mod body;
pub mod caller;
pub mod cross_origin;
pub mod duration;
pub mod envelope;
pub mod idempotency;
pub mod openapi;
pub mod path;
pub mod problem;
pub mod report;
pub mod stale;
pub mod surface;
pub mod trace_context;
pub mod upstash;
pub mod v1;
pub mod well_known;
pub mod withdrawals;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;

use self::acceptor::census::Census;
use crate::redis::Gateway;
use crate::resources::Namespace;
use crate::resources::leases::HighestToken;
use crate::resources::limiters::memory::Memory;
use crate::resources::operations::Found;
use crate::security::Authenticator;
use crate::telemetry::Metrics;
use crate::telemetry::traces::Traces;

/// What bounds and times a request on the public listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Deadline of a request that names none.
    pub timeout: Duration,
    /// The longest deadline a caller may ask for.
    pub timeout_max: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The largest request head, in bytes.
    pub head_bytes: usize,
    /// The most fields in a head.
    pub head_fields: usize,
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The largest single argument of a command, in bytes.
    pub argument_bytes: usize,
    /// The most arguments of a command.
    pub arguments: usize,
    /// The largest answer made of what Redis replied, in bytes.
    pub reply_bytes: usize,
    /// The most commands in one batch.
    pub batch_commands: usize,
    /// Whom to tell about a weakness; a URI.
    pub security_contact: Option<String>,
    /// Where the security policy can be read; a URI.
    pub security_policy: Option<String>,
    /// How often a stream gets a sign of life.
    pub heartbeat: Duration,
    /// Which other origins' pages may read answers; `None`: none.
    pub cross_origin: Option<cross_origin::Policy>,
    /// The fewest instances a limiter's local decision counts.
    pub instances_min: u64,
}

/// What all workers share.
pub struct Shared {
    /// Bounds and times.
    pub settings: Settings,
    /// Who is who.
    pub authenticator: Authenticator,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// What large bodies hold.
    pub bodies: Arc<bodies::Bodies>,
    /// Who is connected.
    pub census: Arc<Census>,
    /// Where spans begin; `None` = nothing is recorded.
    pub traces: Option<Arc<Traces>>,
    /// What the log owes about failed requests.
    pub failures: report::FailureLog,
    /// What limiters are decided by while Redis is away.
    pub limiters: Arc<Memory>,
    /// Scripts of the dialect that Redis knows by another name than their callers.
    pub scripts: upstash::scripts::Scripts,
    /// What reads were told last, for callers who take it while Redis does not answer.
    pub stale: Arc<stale::Answers>,
    /// Requests under an Idempotency-Key that were found executed.
    pub operations: Found,
    /// The highest fencing token issued through this instance.
    pub highest_token: HighestToken,
}

/// One worker's state.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// This worker's door to Redis.
    pub gateway: Gateway,
    /// The callers' name space.
    pub names: Namespace,
    /// Acquisitions of leases that are to be taken back.
    pub withdrawals: withdrawals::Withdrawals,
}

impl Worker {
    /// State for the current worker thread.
    pub fn new(shared: Arc<Shared>, gateway: Gateway) -> Self {
        Self { shared, gateway, names: Namespace::default(), withdrawals: withdrawals::Withdrawals::default() }
    }
}

/// Mounts both surfaces. The order matters: what `/v1` does not claim belongs to the dialect.
pub fn configure(app: &mut web::ServiceConfig) {
    v1::configure(app);
    problem::pages::configure(app);
    well_known::configure(app);
    openapi::configure(app);
    upstash::configure(app);
}
