//! What each kind of caller may do: actions of the two surfaces by scope, commands of the dialect by the catalogue.
//!
//! Two rules instead of a list for each kind, so that an action or command added later has an answer from its first day: a
//! read-only caller has scopes that end in `:read`, a full one all that do not begin with `admin`; a read-only caller may run
//! commands that only read, need no scope, and name what they read. Limits: nobody is confined to some keys yet.

use std::marker::PhantomData;

use super::{Action, Authorized, Forbidden, TokenDigest};
use crate::redis::Command;
use crate::redis::catalogue::{Access, Class, Keys, Lane, Spec};

/// Who a caller turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    kind: Kind,
    credential: TokenDigest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Root,
    Full,
    ReadOnly,
}

/// The scope of sending commands at all; which ones is asked for each.
pub(super) const COMMANDS: &str = "commands";

/// Catalogue scopes of a full token. Not `server`: the settings and users of the Redis server are the operator's.
const FULL_SCOPES: [&str; 2] = ["scripts", "admin"];

/// The one command that names no key and tells no more than a number.
const COUNT_OF_KEYS: &str = "DBSIZE";

impl Principal {
    /// Whoever has the root token.
    pub(super) fn root(credential: TokenDigest) -> Self {
        Self { kind: Kind::Root, credential }
    }

    /// Whoever has a full token.
    pub(super) fn full(credential: TokenDigest) -> Self {
        Self { kind: Kind::Full, credential }
    }

    /// Whoever has a read-only token.
    pub(super) fn read_only(credential: TokenDigest) -> Self {
        Self { kind: Kind::ReadOnly, credential }
    }

    /// A name for what the principal calls `text`, which is his alone and tells nobody who or what. It holds across restarts and
    /// replicas, and ends with the token.
    pub fn pseudonym(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        self.credential.keyed(&[purpose.as_bytes(), b"\0", text])
    }

    /// Lets the principal do `A`, or not.
    pub fn authorize<A: Action>(self) -> Result<Authorized<A>, Forbidden> {
        let may = match self.kind {
            Kind::Root => true,
            Kind::Full => !A::SCOPE.starts_with("admin"),
            Kind::ReadOnly => A::SCOPE == COMMANDS || A::SCOPE.ends_with(":read"),
        };
        if may { Ok(Authorized { principal: self, action: PhantomData }) } else { Err(Forbidden { scope: A::SCOPE }) }
    }

    /// Whether the principal may run this very call. What nobody may run is not looked at.
    pub fn may_run(self, command: &Command) -> bool {
        match self.kind {
            Kind::Root => true,
            Kind::Full => match command.spec().access {
                Access::Open | Access::Never => true,
                Access::Scope(scope) => FULL_SCOPES.contains(&scope),
            },
            Kind::ReadOnly => only_reads(command.spec(), command.class()),
        }
    }
}

/// Whether a read-only caller may run the plain form of a command.
pub fn may_read_only_run(spec: &Spec) -> bool {
    only_reads(spec, spec.class)
}

/// Reads that say what they read. `SCAN`, `KEYS` or `RANDOMKEY` hand out names nobody gave the caller; scripts of whatever kind, and
/// what reveals the server, need a scope.
fn only_reads(spec: &Spec, class: Class) -> bool {
    let named = spec.keys != Keys::Unknown || spec.name == COUNT_OF_KEYS;
    spec.lane == Lane::Read && class == Class::Read && spec.access == Access::Open && named
}

#[cfg(test)]
mod tests {
    use super::super::{ReadKeys, SendCommands, WriteCounters, WriteKeys};
    use super::*;

    fn root() -> Principal {
        Principal::root(TokenDigest::of(b"root"))
    }

    fn full() -> Principal {
        Principal::full(TokenDigest::of(b"full"))
    }

    fn read_only() -> Principal {
        Principal::read_only(TokenDigest::of(b"reader"))
    }

    #[test]
    fn a_pseudonym_is_the_principals_own() {
        assert_eq!(root().pseudonym("a", b"key"), root().pseudonym("a", b"key"));
        for other in [root().pseudonym("b", b"key"), root().pseudonym("a", b"kex"), full().pseudonym("a", b"key")] {
            assert_ne!(root().pseudonym("a", b"key"), other);
        }
    }

    enum Administer {}
    impl Action for Administer {
        const SCOPE: &'static str = "admin:api-keys";
    }

    fn may(principal: Principal, call: &str) -> bool {
        let words: Vec<&[u8]> = call.split(' ').map(str::as_bytes).collect();
        principal.may_run(&Command::of(&words))
    }

    #[test]
    fn surfaces_are_opened_by_scope() {
        assert!(root().authorize::<Administer>().is_ok());
        assert_eq!(full().authorize::<Administer>().err(), Some(Forbidden { scope: "admin:api-keys" }));
        assert!(full().authorize::<WriteKeys>().is_ok());
        assert!(read_only().authorize::<ReadKeys>().is_ok());
        assert!(read_only().authorize::<SendCommands>().is_ok());
        assert!(read_only().authorize::<WriteKeys>().is_err());
        assert!(read_only().authorize::<WriteCounters>().is_err());
    }

    #[test]
    fn a_read_only_caller_reads_what_it_names() {
        for call in ["get a", "mget a b", "hgetall a", "zrange a 0 -1", "ttl a", "dbsize", "ping", "xread streams a 0"]
        {
            assert!(may(read_only(), call), "{call}");
        }
        for call in [
            "set a 1",
            "getdel a",
            "scan 0",
            "keys *",
            "randomkey",
            "eval x 0",
            "eval_ro x 0",
            "fcall_ro f 0",
            "publish c m",
            "pubsub channels",
            "pubsub shardchannels *",
            "lolwut",
            "script exists x",
            "info",
            "config get *",
            "sort a",
            "nosuchcommand a",
            "flushall",
            "sort_ro a",
            "object",
        ] {
            assert!(!may(read_only(), call), "{call}");
        }
    }

    #[test]
    fn a_full_caller_does_everything_but_look_into_the_server() {
        for call in ["set a 1", "keys *", "eval x 0", "flushall", "function load x", "script flush", "info", "nosuch a"]
        {
            assert!(may(full(), call), "{call}");
        }
        for call in ["config get requirepass", "acl list", "acl getuser default"] {
            assert!(!may(full(), call), "{call}");
            assert!(may(root(), call), "{call}");
        }
    }
}
