//! Applying the migrations: look, take the lock, look again, load, record. Every step is a call through the gateway.
//!
//! Many replicas start at once, so one applies under a lock with a lease while the others wait for the record to be complete. The
//! load itself is one atomic command and gives the same result however often it runs: a replica that was killed half way
//! leaves `applying` behind, and the next one does it again once the lease is over. Even one that was paused beyond its lease
//! can only load an older library, which tells by itself that it is ours; whoever misses a function then applies again. Limits:
//! a refusal is for people; nothing is repaired without being asked to, but for one thing: a library of somebody else's that has a
//! function under one of our names is removed, since ours could not be loaded beside it and the names are reserved (D14). Until a
//! load meets it, its function is what is called under that name.

use std::fmt;
use std::time::Duration;

use super::library::{self, PARTS};
use super::survey::{Entry, Library, Progress, Refusal, Survey, Verdict};
use crate::redis::catalogue::Class;
use crate::redis::error::{Error, Meaning, meaning};
use crate::redis::{Command, Gateway, Reply};
use crate::resilience::Deadline;
use crate::telemetry::clock;

/// The record: a hash of migrations.
pub(super) const RECORD: &str = "collective:migrations";
/// The lock.
const LOCK: &str = "collective:migrations:lock";
/// The lock's lease, and so the longest wait for a replica that was killed while it held it.
const LEASE: Duration = Duration::from_secs(5);
/// How often a waiting replica looks.
const LOOK: Duration = Duration::from_millis(25);
/// Takes the lock if it is free or ours: a caller who gave up, or a lost reply, may have left it behind.
const TAKE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
                    return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0";
/// Releases the lock if it is still ours.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Why the functions could not be put in place.
#[derive(Clone, Debug)]
pub enum Obstacle {
    /// Redis could not be asked.
    Gateway(Error),
    /// Redis answered that it cannot now.
    Unavailable(String),
    /// This Redis has no functions: it is older than 7.0.
    Unsupported,
    /// Somebody has to look first.
    Refused(Refusal),
    /// Another replica is at it, and the time is over.
    Busy,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(error) => write!(f, "Redis could not be asked: {error}"),
            Self::Unavailable(reason) => write!(f, "Redis cannot now: {reason}"),
            Self::Unsupported => f.write_str(
                "this Redis has no functions: /v1 needs Redis 7.0 or Valkey 7.2 for everything but plain keys and counters",
            ),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Busy => f.write_str("another replica holds the lock of the migrations"),
        }
    }
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Gateway(error)
    }
}

/// Looks and applies over one gateway.
pub struct Migrator<'a> {
    gateway: &'a Gateway,
    deadline: Deadline,
}

impl<'a> Migrator<'a> {
    /// Works until `deadline` at the latest.
    pub fn new(gateway: &'a Gateway, deadline: Deadline) -> Self {
        Self { gateway, deadline }
    }

    /// Puts the functions in place if they are not. True if something was applied.
    pub async fn apply(&self) -> Result<bool, Obstacle> {
        loop {
            match self.survey().await?.verdict(PARTS) {
                Verdict::Current => return Ok(false),
                Verdict::Refuse(refusal) => return Err(Obstacle::Refused(refusal)),
                Verdict::Apply => {}
            }
            if !self.lock().await? {
                self.wait().await?;
                continue;
            }
            let applied = self.apply_under_lock().await;
            self.release().await;
            return applied;
        }
    }

    /// Loads our functions and writes our record over whatever is there.
    pub async fn repair(&self) -> Result<(), Obstacle> {
        while !self.lock().await? {
            self.wait().await?;
        }
        let done = async {
            self.ask(&[b"DEL", RECORD.as_bytes()]).await?;
            self.load().await
        };
        let done = done.await;
        self.release().await;
        done
    }

    /// What Redis holds now.
    pub async fn survey(&self) -> Result<Survey, Obstacle> {
        let library = self.ask(&[b"FUNCTION", b"LIST", b"LIBRARYNAME", library::NAME.as_bytes(), b"WITHCODE"]).await?;
        let fields = self.ask(&[b"HGETALL", RECORD.as_bytes()]).await?;
        Ok(Survey::of(&pairs(&fields), library_of(&library)))
    }

    async fn apply_under_lock(&self) -> Result<bool, Obstacle> {
        // Somebody may have finished between our look and our lock.
        match self.survey().await?.verdict(PARTS) {
            Verdict::Current => Ok(false),
            Verdict::Refuse(refusal) => Err(Obstacle::Refused(refusal)),
            Verdict::Apply => self.load().await.map(|()| true),
        }
    }

    async fn load(&self) -> Result<(), Obstacle> {
        self.record(Progress::Applying).await?;
        let mut loaded = self.put().await;
        if matches!(&loaded, Err(Obstacle::Refused(Refusal::Rejected(reason))) if reason.contains("already exists")) {
            self.remove_squatters().await?;
            loaded = self.put().await;
        }
        match loaded {
            Ok(_) => self.record(Progress::Applied).await,
            Err(Obstacle::Refused(refusal @ Refusal::Rejected(_))) => {
                self.record(Progress::Failed).await?;
                Err(Obstacle::Refused(refusal))
            }
            Err(other) => Err(other),
        }
    }

