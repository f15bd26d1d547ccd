//! A guest that does whatever a test tells it to, mostly bad: traps, spins, sleeps, floods, lies, breaks out.
//!
//! One component with many modes, so that the tests build one guest. Its config says which: `{"mode": "spin"}`.

mod escape;

use schemars::JsonSchema;
use serde::Deserialize;
use vitalsign_plugin::{
    Check, Failure, Grant, Report, Status, log,
    registry::{self, Value},
};

/// What to do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    mode: Mode,
    /// For `sleep`: how long.
    #[serde(default)]
    ms: u64,
    /// For `output`, `log-flood` and `stdout-flood`: how much.
    #[serde(default = "hundred_megabytes")]
    bytes: usize,
    /// For `sql`: the statements, run one after the other.
    #[serde(default)]
    sql: Vec<String>,
    /// For `sql`: the parameters of each.
    #[serde(default)]
    params: Vec<Param>,
    /// For `error`: which.
    #[serde(default)]
    kind: Kind,
}

fn hundred_megabytes() -> usize {
    100_000_000
}

/// The ways to behave.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Says that all is well.
    Ok,
    /// Executes `unreachable`.
    Trap,
    /// Panics with a message.
    Panic,
    /// Never returns.
    Spin,
    /// Waits in the host for `ms`.
    Sleep,
    /// Takes memory until there is none.
    Allocate,
    /// Returns a failure of `kind`.
    Error,
    /// Returns `bytes` of findings.
    Output,
    /// Logs `bytes`, in lines.
    LogFlood,
    /// Logs `bytes`, in one line.
    LogLine,
    /// Writes `bytes` to standard output and to standard error.
    StdoutFlood,
    /// Runs `sql` and tells in its summary what came of it.
    Sql,
    /// Runs `sql` as its own code would, and passes every error on.
    Statement,
    /// Tells what it can see of the machine.
    Env,
    /// Returns texts and numbers that a report must not pass on as they are.
    BadStrings,
    /// Calls itself without end.
    Deep,
}

/// A parameter as JSON has it.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Param {
    Integer(i64),
    Real(f64),
    Text(String),
    Null(()),
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Unavailable,
    Misconfigured,
    Denied,
    #[default]
    Other,
}

/// The guest.
pub struct Hostile;

impl Check for Hostile {
    type Config = Config;
    const NAME: &'static str = "hostile";
    const SUMMARY: &'static str = "Does what a test tells it to.";

    /// None, so that it can be loaded without the registry and show what it gets then.
    fn grants() -> Vec<Grant> {
        Vec::new()
    }

    fn run(config: Config) -> Result<Report, Failure> {
        match config.mode {
            Mode::Ok => Ok(Report::new("all is well")),
            Mode::Trap => trap(),
            Mode::Panic => panic(),
            Mode::Spin => spin(),
            Mode::Sleep => Ok(sleep(config.ms)),
            Mode::Allocate => allocate(),
            Mode::Error => Err(failure(config.kind)),
            Mode::Output => Ok(output(config.bytes)),
            Mode::LogFlood => Ok(log_flood(config.bytes)),
            Mode::LogLine => {
                log::info("x".repeat(config.bytes));
                Ok(Report::new(format!("logged one line of {} bytes", config.bytes)))
            }
            Mode::StdoutFlood => Ok(escape::flood(config.bytes)),
            Mode::Sql => Ok(sql(&config)),
            Mode::Statement => {
                config.sql.iter().try_for_each(|sql| registry::query(sql, &[]).map(drop))?;
                Ok(Report::new("every statement gave its rows"))
            }
            Mode::Env => Ok(escape::look_around()),
            Mode::BadStrings => Ok(bad_strings()),
            Mode::Deep => Ok(Report::new(format!("came back from {}", deep(u64::MAX)))),
        }
    }
}

fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

#[expect(clippy::panic, reason = "what this guest is for")]
fn panic() -> ! {
    panic!("this guest panics on purpose");
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

#[expect(clippy::disallowed_methods, reason = "a guest that sleeps is what the host has to stand")]
fn sleep(ms: u64) -> Report {
    std::thread::sleep(std::time::Duration::from_millis(ms));
    Report::new(format!("slept for {ms} ms"))
}

fn allocate() -> ! {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1; 1024 * 1024]));
    }
}

fn failure(kind: Kind) -> Failure {
    let reason = "on purpose".to_owned();
    match kind {
        Kind::Unavailable => Failure::Unavailable(reason),
        Kind::Misconfigured => Failure::Misconfigured(reason),
        Kind::Denied => Failure::Denied(reason),
        Kind::Other => Failure::Other(reason),
    }
}

fn output(bytes: usize) -> Report {
    const EACH: usize = 10_000;
    let mut report = Report::new(format!("{bytes} bytes of findings"));
    for _ in 0..bytes.div_ceil(EACH) {
        report.warn("much", "x".repeat(EACH));
    }
    report
}

fn log_flood(bytes: usize) -> Report {
    const EACH: usize = 100;
    let line = "x".repeat(EACH);
    for _ in 0..bytes.div_ceil(EACH) {
        log::warn(&line);
    }
    Report::new(format!("logged {bytes} bytes"))
}

fn sql(config: &Config) -> Report {
    let params: Vec<Value> = config.params.iter().map(value).collect();
    let mut report = Report::new("");
    let mut lines = Vec::new();
    for sql in &config.sql {
        match registry::query_some(sql, &params) {
            Ok(rows) => {
                report.measure(format!("rows_{}", report.measures.len()), rows.len(), "rows");
                let first = rows.rows.first().map(|row| format!("{row:?}")).unwrap_or_default();
                let cut = if rows.truncated { " (truncated)" } else { "" };
                lines.push(format!("{} rows{cut}, first {first:.300}", rows.len()));
            }
            Err(error) => {
                let line = format!("{error:?}");
                report.finding(Status::Unknown, "sql", line.clone()).subject(sql.as_str());
                lines.push(line);
            }
        }
    }
    report.summary = lines.join("; ");
    report
}

fn value(param: &Param) -> Value {
    match param {
        Param::Integer(value) => Value::Integer(*value),
        Param::Real(value) => Value::Real(*value),
        Param::Text(value) => Value::Text(value.clone()),
        Param::Null(()) => Value::Null,
    }
}

fn bad_strings() -> Report {
    let nasty = "\u{1b}[31mred\u{1b}[0m\r\nnew line\0nul\u{202e}reversed\u{7f}";
    let mut report = Report::new(nasty);
    report.error(nasty, nasty).subject(nasty).hint(nasty);
    report.warn("", "");
    report.warn("Not A Code!", "m".repeat(1024 * 1024)).subject("s".repeat(1024 * 1024));
    report.measure("nan", f64::NAN, nasty);
    report.measure("infinite", f64::INFINITY, "rows").warn_from(f64::NAN).error_from(f64::NEG_INFINITY);
    report.measure(nasty, 1, "");
    report.measure("twice", 1, "");
    report.measure("twice", 2, "");
    report
}

/// Keeps something on the stack of every call, so that no compiler turns it into a loop.
#[expect(unconditional_recursion, reason = "what this guest is for")]
fn deep(left: u64) -> u64 {
    let kept = std::hint::black_box([left; 64]);
    deep(left.wrapping_sub(1)).wrapping_add(std::hint::black_box(kept)[7])
}

vitalsign_plugin::export!(Hostile);
