//! The types a configuration value can have: how it is read, bounded, described.
//!
//! Why an own reader in front of serde: serde says "invalid type: string "…"" and repeats the value; an operator
//! needs the rule and the way out, and a secret must not be repeated at all. So each leaf is read alone, checked
//! here, and handed on in the one shape that the typed tree deserialises from. Limits: one value at a time; what two
//! values owe each other is in `rules.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use ::config::{Map, ValueKind};
use serde::Deserialize;

use super::mistake::{Complaint, quoted};
use super::origin;
use super::otlp::{read_headers, read_receiver};
use super::redis_url::RedisUrl;
use super::strength::weakness;
use super::units::{bare_duration, parse_duration, parse_size, render_duration, render_size};
use crate::security::{BadDigest, TokenDigest};

/// Fewest characters of the root token: 32 hex digits are 128 bits.
pub const TOKEN_CHARACTERS: usize = 32;

/// Most tokens of one kind: each is compared on every request, and one text of the environment holds them all.
pub const MOST_DIGESTS: usize = 60;

/// Longest text of any value: nothing sensible is longer, and every later step may assume it.
pub const LONGEST_VALUE: usize = 4096;

/// Type, unit and bounds (both ends included) of one key.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// IP address and port.
    Socket,
    /// Path of a directory.
    Directory,
    /// Path of a file.
    File,
    /// Redis URL, which may hold a password.
    RedisUrl,
    /// User name at Redis.
    Username,
    /// Password at Redis.
    Password,
    /// Bearer token.
    Token,
    /// SHA-256 digests of bearer tokens.
    TokenDigests,
    /// Origins of pages.
    Origins,
    /// Path of a file whose content is the value of another key.
    SecretFile {
        /// That other key.
        gives: &'static str,
    },
    /// Short lower-case name.
    Alias,
    /// URI at which people can be reached.
    Contact,
    /// Address of a page.
    Link,
    /// URL of an OTLP receiver.
    TraceReceiver,
    /// HTTP headers, which may hold a token.
    TraceHeaders,
    /// Log level or directives.
    LogLevel,
    /// `true` or `false`.
    Flag,
    /// Whole number.
    Count {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
    /// Duration with a unit.
    Duration {
        /// Shortest.
        least: Duration,
        /// Longest.
        most: Duration,
    },
    /// Duration with a unit, or `0s` for "never".
    DurationOrOff {
        /// Shortest.
        least: Duration,
        /// Longest.
        most: Duration,
    },
    /// Number of bytes, with or without a unit.
    Size {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
    /// Share, as a decimal number.
    Ratio {
        /// Smallest.
        least: f64,
        /// Largest.
        most: f64,
    },
    /// One of a few words.
    Choice {
        /// Words that work.
        built: &'static [&'static str],
        /// Words that are planned and refused until then.
        planned: &'static [&'static str],
    },
}

/// A value as it was found: TOML has types, the environment has only text.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Leaf {
    Flag(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
    List(Vec<String>),
    Other(serde::de::IgnoredAny),
}

