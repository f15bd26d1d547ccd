//! `GET /health` against a bare axum route that returns the same bytes, both in one run, with `wrk` as the client.
//!
//! The load stays on loopback and is bounded in time. Without `wrk` it says so and fails, since nothing was measured.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

use std::{collections::BTreeMap, process::Command, sync::Arc};

use serde_json::json;
use vitalsign::checks;
use vitalsign::run::{self, Runner, Selection};
use vitalsign::serve::{self, Access};
use vitalsign_base::clock::SystemClock;
use vitalsign_check::report;
use vitalsign_sqlite::Database;

const TURNS: usize = 5;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("registry.sqlite");
    vitalsign_sqlite::sample::create(&database, 5000, vitalsign_sqlite::sample::Keys::Declared).unwrap();
    let settings = checks::Settings {
        expected_schema_version: Some(1),
        schema_policy: checks::SchemaPolicy::default(),
        records_table: "records".into(),
        provenance_table: "provenance".into(),
        min_free_bytes: 1,
        sql: Vec::new(),
        checks: BTreeMap::new(),
    };
    let tasks = run::server_runtime().unwrap();
    let runner = Runner::new(
        checks::build(&Database::new(database), &settings),
        report::Subject::default(),
        report::RegistrySection::default(),
        Arc::new(SystemClock),
    );
    let all = runner.choose(&Selection::default()).unwrap();
    tasks.block_on(runner.round(&all));
    let (ours, bare) = tasks.block_on(async {
        let ours = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bare = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = (ours.local_addr().unwrap().port(), bare.local_addr().unwrap().port());
        let bytes = axum::body::Bytes::from(serde_json::to_vec(&runner.report()).unwrap());
        let route = axum::routing::get(move || {
            let bytes = bytes.clone();
            async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], bytes) }
        });
        tokio::spawn(serve::serve(vec![ours], serve::routes(runner.clone(), Access::Always), std::future::pending()));
        tokio::spawn(async move { axum::serve(bare, axum::Router::new().route("/health", route)).await });
        ports
    });
    let _background = tasks.block_on(async { runner.start() });
    let (mut rates_ours, mut rates_bare) = (Vec::new(), Vec::new());
    load(ours, 1);
    for _ in 0..TURNS {
        rates_ours.push(load(ours, 3));
        rates_bare.push(load(bare, 3));
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours, bare) = (median(&mut rates_ours), median(&mut rates_bare));
    for (name, value, unit, target) in [
        ("GET /health, median", ours, "requests/s", ""),
        ("bare axum route with the same bytes, median", bare, "requests/s", ""),
        ("GET /health against the bare route", ours / bare, "×", "≥ 0.8"),
    ] {
        println!("BENCH {}", json!({ "name": name, "value": value, "unit": unit, "target": target }));
    }
    tasks.shutdown_background();
}

/// Requests a second that `wrk` gets from a port of this machine in so many seconds.
fn load(port: u16, seconds: u32) -> f64 {
    let output = Command::new("wrk")
        .args(["-t1", "-c32", &format!("-d{seconds}s"), &format!("http://127.0.0.1:{port}/health")])
        .output()
        .expect("`wrk` is needed for this benchmark: install it (Debian: apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect(&text);
    line.trim().parse().unwrap()
}
