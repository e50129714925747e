//! Limiters: how much of something may be taken in a while, decided in Redis in one piece, exact to the microsecond.
//!
//! The part `limiters` of `migrations/` holds the level and decides; `policy.rs` is the same arithmetic here. A take that Redis could not
//! decide is decided by its own [`OnOutage`]: refused as a failure, granted, or decided alone (`memory.rs`), of which Redis is
//! told when it is back (`settlement.rs`).
//!
//! A take is charged at most once. Without a caller's key it runs under a record of its own, so an ambiguous attempt is sent again
//! and settled; that record lives a little longer than the request may be run (`once.rs`).
//!
//! Limits: the numbers come with each take, and the last ones are kept with the level, for whoever only looks.

pub mod memory;
pub mod policy;
pub mod settlement;

use std::time::Duration;

use self::memory::{Debt, Memory, Told, Verdict};
use self::policy::Policy;
use super::atomic::{Decided, Decision, Step};
use super::once::Once;
use super::{Failure, FailureKind, Found};
use crate::redis::catalogue::Class;
use crate::redis::functions::FunctionCall;
use crate::redis::{Gateway, Outcome, Reply};
use crate::resilience::Deadline;
use crate::telemetry::clock;

/// The function that takes, under whose name decisions are remembered.
pub const FUNCTION: &str = "limiter_take";

/// How long after an outage an instance among several keeps to its share. What the others granted meanwhile is unknown to Redis until
/// each has told it, and each sees Redis again in its own time, within 1.1 s by default: by its word alone, Redis would grant
/// the whole limiter once more.
const SETTLING: Duration = Duration::from_millis(1500);

/// Limiters, and what this instance remembers of them.
pub struct Limiters<'a> {
    gateway: &'a Gateway,
    memory: &'a Memory,
    /// The fewest instances a local decision is divided by.
    instances_min: u64,
}

/// One take.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    /// The limiter's numbers.
    pub policy: Policy,
    /// Tokens wanted: all or none.
    pub cost: u64,
    /// What decides when Redis does not.
    pub on_outage: OnOutage,
}

/// What decides a take that Redis could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOutage {
    /// Nobody: the take fails.
    Closed,
    /// It is granted.
    Open,
    /// This instance, with its share of the numbers.
    Local,
}

/// How a take was decided.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Who decided, and what is known of the limiter.
    pub ruling: Ruling,
    /// True if an earlier request with the same key was decided so.
    pub replayed: bool,
}

/// Who decided.
#[derive(Clone, Copy, Debug)]
pub enum Ruling {
    /// Redis, for all instances.
    Redis(Standing),
    /// This instance alone.
    Local(Verdict, Absence),
    /// Nobody: granted.
    Open(Absence),
}

/// Why Redis did not decide, as far as the caller is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    /// Whether Redis may have charged the take all the same.
    pub outcome: Outcome,
    /// When Redis may be worth asking again, if known.
    pub retry_after: Option<Duration>,
}

/// How a limiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the cost was granted, or would be.
    pub allowed: bool,
    /// Whole tokens that can be taken.
    pub remaining: u64,
    /// How long until the cost would be granted.
    pub retry_after: Duration,
    /// How long until everything is refilled.
    pub reset_after: Duration,
}

impl Standing {
    /// Reads a decision of the function: `word remaining retry_us reset_us`.
    pub fn of(decision: &Decision) -> Result<Self, Failure> {
        let allowed = match decision.word() {
            b"allowed" => true,
            b"refused" => false,
            b"type" => return Err(Failure { attempts: 1, ..Failure::before_sending(FailureKind::WrongType) }),
            _ => return Err(decision.unreadable()),
        };
        Ok(Self {
            allowed,
            remaining: number(decision, 1)?,
            retry_after: Duration::from_micros(number(decision, 2)?),
            reset_after: Duration::from_micros(number(decision, 3)?),
        })
    }
}

