//! A TCP proxy in front of Redis that fails on demand.
//!
//! What: every fault of a network that a test needs, settable at any time:
//! - of the door: [`Proxy::refuse`], and [`Proxy::point_at`] for an address that moves to another server;
//! - of connections: [`Proxy::cut`], [`Proxy::freeze`], [`Proxy::black_hole`], [`Proxy::delay`];
//! - of single commands, by a probability: [`Proxy::lose_connection_instead_of_reply`] (Redis has
//!   executed it), [`Proxy::lose_connection_instead_of_request`] (it never will),
//!   [`Proxy::half_a_frame`];
//! - of time: [`Proxy::hold_requests`] and [`Proxy::hold_replies`] keep bytes back until
//!   [`Proxy::release`], also when the client has long closed its side. That is how a command of
//!   a given-up connection runs later.
//!
//! Why so: over TCP a single reply cannot get lost; what gets lost is the connection, after Redis
//! executed. So that is what the proxy does. It lives on a thread and a runtime of its own,
//! because a test busy with 10⁵ calls must not slow the network down, and every call here
//! returns only after the proxy has acted: no test has to guess when a fault begins.
//!
//! Limits: replies are paired with requests one to one, so faults of single commands are not for
//! connections that subscribe to several channels in one command. An upstream that refuses shows
//! as a connection that is accepted and closed at once. What is not RESP passes untouched.

mod connection;
mod faults;
mod frames;
mod listener;
mod traffic;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::redis::Redis;
use faults::Faults;
use listener::{Done, Door, Order, Shared};
pub use traffic::{HANDSHAKE, Injected, PROBE};

/// A proxy in front of one address. Dropping it closes everything.
pub struct Proxy {
    address: SocketAddr,
    credentials: String,
    shared: Arc<Shared>,
    orders: Option<mpsc::UnboundedSender<(Order, Done)>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A healthy proxy in front of `upstream`. `seed` decides every random fault.
    pub fn start(upstream: SocketAddr, seed: u64) -> Proxy {
        let door = Door::new().expect("a port for the proxy");
        let (orders, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(upstream, seed));
        let address = door.address();
        let thread = std::thread::Builder::new()
            .name(format!("proxy-{}", address.port()))
            .spawn({
                let shared = Arc::clone(&shared);
                move || listener::run(door, shared, inbox)
            })
            .expect("a thread for the proxy");
        let proxy = Proxy { address, credentials: String::new(), shared, orders: Some(orders), thread: Some(thread) };
        // The first order is answered by a thread that listens.
        proxy.heal();
        proxy
    }

    /// A healthy proxy in front of a Redis of the harness.
    pub fn in_front_of(redis: &Redis, seed: u64) -> Proxy {
        let mut proxy = Proxy::start(redis.address(), seed);
        proxy.credentials = redis.credentials();
        proxy
    }

    /// The address clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `redis://127.0.0.1:PORT`, with user and password of the Redis behind.
    pub fn url(&self) -> String {
        format!("redis://{}{}", self.credentials, self.address)
    }

    // Which commands the faults of single commands, and holding, are about.

    /// Only commands with these names (`FUNCTION LOAD`: with this first argument), and of those only what is not spared.
    pub fn only(&self, names: &[&str]) {
        let names = upper(names);
        self.change(move |faults| faults.filter.only = Some(names));
    }

    /// All commands again, except what is spared.
    pub fn every_command(&self) {
        self.change(|faults| faults.filter.only = None);
    }

    /// Replaces the list of spared commands. At first: [`HANDSHAKE`].
    pub fn spare(&self, names: &[&str]) {
        let names = upper(names);
        self.change(move |faults| faults.filter.spared = names);
    }

    /// Also fails the service's own traffic, probes and migrations, which is spared at first.
    pub fn do_not_spare_probes(&self) {
        self.change(|faults| faults.filter.spare_probes = false);
    }

    // Faults.

    /// Refuses new connections. Those that exist stay: see [`Proxy::cut`].
    pub fn refuse(&self) {
        self.change(|faults| faults.refusing = true);
    }

    /// Accepts again.
    pub fn accept(&self) {
        self.change(|faults| faults.refusing = false);
    }

    /// The address moves: whoever connects from now on reaches this server. Connections that exist stay with the old one, as in
    /// life: see [`Proxy::cut`].
    pub fn point_at(&self, upstream: SocketAddr) {
        self.shared.point_at(upstream);
    }

    /// Closes all connections now, on both sides; what they held is lost.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// No byte passes, in either direction; connections stay and are accepted.
    pub fn freeze(&self) {
        self.change(|faults| faults.frozen = true);
    }

    /// Everything that arrived meanwhile passes.
    pub fn thaw(&self) {
        self.change(|faults| faults.frozen = false);
    }

    /// Delays every byte by this much, each way. Latency, not bandwidth: order and rate stay.
    pub fn delay(&self, each_way: Duration) {
        self.change(move |faults| faults.delay = each_way);
    }

