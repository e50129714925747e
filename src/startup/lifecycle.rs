//! The life of the process: start, say so, serve, drain on a signal, stop.
//!
//! The first SIGTERM or SIGINT drains (D28): readiness turns 503, after `drain.delay` streams are ended (their readers never mean
//! to leave) and the acceptor drains within `drain.finish`, then the operator listener ends, the background stops and the embedded
//! server with it, the last spans get `drain.flush`, exit 0. A second signal exits 1 at once.
//! Limits: a forced exit leaves an embedded server running; the next start adopts it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::announce::Announcement;
use super::background::Background;
use super::build::Built;
use super::public;
use super::view::View;
use crate::api::acceptor::reachable;
use crate::cli::{EXIT_FAILURE, EXIT_OK};
use crate::ops::{self, Phase};

/// How long start-up waits for the embedded server before it goes on without it.
pub(super) const EMBEDDED_PATIENCE: Duration = Duration::from_secs(2);
/// How long `healthcheck` waits for an answer.
const HEALTHCHECK_PATIENCE: Duration = Duration::from_secs(2);

/// Runs what was built until a signal ends it.
pub(super) fn run(built: Built) -> io::Result<()> {
    let public_address = built.public.local_addr()?;
    let view = View::new(&built.settings, &built.shared, built.endpoint.clone());
    let ops = ops::spawn(built.ops, view.clone(), built.operators)?;
    let (ready, is_ready) = oneshot::channel();
    let exporting = built.exporter.map(|exporter| (exporter, built.settings.drain.flush));
    let background =
        Background::start(built.endpoint.clone(), built.shared.limiters.clone(), built.embedded, exporting, ready)?;
    let announcement = Announcement {
        public: public_address,
        operator: ops.address(),
        token: built.token,
        audience: built.settings.server.announce,
    };
    let subscriptions = built.endpoint.subscriptions().clone();
    let served = actix_web::rt::System::new().block_on(async {
        let drain = &built.settings.drain;
        let (acceptor, server) = public::start(built.public, &built.settings.server, built.shared, built.endpoint)?;
        let serving = actix_web::rt::spawn(server);
        let mut signals = Signals::new()?;
        tokio::select! {
            _ = tokio::time::timeout(EMBEDDED_PATIENCE, is_ready) => {}
            () = signals.next() => {}
        }
        view.enter(Phase::Ready);
        announcement.print();
        signals.wait_first().await;
        view.enter(Phase::Draining);
        signals.exit_on_next();
        tokio::time::sleep(drain.delay).await;
        subscriptions.close();
        acceptor.drain(drain.finish).await;
        serving.await.map_err(io::Error::other)?
    });
    ops.stop();
    background.stop()?;
    tracing::info!("stopped");
    served
}

/// SIGTERM and SIGINT as one stream of wishes to stop.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    seen: bool,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            seen: false,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.seen = true;
    }

    /// Returns at once if a signal came already.
    async fn wait_first(&mut self) {
        if !self.seen {
            self.next().await;
        }
    }

    /// From now on a signal means: at once.
    fn exit_on_next(mut self) {
        actix_web::rt::spawn(async move {
            self.next().await;
            tracing::warn!("second signal: exiting without finishing");
            std::process::exit(i32::from(EXIT_FAILURE));
        });
    }
}

/// Asks the running service's readiness over its operator port; 0 if ready.
pub(super) fn healthcheck(ops: SocketAddr) -> u8 {
    match ask_ready(reachable(ops)) {
        Ok(true) => EXIT_OK,
        Ok(false) => {
            eprintln!("collective: the service on {ops} is not ready");
            EXIT_FAILURE
        }
        Err(error) => {
            eprintln!("collective: no answer from the operator listener on {ops} (ops.bind): {error}");
            EXIT_FAILURE
        }
    }
}

fn ask_ready(ops: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&ops, HEALTHCHECK_PATIENCE)?;
    stream.set_read_timeout(Some(HEALTHCHECK_PATIENCE))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(head.ends_with(b" 200"))
}
