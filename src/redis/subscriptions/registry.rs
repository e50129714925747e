//! Who reads what, and what Redis has been asked for: the decisions of the hub, without a socket or a clock.
//!
//! Each topic knows its readers and the last thing said to Redis about it. Redis answers in order, so the questions stand in one
//! queue and an answer belongs to the oldest. A topic is *live* when the last question about it was a subscription and every
//! question about it is answered; only then do its messages reach readers. So a reader who joins between an unsubscription and
//! the next subscription sees nothing from before his confirmation.
//! Limits: one command a topic, so that a refusal concerns exactly one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use redis_rs::ServerError;

use super::super::RESERVED;
use super::super::error::{Meaning, meaning};
use super::mailbox::{Mailbox, Message, StreamEnd, StreamEvent};

/// What can be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// One channel, by its exact name.
    Channel(Bytes),
    /// All channels that match a glob-style pattern.
    Pattern(Bytes),
}

impl Topic {
    /// The channel's name, or the pattern.
    pub fn name(&self) -> &Bytes {
        match self {
            Self::Channel(name) | Self::Pattern(name) => name,
        }
    }

    /// Whether it names the service's own channels. A pattern is judged by its literal beginning; what else it matches of
    /// ours is not delivered.
    pub fn is_reserved(&self) -> bool {
        self.name().starts_with(RESERVED)
    }
}

/// A question to Redis, in the order of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Subscribe(Topic),
    Unsubscribe(Topic),
    Ping,
}

/// What an answer led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Consequence {
    /// Streams that were told of a hole.
    pub(super) discontinuities: usize,
    /// Streams ended because Redis refuses to renew their subscription.
    pub(super) refused: usize,
    /// Streams ended because they do not read.
    pub(super) slow: usize,
    /// Redis cannot renew a subscription now: begin anew with another connection, later.
    pub(super) unwilling: bool,
}

/// An answer without a question: the connection cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unasked;

/// All topics of one endpoint. See the module's text.
#[derive(Default)]
pub(super) struct Registry {
    topics: HashMap<Topic, Entry>,
    /// Topics whose readers and subscription may not agree.
    due: Vec<Topic>,
    asked: VecDeque<Question>,
    next_reader: u64,
}

#[derive(Default)]
struct Entry {
    readers: BTreeMap<u64, Reader>,
    /// The last question about this topic was a subscription.
    subscribed: bool,
    /// Questions about this topic without an answer.
    open: u32,
    /// The subscription was lost since it was last live.
    interrupted: bool,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.subscribed && self.open == 0
    }

    fn is_forgotten(&self) -> bool {
        self.readers.is_empty() && !self.subscribed && self.open == 0
    }
}

struct Reader {
    mailbox: Arc<Mailbox>,
    confirmed: bool,
}

impl Registry {
    /// Adds a reader. On a live topic it is confirmed at once, else when Redis has answered.
    pub(super) fn join(&mut self, topic: &Topic, mailbox: Arc<Mailbox>) -> u64 {
        let id = self.next_reader;
        self.next_reader += 1;
        let entry = self.topics.entry(topic.clone()).or_default();
        let confirmed = entry.is_live();
        if confirmed {
            mailbox.push(StreamEvent::Confirmed);
        } else {
            self.due.push(topic.clone());
        }
        entry.readers.insert(id, Reader { mailbox, confirmed });
        id
    }

    /// Takes a reader away; one that is gone already is no mistake.
    pub(super) fn leave(&mut self, topic: &Topic, reader: u64) {
        let Some(entry) = self.topics.get_mut(topic) else { return };
        entry.readers.remove(&reader);
        if entry.readers.is_empty() {
            self.due.push(topic.clone());
        }
    }

    /// Whether somebody waits for a subscription.
    pub(super) fn is_wanted(&self) -> bool {
        self.topics.values().any(|entry| !entry.readers.is_empty())
    }

    /// Subscriptions that Redis holds for us.
    pub(super) fn held(&self) -> usize {
        self.topics.values().filter(|entry| entry.is_live()).count()
    }

    /// What must be said to Redis now; each is taken as said.
    pub(super) fn questions(&mut self) -> Vec<Question> {
        let mut questions = Vec::new();
        for topic in std::mem::take(&mut self.due) {
            let Some(entry) = self.topics.get_mut(&topic) else { continue };
            let wanted = !entry.readers.is_empty();
            if wanted == entry.subscribed {
                self.forget(&topic);
                continue;
            }
            entry.subscribed = wanted;
            entry.open += 1;
            questions.push(if wanted { Question::Subscribe(topic) } else { Question::Unsubscribe(topic) });
        }
        self.asked.extend(questions.iter().cloned());
        questions
    }

    /// Takes a ping as said; false if the one before is still without an answer.
    pub(super) fn ping(&mut self) -> bool {
        if self.asked.contains(&Question::Ping) {
            return false;
        }
        self.asked.push_back(Question::Ping);
        true
    }

