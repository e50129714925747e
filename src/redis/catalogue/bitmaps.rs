//! Bit and HyperLogLog commands. `BITFIELD` is a read only when every operation in it is `GET`; `PFMERGE` keeps what its destination
//! held, so it is not absorbing.

use super::row::{ALL, FROM_SECOND, KEY, NONE, SECOND, admin, flags, once, read, stable, unstable};
use super::{Rule, Spec};

/// Bitmaps and HyperLogLog, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    read("BITCOUNT", -2, KEY, flags!(readonly), "2.6.0").heavy(),
    once("BITFIELD", -2, KEY, flags!(write denyoom), "3.2.0").by(Rule::BitField),
    read("BITFIELD_RO", -2, KEY, flags!(readonly fast), "6.0.0"),
    stable("BITOP", -4, FROM_SECOND, flags!(write denyoom), "2.6.0").heavy().by(Rule::StoreInto),
    read("BITPOS", -3, KEY, flags!(readonly), "2.8.7").heavy(),
    read("GETBIT", 3, KEY, flags!(readonly fast), "2.2.0"),
    unstable("PFADD", -2, KEY, flags!(write denyoom fast), "2.8.9"),
    read("PFCOUNT", -2, ALL, flags!(readonly), "2.8.9").by(Rule::Merge),
    admin("PFDEBUG", 3, SECOND, flags!(write denyoom admin), "2.8.9").heavy().never(),
    unstable("PFMERGE", -2, ALL, flags!(write denyoom), "2.8.9").heavy().by(Rule::Merge),
    admin("PFSELFTEST", 1, NONE, flags!(admin), "2.8.9").heavy().never(),
    unstable("SETBIT", 4, KEY, flags!(write denyoom), "2.2.0").by(Rule::Offset { unit: 1 }),
];
