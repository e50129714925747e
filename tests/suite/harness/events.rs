//! A reader of server-sent events, as plain as the format.
//!
//! What: [`Client::subscribe`] opens a stream, [`Events::next`] gives one block after the other as bytes, comments included, so
//! that a test sees what is on the wire and not what a library makes of it.
//!
//! Limits: a block must come within ten seconds; a stream lives as long as one request of the client may.

use std::time::Duration;

use reqwest::{Method, Response};

use super::client::Client;

/// Longest wait for one block.
const BLOCK_LIMIT: Duration = Duration::from_secs(10);

/// An open stream.
pub struct Events {
    response: Response,
    heard: Vec<u8>,
}

/// What came next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A block, without the empty line behind it.
    Block(Vec<u8>),
    /// The response is complete.
    End,
    /// The response broke off.
    Broken,
}

impl Client {
    /// `POST /subscribe/{channel}` as SDKs send it. Panics, showing the answer, if it is no stream.
    pub async fn subscribe(&self, channel: &str) -> Events {
        self.events(Method::POST, &format!("/subscribe/{channel}")).await
    }

    /// `POST /psubscribe/{pattern}`
    pub async fn psubscribe(&self, pattern: &str) -> Events {
        self.events(Method::POST, &format!("/psubscribe/{pattern}")).await
    }

    /// A stream at any path.
    pub async fn events(&self, method: Method, path: &str) -> Events {
        let request = self.request(method, path).header("Content-Type", "application/json").body("[]");
        let response = request.send().await.expect("an answer");
        if response.status() != 200 {
            panic!("no stream: {} {:?}", response.status(), response.text().await);
        }
        Events { response, heard: Vec::new() }
    }
}

impl Events {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next block, comments included.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Next> {
        let caller = std::panic::Location::caller();
        async move {
            let next = tokio::time::timeout(BLOCK_LIMIT, self.block()).await;
            next.unwrap_or_else(|_| panic!("{caller}: nothing came within {BLOCK_LIMIT:?}"))
        }
    }

    /// The next block as text that must be `expected`.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let next = self.next();
        async move {
            match next.await {
                Next::Block(block) => {
                    assert_eq!(String::from_utf8_lossy(&block), expected, "{caller}: another block");
                }
                other => panic!("{caller}: {other:?} instead of {expected:?}"),
            }
        }
    }

    async fn block(&mut self) -> Next {
        loop {
            if let Some(end) = self.heard.windows(2).position(|pair| pair == b"\n\n") {
                let mut block: Vec<u8> = self.heard.drain(..end + 2).collect();
                block.truncate(end);
                return Next::Block(block);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.heard.extend_from_slice(&chunk),
                Ok(None) => return Next::End,
                Err(_) => return Next::Broken,
            }
        }
    }
}