impl<'a> Limiters<'a> {
    /// Limiters reached through `gateway`; local decisions count at least `instances_min` instances.
    pub fn new(gateway: &'a Gateway, memory: &'a Memory, instances_min: u64) -> Self {
        Self { gateway, memory, instances_min }
    }

    /// Takes tokens, or is refused them.
    pub async fn take(
        &self,
        name: &[u8],
        take: &Take,
        once: Option<&Once>,
        deadline: Deadline,
    ) -> Result<Taken, Failure> {
        // A take under a caller's key may have been decided before, which Redis alone knows.
        let settling = take.on_outage == OnOutage::Local && once.is_none() && self.is_settling();
        if settling && let Some(refusal) = self.over_the_share(name, take) {
            let absence = Absence { outcome: Outcome::NotExecuted, retry_after: None };
            return Ok(Taken { ruling: Ruling::Local(refusal, absence), replayed: false });
        }
        match self.take_in_redis(name, take, once, deadline, settling).await {
            Ok(decided) => Ok(Taken { ruling: Ruling::Redis(decided.value), replayed: decided.replayed }),
            Err(failure) if !is_outage(&failure) => Err(failure),
            Err(failure) => {
                let absence = Absence { outcome: failure.outcome, retry_after: failure.retry_after };
                let ruling = match take.on_outage {
                    OnOutage::Closed => return Err(failure),
                    OnOutage::Open => Ruling::Open(absence),
                    OnOutage::Local => Ruling::Local(self.take_here(name, take, absence.outcome), absence),
                };
                Ok(Taken { ruling, replayed: false })
            }
        }
    }

    /// Whether Redis may not have heard yet what other instances granted while it was away.
    fn is_settling(&self) -> bool {
        self.instances() > 1 && self.gateway.endpoint().recovered_within(SETTLING, clock::now())
    }

    /// Why this instance's share does not have the take, if so. What it has is counted, and for Redis to grant or to refuse. A cost
    /// that no share ever has is left to Redis.
    fn over_the_share(&self, name: &[u8], take: &Take) -> Option<Verdict> {
        let verdict = self.take_here(name, take, Outcome::Unknown);
        (!verdict.allowed && verdict.retry_after.is_some()).then_some(verdict)
    }

    /// How many instances a local decision is divided by.
    fn instances(&self) -> u64 {
        self.gateway.endpoint().instances().max(self.instances_min)
    }

    /// `settling`: the answer does not know all that was granted, and is not to be counted from.
    async fn take_in_redis(
        &self,
        name: &[u8],
        take: &Take,
        once: Option<&Once>,
        deadline: Deadline,
        settling: bool,
    ) -> Result<Decided<Standing>, Failure> {
        let own = once.is_none().then(Once::briefly_for_this_call);
        let [capacity, refill, per] = numbers(&take.policy);
        let mut owed = Owed::by(self.memory, name, take);
        let (cost, tokens) = (take.cost.to_string(), owed.tokens().to_string());
        let arguments = [capacity.as_bytes(), refill.as_bytes(), per.as_bytes(), cost.as_bytes(), tokens.as_bytes()];
        let (record, class) = (record_of(name), Class::NonIdempotent);
        let keys = [record.as_slice()];
        let step = Step { function: FUNCTION, keys: &keys, arguments: &arguments, class, once: once.or(own.as_ref()) };
        let decided = step.decide(self.gateway, deadline).await;
        owed.told = match &decided {
            // A repetition charged nothing now, unless what it repeats is an attempt of this very call.
            Ok(decided) if decided.replayed && decided.attempts == 1 => Told::No,
            Err(failure) if failure.outcome == Outcome::NotExecuted => Told::No,
            Ok(_) | Err(_) => Told::Perhaps,
        };
        drop(owed);
        let decided = decided?;
        let standing = Standing::of(&decided.value)?;
        let level = take.policy.level(number(&decided.value, 4)?, number(&decided.value, 5)?);
        if take.on_outage == OnOutage::Local && !decided.replayed && !settling {
            self.memory.keep(name, take.policy, level, clock::now());
        }
        Ok(decided.map(|_| standing))
    }

