//! One server at a time: started or adopted, watched, replaced when it dies, ended with us.
//!
//! ```text
//!            free                        ready
//!  look ───────────► start ───► loading ───────► serving ─┐
//!   ▲ │ taken                      ▲                      │ died
//!   │ ├──► adopt (it takes our password) ─────────────────┤
//!   │ └──► wait  (frozen, unreachable, foreign password)  │
//!   └────────────── back off, full jitter ◄───────────────┘
//! ```
//!
//! The server runs in a process group of its own: a Ctrl-C at the terminal goes to the whole foreground group, and the
//! server must outlive our drain. Its environment is empty: ours may hold secrets, and it needs none of it.
//!
//! Limits: a server that lives but is stuck is left alone (the breakers refuse meanwhile); killing it is an operator's
//! choice.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::greeting::{Greeting, Word, greet};
use super::log_tail::{self, Mark};
use super::occupancy::{self, Occupancy};
use super::private_file::remove_if_there;
use super::process::Process;
use super::rights;
use super::{Embedded, EmbeddedEvent};
use crate::resilience::{Backoff, Moment};
use crate::telemetry::clock;

/// Waits between two starts: short for a one-off, long enough not to burn a core on a server that cannot start.
const RESTART: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };
/// A server that lived this long had no trouble starting, so its end is a new story.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How often a server that cannot be adopted yet is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A server nobody can reach for this long never will be reached: its socket file is gone.
const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// What a server may take to end after SIGTERM. It syncs every write, so there is little left to do.
const END_WITHIN: Duration = Duration::from_secs(5);
/// The first and the longest wait between two greetings of a server that is starting.
const GREET_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Keeps one server alive. Dropped without [`shut_down`](Self::shut_down), it still tells the server to end.
pub(super) struct Supervisor<E: Fn(EmbeddedEvent)> {
    embedded: Embedded,
    events: E,
    server: Option<Server>,
}

enum Server {
    Own(Child),
    Adopted(Process),
}

/// How a server's life ended, or why it never began.
struct End {
    pid: Option<u32>,
    reason: String,
    lived: Duration,
    log: Mark,
}

impl<E: Fn(EmbeddedEvent)> Supervisor<E> {
    /// A supervisor that has not looked yet.
    pub(super) fn new(embedded: Embedded, events: E) -> Self {
        Self { embedded, events, server: None }
    }

    /// Serves until dropped. Every state it can be dropped in is in `self.server`, for [`shut_down`](Self::shut_down).
    pub(super) async fn serve(&mut self) -> Infallible {
        let mut failures = 0;
        loop {
            let end = self.one_life().await;
            if end.lived >= STABLE_AFTER {
                failures = 0;
            }
            let retry_in = RESTART.delay(failures, fastrand::f64());
            failures = failures.saturating_add(1);
            let log_tail = log_tail::since(&self.embedded.layout.log, end.log);
            self.tell(EmbeddedEvent::Down { pid: end.pid, reason: end.reason, log_tail, retry_in });
            sleep(retry_in).await;
        }
    }

    /// Ends the server: SIGTERM, a bounded wait, SIGKILL as the last resort.
    pub(super) async fn shut_down(mut self) {
        match self.server.take() {
            Some(Server::Own(child)) => end_own(child).await,
            Some(Server::Adopted(process)) => end_adopted(process).await,
            None => self.end_stranger().await,
        }
        self.tell(EmbeddedEvent::Stopped);
    }

    async fn one_life(&mut self) -> End {
        let log = log_tail::mark(&self.embedded.layout.log);
        let pid = match self.begin().await {
            Ok(pid) => pid,
            Err(reason) => return End { pid: None, reason, lived: Duration::ZERO, log },
        };
        let born = clock::now();
        let reason = self.watch().await;
        self.server = None;
        self.clear_remains(pid);
        End { pid: Some(pid), reason, lived: clock::now().saturating_since(born), log }
    }

