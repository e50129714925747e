//! What takes more than a search for a word to see: imports, lengths of time, references to documents.
//!
//! All of it works on the blanked code of `source`, by hand-written scanning: a parser crate would be a dependency that
//! the walls themselves would have to watch.

use std::fs;
use std::path::Path;

use crate::ROOMS;
use crate::policy::misnamed;
use crate::source::{Offence, Source, everything, is_name, is_whole_word, line_of, root};

/// `src/api/v1/keys.rs` is `api::v1::keys`, `src/api/mod.rs` is `api`.
pub fn module_of(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

pub fn allowed_in(module: &str) -> Option<&'static [&'static str]> {
    let homes = ROOMS.iter().filter(|(room, _)| is_within(module, room));
    homes.max_by_key(|(room, _)| room.len()).map(|(_, allowed)| *allowed)
}

fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A room may enter itself, what the table grants, and items of the crate's root that are no room.
pub fn may_enter(source: &Source, allowed: &[&str], path: &str) -> bool {
    let room = path.split("::").next().unwrap_or_default();
    let own = module_of(&source.path).split("::").next() == Some(room);
    let is_room = ROOMS.iter().any(|(known, _)| *known == room);
    own || !is_room || allowed.iter().any(|grant| *grant == "*" || is_within(path, grant))
}

/// Every `crate::…` and `super::…` path of the shipped code, groups expanded, counted from the crate's root.
pub fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    let code = &source.code;
    for (at, keyword) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        if code[..at].ends_with(|before| is_name(before) || before == ':') {
            continue; // `$crate::` is fine too: `$` is no name, and it means the same crate.
        }
        let mut module = module_of(&source.path);
        let mut rest = &code[at..];
        if keyword == "crate::" {
            (module, rest) = (String::new(), &rest[keyword.len()..]);
        }
        while let Some(above) = rest.strip_prefix("super::") {
            module.truncate(module.rfind("::").unwrap_or(0));
            rest = above;
        }
        let line = source.line_of(at);
        paths.extend(expand(&module, rest).0.into_iter().map(|path| (line, path)));
    }
    paths.sort();
    paths
}

/// Reads one path, or the group of paths at its end, after `prefix`; answers with them and the text behind.
fn expand<'t>(prefix: &str, text: &'t str) -> (Vec<String>, &'t str) {
    let join =
        |name: &str| [prefix, name].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("::");
    let text = text.trim_start();
    if let Some(mut inside) = text.strip_prefix('{') {
        let mut paths = Vec::new();
        loop {
            inside = inside.trim_start_matches(|next: char| next == ',' || next.is_whitespace());
            if inside.is_empty() || inside.starts_with('}') {
                return (paths, inside.strip_prefix('}').unwrap_or(inside));
            }
            let (found, behind) = expand(prefix, inside);
            paths.extend(found);
            // What follows a path inside a group: `as name`, then a comma or the end.
            inside = behind.trim_start_matches(|next: char| next != ',' && next != '}');
        }
    }
    let end = text.find(|next| !is_name(next)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end.max(usize::from(text.starts_with('*'))));
    match rest.strip_prefix("::") {
        Some(deeper) if deeper.starts_with(|next: char| is_name(next) || "{*".contains(next)) => {
            expand(&join(name), deeper)
        }
        _ => (vec![if name == "self" { prefix.to_owned() } else { join(name) }], rest),
    }
}

/// Fields and parameters that name a length of time and are a bare number.
pub fn bare_lengths_of_time(source: &Source) -> Vec<Offence> {
    let configured = source.path.starts_with("src/config") || source.path.ends_with("/config.rs");
    let declarations = source.code.match_indices(": ").filter(|(at, _)| {
        let kind = source.code[at + 2..].trim_start_matches("Option<");
        NUMBERS.iter().any(|number| kind.strip_prefix(number).is_some_and(|rest| !rest.starts_with([':', '_'])))
    });
    let names = declarations.map(|(at, _)| (at, word_before(&source.code, at, is_name)));
    names
        .filter(|(_, name)| match UNITS.iter().any(|unit| name.ends_with(unit)) {
            true => configured,
            false => name.split('_').any(|part| TIMES.contains(&part)),
        })
        .map(|(at, name)| Offence::at(source.line_of(at), format!("`{name}` is a bare number")))
        .collect()
}

