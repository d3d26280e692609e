//! `skywave token`: keys and their hashes.

use super::{complain, fail, say};
use crate::auth::{KeyHash, check_key, new_key};
use clap::Subcommand;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

/// More than any key has.
const INPUT_MAX_BYTES: u64 = 4096;

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a key: prints the key, which is for the client and shown this once, and its hash, which is for the configuration.
    New,
    /// Print the hash of a key that is read from standard input.
    Hash,
}

pub(super) fn run(command: &TokenCommand) -> ExitCode {
    match command {
        TokenCommand::New => {
            let key = new_key();
            say(&format!("key:  {key}"));
            say(&format!("hash: {}", KeyHash::of(&key)));
            ExitCode::SUCCESS
        }
        TokenCommand::Hash => hash(),
    }
}

fn hash() -> ExitCode {
    let input = std::io::stdin();
    if input.is_terminal() {
        complain("Type or paste the key, then press Enter and Ctrl-D.");
    }
    let mut text = String::new();
    if let Err(error) = input.lock().take(INPUT_MAX_BYTES).read_to_string(&mut text) {
        return fail(1, &format!("cannot read the key from standard input: {error}"));
    }
    // An echo or an editor ends the line; no key has blanks.
    let key = text.trim();
    match check_key(key) {
        Ok(()) => {
            say(&KeyHash::of(key).to_string());
            ExitCode::SUCCESS
        }
        Err(error) => fail(2, &error.to_string()),
    }
}
