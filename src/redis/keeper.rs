//! The background keeper of an endpoint: stall watch, probes while a lane is open, heartbeat while all is well, an end to scripts that
//! have none. With the heartbeat the server is asked for its time (`server_time.rs`), and this instance announces itself to the others.
//!
//! It runs on a runtime of its own, so that busy workers cannot delay the discovery of an outage or of its end, and on
//! connections of its own, outside every budget and bulkhead: an outage earns no budget, and a starved prober never closes a
//! breaker (D7). No caller's request is ever a probe. The write lane's probe writes, because a server that answers reads may
//! still refuse writes. Limits: one keeper per endpoint; it holds four connections at most.

use std::sync::Arc;
use std::time::Duration;

use redis_rs::{Cmd, Value};

use super::catalogue::Lane;
use super::connector::{BUSY, Connection, words};
use super::endless::{self, Ending, Told};
use super::endpoint::Endpoint;
use super::error::{Meaning, meaning};
use super::instances;
use crate::resilience::Moment;
use crate::resilience::breaker::{Probing, Progress};
use crate::resilience::detectors::PauseDetector;
use crate::telemetry::clock;

/// How often the stall detector looks: fine against its 400 ms threshold, free against anything else.
const STALL_LOOK: Duration = Duration::from_millis(20);
/// Idle or not, the server is asked this often, so that `/status` is true without traffic.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// After a failed heartbeat the next comes sooner: three failed connects in a row open the lanes.
const ANXIOUS_HEARTBEAT: Duration = Duration::from_millis(100);
/// The longest a prober sleeps without looking at its breaker: overrides by operators wake nobody.
const IDLE_LOOK: Duration = Duration::from_millis(100);
/// How often a server that is busy for too long is told to end it.
const BUSY_LOOK: Duration = Duration::from_millis(250);
/// Lifetime of the key the write probe leaves behind.
const PROBE_KEY_LIFETIME_MS: &str = "60000";

/// Looks after one endpoint until dropped.
pub struct Keeper {
    endpoint: Arc<Endpoint>,
    instance: String,
}

impl Keeper {
    /// A keeper for `endpoint`; `instance` names this process in the key its write probe sets.
    pub fn new(endpoint: Arc<Endpoint>, instance: &str) -> Self {
        Self { endpoint, instance: instance.to_owned() }
    }

    /// Runs for ever. Cancel by dropping the future.
    pub async fn run(&self) {
        let read_probe = words(&["GET", &self.probe_key()]);
        let write_probe = words(&["SET", &self.probe_key(), "1", "PX", PROBE_KEY_LIFETIME_MS]);
        tokio::join!(
            self.watch_for_stalls(),
            self.keep_heartbeat(),
            self.probe_lane(Lane::Read, read_probe),
            self.probe_lane(Lane::Write, write_probe),
            self.end_endless_scripts(),
        );
    }

    fn probe_key(&self) -> String {
        format!("collective:probe:{}", self.instance)
    }