impl Kind {
    /// True when the value must never be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::RedisUrl | Self::Password | Self::Token | Self::TokenDigests | Self::TraceHeaders)
    }

    /// Reads a value of the file.
    pub(super) fn read(&self, leaf: &Leaf) -> Result<ValueKind, Complaint> {
        match (self, leaf) {
            (Self::TokenDigests, Leaf::List(list)) => read_digests(list.iter().map(String::as_str)),
            (Self::Origins, Leaf::List(list)) => origin::read(list.iter().map(String::as_str)),
            (_, Leaf::List(_)) => Err(self.wrong_type(leaf)),
            (Self::Flag, Leaf::Flag(flag)) => Ok((*flag).into()),
            (Self::Count { .. } | Self::Size { .. } | Self::Ratio { .. }, Leaf::Integer(number)) => {
                self.read_text(&number.to_string())
            }
            (Self::Duration { .. } | Self::DurationOrOff { .. }, Leaf::Integer(number)) if *number >= 0 => {
                Err(bare_duration(&number.to_string()))
            }
            (Self::Ratio { .. }, Leaf::Decimal(number)) => self.read_text(&number.to_string()),
            (Self::Flag | Self::Count { .. } | Self::Ratio { .. }, _) | (_, Leaf::Flag(_) | Leaf::Other(_)) => {
                Err(self.wrong_type(leaf))
            }
            (_, Leaf::Integer(_) | Leaf::Decimal(_)) => Err(self.wrong_type(leaf)),
            (_, Leaf::Text(text)) => self.read_text(text),
        }
    }

    /// Reads a value of the environment, or a default of the table.
    pub(super) fn read_text(&self, text: &str) -> Result<ValueKind, Complaint> {
        if text.is_empty() {
            return Err(Complaint::new("is empty", "give it a value, or remove the key"));
        }
        if text.len() > LONGEST_VALUE {
            return Err(Complaint::new(format!("is longer than {LONGEST_VALUE} bytes"), "shorten it"));
        }
        match *self {
            Self::Socket => read_socket(text),
            Self::Directory | Self::File | Self::SecretFile { .. } => read_path(text),
            Self::RedisUrl => read_url(text),
            Self::Username | Self::Password => read_credential(text),
            Self::Token => read_token(text),
            Self::TokenDigests => read_digests(text.split(',').map(str::trim)),
            Self::Origins => origin::read(text.split(',').map(str::trim)),
            Self::Alias => read_alias(text),
            Self::Contact => read_contact(text),
            Self::Link => read_link(text),
            Self::TraceReceiver => read_receiver(text),
            Self::TraceHeaders => read_headers(text),
            Self::LogLevel => read_level(text),
            Self::Flag => read_flag(text),
            Self::Count { least, most } => read_count(text, least, most),
            Self::Duration { least, most } => read_duration(text, least, most),
            Self::DurationOrOff { least, most } => read_duration_or_off(text, least, most),
            Self::Size { least, most } => read_size(text, least, most),
            Self::Ratio { least, most } => read_ratio(text, least, most),
            Self::Choice { built, planned } => read_choice(text, built, planned),
        }
    }

    /// The type in a word or two, as messages and the reference page name it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Socket => "address:port",
            Self::Directory => "path",
            Self::RedisUrl => "Redis URL",
            Self::Username | Self::Password | Self::Token | Self::Alias | Self::LogLevel => "text",
            Self::Contact | Self::Link => "URI",
            Self::TraceReceiver => "URL",
            Self::TraceHeaders => "text",
            Self::TokenDigests | Self::Origins => "list of texts",
            Self::File | Self::SecretFile { .. } => "path of a file",
            Self::Flag => "true or false",
            Self::Count { .. } => "whole number",
            Self::Duration { .. } | Self::DurationOrOff { .. } => "duration",
            Self::Size { .. } => "size",
            Self::Ratio { .. } => "ratio",
            Self::Choice { .. } => "word",
        }
    }

    /// What is allowed, as the reference page prints it.
    pub fn bounds(&self) -> String {
        match self {
            Self::Socket | Self::Directory | Self::File | Self::SecretFile { .. } | Self::Flag => String::new(),
            Self::RedisUrl => "`redis://`, `rediss://` (TLS), `unix://`".to_owned(),
            Self::Username | Self::Password => "no control characters".to_owned(),
            Self::Token => format!("at least {TOKEN_CHARACTERS} visible ASCII characters, not easy to guess"),
            Self::TokenDigests => {
                format!("up to {MOST_DIGESTS}, 64 hexadecimal digits each; as one text: separated by commas")
            }
            Self::Origins => origin::bounds(),
            Self::Alias => "1 to 32 of `a-z 0-9 _ -`, a letter first".to_owned(),
            Self::Contact => "`mailto:`, `https://`, `tel:`".to_owned(),
            Self::Link => "`https://`".to_owned(),
            Self::TraceReceiver => "`http://host:port`, with or without a path".to_owned(),
            Self::TraceHeaders => "`name=value`, separated by commas".to_owned(),
            Self::LogLevel => "levels and directives".to_owned(),
            Self::Count { least, most } => format!("{least} to {most}"),
            Self::Duration { least, most } => between(*least, *most),
            Self::DurationOrOff { least, most } => format!("`0s`, or {}", between(*least, *most)),
            Self::Size { least, most } => format!("{} to {}", render_size(*least), render_size(*most)),
            Self::Ratio { least, most } => format!("{least} to {most}"),
            Self::Choice { built, planned } => choices(built, planned),
        }
    }

    /// How a value is written in TOML.
    pub fn toml(&self, text: &str) -> String {
        match self {
            Self::Flag | Self::Count { .. } | Self::Ratio { .. } => text.to_owned(),
            Self::TokenDigests | Self::Origins => format!("[{text:?}]"),
            _ => format!("{text:?}"),
        }
    }

    /// A value that shows the form, for keys without a default.
    pub fn example(&self) -> &'static str {
        match self {
            Self::RedisUrl => "redis://127.0.0.1:6379/0",
            Self::Username => "collective",
            Self::Contact => "mailto:security@example.com",
            Self::Link => "https://example.com/security",
            Self::TraceReceiver => "http://127.0.0.1:4318",
            Self::TraceHeaders => "authorization=Bearer <from your secret store>",
            Self::Password | Self::Token => "<from your secret store>",
            Self::TokenDigests => "<printf %s \"$TOKEN\" | sha256sum>",
            Self::Origins => "https://app.example.com",
            Self::SecretFile { .. } => "/run/secrets/<name>",
            Self::File => "/etc/collective/<name>.pem",
            _ => "",
        }
    }

    fn wrong_type(&self, leaf: &Leaf) -> Complaint {
        let found = match leaf {
            Leaf::Flag(_) => "true or false",
            Leaf::Integer(_) => "a whole number",
            Leaf::Decimal(_) => "a decimal number",
            Leaf::Text(_) => "a text in quotes",
            Leaf::List(_) | Leaf::Other(_) => "a list or a section",
        };
        Complaint::new(format!("is {found} where a value of type `{}` belongs", self.type_name()), self.form())
    }

    fn form(&self) -> &'static str {
        match self {
            Self::Flag => "write true or false without quotes",
            Self::Count { .. } => "write a whole number without quotes",
            Self::Ratio { .. } => "write a decimal number without quotes, for example 0.5",
            Self::Duration { .. } | Self::DurationOrOff { .. } => {
                "write it in quotes with its unit, for example \"250ms\""
            }
            Self::Size { .. } => "write it in quotes with its unit, for example \"16MiB\"",
            Self::TokenDigests => "write a list of texts in quotes, for example [\"9f86d0…\"]",
            Self::Origins => "write a list of texts in quotes, for example [\"https://app.example.com\"]",
            _ => "write a text in quotes",
        }
    }
}

