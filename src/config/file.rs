//! The configuration file: TOML, read whole, every name in it checked against the table.
//!
//! Why the parser's own message is cut down to its position: it prints the offending line, and that line may hold a
//! password. Limits: one file of at most 1 MiB; names are taken as written (no other case, no abbreviation).

use std::io::Read;
use std::path::Path;

use ::config::{ConfigError, File, FileFormat, Map, Source as _, Value, ValueKind};

use super::keys::{KEYS, Key, find};
use super::mistake::{Complaint, Mistake, Source};
use super::suggest::nearest;

/// Largest file: hundreds of times the full reference file, so that a wrong path (a disk image) ends early.
const LARGEST_FILE: u64 = 1 << 20;

/// What the file says: known keys with their values, and mistakes in names.
#[derive(Default)]
pub(super) struct Found {
    pub(super) known: Vec<(&'static Key, Value)>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads the file and sorts its names out; `Err` when it could not be read at all.
pub(super) fn read(path: &Path) -> Result<Found, Mistake> {
    let source = Source::File(path.to_owned());
    let table =
        read_text(path).and_then(|text| parse(&text)).map_err(|complaint| complaint.at("--config", source.clone()))?;
    let mut leaves = Vec::new();
    flatten("", table, &mut leaves);
    leaves.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut found = Found::default();
    for (name, value) in leaves {
        match find(&name) {
            Some(key) => found.known.push((key, value)),
            None if is_section(&name) && matches!(&value.kind, ValueKind::Table(table) if table.is_empty()) => {}
            None => found.mistakes.push(unknown(&name).at(name, source.clone())),
        }
    }
    Ok(found)
}

fn read_text(path: &Path) -> Result<String, Complaint> {
    let cannot = |error: std::io::Error| {
        Complaint::new(format!("the file cannot be read ({})", error.kind()), "check the path and its permissions")
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Complaint::new("the file is larger than 1 MiB", "name a configuration file"));
    }
    String::from_utf8(bytes).map_err(|_| Complaint::new("the file is not UTF-8 text", "save it as UTF-8"))
}

fn parse(text: &str) -> Result<Map<String, Value>, Complaint> {
    File::from_str(text, FileFormat::Toml).collect().map_err(|error| {
        Complaint::new(
            format!("the file is not valid TOML{}", position(&error)),
            "look there for a missing quote or bracket, a name written twice, or a number too large (the text is not shown: it may hold a secret)",
        )
    })
}

/// ` at line 3, column 7`, the one part of the parser's message that cannot hold a secret.
fn position(error: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = error else {
        return String::new();
    };
    let text = cause.to_string();
    let place = text.lines().next().and_then(|line| line.strip_prefix("TOML parse error at "));
    place.map_or_else(String::new, |place| format!(" at {place}"))
}

/// Leaves with their dotted paths; an empty section and a list count as leaves.
fn flatten(prefix: &str, table: Map<String, Value>, leaves: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.kind {
            ValueKind::Table(inner) if !inner.is_empty() && find(&path).is_none() => flatten(&path, inner, leaves),
            _ => leaves.push((path, value)),
        }
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section_and_name().0 == name)
}

fn unknown(name: &str) -> Complaint {
    if is_section(name) {
        return Complaint::new("is a section, not a key", format!("write its keys below a line [{name}]"));
    }
    let way_out = match suggestion(name) {
        Some(path) => format!("did you mean `{path}`?"),
        None => "remove it; the reference page lists every key (collective docs configuration)".to_owned(),
    };
    Complaint::new("is not a known key", way_out)
}

/// The nearest path; else the only key with the same last name, for a key put in the wrong section.
fn suggestion(name: &str) -> Option<&'static str> {
    nearest(name, KEYS.iter().map(|key| key.path)).or_else(|| {
        let last = name.rsplit('.').next()?;
        let mut same = KEYS.iter().filter(|key| key.section_and_name().1 == last);
        same.next().filter(|_| same.next().is_none()).map(|key| key.path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_toml(text: &str) -> Result<Found, Mistake> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("collective.toml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn only_mistake(text: &str) -> String {
        let mistakes = read_toml(text).unwrap().mistakes;
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes[0].to_string()
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_name_that_was_meant() {
        assert!(only_mistake("[redis]\nacquire_timout = \"1s\"").ends_with("did you mean `redis.acquire_timeout`?"));
        assert!(only_mistake("[srver]\nbind = \"x\"").ends_with("did you mean `server.bind`?"));
        assert!(
            only_mistake("[server]\nmax_connection_age = \"1m\"").ends_with("did you mean `redis.max_connection_age`?")
        );
        assert!(only_mistake("[zebra]\nstripes = 1").contains("is not a known key; remove it"));
        assert!(only_mistake("[zebra]").contains("is not a known key"));
    }

    #[test]
    fn a_section_is_told_from_a_key() {
        assert!(only_mistake("redis = \"redis://localhost\"").contains("is a section"));
        assert!(only_mistake("[[redis]]\nurl = \"x\"").contains("is a section"));
        assert!(read_toml("[redis]").unwrap().mistakes.is_empty());
    }

    #[test]
    fn a_syntax_error_gives_its_place_and_not_its_text() {
        let mistake = read_toml("[redis]\npassword = canary\n").err().unwrap().to_string();
        assert!(mistake.contains("not valid TOML at line 2, column"), "{mistake}");
        assert!(!mistake.contains("canary"), "{mistake}");
        let number = read_toml("[limits]\nbody = 99999999999999999999\n").err().unwrap().to_string();
        assert!(number.contains("number too large"), "{number}");
    }

    #[test]
    fn a_missing_oversized_or_binary_file_is_named() {
        let missing = read(Path::new("/nonexistent/collective.toml")).err().unwrap().to_string();
        assert!(missing.starts_with("--config (/nonexistent/collective.toml): the file cannot be read"), "{missing}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).err().unwrap().rule.contains("UTF-8"));
        std::fs::write(&path, vec![b'#'; usize::try_from(LARGEST_FILE).unwrap() + 1]).unwrap();
        assert!(read(&path).err().unwrap().rule.contains("1 MiB"));
    }
}
