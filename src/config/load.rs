//! Reads the configuration: defaults, then the file, then `SKYWAVE_*` variables, then flags.
//!
//! The list of keys is read off the defaults themselves, so no key can be missing from one of the sources.

use super::Config;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A configuration that cannot be used, in words for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not valid TOML: {source}")]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{origin}: there is no key `{key}`{hint}")]
    UnknownKey { origin: String, key: String, hint: String },
    #[error("{origin}: `{key}` {reason}")]
    Value { origin: String, key: String, reason: String },
    #[error("{}", .0.join("\n"))]
    Impossible(Vec<String>),
}

/// Variables that stand for flags, not for keys.
const OF_FLAGS: [&str; 2] = ["SKYWAVE_CONFIG", "SKYWAVE_TOKEN"];

/// The sections that may stand several times in a file (`[[access]]`), with their keys. They are read from files alone.
const LISTS: [(&str, &[&str]); 1] = [("access", &["stream", "publish", "view"])];

/// One `key = value` from a variable or a flag: its origin for messages, the key, the value as text.
pub(crate) struct Override {
    pub(crate) origin: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The configuration from `file`, the variables of `env` and `flags`, checked as a whole.
pub(crate) fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    flags: Vec<Override>,
) -> Result<Config, ConfigError> {
    let mut merged = defaults();
    let known = keys(&merged);
    if let Some(path) = file {
        merge_file(&mut merged, &known, path)?;
    }
    for one in from_env(&known, env)?.into_iter().chain(flags) {
        set(&mut merged, &known, &one)?;
    }
    let config: Config = merged.try_into().map_err(|e: toml::de::Error| ConfigError::Value {
        origin: "configuration".to_owned(),
        key: String::new(),
        reason: e.message().to_owned(),
    })?;
    let problems = config.problems();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Impossible(problems)) }
}

/// Every key that only a file can set, with the section's brackets: `[[access]] stream`.
pub(crate) fn keys_of_lists() -> impl Iterator<Item = String> {
    LISTS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("[[{section}]] {key}")))
}

/// Every other key of the configuration, dotted: `hls.segment_ms`.
pub(crate) fn all_keys() -> Vec<String> {
    keys(&defaults())
}

/// The variable that sets `key`: `hls.segment_ms` is `SKYWAVE_HLS_SEGMENT_MS`.
pub(crate) fn variable(key: &str) -> String {
    format!("SKYWAVE_{}", key.replace('.', "_").to_uppercase())
}

fn defaults() -> Table {
    Table::try_from(Config::default()).expect("the defaults are plain values, which TOML can hold")
}

fn keys(table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (section, value) in table {
        if let Value::Table(inner) = value {
            found.extend(inner.keys().map(|key| format!("{section}.{key}")));
        }
    }
    found
}

fn merge_file(merged: &mut Table, known: &[String], path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let syntax = |e: toml::de::Error| ConfigError::Syntax { path: path.to_owned(), source: Box::new(e) };
    let file: Table = text.parse().map_err(syntax)?;
    let origin = path.display().to_string();
    for (section, value) in &file {
        if let Some((_, keys)) = LISTS.iter().find(|(list, _)| list == section) {
            check_list(&origin, section, value, keys)?;
            continue;
        }
        let Value::Table(inner) = value else {
            return Err(unknown(&origin, section, known));
        };
        if !merged.contains_key(section) {
            return Err(unknown(&origin, section, known));
        }
        for key in inner.keys() {
            let dotted = format!("{section}.{key}");
            if !known.contains(&dotted) {
                return Err(unknown(&origin, &dotted, known));
            }
        }
    }
    // Types are checked against the text itself, because only then the error shows line and column.
    toml::from_str::<Config>(&text).map_err(syntax)?;
    for (section, value) in file {
        match (merged.get_mut(&section), value) {
            (Some(Value::Table(into)), Value::Table(from)) => into.extend(from),
            (Some(into @ Value::Array(_)), from @ Value::Array(_)) => *into = from,
            _ => {}
        }
    }
    Ok(())
}

/// Looks for misspelt keys in a section that may stand several times.
fn check_list(origin: &str, section: &str, value: &Value, keys: &[&str]) -> Result<(), ConfigError> {
    let Some(entries) = value.as_array() else {
        let reason = format!("is a list: write [[{section}]] with two brackets, once for each entry");
        return Err(ConfigError::Value { origin: origin.to_owned(), key: section.to_owned(), reason });
    };
    for key in entries.iter().filter_map(Value::as_table).flat_map(Table::keys) {
        if !keys.contains(&key.as_str()) {
            let known: Vec<String> = keys.iter().map(|key| format!("{section}.{key}")).collect();
            return Err(unknown(origin, &format!("{section}.{key}"), &known));
        }
    }
    Ok(())
}

fn from_env(
    known: &[String],
    env: impl Iterator<Item = (String, String)>,
) -> Result<Vec<Override>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in
        env.filter(|(name, _)| name.starts_with("SKYWAVE_") && !OF_FLAGS.contains(&name.as_str()))
    {
        match known.iter().find(|key| variable(key) == name) {
            Some(key) => found.push(Override { origin: format!("variable {name}"), key: key.clone(), value }),
            None => {
                let variables: Vec<String> = known.iter().map(|key| variable(key)).collect();
                return Err(unknown("environment", &name, &variables));
            }
        }
    }
    Ok(found)
}

