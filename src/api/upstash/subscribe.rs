//! `/subscribe/{channel}` and `/psubscribe/{pattern}`: messages as server-sent events.
//!
//! ```text
//! data: subscribe,chat,1                 once Redis has confirmed
//! data: message,chat,hello               the payload byte for byte: never base64, never quoted again
//! data: pmessage,chat:*,chat:7,hello
//! : keepalive                            each `streams.heartbeat`
//! : discontinuity                        Redis was away and is back; messages in between are lost
//! ```
//!
//! Each event is followed by an empty line. The body of the request is read and ignored (SDKs send `[]`), and so are
//! `Upstash-Encoding` and `Accept`. All of the path behind the prefix is one name, slashes included, since SDKs do not encode them.
//!
//! *Who may.* Whoever may send commands, the holder of a read-only token included: to subscribe changes nothing, and the publishing
//! that would is denied to him. A pattern does show him the names of channels in use. The token may stand in the query as
//! `_token`, since a browser's `EventSource` sends no headers.
//!
//! *Line feeds.* The format cannot hold one inside a line. A payload with some becomes several `data: ` lines of one event, as the
//! standard has it: a browser's `EventSource` puts them together again. The JavaScript SDK reads line by line and takes the first.
//! A carriage return is left alone, because that SDK passes it on unharmed; to an `EventSource` it is a line's end, so publish text
//! for browsers as JSON, which holds neither.
//!
//! *Ends.* A drain ends the response as a whole one. A reader who is too slow, or whose subscription Redis will not renew, gets an
//! unfinished response instead: his client reports an error, and does not take silence for news.
//!
//! Limits: the SDK splits at the first commas, so commas in names (not in payloads) confuse it. What a message costs is one copy
//! for all readers, plus the socket's.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::Stream;
use tokio::time::{Interval, MissedTickBehavior};

use super::super::acceptor::conversation::{Conversation, Turn};
use super::super::body;
use super::arguments::ArgumentError;
use super::ask::Visitor;
use super::error::DialectError;
use super::path::{self, Route};
use crate::redis::catalogue::Lane;
use crate::redis::{Message, NoStream, Outcome, StreamEnd, StreamEvent, Subscription, Topic};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Asks reverse proxies not to collect the stream before they pass it on.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO: HeaderValue = HeaderValue::from_static("no");

const KEEPALIVE: Bytes = Bytes::from_static(b": keepalive\n\n");
const DISCONTINUITY: Bytes = Bytes::from_static(b": discontinuity\n\n");

/// Opens a stream of what `route` names.
pub(super) async fn stream(
    route: Route<'_>,
    visitor: Visitor,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<HttpResponse, DialectError> {
    let Visitor { principal: _, deadline, worker } = visitor;
    let settings = &worker.shared.settings;
    let topic = topic(route)?;
    // Read to its end, or the server would not see this caller leave.
    body::read(request, payload, settings.body_bytes, settings.body_timeout).await?;
    let subscription = worker.gateway.open_stream(topic, deadline).await.map_err(refusal)?;
    let turn = request.conn_data::<Rc<Conversation>>().map(|conversation| conversation.prolong());
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, EVENT_STREAM))
        .insert_header((ACCEL_BUFFERING, NO))
        // A stream ends with its connection: nothing is left to send on it.
        .force_close()
        .streaming(Events::new(subscription, settings.heartbeat, turn)))
}

/// What a route asks for, if callers may have it.
fn topic(route: Route<'_>) -> Result<Topic, DialectError> {
    let (command, raw) = match route {
        Route::PatternSubscribe(raw) => ("psubscribe", raw),
        Route::Subscribe(raw) => ("subscribe", raw),
        Route::Root | Route::Pipeline | Route::MultiExec | Route::Monitor | Route::Command(_) => ("subscribe", ""),
    };
    let name = Bytes::from(path::channel(raw)?);
    if name.is_empty() {
        return Err(ArgumentError::bad_request(format!(
            "ERR wrong number of arguments for '{command}' command: the path is /{command}/<name>"
        ))
        .into());
    }
    let topic = if command == "psubscribe" { Topic::Pattern(name) } else { Topic::Channel(name) };
    if topic.is_reserved() {
        return Err(DialectError::reserved_channel());
    }
    Ok(topic)
}

fn refusal(reason: NoStream) -> DialectError {
    match reason {
        NoStream::Gateway(error) => DialectError::of_gateway(&error, Lane::Read),
        NoStream::Redis(error) => DialectError::of_redis(&error, Outcome::NotExecuted),
        NoStream::Full { max, retry_after } => {
            DialectError::shed(format!("OVERLOADED {max} streams are open, as many as streams.max allows"), retry_after)
        }
        NoStream::Draining { retry_after } => {
            DialectError::shed("UNAVAILABLE the service is stopping: subscribe again", retry_after)
        }
    }
}

