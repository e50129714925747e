//! Time-series commands. Queries by label name no key, so their keys are `UNKNOWN`.

use super::row::{KEY, NONE, TRIPLES, TWO, UNKNOWN_KEYS, admin, conditional, flags, once, read, stable, unstable};
use super::{Rule, Spec};

/// Time series, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    admin("TIMESERIES.CLUSTERSET", -1, NONE, flags!(module), "1.0.0").never(),
    admin("TIMESERIES.REFRESHCLUSTER", -1, NONE, flags!(module), "1.0.0").never(),
    once("TS.ADD", -4, KEY, flags!(write module), "1.0.0"),
    stable("TS.ALTER", -2, KEY, flags!(write module), "1.0.0"),
    conditional("TS.CREATE", -2, KEY, flags!(write module), "1.0.0"),
    conditional("TS.CREATERULE", -6, TWO, flags!(write module), "1.0.0"),
    once("TS.DECRBY", -3, KEY, flags!(write module), "1.0.0"),
    unstable("TS.DEL", 4, KEY, flags!(write module), "1.6.0").heavy(),
    conditional("TS.DELETERULE", 3, TWO, flags!(write module), "1.0.0"),
    read("TS.GET", -2, KEY, flags!(readonly module), "1.0.0"),
    once("TS.INCRBY", -3, KEY, flags!(write module), "1.0.0"),
    read("TS.INFO", -2, KEY, flags!(readonly module), "1.0.0"),
    once("TS.MADD", -4, TRIPLES, flags!(write module), "1.0.0"),
    read("TS.MGET", -3, UNKNOWN_KEYS, flags!(readonly module), "1.0.0").heavy(),
    read("TS.MRANGE", -5, UNKNOWN_KEYS, flags!(readonly module), "1.0.0").heavy(),
    read("TS.MREVRANGE", -5, UNKNOWN_KEYS, flags!(readonly module), "1.0.0").heavy(),
    read("TS.NRANGE", -4, UNKNOWN_KEYS, flags!(readonly module), "8.10.0").heavy(),
    read("TS.NREVRANGE", -4, UNKNOWN_KEYS, flags!(readonly module), "8.10.0").heavy(),
    read("TS.QUERYINDEX", -2, UNKNOWN_KEYS, flags!(readonly module), "1.0.0").heavy(),
    read("TS.QUERYLABELS", -1, UNKNOWN_KEYS, flags!(readonly module), "8.10.0").heavy(),
    read("TS.RANGE", -4, KEY, flags!(readonly module), "1.0.0").heavy(),
    read("TS.READ", -3, KEY, flags!(readonly module), "8.10.0").heavy().by(Rule::SeriesRead),
    read("TS.REVRANGE", -4, KEY, flags!(readonly module), "1.0.0").heavy(),
];
