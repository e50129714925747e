//! What the service may do at the embedded server, and with it every script a caller sends: the list of `collective redis-acl`.
//!
//! A script runs with the rights of whoever sent it. As the all-powerful `default` it would reach what no caller may send: `MIGRATE`
//! to any address, `FLUSHALL`, `CONFIG`. So the service signs in as a user of its own, who has exactly what the catalogue grants.
//! `default` keeps the password and all rights: it is how the supervisor and the owner of the data directory (a backup, `redis-cli`)
//! come in, it is all that a server started by an earlier version knows, and Redis reads its append-only file as `default`. Whoever
//! can read that password owns the directory with all the data in it.
//!
//! A server that is adopted may come from a version with another list, or with none: it is given this one before anything is asked of
//! it. The list holds what every supported server knows, since an unknown name would keep one from starting; what only a newer one
//! has is granted once it runs, name by name, and the names it does not know are refused without harm.
//! Limits: the list is for Redis 7.0 and newer. In an older one subcommands have no rights of their own; there the service's user may do
//! everything, and the log says so. Until a newer server has been greeted, a few milliseconds after it opened its socket, its newer
//! commands are answered `NOPERM`.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::greeting::{PATIENCE, Word, reply};
use crate::redis::catalogue::{self, Access, AclOptions, SERVICE_USER, Spec, acl};
use crate::telemetry::Secret;

/// Takes a user's earlier rights away, so that what follows is all he has. One command, hence never half done.
const ANEW: &str = "reset";

/// The first version that the list can be given to.
const LISTS_SINCE: u32 = 7;

/// Whether a server of this major version, if it told one, can be given the list.
pub(super) fn takes_list(major: Option<u32>) -> bool {
    major.is_none_or(|major| major >= LISTS_SINCE)
}

/// The user as a line of the server's settings: `user NAME RULE …`. Of the password it has only the hash.
pub(super) fn user_line(password: &Secret, major: Option<u32>) -> String {
    let hash: [u8; 32] = Sha256::digest(password.expose()).into();
    if !takes_list(major) {
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("user {SERVICE_USER} on #{hash} ~* +@all");
    }
    let password_sha256 = Some(hash);
    let list = acl(&AclOptions { password_sha256, ..AclOptions::default() }).unwrap_or_default();
    let ours = |line: &&str| line.strip_prefix("user ").is_some_and(|rest| rest.starts_with(SERVICE_USER));
    list.lines().find(ours).unwrap_or_default().to_owned()
}

/// Gives a running server the user as it is now. The word says why it could not be done.
pub(super) async fn grant(socket: &Path, password: &Secret, major: Option<u32>) -> Result<(), Word> {
    let line = user_line(password, major);
    let rules = line.split(' ').skip(2);
    let set: Vec<&str> = ["ACL", "SETUSER", SERVICE_USER, ANEW].into_iter().chain(rules).collect();
    let told = timeout(PATIENCE, tell(socket, password, &[packed(&set)])).await;
    let answers = told.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default();
    // The first is that to the login. One that fails has another reason: the server was greeted as ours.
    match answers.get(1).map(String::as_str) {
        Some("+OK") => Ok(()),
        Some(answer) if ["-ERR", "-NOPERM"].iter().any(|code| answer.starts_with(code)) => {
            tracing::warn!(answer, "the embedded Redis does not take the rights of the service's user");
            Err(Word::OtherRights)
        }
        // It is busy, reads its data, has no place for one more client, or says nothing: that passes.
        _ => Err(Word::Silence),
    }
}

/// Grants what this server may have beyond what every supported one has.
pub(super) async fn grant_newer(socket: &Path, password: &Secret, major: Option<u32>) {
    if !takes_list(major) {
        return;
    }
    let line = user_line(password, major);
    let commands: Vec<Vec<u8>> =
        newer(&line).map(|name| packed(&["ACL", "SETUSER", SERVICE_USER, &format!("+{name}")])).collect();
    let told = timeout(PATIENCE, tell(socket, password, &commands)).await;
    if !matches!(told, Ok(Ok(_))) {
        tracing::warn!("the embedded Redis did not take the rights to its newer commands: callers get NOPERM for them");
    }
}

