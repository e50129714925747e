//! The public listener: one actix worker per core, each with its own door to Redis.
//!
//! `h1_allow_half_closed(false)`: a caller who hangs up is gone, and his handler is dropped with him (D5); what he asked for and
//! was not yet written is then never sent. Limits: connections are not counted or limited here yet.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};

use crate::api::{self, Worker, envelope};
use crate::config;
use crate::redis::{Endpoint, Gateway};

/// Starts accepting; the server must then be awaited.
pub(super) fn start(
    listener: TcpListener,
    settings: &config::Server,
    finish: Duration,
    shared: Arc<api::Shared>,
    endpoint: Arc<Endpoint>,
) -> io::Result<Server> {
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let app = move || {
        let worker = Worker::new(shared.clone(), Gateway::new(endpoint.clone()));
        App::new().app_data(web::Data::new(worker)).wrap(from_fn(envelope::wrap)).configure(api::configure)
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.client_request_timeout)
        .client_disconnect_timeout(settings.client_disconnect_timeout)
        .h1_allow_half_closed(false)
        .shutdown_timeout(finish.as_secs().max(1))
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}
