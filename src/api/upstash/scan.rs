//! Finds the next byte of interest in JSON text, eight bytes at a time.
//!
//! Nearly every string the command dialect reads or writes needs no escape at all, so the cost of a string is the cost of
//! finding out. A word is tested with the classic "has a zero byte" arithmetic (Mycroft, 1987): of the flags it raises,
//! the lowest is always exact, and only the lowest is used. Safe code, no lookup table, no crate.
//!
//! Limits: knows two sets of bytes, those that end a run inside a JSON string and those that must be escaped in one.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = ONES << 7;
const QUOTES: u64 = ONES * b'"' as u64;
const BACKSLASHES: u64 = ONES * b'\\' as u64;
const SPACES: u64 = ONES * b' ' as u64;

/// How many bytes stand before the first `"` or `\`; all of them if there is none.
pub(super) fn until_quote_or_backslash(bytes: &[u8]) -> usize {
    until(bytes, quotes_and_backslashes, |byte| matches!(byte, b'"' | b'\\'))
}

/// How many bytes may stand in a JSON string as they are; all of them if none needs an escape.
pub(super) fn until_escape_needed(bytes: &[u8]) -> usize {
    until(bytes, |word| quotes_and_backslashes(word) | below_space(word), |byte| matches!(byte, b'"' | b'\\' | 0..0x20))
}

#[inline]
fn until(bytes: &[u8], flags: impl Fn(u64) -> u64, wanted: impl Fn(u8) -> bool) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // Little endian on every machine: the first byte of the text is the lowest flag.
        let found = flags(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let in_tail = tail.iter().position(|&byte| wanted(byte));
    words.len() * 8 + in_tail.unwrap_or(tail.len())
}

#[inline]
fn quotes_and_backslashes(word: u64) -> u64 {
    zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES)
}

#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH_BITS
}

#[inline]
fn below_space(word: u64) -> u64 {
    word.wrapping_sub(SPACES) & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_at_every_position_is_judged_right() {
        for byte in 0..=u8::MAX {
            for position in 0..20 {
                let mut text = [b'x'; 20];
                text[position] = byte;
                let ends = matches!(byte, b'"' | b'\\');
                let escapes = ends || byte < 0x20;
                let expected = |hit| if hit { position } else { text.len() };
                assert_eq!(until_quote_or_backslash(&text), expected(ends), "{byte}");
                assert_eq!(until_escape_needed(&text), expected(escapes), "{byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn words_and_bytes_agree(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let slow = bytes.iter().position(|b| matches!(b, b'"' | b'\\')).unwrap_or(bytes.len());
            prop_assert_eq!(until_quote_or_backslash(&bytes), slow);
            let slow = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
            prop_assert_eq!(until_escape_needed(&bytes), slow);
        }
    }
}
