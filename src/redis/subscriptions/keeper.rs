//! The task that holds the connection of all subscriptions: tells Redis what is wanted, hands out what comes.
//!
//! It connects when there is a reader and not before, and not while the read lane refuses: the keeper's probes find out when Redis
//! is back, more connects would not. Once a second it asks for a sign of life, since a subscribed connection is silent by nature
//! and one that died without a word would stay silent for ever. The conversation is a task of its own, so that the stall
//! detector can end it as it ends any other connection, in the middle of a write, too.
//! Limits: readers are never waited for; a message is handed to all of them before the next is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::super::catalogue::Lane;
use super::super::endpoint::Endpoint;
use super::line::{Line, pack};
use super::mailbox::Message;
use super::registry::{Consequence, Question, Topic};
use super::wire::Frame;
use super::{StreamCut, Subscriptions};

/// How often a sign of life is asked for; one that is not given until the next time ends the connection.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How often a refusing breaker is looked at: a closing one wakes nobody.
const BREAKER_LOOK: Duration = Duration::from_millis(20);
/// Pause before another connection when Redis answers but will not renew a subscription yet.
const UNWILLING_PAUSE: Duration = Duration::from_millis(200);

/// Looks after the subscriptions of one endpoint until dropped.
pub struct SubscriptionKeeper {
    endpoint: Arc<Endpoint>,
}

/// Why a conversation ended.
enum Ending {
    /// The connection is of no further use.
    Lost,
    /// Redis cannot renew a subscription now.
    Unwilling,
}

impl SubscriptionKeeper {
    /// A keeper for `endpoint`.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint }
    }

    /// Runs for ever. Cancel by dropping the future.
    pub async fn run(&self) {
        let subscriptions = self.endpoint.subscriptions();
        loop {
            subscriptions.wanted().await;
            while self.endpoint.lane(Lane::Read).refusing() {
                tokio::time::sleep(BREAKER_LOOK).await;
            }
            // A failed connect is told to the detectors and logged where it is made.
            let Ok(line) = self.endpoint.open_line().await else { continue };
            let ending = self.hold(line).await;
            subscriptions.lost();
            if let Ending::Unwilling = ending {
                tokio::time::sleep(UNWILLING_PAUSE).await;
            }
        }
    }

    /// Talks on `line` until it ends or is ended.
    async fn hold(&self, line: Line) -> Ending {
        let link = line.link().clone();
        let subscriptions = self.endpoint.subscriptions().clone();
        let mut conversation = Conversation(tokio::spawn(converse(subscriptions, line)));
        link.driven_by(conversation.0.abort_handle());
        let ending = (&mut conversation.0).await.unwrap_or(Ending::Lost);
        link.retire();
        tracing::debug!("the connection of the subscriptions ended");
        ending
    }
}

/// Ends the task with whoever waits for it.
struct Conversation(JoinHandle<Ending>);

impl Drop for Conversation {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn converse(subscriptions: Arc<Subscriptions>, mut line: Line) -> Ending {
    let mut signs = tokio::time::interval(SIGN_OF_LIFE);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let questions = subscriptions.questions();
        if !questions.is_empty() && line.send(&questions).await.is_err() {
            return Ending::Lost;
        }
        tokio::select! {
            frame = line.next() => {
                let Ok(frame) = frame else { return Ending::Lost };
                if let Err(ending) = subscriptions.hear(frame) {
                    return ending;
                }
                // A flood fills the buffer faster than it is read: the keeper beside us must get its turns.
                tokio::task::consume_budget().await;
            }
            () = subscriptions.changed.notified() => {}
            _ = signs.tick() => match subscriptions.ping() {
                Some(ping) => if line.send(&ping).await.is_err() { return Ending::Lost },
                None => return Ending::Lost,
            },
        }
    }
}

/// The keeper's side of the registry.
impl Subscriptions {
    /// Resolves while somebody reads.
    async fn wanted(&self) {
        while !self.registry().is_wanted() {
            self.changed.notified().await;
        }
    }

    /// What must be said to Redis now, packed; empty if nothing.
    fn questions(&self) -> Vec<u8> {
        let questions = self.registry().questions();
        let mut packed = Vec::new();
        questions.iter().for_each(|question| pack(question, &mut packed));
        packed
    }

    /// A ping, packed; `None` if the one before was not answered.
    fn ping(&self) -> Option<Vec<u8>> {
        let mut packed = Vec::new();
        pack(&Question::Ping, &mut packed);
        self.registry().ping().then_some(packed)
    }

    fn lost(&self) {
        self.registry().lost();
    }

    fn hear(&self, frame: Frame) -> Result<(), Ending> {
        let (topic, channel, payload) = match frame {
            Frame::Message { channel, payload } => (Topic::Channel(channel.clone()), channel, payload),
            Frame::PatternMessage { pattern, channel, payload } => (Topic::Pattern(pattern), channel, payload),
            Frame::Done => return self.answered(None),
            Frame::Refused(error) => return self.answered(Some(error)),
        };
        let slow = self.registry().deliver(&topic, &Message::new(channel, payload));
        self.count_cuts(StreamCut::SlowReader, slow);
        Ok(())
    }

    fn answered(&self, refusal: Option<redis_rs::ServerError>) -> Result<(), Ending> {
        let code = refusal.as_ref().map(|error| error.code().to_owned());
        let answered = self.registry().answered(refusal);
        let Ok(Consequence { discontinuities, refused, slow, unwilling }) = answered else { return Err(Ending::Lost) };
        self.metrics.streams_discontinuities.add(discontinuities as u64);
        self.count_cuts(StreamCut::Refused, refused);
        self.count_cuts(StreamCut::SlowReader, slow);
        if refused > 0 {
            tracing::warn!(code, streams = refused, "Redis refused to renew a subscription: its streams were ended");
        }
        if unwilling { Err(Ending::Unwilling) } else { Ok(()) }
    }
}
