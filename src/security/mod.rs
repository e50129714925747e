//! Who are you, and may you: the only room that can make an [`Authorized`].
//!
//! A handler takes `Authorized<SomeAction>`; since its fields are private to this room, a handler without it cannot be written
//! by mistake and one with it cannot be reached by anyone who was not let in. There are three kinds of principal: the holder of
//! the root token, which has every scope, and of the configured full and read-only tokens. Limits: scoped keys, quotas, bans and
//! audit are not built yet.

mod principal;
mod static_tokens;

use std::marker::PhantomData;

use subtle::ConstantTimeEq;

use self::static_tokens::StaticKind;
use crate::telemetry::Secret;

pub use principal::{Principal, may_read_only_run};
pub use static_tokens::{BadDigest, StaticTokens, TokenDigest};

/// Something a caller may be allowed to do.
pub trait Action {
    /// The scope that allows it.
    const SCOPE: &'static str;
}

/// Declares actions and their scopes.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $scope:literal;)+) => {
        $($(#[$doc])* #[derive(Debug)] pub enum $name {} impl Action for $name { const SCOPE: &'static str = $scope; })+
    };
}

actions! {
    /// Read keys of `/v1/keys`.
    ReadKeys = "keys:read";
    /// List keys of `/v1/keys`. Not for read-only tokens, which read what they can name.
    ListKeys = "keys:list";
    /// Write and delete keys of `/v1/keys`.
    WriteKeys = "keys:write";
    /// Read counters.
    ReadCounters = "counters:read";
    /// Increment and delete counters.
    WriteCounters = "counters:write";
    /// Look at limiters.
    ReadLimiters = "limiters:read";
    /// Take from limiters, and make them forget.
    WriteLimiters = "limiters:write";
    /// Ask what became of one's own requests. Not for read-only tokens: none of theirs has an effect, and the answer leaves a note.
    SettleOperations = "operations:settle";
    /// See who holds a lease.
    ReadLeases = "leases:read";
    /// Acquire, renew and release leases.
    WriteLeases = "leases:write";
    /// See how many are in a room.
    ReadPresence = "presence:read";
    /// Enter and leave rooms.
    WritePresence = "presence:write";
    /// Send commands in the command dialect.
    SendCommands = "commands";
}

/// Proof that the caller may do `A`.
#[derive(Debug)]
pub struct Authorized<A: Action> {
    principal: Principal,
    action: PhantomData<A>,
}

impl<A: Action> Authorized<A> {
    /// Who was let in.
    pub fn principal(&self) -> Principal {
        self.principal
    }
}

/// Why a caller could not be identified. The two look alike from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// No credential was presented.
    Missing,
    /// The credential is nobody's.
    Wrong,
}

/// The caller lacks a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The scope that would have allowed it.
    pub scope: &'static str,
}

/// Identifies callers by what they present.
pub struct Authenticator {
    root: Secret,
    root_digest: TokenDigest,
    tokens: StaticTokens,
}

impl Authenticator {
    /// Knows the root token and the configured ones.
    pub fn new(root: Secret, tokens: StaticTokens) -> Self {
        Self { root_digest: TokenDigest::of(root.expose().as_bytes()), root, tokens }
    }

    /// Takes the value of an `Authorization` header: `Bearer <token>`, or the bare token as some clients send it.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<Principal, Unauthenticated> {
        let presented = authorization.ok_or(Unauthenticated::Missing)?;
        let token = bearer(presented);
        if is_same(token, self.root.expose().as_bytes()) {
            return Ok(Principal::root(self.root_digest));
        }
        match self.tokens.kind(token) {
            Some((StaticKind::Full, digest)) => Ok(Principal::full(digest)),
            Some((StaticKind::ReadOnly, digest)) => Ok(Principal::read_only(digest)),
            None => Err(Unauthenticated::Wrong),
        }
    }
}

/// Equal lengths are compared in constant time; the length of the token is no secret. By words, since it is done for every request:
/// byte by byte it takes eight times as long.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let ((ones, one_rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let words = ones.iter().zip(others).map(|(one, other)| u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*other)));
    bool::from(words.fold(one_rest.ct_eq(other_rest), |same, word| same & word))
}

/// The token of a header value, the scheme stripped whatever its case.
fn bearer(value: &[u8]) -> &[u8] {
    const SCHEME: &[u8] = b"bearer ";
    match value.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => value[SCHEME.len()..].trim_ascii(),
        _ => value.trim_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticator() -> Authenticator {
        let tokens = StaticTokens { full: vec![TokenDigest::of(b"full")], read_only: vec![TokenDigest::of(b"reader")] };
        Authenticator::new(Secret::from("0123456789abcdef0123456789abcdef".to_owned()), tokens)
    }

    #[test]
    fn only_the_exact_token_is_let_in() {
        let door = authenticator();
        assert!(door.authenticate(Some(b"Bearer 0123456789abcdef0123456789abcdef")).is_ok());
        assert!(door.authenticate(Some(b"bearer 0123456789abcdef0123456789abcdef ")).is_ok());
        assert!(door.authenticate(Some(b"0123456789abcdef0123456789abcdef")).is_ok());
        for wrong in [&b"Bearer "[..], b"", b"Bearer x", b"Bearer 0123456789abcdef0123456789abcdeF", b"Basic abc"] {
            assert_eq!(door.authenticate(Some(wrong)), Err(Unauthenticated::Wrong));
        }
        assert_eq!(door.authenticate(None), Err(Unauthenticated::Missing));
        assert_eq!(door.authenticate(Some(b"Bearer full")), Ok(Principal::full(TokenDigest::of(b"full"))));
        assert_eq!(door.authenticate(Some(b"Bearer reader")), Ok(Principal::read_only(TokenDigest::of(b"reader"))));
    }
}
