//! JSON commands. A path with an index, a filter or a recursive step may hit another element the second time, so such
//! a write is `once`.

use super::row::{ALL_BUT_LAST, KEY, NONE, SECOND, TRIPLES, UNKNOWN_KEYS, admin, flags, once, read, unstable};
use super::{Rule, Spec};

/// JSON documents, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    once("JSON.ARRAPPEND", -3, KEY, flags!(write module), "1.0.0"),
    read("JSON.ARRINDEX", -4, KEY, flags!(readonly module), "1.0.0"),
    once("JSON.ARRINSERT", -5, KEY, flags!(write module), "1.0.0"),
    read("JSON.ARRLEN", -2, KEY, flags!(readonly module), "1.0.0"),
    once("JSON.ARRPOP", -2, KEY, flags!(write module), "1.0.0"),
    once("JSON.ARRTRIM", 5, KEY, flags!(write module), "1.0.0"),
    unstable("JSON.CLEAR", -2, KEY, flags!(write module), "2.0.0").by(Rule::JsonDelete),
    admin("JSON.DEBUG", -2, UNKNOWN_KEYS, flags!(module), "1.0.0").container().scope("admin"),
    read("JSON.DEBUG|HELP", 2, NONE, flags!(readonly module), "1.0.0").scope("admin"),
    read("JSON.DEBUG|MEMORY", -3, SECOND, flags!(readonly module), "1.0.0").scope("admin"),
    unstable("JSON.DEL", -2, KEY, flags!(write module), "1.0.0").by(Rule::JsonDelete),
    unstable("JSON.FORGET", -2, KEY, flags!(write module), "1.0.0").by(Rule::JsonDelete),
    read("JSON.GET", -2, KEY, flags!(readonly module), "1.0.0").heavy(),
    unstable("JSON.MERGE", 4, KEY, flags!(write module), "2.6.0").by(Rule::JsonWrite),
    read("JSON.MGET", -3, ALL_BUT_LAST, flags!(readonly module), "1.0.0").heavy(),
    once("JSON.MSET", -4, TRIPLES, flags!(write module), "2.6.0"),
    once("JSON.NUMINCRBY", 4, KEY, flags!(write module), "1.0.0"),
    once("JSON.NUMMULTBY", 4, KEY, flags!(write module), "1.0.0"),
    once("JSON.NUMPOWBY", 4, KEY, flags!(write module), "1.0.0"),
    read("JSON.OBJKEYS", -2, KEY, flags!(readonly module), "1.0.0").heavy(),
    read("JSON.OBJLEN", -2, KEY, flags!(readonly module), "1.0.0"),
    read("JSON.RESP", -2, KEY, flags!(readonly module), "1.0.0").heavy(),
    unstable("JSON.SET", -4, KEY, flags!(write module), "1.0.0").by(Rule::JsonWrite),
    once("JSON.STRAPPEND", -3, KEY, flags!(write module), "1.0.0"),
    read("JSON.STRLEN", -2, KEY, flags!(readonly module), "1.0.0"),
    once("JSON.TOGGLE", -2, KEY, flags!(write module), "2.0.0"),
    read("JSON.TYPE", -2, KEY, flags!(readonly module), "1.0.0"),
];
