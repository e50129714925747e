//! What is in Redis, compared with what this program brings: nothing to do, something to apply, or a reason to refuse.
//!
//! A pure decision over two answers of Redis, so that every case can be tested without one. Applied migrations are never edited:
//! a checksum that differs means that two programs disagree about history, and neither may guess. Limits: functions are only
//! ever added, so a library with more of them than we know is fine.

use std::collections::BTreeMap;
use std::fmt;

use super::library::{self, Part};

/// How far one migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Somebody began and did not come back to say that it is done. Loading is atomic and may be repeated.
    Applying,
    /// Done.
    Applied,
    /// Redis refused it.
    Failed,
}

impl Progress {
    const WORDS: [(Self, &'static str); 3] =
        [(Self::Applying, "applying"), (Self::Applied, "applied"), (Self::Failed, "failed")];

    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(progress, _)| *progress == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(progress, _)| *progress)
    }
}

/// One migration as the record has it: `<progress> <checksum>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How far it is.
    pub progress: Progress,
    /// SHA-256 of its source, in hexadecimal.
    pub checksum: String,
}

impl Entry {
    /// As it is written into the record.
    pub fn line(&self) -> String {
        format!("{} {}", self.progress.as_str(), self.checksum)
    }

    fn read(line: &str) -> Option<Self> {
        let (word, checksum) = line.split_once(' ')?;
        Some(Self { progress: Progress::of(word)?, checksum: checksum.to_owned() })
    }
}

/// What Redis holds.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The record, by migration.
    pub entries: BTreeMap<String, Entry>,
    /// A line of the record that cannot be read, by its field.
    pub unreadable: Option<String>,
    /// The library, if it is there.
    pub library: Option<Library>,
}

/// The library as Redis has it.
#[derive(Clone, Debug)]
pub struct Library {
    /// Whether it is as one of our programs made it.
    pub sealed: bool,
    /// The names of its functions.
    pub functions: Vec<String>,
}

/// What follows from a survey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything we bring is there.
    Current,
    /// The library has to be loaded, with these migrations new or repeated.
    Apply,
    /// Somebody has to look first.
    Refuse(Refusal),
}

/// Why nothing is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A migration was edited after it had been applied.
    Checksum(String),
    /// A migration failed.
    Failed(String),
    /// The record knows a migration that should come before one of ours, and that we do not know.
    Stranger(String),
    /// A line of the record means nothing.
    Unreadable(String),
    /// The library is none that one of our programs made.
    Altered,
    /// Redis did not take the library.
    Rejected(String),
    /// Our user may not do what is needed. Others may.
    Denied(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REPAIR: &str =
            "`collective migrate --repair` of the version that shall win loads its functions and rewrites the record";
        match self {
            Self::Checksum(id) => write!(
                f,
                "migration {id} in Redis is not the one this version brings: released migrations are never edited, so two builds \
                 disagree; run the version that applied it, or {REPAIR}"
            ),
            Self::Failed(id) => {
                write!(f, "migration {id} failed and was left as it was; once the cause is gone, {REPAIR}")
            }
            Self::Stranger(id) => write!(
                f,
                "Redis has migration {id}, which this version does not know although it comes before one of its own: the \
                 histories differ; {REPAIR}"
            ),
            Self::Unreadable(field) => {
                write!(f, "the field {field} of the record of migrations cannot be read; {REPAIR}")
            }
            Self::Altered => write!(
                f,
                "the functions in Redis are not those that were loaded: somebody replaced the library {} by hand; {REPAIR}",
                library::NAME
            ),
            Self::Rejected(reason) => write!(f, "Redis refused the functions: {reason}"),
            Self::Denied(reason) => write!(
                f,
                "Redis does not let the service's own user put the functions in place ({reason}): give it the rights that \
                 `collective redis-acl` prints, or let another user run `collective migrate`"
            ),
        }
    }
}

impl Survey {
    /// Reads the record's fields and the library.
    pub fn of(fields: &[(String, String)], library: Option<Library>) -> Self {
        let mut survey = Self { library, ..Self::default() };
        for (field, line) in fields {
            match Entry::read(line) {
                Some(entry) => drop(survey.entries.insert(field.clone(), entry)),
                None => survey.unreadable = Some(field.clone()),
            }
        }
        survey
    }

    /// Whether this migration is applied.
    pub fn progress(&self, id: &str) -> Option<Progress> {
        self.entries.get(id).map(|entry| entry.progress)
    }

    /// In a sentence, what this program would do.
    pub fn summary(&self) -> String {
        match self.verdict(library::PARTS) {
            Verdict::Current => "every migration is applied and the functions are in place".to_owned(),
            Verdict::Apply => "`collective migrate`, or the service itself, puts the functions in place".to_owned(),
            Verdict::Refuse(refusal) => format!("refused: {refusal}"),
        }
    }

