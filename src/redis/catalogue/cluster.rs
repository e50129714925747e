//! Cluster administration. Changing the topology is never open; reading it needs the scope `admin`, since it reveals
//! addresses.

use super::Spec;
use super::row::{NONE, UNKNOWN_KEYS, admin, flags, read};

/// Cluster, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    admin("CLUSTER", -2, UNKNOWN_KEYS, flags!(), "3.0.0").container().never(),
    admin("CLUSTER|ADDSLOTS", -3, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|ADDSLOTSRANGE", -4, NONE, flags!(admin stale no_async_loading), "7.0.0").never(),
    admin("CLUSTER|BUMPEPOCH", 2, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    read("CLUSTER|COUNT-FAILURE-REPORTS", 3, NONE, flags!(admin stale), "3.0.0").scope("admin"),
    read("CLUSTER|COUNTKEYSINSLOT", 3, UNKNOWN_KEYS, flags!(stale), "3.0.0").scope("admin"),
    admin("CLUSTER|DELSLOTS", -3, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|DELSLOTSRANGE", -4, NONE, flags!(admin stale no_async_loading), "7.0.0").never(),
    admin("CLUSTER|FAILOVER", -2, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|FLUSHSLOTS", 2, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|FORGET", 3, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    read("CLUSTER|GETKEYSINSLOT", 4, UNKNOWN_KEYS, flags!(stale), "3.0.0").scope("admin"),
    read("CLUSTER|HELP", 2, NONE, flags!(loading stale), "5.0.0").scope("admin"),
    read("CLUSTER|INFO", 2, NONE, flags!(stale), "3.0.0").scope("admin"),
    read("CLUSTER|KEYSLOT", 3, NONE, flags!(stale), "3.0.0"),
    read("CLUSTER|LINKS", 2, NONE, flags!(stale), "7.0.0").scope("admin"),
    admin("CLUSTER|MEET", -4, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|MIGRATION", -4, NONE, flags!(admin stale no_async_loading), "8.4.0").never(),
    read("CLUSTER|MYID", 2, NONE, flags!(stale), "3.0.0").scope("admin"),
    read("CLUSTER|MYSHARDID", 2, NONE, flags!(stale), "7.2.0").scope("admin"),
    read("CLUSTER|NODES", 2, NONE, flags!(stale), "3.0.0").scope("admin"),
    read("CLUSTER|REPLICAS", 3, NONE, flags!(admin stale), "5.0.0").scope("admin"),
    admin("CLUSTER|REPLICATE", 3, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|RESET", -2, NONE, flags!(admin noscript stale), "3.0.0").never(),
    admin("CLUSTER|SAVECONFIG", 2, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|SET-CONFIG-EPOCH", 3, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    admin("CLUSTER|SETSLOT", -4, NONE, flags!(admin stale no_async_loading), "3.0.0").never(),
    read("CLUSTER|SHARDS", 2, NONE, flags!(stale), "7.0.0").scope("admin"),
    read("CLUSTER|SLAVES", 3, NONE, flags!(admin stale), "3.0.0").scope("admin"),
    read("CLUSTER|SLOT-STATS", -4, NONE, flags!(stale loading), "8.2.0").scope("admin"),
    read("CLUSTER|SLOTS", 2, NONE, flags!(stale), "3.0.0").scope("admin"),
    admin("CLUSTER|SYNCSLOTS", -3, NONE, flags!(admin stale no_async_loading), "8.4.0").never(),
];
