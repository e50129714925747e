//! Leases: exclusive for a time, with a token that only ever rises.
//!
//! Everything is decided inside Redis by its own clock (`migrations/0003_leases.lua`): a lease may outlive its time there, never
//! end before it. Every acquisition happens once, under the caller's record or one of its own, so its own lost reply does not
//! make it a stranger. What stays ambiguous all the same can be taken back ([`Leases::withdraw`]): then nobody holds
//! the name whom nobody knows of. Limits: a lease alone excludes nobody who was paused beyond it; the token does, where it is
//! presented with each write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::atomic::{Decided, Decision, Step};
use super::once::{Once, nonce};
use super::{Failure, Found, Namespace};
use crate::redis::catalogue::Class;
use crate::redis::functions::FunctionCall;
use crate::redis::{Gateway, Reply};
use crate::resilience::Deadline;

/// The kind of name a lease has in the key space.
const KIND: &str = "lease";
/// How long a withdrawn attempt is remembered, should it be on its way still: longer than any connection holds bytes back.
pub const WITHDRAWN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The highest token that passed through this instance. Redis issues none below it, even if a failover leads to a server that has
/// lost the last ones and whose clock is behind.
#[derive(Debug, Default)]
pub struct HighestToken(AtomicU64);

impl HighestToken {
    fn saw(&self, token: u64) {
        self.0.fetch_max(token, Ordering::Relaxed);
    }

    fn floor(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Leases of one name space.
pub struct Leases<'a> {
    gateway: &'a Gateway,
    names: &'a Namespace,
    highest: &'a HighestToken,
}

/// What somebody wants who acquires.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who he says he is.
    pub owner: String,
    /// For how long.
    pub ttl: Duration,
    /// The token under which he holds it already, if he does.
    pub token: Option<u64>,
}

/// One attempt at a lease, which can be told from every other.
#[derive(Clone, Debug)]
pub struct Attempt {
    key: Vec<u8>,
    nonce: String,
    once: Once,
}

impl Attempt {
    /// An attempt at the lease `name`, under the caller's record if he brought one.
    pub fn new(names: &Namespace, name: &[u8], callers: Option<Once>) -> Self {
        Self { key: names.service_key(KIND, name), nonce: nonce(), once: callers.unwrap_or_else(Once::for_this_call) }
    }

    /// Whether it may be withdrawn. Not if its author can ask again under his own key: he may be told that he holds the lease
    /// at the moment it is taken back.
    pub fn is_withdrawable(&self) -> bool {
        self.once.is_own()
    }
}

/// A lease somebody was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The token.
    pub token: u64,
    /// What was left of it when Redis answered; nothing if it is over.
    pub remaining: Duration,
    /// Whether its owner held it before.
    pub held_before: bool,
}

/// What an acquisition came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It is his.
    Granted(Grant),
    /// Somebody else's, for so long.
    Held(Duration),
}

/// What a renewal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is his for longer.
    Prolonged {
        /// What was left of it when Redis answered.
        remaining: Duration,
        /// Who holds it.
        owner: String,
    },
    /// It is held under another token, for so long.
    Held(Duration),
    /// Nobody holds it: it ran out or was released.
    Free,
}

/// What a release came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is free now.
    Done,
    /// It is held under another token, for so long.
    Held(Duration),
    /// Nobody held it.
    Free,
}

/// A lease as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who holds it.
    pub owner: String,
    /// What is left of it.
    pub remaining: Duration,
}

impl Acquired {
    /// The function's name, under which its decisions are remembered.
    pub const FUNCTION: &'static str = "lease_acquire";

    /// Reads a decision of the function.
    pub fn of(decision: &Decision) -> Result<Self, Failure> {
        match decision.word() {
            b"held" => Ok(Self::Held(millis(decision, 1)?)),
            word @ (b"acquired" | b"reacquired") => Ok(Self::Granted(Grant {
                token: decision.number(1)?,
                remaining: millis(decision, 2)?,
                held_before: word == b"reacquired",
            })),
            _ => Err(decision.unreadable()),
        }
    }
}

impl Renewed {
    /// The function's name, under which its decisions are remembered.
    pub const FUNCTION: &'static str = "lease_renew";

    /// Reads a decision of the function.
    pub fn of(decision: &Decision) -> Result<Self, Failure> {
        match decision.word() {
            b"free" => Ok(Self::Free),
            b"held" => Ok(Self::Held(millis(decision, 1)?)),
            b"renewed" => Ok(Self::Prolonged { remaining: millis(decision, 2)?, owner: text(decision.bytes(3)) }),
            _ => Err(decision.unreadable()),
        }
    }
}