    /// What has to be done so that `parts` can be used.
    pub(super) fn verdict(&self, parts: &[Part]) -> Verdict {
        if let Some(refusal) = self.refusal(parts) {
            return Verdict::Refuse(refusal);
        }
        let applied = parts.iter().all(|part| self.progress(part.id) == Some(Progress::Applied));
        let there = |name: &String| self.library.as_ref().is_some_and(|library| library.functions.contains(name));
        let complete = library::functions(parts).iter().all(there);
        if applied && complete { Verdict::Current } else { Verdict::Apply }
    }

    fn refusal(&self, parts: &[Part]) -> Option<Refusal> {
        if let Some(field) = &self.unreadable {
            return Some(Refusal::Unreadable(field.clone()));
        }
        if let Some((id, _)) = self.entries.iter().find(|(_, entry)| entry.progress == Progress::Failed) {
            return Some(Refusal::Failed(id.clone()));
        }
        for part in parts {
            let ours = library::checksum(part.source.as_bytes());
            if self.entries.get(part.id).is_some_and(|entry| entry.checksum != ours) {
                return Some(Refusal::Checksum(part.id.to_owned()));
            }
        }
        let newest = parts.last().map_or("", |part| part.id);
        let known = |id: &String| parts.iter().any(|part| part.id == id);
        if let Some(id) = self.entries.keys().find(|id| id.as_str() < newest && !known(id)) {
            return Some(Refusal::Stranger(id.clone()));
        }
        self.library.as_ref().is_some_and(|library| !library.sealed).then_some(Refusal::Altered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Part = Part { id: "0001_one", source: "define('one', f)\n" };
    const TWO: Part = Part { id: "0002_two", source: "define('two', f)\n" };

    fn line(progress: Progress, part: Part) -> (String, String) {
        let entry = Entry { progress, checksum: library::checksum(part.source.as_bytes()) };
        (part.id.to_owned(), entry.line())
    }

    fn loaded(parts: &[Part]) -> Option<Library> {
        Some(Library { sealed: true, functions: library::functions(parts) })
    }

    fn survey(fields: &[(String, String)], library: Option<Library>) -> Survey {
        Survey::of(fields, library)
    }

    #[test]
    fn an_empty_redis_gets_everything() {
        assert_eq!(Survey::default().verdict(&[ONE, TWO]), Verdict::Apply);
    }

    #[test]
    fn what_is_all_there_is_left_alone_also_by_an_older_version() {
        let whole = survey(&[line(Progress::Applied, ONE), line(Progress::Applied, TWO)], loaded(&[ONE, TWO]));
        assert_eq!(whole.verdict(&[ONE, TWO]), Verdict::Current);
        assert_eq!(whole.verdict(&[ONE]), Verdict::Current);
    }

    #[test]
    fn a_newer_version_adds_its_part() {
        assert_eq!(survey(&[line(Progress::Applied, ONE)], loaded(&[ONE])).verdict(&[ONE, TWO]), Verdict::Apply);
    }

    #[test]
    fn a_lost_library_is_loaded_again_whatever_the_record_says() {
        let lost = survey(&[line(Progress::Applied, ONE), line(Progress::Applied, TWO)], None);
        assert_eq!(lost.verdict(&[ONE, TWO]), Verdict::Apply);
        assert_eq!(lost.verdict(&[ONE]), Verdict::Apply);
    }

    #[test]
    fn an_older_library_under_a_newer_record_is_loaded_again() {
        // As a replica leaves it that was paused beyond its lease and then loaded what it had.
        let older = survey(&[line(Progress::Applied, ONE), line(Progress::Applied, TWO)], loaded(&[ONE]));
        assert_eq!(older.verdict(&[ONE, TWO]), Verdict::Apply);
        assert_eq!(older.verdict(&[ONE]), Verdict::Current);
    }

    #[test]
    fn what_was_begun_is_done_again() {
        let fields = [line(Progress::Applied, ONE), line(Progress::Applying, TWO)];
        for library in [loaded(&[ONE]), loaded(&[ONE, TWO]), None] {
            assert_eq!(survey(&fields, library).verdict(&[ONE, TWO]), Verdict::Apply);
        }
    }

    #[test]
    fn a_record_that_cannot_be_ours_is_refused() {
        let refusal = |fields: &[(String, String)], library| match survey(fields, library).verdict(&[ONE, TWO]) {
            Verdict::Refuse(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        let edited = ("0001_one".to_owned(), "applied 00".to_owned());
        assert_eq!(refusal(&[edited], None), Refusal::Checksum("0001_one".into()));
        assert_eq!(refusal(&[line(Progress::Failed, TWO)], None), Refusal::Failed("0002_two".into()));
        let stranger = ("0001_other".to_owned(), "applied 00".to_owned());
        assert_eq!(refusal(&[stranger], None), Refusal::Stranger("0001_other".into()));
        let torn = ("0001_one".to_owned(), "appl".to_owned());
        assert_eq!(refusal(&[torn], None), Refusal::Unreadable("0001_one".into()));
        let other = Some(Library { sealed: false, functions: library::functions(&[ONE, TWO]) });
        assert_eq!(refusal(&[line(Progress::Applied, ONE)], other.clone()), Refusal::Altered);
        assert_eq!(refusal(&[line(Progress::Applying, ONE)], other), Refusal::Altered);
    }
}
