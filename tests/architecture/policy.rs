//! SECURITY.md and what belongs to it, kept true: the table of promises, the placeholders, the times, the workflows.
//!
//! A policy is the page that ages most silently: nothing breaks when a named test is gone or a row is missing. So each claim that
//! can be looked up is looked up here, first on a small fixture that breaks it. Limits: that a test proves what its row says is
//! for whoever reads both; this sees only that it is there and runs.

use std::collections::BTreeMap;
use std::fs;
use std::sync::OnceLock;

use crate::source::{everything, root, rust_files};

/// Promises of the two policies this one grew from, by their numbers in the table.
const PROMISES: [(&str, usize); 2] = [("C", 31), ("F", 56)];

/// One row of the table.
#[derive(Debug)]
struct Row<'t> {
    id: &'t str,
    state: &'t str,
    place: &'t str,
    proof: &'t str,
}

fn policy() -> String {
    read("SECURITY.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

/// The rows of every table whose first column is such a number.
fn rows(page: &str) -> Vec<Row<'_>> {
    let lines =
        page.lines().filter(|line| PROMISES.iter().any(|(letter, _)| line.starts_with(&format!("| {letter}-"))));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [id, _, state, place, proof] = cells[..] else { panic!("not five columns: {line}") };
            Row { id, state, place, proof }
        })
        .collect()
}

/// The texts in backticks behind `mark`, or all of them if it is empty.
fn quoted<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let start = format!("{mark}`");
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once(&start) {
        let Some((name, after)) = behind.split_once('`') else { break };
        found.push(name);
        rest = after;
    }
    found
}

/// Functions that a test runner runs, and the rules of `main.rs`, each of which is one; and how many there are of each name.
fn tests() -> &'static BTreeMap<String, usize> {
    static NAMES: OnceLock<BTreeMap<String, usize>> = OnceLock::new();
    NAMES.get_or_init(find_tests)
}

/// What is wrong with a page that says `name` is a test: a name that two tests share proves whichever of them is weaker.
pub fn misnamed(name: &str) -> Option<&'static str> {
    match tests().get(name) {
        None => Some("is no test"),
        Some(1) => None,
        Some(_) => Some("is the name of several tests"),
    }
}

fn find_tests() -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let mut count = |name: &str| *names.entry(name.to_owned()).or_default() += 1;
    for source in rust_files() {
        let mut marked = 0;
        for line in source.all_code.lines().map(str::trim) {
            if line.starts_with("#[") && (line.contains("::test") || line == "#[test]") {
                marked = 6;
            }
            if let Some((_, behind)) = line.split_once("fn ").filter(|_| marked > 0) {
                behind.split('(').next().into_iter().for_each(&mut count);
                marked = 0;
            }
            marked = i32::max(0, marked - 1);
        }
    }
    let rules = read("tests/architecture/main.rs");
    let lines: Vec<&str> = rules.lines().map(str::trim).collect();
    let named =
        lines.windows(2).filter(|pair| pair[1].starts_with("reads: ")).filter_map(|pair| pair[0].strip_suffix(" {"));
    named.for_each(count);
    names
}

/// What a row can say is missing, and the file that is there once it is not: a page is not read again by whoever adds one.
const REFUTED_BY: [(&str, &str); 2] =
    [("description", "docs/openapi.json"), ("generated requests", "tests/e2e/openapi.sh")];

/// What a row says is not there yet, or was never run, and is there.
fn refuted(proof: &str) -> Vec<(&'static str, &'static str)> {
    let missing: Vec<&str> = proof
        .split(';')
        .filter(|part| ["not yet", "never run", "there is no"].iter().any(|word| part.contains(word)))
        .collect();
    let said = |words: &str| missing.iter().any(|part| part.contains(words));
    REFUTED_BY.into_iter().filter(|(words, place)| said(words) && root().join(place).exists()).collect()
}