    fn take_here(&self, name: &[u8], take: &Take, outcome: Outcome) -> Verdict {
        let instances = self.instances();
        let told = outcome == Outcome::NotExecuted;
        self.memory.take(name, take.policy, take.cost, instances, told, clock::now())
    }

    /// How a limiter stands, and by which numbers, without charging it: by `policy`, or else by those of the last take. Nothing if
    /// there are no numbers to tell it by.
    pub async fn peek(
        &self,
        name: &[u8],
        policy: Option<&Policy>,
        cost: u64,
        deadline: Deadline,
    ) -> Result<Found<(Standing, Policy)>, Failure> {
        let cost = cost.to_string();
        let numbers = policy.map(numbers);
        let mut arguments = vec![cost.as_bytes()];
        arguments.extend(numbers.iter().flatten().map(String::as_bytes));
        let call = FunctionCall::new("limiter_peek", &[&record_of(name)], &arguments, Class::Read);
        let answer = self.gateway.call(&call, deadline).await?;
        let Reply::Array(parts) = answer.reply else { return Err(Failure::of_reply(&answer.reply, answer.attempts)) };
        let decision = Decision::of(parts, answer.attempts);
        let value = match decision.word() {
            b"none" => None,
            _ => {
                let standing = Standing::of(&decision)?;
                let per = Duration::from_micros(number(&decision, 8)?);
                let policy = Policy { capacity: number(&decision, 6)?, refill: number(&decision, 7)?, per };
                Some((standing, policy))
            }
        };
        Ok(Found { value, attempts: answer.attempts })
    }

    /// Forgets what was taken; fine if nothing was.
    pub async fn forget(&self, name: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let command = crate::redis::Command::of(&[b"GETDEL", &record_of(name)]).with_class(Class::Idempotent);
        let answer = self.gateway.run(&command, deadline).await?;
        self.memory.forget(name);
        match answer.reply {
            Reply::Nil | Reply::BulkString(_) => Ok(()),
            other => Err(Failure::of_reply(&other, answer.attempts)),
        }
    }
}

/// What this instance owes a limiter, on its way with a take: so an outage ends without a second burst. A caller who leaves
/// meanwhile leaves it unclear.
struct Owed<'a> {
    memory: &'a Memory,
    debt: Option<Debt>,
    told: Told,
}

impl<'a> Owed<'a> {
    fn by(memory: &'a Memory, name: &[u8], take: &Take) -> Self {
        let debt = (take.on_outage == OnOutage::Local).then(|| memory.owed(name, clock::now())).flatten();
        Self { memory, debt, told: Told::Perhaps }
    }

    fn tokens(&self) -> u64 {
        self.debt.as_ref().map_or(0, |debt| debt.tokens)
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some(debt) = &self.debt {
            self.memory.conclude(debt, self.told, clock::now());
        }
    }
}

/// Whether Redis could not decide, for whatever reason of its own or ours. What the caller did wrong no policy cures, and neither
/// does one what somebody set up wrongly.
fn is_outage(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::Gateway(_)
        | FailureKind::Unavailable
        | FailureKind::OutOfMemory
        | FailureKind::Undurable
        | FailureKind::FunctionsMissing => true,
        FailureKind::WrongType
        | FailureKind::OutOfRange
        | FailureKind::Fenced
        | FailureKind::Reserved
        | FailureKind::Forbidden
        | FailureKind::OtherRequest
        | FailureKind::NotRepeatable
        | FailureKind::Settled
        | FailureKind::FunctionsUnsupported
        | FailureKind::UnexpectedReply => false,
    }
}

/// The Redis key of a limiter (D14).
fn record_of(name: &[u8]) -> Vec<u8> {
    [b"collective:limiter:", name].concat()
}

/// Capacity, refill, and `per` in microseconds.
fn numbers(policy: &Policy) -> [String; 3] {
    [policy.capacity.to_string(), policy.refill.to_string(), policy.per.as_micros().to_string()]
}

fn number(decision: &Decision, at: usize) -> Result<u64, Failure> {
    decision.number(at)
}