    async fn watch_for_stalls(&self) {
        let mut look = tokio::time::interval(STALL_LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let threshold = (self.endpoint.settings.stall_after / 2).max(STALL_LOOK * 5);
        let mut pauses = PauseDetector::new(threshold, clock::now());
        loop {
            look.tick().await;
            self.endpoint.look_for_stall(pauses.look(clock::now()));
        }
    }

    async fn keep_heartbeat(&self) {
        let (ping, time) = (words(&["PING"]), words(&["TIME"]));
        let announcement = instances::announcement(&self.instance);
        let mut line = Line::new(&self.endpoint);
        loop {
            if self.endpoint.lanes().iter().any(|lane| lane.refusing()) {
                // The probers are at it; a connection kept through an outage is worth nothing.
                line.hang_up();
                tokio::time::sleep(IDLE_LOOK).await;
                continue;
            }
            let answered = line.ask(&ping, self.endpoint.settings.connect_timeout, HEARTBEAT).await;
            match answered {
                Some(latency) => {
                    self.endpoint.health.answered_in(latency);
                    self.learn_time(&mut line, &time).await;
                    self.announce(&mut line, &announcement).await;
                }
                None => {
                    self.endpoint.health.lost();
                    line.hang_up();
                }
            }
            let pause = if answered.is_some() { HEARTBEAT } else { ANXIOUS_HEARTBEAT };
            // Woken early when nobody has heard of the server for a while: its answer to this is what clears it.
            let _ = tokio::time::timeout(pause, self.endpoint.suspected()).await;
        }
    }

    /// Asks the server for its time. Not in place of `PING`: a server that is loading its data tells the time, and refuses that.
    async fn learn_time(&self, line: &mut Line<'_>, time: &Cmd) {
        if let Some((reply, asked)) = line.question(time, self.endpoint.settings.connect_timeout, HEARTBEAT).await {
            self.endpoint.time.heard(&reply, asked);
        }
    }

    /// Tells the other instances of this one, and learns how many there are. It decides nothing here: an answer that does not come
    /// is noticed by the next heartbeat.
    async fn announce(&self, line: &mut Line<'_>, announcement: &Cmd) {
        if !self.endpoint.instances.due(clock::now()) {
            return;
        }
        let limit = self.endpoint.settings.connect_timeout;
        let answer = line.question(announcement, limit, HEARTBEAT).await;
        self.endpoint.instances.heard(answer.as_ref().map(|(reply, _)| reply), clock::now());
    }

    /// Several instances may be at it at once: the first ends it, the others are told that nothing runs.
    async fn end_endless_scripts(&self) {
        let mut told = Told::default();
        loop {
            tokio::time::sleep(BUSY_LOOK).await;
            if !self.endpoint.busy.lasts(clock::now()) {
                told = Told::default();
                continue;
            }
            let ending = endless::end(&self.endpoint, &mut told).await;
            if ending == Ending::Ended {
                self.endpoint.busy.over();
            }
        }
    }

    async fn probe_lane(&self, lane: Lane, probe: Cmd) {
        let breaker = self.endpoint.lane(lane);
        loop {
            let opened = breaker.opened();
            let Some(due) = breaker.probe_due_at() else {
                let _ = tokio::time::timeout(IDLE_LOOK, opened).await;
                continue;
            };
            tokio::time::sleep(due.saturating_since(clock::now()).min(IDLE_LOOK)).await;
            if let Some(probing) = breaker.start_probing(clock::now()) {
                self.run_probes(lane, probing, &probe).await;
            }
        }
    }

    /// Probes one after the other on a fresh connection; the first that fails ends it.
    async fn run_probes(&self, lane: Lane, mut probing: Probing<'_>, probe: &Cmd) {
        let limit = self.endpoint.settings.probe_timeout;
        // Connecting takes several round trips, a probe one.
        let connect_limit = self.endpoint.settings.connect_timeout.min(limit * 2);
        let mut line = Line::new(&self.endpoint);
        loop {
            let Some(latency) = line.ask(probe, connect_limit, limit).await else {
                probing.failed(clock::now());
                return;
            };
            // Before callers are let in, so that none of them is decided as if nothing had been.
            self.endpoint.recovered(lane, clock::now());
            if probing.passed(clock::now()) == Progress::Closed {
                self.endpoint.health.answered_in(latency);
                return;
            }
        }
    }
}

/// One connection of the keeper's own, made when needed.
struct Line<'a> {
    endpoint: &'a Arc<Endpoint>,
    connection: Option<Connection>,
}

impl<'a> Line<'a> {
    fn new(endpoint: &'a Arc<Endpoint>) -> Self {
        Self { endpoint, connection: None }
    }

    /// How long the answer took, if the server answered within `limit` as one that serves. Connecting, where needed, has a limit
    /// of its own.
    async fn ask(&mut self, question: &Cmd, connect_limit: Duration, limit: Duration) -> Option<Duration> {
        let (reply, asked) = self.question(question, connect_limit, limit).await?;
        self.serves(&reply).then(|| clock::now().saturating_since(asked))
    }

    /// Whether this is the reply of a server that serves: any but a refusal to (D9).
    fn serves(&self, reply: &Value) -> bool {
        let Value::ServerError(error) = reply else { return true };
        if error.code() == BUSY {
            self.endpoint.busy.busy(clock::now());
        }
        meaning(error.code()) != Meaning::Unavailable
    }

    /// The reply, if one came within `limit`, and when it was asked for.
    async fn question(&mut self, question: &Cmd, connect_limit: Duration, limit: Duration) -> Option<(Value, Moment)> {
        let connection = match self.connection.take().filter(|connection| !connection.link.is_dead()) {
            Some(connection) => connection,
            None => self.endpoint.connect(connect_limit).await.ok()?,
        };
        let mut handle = connection.handle.clone();
        self.connection = Some(connection);
        let asked = clock::now();
        let reply = tokio::time::timeout(limit, handle.send_packed_command(question)).await.ok()?.ok()?;
        Some((reply, asked))
    }

    fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.link.give_up();
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.hang_up();
    }
}