/// Everything wrong with one row.
fn faults(row: &Row<'_>, sentences: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{}: {what}", row.id));
    for place in quoted(row.place, "") {
        if !root().join(place).exists() {
            fault(format!("`{place}` is no file of the repository"));
        }
    }
    for (name, wrong) in quoted(row.proof, "test: ").into_iter().filter_map(|name| Some((name, misnamed(name)?))) {
        fault(format!("`{name}` {wrong}"));
    }
    for (words, place) in refuted(row.proof) {
        fault(format!("says that there is no {words} yet, and there is `{place}`"));
    }
    let told = quoted(row.proof, "e2e: ").into_iter().chain(quoted(row.proof, "browser: "));
    for sentence in told.filter(|sentence| !sentences.contains(sentence)) {
        fault(format!("`{sentence}` is said by no end-to-end script"));
    }
    let places = !quoted(row.place, "").is_empty();
    let proofs = ["test: `", "e2e: `", "browser: `"].iter().any(|mark| row.proof.contains(mark));
    match row.state {
        "kept" if !places || !proofs => fault("kept, without a place or a proof".to_owned()),
        "kept" if row.proof.contains("not yet") || row.proof.contains("never run") => {
            fault("kept, and something of it is not: it is kept in part".to_owned());
        }
        "in part" if !places || !proofs => fault("kept in part, without a place or a proof".to_owned()),
        "in part" if !["not yet", "never run", "operator"].iter().any(|word| row.proof.contains(word)) => {
            fault("kept in part, without what is missing".to_owned());
        }
        "not yet" if proofs => fault("not yet, and proved: it is kept in part".to_owned()),
        "operator" if !places => fault("the operator's, without a file that helps".to_owned()),
        "kept" | "in part" | "not yet" | "operator" => {}
        other => fault(format!("`{other}` is no state")),
    }
    faults
}

#[test]
fn every_promise_has_a_row_that_is_true() {
    let scripts = everything().into_iter().filter(|source| source.path.starts_with("tests/e2e/"));
    let sentences: String = scripts.map(|source| source.text).collect();
    for broken in [
        "| C-01 | p | kept | nothing | test: `every_promise_has_a_row_that_is_true` |",
        "| C-01 | p | kept | `src/nowhere.rs` | test: `every_promise_has_a_row_that_is_true` |",
        "| C-01 | p | kept | `src/lib.rs` | test: `a_test_nobody_wrote` |",
        "| C-01 | p | kept | `src/lib.rs` | test: `faults` |",
        "| C-01 | p | kept | `src/lib.rs` | e2e: `a sentence nobody wrote` |",
        "| C-01 | p | kept | `src/lib.rs` | test: `every_promise_has_a_row_that_is_true`; half of it not yet |",
        "| C-01 | p | in part | `src/lib.rs` | test: `every_promise_has_a_row_that_is_true` |",
        "| C-01 | p | not yet | | test: `every_promise_has_a_row_that_is_true` |",
        "| C-01 | p | operator | | theirs |",
        "| C-01 | p | in part | `src/lib.rs` | test: `every_promise_has_a_row_that_is_true`; the OpenAPI description: not yet |",
        "| C-01 | p | soon | `src/lib.rs` | later |",
    ] {
        assert!(!faults(&rows(broken)[0], &sentences).is_empty(), "this no longer fires: {broken}");
    }
    let page = policy();
    let rows = rows(&page);
    let expected = PROMISES.iter().flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}-{n:02}")));
    let expected: Vec<String> = expected.collect();
    let found: Vec<&str> = rows.iter().map(|row| row.id).collect();
    assert_eq!(found, expected, "each promise has one row, in order");
    let faults: Vec<String> = rows.iter().flat_map(|row| faults(row, &sentences)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    for state in ["kept", "in part", "not yet", "operator"] {
        let count = rows.iter().filter(|row| row.state == state).count();
        assert!(page.contains(&format!("| {state} | {count} |")), "the summary must say `{state}`: {count}");
    }
}

