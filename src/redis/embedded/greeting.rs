//! Two words with whoever listens on the socket: is a server there, is it ours, is it ready.
//!
//! This talk does not go through the gateway, because the gateway needs a server and this decides whether there is one.
//! It carries no data: `AUTH`, `PING`, and the kernel's word (peer credentials) on which process listens, which is
//! known even when that process is frozen and says nothing. Limits: one line per reply, each of at most
//! [`LINE_BYTES_MAX`] bytes.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::telemetry::Secret;

/// A healthy server answers within a millisecond; one that takes longer than this is asked again.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Status and error lines of Redis are shorter.
const LINE_BYTES_MAX: u64 = 512;

/// What was found behind the socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Nobody listens.
    Absent,
    /// Somebody listens.
    Present {
        /// The listening process.
        pid: Option<u32>,
        /// What it said.
        word: Word,
    },
}

/// What a listening server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It serves.
    Ready,
    /// It is ours and still reads its data.
    Loading,
    /// It does not take our password.
    WrongPassword,
    /// It does not take the rights of the user the service signs in as.
    OtherRights,
    /// Nothing within the time, or it hung up.
    Silence,
}

/// Greets the listener. Takes at most [`PATIENCE`].
pub(super) async fn greet(socket: &Path, password: &Secret) -> Greeting {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Greeting::Absent,
        // A full backlog: somebody listens and does not accept.
        Err(_) => return Greeting::Present { pid: None, word: Word::Silence },
    };
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
    let word = tokio::time::timeout(PATIENCE, converse(stream, password)).await;
    let word = word.map_or(Word::Silence, |word| word.unwrap_or(Word::Silence));
    Greeting::Present { pid, word }
}

async fn converse(stream: UnixStream, password: &Secret) -> io::Result<Word> {
    let mut stream = BufReader::new(stream);
    let password = password.expose();
    let request = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n*1\r\n$4\r\nPING\r\n", password.len());
    stream.write_all(request.as_bytes()).await?;
    let login = reply(&mut stream).await?;
    if login != "+OK" {
        let refused = ["-WRONGPASS", "-ERR AUTH", "-ERR invalid password"].iter().any(|start| login.starts_with(start));
        return Ok(if refused { Word::WrongPassword } else { Word::Silence });
    }
    let pong = reply(&mut stream).await?;
    // Any other error (MISCONF, BUSY) comes from a server that serves; what it may do is the gateway's business.
    Ok(match pong.as_str() {
        "" => Word::Silence,
        loading if loading.starts_with("-LOADING") => Word::Loading,
        _ => Word::Ready,
    })
}

/// The next line, without its end.
pub(super) async fn reply(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn answered_with(text: &'static str) -> Greeting {
        let home = tempfile::tempdir().expect("temporary directory");
        let socket = home.path().join("s");
        let listener = UnixListener::bind(&socket).expect("bind");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            stream.write_all(text.as_bytes()).await.expect("write");
            stream.read_to_end(&mut Vec::new()).await.expect("end");
        };
        let password = Secret::from("p".to_owned());
        tokio::join!(greet(&socket, &password), server).0
    }

    #[tokio::test]
    async fn each_kind_of_answer_has_its_word() {
        let pid = Some(std::process::id());
        for (text, word) in [
            ("+OK\r\n+PONG\r\n", Word::Ready),
            ("+OK\r\n-MISCONF cannot write\r\n", Word::Ready),
            ("+OK\r\n-LOADING Redis is loading\r\n", Word::Loading),
            ("-WRONGPASS invalid\r\n-NOAUTH\r\n", Word::WrongPassword),
            ("-ERR max number of clients reached\r\n", Word::Silence),
        ] {
            assert_eq!(answered_with(text).await, Greeting::Present { pid, word }, "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_nobody_listens_on_is_absent() {
        let home = tempfile::tempdir().expect("temporary directory");
        let socket = home.path().join("s");
        let password = Secret::from("p".to_owned());
        assert_eq!(greet(&socket, &password).await, Greeting::Absent);
        drop(UnixListener::bind(&socket).expect("bind"));
        assert_eq!(greet(&socket, &password).await, Greeting::Absent);
    }

    #[tokio::test]
    async fn a_listener_that_never_accepts_is_known_by_its_process() {
        let home = tempfile::tempdir().expect("temporary directory");
        let socket = home.path().join("s");
        let _listener = UnixListener::bind(&socket).expect("bind");
        let greeting = greet(&socket, &Secret::from("p".to_owned())).await;
        assert_eq!(greeting, Greeting::Present { pid: Some(std::process::id()), word: Word::Silence });
    }
}
