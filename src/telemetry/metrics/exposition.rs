//! A strict reader of the Prometheus text format 0.0.4, for tests: refuses what `promtool check metrics` would.

use std::collections::{BTreeMap, BTreeSet};

/// Series by family: the full series text (name and labels) and its value.
pub(crate) type Families = BTreeMap<String, Vec<(String, f64)>>;

/// Reads a scrape, or says what is wrong with it.
pub(crate) fn check(text: &str) -> Result<Families, String> {
    if !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line(line).map_err(|error| format!("{error}: {line}"))?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    families: Families,
    kinds: BTreeMap<String, String>,
    series: BTreeSet<String>,
    /// The family whose block is being read: HELP, then TYPE, then samples.
    current: Option<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("HELP without text")?;
            if help.trim().is_empty() || self.families.insert(name.to_owned(), Vec::new()).is_some() {
                return Err("HELP is empty or comes twice".into());
            }
            self.current = Some(name.to_owned());
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            return self.kind(rest);
        }
        self.sample(line)
    }

    fn kind(&mut self, rest: &str) -> Result<(), String> {
        let (name, kind) = rest.split_once(' ').ok_or("TYPE without a kind")?;
        if self.current.as_deref() != Some(name) {
            return Err("TYPE does not follow its HELP".into());
        }
        if !["counter", "gauge", "histogram"].contains(&kind) {
            return Err("unknown kind".into());
        }
        match self.kinds.insert(name.to_owned(), kind.to_owned()) {
            None => Ok(()),
            Some(_) => Err("TYPE comes twice".into()),
        }
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (series, value) = line.rsplit_once(' ').ok_or("a sample without a value")?;
        let value: f64 = value.parse().map_err(|_| "a value that is no number")?;
        let name = series.split('{').next().unwrap_or_default();
        let family = self.current.clone().ok_or("a sample before any HELP")?;
        let kind = self.kinds.get(&family).ok_or("a sample before its TYPE")?;
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        if !suffixes.iter().any(|suffix| name == format!("{family}{suffix}")) {
            return Err("a sample outside the block of its family".into());
        }
        if kind == "counter" && !(name.ends_with("_total") && value >= 0.0) {
            return Err("a counter without _total, or below zero".into());
        }
        check_labels(&series[name.len()..])?;
        if !self.series.insert(series.to_owned()) {
            return Err("the same series twice".into());
        }
        self.families.entry(family).or_default().push((series.to_owned(), value));
        Ok(())
    }

    fn finish(self) -> Result<Families, String> {
        for (name, samples) in &self.families {
            let kind = self.kinds.get(name).ok_or_else(|| format!("{name} has no TYPE"))?;
            if samples.is_empty() {
                return Err(format!("{name} has no sample"));
            }
            if kind == "histogram" {
                check_histogram(name, samples)?;
            }
        }
        Ok(self.families)
    }
}

/// `{a="b",c="d"}` or nothing; values hold no raw quote.
fn check_labels(labels: &str) -> Result<(), String> {
    if labels.is_empty() {
        return Ok(());
    }
    let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix("\"}")).ok_or("labels not closed")?;
    let mut names = BTreeSet::new();
    for pair in inner.split("\",") {
        let (name, value) = pair.split_once("=\"").ok_or("a label without a value")?;
        let valid = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !valid || value.contains('"') || !names.insert(name.to_owned()) {
            return Err(format!("label {name} is invalid or comes twice"));
        }
    }
    Ok(())
}

/// Buckets rise with their bound, end with +Inf, and +Inf equals the count.
fn check_histogram(name: &str, samples: &[(String, f64)]) -> Result<(), String> {
    let (mut bound, mut count, mut closed) = (f64::NEG_INFINITY, 0.0, false);
    for (series, value) in samples {
        if let Some((_, le)) = series.split_once("le=\"") {
            let le: f64 = le.trim_end_matches("\"}").parse().map_err(|_| format!("bound in {series}"))?;
            if le <= bound || *value < count {
                return Err(format!("{series} does not rise"));
            }
            (bound, count, closed) = (le, *value, le.is_infinite());
        } else if series.starts_with(&format!("{name}_count")) {
            if !closed || *value != count {
                return Err(format!("{series} is not its +Inf bucket"));
            }
            (bound, count, closed) = (f64::NEG_INFINITY, 0.0, false);
        }
    }
    Ok(())
}

#[test]
fn the_reader_refuses_what_is_wrong() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\"} 1\n";
    assert!(check(good).is_ok());
    for bad in [
        "# HELP a_total x\n# TYPE a_total counter\na_total 1",
        "# TYPE a_total counter\na_total 1\n",
        "# HELP a_total x\na_total 1\n",
        "# HELP a_total x\n# TYPE a_total counter\na_total 1\na_total 2\n",
        "# HELP a x\n# TYPE a counter\na 1\n",
        "# HELP a x\n# TYPE a gauge\n",
        "# HELP a x\n# TYPE a gauge\nb 1\n",
        "# HELP a x\n# TYPE a gauge\na{b=\"c\",b=\"d\"} 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
}
