//! The command line: `collective [verb] [--config FILE]`.
//!
//! Why by hand: one option and nine verbs; a parser crate would be the largest part of this file's binary size and
//! decide the exit code for us. A command line that makes no sense is a configuration that is refused, hence 78 like
//! any other (product contract: 0, 1 and 78 are the only exit codes). Limits: parsing only, nothing is run here.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::config::suggest::nearest;

/// Exit code: done.
pub const EXIT_OK: u8 = 0;
/// Exit code: failed while running.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code: configuration or command line refused (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIGURATION: u8 = 78;

/// What `collective --help` prints.
pub const USAGE: &str = "\
collective: shared state over HTTP that stays up when Redis does not

Usage: collective [VERB] [--config FILE]

Verbs:
  serve          run the service (default)
  check-config   list every mistake in the configuration, then exit
  migrate        apply pending migrations to Redis, then exit; --status only shows them, --repair loads the functions
                 of this version and rewrites the record, whatever is there
  healthcheck    ask the running service whether it is ready (for containers)
  token          print the root token, for a script or a shell outside a container
  openapi        print the OpenAPI document
  redis-acl      print the access list (users.acl) for the configured Redis
  version        print the version
  help           print this text

Options:
  --config FILE  read settings from a TOML file; the environment (COLLECTIVE_…) wins over it
  -h, --help     print this text
  -V, --version  print the version

Exit codes: 0 done, 1 failed while running, 78 configuration or command line refused
";

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Run the service.
    Serve,
    /// Check the configuration and exit.
    CheckConfig,
    /// Look after the migrations and exit.
    Migrate(Migrate),
    /// Ask the running service whether it is ready.
    Healthcheck,
    /// Print the root token.
    Token,
    /// Print the OpenAPI document.
    Openapi,
    /// Print the access list for the configured Redis.
    RedisAcl,
    /// Print the version.
    Version,
    /// Print [`USAGE`].
    Help,
    /// Print a generated page; not in the usage text, since it serves the makers of the documentation.
    Docs(Page),
}

/// What is done with the migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// Apply what is pending.
    Apply,
    /// Show how far they are.
    Status,
    /// Load our functions and rewrite the record.
    Repair,
}

/// The options of `migrate`.
const MIGRATE_OPTIONS: [(&str, Migrate); 2] = [("--status", Migrate::Status), ("--repair", Migrate::Repair)];

/// The words of the verbs.
const VERBS: [(&str, Verb); 9] = [
    ("serve", Verb::Serve),
    ("check-config", Verb::CheckConfig),
    ("migrate", Verb::Migrate(Migrate::Apply)),
    ("healthcheck", Verb::Healthcheck),
    ("token", Verb::Token),
    ("openapi", Verb::Openapi),
    ("redis-acl", Verb::RedisAcl),
    ("version", Verb::Version),
    ("help", Verb::Help),
];

/// The hidden verb that takes a [`Page`].
const DOCS: &str = "docs";

/// A generated page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `docs/commands.md`.
    Commands,
    /// `docs/dialect.md`.
    Dialect,
    /// `docs/errors.md`.
    Errors,
    /// `docs/configuration.md`.
    Configuration,
    /// `docs/metrics.md`.
    Metrics,
    /// `deploy/config.example.toml`.
    Example,
    /// `deploy/redis/users.acl`.
    UsersAcl,
}

/// The words of the pages.
const PAGES: [(&str, Page); 7] = [
    ("commands", Page::Commands),
    ("dialect", Page::Dialect),
    ("errors", Page::Errors),
    ("configuration", Page::Configuration),
    ("metrics", Page::Metrics),
    ("example", Page::Example),
    ("users-acl", Page::UsersAcl),
];

/// A command line that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub verb: Verb,
    /// The file to read settings from.
    pub config: Option<PathBuf>,
}

/// A command line that does not: one line, with the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl UsageError {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        EXIT_CONFIGURATION
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "collective: {} (collective --help shows the usage)", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments after the program's name.
///
/// # Errors
/// The first argument that makes no sense; there is one way to write each, so the rest is not worth guessing at.
pub fn parse<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Result<Invocation, UsageError> {
    let mut line = Line {
        arguments: arguments.into_iter().map(Into::into),
        config: None,
        words: Vec::new(),
        flag: None,
        migrate: None,
    };
    line.read()?;
    let verb = match (line.flag, line.migrate) {
        (Some(verb), _) => verb,
        (None, None) => verb(&line.words)?,
        (None, Some((option, mode))) => match verb(&line.words)? {
            Verb::Migrate(_) => Verb::Migrate(mode),
            _ => return Err(UsageError(format!("{option} belongs to migrate; write collective migrate {option}"))),
        },
    };
    Ok(Invocation { verb, config: line.config })
}

struct Line<I> {
    arguments: I,
    config: Option<PathBuf>,
    words: Vec<String>,
    flag: Option<Verb>,
    migrate: Option<(&'static str, Migrate)>,
}

impl<I: Iterator<Item = OsString>> Line<I> {
    fn read(&mut self) -> Result<(), UsageError> {
        while let Some(argument) = self.arguments.next() {
            match argument.to_str() {
                Some("--config") => {
                    let file = self.arguments.next();
                    self.set_config(file)?;
                }
                Some("-h" | "--help") => self.flag = Some(Verb::Help),
                Some("-V" | "--version") => self.flag = self.flag.or(Some(Verb::Version)),
                Some(text) if text.starts_with("--config=") => {
                    self.set_config(text.strip_prefix("--config=").map(OsString::from))?;
                }
                Some(text) if text.starts_with('-') => self.set_migrate(text)?,
                Some(text) => self.words.push(text.to_owned()),
                None => return Err(UsageError(format!("{} is not text", shown(&argument.to_string_lossy())))),
            }
        }
        Ok(())
    }

