//! A primary and its replica, behind an address that moves.
//!
//! What: [`Pair::start`] runs two servers; the second follows the first through a proxy of its own, so that what it gets can
//! be held back; clients come through [`Pair::door`]. [`Pair::fail_over`] is what an operator or a sentinel does: the primary
//! is gone, the replica is promoted, the address points at it.
//!
//! Why so: replication is asynchronous. What the primary has acknowledged and not passed on is lost by a failover, and that is
//! exactly what a test must be able to bring about: [`Pair::lose_what_follows`].
//!
//! Limits: one replica, and no way back: the old primary stays dead.

use std::time::Duration;

use super::eventually::eventually;
use super::proxy::Proxy;
use super::redis::{Options, Redis};

/// Longest wait for the replica to follow.
const FOLLOW_LIMIT: Duration = Duration::from_secs(20);

/// The two servers and the ways to them.
pub struct Pair {
    /// The first primary.
    pub primary: Redis,
    /// Its replica, the primary after the failover.
    pub replica: Redis,
    /// Where clients connect.
    pub door: Proxy,
    /// The way of the replication.
    link: Proxy,
}

impl Pair {
    /// A primary with a replica that follows.
    pub async fn start(seed: u64) -> Pair {
        // The list of deploy/redis has no user for a replica.
        let plain = || Options::default().plain("a pair replicates, for which the list has no user");
        let primary = Redis::start(plain().set("repl-diskless-sync-delay", "0")).await;
        let replica = Redis::start(plain()).await;
        let (door, link) = (Proxy::in_front_of(&primary, seed), Proxy::in_front_of(&primary, seed));
        let port = link.address().port().to_string();
        assert_eq!(replica.command(&["REPLICAOF", "127.0.0.1", &port]).await, "OK");
        let pair = Pair { primary, replica, door, link };
        pair.caught_up().await;
        pair
    }

    /// Waits until the replica has everything the primary has.
    pub async fn caught_up(&self) {
        let sent = offset(&self.primary, "master_repl_offset").await;
        eventually(FOLLOW_LIMIT, async || {
            let up = self.replica.info("replication").await.get("master_link_status").is_some_and(|word| word == "up");
            up && offset(&self.replica, "slave_repl_offset").await >= sent
        })
        .await;
    }

    /// From now on the primary acknowledges what no replica gets.
    pub fn lose_what_follows(&self) {
        self.link.freeze();
    }

    /// The primary is gone, and the replica takes its place and its address.
    pub async fn fail_over(&self) {
        self.primary.kill9();
        assert_eq!(self.replica.command(&["REPLICAOF", "NO", "ONE"]).await, "OK");
        self.door.point_at(self.replica.address());
        self.door.cut();
    }
}

async fn offset(redis: &Redis, field: &str) -> u64 {
    redis.info("replication").await.get(field).and_then(|text| text.parse().ok()).unwrap_or(0)
}
