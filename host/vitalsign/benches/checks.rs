//! The report of a registry of about 1 GB and 900,000 records: every built-in check but `integrity`, once. Then `integrity` alone:
//! how long a complete look takes, and what it costs a writer beside it.
//!
//! `VITALSIGN_BENCH_DB` names a registry to use instead of making one. Prints one `BENCH {…}` line a figure.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a benchmark")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::json;
use tokio::runtime::Runtime;
use vitalsign::checks::{self, CheckSettings};
use vitalsign::run::{self, Runner, Selection};
use vitalsign_base::clock::SystemClock;
use vitalsign_check::{Overrides, report};
use vitalsign_sqlite::{Database, sample::Keys};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let given = std::env::var_os("VITALSIGN_BENCH_DB").map(PathBuf::from);
    for keys in [Keys::None, Keys::Declared] {
        let database = given.clone().unwrap_or_else(|| {
            let path = folder.path().join(format!("{keys:?}.sqlite"));
            vitalsign_sqlite::sample::create(&path, 900_000, keys).unwrap();
            path
        });
        report_of(&database, keys);
        if given.is_none() && keys == Keys::None {
            integrity_of(&database);
        }
        if given.is_some() {
            break;
        }
    }
}

/// What every measurement has in common.
fn settings(checks: BTreeMap<String, CheckSettings>) -> checks::Settings {
    checks::Settings {
        expected_schema_version: Some(1),
        schema_policy: checks::SchemaPolicy::default(),
        records_table: "records".into(),
        provenance_table: "provenance".into(),
        min_free_bytes: 1,
        sql: Vec::new(),
        checks,
    }
}

fn report_of(database: &Path, keys: Keys) {
    let tasks = run::server_runtime().unwrap();
    // What it takes grows with the database; it has rows of its own.
    let off = Overrides { enabled: Some(false), ..Overrides::default() };
    let integrity = CheckSettings { overrides: off, ..CheckSettings::default() };
    let settings = settings(BTreeMap::from([("integrity".to_owned(), integrity)]));
    let mut rounds = Vec::new();
    let mut last = None;
    for _ in 0..if keys == Keys::None { 21 } else { 5 } {
        // A new handle each time: the cost of opening the database is part of what a `check` process pays.
        let runner = Runner::new(
            checks::build(&Database::new(database.to_owned()), &settings),
            report::Subject::default(),
            report::RegistrySection::default(),
            Arc::new(SystemClock),
        );
        let chosen = runner.choose(&Selection::default()).unwrap();
        let start = Instant::now();
        last = Some(tasks.block_on(runner.round(&chosen)));
        rounds.push(start.elapsed());
    }
    let report = last.unwrap();
    assert_ne!(report.status, report::Severity::Error, "{:?}", report.errors);
    rounds.sort();
    let median: Duration = rounds[rounds.len() / 2];
    let size = std::fs::metadata(database).unwrap().len() as f64 / 1e9;
    let records = report.registry.records.unwrap_or_default();
    let (name, target) = match keys {
        Keys::None => (format!("all built-in checks but integrity, {size:.2} GB, {records} records, median"), "≤ 20"),
        Keys::Declared => ("the same with 900,000 references to follow, in short slices, median".to_owned(), ""),
    };
    println!("BENCH {}", json!({ "name": name, "value": median.as_secs_f64() * 1e3, "unit": "ms", "target": target }));
    tasks.shutdown_background();
}

/// A look through the whole database, as a `check` does one, and how long it took.
fn look(tasks: &Runtime, database: &Path) -> Duration {
    let registry = Database::new(database.to_owned());
    let checks = checks::build(&registry, &settings(BTreeMap::new()));
    let runner =
        Runner::new(checks, report::Subject::default(), report::RegistrySection::default(), Arc::new(SystemClock));
    let only = Selection { only: vec!["integrity".to_owned()], ..Selection::default() };
    let chosen = runner.choose(&only).unwrap();
    let start = Instant::now();
    let report = tasks.block_on(runner.round(&chosen));
    let took = start.elapsed();
    assert!(report.checks[0].summary.contains("are intact"), "{}", report.checks[0].summary);
    took
}

fn integrity_of(database: &Path) {
    let tasks = run::server_runtime().unwrap();
    let mut looks: Vec<_> = (0..3).map(|_| look(&tasks, database)).collect();
    looks.sort();
    let size = std::fs::metadata(database).unwrap().len() as f64 / 1e9;
    let (mut without, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let writer = Writer::start(database);
        std::thread::sleep(looks[1]);
        without.push(writer.end());
        let writer = Writer::start(database);
        look(&tasks, database);
        beside.push(writer.end());
    }
    let median = |mut p99s: Vec<Duration>| {
        p99s.sort();
        p99s[p99s.len() / 2].as_secs_f64() * 1e3
    };
    let (without, beside) = (median(without), median(beside));
    let show = |name: String, value: f64, unit: &str, target: &str| {
        println!("BENCH {}", json!({ "name": name, "value": value, "unit": unit, "target": target }));
    };
    show(format!("`integrity`, a complete look, {size:.2} GB, median"), looks[1].as_secs_f64(), "s", "");
    show("p99 of a commit without a look, median of the runs".to_owned(), without, "ms", "");
    show("p99 of a commit beside a look, median of the runs".to_owned(), beside, "ms", "");
    show("p99 of a commit beside a look against no look".to_owned(), beside / without, "×", "≤ 1.1");
    tasks.shutdown_background();
}

/// A thread that commits a row of provenance a thousand times a second until it is ended.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Writer {
    fn start(database: &Path) -> Self {
        let database = Connection::open(database).unwrap();
        // What a registry in WAL mode usually has; the cache is SQLite's own default, which this build lowers.
        let usual = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2000; PRAGMA busy_timeout = 5000";
        database.execute_batch(usual).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due += Duration::from_millis(1);
                let begun = Instant::now();
                let row = "INSERT INTO provenance (record_id, action, actor, at, digest) \
                           SELECT 'urn:registry:' || hex(randomblob(8)), 'publish', 'billing', '2026-01-01', hex(randomblob(32))";
                database.execute(row, []).unwrap();
                took.push(begun.elapsed());
            }
            database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            database.close().unwrap();
            took.sort();
            took[took.len() * 99 / 100]
        });
        Self { stop, thread }
    }

    /// Ends it and gives the time that 99 of 100 commits stayed below.
    fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
