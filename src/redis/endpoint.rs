//! One Redis server as all workers see it: breakers per lane, detectors, retry budget, every live connection, and what is owed.
//!
//! Workers own their connections and pools (`pool.rs`); what must be judged across them lives here, in atomics and two short
//! lists behind locks that are touched only when a connection is born, dies or is fenced, never per request.
//! Limits: one endpoint, two lanes. A cluster has one `Endpoint` per node, so that one dead shard opens no other's breakers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::address::Address;
use super::catalogue::Lane;
use super::connector::{self, ConnectError, Connection, Greeting};
use super::endless;
use super::fence;
use super::functions::Functions;
use super::instances::Instances;
use super::link::Link;
use super::server_time::ServerTime;
use super::settings::Settings;
use super::subscriptions::{self, Line, Subscriptions};
use super::writes::Writes;
use crate::resilience::breaker::{Breaker, Cause, Snapshot};
use crate::resilience::bulkhead::Bulkhead;
use crate::resilience::detectors::{BusyDetector, ConnectDetector, StallDetector};
use crate::resilience::{Backoff, Moment, Observer, RetryBudget};
use crate::telemetry::clock;
use crate::telemetry::metrics::Metrics;

/// A fresh instance may retry this often before it has earned anything.
const FIRST_TOKENS: u32 = 10;
/// Pause before reconnecting after failed connects (D11): only failures are limited, never reconnects after a loss.
const RECONNECT: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(100) };

/// With a heavy command at work the server may be silent this many times longer before it counts as stalled: below the second
/// within which a freeze must be noticed.
const HEAVY_PATIENCE: u32 = 2;
/// A heavy command may wait this many times longer than a light one while others are answered.
const STUCK_HEAVY_PATIENCE: u32 = 5;
/// And one whose worker hears nothing on any so many times longer than one that is silent alone.
const STUCK_WORKER_PATIENCE: u32 = 5;

/// Shared state of one Redis server. See the module's text.
pub struct Endpoint {
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) budget: RetryBudget,
    pub(super) health: Health,
    pub(super) time: ServerTime,
    /// When the write lane was last about to close after it was open, in µs of the process clock; zero: never.
    recovered_at: AtomicU64,
    address: Address,
    read: Breaker,
    write: Breaker,
    connects: ConnectDetector,
    stall: StallDetector,
    pub(super) busy: BusyDetector,
    suspicion: Notify,
    links: Mutex<Vec<Weak<Link>>>,
    unfenced: Mutex<Vec<Arc<Link>>>,
    bulkheads: Mutex<Vec<Weak<Bulkhead>>>,
    subscriptions: Arc<Subscriptions>,
    pub(super) functions: Functions,
    writes: Writes,
    pub(super) instances: Instances,
}

/// What the keeper last learned of the server.
#[derive(Default)]
pub(super) struct Health {
    reachable: AtomicBool,
    latency_micros: AtomicU64,
    version: Mutex<Option<String>>,
    last_error: Mutex<Option<String>>,
}

