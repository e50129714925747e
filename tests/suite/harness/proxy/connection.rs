//! One proxied connection: two readers that decide, two writers that wait.
//!
//! What: [`carry`] moves bytes between a client and Redis until both sides are done.
//!
//! Why so: readers keep reading whatever the fault, so that what a client sent is in our hands
//! even after it left; writers wait for delays, thaws and releases. Each direction is first in,
//! first out, so the order of a connection is never changed. When the client's side ends, the
//! side towards Redis still delivers what it has and says goodbye properly (FIN, then read to
//! the end): a reset would make Redis throw away commands it has not read yet, which is kinder
//! than real networks are.
//!
//! Limits: each direction keeps at most [`PARCELS`] parcels of at most 64 KiB (a longer request
//! is one parcel), then stops reading.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::faults::Faults;
use super::frames::{Parcel, Replies, Requests};
use super::listener::Shared;
use super::traffic::{Injected, Request};

/// Parcels in flight per direction.
const PARCELS: usize = 1024;

/// Bytes per read.
const CHUNK: usize = 64 * 1024;

/// What the four halves of a connection share.
pub(super) struct Link {
    number: u64,
    shared: Arc<Shared>,
    /// Forwarded requests whose reply has not begun.
    unanswered: Mutex<VecDeque<Request>>,
    /// Requests received and not forwarded yet.
    waiting: AtomicU64,
    /// The client's side has been closed by us.
    hung_up: watch::Sender<bool>,
    lost_bytes: AtomicBool,
}

impl Link {
    pub fn new(number: u64, shared: Arc<Shared>) -> Link {
        let lost_bytes = AtomicBool::new(shared.faults.borrow().black_hole);
        let (unanswered, hung_up) = (Mutex::default(), watch::Sender::new(false));
        shared.open.fetch_add(1, Ordering::SeqCst);
        Link { number, shared, unanswered, waiting: AtomicU64::new(0), hung_up, lost_bytes }
    }

    /// Whether a black hole swallowed some of its bytes.
    pub fn lost_bytes(&self) -> bool {
        self.lost_bytes.load(Ordering::SeqCst)
    }

    pub fn faults<T>(&self, look: impl FnOnce(&Faults) -> T) -> T {
        look(&self.shared.faults.borrow())
    }

    /// Throws the seeded dice.
    pub fn strikes(&self, probability: f64) -> bool {
        let mut random = self.shared.random.lock().unwrap_or_else(|broken| broken.into_inner());
        probability > 0.0 && random.f64() < probability
    }

    /// Whether this reply is the one that is to be lost.
    pub fn is_the_one(&self) -> bool {
        self.faults(|faults| faults.next_reply_lost.swap(false, Ordering::SeqCst))
    }

    pub fn injected(&self, field: impl FnOnce(&mut Injected) -> &mut u64) {
        self.shared.traffic.injected_one(field);
    }

    /// The request the reply that begins now belongs to.
    pub fn answered(&self) -> Option<Request> {
        self.unanswered().pop_front()
    }

    fn unanswered(&self) -> std::sync::MutexGuard<'_, VecDeque<Request>> {
        self.unanswered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn waiting(&self, requests: usize) {
        self.waiting.fetch_add(requests as u64, Ordering::SeqCst);
        self.shared.waiting.fetch_add(requests as u64, Ordering::SeqCst);
    }

    fn no_longer_waiting(&self, requests: usize) {
        self.waiting.fetch_sub(requests as u64, Ordering::SeqCst);
        self.shared.waiting.fetch_sub(requests as u64, Ordering::SeqCst);
    }

    /// Called when a parcel is about to leave for Redis, before any reply can come.
    fn forwarded(&self, requests: Vec<Request>) {
        self.no_longer_waiting(requests.len());
        for request in requests {
            self.shared.traffic.forwarded(self.number, &request);
            self.unanswered().push_back(request);
        }
    }

    fn swallow(&self, parcel: &Parcel) {
        self.no_longer_waiting(parcel.requests.len());
        self.lost_bytes.store(true, Ordering::SeqCst);
        self.injected(|injected| &mut injected.swallowed);
    }

    fn hang_up(&self) {
        self.hung_up.send_replace(true);
    }

    async fn until_hung_up(&self) {
        // The sender lives as long as `self`.
        let _ = self.hung_up.subscribe().wait_for(|gone| *gone).await;
    }