/// What callers may send and `line` does not grant. `FLUSHALL` is sent as `FLUSHDB`.
fn newer(line: &str) -> impl Iterator<Item = String> {
    let granted: HashSet<&str> = line.split(' ').filter_map(|word| word.strip_prefix('+')).collect();
    let wanted = catalogue::table().iter().filter(|spec| for_callers(spec) && spec.name != "FLUSHALL");
    wanted.map(|spec| spec.name.to_ascii_lowercase()).filter(move |name| !granted.contains(name.as_str()))
}

fn for_callers(spec: &Spec) -> bool {
    // A container with its subcommands in rows of their own is no command by itself.
    let callable = !spec.container || spec.arity.unsigned_abs() == 1;
    callable && (spec.access == Access::Open || matches!(spec.access, Access::Scope(scope) if scope != "server"))
}

/// Signs in as `default`, sends the commands and returns the first line of each answer; of a login that failed, that one alone.
async fn tell(socket: &Path, password: &Secret, commands: &[Vec<u8>]) -> io::Result<Vec<String>> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await?);
    stream.write_all(&[packed(&["AUTH", password.expose()]), commands.concat()].concat()).await?;
    let mut answers = vec![reply(&mut stream).await?];
    if answers[0] != "+OK" {
        return Ok(answers);
    }
    for _ in commands {
        answers.push(reply(&mut stream).await?);
    }
    Ok(answers)
}

/// A command as Redis reads it.
fn packed(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn granted_by(text: &'static str) -> Result<(), Word> {
        let home = tempfile::tempdir().expect("temporary directory");
        let socket = home.path().join("s");
        let listener = tokio::net::UnixListener::bind(&socket).expect("bind");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            stream.write_all(text.as_bytes()).await.expect("write");
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await.expect("end");
        };
        let password = Secret::from("p".repeat(43));
        tokio::join!(grant(&socket, &password, Some(8)), server).0
    }

    #[tokio::test]
    async fn only_a_server_that_refuses_the_rights_themselves_is_no_use() {
        for (text, granted) in [
            ("+OK\r\n+OK\r\n", Ok(())),
            ("+OK\r\n-ERR Error in ACL SETUSER modifier '+x': Unknown command\r\n", Err(Word::OtherRights)),
            ("+OK\r\n-NOPERM this user has no permissions\r\n", Err(Word::OtherRights)),
            ("+OK\r\n-BUSY Redis is busy running a script\r\n", Err(Word::Silence)),
            ("+OK\r\n-LOADING Redis is loading the dataset in memory\r\n", Err(Word::Silence)),
            ("-ERR max number of clients reached\r\n", Err(Word::Silence)),
            ("-WRONGPASS invalid\r\n-NOAUTH\r\n", Err(Word::Silence)),
        ] {
            assert_eq!(granted_by(text).await, granted, "{text}");
        }
    }

    #[test]
    fn an_older_server_gets_a_line_that_it_can_read() {
        let line = user_line(&Secret::from("p".repeat(43)), Some(6));
        assert!(line.starts_with(&format!("user {SERVICE_USER} on #")) && line.ends_with(" ~* +@all"), "{line}");
        assert!(!line.contains('|') && !line.contains(&"p".repeat(43)), "{line}");
    }

    #[test]
    fn the_line_has_the_hash_and_no_right_over_the_server() {
        let line = user_line(&Secret::from("p".repeat(43)), None);
        assert!(line.starts_with(&format!("user {SERVICE_USER} on #")) && !line.contains(&"p".repeat(43)), "{line}");
        for word in ["+@all", "+migrate", "+config|get", "+flushall", "+swapdb", "+select"] {
            assert!(!line.split(' ').any(|found| found == word), "{word}");
        }
    }

    #[test]
    fn what_only_newer_servers_have_is_granted_beside_it_and_nothing_else() {
        let line = user_line(&Secret::from("p".repeat(43)), Some(8));
        let newer: Vec<String> = newer(&line).collect();
        let has = |name: &str| newer.iter().any(|newer| newer == name);
        assert!(has("hexpire") && has("json.get"), "{newer:?}");
        for name in ["get", "flushall", "config|get", "migrate", "select", "client|list", "monitor"] {
            assert!(!has(name), "{name}");
        }
    }
}
