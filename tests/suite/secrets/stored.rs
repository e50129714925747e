//! What Redis may hold: what callers stored, and nothing about who they are.
//!
//! Why so: one read of one type of value shows nothing of hashes, sets and records. So Redis saves all it has, uncompressed, and the
//! bytes are searched; first for what must be there, or finding nothing would prove nothing. Limits: names and values are their
//! callers' own and may say anything.

use std::path::Path;

use super::{ADDRESS, TOKEN};
use crate::harness::Redis;

/// What is nobody's data, but who somebody is: how he signs in, where he calls from, what he visits, what he calls his requests.
const PERSONAL: [&str; 16] = [
    ADDRESS,
    TOKEN,
    "canary-wrong-token",
    "canary-basic",
    "canary-user-agent",
    "canary-cookie",
    "canary@example.org",
    "canary-origin",
    "canary-sync-token",
    "canary-trace",
    "canary-query",
    "canary-visitor",
    "canary-passer-by",
    "canary-once",
    "canary-never",
    "canary-message",
];

/// Redis holds what callers stored and nothing about who they are: every byte of what it would write to disk is searched, of
/// hashes, sets and functions, too.
pub async fn nothing_personal_is_stored(redis: &Redis) {
    let setting = async |name: &str| redis.command(&["CONFIG", "GET", name]).await.items()[1].to_string();
    redis.command(&["CONFIG", "SET", "rdbcompression", "no"]).await;
    assert_eq!(redis.command(&["SAVE"]).await, "OK");
    let file = Path::new(&setting("dir").await).join(setting("dbfilename").await);
    let stored = String::from_utf8_lossy(&std::fs::read(file).expect("what Redis saved")).to_lowercase();
    for data in ["canary-value", "canary-field", "canary-owner", "canary-room", "canary-limiter", "canary-counter"] {
        assert!(stored.contains(data), "{data} was stored, or the search proves nothing");
    }
    for personal in PERSONAL.map(str::to_lowercase) {
        let found = stored.find(&personal).map(|at| stored.get(at.saturating_sub(80)..(at + 80).min(stored.len())));
        assert!(found.is_none(), "{personal} was stored: …{found:?}…");
    }
}
