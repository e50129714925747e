//! The only door to Redis: gateway, connections, command catalogue, errors, embedded server.
//!
//! Everything the product asks of Redis goes through [`Gateway::run`] and its like for batches, transactions and streams: no other room
//! can name the driver. [`Endpoint`] is one server as all workers see it; [`Keeper`] looks after it in the background, and
//! [`SubscriptionKeeper`] after its subscriptions.
//!
//! | file | its one job |
//! |---|---|
//! | `gateway` | guards in order, retries, the sticky outcome |
//! | `attempt`, `watch`, `timers` | one attempt and how it ended; waiting for its reply, without a timer of its own |
//! | `spans` | what traces are told of a call |
//! | `fence` | making sure an abandoned write has run or never will |
//! | `pool`, `connector`, `link`, `sanitize` | connections per worker, how they are made, what is known of each |
//! | `lookup` | where a host's name leads |
//! | `tls` | certificates, the handshake, and why it failed |
//! | `endpoint` | what is shared: breakers, detectors, budget, debts |
//! | `keeper`, `endless` | probes, heartbeat, stall watch; the end of scripts that have none |
//! | `command`, `transaction`, `catalogue` | what is sent, and everything known about it |
//! | `reserved` | what of a caller's command reaches for something of the service's own |
//! | `error` | outcomes, and what Redis' own error codes are worth |
//! | `writes` | who hears of writes |
//! | `instances`, `server_time` | how many of us serve from this server; what time it is there |
//! | `subscriptions` | one subscription a channel, shared by all its readers |
//! | `functions` | what runs in one piece inside Redis, and the migrations that bring it there |
//! | `embedded` | the private server child |

mod address;
mod attempt;
pub mod catalogue;
mod command;
mod connector;
pub mod embedded;
mod endless;
mod endpoint;
mod error;
mod fence;
pub mod functions;
mod gateway;
mod instances;
mod keeper;
mod link;
mod lookup;
mod pool;
mod reserved;
mod sanitize;
mod server_time;
mod settings;
mod spans;
mod subscriptions;
mod timers;
mod tls;
mod transaction;
mod watch;
mod writes;

pub use address::Address;
pub use command::{Batch, Command, CommandBuilder, HEAVY_BYTES, HEAVY_COMMANDS, Objection};
pub use endpoint::{Endpoint, Reading};
pub use error::{Error, ErrorKind, Judge, Meaning, Outcome, Suspect, meaning, server_error};
pub use gateway::Gateway;
pub use keeper::Keeper;
pub use redis_rs::{ServerError, Value as Reply};
pub use reserved::{RESERVED, Reserved};
pub use sanitize::DEEPEST_REPLY;
pub use settings::{Settings, StreamSettings};
pub use subscriptions::{
    Message, NoStream, StreamEnd, StreamEvent, Subscription, SubscriptionKeeper, Subscriptions, Topic,
};
pub use tls::{Tls, TlsError, TlsFiles, TlsRole};
pub use transaction::{Ending, Transaction, cause};
pub use writes::{Interest, Touched, Witness, Writes};

/// What the driver makes of RESP bytes: the values that other rooms' tests must be able to meet.
#[cfg(test)]
pub fn reply_of_bytes(bytes: &[u8]) -> Option<Reply> {
    redis_rs::parse_redis_value(bytes).ok()
}

/// A definite answer and how many attempts it took.
#[derive(Debug)]
pub struct Answer<R> {
    /// Redis' reply, which may be its own error.
    pub reply: R,
    /// Attempts handed to a connection, this one included.
    pub attempts: u32,
}
