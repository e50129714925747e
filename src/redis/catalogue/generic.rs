//! Commands for keys of any type. Those that name no key but touch many have `UNKNOWN` keys, so a confined caller
//! cannot use them unfiltered.

use super::refine::EXPIRY_CONDITIONS;
use super::row::{
    ALL, KEY, MIGRATE, NONE, SECOND, SORT, TWO, UNKNOWN_KEYS, admin, blocking, conditional, flags, once, read, unstable,
};
use super::{Rule, Spec};

/// Keys of any type, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    conditional("COPY", -3, TWO, flags!(write denyoom), "6.2.0").by(Rule::Copy),
    unstable("DEL", -2, ALL, flags!(write), "1.0.0"),
    read("DUMP", 2, KEY, flags!(readonly), "2.6.0").heavy(),
    read("EXISTS", -2, ALL, flags!(readonly fast), "1.0.0"),
    unstable("EXPIRE", -3, KEY, flags!(write fast), "1.0.0").quotes().by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    unstable("EXPIREAT", -3, KEY, flags!(write fast), "1.2.0").quotes().by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    read("EXPIRETIME", 2, KEY, flags!(readonly fast), "7.0.0"),
    read("KEYS", 2, UNKNOWN_KEYS, flags!(readonly), "1.0.0").heavy().scope("admin"),
    admin("MIGRATE", -6, MIGRATE, flags!(write movablekeys), "2.6.0").heavy().never(),
    conditional("MOVE", 3, KEY, flags!(write fast), "1.0.0").never(),
    once("OBJECT", -2, UNKNOWN_KEYS, flags!(), "2.2.3").container(),
    read("OBJECT|ENCODING", 3, SECOND, flags!(readonly), "2.2.3"),
    read("OBJECT|FREQ", 3, SECOND, flags!(readonly), "4.0.0"),
    read("OBJECT|HELP", 2, NONE, flags!(loading stale), "6.2.0"),
    read("OBJECT|IDLETIME", 3, SECOND, flags!(readonly), "2.2.3"),
    read("OBJECT|REFCOUNT", 3, SECOND, flags!(readonly), "2.2.3"),
    unstable("PERSIST", 2, KEY, flags!(write fast), "2.2.0"),
    unstable("PEXPIRE", -3, KEY, flags!(write fast), "2.6.0").quotes().by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    unstable("PEXPIREAT", -3, KEY, flags!(write fast), "2.6.0").quotes().by(Rule::ConditionalWith(EXPIRY_CONDITIONS)),
    read("PEXPIRETIME", 2, KEY, flags!(readonly fast), "7.0.0"),
    read("PTTL", 2, KEY, flags!(readonly fast), "2.6.0"),
    read("RANDOMKEY", 1, UNKNOWN_KEYS, flags!(readonly), "1.0.0"),
    conditional("RENAME", 3, TWO, flags!(write), "1.0.0"),
    conditional("RENAMENX", 3, TWO, flags!(write fast), "1.0.0"),
    conditional("RESTORE", -4, KEY, flags!(write denyoom), "2.6.0").heavy().by(Rule::Restore),
    admin("RESTORE-ASKING", -4, KEY, flags!(write denyoom asking), "3.0.0").heavy().never(),
    read("SCAN", -2, UNKNOWN_KEYS, flags!(readonly), "2.8.0"),
    once("SORT", -2, SORT, flags!(write denyoom movablekeys), "1.0.0").heavy().scope("admin").by(Rule::Sort),
    read("SORT_RO", -2, SORT, flags!(readonly movablekeys), "7.0.0").heavy().scope("admin"),
    read("TOUCH", -2, ALL, flags!(readonly fast), "3.2.1"),
    read("TTL", 2, KEY, flags!(readonly fast), "1.0.0"),
    read("TYPE", 2, KEY, flags!(readonly fast), "1.0.0"),
    unstable("UNLINK", -2, ALL, flags!(write fast), "4.0.0"),
    blocking("WAIT", 3, NONE, flags!(noscript), "3.0.0").never(),
    blocking("WAITAOF", 4, NONE, flags!(blocking), "7.2.0").never(),
];
