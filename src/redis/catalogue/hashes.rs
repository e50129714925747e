//! Hash commands, field expiry included. `HIMPORT` lives in the connection it was prepared on, so it is never open.

use super::refine::{EXPIRY_CONDITIONS, FIELD_CONDITIONS};
use super::row::{KEY, NONE, SECOND, UNKNOWN_KEYS, conditional, flags, once, read, session, stable, unstable};
use super::{Rule, Spec};

/// Hashes, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    unstable("HDEL", -3, KEY, flags!(write fast), "2.0.0"),
    read("HEXISTS", 3, KEY, flags!(readonly fast), "2.0.0"),
    unstable("HEXPIRE", -6, KEY, flags!(write fast), "7.4.0").by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    unstable("HEXPIREAT", -6, KEY, flags!(write fast), "7.4.0").by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    read("HEXPIRETIME", -5, KEY, flags!(readonly fast), "7.4.0"),
    read("HGET", 3, KEY, flags!(readonly fast), "2.0.0"),
    read("HGETALL", 2, KEY, flags!(readonly), "2.0.0").heavy(),
    conditional("HGETDEL", -5, KEY, flags!(write fast), "8.0.0"),
    conditional("HGETEX", -5, KEY, flags!(write fast), "8.0.0"),
    session("HIMPORT", -2, UNKNOWN_KEYS, flags!(), "8.10.0").container().never(),
    session("HIMPORT|DISCARD", 3, NONE, flags!(), "8.10.0").never(),
    session("HIMPORT|DISCARDALL", 2, NONE, flags!(), "8.10.0").never(),
    session("HIMPORT|PREPARE", -4, NONE, flags!(), "8.10.0").never(),
    session("HIMPORT|SET", -5, SECOND, flags!(write denyoom), "8.10.0").never(),
    once("HINCRBY", 4, KEY, flags!(write denyoom fast), "2.0.0"),
    once("HINCRBYFLOAT", 4, KEY, flags!(write denyoom fast), "2.6.0"),
    read("HKEYS", 2, KEY, flags!(readonly), "2.0.0").heavy(),
    read("HLEN", 2, KEY, flags!(readonly fast), "2.0.0"),
    read("HMGET", -3, KEY, flags!(readonly fast), "2.0.0"),
    stable("HMSET", -4, KEY, flags!(write denyoom fast), "2.0.0"),
    unstable("HPERSIST", -5, KEY, flags!(write fast), "7.4.0"),
    unstable("HPEXPIRE", -6, KEY, flags!(write fast), "7.4.0").by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    unstable("HPEXPIREAT", -6, KEY, flags!(write fast), "7.4.0").by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    read("HPEXPIRETIME", -5, KEY, flags!(readonly fast), "7.4.0"),
    read("HPTTL", -5, KEY, flags!(readonly fast), "7.4.0"),
    read("HRANDFIELD", -2, KEY, flags!(readonly), "6.2.0").by(Rule::Choice),
    read("HSCAN", -3, KEY, flags!(readonly), "2.8.0").by(Rule::Scan { options: 3 }),
    unstable("HSET", -4, KEY, flags!(write denyoom fast), "2.0.0"),
    unstable("HSETEX", -6, KEY, flags!(write denyoom fast), "8.0.0").by(Rule::ConditionalWith(FIELD_CONDITIONS)),
    unstable("HSETNX", 4, KEY, flags!(write denyoom fast), "2.0.0"),
    read("HSTRLEN", 3, KEY, flags!(readonly fast), "3.2.0"),
    read("HTTL", -5, KEY, flags!(readonly fast), "7.4.0"),
    read("HVALS", 2, KEY, flags!(readonly), "2.0.0").heavy(),
];
