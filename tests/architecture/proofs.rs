//! What may be named as a proof: tests that a runner runs, and sentences that an end-to-end script says when a check passed.
//!
//! A sentence in a comment proves nothing, nor does what a script says when it fails or one that nobody calls; a name that two
//! tests share may be kept alive by the wrong one. Limits: a reader of lines. A script counts as called if the text of one that
//! `make e2e` calls names its file; that it comes to the line is for the run to show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::OnceLock;

use crate::source::{Source, everything, root, rust_files};

/// Functions that a test runner runs, and the rules of `main.rs`, each of which is one: how many have that name.
pub fn tests() -> &'static BTreeMap<String, usize> {
    static NAMES: OnceLock<BTreeMap<String, usize>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let mut names = BTreeMap::new();
        for name in find_tests() {
            *names.entry(name).or_default() += 1;
        }
        names
    })
}

fn find_tests() -> Vec<String> {
    let mut names = Vec::new();
    for source in rust_files() {
        names.extend(tests_of(&source.all_code));
    }
    let rules = fs::read_to_string(root().join("tests/architecture/main.rs")).expect("the rules are there");
    let lines: Vec<&str> = rules.lines().map(str::trim).collect();
    let named =
        lines.windows(2).filter(|pair| pair[1].starts_with("reads: ")).filter_map(|pair| pair[0].strip_suffix(" {"));
    names.extend(named.map(str::to_owned));
    names
}

fn tests_of(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = 0;
    for line in code.lines().map(str::trim) {
        if line.starts_with("#[") && (line.contains("::test") || line == "#[test]") {
            marked = 6;
        }
        if let Some((_, behind)) = line.split_once("fn ").filter(|_| marked > 0) {
            names.extend(behind.split('(').next().map(str::to_owned));
            marked = 0;
        }
        marked = i32::max(0, marked - 1);
    }
    names
}

/// Why a name is no proof, if it is none.
pub fn test_fault(name: &str, tests: &BTreeMap<String, usize>) -> Option<String> {
    match tests.get(name) {
        None => Some(format!("`{name}` is no test")),
        Some(1) => None,
        Some(count) => Some(format!("`{name}` is the name of {count} tests: which of them is meant?")),
    }
}

/// Whether a script that `make e2e` calls says this when a check passed; the beginning of what it says will do.
pub fn is_said(sentence: &str) -> bool {
    static SENTENCES: OnceLock<Vec<String>> = OnceLock::new();
    let sentences = SENTENCES.get_or_init(|| called().iter().flat_map(|script| sentences_of(&script.text)).collect());
    sentences.iter().any(|said| said.contains(sentence))
}

/// What stands in quotes behind the words by which scripts and browser tests name a check that passed.
fn sentences_of(text: &str) -> Vec<String> {
    const WORDS: [&str; 5] = ["ok \"", "expect \"", "api \"", "must_fire ", "test(\""];
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start).filter(|line| !is_comment(line)) {
        for (at, word) in WORDS.iter().flat_map(|word| line.match_indices(word)) {
            let stands_alone = line[..at].chars().next_back().is_none_or(|before| " ;)&|{".contains(before));
            if stands_alone {
                found.extend(line[at + word.len()..].split('"').next().map(str::to_owned));
            }
        }
    }
    found
}

fn is_comment(line: &str) -> bool {
    line.starts_with('#') || line.starts_with("//")
}

/// The files below `tests/e2e` that `make e2e` comes to.
fn called() -> Vec<Source> {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("the Makefile is there");
    let recipe: String = makefile
        .lines()
        .skip_while(|line| !line.starts_with("e2e:"))
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    let below = everything().into_iter().filter(|source| source.path.starts_with("tests/e2e/")).collect();
    reached(recipe, below)
}

fn reached(from: String, mut left: Vec<Source>) -> Vec<Source> {
    let (mut found, mut texts) = (Vec::new(), vec![from]);
    while let Some(text) = texts.pop() {
        let code: String =
            text.lines().filter(|line| !is_comment(line.trim_start())).map(|line| format!("{line}\n")).collect();
        let (named, rest): (Vec<Source>, _) = left.into_iter().partition(|source| names_file(&code, &source.path));
        texts.extend(named.iter().map(|source| source.text.clone()));
        found.extend(named);
        left = rest;
    }
    found
}

/// By its name, or by its folder and the pattern of a runner.
fn names_file(code: &str, path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let by_name =
        code.match_indices(name).any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric()));
    by_name || (name.ends_with(".test.mjs") && code.contains("*.test.mjs") && code.contains(folder))
}

#[test]
fn a_proof_is_what_a_called_script_says_when_a_check_passed() {
    let script = "# ok \"in a comment\"\nfail \"when it failed\"\nok \"when it passed, $n times\"\n\
                  within 5 x || fail \"broken\"; ok \"behind another\"\nbook \"of no check\"\n";
    assert_eq!(sentences_of(script), ["when it passed, $n times", "behind another"]);
    assert_eq!(sentences_of("test(\"a page is seen\", async () => {"), ["a page is seen"]);
    let below = ["tests/e2e/a.sh", "tests/e2e/a/b.sh", "tests/e2e/c.sh", "tests/e2e/d/e.test.mjs"];
    let texts = ["\"$here/a/b.sh\"\n# c.sh says the same\n", "install tests/e2e/d\nnode test/*.test.mjs", "", ""];
    let sources = below.iter().zip(texts).map(|(path, text)| Source::new(*path, text)).collect();
    let found: BTreeSet<String> =
        reached("e2e:\n\ttests/e2e/a.sh x\n".to_owned(), sources).into_iter().map(|source| source.path).collect();
    assert_eq!(found, ["tests/e2e/a.sh", "tests/e2e/a/b.sh", "tests/e2e/d/e.test.mjs"].map(str::to_owned).into());
    assert!(!is_said("a sentence nobody wrote") && is_said("the image is at most 25 MiB"));
}

#[test]
fn a_name_that_two_tests_share_proves_nothing() {
    let names = tests_of("#[test]\nfn a() {}\n#[actix_web::test]\nasync fn a() {}\nfn b() {}");
    assert_eq!(names, ["a", "a"]);
    let counted = BTreeMap::from([("a".to_owned(), 2), ("c".to_owned(), 1)]);
    assert!(test_fault("a", &counted).is_some() && test_fault("b", &counted).is_some());
    assert_eq!(test_fault("c", &counted), None);
}
