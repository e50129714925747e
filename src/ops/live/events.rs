//! `/events`: the page's values as server-sent events.
//!
//! Each `state` event is complete, so whoever missed one misses nothing and a resuming `Last-Event-ID` has no work to do.
//! `hello` names the page these values fit; a page that is another one loads itself anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::mpsc::Receiver;

use super::Live;
use super::hub::Denied;
use crate::ops::{page, routes};

/// A stream that has nothing to say says so this often: proxies in between give up after 15 seconds or more.
const HEARTBEAT: Duration = Duration::from_secs(10);
const _: () = assert!(HEARTBEAT.as_secs() < 15);

/// How soon a browser comes back after a loss.
const COME_BACK: Duration = Duration::from_secs(2);

/// Tells proxies of the nginx family not to collect what must be seen at once.
const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// One viewer's stream, or why there is none.
pub(in crate::ops) async fn answer(request: HttpRequest, live: web::Data<Live>) -> HttpResponse {
    let live = live.into_inner();
    match live.hub.join() {
        Ok(events) => HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header(NO_BUFFERING)
            .streaming(told(greeting(&live), events, HEARTBEAT).map(Ok::<_, Infallible>)),
        Err(denied) => {
            let (code, detail) = match denied {
                Denied::Full => ("too_many_viewers", "As many pages as allowed are open. /status has the same facts."),
                Denied::Closed => ("draining", "The service is stopping."),
            };
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let mut answer = routes::problem(&request, status, "No live view", code, detail);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            answer
        }
    }
}

/// One `state` event. JSON of one line needs no further framing.
pub(super) fn state(json: &str) -> Bytes {
    Bytes::from(format!("event: state\ndata: {json}\n\n"))
}

/// What a viewer hears first: when to come back, which page this is, and the present.
fn greeting(live: &Arc<Live>) -> Bytes {
    let document = live.present();
    let hello = format!("retry: {}\nevent: hello\ndata: {}\n\n", COME_BACK.as_millis(), page::id(&document));
    Bytes::from([hello.as_bytes(), &live.event(&document)].concat())
}

/// The greeting, then every event, and a comment whenever there was none for a while. Ends when the hub drops the viewer.
fn told(greeting: Bytes, events: Receiver<Bytes>, heartbeat: Duration) -> impl Stream<Item = Bytes> {
    let rest = stream::unfold(events, move |mut events| async move {
        let next = match tokio::time::timeout(heartbeat, events.recv()).await {
            Ok(event) => event?,
            Err(_) => Bytes::from_static(b": heartbeat\n\n"),
        };
        Some((next, events))
    });
    stream::once(async { greeting }).chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_filled_with_a_comment_and_the_end_is_an_end() {
        let (viewer, events) = tokio::sync::mpsc::channel(1);
        let mut stream = Box::pin(told(Bytes::from_static(b"hello"), events, Duration::from_millis(1)));
        assert_eq!(stream.next().await.as_deref(), Some(&b"hello"[..]));
        assert_eq!(stream.next().await.as_deref(), Some(&b": heartbeat\n\n"[..]));
        viewer.send(state("{}")).await.expect("a place");
        assert_eq!(stream.next().await.as_deref(), Some(&b"event: state\ndata: {}\n\n"[..]));
        drop(viewer);
        assert_eq!(stream.next().await, None);
    }
}
