//! The command catalogue against a real server: arity, key positions and the read or write nature of every command it
//! knows.
//!
//! The table is written by hand; this is what keeps it true. Redis is asked through `redis-cli` only, so that neither
//! our gateway nor the driver can hide a mistake; bytes that are no text go over a socket. Limits: judgements (retry class, weight, access) cannot be asked of
//! a server, except where its flags imply them. Module commands are compared only as far as this server has the
//! modules.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use collective::redis::Command as Call;
use collective::redis::catalogue::{self, Access, Class, Keys, Lane, Spec, Special};
use serde_json::Value;

use crate::harness::resp::encode;

#[test]
fn the_catalogue_knows_every_command_of_the_server() {
    let server = Server::start();
    let mut unknown = Vec::new();
    for command in server.commands() {
        if find(&command.name).name != command.name {
            unknown.push(command.name);
        }
    }
    assert!(unknown.is_empty(), "the server has commands that the catalogue lacks: {unknown:?}");
}

#[test]
fn arity_is_that_of_the_server() {
    let server = Server::start();
    for command in server.commands().iter().filter(|command| !command.has("module")) {
        assert_eq!(i64::from(find(&command.name).arity), command.arity, "{}", command.name);
    }
}

#[test]
fn lanes_classes_and_access_agree_with_the_flags_of_the_server() {
    let server = Server::start();
    for command in server.commands() {
        let (name, spec) = (&command.name, find(&command.name));
        if command.has("write") {
            assert_eq!(spec.lane, Lane::Write, "{name} writes");
            assert_ne!(spec.class, Class::Read, "{name} writes");
        }
        if command.has("readonly") && !command.has("module") {
            assert_eq!((spec.lane, spec.class), (Lane::Read, Class::Read), "{name} only reads");
        }
        if command.has("admin") {
            assert_ne!(spec.access, Access::Open, "{name} is administration");
        }
        if command.has("blocking") && !matches!(spec.name, "XREAD" | "XREADGROUP") {
            assert_eq!(spec.access, Access::Never, "{name} blocks");
        }
        for flag in ["write", "readonly", "admin", "denyoom"] {
            assert_eq!(spec.flags.contains(&flag), command.has(flag), "{name}: flag {flag}");
        }
    }
}

#[test]
fn key_positions_are_those_of_the_server() {
    let server = Server::start();
    let mut compared = 0;
    for command in server.commands() {
        let spec = find(&command.name);
        if !command.keys {
            let named = matches!(spec.keys, Keys::None | Keys::Unknown);
            assert!(named || command.has("module") || command.has("pubsub"), "{} has no keys", command.name);
        } else if let Some(call) = example(spec) {
            compare(&server, &call);
            compared += 1;
        }
    }
    assert!(compared > 150, "only {compared} commands were compared");
}

#[test]
fn key_positions_with_options_are_those_of_the_server() {
    let server = Server::start();
    for call in [
        "XREAD STREAMS a b 0 0",
        "XREAD COUNT 1 BLOCK 5 STREAMS a b 0 0",
        "XREADGROUP GROUP streams c COUNT 2 NOACK STREAMS a b > >",
        "SORT a",
        "SORT a LIMIT 0 1 ALPHA STORE d",
        "SORT a BY nosort GET # STORE d STORE e",
        "GEORADIUS a 0 0 1 m STORE d",
        "GEORADIUS a 0 0 1 m WITHDIST ASC",
        "GEORADIUSBYMEMBER a m 1 m STOREDIST d",
        "MIGRATE 127.0.0.1 1 a 0 1",
        "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
        "ZDIFF 3 a b c WITHSCORES",
        "EVAL script 0",
        "EVAL script 2 a b c d",
        "FCALL function 1 a b",
        "MSET a 1 b 2 c 3",
        "BITOP AND d a b c",
        "BLPOP a b c 0",
        "BLMPOP 0 2 a b LEFT",
        "OBJECT ENCODING a",
        "MEMORY USAGE a SAMPLES 1",
        "XGROUP CREATE a g $ MKSTREAM",
        "XINFO STREAM a FULL",
        "COPY a b DB 1 REPLACE",
        "SINTERSTORE d a b",
        "LCS a b LEN",
        "SINTERCARD 2 a b LIMIT 1",
    ] {
        compare(&server, &call.split(' ').map(str::to_owned).collect::<Vec<_>>());
    }
}

