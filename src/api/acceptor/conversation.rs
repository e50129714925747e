//! What the parts around one connection tell each other: the stream, the envelope, and who attends to the connection.
//!
//! The framework does not say what it is waiting for. But the stream sees every byte, and the envelope every request whose head
//! was understood; together they know whether a head is on its way, how much of it there is, and whether the connection rests.
//! All of it lives on one worker, so plain cells do. Limits: bytes that arrive while a request is served are not counted (they
//! are its body, or requests queued behind it); a head begun among them is timed by the keep-alive only.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use actix_web::rt::net::TcpStream;

use crate::api::envelope::Arrival;

/// The state of one connection.
#[derive(Default)]
pub struct Conversation {
    /// Requests being served.
    serving: Cell<u32>,
    /// A first head was understood.
    introduced: Cell<bool>,
    /// Bytes that came since nothing was served and belong to no request yet.
    unparsed: Cell<usize>,
    /// A line ended among those bytes.
    line_ended: Cell<bool>,
    /// The last request had a body that nobody has read to its end: what comes may be the rest of it.
    body_left: Cell<bool>,
    /// Bytes of an answer wait for the caller to read.
    blocked: Cell<bool>,
    /// Bytes of an answer were taken since this was last asked.
    answering: Cell<bool>,
    /// The caller has hung up.
    left: Cell<bool>,
    /// The next answer is the last.
    closing: Cell<bool>,
    /// The stream, once the framework has let it go.
    returned: Cell<Option<Returned>>,
    /// The request being served, as the envelope knows it.
    arrival: RefCell<Option<Arrival>>,
}

/// What a caller can owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A request head: the first, or one of which a part is there.
    Head,
    /// The rest of a body that nobody wanted.
    Rest,
    /// Reading the answer.
    Reading,
}

/// The stream after the framework is done with it.
pub(super) struct Returned {
    pub(super) stream: TcpStream,
    /// The framework's last words, a bodiless answer of its own, were kept back.
    pub(super) silenced: bool,
}

/// A request being served. Whoever streams an answer keeps one of his own ([`Conversation::prolong`]) until the end, else a drain
/// takes the connection for idle.
#[must_use = "dropping a turn ends it"]
pub struct Turn(Rc<Conversation>);

impl Conversation {
    /// A head was understood and its request begins.
    pub fn begin(self: &Rc<Self>, has_body: bool) -> Turn {
        self.introduced.set(true);
        self.unparsed.set(0);
        self.line_ended.set(false);
        self.body_left.set(has_body);
        self.serving.set(self.serving.get() + 1);
        Turn(self.clone())
    }

    /// The answer in the making is a stream: its request is being served for as long as this is kept.
    pub fn prolong(self: &Rc<Self>) -> Turn {
        self.serving.set(self.serving.get() + 1);
        Turn(self.clone())
    }

    /// Keeps what is known of the request being served. Here and not with the request, where it would cost an allocation each.
    pub fn arrived(&self, arrival: Arrival) {
        *self.arrival.borrow_mut() = Some(arrival);
    }

    /// What is known of the request being served.
    pub fn arrival(&self) -> Option<Arrival> {
        self.arrival.borrow().clone()
    }

    /// The body of the request being served was read to its end.
    pub fn body_ended(&self) {
        self.body_left.set(false);
    }

    /// The answer in the making should be the connection's last.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// The caller has hung up: nothing may be begun for him any more.
    pub fn has_left(&self) -> bool {
        self.left.get()
    }

    pub(super) fn close_soon(&self) {
        self.closing.set(true);
    }

