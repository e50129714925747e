//! Tokens an operator writes into the configuration, known to us by their SHA-256 only.
//!
//! A configuration file is copied, mounted and backed up; a digest in it is no credential. One round of SHA-256 is enough because
//! tokens are random: nobody guesses 256 bits, and a slow hash would be paid on every request. Limits: a token of low entropy is
//! not protected by its digest, and we cannot see how random it was; there is no revocation but a restart.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

const BYTES: usize = 32;

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; BYTES]);

/// Why a text is not the digest of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadDigest {
    /// It is not 64 hexadecimal digits.
    NotHexadecimal,
    /// It is the digest of the empty text, or of a line break alone: the variable that was hashed was not set.
    OfNothing,
}

impl TokenDigest {
    /// The digest of a token.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Reads 64 hexadecimal digits, as `sha256sum` prints them.
    pub fn parse(text: &str) -> Result<Self, BadDigest> {
        let digits = text.as_bytes();
        if digits.len() != 2 * BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadDigest::NotHexadecimal);
        }
        let mut bytes = [0; BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = value(pair[0]).zip(value(pair[1])).map_or(0, |(high, low)| high << 4 | low);
        }
        let digest = Self(bytes);
        if [&b""[..], b"\n"].iter().any(|nothing| digest == Self::of(nothing)) {
            return Err(BadDigest::OfNothing);
        }
        Ok(digest)
    }

    /// The HMAC of what the parts make together, under this digest.
    pub(super) fn keyed(&self, parts: &[&[u8]]) -> [u8; 32] {
        // An HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; 32] };
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// Not the digits: whoever holds them can recognise a leaked token.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// The configured tokens, by kind.
#[derive(Clone, Debug, Default)]
pub struct StaticTokens {
    /// Tokens that may send every command of the dialect and use all of `/v1`'s data.
    pub full: Vec<TokenDigest>,
    /// Tokens that may only read.
    pub read_only: Vec<TokenDigest>,
}

/// Which list a token is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StaticKind {
    Full,
    ReadOnly,
}

impl StaticTokens {
    /// The list `token` is in. Every digest is compared, and each in constant time: how long it takes tells nothing.
    pub(super) fn kind(&self, token: &[u8]) -> Option<(StaticKind, TokenDigest)> {
        if self.full.is_empty() && self.read_only.is_empty() {
            return None;
        }
        let presented = TokenDigest::of(token);
        let among = |known: &[TokenDigest]| {
            bool::from(known.iter().fold(Choice::from(0), |found, digest| found | digest.matches(&presented)))
        };
        match (among(&self.full), among(&self.read_only)) {
            // In both lists, which configuration refuses: the lesser right.
            (_, true) => Some((StaticKind::ReadOnly, presented)),
            (true, false) => Some((StaticKind::Full, presented)),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        let text = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";
        assert_eq!(TokenDigest::parse(text), Ok(TokenDigest::of(b"test")));
        for bad in ["", "9f86", &text.replace('9', "g"), &format!("{text}0"), "é".repeat(32).as_str()] {
            assert_eq!(TokenDigest::parse(bad), Err(BadDigest::NotHexadecimal));
        }
    }

    #[test]
    fn the_digest_of_an_unset_variable_is_refused() {
        for nothing in [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
        ] {
            assert_eq!(TokenDigest::parse(nothing), Err(BadDigest::OfNothing));
        }
    }

    #[test]
    fn a_token_is_found_in_its_list_and_nowhere_else() {
        let tokens = StaticTokens {
            full: vec![TokenDigest::of(b"a"), TokenDigest::of(b"b")],
            read_only: vec![TokenDigest::of(b"c")],
        };
        assert_eq!(tokens.kind(b"b"), Some((StaticKind::Full, TokenDigest::of(b"b"))));
        assert_eq!(tokens.kind(b"c"), Some((StaticKind::ReadOnly, TokenDigest::of(b"c"))));
        assert_eq!(tokens.kind(b"d"), None);
        assert_eq!(format!("{tokens:?}").matches('…').count(), 3, "digests are not printed");
    }
}
