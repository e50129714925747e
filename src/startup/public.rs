//! The public listener: one actix worker per core, each with its own door to Redis, behind the acceptor.
//!
//! Limits: the listener is bound before and handed in; ending it is the acceptor's affair.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, web};

use crate::api::acceptor::{self, Acceptor};
use crate::api::{self, Worker, cross_origin, envelope};
use crate::config;
use crate::redis::{Endpoint, Gateway};

/// Starts accepting; the server must then be awaited.
pub(super) fn start(
    listener: TcpListener,
    settings: &config::Server,
    shared: Arc<api::Shared>,
    endpoint: Arc<Endpoint>,
) -> io::Result<(Acceptor, Server)> {
    let settings = acceptor::Settings {
        workers: workers(settings),
        keep_alive: settings.keep_alive,
        head_timeout: settings.client_request_timeout,
        disconnect_timeout: settings.client_disconnect_timeout,
        write_timeout: settings.client_write_timeout,
        head_bytes: shared.settings.head_bytes,
        allow_origin: shared.settings.cross_origin.as_ref().and_then(cross_origin::Policy::for_everyone),
    };
    let census = shared.census.clone();
    let app = move || {
        let worker = Worker::new(shared.clone(), Gateway::new(endpoint.clone()));
        // The envelope is the outermost: what answers inside of it has an id, the standard headers and is counted.
        App::new()
            .wrap(cross_origin::middleware(worker.shared.settings.cross_origin.as_ref()))
            .wrap(from_fn(envelope::wrap))
            .app_data(web::Data::new(worker))
            .configure(api::configure)
    };
    Acceptor::start(listener, settings, census, app)
}

/// Worker threads: as many as configured, or one a core.
pub(super) fn workers(settings: &config::Server) -> usize {
    match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}