fn between(least: Duration, most: Duration) -> String {
    format!("{} to {}", render_duration(least), render_duration(most))
}

fn choices(built: &[&str], planned: &[&str]) -> String {
    let mut text = built.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if !planned.is_empty() {
        text = format!("{text} (not built yet: {})", planned.join(", "));
    }
    text
}

fn read_socket(text: &str) -> Result<ValueKind, Complaint> {
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(text.into());
    }
    Err(Complaint::new(
        format!("{} is not an address with a port", quoted(text)),
        "write an IP address and a port, for example `127.0.0.1:8080`, `0.0.0.0:8080` or `[::1]:8080`",
    ))
}

fn read_path(text: &str) -> Result<ValueKind, Complaint> {
    if text.contains('\0') {
        return Err(Complaint::new("holds a NUL byte, which no path can", "write the path without it"));
    }
    Ok(text.into())
}

fn read_url(text: &str) -> Result<ValueKind, Complaint> {
    RedisUrl::parse(text).map(|_| text.into()).map_err(|fault| {
        Complaint::new(
            fault,
            "write redis://user:password@host:6379/0, rediss://… for TLS or unix:///path/to/socket?db=0 (the value is not shown: it may hold a password)",
        )
    })
}

fn read_credential(text: &str) -> Result<ValueKind, Complaint> {
    if text.chars().any(char::is_control) {
        return Err(Complaint::new("holds a control character or a second line", "give the bare text on one line"));
    }
    Ok(text.into())
}

