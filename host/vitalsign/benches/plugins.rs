//! What a plugin costs: one run beyond its query, a thousand in one round, and a `check` process with ten of them.
//!
//! Prints one `BENCH {…}` line a figure; `cargo xtask bench` makes the table. Measures, and judges nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use vitalsign::run::{self, Runner, Selection};
use vitalsign_base::{
    clock::{Deadline, SystemClock},
    value::Name,
};
use vitalsign_check::{Check, Context, Schedule, report};
use vitalsign_plugin_runtime::{Grants, Limits, PluginSettings, Plugins};
use vitalsign_sqlite::{Database, QueryCaps};

const SQL: &str = "SELECT count(*) FROM records WHERE id = 'urn:registry:0000000000000000'";
const RUNS: usize = 20_000;

fn figure(name: &str, value: f64, unit: &str, target: &str) {
    println!("BENCH {}", json!({ "name": name, "value": value, "unit": unit, "target": target }));
}

fn quantile(sorted: &[Duration], of_a_thousand: usize) -> f64 {
    sorted[(sorted.len() - 1) * of_a_thousand / 1000].as_secs_f64() * 1e6
}

fn component() -> PathBuf {
    let path =
        PathBuf::from(std::env::var("VITALSIGN_GUESTS").expect("cargo xtask bench sets it")).join("sql_assert.wasm");
    assert!(path.exists(), "{} is built by cargo xtask bench", path.display());
    path
}

