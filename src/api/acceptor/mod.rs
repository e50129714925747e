//! The door for callers: accepts connections, counts and limits them, watches over their heads, and ends them in order.
//!
//! The framework's own server stops accepting when it is full instead of saying so, answers malformed heads with an empty body,
//! times only the first head of a connection, and drops queued connections when it stops. So the public listener is served
//! through here: `actix_server` accepts, [`Entry::receive`] decides, actix-http's dispatcher speaks HTTP over a [`wire::Wire`],
//! and [`connection`] stays beside it for as long as the connection lives (D13, D28).
//!
//! - [`census`]: who is connected, and how many may be
//! - [`complaint`]: the answers given before any route is known
//! - [`conversation`]: what acceptor and envelope tell each other about one connection
//! - [`last_call`]: knowing that whoever came before the drain has been let in
//! - [`connection`]: one connection from the first byte to the goodbye
//! - [`wire`]: the stream under actix-http
//!
//! Limits: HTTP/1.1 without TLS. A request queued behind another on one connection is dropped
//! unread when the drain closes that connection; the answer before it says `Connection: close`, which tells its caller so.

pub mod census;
pub mod complaint;
mod connection;
pub mod conversation;
mod last_call;
mod wire;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol, Request, Response};
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, map_config};
use actix_web::dev::AppConfig;
use actix_web::http::header::HeaderValue;
use actix_web::rt::net::TcpStream;
use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;

use self::census::{Census, Full, Place};
use self::connection::{Care, Incoming};
use self::conversation::Conversation;
use self::last_call::LastCall;
use self::wire::Wire;

/// How long the drain may wait for a sign from each worker that it has let in all who came before. It takes a millisecond, longer
/// only where the machine or a worker stands still, or a flood keeps our own knocks out.
const LAST_CALL: Duration = Duration::from_secs(2);
/// How long the drain goes on accepting before that, for those whose handshake was on its way; and what workers get to empty
/// their queues of those who came after it, but before the listener was closed.
const SETTLE: Duration = Duration::from_millis(50);
/// What the workers get to end by themselves once all connections are gone: refused ones may still be taking their leave.
const STOP_SECONDS: u64 = 1;

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker threads, at least one.
    pub workers: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a request head may take to arrive, the first one counted from the connection on.
    pub head_timeout: Duration,
    /// How long a closing connection may linger.
    pub disconnect_timeout: Duration,
    /// How long a caller may read nothing of an answer that waits for him.
    pub write_timeout: Duration,
    /// The largest request head, in bytes.
    pub head_bytes: usize,
    /// Which page may read a refusal given before any head was read.
    pub allow_origin: Option<HeaderValue>,
}

/// The running acceptor: how its life is ended.
pub struct Acceptor {
    server: ServerHandle,
    census: Arc<Census>,
    last_call: Arc<LastCall>,
    draining: watch::Sender<bool>,
}

