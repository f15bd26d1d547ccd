//! The built-in checks, one file each, and the table that lists them.
//!
//! Knows no configuration file, no schedule, no plugin and no archive; reaches databases only through `sqlite`.

mod disk;
mod foreign_keys;
mod integrity;
mod records;
mod schema;
mod sqlite;
#[cfg(test)]
mod testing;
mod wal;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    check::{BoxFuture, Check, Context, Outcome, Overrides, Schedule, Spec},
    clock::Deadline,
    report::{Finding, Origin, Status},
    sqlite::{Registry, Trouble},
    value::Name,
};

/// Every built-in check, in name order.
pub const ROWS: [Row; 7] = [
    Row::of::<disk::DiskCheck>(),
    Row::of::<foreign_keys::ForeignKeys>(),
    Row::of::<integrity::Integrity>(),
    Row::of::<records::Records>(),
    Row::of::<schema::SchemaCheck>(),
    Row::of::<sqlite::SqliteCheck>(),
    Row::of::<wal::Wal>(),
];

/// What the built-in checks are configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The `user_version` that the database should have; absent, the schema check is skipped.
    pub expected_schema_version: Option<i64>,
    /// The table that holds the records.
    pub records_table: Table,
    /// The table that holds the provenance.
    pub provenance_table: Table,
    /// Fewer free bytes than this on the database's file system is an error.
    pub min_free_bytes: u64,
    /// What the operator changed of each built-in check, by name.
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

/// Why a check's own configuration was refused, with the path of the key.
pub type BadConfig = serde_path_to_error::Error<serde_json::Error>;

/// What the table says of one built-in check.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name in reports and in the configuration.
    pub name: &'static str,
    /// One line that says what it looks at.
    pub summary: &'static str,
    /// When it runs and what it weighs, unless the operator says otherwise.
    pub schedule: fn() -> Schedule,
    /// The JSON Schema of its own configuration.
    pub config_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether its own configuration can be used; `null` stands for all defaults.
    pub validate: fn(&serde_json::Value) -> Result<(), BadConfig>,
    pub(crate) make: fn(&Registry, &Settings, Spec) -> Arc<dyn Check>,
}

impl Row {
    const fn of<B: Builtin>() -> Self {
        Self {
            name: B::NAME,
            summary: B::SUMMARY,
            schedule: B::schedule,
            config_schema: |generator| generator.subschema_for::<B::Config>(),
            validate: |config| parsed::<B::Config>(config).map(drop),
            make: |registry, settings, spec| {
                let config = settings.checks.get(B::NAME).map_or(&serde_json::Value::Null, |check| &check.config);
                let check = parsed(config).map(|config| B::new(registry, settings, config));
                Arc::new(Placed { spec, check: check.map_err(|error| error.to_string()) })
            },
        }
    }
}

/// All built-in checks, those that are not enabled too, in name order.
#[must_use]
pub fn build(registry: &Registry, settings: &Settings) -> Vec<Arc<dyn Check>> {
    let built = ROWS.iter().filter_map(|row| {
        let changes = settings.checks.get(row.name).map(|check| check.overrides.clone()).unwrap_or_default();
        let schedule = (row.schedule)().with(&changes);
        let spec = Spec { name: Name::parse(row.name).ok()?, origin: Origin::Builtin, schedule };
        Some((row.make)(registry, settings, spec))
    });
    built.collect()
}

/// A built-in check: what its file has to say.
trait Builtin: Sized + Send + Sync + 'static {
    /// Its own configuration.
    type Config: DeserializeOwned + JsonSchema + Default;
    const NAME: &'static str;
    const SUMMARY: &'static str;
    fn schedule() -> Schedule;
    fn new(registry: &Registry, settings: &Settings, config: Self::Config) -> Self;
    /// Looks once. Blocks, and ends by the deadline.
    fn look(&self, deadline: Deadline) -> Outcome;
}

/// The configuration of a check that has nothing to configure.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoConfig {}

/// A check with its place in the schedule.
struct Placed<B> {
    spec: Spec,
    check: Result<B, String>,
}

impl<B: Builtin> Check for Placed<B> {
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

fn parsed<C: DeserializeOwned + Default>(config: &serde_json::Value) -> Result<C, BadConfig> {
    if config.is_null() { Ok(C::default()) } else { serde_path_to_error::deserialize(config) }
}

/// The usual schedule of a check that takes milliseconds; a critical one counts for readiness.
fn every(seconds: u64, critical: bool) -> Schedule {
    Schedule {
        enabled: true,
        critical,
        interval: Duration::from_secs(seconds),
        timeout: Duration::from_secs(2),
        failure_threshold: 1,
        success_threshold: 1,
        groups: if critical { vec!["ready".to_owned()] } else { Vec::new() },
    }
}

/// The finding that stands for trouble with the database.
fn finding(trouble: &Trouble) -> Finding {
    let status = if trouble.is_damage() { Status::Error } else { Status::Unknown };
    Finding::new(status, trouble.code(), trouble.to_string()).hint(trouble.hint())
}

/// The outcome of a check that got nowhere.
fn failed(trouble: &Trouble) -> Outcome {
    Outcome::of(finding(trouble))
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
    use crate::sqlite::testing::Scene;

    #[test]
    fn the_table_is_in_name_order_and_all_of_it_is_built() {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        assert!(names.is_sorted());
        let built = build(&Scene::empty().registry(), &settings());
        assert_eq!(built.iter().map(|check| check.spec().name.to_string()).collect::<Vec<_>>(), names);
        for row in ROWS {
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
            for row in ROWS {
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
