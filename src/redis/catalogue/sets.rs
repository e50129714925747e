//! Set commands. A `*STORE` whose destination is one of its sources is `once`.

use super::row::{ALL, COUNT_1, KEY, TWO, conditional, flags, once, read, stable, unstable};
use super::{Rule, Spec};

/// Sets, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    unstable("SADD", -3, KEY, flags!(write denyoom fast), "1.0.0"),
    read("SCARD", 2, KEY, flags!(readonly fast), "1.0.0"),
    read("SDIFF", -2, ALL, flags!(readonly), "1.0.0").heavy(),
    read("SDIFFCARD", -3, COUNT_1, flags!(readonly movablekeys), "8.10.0").heavy(),
    stable("SDIFFSTORE", -3, ALL, flags!(write denyoom), "1.0.0").heavy().by(Rule::StoreInto),
    read("SINTER", -2, ALL, flags!(readonly), "1.0.0").heavy(),
    read("SINTERCARD", -3, COUNT_1, flags!(readonly movablekeys), "7.0.0").heavy(),
    stable("SINTERSTORE", -3, ALL, flags!(write denyoom), "1.0.0").heavy().by(Rule::StoreInto),
    read("SISMEMBER", 3, KEY, flags!(readonly fast), "1.0.0"),
    read("SMEMBERS", 2, KEY, flags!(readonly), "1.0.0").heavy(),
    read("SMISMEMBER", -3, KEY, flags!(readonly fast), "6.2.0"),
    conditional("SMOVE", 4, TWO, flags!(write fast), "1.0.0"),
    once("SPOP", -2, KEY, flags!(write fast), "1.0.0"),
    read("SRANDMEMBER", -2, KEY, flags!(readonly), "1.0.0").by(Rule::Choice),
    unstable("SREM", -3, KEY, flags!(write fast), "1.0.0"),
    read("SSCAN", -3, KEY, flags!(readonly), "2.8.0").by(Rule::Scan { options: 3 }),
    read("SUNION", -2, ALL, flags!(readonly), "1.0.0").heavy(),
    read("SUNIONCARD", -3, COUNT_1, flags!(readonly movablekeys), "8.10.0").heavy(),
    stable("SUNIONSTORE", -3, ALL, flags!(write denyoom), "1.0.0").heavy().by(Rule::StoreInto),
];
