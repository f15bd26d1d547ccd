//! `cargo xtask bench`: runs the benchmarks, collects what they print, and puts it into one table with the machine in it.
//!
//! A benchmark prints lines of `BENCH {"name": …, "value": …, "unit": …, "target": …}`. The target reads `≤ 40` or `≥ 0.8`,
//! and may be empty.

mod history;

use std::{
    fmt::Write as _,
    fs,
    process::{Command, ExitCode, Stdio},
    thread::available_parallelism,
};

use serde_json::Value;

use crate::{
    Result, guests,
    tool::{at, cargo, lines, output, root, say, write},
};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const HISTORY: &str = "docs/benchmarks.jsonl";

/// One figure.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    target: String,
}

/// Builds everything optimised, measures, prints the table.
pub(crate) fn run(into_docs: bool) -> Result<ExitCode> {
    guests::build_all()?;
    say(
        "running `cargo bench`: this takes 15 minutes on two cores, and 15 minutes more the first time, to compile Wasmtime with optimisation",
    );
    let (figures, done) = measure()?;
    let table = table(&machine(), &figures);
    println!("{table}");
    done?;
    let record = root().join(HISTORY);
    let losses = history::losses(&history::last(&record)?, &figures);
    if into_docs {
        let path = root().join("docs/BENCHMARKS.md");
        let before = if path.exists() { at(&path, fs::read_to_string(&path))? } else { String::new() };
        write(&path, &insert(&before, &table))?;
        let before = if record.exists() { at(&record, fs::read_to_string(&record))? } else { String::new() };
        write(&record, &history::with(&before, &commit()?, &date(), &figures))?;
        say(&format!("wrote {} and {}", path.display(), record.display()));
    }
    let missed: Vec<&str> =
        figures.iter().filter(|one| one.holds() == Some(false)).map(|one| one.name.as_str()).collect();
    let mut wrong = Vec::new();
    if !missed.is_empty() {
        wrong.push(format!("these figures miss their targets: {}", missed.join("; ")));
    }
    if !losses.is_empty() {
        wrong.push(format!("these ratios are more than 10 % worse than in the last run: {}", losses.join("; ")));
    }
    if wrong.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(wrong.join("\n")) }
}

/// The commit that is measured, marked where the tree has other changes.
fn commit() -> Result<String> {
    let said =
        output(Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).current_dir(root()))?;
    Ok(said.trim().to_owned())
}

fn date() -> String {
    output(Command::new("date").args(["-u", "+%F"])).unwrap_or_default().trim().to_owned()
}

/// Runs every bench target. Gives the figures, and whether all benchmarks succeeded.
fn measure() -> Result<(Vec<Figure>, Result<()>)> {
    // A benchmark that cannot run, because a program is missing, must not stop the others.
    let mut child = cargo(&["bench", "--package", "vitalsign", "--bench", "*", "--no-fail-fast"])
        .env("VITALSIGN_GUESTS", guests::folder())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    let mut figures = Vec::new();
    for line in lines(child.stdout.take()) {
        eprintln!("{line}");
        figures.extend(
            figure(&line)
                .transpose()
                .map_err(|error| format!("the benchmark printed `{line}`, which is not a valid figure: {error}"))?,
        );
    }
    let status = child.wait().map_err(|error| format!("waiting for cargo failed: {error}"))?;
    let done = if status.success() {
        Ok(())
    } else {
        Err(format!("some benchmarks did not run: `cargo bench` failed ({status})"))
    };
    Ok((figures, done))
}

