//! What a shared connection must never carry: each would change the state of a connection that others use. `PING` and
//! `ECHO` are the exceptions. `POST` and `HOST:` are no commands (no `COMMAND` lists them), but how a browser's request would
//! begin: against such requests Redis ends the connection that says one of them, with everybody's calls on it.

use super::Spec;
use super::row::{ALL, NONE, UNKNOWN_KEYS, flags, read, session};

/// Connections and transactions, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    session("ASKING", 1, NONE, flags!(fast), "3.0.0").never(),
    session("AUTH", -2, NONE, flags!(noscript loading stale fast no_auth allow_busy), "1.0.0").never(),
    session("CLIENT", -2, UNKNOWN_KEYS, flags!(), "2.4.0").container().never(),
    session("CLIENT|CACHING", 3, NONE, flags!(noscript loading stale), "6.0.0").never(),
    session("CLIENT|CAPA", -3, NONE, flags!(noscript loading stale), "8.0.0").never(),
    session("CLIENT|GETNAME", 2, NONE, flags!(noscript loading stale), "2.6.9").never(),
    session("CLIENT|GETREDIR", 2, NONE, flags!(noscript loading stale), "6.0.0").never(),
    session("CLIENT|HELP", 2, NONE, flags!(loading stale), "5.0.0").never(),
    session("CLIENT|ID", 2, NONE, flags!(noscript loading stale), "5.0.0").never(),
    session("CLIENT|IMPORT-SOURCE", 3, NONE, flags!(admin noscript loading stale), "8.1.0").never(),
    session("CLIENT|INFO", 2, NONE, flags!(noscript loading stale), "6.2.0").never(),
    session("CLIENT|KILL", -3, NONE, flags!(admin noscript loading stale), "2.4.0").never(),
    session("CLIENT|LIST", -2, NONE, flags!(admin noscript loading stale), "2.4.0").never(),
    session("CLIENT|NO-EVICT", 3, NONE, flags!(admin noscript loading stale), "7.0.0").never(),
    session("CLIENT|NO-TOUCH", 3, NONE, flags!(noscript loading stale), "7.2.0").never(),
    session("CLIENT|PAUSE", -3, NONE, flags!(admin noscript loading stale), "2.9.50").never(),
    session("CLIENT|REPLY", 3, NONE, flags!(noscript loading stale), "3.2.0").never(),
    session("CLIENT|SETINFO", 4, NONE, flags!(noscript loading stale), "7.2.0").never(),
    session("CLIENT|SETNAME", 3, NONE, flags!(noscript loading stale), "2.6.9").never(),
    session("CLIENT|TRACKING", -3, NONE, flags!(noscript loading stale), "6.0.0").never(),
    session("CLIENT|TRACKINGINFO", 2, NONE, flags!(noscript loading stale), "6.2.0").never(),
    session("CLIENT|UNBLOCK", -3, NONE, flags!(admin noscript loading stale), "5.0.0").never(),
    session("CLIENT|UNPAUSE", 2, NONE, flags!(admin noscript loading stale), "6.2.0").never(),
    session("DISCARD", 1, NONE, flags!(noscript loading stale fast allow_busy), "2.0.0").never(),
    read("ECHO", 2, NONE, flags!(loading stale fast), "1.0.0"),
    session("EXEC", 1, NONE, flags!(noscript loading stale skip_slowlog), "1.2.0").never(),
    session("HELLO", -1, NONE, flags!(noscript loading stale fast no_auth allow_busy), "6.0.0").never(),
    session("HOST:", -1, NONE, flags!(), "3.2.7").never(),
    session("MONITOR", 1, UNKNOWN_KEYS, flags!(admin noscript loading stale), "1.0.0").never(),
    session("MULTI", 1, NONE, flags!(noscript loading stale fast allow_busy), "1.2.0").never(),
    read("PING", -1, NONE, flags!(fast), "1.0.0"),
    session("POST", -1, NONE, flags!(), "3.2.7").never(),
    session("QUIT", -1, NONE, flags!(noscript loading stale fast no_auth allow_busy), "1.0.0").never(),
    session("READONLY", 1, NONE, flags!(loading stale fast), "3.0.0").never(),
    session("READWRITE", 1, NONE, flags!(loading stale fast), "3.0.0").never(),
    session("RESET", 1, NONE, flags!(noscript loading stale fast no_auth allow_busy), "6.2.0").never(),
    session("SELECT", 2, NONE, flags!(loading stale fast), "1.0.0").never(),
    session("UNWATCH", 1, NONE, flags!(noscript loading stale fast allow_busy), "2.2.0").never(),
    session("WATCH", -2, ALL, flags!(noscript loading stale fast allow_busy), "2.2.0").never(),
];
