//! What is wrong with the configuration, in words an operator can act on at 3 a.m.
//!
//! Why four parts: which key, where the value was written, which rule it breaks, and the way out; a message that
//! lacks one of them costs a search. Limits: one line each, and nothing in it may come from a secret, so the only
//! way a value gets in is [`quoted`], and callers use it for open keys alone.

use std::fmt;
use std::path::PathBuf;

use crate::telemetry::display_url;

/// Longest piece of a value that is shown: enough to recognise it, short enough for one line.
const SHOWN_CHARACTERS: usize = 48;

/// One thing that is wrong. All of them are reported at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The configuration key, such as `redis.acquire_timeout` (or the unknown name that was found).
    pub key: String,
    /// Where the value was written.
    pub source: Source,
    /// The rule it breaks.
    pub rule: String,
    /// What to do about it.
    pub way_out: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}; {}", self.key, self.source, self.rule, self.way_out)
    }
}

impl std::error::Error for Mistake {}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The built-in default.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
    /// The content of the file named by this `…_file` key.
    SecretFile(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(&one_line(&path.to_string_lossy())),
            Self::Environment(name) => f.write_str(&one_line(name)),
            Self::SecretFile(key) => write!(f, "the file named by {key}"),
        }
    }
}

/// A broken rule and its way out, before it is known which key of which source broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) rule: String,
    pub(super) way_out: String,
}

impl Complaint {
    pub(super) fn new(rule: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { rule: rule.into(), way_out: way_out.into() }
    }

    pub(super) fn at(self, key: impl Into<String>, source: Source) -> Mistake {
        Mistake { key: one_line(&key.into()), source, rule: self.rule, way_out: self.way_out }
    }
}

/// An open value as a message may show it: clipped, on one line, and without credentials should it be a URL that
/// landed in the wrong key.
pub(super) fn quoted(value: &str) -> String {
    if value.contains("://") {
        return format!("`{}`", one_line(&display_url(value)));
    }
    if value.contains('@') {
        return "the value".to_owned();
    }
    let clipped: String = value.chars().take(SHOWN_CHARACTERS).collect();
    let more = if clipped.len() < value.len() { "…" } else { "" };
    format!("`{}{more}`", one_line(&clipped))
}

/// Control characters escaped: a name from a file cannot forge a second line or move the terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_line_with_all_four_parts() {
        let mistake = Complaint::new("75 is a bare number", "write it with a unit")
            .at("server.keep\nalive", Source::Environment("COLLECTIVE_X".into()));
        assert_eq!(
            mistake.to_string(),
            "server.keep\\nalive (COLLECTIVE_X): 75 is a bare number; write it with a unit"
        );
    }

    #[test]
    fn a_url_in_the_wrong_key_is_quoted_without_its_password() {
        assert_eq!(quoted("redis://u:canary@host/0"), "`redis://host/0`");
        assert_eq!(quoted("u:canary@host"), "the value");
        assert_eq!(quoted(&"x".repeat(60)), format!("`{}…`", "x".repeat(48)));
    }
}
