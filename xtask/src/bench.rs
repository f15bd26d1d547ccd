//! `cargo xtask bench`: runs the benchmarks, collects what they print, and puts it into one table with the machine in it.
//!
//! A benchmark prints lines of `BENCH {"name": …, "value": …, "unit": …, "target": …, "better": "lower" or "higher"}`.
//! `target` and `better` may be missing; lower is better then.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
    thread::available_parallelism,
};

use serde_json::Value;

use crate::{
    Result, guests, side,
    tool::{at, build_host, cargo, host, output, root, say, write},
};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) target: Option<f64>,
    pub(crate) higher: bool,
}

/// Builds everything optimised, measures, prints the table.
pub(crate) fn run(into_docs: bool) -> Result<ExitCode> {
    guests::build_all()?;
    build_host(true)?;
    let mut figures = inside()?;
    figures.extend(side::processes()?);
    figures.extend(side::requests()?);
    let table = table(&machine(), &figures);
    println!("{table}");
    if into_docs {
        let path = root().join("docs/BENCHMARKS.md");
        let before = if path.exists() { at(&path, fs::read_to_string(&path))? } else { String::new() };
        write(&path, &insert(&before, &table))?;
        say(&format!("wrote {}", path.display()));
    }
    let missed: Vec<&str> =
        figures.iter().filter(|one| one.holds() == Some(false)).map(|one| one.name.as_str()).collect();
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("beyond the target: {}", missed.join(", ")))
}

/// The host's own bench targets.
fn inside() -> Result<Vec<Figure>> {
    say("running `cargo bench`");
    let mut child = cargo(&["bench", "--package", "vitalsign", "--benches"])
        .env("VITALSIGN_BIN", host("release"))
        .env("VITALSIGN_GUESTS", guests::folder())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    let mut figures = Vec::new();
    for line in child
        .stdout
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(|reader| reader.lines().map_while(std::io::Result::ok))
    {
        match figure(&line) {
            Some(Ok(one)) => figures.push(one),
            Some(Err(error)) => return Err(format!("`{line}` is no figure: {error}")),
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait().map_err(|error| format!("cargo could not be waited for: {error}"))?;
    if status.success() { Ok(figures) } else { Err(format!("`cargo bench` failed ({status})")) }
}

/// The figure on a line, when it has one.
fn figure(line: &str) -> Option<Result<Figure>> {
    let json = line.strip_prefix("BENCH ")?;
    Some(serde_json::from_str::<Value>(json).map_err(|error| error.to_string()).and_then(|json| {
        let text = |key: &str| json[key].as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` is no text"));
        Ok(Figure {
            name: text("name")?,
            value: json["value"].as_f64().ok_or("`value` is no number")?,
            unit: text("unit")?,
            target: json["target"].as_f64(),
            higher: json["better"] == "higher",
        })
    }))
}

impl Figure {
    /// Whether the target is met; `None` without a target.
    fn holds(&self) -> Option<bool> {
        self.target.map(|target| if self.higher { self.value >= target } else { self.value <= target })
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
        fact("date", said("date", &["-u", "+%F"])),
    ]
}

fn table(machine: &[(String, String)], figures: &[Figure]) -> String {
    let mut text = String::new();
    let facts: Vec<String> = machine.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let _ = writeln!(text, "{}\n", facts.join("; "));
    text.push_str("| what | measured | target | |\n|---|---:|---:|---|\n");
    for one in figures {
        let word = if one.higher { "at least" } else { "at most" };
        let target = one.target.map(|target| format!("{word} {} {}", number(target), one.unit)).unwrap_or_default();
        let verdict = one.holds().map_or("", |holds| if holds { "holds" } else { "**missed**" });
        let (value, unit, name) = (number(one.value), &one.unit, &one.name);
        let _ =
            writeln!(text, "| {name} | {} | {} | {verdict} |", format!("{value} {unit}").trim_end(), target.trim_end());
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

    fn one(value: f64, higher: bool) -> Figure {
        Figure { name: "run".into(), value, unit: "µs".into(), target: Some(40.0), higher }
    }

    #[test]
    fn figures_are_read_from_marked_lines() {
        assert_eq!(figure("running 3 benches"), None);
        let line = r#"BENCH {"name":"run","value":21.4,"unit":"µs","target":40}"#;
        assert_eq!(figure(line), Some(Ok(one(21.4, false))));
        assert_eq!(figure(r#"BENCH {"name":"run"}"#), Some(Err("`value` is no number".into())));
    }

    #[test]
    fn a_target_is_a_floor_or_a_ceiling() {
        assert_eq!(
            [one(40.0, false), one(41.0, false), one(41.0, true)].map(|one| one.holds()),
            [Some(true), Some(false), Some(true)]
        );
    }

    #[test]
    fn the_table_shows_what_was_missed() {
        let text = table(&[("cores".into(), "2".into())], &[one(21.44, false), one(39.0, true)]);
        assert_eq!(
            text,
            "cores: 2\n\n| what | measured | target | |\n|---|---:|---:|---|\n\
             | run | 21.4 µs | at most 40.0 µs | holds |\n| run | 39.0 µs | at least 40.0 µs | **missed** |\n"
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