    /// Redis answered the oldest question, perhaps with a refusal.
    pub(super) fn answered(&mut self, refusal: Option<ServerError>) -> Result<Consequence, Unasked> {
        let (topic, refused) = match (self.asked.pop_front().ok_or(Unasked)?, refusal) {
            (Question::Ping, _) => return Ok(Consequence::default()),
            (Question::Subscribe(topic), refusal) => (topic, refusal),
            (Question::Unsubscribe(topic), _) => (topic, None),
        };
        let Some(entry) = self.topics.get_mut(&topic) else { return Err(Unasked) };
        entry.open -= 1;
        let consequence = match refused {
            Some(error) if entry.is_live() => entry.refuse(&error),
            None if entry.is_live() => entry.confirm(),
            Some(_) | None => Consequence::default(),
        };
        if entry.subscribed && entry.readers.is_empty() {
            self.due.push(topic.clone());
        }
        self.forget(&topic);
        Ok(consequence)
    }

    /// Hands a message to all readers of a topic; returns how many were too slow for it.
    pub(super) fn deliver(&mut self, topic: &Topic, message: &Arc<Message>) -> usize {
        if is_private(message) {
            return 0;
        }
        let Some(entry) = self.topics.get_mut(topic).filter(|entry| entry.is_live()) else { return 0 };
        let before = entry.readers.len();
        entry.readers.retain(|_, reader| reader.mailbox.push(StreamEvent::Message(message.clone())));
        let slow = before - entry.readers.len();
        if entry.readers.is_empty() {
            self.due.push(topic.clone());
        }
        slow
    }

    /// The connection is gone, and every subscription with it. Readers stay and are told once the subscription is back.
    pub(super) fn lost(&mut self) {
        self.asked.clear();
        self.topics.retain(|_, entry| !entry.readers.is_empty());
        self.due = self.topics.keys().cloned().collect();
        for entry in self.topics.values_mut() {
            entry.subscribed = false;
            entry.open = 0;
            entry.interrupted = true;
        }
    }

    /// Ends all streams; returns how many.
    pub(super) fn end_all(&mut self, end: &StreamEnd) -> usize {
        let mut ended = 0;
        for (topic, entry) in &mut self.topics {
            ended += entry.end_readers(end);
            self.due.push(topic.clone());
        }
        ended
    }

    fn forget(&mut self, topic: &Topic) {
        if self.topics.get(topic).is_some_and(Entry::is_forgotten) {
            self.topics.remove(topic);
        }
    }
}

impl Entry {
    /// The subscription stands: newcomers are confirmed, the others are told of the hole behind them.
    fn confirm(&mut self) -> Consequence {
        let interrupted = std::mem::take(&mut self.interrupted);
        let mut consequence = Consequence::default();
        self.readers.retain(|_, reader| {
            let event = match reader.confirmed {
                false => StreamEvent::Confirmed,
                true if interrupted => StreamEvent::Discontinuity,
                true => return true,
            };
            let told_of_hole = std::mem::replace(&mut reader.confirmed, true);
            let fits = reader.mailbox.push(event);
            match (fits, told_of_hole) {
                (true, told) => consequence.discontinuities += usize::from(told),
                (false, _) => consequence.slow += 1,
            }
            fits
        });
        consequence
    }

    /// Redis refuses the subscription. Newcomers get its words; those who had it before keep waiting if it may yet be renewed.
    fn refuse(&mut self, error: &ServerError) -> Consequence {
        self.subscribed = false;
        let end = StreamEnd::Refused(error.clone());
        if meaning(error.code()) != Meaning::Unavailable {
            let refused = self.readers.values().filter(|reader| reader.confirmed).count();
            self.end_readers(&end);
            return Consequence { refused, ..Consequence::default() };
        }
        self.readers.retain(|_, reader| {
            if !reader.confirmed {
                reader.mailbox.end(end.clone());
            }
            reader.confirmed
        });
        Consequence { unwilling: !self.readers.is_empty(), ..Consequence::default() }
    }

    fn end_readers(&mut self, end: &StreamEnd) -> usize {
        let readers = std::mem::take(&mut self.readers);
        readers.values().for_each(|reader| reader.mailbox.end(end.clone()));
        readers.len()
    }
}

/// Whether a message tells of the service's own state: on a channel of ours, or Redis' news about a key of ours. Patterns
/// such as `*` match those, too.
fn is_private(message: &Message) -> bool {
    let channel = &message.channel[..];
    let behind = |prefix: &[u8]| {
        let rest = channel.strip_prefix(prefix)?;
        let at = rest.windows(3).position(|three| three == b"__:")?;
        Some(&rest[at + 3..])
    };
    channel.starts_with(RESERVED)
        || behind(b"__keyspace@").is_some_and(|key| key.starts_with(RESERVED))
        || (channel.starts_with(b"__keyevent@") && message.payload.starts_with(RESERVED))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
