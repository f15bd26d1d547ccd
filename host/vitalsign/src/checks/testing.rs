//! Scenes and outcomes for the tests of checks.

#![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

use std::{collections::BTreeMap, fmt::Write as _, fs};

use super::{Settings, build};
use crate::testing::{Scene, ample};
use vitalsign_check::{Context, Outcome};
use vitalsign_sqlite::Database;

/// The registry that most tests look at.
pub(super) const REGISTRY: &str = "PRAGMA journal_mode = wal; PRAGMA user_version = 1; \
    CREATE TABLE records(id TEXT PRIMARY KEY); INSERT INTO records VALUES ('a'), ('b'), ('c'); \
    CREATE TABLE provenance(seq INTEGER PRIMARY KEY, record_id TEXT); INSERT INTO provenance VALUES (1, 'a'), (2, 'b');";

pub(super) fn settings() -> Settings {
    Settings {
        expected_schema_version: Some(1),
        schema_policy: super::SchemaPolicy::default(),
        records_table: "records".into(),
        provenance_table: "provenance".into(),
        min_free_bytes: 1,
        sql: Vec::new(),
        checks: BTreeMap::new(),
    }
}

/// What one check says of the registry.
pub(super) fn outcome(registry: &Database, name: &str, settings: &Settings) -> Outcome {
    let checks = build(registry, settings);
    let check = checks.iter().find(|check| check.spec().name.as_str() == name).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(check.run(&Context { deadline: ample() }))
}

/// What one check says of a scene, as lines; looking has changed nothing.
pub(super) fn run_with(scene: &Scene, name: &str, settings: &Settings) -> String {
    let outcome = scene.unchanged(|registry| outcome(registry, name, settings));
    let mut out = format!("{}: {}\n", outcome.status().as_str(), outcome.summary);
    for finding in &outcome.findings {
        writeln!(out, "- {} {}: {}", finding.status.as_str(), finding.code, finding.message).unwrap();
        if let Some(subject) = &finding.subject {
            writeln!(out, "  about {subject}").unwrap();
        }
        if let Some(hint) = &finding.hint {
            writeln!(out, "  {hint}").unwrap();
        }
    }
    for measure in &outcome.measures {
        let line = format!("* {} = {} {}", measure.name, measure.value, measure.unit);
        writeln!(out, "{}", line.trim_end()).unwrap();
    }
    for fact in &outcome.facts {
        writeln!(out, "! {fact:?}").unwrap();
    }
    scene.normal(&out)
}

pub(super) fn run(scene: &Scene, name: &str) -> String {
    run_with(scene, name, &settings())
}

/// Folders whose database cannot be looked at, each with its name.
pub(super) fn odd_scenes() -> Vec<(&'static str, Scene)> {
    let with_file = |content: &[u8]| {
        let scene = Scene::empty();
        fs::write(scene.path(), content).unwrap();
        scene
    };
    let cut = Scene::with(REGISTRY);
    let whole = fs::read(cut.path()).unwrap();
    fs::write(cut.path(), &whole[..6000]).unwrap();
    let directory = Scene::empty();
    fs::create_dir(directory.path()).unwrap();
    let orphaned_log = Scene::empty();
    orphaned_log.other_process(REGISTRY).kill();
    fs::remove_file(orphaned_log.side("-shm")).unwrap();
    let noise: Vec<u8> = (0_u32..5000).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    vec![
        ("missing", Scene::empty()),
        ("directory", directory),
        ("empty", with_file(b"")),
        ("text", with_file(b"plain words")),
        ("noise", with_file(&noise)),
        ("cut", cut),
        ("log without index", orphaned_log),
    ]
}
