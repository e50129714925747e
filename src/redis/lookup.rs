//! Where a name leads, told by the system's resolver, for which nobody waits longer than he likes.
//!
//! What the resolver does about a name server that is silent is its own affair: it waits for five seconds, once for each and each
//! domain, then asks the next. A connect must not wait so long; and if each asked anew and left, no answer would ever be heard. So
//! whoever comes while a question is out joins it, and an answer counts for a moment ([`FRESH`]): those who left get it at their
//! next try, and a worker that connects anew with all its connections asks once. Not for longer, or a server that has moved would
//! be looked for where it was.
//!
//! The question is asked on a thread of its own that nobody waits for in the end: a runtime waits for those it blocked, and the
//! process would stop seconds too late. Limits: one question at a time for each host; the thread of one that is never answered
//! stays until it is.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::resilience::Moment;
use crate::telemetry::clock;

/// How long an answer may be used.
const FRESH: Duration = Duration::from_secs(1);

/// What was found, and when. Errors are kept by their kind: the text of a resolver's error says no more.
#[derive(Clone)]
struct Answer {
    found: Result<Vec<SocketAddr>, io::ErrorKind>,
    at: Moment,
}

type Resolver = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A host and its port.
pub(super) struct Host {
    name: String,
    port: u16,
    resolver: Arc<Resolver>,
    asked: Mutex<Option<watch::Receiver<Option<Answer>>>>,
}

impl Host {
    /// An address that is written out is never asked for.
    pub(super) fn new(name: String, port: u16) -> Self {
        Self::resolved_by(name, port, Arc::new(|name, port| Ok((name, port).to_socket_addrs()?.collect())))
    }

    fn resolved_by(name: String, port: u16, resolver: Arc<Resolver>) -> Self {
        Self { name, port, resolver, asked: Mutex::default() }
    }

    /// Its addresses, in the order to try them; `None` if they are not known within `limit`.
    pub(super) async fn addresses(&self, limit: Duration) -> Option<io::Result<Vec<SocketAddr>>> {
        if let Ok(address) = self.name.parse::<IpAddr>() {
            return Some(Ok(vec![(address, self.port).into()]));
        }
        let mut answer = match self.join() {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        let heard = tokio::time::timeout(limit, answer.wait_for(Option::is_some)).await.ok()?;
        let found = heard.ok().and_then(|answer| answer.clone()).map(|answer| answer.found);
        // Without an answer the thread that asked is gone: it panicked.
        Some(found.unwrap_or(Err(io::ErrorKind::Other)).map_err(io::Error::from))
    }

    /// The answer that is still good or on its way; else a new question goes out.
    fn join(&self) -> io::Result<watch::Receiver<Option<Answer>>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = asked.as_ref().filter(|answer| is_good(answer)) {
            return Ok(answer.clone());
        }
        let (tell, answer) = watch::channel(None);
        let (name, port, resolver) = (self.name.clone(), self.port, self.resolver.clone());
        std::thread::Builder::new().name("lookup".into()).spawn(move || {
            let found = resolver(&name, port).map_err(|error| error.kind());
            tell.send_replace(Some(Answer { found, at: clock::now() }));
        })?;
        *asked = Some(answer.clone());
        Ok(answer)
    }
}

/// Whether it is on its way, or has come a moment ago.
fn is_good(answer: &watch::Receiver<Option<Answer>>) -> bool {
    // In this order: one that comes between the two looks is seen by the second.
    let on_its_way = answer.has_changed().is_ok();
    match &*answer.borrow() {
        Some(answer) => clock::now().saturating_since(answer.at) < FRESH,
        None => on_its_way,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const AT_ONCE: Duration = Duration::from_millis(1);

    /// A host whose resolver answers each question with what it is sent, and counts them.
    fn slow() -> (Host, mpsc::Sender<io::Result<Vec<SocketAddr>>>, Arc<AtomicU32>) {
        let (tell, told) = mpsc::channel();
        let (told, asked) = (Mutex::new(told), Arc::new(AtomicU32::new(0)));
        let count = asked.clone();
        let resolver = move |_: &str, _| {
            count.fetch_add(1, Ordering::SeqCst);
            told.lock().expect("not poisoned").recv().expect("an answer")
        };
        (Host::resolved_by("redis.example".into(), 6379, Arc::new(resolver)), tell, asked)
    }

    fn place(last: u8) -> Vec<SocketAddr> {
        vec![([10, 0, 0, last], 6379).into()]
    }

    #[tokio::test]
    async fn a_slow_answer_is_heard_by_who_comes_again() {
        let (host, tell, asked) = slow();
        for _ in 0..5 {
            assert!(host.addresses(AT_ONCE).await.is_none());
        }
        tell.send(Ok(place(1))).expect("somebody asks");
        let both = tokio::join!(host.addresses(SOON), host.addresses(SOON));
        for found in [both.0, both.1] {
            assert_eq!(found.expect("in time").expect("found"), place(1));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "all of them had one question");
    }

    #[tokio::test]
    async fn an_answer_nobody_waited_for_is_not_lost_and_an_old_one_is_not_used() {
        let (host, tell, asked) = slow();
        assert!(host.addresses(AT_ONCE).await.is_none());
        tell.send(Ok(place(1))).expect("somebody asks");
        let heard =
            || host.asked.lock().expect("not poisoned").as_ref().is_some_and(|answer| answer.borrow().is_some());
        while !heard() {
            tokio::task::yield_now().await;
        }
        assert_eq!(host.addresses(AT_ONCE).await.expect("it is there").expect("found"), place(1));
        let old = Answer { found: Ok(place(1)), at: Moment::from_micros(0) };
        *host.asked.lock().expect("not poisoned") = Some(watch::channel(Some(old)).1);
        while clock::now() < Moment::from_micros(0) + FRESH {
            tokio::task::yield_now().await;
        }
        tell.send(Ok(place(2))).expect("somebody asks");
        assert_eq!(host.addresses(SOON).await.expect("in time").expect("found"), place(2));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_is_an_error_and_asked_for_again() {
        let (host, tell, _) = slow();
        tell.send(Err(io::ErrorKind::NotFound.into())).expect("kept");
        let failed = host.addresses(SOON).await.expect("in time").expect_err("unknown");
        assert_eq!(failed.kind(), io::ErrorKind::NotFound);
        drop(tell);
        *host.asked.lock().expect("not poisoned") = None;
        let failed = host.addresses(SOON).await.expect("in time");
        assert!(failed.is_err(), "a resolver that panics leaves nobody waiting");
        assert!(host.addresses(SOON).await.is_some_and(|found| found.is_err()), "nor the next");
    }

    #[tokio::test]
    async fn an_address_asks_nobody() {
        for (name, expected) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            let host = Host::resolved_by(name.into(), 7, Arc::new(|_, _| panic!("nobody is asked")));
            let found = host.addresses(SOON).await.expect("at once").expect("found");
            assert_eq!(found, vec![expected.parse().expect("an address")]);
        }
    }
}