fn read_token(text: &str) -> Result<ValueKind, Complaint> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Complaint::new(
            "holds a space, a control character or a letter outside ASCII, which a bearer token cannot",
            "make a new one: openssl rand -hex 32",
        ));
    }
    match weakness(text, TOKEN_CHARACTERS) {
        Some(weakness) => Err(Complaint::new(weakness, "make a new one: openssl rand -hex 32")),
        None => Ok(text.into()),
    }
}

/// The value is not repeated: a digest tells whoever has it which leaked token is ours, and the text may be a token itself.
fn read_digests<'t>(texts: impl Iterator<Item = &'t str>) -> Result<ValueKind, Complaint> {
    const MAKE: &str = "make it with: printf %s \"$TOKEN\" | sha256sum (the value is not shown)";
    let mut digests = Vec::new();
    for text in texts {
        let fault = match TokenDigest::parse(text) {
            Ok(_) => None,
            Err(BadDigest::NotHexadecimal) => Some("is not 64 hexadecimal digits, the SHA-256 of a token"),
            Err(BadDigest::OfNothing) => {
                Some("is the SHA-256 of an empty text: the token was not set when it was hashed")
            }
        };
        if let Some(fault) = fault {
            return Err(Complaint::new(format!("entry {} {fault}", digests.len() + 1), MAKE));
        }
        digests.push(text.to_ascii_lowercase());
    }
    if digests.len() > MOST_DIGESTS {
        return Err(Complaint::new(format!("has more than {MOST_DIGESTS} entries"), "retire some tokens"));
    }
    Ok(ValueKind::from(digests))
}

fn read_alias(text: &str) -> Result<ValueKind, Complaint> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(plain) {
        return Ok(text.into());
    }
    Err(Complaint::new(
        format!("{} is not a name that breakers and metrics can carry", quoted(text)),
        "write 1 to 32 of a-z, 0-9, `_`, `-`, a letter first",
    ))
}

/// Something visible behind one of these schemes, on one line.
fn has_scheme(text: &str, schemes: &[&str]) -> bool {
    let visible = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
    schemes.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(visible))
}

fn read_link(text: &str) -> Result<ValueKind, Complaint> {
    if has_scheme(text, &["https://"]) {
        return Ok(text.into());
    }
    Err(Complaint::new(
        format!("{} is not the address of a page that can be read safely", quoted(text)),
        "write https://example.com/security",
    ))
}

fn read_contact(text: &str) -> Result<ValueKind, Complaint> {
    if has_scheme(text, &["mailto:", "https://", "tel:"]) {
        return Ok(text.into());
    }
    Err(Complaint::new(
        format!("{} is not a URI at which somebody can be reached", quoted(text)),
        "write mailto:security@example.com, https://example.com/security or tel:+1-201-555-0123",
    ))
}

fn read_level(text: &str) -> Result<ValueKind, Complaint> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let target = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let directive = |part: &str| match part.split_once('=') {
        Some((name, level)) => !name.is_empty() && name.bytes().all(target) && LEVELS.contains(&level),
        None => LEVELS.contains(&part),
    };
    if text.split(',').all(directive) {
        return Ok(text.into());
    }
    Err(Complaint::new(
        format!("{} is not a log level", quoted(text)),
        "write off, error, warn, info, debug or trace, or directives such as `info,collective=debug`",
    ))
}

