//! Pages of the names there are: `SCAN` cut into pages that are bounded in number, bytes and time.
//!
//! Redis hands out names by slots of its table: a reply may hold a few more than were asked for, and its cursor points between
//! replies, never into one. Those few are carried in our own cursor, so that the next page begins with them: reading the reply
//! again could not find the place, because the table may have changed (tried with a hash for the place: under writers that made
//! it grow and shrink all the time, a walk made no progress). Where they are too long to be carried, the page ends before them.
//! So what Redis promises holds: a name that is there all the time is given, perhaps twice.
//!
//! Limits: names come in no order; strings only, counters among them; a page can be empty though more follow; it holds more
//! than was asked for only where one single slot does, with names too long to be carried.

use sha1::{Digest, Sha1};

use super::keys::Keys;
use super::{Failure, FailureKind};
use crate::redis::{Command, RESERVED, Reply};
use crate::resilience::Deadline;
use crate::telemetry::clock;

/// Most bytes of names on a page, beyond the first name: a thousand names of a common length fit many times.
const PAGE_BYTES: usize = 256 * 1024;
/// Most bytes of names in a cursor: with base64 it leaves half of the longest query to the rest.
const CARRIED_BYTES: usize = 2048;
/// Most slots asked for at once: beyond it the catalogue calls a scan heavy.
const STEP: usize = 1000;
/// Most calls for one page. With [`STEP`] they look at 32 000 keys, a few milliseconds of Redis' only thread.
const CALLS: usize = 32;

