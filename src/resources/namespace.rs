//! Where a caller's names live in the key space, and the one prefix that is nobody's but ours.
//!
//! Limits: today every caller shares one name space; the type is the place where tenants get theirs.

use crate::redis::RESERVED;

/// A caller's part of the key space.
#[derive(Clone, Debug, Default)]
pub struct Namespace(());

/// The name belongs to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved;

impl Namespace {
    /// The Redis key of a caller's name.
    pub fn key<'a>(&self, name: &'a [u8]) -> Result<&'a [u8], Reserved> {
        if name.starts_with(RESERVED) { Err(Reserved) } else { Ok(name) }
    }

    /// The Redis key of a record that the service keeps for a caller's name (D14).
    pub fn service_key(&self, kind: &str, name: &[u8]) -> Vec<u8> {
        [RESERVED, kind.as_bytes(), b":", name].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_service_are_out_of_reach() {
        let names = Namespace::default();
        assert_eq!(names.key(b"collective:probe:1"), Err(Reserved));
        assert_eq!(names.key(b"collective"), Ok(&b"collective"[..]));
        assert_eq!(names.key(b""), Ok(&b""[..]));
        assert_eq!(names.service_key("lease", b"jobs"), b"collective:lease:jobs");
    }
}
