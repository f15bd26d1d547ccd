//! `cargo xtask fuzz`: the reader of archives under libFuzzer, on the stable toolchain.
//!
//! The compiler puts the counters in that libFuzzer steers by; what it finds new stays in `target/fuzz/corpus`, so that the
//! next run goes on from there. Inputs that broke something are kept too, and their path is told.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use crate::{
    Result,
    tool::{at, cargo, lines, output, root, run as run_it, say, target},
};

/// Ten minutes.
const SECONDS: u32 = 600;

/// Room for more members than an archive may have, which needs 17 headers, and no more: short inputs are many inputs.
const MAX_INPUT_BYTES: u32 = 12 * 1024;

/// Far above what the reader may take; what grows without a bound gets there.
const MAX_MEMORY_MIB: u32 = 512;

/// One input; a usual one takes less than a millisecond.
const MAX_INPUT_SECONDS: u32 = 10;

/// Counters at every edge and compare, as `cargo fuzz` sets them; one unit, since the counters of a crate have to lie together.
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 --cfg fuzzing";

/// How a run ended.
pub(crate) struct FuzzResult {
    inputs: u64,
    peak_mib: u64,
    edges: u64,
    /// The input that broke something, or what else went wrong.
    broken: Option<String>,
}

impl FuzzResult {
    /// Says it, and gives the exit code for it.
    pub(crate) fn told(&self) -> ExitCode {
        let Self { inputs, peak_mib, edges, broken } = self;
        let verdict =
            broken.as_ref().map_or("the fuzzer found nothing".to_owned(), |broken| format!("FAILED: {broken}"));
        say(&format!("{verdict}; {inputs} inputs, {edges} edges covered, at most {peak_mib} MiB of memory"));
        if broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The time that the command line gives.
pub(crate) fn seconds(words: &[&str]) -> Result<u32> {
    match words {
        [] => Ok(SECONDS),
        ["--seconds", number] => match number.parse() {
            Ok(seconds) if seconds > 0 => Ok(seconds),
            _ => Err(format!("`{number}` is not a number of seconds")),
        },
        other => Err(format!("unknown option `{}`; use `--seconds N`", other.join(" "))),
    }
}

/// Builds the fuzzer and lets it run.
pub(crate) fn run(seconds: u32) -> Result<FuzzResult> {
    let fuzzer = build()?;
    let (corpus, broken) = (folder().join("corpus"), folder().join("broken"));
    for folder in [&corpus, &broken] {
        at(folder, fs::create_dir_all(folder))?;
    }
    say(&format!("fuzzing the reader of archives for {seconds} s; inputs are kept in {}", folder().display()));
    let mut child = Command::new(&fuzzer)
        .args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={MAX_INPUT_BYTES}"),
            format!("-rss_limit_mb={MAX_MEMORY_MIB}"),
            format!("-timeout={MAX_INPUT_SECONDS}"),
            format!("-artifact_prefix={}/", broken.display()),
            "-print_final_stats=1".to_owned(),
        ])
        .args([&corpus, &root().join("tests/fuzz/corpus")])
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} could not be started: {error}", fuzzer.display()))?;
    let mut log = FuzzLog::default();
    for line in lines(child.stderr.take()) {
        if log.take(&line) {
            eprintln!("{line}");
        }
    }
    let status = child.wait().map_err(|error| format!("waiting for the fuzzer failed: {error}"))?;
    let FuzzLog { inputs, peak_mib, edges, broken } = log;
    let broken = match (status.success(), broken) {
        (true, _) => None,
        (false, Some(path)) => {
            Some(format!("the input {path} makes the reader fail; run `{} {path}` to see how", fuzzer.display()))
        }
        (false, None) => Some(format!("the fuzzer ended with {status}")),
    };
    Ok(FuzzResult { inputs, peak_mib, edges, broken })
}

/// Where cargo builds it, and where it keeps its inputs.
fn folder() -> PathBuf {
    target().join("fuzz")
}

/// Builds the fuzzer and gives its path.
fn build() -> Result<PathBuf> {
    let said = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host =
        said.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("`rustc -vV` does not name its host target")?;
    say("building the fuzzer");
    // Named as the target, what runs while building gets no counters.
    let mut command = cargo(&["build", "--release", "--locked", "--bin", "archive", "--target", host, "--target-dir"]);
    command.arg(folder()).arg("--manifest-path").arg(Path::new("tests/fuzz/Cargo.toml"));
    run_it(command.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder().join(host).join("release/archive"))
}

/// What the fuzzer's own lines come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct FuzzLog {
    inputs: u64,
    peak_mib: u64,
    edges: u64,
    broken: Option<String>,
}

impl FuzzLog {
    /// Takes a line in; whether a person should see it.
    fn take(&mut self, line: &str) -> bool {
        let number = |text: &str| text.trim().parse().unwrap_or_default();
        if let Some((_, rest)) = line.split_once(" cov: ") {
            self.edges = rest.split(' ').next().map_or(0, number);
        } else if let Some(rest) = line.strip_prefix("stat::number_of_executed_units:") {
            self.inputs = number(rest);
        } else if let Some(rest) = line.strip_prefix("stat::peak_rss_mb:") {
            self.peak_mib = number(rest);
        } else if let Some((_, rest)) = line.split_once("Test unit written to ") {
            self.broken = Some(rest.trim().to_owned());
        }
        let is_step = line.starts_with('#') && !line.contains("\tpulse");
        !is_step
            && !["\"", "stat::", "\tNEW_FUNC", "WARNING: Failed to find"].iter().any(|start| line.starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read() {
        assert_eq!(seconds(&[]), Ok(600));
        assert_eq!(seconds(&["--seconds", "5"]), Ok(5));
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["--seconds", "x"], &["5"]] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_log_is_added_up() {
        let mut log = FuzzLog::default();
        let shown: Vec<bool> = [
            "INFO: Running with entropic power schedule (0xFF, 100).",
            "#742106\tNEW    cov: 2916 ft: 10461 corp: 1275/1604Kb lim: 3822 exec/s: 1667 rss: 57Mb L: 2615/3751 MS: 4",
            "#1048576\tpulse  cov: 2917 ft: 10462 corp: 1275/1604Kb lim: 3822 exec/s: 1667 rss: 57Mb",
            "\"\\001\\000\" # Uses: 3",
            "\tNEW_FUNC[1/1]: 0x5556eb10e5a1",
            "stat::number_of_executed_units: 1048577",
            "stat::peak_rss_mb:              57",
            "artifact_prefix='a/'; Test unit written to a/crash-1",
        ]
        .iter()
        .map(|line| log.take(line))
        .collect();
        assert_eq!(shown, [true, false, true, false, false, false, false, true]);
        let broken = Some("a/crash-1".to_owned());
        assert_eq!(log, FuzzLog { inputs: 1_048_577, peak_mib: 57, edges: 2917, broken });
    }
}
