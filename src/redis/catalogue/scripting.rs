//! Scripts and functions. A script may do anything, so it is `once`, heavy, and needs a scope; what changes the code
//! others run needs `admin`. What changes all libraries at once is never open: the service's own is among them.

use super::row::{COUNT_2, NONE, UNKNOWN_KEYS, admin, conditional, flags, once, read, session, stable};
use super::{Rule, Spec};

/// Scripts and functions, sorted by name.
pub(super) const ROWS: &[Spec] = &[
    once("EVAL", -3, COUNT_2, flags!(noscript stale skip_monitor no_mandatory_keys movablekeys), "2.6.0")
        .heavy()
        .code()
        .scope("scripts"),
    once("EVALSHA", -3, COUNT_2, flags!(noscript stale skip_monitor no_mandatory_keys movablekeys), "2.6.0")
        .heavy()
        .code()
        .scope("scripts"),
    read(
        "EVALSHA_RO",
        -3,
        COUNT_2,
        flags!(readonly noscript stale skip_monitor no_mandatory_keys movablekeys),
        "7.0.0",
    )
    .heavy()
    .code()
    .scope("scripts"),
    read("EVAL_RO", -3, COUNT_2, flags!(readonly noscript stale skip_monitor no_mandatory_keys movablekeys), "7.0.0")
        .heavy()
        .code()
        .scope("scripts"),
    once("FCALL", -3, COUNT_2, flags!(noscript stale skip_monitor no_mandatory_keys movablekeys), "7.0.0")
        .heavy()
        .code()
        .scope("scripts"),
    read("FCALL_RO", -3, COUNT_2, flags!(readonly noscript stale skip_monitor no_mandatory_keys movablekeys), "7.0.0")
        .heavy()
        .code()
        .scope("scripts"),
    once("FUNCTION", -2, UNKNOWN_KEYS, flags!(), "7.0.0").container().scope("admin"),
    admin("FUNCTION|DELETE", 3, NONE, flags!(write noscript), "7.0.0").scope("admin"),
    read("FUNCTION|DUMP", 2, NONE, flags!(noscript), "7.0.0").heavy().scope("scripts"),
    admin("FUNCTION|FLUSH", -2, NONE, flags!(write noscript), "7.0.0").heavy().never(),
    read("FUNCTION|HELP", 2, NONE, flags!(loading stale), "7.0.0").scope("scripts"),
    admin("FUNCTION|KILL", 2, NONE, flags!(noscript allow_busy), "7.0.0").scope("admin"),
    read("FUNCTION|LIST", -2, NONE, flags!(noscript), "7.0.0").scope("scripts"),
    conditional("FUNCTION|LOAD", -3, NONE, flags!(write denyoom noscript), "7.0.0")
        .scope("admin")
        .by(Rule::FunctionLoad),
    admin("FUNCTION|RESTORE", -3, NONE, flags!(write denyoom noscript), "7.0.0").heavy().never(),
    read("FUNCTION|STATS", 2, NONE, flags!(noscript allow_busy), "7.0.0").scope("scripts"),
    once("SCRIPT", -2, UNKNOWN_KEYS, flags!(), "2.6.0").container().scope("admin"),
    session("SCRIPT|DEBUG", 3, NONE, flags!(noscript), "3.2.0").never(),
    read("SCRIPT|EXISTS", -3, NONE, flags!(noscript), "2.6.0").scope("scripts"),
    admin("SCRIPT|FLUSH", -2, NONE, flags!(noscript), "2.6.0").heavy().scope("admin"),
    read("SCRIPT|HELP", 2, NONE, flags!(loading stale), "5.0.0").scope("scripts"),
    admin("SCRIPT|KILL", 2, NONE, flags!(noscript allow_busy), "2.6.0").scope("admin"),
    stable("SCRIPT|LOAD", 3, NONE, flags!(noscript stale), "2.6.0").scope("scripts"),
    read("SCRIPT|SHOW", 3, NONE, flags!(noscript), "8.0.0").scope("scripts"),
];
