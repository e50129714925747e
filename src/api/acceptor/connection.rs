//! One connection from its first byte to the goodbye.
//!
//! actix-http's dispatcher does the talking. Beside it, looking only after it has had its turn: is a head overdue or too large,
//! is the service draining and this connection idle, did the parser give up. And when it is over, the last word: a refusal with
//! a body, and a goodbye that a caller who is still writing can hear (closing with unread bytes would reset the connection and
//! take the answer with it). Limits: times are those of silence, not of a minimum rate.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Protocol;
use actix_http::error::{DispatchError, ParseError};
use actix_web::http::header::HeaderValue;
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, timeout};

use super::census::Leave;
use super::complaint::Complaint;
use super::conversation::{Conversation, Due, Returned};
use super::wire::Wire;
use crate::telemetry::Metrics;

/// What actix-http takes.
pub(super) type Incoming = (Wire, Protocol, Option<SocketAddr>);

/// How long an idle connection is left open after the drain began: a request that was on its way then is still answered.
const IDLE_GRACE: Duration = Duration::from_millis(250);
/// How long a refused caller is listened to before he is told: a client that is answered before it asked is confused.
const FIRST_WORD: Duration = Duration::from_millis(250);
/// Bytes thrown away at once while lingering.
const SINK: usize = 16 * 1024;

/// What it takes to look after a connection.
pub(super) struct Care {
    pub(super) conversation: Rc<Conversation>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) head_timeout: Duration,
    pub(super) disconnect_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) head_bytes: usize,
    pub(super) allow_origin: Option<HeaderValue>,
}

/// Why a connection ended.
enum Ending {
    /// The dispatcher is done.
    Dispatched(Result<(), DispatchError>),
    /// The caller did not do in time what was due.
    Overdue(Due),
    /// A head grew too large before it was complete.
    TooLarge,
    /// It rested, and the service is stopping.
    Idle,
    /// The caller left before he had his answer; what is done for him is not done any more (D5).
    Deserted,
}

/// Looks after a connection until it is over, the goodbye included.
pub(super) async fn attend(dispatcher: impl Future<Output = Result<(), DispatchError>>, care: Care) {
    let ending = watch_over(dispatcher, &care).await;
    // The dispatcher is gone, and with it the wire: the stream is back.
    let Some(returned) = care.conversation.take_back() else { return };
    let last_word = last_word(&ending, &returned, &care);
    if let Some(complaint) = last_word {
        care.metrics.head_refused(complaint.into());
    }
    // Boxed, so that a connection at work does not carry the room for its goodbye.
    let last_word = last_word.map(|complaint| complaint.on_the_wire(care.allow_origin.as_ref()));
    Box::pin(farewell(returned.stream, last_word, care.disconnect_timeout)).await;
}

/// Tells a caller for whom there is no place so, and why.
pub(super) async fn turn_away(
    mut stream: TcpStream,
    disconnect_timeout: Duration,
    allow_origin: Option<HeaderValue>,
    leave: Leave,
) -> Result<(), DispatchError> {
    let _ = timeout(FIRST_WORD, stream.readable()).await;
    let answer = Complaint::TooManyConnections.on_the_wire(allow_origin.as_ref());
    if matches!(timeout(disconnect_timeout, stream.write_all(&answer)).await, Ok(Ok(()))) {
        linger(&mut stream, disconnect_timeout).await;
    }
    drop(leave);
    Ok(())
}

