//! Decisions about time and failure.
//!
//! Breaker, window, detectors, retry budget, backoff, bulkhead, deadline: each answers one question
//! about a call that has not been made yet, or learns from one that has.
//!
//! The room is pure. It knows no Redis, no HTTP and no environment, starts no task and never reads a
//! clock: time enters as a [`Moment`], randomness as a seed or a number. That is why every edge here
//! has a test without a sleep. What happens inside is told to an [`Observer`].
//!
//! Limit: everything lives in this process. Instances do not share what they learned.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod deadline;
pub mod detectors;
pub mod moment;
pub mod observer;
pub mod retry;
pub mod window;

pub use backoff::Backoff;
pub use breaker::{
    Admission, Breaker, Cause, Outcomes, Override, Probing, Progress, Refused, Snapshot, State, Verdict,
};
pub use budget::RetryBudget;
pub use bulkhead::{Bulkhead, Full, Slot, Waiting};
pub use deadline::Deadline;
pub use detectors::{Activity, BusyDetector, ConnectDetector, StallDetector};
pub use moment::Moment;
pub use observer::{Observer, Silent};
pub use retry::RetryPolicy;
pub use window::{Totals, Window};
