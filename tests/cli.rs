//! The command line as a person meets it: what it accepts, what it refuses, and in which words.

#![allow(clippy::unwrap_used, reason = "a test may end where something is not as it should be")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn skywave(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skywave"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_sample_configuration_can_be_used() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/skywave.toml");
    let output = skywave(&["config", "check", sample], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_misspelt_key_is_answered_with_the_right_one() {
    let output = skywave(&["config", "check", "--set", "hls.segmen_ms=1000"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `hls.segment_ms`?"), "{}", stderr(&output));
    let output = skywave(&["serve"], &[("SKYWAVE_HLS_SEGMEN_MS", "1000")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `SKYWAVE_HLS_SEGMENT_MS`?"), "{}", stderr(&output));
}

#[test]
fn flags_outweigh_variables() {
    let variables = [("SKYWAVE_HLS_SEGMENT_MS", "3000"), ("SKYWAVE_HLS_PART_MS", "300")];
    let output = skywave(&["config", "show", "--set", "hls.segment_ms=4000"], &variables);
    let shown = stdout(&output);
    assert!(shown.contains("segment_ms = 4000") && shown.contains("part_ms = 300"), "{shown}");
}

#[test]
fn every_key_is_listed_with_its_variable() {
    let listed = stdout(&skywave(&["config", "keys"], &[]));
    assert!(
        listed.lines().any(|l| l.starts_with("hls.segment_ms ") && l.ends_with("SKYWAVE_HLS_SEGMENT_MS"))
    );
}

#[test]
fn an_open_address_has_to_be_meant() {
    let output = skywave(&["serve", "--listen", "0.0.0.0:0"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--open"), "{}", stderr(&output));
}

#[test]
fn an_open_address_needs_no_flag_where_rules_say_who_may() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("skywave.toml");
    std::fs::write(&file, "[http]\nlisten = \"0.0.0.0:8080\"\n[[access]]\nstream = \"*\"\npublish = []\n")
        .unwrap();
    let output = skywave(&["config", "check", file.to_str().unwrap()], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = skywave(&["config", "show", "--config", file.to_str().unwrap()], &[]);
    assert!(stdout(&output).contains("[[access]]"), "{}", stderr(&output));
}

#[test]
fn a_new_key_comes_with_the_hash_that_is_made_of_it() {
    let made = stdout(&skywave(&["token", "new"], &[]));
    let line = |name: &str| made.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    let (key, hash) = (line("key:"), line("hash:"));
    let again = hash_of(&format!("{key}\n"));
    assert_eq!(stdout(&again).trim(), hash);
    let weak = hash_of("secret");
    assert_eq!(weak.status.code(), Some(2));
    assert!(stderr(&weak).contains("skywave token new"), "{}", stderr(&weak));
}

fn hash_of(key: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skywave"));
    command
        .args(["token", "hash"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn secrets_are_not_shown() {
    let shown = skywave(&["config", "show"], &[("SKYWAVE_TURN_SECRET", "north-of-the-wall")]);
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert!(!stdout(&shown).contains("north"), "{}", stdout(&shown));
}

#[test]
fn a_source_that_is_none_is_refused_by_name() {
    let output = skywave(&["publish", "no/such/file.mp4", "http://127.0.0.1:1/whip/x"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no/such/file.mp4"), "{}", stderr(&output));
}

#[test]
fn nothing_the_server_needs_is_missing_here() {
    let output =
        skywave(&["worker", "--check", "--openh264"], &[("PATH", "/usr/bin:/bin"), ("HOME", "/tmp")]);
    assert!(output.status.success(), "{}", stderr(&output));
}
