//! Reads the Prometheus text format 0.0.4, and refuses what a strict reader would.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// A metric with all its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// As in `# HELP` and `# TYPE`.
    pub name: String,
    /// The words after `# HELP`.
    pub help: String,
    /// `counter` or `gauge`.
    pub kind: String,
    /// Each series.
    pub samples: Vec<Sample>,
}

/// One series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// The families of a whole answer. Only counters and gauges are known.
///
/// # Errors
/// When a line is malformed, a family has no help or type, comes twice or has no sample, a series comes twice, a name is none, or
/// a counter is not called `_total`, is negative or is no number; the text has the line.
pub fn parse(text: &str) -> Result<Vec<Family>> {
    ensure!(text.ends_with('\n'), "the last line does not end");
    let mut families: Vec<Family> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let family = header(line, lines.next().unwrap_or_default()).with_context(|| line.to_owned())?;
        ensure!(families.iter().all(|known| known.name != family.name), "{} comes twice", family.name);
        families.push(family);
        let family = families.last_mut().context("it was pushed")?;
        let mut seen = BTreeSet::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let sample = sample(line, family).with_context(|| line.to_owned())?;
            ensure!(seen.insert(sample.labels.clone()), "{line}: this series comes twice");
            family.samples.push(sample);
        }
        ensure!(!family.samples.is_empty(), "{} has no sample", family.name);
    }
    Ok(families)
}

/// The value of one series; the labels must be exactly these.
#[must_use]
pub fn value(families: &[Family], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let family = families.iter().find(|family| family.name == name)?;
    Some(family.samples.iter().find(|sample| sample.labels == labels)?.value)
}

fn header(help: &str, kind: &str) -> Result<Family> {
    let (name, help) =
        help.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).context("no HELP")?;
    ensure!(is_name(name, true), "{name:?} is no name");
    let (typed, kind) =
        kind.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')).context("no TYPE after HELP")?;
    ensure!(typed == name, "TYPE is of {typed}");
    ensure!(!help.trim().is_empty(), "no help");
    match kind {
        "counter" => ensure!(name.ends_with("_total"), "a counter must be called _total"),
        "gauge" => ensure!(!name.ends_with("_total"), "only counters are called _total"),
        other => bail!("unexpected type {other:?}"),
    }
    Ok(Family { name: name.to_owned(), help: help.to_owned(), kind: kind.to_owned(), samples: Vec::new() })
}

fn sample(line: &str, family: &Family) -> Result<Sample> {
    let rest = line.strip_prefix(family.name.as_str()).context("not of the family above it")?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value: f64 = value.strip_prefix(' ').context("no value")?.parse()?;
    if family.kind == "counter" {
        ensure!(value.is_finite() && value >= 0.0, "no count");
    }
    Ok(Sample { labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut found = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").context("no label")?;
        ensure!(is_name(name, false), "{name:?} is no label's name");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().context("the value does not end")? {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().context("the value does not end")?.1 {
                    'n' => '\n',
                    same @ ('"' | '\\') => same,
                    other => bail!("unknown escape \\{other}"),
                }),
                (_, plain) => value.push(plain),
            }
        };
        ensure!(found.insert(name.to_owned(), value).is_none(), "the label {name} comes twice");
        rest = &after[end + 1..];
        if let Some(value) = rest.strip_prefix('}') {
            return Ok((found, value));
        }
        rest = rest.strip_prefix(',').context("neither , nor } after a label")?;
    }
}

fn is_name(name: &str, colons: bool) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    name.chars().all(plain) && name.starts_with(|first: char| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\"q\\\\\"} 2\na_total{x=\"2\",y=\"\"} 0\n\
        # HELP b Now.\n# TYPE b gauge\nb -1.5\n";

    #[test]
    fn a_good_page_is_read() {
        let families = parse(GOOD).expect("it is good");
        assert_eq!(value(&families, "a_total", &[("x", "1"), ("y", "\"q\\")]), Some(2.0));
        assert_eq!(value(&families, "b", &[]), Some(-1.5));
        assert_eq!(value(&families, "b", &[("x", "1")]), None);
    }

    #[test]
    fn what_a_strict_reader_would_refuse_is_refused() {
        let twice = format!("{GOOD}{GOOD}");
        for (bad, why) in [
            (twice.as_str(), "a family twice"),
            ("b 1\n", "no help"),
            ("# HELP b B.\nb 1\n", "no type"),
            ("# HELP b B.\n# TYPE b gauge\n", "no sample"),
            ("# HELP b B.\n# TYPE b gauge\nb 1\nb 2\n", "a series twice"),
            ("# HELP b B.\n# TYPE b gauge\nc 1\n", "another name"),
            ("# HELP b B.\n# TYPE b gauge\nb{x=\"1\n", "an open value"),
            ("# HELP b B.\n# TYPE b gauge\nb{x=\"1\"}\n", "no value"),
            ("# HELP b B.\n# TYPE b gauge\nb{1x=\"1\"} 1\n", "a bad label"),
            ("# HELP b B.\n# TYPE b counter\nb 1\n", "a counter without _total"),
            ("# HELP b_total B.\n# TYPE b_total counter\nb_total -1\n", "a negative count"),
            ("# HELP b B.\n# TYPE b gauge\nb 1\n# EOF", "no line end"),
        ] {
            assert!(parse(bad).is_err(), "{why}");
        }
    }
}
