//! `cargo xtask test`: runs every test and prints a summary.

use std::{
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use crate::{
    Result, guests,
    tool::{cargo, lines, say},
};

/// Builds the guests, then runs every test of the workspace.
pub(crate) fn run() -> Result<ExitCode> {
    guests::build_all()?;
    say(
        "running every test; the first time this takes 5 to 10 minutes on two cores, because Wasmtime and SQLite are compiled",
    );
    let holds = tests(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs `cargo test …`, shows what it prints and adds it up; whether all is well.
pub(crate) fn tests(command: &mut Command) -> Result<bool> {
    let start = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo could not be started: {error}"))?;
    let mut tally = TestTotals::default();
    for line in lines(child.stdout.take()) {
        tally.count(&line);
        println!("{line}");
    }
    let status = child.wait().map_err(|error| format!("waiting for cargo failed: {error}"))?;
    let TestTotals { suites, passed, failed, ignored } = tally;
    let verdict = if status.success() { "all tests passed" } else { "the tests FAILED" };
    say(&format!(
        "{verdict}: {passed} passed, {failed} failed, {ignored} ignored in {suites} suites, {} s",
        start.elapsed().as_secs()
    ));
    // The exit status of cargo decides, not the numbers: a test binary that crashed reports no numbers.
    Ok(status.success() && failed == 0 && passed > 0)
}

/// What the suites' last lines add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct TestTotals {
    suites: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl TestTotals {
    /// Reads a line of output; most lines are ignored.
    fn count(&mut self, line: &str) {
        let Some(line) = line.strip_prefix("test result: ") else { return };
        self.suites += 1;
        let words: Vec<&str> = line.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u32>() else { continue };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let mut tally = TestTotals::default();
        tally.count("test a ... ok");
        tally.count("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        tally
            .count("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.10s");
        assert_eq!(tally, TestTotals { suites: 2, passed: 7, failed: 3, ignored: 1 });
    }
}
