//! The catalogue as an access list of Redis: `deploy/redis/users.acl` is what this returns for the defaults.
//!
//! Least privilege by name: the commands that callers may send, those the service itself needs, and no category, since a category
//! grows with the server. What the gateway refuses is then refused a second time by Redis, also inside scripts. A name that a server
//! does not know keeps it from starting, so the list holds what every supported server has ([`BASELINE`]) and no module's commands.
//! Left out although root callers may send them: those of the scope `server` (they show settings, users and their password hashes).
//! Limits: access lists have no comments; what an operator must know stands in `deploy/redis/README.md`.

use std::fmt::{self, Write};

use super::row::{Access, Spec};
use super::table;

/// The oldest supported server: Redis 7.0, whose commands Valkey has, too.
const BASELINE: [u16; 3] = [7, 0, u16::MAX];

/// The user the service signs in as unless the configuration names another.
pub const SERVICE_USER: &str = "collective";

/// Commands of the service's own that callers never get, or get only with the scope `server`.
const OWN: [&str; 9] = [
    "CLIENT|ID",   // every connection learns its id ...
    "CLIENT|KILL", // ... by which it is fenced when it was given up
    "MULTI",       // `/multi-exec`
    "EXEC",
    "SUBSCRIBE", // `/subscribe` and `/psubscribe`
    "UNSUBSCRIBE",
    "PSUBSCRIBE",
    "PUNSUBSCRIBE",
    "ACL|WHOAMI", // shows the asker's own name and nothing else
];

/// What the gateway sends in another form: `FLUSHALL` goes out as `FLUSHDB`.
const NEVER_SENT: [&str; 1] = ["FLUSHALL"];

/// For those who look at the server and not into it; off until an operator gives it a password and switches it on.
const OBSERVER: &str = "user observer off resetpass resetkeys resetchannels -@all +ping +info +dbsize +role +lastsave +client|list \
                        +slowlog|get +slowlog|len +latency|latest +latency|history +memory|stats +memory|doctor";

/// Whom the list is for.
#[derive(Clone, Debug, Default)]
pub struct AclOptions<'a> {
    /// Name of the user; `None` = [`SERVICE_USER`].
    pub user: Option<&'a str>,
    /// Password of the user; `None` = a hash of nothing known, with which nobody can sign in.
    pub password_sha256: Option<[u8; 32]>,
    /// A logical database other than 0 is used, so it has to be selected.
    pub selects: bool,
}

/// A name that cannot be a user's in an access list beside the others there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfitUser;

impl fmt::Display for UnfitUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be one word without quotes, and neither `default`, which is switched off, nor `observer`")
    }
}

/// The access list, a line a user.
///
/// # Errors
/// A name that would be another user's, or no single word.
pub fn acl(options: &AclOptions<'_>) -> Result<String, UnfitUser> {
    let user = options.user.unwrap_or(SERVICE_USER);
    // Redis splits a line at spaces and reads quotes and backslashes as a shell does.
    let breaks = |letter: char| letter.is_whitespace() || letter.is_control() || ['"', '\'', '\\'].contains(&letter);
    if user.is_empty() || user.contains(breaks) || ["default", "observer"].contains(&user) {
        return Err(UnfitUser);
    }
    // Off: nobody can sign in as it. But Redis reads its append-only file as this user and asks for its rights at every EXEC (seen
    // with 7.0.15): without them each transaction, and with it each effect of a function, is dropped when the server starts again.
    let mut list = "user default off resetpass ~* &* +@all\n".to_owned();
    let _ = write!(list, "user {user} on #");
    for byte in options.password_sha256.unwrap_or_default() {
        let _ = write!(list, "{byte:02x}");
    }
    list.push_str(" ~* &* -@all");
    let select = options.selects.then_some("SELECT");
    for name in granted().chain(select) {
        let _ = write!(list, " +{}", name.to_ascii_lowercase());
    }
    let _ = write!(list, "\n{OBSERVER}\n");
    Ok(list)
}

/// Names of all that is granted, those of callers first.
fn granted() -> impl Iterator<Item = &'static str> {
    table().iter().filter(|spec| for_callers(spec)).map(|spec| spec.name).chain(OWN)
}