async fn watch_over(dispatcher: impl Future<Output = Result<(), DispatchError>>, care: &Care) -> Ending {
    let mut draining = care.draining.clone();
    let drained = async move {
        // An acceptor that is gone without a word is stopping, too.
        let _ = draining.wait_for(|draining| *draining).await;
    };
    let (mut dispatcher, mut drained) = (pin!(dispatcher), pin!(drained));
    let mut clock = DueClock::default();
    let mut drain = Drain::Serving;
    poll_fn(|cx| {
        if let Poll::Ready(result) = dispatcher.as_mut().poll(cx) {
            return Poll::Ready(Ending::Dispatched(result));
        }
        if care.conversation.is_deserted() {
            return Poll::Ready(Ending::Deserted);
        }
        if matches!(drain, Drain::Serving) && drained.as_mut().poll(cx).is_ready() {
            care.conversation.close_soon();
            drain = Drain::Grace(Box::pin(sleep(IDLE_GRACE)));
        }
        if let Drain::Grace(grace) = &mut drain
            && grace.as_mut().poll(cx).is_ready()
        {
            drain = Drain::Over;
        }
        if matches!(drain, Drain::Over) && care.conversation.rests() {
            return Poll::Ready(Ending::Idle);
        }
        clock.poll(cx, care)
    })
    .await
}

/// How far the drain has come on this connection.
enum Drain {
    Serving,
    Grace(Pin<Box<Sleep>>),
    Over,
}

/// Times what is due. The timer exists only while something is.
#[derive(Default)]
struct DueClock(Option<(Due, Pin<Box<Sleep>>)>);

impl DueClock {
    fn poll(&mut self, cx: &mut Context<'_>, care: &Care) -> Poll<Ending> {
        let talk = &care.conversation;
        let Some(due) = talk.due() else {
            self.0 = None;
            return Poll::Pending;
        };
        if due == Due::Head && talk.unparsed() > care.head_bytes {
            return Poll::Ready(Ending::TooLarge);
        }
        loop {
            self.0 = self.0.take().filter(|(former, _)| *former == due);
            let (_, timer) = self.0.get_or_insert_with(|| (due, Box::pin(sleep(care.allowance(due)))));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if !talk.take_progress() {
                return Poll::Ready(Ending::Overdue(due));
            }
            self.0 = None;
        }
    }
}

impl Care {
    fn allowance(&self, due: Due) -> Duration {
        match due {
            Due::Head => self.head_timeout,
            Due::Rest => self.disconnect_timeout,
            Due::Reading => self.write_timeout,
        }
    }
}

/// What is still to be said to a caller whose connection ended like this.
fn last_word(ending: &Ending, returned: &Returned, care: &Care) -> Option<Complaint> {
    let talk = &care.conversation;
    let too_large = || if talk.in_first_line() { Complaint::UriTooLong } else { Complaint::HeadTooLarge };
    match ending {
        // To a head alone an answer is due: everything else has had its own.
        Ending::Overdue(due) => (*due == Due::Head).then_some(Complaint::HeadOverdue),
        Ending::TooLarge => Some(too_large()),
        Ending::Idle | Ending::Deserted => None,
        // Only what the framework wanted to say itself may be said better: else there is an answer already.
        Ending::Dispatched(_) if !returned.silenced => None,
        Ending::Dispatched(Err(DispatchError::Parse(ParseError::TooLarge))) => Some(too_large()),
        Ending::Dispatched(Err(DispatchError::Parse(ParseError::Uri(_)))) if talk.unparsed() > care.head_bytes => {
            Some(Complaint::UriTooLong)
        }
        Ending::Dispatched(Err(DispatchError::Parse(_))) => Some(Complaint::Malformed),
        Ending::Dispatched(_) => Some(Complaint::Internal),
    }
}

/// Says the last word, if there is one, and closes without taking back what was said.
async fn farewell(mut stream: TcpStream, last_word: Option<Vec<u8>>, patience: Duration) {
    if let Some(answer) = last_word {
        if !matches!(timeout(patience, stream.write_all(&answer)).await, Ok(Ok(()))) {
            return;
        }
        linger(&mut stream, patience).await;
    } else if matches!(stream.try_read(&mut [0]), Ok(1)) {
        linger(&mut stream, patience).await;
    }
}

/// Ends our half and reads what the caller still sends, until he ends his or patience does.
async fn linger(stream: &mut TcpStream, patience: Duration) {
    let _ = stream.shutdown().await;
    let drain = async {
        let mut sink = vec![0; SINK];
        while matches!(stream.read(&mut sink).await, Ok(1..)) {}
    };
    let _ = timeout(patience, drain).await;
}