/// Brackets that are no link, and addresses copied from the policies this one grew from.
fn unmarked(page: &str) -> Vec<String> {
    let mut found: Vec<String> = ["yourcompany", "your-company", "Researcher Name", "security@example", "TODO", "TBD"]
        .iter()
        .filter(|word| page.contains(*word))
        .map(|word| format!("`{word}`"))
        .collect();
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once('[') {
        let Some((inside, after)) = behind.split_once(']') else { break };
        let is_link = after.starts_with('(');
        let is_box = inside == " " || inside == "x";
        let is_code = inside.contains(['=', '"', ':'])
            && !inside.starts_with("OPERATOR")
            && page.contains(&format!("`[{inside}]"));
        if !is_link && !is_box && !is_code && !inside.starts_with("OPERATOR: ") {
            found.push(format!("[{inside}]"));
        }
        rest = after;
    }
    found
}

#[test]
fn every_placeholder_is_marked_as_the_operators() {
    for broken in ["write to [security@yourcompany.com]", "thanks to [Somebody] - [Something]", "TODO: an address"] {
        assert!(!unmarked(broken).is_empty(), "{broken}");
    }
    assert!(unmarked("see [the log](CHANGELOG.md), write to [OPERATOR: address]").is_empty());
    for source in everything().into_iter().filter(|source| {
        source.path == "SECURITY.md" || (source.path.starts_with(".github/") && source.path.ends_with(".md"))
    }) {
        assert_eq!(
            unmarked(&source.text),
            Vec::<String>::new(),
            "{}: fill it in, or mark it [OPERATOR: …]",
            source.path
        );
    }
    let script = read("tools/placeholders");
    assert!(script.contains(r"\[OPERATOR:") && script.contains("exit 1"), "the release check looks for the mark");
}

#[test]
fn this_version_is_in_the_one_table_of_supported_versions() {
    let page = policy();
    let (_, section) = page.split_once("## Supported versions").expect("the heading");
    let table = section.split("\n## ").next().unwrap_or_default();
    let supported: Vec<&str> =
        table.lines().filter_map(|line| line.strip_suffix(" | yes |")?.strip_prefix("| ")).collect();
    let minor = env!("CARGO_PKG_VERSION").rsplit_once('.').expect("three numbers").0;
    assert_eq!(supported, [format!("{minor}.x")], "the table names the minor version that is built");
    assert_eq!(page.matches("| version | supported |").count(), 1, "there is one such table");
    assert!(read("CHANGELOG.md").contains("\n### Security\n"), "security fixes have a section of their own");
}

#[test]
fn the_policy_says_how_to_report_and_what_happens_then() {
    let page = policy();
    for heading in [
        "## Scope",
        "## Reporting a vulnerability",
        "### What to include",
        "### What to expect",
        "### Good faith",
        "## What is the operator's duty",
        "## Acknowledgements",
    ] {
        assert_eq!(page.matches(&format!("\n{heading}\n")).count(), 1, "{heading}");
    }
    let (_, section) = page.split_once("### What to include").expect("just found");
    let list = section.split("\n### ").next().unwrap_or_default();
    for asked in ["description", "steps to reproduce", "impact", "fix", "reach you"] {
        assert!(list.contains(asked), "{asked}");
    }
    let (_, section) = page.split_once("### What to expect").expect("just found");
    let table = section.split("\n### ").next().unwrap_or_default();
    let times: Vec<&str> =
        table.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit_once("| ")).map(|(_, time)| time).collect();
    assert_eq!(
        times[times.len() - 5..],
        ["24 hours", "72 hours", "7 days", "30 days", "every 7 days until it is closed"]
    );
    assert!(page.contains("in a public issue") && page.contains("private reporting"));
    assert!(table.contains("credited if you wish") && table.contains("time to update"));
}

