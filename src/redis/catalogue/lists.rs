//! List commands. Pushing and popping is `once`, and so is what counts positions: they move under it. The blocking forms never run
//! on a shared connection.

use super::row::{ALL_BUT_LAST, COUNT_1, COUNT_2, KEY, TWO, blocking, flags, once, read};
use super::{Rule, Spec};

/// Lists, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    blocking("BLMOVE", 6, TWO, flags!(write denyoom noscript blocking), "6.2.0").never(),
    blocking("BLMOVEM", -6, TWO, flags!(write denyoom noscript blocking), "8.10.0").never(),
    blocking("BLMPOP", -5, COUNT_2, flags!(write blocking movablekeys), "7.0.0").never(),
    blocking("BLPOP", -3, ALL_BUT_LAST, flags!(write noscript blocking), "2.0.0").never(),
    blocking("BRPOP", -3, ALL_BUT_LAST, flags!(write noscript blocking), "2.0.0").never(),
    blocking("BRPOPLPUSH", 4, TWO, flags!(write denyoom noscript blocking), "2.2.0").never(),
    read("LINDEX", 3, KEY, flags!(readonly), "1.0.0"),
    once("LINSERT", 5, KEY, flags!(write denyoom), "2.2.0"),
    read("LLEN", 2, KEY, flags!(readonly fast), "1.0.0"),
    once("LMOVE", 5, TWO, flags!(write denyoom), "6.2.0"),
    once("LMOVEM", -5, TWO, flags!(write denyoom), "8.10.0"),
    once("LMPOP", -4, COUNT_1, flags!(write movablekeys), "7.0.0"),
    once("LPOP", -2, KEY, flags!(write fast), "1.0.0"),
    read("LPOS", -3, KEY, flags!(readonly), "6.0.6"),
    once("LPUSH", -3, KEY, flags!(write denyoom fast), "1.0.0"),
    once("LPUSHX", -3, KEY, flags!(write denyoom fast), "2.2.0"),
    read("LRANGE", 4, KEY, flags!(readonly), "1.0.0").heavy(),
    once("LREM", 4, KEY, flags!(write), "1.0.0").by(Rule::ListRemove),
    once("LSET", 4, KEY, flags!(write denyoom), "1.0.0"),
    once("LTRIM", 4, KEY, flags!(write), "1.0.0"),
    once("RPOP", -2, KEY, flags!(write fast), "1.0.0"),
    once("RPOPLPUSH", 3, TWO, flags!(write denyoom), "1.2.0"),
    once("RPUSH", -3, KEY, flags!(write denyoom fast), "1.0.0"),
    once("RPUSHX", -3, KEY, flags!(write denyoom fast), "2.2.0"),
];
