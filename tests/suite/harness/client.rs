//! A typed HTTP client for the program, and raw sockets for what no client would send.
//!
//! What: [`Client`] speaks both dialects and the operator listener; every answer becomes an
//! [`Answer`] with the fields tests ask about. [`raw_http`] sends bytes as they are.
//!
//! Why so: connections are kept alive and reused, as a good client does, and no proxy setting of
//! the machine is obeyed. An answer is data, whatever its status; only a transport failure is an
//! error. Whatever the test is about, the answer must be one that `docs/openapi.json` tells of.
//!
//! Limits: one request waits 40 s at most, above every deadline of the product.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::described;
use super::eventually::eventually;

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// How long a connection is kept for another request: less than the three seconds after which the operator's listener closes it.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

/// Longest wait for the breakers to notice an outage or its end. The promises are a second each; this is for busy machines.
const LANES_LIMIT: Duration = Duration::from_secs(15);

/// Longest wait for the server to close a raw connection. What came until then is returned.
const RAW_LIMIT: Duration = Duration::from_secs(5);

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The method that was asked with.
    pub method: Method,
    /// The path that was asked for, as it was sent.
    pub path: String,
    /// The status code as a number: `assert_eq!(answer.status, 503)`.
    pub status: u16,
    /// The header `Collective-Outcome`.
    pub outcome: Option<String>,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body; of a stream nothing, for it has no end.
    pub body: Vec<u8>,
    /// From before sending until the whole body was there.
    pub elapsed: Duration,
}

impl Answer {
    /// The one answer of a raw connection, as its bytes. Panics if they are none.
    pub fn read(method: Method, path: &str, bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
        let fields = lines.map(|line| line.split_once(": ").expect("a field"));
        let headers = fields.map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let body = bytes[end + 4..].to_vec();
        Answer::new((method, path.to_owned()), status, headers.collect(), body, Duration::ZERO).judged()
    }

    fn new(asked: (Method, String), status: u16, headers: HeaderMap, body: Vec<u8>, elapsed: Duration) -> Answer {
        let text = |name| headers.get(name)?.to_str().ok();
        Answer {
            method: asked.0,
            path: asked.1,
            status,
            outcome: text("collective-outcome").map(str::to_owned),
            retry_after: text("retry-after").and_then(|seconds| seconds.parse().ok()),
            body,
            elapsed,
            headers,
        }
    }

    /// The same. Panics if the document does not tell of such an answer of the public listener.
    fn judged(self) -> Answer {
        if let Err(untold) = described::held_to(&self) {
            panic!("docs/openapi.json: {untold}");
        }
        self
    }

    /// The body as JSON. Panics, showing it, if it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The outcome as text; empty if there was none.
    pub fn outcome(&self) -> &str {
        self.outcome.as_deref().unwrap_or_default()
    }

    /// Whether the status says success.
    pub fn is_success(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success())
    }

    /// `result` of a command's answer. Panics, showing the answer, if it has none.
    #[track_caller]
    pub fn result(&self) -> Value {
        let json = self.json();
        json.get("result").cloned().unwrap_or_else(|| panic!("no result: {} {json}", self.status))
    }
}

/// A client. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    public: SocketAddr,
    operator: SocketAddr,
    token: Option<String>,
    headers: Vec<(String, String)>,
}

impl Client {
    /// A client without credentials.
    pub fn new(public: SocketAddr, operator: SocketAddr) -> Client {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_LIMIT)
            .pool_idle_timeout(IDLE_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("an HTTP client");
        Client { http, public, operator, token: None, headers: Vec::new() }
    }

    /// Whether the other speaks to the same program, started once.
    pub fn is_of(&self, other: &Client) -> bool {
        (self.public, self.operator) == (other.public, other.operator)
    }

