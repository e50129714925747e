//! The last words of a server: what it wrote to its log since a mark.
//!
//! Limits: at most [`LINES_MAX`] lines from the last [`BYTES_MAX`] bytes, control characters removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::private_file;

/// Enough for the reason of a failed start, little enough for one log record.
const LINES_MAX: usize = 8;
const BYTES_MAX: u64 = 4096;
/// A log larger than this is set aside before the next start; with the one set aside, twice this is kept.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// A place in a log, to read on from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

/// The present end of the log.
pub(super) fn mark(log: &Path) -> Mark {
    Mark(fs::metadata(log).map_or(0, |metadata| metadata.len()))
}

/// Opens the log for appending (0600), after setting a long one aside.
pub(super) fn open(log: &Path) -> io::Result<File> {
    if mark(log).0 > LOG_BYTES_MAX {
        fs::rename(log, previous(log))?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(private_file::MODE);
    private_file::open(log, &mut options, private_file::us()).map_err(io::Error::other)
}

/// The last lines written after the mark; empty when the log cannot be read.
pub(super) fn since(log: &Path, mark: Mark) -> Vec<String> {
    read_end(log, mark).map_or_else(|_| Vec::new(), |(text, cut)| last_lines(&text, cut))
}

fn read_end(log: &Path, mark: Mark) -> io::Result<(String, bool)> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    // A log shorter than the mark was set aside in between: all of the new one counts.
    let begin = if mark.0 > length { 0 } else { mark.0 };
    let from = begin.max(length.saturating_sub(BYTES_MAX));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), from > begin))
}

fn last_lines(text: &str, first_is_cut: bool) -> Vec<String> {
    let lines: Vec<&str> =
        text.lines().skip(usize::from(first_is_cut)).filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    lines[from..].iter().map(|line| line.chars().filter(|character| !character.is_control()).collect()).collect()
}

fn previous(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_after_the_mark_are_told_and_only_the_last_of_them() {
        let home = tempfile::tempdir().expect("temporary directory");
        let log = home.path().join("redis.log");
        fs::write(&log, "old\n").expect("write");
        let mark = mark(&log);
        assert!(since(&log, mark).is_empty());
        let fresh: String = (0..2000).map(|number| format!("line {number}\x1b\n")).collect();
        fs::write(&log, format!("old\n{fresh}")).expect("write");
        let told = since(&log, mark);
        assert_eq!(told.len(), LINES_MAX);
        assert_eq!(told.last().map(String::as_str), Some("line 1999"));
    }

    #[test]
    fn a_long_log_is_set_aside_before_a_start() {
        let home = tempfile::tempdir().expect("temporary directory");
        let log = home.path().join("redis.log");
        fs::write(&log, vec![b'x'; LOG_BYTES_MAX as usize + 1]).expect("write");
        open(&log).expect("open");
        assert_eq!(mark(&log).0, 0);
        assert!(previous(&log).exists());
    }
}
