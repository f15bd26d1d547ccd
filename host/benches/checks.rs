//! The report of a registry of about 1 GB and 900,000 records: every built-in check but `integrity`, once.
//!
//! `VITALSIGN_BENCH_DB` names a registry to use instead of making one. Prints one `BENCH {…}` line a figure.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a benchmark")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use vitalsign::{
    checks,
    clock::SystemClock,
    report,
    run::{self, Runner, Selection},
    sqlite::{self, Registry, sample::Keys},
};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let given = std::env::var_os("VITALSIGN_BENCH_DB").map(PathBuf::from);
    for keys in [Keys::None, Keys::Declared] {
        let database = given.clone().unwrap_or_else(|| {
            let path = folder.path().join(format!("{keys:?}.sqlite"));
            sqlite::sample::create(&path, 900_000, keys).unwrap();
            path
        });
        report_of(&database, keys);
        if given.is_some() {
            break;
        }
    }
}

fn report_of(database: &Path, keys: Keys) {
    let tasks = run::runtime().unwrap();
    let settings = checks::Settings {
        expected_schema_version: Some(1),
        schema_policy: checks::SchemaPolicy::default(),
        records_table: "records".into(),
        provenance_table: "provenance".into(),
        min_free_bytes: 1,
        sql: Vec::new(),
        checks: BTreeMap::new(),
    };
    let mut rounds = Vec::new();
    let mut last = None;
    for _ in 0..if keys == Keys::None { 21 } else { 5 } {
        // A new handle each time: the cost of opening the database is part of what a `check` process pays.
        let runner = Runner::new(
            checks::build(&Registry::new(database.to_owned()), &settings),
            report::Subject::default(),
            report::Registry::default(),
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