fn set(merged: &mut Table, known: &[String], one: &Override) -> Result<(), ConfigError> {
    let slot = one
        .key
        .split_once('.')
        .and_then(|(section, key)| merged.get_mut(section)?.as_table_mut()?.get_mut(key))
        .ok_or_else(|| unknown(&one.origin, &one.key, known))?;
    *slot = parse_like(slot, &one.value).map_err(|reason| ConfigError::Value {
        origin: one.origin.clone(),
        key: one.key.clone(),
        reason,
    })?;
    let probe: Result<Config, _> = merged.clone().try_into();
    probe.map(|_| ()).map_err(|e| ConfigError::Value {
        origin: one.origin.clone(),
        key: one.key.clone(),
        reason: format!("cannot be {:?}: {}", one.value, e.message()),
    })
}

/// Reads `text` as a value of the same type as the default: a word needs no quotes, a list no brackets.
fn parse_like(default: &Value, text: &str) -> Result<Value, String> {
    let wrong = |what: &str| format!("wants {what}, not {text:?}");
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| wrong("a whole number")),
        Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_| wrong("true or false")),
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_| wrong("a number")),
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )),
        Value::Datetime(_) | Value::Table(_) => Err(wrong("a single value")),
    }
}

fn unknown(origin: &str, key: &str, known: &[String]) -> ConfigError {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(candidate, key), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.4);
    let hint = match nearest {
        Some((_, candidate)) => format!("; did you mean `{candidate}`?"),
        None => "; samples/skywave.toml lists them all".to_owned(),
    };
    ConfigError::UnknownKey { origin: origin.to_owned(), key: key.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(Some(file.path()), env, Vec::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn variables_outweigh_the_file_and_the_file_the_defaults() {
        let config =
            load_text("[hls]\nsegment_ms = 4000\ndvr_ms = 60000\n", &[("SKYWAVE_HLS_DVR_MS", "90000")]);
        let hls = config.unwrap().hls;
        assert_eq!((hls.segment_ms, hls.dvr_ms, hls.part_ms), (4000, 90000, 200));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_one() {
        let error = load_text("[hls]\nsegmnt_ms = 4000\n", &[]).unwrap_err();
        assert!(error.contains("no key `hls.segmnt_ms`; did you mean `hls.segment_ms`?"), "{error}");
        let error = load_text("", &[("SKYWAVE_HSL_SEGMENT_MS", "1")]).unwrap_err();
        assert!(error.contains("did you mean `SKYWAVE_HLS_SEGMENT_MS`?"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_shows_its_place() {
        let error = load_text("[hls]\nsegment_ms = \"long\"\n", &[]).unwrap_err();
        assert!(error.contains("line 2") && error.contains("segment_ms"), "{error}");
        let error = load_text("", &[("SKYWAVE_HLS_SEGMENT_MS", "long")]).unwrap_err();
        assert!(error.contains("wants a whole number"), "{error}");
        let error = load_text("", &[("SKYWAVE_MEDIA_ADVERTISE", "1.2.3.4, host")]).unwrap_err();
        assert!(error.contains("media.advertise"), "{error}");
    }

    #[test]
    fn rules_are_read_in_the_order_of_the_file() {
        let hash = crate::auth::KeyHash::of("k");
        let text = format!(
            "[[access]]\nstream = \"demo\"\npublish = [\"{hash}\"]\n[[access]]\nstream = \"*\"\nview = []\n[hls]\npart_ms = 300\n"
        );
        let config = load_text(&text, &[("SKYWAVE_HLS_PART_MS", "400")]).unwrap();
        assert_eq!((config.access.len(), config.hls.part_ms), (2, 400));
        assert_eq!(config.access[0].publish, Some(vec![hash]));
        assert_eq!(
            (config.access[1].publish.as_ref(), config.access[1].view.as_deref()),
            (None, Some(&[][..]))
        );
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        let error = load_text("[[access]]\nstraem = \"demo\"\n", &[]).unwrap_err();
        assert!(error.contains("did you mean `access.stream`?"), "{error}");
        let error = load_text("[access]\nstream = \"demo\"\n", &[]).unwrap_err();
        assert!(error.contains("[[access]]"), "{error}");
        let error = load_text("[[access]]\nstream = \"demo\"\nview = [\"secret\"]\n", &[]).unwrap_err();
        assert!(error.contains("line 3") && error.contains("sha256:"), "{error}");
        let error = load_text("[[access]]\nview = []\n", &[]).unwrap_err();
        assert!(error.contains("stream"), "{error}");
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let mut variables: Vec<String> = all_keys().iter().map(|k| variable(k)).collect();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), all_keys().len());
    }

    #[test]
    fn the_sample_names_every_key_with_its_default() {
        let text = include_str!("../../samples/skywave.toml");
        let sample: Config = toml::from_str(text).unwrap();
        assert_eq!(sample, Config::default());
        let table: Table = text.parse().unwrap();
        assert_eq!(
            keys(&table).into_iter().collect::<std::collections::BTreeSet<_>>(),
            all_keys().into_iter().collect()
        );
    }
}
