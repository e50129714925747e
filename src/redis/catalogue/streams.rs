//! Stream commands. Whether `XREAD` blocks is in its arguments; a delivery to a consumer is `once`.

use super::row::{KEY, NONE, SECOND, STREAMS, UNKNOWN_KEYS, flags, once, read, unstable};
use super::{Rule, Spec};

/// Streams, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    unstable("XACK", -4, KEY, flags!(write fast), "5.0.0").quotes(),
    unstable("XACKDEL", -6, KEY, flags!(write fast), "8.2.0").quotes(),
    once("XADD", -5, KEY, flags!(write denyoom fast), "5.0.0").quotes(),
    once("XAUTOCLAIM", -6, KEY, flags!(write fast), "6.2.0").quotes().by(Rule::Scan { options: 6 }),
    once("XCFGSET", -2, KEY, flags!(write fast), "8.6.0").quotes(),
    once("XCLAIM", -6, KEY, flags!(write fast), "5.0.0").quotes(),
    unstable("XDEL", -3, KEY, flags!(write fast), "5.0.0").quotes(),
    unstable("XDELEX", -5, KEY, flags!(write fast), "8.2.0").quotes(),
    once("XGROUP", -2, UNKNOWN_KEYS, flags!(), "5.0.0").container(),
    unstable("XGROUP|CREATE", -5, SECOND, flags!(write denyoom), "5.0.0"),
    unstable("XGROUP|CREATECONSUMER", 5, SECOND, flags!(write denyoom), "6.2.0"),
    unstable("XGROUP|DELCONSUMER", 5, SECOND, flags!(write), "5.0.0"),
    unstable("XGROUP|DESTROY", 4, SECOND, flags!(write), "5.0.0"),
    read("XGROUP|HELP", 2, NONE, flags!(loading stale), "5.0.0"),
    unstable("XGROUP|SETID", -5, SECOND, flags!(write), "5.0.0").by(Rule::GroupPosition),
    once("XIDMPRECORD", 5, KEY, flags!(write denyoom fast), "8.6.2").quotes(),
    once("XINFO", -2, UNKNOWN_KEYS, flags!(), "5.0.0").container(),
    read("XINFO|CONSUMERS", 4, SECOND, flags!(readonly), "5.0.0"),
    read("XINFO|GROUPS", 3, SECOND, flags!(readonly), "5.0.0"),
    read("XINFO|HELP", 2, NONE, flags!(loading stale), "5.0.0"),
    read("XINFO|STREAM", -3, SECOND, flags!(readonly), "5.0.0").heavy(),
    read("XLEN", 2, KEY, flags!(readonly fast), "5.0.0").quotes(),
    once("XNACK", -7, KEY, flags!(write fast), "8.8.0").quotes(),
    read("XPENDING", -3, KEY, flags!(readonly), "5.0.0").quotes(),
    read("XRANGE", -4, KEY, flags!(readonly), "5.0.0").heavy().quotes(),
    read("XREAD", -4, STREAMS, flags!(readonly blocking movablekeys), "5.0.0").heavy().by(Rule::StreamRead).quotes(),
    once("XREADGROUP", -7, STREAMS, flags!(write blocking movablekeys), "5.0.0").heavy().by(Rule::StreamRead).quotes(),
    read("XREVRANGE", -4, KEY, flags!(readonly), "5.0.0").heavy().quotes(),
    unstable("XSETID", -3, KEY, flags!(write denyoom fast), "5.0.0").quotes(),
    unstable("XTRIM", -4, KEY, flags!(write), "5.0.0").heavy().by(Rule::StreamTrim).quotes(),
];