/// The figure on a line, when it has one.
fn figure(line: &str) -> Option<Result<Figure>> {
    let json = line.strip_prefix("BENCH ")?;
    Some(serde_json::from_str::<Value>(json).map_err(|error| error.to_string()).and_then(|json| {
        let text = |key: &str| json[key].as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` is not a text"));
        let value = json["value"].as_f64().ok_or("`value` is not a number")?;
        Ok(Figure { name: text("name")?, value, unit: text("unit")?, target: text("target")? })
    }))
}

impl Figure {
    /// Whether the target is met; `None` without a target.
    fn holds(&self) -> Option<bool> {
        let (word, bound) = self.target.split_once(' ')?;
        let bound: f64 = bound.parse().ok()?;
        match word {
            "≤" => Some(self.value <= bound),
            "≥" => Some(self.value >= bound),
            _ => None,
        }
    }
}

/// The machine, one line a fact.
fn machine() -> Vec<(String, String)> {
    let file = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
    };
    let said =
        |program: &str, words: &[&str]| output(Command::new(program).args(words)).unwrap_or_default().trim().to_owned();
    let memory: u64 = file("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let fact = |name: &str, value: String| (name.to_owned(), value);
    vec![
        fact("CPU", file("/proc/cpuinfo", "model name")),
        fact("cores", available_parallelism().map_or(0, usize::from).to_string()),
        fact("memory", format!("{} GiB", memory / 1024 / 1024)),
        fact("kernel", file("/proc/sys/kernel/osrelease", "")),
        fact("compiler", said("rustc", &["--version"])),
        fact("date", date()),
    ]
}

fn table(machine: &[(String, String)], figures: &[Figure]) -> String {
    let mut text = String::new();
    for (name, value) in machine {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text.push_str("\n| what | measured | target | |\n|---|---:|---:|---|\n");
    for one in figures {
        let verdict = one.holds().map_or("", |holds| if holds { "holds" } else { "**missed**" });
        let (value, Figure { unit, name, target, .. }) = (number(one.value), one);
        let _ = writeln!(text, "| {name} | {} | {} | {verdict} |", format!("{value} {unit}").trim_end(), target);
    }
    text
}

/// Three digits are as many as a benchmark is good for.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `before` with the table between its markers, which are added when they are missing.
fn insert(before: &str, table: &str) -> String {
    let block = format!("{BEGIN}\n{table}{END}");
    match (before.split_once(BEGIN), before.split_once(END)) {
        (Some((head, _)), Some((_, tail))) => format!("{head}{block}{tail}"),
        _ if before.is_empty() => format!("# Benchmarks\n\nMeasured with `cargo xtask bench --write`.\n\n{block}\n"),
        _ => format!("{}\n\n{block}\n", before.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64, target: &str) -> Figure {
        Figure { name: "run".into(), value, unit: "µs".into(), target: target.into() }
    }

    #[test]
    fn figures_are_read_from_marked_lines() {
        assert_eq!(figure("running 3 benches"), None);
        let line = r#"BENCH {"name":"run","value":21.4,"unit":"µs","target":"≤ 40"}"#;
        assert_eq!(figure(line), Some(Ok(one(21.4, "≤ 40"))));
        assert_eq!(figure(r#"BENCH {"name":"run"}"#), Some(Err("`value` is not a number".into())));
    }

    #[test]
    fn a_target_is_a_floor_or_a_ceiling() {
        let holds = [one(40.0, "≤ 40"), one(41.0, "≤ 40"), one(0.8, "≥ 0.8"), one(0.79, "≥ 0.8"), one(1.0, "")]
            .map(|one| one.holds());
        assert_eq!(holds, [Some(true), Some(false), Some(true), Some(false), None]);
    }

    #[test]
    fn the_table_shows_what_was_missed() {
        let text = table(&[("cores".into(), "2".into())], &[one(21.44, "≤ 40"), one(39.0, "≥ 40"), one(1234.5, "")]);
        assert_eq!(
            text,
            "- cores: 2\n\n| what | measured | target | |\n|---|---:|---:|---|\n\
             | run | 21.4 µs | ≤ 40 | holds |\n| run | 39.0 µs | ≥ 40 | **missed** |\n| run | 1234 µs |  |  |\n"
        );
    }

    #[test]
    fn the_table_replaces_the_one_before() {
        let first = insert("", "one\n");
        assert!(first.ends_with("<!-- bench:begin -->\none\n<!-- bench:end -->\n"));
        let second = insert(&format!("{first}after"), "two\n");
        assert!(
            second.contains("begin -->\ntwo\n<!-- bench:end") && second.ends_with("after") && !second.contains("one")
        );
        assert_eq!(insert("text", "t\n"), "text\n\n<!-- bench:begin -->\nt\n<!-- bench:end -->\n");
    }
}
