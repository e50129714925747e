//! One HTTP request for one batch of spans, on the runtime of whoever asks.
//!
//! A connection of its own for each batch: there are a few a second at most, and no old connection has to be told apart from a
//! receiver that is gone. Everything is bounded: the whole exchange in time, the answer in size; nothing is followed or repeated.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use tokio::net::TcpStream;

use super::receiver::{Headers, Receiver};

/// The largest answer worth reading: a receiver says in a few bytes what it did not take.
const ANSWER_BYTES: usize = 64 * 1024;

/// Sends batches to one receiver.
#[derive(Debug)]
pub(super) struct Client {
    receiver: Receiver,
    headers: Headers,
    timeout: Duration,
    trouble: Mutex<Option<String>>,
}

impl Client {
    pub(super) fn new(receiver: Receiver, headers: Headers, timeout: Duration) -> Self {
        Self { receiver, headers, timeout, trouble: Mutex::default() }
    }

    /// Why the last batch was not taken, in words for the log.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Of the library's request only what we know of is sent: it also takes headers from the environment.
    fn dressed(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
        let (head, body) = request.into_parts();
        let authority = self.receiver.uri.authority().map_or("", |authority| authority.as_str());
        let mut dressed = Request::post(self.receiver.uri.path()).body(Full::new(body))?;
        let headers = dressed.headers_mut();
        headers.extend(self.headers.0.clone());
        headers.insert(header::HOST, authority.parse()?);
        if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        Ok(dressed)
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = self.dressed(request)?;
        let stream = TcpStream::connect((self.receiver.host.as_str(), self.receiver.port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The connection is done first when the receiver closes it right behind its answer.
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.into()),
            },
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchanged = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        let answer = exchanged.unwrap_or_else(|_| Err("no answer in time".into()));
        let trouble = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("status {}", answer.status().as_u16())),
            Err(error) => Some(error.to_string()),
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        answer
    }
}