    /// Waits until the faults allow it. Also returns if the proxy is being dropped.
    async fn until(&self, allowed: impl Fn(&Faults) -> bool) {
        let _ = self.shared.faults.subscribe().wait_for(|faults| allowed(faults)).await;
    }
}

/// However a connection ends, it is open no more and keeps nothing waiting.
impl Drop for Link {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
        self.shared.waiting.fetch_sub(*self.waiting.get_mut(), Ordering::SeqCst);
    }
}

/// A parcel and the moment it may go on.
type Due = (Instant, Parcel);

/// Carries bytes until both sides are done. Dropping the future closes both sides.
pub(super) async fn carry(client: TcpStream, link: &Link) {
    link.until(|faults| faults.flows() && !faults.black_hole).await;
    let Ok(server) = TcpStream::connect(link.shared.upstream()).await else { return };
    for socket in [&client, &server] {
        // Fails only on a dead connection, which the first read will find out.
        let _ = socket.set_nodelay(true);
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let (requests, outgoing) = mpsc::channel(PARCELS);
    let (replies, returning) = mpsc::channel(PARCELS);
    tokio::join!(
        read_requests(client_read, requests, link),
        write_requests(outgoing, server_write, link),
        read_replies(server_read, replies, link),
        write_replies(returning, client_write, link),
    );
}

async fn read_requests(mut client: OwnedReadHalf, out: mpsc::Sender<Due>, link: &Link) {
    let reading = async {
        let (mut buffer, mut requests) = (vec![0; CHUNK], Requests::default());
        while let Ok(length @ 1..) = client.read(&mut buffer).await {
            let due = Instant::now() + link.faults(|faults| faults.delay);
            for parcel in requests.cut(link, &buffer[..length]) {
                let last = parcel.then_close;
                link.waiting(parcel.requests.len());
                if out.send((due, parcel)).await.is_err() || last {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = link.until_hung_up() => {}
    }
}

/// The timer rounds up to a millisecond, so it is not asked about moments that have passed.
async fn until_moment(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
}

async fn write_requests(mut parcels: mpsc::Receiver<Due>, mut server: OwnedWriteHalf, link: &Link) {
    while let Some((due, mut parcel)) = parcels.recv().await {
        until_moment(due).await;
        let held = |faults: &Faults| parcel.concerned && link.number < faults.requests_held_below;
        link.until(|faults| faults.flows() && !held(faults)).await;
        if parcel.then_close {
            link.hang_up();
            break;
        }
        if link.faults(|faults| faults.black_hole) {
            link.swallow(&parcel);
            continue;
        }
        link.forwarded(std::mem::take(&mut parcel.requests));
        if server.write_all(&parcel.bytes).await.is_err() {
            // Redis closed this connection; its reader sees that, too.
            break;
        }
    }
    link.until(|faults| faults.flows() && !faults.black_hole).await;
    // Fails only if Redis closed first.
    let _ = server.shutdown().await;
}

async fn read_replies(mut server: OwnedReadHalf, out: mpsc::Sender<Due>, link: &Link) {
    let (mut buffer, mut replies) = (vec![0; CHUNK], Replies::new());
    let mut listened_to = true;
    while let Ok(length @ 1..) = server.read(&mut buffer).await {
        let due = Instant::now() + link.faults(|faults| faults.delay);
        // With nobody to hear them, replies are read and dropped, so that Redis is not reset.
        let parcels = if listened_to { replies.cut(link, &buffer[..length]) } else { Vec::new() };
        for parcel in parcels {
            listened_to &= !parcel.then_close;
            listened_to &= out.send((due, parcel)).await.is_ok();
        }
    }
}

async fn write_replies(mut parcels: mpsc::Receiver<Due>, mut client: OwnedWriteHalf, link: &Link) {
    let writing = async {
        while let Some((due, parcel)) = parcels.recv().await {
            until_moment(due).await;
            let held = |f: &Faults| parcel.concerned && link.number < f.replies_held_below;
            link.until(|faults| faults.flows() && !held(faults)).await;
            if parcel.then_close {
                return;
            }
            if link.faults(|faults| faults.black_hole) {
                link.swallow(&parcel);
            } else if client.write_all(&parcel.bytes).await.is_err() {
                return;
            }
        }
        link.until(|faults| faults.flows() && !faults.black_hole).await;
    };
    tokio::select! {
        () = writing => {}
        () = link.until_hung_up() => {}
    }
    link.hang_up();
}
