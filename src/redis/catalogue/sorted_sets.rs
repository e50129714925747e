//! Sorted-set commands. `ZADD` is refined by its options; removing by rank is `once`, since ranks move.

use super::row::{ALL_BUT_LAST, COUNT_1, COUNT_2, DEST_COUNT, KEY, TWO, blocking, flags, once, read, stable, unstable};
use super::{Rule, Spec};

/// Sorted sets, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    blocking("BZMPOP", -5, COUNT_2, flags!(write blocking movablekeys), "7.0.0").never(),
    blocking("BZPOPMAX", -3, ALL_BUT_LAST, flags!(write noscript blocking fast), "5.0.0").never(),
    blocking("BZPOPMIN", -3, ALL_BUT_LAST, flags!(write noscript blocking fast), "5.0.0").never(),
    unstable("ZADD", -4, KEY, flags!(write denyoom fast), "1.2.0").by(Rule::SortedSetAdd),
    read("ZCARD", 2, KEY, flags!(readonly fast), "1.2.0"),
    read("ZCOUNT", 4, KEY, flags!(readonly fast), "2.0.0"),
    read("ZDIFF", -3, COUNT_1, flags!(readonly movablekeys), "6.2.0").heavy(),
    stable("ZDIFFSTORE", -4, DEST_COUNT, flags!(write denyoom movablekeys), "6.2.0").heavy().by(Rule::StoreInto),
    once("ZINCRBY", 4, KEY, flags!(write denyoom fast), "1.2.0"),
    read("ZINTER", -3, COUNT_1, flags!(readonly movablekeys), "6.2.0").heavy(),
    read("ZINTERCARD", -3, COUNT_1, flags!(readonly movablekeys), "7.0.0").heavy(),
    stable("ZINTERSTORE", -4, DEST_COUNT, flags!(write denyoom movablekeys), "2.0.0").heavy().by(Rule::StoreInto),
    read("ZLEXCOUNT", 4, KEY, flags!(readonly fast), "2.8.9"),
    once("ZMPOP", -4, COUNT_1, flags!(write movablekeys), "7.0.0"),
    read("ZMSCORE", -3, KEY, flags!(readonly fast), "6.2.0"),
    once("ZPOPMAX", -2, KEY, flags!(write fast), "5.0.0"),
    once("ZPOPMIN", -2, KEY, flags!(write fast), "5.0.0"),
    read("ZRANDMEMBER", -2, KEY, flags!(readonly), "6.2.0").by(Rule::Choice),
    read("ZRANGE", -4, KEY, flags!(readonly), "1.2.0").heavy(),
    read("ZRANGEBYLEX", -4, KEY, flags!(readonly), "2.8.9").heavy(),
    read("ZRANGEBYSCORE", -4, KEY, flags!(readonly), "1.0.5").heavy(),
    stable("ZRANGESTORE", -5, TWO, flags!(write denyoom), "6.2.0").heavy().by(Rule::StoreInto),
    read("ZRANK", 3, KEY, flags!(readonly fast), "2.0.0"),
    unstable("ZREM", -3, KEY, flags!(write fast), "1.2.0"),
    unstable("ZREMRANGEBYLEX", 4, KEY, flags!(write), "2.8.9").heavy(),
    once("ZREMRANGEBYRANK", 4, KEY, flags!(write), "2.0.0").heavy(),
    unstable("ZREMRANGEBYSCORE", 4, KEY, flags!(write), "1.2.0").heavy(),
    read("ZREVRANGE", -4, KEY, flags!(readonly), "1.2.0").heavy(),
    read("ZREVRANGEBYLEX", -4, KEY, flags!(readonly), "2.8.9").heavy(),
    read("ZREVRANGEBYSCORE", -4, KEY, flags!(readonly), "2.2.0").heavy(),
    read("ZREVRANK", 3, KEY, flags!(readonly fast), "2.0.0"),
    read("ZSCAN", -3, KEY, flags!(readonly), "2.8.0").by(Rule::Scan { options: 3 }),
    read("ZSCORE", 3, KEY, flags!(readonly fast), "1.2.0"),
    read("ZUNION", -3, COUNT_1, flags!(readonly movablekeys), "6.2.0").heavy(),
    stable("ZUNIONSTORE", -4, DEST_COUNT, flags!(write denyoom movablekeys), "2.0.0").heavy().by(Rule::StoreInto),
];
