//! Pages of the names there are: `SCAN` cut into pages that are bounded in number, bytes and time.
//!
//! Redis hands out names by slots of its table: a reply may hold more than was asked for, and its cursor points between replies,
//! never into one. So a page that is full inside a reply keeps the place as the reply's own cursor and the hash of the last name
//! it gave: the next page reads the same reply again and goes on behind that hash. Should the table have changed in between (the
//! reply then ends at another cursor), the reply is given as a whole: a name may come twice, none that is there all the time is
//! left out. That is what Redis itself promises.
//!
//! Limits: names come in no order; strings only, counters among them; a page can be empty though more follow.

use sha1::{Digest, Sha1};

use super::keys::Keys;
use super::{Failure, FailureKind};
use crate::redis::{Command, RESERVED, Reply};
use crate::resilience::Deadline;
use crate::telemetry::clock;

/// Most names on a page.
pub const LIMIT: usize = 1000;
/// Most bytes of names on a page, beyond the first name: a thousand names of a common length fit many times.
const PAGE_BYTES: usize = 256 * 1024;
/// Most slots asked for at once: beyond it the catalogue calls a scan heavy.
const STEP: usize = 1000;
/// Least slots asked for at once: less saves Redis nothing.
const LEAST_STEP: usize = 10;
/// Most calls for one page. With [`STEP`] they look at 32 000 keys, a few milliseconds of Redis' only thread.
const CALLS: usize = 32;

/// A place in a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Redis' cursor.
    cursor: u64,
    /// Where within the reply at that cursor.
    within: Option<Within>,
}

/// A place within one reply of `SCAN`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Within {
    /// The cursor the reply ended with.
    end: u64,
    /// Hash of the last name given.
    after: u64,
    /// How many slots were asked for.
    step: u16,
}

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Names, in no order.
    pub names: Vec<Vec<u8>>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<Place>,
}

/// One reply of `SCAN`.
struct Chunk {
    end: u64,
    names: Vec<Vec<u8>>,
}

impl Place {
    /// As text for the caller, bound to the prefix it belongs to.
    pub fn to_bytes(&self, prefix: &[u8]) -> Vec<u8> {
        let mut bytes = self.cursor.to_be_bytes().to_vec();
        if let Some(within) = &self.within {
            bytes.extend(within.end.to_be_bytes());
            bytes.extend(within.after.to_be_bytes());
            bytes.extend(within.step.to_be_bytes());
        }
        let check = check(&bytes, prefix);
        bytes.extend(check);
        bytes
    }

    /// The place, if these bytes are one of this prefix.
    pub fn of_bytes(bytes: &[u8], prefix: &[u8]) -> Option<Self> {
        let (place, given) = bytes.split_last_chunk::<4>()?;
        if check(place, prefix) != *given {
            return None;
        }
        let (cursor, rest) = place.split_first_chunk()?;
        let cursor = u64::from_be_bytes(*cursor);
        if rest.is_empty() {
            return Some(Self { cursor, within: None });
        }
        let (end, rest) = rest.split_first_chunk()?;
        let (after, rest) = rest.split_first_chunk()?;
        let step = u16::from_be_bytes(rest.try_into().ok()?);
        let within = Within { end: u64::from_be_bytes(*end), after: u64::from_be_bytes(*after), step };
        (1..=STEP).contains(&usize::from(step)).then_some(Self { cursor, within: Some(within) })
    }
}

/// Not a secret: it tells a place that was copied wrongly, or belongs to another prefix.
fn check(place: &[u8], prefix: &[u8]) -> [u8; 4] {
    let digest = Sha1::new().chain_update(b"listing\0").chain_update(prefix).chain_update(b"\0").chain_update(place);
    let digest = digest.finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl Keys<'_> {
    /// At most `limit` names that begin with `prefix`, from `place` on. What cannot be had in half of the time is left to the
    /// next page; only if nothing could be asked at all does it fail.
    pub async fn list(&self, prefix: &[u8], place: Place, limit: usize, deadline: Deadline) -> Result<Page, Failure> {
        if prefix.starts_with(RESERVED) {
            return Err(Failure::before_sending(FailureKind::Reserved));
        }
        let half = Deadline::after(clock::now(), deadline.remaining(clock::now()) / 2);
        let (mut filling, mut place) = (Filling::new(limit), place);
        let mut step = limit.clamp(LEAST_STEP, STEP);
        for call in 0..CALLS {
            let asked = place.within.as_ref().map_or(step, |within| usize::from(within.step));
            let chunk = match self.scan(prefix, place.cursor, asked, deadline).await {
                Ok(chunk) => chunk,
                Err(failure) if call == 0 => return Err(failure),
                Err(_) => break,
            };
            let end = chunk.end;
            let before = filling.names.len();
            let names = chunk.names.into_iter().filter(|name| self.names.key(name).is_ok()).collect();
            if let Some(after) = filling.take(names, place.within.filter(|within| within.end == end)) {
                let within = Within { end, after, step: u16::try_from(asked).unwrap_or(u16::MAX) };
                return Ok(filling.page(Some(Place { cursor: place.cursor, within: Some(within) })));
            }
            if end == 0 {
                return Ok(filling.page(None));
            }
            place = Place { cursor: end, within: None };
            if filling.is_full() || half.passed(clock::now()) {
                break;
            }
            let sparse = filling.names.len() - before < asked / 2;
            step = if sparse { asked * 4 } else { limit - filling.names.len() }.clamp(LEAST_STEP, STEP);
        }
        Ok(filling.page(Some(place)))
    }

    async fn scan(&self, prefix: &[u8], cursor: u64, count: usize, deadline: Deadline) -> Result<Chunk, Failure> {
        let (cursor, count, pattern) = (cursor.to_string(), count.to_string(), pattern(prefix));
        let mut scan: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes(), b"COUNT", count.as_bytes(), b"TYPE", b"string"];
        if !prefix.is_empty() {
            scan.extend([b"MATCH", pattern.as_slice()]);
        }
        let answer = self.gateway.run(&Command::of(&scan), deadline).await?;
        let attempts = answer.attempts;
        let Reply::Array(parts) = answer.reply else { return Err(Failure::of_reply(&answer.reply, attempts)) };
        read(parts).ok_or_else(|| Failure::unexpected(attempts))
    }
}

