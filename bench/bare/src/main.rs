//! The bare handler: what the product is measured against, doing the same work without any protection.
//!
//! Same methods, paths, bodies and answers (status, headers, `ETag`) as the product for the calls that are measured, the
//! same bearer check, one multiplexed connection per actix worker whose driver runs on that worker's runtime. No timeout,
//! no breaker, no bulkhead, no retry, no metrics, no limits, no validation: each is what the product adds and pays for.
//! It is written to be fast: bodies are parsed once, replies are serialized without an intermediate tree.
//!
//! Limits: RESP2, plain strings in commands, no escapes in paths, errors are all 502. It hangs when Redis hangs. Never
//! for anything but measuring. Reads `BARE_REDIS` (a Redis URL), `BARE_TOKEN` and `BARE_WORKERS`.

#![allow(clippy::disallowed_methods, reason = "the walls inside the product do not stand here")]

use std::cell::Cell;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, error, web};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, Value};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};
use sha1::{Digest, Sha1};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CSP: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");
/// The product's default, so that idle connections live as long here as there.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// One worker's state.
struct Worker {
    redis: MultiplexedConnection,
    authorization: String,
}

type Answer = Result<HttpResponse, actix_web::Error>;

/// `POST /`: one command.
async fn command(request: HttpRequest, body: web::Bytes, worker: web::Data<Worker>) -> Answer {
    authorize(&request, &worker)?;
    let words: Vec<String> = serde_json::from_slice(&body).map_err(error::ErrorBadRequest)?;
    let reply: Value = cmd(&words).query_async(&mut worker.redis.clone()).await.map_err(error::ErrorBadGateway)?;
    json(&Outcome { result: Json(&reply) })
}

/// `POST /pipeline`: a list of commands in one round trip.
async fn pipeline(request: HttpRequest, body: web::Bytes, worker: web::Data<Worker>) -> Answer {
    authorize(&request, &worker)?;
    let commands: Vec<Vec<String>> = serde_json::from_slice(&body).map_err(error::ErrorBadRequest)?;
    let mut pipe = Pipeline::with_capacity(commands.len());
    for words in &commands {
        pipe.add_command(cmd(words));
    }
    let replies: Vec<Value> = pipe.query_async(&mut worker.redis.clone()).await.map_err(error::ErrorBadGateway)?;
    json(&replies.iter().map(|reply| Outcome { result: Json(reply) }).collect::<Vec<_>>())
}

/// `GET /v1/keys/{key}`.
async fn get(request: HttpRequest, key: web::Path<String>, worker: web::Data<Worker>) -> Answer {
    authorize(&request, &worker)?;
    let content: Option<Vec<u8>> = redis::cmd("GET")
        .arg(key.as_str())
        .query_async(&mut worker.redis.clone())
        .await
        .map_err(error::ErrorBadGateway)?;
    let content = content.ok_or_else(|| error::ErrorNotFound("no such key"))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, BYTES)).insert_header((header::ETAG, tag(&content)));
    Ok(dressed(response.body(content)))
}

/// `PUT /v1/keys/{key}`, `SET … GET` as the product sends it.
async fn put(request: HttpRequest, key: web::Path<String>, body: web::Bytes, worker: web::Data<Worker>) -> Answer {
    authorize(&request, &worker)?;
    let before: Option<Vec<u8>> = redis::cmd("SET")
        .arg(key.as_str())
        .arg(&body[..])
        .arg("GET")
        .query_async(&mut worker.redis.clone())
        .await
        .map_err(error::ErrorBadGateway)?;
    let mut response = if before.is_none() { HttpResponse::Created() } else { HttpResponse::NoContent() };
    response.insert_header((header::ETAG, tag(&body)));
    Ok(dressed(response.finish()))
}

fn authorize(request: &HttpRequest, worker: &Worker) -> Result<(), actix_web::Error> {
    let presented = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    if presented == Some(worker.authorization.as_bytes()) { Ok(()) } else { Err(error::ErrorUnauthorized("no")) }
}

fn cmd(words: &[String]) -> Cmd {
    let mut command = Cmd::with_capacity(words.len(), words.iter().map(String::len).sum());
    for word in words {
        command.arg(word);
    }
    command
}

/// An answer of the command dialect.
fn json(answer: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(answer).map_err(error::ErrorBadGateway)?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, JSON)).insert_header((SYNC_TOKEN, next()));
    Ok(dressed(response.body(body)))
}

/// The headers that every answer of the product carries.
fn dressed(mut response: HttpResponse) -> HttpResponse {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::CONTENT_SECURITY_POLICY, CSP);
    headers.insert(REQUEST_ID, next());
    response
}

/// A number that counts, as wide as the product's ids and tokens are.
fn next() -> HeaderValue {
    thread_local!(static NEXT: Cell<u64> = const { Cell::new(0x4000_0000_0000_0000) });
    let number = NEXT.get();
    NEXT.set(number + 1);
    HeaderValue::from(number)
}

fn tag(content: &[u8]) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'"'; 42];
    for (at, byte) in Sha1::digest(content).iter().enumerate() {
        text[1 + 2 * at] = HEX[usize::from(byte >> 4)];
        text[2 + 2 * at] = HEX[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits in quotes")
}

/// `{"result": …}`.
#[derive(Serialize)]
struct Outcome<'a> {
    result: Json<'a>,
}

/// A reply as JSON, without a copy.
struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Nil => to.serialize_none(),
            Value::Int(number) => to.serialize_i64(*number),
            Value::BulkString(bytes) => to.serialize_str(std::str::from_utf8(bytes).map_err(S::Error::custom)?),
            Value::SimpleString(text) => to.serialize_str(text),
            Value::Okay => to.serialize_str("OK"),
            Value::Array(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Json(item))?;
                }
                list.end()
            }
            _ => Err(S::Error::custom("not a RESP2 reply")),
        }
    }
}

async fn worker(url: String, token: String) -> redis::RedisResult<Worker> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let redis = redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
    Ok(Worker { redis, authorization: format!("Bearer {token}") })
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set"));
    let (url, token) = (variable("BARE_REDIS"), variable("BARE_TOKEN"));
    let workers = variable("BARE_WORKERS").parse().expect("BARE_WORKERS is a number");
    let server = HttpServer::new(move || {
        let (url, token) = (url.clone(), token.clone());
        // Runs on the worker's own runtime, where the driver is spawned, too.
        App::new()
            .data_factory(move || worker(url.clone(), token.clone()))
            .route("/", web::post().to(command))
            .route("/pipeline", web::post().to(pipeline))
            .service(web::resource("/v1/keys/{key:.*}").route(web::get().to(get)).route(web::put().to(put)))
    })
    .workers(workers)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(1)
    .bind("127.0.0.1:0")?;
    for address in server.addrs() {
        println!("listening public={address}");
    }
    server.run().await
}
