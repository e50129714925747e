//! The thread of the proxy: its door, its orders, its connections.
//!
//! What: [`run`] accepts connections and carries out one order at a time.
//!
//! Why so: everything happens on one thread between two awaits, so when an order is acknowledged
//! no connection is still deciding by the old faults.
//!
//! Limits: a connection that the kernel accepted before an order counts as existing, even if
//! nobody had looked at it yet.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::super::seeded;
use super::connection::{self, Link};
use super::faults::Faults;
use super::traffic::Traffic;

/// Connections the kernel may queue before we accept them.
const BACKLOG: i32 = 1024;

/// What the handle, the accept loop and the connections have in common.
pub(super) struct Shared {
    upstream: Mutex<SocketAddr>,
    pub faults: watch::Sender<Faults>,
    pub traffic: Traffic,
    pub random: Mutex<fastrand::Rng>,
    pub accepted: AtomicU64,
    pub open: AtomicU64,
    pub waiting: AtomicU64,
}

impl Shared {
    pub fn new(upstream: SocketAddr, seed: u64) -> Shared {
        Shared {
            upstream: Mutex::new(upstream),
            faults: watch::Sender::new(Faults::default()),
            traffic: Traffic::default(),
            random: Mutex::new(seeded(seed)),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    /// Where new connections are carried to.
    pub fn upstream(&self) -> SocketAddr {
        *self.upstream.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn point_at(&self, upstream: SocketAddr) {
        *self.upstream.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = upstream;
    }
}

/// Told to the handle once an order is carried out.
pub(super) type Done = std::sync::mpsc::SyncSender<()>;

/// A change of the faults. The number is that of the next connection.
pub(super) type Change = Box<dyn FnOnce(&mut Faults, u64) + Send>;

pub(super) enum Order {
    Change(Change),
    Cut,
}

/// The listening side. `guard` is bound to the port and never listens: without a listener
/// connections are refused, and nobody else can take the port meanwhile.
pub(super) struct Door {
    address: SocketAddr,
    guard: Socket,
    listener: Option<TcpListener>,
}

impl Door {
    pub fn new() -> io::Result<Door> {
        let guard = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = guard.local_addr()?.as_socket().expect("an internet address");
        Ok(Door { address, guard, listener: None })
    }

    /// Where it listens, or will again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens or closes. Needs the runtime.
    fn set_open(&mut self, open: bool) -> io::Result<()> {
        if !open {
            // Closing alone is not enough: a child that another test is just starting holds a
            // copy of every descriptor until its `exec`, and the kernel would go on accepting.
            if let Some(listener) = self.listener.take() {
                SockRef::from(&listener).shutdown(Shutdown::Both)?;
            }
        } else if self.listener.is_none() {
            let socket = bound(self.address)?;
            socket.listen(BACKLOG)?;
            self.listener = Some(TcpListener::from_std(socket.into())?);
        }
        Ok(())
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        match &self.listener {
            Some(listener) => Ok(listener.accept().await?.0),
            None => std::future::pending().await,
        }
    }

    /// What the kernel has accepted already, without waiting and without tokio's readiness,
    /// which may lag behind.
    fn accept_queued(&self) -> Option<TcpStream> {
        let (socket, _) = SockRef::from(self.listener.as_ref()?).accept().ok()?;
        socket.set_nonblocking(true).ok()?;
        TcpStream::from_std(socket.into()).ok()
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The body of the proxy's thread: ends when nobody is left to give orders.
pub(super) fn run(mut door: Door, shared: Arc<Shared>, inbox: mpsc::UnboundedReceiver<(Order, Done)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for the proxy");
    runtime.block_on(async {
        door.set_open(true).expect("a listener for the proxy");
        Connections { shared, tasks: JoinSet::new(), links: HashMap::new() }.serve(door, inbox).await;
    });
}

/// The connections and the loop that accepts them.
struct Connections {
    shared: Arc<Shared>,
    tasks: JoinSet<u64>,
    links: HashMap<u64, (Arc<Link>, AbortHandle)>,
}

impl Connections {
    async fn serve(mut self, mut door: Door, mut inbox: mpsc::UnboundedReceiver<(Order, Done)>) {
        loop {
            tokio::select! {
                order = inbox.recv() => match order {
                    Some((order, done)) => {
                        // A client that has connected before the order counts as existing.
                        while let Some(client) = door.accept_queued() {
                            self.adopt(client);
                        }
                        self.obey(order, &mut door).await;
                        // The handle waits for this; it cannot be gone.
                        let _ = done.send(());
                    }
                    None => return,
                },
                accepted = door.accept() => match accepted {
                    Ok(client) => self.adopt(client),
                    // The client left between the kernel's accept and ours.
                    Err(error) => eprintln!("proxy: accept failed: {error}"),
                },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.forget(ended);
                }
            }
        }
    }

    fn adopt(&mut self, client: TcpStream) {
        let number = self.shared.accepted.fetch_add(1, Ordering::SeqCst);
        let link = Arc::new(Link::new(number, Arc::clone(&self.shared)));
        let task = {
            let link = Arc::clone(&link);
            async move {
                connection::carry(client, &link).await;
                number
            }
        };
        let abort = self.tasks.spawn(task);
        self.links.insert(number, (link, abort));
    }

    fn forget(&mut self, ended: Result<u64, tokio::task::JoinError>) {
        match ended {
            Ok(number) => drop(self.links.remove(&number)),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Aborted by us, and removed then.
            Err(_) => {}
        }
    }

    async fn obey(&mut self, order: Order, door: &mut Door) {
        match order {
            Order::Change(change) => {
                let next = self.shared.accepted.load(Ordering::SeqCst);
                let was_hole = self.shared.faults.borrow().black_hole;
                self.shared.faults.send_modify(|faults| change(faults, next));
                let (refusing, hole) = {
                    let faults = self.shared.faults.borrow();
                    (faults.refusing, faults.black_hole)
                };
                door.set_open(!refusing).expect("the proxy's own port");
                if was_hole && !hole {
                    self.close(Link::lost_bytes).await;
                }
            }
            Order::Cut => self.close(|_| true).await,
        }
    }

    /// Closes the chosen connections and returns once their sockets are closed.
    async fn close(&mut self, chosen: impl Fn(&Link) -> bool) {
        let mut waiting = 0;
        self.links.retain(|_, (link, abort)| {
            let ends = chosen(link);
            if ends {
                abort.abort();
                waiting += 1;
            }
            !ends
        });
        while waiting > 0 {
            let Some(ended) = self.tasks.join_next().await else { return };
            waiting -= 1;
            if let Ok(number) = &ended {
                // One that ended by itself: if it was not chosen, a chosen one is still due.
                waiting += u32::from(self.links.contains_key(number));
            }
            self.forget(ended);
        }
    }
}