const TIMES: [&str; 9] = ["timeout", "delay", "interval", "wait", "deadline", "grace", "backoff", "linger", "ttl"];
const UNITS: [&str; 6] = ["_seconds", "_ms", "_millis", "_micros", "_us", "_nanos"];
const NUMBERS: [&str; 8] = ["u16", "u32", "u64", "u128", "usize", "i64", "f32", "f64"];

/// Words ending in `.md`, with their lines.
pub fn documents_named(text: &str) -> Vec<(usize, String)> {
    let is_part = |next: char| next.is_ascii_alphanumeric() || "_-./".contains(next);
    let ends = text.match_indices(".md").filter(|(at, end)| is_whole_word(text, *at, end.len()));
    let names = ends.map(|(at, end)| (at, word_before(text, at, is_part), end));
    names
        // `https://…` leads elsewhere, and a shell variable is no name yet.
        .filter(|(at, stem, _)| !stem.is_empty() && !stem.starts_with("//") && !text[..at - stem.len()].ends_with('$'))
        .map(|(at, stem, end)| (line_of(text, at), format!("{stem}{end}")))
        .collect()
}

pub fn document_exists(named_in: &str, name: &str) -> bool {
    let beside = Path::new(named_in).parent().unwrap_or(Path::new(""));
    [root().join(name), root().join("docs").join(name), root().join(beside).join(name)]
        .iter()
        .any(|path| path.is_file())
}

/// Decisions named by their number, such as the one in brackets here: (D1).
pub fn decisions_named(text: &str) -> Vec<(usize, String)> {
    let starts = text.match_indices('D').filter(|(at, _)| !text[..*at].ends_with(is_name));
    let labels = starts.map(|(at, _)| (at, text[at..].split(|next| !is_name(next)).next().unwrap_or_default()));
    labels
        .filter(|(_, label)| (2..=3).contains(&label.len()) && label[1..].bytes().all(|digit| digit.is_ascii_digit()))
        .map(|(at, label)| (line_of(text, at), label.to_owned()))
        .collect()
}

pub fn decision_is_explained(label: &str) -> bool {
    let page = fs::read_to_string(root().join("docs/decisions.md")).unwrap_or_default();
    page.contains(&format!("**{label} "))
}

/// Proofs a page names, as a Rust test or as a sentence of the end-to-end scripts, and nobody wrote.
pub fn proofs_missing(text: &str) -> Vec<Offence> {
    let scripts = everything().into_iter().filter(|source| source.path.starts_with("tests/e2e/"));
    let sentences: String = scripts.map(|source| source.text).collect();
    let named = |mark: &'static str| {
        text.match_indices(mark).filter_map(move |(at, _)| Some((at, text[at + mark.len()..].split_once('`')?.0)))
    };
    let gone_tests = named("test: `").filter(|(_, name)| misnamed(name).is_some());
    let gone_sentences = named("e2e: `").filter(|(_, sentence)| !sentences.contains(*sentence));
    gone_tests
        .chain(gone_sentences)
        .map(|(at, name)| Offence::at(line_of(text, at), format!("names `{name}`, which nobody wrote, or two did")))
        .collect()
}

/// The longest run of accepted characters that ends just before `at`.
fn word_before(text: &str, at: usize, accept: impl Fn(char) -> bool) -> &str {
    let length: usize = text[..at].chars().rev().take_while(|next| accept(*next)).map(char::len_utf8).sum();
    &text[at - length..at]
}
