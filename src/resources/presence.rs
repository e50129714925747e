//! Presence: who is in a room is nobody's business; how many are is everybody's.
//!
//! A member stays for the time of his last sign of life. Redis keeps him as a keyed digest under a secret of the room
//! (`migrations/0005_presence.lua`), so nothing personal is stored, and what leaves here is already a digest of his name. All
//! calls may be repeated: a sign of life or a leave has the same effect and the same answer however often it is sent. Limits: who
//! runs Redis and knows all names there can be may try them one by one against a room's secret.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::atomic::{Decision, Step};
use super::{Failure, FailureKind, Found, Namespace};
use crate::redis::catalogue::Class;
use crate::redis::functions::FunctionCall;
use crate::redis::{Gateway, Reply};
use crate::resilience::Deadline;

/// The kind of name the set of members has in the key space.
const MEMBERS: &str = "presence";
/// That of what is known of the room.
const ROOM: &str = "presence-room";
/// Bytes of a room's secret.
const SECRET: usize = 32;

/// Rooms of one name space.
pub struct Presence<'a> {
    gateway: &'a Gateway,
    names: &'a Namespace,
}

/// A room as it was when Redis answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How many are present.
    pub count: u64,
    /// How many were at most, since counting began.
    pub peak: u64,
    /// When they were that many; since 1970. `None` in a room nobody entered.
    pub peak_at: Option<Duration>,
    /// When counting began; since 1970.
    pub since: Option<Duration>,
}

impl<'a> Presence<'a> {
    /// Rooms of `names`, reached through `gateway`.
    pub fn new(gateway: &'a Gateway, names: &'a Namespace) -> Self {
        Self { gateway, names }
    }

    /// A sign of life: `member` is present for `ttl` from now on.
    pub async fn beat(&self, room: &[u8], member: &[u8], ttl: Duration, deadline: Deadline) -> Result<(), Failure> {
        // Used only if the room has none yet.
        let mut secret = [0; SECRET];
        getrandom::fill(&mut secret).map_err(|_| Failure::before_sending(FailureKind::UnexpectedReply))?;
        let (digest, ttl) = (Sha256::digest(member), ttl.as_millis().to_string());
        self.change("presence_beat", room, &[&digest, ttl.as_bytes(), &secret], b"present", deadline).await
    }

    /// `member` is gone; fine if he was not there.
    pub async fn leave(&self, room: &[u8], member: &[u8], deadline: Deadline) -> Result<(), Failure> {
        self.change("presence_leave", room, &[&Sha256::digest(member)], b"left", deadline).await
    }

    /// How many there are, and were. A room nobody entered is empty.
    pub async fn look(&self, room: &[u8], deadline: Deadline) -> Result<Found<Room>, Failure> {
        let [members, room] = self.keys(room);
        let call = FunctionCall::new("presence_look", &[&members, &room], &[], Class::Read);
        let answer = self.gateway.call(&call, deadline).await?;
        let decision = match answer.reply {
            Reply::Array(parts) => Decision::of(parts, answer.attempts),
            other => return Err(Failure::of_reply(&other, answer.attempts)),
        };
        if decision.word() != b"room" {
            return Err(decision.unreadable());
        }
        let (peak_at, since) = (moment(&decision, 3)?, moment(&decision, 4)?);
        let seen = Room { count: decision.number(1)?, peak: decision.number(2)?, peak_at, since };
        Ok(Found { value: Some(seen), attempts: answer.attempts })
    }

    async fn change(
        &self,
        function: &'static str,
        room: &[u8],
        arguments: &[&[u8]],
        word: &[u8],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let [members, room] = self.keys(room);
        let keys = [members.as_slice(), room.as_slice()];
        let step = Step { function, keys: &keys, arguments, class: Class::Idempotent, once: None };
        let decided = step.decide(self.gateway, deadline).await?;
        if decided.value.word() == word { Ok(()) } else { Err(decided.value.unreadable()) }
    }

    /// The Redis keys of a room: its members, and what is known of it.
    pub fn keys(&self, room: &[u8]) -> [Vec<u8>; 2] {
        [MEMBERS, ROOM].map(|kind| self.names.service_key(kind, room))
    }
}

fn moment(decision: &Decision, at: usize) -> Result<Option<Duration>, Failure> {
    match decision.bytes(at) {
        Some(b"") => Ok(None),
        _ => decision.number(at).map(|millis| Some(Duration::from_millis(millis))),
    }
}