/// The driver gives a connection up over an error line that is no UTF-8, with everybody's calls on it.
#[test]
fn what_redis_quotes_byte_for_byte_travels_apart_from_other_callers() {
    let server = Server::start();
    let mut wire = Wire::to(&server);
    let (mut asked, mut quoted) = (0, Vec::new());
    for command in server.commands().iter().filter(|command| !command.name.contains('|')) {
        for call in foreign_calls(&command.name) {
            let ours = Call::of(&call.iter().map(Vec::as_slice).collect::<Vec<_>>());
            if ours.objection().is_some() {
                continue;
            }
            asked += 1;
            let line = wire.ask(&call);
            if line.starts_with(b"-") && std::str::from_utf8(&line).is_err() {
                let text = String::from_utf8_lossy(&line).into_owned();
                assert!(ours.is_heavy(), "{}: {text}", command.name);
                quoted.push(command.name.clone());
            }
        }
    }
    assert!(asked > 3000, "only {asked} calls were made");
    for known in ["EVAL", "EXPIRE", "PEXPIREAT", "XREADGROUP"] {
        assert!(quoted.iter().any(|name| name == known), "{known} is known to quote, and the calls did not show it");
    }
}

/// Calls of up to seven arguments, one or all of them foreign bytes, the others what options and numbers look like.
fn foreign_calls(name: &str) -> Vec<Vec<Vec<u8>>> {
    const FOREIGN: &[u8] = b"\xff\xfe";
    let mut calls = vec![];
    for arity in 1..8 {
        calls.push(
            [name.as_bytes()].into_iter().chain(std::iter::repeat_n(FOREIGN, arity)).map(<[u8]>::to_vec).collect(),
        );
        for (filler, at) in [&b"1"[..], b"key"].into_iter().flat_map(|filler| (0..arity).map(move |at| (filler, at))) {
            let mut call: Vec<Vec<u8>> = vec![filler.to_vec(); arity + 1];
            call[0] = name.as_bytes().to_vec();
            call[at + 1] = FOREIGN.to_vec();
            calls.push(call);
        }
    }
    if name == "XREADGROUP" {
        let shape: [&[u8]; 7] = [name.as_bytes(), b"GROUP", b"g", b"c", b"STREAMS", b"\xff no such key", b">"];
        calls.push(shape.map(<[u8]>::to_vec).to_vec());
    }
    calls
}

/// A socket of our own: `redis-cli` cannot be handed bytes that are no text.
struct Wire {
    stream: BufReader<UnixStream>,
    echoes: u32,
}

impl Wire {
    fn to(server: &Server) -> Self {
        let stream = UnixStream::connect(&server.socket).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit for reading");
        Self { stream: BufReader::new(stream), echoes: 0 }
    }

    /// The first line of the answer. The rest of it is passed over, up to an echo that nothing else can be.
    fn ask(&mut self, call: &[Vec<u8>]) -> Vec<u8> {
        self.echoes += 1;
        let echo = format!("echo-{:08}", self.echoes);
        let mut wire = encode(call);
        wire.extend(encode(&["ECHO", &echo]));
        self.stream.get_mut().write_all(&wire).expect("the server reads");
        let (mut first, end) = (None, format!("{echo}\r\n").into_bytes());
        loop {
            let mut line = Vec::new();
            self.stream.read_until(b'\n', &mut line).expect("the server answers");
            assert!(!line.is_empty(), "the server closed the connection after {call:?}");
            if line == end {
                return first.unwrap_or_default();
            }
            first.get_or_insert(line);
        }
    }
}

