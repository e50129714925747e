//! Where a name leads, told by the system's resolver, for which nobody waits longer than he likes.
//!
//! What the resolver does about a name server that is silent is its own affair: it waits for five seconds, once for each and each
//! domain, then asks the next. A connect must not wait so long; and if each asked anew and left, no answer would ever be heard. So
//! whoever comes while a question is out hears its answer, too, and what was found counts for a while ([`Answer::is_good`]): those who left
//! get it at their next try, and a worker that connects anew with all its connections asks once. Not for long, or a server that has
//! moved would be looked for where it was; and failures not at all, or one would count as three. A question that is out for long
//! is no reason not to ask another, whose packets may not get lost: the first answer is everybody's.
//!
//! The questions are asked on threads of their own that nobody waits for in the end: a runtime waits for those it blocked, and
//! the process would stop seconds too late. Limits: [`MOST`] questions at a time for each host; the thread of one that is never
//! answered stays.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::resilience::Moment;
use crate::telemetry::clock;

/// What was found may be used for so long at least.
const FRESH: Duration = Duration::from_secs(1);
/// After so long another question goes out beside one that is not answered.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Most questions that are out.
const MOST: u32 = 8;

/// The addresses of a host, in the order to try them, or why there are none.
pub(super) type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;

type Resolver = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A host and its port.
pub(super) struct Host {
    name: String,
    port: u16,
    resolver: Arc<Resolver>,
    questions: Arc<Questions>,
}

/// What was asked about one host, and answered last.
struct Questions {
    out: Mutex<Out>,
    answered: watch::Sender<Option<Answer>>,
}

#[derive(Default)]
struct Out {
    count: u32,
    last: Moment,
}

#[derive(Clone)]
struct Answer {
    found: Found,
    at: Moment,
    took: Duration,
}

impl Answer {
    /// Whether it may still be used: for as long again as it took, since who waits for a slow resolver looks in now and then only.
    fn is_good(&self, now: Moment) -> bool {
        self.found.is_ok() && now.saturating_since(self.at) < self.took.max(FRESH)
    }
}

impl Host {
    /// An address that is written out is never asked for.
    pub(super) fn new(name: String, port: u16) -> Self {
        Self::resolved_by(name, port, Arc::new(|name, port| Ok((name, port).to_socket_addrs()?.collect())))
    }

    fn resolved_by(name: String, port: u16, resolver: Arc<Resolver>) -> Self {
        let questions = Questions { out: Mutex::default(), answered: watch::channel(None).0 };
        Self { name, port, resolver, questions: Arc::new(questions) }
    }

    /// Its addresses; `None` if they are not known within `limit`.
    pub(super) async fn addresses(&self, limit: Duration) -> Option<Found> {
        if let Ok(address) = self.name.parse::<IpAddr>() {
            return Some(Ok(vec![(address, self.port).into()]));
        }
        let (asked_at, mut answered) = match self.join() {
            Ok(joined) => joined,
            Err(error) => return Some(Err(Arc::new(error))),
        };
        let is_mine = |answer: &Option<Answer>| {
            answer.as_ref().is_some_and(|answer| answer.at >= asked_at || answer.is_good(asked_at))
        };
        let heard = tokio::time::timeout(limit, answered.wait_for(is_mine)).await.ok()?;
        heard.ok().and_then(|answer| answer.clone()).map(|answer| answer.found)
    }

    /// Where the answer will be heard, and from when on it is one to this question. Asks if nobody has of late.
    fn join(&self) -> io::Result<(Moment, watch::Receiver<Option<Answer>>)> {
        let mut out = self.questions.out();
        let (now, answered) = (clock::now(), self.questions.answered.subscribe());
        let is_known = answered.borrow().as_ref().is_some_and(|answer| answer.is_good(now));
        let is_asked = out.count > 0 && now.saturating_since(out.last) < ASK_AGAIN;
        if !is_known && !is_asked && out.count < MOST {
            self.ask(now)?;
            *out = Out { count: out.count + 1, last: now };
        }
        Ok((now, answered))
    }

    fn ask(&self, now: Moment) -> io::Result<()> {
        let (name, port, resolver) = (self.name.clone(), self.port, self.resolver.clone());
        let question = Question { questions: self.questions.clone(), asked_at: now, found: None };
        std::thread::Builder::new().name("lookup".into()).spawn(move || {
            let mut question = question;
            question.found = Some(resolver(&name, port).map_err(Arc::new));
        })?;
        Ok(())
    }
}

impl Questions {
    /// A poisoned lock only says that a thread panicked beside two numbers; they are whole.
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One question that is out. It is answered when it is dropped, also by a resolver that panics.
struct Question {
    questions: Arc<Questions>,
    asked_at: Moment,
    found: Option<Found>,
}

impl Drop for Question {
    fn drop(&mut self) {
        // Within the lock: who joins sees either that the question is out or its answer.
        let mut out = self.questions.out();
        let found = self.found.take().unwrap_or_else(|| Err(Arc::new(io::Error::other("the lookup was broken off"))));
        let at = clock::now();
        self.questions.answered.send_replace(Some(Answer { found, at, took: at.saturating_since(self.asked_at) }));
        out.count = out.count.saturating_sub(1);
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
            let answer = told.lock().unwrap_or_else(PoisonError::into_inner).recv();
            answer.expect("this resolver breaks when nobody can tell it anything any more")
        };
        (Host::resolved_by("redis.example".into(), 6379, Arc::new(resolver)), tell, asked)
    }

