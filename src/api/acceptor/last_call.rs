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

/// Knocks, and who has answered them.
pub(super) struct LastCall {
    door: SocketAddr,
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
        Self { door: reachable(bound), workers, book: Mutex::default(), answered: Notify::new() }
    }

    /// Returns once every worker has let in all who were connected before. Fails where the door cannot be reached from here.
    pub(super) async fn reach_everyone(&self) -> io::Result<()> {
        while self.book().answered.len() < self.workers {
            let mut held = Vec::with_capacity(self.workers);
            for _ in 0..self.workers {
                held.push(self.knock().await?);
            }
            while !self.book().knocks.is_empty() {
                // Who answers between the look and the wait has left a permit behind.
                self.answered.notified().await;
            }
        }
        Ok(())
    }

    /// Whether a connection is one of ours, and if so a sign that this worker has come as far. Asked by workers while draining.
    pub(super) fn is_a_knock(&self, peer: SocketAddr) -> bool {
        let mut book = self.book();
        let known = book.knocks.remove(&peer);
        if known {
            book.answered.insert(std::thread::current().id());
            self.answered.notify_one();
        }
        known
    }

    /// Written down before it is heard: nobody may take it for a caller.
    async fn knock(&self) -> io::Result<TcpStream> {
        let socket = if self.door.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let mut own = self.door;
        own.set_port(0);
        socket.bind(own)?;
        let own = socket.local_addr()?;
        self.book().knocks.insert(own);
        socket.connect(self.door).await.inspect_err(|_| {
            self.book().knocks.remove(&own);
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a listener can be reached from its own machine: bound to every address, it is reached at the loopback one.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return bound,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_at_the_loopback_one() {
        for (bound, door) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("[fd00::1]:80", "[fd00::1]:80"),
        ] {
            let [bound, door] = [bound, door].map(|text| text.parse::<SocketAddr>().expect("an address"));
            assert_eq!(reachable(bound), door);
        }
    }

    #[tokio::test]
    async fn a_door_that_nobody_opens_is_an_error_and_a_stranger_is_no_knock() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let door = closed.local_addr().expect("an address");
        drop(closed);
        let call = LastCall::new(door, 2);
        assert!(call.reach_everyone().await.is_err());
        assert!(call.book().knocks.is_empty());
        assert!(!call.is_a_knock(door));
        assert!(call.book().answered.is_empty());
    }
}