    /// Bytes that arrived; none when the caller has hung up.
    pub(super) fn received(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.left.set(true);
        }
        if self.serving.get() == 0 {
            self.unparsed.set(self.unparsed.get().saturating_add(bytes.len()));
            if !self.line_ended.get() {
                self.line_ended.set(bytes.contains(&b'\n'));
            }
        }
    }

    /// Nobody waits for the answer in the making.
    pub(super) fn is_deserted(&self) -> bool {
        self.left.get() && self.serving.get() > 0
    }

    /// So many bytes of so many were taken.
    pub(super) fn sent(&self, taken: usize, of: usize) {
        self.blocked.set(taken < of);
        if taken > 0 {
            self.answering.set(true);
        }
    }

    /// Whether an answer moved since this was last asked.
    pub(super) fn take_progress(&self) -> bool {
        self.answering.take()
    }

    /// What the caller owes us.
    pub(super) fn due(&self) -> Option<Due> {
        if self.blocked.get() {
            Some(Due::Reading)
        } else if self.serving.get() > 0 {
            None
        } else if self.body_left.get() {
            Some(Due::Rest)
        } else {
            (!self.introduced.get() || self.unparsed.get() > 0).then_some(Due::Head)
        }
    }

    /// There is a body that was not read to its end.
    pub fn has_body_left(&self) -> bool {
        self.body_left.get()
    }

    pub(super) fn unparsed(&self) -> usize {
        self.unparsed.get()
    }

    /// The bytes that are there are all of one line.
    pub(super) fn in_first_line(&self) -> bool {
        !self.line_ended.get()
    }

    /// Nothing is served, asked or unsent.
    pub(super) fn rests(&self) -> bool {
        self.serving.get() == 0 && self.unparsed.get() == 0 && !self.blocked.get()
    }

    pub(super) fn give_back(&self, returned: Returned) {
        self.returned.set(Some(returned));
    }

    pub(super) fn take_back(&self) -> Option<Returned> {
        self.returned.take()
    }
}

/// Polls `call` only while its caller is there.
///
/// The connection drops the handler of a caller who has hung up, but the framework polls it once more before. In that turn it could take the
/// place in a queue that another departed caller has just left, and send.
pub async fn while_there<T>(conversation: Option<&Conversation>, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    poll_fn(|cx| match conversation.is_some_and(Conversation::has_left) {
        true => Poll::Pending,
        false => call.as_mut().poll(cx),
    })
    .await
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.serving.set(self.0.serving.get() - 1);
        if self.0.serving.get() == 0 {
            // The caller's id is a piece of the buffer his requests are read into: kept, it would keep all of that.
            self.0.arrival.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_head_is_due_at_first_and_then_only_when_part_of_it_is_there() {
        let talk = Rc::new(Conversation::default());
        assert_eq!((talk.due(), talk.rests()), (Some(Due::Head), true));
        talk.received(b"GET / HTTP/1.1\r\n\r\n");
        let turn = talk.begin(false);
        assert_eq!((talk.due(), talk.rests()), (None, false));
        drop(turn);
        assert_eq!((talk.due(), talk.rests()), (None, true));
        talk.received(b"GE");
        assert_eq!((talk.due(), talk.rests(), talk.in_first_line()), (Some(Due::Head), false, true));
    }

    #[test]
    fn what_follows_an_unread_body_is_not_taken_for_a_head() {
        let talk = Rc::new(Conversation::default());
        drop(talk.begin(true));
        talk.received(b"rest of the body");
        assert_eq!(talk.due(), Some(Due::Rest));
        let turn = talk.begin(true);
        talk.body_ended();
        drop(turn);
        assert_eq!(talk.due(), None);
    }

    #[test]
    fn an_answer_that_is_not_read_keeps_the_connection_from_resting() {
        let talk = Rc::new(Conversation::default());
        drop(talk.begin(false));
        talk.sent(1, 2);
        assert_eq!((talk.due(), talk.rests()), (Some(Due::Reading), false));
        assert!(talk.take_progress() && !talk.take_progress());
        talk.sent(0, 1);
        assert!(!talk.take_progress());
        talk.sent(1, 1);
        assert_eq!((talk.due(), talk.rests()), (None, true));
    }

    #[test]
    fn nothing_is_begun_for_a_caller_who_has_left() {
        let talk = Rc::new(Conversation::default());
        let polled = Cell::new(0);
        let count = poll_fn(|_| {
            polled.set(polled.get() + 1);
            Poll::<()>::Pending
        });
        let mut call = pin!(while_there(Some(&talk), count));
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        talk.received(b"");
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(polled.get(), 1);
    }
}