    /// Swallows every byte, in both directions, and lets connections stand. A connection that
    /// lost bytes, or came meanwhile, is closed when the hole is gone.
    pub fn black_hole(&self) {
        self.change(|faults| faults.black_hole = true);
    }

    /// For each complete reply, with this probability: the reply is dropped and its connection
    /// closed. Redis has executed the command, and executes what was already sent after it.
    pub fn lose_connection_instead_of_reply(&self, probability: f64) {
        self.change(move |faults| faults.reply_loss = probability);
    }

    /// The next complete reply is dropped and its connection closed; those behind it pass. A test that ended the fault itself
    /// might be too late for what is sent again at once.
    pub fn lose_connection_instead_of_next_reply(&self) {
        self.change(|faults| *faults.next_reply_lost.get_mut() = true);
    }

    /// For each complete request, with this probability: its connection is closed before it is
    /// forwarded. Redis never sees it.
    pub fn lose_connection_instead_of_request(&self, probability: f64) {
        self.change(move |faults| faults.request_loss = probability);
    }

    /// For each complete reply, with this probability: the first half of its bytes is forwarded,
    /// then the connection is closed.
    pub fn half_a_frame(&self, probability: f64) {
        self.change(move |faults| faults.half_frame = probability);
    }

    /// Keeps requests back on the connections that exist now, until [`Proxy::release`]. New
    /// connections work. A connection whose client leaves stays open towards Redis, and what it
    /// holds is delivered on release. What is spared passes, unless something held is before it.
    pub fn hold_requests(&self) {
        self.change_numbered(|faults, next| faults.requests_held_below = next);
    }

    /// As [`Proxy::hold_requests`], for future connections, too.
    pub fn hold_requests_of_everyone(&self) {
        self.change(|faults| faults.requests_held_below = u64::MAX);
    }

    /// Keeps replies back on the connections that exist now, until [`Proxy::release`].
    pub fn hold_replies(&self) {
        self.change_numbered(|faults, next| faults.replies_held_below = next);
    }

    /// As [`Proxy::hold_replies`], for future connections, too.
    pub fn hold_replies_of_everyone(&self) {
        self.change(|faults| faults.replies_held_below = u64::MAX);
    }

    /// Delivers everything held, and holds no more.
    pub fn release(&self) {
        self.change(Faults::release);
    }

    /// Ends every fault. The choice of commands ([`Proxy::only`], [`Proxy::spare`]) stays.
    pub fn heal(&self) {
        self.change(Faults::heal);
    }

    // What happened.

    /// How many requests with this command name were forwarded (`"INCR"`), the service's own not
    /// included: it counts as [`PROBE`].
    pub fn count(&self, name: &str) -> u64 {
        self.counts().get(&name.to_ascii_uppercase()).copied().unwrap_or(0)
    }

    /// Forwarded requests by command name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.shared.traffic.counts()
    }

    /// How many requests were forwarded, except those with these names.
    pub fn total_except(&self, names: &[&str]) -> u64 {
        let left_out = upper(names);
        self.counts().iter().filter(|(name, _)| !left_out.contains(*name)).map(|(_, n)| n).sum()
    }

    /// How many requests were neither handshakes nor the service's own.
    pub fn total(&self) -> u64 {
        let left_out: Vec<&str> = HANDSHAKE.iter().copied().chain([PROBE]).collect();
        self.total_except(&left_out)
    }

    /// Forwarded requests in order: number of the connection, command, first argument. The
    /// latest ten thousand.
    pub fn history(&self) -> Vec<(u64, String)> {
        self.shared.traffic.history()
    }

    /// Forgets counts, history and injected faults. Connections stay counted.
    pub fn reset_counts(&self) {
        self.shared.traffic.reset();
    }

    /// How often each fault struck that can be counted.
    pub fn injected(&self) -> Injected {
        self.shared.traffic.injected()
    }

    /// Requests a client has sent that are kept back by a hold or a freeze right now.
    pub fn requests_waiting(&self) -> u64 {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// Connections accepted since the start.
    pub fn connections_accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that still exist on either side.
    pub fn connections_open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    fn change(&self, change: impl FnOnce(&mut Faults) + Send + 'static) {
        self.change_numbered(move |faults, _| change(faults));
    }

    fn change_numbered(&self, change: impl FnOnce(&mut Faults, u64) + Send + 'static) {
        self.order(Order::Change(Box::new(change)));
    }

    /// Carried out on the proxy's thread, where no connection is in the middle of a decision.
    fn order(&self, order: Order) {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let orders = self.orders.as_ref().expect("orders until the drop");
        orders.send((order, done)).expect("the thread of the proxy");
        wait.recv().expect("the proxy carries out its orders");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (counts, injected) = (self.counts(), self.injected());
            eprintln!("--- proxy on {}: {counts:?} {injected:?}", self.address);
        }
        // Without orders to wait for, the thread ends and its runtime closes every socket.
        self.orders = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended
            && !std::thread::panicking()
        {
            panic!("the thread of the proxy panicked");
        }
    }
}

fn upper(names: &[&str]) -> HashSet<String> {
    names.iter().map(|name| name.to_ascii_uppercase()).collect()
}
