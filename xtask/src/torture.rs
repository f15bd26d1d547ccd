//! `cargo xtask torture`: long tests that kill, truncate and damage backups and restores or take their disk space or the power,
//! then the fuzzer.
//!
//! `cargo xtask test` runs the same tests in a short form; a variable asks for the long one.

use std::process::ExitCode;

use crate::{
    Result, fuzz, guests, suites,
    tool::{cargo, say},
};

/// Asks the tests for their long form.
const VARIABLE: (&str, &str) = ("VITALSIGN_TORTURE", "long");

/// Where these tests stand: in the room, and in the end-to-end suite.
const TESTS: [&str; 3] = ["backup::", "power::", "torture::"];

/// Runs both, the fuzzer also when the tests fail: a run of an hour should show every failure.
pub(crate) fn run(seconds: u32) -> Result<ExitCode> {
    guests::build_all()?;
    say("running the long forms of the torture tests");
    let mut tests =
        cargo(&["test", "--package", "vitalsign", "--lib", "--test", "e2e", "--no-fail-fast", "--", "--nocapture"]);
    let holds = suites::tests(tests.args(TESTS).env(VARIABLE.0, VARIABLE.1))?;
    let fuzzed = fuzz::run(seconds)?;
    say(if holds { "the torture tests passed" } else { "the torture tests FAILED" });
    let code = fuzzed.told();
    Ok(if holds { code } else { ExitCode::FAILURE })
}