    /// The same with this bearer token.
    pub fn token(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same without credentials.
    pub fn without_token(&self) -> Client {
        Client { token: None, ..self.clone() }
    }

    /// The same with a deadline: `X-Request-Timeout-Ms`.
    pub fn timeout_ms(&self, milliseconds: u64) -> Client {
        self.with_header("X-Request-Timeout-Ms", &milliseconds.to_string())
    }

    /// The same with `Idempotency-Key`.
    pub fn idempotency_key(&self, key: &str) -> Client {
        self.with_header("Idempotency-Key", key)
    }

    /// The same with one more header on every request.
    pub fn with_header(&self, name: &str, value: &str) -> Client {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// `POST /` in the command dialect.
    pub async fn post_command(&self, command: &[&str]) -> Answer {
        self.post("/", &json!(command)).await
    }

    /// As [`Client::post_command`], when the program may die meanwhile.
    pub async fn try_post_command(&self, command: &[&str]) -> reqwest::Result<Answer> {
        self.try_send(self.request(Method::POST, "/").json(&json!(command))).await
    }

    /// `POST /pipeline`
    pub async fn pipeline(&self, commands: &[&[&str]]) -> Answer {
        self.post("/pipeline", &json!(commands)).await
    }

    /// `POST /multi-exec`
    pub async fn multi_exec(&self, commands: &[&[&str]]) -> Answer {
        self.post("/multi-exec", &json!(commands)).await
    }

    /// `GET /v1/keys/{key}`
    pub async fn get_key(&self, key: &str) -> Answer {
        self.send(self.request(Method::GET, &key_path(key))).await
    }

    /// `HEAD /v1/keys/{key}`
    pub async fn head_key(&self, key: &str) -> Answer {
        self.send(self.request(Method::HEAD, &key_path(key))).await
    }

    /// `PUT /v1/keys/{key}`
    pub async fn put_key(&self, key: &str, value: impl Into<Vec<u8>>) -> Answer {
        let request = self.request(Method::PUT, &key_path(key));
        self.send(request.header("Content-Type", "application/octet-stream").body(value.into())).await
    }

    /// As [`Client::put_key`], when the program may die meanwhile.
    pub async fn try_put_key(&self, key: &str, value: impl Into<Vec<u8>>) -> reqwest::Result<Answer> {
        let request = self.request(Method::PUT, &key_path(key));
        self.try_send(request.header("Content-Type", "application/octet-stream").body(value.into())).await
    }

    /// `DELETE /v1/keys/{key}`
    pub async fn delete_key(&self, key: &str) -> Answer {
        self.send(self.request(Method::DELETE, &key_path(key))).await
    }

    /// `POST /v1/counters/{name}/increment`
    pub async fn increment(&self, name: &str, by: i64) -> Answer {
        let path = format!("/v1/counters/{}/increment", percent_encoded(name, false));
        self.post(&path, &json!({ "by": by })).await
    }

    /// `GET` of any path of the public listener.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` of JSON to any path of the public listener.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Waits until the service asks Redis nothing on its own account any more: its functions are in place.
    pub async fn settled(&self) {
        let settled = async || {
            let status = self.status().await;
            let used = &status["limits"]["redis_in_flight"]["used"];
            *used == 0 && status["checks"]["redis:migrations"][0]["output"].is_null()
        };
        eventually(Duration::from_secs(20), settled).await;
    }

    /// `GET /status` of the operator listener, as JSON.
    pub async fn status(&self) -> Value {
        self.probe("/status").await.json()
    }

    /// The state of one breaker, from `/status`: `redis.write` → `open`.
    pub async fn breaker(&self, name: &str) -> String {
        let status = self.status().await;
        let breakers = status["breakers"].as_array().cloned().unwrap_or_default();
        let named = breakers.iter().find(|breaker| breaker["name"] == name);
        match named.and_then(|breaker| breaker["state"].as_str()) {
            Some(state) => state.to_owned(),
            None => panic!("no breaker {name} in {status}"),
        }
    }

    /// Whether both lanes serve: one look shows both breakers closed.
    pub async fn both_lanes_serve(&self) -> bool {
        self.lanes().await.iter().all(|state| state == "closed")
    }

    /// Whether both lanes refuse: one look shows both breakers open, or probing.
    pub async fn both_lanes_refuse(&self) -> bool {
        self.lanes().await.iter().all(|state| state == "open" || state == "half_open")
    }

    /// Waits until both lanes serve. An answer tells of one lane only, and the other may still refuse.
    #[track_caller]
    pub fn until_both_lanes_serve(&self) -> impl Future<Output = Duration> {
        eventually(LANES_LIMIT, async || self.both_lanes_serve().await)
    }

    /// Waits until both lanes refuse.
    #[track_caller]
    pub fn until_both_lanes_refuse(&self) -> impl Future<Output = Duration> {
        eventually(LANES_LIMIT, async || self.both_lanes_refuse().await)
    }

    /// The states of all breakers, from one look at `/status`.
    async fn lanes(&self) -> Vec<String> {
        let status = self.status().await;
        let breakers = status["breakers"].as_array().cloned().unwrap_or_default();
        assert!(breakers.len() >= 2, "a breaker for each lane: {status}");
        breakers.iter().map(|breaker| breaker["state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// `GET /metrics` of the operator listener.
    pub async fn metrics(&self) -> String {
        self.probe("/metrics").await.text()
    }

    /// The sum of all samples of `name` whose labels contain every one of `labels`
    /// (`&[("lane", "read")]`). `None` if there is no such sample.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sum_of(&self.metrics().await, name, labels)
    }

    /// `GET` of any path of the operator listener, without credentials.
    pub async fn probe(&self, path: &str) -> Answer {
        self.try_probe(path).await.expect("an answer of the operator listener")
    }

    /// As [`Client::probe`], when the program may be dead.
    pub async fn try_probe(&self, path: &str) -> reqwest::Result<Answer> {
        self.try_send(self.http.get(format!("http://{}{path}", self.operator))).await
    }

    /// How long the program takes to say that it runs: the same way to the same process and back as any call, but neither a worker
    /// nor Redis has a part in it. What is late here, the machine made late.
    pub async fn round_trip(&self) -> Duration {
        self.probe("/livez").await.elapsed
    }

    /// A request to the public listener with token and headers, to be completed and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("http://{}{path}", self.public));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends a request. Panics if no answer came.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    /// Sends a request; a refused or broken connection is an error. Panics if the document does not tell of such an answer.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let start = Instant::now();
        let (http, request) = request.build_split();
        let request = request?;
        let asked = (request.method().clone(), request.url().path().to_owned());
        let is_public = request.url().port() == Some(self.public.port());
        let response = http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let is_stream = headers.get("content-type").is_some_and(|media_type| media_type == "text/event-stream");
        let body = if is_stream { Vec::new() } else { response.bytes().await?.to_vec() };
        let answer = Answer::new(asked, status, headers, body, start.elapsed());
        Ok(if is_public { answer.judged() } else { answer })
    }
}

/// Sends `bytes` on a new connection and returns everything the server sends until it closes,
/// or until it has been silent for five seconds.
pub async fn raw_http(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // A server may close while we still write (413); its answer is there to be read.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    loop {
        match tokio::time::timeout(RAW_LIMIT, stream.read_buf(&mut answer)).await {
            Ok(Ok(1..)) => {}
            // A reset after an answer does not take the answer back.
            Ok(Err(error)) if answer.is_empty() => return Err(error),
            Ok(Ok(0) | Err(_)) | Err(_) => return Ok(answer),
        }
    }
}

/// Sends `bytes` on a new connection and hangs up after a while, without reading.
pub async fn raw_http_then_hang_up(address: SocketAddr, bytes: &[u8], after: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(bytes).await?;
    tokio::time::sleep(after).await;
    Ok(())
}

fn key_path(key: &str) -> String {
    format!("/v1/keys/{}", percent_encoded(key, true))
}

/// Everything but unreserved characters, and slashes where they may stay.
fn percent_encoded(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (keep_slashes && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Sums the samples of one metric in Prometheus text.
pub fn sum_of(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    text.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, set) = series.split_once('{').unwrap_or((series, ""));
            let all = labels.iter().all(|(label, value)| {
                let pair = format!("{label}=\"{value}\"");
                set.split(['{', ',', '}']).any(|part| part == pair)
            });
            (metric == name && all).then(|| value.parse::<f64>().ok()).flatten()
        })
        .reduce(|sum, value| sum + value)
}
