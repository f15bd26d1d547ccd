//! `cargo xtask test`: runs every test, or those of one room, and prints a summary. `cargo xtask quick`: what is looked at before
//! each commit.
//!
//! Rooms are found in the tree, so that there is no list of them to forget.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use crate::{
    Result, guests,
    tool::{at, cargo, lines, root, run as run_command, say},
};

/// Checks the format, clippy and the layers.
pub(crate) fn quick() -> Result<ExitCode> {
    let start = Instant::now();
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    run_command(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run_command(&mut cargo(&["test", "--quiet", "--package", "xtask"]))?;
    say(&format!("format, clippy and layers are in order, {} s", start.elapsed().as_secs()));
    Ok(ExitCode::SUCCESS)
}

/// Runs the tests of one room: those in its sources, and the end-to-end tests of that name.
pub(crate) fn room(name: &str) -> Result<ExitCode> {
    let rooms = rooms(&root())?;
    let Some(commands) = rooms.get(name) else {
        let names: Vec<&str> = rooms.keys().map(String::as_str).collect();
        return Err(format!("there is no room `{name}`; the rooms are {}", names.join(", ")));
    };
    let mut holds = true;
    for words in commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        holds &= tests(&mut cargo(&words))?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every room with the commands that run its tests: the crates, the modules of the product, and the files of the end-to-end suite.
fn rooms(root: &Path) -> Result<BTreeMap<String, Vec<Vec<String>>>> {
    let mut rooms: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for folder in names(&root.join("host"))? {
        let package = package(&root.join("host").join(&folder))?;
        rooms.entry(folder).or_default().push(words(&["test", "--package", &package, "--lib"]));
    }
    for module in names(&root.join("host/vitalsign/src"))? {
        if !["lib", "main"].contains(&module.as_str()) {
            let command = words(&["test", "--package", "vitalsign", "--lib", "--", &format!("{module}::")]);
            rooms.entry(module).or_default().push(command);
        }
    }
    for suite in names(&root.join("tests"))? {
        if root.join("tests").join(&suite).with_extension("rs").exists() && suite != "main" {
            let command = words(&["test", "--package", "vitalsign", "--test", "e2e", "--", &format!("{suite}::")]);
            rooms.entry(suite).or_default().push(command);
        }
    }
    rooms.entry("xtask".to_owned()).or_default().push(words(&["test", "--package", "xtask"]));
    rooms.entry("sdk".to_owned()).or_default().push(words(&["test", "--package", "vitalsign-plugin"]));
    Ok(rooms)
}

/// The names in a folder, without their endings, each once.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in at(folder, fs::read_dir(folder))? {
        let path = at(folder, entry)?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The name of the package in a folder.
fn package(folder: &Path) -> Result<String> {
    let manifest = folder.join("Cargo.toml");
    let text = at(&manifest, fs::read_to_string(&manifest))?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(str::to_owned).ok_or_else(|| format!("{} has no name", manifest.display()))
}

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
    fn rooms_are_found_in_the_tree() {
        let rooms = rooms(&root()).unwrap();
        let shown = |name: &str| rooms[name].iter().map(|words| words.join(" ")).collect::<Vec<_>>();
        assert_eq!(shown("sqlite"), ["test --package vitalsign-sqlite --lib"]);
        let backup = ["test --package vitalsign --lib -- backup::", "test --package vitalsign --test e2e -- backup::"];
        assert_eq!(shown("backup"), backup);
        assert_eq!(shown("guard"), ["test --package vitalsign --test e2e -- guard::"]);
        assert!(!rooms.contains_key("main"));
    }

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
