//! Functions in Redis: what must happen in one piece there, and how it gets there.
//!
//! [`Gateway::call`] runs one of the functions of `migrations/` under the same guards as any command. A server that does not have
//! them (new, emptied, or taken over from a replica that never had them) says so before running anything: then they are put
//! in place and the call is made again. Limits: Redis 7.0 or Valkey 7.2; older ones are told apart, and everything that needs
//! no function works with them.

mod library;
mod migrations;
mod survey;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::catalogue::Class;
use super::command::{Command, CommandBuilder};
use super::error::{Error, Outcome};
use super::gateway::Gateway;
use super::{Answer, Reply, ServerError};
use crate::resilience::{Deadline, Moment};
use crate::telemetry::clock;

pub use migrations::{Migrator, Obstacle};
pub use survey::{Progress, Refusal, Survey};

/// How long a refusal is believed before Redis is looked at again.
const REFUSAL_AGE: Duration = Duration::from_secs(1);

/// The ids of the migrations this program brings, in order.
pub fn migrations() -> impl Iterator<Item = &'static str> {
    library::PARTS.iter().map(|part| part.id)
}

/// One call of a function.
pub struct FunctionCall(Command);

impl FunctionCall {
    /// A call of `collective_v1_<name>`. `class` says whether it may be sent again.
    pub fn new(name: &str, keys: &[&[u8]], arguments: &[&[u8]], class: Class) -> Self {
        let bytes: usize = keys.iter().chain(arguments).map(|part| part.len()).sum();
        let mut call = CommandBuilder::with_capacity(3 + keys.len() + arguments.len(), bytes + 64);
        call.push(if class == Class::Read { b"FCALL_RO" } else { b"FCALL" });
        call.push(format!("{}_{name}", library::NAME).as_bytes());
        call.push(keys.len().to_string().as_bytes());
        keys.iter().chain(arguments).for_each(|part| call.push(part));
        Self(call.finish().with_class(class).light().of_our_own())
    }

    /// What became of it if this is Redis' answer.
    pub fn outcome(&self, error: &ServerError) -> Outcome {
        self.0.judge().outcome(error)
    }

    /// The same on a connection for heavy commands: what it runs may rightly take long.
    pub fn heavy(self) -> Self {
        Self(self.0.heavy())
    }
}

/// Why a call got no definite answer.
#[derive(Debug)]
pub enum CallError {
    /// As any command.
    Gateway(Error),
    /// The functions are not in place; nothing was run.
    NotInPlace {
        /// Why.
        obstacle: Obstacle,
        /// Attempts handed to Redis.
        attempts: u32,
    },
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Gateway(error)
    }
}

/// What all workers know of the functions of one server.
#[derive(Default)]
pub(super) struct Functions {
    /// Counts successful applications: whoever saw a lower number when his call failed may simply call again.
    generation: AtomicU64,
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<(Moment, Obstacle)>>,
    in_place: AtomicBool,
    holder: Holder,
}

/// What this process writes into the lock of the migrations.
struct Holder(String);

impl Default for Holder {
    fn default() -> Self {
        Self(format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)))
    }
}

impl Functions {
    /// Takes note of how putting them in place ended; true if that is news.
    fn note(&self, result: Result<(), &Obstacle>) -> bool {
        self.in_place.store(result.is_ok(), Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.as_ref().map(|(_, obstacle)| obstacle.to_string());
        match result {
            Ok(()) => {
                *last = None;
                self.generation.fetch_add(1, Ordering::Release);
            }
            Err(obstacle) => *last = Some((clock::now(), obstacle.clone())),
        }
        before != last.as_ref().map(|(_, obstacle)| obstacle.to_string())
    }

    fn recent_refusal(&self) -> Option<Obstacle> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, obstacle) = last.as_ref()?;
        let fresh = !obstacle.passes() && clock::now().saturating_since(*at) < REFUSAL_AGE;
        fresh.then(|| obstacle.clone())
    }

    /// Whether the functions were in place when last looked at, or what kept them from it.
    pub(super) fn state(&self) -> Result<bool, String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            // That Redis does not answer is told elsewhere.
            Some((_, obstacle)) if !obstacle.passes() => Err(obstacle.to_string()),
            _ => Ok(self.in_place.load(Ordering::Relaxed)),
        }
    }
}

impl Gateway {
    /// Calls a function, and puts the functions in place first if Redis does not have them.
    pub async fn call(&self, call: &FunctionCall, deadline: Deadline) -> Result<Answer<Reply>, CallError> {
        let functions = &self.endpoint().functions;
        if self.endpoint().is_before_functions() {
            return Err(CallError::NotInPlace { obstacle: Obstacle::Unsupported, attempts: 0 });
        }
        let seen = functions.generation.load(Ordering::Acquire);
        let first = self.run(&call.0, deadline).await?;
        match missing(&first.reply) {
            None => return Ok(first),
            Some(Missing::Command) => {
                let obstacle = Obstacle::Unsupported;
                functions.note(Err(&obstacle));
                return Err(CallError::NotInPlace { obstacle, attempts: first.attempts });
            }
            Some(Missing::Function) => {}
        }
        let in_place = self.put_in_place(Some(seen), deadline).await;
        in_place.map_err(|obstacle| CallError::NotInPlace { obstacle, attempts: first.attempts })?;
        let second = self.run(&call.0, deadline).await?;
        let attempts = first.attempts + second.attempts;
        match missing(&second.reply) {
            None => Ok(Answer { attempts, ..second }),
            Some(_) => Err(CallError::NotInPlace { obstacle: Obstacle::Busy, attempts }),
        }
    }

    /// Applies the migrations unless somebody of this process did since generation `seen`. One at a time.
    pub async fn put_in_place(&self, seen: Option<u64>, deadline: Deadline) -> Result<(), Obstacle> {
        let functions = &self.endpoint().functions;
        let turn = tokio::time::timeout(deadline.remaining(clock::now()), functions.turn.lock());
        let _turn = turn.await.map_err(|_| Obstacle::Busy)?;
        if seen.is_some_and(|seen| functions.generation.load(Ordering::Acquire) != seen) {
            return Ok(());
        }
        if let Some(refusal) = functions.recent_refusal() {
            return Err(refusal);
        }
        let result = Migrator::new(self, deadline).apply().await;
        let news = functions.note(result.as_ref().map(|_| ()));
        match result {
            Ok(applied) => {
                if applied {
                    tracing::info!("migrations applied: the functions of /v1 are in place");
                }
                Ok(())
            }
            Err(obstacle) => {
                if news && !obstacle.passes() {
                    tracing::error!(reason = %obstacle, "migrations not applied: the atomic calls of /v1 are refused");
                }
                Err(obstacle)
            }
        }
    }
}

/// What a server lacks.
enum Missing {
    Function,
    Command,
}

fn missing(reply: &Reply) -> Option<Missing> {
    let Reply::ServerError(error) = reply else { return None };
    let text = error.details().unwrap_or_default();
    match error.code() {
        "ERR" if text == "Function not found" => Some(Missing::Function),
        "ERR" if text.starts_with("unknown command") => Some(Missing::Command),
        _ => None,
    }
}
