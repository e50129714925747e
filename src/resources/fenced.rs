//! Writes under a lease's fencing token: applied only if Redis has seen no newer token of that lease.
//!
//! Redis compares (`define_fenced` of `migrations/0001_prelude.lua`), in the same step as the write, so a deposed holder is refused
//! however late his write arrives. Limits: the token is believed; who may hold the lease is the lease's affair.

/// A lease and the token its holder was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    lease: Vec<u8>,
    token: String,
}

impl Fence {
    /// The fence of the lease of this name.
    pub fn new(lease: &[u8], token: u64) -> Self {
        Self { lease: [b"collective:lease:", lease].concat(), token: token.to_string() }
    }
}

/// The first argument of a fenced function.
pub(super) fn token(fence: Option<&Fence>) -> &[u8] {
    fence.map_or(b"", |fence| fence.token.as_bytes())
}

/// The keys of a fenced function about `key`.
pub(super) fn keys<'a>(key: &'a [u8], fence: Option<&'a Fence>) -> Vec<&'a [u8]> {
    std::iter::once(key).chain(fence.map(|fence| fence.lease.as_slice())).collect()
}
