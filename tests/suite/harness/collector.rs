//! An OTLP receiver: takes batches of spans over HTTP, decodes them, and can hang or refuse on demand.
//!
//! Why our own: the bytes themselves are searched for what must not be in them, and a receiver that hangs must hang exactly when
//! the test says so. Limits: HTTP/1.1 with a length, protobuf, no compression; which is what the service sends.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How it treats the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes it.
    Accepts,
    /// Answers 503.
    Refuses,
    /// Reads it and never answers.
    Hangs,
}

/// A running receiver. Ends with the test's runtime.
pub struct Collector {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    manner: Manner,
    requests: Vec<Request>,
    asked: usize,
}

/// One batch as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and fields.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Collector {
    /// A receiver that takes everything.
    pub async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the receiver");
        let address = listener.local_addr().expect("a bound listener");
        let inner = Arc::new(Mutex::new(Inner { manner: Manner::Accepts, requests: Vec::new(), asked: 0 }));
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Collector { address, inner }
    }

    /// What to configure: `traces.endpoint`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes its manner from the next batch on.
    pub fn set(&self, manner: Manner) {
        self.lock().manner = manner;
    }

    /// Batches it was asked to take, taken or not.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    /// Everything it took, as it came.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// All spans it took, in the order of their coming.
    pub fn spans(&self) -> Vec<Span> {
        let batches = self.requests().into_iter().map(|request| decode(&request.body));
        let resources = batches.flat_map(|batch| batch.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The attributes of the service itself, of the first batch.
    pub fn resource(&self) -> Vec<KeyValue> {
        let batch = self.requests().first().map(|request| decode(&request.body)).unwrap_or_default();
        batch.resource_spans.into_iter().find_map(|spans| spans.resource).unwrap_or_default().attributes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attribute as text, whatever its type.
pub fn attribute(of: &[KeyValue], name: &str) -> Option<String> {
    let AnyValue { value } = of.iter().find(|pair| pair.key == name)?.value.clone()?;
    Some(match value? {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        any_value::Value::BoolValue(flag) => flag.to_string(),
        other => panic!("an attribute of a type nobody sends: {other:?}"),
    })
}

/// An id as it is written in headers.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(body: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(body).expect("a batch of spans")
}

async fn serve(stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read(&mut stream).await else { return };
    let manner = {
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.asked += 1;
        if inner.manner == Manner::Accepts {
            inner.requests.push(request);
        }
        inner.manner
    };
    let status = match manner {
        Manner::Accepts => "200 OK",
        Manner::Refuses => "503 Service Unavailable",
        // Until the other side has had enough: then this read ends.
        Manner::Hangs => return drop(stream.read_u8().await),
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // Fails only if the service has gone away.
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// One request; `None` if the connection ends before it does.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { head, body })
}