    /// Starts a server or adopts the one that is there; `self.server` is set when this returns its process id.
    async fn begin(&mut self) -> Result<u32, String> {
        let mut obstacle = Obstacle::default();
        loop {
            let layout = &self.embedded.layout;
            let occupancy = occupancy::look(layout, &self.embedded.password).await;
            match occupancy.map_err(|error| format!("cannot find out who has {}: {error}", layout.data.display()))? {
                Occupancy::Free(lock) => return self.start(lock),
                Occupancy::Taken { by: Some(process), word: Some(Word::Ready | Word::Loading) } => {
                    match rights::grant(&layout.socket, &self.embedded.password, self.embedded.major).await {
                        Ok(()) => return Ok(self.adopt(process)),
                        Err(word) => self.meet(&mut obstacle, Some(process), Some(word)),
                    }
                }
                Occupancy::Taken { by, word } => self.meet(&mut obstacle, by, word),
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn meet(&self, obstacle: &mut Obstacle, by: Option<Process>, word: Option<Word>) {
        if let Some(event) = obstacle.met(by, word, &self.embedded.layout.data) {
            self.tell(event);
        }
    }

    fn start(&mut self, lock: File) -> Result<u32, String> {
        let program = self.embedded.program.display().to_string();
        let child = spawn(&self.embedded, lock).map_err(|error| format!("cannot start {program}: {error}"))?;
        let pid = child.id().unwrap_or_default();
        self.server = Some(Server::Own(child));
        self.tell(EmbeddedEvent::Started { pid });
        Ok(pid)
    }

    fn adopt(&mut self, process: Process) -> u32 {
        self.server = Some(Server::Adopted(process));
        self.tell(EmbeddedEvent::Adopted { pid: process.pid() });
        process.pid()
    }

    /// Waits for the end of the present server and says how it was; tells when it became ready.
    async fn watch(&mut self) -> String {
        let Self { embedded, events, server } = self;
        let ended = async {
            match server {
                Some(Server::Own(child)) => describe(child.wait().await),
                Some(Server::Adopted(process)) => {
                    process.gone().await;
                    "the adopted server ended".to_owned()
                }
                None => "there is no server".to_owned(),
            }
        };
        let ready = async {
            let pid = until_ready(embedded).await;
            tell(events, EmbeddedEvent::Ready { pid });
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            reason = ended => reason,
            never = ready => match never {},
        }
    }

    /// A server that dies while it rewrites its file leaves the rewriting process behind, and with it the lock.
    fn clear_remains(&self, pid: u32) {
        if let Ok(None) = occupancy::free_lock(&self.embedded.layout) {
            Process::kill_group_left_by(pid);
        }
    }

    /// Told to stop while waiting for a server that could not be adopted: it ends with us, if it is known to be ours.
    async fn end_stranger(&self) {
        let look = occupancy::look(&self.embedded.layout, &self.embedded.password).await;
        if let Ok(Occupancy::Taken { by: Some(process), .. }) = look {
            end_adopted(process).await;
        }
    }

    fn tell(&self, event: EmbeddedEvent) {
        tell(&self.events, event);
    }
}

impl<E: Fn(EmbeddedEvent)> Drop for Supervisor<E> {
    fn drop(&mut self) {
        match &self.server {
            // Not waited for, so its id is still its own; the runtime reaps it.
            Some(Server::Own(child)) => {
                child.id().and_then(Process::find).into_iter().for_each(|it| it.signal(Signal::TERM))
            }
            Some(Server::Adopted(process)) => process.signal(Signal::TERM),
            None => {}
        }
    }
}

/// The reason a server cannot be adopted, told once per reason.
#[derive(Default)]
struct Obstacle {
    told: Option<&'static str>,
    unreachable_since: Option<Moment>,
}

impl Obstacle {
    fn met(&mut self, by: Option<Process>, word: Option<Word>, data: &Path) -> Option<EmbeddedEvent> {
        let (reason, hopeless) = self.judge(word);
        if self.told.replace(reason) == Some(reason) {
            return None;
        }
        // Only a process that provably works on our data is told to end.
        if let Some(process) = by.filter(|process| hopeless && process.works_in(data)) {
            process.signal(Signal::TERM);
        }
        Some(EmbeddedEvent::Waiting { pid: by.map(Process::pid), reason })
    }

    /// What stands in the way, and whether waiting alone can never help.
    fn judge(&mut self, word: Option<Word>) -> (&'static str, bool) {
        if word.is_some() {
            self.unreachable_since = None;
        }
        match word {
            Some(Word::Ready | Word::Loading) => ("its process cannot be named", false),
            Some(Word::Silence) => ("it does not answer: it may be frozen", false),
            Some(Word::WrongPassword) => ("it does not take the password in redis-password: told it to end", true),
            Some(Word::OtherRights) => ("it does not take the rights of the service's user: told it to end", true),
            None if self.unreachable_for() >= UNREACHABLE_FOR => ("its socket is gone: told it to end", true),
            None => ("it is starting or ending", false),
        }
    }

    fn unreachable_for(&mut self) -> Duration {
        let now = clock::now();
        now.saturating_since(*self.unreachable_since.get_or_insert(now))
    }
}

fn spawn(embedded: &Embedded, lock: File) -> io::Result<Child> {
    let layout = &embedded.layout;
    remove_if_there(&layout.socket)?;
    remove_if_there(&layout.pid_file)?;
    let log = log_tail::open(&layout.log)?;
    Command::new(&embedded.program)
        .arg(&layout.settings)
        .env_clear()
        .current_dir(&layout.data)
        // Not to be read: this is how the server comes to hold its lock.
        .stdin(Stdio::from(lock))
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .process_group(0)
        .spawn()
}

async fn until_ready(embedded: &Embedded) -> Option<u32> {
    let mut wait = GREET_AGAIN.0;
    loop {
        if let Greeting::Present { pid, word: Word::Ready } = greet(&embedded.layout.socket, &embedded.password).await {
            rights::grant_newer(&embedded.layout.socket, &embedded.password, embedded.major).await;
            return pid;
        }
        sleep(wait).await;
        wait = (wait * 2).min(GREET_AGAIN.1);
    }
}

async fn end_own(mut child: Child) {
    if let Some(process) = child.id().and_then(Process::find) {
        process.signal(Signal::TERM);
    }
    if timeout(END_WITHIN, child.wait()).await.is_err() {
        tracing::warn!(waited_ms = END_WITHIN.as_millis() as u64, "the embedded Redis did not end in time: killing it");
        if let Err(error) = child.kill().await {
            tracing::error!(%error, "could not kill the embedded Redis");
        }
    }
}

async fn end_adopted(process: Process) {
    process.signal(Signal::TERM);
    if timeout(END_WITHIN, process.gone()).await.is_err() {
        tracing::warn!(waited_ms = END_WITHIN.as_millis() as u64, "the adopted Redis did not end in time: killing it");
        process.signal(Signal::KILL);
        if timeout(END_WITHIN, process.gone()).await.is_err() {
            tracing::error!(pid = process.pid(), "could not kill the adopted Redis: the next start waits for its end");
        }
    }
}

fn describe(end: io::Result<ExitStatus>) -> String {
    match end {
        // "exit status: 1", "signal: 9 (SIGKILL)"
        Ok(status) => format!("the server ended ({status})"),
        Err(error) => format!("the server cannot be waited for: {error}"),
    }
}

fn tell(events: &impl Fn(EmbeddedEvent), event: EmbeddedEvent) {
    event.log();
    events(event);
}