    fn set_migrate(&mut self, text: &str) -> Result<(), UsageError> {
        let known = MIGRATE_OPTIONS.iter().find(|(option, _)| *option == text);
        let known = known.copied().ok_or_else(|| unknown_option(text))?;
        if self.migrate.replace(known).is_some() {
            return Err(UsageError("migrate takes one of --status and --repair".to_owned()));
        }
        Ok(())
    }

    fn set_config(&mut self, file: Option<OsString>) -> Result<(), UsageError> {
        let Some(file) = file.filter(|file| !file.is_empty()) else {
            return Err(UsageError("--config needs a file; write --config FILE".to_owned()));
        };
        if self.config.replace(PathBuf::from(file)).is_some() {
            return Err(UsageError("--config is given twice; name one file".to_owned()));
        }
        Ok(())
    }
}

fn verb(words: &[String]) -> Result<Verb, UsageError> {
    match words {
        [] => Ok(Verb::Serve),
        [docs] if docs == DOCS => Err(UsageError(format!("{DOCS} needs a page; write one of {}", names(&PAGES)))),
        [docs, page] if docs == DOCS => find(&PAGES, "page", page).map(Verb::Docs),
        [word] => find(&VERBS, "verb", word),
        [word, more, ..] => {
            find(&VERBS, "verb", word)?;
            Err(UsageError(format!("{} is one argument too many; remove it", shown(more))))
        }
    }
}

fn find<T: Copy>(known: &[(&'static str, T)], what: &str, word: &str) -> Result<T, UsageError> {
    if let Some((_, found)) = known.iter().find(|(name, _)| *name == word) {
        return Ok(*found);
    }
    let way_out = match nearest(word, known.iter().map(|(name, _)| *name)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("write one of {}", names(known)),
    };
    Err(UsageError(format!("{} is not a known {what}; {way_out}", shown(word))))
}

fn names<T>(known: &[(&'static str, T)]) -> String {
    known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Without the value of an unknown option: people try `--redis-password=…`.
fn unknown_option(text: &str) -> UsageError {
    let name = text.split('=').next().unwrap_or_default();
    let way_out = match nearest(name, ["--config", "--help", "--version", "--status", "--repair"]) {
        Some(known) => format!("did you mean {known}?"),
        None => "settings go into the file named by --config or into COLLECTIVE_… variables".to_owned(),
    };
    UsageError(format!("{} is not a known option; {way_out}", shown(name)))
}

fn shown(text: &str) -> String {
    format!("`{}`", text.chars().take(40).flat_map(char::escape_debug).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb_of(line: &str) -> Verb {
        parse(line.split_whitespace()).unwrap().verb
    }

    fn error_of(line: &str) -> String {
        parse(line.split_whitespace()).unwrap_err().to_string()
    }

    #[test]
    fn no_verb_means_serve() {
        assert_eq!(parse::<OsString>([]).unwrap(), Invocation { verb: Verb::Serve, config: None });
    }

    #[test]
    fn every_verb_is_understood_and_every_open_one_is_in_the_usage_text() {
        for (word, verb) in VERBS {
            assert_eq!(verb_of(word), verb);
            assert!(USAGE.contains(&format!("\n  {word} ")), "{word}");
        }
        for (word, page) in PAGES {
            assert_eq!(verb_of(&format!("docs {word}")), Verb::Docs(page));
        }
        assert!(!USAGE.contains("docs"));
    }

    #[test]
    fn the_file_may_stand_before_or_after_any_verb() {
        for line in ["--config a.toml migrate", "migrate --config a.toml", "migrate --config=a.toml"] {
            let expected = Invocation { verb: Verb::Migrate(Migrate::Apply), config: Some("a.toml".into()) };
            assert_eq!(parse(line.split_whitespace()).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn help_and_version_also_come_as_options() {
        assert_eq!(verb_of("--help"), Verb::Help);
        assert_eq!(verb_of("serve -h"), Verb::Help);
        assert_eq!(verb_of("--version"), Verb::Version);
    }

    #[test]
    fn the_options_of_migrate_are_its_own() {
        assert_eq!(verb_of("migrate --status"), Verb::Migrate(Migrate::Status));
        assert_eq!(verb_of("--repair migrate"), Verb::Migrate(Migrate::Repair));
        assert!(error_of("serve --repair").contains("collective migrate --repair"));
        assert!(error_of("migrate --repair --status").contains("one of --status and --repair"));
    }

    #[test]
    fn a_mistyped_verb_or_option_gets_a_suggestion() {
        assert!(error_of("sevre").contains("did you mean `serve`?"));
        assert!(error_of("docs metric").contains("did you mean `metrics`?"));
        assert!(error_of("--confg x").contains("did you mean --config?"));
        assert!(error_of("banana").contains("write one of serve, check-config"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_78() {
        for line in ["--config", "--config=", "--config a --config b", "serve now", "docs", "--port 1", "-x"] {
            assert_eq!(parse(line.split_whitespace()).unwrap_err().exit_code(), 78, "{line}");
        }
    }

    #[test]
    fn the_value_of_an_unknown_option_is_not_repeated() {
        assert!(!error_of("--redis-password=canary").contains("canary"));
    }
}
