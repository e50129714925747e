//! SECURITY.md and what belongs to it, kept true: the table of promises, the placeholders, the times, the workflows.
//!
//! A policy is the page that ages most silently: nothing breaks when a named test is gone or a row is missing. So each claim that
//! can be looked up is looked up here, first on a small fixture that breaks it. Limits: that a test proves what its row says is
//! for whoever reads both; this sees only that it is there and runs.

use std::collections::BTreeMap;
use std::fs;

use crate::proofs::{is_said, test_fault, tests};
use crate::source::{everything, root};

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
fn faults(row: &Row<'_>, tests: &BTreeMap<String, usize>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{}: {what}", row.id));
    for place in quoted(row.place, "") {
        if !root().join(place).exists() {
            fault(format!("`{place}` is no file of the repository"));
        }
    }
    quoted(row.proof, "test: ").into_iter().filter_map(|name| test_fault(name, tests)).for_each(&mut fault);
    for (words, place) in refuted(row.proof) {
        fault(format!("says that there is no {words} yet, and there is `{place}`"));
    }
    let told = quoted(row.proof, "e2e: ").into_iter().chain(quoted(row.proof, "browser: "));
    for sentence in told.filter(|sentence| !is_said(sentence)) {
        fault(format!("`{sentence}` is said by no end-to-end script that `make e2e` calls, when a check passed"));
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
    let tests = tests();
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
        assert!(!faults(&rows(broken)[0], tests).is_empty(), "this no longer fires: {broken}");
    }
    let page = policy();
    let rows = rows(&page);
    let expected = PROMISES.iter().flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}-{n:02}")));
    let expected: Vec<String> = expected.collect();
    let found: Vec<&str> = rows.iter().map(|row| row.id).collect();
    assert_eq!(found, expected, "each promise has one row, in order");
    let faults: Vec<String> = rows.iter().flat_map(|row| faults(row, tests)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    for state in ["kept", "in part", "not yet", "operator"] {
        let count = rows.iter().filter(|row| row.state == state).count();
        assert!(page.contains(&format!("| {state} | {count} |")), "the summary must say `{state}`: {count}");
    }
}

/// Addresses and words copied from the policies this one grew from, or left for later.
fn left_over(text: &str) -> Vec<String> {
    const WORDS: [&str; 6] = ["yourcompany", "your-company", "Researcher Name", "security@example", "TODO", "TBD"];
    WORDS.iter().filter(|word| text.contains(*word)).map(|word| format!("`{word}`")).collect()
}

/// Those, and brackets that are no link.
fn unmarked(page: &str) -> Vec<String> {
    let mut found = left_over(page);
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

/// Lines of a file that is applied as it stands which name nobody's address, without the mark in the line above. A line that is
/// commented out is an example.
fn unmarked_lines(text: &str) -> Vec<String> {
    const NOBODYS: [&str; 6] = ["example.com", "example.org", "example.net", ".invalid", "OPERATOR/", "/REPOSITORY"];
    let lines: Vec<&str> = std::iter::once("").chain(text.lines().map(str::trim)).collect();
    let mut found: Vec<String> = lines
        .windows(2)
        .filter(|pair| !pair[1].starts_with('#') && NOBODYS.iter().any(|word| pair[1].contains(word)))
        .filter(|pair| !pair[0].starts_with("# OPERATOR: "))
        .map(|pair| pair[1].to_owned())
        .collect();
    let active: Vec<&str> = lines.iter().filter(|line| !line.starts_with('#')).copied().collect();
    found.extend(left_over(&active.join("\n")));
    found
}

#[test]
fn every_placeholder_is_marked_as_the_operators() {
    for broken in ["write to [security@yourcompany.com]", "thanks to [Somebody] - [Something]", "TODO: an address"] {
        assert!(!unmarked(broken).is_empty(), "{broken}");
    }
    assert!(unmarked("see [the log](CHANGELOG.md), write to [OPERATOR: address]").is_empty());
    for broken in ["image: registry.example.com/x", "# OPERATOR: whose?\n\n* @OPERATOR/team", "url: TODO"] {
        assert!(!unmarked_lines(broken).is_empty(), "{broken}");
    }
    assert!(
        unmarked_lines("# mail = \"a@example.com\"\n  # OPERATOR: where?\n  image: registry.example.com/x").is_empty()
    );
    let mut looked_at = 0;
    for source in everything() {
        let for_all = source.path == "SECURITY.md" || source.path.starts_with(".github/");
        let found = match source.path.ends_with(".md") {
            true if for_all => unmarked(&source.text),
            false if for_all || source.path.starts_with("deploy/") => unmarked_lines(&source.text),
            _ => continue,
        };
        looked_at += 1;
        assert_eq!(found, Vec::<String>::new(), "{}: fill it in, or mark it with OPERATOR", source.path);
    }
    assert!(looked_at > 30, "{looked_at}: SECURITY.md, .github and deploy");
    let script = read("tools/placeholders");
    assert!(script.contains(r"\[OPERATOR:") && script.contains("exit 1"), "the release check looks for the mark");
    assert!(script.contains(r"^ *# OPERATOR:") && script.contains("SECURITY.md .github deploy"));
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
    let ci = read(".github/workflows/ci.yml");
    assert!(ci.contains("run: .ci/run"), "CI is .ci/run");
    assert!(
        ci.contains("for script in image compose kubernetes; do") && ci.contains("sudo -E env \"PATH=$PATH\""),
        "and what needs root"
    );
    let scans = read(".github/workflows/security.yml");
    assert_eq!(
        scans.matches("docker build --pull").count(),
        2,
        "the image, and the stage that still has a list of packages"
    );
    for scanner in ["trivy-action@", "cargo audit", "tools/audit --online", "gitleaks", "tools/scan", "checkov"] {
        assert!(scans.contains(scanner), "{scanner}");
    }
    assert!(scans.contains("schedule:"), "also while nobody changes anything");
    let local = read("tools/scan");
    for scanner in ["hadolint", "zizmor", "detect-secrets", "check-jsonschema"] {
        assert!(local.contains(&format!("$bin/{scanner}")), "{scanner}");
    }
    assert!(read(".ci/run").contains("tools/scan"));
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
