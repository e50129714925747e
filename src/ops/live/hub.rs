//! Who is looking at the page right now, and how each event reaches them: made once, shared, never waited for.
//!
//! A viewer who has not taken eight events is dropped: his browser comes back by itself and gets the present, which is
//! all there is to tell. Limits: [`PLACES`] viewers; after [`Hub::close`] nobody is let in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Viewers at once. Fewer than the listener's connections, so that open pages can never crowd out a probe.
pub(in crate::ops) const PLACES: usize = 32;

/// Events that wait for one viewer: eight seconds, a few dozen kilobytes that all viewers share.
const WAITING: usize = 8;

/// Why somebody was not let in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Denied {
    /// All places are taken.
    Full,
    /// The service is stopping.
    Closed,
}

/// All viewers.
#[derive(Default)]
pub(in crate::ops) struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    viewers: Vec<Sender<Bytes>>,
    closed: bool,
}

impl Hub {
    /// Lets one more viewer in.
    pub fn join(&self) -> Result<Receiver<Bytes>, Denied> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(Denied::Closed);
        }
        inner.viewers.retain(|viewer| !viewer.is_closed());
        if inner.viewers.len() >= PLACES {
            return Err(Denied::Full);
        }
        let (viewer, events) = mpsc::channel(WAITING);
        inner.viewers.push(viewer);
        Ok(events)
    }

    /// Whether anybody looks.
    pub fn is_watched(&self) -> bool {
        self.inner().viewers.iter().any(|viewer| !viewer.is_closed())
    }

    /// Gives an event to everybody, and drops those who left or fell behind.
    pub fn send(&self, event: &Bytes) {
        self.inner().viewers.retain(|viewer| viewer.try_send(event.clone()).is_ok());
    }

    /// Ends every stream, for good.
    pub fn close(&self) {
        let mut inner = self.inner();
        inner.viewers.clear();
        inner.closed = true;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_one_who_leaves_frees_his() {
        let hub = Hub::default();
        let mut viewers: Vec<_> = (0..PLACES).map(|_| hub.join().expect("a place")).collect();
        assert_eq!(hub.join().err(), Some(Denied::Full));
        viewers.pop();
        assert!(hub.join().is_ok());
    }

    #[test]
    fn who_falls_behind_is_dropped_and_the_others_are_not() {
        let hub = Hub::default();
        let mut slow = hub.join().expect("a place");
        let mut quick = hub.join().expect("a place");
        for n in 0..=WAITING {
            hub.send(&Bytes::from(n.to_string()));
            assert_eq!(quick.try_recv().expect("an event"), n.to_string());
        }
        let taken = std::iter::from_fn(|| slow.try_recv().ok()).count();
        assert_eq!(taken, WAITING);
        assert_eq!(slow.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert!(hub.is_watched());
    }

    #[test]
    fn after_closing_streams_end_and_nobody_is_let_in() {
        let hub = Hub::default();
        let mut viewer = hub.join().expect("a place");
        hub.close();
        assert_eq!(viewer.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert_eq!(hub.join().err(), Some(Denied::Closed));
    }
}