fn read_flag(text: &str) -> Result<ValueKind, Complaint> {
    let fault = |_| Complaint::new(format!("{} is not a yes or no", quoted(text)), "write true or false");
    text.parse::<bool>().map(ValueKind::from).map_err(fault)
}

fn read_count(text: &str, least: u64, most: u64) -> Result<ValueKind, Complaint> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|_| digits);
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number.into()),
        Some(_) => Err(out_of_range(text, least, most)),
        None => Err(Complaint::new(
            format!("{} is not a whole number", quoted(text)),
            format!("write one from {least} to {most}"),
        )),
    }
}

fn read_duration(text: &str, least: Duration, most: Duration) -> Result<ValueKind, Complaint> {
    let duration = parse_duration(text)?;
    if !(least..=most).contains(&duration) {
        return Err(out_of_range(text, render_duration(least), render_duration(most)));
    }
    Ok(duration_value(duration))
}

fn read_duration_or_off(text: &str, least: Duration, most: Duration) -> Result<ValueKind, Complaint> {
    if parse_duration(text)?.is_zero() {
        return Ok(ValueKind::Nil);
    }
    read_duration(text, least, most)
        .map_err(|complaint| Complaint { way_out: format!("{}, or 0s for never", complaint.way_out), ..complaint })
}

/// The shape in which serde expects a `Duration`.
fn duration_value(duration: Duration) -> ValueKind {
    let parts = [("secs", duration.as_secs()), ("nanos", u64::from(duration.subsec_nanos()))];
    ValueKind::from(parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect::<Map<_, _>>())
}

fn read_size(text: &str, least: u64, most: u64) -> Result<ValueKind, Complaint> {
    let bytes = parse_size(text)?;
    if !(least..=most).contains(&bytes) {
        return Err(out_of_range(text, render_size(least), render_size(most)));
    }
    Ok(bytes.into())
}

fn read_ratio(text: &str, least: f64, most: f64) -> Result<ValueKind, Complaint> {
    let number: Option<f64> = text.parse().ok().filter(|number: &f64| number.is_finite());
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number.into()),
        Some(_) => Err(out_of_range(text, least, most)),
        None => Err(Complaint::new(
            format!("{} is not a decimal number", quoted(text)),
            format!("write one from {least} to {most}"),
        )),
    }
}

fn read_choice(text: &str, built: &[&str], planned: &[&str]) -> Result<ValueKind, Complaint> {
    if built.contains(&text) {
        return Ok(text.into());
    }
    let way_out = format!("write {}", built.join(" or "));
    if planned.contains(&text) {
        return Err(Complaint::new(format!("{} is not built yet", quoted(text)), way_out));
    }
    Err(Complaint::new(format!("{} is none of the known words", quoted(text)), way_out))
}