#[test]
fn a_public_issue_is_no_way_to_report_a_vulnerability() {
    let config = read(".github/ISSUE_TEMPLATE/config.yml");
    assert!(config.contains("blank_issues_enabled: false"));
    assert!(config.contains("/security/advisories/new"), "the way that is private is offered in its place");
    assert!(read(".github/PULL_REQUEST_TEMPLATE.md").contains("SECURITY.md"));
    assert!(read(".github/CODEOWNERS").lines().any(|line| line.starts_with("* @")), "somebody reviews everything");
}

/// Everything wrong with one workflow.
fn careless(workflow: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in workflow.lines().map(str::trim) {
        if let Some((_, action)) = line.split_once("uses: ") {
            let (pinned, version) = action.split_once(" # ").unwrap_or((action, ""));
            let commit = pinned.split_once('@').map_or("", |(_, commit)| commit);
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_commit || !version.starts_with('v') {
                found.push(format!("{action} is not pinned by commit, with its version beside it"));
            }
        }
        if line.ends_with(": write") || line.contains("write-all") || line.contains("pull_request_target") {
            found.push(format!("`{line}` gives more than reading"));
        }
    }
    if !workflow.contains("\npermissions:\n  contents: read\n\n") {
        found.push("does not begin with `permissions: contents: read` and nothing else".to_owned());
    }
    let checkouts = workflow.matches("actions/checkout@").count();
    if workflow.matches("persist-credentials: false").count() != checkouts {
        found.push("a checkout keeps the token".to_owned());
    }
    found
}

#[test]
fn workflows_pin_what_they_use_and_may_only_read() {
    let good = "\npermissions:\n  contents: read\n\nuses: a/b@0123456789012345678901234567890123456789 # v1.0.0\n";
    assert!(careless(good).is_empty(), "{:?}", careless(good));
    for broken in ["uses: a/b@v1\n", "contents: write\n", "pull_request_target:\n", "uses: actions/checkout@main\n"] {
        assert!(!careless(&format!("{good}{broken}")).is_empty(), "{broken}");
    }
    assert!(!careless("uses: a/b@0123456789012345678901234567890123456789 # v1").is_empty(), "no permissions");
    let workflows: Vec<_> =
        everything().into_iter().filter(|source| source.path.starts_with(".github/workflows/")).collect();
    assert!(workflows.len() >= 2);
    for workflow in workflows {
        assert_eq!(careless(&workflow.text), Vec::<String>::new(), "{}", workflow.path);
    }
}

#[test]
fn every_scanner_the_policies_promise_is_called_by_a_workflow() {
    assert!(read(".github/workflows/ci.yml").contains("run: .ci/run"), "CI is .ci/run and nothing else");
    let scans = read(".github/workflows/security.yml");
    for scanner in ["trivy-action@", "cargo audit", "tools/audit --online", "gitleaks", "tools/scan", "checkov"] {
        assert!(scans.contains(scanner), "{scanner}");
    }
    assert!(scans.contains("schedule:"), "also while nobody changes anything");
    let local = read("tools/scan");
    for scanner in ["hadolint", "zizmor", "detect-secrets", "check-jsonschema"] {
        assert!(local.contains(&format!("$bin/{scanner}")), "{scanner}");
    }
    assert!(read(".ci/run").contains("tools/scan"));
    let updates = read(".github/dependabot.yml");
    for kind in ["cargo", "github-actions", "npm", "pip", "docker"] {
        assert!(updates.contains(&format!("package-ecosystem: {kind}\n")), "{kind}");
    }
}

#[test]
fn the_compiler_and_its_linter_refuse_what_they_can() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    assert!(read(".ci/run").contains("cargo clippy --locked --all-targets -- -D warnings"));
    assert!(
        read("deny.toml").contains("unknown-registry = \"deny\"") && read("deny.toml").contains("yanked = \"deny\"")
    );
    let oldest = read("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ").map(str::to_owned));
    assert!(
        oldest.is_some() && read(".github/workflows/ci.yml").contains("rust-version"),
        "the oldest Rust is tried, too"
    );
}