    fn place(last: u8) -> Vec<SocketAddr> {
        vec![([10, 0, 0, last], 6379).into()]
    }

    async fn found(host: &Host, limit: Duration) -> Vec<SocketAddr> {
        host.addresses(limit).await.expect("in time").expect("found")
    }

    /// Waits until no question is out.
    async fn answered(host: &Host) {
        while host.questions.out().count > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Makes the last question one of long ago: the clock starts with a second.
    fn forget_when_it_was_asked(host: &Host) {
        host.questions.out().last = Moment::default();
    }

    #[tokio::test]
    async fn a_slow_answer_is_heard_by_who_comes_again() {
        let (host, tell, asked) = slow();
        for _ in 0..5 {
            assert!(host.addresses(AT_ONCE).await.is_none());
        }
        tell.send(Ok(place(1))).expect("somebody asks");
        let both = tokio::join!(found(&host, SOON), found(&host, SOON));
        assert_eq!(both, (place(1), place(1)));
        assert!(
            asked.load(Ordering::SeqCst) <= 2,
            "all of them had one question, or a machine that takes a second for this two"
        );
    }

    #[tokio::test]
    async fn an_answer_nobody_waited_for_is_not_lost() {
        let (host, tell, asked) = slow();
        assert!(host.addresses(AT_ONCE).await.is_none());
        tell.send(Ok(place(1))).expect("somebody asks");
        answered(&host).await;
        // However slow this machine is, it is still good.
        host.questions.answered.send_modify(|answer| answer.as_mut().expect("an answer").took = SOON);
        assert_eq!(found(&host, AT_ONCE).await, place(1));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_answer_is_good_for_a_second_or_for_as_long_as_it_took_and_a_failure_never() {
        let at = |millis: u64| Moment::from_micros(millis * 1000);
        let answer = |found, took| Answer { found, at: at(1000), took: Duration::from_millis(took) };
        let failure = || Err(Arc::new(io::Error::other("no such name")));
        for (answer, good_until) in [(answer(Ok(place(1)), 5), 2000), (answer(Ok(place(1)), 5000), 6000)] {
            assert!(answer.is_good(at(good_until - 1)) && !answer.is_good(at(good_until)), "{good_until}");
        }
        assert!(!answer(failure(), 5000).is_good(at(1000)));
    }

    #[tokio::test]
    async fn an_old_answer_is_not_used() {
        let (host, tell, _) = slow();
        let old = Answer { found: Ok(place(1)), at: Moment::default(), took: Duration::ZERO };
        host.questions.answered.send_replace(Some(old));
        tell.send(Ok(place(2))).expect("somebody asks");
        assert_eq!(found(&host, SOON).await, place(2));
    }

    #[tokio::test]
    async fn a_failure_is_told_with_its_reason_and_the_next_asks_anew() {
        let (host, tell, _) = slow();
        tell.send(Err(io::Error::other("no such name"))).expect("kept");
        tell.send(Ok(place(1))).expect("kept");
        let failed = host.addresses(SOON).await.expect("in time").expect_err("unknown");
        assert_eq!(failed.to_string(), "no such name");
        assert_eq!(found(&host, SOON).await, place(1));
    }

    #[tokio::test]
    async fn a_resolver_that_panics_leaves_nobody_waiting() {
        let (host, tell, _) = slow();
        drop(tell);
        for _ in 0..2 {
            assert!(host.addresses(SOON).await.is_some_and(|found| found.is_err()));
        }
    }

    #[tokio::test]
    async fn beside_a_question_that_is_never_answered_others_are_asked_up_to_a_bound() {
        let never = Arc::new(AtomicU32::new(1));
        let (asked, unanswered) = (Arc::new(AtomicU32::new(0)), never.clone());
        let count = asked.clone();
        let resolver = move |_: &str, _| {
            count.fetch_add(1, Ordering::SeqCst);
            while unanswered.load(Ordering::SeqCst) > 0 {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            Ok(place(1))
        };
        let host = Host::resolved_by("redis.example".into(), 6379, Arc::new(resolver));
        for _ in 0..2 * MOST {
            assert!(host.addresses(AT_ONCE).await.is_none());
            forget_when_it_was_asked(&host);
        }
        assert_eq!(host.questions.out().count, MOST);
        never.store(0, Ordering::SeqCst);
        assert_eq!(found(&host, SOON).await, place(1));
        answered(&host).await;
        assert_eq!(asked.load(Ordering::SeqCst), MOST);
    }

    #[tokio::test]
    async fn an_address_asks_nobody() {
        for (name, expected) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            let host = Host::resolved_by(name.into(), 7, Arc::new(|_, _| panic!("nobody is asked")));
            assert_eq!(found(&host, SOON).await, vec![expected.parse().expect("an address")]);
        }
    }
}