fn out_of_range(text: &str, least: impl std::fmt::Display, most: impl std::fmt::Display) -> Complaint {
    Complaint::new(format!("{} is out of range", quoted(text)), format!("write a value from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Kind = Kind::Count { least: 1, most: 10 };
    const WAIT: Kind = Kind::Duration { least: Duration::from_secs(1), most: Duration::from_secs(10) };

    fn text(text: &str) -> Leaf {
        Leaf::Text(text.to_owned())
    }

    #[test]
    fn bounds_hold_at_the_edge_and_not_one_beyond() {
        for (good, bad) in [("1", "0"), ("10", "11")] {
            assert!(COUNT.read_text(good).is_ok());
            assert!(COUNT.read_text(bad).unwrap_err().rule.contains("out of range"));
        }
        assert!(WAIT.read_text("10s").is_ok() && WAIT.read_text("10001ms").is_err());
        let ratio = Kind::Ratio { least: 0.0, most: 1.0 };
        assert!(ratio.read_text("1").is_ok() && ratio.read_text("1.01").is_err() && ratio.read_text("NaN").is_err());
    }

    #[test]
    fn a_bare_number_is_no_duration_in_the_file_nor_in_the_environment() {
        for complaint in [WAIT.read(&Leaf::Integer(5)), WAIT.read(&text("5")), WAIT.read_text("5")] {
            assert!(complaint.unwrap_err().rule.contains("bare number"));
        }
    }

    #[test]
    fn the_file_has_types_and_the_environment_has_text() {
        assert!(COUNT.read(&Leaf::Integer(5)).is_ok() && COUNT.read_text("5").is_ok());
        assert!(COUNT.read(&text("5")).unwrap_err().rule.contains("text in quotes"));
        assert!(Kind::Flag.read(&text("true")).is_err() && Kind::Flag.read_text("true").is_ok());
        assert!(Kind::Alias.read(&Leaf::Flag(true)).is_err());
    }

    #[test]
    fn zero_switches_an_optional_duration_off() {
        let age = Kind::DurationOrOff { least: Duration::from_secs(10), most: Duration::from_secs(60) };
        assert_eq!(age.read_text("0s").unwrap(), ValueKind::Nil);
        assert!(age.read_text("9s").unwrap_err().way_out.contains("0s for never"));
    }

    #[test]
    fn a_planned_word_is_told_apart_from_an_unknown_one() {
        let kind = Kind::Choice { built: &["standalone"], planned: &["cluster"] };
        assert!(kind.read_text("cluster").unwrap_err().rule.contains("not built yet"));
        assert!(kind.read_text("clutser").unwrap_err().rule.contains("known words"));
    }

    #[test]
    fn a_contact_is_a_uri_on_one_line() {
        for good in ["mailto:a@b.example", "https://b.example/security", "tel:+1-201-555-0123"] {
            assert!(Kind::Contact.read_text(good).is_ok(), "{good}");
        }
        for bad in ["a@b.example", "http://b.example", "mailto:", "mailto:a@b.example\nContact: x", "mailto:a b"] {
            assert!(Kind::Contact.read_text(bad).unwrap_err().way_out.contains("mailto:"), "{bad}");
        }
    }

    #[test]
    fn log_levels_and_directives_are_accepted() {
        for good in ["info", "off", "info,collective::redis=debug"] {
            assert!(Kind::LogLevel.read_text(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "INFO", "info,", "=debug", "a b=info"] {
            assert!(Kind::LogLevel.read_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_must_fit_a_header_and_be_hard_to_guess() {
        assert!(Kind::Token.read_text("9f86d081884c7d659a2feaa0c55ad015").is_ok());
        assert!(Kind::Token.read_text("9f86d081884c7d659a2feaa0c55ad01").is_err());
        assert!(Kind::Token.read_text("9f86d081884c7d65 9a2feaa0c55ad015").is_err());
        assert!(Kind::Token.read_text(&"changeme".repeat(5)).is_err());
    }

    #[test]
    fn digests_are_a_list_or_one_text() {
        let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let list = Kind::TokenDigests.read(&Leaf::List(vec![digest.to_owned()])).unwrap();
        assert_eq!(list, Kind::TokenDigests.read_text(digest).unwrap());
        assert!(Kind::TokenDigests.read_text(&format!("{digest}, {digest}")).is_ok());
        let complaint = Kind::TokenDigests.read_text(&format!("{digest},my-secret-token")).unwrap_err();
        assert!(complaint.rule.starts_with("entry 2 is not 64 hexadecimal digits"), "{}", complaint.rule);
        assert!(!format!("{}{}", complaint.rule, complaint.way_out).contains("my-secret-token"));
        assert!(Kind::Alias.read(&Leaf::List(vec![])).is_err());
    }

    #[test]
    fn empty_and_overlong_values_are_refused() {
        assert!(Kind::Username.read_text("").is_err());
        assert!(Kind::Password.read_text(&"x".repeat(LONGEST_VALUE)).is_ok());
        assert!(Kind::Password.read_text(&"x".repeat(LONGEST_VALUE + 1)).is_err());
    }
}
