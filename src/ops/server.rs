//! The thread that serves operators, and its limits.
//!
//! Its own thread, its own actix system, one worker: the public workers can be as busy as they like. It starts
//! before the rest of the service is ready (then `/readyz` says so) and is stopped last.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer};

use super::live::Live;
use super::{OpsView, headers, routes};

/// A request head must arrive within this time: an operator's tool is near, and a slow one must not hold a place.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection may stay. Places are few and a probe must get one within its own time-out, so whoever asks now and then
/// connects anew, which costs him next to nothing here.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// How long a closing connection may take to say goodbye.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections at once: some probes, some scrapers, some people. More would wait in the backlog.
pub const MAX_CONNECTIONS: usize = 256;

/// How long a viewer of the page may leave what was sent to him unread; the kernel counts, because nobody here hears of it.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds that answers under way get when the listener stops.
const STOP_SECONDS: u64 = 1;

/// The running listener. Dropping it stops it, too.
pub struct OpsHandle {
    address: SocketAddr,
    server: ServerHandle,
    live: Arc<Live>,
    thread: Option<JoinHandle<()>>,
}

/// Serves `view` on `listener` until the handle is stopped, to so many at once.
///
/// # Errors
/// When the listener cannot be used or the thread cannot be started.
pub fn spawn(listener: TcpListener, view: Arc<dyn OpsView>, connections: usize) -> io::Result<OpsHandle> {
    let address = listener.local_addr()?;
    let live = Live::new(Arc::clone(&view));
    let watching = Arc::clone(&live);
    let (report, reported) = mpsc::channel();
    let thread = thread::Builder::new().name("ops".to_owned()).spawn(move || {
        actix_rt::System::new().block_on(async move {
            let server = match build(listener, Arc::clone(&watching), view, connections) {
                Ok(server) => server,
                Err(error) => return drop(report.send(Err(error))),
            };
            let _ = report.send(Ok(server.handle()));
            actix_rt::spawn(watching.run());
            if let Err(error) = server.await {
                tracing::error!(%error, "the operator listener ended");
            }
        });
    })?;
    let server = reported.recv().map_err(|_| io::Error::other("the operator thread ended at once"))??;
    Ok(OpsHandle { address, server, live, thread: Some(thread) })
}

fn build(listener: TcpListener, live: Arc<Live>, view: Arc<dyn OpsView>, connections: usize) -> io::Result<Server> {
    limit_unread(&listener);
    let app = move || {
        let (live, view) = (Arc::clone(&live), Arc::clone(&view));
        App::new().wrap(headers::every_answer()).configure(|service| routes::configure(service, live, view))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .disable_signals() // the drain in `startup` decides when this ends
        .client_request_timeout(REQUEST_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        .h1_allow_half_closed(false)
        .max_connections(connections)
        .shutdown_timeout(STOP_SECONDS)
        .listen(listener)?;
    Ok(server.run())
}

/// Drops viewers who went to sleep without a goodbye. Connections inherit it from their listener.
fn limit_unread(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_user_timeout(Some(UNREAD_TIMEOUT)) {
        tracing::warn!(%error, "viewers of the page who leave it unread keep their connections on this system");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (listener, UNREAD_TIMEOUT);
}

impl OpsHandle {
    /// Where it listens; with port 0 in the configuration, the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether its thread still runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops listening, lets answers under way finish (one second at most), and waits for the thread.
    ///
    /// Blocks; call it at the end of life or from a thread that may wait.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.live.close();
        // The command is on its way once the future exists; the thread's end is the answer.
        drop(self.server.stop(true));
        if thread.join().is_err() {
            tracing::error!("the operator thread panicked");
        }
    }
}

impl Drop for OpsHandle {
    fn drop(&mut self) {
        self.end();
    }
}