fn for_callers(spec: &Spec) -> bool {
    let allowed = match spec.access {
        Access::Open => true,
        Access::Scope(scope) => scope != "server",
        Access::Never => false,
    };
    // A container is granted only if it does something by itself; else its subcommands are, one by one.
    let callable = !spec.container || spec.arity.unsigned_abs() == 1;
    let of_module = spec.name.contains('.');
    allowed && callable && !of_module && since(spec) <= BASELINE && !NEVER_SENT.contains(&spec.name)
}

/// The version a command appeared in; one that cannot be read is newer than all.
fn since(spec: &Spec) -> [u16; 3] {
    let mut parts = spec.since.split('.').map(|part| part.parse().unwrap_or(u16::MAX));
    std::array::from_fn(|_| parts.next().unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::{find, words};
    use super::*;

    fn committed() -> Vec<String> {
        let list = acl(&AclOptions::default()).unwrap();
        let line = list.lines().nth(1).unwrap().to_owned();
        line.split(' ').filter_map(|word| word.strip_prefix('+').map(str::to_owned)).collect()
    }

    #[test]
    fn nothing_is_granted_that_callers_may_not_send_but_what_the_service_needs() {
        for name in committed() {
            let spec = find(&words(&name.replace('|', " ")));
            assert_eq!(spec.name.to_ascii_lowercase(), name, "{name} is no row of the catalogue");
            assert!(OWN.contains(&spec.name) || spec.access != Access::Never, "{name}");
        }
    }

    #[test]
    fn what_the_service_cannot_do_without_is_granted_and_what_gives_power_over_the_server_is_not() {
        let granted = committed();
        let has = |name: &str| granted.iter().any(|granted| granted == name);
        for name in ["get", "set", "client|id", "client|kill", "info", "ping", "multi", "exec", "subscribe", "eval"] {
            assert!(has(name), "{name}");
        }
        for name in
            ["evalsha_ro", "script|load", "function|load", "function|list", "function|delete", "fcall", "fcall_ro"]
        {
            assert!(has(name), "{name}");
        }
        for name in ["config|get", "config|set", "acl|list", "debug", "module|load", "shutdown", "flushall", "select"] {
            assert!(!has(name), "{name}");
        }
        for name in ["replicaof", "migrate", "keys|x", "client|list", "monitor", "acl|setuser", "client|no-evict"] {
            assert!(!has(name), "{name}");
        }
    }

    #[test]
    fn what_a_server_of_the_baseline_does_not_know_is_left_out() {
        let granted = committed();
        for name in ["delex", "json.get", "vadd", "client|no-touch", "expiretime"] {
            assert_eq!(granted.iter().any(|granted| granted == name), name == "expiretime", "{name}");
        }
        assert_eq!(since(&super::super::UNKNOWN), [u16::MAX; 3]);
    }

    #[test]
    fn name_password_and_database_are_those_of_the_configuration() {
        let options = AclOptions { user: Some("gw"), password_sha256: Some([0xab; 32]), selects: true };
        let list = acl(&options).unwrap();
        let line = list.lines().nth(1).unwrap();
        assert!(line.starts_with(&format!("user gw on #{} ~* &* -@all +", "ab".repeat(32))), "{line}");
        assert!(line.ends_with(" +select"), "{line}");
        for name in ["default", "observer", "two words", "", "\"quoted", "a\nuser b on nopass ~* +@all"] {
            assert_eq!(acl(&AclOptions { user: Some(name), ..AclOptions::default() }), Err(UnfitUser), "{name}");
        }
    }

    #[test]
    fn as_committed_nobody_can_sign_in() {
        let list = acl(&AclOptions::default()).unwrap();
        let lines: Vec<_> = list.lines().collect();
        assert_eq!(
            lines[0], "user default off resetpass ~* &* +@all",
            "off, and able to read its own append-only file"
        );
        assert!(lines[1].starts_with(&format!("user collective on #{} ", "0".repeat(64))));
        assert!(lines[2].starts_with("user observer off resetpass ") && !lines[2].contains('~'));
        assert_eq!(lines.len(), 3);
    }
}
