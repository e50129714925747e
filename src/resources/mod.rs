//! The product's resources, each one file: what it is in Redis, its calls, and how each fails.
//!
//! A resource gets a [`Namespace`] and a [`crate::redis::Gateway`], never a token: who may call is decided before. A key is
//! exactly one plain Redis string and a counter one integer string, so that both dialects and any Redis tool see the same.
//! What takes more than one command runs as one function inside Redis (`atomic`). Reads may be answered from the past while Redis
//! does not answer ([`stale`]).

mod atomic;
pub mod commands;
mod conditions;
pub mod counters;
mod failure;
mod fenced;
pub mod keys;
pub mod leases;
pub mod limiters;
pub mod listing;
mod namespace;
mod once;
pub mod operations;
pub mod presence;
pub mod stale;

pub use atomic::{Decided, Decision};
pub use conditions::{Conditions, Tags};
pub use failure::{Failure, FailureKind};
pub use fenced::Fence;
pub use namespace::{Namespace, Reserved};
pub use once::Once;

/// What a read found. That there is nothing is Redis' decision, too, and its caller is told how often Redis was asked.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// What there is, if there is anything.
    pub value: Option<T>,
    /// Attempts handed to Redis.
    pub attempts: u32,
}
