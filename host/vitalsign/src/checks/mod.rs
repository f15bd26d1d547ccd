//! The built-in checks, one file each, and the table that lists them.
//!
//! Knows no configuration file, no schedule, no plugin and no archive; reaches databases only through `sqlite`.

mod disk;
mod foreign_keys;
mod integrity;
mod records;
mod schema;
mod sql;
mod sqlite;
mod wal;

#[cfg(test)]
mod testing;

use std::{collections::BTreeMap, sync::Arc};

pub use schema::SchemaPolicy;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use vitalsign_base::{clock::Deadline, value::Name};
use vitalsign_check::{
    BoxFuture, Check, CheckInfo, Context, NoConfig, Outcome, Overrides, Schedule, Spec, every, parsed,
    report::{Finding, Origin, Status},
};
use vitalsign_sqlite::Database;

pub use sql::{
    Assertion, Thresholds, USUAL_TIME as USUAL_SQL_TIME, refused as refused_statements, schedule as assertion_schedule,
};

/// Every built-in check of this room, in name order.
const BUILT: [BuiltinEntry; 7] = [
    BuiltinEntry::of::<disk::DiskCheck>(),
    BuiltinEntry::of::<foreign_keys::ForeignKeysCheck>(),
    BuiltinEntry::of::<integrity::IntegrityCheck>(),
    BuiltinEntry::of::<records::RecordsCheck>(),
    BuiltinEntry::of::<schema::SchemaCheck>(),
    BuiltinEntry::of::<sqlite::SqliteCheck>(),
    BuiltinEntry::of::<wal::WalCheck>(),
];

/// What the built-in checks are configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The `user_version` that the database should have; absent, the schema check is skipped.
    pub expected_schema_version: Option<i64>,
    /// Which other versions are accepted. Only a start accepts any; everywhere else it is [`SchemaPolicy::Exact`].
    pub schema_policy: SchemaPolicy,
    /// The table that holds the records.
    pub records_table: Table,
    /// The table that holds the provenance.
    pub provenance_table: Table,
    /// Fewer free bytes than this on the database's file system is an error.
    pub min_free_bytes: u64,
    /// Assertions written in SQL, each a check of its own.
    pub sql: Vec<Assertion>,
    /// What the operator changed of each built-in check and each assertion, by name.
    pub checks: BTreeMap<String, CheckSettings>,
}

/// A table of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Whether the configuration names it: then it has to be there, and else it may be missing.
    pub pinned: bool,
}

impl From<&str> for Table {
    /// A table that nobody has named, by its usual name.
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), pinned: false }
    }
}

/// What the operator changed of one check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckSettings {
    /// Changes to its schedule.
    pub overrides: Overrides,
    /// Its own configuration, as JSON; `null` when absent.
    pub config: serde_json::Value,
}

/// A built-in check: its row in the table of all checks, and how it is made.
#[derive(Clone, Copy)]
struct BuiltinEntry {
    row: CheckInfo,
    make: fn(&Database, &Settings, Spec) -> Arc<dyn Check>,
}

impl BuiltinEntry {
    const fn of<B: Builtin>() -> Self {
        Self {
            row: CheckInfo::of::<B::Config>(B::NAME, B::SUMMARY, B::schedule),
            make: |registry, settings, spec| {
                let config = settings.checks.get(B::NAME).map_or(&serde_json::Value::Null, |check| &check.config);
                let check = parsed(config).map(|config| B::new(registry, settings, config));
                Arc::new(ScheduledCheck { spec, check: check.map_err(|error| error.to_string()) })
            },
        }
    }
}

/// What the table says of each of them, in name order.
pub fn rows() -> impl Iterator<Item = CheckInfo> {
    BUILT.iter().map(|built| built.row)
}

/// All built-in checks, those that are not enabled too, in name order; then the assertions, in the order of the settings.
#[must_use]
pub fn build(registry: &Database, settings: &Settings) -> Vec<Arc<dyn Check>> {
    let built = BUILT.iter().filter_map(|BuiltinEntry { row, make }| {
        let changes = settings.checks.get(row.name).map(|check| check.overrides.clone()).unwrap_or_default();
        let schedule = (row.schedule)().with(&changes);
        let spec = Spec { name: Name::parse(row.name).ok()?, origin: Origin::Builtin, schedule };
        Some(make(registry, settings, spec))
    });
    let assertions = settings.sql.iter().map(|one| sql::build(registry, one, settings.checks.get(one.name.as_str())));
    built.chain(assertions).collect()
}