/// `[cursor, [name, …]]`
fn read(parts: Vec<Reply>) -> Option<Chunk> {
    let [Reply::BulkString(end), Reply::Array(names)] = <[Reply; 2]>::try_from(parts).ok()? else { return None };
    let end = std::str::from_utf8(&end).ok()?.parse().ok()?;
    let names = names.into_iter().map(|name| match name {
        Reply::BulkString(name) => Some(name),
        _ => None,
    });
    Some(Chunk { end, names: names.collect::<Option<_>>()? })
}

/// Everything that begins with `prefix`, whatever bytes it has.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 8);
    for byte in prefix {
        if b"*?[]\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

/// A page being filled.
struct Filling {
    names: Vec<Vec<u8>>,
    bytes: usize,
    limit: usize,
}

impl Filling {
    fn new(limit: usize) -> Self {
        Self { names: Vec::new(), bytes: 0, limit }
    }

    fn is_full(&self) -> bool {
        self.names.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn fits(&self, bytes: usize) -> bool {
        self.names.is_empty() || (self.names.len() < self.limit && self.bytes + bytes <= PAGE_BYTES)
    }

    /// Takes the names of one reply, behind `within` if the page before stopped in it. If not all fit: the hash of the last taken.
    fn take(&mut self, names: Vec<Vec<u8>>, within: Option<Within>) -> Option<u64> {
        let all: usize = names.iter().map(Vec::len).sum();
        if within.is_none() && self.names.len() + names.len() <= self.limit && self.bytes + all <= PAGE_BYTES {
            self.bytes += all;
            self.names.extend(names);
            return None;
        }
        let mut hashed: Vec<(u64, Vec<u8>)> = names.into_iter().map(|name| (hash(&name), name)).collect();
        hashed.sort_unstable();
        let mut last = within.map(|within| within.after);
        hashed.retain(|(hash, _)| last.is_none_or(|after| *hash > after));
        for (hash, name) in hashed {
            if !self.fits(name.len()) {
                return Some(last.unwrap_or(0));
            }
            self.bytes += name.len();
            self.names.push(name);
            last = Some(hash);
        }
        None
    }

    fn page(self, next: Option<Place>) -> Page {
        Page { names: self.names, next }
    }
}

/// Orders the names of one reply. Two of a name's hash are one in 2^64, and would have to share a slot as well.
fn hash(name: &[u8]) -> u64 {
    let digest = Sha1::digest(name);
    // Never 0, which stands before all names.
    digest[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte)) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_as_it_was_and_only_for_its_prefix() {
        let within = Within { end: 7, after: u64::MAX, step: 1000 };
        for place in [Place::default(), Place { cursor: 1 << 63, within: Some(within) }] {
            let bytes = place.to_bytes(b"a");
            assert_eq!(Place::of_bytes(&bytes, b"a"), Some(place));
            assert_eq!(Place::of_bytes(&bytes, b"b"), None);
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert_eq!(Place::of_bytes(&changed, b"a"), None);
                assert_eq!(Place::of_bytes(&bytes[..at], b"a"), None);
            }
        }
    }

    #[test]
    fn a_prefix_is_taken_literally() {
        assert_eq!(pattern(b"a*b?[c]\\d"), b"a\\*b\\?\\[c\\]\\\\d*");
        assert_eq!(pattern(b"\xff^-"), b"\xff^-*");
    }

    fn names(count: u32) -> Vec<Vec<u8>> {
        (0..count).map(|number| number.to_string().into_bytes()).collect()
    }

    #[test]
    fn a_reply_larger_than_a_page_is_given_in_pieces_without_a_gap() {
        let (mut seen, mut within) = (Vec::new(), None);
        for page in 0.. {
            let mut filling = Filling::new(3);
            let after = filling.take(names(10), within.take());
            assert!(filling.names.len() <= 3 && page < 4);
            seen.extend(filling.names);
            let Some(after) = after else { break };
            within = Some(Within { end: 0, after, step: 10 });
        }
        seen.sort();
        let mut all = names(10);
        all.sort();
        assert_eq!(seen, all);
    }

    #[test]
    fn a_name_larger_than_a_page_is_a_page() {
        let mut filling = Filling::new(10);
        let large = vec![vec![b'a'; PAGE_BYTES + 1], vec![b'b'; PAGE_BYTES + 1]];
        assert!(filling.take(large, None).is_some());
        assert_eq!(filling.names.len(), 1);
        assert!(filling.is_full());
    }
}