fn settings(number: usize) -> PluginSettings {
    let component = component();
    PluginSettings {
        name: Name::parse(&format!("p{number}")).unwrap(),
        written: component.display().to_string(),
        component,
        config: json!({ "assertions": [{ "name": "none", "sql": SQL, "error": 1 }] }),
        grants: Grants { registry: true },
        limits: Limits::default(),
        schedule: Schedule {
            enabled: true,
            weight: report::Weight::Ordinary,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
            failure_threshold: 1,
            success_threshold: 1,
            groups: Vec::new(),
        },
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("registry.sqlite");
    vitalsign_sqlite::sample::create(&database, 5000, vitalsign_sqlite::sample::Keys::Declared).unwrap();
    let registry = Database::new(database.clone());
    let tasks = run::server_runtime().unwrap();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_vitalsign"));
    let cache = folder.path().join("cache");
    let start = || Plugins::new(registry.clone(), binary.clone(), Some(cache.clone()), Vec::new());
    let plugins = start();
    let check = load(&plugins, tasks.handle(), 0);
    cached_load(start, tasks.handle());
    one_run(&registry, &check, tasks.handle());
    thousand(&plugins, &tasks);
    let plain = folder.path().join("plain.sqlite");
    vitalsign_sqlite::sample::create(&plain, 5000, vitalsign_sqlite::sample::Keys::None).unwrap();
    let name = "`check` as a process with 10 cached plugins";
    process(folder.path(), &plain, &binary, &format!("{name}, median"), "≤ 15");
    process(folder.path(), &database, &binary, &format!("{name} and 5,000 references to follow, median"), "");
    tasks.shutdown_background();
}

/// A check whose plugin is loaded.
fn load(plugins: &Arc<Plugins>, handle: &tokio::runtime::Handle, number: usize) -> Arc<dyn Check> {
    let check = plugins.checks(&[settings(number)], None).remove(0);
    handle.block_on(async { check.prepare().unwrap().await });
    assert!(check.prepare().is_none(), "it is loaded");
    check
}

/// What a process pays before its first run: the engine once, by what the first plugin takes longer, then each component.
fn cached_load(start: impl Fn() -> Arc<Plugins>, handle: &tokio::runtime::Handle) {
    let (mut firsts, mut loads) = (Vec::new(), Vec::new());
    let extra = tempfile::tempdir().unwrap();
    let other = extra.path().join("other.wasm");
    // Another digest: one component is loaded once, however many plugins are made of it.
    let mut bytes = fs::read(component()).unwrap();
    bytes.extend([0, 3, 1, b'n', 200]);
    fs::write(&other, bytes).unwrap();
    for turn in 0..22 {
        let plugins = start();
        let begun = Instant::now();
        load(&plugins, handle, 0);
        let first = begun.elapsed();
        let check = plugins.checks(&[PluginSettings { component: other.clone(), ..settings(1) }], None).remove(0);
        let begun = Instant::now();
        handle.block_on(async { check.prepare().unwrap().await });
        // The first turn compiles.
        if turn > 0 {
            firsts.push(first);
            loads.push(begun.elapsed());
        }
    }
    firsts.sort();
    loads.sort();
    let engine = quantile(&firsts, 500) - quantile(&loads, 500);
    figure("start of the plugin engine, median", engine / 1000.0, "ms", "");
    figure("load of a cached Rust plugin, authentication included, median", quantile(&loads, 500) / 1000.0, "ms", "");
}

fn one_run(registry: &Database, check: &Arc<dyn Check>, handle: &tokio::runtime::Handle) {
    let caps = QueryCaps { max_rows: 10, max_bytes: 1000, time: Duration::from_millis(50) };
    let (mut query, mut run) = (Vec::with_capacity(RUNS), Vec::with_capacity(RUNS));
    // Turn about, so that both see the same machine.
    for turn in 0..RUNS + 200 {
        let start = Instant::now();
        registry.query(SQL, &[], &caps, Deadline::after(Duration::from_secs(1))).ok().unwrap();
        let queried = start.elapsed();
        let context = Context { deadline: Deadline::after(Duration::from_secs(2)) };
        let start = Instant::now();
        let outcome = handle.block_on(check.run(&context));
        let ran = start.elapsed();
        assert_eq!(outcome.status(), report::Status::Ok, "{outcome:?}");
        if turn >= 200 {
            query.push(queried);
            run.push(ran);
        }
    }
    query.sort();
    run.sort();
    figure("one SQL query through the pool, median", quantile(&query, 500), "µs", "");
    figure("plugin run beyond its query, median", quantile(&run, 500) - quantile(&query, 500), "µs", "≤ 40");
    figure("plugin run beyond its query, p99", quantile(&run, 990) - quantile(&query, 500), "µs", "≤ 150");
}

fn thousand(shared: &Arc<Plugins>, tasks: &tokio::runtime::Runtime) {
    let plugins: Vec<_> = (0..1000).map(settings).collect();
    let checks = shared.checks(&plugins, None);
    let runner =
        Runner::new(checks, report::Subject::default(), report::RegistrySection::default(), Arc::new(SystemClock));
    let all = runner.choose(&Selection::default()).unwrap();
    // Loads them.
    tasks.block_on(runner.round(&all));
    let mut rounds: Vec<_> = (0..15)
        .map(|_| {
            let start = Instant::now();
            let report = tasks.block_on(runner.round(&all));
            assert_eq!(report.status, report::Severity::Ok, "{:?}", report.warnings);
            start.elapsed()
        })
        .collect();
    rounds.sort();
    figure("1,000 plugin checks in one round, median", quantile(&rounds, 500) / 1000.0, "ms", "≤ 100");
}

fn process(folder: &Path, database: &Path, binary: &Path, name: &str, target: &str) {
    let plugins: Vec<_> = (0..10)
        .map(|number| {
            let mut one = settings(number);
            // Ten components of their own: a custom section at the end makes them differ.
            let mut bytes = fs::read(&one.component).unwrap();
            bytes.extend([0, 3, 1, b'n', u8::try_from(number).unwrap()]);
            one.component = folder.join(format!("p{number}.wasm"));
            fs::write(&one.component, bytes).unwrap();
            json!({ "name": one.name, "component": one.component, "config": one.config, "grants": { "registry": "read" } })
        })
        .collect();
    let config = json!({ "dbPath": database, "registry": { "expectedSchemaVersion": 1 }, "health": { "minFreeBytes": 1 }, "plugins": plugins });
    let path = folder.join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    assert!(
        Command::new(binary)
            .args(["plugin", "lock", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let mut runs: Vec<_> = (0..41)
        .map(|_| {
            let start = Instant::now();
            let status = Command::new(binary)
                .args(["check", "--format", "json", "--config"])
                .arg(&path)
                .env("VITALSIGN_CACHE_DIR", folder.join("cache"))
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success());
            start.elapsed()
        })
        .collect();
    runs.remove(0);
    runs.sort();
    figure(name, quantile(&runs, 500) / 1000.0, "ms", target);
}