#[track_caller]
fn compare(server: &Server, call: &[String]) {
    let spec = catalogue::find(call);
    let mut positions = Vec::new();
    catalogue::key_positions(spec, call, &mut positions).unwrap_or_else(|error| panic!("{call:?}: {error}"));
    let ours: Vec<&str> = positions.into_iter().map(|at| call[at].as_str()).collect();
    let theirs = server.keys_of(call);
    // The last of several destinations counts; that of an earlier STORE is not reported by either side.
    assert_eq!(ours, theirs, "{call:?}");
}

/// A call with recognisable arguments that fits the row; `None` where the layout needs an example by hand.
fn example(spec: &Spec) -> Option<Vec<String>> {
    let fixed = usize::from(spec.arity.unsigned_abs());
    let spare = if spec.arity < 0 { 2 } else { 0 };
    let mut call: Vec<String> = spec.name.split('|').map(str::to_owned).collect();
    let length = match spec.keys {
        Keys::At { first, last, step } if last < 0 => first + step * (fixed + spare) + (last + 1).unsigned_abs(),
        _ => fixed + spare + 2 * usize::from(spec.arity < 0),
    };
    call.extend((call.len()..length).map(|at| format!("argument{at}")));
    match spec.keys {
        Keys::Count { at, .. } => call[at] = "2".to_owned(),
        Keys::Special(Special::DestinationAndCount) => call[2] = "2".to_owned(),
        Keys::At { .. } => {}
        Keys::Special(_) | Keys::None | Keys::Unknown => return None,
    }
    Some(call)
}

fn find(name: &str) -> &'static Spec {
    catalogue::find(&name.split('|').collect::<Vec<_>>())
}

/// What the server says about one command.
struct Listed {
    name: String,
    arity: i64,
    flags: Vec<String>,
    keys: bool,
}

impl Listed {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|has| has == flag)
    }
}

/// A private `redis-server` on a unix socket, ended when dropped.
struct Server {
    child: Child,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        let socket = directory.path().join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(directory.path())
            .arg("--unixsocket")
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(
                "this test needs a real server: install redis-server and redis-cli (Debian: apt-get install redis)",
            );
        let server = Self { child, socket, _directory: directory };
        server.wait_until_it_answers();
        server
    }

    fn wait_until_it_answers(&self) {
        for _ in 0..500 {
            if self.ask(&["PING"]).as_ref().and_then(Value::as_str) == Some("PONG") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server did not answer within five seconds");
    }

    /// One command through `redis-cli`; `None` when it answered nothing readable.
    fn ask(&self, call: &[&str]) -> Option<Value> {
        let output = Command::new("redis-cli")
            .arg("-s")
            .arg(&self.socket)
            .arg("--json")
            .args(call)
            .stderr(Stdio::null())
            .output()
            .expect("redis-cli comes with redis-server and is needed, too");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Every command and subcommand.
    fn commands(&self) -> Vec<Listed> {
        let answer = self.ask(&["COMMAND"]).expect("COMMAND answers");
        let mut listed = Vec::new();
        for command in answer.as_array().expect("COMMAND answers with a list") {
            collect(command, &mut listed);
        }
        assert!(listed.len() > 200, "COMMAND listed only {} commands", listed.len());
        listed
    }

    fn keys_of(&self, call: &[String]) -> Vec<String> {
        let question: Vec<&str> = ["COMMAND", "GETKEYS"].into_iter().chain(call.iter().map(String::as_str)).collect();
        match self.ask(&question) {
            Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            // Redis answers an error to a call that names no key.
            _ => Vec::new(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command is `[name, arity, flags, first key, last key, step, categories, tips, key specifications, subcommands]`.
fn collect(command: &Value, listed: &mut Vec<Listed>) {
    let list = |at: usize| command[at].as_array().map(Vec::as_slice).unwrap_or_default();
    listed.push(Listed {
        name: command[0].as_str().expect("a name").to_uppercase(),
        arity: command[1].as_i64().expect("an arity"),
        flags: list(2).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        keys: !list(8).is_empty(),
    });
    for subcommand in list(9) {
        collect(subcommand, listed);
    }
}