impl Health {
    pub(super) fn answered_in(&self, latency: Duration) {
        self.latency_micros.store(latency.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.reachable.store(true, Ordering::Relaxed);
        *lock(&self.last_error) = None;
    }

    pub(super) fn lost(&self) {
        self.reachable.store(false, Ordering::Relaxed);
    }

    /// Notes why Redis is not reachable; true if it is news.
    fn lost_because(&self, reason: &str) -> bool {
        self.lost();
        let mut last = lock(&self.last_error);
        let news = last.as_deref() != Some(reason);
        if news {
            *last = Some(reason.to_owned());
        }
        news
    }

    fn greeted(&self, greeting: &Greeting) {
        if let Some(version) = &greeting.version {
            *lock(&self.version) = Some(version.clone());
        }
    }
}

/// A reading of the endpoint for operators. Ratios are 0..=1.
#[derive(Debug)]
pub struct Reading {
    /// Whether the server answered the keeper last, and all lanes pass.
    pub reachable: bool,
    /// Round trip of the keeper's last answered heartbeat.
    pub latency: Option<Duration>,
    /// Version the server gave in its greeting.
    pub server_version: Option<String>,
    /// Why the server is not reachable, in a few words; `None` while it answers.
    pub last_error: Option<String>,
    /// Breakers, read lane first.
    pub breakers: [Snapshot; 2],
    /// Tokens in the retry budget.
    pub retry_tokens: f64,
    /// Live connections of the workers and the keeper.
    pub connections: usize,
    /// Calls holding a place in a bulkhead, all workers.
    pub in_flight: usize,
    /// Calls that may hold one.
    pub in_flight_limit: usize,
    /// Calls waiting for one.
    pub waiting: usize,
    /// Calls that may wait.
    pub waiting_limit: usize,
}

impl Endpoint {
    /// An endpoint that has not connected yet. Never fails: Redis may be absent.
    pub fn new(address: Address, settings: Settings, metrics: Arc<Metrics>, observer: &Arc<dyn Observer>) -> Arc<Self> {
        let now = clock::now();
        // Breaker names live as long as the process; leaking two short strings once is what `&'static str` costs.
        let name = |lane: &str| -> &'static str { String::leak(format!("{}.{lane}", settings.alias)) };
        let breaker = |lane: &str| Breaker::new(name(lane), settings.breaker.clone(), observer.clone(), now);
        Arc::new(Self {
            read: breaker("read"),
            write: breaker("write"),
            budget: RetryBudget::new(
                settings.budget_ratio,
                settings.budget_tokens,
                FIRST_TOKENS.min(settings.budget_tokens),
            ),
            connects: ConnectDetector::new(settings.connect_failures),
            stall: StallDetector { threshold: settings.stall_after },
            busy: BusyDetector::new(endless::PATIENCE, endless::GAP),
            suspicion: Notify::new(),
            subscriptions: Subscriptions::new(settings.streams, metrics.clone()),
            functions: Functions::default(),
            writes: Writes::default(),
            instances: Instances::default(),
            address,
            settings,
            metrics,
            health: Health::default(),
            time: ServerTime::default(),
            recovered_at: AtomicU64::new(0),
            links: Mutex::default(),
            unfenced: Mutex::default(),
            bulkheads: Mutex::default(),
        })
    }

    /// The breaker of a lane.
    pub fn lane(&self, lane: Lane) -> &Breaker {
        match lane {
            Lane::Read => &self.read,
            Lane::Write => &self.write,
        }
    }

    /// Both breakers, read first.
    pub fn lanes(&self) -> [&Breaker; 2] {
        [&self.read, &self.write]
    }

    /// Where the server is.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Who reads which channels.
    pub fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.subscriptions
    }

    /// Where writes of callers are told.
    pub fn writes(&self) -> &Writes {
        &self.writes
    }

    /// How many instances of this service use the server, as last known; at least this one.
    pub fn instances(&self) -> u64 {
        self.instances.known()
    }

    /// The server's own time at `moment`, in microseconds since 1970, where it is known.
    pub fn time_at(&self, moment: Moment) -> Option<u64> {
        self.time.at(moment)
    }

    /// A probe of an open lane passed: if it was the last, callers are let in now.
    pub(super) fn recovered(&self, lane: Lane, now: Moment) {
        if lane == Lane::Write {
            self.recovered_at.store(now.as_micros(), Ordering::Relaxed);
        }
    }

    /// Whether writes have been served again for less than `span`.
    pub fn recovered_within(&self, span: Duration, now: Moment) -> bool {
        match self.recovered_at.load(Ordering::Relaxed) {
            0 => false,
            at => now.saturating_since(Moment::from_micros(at)) < span,
        }
    }

    /// Everything an operator may want to see, at one moment.
    pub fn reading(&self, now: Moment) -> Reading {
        let reachable =
            self.health.reachable.load(Ordering::Relaxed) && self.lanes().iter().all(|lane| !lane.refusing());
        let latency = self.health.latency_micros.load(Ordering::Relaxed);
        let bulkheads: Vec<_> = lock(&self.bulkheads).iter().filter_map(Weak::upgrade).collect();
        Reading {
            reachable,
            latency: (reachable && latency > 0).then(|| Duration::from_micros(latency)),
            server_version: lock(&self.health.version).clone(),
            last_error: if reachable { None } else { lock(&self.health.last_error).clone() },
            breakers: self.lanes().map(|lane| lane.snapshot(now)),
            retry_tokens: self.budget.tokens(),
            connections: self.live_links().len(),
            in_flight: bulkheads.iter().map(|bulkhead| bulkhead.in_flight()).sum(),
            in_flight_limit: bulkheads.iter().map(|bulkhead| bulkhead.limit()).sum(),
            waiting: bulkheads.iter().map(|bulkhead| bulkhead.waiting()).sum(),
            waiting_limit: bulkheads.len() * self.settings.queue,
        }
    }

