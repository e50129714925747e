//! What a newcomer sees when the service is up: where it listens, and lines to paste.
//!
//! The token itself is never printed: logs are kept, copied and read by others. The lines hold a command that reads it instead
//! (D27): its file or variable for a shell on this machine, or the verb `token` where it stands in the configuration; for one outside a container, where that file is out of reach, the verb `token`
//! run inside by the container's engine. The container's name is its host name, which engines make from its id; where it was
//! given another, the lines say CONTAINER and the reader puts the name there.
//! Limits: a port published under another number is not known here; the line above the others says which one is meant.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use crate::api::acceptor::reachable;
use crate::config::{Announce, SecretPlace};

/// Characters of a container's id that engines make its host name of.
const SHORT_ID: usize = 12;
/// Podman puts this file into every container; docker has no such mark, and is what most people have.
const PODMAN_MARK: &str = "/run/.containerenv";

/// All that is announced.
pub(super) struct Announcement {
    pub(super) public: SocketAddr,
    pub(super) operator: SocketAddr,
    /// Where the root token can be read.
    pub(super) token: SecretPlace,
    pub(super) audience: Announce,
}

impl Announcement {
    /// Prints it to standard output, at once; a reader who has left is no failure of ours.
    pub(super) fn print(&self) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(self.text().as_bytes());
        let _ = out.flush();
    }

    fn text(&self) -> String {
        let token = match self.audience {
            Announce::Local => self.token_on_this_machine(),
            Announce::Container => {
                let engine = if Path::new(PODMAN_MARK).exists() { "podman" } else { "docker" };
                token_inside(engine, &host_name())
            }
        };
        let public = reachable(self.public);
        let mut text = format!("listening public={} operator={}\n", self.public, self.operator);
        if self.audience == Announce::Container {
            let port = public.port();
            let _ = writeln!(text, "in a container; with -p {port}:{port} these work in a shell outside of it:");
        }
        let authorization = format!("-H \"Authorization: Bearer {token}\"");
        let key = format!("http://{public}/v1/keys/greeting");
        let _ = writeln!(text, "try: curl {authorization} -X PUT --data hello {key}");
        let _ = writeln!(text, "     curl {authorization} {key}");
        let _ = writeln!(text, "for @upstash/redis:");
        let _ = writeln!(text, "     export UPSTASH_REDIS_REST_URL=\"http://{public}\"");
        let _ = writeln!(text, "     export UPSTASH_REDIS_REST_TOKEN=\"{token}\"");
        text
    }

    fn token_on_this_machine(&self) -> String {
        match &self.token {
            SecretPlace::File(file) => format!("$(cat {})", shell_word(file)),
            SecretPlace::Configuration(file) => format!("$(collective token --config {})", shell_word(file)),
            SecretPlace::Variable(name) => format!("${name}"),
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The command that prints the token of the container we are in.
fn token_inside(engine: &str, host: &str) -> String {
    let is_id = host.len() == SHORT_ID && host.bytes().all(|byte| byte.is_ascii_hexdigit());
    let container = if is_id { host } else { "CONTAINER" };
    format!("$({engine} exec {container} collective token)")
}

/// A path that a shell reads as one word.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(audience: Announce) -> Announcement {
        Announcement {
            public: SocketAddr::from(([0, 0, 0, 0], 8080)),
            operator: SocketAddr::from(([0, 0, 0, 0], 8081)),
            token: SecretPlace::File("/data/root token".into()),
            audience,
        }
    }

    #[test]
    fn lines_for_this_machine_read_the_token_from_its_file() {
        let text = announcement(Announce::Local).text();
        assert!(text.starts_with("listening public=0.0.0.0:8080 operator=0.0.0.0:8081\ntry: curl "), "{text}");
        assert!(text.contains("-H \"Authorization: Bearer $(cat '/data/root token')\""), "{text}");
        assert!(text.contains("export UPSTASH_REDIS_REST_URL=\"http://127.0.0.1:8080\"\n"), "{text}");
        assert!(text.contains("export UPSTASH_REDIS_REST_TOKEN=\"$(cat '/data/root token')\"\n"), "{text}");
    }

    #[test]
    fn lines_for_outside_a_container_ask_inside_of_it() {
        let text = announcement(Announce::Container).text();
        assert_eq!(text.matches(" collective token)").count(), 3, "{text}");
        assert!(text.contains("-p 8080:8080") && !text.contains("root token"), "{text}");
    }

    #[test]
    fn a_container_is_called_by_its_id_or_by_whatever_its_owner_called_it() {
        assert_eq!(token_inside("docker", "3f2a9c01b7de"), "$(docker exec 3f2a9c01b7de collective token)");
        assert_eq!(token_inside("podman", "web; reboot"), "$(podman exec CONTAINER collective token)");
    }
}
