//! Array commands of Redis 8.8. Their writes are not reviewed one by one, so every one of them is `once`.

use super::Spec;
use super::row::{KEY, flags, once, read};

/// Arrays, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    read("ARCOUNT", 2, KEY, flags!(readonly fast), "8.8.0"),
    once("ARDEL", -3, KEY, flags!(write fast), "8.8.0"),
    once("ARDELRANGE", -4, KEY, flags!(write), "8.8.0").heavy(),
    read("ARGET", 3, KEY, flags!(readonly fast), "8.8.0"),
    read("ARGETRANGE", 4, KEY, flags!(readonly), "8.8.0").heavy(),
    read("ARGREP", -5, KEY, flags!(readonly), "8.8.0").heavy(),
    read("ARINFO", -2, KEY, flags!(readonly), "8.8.0"),
    once("ARINSERT", -3, KEY, flags!(write denyoom fast), "8.8.0"),
    read("ARLASTITEMS", -3, KEY, flags!(readonly), "8.8.0").heavy(),
    read("ARLEN", 2, KEY, flags!(readonly fast), "8.8.0"),
    read("ARMGET", -3, KEY, flags!(readonly fast), "8.8.0"),
    once("ARMSET", -4, KEY, flags!(write denyoom fast), "8.8.0"),
    read("ARNEXT", 2, KEY, flags!(readonly fast), "8.8.0"),
    read("AROP", -5, KEY, flags!(readonly), "8.8.0").heavy(),
    once("ARRING", -4, KEY, flags!(write denyoom), "8.8.0"),
    read("ARSCAN", -4, KEY, flags!(readonly), "8.8.0").heavy(),
    once("ARSEEK", 3, KEY, flags!(write fast), "8.8.0"),
    once("ARSET", -4, KEY, flags!(write denyoom fast), "8.8.0"),
];