/// A place in a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Redis' cursor, or the end.
    at: At,
    /// Names that Redis has given and that had no room.
    carried: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Cursor(u64),
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Cursor(0)
    }
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
    fn end() -> Self {
        Self { at: At::End, carried: Vec::new() }
    }

    fn cursor(cursor: u64) -> Self {
        Self { at: At::Cursor(cursor), carried: Vec::new() }
    }

    fn after(end: u64, carried: Vec<Vec<u8>>) -> Self {
        Self { at: if end == 0 { At::End } else { At::Cursor(end) }, carried }
    }

    /// As bytes for the caller, bound to the prefix it belongs to.
    pub fn to_bytes(&self, prefix: &[u8]) -> Vec<u8> {
        let mut bytes = match self.at {
            At::Cursor(cursor) => [&[0], &cursor.to_be_bytes()[..]].concat(),
            At::End => vec![1],
        };
        for name in &self.carried {
            // Carried names are shorter than CARRIED_BYTES.
            bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(name);
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
        let (at, mut rest) = match place.split_first()? {
            (0, rest) => {
                rest.split_first_chunk().map(|(cursor, rest)| (At::Cursor(u64::from_be_bytes(*cursor)), rest))?
            }
            (1, rest) => (At::End, rest),
            _ => return None,
        };
        let mut carried = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk()?;
            let (name, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            // Nobody is shown a name that he could not have been given.
            if !name.starts_with(prefix) {
                return None;
            }
            carried.push(name.to_vec());
            rest = after;
        }
        Some(Self { at, carried })
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
        let mut filling = Filling::new(limit);
        let carried = filling.take(place.carried);
        let At::Cursor(mut cursor) = place.at else { return Ok(filling.page(Place { at: At::End, carried })) };
        if !carried.is_empty() || filling.is_full() {
            return Ok(filling.page(Place { at: place.at, carried }));
        }
        let mut step = filling.room().min(STEP);
        for call in 0..CALLS {
            let chunk = match self.scan(prefix, cursor, step, deadline).await {
                Ok(chunk) => chunk,
                Err(failure) if call == 0 && filling.names.is_empty() => return Err(failure),
                Err(_) => break,
            };
            let found = chunk.names.len();
            let rest = filling.try_take(chunk.names, step == 1);
            match rest {
                Taken::All if chunk.end == 0 => return Ok(filling.page(Place::end())),
                Taken::All => cursor = chunk.end,
                Taken::Rest(rest) => return Ok(filling.page(Place::after(chunk.end, rest))),
                Taken::None if !filling.names.is_empty() => break,
                // More than the page and the cursor can hold: fewer slots at once.
                Taken::None => {
                    step = (step / 8).clamp(1, limit);
                    continue;
                }
            }
            if filling.is_full() || half.passed(clock::now()) {
                break;
            }
            // Slots without a name of this prefix: look at more of them at once.
            step = if found < step / 2 { step * 4 } else { filling.room() }.clamp(1, STEP);
        }
        Ok(filling.page(Place::cursor(cursor)))
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
        let mut chunk = read(parts).ok_or_else(|| Failure::unexpected(attempts))?;
        chunk.names.retain(|name| self.names.key(name).is_ok());
        Ok(chunk)
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

/// What became of the names of one reply.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// They are on the page.
    All,
    /// These are left, few enough to be carried.
    Rest(Vec<Vec<u8>>),
    /// None is on the page: what would be left is too much.
    None,
}

impl Filling {
    fn new(limit: usize) -> Self {
        Self { names: Vec::new(), bytes: 0, limit }
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.names.len()).max(1)
    }

    fn is_full(&self) -> bool {
        self.names.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn fits(&self, bytes: usize) -> bool {
        self.names.is_empty() || (self.names.len() < self.limit && self.bytes + bytes <= PAGE_BYTES)
    }

    /// Takes what fits, and gives the rest back.
    fn take(&mut self, mut names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        while let Some(name) = names.pop() {
            if !self.fits(name.len()) {
                names.push(name);
                break;
            }
            self.bytes += name.len();
            self.names.push(name);
        }
        names
    }

    /// Takes the names of one reply, if what does not fit can be carried; `whole`: even if not.
    fn try_take(&mut self, names: Vec<Vec<u8>>, whole: bool) -> Taken {
        let (before, bytes) = (self.names.len(), self.bytes);
        let rest = self.take(names);
        if rest.is_empty() {
            return Taken::All;
        }
        if rest.iter().map(|name| name.len() + 2).sum::<usize>() <= CARRIED_BYTES {
            return Taken::Rest(rest);
        }
        if whole && before == 0 {
            self.names.extend(rest);
            return Taken::All;
        }
        self.names.truncate(before);
        self.bytes = bytes;
        Taken::None
    }

    fn page(self, next: Place) -> Page {
        Page { names: self.names, next: (next != Place::end()).then_some(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_as_it_was_and_only_for_its_prefix() {
        let carried = vec![b"a1".to_vec(), b"a".to_vec(), [b"a", &[0xff; 600][..]].concat()];
        for place in
            [Place::default(), Place::cursor(1 << 63), Place::after(7, carried.clone()), Place::after(0, carried)]
        {
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
        assert_eq!(Place::of_bytes(&Place::after(7, vec![b"b".to_vec()]).to_bytes(b"a"), b"a"), None);
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
        let mut filling = Filling::new(3);
        let Taken::Rest(mut rest) = filling.try_take(names(10), false) else { panic!("seven are left") };
        let mut seen = filling.names;
        while !rest.is_empty() {
            let mut filling = Filling::new(3);
            rest = filling.take(rest);
            assert!((1..=3).contains(&filling.names.len()));
            seen.extend(filling.names);
        }
        seen.sort();
        let mut all = names(10);
        all.sort();
        assert_eq!(seen, all);
    }

    #[test]
    fn names_too_long_to_be_carried_wait_for_the_next_page_unless_one_slot_holds_them() {
        let large = || vec![vec![b'a'; CARRIED_BYTES], vec![b'b'; CARRIED_BYTES]];
        let mut filling = Filling::new(1);
        assert_eq!(filling.try_take(large(), false), Taken::None);
        assert_eq!((filling.names.len(), filling.bytes), (0, 0));
        assert_eq!(filling.try_take(large(), true), Taken::All);
        assert_eq!(filling.names.len(), 2);
    }

    #[test]
    fn a_name_larger_than_a_page_is_a_page() {
        let mut filling = Filling::new(10);
        assert_eq!(filling.take(vec![vec![b'a'; PAGE_BYTES + 1], vec![b'b'; PAGE_BYTES + 1]]).len(), 1);
        assert!(filling.is_full());
    }
}
