//! Two thousand random requests: whatever comes, an answer that is none of ours to be ashamed of.
//!
//! Each is a good request with something broken in it, or no request at all, all decided by one seed that is printed. Limits:
//! two thousand find what is common; rare things are found by many runs with other seeds.

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};

use super::neighbour::Neighbour;
use super::wire::{Heard, hear, request, stranger, target_of};
use crate::harness::{Options, Redis, seeded};
use crate::keys::patient;

const REQUESTS: usize = 2000;
/// Most of the time they wait for the server to end a connection that they did not ask it to end.
const AT_ONCE: usize = 32;

/// Pieces that mean something to somebody.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\u0000",
    ",",
    ":",
    "null",
    "true",
    "1e999",
    "-0",
    "%",
    "%00",
    "%2F",
    "%zz",
    "..",
    "/",
    "//",
    "?",
    "&",
    "=",
    "+",
    "*",
    "\r\n",
    "\n",
    "\0",
    " ",
    "GET",
    "SET",
    "EVAL",
    "XREAD",
    "SORT",
    "MGET",
    "collective:",
    "v1",
    "keys",
    "counters",
    "increment",
    "pipeline",
    "problems",
    "\u{e9}",
    "\u{1f600}",
    "9223372036854775808",
];

fn noise(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..=most) {
        match random.u8(..4) {
            0 => bytes.push(random.u8(..)),
            _ => bytes.extend_from_slice(PIECES[random.usize(..PIECES.len())].as_bytes()),
        }
    }
    bytes
}

fn one_of<'a>(random: &mut fastrand::Rng, choices: &[&'a str]) -> &'a str {
    choices[random.usize(..choices.len())]
}

/// A request that is nearly good.
fn nearly(random: &mut fastrand::Rng) -> Vec<u8> {
    let method = one_of(random, &["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "get", "TRACE", "CONNECT", "X"]);
    let path = one_of(
        random,
        &["/", "/pipeline", "/v1/keys/", "/v1/counters/", "/problems/", "/docs", "/set/", "/multi-exec"],
    );
    let mut line = format!("{method} {path}").into_bytes();
    if random.bool() {
        line.extend(noise(random, 6));
    }
    let body = match random.u8(..4) {
        0 => Vec::new(),
        1 => noise(random, 40),
        2 => br#"["GET","garbage"]"#.to_vec(),
        _ => br#"[["SET","garbage","x"],["GET","garbage"]]"#.to_vec(),
    };
    let mut fields = match random.u8(..8) {
        0 => "Transfer-Encoding: chunked\r\n".to_owned(),
        1 => format!("Content-Length: {}\r\n", random.usize(..100)),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    fields.push_str(one_of(
        random,
        &["", "", "Upstash-Encoding: base64\r\n", "X-Request-Timeout-Ms: 1\r\n", "Expect: x\r\n"],
    ));
    if random.u8(..8) == 0 { stranger(line, &fields, &body) } else { request(line, &fields, &body) }
}

fn draw(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = if random.u8(..10) == 0 { noise(random, 60) } else { nearly(random) };
    if random.u8(..3) == 0 {
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(place) {
                *byte = random.u8(..);
            }
        }
    }
    bytes
}

/// What is wrong with the answer. A head that was never understood has no surface, and its answer no shape to keep.
fn fault(bytes: &[u8], heard: &Heard) -> Option<String> {
    let own = !heard.field("x-request-id").is_empty();
    let deadline =
        !heard.field("collective-outcome").is_empty() && String::from_utf8_lossy(bytes).contains("Timeout-Ms: 1");
    match heard.status {
        _ if deadline => None,
        // Nothing, or not even a line, was sent; the listener closes without a word.
        0 => bytes.contains(&b'\n').then(|| "no answer".to_owned()),
        500.. => Some(format!("status {}", heard.status)),
        400..500 if heard.is_for_both_surfaces() => None,
        400..500 if own && !bytes.starts_with(b"HEAD ") => heard.fault(&target_of(bytes)),
        _ => None,
    }
}

async fn ask(address: SocketAddr, bytes: Vec<u8>) -> Option<String> {
    let mut heard = hear(address, &bytes).await;
    // A body longer than its broken length begins another request, whose answer follows.
    heard.body.truncate(heard.field("content-length").parse().unwrap_or(usize::MAX));
    fault(&bytes, &heard).map(|fault| format!("{fault}: {} -> {heard:?}", bytes.escape_ascii()))
}

#[tokio::test]
async fn two_thousand_random_requests_break_nothing() {
    let redis = Redis::start(Options::default()).await;
    let builder = patient(&redis.url()).set("server.body_timeout", "150ms");
    // Not so soon that the neighbour loses his connection: a worker that was kept off the processor for as long ends it without
    // a look at the request that came meanwhile.
    let builder = builder.set("server.client_request_timeout", "150ms").set("server.keep_alive", "3s");
    let app = builder.start().await;
    let neighbour = Neighbour::moves_in(&app).await;
    let mut random = seeded(20_261_122);
    let requests: Vec<Vec<u8>> = (0..REQUESTS).map(|_| draw(&mut random)).collect();
    let address = app.public();
    let answers = stream::iter(requests).map(|bytes| ask(address, bytes)).buffer_unordered(AT_ONCE);
    let faults: Vec<String> = answers.filter_map(std::future::ready).collect().await;
    assert!(faults.is_empty(), "{} of {REQUESTS}:\n{}", faults.len(), faults[..faults.len().min(5)].join("\n"));
    neighbour.noticed_nothing().await;
}
