//! The report of a registry of about 1 GB and 900,000 records: every built-in check but `integrity`, once.
//!
//! `VITALSIGN_BENCH_DB` names a registry to use instead of making one. Prints one `BENCH {…}` line a figure.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs, reason = "a benchmark")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use vitalsign::{
    checks,
    clock::SystemClock,
    report,
    run::{self, Runner, Selection},
    sqlite::{self, Registry},
};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let database = std::env::var_os("VITALSIGN_BENCH_DB").map(PathBuf::from).unwrap_or_else(|| {
        let path = folder.path().join("registry.sqlite");
        sqlite::sample::create(&path, 900_000).unwrap();
        path
    });
    let tasks = run::runtime().unwrap();
    let settings = checks::Settings {
        expected_schema_version: Some(1),
        records_table: "records".into(),
        provenance_table: "provenance".into(),
        min_free_bytes: 1,
        checks: BTreeMap::new(),
    };
    let mut rounds = Vec::new();
    let mut last = None;
    for _ in 0..21 {
        // A new handle each time: the cost of opening the database is part of what a `check` process pays.
        let runner = Runner::new(
            checks::build(&Registry::new(database.clone()), &settings),
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
    let size = std::fs::metadata(&database).unwrap().len();
    let name = format!(
        "all built-in checks but integrity, {:.2} GB, {} records, median",
        size as f64 / 1e9,
        report.registry.records.unwrap_or_default()
    );
    println!("BENCH {}", json!({ "name": name, "value": median.as_secs_f64() * 1e3, "unit": "ms", "target": "≤ 20" }));
    tasks.shutdown_background();
}