/// The body of the answer.
struct Events {
    subscription: Subscription,
    heartbeat: Interval,
    begun: bool,
    /// Held as long as the stream is open: a silent connection at work must not be taken for an idle one.
    _turn: Option<Turn>,
}

impl Events {
    /// The subscription has been confirmed already.
    fn new(subscription: Subscription, every: Duration, turn: Option<Turn>) -> Self {
        let mut heartbeat = tokio::time::interval(every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Self { subscription, heartbeat, begun: false, _turn: turn }
    }
}

/// The stream was ended before its reader left; the response stays unfinished.
#[derive(Debug)]
struct Cut(&'static str);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream cut: {}", self.0)
    }
}

impl std::error::Error for Cut {}

impl Stream for Events {
    type Item = Result<Bytes, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.begun {
            this.begun = true;
            return Poll::Ready(Some(Ok(confirmation(this.subscription.topic()))));
        }
        match this.subscription.poll_next(context) {
            Poll::Ready(Ok(StreamEvent::Message(message))) => {
                let topic = this.subscription.topic();
                Poll::Ready(Some(Ok(message.rendered(|message| event(topic, message)))))
            }
            Poll::Ready(Ok(StreamEvent::Discontinuity)) => Poll::Ready(Some(Ok(DISCONTINUITY))),
            Poll::Ready(Ok(StreamEvent::Confirmed)) => Poll::Ready(Some(Ok(KEEPALIVE))),
            Poll::Ready(Err(StreamEnd::Draining)) => Poll::Ready(None),
            Poll::Ready(Err(StreamEnd::SlowReader)) => Poll::Ready(Some(Err(Cut("the reader is too slow")))),
            Poll::Ready(Err(StreamEnd::Refused(_))) => {
                Poll::Ready(Some(Err(Cut("Redis refuses to renew the subscription"))))
            }
            Poll::Pending => {
                ready!(this.heartbeat.poll_tick(context));
                Poll::Ready(Some(Ok(KEEPALIVE)))
            }
        }
    }
}

/// The first event. The count is 1, since to its reader each stream is a connection of its own.
fn confirmation(topic: &Topic) -> Bytes {
    match topic {
        Topic::Channel(name) => frame(&[b"subscribe", name, b"1"]),
        Topic::Pattern(name) => frame(&[b"psubscribe", name, b"1"]),
    }
}

fn event(topic: &Topic, message: &Message) -> Bytes {
    match topic {
        Topic::Channel(name) => frame(&[b"message", name, &message.payload]),
        Topic::Pattern(name) => frame(&[b"pmessage", name, &message.channel, &message.payload]),
    }
}

/// One event: the fields with commas in between, a line feed inside continued on another `data: ` line.
fn frame(fields: &[&[u8]]) -> Bytes {
    const DATA: &[u8] = b"data: ";
    let mut out = Vec::with_capacity(DATA.len() + fields.iter().map(|field| field.len() + 1).sum::<usize>() + 1);
    out.extend_from_slice(DATA);
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        for (index, line) in field.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                out.push(b'\n');
                out.extend_from_slice(DATA);
            }
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_they_are() {
        assert_eq!(&frame(&[b"message", b"c", b"a,b\xff\0\"\r"])[..], b"data: message,c,a,b\xff\0\"\r\n\n");
        assert_eq!(&frame(&[b"message", b"c", b""])[..], b"data: message,c,\n\n");
    }

    #[test]
    fn a_line_feed_continues_the_event_on_another_line() {
        assert_eq!(
            &frame(&[b"message", b"c", b"one\n\ntwo\n"])[..],
            b"data: message,c,one\ndata: \ndata: two\ndata: \n\n"
        );
    }

    #[test]
    fn the_whole_path_behind_the_prefix_is_the_name() {
        let channel = |path: &str| topic(path::route(path)).expect("a topic");
        assert_eq!(channel("/subscribe/user/1%20x"), Topic::Channel(Bytes::from_static(b"user/1 x")));
        assert_eq!(channel("//psubscribe/user:*"), Topic::Pattern(Bytes::from_static(b"user:*")));
    }

    #[test]
    fn nothing_to_subscribe_to_and_the_services_own_channels_are_refused() {
        for path in
            ["/subscribe", "/psubscribe/", "/subscribe/collective:x", "/psubscribe/collective%3a*", "/subscribe/%zz"]
        {
            assert!(topic(path::route(path)).is_err(), "{path}");
        }
    }
}
