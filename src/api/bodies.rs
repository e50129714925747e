//! The bytes of request bodies that are held at this moment, by all workers together.
//!
//! Each body has a bound of its own, and a connection each may bring one: twenty callers who send fifteen mebibytes and then wait
//! would take what a small container has. So a large body takes its bytes out of one account as they arrive, and whoever finds the
//! account empty is turned away, unread where the declared length tells beforehand. What was taken goes back with the body
//! itself ([`Hold`] lives in it), however the request ends: answered, left, timed out, or in a panic.
//!
//! Limits: bodies up to [`SMALL`] are not counted, so nearly every request pays nothing here. They are bounded by
//! `limits.connections`. What is made of a body (arguments, what waits to be sent) is not counted; it is about twice as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::web::Bytes;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::ShedReason;

/// Bodies up to this are not counted: as much as a head may have by default, which each connection may hold at any time.
pub const SMALL: usize = 16 * 1024;

/// The account.
pub struct Bodies {
    limit: usize,
    held: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Bodies {
    /// Nothing is held yet, and `limit` bytes may be.
    pub fn new(limit: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), metrics })
    }

    /// Takes so many bytes, if they are there.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Result<Hold, Full> {
        self.take(bytes)?;
        Ok(Hold { bodies: self.clone(), bytes })
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether so many bytes are there at this moment. Nothing is taken.
    pub fn look(&self, bytes: usize) -> Result<(), Full> {
        self.with(self.held(), bytes).map(drop).ok_or_else(|| self.full())
    }

    fn take(&self, bytes: usize) -> Result<(), Full> {
        let taken = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| self.with(held, bytes));
        taken.map(drop).map_err(|_| self.full())
    }

    /// What would be held with so many bytes more, if it may be.
    fn with(&self, held: usize, bytes: usize) -> Option<usize> {
        held.checked_add(bytes).filter(|held| *held <= self.limit)
    }

    fn full(&self) -> Full {
        self.metrics.shed(ShedReason::Bodies);
        // Jittered, so that everyone turned away now does not come back together.
        Full { retry_after: Duration::from_secs(fastrand::u64(1..=3)) }
    }
}

/// There is no room for the body now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When to ask again.
    pub retry_after: Duration,
}

/// Bytes that are held; given back on drop.
#[must_use = "dropping a hold gives it back"]
pub struct Hold {
    bodies: Arc<Bodies>,
    bytes: usize,
}

impl Hold {
    /// Takes more, so that there are `bytes` in all.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        self.bodies.take(more)?;
        self.bytes += more;
        Ok(())
    }

    /// The same bytes, which give back what they took when the last who has them lets go.
    pub fn within(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Held { body, _hold: self })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    body: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Build;

    fn bodies(limit: usize) -> Arc<Bodies> {
        Bodies::new(limit, Arc::new(Metrics::new(Build::current()).expect("a valid table")))
    }

    #[test]
    fn what_is_held_goes_back_with_the_last_who_has_the_body() {
        let bodies = bodies(10);
        let body = bodies.hold(10).expect("room").within(Bytes::from_static(b"0123456789"));
        let part = body.slice(2..4);
        drop(body);
        assert_eq!((bodies.held(), &part[..]), (10, &b"23"[..]));
        assert!(bodies.hold(1).is_err());
        drop(part);
        assert_eq!(bodies.held(), 0);
    }

    #[test]
    fn a_hold_grows_to_the_limit_and_not_beyond() {
        let bodies = bodies(10);
        let mut hold = bodies.hold(4).expect("room");
        assert!(hold.grow_to(10).is_ok() && hold.grow_to(3).is_ok());
        assert!(hold.grow_to(11).is_err());
        assert_eq!(bodies.held(), 10, "what could not be had is not counted");
        drop(hold);
        assert_eq!(bodies.held(), 0);
        assert!(bodies.hold(usize::MAX).is_err());
    }

    #[test]
    fn a_panic_gives_back_what_was_held() {
        let bodies = bodies(10);
        let panicking = bodies.clone();
        let ended = std::thread::spawn(move || {
            let _body = panicking.hold(10).expect("room").within(Bytes::from_static(b"x"));
            panic!("a mistake of ours");
        });
        assert!(ended.join().is_err());
        assert_eq!(bodies.held(), 0);
    }
}
