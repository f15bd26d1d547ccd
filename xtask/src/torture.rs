//! `cargo xtask torture`: backups and restores that are killed, cut, flipped and starved at length, then the fuzzer.
//!
//! The tests are those of the end-to-end suite, which `cargo xtask test` runs in a short form; a variable asks for the long one.

use std::process::ExitCode;

use crate::{
    Result, fuzz, guests, suites,
    tool::{cargo, say},
};

/// Asks the tests for their long form.
const VARIABLE: (&str, &str) = ("VITALSIGN_TORTURE", "long");

/// What the names of these tests have in common.
const TESTS: &str = "torture";

/// Runs both, the second also when the first fails: whoever waits for an hour wants to know everything.
pub(crate) fn run(seconds: u32) -> Result<ExitCode> {
    guests::build_all()?;
    say("running the long forms of the torture tests");
    let mut tests = cargo(&["test", "--package", "vitalsign", "--test", "e2e", TESTS, "--", "--nocapture"]);
    let holds = suites::tests(tests.env(VARIABLE.0, VARIABLE.1))?;
    let fuzzed = fuzz::run(seconds)?;
    say(if holds { "torture: the tests passed" } else { "torture: the tests did NOT pass" });
    let code = fuzzed.told();
    Ok(if holds { code } else { ExitCode::FAILURE })
}
