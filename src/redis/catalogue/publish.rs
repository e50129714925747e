//! Publishing is open and `once`. Subscribing takes the connection over, so it has endpoints of its own instead. What lists channels
//! hands out names nobody gave the caller, as `KEYS` does with keys, so its keys are unknown.

use super::Spec;
use super::row::{NONE, UNKNOWN_KEYS, flags, once, read, session};

/// Publish and subscribe, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    session("PSUBSCRIBE", -2, NONE, flags!(pubsub noscript loading stale), "2.0.0").never(),
    once("PUBLISH", 3, NONE, flags!(pubsub loading stale fast), "2.0.0"),
    once("PUBSUB", -2, UNKNOWN_KEYS, flags!(), "2.8.0").container(),
    read("PUBSUB|CHANNELS", -2, UNKNOWN_KEYS, flags!(pubsub loading stale), "2.8.0"),
    read("PUBSUB|HELP", 2, NONE, flags!(loading stale), "6.2.0"),
    read("PUBSUB|NUMPAT", 2, NONE, flags!(pubsub loading stale), "2.8.0"),
    read("PUBSUB|NUMSUB", -2, NONE, flags!(pubsub loading stale), "2.8.0"),
    read("PUBSUB|SHARDCHANNELS", -2, UNKNOWN_KEYS, flags!(pubsub loading stale), "7.0.0"),
    read("PUBSUB|SHARDNUMSUB", -2, NONE, flags!(pubsub loading stale), "7.0.0"),
    session("PUNSUBSCRIBE", -1, NONE, flags!(pubsub noscript loading stale), "2.0.0").never(),
    once("SPUBLISH", 3, NONE, flags!(pubsub loading stale fast), "7.0.0"),
    session("SSUBSCRIBE", -2, NONE, flags!(pubsub noscript loading stale), "7.0.0").never(),
    session("SUBSCRIBE", -2, NONE, flags!(pubsub noscript loading stale), "2.0.0").never(),
    session("SUNSUBSCRIBE", -1, NONE, flags!(pubsub noscript loading stale), "7.0.0").never(),
    session("UNSUBSCRIBE", -1, NONE, flags!(pubsub noscript loading stale), "2.0.0").never(),
];
