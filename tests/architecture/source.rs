//! The files of the repository as the rules read them: shipped code apart from tests, comments and literals.

use std::fs;
use std::path::{Path, PathBuf};

/// One file: as written, with literals and comments blanked, and the part of that which ships.
pub struct Source {
    pub path: String,
    pub text: String,
    pub all_code: String,
    pub code: String,
}

/// One place that breaks a rule; line 0 stands for the file as a whole.
#[derive(Debug)]
pub struct Offence {
    line: usize,
    what: String,
}

impl Offence {
    pub fn at(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }

    pub fn file(what: impl Into<String>) -> Self {
        Self::at(0, what)
    }

    pub fn describe(&self, path: &str) -> String {
        match self.line {
            0 => format!("{path} {}", self.what),
            line => format!("{path}:{line} {}", self.what),
        }
    }
}

impl Source {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let all_code = if path.ends_with(".rs") { blank_comments_and_literals(&text) } else { String::new() };
        let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"));
        let code = if is_test { String::new() } else { blank_test_items(&all_code) };
        Self { path, text, all_code, code }
    }

    pub fn line_of(&self, at: usize) -> usize {
        line_of(&self.text, at)
    }

    /// Places in shipped code where one of `words` stands as a whole word.
    pub fn words(&self, words: &[&str]) -> Vec<Offence> {
        self.occurrences(&self.code, words, true)
    }

    /// As `words`, in files whose path starts with none of `homes`.
    pub fn words_outside(&self, homes: &[&str], words: &[&str]) -> Vec<Offence> {
        if homes.iter().any(|home| self.path.starts_with(home)) { vec![] } else { self.words(words) }
    }

    /// Places in shipped code where one of `pieces` stands, whatever surrounds it.
    pub fn pieces(&self, pieces: &[&str]) -> Vec<Offence> {
        self.occurrences(&self.code, pieces, false)
    }

    /// As `pieces`, with the tests.
    pub fn all_code_pieces(&self, pieces: &[&str]) -> Vec<Offence> {
        self.occurrences(&self.all_code, pieces, false)
    }

    /// Places in the whole text, comments included, in any case of letters.
    pub fn prose(&self, pieces: &[&str]) -> Vec<Offence> {
        self.occurrences(&self.text.to_ascii_lowercase(), pieces, false)
    }

    fn occurrences(&self, text: &str, needles: &[&str], whole: bool) -> Vec<Offence> {
        let found = needles.iter().flat_map(|needle| text.match_indices(needle));
        found
            .filter(|(at, needle)| !whole || is_whole_word(text, *at, needle.len()))
            .map(|(at, needle)| Offence::at(line_of(text, at), format!("names `{needle}`")))
            .collect()
    }
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub fn is_name(next: char) -> bool {
    next.is_ascii_alphanumeric() || next == '_'
}

/// Whether the needle found at `at` is no part of a longer name, on either side where it could be.
pub fn is_whole_word(text: &str, at: usize, length: usize) -> bool {
    let needle = &text[at..at + length];
    let grows_left = needle.starts_with(is_name) && text[..at].ends_with(is_name);
    let grows_right = needle.ends_with(is_name) && text[at + length..].starts_with(is_name);
    !grows_left && !grows_right
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The shipped sources.
pub fn sources() -> Vec<Source> {
    let found: Vec<Source> = rust_files().into_iter().filter(|source| source.path.starts_with("src/")).collect();
    assert!(!found.is_empty(), "no sources were found, so no rule was looked at");
    found
}

pub fn rust_files() -> Vec<Source> {
    everything().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

/// Every text file of the repository. Left out: what a tool made, and the lockfile, whose spelling is Cargo's own.
pub fn everything() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    const NOT_OURS: [&str; 7] = [".git", "target", ".collective", "node_modules", "Cargo.lock", "LICENSE", "corpus"];
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("an entry of a folder just opened can be read").path()) {
        if path.file_name().and_then(|name| name.to_str()).is_none_or(|name| NOT_OURS.contains(&name)) {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let name = path
                .strip_prefix(root())
                .expect("every path was found below the root")
                .to_string_lossy()
                .replace('\\', "/");
            found.push(Source::new(name, text));
        }
    }
}

/// Blanks comments, strings and characters, byte for byte, so that positions and lines stay true.
fn blank_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => text[at..].find('\n').map_or(bytes.len(), |end| at + end),
            b'/' if bytes[at..].starts_with(b"/*") => end_of_block_comment(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' if !at
                .checked_sub(1)
                .is_some_and(|before| is_name(bytes[before] as char) && !b"bc".contains(&bytes[before])) =>
            {
                end_of_raw_string(text, at)
            }
            b'\'' => end_of_character(text, at),
            _ => at,
        };
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole characters were blanked, none was split")
}

fn end_of_block_comment(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// `r"…"` and `r#"…"#`; answers `start` when this `r` begins a name.
fn end_of_raw_string(text: &str, start: usize) -> usize {
    let hashes = text[start + 1..].bytes().take_while(|byte| *byte == b'#').count();
    let open = start + 1 + hashes;
    if text.as_bytes().get(open) != Some(&b'"') {
        return start;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&close).map_or(text.len(), |end| open + 1 + end + close.len())
}

/// `'x'` and `'\n'`; answers `start` for a lifetime.
fn end_of_character(text: &str, start: usize) -> usize {
    let rest = &text[start + 1..];
    let length = match rest.strip_prefix('\\') {
        Some(escaped) => escaped.char_indices().skip(1).find(|(_, next)| *next == '\'').map(|(end, _)| end + 1),
        None => rest.chars().next().map(char::len_utf8),
    };
    match length {
        Some(length) if rest[length..].starts_with('\'') => start + 1 + length + 1,
        _ => start,
    }
}

/// Blanks every item behind `#[cfg(test)]`, up to its closing brace or semicolon.
fn blank_test_items(code: &str) -> String {
    if code.contains("#![cfg(test)]") {
        return String::new();
    }
    let mut shipped = code.as_bytes().to_vec();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let (mut depth, mut end) = (0, code.len());
        for (at, byte) in code.bytes().enumerate().skip(start) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(byte, b'}' | b';') {
                end = at + 1;
                break;
            }
        }
        shipped[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(shipped).expect("items begin and end at ASCII characters")
}
