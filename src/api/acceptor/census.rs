//! Who is connected: all of them, and how many from one address.
//!
//! A [`Place`] is a connection's right to be open and is given back when it is dropped, so no way of ending can forget it.
//! Callers behind one IPv6 network have 2⁶⁴ addresses to choose from, so those count by /64; an IPv4 caller who arrives at a
//! dual-stack listener counts as the IPv4 caller he is. Loopback counts like everyone else. Limits: one lock, taken once when a
//! connection begins and once when it ends, never for a request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::RejectReason;

/// Refused connections that may read their refusal at the same time. Beyond this they are closed without a word: a flood
/// must not occupy by being refused what it could not occupy by being served.
pub const LEAVES: usize = 256;

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all callers.
    pub total: usize,
    /// Of one address.
    pub per_address: usize,
    /// Beyond these, for as long as it takes to read the refusal; [`LEAVES`] at most.
    pub refused: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All places are taken.
    Total,
    /// This address has all it may have.
    Address,
}

impl From<Full> for RejectReason {
    fn from(full: Full) -> Self {
        match full {
            Full::Total => Self::Total,
            Full::Address => Self::Address,
        }
    }
}

/// The count of open connections.
pub struct Census {
    limits: Limits,
    counts: Mutex<Counts>,
    emptied: Notify,
    leaving: AtomicUsize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Counts {
    open: usize,
    by_origin: HashMap<IpAddr, usize>,
}

impl Census {
    /// Nobody is connected yet.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let (counts, emptied, leaving) = (Mutex::default(), Notify::new(), AtomicUsize::new(0));
        Arc::new(Self { limits, counts, emptied, leaving, metrics })
    }

    /// A place for a caller from `peer`.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Full> {
        let origin = origin(peer);
        let mut counts = self.lock();
        if counts.open >= self.limits.total {
            return Err(Full::Total);
        }
        let from_there = counts.by_origin.get(&origin).copied().unwrap_or(0);
        if from_there >= self.limits.per_address {
            return Err(Full::Address);
        }
        counts.by_origin.insert(origin, from_there + 1);
        counts.open += 1;
        drop(counts);
        self.metrics.connections_accepted.increment();
        self.metrics.connections_open.add(1);
        Ok(Place { census: self.clone(), origin })
    }

    /// The right to be told of a refusal, while there are not too many who are.
    pub fn take_leave(self: &Arc<Self>) -> Option<Leave> {
        let leave = Leave(self.clone());
        // The guard exists before the check, so that the count is right whatever the answer.
        (self.leaving.fetch_add(1, Ordering::Relaxed) < self.limits.refused).then_some(leave)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.lock().open
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Where it is all written down.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns once no connection is open.
    pub async fn until_empty(&self) {
        while self.open() > 0 {
            // One who leaves between the look and the wait has left a permit behind.
            self.emptied.notified().await;
        }
    }

    fn leave(&self, origin: IpAddr) {
        let mut counts = self.lock();
        counts.open -= 1;
        if let Entry::Occupied(mut from_there) = counts.by_origin.entry(origin) {
            *from_there.get_mut() -= 1;
            if *from_there.get() == 0 {
                from_there.remove();
            }
        }
        let empty = counts.open == 0;
        debug_assert!(!empty || counts.by_origin.is_empty(), "every address leaves with its last connection");
        drop(counts);
        self.metrics.connections_open.sub(1);
        if empty {
            self.emptied.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be connected; given back on drop.
#[must_use = "dropping a place gives it back"]
pub struct Place {
    census: Arc<Census>,
    origin: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.census.leave(self.origin);
    }
}

/// The right to be told of a refusal; given back on drop.
#[must_use = "dropping a leave gives it back"]
pub struct Leave(Arc<Census>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.leaving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whom a connection counts for.
fn origin(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Build;

    fn census(total: usize, per_address: usize) -> Arc<Census> {
        let metrics = Metrics::new(Build::current()).expect("a valid table");
        Census::new(Limits { total, per_address, refused: LEAVES }, Arc::new(metrics))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_place_is_given_back_and_its_address_forgotten() {
        let census = census(10, 2);
        let places = [census.admit(ip("10.0.0.1")), census.admit(ip("10.0.0.1"))];
        assert_eq!(census.admit(ip("10.0.0.1")).err(), Some(Full::Address));
        assert!(census.admit(ip("10.0.0.2")).is_ok());
        drop(places);
        assert_eq!((census.open(), census.lock().by_origin.len()), (0, 0));
        assert!(census.admit(ip("10.0.0.1")).is_ok());
    }

    #[test]
    fn all_places_are_shared_by_all_addresses() {
        let census = census(2, 2);
        let _places = [census.admit(ip("10.0.0.1")), census.admit(ip("10.0.0.2"))];
        assert_eq!(census.admit(ip("10.0.0.3")).err(), Some(Full::Total));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_caller_and_a_mapped_address_as_ipv4() {
        assert_eq!(origin(ip("2001:db8:1:2:3::4")), origin(ip("2001:db8:1:2:ffff::1")));
        assert_ne!(origin(ip("2001:db8:1:2::1")), origin(ip("2001:db8:1:3::1")));
        assert_eq!(origin(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }

    #[test]
    fn a_flood_of_refusals_is_bounded() {
        let census = census(0, 0);
        let mut leaves: Vec<Leave> = (0..LEAVES).filter_map(|_| census.take_leave()).collect();
        assert_eq!(leaves.len(), LEAVES);
        assert!(census.take_leave().is_none());
        leaves.pop();
        assert!(census.take_leave().is_some());
    }
}