    /// Makes one connection for a worker's pool, after a pause if connects have been failing (D11), and pays what is owed: the
    /// first commands on a replacement are the fences of the connections that died with writes in flight (D2).
    pub(super) async fn reconnect(self: &Arc<Self>) -> Result<Connection, ConnectError> {
        self.pause_after_failures().await;
        let limit = self.settings.connect_timeout;
        let connection = self.connect(limit).await?;
        // A server that freezes right now must not hold the pool: what is unpaid stays owed.
        let _ = tokio::time::timeout(limit, fence::pay_debts(self, &connection)).await;
        Ok(connection)
    }

    /// Whether the functions of `migrations/` were in place when last looked at, or why they are not.
    pub fn functions_in_place(&self) -> Result<bool, String> {
        self.functions.state()
    }

    /// Whether the server is known to be too old for functions. Asking it with bytes in the arguments would cost a connection: its
    /// complaint quotes them.
    pub(super) fn is_before_functions(&self) -> bool {
        let version = lock(&self.health.version);
        let major = version
            .as_deref()
            .and_then(|version| version.split('.').next())
            .and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major < 7)
    }

    /// Makes the connection that carries all subscriptions, after the same pause.
    pub(super) async fn open_line(&self) -> Result<Line, ConnectError> {
        self.pause_after_failures().await;
        match subscriptions::connect(&self.address, self.settings.connect_timeout).await {
            Ok(line) => {
                self.connects.succeeded();
                self.remember(line.link());
                Ok(line)
            }
            Err(error) => Err(self.connect_failed(error)),
        }
    }

    /// Makes one connection within `limit` and tells the detectors how it went.
    pub(super) async fn connect(self: &Arc<Self>, limit: Duration) -> Result<Connection, ConnectError> {
        let endpoint = Arc::downgrade(self);
        let on_end = move |link| Obituary { link, endpoint };
        match connector::connect(&self.address, limit, on_end).await {
            Ok((connection, greeting)) => {
                self.connects.succeeded();
                self.busy.over();
                self.health.greeted(&greeting);
                self.remember(&connection.link);
                Ok(connection)
            }
            Err(error) => Err(self.connect_failed(error)),
        }
    }

    async fn pause_after_failures(&self) {
        let failures = self.connects.consecutive();
        if failures > 0 {
            tokio::time::sleep(RECONNECT.delay(failures - 1, fastrand::f64())).await;
        }
    }

    /// Tells the detectors of a failed connect.
    fn connect_failed(&self, error: ConnectError) -> ConnectError {
        let reason = error.reason();
        match error {
            _ if error.is_busy() => self.busy.busy(clock::now()),
            // Whoever is busy may be late as well.
            ConnectError::TimedOut(_) => {}
            _ if error.is_of_the_lookup() => {}
            _ => self.busy.over(),
        }
        if error.is_of_the_lookup() && !self.live_links().is_empty() {
            // A resolver in trouble says nothing of a server that is being talked to.
            tracing::debug!(reason, "cannot connect to Redis anew");
            return error;
        }
        // Once for each reason: connects are repeated several times a second.
        if self.health.lost_because(&reason) {
            tracing::warn!(reason, "cannot connect to Redis");
        } else {
            tracing::debug!(reason, "connect failed");
        }
        if self.connects.failed() {
            self.trip_all(Cause::Connect);
        }
        error
    }

    /// Opens every lane; true if any opened now.
    pub(super) fn trip_all(&self, cause: Cause) -> bool {
        let now = clock::now();
        let opened = self.lanes().map(|lane| lane.trip(cause, now));
        opened.contains(&true)
    }

    /// One look of the stall detector over all connections (D6). On a stall every connection that is silent itself is given up:
    /// if it is the link that died and not the server, its replacement will work. Silence before `resumed` was our own.
    pub(super) fn look_for_stall(&self, resumed: Moment) {
        let links = self.live_links();
        let now = clock::now();
        self.give_up_the_stuck(&links, resumed, now);
        let waits = |link: &&Arc<Link>| link.traffic.activity().unanswered_since.is_some();
        // A heavy command may keep the whole server busy for a while; that is no stall yet.
        let heavy_at_work = links.iter().filter(waits).any(|link| link.is_heavy());
        let stall = StallDetector { threshold: self.stall.threshold * if heavy_at_work { HEAVY_PATIENCE } else { 1 } };
        let activities = || links.iter().map(|link| link.traffic.activity().since(resumed));
        if !stall.stalled(now, activities()) {
            // Half way there: a question of the keeper's own tells a silent server from a busy worker or a single bad link.
            if (StallDetector { threshold: stall.threshold / 2 }).stalled(now, activities()) {
                self.suspicion.notify_one();
            }
            return;
        }
        self.trip_all(Cause::Stall);
        self.health.lost_because("no reply");
        for link in links.iter().filter(|link| silent_for(link, resumed, stall.threshold, now)) {
            link.give_up_as_stalled();
        }
    }

    /// Resolves when the server has been silent long enough to be asked, and short enough to be given the chance to answer.
    pub(super) fn suspected(&self) -> tokio::sync::futures::Notified<'_> {
        self.suspicion.notified()
    }

    /// A connection that stays silent while its worker hears from the server on others is broken alone: it goes, and nothing
    /// opens. Where the worker hears on none, other threads' news count, too, but later: it may have been kept from reading. Not
    /// for heavy commands, which may take long while others are answered and have their callers' deadlines.
    fn give_up_the_stuck(&self, links: &[Arc<Link>], resumed: Moment, now: Moment) {
        for link in links {
            let Some(since) = link.traffic.activity().since(resumed).unanswered_since else { continue };
            let others = || links.iter().filter(|other| !Arc::ptr_eq(other, link));
            let is_silent = |patience: Duration, hears: &dyn Fn(&Arc<Link>) -> bool| {
                let half_way = since + patience / 2;
                let news = |other: &Arc<Link>| other.traffic.activity().last_read.is_some_and(|read| read > half_way);
                now.saturating_since(since) >= patience && others().any(|other| hears(other) && news(other))
            };
            let patience = self.stall.threshold * if link.is_heavy() { STUCK_HEAVY_PATIENCE } else { 1 };
            let alone = is_silent(patience, &|other| other.same_owner(link));
            if alone || !link.is_heavy() && is_silent(patience * STUCK_WORKER_PATIENCE, &|_| true) {
                tracing::warn!("a connection to Redis is silent while others are answered: it is replaced");
                link.give_up();
            }
        }
    }

    pub(super) fn register(&self, bulkhead: &Arc<Bulkhead>) {
        lock(&self.bulkheads).push(Arc::downgrade(bulkhead));
    }

    pub(super) fn take_unfenced(&self) -> Vec<Arc<Link>> {
        std::mem::take(&mut *lock(&self.unfenced))
    }

    pub(super) fn owe_fence(&self, link: Arc<Link>) {
        lock(&self.unfenced).push(link);
    }

    fn remember(&self, link: &Arc<Link>) {
        let mut links = lock(&self.links);
        links.retain(|known| known.strong_count() > 0);
        links.push(Arc::downgrade(link));
    }

    fn live_links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).iter().filter_map(Weak::upgrade).filter(|link| !link.is_dead()).collect()
    }
}

/// Written when a connection's driver ends, whether it was cut, closed or aborted.
struct Obituary {
    link: Arc<Link>,
    endpoint: Weak<Endpoint>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        self.link.retire();
        if self.link.needs_fence()
            && let Some(endpoint) = self.endpoint.upgrade()
        {
            endpoint.owe_fence(self.link.clone());
        }
    }
}

/// True if a request on `link` has waited for `threshold` since `resumed` and nothing has arrived on it since.
fn silent_for(link: &Link, resumed: Moment, threshold: Duration, now: Moment) -> bool {
    let waits = link.traffic.activity().since(resumed).unanswered_since;
    waits.is_some_and(|since| now.saturating_since(since) >= threshold)
}

/// A poisoned lock only says that a thread panicked between two pushes to a list; the list is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<Lane> for crate::telemetry::metrics::Lane {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Read => Self::Read,
            Lane::Write => Self::Write,
        }
    }
}
