//! One subscriber's bounded queue: filled by the background, emptied by the worker that serves the stream.
//!
//! Bounded in messages and in bytes, since 256 messages of 10 MiB are no small thing. One message always fits an empty queue,
//! however large it is: a bound below the largest message would cut every reader. What does not fit ends the stream: skipping
//! a message silently would be a lie, and waiting for one reader would make all others wait. Such an end frees the queue at once;
//! any other lets the reader finish it.
//! Limits: one reader a mailbox.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// A published message. Shared by all who receive it.
#[derive(Debug)]
pub struct Message {
    /// The channel it was published on.
    pub channel: Bytes,
    /// What was published, byte for byte.
    pub payload: Bytes,
    rendered: OnceLock<Bytes>,
}

impl Message {
    pub(super) fn new(channel: Bytes, payload: Bytes) -> Arc<Self> {
        Arc::new(Self { channel, payload, rendered: OnceLock::new() })
    }

    /// The message in the form of its readers, made by the first and shared by all: a thousand readers cost one copy.
    pub fn rendered(&self, render: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| render(self)).clone()
    }

    /// What it counts for against [`Bounds::bytes`].
    fn size(&self) -> usize {
        self.channel.len() + self.payload.len()
    }
}

/// What a subscriber sees.
#[derive(Clone, Debug)]
pub enum StreamEvent {
    /// Redis has confirmed the subscription; comes once and first.
    Confirmed,
    /// A message.
    Message(Arc<Message>),
    /// The subscription was lost and is back: messages in between, if any, are lost.
    Discontinuity,
}

/// Why a stream ends before its reader leaves.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEnd {
    /// The reader takes messages more slowly than they come.
    SlowReader,
    /// Redis refuses the subscription.
    Refused(redis_rs::ServerError),
    /// The service is stopping.
    Draining,
}

/// How much may wait for one reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// The queue. See the module's text.
pub(super) struct Mailbox {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<StreamEvent>,
    bytes: usize,
    end: Option<StreamEnd>,
    reader: Option<Waker>,
}

impl Mailbox {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, state: Mutex::default() })
    }

    /// Appends an event. False when it did not fit: the stream has then ended.
    pub(super) fn push(&self, event: StreamEvent) -> bool {
        let size = match &event {
            StreamEvent::Message(message) => message.size(),
            StreamEvent::Confirmed | StreamEvent::Discontinuity => 0,
        };
        let mut state = self.state();
        let full = state.queue.len() >= self.bounds.messages || state.bytes.saturating_add(size) > self.bounds.bytes;
        if full && !state.queue.is_empty() {
            state.end(StreamEnd::SlowReader);
        } else if state.end.is_none() {
            state.bytes += size;
            state.queue.push_back(event);
        }
        let fits = state.end.is_none();
        wake(state);
        fits
    }

    /// Ends the stream behind what waits in it. Only the first end counts.
    pub(super) fn end(&self, end: StreamEnd) {
        let mut state = self.state();
        state.end(end);
        wake(state);
    }

    /// The next event, or why there will be none.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Result<StreamEvent, StreamEnd>> {
        let mut state = self.state();
        let Some(event) = state.queue.pop_front() else {
            if let Some(end) = &state.end {
                return Poll::Ready(Err(end.clone()));
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        if let StreamEvent::Message(message) = &event {
            state.bytes -= message.size();
        }
        debug_assert!(!state.queue.is_empty() || state.bytes == 0, "an empty queue holds no bytes");
        Poll::Ready(Ok(event))
    }

    /// A poisoned lock only says that a thread panicked between two plain assignments; the queue is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, end: StreamEnd) {
        if end == StreamEnd::SlowReader {
            self.queue = VecDeque::new();
            self.bytes = 0;
        }
        self.end.get_or_insert(end);
    }
}

/// Wakes the reader outside the lock, so that it does not run straight into it.
fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> StreamEvent {
        StreamEvent::Message(Message::new(Bytes::new(), Bytes::from(vec![b'x'; bytes])))
    }

    fn next(mailbox: &Mailbox) -> Poll<Result<StreamEvent, StreamEnd>> {
        mailbox.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_last_message_that_fits_is_kept_and_the_next_ends_the_stream() {
        let mailbox = Mailbox::new(Bounds { messages: 2, bytes: 100 });
        assert!(mailbox.push(message(1)) && mailbox.push(message(1)));
        assert!(!mailbox.push(message(1)));
        assert!(matches!(next(&mailbox), Poll::Ready(Err(StreamEnd::SlowReader))));
    }

    #[test]
    fn bytes_bound_the_queue_as_messages_do() {
        let mailbox = Mailbox::new(Bounds { messages: 100, bytes: 10 });
        assert!(mailbox.push(message(5)) && mailbox.push(message(5)));
        assert!(matches!(next(&mailbox), Poll::Ready(Ok(StreamEvent::Message(_)))));
        assert!(mailbox.push(message(5)), "what was read makes room");
        assert!(!mailbox.push(message(1)));
    }

    #[test]
    fn a_message_above_the_bound_fits_an_empty_queue() {
        let mailbox = Mailbox::new(Bounds { messages: 1, bytes: 10 });
        assert!(mailbox.push(message(1000)));
        assert!(matches!(next(&mailbox), Poll::Ready(Ok(StreamEvent::Message(_)))));
        assert!(next(&mailbox).is_pending());
    }

    #[test]
    fn the_first_end_is_the_one_that_is_told() {
        let mailbox = Mailbox::new(Bounds { messages: 1, bytes: 10 });
        mailbox.end(StreamEnd::Draining);
        mailbox.end(StreamEnd::SlowReader);
        assert!(!mailbox.push(message(1)));
        assert!(matches!(next(&mailbox), Poll::Ready(Err(StreamEnd::Draining))));
    }

    #[test]
    fn what_came_before_an_orderly_end_is_still_read() {
        let mailbox = Mailbox::new(Bounds { messages: 2, bytes: 10 });
        mailbox.push(message(1));
        mailbox.end(StreamEnd::Draining);
        assert!(matches!(next(&mailbox), Poll::Ready(Ok(StreamEvent::Message(_)))));
        assert!(matches!(next(&mailbox), Poll::Ready(Err(StreamEnd::Draining))));
    }

    #[test]
    fn a_message_is_rendered_once_for_all() {
        let message = Message::new(Bytes::from_static(b"c"), Bytes::from_static(b"p"));
        let first = message.rendered(|_| Bytes::from_static(b"once"));
        let second = message.rendered(|_| unreachable!("rendered twice"));
        assert_eq!(first.as_ptr(), second.as_ptr());
    }
}
