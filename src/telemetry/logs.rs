//! Log lines: on standard error, as JSON for machines or as coloured text for a terminal.
//!
//! Standard output is kept for the one line that says the service is ready. Levels go by consequence: `error` a
//! request or a promise failed, `warn` degraded but served, `info` life cycle and breaker transitions, `debug` the
//! rest. The level applies to this crate; its dependencies speak up from `warn` on. A directive can make one of them say more, but
//! nothing below `info`: there they quote what callers sent (a header they cannot read, an error with its path).
//!
//! Limit: a line is written by the thread that logs it. A reader of standard error that stops reading stops us,
//! which is one more reason to log nothing per request at the default level.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// The target of our own lines begins with this.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// How a log line looks.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `Pretty` when standard error is a terminal, else `Json`.
    #[default]
    Auto,
    /// One JSON object a line, fields at the top level.
    Json,
    /// One line of text for people.
    Pretty,
}

/// What `init` needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// From which level on: one of `off error warn info debug trace`, or directives `target=level`, separated by commas.
    /// Empty means `info`.
    pub level: String,
}

/// Sends all log lines of this process to standard error.
///
/// The first call wins: a later one (a test, an embedder with a subscriber of its own) changes nothing and answers
/// `false`.
pub fn init(config: LogConfig) -> bool {
    let terminal = std::io::stderr().is_terminal();
    subscriber(config, terminal, std::io::stderr).try_init().is_ok()
}

fn subscriber<W>(config: LogConfig, terminal: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match (config.format, terminal) {
        (LogFormat::Json, _) | (LogFormat::Auto, false) => {
            Box::new(lines.json().flatten_event(true).with_current_span(true).with_span_list(false))
        }
        (LogFormat::Pretty, _) | (LogFormat::Auto, true) => Box::new(lines.with_ansi(terminal)),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter(&config.level)))
}

fn filter(directives: &str) -> Targets {
    // `tracing` reads the empty text as `error`; here nothing said means the default.
    let level = |word: &str| Some(word).filter(|word| !word.is_empty()).map_or(Ok(LevelFilter::INFO), str::parse);
    let level = |word: &str| level(word).unwrap_or(LevelFilter::INFO);
    directives.split(',').fold(levels(LevelFilter::INFO), |targets, directive| match directive.split_once('=') {
        Some((target, word)) => targets.with_target(target.to_owned(), bounded(target, level(word))),
        None => levels(level(directive)),
    })
}

/// Our own level, and what dependencies may say at it.
fn levels(ours: LevelFilter) -> Targets {
    let others = ours.min(LevelFilter::WARN);
    // It calls every malformed head of a stranger an error. The acceptor counts them; a stranger must not fill the log.
    const PARSER: &str = "actix_http::h1::dispatcher";
    Targets::new().with_default(others).with_target(OURS, ours).with_target(PARSER, LevelFilter::OFF)
}

/// What a directive may ask of a target.
fn bounded(target: &str, level: LevelFilter) -> LevelFilter {
    let ours = target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    if ours { level } else { level.min(LevelFilter::INFO) }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics while writing").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn text(config: LogConfig, terminal: bool, work: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = subscriber(config, terminal, move || writer.clone());
        tracing::subscriber::with_default(lines, work);
        String::from_utf8(page.0.lock().expect("nobody panics while writing").clone()).expect("text")
    }

    /// The JSON lines that `work` logs on this thread at the default level.
    pub(crate) fn captured(work: impl FnOnce()) -> Vec<serde_json::Value> {
        text(LogConfig::default(), false, work)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect()
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top_level() {
        let lines = captured(|| tracing::warn!(lane = "read", "slow"));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["message"], "slow");
        assert_eq!(lines[0]["lane"], "read");
        assert!(lines[0]["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }

    #[test]
    fn a_terminal_gets_colours_and_a_pipe_never_does() {
        let pretty = LogConfig { format: LogFormat::Pretty, ..LogConfig::default() };
        assert!(text(LogConfig::default(), true, || tracing::info!("hello")).contains("\u{1b}["));
        let piped = text(pretty, false, || tracing::info!("hello"));
        assert!(piped.contains("hello") && !piped.contains('\u{1b}'), "{piped}");
    }

    #[test]
    fn debug_lines_appear_only_when_asked_for_and_only_ours() {
        let debug = LogConfig { level: "debug".to_owned(), ..LogConfig::default() };
        let speak = || {
            tracing::debug!("ours");
            tracing::info!(target: "somebody_else", "theirs");
            tracing::warn!(target: "somebody_else", "their warning");
        };
        let quiet = text(LogConfig::default(), false, speak);
        assert!(!quiet.contains("ours") && !quiet.contains("theirs") && quiet.contains("their warning"));
        let chatty = text(debug, false, speak);
        assert!(chatty.contains("ours") && !chatty.contains("theirs"));
    }

    #[test]
    fn no_level_makes_a_dependency_quote_its_input() {
        for level in ["trace", "trace,somebody_else=trace", "somebody_else::deep=debug"] {
            let config = LogConfig { level: level.to_owned(), ..LogConfig::default() };
            let log = text(config, false, || {
                tracing::debug!(target: "somebody_else::deep", "canary");
                tracing::trace!(target: "somebody_else", "canary");
                tracing::info!(target: "somebody_else::deep", "open");
            });
            assert!(!log.contains("canary"), "{level}: {log}");
            assert_eq!(log.contains("open"), level.contains('='), "{level}: {log}");
        }
    }
}