impl Acceptor {
    /// Starts the workers, each with an application of its own made by `app`. The server must then be polled.
    pub fn start<F, I, S, B>(
        listener: TcpListener,
        settings: Settings,
        census: Arc<Census>,
        app: F,
    ) -> io::Result<(Self, Server)>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let (draining, drained) = watch::channel(false);
        let last_call = Arc::new(LastCall::new(listener.local_addr()?, settings.workers));
        let entry = Entry {
            census: census.clone(),
            last_call: last_call.clone(),
            settings: settings.clone(),
            draining: drained,
        };
        let service = move || {
            let entry = entry.clone();
            let app = app().into_factory().map_err(|error| error.into().error_response());
            // What is not set here (timing the head, the signal to stop) is the connection's own affair.
            let http = HttpService::build()
                .keep_alive(KeepAlive::Timeout(entry.settings.keep_alive))
                .client_request_timeout(Duration::ZERO)
                .client_disconnect_timeout(entry.settings.disconnect_timeout)
                // Who leaves is seen by the connection. The framework would also end what is being served because of what
                // comes behind it: bytes that are no request would cost the one before them its answer.
                .h1_allow_half_closed(true)
                .on_connect_ext(|wire: &Wire, data| drop(data.insert(wire.conversation())))
                .finish(map_config(app, |()| AppConfig::default()));
            apply_fn_factory(http, move |stream: TcpStream, http: &_| entry.receive(stream, http))
        };
        let server = Server::build()
            .workers(settings.workers)
            // The census is the limit: the framework's own would silently stop accepting.
            .max_concurrent_connections(usize::MAX)
            .shutdown_timeout(STOP_SECONDS)
            .disable_signals()
            .listen("public", listener, service)?
            .run();
        Ok((Self { server: server.handle(), census, last_call, draining }, server))
    }

    /// Stops in order: answers close their connections, idle ones end, what is queued is served, `finish` bounds it all.
    pub async fn drain(&self, finish: Duration) {
        self.draining.send_replace(true);
        let quiet = tokio::time::timeout(finish, async {
            tokio::time::sleep(SETTLE).await;
            // Half at most: who was let in needs time as well, and where no knock arrives a stop is still one in order.
            let called = tokio::time::timeout(LAST_CALL.min(finish / 2), self.last_call.reach_everyone()).await;
            if !matches!(called, Ok(Ok(()))) {
                tracing::info!(?called, "not every worker is known to have let in all who came before the drain");
            }
            self.server.pause().await;
            tokio::time::sleep(SETTLE).await;
            self.census.until_empty().await;
        });
        let in_time = quiet.await.is_ok();
        if !in_time {
            tracing::warn!(connections = self.census.open(), "drain.finish is over: the remaining connections are cut");
        }
        self.server.stop(in_time).await;
    }
}

/// Where a listener can be reached from its own machine: bound to every address, it is reached at the loopback one.
pub fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return bound,
    };
    SocketAddr::new(ip, bound.port())
}

/// What every worker's door knows.
#[derive(Clone)]
struct Entry {
    census: Arc<Census>,
    last_call: Arc<LastCall>,
    settings: Settings,
    draining: watch::Receiver<bool>,
}

impl Entry {
    /// Takes one connection in, or turns it away.
    fn receive<H>(&self, stream: TcpStream, http: &H) -> LocalBoxFuture<'static, Result<(), DispatchError>>
    where
        H: Service<Incoming, Response = (), Error = DispatchError>,
        H::Future: 'static,
    {
        // Small answers must not wait for the caller's acknowledgement of the last one.
        let _ = stream.set_nodelay(true);
        let metrics = self.census.metrics().clone();
        let place = match self.admit(&stream) {
            Ok(Some(place)) => place,
            Ok(None) => return Box::pin(std::future::ready(Ok(()))),
            Err(full) => {
                metrics.connection_rejected(full.into());
                let Some(leave) = self.census.take_leave() else { return Box::pin(std::future::ready(Ok(()))) };
                let told = self.settings.allow_origin.clone();
                return Box::pin(connection::turn_away(stream, self.settings.disconnect_timeout, told, leave));
            }
        };
        let peer = stream.peer_addr().ok();
        let conversation = Rc::new(Conversation::default());
        let dispatcher = http.call((Wire::new(stream, conversation.clone()), Protocol::Http1, peer));
        let care = Care {
            conversation,
            metrics,
            draining: self.draining.clone(),
            head_timeout: self.settings.head_timeout,
            disconnect_timeout: self.settings.disconnect_timeout,
            write_timeout: self.settings.write_timeout,
            head_bytes: self.settings.head_bytes,
            allow_origin: self.settings.allow_origin.clone(),
        };
        Box::pin(async move {
            connection::attend(dispatcher, care).await;
            drop(place);
            Ok(())
        })
    }

    /// The one place where a connection is let in or not; whoever is to be kept out is kept out here.
    ///
    /// `None`: it has left already, or was no caller.
    fn admit(&self, stream: &TcpStream) -> Result<Option<Place>, Full> {
        let Ok(peer) = stream.peer_addr() else { return Ok(None) };
        if *self.draining.borrow() && self.last_call.is_a_knock(peer) {
            return Ok(None);
        }
        self.census.admit(peer.ip()).map(Some)
    }
}

#[cfg(test)]
mod tests;
