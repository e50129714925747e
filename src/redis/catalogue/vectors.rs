//! Vector-set commands of Redis 8. A similarity search walks a graph of any size, so it is heavy.

use super::row::{KEY, flags, read, unstable};
use super::{Rule, Spec};

/// Vector sets, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    unstable("VADD", -5, KEY, flags!(write module), "8.0.0").heavy(),
    read("VCARD", 2, KEY, flags!(readonly module), "8.0.0"),
    read("VDIM", 2, KEY, flags!(readonly module), "8.0.0"),
    read("VEMB", -3, KEY, flags!(readonly module), "8.0.0"),
    read("VGETATTR", 3, KEY, flags!(readonly module), "8.0.0"),
    read("VINFO", 2, KEY, flags!(readonly module), "8.0.0"),
    read("VISMEMBER", 3, KEY, flags!(readonly module), "8.2.0"),
    read("VLINKS", -3, KEY, flags!(readonly module), "8.0.0"),
    read("VRANDMEMBER", -2, KEY, flags!(readonly module), "8.0.0").by(Rule::Choice),
    read("VRANGE", -4, KEY, flags!(readonly module), "8.4.0").heavy(),
    unstable("VREM", 3, KEY, flags!(write module), "8.0.0"),
    unstable("VSETATTR", 4, KEY, flags!(write module), "8.0.0"),
    read("VSIM", -4, KEY, flags!(readonly module), "8.0.0").heavy(),
];