    async fn put(&self) -> Result<Reply, Obstacle> {
        self.ask(&[b"FUNCTION", b"LOAD", b"REPLACE", library::code(PARTS).as_bytes()]).await
    }

    /// Removes every library but ours that has a function under one of our names.
    async fn remove_squatters(&self) -> Result<(), Obstacle> {
        let ours = library::functions(PARTS);
        for found in items(&self.ask(&[b"FUNCTION", b"LIST"]).await?) {
            let Some(name) = member(found, "library_name").and_then(text).filter(|name| name != library::NAME) else {
                continue;
            };
            // Redis compares names of functions without regard to case.
            let takes_ours = |function: &String| ours.iter().any(|our| our.eq_ignore_ascii_case(function));
            if functions_of(found).iter().any(takes_ours) {
                tracing::warn!(library = name, "a library of functions took names of the service's own: removed it");
                self.ask(&[b"FUNCTION", b"DELETE", name.as_bytes()]).await?;
            }
        }
        Ok(())
    }

    async fn record(&self, progress: Progress) -> Result<(), Obstacle> {
        let mut words = vec!["HSET".to_owned(), RECORD.to_owned()];
        for part in PARTS {
            let entry = Entry { progress, checksum: library::checksum(part.source.as_bytes()) };
            words.extend([part.id.to_owned(), entry.line()]);
        }
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        self.ask(&words).await.map(drop)
    }

    /// True if the lock is this process' now. Within it there is one turn at a time.
    async fn lock(&self) -> Result<bool, Obstacle> {
        let lease = LEASE.as_millis().to_string();
        let words = [b"EVAL", TAKE.as_bytes(), b"1", LOCK.as_bytes(), self.holder(), lease.as_bytes()];
        Ok(self.ask(&words).await? == Reply::Int(1))
    }

    /// Gives the lock back; if that fails its lease ends it.
    async fn release(&self) {
        let _ = self.ask(&[b"EVAL", RELEASE.as_bytes(), b"1", LOCK.as_bytes(), self.holder()]).await;
    }

    fn holder(&self) -> &[u8] {
        self.gateway.endpoint().functions.holder.0.as_bytes()
    }

    async fn wait(&self) -> Result<(), Obstacle> {
        if self.deadline.remaining(clock::now()) <= LOOK {
            return Err(Obstacle::Busy);
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }

    /// One call. All of them may be repeated: what they write does not depend on how often, and the lock's value tells whose it is.
    async fn ask(&self, words: &[&[u8]]) -> Result<Reply, Obstacle> {
        let command = Command::of(words).of_our_own();
        let class = if command.class() == Class::Read { Class::Read } else { Class::Idempotent };
        let answer = self.gateway.run(&command.with_class(class).light(), self.deadline).await?;
        match answer.reply {
            Reply::ServerError(error) if error.details().is_some_and(|text| text.starts_with("unknown command")) => {
                Err(Obstacle::Unsupported)
            }
            Reply::ServerError(error) => match meaning(error.code()) {
                Meaning::Caller => Err(Obstacle::Refused(Refusal::Rejected(error.to_string()))),
                Meaning::Forbidden => Err(Obstacle::Refused(Refusal::Denied(error.to_string()))),
                Meaning::Unavailable | Meaning::OutOfMemory | Meaning::Undurable => {
                    Err(Obstacle::Unavailable(error.to_string()))
                }
            },
            reply => Ok(reply),
        }
    }
}

impl Obstacle {
    /// Whether asking again soon may help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Gateway(_) | Self::Unavailable(_) | Self::Busy => true,
            Self::Unsupported | Self::Refused(_) => false,
        }
    }
}

fn text(reply: &Reply) -> Option<String> {
    match reply {
        Reply::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Reply::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

fn items(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(items) => items,
        _ => &[],
    }
}

/// A flat list of names and values.
fn pairs(reply: &Reply) -> Vec<(String, String)> {
    items(reply).as_chunks::<2>().0.iter().filter_map(|[name, value]| text(name).zip(text(value))).collect()
}

/// The value after this name in a flat list.
fn member<'a>(list: &'a Reply, name: &str) -> Option<&'a Reply> {
    let mut pairs = items(list).as_chunks::<2>().0.iter();
    pairs.find(|[known, _]| text(known).as_deref() == Some(name)).map(|[_, value]| value)
}

/// The one library in `FUNCTION LIST`'s answer.
fn library_of(list: &Reply) -> Option<Library> {
    let library = items(list).first()?;
    let code = member(library, "library_code").and_then(text).unwrap_or_default();
    Some(Library { sealed: library::is_sealed(&code), functions: functions_of(library) })
}

/// The names of a library's functions.
fn functions_of(library: &Reply) -> Vec<String> {
    let functions = member(library, "functions").map(items).unwrap_or_default();
    functions.iter().filter_map(|function| member(function, "name").and_then(text)).collect()
}