impl<'a> Leases<'a> {
    /// Leases of `names`, reached through `gateway`.
    pub fn new(gateway: &'a Gateway, names: &'a Namespace, highest: &'a HighestToken) -> Self {
        Self { gateway, names, highest }
    }

    /// Acquires, or acquires anew for an owner who shows his token.
    pub async fn acquire(
        &self,
        attempt: &Attempt,
        wish: &Wish,
        deadline: Deadline,
    ) -> Result<Decided<Acquired>, Failure> {
        let token = wish.token.map_or_else(String::new, |token| token.to_string());
        let (ttl, floor) = (wish.ttl.as_millis().to_string(), self.highest.floor().to_string());
        let arguments = [&wish.owner, &attempt.nonce, &ttl, &token, &floor].map(|text| text.as_bytes());
        let decided =
            self.decide(Acquired::FUNCTION, &[&attempt.key], &arguments, Some(&attempt.once), deadline).await?;
        let decision = &decided.value;
        let value = Acquired::of(decision)?;
        if let Acquired::Granted(grant) = &value {
            self.highest.saw(grant.token);
        }
        Ok(decided.map(|_| value))
    }

    /// Takes back an attempt of which nobody knows what became: after this it holds nothing, and never will.
    pub async fn withdraw(&self, attempt: &Attempt, deadline: Deadline) -> Result<(), Failure> {
        let lifetime = WITHDRAWN_LIFETIME.as_millis().to_string();
        let keys = [attempt.key.as_slice(), attempt.once.record()];
        let arguments = [attempt.nonce.as_bytes(), lifetime.as_bytes()];
        let decided = self.decide("lease_withdraw", &keys, &arguments, None, deadline).await?;
        if decided.value.word() == b"withdrawn" { Ok(()) } else { Err(decided.value.unreadable()) }
    }

    /// Prolongs (or shortens) the lease held under `token`. The same call again has the same effect, so it needs no record.
    pub async fn renew(
        &self,
        name: &[u8],
        token: u64,
        ttl: Duration,
        once: Option<&Once>,
        deadline: Deadline,
    ) -> Result<Decided<Renewed>, Failure> {
        let (key, token, ttl) = (self.key(name), token.to_string(), ttl.as_millis().to_string());
        let arguments = [token.as_bytes(), ttl.as_bytes()];
        let decided = self.decide(Renewed::FUNCTION, &[&key], &arguments, once, deadline).await?;
        let decision = &decided.value;
        let value = Renewed::of(decision)?;
        Ok(decided.map(|_| value))
    }

    /// Releases the lease held under `token`.
    pub async fn release(&self, name: &[u8], token: u64, deadline: Deadline) -> Result<Decided<Released>, Failure> {
        let (key, token) = (self.key(name), token.to_string());
        // Without a record, whoever released it and lost the reply would be told that it was not his.
        let once = Once::for_this_call();
        let decided = self.decide("lease_release", &[&key], &[token.as_bytes()], Some(&once), deadline).await?;
        let decision = &decided.value;
        let value = match decision.word() {
            b"free" => Released::Free,
            b"held" => Released::Held(millis(decision, 1)?),
            b"released" => Released::Done,
            _ => return Err(decision.unreadable()),
        };
        Ok(decided.map(|_| value))
    }

    /// The Redis key of the lease `name`.
    pub fn key(&self, name: &[u8]) -> Vec<u8> {
        self.names.service_key(KIND, name)
    }

    /// Who holds it, if anybody does. Never the token: whoever could read it might go on in another's name.
    pub async fn inspect(&self, name: &[u8], deadline: Deadline) -> Result<Found<Holder>, Failure> {
        let key = self.key(name);
        let answer =
            self.gateway.call(&FunctionCall::new("lease_inspect", &[&key], &[], Class::Read), deadline).await?;
        let attempts = answer.attempts;
        let decision = match answer.reply {
            Reply::Array(parts) => Decision::of(parts, attempts),
            other => return Err(Failure::of_reply(&other, attempts)),
        };
        let value = match decision.word() {
            b"free" => None,
            b"held" => Some(Holder { remaining: millis(&decision, 1)?, owner: text(decision.bytes(2)) }),
            _ => return Err(decision.unreadable()),
        };
        Ok(Found { value, attempts })
    }

    async fn decide(
        &self,
        function: &'static str,
        keys: &[&[u8]],
        arguments: &[&[u8]],
        once: Option<&Once>,
        deadline: Deadline,
    ) -> Result<Decided<Decision>, Failure> {
        let step = Step { function, keys, arguments, class: Class::Idempotent, once };
        step.decide(self.gateway, deadline).await
    }
}

fn millis(decision: &Decision, at: usize) -> Result<Duration, Failure> {
    decision.number(at).map(Duration::from_millis)
}

/// An owner's name was checked on its way in; what somebody else put there is shown as well as it can be.
fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
