//! Function libraries: foreign flags inside `redis.register_function{… flags={'allow-key-locking'} …}`.
//!
//! The source is walked as Lua's own reader would: comments and strings are stepped over, so that only code is changed. Where code
//! has the word `flags`, an equals sign and a table, the foreign names are taken out of the table with the separator behind them
//! (Lua allows one behind the last entry). Limits: a table that is built elsewhere and named here by a variable is not found
//! unless the variable's name is `flags`; Redis then names the flag it does not know.

use super::FOREIGN_FLAGS;

const WORD: &[u8] = b"flags";

/// The library without foreign flags; `None` if it has none.
pub fn without_foreign_function_flags(source: &[u8]) -> Option<Vec<u8>> {
    let mut clean = Vec::with_capacity(source.len());
    let (mut at, mut copied) = (0, 0);
    while at < source.len() {
        if let Some(end) = silent(source, at) {
            at = end;
        } else if let Some(open) = flags_table(source, at) {
            at = open;
            while let Some(entry) = next_entry(source, at) {
                at = entry.end;
                if entry.foreign {
                    clean.extend_from_slice(&source[copied..entry.start]);
                    copied = entry.end;
                }
            }
        } else if is_name(source[at]) {
            at += source[at..].iter().take_while(|byte| is_name(**byte)).count();
        } else {
            at += 1;
        }
    }
    (copied > 0).then(|| {
        clean.extend_from_slice(&source[copied..]);
        clean
    })
}

/// One string in a table, with the space and separator behind it.
struct Entry {
    start: usize,
    end: usize,
    foreign: bool,
}

/// The next entry of the table, or `None` at its end or at anything that is not a plain string.
fn next_entry(source: &[u8], from: usize) -> Option<Entry> {
    let start = skip_space(source, from);
    let quote = source.get(start).filter(|byte| matches!(byte, b'\'' | b'"'))?;
    let end = quoted(source, start, *quote);
    let name = source.get(start + 1..end.saturating_sub(1)).unwrap_or_default();
    let foreign = FOREIGN_FLAGS.iter().any(|flag| flag.as_bytes() == name);
    let behind = skip_space(source, end);
    let end = if matches!(source.get(behind), Some(b',' | b';')) { behind + 1 } else { end };
    Some(Entry { start, end, foreign })
}

/// The position behind the brace, if `flags = {` stands here as code.
fn flags_table(source: &[u8], at: usize) -> Option<usize> {
    let rest = source[at..].strip_prefix(WORD)?;
    if rest.first().is_some_and(|byte| is_name(*byte)) {
        return None;
    }
    let equals = skip_space(source, at + WORD.len());
    let brace = skip_space(source, equals + usize::from(source.get(equals) == Some(&b'=')));
    (source.get(equals) == Some(&b'=') && source.get(brace) == Some(&b'{')).then_some(brace + 1)
}

/// The end of a comment or string that begins here.
fn silent(source: &[u8], at: usize) -> Option<usize> {
    match source[at..] {
        [b'-', b'-', ..] => Some(long_bracket(source, at + 2).unwrap_or_else(|| {
            source[at..].iter().position(|byte| *byte == b'\n').map_or(source.len(), |length| at + length)
        })),
        [quote @ (b'\'' | b'"'), ..] => Some(quoted(source, at, quote)),
        [b'[', ..] => long_bracket(source, at),
        _ => None,
    }
}

/// The position behind a string in quotes; an unclosed one ends with its line.
fn quoted(source: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = source.get(end) {
        match byte {
            b'\\' => end += 2,
            b'\n' => return end,
            _ if byte == quote => return end + 1,
            _ => end += 1,
        }
    }
    source.len()
}

/// The position behind `[[…]]`, `[=[…]=]` and so on, if one begins here.
fn long_bracket(source: &[u8], at: usize) -> Option<usize> {
    let inside = source.get(at..)?.strip_prefix(b"[")?;
    let level = inside.iter().take_while(|byte| **byte == b'=').count();
    let inside = inside[level..].strip_prefix(b"[")?;
    let close = [&b"]"[..], &b"=".repeat(level), b"]"].concat();
    let start = source.len() - inside.len();
    let length = inside.windows(close.len()).position(|window| window == close);
    Some(length.map_or(source.len(), |length| start + length + close.len()))
}

fn skip_space(source: &[u8], from: usize) -> usize {
    from + source.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(source: &str) -> Option<String> {
        without_foreign_function_flags(source.as_bytes()).map(|clean| String::from_utf8(clean).expect("it was text"))
    }

    #[test]
    fn foreign_names_leave_the_table_and_native_ones_stay() {
        for (flags, left) in [
            ("flags={'allow-key-locking'}", "flags={}"),
            ("flags = { \"allow-key-locking\" }", "flags = {  }"),
            ("flags={'no-writes','allow-key-locking'}", "flags={'no-writes',}"),
            ("flags={'allow-key-locking', 'no-writes'}", "flags={ 'no-writes'}"),
            ("flags={'no-writes'; 'allow-key-locking' ; 'allow-oom'}", "flags={'no-writes';  'allow-oom'}"),
        ] {
            let library = |flags| format!("#!lua name=l\nredis.register_function{{callback=f, {flags}}} return 1");
            assert_eq!(clean(&library(flags)), Some(library(left)));
        }
    }

    #[test]
    fn data_and_comments_are_not_code() {
        for source in [
            "redis.register_function('f', f)",
            "-- flags={'allow-key-locking'}",
            "--[[ flags={'allow-key-locking'}\n]] return 1",
            "local s = [==[ flags={'allow-key-locking'} ]==]",
            "local s = \"it's \\\" flags={'allow-key-locking'}\"",
            "local my_flags={'allow-key-locking'}",
            "flags2={'allow-key-locking'}",
            "flags={'no-writes'}",
            "flags={x, 'allow-key-locking'",
            "flags",
            "'",
            "[[",
            "\\",
        ] {
            assert_eq!(clean(source), None, "{source}");
        }
        let mixed = "-- it's\nf{flags={'allow-key-locking'}} -- 'allow-key-locking'";
        assert_eq!(clean(mixed).as_deref(), Some("-- it's\nf{flags={}} -- 'allow-key-locking'"));
    }

    proptest! {
        #[test]
        fn no_source_is_too_strange(parts in prop::collection::vec("flags|=|\\{|'|\"|allow-key-locking|,|--|\\[\\[|\\]|\\\\|\n| |a", 0..24)) {
            let source = parts.concat();
            if let Some(clean) = clean(&source) {
                prop_assert!(clean.len() < source.len());
            }
        }
    }
}
