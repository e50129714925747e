//! What no caller can see from outside: a drain while a worker stands still. In one process, so that it can be made to.
//!
//! Limits: a pause of two thirds of a second; the rest of the acceptor is asked by the integration suite, over sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::{App, HttpResponse, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::census::Limits;
use super::*;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Build;

/// How long a worker stands still: longer than a drain used to wait for it.
const BLOCKED: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(10);

async fn ask(door: SocketAddr, path: &str) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(door).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    stream
}

async fn answer(mut stream: tokio::net::TcpStream) -> String {
    let mut text = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("nobody hangs");
    read.expect("an answer, not a reset");
    text
}

/// The worker is kept from its queue by work that belongs to no connection: nobody is connected, as far as the census knows.
#[test]
fn who_waits_in_the_queue_of_a_worker_that_stands_still_is_answered_all_the_same() {
    let stands_still = Arc::new(AtomicBool::new(false));
    let flag = stands_still.clone();
    let app = move || {
        let flag = flag.clone();
        let block = move || {
            let flag = flag.clone();
            async move {
                actix_web::rt::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    flag.store(true, Ordering::SeqCst);
                    std::thread::sleep(BLOCKED);
                });
                HttpResponse::Ok().body("soon")
            }
        };
        App::new().route("/block", web::get().to(block)).route("/", web::get().to(async || "served"))
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let door = listener.local_addr().expect("an address");
    let settings = Settings {
        workers: 1,
        keep_alive: PATIENCE,
        head_timeout: PATIENCE,
        disconnect_timeout: Duration::from_secs(1),
        write_timeout: PATIENCE,
        head_bytes: 16 * 1024,
        allow_origin: None,
    };
    let limits = Limits { total: 10, per_address: 10, refused: 10 };
    actix_web::rt::System::new().block_on(async {
        let metrics = Arc::new(Metrics::new(Build::current()).expect("a valid table"));
        let census = Census::new(limits, metrics);
        let (acceptor, server) = Acceptor::start(listener, settings, census.clone(), app).expect("an acceptor");
        let server = actix_web::rt::spawn(server);
        assert!(answer(ask(door, "/block").await).await.ends_with("soon"));
        tokio::time::timeout(PATIENCE, async {
            while !stands_still.load(Ordering::SeqCst) || census.open() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("the worker stands still");
        let waiting = ask(door, "/").await;
        acceptor.drain(PATIENCE).await;
        assert!(answer(waiting).await.ends_with("served"));
        server.await.expect("the server's task").expect("a server that stopped");
    });
}
