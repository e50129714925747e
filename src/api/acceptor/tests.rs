//! What no caller can see from outside: a drain while a worker stands still. In one process, so that it can be made to.
//!
//! Limits: two workers, a pause of two thirds of a second; the rest of the acceptor is asked by the integration suite, over sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::{App, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::census::Limits;
use super::*;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Build;

/// How much longer a worker stands still once the drain has begun: longer than a drain waits without asking.
const BLOCKED: Duration = Duration::from_millis(700);
/// They are handed to two workers in turn, so that half of them wait in the queue of the one that stands still.
const CALLERS: u64 = 6;
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

async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect("it comes to pass");
}

/// What keeps a worker from its queue.
#[derive(Clone, Default)]
struct Block {
    wanted: Arc<AtomicBool>,
    begun: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Block {
    /// Work that belongs to no connection: nobody is connected meanwhile, as far as the census knows.
    async fn begin(self) {
        eventually(|| self.wanted.load(Ordering::SeqCst)).await;
        self.begun.store(true, Ordering::SeqCst);
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn who_waits_in_the_queue_of_a_worker_that_stands_still_is_answered_all_the_same() {
    let block = Block::default();
    let in_app = block.clone();
    let app = move || {
        let block = in_app.clone();
        let stand_still = move || {
            actix_web::rt::spawn(block.clone().begin());
            async { "soon" }
        };
        App::new().route("/block", web::get().to(stand_still)).route("/", web::get().to(async || "served"))
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let door = listener.local_addr().expect("an address");
    let settings = Settings {
        workers: 2,
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
        let census = Census::new(limits, metrics.clone());
        let (acceptor, server) = Acceptor::start(listener, settings, census.clone(), app).expect("an acceptor");
        let server = actix_web::rt::spawn(server);
        assert!(answer(ask(door, "/block").await).await.ends_with("soon"));
        eventually(|| census.open() == 0).await;
        block.wanted.store(true, Ordering::SeqCst);
        eventually(|| block.begun.load(Ordering::SeqCst)).await;
        let mut waiting = Vec::new();
        for _ in 0..CALLERS {
            waiting.push(ask(door, "/").await);
        }
        std::thread::spawn(move || {
            std::thread::sleep(BLOCKED);
            block.over.store(true, Ordering::SeqCst);
        });
        acceptor.drain(PATIENCE).await;
        for caller in waiting {
            assert!(answer(caller).await.ends_with("served"));
        }
        let told = metrics.render();
        let counted = format!("collective_connections_accepted_total {}\n", 1 + CALLERS);
        assert!(told.contains(&counted), "our own knocks count for nothing: {told}");
        server.await.expect("the server's task").expect("a server that stopped");
    });
}

#[test]
fn a_listener_on_every_address_is_reached_at_the_loopback_one() {
    for (bound, door) in [
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
        ("[::ffff:0.0.0.0]:80", "127.0.0.1:80"),
        ("10.1.2.3:80", "10.1.2.3:80"),
        ("[fd00::1]:80", "[fd00::1]:80"),
    ] {
        let [bound, door] = [bound, door].map(|text| text.parse::<SocketAddr>().expect("an address"));
        assert_eq!(reachable(bound), door);
    }
}
