//! String commands. A conditional `SET` is refined by its arguments; everything that counts is `once`.

use super::refine::KEY_CONDITIONS;
use super::row::{ALL, COUNTED_PAIRS, KEY, PAIRS, TWO, conditional, flags, once, read, stable, unstable};
use super::{Rule, Spec};

/// Strings, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    once("APPEND", 3, KEY, flags!(write denyoom fast), "2.0.0"),
    once("DECR", 2, KEY, flags!(write denyoom fast), "1.0.0"),
    once("DECRBY", 3, KEY, flags!(write denyoom fast), "1.0.0"),
    conditional("DELEX", -2, KEY, flags!(write fast), "8.4.0"),
    conditional("DELIFEQ", 3, KEY, flags!(write fast), "9.0.0"),
    read("DIGEST", 2, KEY, flags!(readonly fast), "8.4.0"),
    read("GET", 2, KEY, flags!(readonly fast), "1.0.0"),
    conditional("GETDEL", 2, KEY, flags!(write fast), "6.2.0"),
    unstable("GETEX", -2, KEY, flags!(write fast), "6.2.0"),
    read("GETRANGE", 4, KEY, flags!(readonly), "2.4.0"),
    conditional("GETSET", 3, KEY, flags!(write denyoom fast), "1.0.0"),
    once("INCR", 2, KEY, flags!(write denyoom fast), "1.0.0"),
    once("INCRBY", 3, KEY, flags!(write denyoom fast), "1.0.0"),
    once("INCRBYFLOAT", 3, KEY, flags!(write denyoom fast), "2.6.0"),
    once("INCREX", -2, KEY, flags!(write denyoom fast), "8.8.0"),
    read("LCS", -3, TWO, flags!(readonly), "7.0.0").heavy(),
    read("MGET", -2, ALL, flags!(readonly fast), "1.0.0"),
    stable("MSET", -3, PAIRS, flags!(write denyoom), "1.0.1"),
    unstable("MSETEX", -4, COUNTED_PAIRS, flags!(write denyoom movablekeys), "8.4.0")
        .by(Rule::ConditionalWith(KEY_CONDITIONS)),
    conditional("MSETNX", -3, PAIRS, flags!(write denyoom), "1.0.1"),
    stable("PSETEX", 4, KEY, flags!(write denyoom), "2.6.0"),
    stable("SET", -3, KEY, flags!(write denyoom), "1.0.0").by(Rule::Set),
    stable("SETEX", 4, KEY, flags!(write denyoom), "2.0.0"),
    conditional("SETNX", 3, KEY, flags!(write denyoom fast), "1.0.0"),
    unstable("SETRANGE", 4, KEY, flags!(write denyoom), "2.2.0").by(Rule::Offset { unit: 8 }),
    read("STRLEN", 2, KEY, flags!(readonly fast), "2.2.0"),
    read("SUBSTR", 4, KEY, flags!(readonly), "1.0.0"),
];
