//! What watches the service: rules, alerts, their tests and runbooks, and the dashboard, held against the table of metrics.
//!
//! A metric that was renamed leaves rules that never fire and panels that stay empty, and nobody notices until the night they
//! are needed. promtool cannot see that: it does not know what the service exports.
//!
//! Limits: the files are read as text, so their layout (two spaces a level, one key a line) is part of the contract.

use std::collections::BTreeSet;
use std::fs;

use collective::telemetry::metrics::table::{Kind, table};

use crate::source::{is_name, root};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

fn rules() -> String {
    read("deploy/prometheus/rules/collective.rules.yml")
}

fn dashboard() -> serde_json::Value {
    serde_json::from_str(&read("deploy/grafana/dashboards/collective.json")).expect("the dashboard is JSON")
}

/// The value of every line `key: value`.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::trim).collect()
}

/// The expressions of a file of rules.
fn expressions(rules: &str) -> String {
    let mut inside = false;
    let mut found = String::new();
    for line in rules.lines() {
        let key = line.trim_start().trim_start_matches("- ");
        inside = match key.split_once(": ") {
            Some(("expr", _)) => true,
            Some(("for" | "name" | "record" | "alert", _)) => false,
            _ => inside && !matches!(key, "" | "labels:" | "annotations:") && !key.starts_with('#'),
        };
        if inside {
            found.push_str(key.trim_start_matches("expr: "));
            found.push('\n');
        }
    }
    found
}

/// Words of an expression that are names of metrics or of what was recorded.
fn metrics_named(text: &str) -> BTreeSet<&str> {
    let is_part = |next: char| is_name(next) || next == ':';
    let words = text.split(|next| !is_part(next));
    words
        .map(|word| word.trim_matches(':'))
        .filter(|word| {
            word.starts_with("collective_") || word.starts_with("process_") || word.matches(':').count() == 2
        })
        .collect()
}

/// Whether the service exports a series of this name.
fn is_exported(name: &str) -> bool {
    table().iter().any(|family| match family.kind {
        Kind::Histogram(_) => {
            name.strip_prefix(family.name).is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix))
        }
        Kind::Counter | Kind::Gauge => name == family.name,
    })
}

fn strangers<'t>(text: &'t str, recorded: &[&str]) -> Vec<&'t str> {
    let named = metrics_named(text);
    assert!(!named.is_empty(), "no metric was found, so nothing was looked at");
    named.into_iter().filter(|name| !is_exported(name) && !recorded.contains(name)).collect()
}

#[test]
fn a_metric_that_nobody_exports_is_noticed() {
    let text = "sum(rate(collective_requests_gone_total[5m])) + collective_inflight + job:collective_gone:rate5m";
    assert_eq!(strangers(text, &[]), ["collective_requests_gone_total", "job:collective_gone:rate5m"]);
    assert!(strangers("rate(collective_http_request_duration_seconds_bucket[5m])", &[]).is_empty());
    assert!(!is_exported("collective_http_request_duration_seconds"), "a histogram has no series of its bare name");
    assert_eq!(
        expressions("- record: a:b:c\n  expr: |\n    one\n    two\n- alert: X\n  expr: up\n  for: 1m\n"),
        "|\none\ntwo\nup\n"
    );
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_are_exported_or_recorded() {
    let rules = rules();
    let recorded = values(&rules, "record");
    let unknown = strangers(&expressions(&rules), &recorded).join(", ");
    assert!(unknown.is_empty(), "the rules ask for what is not in src/telemetry/metrics/table.rs: {unknown}");
    let dashboard = dashboard().to_string();
    let unknown = strangers(&dashboard, &recorded);
    assert!(unknown.is_empty(), "the dashboard asks for what nobody exports or records: {unknown:?}");
}

#[test]
fn every_alert_says_what_it_is_and_has_a_page_that_says_what_to_do() {
    let rules = rules();
    let alerts = values(&rules, "alert");
    assert!(alerts.len() >= 9);
    for chapter in rules.split("- alert: ").skip(1) {
        let name = chapter.lines().next().expect("a name").trim();
        assert!(
            ["critical", "warning", "info"].contains(values(chapter, "severity").first().expect("a severity")),
            "{name}"
        );
        for key in ["summary:", "description:", "runbook_url:"] {
            assert!(chapter.contains(key), "{name} has no {key}");
        }
        let page = format!("deploy/runbooks/{name}.md");
        assert!(values(chapter, "runbook_url")[0].trim_matches('"').ends_with(&page), "{name} leads elsewhere");
        let text = read(&page);
        for heading in [&format!("# {name}\n"), "## Look", "## Do", "## It is over when"] {
            assert!(text.contains(heading), "{page} has no {heading:?}");
        }
    }
    let pages = fs::read_dir(root().join("deploy/runbooks")).expect("the runbooks");
    for page in pages.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()) {
        let name = page.trim_end_matches(".md");
        assert!(alerts.contains(&name), "{page} belongs to no alert");
    }
}

#[test]
fn every_alert_is_seen_to_fire_and_to_keep_silent() {
    let folder = fs::read_dir(root().join("deploy/prometheus/tests")).expect("the tests of the rules");
    let tests: String =
        folder.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("text")).collect();
    let seen: Vec<(&str, bool)> = tests
        .split("alertname: ")
        .skip(1)
        .map(|case| {
            (
                case.lines().next().unwrap_or_default().trim(),
                case.lines().nth(1).is_none_or(|next| next.trim() != "exp_alerts: []"),
            )
        })
        .collect();
    for alert in values(&rules(), "alert") {
        assert!(seen.contains(&(alert, true)), "no promtool test lets {alert} fire");
        assert!(seen.contains(&(alert, false)), "no promtool test has {alert} keep silent");
    }
}

#[test]
fn the_dashboard_is_what_grafana_provisions() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 42);
    assert!(dashboard.get("__inputs").is_none(), "inputs are for imports by hand");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "panel ids are unique");
    assert!(panels.iter().any(|panel| panel["type"] == "state-timeline"));
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = &panel["title"];
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(
            panel["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{title} says nothing about itself"
        );
        let targets = panel["targets"].as_array().expect("targets");
        for expression in targets.iter().map(|target| target["expr"].as_str().expect("an expression")) {
            let ranges = expression.matches('[').count();
            assert_eq!(expression.matches("[$__rate_interval]").count(), ranges, "{title}: {expression}");
            assert!(expression.contains("$job"), "{title} asks every job: {expression}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
}
