//! A Redis that says it is older than it is.
//!
//! What: [`Elder::in_front_of`] passes every byte on and changes one word of the replies: the version in `INFO` begins with 6.
//!
//! Why so: a server without functions is told apart by what it says of itself, before anything is asked of it that it could not
//! answer. Behind this one the functions' commands are there, so whoever called them all the same would be answered.
//!
//! Limits: the version's first number must have one digit. What only an old server does, this one does not.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::redis::Redis;

/// What is said, and what is said instead: as long, so that the frame around it stays true.
type Words = Vec<(String, String)>;

/// The way to such a server. Dropping it ends it.
pub struct Elder {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Elder {
    /// A way to `redis` on which it is of version 6.
    pub async fn in_front_of(redis: &Redis) -> Elder {
        let info = redis.info("server").await;
        let younger = ["redis_version", "valkey_version"].into_iter().filter_map(|field| {
            let version = info.get(field)?.trim();
            let older = format!("6{}", &version[1..]);
            Some((format!("{field}:{version}"), format!("{field}:{older}")))
        });
        let words: Words = younger.collect();
        assert!(!words.is_empty(), "a server says its version: {info:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(serve(listener, redis.address(), words));
        Elder { address, task }
    }

    /// The address clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Elder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, upstream: SocketAddr, words: Words) {
    while let Ok((client, _)) = listener.accept().await {
        let words = words.clone();
        // A connection that breaks is its client's to notice.
        tokio::spawn(async move { drop(carry(client, upstream, &words).await) });
    }
}

async fn carry(client: TcpStream, upstream: SocketAddr, words: &Words) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let ((mut asked, mut answers), (mut replies, mut requests)) = (client.into_split(), server.into_split());
    let forth = tokio::io::copy(&mut asked, &mut requests);
    let back = async {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        loop {
            let length = replies.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&buffer[..length]);
            replace(&mut bytes, words);
            let whole = bytes.len() - begun(&bytes, words);
            answers.write_all(&bytes[..whole]).await?;
            bytes.drain(..whole);
        }
    };
    tokio::select! {
        ended = forth => ended.map(|_| ()),
        ended = back => ended,
    }
}

fn replace(bytes: &mut [u8], words: &Words) {
    for (word, instead) in words {
        let length = word.len();
        for at in 0..(bytes.len() + 1).saturating_sub(length) {
            if &bytes[at..at + length] == word.as_bytes() {
                bytes[at..at + length].copy_from_slice(instead.as_bytes());
            }
        }
    }
}

/// How many bytes at the end may be the beginning of a word.
fn begun(bytes: &[u8], words: &Words) -> usize {
    let longest = |word: &String| (1..word.len()).rev().find(|length| bytes.ends_with(&word.as_bytes()[..*length]));
    words.iter().filter_map(|(word, _)| longest(word)).max().unwrap_or(0)
}