/// A built-in check: what its file has to say.
trait Builtin: Sized + Send + Sync + 'static {
    /// Its own configuration.
    type Config: DeserializeOwned + JsonSchema + Default;
    const NAME: &'static str;
    const SUMMARY: &'static str;
    fn schedule() -> Schedule;
    fn new(registry: &Database, settings: &Settings, config: Self::Config) -> Self;
    /// Looks once. Blocks, and ends by the deadline.
    fn look(&self, deadline: Deadline) -> Outcome;
}

/// A check with its place in the schedule.
struct ScheduledCheck<B> {
    spec: Spec,
    check: Result<B, String>,
}

impl<B: Builtin> Check for ScheduledCheck<B> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match &self.check {
                Ok(check) => check.look(context.deadline),
                Err(reason) => Outcome::of(
                    Finding::new(
                        Status::Unknown,
                        "misconfigured",
                        format!("its configuration cannot be used: {reason}"),
                    )
                    .hint(format!("correct `health.checks.{}.config`", B::NAME)),
                ),
            }
        })
    }
}

/// The finding that stands for trouble with the database.
fn finding(error: &vitalsign_sqlite::Error) -> Finding {
    let status = if error.is_damage() { Status::Error } else { Status::Unknown };
    let mut finding = Finding::new(status, error.code(), error.to_string()).hint(error.hint());
    if error.is_corrupt() {
        finding = finding.corrupt();
    }
    if error.is_repaired_by_start() {
        finding = finding.repaired_by_start();
    }
    if error.is_of_database() {
        finding = finding.of_database();
    }
    finding
}

/// The outcome of a check that got nowhere.
fn failed(error: &vitalsign_sqlite::Error) -> Outcome {
    Outcome::of(finding(error))
}

/// The finding that says most about how things stand: the first of the worst.
fn worst(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().rev().max_by_key(|finding| finding.status)
}

/// A moment before the deadline, so that a check which used all its time can still say so.
fn almost(deadline: Deadline) -> Deadline {
    deadline.at_most(deadline.remaining() * 19 / 20)
}

/// A count as a measure's value. Above 2^53 the last digits are lost, which no measure here reaches.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};
    use crate::testing::Scene;

    #[test]
    fn the_table_is_in_name_order_and_all_of_it_is_built() {
        let names: Vec<_> = rows().map(|row| row.name).collect();
        assert!(names.is_sorted());
        let built = build(&Scene::empty().registry(), &settings());
        assert_eq!(built.iter().map(|check| check.spec().name.to_string()).collect::<Vec<_>>(), names);
        for row in rows() {
            (row.validate)(&serde_json::Value::Null).unwrap();
            (row.validate)(&serde_json::json!({})).unwrap();
            let error = (row.validate)(&serde_json::json!({ "nonsense": 1 })).unwrap_err();
            assert!(error.to_string().contains("nonsense"), "{}: {error}", row.name);
        }
    }

    #[test]
    fn a_configuration_that_slipped_through_is_an_outcome() {
        let scene = Scene::empty();
        let mut settings = settings();
        let bad = CheckSettings { config: serde_json::json!({ "warnBytes": "many" }), ..CheckSettings::default() };
        settings.checks.insert("wal".to_owned(), bad);
        insta::assert_snapshot!(run_with(&scene, "wal", &settings), @r#"
        unknown: its configuration cannot be used: warnBytes: invalid type: string "many", expected u64
        - unknown misconfigured: its configuration cannot be used: warnBytes: invalid type: string "many", expected u64
          correct `health.checks.wal.config`
        "#);
    }

    #[test]
    fn every_check_survives_every_odd_file() {
        for (case, scene) in odd_scenes() {
            for row in rows() {
                let outcome = scene.unchanged(|registry| outcome(registry, row.name, &settings()));
                let expected = if row.name == "disk" { Status::Ok } else { Status::Unknown };
                assert!(outcome.status() >= expected, "{case}: {} says {:?}", row.name, outcome.status());
                assert!(!outcome.summary.is_empty(), "{case}: {}", row.name);
                for finding in outcome.findings {
                    assert!(finding.hint.is_some(), "{case}: {} gives no hint: {finding:?}", row.name);
                }
            }
        }
    }
}
