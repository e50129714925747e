//! The last call: knowing that whoever came before a moment has been let in.
//!
//! The framework tells nobody what it has accepted and handed out, and drops what lies in its queues when it stops. But it accepts
//! in the order of arrival, and each worker takes what it is handed in that order. So the acceptor knocks at its own door: once
//! every worker has answered a knock, it has let in everyone who came before. Workers are handed connections in turn, so a few
//! knocks reach them all. Limits: for one drain; who comes after the knock is not waited for.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::reachable;

/// Knocks, and who has answered them.
pub(super) struct LastCall {
    /// Where the listener may be reached, the likeliest first.
    doors: Vec<SocketAddr>,
    workers: usize,
    book: Mutex<Book>,
    answered: Notify,
}

#[derive(Default)]
struct Book {
    /// Where the knocks come from that nobody has answered yet.
    knocks: HashSet<SocketAddr>,
    /// The workers that have answered one.
    answered: HashSet<ThreadId>,
}

impl LastCall {
    /// For a listener at `bound` whose connections are handed to so many workers.
    pub(super) fn new(bound: SocketAddr, workers: usize) -> Self {
        let mut doors = vec![reachable(bound)];
        if bound.ip() == Ipv6Addr::UNSPECIFIED {
            // IPv6 may be switched off, and such a listener has ears for IPv4 as well.
            doors.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bound.port()));
        }
        Self { doors, workers, book: Mutex::default(), answered: Notify::new() }
    }

    /// Returns once every worker has let in all who were connected before. Fails where the door cannot be reached from here.
    pub(super) async fn reach_everyone(&self) -> io::Result<()> {
        while !self.has_reached_everyone() {
            let mut held = Vec::with_capacity(self.workers);
            for _ in 0..self.workers {
                held.push(self.knock().await?);
            }
            while !self.book().knocks.is_empty() && !self.has_reached_everyone() {
                // Who answers between the look and the wait has left a permit behind.
                self.answered.notified().await;
            }
        }
        Ok(())
    }

    /// Whether a connection is one of ours, and if so a sign that this worker has come as far. Asked by workers while draining.
    pub(super) fn is_a_knock(&self, peer: SocketAddr) -> bool {
        let mut book = self.book();
        let known = book.knocks.remove(&canonical(peer));
        if known {
            book.answered.insert(std::thread::current().id());
            self.answered.notify_one();
        }
        known
    }

    fn has_reached_everyone(&self) -> bool {
        self.book().answered.len() >= self.workers
    }

    async fn knock(&self) -> io::Result<TcpStream> {
        let mut failure = io::ErrorKind::AddrNotAvailable.into();
        for door in &self.doors {
            match self.knock_at(*door).await {
                Ok(held) => return Ok(held),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Written down before it is heard: nobody may take it for a caller.
    async fn knock_at(&self, door: SocketAddr) -> io::Result<TcpStream> {
        let socket = if door.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let mut own = door;
        own.set_port(0);
        socket.bind(own)?;
        // No port of ours waits for a minute afterwards, and who is told to hang up in a queue is no caller there.
        socket.set_zero_linger()?;
        let own = canonical(socket.local_addr()?);
        self.book().knocks.insert(own);
        socket.connect(door).await.inspect_err(|_| {
            self.book().knocks.remove(&own);
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One name for one address: over a listener for IPv6 an IPv4 address arrives in the clothes of one.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        // As it is: a link-local one has its interface beside it.
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knocks until everyone is reached, and says what was heard meanwhile. Who cannot knock is not waited for.
    async fn knock_and<T>(call: &LastCall, hear: impl Future<Output = T>) -> T {
        let heard = async { Ok(hear.await) };
        tokio::try_join!(call.reach_everyone(), heard).expect("everyone is reached").1
    }

    #[tokio::test]
    async fn a_knock_is_known_by_whoever_hears_it_and_only_once() {
        for bound in ["127.0.0.1:0", "[::]:0", "0.0.0.0:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(bound).await else { continue };
            let call = LastCall::new(listener.local_addr().expect("an address"), 1);
            let hear = async {
                let (_held, peer) = listener.accept().await.expect("a knock");
                (call.is_a_knock(peer), call.is_a_knock(peer))
            };
            let heard = knock_and(&call, hear).await;
            assert_eq!(heard, (true, false), "{bound}");
        }
    }

    #[tokio::test]
    async fn a_door_that_is_shut_is_passed_by_and_ipv4_is_known_in_the_clothes_of_ipv6() {
        let Ok(listener) = tokio::net::TcpListener::bind("[::]:0").await else { return };
        let shut = TcpSocket::new_v4().expect("a socket");
        shut.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let mut call = LastCall::new(listener.local_addr().expect("an address"), 1);
        // As where IPv6 is switched off.
        call.doors[0] = shut.local_addr().expect("an address");
        let hear = async {
            let (_held, peer) = listener.accept().await.expect("a knock");
            (peer.is_ipv6(), call.is_a_knock(peer))
        };
        let heard = knock_and(&call, hear).await;
        assert_eq!(heard, (true, true));
        assert!(call.book().knocks.is_empty(), "the one at the shut door is forgotten");
    }

    #[tokio::test]
    async fn a_door_that_nobody_opens_is_an_error_and_a_stranger_is_no_knock() {
        // Kept, or somebody else could listen there meanwhile, or the knock come from there and meet itself.
        let closed = TcpSocket::new_v4().expect("a socket");
        closed.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let door = closed.local_addr().expect("an address");
        let call = LastCall::new(door, 2);
        assert!(call.reach_everyone().await.is_err());
        assert!(call.book().knocks.is_empty());
        assert!(!call.is_a_knock(door));
        assert!(call.book().answered.is_empty());
    }
}
