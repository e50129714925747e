//! Geospatial commands. `GEORADIUS` writes only with `STORE` or `STOREDIST`.

use super::refine::MEMBER_CONDITIONS;
use super::row::{GEORADIUS, GEORADIUSBYMEMBER, KEY, TWO, flags, once, read, stable, unstable};
use super::{Rule, Spec};

/// Geospatial, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    unstable("GEOADD", -5, KEY, flags!(write denyoom), "3.2.0").by(Rule::ConditionalWith(MEMBER_CONDITIONS)),
    read("GEODIST", -4, KEY, flags!(readonly), "3.2.0"),
    read("GEOHASH", -2, KEY, flags!(readonly), "3.2.0"),
    read("GEOPOS", -2, KEY, flags!(readonly), "3.2.0"),
    once("GEORADIUS", -6, GEORADIUS, flags!(write denyoom movablekeys), "3.2.0").heavy().by(Rule::GeoRadius),
    once("GEORADIUSBYMEMBER", -5, GEORADIUSBYMEMBER, flags!(write denyoom movablekeys), "3.2.0")
        .heavy()
        .by(Rule::GeoRadius),
    read("GEORADIUSBYMEMBER_RO", -5, KEY, flags!(readonly), "3.2.10").heavy(),
    read("GEORADIUS_RO", -6, KEY, flags!(readonly), "3.2.10").heavy(),
    read("GEOSEARCH", -7, KEY, flags!(readonly), "6.2.0").heavy(),
    stable("GEOSEARCHSTORE", -8, TWO, flags!(write denyoom), "6.2.0").heavy().by(Rule::StoreInto),
];
